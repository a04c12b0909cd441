#include "ingester/metadata.h"
#include "common/obs/memory.h"
#include "common/sys/thread.h"

#include <stdlib.h>
#include <uthash.h>

struct entry {
    struct entry *next;
    uint8_t type;
    struct str help, unit; /* owned */
};
struct metric_rows {
    UT_hash_handle hh;
    struct str name;       /* owned */
    struct entry *entries;
    size_t count;
};
struct metadata {
    struct mutex lock;
    struct metric_rows *metrics;
};

struct metadata *metadata_new(void)
{
    struct metadata *m = xcalloc(1, sizeof *m);

    mutex_init(&m->lock);
    return m;
}

void metadata_free(struct metadata *m)
{
    struct metric_rows *row, *tmp;

    if (!m)
        return;
    HASH_ITER(hh, m->metrics, row, tmp) {
        HASH_DEL(m->metrics, row);
        while (row->entries) {
            struct entry *e = row->entries;

            row->entries = e->next;
            free((char *)e->help.p);
            free((char *)e->unit.p);
            free(e);
        }
        free((char *)row->name.p);
        free(row);
    }
    mutex_fini(&m->lock);
    free(m);
}

static struct str own(struct str s)
{
    return (struct str){str_dupz(s), s.n};
}

static struct metric_rows *rows_of(struct metadata *m, struct str name)
{
    struct metric_rows *row;

    HASH_FIND(hh, m->metrics, name.p, name.n, row);
    return row;
}

static bool known(const struct metric_rows *row, const struct push_metadata *md)
{
    for (const struct entry *e = row->entries; e; e = e->next)
        if (e->type == md->type && str_eq(e->help, md->help) && str_eq(e->unit, md->unit))
            return true;
    return false;
}

static bool add_locked(struct metadata *m, const struct push_metadata *md, size_t metrics_max, size_t per_metric_max)
{
    struct metric_rows *row = rows_of(m, md->metric);
    struct entry *e;

    if (row && known(row, md))
        return true;
    if (row ? per_metric_max && row->count >= per_metric_max : metrics_max && HASH_COUNT(m->metrics) >= metrics_max)
        return false;
    if (!row) {
        row = xcalloc(1, sizeof *row);
        row->name = own(md->metric);
        HASH_ADD_KEYPTR(hh, m->metrics, row->name.p, row->name.n, row);
    }
    e = xcalloc(1, sizeof *e);
    *e = (struct entry){row->entries, md->type, own(md->help), own(md->unit)};
    row->entries = e;
    row->count++;
    return true;
}

bool metadata_add(struct metadata *m, const struct push_metadata *md, size_t metrics_max, size_t per_metric_max)
{
    bool taken;

    mutex_lock(&m->lock);
    taken = add_locked(m, md, metrics_max, per_metric_max);
    mutex_unlock(&m->lock);
    return taken;
}

size_t metadata_memory(struct metadata *m)
{
    size_t n;

    mutex_lock(&m->lock);
    n = heap_bytes(m) + UTHASH_BYTES(hh, m->metrics);
    for (const struct metric_rows *row = m->metrics; row; row = row->hh.next) {
        n += heap_bytes(row) + heap_bytes(row->name.p);
        for (const struct entry *e = row->entries; e; e = e->next)
            n += heap_bytes(e) + heap_bytes(e->help.p) + heap_bytes(e->unit.p);
    }
    mutex_unlock(&m->lock);
    return n;
}

static uint32_t write_rows(const struct metric_rows *row, struct buf *out)
{
    uint32_t n = 0;

    for (const struct entry *e = row->entries; e; e = e->next, n++) {
        buf_lstr(out, row->name);
        buf_u8(out, e->type);
        buf_lstr(out, e->help);
        buf_lstr(out, e->unit);
    }
    return n;
}

uint32_t metadata_write(struct metadata *m, struct str metric, struct buf *out)
{
    struct metric_rows *row, *tmp;
    uint32_t n = 0;

    mutex_lock(&m->lock);
    if (metric.n) {
        row = rows_of(m, metric);
        n = row ? write_rows(row, out) : 0;
    } else {
        HASH_ITER(hh, m->metrics, row, tmp)
            n += write_rows(row, out);
    }
    mutex_unlock(&m->lock);
    return n;
}
