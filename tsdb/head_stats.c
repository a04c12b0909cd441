/* Counts and walks of a head. */
#include "tsdb/head_priv.h"

#include <stdlib.h>

static struct head_tenant_stats stats_of(const struct tenant *tn, int64_t now_ms)
{
    struct head_tenant_stats st = {.series = tn->series, .samples = tn->samples};
    int64_t since = MAX(now_ms, TIMESTAMP_MIN_MS) - ACTIVE_MS;

    for (size_t i = tn->active.n; i > 0 && tn->active.v[i - 1].start_ms + ACTIVE_BUCKET_MS > since;
         i--)
        st.active_series += tn->active.v[i - 1].series;
    return st;
}

bool head_tenant_stats(struct head *h, struct str tenant, int64_t now_ms,
                       struct head_tenant_stats *ret)
{
    uint32_t id;

    lock_slice(h);
    id = tenant_find(h, tenant);
    if (id != ID_NONE)
        *ret = stats_of(h->tenants.v[id], now_ms);
    unlock_slice(h);
    return id != ID_NONE;
}

uint64_t head_metric_series(struct head *h, struct str tenant, struct str metric_name)
{
    uint64_t n = 0;
    uint32_t id, pair;

    lock_slice(h);
    id = tenant_find(h, tenant);
    if (id != ID_NONE) {
        pair = postings_pair_find(h->postings, id, STR(LABEL_METRIC_NAME), metric_name);
        n = pair == ID_NONE ? 0 : postings_pair(h->postings, pair)->list.count;
    }
    unlock_slice(h);
    return n;
}

void head_each_tenant(struct head *h,
                      void (*fn)(void *arg, struct str tenant, const struct head_tenant_stats *st),
                      void *arg)
{
    struct head_tenant_stats st;
    char *name;

    for (size_t i = 0;; i++) {
        lock_slice(h);
        while (i < h->tenants.n && !h->tenants.v[i])
            i++;
        name = NULL;
        if (i < h->tenants.n) {
            st = stats_of(h->tenants.v[i], h->max_ms);
            name = str_dupz(h->tenants.v[i]->name);
        }
        unlock_slice(h);
        if (!name)
            return;
        fn(arg, str_of(name), &st);
        free(name);
    }
}

/* --- walks over all series, a slice at a time --- */
struct walked {
    struct str tenant;
    fingerprint fp;
    struct labels labels;
};

/* Copies up to HEAD_SELECT_SLICE series from *seq on; false when the arena is full. */
static bool walk_slice(struct head *h, uint64_t *seq, struct arena *a, struct walked *out,
                       size_t *ret_n)
{
    uint32_t at = ordinal_of_seq(h, *seq);
    size_t n = 0;

    for (; at < h->ordinals && n < HEAD_SELECT_SLICE; at++, n++) {
        const struct head_series *s = series_at(h, h->by_ordinal[at]);

        out[n].fp = s->fp;
        out[n].tenant = arena_str(a, h->tenants.v[s->tenant]->name);
        if (!out[n].tenant.p || !series_labels(h, s, a, &out[n].labels))
            return false;
        *seq = s->seq + 1;
    }
    *ret_n = n;
    return true;
}

int head_each_series(struct head *h,
                     int (*fn)(void *arg, struct str tenant, fingerprint fp,
                               const struct labels *ls),
                     void *arg)
{
    struct walked *slice = xmalloc(HEAD_SELECT_SLICE * sizeof *slice);
    uint64_t seq = 0;
    struct arena a;
    size_t n;
    int rc = 0;

    arena_init(&a, SCRATCH_BYTES_MAX);
    do {
        n = 0;
        lock_slice(h);
        if (!walk_slice(h, &seq, &a, slice, &n))
            rc = RC_NOMEM;
        unlock_slice(h);
        for (size_t i = 0; i < n && rc >= 0; i++)
            rc = fn(arg, slice[i].tenant, slice[i].fp, &slice[i].labels);
        arena_reset(&a);
    } while (n > 0 && rc >= 0);
    arena_fini(&a);
    free(slice);
    return MIN(rc, 0);
}

static int walk_locked(struct head *h, const struct store_stop *stop,
                       void (*fn)(struct head *h, const struct head_series *s, void *arg),
                       void *arg, struct err *err)
{
    uint64_t seq = 0;
    bool more = true;
    int rc = 0;

    while (more && (rc = store_stopped(stop, err)) == 0) {
        uint32_t at, end;

        lock_slice(h);
        at = ordinal_of_seq(h, seq);
        end = MIN(h->ordinals, at + HEAD_SELECT_SLICE);
        for (; at < end; at++) {
            fn(h, series_at(h, h->by_ordinal[at]), arg);
            seq = series_at(h, h->by_ordinal[at])->seq + 1;
        }
        more = end < h->ordinals;
        unlock_slice(h);
    }
    return rc;
}

void head_walk_locked(struct head *h, void (*fn)(struct head *h, const struct head_series *s, void *arg), void *arg)
{
    walk_locked(h, NULL, fn, arg, NULL);
}

static void min_of_series(struct head *h, const struct head_series *s, void *arg)
{
    int64_t *min = arg;

    if (s->cur.count > 0)
        *min = MIN(*min, s->cur.start + s->cur.mint_off);
    for (const struct window *w = s->cur.next; w; w = w->next)
        if (w->set == 0 || h->sets.v[w->set - 1].gen == 0)
            *min = MIN(*min, w->start + w->mint_off);
}

int64_t head_min_ms(struct head *h)
{
    int64_t min = INT64_MAX;

    head_walk_locked(h, min_of_series, &min);
    return min;
}

int64_t head_max_ms(struct head *h)
{
    int64_t max;

    lock_slice(h);
    max = h->max_ms;
    unlock_slice(h);
    return max;
}

/* --- how much there is --- */
int head_count(struct head *h, const struct store_select *q, uint64_t *ret, struct err *err)
{
    struct match m;
    int rc = head_match(h, q, &m, err);

    if (rc < 0)
        return rc;
    *ret = 0;
    for (uint32_t at = match_next(&m, 0); at != ID_NONE; at = match_next(&m, at + 1))
        ++*ret;
    free(m.bits);
    return 0;
}

enum { PAIRS_SLICE = 1024 };

struct pair_count {
    struct str name, value;
    uint64_t series;
};

/* Copies up to PAIRS_SLICE pairs of the tenant from *at on; false: the arena is full. */
static bool pairs_slice(struct head *h, uint32_t tenant, uint32_t *at, struct arena *a, struct pair_count *out, size_t *ret_n)
{
    uint32_t bound = postings_pair_bound(h->postings), end = MIN(bound, *at + PAIRS_SLICE);
    size_t n = 0;

    for (; *at < end; ++*at) {
        const struct pair *p = postings_pair(h->postings, *at);
        const struct postings_name *name = p->list.count ? postings_name_at(h->postings, p->name) : NULL;

        if (!name || name->tenant != tenant || name->symbol == ID_NONE)
            continue;
        out[n] = (struct pair_count){arena_str(a, postings_pair_name(h->postings, *at)), arena_str(a, postings_pair_value(h->postings, *at)), p->list.count};
        if (!out[n].name.p || !out[n].value.p)
            return false;
        n++;
    }
    *ret_n = n;
    return true;
}

int head_each_pair(struct head *h, struct str tenant, const struct store_stop *stop, int (*fn)(void *arg, struct str name, struct str value, uint64_t series), void *arg,
                   struct err *err)
{
    struct pair_count *slice = xmalloc(PAIRS_SLICE * sizeof *slice);
    struct arena a;
    uint32_t at = 0;
    bool more = true;
    int rc = 0;

    arena_init(&a, SCRATCH_BYTES_MAX);
    while (more && rc >= 0 && (rc = store_stopped(stop, err)) == 0) {
        size_t n = 0;
        uint32_t id;

        lock_slice(h);
        id = tenant_find(h, tenant);
        if (id != ID_NONE && !pairs_slice(h, id, &at, &a, slice, &n))
            rc = RC_NOMEM;
        more = id != ID_NONE && at < postings_pair_bound(h->postings);
        unlock_slice(h);
        for (size_t i = 0; i < n && rc >= 0; i++)
            rc = fn(arg, slice[i].name, slice[i].value, slice[i].series);
        arena_reset(&a);
    }
    arena_fini(&a);
    free(slice);
    return MIN(rc, 0);
}

struct extent_walk {
    struct head_extent *e;
    struct str tenant;
};

static void extent_of_window(struct head_extent *e, int64_t start, const struct window *w)
{
    if (w->count == 0)
        return;
    e->mint_ms = MIN(e->mint_ms, start + w->mint_off);
    e->maxt_ms = MAX(e->maxt_ms, start + w->maxt_off);
    for (const struct blob *b = w->blobs; b; b = b->next) {
        e->chunks++;
        e->chunk_bytes += b->n;
    }
}

static void extent_of_series(struct head *h, const struct head_series *s, void *arg)
{
    struct extent_walk *walk = arg;
    struct head_extent *e = walk->e;

    if (!str_eq(h->tenants.v[s->tenant]->name, walk->tenant))
        return;
    e->series++;
    if (s->open) {
        e->chunks++;
        e->chunk_bytes += chunk_open_memory(s->open);
    }
    for (const struct window *w = &s->cur; w; w = w->next)
        extent_of_window(e, w->start, w);
}

int head_extent(struct head *h, struct str tenant, const struct store_stop *stop, struct head_extent *ret, struct err *err)
{
    struct extent_walk walk = {ret, tenant};
    struct head_tenant_stats st = {0};
    int rc;

    *ret = (struct head_extent){.mint_ms = INT64_MAX, .maxt_ms = INT64_MIN};
    rc = walk_locked(h, stop, extent_of_series, &walk, err);
    if (head_tenant_stats(h, tenant, 0, &st))
        ret->samples = st.samples;
    return rc;
}
