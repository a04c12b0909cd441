#include "querier/columns.h"

#include "promql/fhist.h"

static int no_memory(struct err *err)
{
    return err_set(err, RC_NOMEM, "select: memory budget is spent");
}

/* A float histogram whose hint may be changed. */
static struct histogram *own(struct arena *a, const struct histogram *h)
{
    const struct histogram *f = fhist_of(a, h);

    return f ? arena_dup(a, f, sizeof *f) : NULL;
}

/* hist: all of c from sample from on; the one before it, if any, is looked at. */
static int derive_hints(struct arena *a, struct chunk_columns *c, size_t from, struct err *err)
{
    const struct histogram *prev = NULL;

    if (from > 0 && c->hist[from - 1] && !(prev = fhist_of(a, c->hist[from - 1])))
        return no_memory(err);
    for (size_t i = from; i < c->n; i++) {
        struct histogram *h = c->hist[i] ? own(a, c->hist[i]) : NULL;

        if (c->hist[i] && !h)
            return no_memory(err);
        if (h)
            h->hint = fhist_storage_hint(h, prev);
        c->hist[i] = prev = h;
    }
    return 0;
}

/* Where the window that holds mint begins. */
static int64_t context_start(const struct stored_series *s, int64_t mint_ms)
{
    for (size_t w = 0; w < s->window_count; w++)
        if (s->windows[w].maxt_ms >= mint_ms)
            return MIN(mint_ms, s->windows[w].mint_ms);
    return mint_ms;
}

int stored_to_columns(const struct stored_series *s, int64_t mint_ms, int64_t maxt_ms,
                      struct arena *a, struct columns *ret, struct err *err)
{
    struct chunk_columns c;
    size_t from = 0;
    int rc;

    for (size_t w = 0; w < s->window_count; w++)
        if (s->windows[w].chunk_count == 0)
            return err_set(err, RC_INTERNAL, "a window of a series has a digest and no samples");
    rc = stored_series_columns(s, context_start(s, mint_ms), maxt_ms, a, &c, err);
    while (rc == 0 && from < c.n && c.t[from] < mint_ms)
        from++;
    if (rc == 0 && c.hist)
        rc = derive_hints(a, &c, from, err);
    if (rc == 0)
        *ret = (struct columns){.n = c.n - from,
                                .t = c.t + from,
                                .v = c.v + from,
                                .st = c.st ? c.st + from : NULL,
                                .hist = c.hist ? c.hist + from : NULL};
    return rc;
}
