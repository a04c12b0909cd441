/* window_rate.c - rate, increase, delta, irate, idelta: how much a series grew in a window.
 * Source: Prometheus 3 extrapolatedRate(), extendedRate(), instantValue() (promql/functions.go); differences: none known. */
#include "promql/eval.h"

static struct str name_of(const struct window *w)
{
    return metric_name(&w->s->labels);
}

static bool is_counter(const struct range_call *c)
{
    return c->fn->id == FN_RATE || c->fn->id == FN_INCREASE;
}

/* A start timestamp between two samples says that the counter began anew. One that equals the time before it does so for deltas, which
 * have a known start before that; a cumulative series with unknown start looks alike but for that. */
static bool start_resets(int64_t prev_st, int64_t prev_t, int64_t st, int64_t t)
{
    if (st == 0 || st >= t || st < prev_t)
        return false;
    if (st > prev_t)
        return true;
    return prev_st != 0 && prev_st < prev_t;
}

static void check_overlap(struct range_call *c, const struct window *w, const int64_t *st, const int64_t *t, size_t from, size_t to)
{
    for (size_t i = from + 1; st && i < to; i++) {
        if (st[i] != 0 && st[i] < t[i - 1] && st[i] != st[i - 1]) {
            annotate_name(c->q, c->pos, "PromQL warning: sample has start time that overlaps with previous sample timestamp for metric ",
                          name_of(w));
            return;
        }
    }
}

/* --- plain floats --- */
static double float_increase(struct range_call *c, const struct window *w)
{
    const struct samples *s = w->s;
    double sum = s->fv[w->f1 - 1] - s->fv[w->f0];

    if (!is_counter(c) || (!s->falls && !s->fst))
        return sum;
    check_overlap(c, w, s->fst, s->ft, w->f0, w->f1);
    for (size_t i = w->f0 + 1; i < w->f1; i++)
        if (s->fv[i] < s->fv[i - 1] ||
            (s->fst && start_resets(s->fst[i - 1], s->ft[i - 1], s->fst[i], s->ft[i])))
            sum += s->fv[i - 1];
    return sum;
}

/* --- plain histograms --- */
static bool hist_resets(const struct samples *s, size_t i, const struct histogram *prev)
{
    return (s->hst && start_resets(s->hst[i - 1], s->ht[i - 1], s->hst[i], s->ht[i])) || fhist_detect_reset(s->hh[i], prev);
}

static bool custom(const struct histogram *h)
{
    return h->schema == HIST_CUSTOM_SCHEMA;
}

/* Adds or subtracts; annotates what was reconciled. RC_EXECUTION: annotated as a mix, no result. */
static int combine(struct range_call *c, struct str name, const struct histogram *x, const struct histogram *y, enum hist_op op,
                   struct histogram **ret)
{
    unsigned notes = 0;
    int rc = op == HIST_OP_ADD ? fhist_add(c->scratch, x, y, ret, &notes) : fhist_sub(c->scratch, x, y, ret, &notes);

    if (rc == RC_EXECUTION)
        annotate_mixed_schemas(c->q, c->pos, name);
    if (rc == 0 && (notes & FHIST_NOTE_BOUNDS_RECONCILED))
        annotate_reconciled(c->q, c->pos, op);
    return hist_rc(c->q, rc);
}

static void note_not_counter(struct range_call *c, const struct window *w)
{
    annotate_name(c->q, c->pos, "PromQL warning: this native histogram metric is not a counter: ", name_of(w));
}

static void note_not_gauge(struct range_call *c, const struct window *w)
{
    annotate_name(c->q, c->pos, "PromQL warning: this native histogram metric is not a gauge: ", name_of(w));
}

static bool gauge(const struct histogram *h)
{
    return h->hint == HIST_HINT_GAUGE;
}

/* The coarsest schema that matters, or RC_EXECUTION (annotated) when exponential and custom meet. */
static int common_schema(struct range_call *c, const struct window *w, const struct histogram *first, int32_t *ret)
{
    const struct histogram *const *hh = w->s->hh;
    const struct histogram *last = hh[w->h1 - 1];
    int32_t schema = MIN(last->schema, first->schema);

    if (custom(last) != custom(first))
        goto mixed;
    for (size_t i = w->h0 + 1; is_counter(c) && i + 1 < w->h1; i++) {
        if (gauge(hh[i]))
            note_not_counter(c, w);
        schema = MIN(schema, hh[i]->schema);
        if (custom(hh[i]) != custom(first))
            goto mixed;
    }
    *ret = schema;
    return 0;
mixed:
    annotate_mixed_schemas(c->q, c->pos, name_of(w));
    return RC_EXECUTION;
}

static int hist_add_resets(struct range_call *c, const struct window *w, const struct histogram *prev, struct histogram **sum)
{
    const struct samples *s = w->s;
    int rc = 0;

    check_overlap(c, w, s->hst, s->ht, w->h0, w->h1);
    for (size_t i = w->h0 + 1; rc == 0 && i < w->h1; i++) {
        if (hist_resets(s, i, prev))
            rc = combine(c, name_of(w), *sum, prev, HIST_OP_ADD, sum);
        prev = s->hh[i];
    }
    return rc;
}

/* RC_EXECUTION: no result, annotated. */
static int hist_increase(struct range_call *c, const struct window *w, struct histogram **ret)
{
    const struct samples *s = w->s;
    const struct histogram *first = s->hh[w->h0], *last = s->hh[w->h1 - 1], *low = last;
    struct histogram none = {.is_float = true};
    int32_t schema = 0;
    int rc;

    if (is_counter(c) && (gauge(first) || gauge(last)))
        note_not_counter(c, w);
    /* Reset between the first two: the first one's buckets do not matter, so they need not fit. */
    if (is_counter(c) && hist_resets(s, w->h0 + 1, first)) {
        const struct histogram *second = s->hh[w->h0 + 1];

        none.schema = second->schema;
        none.custom = second->custom;
        none.custom_count = second->custom_count;
        first = &none;
    }
    rc = common_schema(c, w, first, &schema);
    if (rc == 0 && schema != last->schema && !custom(last) && !(low = fhist_reduce(c->scratch, last, schema)))
        rc = query_nomem(c->q);
    if (rc == 0)
        rc = combine(c, name_of(w), low, first, HIST_OP_SUB, ret);
    if (rc == 0 && is_counter(c))
        rc = hist_add_resets(c, w, first, ret);
    else if (rc == 0 && !(gauge(s->hh[w->h0]) && gauge(last)))
        note_not_gauge(c, w);
    if (rc == 0)
        (*ret)->hint = HIST_HINT_GAUGE;
    return rc;
}

/* --- extrapolation to the window's edges --- */
struct span {
    int64_t first_t, last_t, st; /* st: start timestamp of the first sample, 0 unknown */
    size_t n;
    double first, increase;      /* values, or counts of histograms, for the zero point */
};

/* Factor for the increase; st_used: the series began in the window, from zero. */
static double extrapolate(const struct range_call *c, const struct window *w, const struct span *s, bool st_used)
{
    double to_start = (double)(s->first_t - w->start) / 1000, to_end = (double)(w->end - s->last_t) / 1000;
    double sampled = (double)(s->last_t - s->first_t) / 1000, factor = 1;
    double average = s->n > 1 ? sampled / (double)(s->n - 1) : 0, threshold = average * 1.1;

    if (st_used) {
        to_start = 0;
        sampled = (double)(s->last_t - s->st) / 1000;
    } else {
        if (to_start >= threshold)
            to_start = average / 2;
        /* Counters are never negative: do not extrapolate beyond where the slope meets zero. */
        if (is_counter(c) && s->increase > 0 && s->first >= 0)
            to_start = fmin(to_start, sampled * (s->first / s->increase));
    }
    if (to_end >= threshold)
        to_end = average / 2;
    if (sampled != 0)
        factor = (sampled + to_start + to_end) / sampled;
    return c->fn->id == FN_RATE ? factor / w->range_s : factor;
}

static bool st_inside(const struct range_call *c, const struct window *w, const struct span *s)
{
    return is_counter(c) && s->st != 0 && s->st > w->start && s->st < s->first_t;
}

static int rate_floats(struct range_call *c, const struct window *w, struct point *ret)
{
    const struct samples *s = w->s;
    double increase = float_increase(c, w), factor;
    struct span span = {s->ft[w->f0], s->ft[w->f1 - 1], s->fst ? s->fst[w->f0] : 0, w->f1 - w->f0, s->fv[w->f0], increase};
    bool st_used = st_inside(c, w, &span);

    if (span.n < 2 && !st_used)
        return 0;
    factor = extrapolate(c, w, &span, st_used);
    if (st_used)
        increase += s->fv[w->f0];
    *ret = (struct point){.kind = POINT_FLOAT, .v = increase * factor};
    return 0;
}

static int rate_hists(struct range_call *c, const struct window *w, struct point *ret)
{
    const struct samples *s = w->s;
    const struct histogram *first = s->hh[w->h0];
    struct span span = {s->ht[w->h0], s->ht[w->h1 - 1], s->hst ? s->hst[w->h0] : 0, w->h1 - w->h0, first->count.f, 0};
    bool st_used = st_inside(c, w, &span);
    struct histogram *h = NULL;
    int rc = 0;

    if (span.n < 2 && !st_used)
        return 0;
    if (span.n > 1)
        rc = hist_increase(c, w, &h);
    if (rc == 0 && h)
        span.increase = h->count.f;
    if (rc == 0 && st_used) {
        if (h)
            rc = combine(c, name_of(w), h, first, HIST_OP_ADD, &h);
        else if (!(h = fhist_dup(c->scratch, first)))
            rc = query_nomem(c->q);
    }
    if (rc == RC_EXECUTION)
        return 0;
    if (rc == 0 && !(h = fhist_mul(c->scratch, h, extrapolate(c, w, &span, st_used))))
        rc = query_nomem(c->q);
    if (rc == 0)
        *ret = (struct point){.kind = POINT_HIST, .h = h};
    return rc;
}

/* --- anchored and smoothed: values at the window's edges instead of extrapolation --- */
static double interpolate(double y1, int64_t t1, double y2, int64_t t2, int64_t t, bool counter)
{
    if (counter && y2 < y1)
        y1 = 0;
    return y1 + (y2 - y1) * (double)(t - t1) / (double)(t2 - t1);
}

/* The samples that decide: from the newest at or before the start (or the first one) to the newest in the window; smoothed: to the
 * first at or after its end. false: nothing to measure. */
static bool edges(const struct range_call *c, const struct window *w, const int64_t *t, size_t *first, size_t *last)
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

static int extended_floats(struct range_call *c, const struct window *w, struct point *ret)
{
    const struct samples *s = w->s;
    size_t first = w->f0, last = w->f1;
    double left, right, prev, v;

    if (!edges(c, w, s->ft, &first, &last))
        return 0;
    left = edge_left(c, w, first, is_counter(c));
    right = edge_right(c, w, last, is_counter(c));
    v = right - left;
    if (is_counter(c)) {
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

int hist_interpolate(struct query *q, struct arena *a, const struct histogram *h1, int64_t t1, const struct histogram *h2, int64_t t2,
                     int64_t t, bool counter, struct pos_range pos, struct histogram **ret)
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

static int hist_edge(struct range_call *c, const struct window *w, size_t i, size_t k, int64_t t, struct histogram **ret)
{
    const struct samples *s = w->s;
    int rc = hist_interpolate(c->q, c->scratch, s->hh[i], s->ht[i], s->hh[k], s->ht[k], t, is_counter(c), c->pos, ret);

    if (rc == RC_EXECUTION)
        annotate_mixed_schemas(c->q, c->pos, name_of(w));
    return rc;
}

static int hist_edges(struct range_call *c, const struct window *w, size_t first, size_t last, struct histogram **left,
                      struct histogram **right)
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

/* What was lost to resets between the edges. The last sample is right itself, or right was made from it, so it is never compared; the
 * one after an interpolated left edge is skipped when that interpolation already began anew. */
static int extended_corrections(struct range_call *c, const struct window *w, size_t first, size_t last, const struct histogram *left,
                                const struct histogram *right, struct histogram **sum)
{
    const struct samples *s = w->s;
    const struct histogram *prev = left;
    size_t from = first + 1;
    int rc = 0;

    if (c->smoothed && s->ht[first] < w->start && fhist_detect_reset(s->hh[first + 1], s->hh[first])) {
        prev = s->hh[first + 1];
        from++;
    }
    if (from > last)
        return 0;
    for (size_t i = from; rc == 0 && i < last; i++) {
        if (fhist_detect_reset(s->hh[i], prev))
            rc = combine(c, name_of(w), *sum, prev, HIST_OP_ADD, sum);
        prev = s->hh[i];
    }
    if (rc == 0 && fhist_detect_reset(right, prev))
        rc = combine(c, name_of(w), *sum, prev, HIST_OP_ADD, sum);
    return rc;
}

static bool check_hist_types(struct range_call *c, const struct window *w, size_t first, size_t last)
{
    const struct histogram *const *hh = w->s->hh;

    for (size_t i = first; i <= last; i++) {
        if (custom(hh[i]) != custom(hh[first])) {
            annotate_mixed_schemas(c->q, c->pos, name_of(w));
            return false;
        }
        if (is_counter(c) && gauge(hh[i]))
            note_not_counter(c, w);
    }
    return true;
}

static int extended_hists(struct range_call *c, const struct window *w, struct point *ret)
{
    size_t first = w->h0, last = w->h1;
    struct histogram *left, *right, *h;
    int rc;

    if (!edges(c, w, w->s->ht, &first, &last) || !check_hist_types(c, w, first, last))
        return 0;
    rc = hist_edges(c, w, first, last, &left, &right);
    if (rc == 0 && !is_counter(c) && !(gauge(left) && gauge(right)))
        note_not_gauge(c, w);
    if (rc == 0)
        rc = combine(c, name_of(w), right, left, HIST_OP_SUB, &h);
    if (rc == 0 && is_counter(c))
        rc = extended_corrections(c, w, first, last, left, right, &h);
    if (rc < 0)
        return rc == RC_EXECUTION ? 0 : rc;
    if (c->fn->id == FN_RATE && !(h = fhist_div(c->scratch, h, w->range_s)))
        return query_nomem(c->q);
    h->hint = HIST_HINT_GAUGE;
    *ret = (struct point){.kind = POINT_HIST, .h = h};
    return 0;
}

int window_rate(struct range_call *c, const struct window *w, struct point *ret)
{
    bool extended = c->anchored || c->smoothed;

    if (w->f1 > w->f0 && w->h1 > w->h0) {
        annotate_mixed(c->q, c->pos, name_of(w));
        return 0;
    }
    if (w->f1 > w->f0)
        return extended ? extended_floats(c, w, ret) : rate_floats(c, w, ret);
    return extended ? extended_hists(c, w, ret) : rate_hists(c, w, ret);
}

/* --- irate, idelta: the last two samples --- */
struct last {
    int64_t t, st;
    double v;
    const struct histogram *h;
};

/* The newest sample before *f floats and *h histograms, and steps back over it. */
static struct last take_last(const struct window *w, size_t *f, size_t *h)
{
    const struct samples *s = w->s;

    if (*h == w->h0 || (*f > w->f0 && s->ft[*f - 1] > s->ht[*h - 1])) {
        --*f;
        return (struct last){s->ft[*f], s->fst ? s->fst[*f] : 0, s->fv[*f], NULL};
    }
    --*h;
    return (struct last){s->ht[*h], s->hst ? s->hst[*h] : 0, 0, s->hh[*h]};
}

static int instant_hist(struct range_call *c, const struct window *w, const struct last *a, const struct last *b, double seconds,
                        struct point *ret)
{
    bool rate = c->fn->id == FN_IRATE;
    struct histogram *h;
    int rc;

    if (rate && (gauge(a->h) || gauge(b->h)))
        note_not_counter(c, w);
    if (!rate && !(gauge(a->h) && gauge(b->h)))
        note_not_gauge(c, w);
    if (!rate || !(start_resets(a->st, a->t, b->st, b->t) || fhist_detect_reset(b->h, a->h)))
        rc = combine(c, name_of(w), b->h, a->h, HIST_OP_SUB, &h);
    else
        rc = (h = fhist_compact(c->scratch, b->h, 0)) ? 0 : query_nomem(c->q);
    if (rc < 0)
        return rc == RC_EXECUTION ? 0 : rc;
    if (rate && !(h = fhist_div(c->scratch, h, seconds)))
        return query_nomem(c->q);
    h->hint = HIST_HINT_GAUGE;
    *ret = (struct point){.kind = POINT_HIST, .h = h};
    return 0;
}

int window_instant(struct range_call *c, const struct window *w, struct point *ret)
{
    bool rate = c->fn->id == FN_IRATE;
    size_t f = w->f1, h = w->h1;
    struct last a, b;
    double seconds;

    if (f - w->f0 + h - w->h0 < 2)
        return 0;
    b = take_last(w, &f, &h);
    a = take_last(w, &f, &h);
    if (a.t == b.t)
        return 0;
    seconds = (double)(b.t - a.t) / 1000;
    if (!a.h != !b.h) {
        annotate_mixed(c->q, c->pos, name_of(w));
        return 0;
    }
    if (a.h)
        return instant_hist(c, w, &a, &b, seconds, ret);
    *ret = (struct point){.kind = POINT_FLOAT, .v = b.v};
    if (!rate || !(b.v < a.v || start_resets(a.st, a.t, b.st, b.t)))
        ret->v = b.v - a.v;
    if (rate)
        ret->v /= seconds;
    return 0;
}

/* --- resets, changes: floats and histograms in time order --- */
/* anchored: from the newest sample at or before the start on. false: none after the start. */
static bool anchor(const struct range_call *c, const struct window *w, size_t *f, size_t *h)
{
    const struct samples *s = w->s;
    size_t fa, ha;

    *f = w->f0;
    *h = w->h0;
    if (!c->anchored)
        return true;
    fa = seek_time(s->ft, w->f1, w->f0, w->start + 1);
    ha = seek_time(s->ht, w->h1, w->h0, w->start + 1);
    if (fa == w->f1 && ha == w->h1)
        return false;
    *f = fa;
    *h = ha;
    if (fa > w->f0 && (ha == w->h0 || s->ft[fa - 1] >= s->ht[ha - 1]))
        --*f;
    else if (ha > w->h0)
        --*h;
    return true;
}

static struct last take_first(const struct window *w, size_t *f, size_t *h)
{
    const struct samples *s = w->s;
    struct last out;

    if (*h == w->h1 || (*f < w->f1 && s->ft[*f] < s->ht[*h])) {
        out = (struct last){s->ft[*f], s->fst ? s->fst[*f] : 0, s->fv[*f], NULL};
        ++*f;
    } else {
        out = (struct last){s->ht[*h], s->hst ? s->hst[*h] : 0, 0, s->hh[*h]};
        ++*h;
    }
    return out;
}

static bool sample_resets(const struct last *a, const struct last *b)
{
    if (!a->h != !b->h)
        return true;
    if (start_resets(a->st, a->t, b->st, b->t))
        return true;
    return a->h ? fhist_detect_reset(b->h, a->h) : b->v < a->v;
}

static bool sample_changes(const struct last *a, const struct last *b)
{
    if (!a->h != !b->h)
        return true;
    if (a->h)
        return !fhist_eq_exact(b->h, a->h);
    return a->v != b->v && !(isnan(a->v) && isnan(b->v));
}

static int count_pairs(struct range_call *c, const struct window *w, bool (*differs)(const struct last *, const struct last *),
                       struct point *ret)
{
    struct last prev, cur;
    size_t f, h;
    double n = 0;

    if (!anchor(c, w, &f, &h))
        return 0;
    prev = take_first(w, &f, &h);
    for (; f < w->f1 || h < w->h1; prev = cur) {
        cur = take_first(w, &f, &h);
        n += differs(&prev, &cur);
    }
    *ret = (struct point){.kind = POINT_FLOAT, .v = n};
    return 0;
}

int window_resets(struct range_call *c, const struct window *w, struct point *ret)
{
    return count_pairs(c, w, sample_resets, ret);
}

int window_changes(struct range_call *c, const struct window *w, struct point *ret)
{
    return count_pairs(c, w, sample_changes, ret);
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
        return query_fail(c->q, "anchored and smoothed range vectors of native histograms can only be used inside of functions");
    rc = extend_floats(c, w, ret);
    if (rc < 0)
        return rc;
    w->s = ret;
    w->f0 = 0;
    *ret_samples = w->f1 = ret->nf;
    return 0;
}
