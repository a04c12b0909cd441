#include "tsdb/head_sync.h"
#include "tsdb/head_priv.h"

#include <stdlib.h>

enum { SERIES_BYTES = 24, WINDOW_BYTES = 40 }; /* on the wire, about */

static int no_memory(struct err *err)
{
    return err_set(err, RC_NOMEM, "sync: memory budget is spent");
}

/* --- digests of samples before a time --- */

struct item {
    struct str tenant;
    struct stored_series series;
    struct stored_series cut; /* the windows that the time cuts, with data */
};
struct slice {
    struct arena a;
    size_t n;
    uint32_t tenant; /* of `name` */
    struct str name;
    uint64_t seq[HEAD_SELECT_SLICE];
    struct item v[HEAD_SELECT_SLICE];
};

static bool is_cut(const struct stored_window *w, int64_t below_ms)
{
    return w->mint_ms < below_ms && w->maxt_ms >= below_ms;
}

/* Under the lock. */
static int copy_cut(struct head *h, const struct head_series *s, const struct head_sync *q, struct slice *sl, struct item *it, struct err *err)
{
    struct window_filter f = {.mint_ms = INT64_MIN, .maxt_ms = INT64_MAX, .gen = q->gen, .mode = STORE_DATA, .no_labels = true};
    int64_t *starts = NULL;
    size_t n = 0, bytes;

    for (size_t i = 0; i < it->series.window_count; i++)
        n += is_cut(&it->series.windows[i], q->below_ms);
    if (n == 0)
        return 0;
    starts = arena_array(&sl->a, n, sizeof *starts);
    if (!starts)
        return no_memory(err);
    n = 0;
    for (size_t i = 0; i < it->series.window_count; i++)
        if (is_cut(&it->series.windows[i], q->below_ms))
            starts[n++] = it->series.windows[i].start_ms;
    f.starts = starts;
    f.start_count = n;
    return MIN(series_copy(h, s, &f, &sl->a, NULL, &it->cut, &bytes, err), 0);
}

/* Under the lock. */
static int add_series(struct head *h, const struct head_series *s, const struct head_sync *q, struct slice *sl, struct err *err)
{
    struct window_filter f = {.mint_ms = INT64_MIN, .maxt_ms = q->below_ms - 1, .gen = q->gen, .mode = STORE_DIGESTS, .no_labels = true};
    struct item *it = &sl->v[sl->n];
    size_t bytes;
    int rc;

    *it = (struct item){0};
    rc = series_copy(h, s, &f, &sl->a, NULL, &it->series, &bytes, err);
    if (rc <= 0)
        return rc;
    if (sl->n == 0 || sl->tenant != s->tenant) {
        sl->name = arena_str(&sl->a, h->tenants.v[s->tenant]->name);
        sl->tenant = s->tenant;
        if (!sl->name.p)
            return no_memory(err);
    }
    it->tenant = sl->name;
    rc = copy_cut(h, s, q, sl, it, err);
    sl->seq[sl->n] = s->seq;
    sl->n += rc == 0;
    return rc;
}

static const struct stored_window *window_at(const struct stored_series *s, int64_t start)
{
    for (size_t i = 0; i < s->window_count; i++)
        if (s->windows[i].start_ms == start)
            return &s->windows[i];
    return NULL;
}

/* Only its samples before the time; count 0: it has none. */
static int cut_window(const struct stored_window *full, int64_t below_ms, struct arena *a, struct stored_window *ret, struct err *err)
{
    struct stored_window w = {.start_ms = full->start_ms, .mint_ms = full->mint_ms, .maxt_ms = INT64_MIN};

    for (uint32_t i = 0; i < full->chunk_count; i++) {
        struct chunk_columns c;
        int rc = chunk_decode(full->chunks[i], a, &c, err);

        if (rc < 0)
            return rc;
        while (c.n > 0 && c.t[c.n - 1] >= below_ms)
            c.n--;
        if (c.n == 0)
            continue;
        w.digest = u128_add(w.digest, chunk_digest(&c));
        w.count += (uint32_t)c.n;
        w.maxt_ms = MAX(w.maxt_ms, c.t[c.n - 1]);
    }
    *ret = w;
    return 0;
}

/* The windows of the item as of below_ms, in its place. */
static int settle_item(struct item *it, const struct head_sync *q, struct arena *a, struct err *err)
{
    struct stored_window *out;
    size_t n = 0;

    if (it->cut.window_count == 0)
        return 0;
    out = arena_array(a, it->series.window_count, sizeof *out);
    if (!out)
        return no_memory(err);
    for (size_t i = 0; i < it->series.window_count; i++) {
        const struct stored_window *w = &it->series.windows[i];
        int rc;

        if (!is_cut(w, q->below_ms)) {
            out[n++] = *w;
            continue;
        }
        rc = cut_window(window_at(&it->cut, w->start_ms), q->below_ms, a, &out[n], err);
        if (rc < 0)
            return rc;
        n += out[n].count > 0;
    }
    it->series.windows = out;
    it->series.window_count = n;
    return 0;
}

/* 1: fn wants no more, or bytes are spent; *cursor says where to go on. */
static int deliver(struct slice *sl, const struct head_sync *q, size_t *bytes, size_t bytes_max, uint64_t *cursor, head_sync_fn *fn, void *arg, struct err *err)
{
    for (size_t i = 0; i < sl->n; i++) {
        struct item *it = &sl->v[i];
        int rc = settle_item(it, q, &sl->a, err);

        if (rc == 0 && it->series.window_count > 0)
            rc = fn(arg, it->tenant, &it->series);
        if (rc < 0)
            return rc;
        *cursor = sl->seq[i] + 1;
        *bytes += SERIES_BYTES + WINDOW_BYTES * it->series.window_count;
        if (rc > 0 || *bytes >= bytes_max)
            return 1;
    }
    return 0;
}

int head_sync_walk(struct head *h, const struct head_sync *q, size_t bytes_max, uint64_t *cursor,
                   head_sync_fn *fn, void *arg, struct err *err)
{
    struct slice *sl = xmalloc(sizeof *sl);
    uint64_t next = *cursor, at = *cursor;
    size_t bytes = 0;
    bool done = false;
    int rc = 0;

    arena_init(&sl->a, SCRATCH_BYTES_MAX);
    while (rc == 0 && !done && (rc = store_stopped(q->stop, err)) == 0) {
        arena_reset(&sl->a);
        sl->n = 0;
        lock_slice(h);
        for (uint32_t i = ordinal_of_seq(h, next), seen = 0; i < h->ordinals && seen < HEAD_SELECT_SLICE && rc == 0; i++, seen++) {
            const struct head_series *s = series_at(h, h->by_ordinal[i]);

            if (!q->wanted || q->wanted(q->wanted_arg, s->fp))
                rc = add_series(h, s, q, sl, err);
            next = s->seq + 1;
        }
        done = ordinal_of_seq(h, next) == h->ordinals;
        unlock_slice(h);
        if (rc == 0)
            rc = deliver(sl, q, &bytes, bytes_max, &at, fn, arg, err);
    }
    if (rc >= 0)
        *cursor = rc > 0 ? at : 0;
    arena_fini(&sl->a);
    free(sl);
    return MIN(rc, 0);
}

int head_sync_find(struct head *h, const struct head_sync *q, struct str tenant, const fingerprint *fps,
                   size_t n, head_sync_fn *fn, void *arg, struct err *err)
{
    struct slice *sl = xmalloc(sizeof *sl);
    size_t bytes = 0, at = 0;
    uint64_t cursor = 0;
    int rc = 0;

    arena_init(&sl->a, SCRATCH_BYTES_MAX);
    while (rc == 0 && at < n && (rc = store_stopped(q->stop, err)) == 0) {
        size_t end = MIN(n, at + HEAD_SELECT_SLICE);

        arena_reset(&sl->a);
        sl->n = 0;
        lock_slice(h);
        for (; at < end && rc == 0; at++) {
            const struct head_series *s = series_find(h, tenant, fps[at]);

            if (s)
                rc = add_series(h, s, q, sl, err);
        }
        unlock_slice(h);
        if (rc == 0)
            rc = deliver(sl, q, &bytes, SIZE_MAX, &cursor, fn, arg, err);
    }
    arena_fini(&sl->a);
    free(sl);
    return MIN(rc, 0);
}

/* --- taking over --- */

/* Samples of one window, from all its instances, in time order. */
static int stored_here(const struct head_series *s, int64_t start, int64_t end, struct arena *a, struct chunk_columns *ret, struct err *err)
{
    bool current = s->cur.count > 0 && s->cur.start == start;
    struct chunk_columns *in;
    size_t n = 3; /* open floats, open histograms, those that wait out of order */
    int rc = 0;

    for (const struct window *w = &s->cur; w; w = w->next)
        for (const struct blob *b = w->count > 0 && w->start == start ? w->blobs : NULL; b; b = b->next)
            n++;
    in = arena_array(a, n, sizeof *in);
    if (!in)
        return no_memory(err);
    n = 0;
    for (const struct window *w = &s->cur; w && rc == 0; w = w->next)
        for (const struct blob *b = w->count > 0 && w->start == start ? w->blobs : NULL; b && rc == 0; b = b->next)
            rc = chunk_decode(blob_str(b), a, &in[n++], err);
    if (rc == 0 && current && s->open)
        rc = chunk_decode(chunk_open_view(s->open), a, &in[n++], err);
    if (current && s->extra && s->extra->hists.n > 0)
        hist_open_columns(&s->extra->hists, a, &in[n++]);
    ooo_columns(s, start, end, a, &in[n]);
    n += in[n].n > 0;
    return rc < 0 ? rc : chunk_merge(in, n, a, ret, err);
}

static bool same_sample(const struct chunk_columns *a, size_t i, const struct chunk_columns *b, size_t k)
{
    return (a->hist && a->hist[i]) == (b->hist && b->hist[k]) && chunk_value_word(a, i) == chunk_value_word(b, k) &&
           (a->st ? a->st[i] : 0) == (b->st ? b->st[k] : 0);
}

static void append_newer(struct head *h, struct head_series *s, const struct chunk_columns *c, size_t i)
{
    int64_t st = c->st ? c->st[i] : 0;
    enum append_verdict v;

    if (c->hist && c->hist[i])
        v = head_append_histogram(h, s, c->t[i], c->hist[i], st, NULL);
    else
        v = head_append(h, s, c->t[i], double_bits(c->v[i]), st, NULL);
    ASSERT(v == APPEND_ACCEPTED);
}

/* late[0..n): indexes of samples of one window, not newer than the newest, that are not there. */
static int add_late(struct head *h, struct head_series *s, int64_t start, const struct chunk_columns *c, const uint32_t *late, size_t n, struct arena *a,
                    struct err *err)
{
    struct chunk_columns out = {.n = n,
                                .t = arena_array(a, n, sizeof *out.t),
                                .v = arena_array(a, n, sizeof *out.v),
                                .st = c->st ? arena_array(a, n, sizeof *out.st) : NULL,
                                .hist = c->hist ? arena_array(a, n, sizeof *out.hist) : NULL};
    struct window *w;

    if (!out.t || !out.v || (c->st && !out.st) || (c->hist && !out.hist))
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        out.t[i] = c->t[late[i]];
        out.v[i] = c->v[late[i]];
        if (out.st)
            out.st[i] = c->st[late[i]];
        if (out.hist)
            out.hist[i] = c->hist[late[i]];
    }
    w = series_window(s, start);
    for (size_t i = 0; i < n; i++)
        window_count(w, out.t[i], sample_hash(out.t[i], chunk_value_word(&out, i), out.st ? out.st[i] : 0));
    h->tenants.v[s->tenant]->samples += n;
    window_add_columns(h, w, &out);
    arena_reset(&h->scratch);
    window_tidy(h, w);
    return 0;
}

/* Samples [from, to) are those of the window. */
static int absorb_window(struct head *h, struct head_series *s, int64_t start, int64_t end, const struct chunk_columns *c, size_t from, size_t to,
                         struct arena *a, uint8_t *accepted, struct head_absorbed *ret, struct err *err)
{
    uint32_t *late = arena_array(a, to - from, sizeof *late);
    struct chunk_columns here = {0};
    size_t late_n = 0, newer = from, k = 0;
    int rc = late ? 0 : no_memory(err);

    while (newer < to && c->t[newer] <= s->newest)
        newer++;
    if (rc == 0 && newer > from)
        rc = stored_here(s, start, end, a, &here, err);
    if (rc < 0)
        return rc;
    for (size_t i = from; i < newer; i++) {
        while (k < here.n && here.t[k] < c->t[i])
            k++;
        if (k == here.n || here.t[k] != c->t[i])
            late[late_n++] = (uint32_t)i;
        else if (same_sample(&here, k, c, i))
            ret->same++;
        else
            ret->conflicts++;
    }
    rc = late_n ? add_late(h, s, start, c, late, late_n, a, err) : 0;
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < late_n; i++)
        accepted[late[i] / 8] |= (uint8_t)(1U << (late[i] % 8));
    for (size_t i = newer; i < to; i++) {
        append_newer(h, s, c, i);
        accepted[i / 8] |= (uint8_t)(1U << (i % 8));
    }
    ret->accepted += (uint32_t)(late_n + to - newer);
    return 0;
}

int head_absorb(struct head *h, struct head_series *s, const struct chunk_columns *c, struct arena *a,
                uint8_t *accepted, struct head_absorbed *ret, struct err *err)
{
    int rc = 0;

    ASSERT(h->locked);
    *ret = (struct head_absorbed){0};
    for (size_t from = 0, to; from < c->n && rc == 0; from = to) {
        int64_t end, start = window_start(s->fp, c->t[from], &end);

        for (to = from; to < c->n && c->t[to] < end; to++)
            ASSERT(to == from || c->t[to] > c->t[to - 1]);
        rc = absorb_window(h, s, start, end, c, from, to, a, accepted, ret, err);
    }
    return rc;
}

/* --- looking --- */

uint64_t head_published_gen(struct head *h)
{
    uint64_t gen;

    lock_slice(h);
    gen = h->dropped_gen;
    for (size_t i = 0; i < h->sets.n; i++)
        gen = h->sets.v[i].used ? MAX(gen, h->sets.v[i].gen) : gen;
    unlock_slice(h);
    return gen;
}

struct each {
    void (*fn)(void *arg, struct str tenant, fingerprint fp, int64_t newest_ms);
    void *arg;
};

static void each_one(struct head *h, const struct head_series *s, void *arg)
{
    const struct each *e = arg;

    e->fn(e->arg, h->tenants.v[s->tenant]->name, s->fp, s->newest);
}

void head_each_fingerprint(struct head *h, void (*fn)(void *arg, struct str tenant, fingerprint fp, int64_t newest_ms), void *arg)
{
    head_walk_locked(h, each_one, &(struct each){fn, arg});
}
