#include "tsdb/snapshot.h"

#include "common/base/fault.h"
#include "common/base/hash.h"
#include "common/model/tenant.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { SNAPSHOT_BYTES_MAX = 512 << 20, OBJECT_BYTES = 320 };

static void name_make(struct snapshot_name *ret, int64_t now_ms)
{
    time_t seconds = (time_t)(now_ms / 1000);
    uint8_t tail[8];
    char hex[2 * sizeof tail + 1];
    struct tm tm;
    size_t n;

    random_bytes(tail, sizeof tail);
    hex_put(hex, tail, sizeof tail);
    gmtime_r(&seconds, &tm);
    n = strftime(ret->text, sizeof ret->text, "%Y%m%dT%H%M%SZ-", &tm);
    snprintf(ret->text + n, sizeof ret->text - n, "%s", hex);
}

bool snapshot_name_valid(struct str s)
{
    if (s.n != SNAPSHOT_NAME_BYTES - 1 || s.p[8] != 'T' || s.p[15] != 'Z' || s.p[16] != '-')
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (i != 8 && i != 15 && i != 16 && !(s.p[i] >= '0' && s.p[i] <= '9') && !(i > 16 && s.p[i] >= 'a' && s.p[i] <= 'f'))
            return false;
    return true;
}

static int object_name(const char *tenant, const char *name, char ret[OBJECT_BYTES], struct err *err)
{
    int rc = tenant_id_check(str_of(tenant), err);

    if (rc == 0 && !snapshot_name_valid(str_of(name)))
        rc = err_set(err, RC_NOT_FOUND, "there is no snapshot of this name");
    if (rc == 0)
        snprintf(ret, OBJECT_BYTES, "snapshots/%s/%s.json", tenant, name);
    return rc;
}

/* --- making --- */

static void take_block(struct index *to, const struct index_block *b)
{
    struct block_meta m = {.id = b->id, .mint_ms = b->mint_ms, .maxt_ms = b->maxt_ms, .range_start_ms = b->range_start_ms, .range_end_ms = b->range_end_ms,
                           .level = b->level, .sources = b->sources, .source_count = b->source_count, .shard = b->shard, .series = b->series,
                           .samples = b->samples, .bytes = b->bytes};

    index_put_meta(to, &m);
    to->blocks.v[to->blocks.n - 1].applied = b->applied;
}

/* As a reader takes them: level 0 first, then the tenant's. */
static int collect(struct bucket *b, const char *tenant, struct index *ret, struct err *err)
{
    struct index l0, own;
    int rc = index_load(b, NULL, &l0, err);

    if (rc < 0)
        return rc;
    rc = index_load(b, tenant, &own, err);
    if (rc == 0) {
        for (size_t i = 0; i < l0.blocks.n; i++)
            if (!l0.blocks.v[i].deleted_ms && !index_block_done(&l0.blocks.v[i], tenant) && !index_covers(&own, &l0.blocks.v[i].id))
                take_block(ret, &l0.blocks.v[i]);
        for (size_t i = 0; i < own.blocks.n; i++)
            if (!own.blocks.v[i].deleted_ms)
                take_block(ret, &own.blocks.v[i]);
        ret->tombstones = own.tombstones;
        ret->tombstone_seq = own.tombstone_seq;
        memset(&own.tombstones, 0, sizeof own.tombstones);
        index_fini(&own);
    }
    index_fini(&l0);
    return rc;
}

static int all_there(struct bucket *b, const struct index *ix, struct err *err)
{
    for (size_t i = 0; i < ix->blocks.n; i++) {
        char name[64];
        uint64_t size;
        int rc;

        snprintf(name, sizeof name, "blocks/%s/meta.json", ix->blocks.v[i].id.text);
        rc = b->ops->size(b, name, &size, err);
        if (rc < 0)
            return rc == RC_NOT_FOUND ? err_set(err, RC_UNAVAILABLE, "block %s was removed while the snapshot was made, try again", ix->blocks.v[i].id.text) : rc;
    }
    return 0;
}

static int write_object(struct bucket *b, const char *tenant, const struct index *ix, const char *name, struct err *err)
{
    char object[OBJECT_BYTES];
    struct buf text;
    int rc = object_name(tenant, name, object, err);

    buf_init(&text, SNAPSHOT_BYTES_MAX);
    if (rc == 0)
        rc = index_encode(ix, "", "", &text, err);
    FAULT(FAULT_CRASH, _exit(99));
    if (rc == 0)
        rc = b->ops->create(b, object, buf_view(&text), err);
    FAULT(FAULT_CRASH, _exit(99));
    if (rc == 0)
        rc = all_there(b, ix, err);
    if (rc == RC_UNAVAILABLE)
        b->ops->remove(b, object, NULL);
    buf_fini(&text);
    return rc;
}

int snapshot_create(struct bucket *b, const char *tenant, int64_t now_ms, struct snapshot_name *ret, struct err *err)
{
    struct index ix = {.gen = (uint64_t)MAX(now_ms, 1)};
    struct snapshot_name name;
    fs_names have = {0};
    int rc = snapshot_list(b, tenant, &have, err);

    if (rc == 0 && have.n >= SNAPSHOTS_MAX)
        rc = err_set(err, RC_LIMIT, "the tenant has %d snapshots: remove some", SNAPSHOTS_MAX);
    fs_names_free(&have);
    name_make(&name, now_ms);
    if (rc == 0)
        rc = collect(b, tenant, &ix, err);
    if (rc == 0)
        rc = write_object(b, tenant, &ix, name.text, err);
    index_fini(&ix);
    if (rc == 0)
        *ret = name;
    return rc;
}

/* --- using --- */

static int object_load(struct bucket *b, const char *object, struct index *ret, struct err *err)
{
    struct buf text;
    int rc;

    buf_init(&text, SNAPSHOT_BYTES_MAX);
    rc = b->ops->get(b, object, &text, err);
    if (rc == 0)
        rc = index_decode(buf_view(&text), ret, err);
    buf_fini(&text);
    return rc < 0 ? err_wrap(err, rc, "%s", object) : 0;
}

int snapshot_load(struct bucket *b, const char *tenant, const char *name, struct index *ret, struct err *err)
{
    char object[OBJECT_BYTES];
    int rc = object_name(tenant, name, object, err);

    return rc < 0 ? rc : object_load(b, object, ret, err);
}

int snapshot_remove(struct bucket *b, const char *tenant, const char *name, struct err *err)
{
    char object[OBJECT_BYTES];
    uint64_t size;
    int rc = object_name(tenant, name, object, err);

    if (rc == 0)
        rc = b->ops->size(b, object, &size, err);
    return rc < 0 ? rc : b->ops->remove(b, object, err);
}

int snapshot_list(struct bucket *b, const char *tenant, fs_names *ret, struct err *err)
{
    char prefix[OBJECT_BYTES];
    bucket_list l;
    int rc = tenant_id_check(str_of(tenant), err);

    if (rc < 0)
        return rc;
    snprintf(prefix, sizeof prefix, "snapshots/%s/", tenant);
    rc = b->ops->list(b, prefix, &l, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < l.n; i++) {
        struct str name = str_skip(str_of(l.v[i].name), strlen(prefix));

        if (name.n == SNAPSHOT_NAME_BYTES - 1 + strlen(".json") && snapshot_name_valid(str_sub(name, 0, SNAPSHOT_NAME_BYTES - 1)))
            *vec_push(ret) = str_dupz(str_sub(name, 0, SNAPSHOT_NAME_BYTES - 1));
    }
    bucket_list_free(&l);
    return 0;
}

static int by_ulid(const void *a, const void *b)
{
    return strcmp(((const struct ulid *)a)->text, ((const struct ulid *)b)->text);
}

int snapshot_pins(struct bucket *b, ulid_list *ret, struct err *err)
{
    ulid_list out = {0};
    bucket_list l;
    int rc = b->ops->list(b, "snapshots/", &l, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < l.n && rc == 0; i++) {
        struct index ix;

        rc = object_load(b, l.v[i].name, &ix, err);
        if (rc == RC_NOT_FOUND) { /* removed meanwhile */
            rc = 0;
            continue;
        }
        for (size_t k = 0; rc == 0 && k < ix.blocks.n; k++)
            *vec_push(&out) = ix.blocks.v[k].id;
        if (rc == 0)
            index_fini(&ix);
    }
    bucket_list_free(&l);
    if (rc < 0) {
        vec_fini(&out);
        return rc;
    }
    if (out.n)
        qsort(out.v, out.n, sizeof *out.v, by_ulid);
    *ret = out;
    return 0;
}

bool ulid_list_has(const ulid_list *l, const struct ulid *id)
{
    return l->n && bsearch(id, l->v, l->n, sizeof *l->v, by_ulid);
}
