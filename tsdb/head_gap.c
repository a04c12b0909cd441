/* Does a series have a hole at a time? For samples of a standby sender, which are taken only where the followed one left nothing (head_gap in head.h). */
#include "tsdb/head_priv.h"

#include <stdlib.h>

enum {
    LOOK_MS = 10 * 60 * 1000,   /* to each side */
    DELTAS = 8,                  /* between samples, on each side of the hole: the interval is the upper quartile of them */
    DELTAS_MIN = 2,
    INTERVAL_DEFAULT_MS = 60000, /* with fewer */
};

struct times {
    int64_t from, to;
    int64_t *v; /* scratch arena */
    size_t n;
};

static void times_add(struct times *x, const int64_t *t, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (t[i] >= x->from && t[i] <= x->to)
            x->v[x->n++] = t[i];
}

static void times_chunk(struct head *h, struct times *x, struct str bytes)
{
    struct chunk_columns c;

    ASSERT(chunk_decode(bytes, &h->scratch, &c, NULL) == 0);
    times_add(x, c.t, c.n);
}

static void times_window(struct head *h, struct times *x, const struct window *w)
{
    struct chunk_info info;

    if (w->count == 0 || w->start + w->mint_off > x->to || w->start + w->maxt_off < x->from)
        return;
    for (const struct blob *b = w->blobs; b; b = b->next) {
        ASSERT(chunk_info(blob_str(b), &info, NULL) == 0);
        if (info.mint_ms <= x->to && info.maxt_ms >= x->from)
            times_chunk(h, x, blob_str(b));
    }
}

static size_t count_all(const struct head_series *s, const struct times *x)
{
    size_t n = s->cur.count + (s->extra ? s->extra->ooo_n : 0);

    for (const struct window *w = s->cur.next; w; w = w->next)
        n += w->start + w->maxt_off >= x->from && w->start + w->mint_off <= x->to ? w->count : 0;
    return n;
}

static int time_cmp(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* All samples of the series about that time, ascending. Late ones may stand in the buffer and in their window's count: room for both. */
static void times_collect(struct head *h, const struct head_series *s, struct times *x)
{
    x->v = arena_array(&h->scratch, count_all(s, x) + 1, sizeof *x->v);
    ASSERT(x->v);
    if (s->open)
        times_chunk(h, x, chunk_open_view(s->open));
    times_window(h, x, &s->cur);
    for (const struct window *w = s->cur.next; w; w = w->next)
        times_window(h, x, w);
    for (uint32_t i = 0; s->extra && i < s->extra->hists.n; i++)
        times_add(x, &s->extra->hists.v[i].t, 1);
    for (uint32_t i = 0; s->extra && i < s->extra->ooo_n; i++)
        times_add(x, &s->extra->ooo[i].t, 1);
    qsort(x->v, x->n, sizeof *x->v, time_cmp);
}

/* Of the samples about the hole before v[next]. Not the median: where samples of two senders meet, some are closer, and would make holes of all others. */
static int64_t interval_about(const struct times *x, size_t next)
{
    int64_t deltas[2 * DELTAS];
    size_t n = 0;

    for (size_t i = 1; i <= DELTAS && i < next; i++)
        deltas[n++] = x->v[next - i] - x->v[next - i - 1];
    for (size_t i = next + 1; i <= next + DELTAS && i < x->n; i++)
        deltas[n++] = x->v[i] - x->v[i - 1];
    if (n < DELTAS_MIN)
        return INTERVAL_DEFAULT_MS;
    qsort(deltas, n, sizeof *deltas, time_cmp);
    return deltas[n * 3 / 4];
}

static bool hole_at(const struct times *x, int64_t t, int64_t until_ms)
{
    size_t next = 0;
    int64_t interval, end;

    while (next < x->n && x->v[next] < t)
        next++;
    if (next < x->n && x->v[next] == t)
        return false;
    end = next < x->n ? x->v[next] : until_ms;
    if (next == 0)
        return x->n == 0 && t < end; /* before the first there is no hole */
    interval = interval_about(x, next);
    return t < end && end - x->v[next - 1] > interval + interval / 10;
}

bool series_in_gap(struct head *h, const struct head_series *s, int64_t t, int64_t until_ms)
{
    struct times x = {.from = t - LOOK_MS, .to = t + LOOK_MS};
    bool in;

    if (t > s->newest && until_ms == INT64_MAX)
        return true;
    times_collect(h, s, &x);
    in = hole_at(&x, t, until_ms);
    arena_reset(&h->scratch);
    return in;
}
