#include "querier/result_cache.h"

#include "common/sys/thread.h"

#include <stdlib.h>
#include <uthash.h>
#include <utlist.h>

enum { ENTRY_SHARE = 8 }; /* one entry takes at most this part of the cache */

struct entry {
    UT_hash_handle hh;
    struct entry *prev, *next; /* the least recently used first */
    struct u128 key;
    uint64_t generation;
    struct cached *range;
};
/* A range with what it owns; all of it in one arena. */
struct cached {
    struct cached_range base;
    struct arena arena;
    unsigned refs; /* under the lock */
};
struct result_cache {
    size_t bytes_max;
    struct mutex lock; /* --- guards all below --- */
    struct entry *by_key, *by_age;
    size_t bytes;
    struct metric *m_hits, *m_misses, *m_evictions, *m_bytes;
};

struct result_cache *result_cache_new(size_t bytes_max, struct metrics *metrics)
{
    struct result_cache *c = xcalloc(1, sizeof *c);

    c->bytes_max = bytes_max;
    mutex_init(&c->lock);
    c->m_hits = metrics_counter(metrics, "torc_querier_results_cache_hits_total", "Range queries of which a part was answered from earlier results.");
    c->m_misses = metrics_counter(metrics, "torc_querier_results_cache_misses_total", "Range queries that may be cached and found nothing.");
    c->m_evictions = metrics_counter(metrics, "torc_querier_results_cache_evictions_total", "Results that went to make room.");
    c->m_bytes = metrics_gauge(metrics, "torc_querier_results_cache_bytes", "Memory of the results cache.");
    return c;
}

/* Lock held. */
static void unref(struct result_cache *c, struct cached *r)
{
    if (--r->refs > 0)
        return;
    c->bytes -= r->arena.used;
    metric_set(c->m_bytes, (double)c->bytes);
    arena_fini(&r->arena);
    free(r);
}

/* Lock held. */
static void entry_drop(struct result_cache *c, struct entry *e)
{
    HASH_DEL(c->by_key, e);
    DL_DELETE(c->by_age, e);
    unref(c, e->range);
    free(e);
}

void result_cache_free(struct result_cache *c)
{
    if (!c)
        return;
    while (c->by_age)
        entry_drop(c, c->by_age);
    ASSERT(c->bytes == 0);
    mutex_fini(&c->lock);
    free(c);
}

/* Lock held. */
static struct entry *find(struct result_cache *c, struct u128 key)
{
    struct entry *e;

    HASH_FIND(hh, c->by_key, &key, sizeof key, e);
    return e;
}

struct cached_range *result_cache_get(struct result_cache *c, struct u128 key, uint64_t generation)
{
    struct cached *r = NULL;
    struct entry *e;

    mutex_lock(&c->lock);
    e = find(c, key);
    if (e && e->generation != generation) {
        entry_drop(c, e);
        e = NULL;
    }
    if (e) {
        DL_DELETE(c->by_age, e);
        DL_APPEND(c->by_age, e);
        r = e->range;
        r->refs++;
    }
    mutex_unlock(&c->lock);
    metric_inc(r ? c->m_hits : c->m_misses);
    return r ? &r->base : NULL;
}

void cached_range_unref(struct result_cache *c, struct cached_range *range)
{
    if (!range)
        return;
    mutex_lock(&c->lock);
    unref(c, CONTAINER_OF(range, struct cached, base));
    mutex_unlock(&c->lock);
}

/* --- copying --- */

static bool in_range(const struct cached_range *r, int64_t t)
{
    return t >= r->from_ms && t <= r->to_ms;
}

/* 1: copied, 0: nothing of it lies in the range, -1: out of memory. */
static int copy_series(struct cached *r, const struct result_series *from, struct result_series *to)
{
    size_t n = 0;

    for (size_t i = 0; i < from->n; i++)
        n += in_range(&r->base, from->s[i].t);
    if (n == 0)
        return 0;
    *to = (struct result_series){.labels = labels_dup(&r->arena, &from->labels), .s = arena_array(&r->arena, n, sizeof *to->s)};
    if (!to->s || (from->labels.n && !to->labels.v))
        return -1;
    for (size_t i = 0; i < from->n; i++)
        if (in_range(&r->base, from->s[i].t) && !result_sample_dup(&r->arena, &from->s[i], &to->s[to->n++]))
            return -1;
    return 1;
}

static bool copy_result(struct cached *r, const struct query_result *from)
{
    struct query_result *to = &r->base.res;

    *to = (struct query_result){.type = VALUE_MATRIX,
                                .series = arena_array(&r->arena, from->series_count, sizeof *to->series),
                                .warning_count = from->warning_count,
                                .info_count = from->info_count};
    if (!to->series)
        return false;
    for (size_t i = 0; i < from->series_count; i++) {
        int rc = copy_series(r, &from->series[i], &to->series[to->series_count]);

        if (rc < 0)
            return false;
        to->series_count += (size_t)rc;
    }
    return query_texts_dup(&r->arena, from->warnings, from->warning_count, &to->warnings) &&
           query_texts_dup(&r->arena, from->infos, from->info_count, &to->infos);
}

/* --- putting --- */

/* Lock held. */
static void make_room(struct result_cache *c)
{
    while (c->bytes > c->bytes_max && c->by_age) {
        entry_drop(c, c->by_age);
        metric_inc(c->m_evictions);
    }
}

void result_cache_put(struct result_cache *c, struct u128 key, uint64_t generation, int64_t from_ms, int64_t to_ms, int64_t step_ms,
                      const struct query_result *res)
{
    struct cached *r;
    struct entry *e;

    if (c->bytes_max == 0)
        return;
    r = xcalloc(1, sizeof *r);
    r->base = (struct cached_range){.from_ms = from_ms, .to_ms = to_ms, .step_ms = step_ms};
    r->refs = 1;
    arena_init(&r->arena, c->bytes_max / ENTRY_SHARE);
    if (!copy_result(r, res)) {
        arena_fini(&r->arena);
        free(r);
        return;
    }
    mutex_lock(&c->lock);
    e = find(c, key);
    if (e)
        entry_drop(c, e);
    e = xcalloc(1, sizeof *e);
    e->key = key;
    e->generation = generation;
    e->range = r;
    HASH_ADD(hh, c->by_key, key, sizeof e->key, e);
    DL_APPEND(c->by_age, e);
    c->bytes += r->arena.used;
    make_room(c);
    metric_set(c->m_bytes, (double)c->bytes);
    mutex_unlock(&c->lock);
}

size_t result_cache_bytes(struct result_cache *c)
{
    size_t n;

    mutex_lock(&c->lock);
    n = c->bytes;
    mutex_unlock(&c->lock);
    return n;
}
