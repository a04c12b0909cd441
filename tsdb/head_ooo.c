/* Samples behind the newest: is one there already, and the buffer they wait in. */
#include "tsdb/head_priv.h"

#include <stdlib.h>

/* --- finding --- */
/* Index of the first of n ascending times that is >= t. */
static size_t time_lower(const int64_t *v, size_t n, int64_t t)
{
    size_t lo = 0, hi = n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (v[mid] < t)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool find_in_columns(const struct chunk_columns *c, int64_t t, struct found *ret)
{
    size_t i = time_lower(c->t, c->n, t);

    if (i == c->n || c->t[i] != t)
        return false;
    *ret = (struct found){.vbits = double_bits(c->v[i])};
    if (c->hist && c->hist[i]) {
        ret->is_hist = true;
        ret->hist = *c->hist[i];
    }
    return true;
}

static bool find_in_chunk(struct str bytes, int64_t t, struct arena *a, struct found *ret)
{
    struct chunk_columns c;
    struct chunk_info info;

    ASSERT(chunk_info(bytes, &info, NULL) == 0);
    if (t < info.mint_ms || t > info.maxt_ms)
        return false;
    ASSERT(chunk_decode(bytes, a, &c, NULL) == 0);
    return find_in_columns(&c, t, ret);
}

static bool find_in_blobs(const struct window *w, int64_t t, struct arena *a, struct found *ret)
{
    for (const struct blob *b = w->blobs; b; b = b->next)
        if (find_in_chunk(blob_str(b), t, a, ret))
            return true;
    return false;
}

static void hist_of(struct str bytes, struct arena *a, struct found *ret)
{
    struct rd r = rd_of(bytes);

    *ret = (struct found){.is_hist = true};
    ASSERT(histogram_decode(&r, a, &ret->hist, NULL) == 0);
}

static bool find_in_hists(const struct hist_open *o, int64_t t, struct arena *a, struct found *ret)
{
    uint32_t lo = 0, hi = o->n;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (o->v[mid].t < t)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == o->n || o->v[lo].t != t)
        return false;
    hist_of(str_n(o->bytes.p + o->v[lo].at, o->v[lo].n), a, ret);
    return true;
}

static uint32_t ooo_lower(const struct series_extra *x, int64_t t)
{
    uint32_t lo = 0, hi = x->ooo_n;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (x->ooo[mid].t < t)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool find_in_ooo(const struct series_extra *x, int64_t t, struct arena *a, struct found *ret)
{
    uint32_t i = ooo_lower(x, t);

    if (i == x->ooo_n || x->ooo[i].t != t)
        return false;
    if (x->ooo[i].hist)
        hist_of(str_n(x->ooo[i].hist, x->ooo[i].hist_n), a, ret);
    else
        *ret = (struct found){.vbits = x->ooo[i].vbits};
    return true;
}

static bool find_in_current(const struct head_series *s, int64_t t, struct arena *a,
                            struct found *ret)
{
    if (s->open && find_in_chunk(chunk_open_view(s->open), t, a, ret))
        return true;
    if (s->extra && find_in_hists(&s->extra->hists, t, a, ret))
        return true;
    return find_in_blobs(&s->cur, t, a, ret);
}

/* --- the index --- */

static bool current_is(const struct head_series *s, int64_t start)
{
    return s->cur.count > 0 && s->cur.start == start;
}

/* Floats of the open chunk, when that window is the current one. */
static uint32_t open_count(const struct head_series *s, int64_t start)
{
    return current_is(s, start) && s->open ? chunk_open_count(s->open) : 0;
}

/* What the index of a window must hold: all but the open histograms, which are found without. */
static uint64_t indexed_count(const struct head_series *s, int64_t start)
{
    uint64_t n = current_is(s, start) ? s->cur.count - (s->extra ? s->extra->hists.n : 0) : 0;

    for (const struct window *w = s->cur.next; w && w->start >= start; w = w->next)
        n += w->start == start ? w->count : 0;
    return n;
}

/* Those of a chunk from one on. */
static void index_chunk(struct head *h, struct ooo_index *x, struct str bytes, size_t from, struct arena *a)
{
    struct chunk_columns c;

    ASSERT(chunk_decode(bytes, a, &c, NULL) == 0);
    ooo_index_add_columns(&h->late, x, &c, from);
}

static void index_blobs(struct head *h, struct ooo_index *x, const struct window *w, struct arena *a)
{
    for (const struct blob *b = w->blobs; b; b = b->next)
        index_chunk(h, x, blob_str(b), 0, a);
}

/* Samples of the open chunk that the index does not know. */
static void index_open(struct head *h, struct ooo_index *x, const struct head_series *s, struct arena *a)
{
    uint32_t n = open_count(s, x->start);

    if (n > x->open_n)
        index_chunk(h, x, chunk_open_view(s->open), x->open_n, a);
    x->open_n = n;
}

static void index_build(struct head *h, struct ooo_index *x, const struct head_series *s, uint64_t n, struct arena *a)
{
    int64_t start = x->start, end;
    struct chunk_columns late;

    if (!ooo_index_begin(&h->late, x, n))
        return;
    if (current_is(s, start))
        index_blobs(h, x, &s->cur, a);
    for (const struct window *w = s->cur.next; w && w->start >= start; w = w->next)
        if (w->start == start)
            index_blobs(h, x, w, a);
    ASSERT(window_start(s->fp, start, &end) == start);
    ooo_columns(s, start, end, a, &late);
    ooo_index_add_columns(&h->late, x, &late, 0);
    index_open(h, x, s, a);
    ASSERT(x->n == n);
}

/* The index of that window, complete, or NULL: it is asked about for the first time, or has too few or too many samples. */
static const struct ooo_index *index_of(struct head *h, const struct head_series *s, int64_t start, struct arena *a)
{
    uint64_t n = indexed_count(s, start);
    struct ooo_index *x;

    if (n < OOO_INDEX_MIN)
        return NULL;
    x = ooo_indexes_find(&h->late, s->seq, start);
    if (!x) {
        ooo_indexes_note(&h->late, s->seq, start);
        return NULL;
    }
    if (x->cap > 0 && open_count(s, start) >= x->open_n && x->n + (open_count(s, start) - x->open_n) == n)
        index_open(h, x, s, a);
    else
        index_build(h, x, s, n, a);
    return x->cap > 0 ? x : NULL;
}

/* The index follows what is added; when it does not know of something else yet, that is found by counting. */
static void index_follow(struct head *h, const struct head_series *s, const struct window *w, int64_t t, uint64_t vbits, bool hist)
{
    struct ooo_index *x = ooo_indexes_find(&h->late, s->seq, w->start);

    if (x && x->cap > 0)
        ooo_index_add(&h->late, x, (uint32_t)(t - w->start), hist ? OOO_HIST : OOO_FLOAT, vbits);
}

bool series_find_sample(struct head *h, const struct head_series *s, int64_t t, struct arena *a,
                        struct found *ret)
{
    int64_t start = window_start(s->fp, t, NULL);
    const struct ooo_index *x;
    enum ooo_kind kind;
    uint64_t vbits;

    ASSERT(h->tenants.v[s->tenant]);
    if (s->extra && find_in_ooo(s->extra, t, a, ret))
        return true;
    x = index_of(h, s, start, a);
    kind = x ? ooo_index_find(x, (uint32_t)(t - start), &vbits) : OOO_HIST;
    if (kind == OOO_ABSENT)
        return current_is(s, start) && s->extra && find_in_hists(&s->extra->hists, t, a, ret);
    if (kind == OOO_FLOAT) {
        *ret = (struct found){.vbits = vbits};
        return true;
    }
    if (s->cur.count > 0 && s->cur.start == start && window_has(&s->cur, t) &&
        find_in_current(s, t, a, ret))
        return true;
    for (const struct window *w = s->cur.next; w && w->start >= start; w = w->next)
        if (w->start == start && window_has(w, t) && find_in_blobs(w, t, a, ret))
            return true;
    return false;
}

/* --- the buffer --- */
static void ooo_insert(struct series_extra *x, struct ooo_sample sample)
{
    uint32_t at = ooo_lower(x, sample.t);

    ASSERT(x->ooo_n < OOO_SAMPLES && (at == x->ooo_n || x->ooo[at].t != sample.t));
    if (x->ooo_n == x->ooo_cap) {
        x->ooo_cap = x->ooo_cap ? x->ooo_cap * 2 : 4;
        x->ooo = xrealloc(x->ooo, x->ooo_cap * sizeof *x->ooo);
    }
    memmove(&x->ooo[at + 1], &x->ooo[at], (x->ooo_n - at) * sizeof *x->ooo);
    x->ooo[at] = sample;
    x->ooo_n++;
}

void ooo_add(struct head *h, struct head_series *s, int64_t t, uint64_t vbits, int64_t st,
             struct str hist)
{
    struct window *w = series_window(s, window_start(s->fp, t, NULL));
    struct series_extra *x = series_extra(s);
    struct ooo_sample sample = {.t = t, .st = st, .vbits = vbits};

    if (hist.p) {
        sample.hist = xmemdup(hist.p, hist.n);
        sample.hist_n = (uint32_t)hist.n;
    }
    window_count(w, t, sample_hash(t, vbits, st));
    index_follow(h, s, w, t, vbits, hist.p != NULL);
    h->tenants.v[s->tenant]->samples++;
    ooo_insert(x, sample);
    if (x->ooo_n == OOO_SAMPLES)
        ooo_fold(h, s, INT64_MIN, INT64_MAX);
}

void ooo_columns(const struct head_series *s, int64_t from, int64_t to, struct arena *a,
                 struct chunk_columns *ret)
{
    const struct series_extra *x = s->extra;
    uint32_t at = x ? ooo_lower(x, from) : 0, end = at, n;

    while (x && end < x->ooo_n && x->ooo[end].t < to)
        end++;
    n = end - at;
    *ret = (struct chunk_columns){.n = n};
    ret->t = arena_array(a, n, sizeof *ret->t);
    ret->v = arena_array(a, n, sizeof *ret->v);
    ret->st = arena_array(a, n, sizeof *ret->st);
    ret->hist = arena_zalloc(a, n * sizeof *ret->hist);
    ASSERT(ret->t && ret->v && ret->st && ret->hist);
    for (uint32_t i = 0; i < n; i++) {
        const struct ooo_sample *o = &x->ooo[at + i];

        ret->t[i] = o->t;
        ret->st[i] = o->st;
        ret->v[i] = o->hist ? 0 : bits_double(o->vbits);
        if (o->hist) {
            struct histogram *hist = arena_alloc(a, sizeof *hist);
            struct rd r = rd_of(str_n(o->hist, o->hist_n));

            ASSERT(hist && histogram_decode(&r, a, hist, NULL) == 0);
            ret->hist[i] = hist;
        }
    }
}

static size_t small_chunks(const struct window *w)
{
    struct chunk_info info;
    size_t n = 0;

    for (const struct blob *b = w->blobs; b; b = b->next) {
        ASSERT(chunk_info(blob_str(b), &info, NULL) == 0);
        n += info.count < CHUNK_SAMPLES_MAX / 2;
    }
    return n;
}

void window_tidy(struct head *h, struct window *w)
{
    if (small_chunks(w) >= WINDOW_SMALL_CHUNKS_MAX)
        window_merge(h, w, CHUNK_SAMPLES_MAX / 2);
}

void ooo_fold(struct head *h, struct head_series *s, int64_t from, int64_t to)
{
    struct series_extra *x = s->extra;
    uint32_t at, end;

    if (!x)
        return;
    at = ooo_lower(x, from);
    for (end = at; end < x->ooo_n && x->ooo[end].t < to;) {
        struct chunk_columns c;
        struct window *w;
        int64_t window_end, start = window_start(s->fp, x->ooo[end].t, &window_end);

        w = series_window(s, start);
        ASSERT(w->count > 0);
        ooo_columns(s, MAX(start, from), MIN(window_end, to), &h->scratch, &c);
        window_add_columns(h, w, &c);
        arena_reset(&h->scratch);
        window_tidy(h, w);
        end += (uint32_t)c.n;
    }
    if (end == at)
        return;
    for (uint32_t i = at; i < end; i++)
        free(x->ooo[i].hist);
    memmove(&x->ooo[at], &x->ooo[end], (x->ooo_n - end) * sizeof *x->ooo);
    x->ooo_n -= end - at;
}

void ooo_fini(struct series_extra *x)
{
    for (uint32_t i = 0; i < x->ooo_n; i++)
        free(x->ooo[i].hist);
    free(x->ooo);
}
