/* window_edges.c - rate, increase and delta of anchored and smoothed selectors: values at the
 * window's edges instead of extrapolation. Source: Prometheus 3 extendedRate(),
 * extendedHistogramRate(); differences: none known. */
#include "promql/window.h"

static double interpolate(double y1, int64_t t1, double y2, int64_t t2, int64_t t, bool counter)
{
    if (counter && y2 < y1)
        y1 = 0;
    return y1 + (y2 - y1) * (double)(t - t1) / (double)(t2 - t1);
}

/* The samples that decide: from the newest at or before the start (or the first one) to the newest
 * in the window; smoothed: to the first at or after its end. false: nothing to measure. */
static bool edges(const struct range_call *c, const struct window *w, const int64_t *t,
                  size_t *first, size_t *last)
{
    size_t lo = *first, hi = *last - 1, i;

    i = seek_time(t, hi, lo, w->start + 1);
    *first = i > lo ? i - 1 : lo;
    if (c->smoothed)
        hi = seek_time(t, hi, lo, w->end);
    *last = hi;
    return t[hi] > w->start && !(c->smoothed && t[*first] > w->end);
}

static double edge_left(const struct range_call *c, const struct window *w, size_t i, bool counter)
{
    const struct samples *s = w->s;

    if (c->smoothed && s->ft[i] < w->start)
        return interpolate(s->fv[i], s->ft[i], s->fv[i + 1], s->ft[i + 1], w->start, counter);
    return s->fv[i];
}

static double edge_right(const struct range_call *c, const struct window *w, size_t i, bool counter)
{
    const struct samples *s = w->s;

    if (c->smoothed && i > w->f0 && s->ft[i] > w->end)
        return interpolate(s->fv[i - 1], s->ft[i - 1], s->fv[i], s->ft[i], w->end, counter);
    return s->fv[i];
}

int window_extended_floats(struct range_call *c, const struct window *w, struct point *ret)
{
    const struct samples *s = w->s;
    size_t first = w->f0, last = w->f1;
    double left, right, prev, v;

    if (!edges(c, w, s->ft, &first, &last))
        return 0;
    left = edge_left(c, w, first, call_counts(c));
    right = edge_right(c, w, last, call_counts(c));
    v = right - left;
    if (call_counts(c)) {
        /* Resets at the edges are in left and right already. */
        size_t from = first + (s->ft[first] <= w->start), to = last + 1 - (s->ft[last] >= w->end);

        prev = left;
        for (size_t i = from; i < to; i++) {
            if (s->fv[i] < prev)
                v += prev;
            prev = s->fv[i];
        }
        if (right < prev)
            v += prev;
    }
    if (c->fn->id == FN_RATE)
        v /= w->range_s;
    *ret = (struct point){.kind = POINT_FLOAT, .v = v};
    return 0;
}

int hist_interpolate(struct query *q, struct arena *a, const struct histogram *h1, int64_t t1,
                     const struct histogram *h2, int64_t t2, int64_t t, bool counter,
                     struct pos_range pos, struct histogram **ret)
{
    double fraction = (double)(t - t1) / (double)(t2 - t1);
    unsigned sub = 0, add = 0;
    struct histogram *h = NULL;
    int rc = 0;

    if (t == t1 || t == t2) {
        h = fhist_dup(a, t == t1 ? h1 : h2);
    } else if (counter && fhist_detect_reset(h2, h1)) {
        h = fhist_mul(a, h2, fraction);
    } else {
        rc = fhist_sub(a, h2, h1, &h, &sub);
        if (rc == 0 && (h = fhist_mul(a, h, fraction)))
            rc = fhist_add(a, h, h1, &h, &add);
        if (sub & FHIST_NOTE_BOUNDS_RECONCILED)
            annotate_reconciled(q, pos, HIST_OP_SUB);
        if (add & FHIST_NOTE_BOUNDS_RECONCILED)
            annotate_reconciled(q, pos, HIST_OP_ADD);
    }
    if (rc == 0 && !h)
        rc = RC_NOMEM;
    if (rc == 0)
        *ret = h;
    return hist_rc(q, rc);
}

static int hist_edge(struct range_call *c, const struct window *w, size_t i, size_t k, int64_t t,
                     struct histogram **ret)
{
    const struct samples *s = w->s;
    int rc = hist_interpolate(c->q, c->scratch, s->hh[i], s->ht[i], s->hh[k], s->ht[k], t,
                              call_counts(c), c->pos, ret);

    if (rc == RC_EXECUTION)
        annotate_mixed_schemas(c->q, c->pos, window_name(w));
    return rc;
}

static int hist_edges(struct range_call *c, const struct window *w, size_t first, size_t last,
                      struct histogram **left, struct histogram **right)
{
    const struct samples *s = w->s;
    int rc;

    if (c->smoothed && s->ht[first] < w->start)
        rc = hist_edge(c, w, first, first + 1, w->start, left);
    else
        rc = (*left = fhist_dup(c->scratch, s->hh[first])) ? 0 : query_nomem(c->q);
    if (rc < 0)
        return rc;
    if (c->smoothed && last > w->h0 && s->ht[last] > w->end)
        return hist_edge(c, w, last - 1, last, w->end, right);
    return (*right = fhist_dup(c->scratch, s->hh[last])) ? 0 : query_nomem(c->q);
}

/* What was lost to resets between the edges. The last sample is right itself, or right was made
 * from it, so it is never compared; the one after an interpolated left edge is skipped when that
 * interpolation already began anew. */
static int extended_corrections(struct range_call *c, const struct window *w, size_t first,
                                size_t last, const struct histogram *left,
                                const struct histogram *right, struct histogram **sum)
{
    const struct samples *s = w->s;
    const struct histogram *prev = left;
    size_t from = first + 1;
    int rc = 0;

    if (c->smoothed && s->ht[first] < w->start &&
        fhist_detect_reset(s->hh[first + 1], s->hh[first])) {
        prev = s->hh[first + 1];
        from++;
    }
    if (from > last)
        return 0;
    for (size_t i = from; rc == 0 && i < last; i++) {
        if (fhist_detect_reset(s->hh[i], prev))
            rc = window_combine(c, window_name(w), *sum, prev, HIST_OP_ADD, sum);
        prev = s->hh[i];
    }
    if (rc == 0 && fhist_detect_reset(right, prev))
        rc = window_combine(c, window_name(w), *sum, prev, HIST_OP_ADD, sum);
    return rc;
}

static bool check_hist_types(struct range_call *c, const struct window *w, size_t first,
                             size_t last)
{
    const struct histogram *const *hh = w->s->hh;

    for (size_t i = first; i <= last; i++) {
        if (hist_is_custom(hh[i]) != hist_is_custom(hh[first])) {
            annotate_mixed_schemas(c->q, c->pos, window_name(w));
            return false;
        }
        if (call_counts(c) && hist_is_gauge(hh[i]))
            note_not_counter(c, w);
    }
    return true;
}

int window_extended_hists(struct range_call *c, const struct window *w, struct point *ret)
{
    size_t first = w->h0, last = w->h1;
    struct histogram *left, *right, *h;
    int rc;

    if (!edges(c, w, w->s->ht, &first, &last) || !check_hist_types(c, w, first, last))
        return 0;
    rc = hist_edges(c, w, first, last, &left, &right);
    if (rc == 0 && !call_counts(c) && !(hist_is_gauge(left) && hist_is_gauge(right)))
        note_not_gauge(c, w);
    if (rc == 0)
        rc = window_combine(c, window_name(w), right, left, HIST_OP_SUB, &h);
    if (rc == 0 && call_counts(c))
        rc = extended_corrections(c, w, first, last, left, right, &h);
    if (rc < 0)
        return rc == RC_EXECUTION ? 0 : rc;
    if (c->fn->id == FN_RATE && !(h = fhist_div(c->scratch, h, w->range_s)))
        return query_nomem(c->q);
    h->hint = HIST_HINT_GAUGE;
    *ret = (struct point){.kind = POINT_HIST, .h = h};
    return 0;
}

/* --- a bare anchored or smoothed selector --- */
static int extend_floats(struct range_call *c, struct window *w, struct samples *out)
{
    const struct samples *s = w->s;
    size_t first = w->f0, last = w->f1, n = 0, from, to;
    int64_t *t = arena_array(c->scratch, w->f1 - w->f0 + 2, sizeof *t);
    double *v = arena_array(c->scratch, w->f1 - w->f0 + 2, sizeof *v);

    if (!t || !v)
        return query_nomem(c->q);
    if (edges(c, w, s->ft, &first, &last)) {
        from = first + (s->ft[first] <= w->start);
        to = last + 1 - (s->ft[last] >= w->end);
        t[n] = w->start;
        v[n++] = edge_left(c, w, first, false);
        for (size_t i = from; i < to; i++) {
            t[n] = s->ft[i];
            v[n++] = s->fv[i];
        }
        t[n] = w->end;
        v[n++] = edge_right(c, w, last, false);
    }
    out->ft = t;
    out->fv = v;
    out->nf = n;
    return 0;
}

int window_extend(struct range_call *c, struct window *w, struct samples *ret, size_t *ret_samples)
{
    int rc;

    *ret = (struct samples){.labels = w->s->labels, .drop_name = w->s->drop_name};
    if (w->h1 > w->h0)
        return query_fail(c->q, "anchored and smoothed range vectors of native histograms can only "
                                "be used inside of functions");
    rc = extend_floats(c, w, ret);
    if (rc < 0)
        return rc;
    w->s = ret;
    w->f0 = 0;
    *ret_samples = w->f1 = ret->nf;
    return 0;
}
