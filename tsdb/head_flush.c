/* Windows leave the head: sealed into a set, written from there, published, dropped. */
#include "tsdb/head_priv.h"

#include <stdlib.h>

/* --- sets --- */
/* Index + 1; 0: unknown. */
static uint32_t set_find(const struct head *h, uint64_t id)
{
    for (size_t i = 0; i < h->sets.n; i++)
        if (h->sets.v[i].used && h->sets.v[i].id == id)
            return (uint32_t)i + 1;
    return 0;
}

static uint32_t set_make(struct head *h, uint64_t id)
{
    uint32_t set = set_find(h, id);
    size_t i = 0;

    if (set)
        return set;
    while (i < h->sets.n && h->sets.v[i].used)
        i++;
    if (i == h->sets.n)
        (void)vec_push(&h->sets);
    h->sets.v[i] = (struct flush_set){.id = id, .used = true};
    h->set_max = MAX(h->set_max, id);
    return (uint32_t)i + 1;
}

/* Of the windows not in a set; INT64_MAX: none. */
static int64_t series_min_start(const struct head_series *s)
{
    int64_t min = s->cur.count > 0 ? s->cur.start : INT64_MAX;

    for (const struct window *w = s->cur.next; w; w = w->next)
        if (w->set == 0)
            min = MIN(min, w->start);
    return min;
}

/* Quick, because appending waits: chunks are merged and encoded by size when the set is written,
 * without the lock. */
static uint64_t seal_series(struct head *h, struct head_series *s, int64_t below_ms, uint32_t set)
{
    uint64_t n = 0;

    if (s->extra && series_min_start(s) < below_ms)
        ooo_fold(h, s, INT64_MIN, INT64_MAX);
    if (s->cur.start < below_ms)
        series_close_current(h, s, false);
    for (struct window *w = s->cur.next; w; w = w->next) {
        if (w->set || w->start >= below_ms)
            continue;
        w->set = set & INT32_MAX;
        w->imaged = 0;
        n++;
    }
    if (s->extra && s->extra->ooo_n == 0 && s->extra->hists.n == 0) {
        ooo_fini(s->extra);
        free(s->extra);
        s->extra = NULL;
    }
    return n;
}

uint64_t head_seal(struct head *h, int64_t below_ms, uint64_t set_id)
{
    uint32_t set = set_make(h, set_id);
    uint64_t n = 0;

    ASSERT(h->locked && h->sets.v[set - 1].gen == 0);
    for (uint32_t i = 0; i < h->ordinals; i++)
        n += seal_series(h, series_at(h, h->by_ordinal[i]), below_ms, set);
    h->sets.v[set - 1].below_ms = below_ms;
    h->sets.v[set - 1].windows += n;
    return n;
}

void head_published(struct head *h, uint64_t set_id, uint64_t gen)
{
    uint32_t set;

    lock_slice(h);
    set = set_make(h, set_id); /* may move the sets */
    h->sets.v[set - 1].gen = gen;
    h->sets.v[set - 1].published = true;
    unlock_slice(h);
}

/* --- drop --- */
static uint64_t drop_windows(struct head *h, struct head_series *s, uint32_t set)
{
    struct window **at = &s->cur.next;
    uint64_t n = 0;

    while (*at) {
        struct window *w = *at;

        if (w->set != set) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        ooo_indexes_forget(&h->late);
        h->tenants.v[s->tenant]->samples -= w->count;
        window_free(w);
        n++;
    }
    return n;
}

/* Slice by slice: whoever could still need the windows is refused from the start, by dropped_gen.
 */
static void drop_set(struct head *h, uint32_t set)
{
    uint64_t seq = 0;
    bool more = true;

    while (more) {
        uint32_t at, end;

        lock_slice(h);
        at = ordinal_of_seq(h, seq);
        end = MIN(h->ordinals, at + HEAD_SELECT_SLICE);
        for (; at < end; at++) {
            struct head_series *s = series_at(h, h->by_ordinal[at]);

            h->sets.v[set - 1].windows -= drop_windows(h, s, set);
            seq = s->seq + 1;
        }
        more = end < h->ordinals;
        if (!more) {
            ASSERT(h->sets.v[set - 1].windows == 0);
            h->sets.v[set - 1] = (struct flush_set){0};
        }
        unlock_slice(h);
    }
}

static bool series_idle(const struct head_series *s, int64_t idle_before_ms)
{
    return s->cur.count == 0 && !s->cur.next && s->newest < idle_before_ms;
}

/* Under the lock: numbers the remaining series anew. NULL when none is idle. */
static uint32_t *remove_idle(struct head *h, int64_t idle_before_ms)
{
    uint32_t *map, kept = 0;
    bool any = false;

    for (uint32_t i = 0; i < h->ordinals && !any; i++)
        any = series_idle(series_at(h, h->by_ordinal[i]), idle_before_ms);
    if (!any)
        return NULL;
    map = xmalloc(h->ordinals * sizeof *map);
    for (uint32_t i = 0; i < h->ordinals; i++) {
        uint32_t id = h->by_ordinal[i];

        if (series_idle(series_at(h, id), idle_before_ms)) {
            series_remove(h, id);
            map[i] = ID_NONE;
        } else {
            map[i] = kept;
            h->by_ordinal[kept++] = id;
        }
    }
    h->ordinals = kept;
    if (kept < h->ordinal_cap / 2) {
        h->ordinal_cap = MAX(kept, (uint32_t)ORDINALS_MIN);
        h->by_ordinal = xrealloc(h->by_ordinal, h->ordinal_cap * sizeof *h->by_ordinal);
    }
    return map;
}

void head_forget_idle(struct head *h, int64_t idle_before_ms)
{
    uint32_t *map;

    lock_slice(h);
    map = remove_idle(h, idle_before_ms);
    if (map) {
        h->epoch++;
        postings_rebuild(h->postings, map);
        for (uint32_t i = 0; i < h->tenants.n; i++) {
            if (!h->tenants.v[i])
                continue;
            posting_list_remap(&h->tenants.v[i]->all, map);
            tenant_trim(h, i);
        }
    }
    unlock_slice(h);
    free(map);
}

void head_drop(struct head *h, uint64_t set_id, int64_t idle_before_ms)
{
    uint32_t set;

    lock_slice(h);
    set = set_find(h, set_id);
    if (set)
        h->dropped_gen = MAX(h->dropped_gen, h->sets.v[set - 1].gen);
    unlock_slice(h);
    if (set)
        drop_set(h, set);
    head_forget_idle(h, idle_before_ms);
}

/* --- writing a set: the series in order of tenant and labels --- */
struct flush_entry {
    const struct head_series *s; /* stays: it has a window in the set */
    struct str tenant;
};
struct pair_text {
    struct str name, value;
    uint32_t pair;
};
struct flushing {
    struct head *h;
    uint32_t set;
    VEC(struct flush_entry) series;
    VEC(struct pair_text) texts;
    uint32_t
        *rank; /* by pair: place among all pairs of the set; labels compare as their ranks do */
    uint32_t pairs;
};

static bool in_set(const struct head_series *s, uint32_t set)
{
    for (const struct window *w = s->cur.next; w; w = w->next)
        if (w->set == set)
            return true;
    return false;
}

static void flush_collect(struct flushing *f)
{
    struct head *h = f->h;
    uint64_t seq = 0;
    bool more = true;

    while (more) {
        uint32_t at, end;

        lock_slice(h);
        at = ordinal_of_seq(h, seq);
        end = MIN(h->ordinals, at + HEAD_SELECT_SLICE);
        for (; at < end; at++) {
            const struct head_series *s = series_at(h, h->by_ordinal[at]);

            if (in_set(s, f->set))
                *vec_push(&f->series) = (struct flush_entry){s, h->tenants.v[s->tenant]->name};
            seq = s->seq + 1;
        }
        more = end < h->ordinals;
        f->pairs = postings_pair_bound(h->postings);
        unlock_slice(h);
    }
}

/* Strings do not move and stay while the series have them: only their addresses are read under the
 * lock. */
static void flush_texts(struct flushing *f)
{
    const struct postings *p = f->h->postings;

    f->rank = xcalloc(f->pairs, sizeof *f->rank);
    for (size_t i = 0; i < f->series.n; i++) {
        const struct head_series *s = f->series.v[i].s;

        if (i % HEAD_SELECT_SLICE == 0)
            lock_slice(f->h);
        for (uint32_t k = 0; k < s->label_count; k++) {
            uint32_t pair = s->pairs[k];

            ASSERT(pair < f->pairs);
            if (f->rank[pair]++ == 0)
                *vec_push(&f->texts) = (struct pair_text){postings_pair_name(p, pair),
                                                          postings_pair_value(p, pair), pair};
        }
        if (i % HEAD_SELECT_SLICE == HEAD_SELECT_SLICE - 1 || i + 1 == f->series.n)
            unlock_slice(f->h);
    }
}

static int by_pair_text(const void *a, const void *b)
{
    const struct pair_text *x = a, *y = b;
    int c = str_cmp(x->name, y->name);

    return c ? c : str_cmp(x->value, y->value);
}

static int by_tenant_and_rank(const void *a, const void *b, void *arg)
{
    const struct flush_entry *x = a, *y = b;
    const uint32_t *rank = arg;
    uint32_t n = MIN(x->s->label_count, y->s->label_count);

    if (x->s->tenant != y->s->tenant)
        return str_cmp(x->tenant, y->tenant);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t rx = rank[x->s->pairs[i]], ry = rank[y->s->pairs[i]];

        if (rx != ry)
            return rx < ry ? -1 : 1;
    }
    return (x->s->label_count > y->s->label_count) - (x->s->label_count < y->s->label_count);
}

static void flush_sort(struct flushing *f)
{
    flush_texts(f);
    if (f->texts.n > 0)
        qsort(f->texts.v, f->texts.n, sizeof *f->texts.v, by_pair_text);
    for (size_t i = 0; i < f->texts.n; i++)
        f->rank[f->texts.v[i].pair] = (uint32_t)i;
    if (f->series.n > 0)
        qsort_r(f->series.v, f->series.n, sizeof *f->series.v, by_tenant_and_rank, f->rank);
}

enum { FLUSH_SLICE_BYTES = 16 << 20 };

struct head_flush_iter {
    struct flushing f;
    struct stored_series slice[HEAD_SELECT_SLICE];
    struct stored_series out; /* the one handed out */
    struct arena arena, own;  /* of the slice; of out */
    size_t from, to, next;    /* slice is series[from, to), next to hand out */
};

static int slice_copy(struct head_flush_iter *it, struct err *err)
{
    const struct window_filter filter = {
        .mint_ms = INT64_MIN, .maxt_ms = INT64_MAX, .set = it->f.set, .mode = STORE_DATA};
    size_t bytes;
    int rc = 0;

    it->from = it->to;
    arena_reset(&it->arena);
    lock_slice(it->f.h);
    while (it->to < it->f.series.n && it->to - it->from < HEAD_SELECT_SLICE &&
           it->arena.used < FLUSH_SLICE_BYTES && rc >= 0) {
        rc = series_copy(it->f.h, it->f.series.v[it->to].s, &filter, &it->arena, NULL,
                         &it->slice[it->to - it->from], &bytes, err);
        ASSERT(rc != 0);
        it->to++;
    }
    unlock_slice(it->f.h);
    return MIN(rc, 0);
}

int head_flush_iter_new(struct head *h, uint64_t set_id, struct head_flush_iter **ret,
                        struct err *err)
{
    struct head_flush_iter *it;
    uint32_t set;

    lock_slice(h);
    set = set_find(h, set_id);
    unlock_slice(h);
    if (!set)
        return err_set(err, RC_NOT_FOUND, "flush set %lu is not there", (unsigned long)set_id);
    it = xcalloc(1, sizeof *it);
    it->f = (struct flushing){.h = h, .set = set};
    arena_init(&it->arena, SCRATCH_BYTES_MAX);
    arena_init(&it->own, SCRATCH_BYTES_MAX);
    flush_collect(&it->f);
    flush_sort(&it->f);
    *ret = it;
    return 0;
}

int head_flush_iter_next(struct head_flush_iter *it, struct str *ret_tenant,
                         const struct stored_series **ret, struct err *err)
{
    int rc = 0;

    if (it->next == it->f.series.n)
        return 0;
    if (it->next == it->to)
        rc = slice_copy(it, err);
    arena_reset(&it->own);
    if (rc == 0)
        rc = stored_series_compact(&it->slice[it->next - it->from], &it->own, &it->out, err);
    if (rc < 0)
        return rc;
    *ret_tenant = it->f.series.v[it->next++].tenant;
    *ret = &it->out;
    return 1;
}

void head_flush_iter_free(struct head_flush_iter *it)
{
    if (!it)
        return;
    arena_fini(&it->arena);
    arena_fini(&it->own);
    vec_fini(&it->f.series);
    vec_fini(&it->f.texts);
    free(it->f.rank);
    free(it);
}

int head_flush_each(struct head *h, uint64_t set_id,
                    int (*fn)(void *arg, struct str tenant, const struct stored_series *s),
                    void *arg, struct err *err)
{
    const struct stored_series *s;
    struct head_flush_iter *it;
    struct str tenant;
    int rc = head_flush_iter_new(h, set_id, &it, err);

    if (rc < 0)
        return rc;
    while ((rc = head_flush_iter_next(it, &tenant, &s, err)) > 0) {
        rc = fn(arg, tenant, s);
        if (rc < 0)
            break;
    }
    head_flush_iter_free(it);
    return rc;
}
