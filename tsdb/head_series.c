/* Appending: judge a sample, count it in its window, keep windows open and close them. */
#include "tsdb/head_priv.h"

#include <stdlib.h>

/* --- windows --- */
void window_count(struct window *w, int64_t t, struct u128 hash)
{
    uint32_t off = (uint32_t)(t - w->start);

    ASSERT(t >= w->start && t - w->start < WINDOW_MS);
    if (w->count == 0)
        w->mint_off = w->maxt_off = off;
    w->mint_off = MIN(w->mint_off, off);
    w->maxt_off = MAX(w->maxt_off, off);
    w->digest = u128_add(w->digest, hash);
    w->count++;
    w->imaged = 0;
}

static void blobs_free(struct blob *b)
{
    while (b) {
        struct blob *next = b->next;

        free(b);
        b = next;
    }
}

void window_free(struct window *w)
{
    blobs_free(w->blobs);
    free(w);
}

void window_add_blob(struct window *w, struct str bytes)
{
    struct blob *b = xmalloc(sizeof *b + bytes.n);

    ASSERT(bytes.n > 0 && bytes.n <= CHUNK_BYTES_MAX);
    b->n = (uint32_t)bytes.n;
    memcpy(b->bytes, bytes.p, bytes.n);
    b->next = w->blobs;
    w->blobs = b;
    w->imaged = 0;
}

static void add_blob(void *arg, struct str chunk)
{
    window_add_blob(arg, chunk);
}

void window_add_columns(struct head *h, struct window *w, const struct chunk_columns *c)
{
    ASSERT(stored_encode(c, &h->scratch, &h->encoded, add_blob, w) == 0);
}

void window_merge(struct head *h, struct window *w, uint32_t limit)
{
    struct blob *small = NULL, **at = &w->blobs;
    struct chunk_columns *in, merged;
    struct chunk_info info;
    size_t n = 0;

    while (*at) {
        struct blob *b = *at;

        ASSERT(chunk_info(blob_str(b), &info, NULL) == 0);
        if (info.count >= limit) {
            at = &b->next;
            continue;
        }
        *at = b->next;
        b->next = small;
        small = b;
        n++;
    }
    if (n == 1) {
        small->next = w->blobs;
        w->blobs = small;
    }
    if (n <= 1)
        return;
    in = arena_array(&h->scratch, n, sizeof *in);
    ASSERT(in);
    n = 0;
    for (const struct blob *b = small; b; b = b->next)
        ASSERT(chunk_decode(blob_str(b), &h->scratch, &in[n++], NULL) == 0);
    ASSERT(chunk_merge(in, n, &h->scratch, &merged, NULL) == 0);
    blobs_free(small);
    window_add_columns(h, w, &merged);
    arena_reset(&h->scratch);
}

struct window *series_window(struct head_series *s, int64_t start)
{
    struct window **at = &s->cur.next, *w;

    if (s->cur.count > 0 && s->cur.start == start)
        return &s->cur;
    while (*at && (*at)->start > start)
        at = &(*at)->next;
    for (w = *at; w && w->start == start; w = w->next)
        if (w->set == 0)
            return w;
    w = xcalloc(1, sizeof *w);
    w->start = start;
    w->next = *at;
    *at = w;
    return w;
}

/* --- the current window --- */
/* The open chunk as it stands. */
static void close_floats(struct head_series *s)
{
    window_add_blob(&s->cur, chunk_open_view(s->open));
    chunk_open_free(s->open);
    s->open = NULL;
}

/* The open chunk in its smallest form. */
static void seal_floats(struct head *h, struct head_series *s)
{
    struct str view = chunk_open_view(s->open);
    struct chunk_columns c;

    ASSERT(chunk_decode(view, &h->scratch, &c, NULL) == 0);
    buf_clear(&h->encoded);
    chunk_encode_floats(&h->encoded, c.n, c.t, c.v, c.st);
    ASSERT(buf_ok(&h->encoded));
    arena_reset(&h->scratch);
    if (h->encoded.n >= view.n) {
        close_floats(s);
        return;
    }
    window_add_blob(&s->cur, buf_view(&h->encoded));
    chunk_open_free(s->open);
    s->open = NULL;
}

static void seal_hists(struct head *h, struct head_series *s)
{
    struct hist_open *o = &s->extra->hists;
    struct chunk_columns c;

    hist_open_columns(o, &h->scratch, &c);
    window_add_columns(h, &s->cur, &c);
    arena_reset(&h->scratch);
    free(o->v);
    buf_fini(&o->bytes);
    *o = (struct hist_open){0};
}

void series_close_current(struct head *h, struct head_series *s, bool smallest)
{
    struct window *w;

    if (s->cur.count == 0)
        return;
    if (s->open && smallest)
        seal_floats(h, s);
    else if (s->open)
        close_floats(s);
    if (s->extra && s->extra->hists.n > 0)
        seal_hists(h, s);
    w = xmemdup(&s->cur, sizeof s->cur);
    s->cur = (struct window){.next = w};
}

/* A late sample may have opened the window before: one unsealed window per start. */
static void current_adopt(struct head_series *s)
{
    struct window **at = &s->cur.next, *w;

    while (*at && (*at)->start >= s->cur.start &&
           !((*at)->start == s->cur.start && (*at)->set == 0))
        at = &(*at)->next;
    w = *at;
    if (!w || w->start != s->cur.start)
        return;
    *at = w->next;
    w->next = s->cur.next;
    s->cur = *w;
    s->cur.imaged = 0;
    free(w);
}

/* Makes the window of t, newer than all samples, the current one. */
static void current_reach(struct head *h, struct head_series *s, int64_t t)
{
    int64_t end;

    if (LIKELY(s->cur.count > 0 && t < s->cur.start + s->cur_ms))
        return;
    series_close_current(h, s, true);
    s->cur.start = window_start(s->fp, t, &end);
    s->cur_ms = (uint32_t)(end - s->cur.start);
    current_adopt(s);
}

/* A sample newer than all before. */
static void count_newest(struct head *h, struct head_series *s, int64_t t, struct u128 hash)
{
    struct tenant *tn = h->tenants.v[s->tenant];

    window_count(&s->cur, t, hash);
    tn->samples++;
    if (UNLIKELY(s->newest == INT64_MIN ||
                 floor_to(t, ACTIVE_BUCKET_MS) != floor_to(s->newest, ACTIVE_BUCKET_MS)))
        active_move(tn, s->newest, t);
    s->newest = t;
    h->max_ms = MAX(h->max_ms, t);
}

static void append_float(struct head *h, struct head_series *s, int64_t t, uint64_t vbits,
                         int64_t st)
{
    current_reach(h, s, t);
    if (!s->open)
        s->open = chunk_open_new();
    if (UNLIKELY(!chunk_open_append(s->open, t, vbits, st))) {
        seal_floats(h, s);
        s->open = chunk_open_new();
        ASSERT(chunk_open_append(s->open, t, vbits, st));
    }
    count_newest(h, s, t, sample_hash(t, vbits, st));
}

struct series_extra *series_extra(struct head_series *s)
{
    if (!s->extra)
        s->extra = xcalloc(1, sizeof *s->extra);
    return s->extra;
}

/* bytes: canonical form. */
static void append_histogram(struct head *h, struct head_series *s, int64_t t, struct str bytes,
                             uint64_t vbits, int64_t st)
{
    struct hist_open *o = &series_extra(s)->hists;

    current_reach(h, s, t);
    if (o->n == CHUNK_SAMPLES_MAX || (o->n > 0 && o->bytes.n + bytes.n > HIST_OPEN_BYTES_MAX))
        seal_hists(h, s);
    if (o->n == o->cap) {
        o->cap = o->cap ? o->cap * 2 : 4;
        o->v = xrealloc(o->v, o->cap * sizeof *o->v);
    }
    if (o->n == 0)
        buf_init(&o->bytes, CHUNK_BYTES_MAX);
    o->v[o->n++] =
        (struct hist_entry){.t = t, .st = st, .at = (uint32_t)o->bytes.n, .n = (uint32_t)bytes.n};
    buf_str(&o->bytes, bytes);
    ASSERT(buf_ok(&o->bytes));
    count_newest(h, s, t, sample_hash(t, vbits, st));
}

void hist_open_columns(const struct hist_open *o, struct arena *a, struct chunk_columns *ret)
{
    struct histogram *all = arena_array(a, o->n, sizeof *all);

    *ret = (struct chunk_columns){.n = o->n};
    ret->t = arena_array(a, o->n, sizeof *ret->t);
    ret->v = arena_zalloc(a, o->n * sizeof *ret->v);
    ret->st = arena_array(a, o->n, sizeof *ret->st);
    ret->hist = arena_array(a, o->n, sizeof *ret->hist);
    ASSERT(all && ret->t && ret->v && ret->st && ret->hist);
    for (uint32_t i = 0; i < o->n; i++) {
        struct rd r = rd_of(str_n(o->bytes.p + o->v[i].at, o->v[i].n));

        ret->t[i] = o->v[i].t;
        ret->st[i] = o->v[i].st;
        ret->hist[i] = &all[i];
        ASSERT(histogram_decode(&r, a, &all[i], NULL) == 0);
    }
}

void series_fini(struct head_series *s)
{
    chunk_open_free(s->open);
    blobs_free(s->cur.blobs);
    for (struct window *w = s->cur.next, *next; w; w = next) {
        next = w->next;
        window_free(w);
    }
    if (s->extra) {
        free(s->extra->hists.v);
        buf_fini(&s->extra->hists.bytes);
        ooo_fini(s->extra);
        free(s->extra);
    }
    free(s->pairs);
}

/* --- verdicts --- */
static bool too_old(const struct head_series *s, int64_t t, const struct append_rules *rules)
{
    return rules && s->newest - t > rules->ooo_window_ms;
}

/* t is not newer than the newest sample. */
static enum append_verdict append_float_old(struct head *h, struct head_series *s, int64_t t,
                                            uint64_t vbits, int64_t st,
                                            const struct append_rules *rules)
{
    struct found f;
    bool hit;

    if (s->open && chunk_open_last_ms(s->open) == t)
        return chunk_open_last_bits(s->open) == vbits ? APPEND_DUPLICATE : APPEND_NEW_VALUE;
    hit = series_find_sample(h, s, t, &h->scratch, &f);
    arena_reset(&h->scratch);
    if (hit)
        return !f.is_hist && f.vbits == vbits ? APPEND_DUPLICATE : APPEND_NEW_VALUE;
    if (too_old(s, t, rules))
        return APPEND_TOO_OLD;
    if (rules && rules->late && !rules->late(rules->late_arg))
        return APPEND_TOO_MANY_LATE;
    ooo_add(h, s, t, vbits, st, (struct str){0});
    return APPEND_ACCEPTED;
}

enum append_verdict head_append(struct head *h, struct head_series *s, int64_t t, uint64_t vbits,
                                int64_t st, const struct append_rules *rules)
{
    ASSERT(h->locked && t >= TIMESTAMP_MIN_MS && t <= TIMESTAMP_MAX_MS);
    if (UNLIKELY(rules && rules->gap) && !series_in_gap(h, s, t, rules->gap->until_ms))
        return APPEND_DUPLICATE;
    if (UNLIKELY(t <= s->newest))
        return append_float_old(h, s, t, vbits, st, rules);
    append_float(h, s, t, vbits, st);
    return APPEND_ACCEPTED;
}

static enum append_verdict append_histogram_old(struct head *h, struct head_series *s, int64_t t,
                                                const struct histogram *hist, uint64_t vbits,
                                                int64_t st, const struct append_rules *rules)
{
    struct found f;
    bool hit = series_find_sample(h, s, t, &h->scratch, &f);
    bool same = hit && f.is_hist && histogram_eq(&f.hist, hist);

    arena_reset(&h->scratch);
    if (hit)
        return same ? APPEND_DUPLICATE : APPEND_NEW_VALUE;
    if (too_old(s, t, rules))
        return APPEND_TOO_OLD;
    if (rules && rules->late && !rules->late(rules->late_arg))
        return APPEND_TOO_MANY_LATE;
    ooo_add(h, s, t, vbits, st, buf_view(&h->hist_bytes));
    return APPEND_ACCEPTED;
}

enum append_verdict head_append_histogram(struct head *h, struct head_series *s, int64_t t,
                                          const struct histogram *hist, int64_t st,
                                          const struct append_rules *rules)
{
    struct histogram stored = *hist;
    uint64_t vbits;

    ASSERT(h->locked && t >= TIMESTAMP_MIN_MS && t <= TIMESTAMP_MAX_MS);
    if (rules && rules->gap && !series_in_gap(h, s, t, rules->gap->until_ms))
        return APPEND_DUPLICATE;
    /* Whether a counter was not reset is derived when samples are read in their final order, never
     * stored. */
    if (stored.hint == HIST_HINT_NOT_RESET)
        stored.hint = HIST_HINT_UNKNOWN;
    buf_clear(&h->hist_bytes);
    histogram_encode(&h->hist_bytes, &stored);
    ASSERT(buf_ok(&h->hist_bytes));
    vbits = hash128(h->hist_bytes.p, h->hist_bytes.n, 0).hi; /* histogram_hash() */
    if (t <= s->newest)
        return append_histogram_old(h, s, t, &stored, vbits, st, rules);
    append_histogram(h, s, t, buf_view(&h->hist_bytes), vbits, st);
    return APPEND_ACCEPTED;
}

void head_replay(struct head *h, struct head_series *s, int64_t t, uint64_t vbits, int64_t st)
{
    (void)head_append(h, s, t, vbits, st, NULL);
}

void head_replay_histogram(struct head *h, struct head_series *s, int64_t t,
                           const struct histogram *hist, int64_t st)
{
    (void)head_append_histogram(h, s, t, hist, st, NULL);
}

bool head_value_at(struct head *h, const struct head_series *s, int64_t t, double *ret)
{
    struct found f;
    bool hit;

    ASSERT(h->locked);
    hit = series_find_sample(h, s, t, &h->scratch, &f);
    arena_reset(&h->scratch);
    if (!hit || f.is_hist)
        return false;
    *ret = bits_double(f.vbits);
    return true;
}
