#include "common/obs/metrics.h"
#include "common/base/utf8.h"
#include "common/base/vec.h"
#include "common/obs/memory.h"
#include "common/obs/metrics_impl.h"
#include "common/sys/thread.h"

#include <math.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <uthash.h>

enum { KEY_BYTES_MAX = 1 << 20 };

/* Seconds. Dense where a push or an instant query lives, up to the longest query timeout people
 * set. */
const double metric_bounds[METRIC_BUCKETS] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                              0.25,   0.5,   1,      2.5,   5,    10,    30,   60};

struct metric_family *metrics_family(struct metrics *m, enum metric_type type, const char *name,
                                     const char *help, const char *const *label_names)
{
    struct metric_family *f;

    mutex_lock(&m->lock);
    for (f = m->families; f; f = f->next)
        if (strcmp(f->name, name) == 0)
            break;
    if (!f) {
        f = xcalloc(1, sizeof *f);
        f->owner = m;
        f->type = type;
        f->name = name;
        f->help = help;
        while (label_names && label_names[f->label_count]) {
            ASSERT(f->label_count < METRIC_LABELS_MAX);
            f->labels[f->label_count] = label_names[f->label_count];
            f->label_count++;
        }
        ASSERT(type != METRIC_COUNTER || str_has_suffix(str_of(name), STR("_total")));
        *m->families_end = f;
        m->families_end = &f->next;
    }
    ASSERT(f->type == type);
    mutex_unlock(&m->lock);
    return f;
}

struct metrics *metrics_new(void)
{
    struct metrics *m = xcalloc(1, sizeof *m);

    mutex_init(&m->lock);
    m->families_end = &m->families;
    return m;
}

static void child_free(struct metric *c)
{
    free(c->key);
    free(c);
}

void metrics_free(struct metrics *m)
{
    struct metric_family *f, *next;
    struct metric *c, *tmp;

    if (!m)
        return;
    for (f = m->families; f; f = next) {
        next = f->next;
        HASH_ITER(hh, f->children, c, tmp)
        {
            HASH_DEL(f->children, c);
            child_free(c);
        }
        free(f);
    }
    vec_fini(&m->hooks);
    mutex_fini(&m->lock);
    free(m);
}

/* The child's key is its label set as it will be printed, so that printing needs no work and no
 * second copy. */
static void put_escaped(struct buf *out, struct str v)
{
    for (size_t at = 0; at < v.n;) {
        size_t n = utf8_step(v, at);

        if (n == 0)
            buf_z(out, "\xef\xbf\xbd");
        else if (v.p[at] == '\n')
            buf_z(out, "\\n");
        else {
            if (v.p[at] == '\\' || v.p[at] == '"')
                buf_char(out, '\\');
            buf_add(out, v.p + at, n);
        }
        at += n ? n : 1;
    }
}

static void key_of(const struct metric_family *f, const struct str *values, struct buf *out)
{
    for (size_t i = 0; i < f->label_count; i++) {
        if (i)
            buf_char(out, ',');
        buf_z(out, f->labels[i]);
        buf_z(out, "=\"");
        put_escaped(out, values[i]);
        buf_char(out, '"');
    }
    ASSERT(buf_ok(out));
}

static struct metric *child_find(struct metric_family *f, struct str key)
{
    struct metric *c = NULL;

    HASH_FIND(hh, f->children, key.p ? key.p : "", key.n, c);
    return c;
}

static struct metric *child_add(struct metric_family *f, struct str key)
{
    struct metric *c = aligned_alloc(64, (sizeof *c + 63) / 64 * 64);

    ASSERT(c != NULL);
    memset(c, 0, sizeof *c);
    c->family = f;
    c->key = str_dupz(key);
    c->key_n = key.n;
    HASH_ADD_KEYPTR(hh, f->children, c->key, c->key_n, c);
    f->child_count++;
    return c;
}

struct metric *metric_with_str(struct metric_family *f, const struct str *values, size_t n)
{
    struct metric *c;
    struct buf key;

    ASSERT(n == f->label_count);
    buf_init(&key, KEY_BYTES_MAX);
    key_of(f, values, &key);
    mutex_lock(&f->owner->lock);
    c = child_find(f, buf_view(&key));
    if (!c && f->child_count >= METRIC_CHILDREN_MAX) {
        struct str overflow[METRIC_LABELS_MAX];

        for (size_t i = 0; i < n; i++)
            overflow[i] = STR("overflow");
        buf_clear(&key);
        key_of(f, overflow, &key);
        c = child_find(f, buf_view(&key));
    }
    if (!c)
        c = child_add(f, buf_view(&key));
    mutex_unlock(&f->owner->lock);
    buf_fini(&key);
    return c;
}

struct metric *metric_with(struct metric_family *f, ...)
{
    struct str values[METRIC_LABELS_MAX];
    const char *z;
    size_t n = 0;
    va_list ap;

    va_start(ap, f);
    while ((z = va_arg(ap, const char *))) {
        ASSERT(n < METRIC_LABELS_MAX);
        values[n++] = str_of(z);
    }
    va_end(ap);
    return metric_with_str(f, values, n);
}

void metric_remove(struct metric_family *f, const struct str *values, size_t n)
{
    struct metric *c;
    struct buf key;

    ASSERT(n == f->label_count);
    buf_init(&key, KEY_BYTES_MAX);
    key_of(f, values, &key);
    mutex_lock(&f->owner->lock);
    c = child_find(f, buf_view(&key));
    if (c) {
        HASH_DEL(f->children, c);
        f->child_count--;
        child_free(c);
    }
    mutex_unlock(&f->owner->lock);
    buf_fini(&key);
}

static struct metric *plain(struct metrics *m, enum metric_type type, const char *name,
                            const char *help)
{
    return metric_with_str(metrics_family(m, type, name, help, NULL), NULL, 0);
}

struct metric *metrics_counter(struct metrics *m, const char *name, const char *help)
{
    return plain(m, METRIC_COUNTER, name, help);
}

struct metric *metrics_gauge(struct metrics *m, const char *name, const char *help)
{
    return plain(m, METRIC_GAUGE, name, help);
}

struct metric *metrics_histogram(struct metrics *m, const char *name, const char *help)
{
    return plain(m, METRIC_HISTOGRAM, name, help);
}

static void double_add(_Atomic double *at, double v)
{
    double old = atomic_load_explicit(at, memory_order_relaxed);

    while (!atomic_compare_exchange_weak_explicit(at, &old, old + v, memory_order_relaxed,
                                                  memory_order_relaxed))
        ;
}

void metric_add(struct metric *c, uint64_t n)
{
    DEBUG_ONLY(ASSERT(c->family->type == METRIC_COUNTER));
    atomic_fetch_add_explicit(&c->count, n, memory_order_relaxed);
}

void metric_add_f64(struct metric *c, double v)
{
    DEBUG_ONLY(ASSERT(c->family->type != METRIC_HISTOGRAM));
    double_add(&c->value, v);
}

void metric_set(struct metric *g, double v)
{
    DEBUG_ONLY(ASSERT(g->family->type == METRIC_GAUGE));
    atomic_store_explicit(&g->value, v, memory_order_relaxed);
}

void metric_observe(struct metric *h, double v)
{
    size_t i = 0;

    DEBUG_ONLY(ASSERT(h->family->type == METRIC_HISTOGRAM));
    while (i < METRIC_BUCKETS && v > metric_bounds[i])
        i++;
    atomic_fetch_add_explicit(&h->buckets[i], 1, memory_order_relaxed);
    double_add(&h->value, v);
}

double metric_value(const struct metric *m)
{
    uint64_t count = atomic_load_explicit(&m->count, memory_order_relaxed);

    if (m->family->type == METRIC_HISTOGRAM) {
        for (size_t i = 0; i <= METRIC_BUCKETS; i++)
            count += atomic_load_explicit(&m->buckets[i], memory_order_relaxed);
        return (double)count;
    }
    return (double)count + atomic_load_explicit(&m->value, memory_order_relaxed);
}

void metrics_on_collect(struct metrics *m, void (*fn)(void *arg), void *arg)
{
    mutex_lock(&m->lock);
    *vec_push(&m->hooks) = (struct metrics_hook){fn, arg};
    mutex_unlock(&m->lock);
}

size_t metrics_memory(struct metrics *m)
{
    size_t n = heap_bytes(m) + heap_bytes(m->hooks.v);

    mutex_lock(&m->lock);
    for (const struct metric_family *f = m->families; f; f = f->next) {
        n += heap_bytes(f) + UTHASH_BYTES(hh, f->children);
        for (const struct metric *c = f->children; c; c = c->hh.next)
            n += heap_bytes(c) + heap_bytes(c->key);
    }
    mutex_unlock(&m->lock);
    return n;
}
