#include "tsdb/store.h"
#include "tsdb/store_encode.h"
#include "tsdb/tombstone.h"

#include <stdlib.h>

/* Long enough to share a header, short enough that a chunk stays well below CHUNK_BYTES_MAX. */
enum { HIST_CHUNK_WORDS = 64 << 10 };

/* --- columns to chunks --- */
static void emit_floats(const struct chunk_columns *c, struct buf *scratch, stored_emit_fn *emit,
                        void *arg)
{
    for (size_t i = 0; i < c->n; i += CHUNK_SAMPLES_MAX) {
        buf_clear(scratch);
        chunk_encode_floats(scratch, MIN(c->n - i, (size_t)CHUNK_SAMPLES_MAX), c->t + i, c->v + i,
                            c->st ? c->st + i : NULL);
        ASSERT(buf_ok(scratch));
        emit(arg, buf_view(scratch));
    }
}

/* Numbers in it: a bound on the bytes, at ten each. */
static size_t hist_words(const struct histogram *h)
{
    return 8 + 2 * ((size_t)h->pos.span_count + h->neg.span_count) + h->pos.bucket_count +
           h->neg.bucket_count + h->custom_count;
}

static void emit_hists(const struct chunk_columns *c, struct buf *scratch, stored_emit_fn *emit,
                       void *arg)
{
    for (size_t i = 0, end; i < c->n; i = end) {
        size_t words = 0;

        for (end = i; end < c->n && end - i < CHUNK_SAMPLES_MAX; end++) {
            words += hist_words(c->hist[end]);
            if (words > HIST_CHUNK_WORDS && end > i)
                break;
        }
        buf_clear(scratch);
        chunk_encode_histograms(scratch, end - i, c->t + i, c->hist + i, c->st ? c->st + i : NULL);
        ASSERT(buf_ok(scratch));
        emit(arg, buf_view(scratch));
    }
}

/* The floats, or the histograms, of mixed columns. */
static bool take_kind(const struct chunk_columns *c, bool hists, struct arena *a,
                      struct chunk_columns *ret)
{
    struct chunk_columns out = {.t = arena_array(a, c->n, sizeof *out.t)};

    out.v = arena_array(a, c->n, sizeof *out.v);
    out.st = c->st ? arena_array(a, c->n, sizeof *out.st) : NULL;
    out.hist = hists ? arena_array(a, c->n, sizeof *out.hist) : NULL;
    if (!out.t || !out.v || (c->st && !out.st) || (hists && !out.hist))
        return false;
    for (size_t i = 0; i < c->n; i++) {
        if ((c->hist[i] != NULL) != hists)
            continue;
        out.t[out.n] = c->t[i];
        out.v[out.n] = c->v[i];
        if (out.st)
            out.st[out.n] = c->st[i];
        if (hists)
            out.hist[out.n] = c->hist[i];
        out.n++;
    }
    *ret = out;
    return true;
}

int stored_encode(const struct chunk_columns *c, struct arena *a, struct buf *scratch,
                  stored_emit_fn *emit, void *arg)
{
    struct chunk_columns floats, hists;
    size_t hist_count = 0;

    for (size_t i = 0; c->hist && i < c->n; i++)
        hist_count += c->hist[i] != NULL;
    if (hist_count == 0) {
        emit_floats(c, scratch, emit, arg);
    } else if (hist_count == c->n) {
        emit_hists(c, scratch, emit, arg);
    } else {
        if (!take_kind(c, false, a, &floats) || !take_kind(c, true, a, &hists))
            return RC_NOMEM;
        emit_floats(&floats, scratch, emit, arg);
        emit_hists(&hists, scratch, emit, arg);
    }
    return 0;
}

/* --- merging series --- */
static int no_memory(struct err *err)
{
    return err_set(err, RC_NOMEM, "merging series: memory budget is spent");
}

/* All chunks of one window as one run of columns. */
static int window_columns(const struct stored_window *w, struct arena *a, struct chunk_columns *ret,
                          struct err *err)
{
    struct chunk_columns *in;
    int rc;

    CORRUPT_UNLESS(w->chunk_count > 0, err);
    if (w->chunk_count == 1)
        return chunk_decode(w->chunks[0], a, ret, err);
    in = arena_array(a, w->chunk_count, sizeof *in);
    rc = in ? 0 : no_memory(err);
    for (uint32_t i = 0; i < w->chunk_count && rc == 0; i++)
        rc = chunk_decode(w->chunks[i], a, &in[i], err);
    if (rc == 0)
        rc = chunk_merge(in, w->chunk_count, a, ret, err);
    return rc;
}

/* Windows with one start and one digest. */
struct candidate {
    const struct stored_window *w;
    uint32_t votes;
};

struct chunk_list {
    struct arena *a;
    struct str *v;
    uint32_t n, cap;
    bool failed;
};

static void list_emit(void *arg, struct str chunk)
{
    struct chunk_list *l = arg;
    struct str copy = arena_str(l->a, chunk);

    if (l->n == l->cap) {
        uint32_t cap = l->cap ? l->cap * 2 : 4;
        struct str *v = arena_array(l->a, cap, sizeof *v);

        if (v && l->n)
            memcpy(v, l->v, l->n * sizeof *v);
        if (v) {
            l->v = v;
            l->cap = cap;
        }
    }
    if (!copy.p || l->n == l->cap) {
        l->failed = true;
        return;
    }
    l->v[l->n++] = copy;
}

static int window_encode(const struct chunk_columns *c, int64_t start, struct arena *a,
                         struct stored_window *ret, struct err *err)
{
    struct chunk_list list = {.a = a};
    struct buf scratch;
    int rc;

    buf_init(&scratch, CHUNK_BYTES_MAX);
    rc = stored_encode(c, a, &scratch, list_emit, &list);
    buf_fini(&scratch);
    if (rc < 0 || list.failed)
        return no_memory(err);
    *ret = (struct stored_window){
        .start_ms = start,
        .mint_ms = c->t[0],
        .maxt_ms = c->t[c->n - 1],
        .digest = chunk_digest(c),
        .count = (uint32_t)c->n,
        .chunk_count = list.n,
        .chunks = list.v,
    };
    return 0;
}

/* Candidates with different samples. */
static int merge_candidates(const struct candidate *c, size_t n, struct arena *a,
                            struct stored_window *ret, struct err *err)
{
    struct chunk_columns *in = arena_array(a, n, sizeof *in), merged;
    uint32_t *votes = arena_array(a, n, sizeof *votes);
    int rc = in && votes ? 0 : no_memory(err);

    for (size_t i = 0; i < n && rc == 0; i++) {
        votes[i] = c[i].votes;
        rc = window_columns(c[i].w, a, &in[i], err);
    }
    if (rc == 0)
        rc = chunk_merge_votes(in, votes, n, a, &merged, err);
    return rc < 0 ? rc : window_encode(&merged, c[0].w->start_ms, a, ret, err);
}

/* Without data nothing can be merged: bounds, an upper count, and a digest that equals none. */
static void merge_bounds(const struct candidate *c, size_t n, struct stored_window *ret)
{
    struct stored_window out = *c[0].w;

    out.digest = (struct u128){0};
    out.chunk_count = 0;
    out.chunks = NULL;
    for (size_t i = 1; i < n; i++) {
        out.mint_ms = MIN(out.mint_ms, c[i].w->mint_ms);
        out.maxt_ms = MAX(out.maxt_ms, c[i].w->maxt_ms);
        out.count = MAX(out.count, c[i].w->count);
    }
    *ret = out;
}

static bool have_data(const struct candidate *c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (c[i].w->chunk_count == 0)
            return false;
    return true;
}

/* The smallest start not yet passed by the positions; false at the end of all. */
static bool next_start(const struct stored_series *const *in, const size_t *at, size_t n,
                       int64_t *ret)
{
    bool any = false;

    for (size_t i = 0; i < n; i++) {
        if (at[i] == in[i]->window_count)
            continue;
        if (!any || in[i]->windows[at[i]].start_ms < *ret)
            *ret = in[i]->windows[at[i]].start_ms;
        any = true;
    }
    return any;
}

/* The windows at start, each a candidate; the inputs' positions move past them. */
static size_t gather(const struct stored_series *const *in, const uint32_t *votes, size_t *at,
                     size_t n, int64_t start, struct candidate *out)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++) {
        if (at[i] == in[i]->window_count || in[i]->windows[at[i]].start_ms != start)
            continue;
        out[count++] = (struct candidate){&in[i]->windows[at[i]++], votes ? votes[i] : 1};
    }
    return count;
}

/* Works out the digest where it is not known and can be. */
static int make_known(struct candidate *c, struct arena *a, struct err *err)
{
    struct stored_window *copy;
    struct chunk_columns columns;
    int rc;

    if (digest_known(c->w->digest) || c->w->chunk_count == 0)
        return 0;
    copy = arena_dup(a, c->w, sizeof *copy);
    rc = copy ? window_columns(c->w, a, &columns, err) : no_memory(err);
    if (rc == 0) {
        copy->digest = chunk_digest(&columns);
        c->w = copy;
    }
    return rc;
}

/* One candidate per digest, in order of digests so that the order of inputs does not matter. */
static int unite(struct candidate *c, size_t n, size_t *ret_n, struct arena *a, struct err *err)
{
    size_t count = 0;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct candidate now = c[i];
        size_t k = 0;

        rc = make_known(&now, a, err);
        while (k < count && u128_cmp(c[k].w->digest, now.w->digest) < 0)
            k++;
        if (k < count && stored_windows_alike(c[k].w, now.w)) {
            c[k].votes += now.votes;
            if (c[k].w->chunk_count == 0)
                c[k].w = now.w;
            continue;
        }
        memmove(&c[k + 1], &c[k], (count - k) * sizeof *c);
        c[k] = now;
        count++;
    }
    *ret_n = count;
    return rc;
}

int stored_series_merge(const struct stored_series *const *in, const uint32_t *votes, size_t n,
                        struct arena *a, struct stored_series *ret, struct err *err)
{
    struct stored_series out = {.fp = in[0]->fp, .labels = in[0]->labels};
    struct candidate *c = arena_array(a, n, sizeof *c);
    size_t *at = arena_zalloc(a, n * sizeof *at), total = 0;
    struct stored_window *windows;
    int64_t start = 0;
    int rc = 0;

    ASSERT(n > 0);
    for (size_t i = 0; i < n; i++) {
        ASSERT(u128_eq(in[i]->fp, out.fp));
        total += in[i]->window_count;
    }
    windows = arena_array(a, total, sizeof *windows);
    if (!c || !at || !windows)
        return no_memory(err);
    while (rc == 0 && next_start(in, at, n, &start)) {
        size_t count = gather(in, votes, at, n, start, c);
        struct stored_window *w = &windows[out.window_count++];

        if (count > 1)
            rc = unite(c, count, &count, a, err);
        if (rc < 0)
            break;
        if (count == 1)
            *w = *c[0].w;
        else if (have_data(c, count))
            rc = merge_candidates(c, count, a, w, err);
        else
            merge_bounds(c, count, w);
    }
    out.windows = windows;
    if (rc == 0)
        *ret = out;
    return rc;
}

/* --- compacting --- */
static int window_compact(const struct stored_window *w, struct arena *a, struct stored_window *ret,
                          struct err *err)
{
    struct chunk_columns c;
    struct stored_window out;
    size_t before = 0, after = 0;
    int rc = window_columns(w, a, &c, err);

    if (rc == 0)
        rc = window_encode(&c, w->start_ms, a, &out, err);
    if (rc < 0)
        return rc;
    CORRUPT_UNLESS(!digest_known(w->digest) || u128_eq(out.digest, w->digest), err);
    for (uint32_t i = 0; i < w->chunk_count; i++)
        before += w->chunks[i].n;
    for (uint32_t i = 0; i < out.chunk_count; i++)
        after += out.chunks[i].n;
    *ret = after < before ? out : *w;
    return 0;
}

int stored_series_compact(const struct stored_series *s, struct arena *a, struct stored_series *ret,
                          struct err *err)
{
    struct stored_window *windows = arena_array(a, s->window_count, sizeof *windows);
    int rc = windows ? 0 : no_memory(err);

    for (size_t i = 0; i < s->window_count && rc == 0; i++) {
        const struct stored_window *w = &s->windows[i];

        windows[i] = *w;
        if (w->chunk_count > 1 || (w->chunk_count == 1 && chunk_is_stream(w->chunks[0])))
            rc = window_compact(w, a, &windows[i], err);
    }
    if (rc < 0)
        return rc;
    *ret = *s;
    ret->windows = windows;
    return 0;
}

/* --- building --- */
static size_t window_end(fingerprint fp, const struct chunk_columns *c, size_t from, int64_t *ret_start)
{
    int64_t end;

    *ret_start = window_start(fp, c->t[from], &end);
    while (from < c->n && c->t[from] < end)
        from++;
    return from;
}

int stored_series_build(fingerprint fp, const struct labels *ls, const struct chunk_columns *c, struct arena *a, struct stored_series *ret, struct err *err)
{
    struct stored_series out = {.fp = fp, .labels = *ls};
    struct stored_window *windows;
    size_t count = 0;
    int64_t start;
    int rc = 0;

    if (c->n && (c->t[0] < TIMESTAMP_MIN_MS || c->t[c->n - 1] > TIMESTAMP_MAX_MS))
        return err_set(err, RC_INVALID, "a timestamp of %lld ms is out of range", (long long)(c->t[0] < TIMESTAMP_MIN_MS ? c->t[0] : c->t[c->n - 1]));
    for (size_t i = 0; i < c->n; count++)
        i = window_end(fp, c, i, &start);
    windows = arena_array(a, count, sizeof *windows);
    if (!windows)
        return no_memory(err);
    for (size_t i = 0, end; rc == 0 && i < c->n; i = end) {
        end = window_end(fp, c, i, &start);
        struct chunk_columns part = {end - i, c->t + i, c->v + i, c->st ? c->st + i : NULL, c->hist ? c->hist + i : NULL};

        rc = window_encode(&part, start, a, &windows[out.window_count++], err);
    }
    out.windows = windows;
    if (rc == 0)
        *ret = out;
    return rc;
}

/* --- cutting --- */

static void columns_drop(struct chunk_columns *c, const struct time_spans *spans)
{
    size_t n = 0;

    for (size_t i = 0; i < c->n; i++) {
        if (time_spans_have(spans, c->t[i]))
            continue;
        c->t[n] = c->t[i];
        c->v[n] = c->v[i];
        if (c->st)
            c->st[n] = c->st[i];
        if (c->hist)
            c->hist[n] = c->hist[i];
        n++;
    }
    c->n = n;
}

/* 1 when samples are left. */
static int window_without(const struct stored_window *w, const struct time_spans *spans,
                          struct arena *a, struct stored_window *ret, struct err *err)
{
    struct chunk_columns c;
    int rc = window_columns(w, a, &c, err);

    if (rc < 0)
        return rc;
    columns_drop(&c, spans);
    if (c.n == 0)
        return 0;
    rc = window_encode(&c, w->start_ms, a, ret, err);
    return rc < 0 ? rc : 1;
}

static bool window_touched(const struct stored_window *w, const struct time_spans *spans)
{
    for (size_t i = 0; i < spans->n; i++)
        if (time_spans_meet(spans->v[i], (struct time_span){w->mint_ms, w->maxt_ms}))
            return true;
    return false;
}

int stored_series_cut(const struct stored_series *s, const struct time_spans *spans, struct arena *a,
                      struct stored_series *ret, struct err *err)
{
    struct stored_window *windows = arena_array(a, s->window_count, sizeof *windows);
    size_t n = 0;

    if (!windows)
        return no_memory(err);
    for (size_t i = 0; i < s->window_count; i++) {
        const struct stored_window *w = &s->windows[i];
        int rc = 1;

        windows[n] = *w;
        if (time_spans_cover(spans, (struct time_span){w->mint_ms, w->maxt_ms}))
            rc = 0;
        else if (w->chunk_count && window_touched(w, spans))
            rc = window_without(w, spans, a, &windows[n], err);
        if (rc < 0)
            return rc;
        n += (size_t)rc;
    }
    *ret = *s;
    ret->windows = windows;
    ret->window_count = n;
    return 0;
}

/* --- reading --- */
static bool touches(const struct stored_window *w, int64_t mint_ms, int64_t maxt_ms)
{
    return w->mint_ms <= maxt_ms && w->maxt_ms >= mint_ms;
}

/* Index of the first of n ascending times that is >= t. */
static size_t time_lower(const int64_t *v, size_t n, int64_t t)
{
    size_t lo = 0;

    while (n > 0) {
        size_t half = n / 2;

        if (v[lo + half] < t) {
            lo += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return lo;
}

/* Appends the samples of c inside the range. */
static int columns_add(struct chunk_columns *out, size_t cap, const struct chunk_columns *c,
                       int64_t mint_ms, int64_t maxt_ms, struct arena *a, struct err *err)
{
    size_t from = time_lower(c->t, c->n, mint_ms);
    size_t to = maxt_ms == INT64_MAX ? c->n : time_lower(c->t, c->n, maxt_ms + 1);
    size_t n = to > from ? to - from : 0;

    if (n == 0)
        return 0;
    CORRUPT_UNLESS(n <= cap - out->n && (out->n == 0 || c->t[from] > out->t[out->n - 1]), err);
    if (c->st && !out->st && !(out->st = arena_zalloc(a, cap * sizeof *out->st)))
        return no_memory(err);
    if (c->hist && !out->hist && !(out->hist = arena_zalloc(a, cap * sizeof *out->hist)))
        return no_memory(err);
    memcpy(out->t + out->n, c->t + from, n * sizeof *c->t);
    memcpy(out->v + out->n, c->v + from, n * sizeof *c->v);
    if (c->st)
        memcpy(out->st + out->n, c->st + from, n * sizeof *c->st);
    if (c->hist)
        memcpy(out->hist + out->n, c->hist + from, n * sizeof *c->hist);
    out->n += n;
    return 0;
}

/* The samples of one window, cut where they stand. */
static int window_cut(const struct stored_window *w, int64_t mint_ms, int64_t maxt_ms,
                      struct arena *a, struct chunk_columns *ret, struct err *err)
{
    struct chunk_columns c;
    size_t from, to;
    int rc = window_columns(w, a, &c, err);

    if (rc < 0)
        return rc;
    CORRUPT_UNLESS(c.n <= w->count, err);
    from = mint_ms <= c.t[0] ? 0 : time_lower(c.t, c.n, mint_ms);
    to = maxt_ms >= c.t[c.n - 1] ? c.n : time_lower(c.t, c.n, maxt_ms + 1);
    *ret = (struct chunk_columns){.n = to > from ? to - from : 0,
                                  .t = c.t + from,
                                  .v = c.v + from,
                                  .st = c.st ? c.st + from : NULL,
                                  .hist = c.hist ? c.hist + from : NULL};
    return 0;
}

int stored_series_columns(const struct stored_series *s, int64_t mint_ms, int64_t maxt_ms,
                          struct arena *a, struct chunk_columns *ret, struct err *err)
{
    struct chunk_columns out = {0}, one;
    const struct stored_window *only = NULL;
    size_t cap = 0, touched = 0;
    int rc = 0;

    for (size_t i = 0; i < s->window_count; i++) {
        if (!touches(&s->windows[i], mint_ms, maxt_ms))
            continue;
        cap += s->windows[i].count;
        only = &s->windows[i];
        touched++;
    }
    if (touched == 1)
        return window_cut(only, mint_ms, maxt_ms, a, ret, err);
    out.t = arena_array(a, cap, sizeof *out.t);
    out.v = arena_array(a, cap, sizeof *out.v);
    if (!out.t || !out.v)
        return no_memory(err);
    for (size_t i = 0; i < s->window_count && rc == 0; i++) {
        if (!touches(&s->windows[i], mint_ms, maxt_ms))
            continue;
        rc = window_columns(&s->windows[i], a, &one, err);
        if (rc == 0)
            rc = columns_add(&out, cap, &one, mint_ms, maxt_ms, a, err);
    }
    if (rc == 0)
        *ret = out;
    return rc;
}
