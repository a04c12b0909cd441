/* Copying series out under the lock, a slice at a time, and handing them on without it. */
#include "tsdb/head_priv.h"

#include <stdlib.h>

enum { RESTARTS_MAX = 8 };

static int no_memory(struct err *err)
{
    return err_set(err, RC_NOMEM, "select: memory budget is spent");
}

/* --- one series --- */
static bool has_start(const struct window_filter *f, int64_t start)
{
    for (size_t i = 0; i < f->start_count; i++)
        if (f->starts[i] == start)
            return true;
    return false;
}

static bool passes(const struct head *h, const struct window_filter *f, const struct window *w)
{
    if (w->count == 0 || (f->starts && !has_start(f, w->start)))
        return false;
    if (f->set)
        return w->set == f->set;
    if (w->set == 0)
        return true;
    return h->sets.v[w->set - 1].gen == 0 || h->sets.v[w->set - 1].gen > f->gen;
}

struct copy {
    struct head *h;
    const struct head_series *s;
    struct arena *a;
    struct str *chunks;
    uint32_t n;
    size_t bytes;
    bool failed;
};

static void copy_chunk(void *arg, struct str chunk)
{
    struct copy *c = arg;
    struct str out = arena_str(c->a, chunk);

    c->failed |= !out.p;
    c->chunks[c->n++] = out;
    c->bytes += chunk.n;
}

/* Samples that are not chunks yet. */
static void copy_columns(struct copy *c, const struct chunk_columns *cols)
{
    struct head *h = c->h;

    if (cols->n > 0)
        c->failed |= stored_encode(cols, &h->scratch, &h->encoded, copy_chunk, c) < 0;
    arena_reset(&h->scratch);
}

static void copy_open(struct copy *c)
{
    struct chunk_columns cols;

    if (c->s->open)
        copy_chunk(c, chunk_open_view(c->s->open));
    if (c->s->extra && c->s->extra->hists.n > 0) {
        hist_open_columns(&c->s->extra->hists, &c->h->scratch, &cols);
        copy_columns(c, &cols);
    }
}

static void copy_waiting(struct copy *c, int64_t start)
{
    struct chunk_columns cols;
    int64_t end;

    window_start(c->s->fp, start, &end);
    ooo_columns(c->s, start, end, &c->h->scratch, &cols);
    copy_columns(c, &cols);
}

/* Upper bound of the chunks that a group of windows gives. */
static size_t chunk_bound(const struct copy *c, const struct window *const *group, size_t n)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++)
        for (const struct blob *b = group[i]->blobs; b; b = b->next)
            count++;
    /* The open float chunk, one chunk per histogram at worst, and the same for what waits out of
     * order. */
    count += 1;
    if (c->s->extra)
        count += c->s->extra->hists.n + c->s->extra->ooo_n;
    return count;
}

/* The chunks of instances of one window. */
static void copy_group(struct copy *c, const struct window *const *group, size_t n,
                       struct stored_window *ret)
{
    bool unsealed = false;

    c->chunks = arena_array(c->a, chunk_bound(c, group, n), sizeof *c->chunks);
    c->n = 0;
    if (!c->chunks) {
        c->failed = true;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        for (const struct blob *b = group[i]->blobs; b; b = b->next)
            copy_chunk(c, blob_str(b));
        if (group[i] == &c->s->cur)
            copy_open(c);
        unsealed |= group[i]->set == 0;
    }
    if (unsealed && c->s->extra && c->s->extra->ooo_n > 0)
        copy_waiting(c, ret->start_ms);
    ret->chunks = c->chunks;
    ret->chunk_count = c->n;
}

/* Digest, count and bounds of instances of one window: they have no sample in common. */
static struct stored_window sum_group(const struct window *const *group, size_t n)
{
    struct stored_window out = {
        .start_ms = group[0]->start, .mint_ms = INT64_MAX, .maxt_ms = INT64_MIN};

    for (size_t i = 0; i < n; i++) {
        out.mint_ms = MIN(out.mint_ms, group[i]->start + group[i]->mint_off);
        out.maxt_ms = MAX(out.maxt_ms, group[i]->start + group[i]->maxt_off);
        out.digest = u128_add(out.digest, group[i]->digest);
        out.count += group[i]->count;
    }
    return out;
}

/* Newest first, as they stand in the series. Returns how many. */
static size_t list_windows(const struct head *h, const struct head_series *s,
                           const struct window_filter *f, const struct window **ret)
{
    size_t n = 0;

    if (passes(h, f, &s->cur))
        ret[n++] = &s->cur;
    for (const struct window *w = s->cur.next; w; w = w->next)
        if (passes(h, f, w))
            ret[n++] = w;
    return n;
}

/* --- labels --- */
enum { LABEL_SLOTS_MIN = 64, LABEL_NEW_BYTES = 8 };
#define LABEL_LEFT_OUT (ID_NONE - 1)

void label_cache_init(struct label_cache *c)
{
    *c = (struct label_cache){0};
    arena_init(&c->a, SCRATCH_BYTES_MAX);
}

void label_cache_fini(struct label_cache *c)
{
    arena_fini(&c->a);
    free(c->slots);
    free(c->labels);
}

void label_cache_forget(struct label_cache *c)
{
    if (c->live)
        memset(c->slots, 0, c->cap * sizeof *c->slots);
    c->live = 0;
}

static struct label_slot *label_slot(const struct label_cache *c, uint32_t pair)
{
    uint32_t i = (uint32_t)mix64(pair) & (c->cap - 1);

    while (c->slots[i].number && c->slots[i].pair != pair)
        i = (i + 1) & (c->cap - 1);
    return &c->slots[i];
}

static void label_slots_grow(struct label_cache *c)
{
    struct label_cache old = *c;

    c->cap = old.cap ? old.cap * 2 : LABEL_SLOTS_MIN;
    c->slots = xcalloc(c->cap, sizeof *c->slots);
    for (uint32_t i = 0; i < old.cap; i++)
        if (old.slots[i].number)
            *label_slot(c, old.slots[i].pair) = old.slots[i];
    free(old.slots);
}

/* Number of a pair; LABEL_LEFT_OUT: not wanted; ID_NONE: no memory. *bytes grows by what a new one takes. */
static uint32_t label_number(struct label_cache *c, const struct postings *p, uint32_t pair,
                             const struct label_names *keep, size_t *bytes)
{
    struct label_slot *slot;
    struct label l;

    if (c->live * 2 >= c->cap)
        label_slots_grow(c);
    slot = label_slot(c, pair);
    if (slot->number)
        return slot->number - 1;
    if (!label_names_have(keep, postings_pair_name(p, pair))) {
        *slot = (struct label_slot){pair, LABEL_LEFT_OUT + 1};
        c->live++;
        return LABEL_LEFT_OUT;
    }
    l.name = arena_str(&c->a, postings_pair_name(p, pair));
    l.value = arena_str(&c->a, postings_pair_value(p, pair));
    if (!l.name.p || !l.value.p)
        return ID_NONE;
    if (c->n == c->labels_cap) {
        c->labels_cap = MAX(c->labels_cap * 2, (uint32_t)LABEL_SLOTS_MIN);
        c->labels = xrealloc(c->labels, c->labels_cap * sizeof *c->labels);
    }
    *slot = (struct label_slot){pair, c->n + 1};
    c->live++;
    c->labels[c->n] = l;
    *bytes += l.name.n + l.value.n + LABEL_NEW_BYTES;
    return c->n++;
}

/* Labels that are not wanted are left out where the cache makes that cheap. */
static bool labels_of(struct copy *c, const struct label_names *keep, struct label_cache *cache, struct stored_series *out)
{
    const struct head_series *s = c->s;
    uint32_t *numbers;
    size_t n = 0;

    if (!cache) {
        if (!series_labels(c->h, s, c->a, &out->labels))
            return false;
        for (size_t i = 0; i < out->labels.n; i++)
            c->bytes += out->labels.v[i].name.n + out->labels.v[i].value.n;
        return true;
    }
    out->labels.v = arena_array(c->a, s->label_count, sizeof *out->labels.v);
    out->label_numbers = numbers = arena_array(c->a, s->label_count, sizeof *numbers);
    if (!out->labels.v || !numbers)
        return false;
    for (size_t i = 0; i < s->label_count; i++) {
        uint32_t number = label_number(cache, c->h->postings, s->pairs[i], keep, &c->bytes);

        if (number == ID_NONE)
            return false;
        if (number == LABEL_LEFT_OUT)
            continue;
        numbers[n] = number;
        out->labels.v[n++] = cache->labels[number];
    }
    out->labels.n = n;
    c->bytes += sizeof(fingerprint) + 2 * n;
    return true;
}

int series_copy(struct head *h, const struct head_series *s, const struct window_filter *f,
                struct arena *a, struct label_cache *labels, struct stored_series *ret,
                size_t *ret_bytes, struct err *err)
{
    struct copy c = {.h = h, .s = s, .a = a};
    struct stored_series out = {.fp = s->fp};
    const struct window **v;
    struct stored_window *windows;
    size_t n = 1;

    for (const struct window *w = s->cur.next; w; w = w->next)
        n++;
    v = arena_array(a, n, sizeof *v);
    windows = arena_array(a, n, sizeof *windows);
    if (!v || !windows)
        return no_memory(err);
    n = list_windows(h, s, f, v);
    for (size_t end = n, at; end > 0; end = at) {
        struct stored_window w;

        for (at = end - 1; at > 0 && v[at - 1]->start == v[end - 1]->start; at--)
            ;
        w = sum_group(v + at, end - at);
        if (w.mint_ms > f->maxt_ms || w.maxt_ms < f->mint_ms)
            continue;
        if (f->mode == STORE_DATA)
            copy_group(&c, v + at, end - at, &w);
        if (c.failed)
            return no_memory(err);
        windows[out.window_count++] = w;
    }
    if (out.window_count == 0)
        return 0;
    if (f->mode != STORE_LABELS)
        out.windows = windows;
    else
        out.window_count = 0;
    if (!f->no_labels && !labels_of(&c, f->keep, labels, &out))
        return no_memory(err);
    *ret = out;
    *ret_bytes = c.bytes;
    return 1;
}

bool series_touches(const struct head_series *s, int64_t mint_ms, int64_t maxt_ms)
{
    if (s->cur.count > 0 && s->cur.start + s->cur.mint_off <= maxt_ms &&
        s->cur.start + s->cur.maxt_off >= mint_ms)
        return true;
    for (const struct window *w = s->cur.next; w; w = w->next)
        if (w->start + w->mint_off <= maxt_ms && w->start + w->maxt_off >= mint_ms)
            return true;
    return false;
}

/* --- select --- */
struct slice {
    struct arena a;
    size_t n, bytes;
    struct stored_series v[HEAD_SELECT_SLICE];
    size_t size[HEAD_SELECT_SLICE]; /* bytes of each */
    uint64_t seq[HEAD_SELECT_SLICE];
};
struct selecting {
    struct head *h;
    const struct store_select *q;
    struct window_filter filter;
    size_t bytes_max;
    struct match match;
    struct slice *slice;
    struct label_cache labels;
    uint64_t next_seq; /* where to go on */
    bool done;
};
enum { AGAIN = 1 };

static int stale(const struct head *h, uint64_t gen, struct err *err)
{
    return err_set(
        err, RC_STALE,
        "samples have left this head for blocks of index generation %lu, the reader has %lu",
        (unsigned long)h->dropped_gen, (unsigned long)gen);
}

/* Under the lock. Series that have nothing for the filter count too, so that a slice is short. */
static int slice_fill(struct selecting *sel, struct err *err)
{
    struct head *h = sel->h;
    struct slice *sl = sel->slice;
    uint32_t at = match_next(&sel->match, ordinal_of_seq(h, sel->next_seq));
    int rc = 0;

    if (h->dropped_gen > sel->filter.gen)
        return stale(h, sel->filter.gen, err);
    if (h->epoch != sel->match.epoch)
        return AGAIN;
    for (size_t seen = 0; at != ID_NONE && seen < HEAD_SELECT_SLICE && sl->bytes < sel->bytes_max;
         seen++) {
        const struct head_series *s = series_at(h, h->by_ordinal[at]);

        rc = shard_has(sel->q, s->fp)
                 ? series_copy(h, s, &sel->filter, &sl->a, &sel->labels, &sl->v[sl->n],
                               &sl->size[sl->n], err)
                 : 0;
        if (rc < 0)
            return rc;
        sel->next_seq = s->seq + 1;
        if (rc > 0) {
            sl->seq[sl->n] = s->seq;
            sl->bytes += sl->size[sl->n];
            sl->n++;
        }
        at = match_next(&sel->match, at + 1);
    }
    sel->done = at == ID_NONE;
    return 0;
}

/* The next slice; matchers are resolved again when ordinals have changed under them. */
static int slice_next(struct selecting *sel, struct err *err)
{
    int rc = AGAIN;

    arena_reset(&sel->slice->a);
    sel->slice->n = sel->slice->bytes = 0;
    for (int i = 0; i < RESTARTS_MAX && rc == AGAIN; i++) {
        if (!sel->match.bits) {
            rc = head_match(sel->h, sel->q, &sel->match, err);
            if (rc < 0)
                return rc;
        }
        lock_slice(sel->h);
        rc = slice_fill(sel, err);
        unlock_slice(sel->h);
        if (rc == AGAIN) {
            free(sel->match.bits);
            sel->match = (struct match){0};
            label_cache_forget(&sel->labels);
        }
    }
    return rc == AGAIN ? err_set(err, RC_UNAVAILABLE, "select: series are being removed, try again")
                       : rc;
}

/* 0: go on; 1: enough, *cursor says where to go on. */
static int slice_deliver(struct selecting *sel, size_t *bytes, size_t *given, uint64_t *cursor,
                         stored_series_fn *fn, void *arg, struct err *err)
{
    const struct slice *sl = sel->slice;

    for (size_t i = 0; i < sl->n; i++) {
        int rc;

        if (sel->q->series_max && *given == sel->q->series_max)
            return err_set(err, RC_LIMIT, "select: more than %zu series", sel->q->series_max);
        ++*given;
        rc = fn(arg, &sl->v[i]);
        if (rc < 0)
            return rc;
        *bytes += sl->size[i];
        *cursor = sl->seq[i] + 1;
        if (rc > 0 || *bytes >= sel->bytes_max)
            return 1;
    }
    return 0;
}

int head_select(struct head *h, const struct store_select *q, uint64_t gen, size_t bytes_max,
                uint64_t *cursor, stored_series_fn *fn, void *arg, struct err *err)
{
    struct selecting sel = {
        .h = h,
        .q = q,
        .filter = {.mint_ms = q->mint_ms, .maxt_ms = q->maxt_ms, .gen = gen, .mode = q->mode, .no_labels = q->no_labels, .keep = q->keep},
        .bytes_max = bytes_max,
        .slice = xmalloc(sizeof *sel.slice),
        .next_seq = *cursor,
    };
    size_t bytes = 0, given = 0;
    uint64_t at = *cursor;
    int rc = 0;

    arena_init(&sel.slice->a, SCRATCH_BYTES_MAX);
    label_cache_init(&sel.labels);
    while (rc == 0 && !sel.done) {
        rc = store_stopped(q->stop, err);
        if (rc == 0)
            rc = slice_next(&sel, err);
        if (rc == 0)
            rc = slice_deliver(&sel, &bytes, &given, &at, fn, arg, err);
    }
    if (rc >= 0)
        *cursor = rc > 0 ? at : 0;
    arena_fini(&sel.slice->a);
    label_cache_fini(&sel.labels);
    free(sel.match.bits);
    free(sel.slice);
    return MIN(rc, 0);
}

/* --- fetch --- */
struct fetching {
    struct head *h;
    struct str tenant;
    const fingerprint *fps;
    const int64_t *starts;
    size_t n, at;
    uint64_t gen;
};

/* Under the lock: the next runs of one fingerprint. */
static int fetch_fill(struct fetching *f, struct slice *sl, struct err *err)
{
    struct head *h = f->h;
    size_t end;
    int rc;

    if (h->dropped_gen > f->gen)
        return stale(h, f->gen, err);
    for (size_t seen = 0; f->at < f->n && seen < HEAD_SELECT_SLICE; f->at = end, seen++) {
        const struct head_series *s = series_find(h, f->tenant, f->fps[f->at]);
        struct window_filter filter = {
            .mint_ms = INT64_MIN, .maxt_ms = INT64_MAX, .gen = f->gen, .mode = STORE_DATA};

        for (end = f->at + 1; end < f->n && u128_eq(f->fps[end], f->fps[f->at]); end++)
            ;
        if (!s)
            continue;
        filter.starts = f->starts + f->at;
        filter.start_count = end - f->at;
        rc = series_copy(h, s, &filter, &sl->a, NULL, &sl->v[sl->n], &sl->size[sl->n], err);
        if (rc < 0)
            return rc;
        sl->n += rc > 0;
    }
    return 0;
}

int head_fetch(struct head *h, struct str tenant, const fingerprint *fps, const int64_t *starts,
               size_t n, uint64_t gen, const struct store_stop *stop, stored_series_fn *fn, void *arg,
               struct err *err)
{
    struct fetching f = {
        .h = h, .tenant = tenant, .fps = fps, .starts = starts, .n = n, .gen = gen};
    struct slice *sl = xmalloc(sizeof *sl);
    int rc = 0;

    arena_init(&sl->a, SCRATCH_BYTES_MAX);
    while (rc >= 0 && f.at < n && (rc = store_stopped(stop, err)) == 0) {
        arena_reset(&sl->a);
        sl->n = 0;
        lock_slice(h);
        rc = fetch_fill(&f, sl, err);
        unlock_slice(h);
        for (size_t i = 0; i < sl->n && rc >= 0; i++)
            rc = fn(arg, &sl->v[i]);
    }
    arena_fini(&sl->a);
    free(sl);
    return MIN(rc, 0);
}
