/* window_rate.c - rate, increase, delta, irate, idelta: how much a series grew in a window.
 * Source: Prometheus 3 extrapolatedRate(), extendedRate(), instantValue() (promql/functions.go);
 * differences: none known. */
#include "promql/window.h"

static void check_overlap(struct range_call *c, const struct window *w, const int64_t *st,
                          const int64_t *t, size_t from, size_t to)
{
    for (size_t i = from + 1; st && i < to; i++) {
        if (st[i] != 0 && st[i] < t[i - 1] && st[i] != st[i - 1]) {
            annotate_name(c->q, c->pos,
                          "PromQL warning: sample has start time that overlaps with previous "
                          "sample timestamp for metric ",
                          window_name(w));
            return;
        }
    }
}

/* --- plain floats --- */
static double float_increase(struct range_call *c, const struct window *w)
{
    const struct samples *s = w->s;
    double sum = s->fv[w->f1 - 1] - s->fv[w->f0];

    if (!call_counts(c) || (!s->falls && !s->fst))
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
    return (s->hst && start_resets(s->hst[i - 1], s->ht[i - 1], s->hst[i], s->ht[i])) ||
           fhist_detect_reset(s->hh[i], prev);
}

int window_combine(struct range_call *c, struct str name, const struct histogram *x,
                   const struct histogram *y, enum hist_op op, struct histogram **ret)
{
    unsigned notes = 0;
    int rc = op == HIST_OP_ADD ? fhist_add(c->scratch, x, y, ret, &notes)
                               : fhist_sub(c->scratch, x, y, ret, &notes);

    if (rc == RC_EXECUTION)
        annotate_mixed_schemas(c->q, c->pos, name);
    if (rc == 0 && (notes & FHIST_NOTE_BOUNDS_RECONCILED))
        annotate_reconciled(c->q, c->pos, op);
    return hist_rc(c->q, rc);
}

void note_not_counter(struct range_call *c, const struct window *w)
{
    annotate_name(c->q, c->pos, "PromQL warning: this native histogram metric is not a counter: ",
                  window_name(w));
}

void note_not_gauge(struct range_call *c, const struct window *w)
{
    annotate_name(c->q, c->pos,
                  "PromQL warning: this native histogram metric is not a gauge: ", window_name(w));
}

/* The coarsest schema that matters, or RC_EXECUTION (annotated) when exponential and custom meet.
 */
static int common_schema(struct range_call *c, const struct window *w,
                         const struct histogram *first, int32_t *ret)
{
    const struct histogram *const *hh = w->s->hh;
    const struct histogram *last = hh[w->h1 - 1];
    int32_t schema = MIN(last->schema, first->schema);

    if (hist_is_custom(last) != hist_is_custom(first))
        goto mixed;
    for (size_t i = w->h0 + 1; call_counts(c) && i + 1 < w->h1; i++) {
        if (hist_is_gauge(hh[i]))
            note_not_counter(c, w);
        schema = MIN(schema, hh[i]->schema);
        if (hist_is_custom(hh[i]) != hist_is_custom(first))
            goto mixed;
    }
    *ret = schema;
    return 0;
mixed:
    annotate_mixed_schemas(c->q, c->pos, window_name(w));
    return RC_EXECUTION;
}

static int hist_add_resets(struct range_call *c, const struct window *w,
                           const struct histogram *prev, struct histogram **sum)
{
    const struct samples *s = w->s;
    int rc = 0;

    check_overlap(c, w, s->hst, s->ht, w->h0, w->h1);
    for (size_t i = w->h0 + 1; rc == 0 && i < w->h1; i++) {
        if (hist_resets(s, i, prev))
            rc = window_combine(c, window_name(w), *sum, prev, HIST_OP_ADD, sum);
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

    if (call_counts(c) && (hist_is_gauge(first) || hist_is_gauge(last)))
        note_not_counter(c, w);
    /* Reset between the first two: the first one's buckets do not matter, so they need not fit. */
    if (call_counts(c) && hist_resets(s, w->h0 + 1, first)) {
        const struct histogram *second = s->hh[w->h0 + 1];

        none.schema = second->schema;
        none.custom = second->custom;
        none.custom_count = second->custom_count;
        first = &none;
    }
    rc = common_schema(c, w, first, &schema);
    if (rc == 0 && schema != last->schema && !hist_is_custom(last) &&
        !(low = fhist_reduce(c->scratch, last, schema)))
        rc = query_nomem(c->q);
    if (rc == 0)
        rc = window_combine(c, window_name(w), low, first, HIST_OP_SUB, ret);
    if (rc == 0 && call_counts(c))
        rc = hist_add_resets(c, w, first, ret);
    else if (rc == 0 && !(hist_is_gauge(s->hh[w->h0]) && hist_is_gauge(last)))
        note_not_gauge(c, w);
    if (rc == 0)
        (*ret)->hint = HIST_HINT_GAUGE;
    return rc;
}

/* --- extrapolation to the window's edges --- */
struct span {
    int64_t first_t, last_t, st; /* st: start timestamp of the first sample, 0 unknown */
    size_t n;
    double first, increase; /* values, or counts of histograms, for the zero point */
};

/* Factor for the increase; st_used: the series began in the window, from zero. */
static double extrapolate(const struct range_call *c, const struct window *w, const struct span *s,
                          bool st_used)
{
    double to_start = (double)(s->first_t - w->start) / 1000,
           to_end = (double)(w->end - s->last_t) / 1000;
    double sampled = (double)(s->last_t - s->first_t) / 1000, factor = 1;
    double average = s->n > 1 ? sampled / (double)(s->n - 1) : 0, threshold = average * 1.1;

    if (st_used) {
        to_start = 0;
        sampled = (double)(s->last_t - s->st) / 1000;
    } else {
        if (to_start >= threshold)
            to_start = average / 2;
        /* Counters are never negative: do not extrapolate beyond where the slope meets zero. */
        if (call_counts(c) && s->increase > 0 && s->first >= 0)
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
    return call_counts(c) && s->st != 0 && s->st > w->start && s->st < s->first_t;
}

static int rate_floats(struct range_call *c, const struct window *w, struct point *ret)
{
    const struct samples *s = w->s;
    double increase = float_increase(c, w), factor;
    struct span span = {s->ft[w->f0],  s->ft[w->f1 - 1], s->fst ? s->fst[w->f0] : 0,
                        w->f1 - w->f0, s->fv[w->f0],     increase};
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
    struct span span = {s->ht[w->h0],  s->ht[w->h1 - 1], s->hst ? s->hst[w->h0] : 0,
                        w->h1 - w->h0, first->count.f,   0};
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
            rc = window_combine(c, window_name(w), h, first, HIST_OP_ADD, &h);
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

/* --- all steps at once, without start timestamps --- */
static struct window plan_window(const struct samples *s, const struct plan_spec *spec, const struct plan *p, size_t k)
{
    int64_t end = spec->start_ms + (int64_t)k * spec->step_ms;

    return (struct window){.s = s, .f0 = p->first[k], .f1 = p->end[k], .start = end - spec->range_ms, .end = end, .range_s = (double)spec->range_ms / 1000};
}

static struct span plan_span(const struct window *w, double increase)
{
    const struct samples *s = w->s;

    return (struct span){.first_t = s->ft[w->f0], .last_t = s->ft[w->f1 - 1], .n = w->f1 - w->f0, .first = s->fv[w->f0], .increase = increase};
}

/* While the zero of a counter is out of reach (first >= increase, so that the slope meets it more than the sampled time ago) the factor follows from times
 * alone. 0: the window begins so long before its first sample that the zero could matter after all. */
static bool plan_factors(struct range_call *c, const struct samples *s, struct plans *ps, struct plan *p)
{
    p->factor = arena_array(ps->arena, ps->spec.steps, sizeof *p->factor);
    for (size_t k = 0; p->factor && k < ps->spec.steps; k++) {
        struct window w = plan_window(s, &ps->spec, p, k);
        struct span span;

        p->factor[k] = 0;
        if (!p->two[k])
            continue;
        span = plan_span(&w, 0);
        if (span.first_t - w.start <= span.last_t - span.first_t)
            p->factor[k] = extrapolate(c, &w, &span, false);
    }
    return p->factor != NULL;
}

/* The hot loop of sum(rate(x[5m])). */
bool window_rate_steps(struct range_call *c, const struct samples *s, struct plans *ps, struct plan *p, struct ahead_row *ret)
{
    bool counts = call_counts(c), falls = counts && s->falls;
    const double *v = s->fv;

    if (!p->factor && !plan_factors(c, s, ps, p))
        return false;
    for (size_t k = 0; k < ps->spec.steps; k++) {
        double first, increase, factor = p->factor[k];

        ret->v[k] = 0;
        if (!p->two[k])
            continue;
        first = v[p->first[k]];
        increase = v[p->end[k] - 1] - first;
        if (falls) {
            struct window w = plan_window(s, &ps->spec, p, k);

            increase = float_increase(c, &w);
        }
        if (factor == 0 || (counts && increase > 0 && first >= 0 && first < increase)) {
            struct window w = plan_window(s, &ps->spec, p, k);
            struct span span = plan_span(&w, increase);

            factor = extrapolate(c, &w, &span, false);
        }
        ret->v[k] = increase * factor;
    }
    memcpy(ret->kind, p->two, ps->spec.steps);
    return true;
}
_Static_assert(POINT_FLOAT == 1, "two is 1 where there is a point");

int window_rate(struct range_call *c, const struct window *w, struct point *ret)
{
    bool extended = c->anchored || c->smoothed;

    if (w->f1 > w->f0 && w->h1 > w->h0) {
        annotate_mixed(c->q, c->pos, window_name(w));
        return 0;
    }
    if (w->f1 > w->f0)
        return extended ? window_extended_floats(c, w, ret) : rate_floats(c, w, ret);
    return extended ? window_extended_hists(c, w, ret) : rate_hists(c, w, ret);
}

/* --- irate, idelta: the last two samples --- */

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

static int instant_hist(struct range_call *c, const struct window *w, const struct last *a,
                        const struct last *b, double seconds, struct point *ret)
{
    bool rate = c->fn->id == FN_IRATE;
    struct histogram *h;
    int rc;

    if (rate && (hist_is_gauge(a->h) || hist_is_gauge(b->h)))
        note_not_counter(c, w);
    if (!rate && !(hist_is_gauge(a->h) && hist_is_gauge(b->h)))
        note_not_gauge(c, w);
    if (!rate || !(start_resets(a->st, a->t, b->st, b->t) || fhist_detect_reset(b->h, a->h)))
        rc = window_combine(c, window_name(w), b->h, a->h, HIST_OP_SUB, &h);
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
        annotate_mixed(c->q, c->pos, window_name(w));
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
