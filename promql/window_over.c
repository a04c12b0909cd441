/* window_over.c - functions that sum up a window: *_over_time, smoothing, regression.
 * Source: Prometheus 3 (promql/functions.go), order of operations included; differences: none
 * known. */
#include "promql/eval.h"

static int float_out(struct point *ret, double v)
{
    *ret = (struct point){.kind = POINT_FLOAT, .v = v};
    return 0;
}

static size_t floats(const struct window *w)
{
    return w->f1 - w->f0;
}

static size_t hists(const struct window *w)
{
    return w->h1 - w->h0;
}

static void note_ignored(struct range_call *c, const struct window *w)
{
    if (hists(w) > 0)
        annotate_ignored_in_range(c->q, c->pos, metric_name(&w->s->labels));
}

/* --- sum_over_time, avg_over_time --- */
static double sum_floats(const double *v, size_t n)
{
    double sum = 0, c = 0;

    for (size_t i = 0; i < n; i++)
        kahan_add(v[i], &sum, &c);
    return isinf(sum) ? sum : sum + c;
}

/* The sum divided, or a running mean from where the sum would overflow. */
double avg_floats(const double *v, size_t n)
{
    double sum = v[0], c = 0, mean = 0, count = 1;
    bool running = false;

    for (size_t i = 1; i < n; i++) {
        double q;

        count = (double)(i + 1);
        if (!running) {
            double s = sum, k = c;

            kahan_add(v[i], &s, &k);
            if (!isinf(s)) {
                sum = s;
                c = k;
                continue;
            }
            running = true;
            mean = sum / (count - 1);
            c /= count - 1;
        }
        q = (count - 1) / count;
        mean *= q;
        c *= q;
        kahan_add(v[i] / count, &mean, &c);
    }
    return running ? mean + c : sum / count + c / count;
}

static int aggregate_hists(struct range_call *c, const struct window *w, struct point *ret)
{
    struct fhist_sum sum = {0};
    struct fhist_mean mean = {0};
    bool avg = c->fn->id == FN_AVG_OVER_TIME;
    struct histogram *h;
    unsigned notes = 0;
    int rc = 0;

    for (size_t i = w->h0; rc == 0 && i < w->h1; i++)
        rc = avg ? fhist_mean_add(c->scratch, &mean, w->s->hh[i], &notes)
                 : fhist_sum_add(c->scratch, &sum, w->s->hh[i], &notes);
    if (rc == RC_EXECUTION) {
        annotate_mixed_schemas(c->q, c->pos, metric_name(&w->s->labels));
        return 0;
    }
    if (rc < 0)
        return hist_rc(c->q, rc);
    if (notes & FHIST_NOTE_RESET_COLLISION)
        annotate_collision(c->q, c->pos, HIST_OP_AGG);
    if (notes & FHIST_NOTE_BOUNDS_RECONCILED)
        annotate_reconciled(c->q, c->pos, HIST_OP_AGG);
    h = avg ? fhist_mean_result(c->scratch, &mean) : fhist_sum_result(c->scratch, &sum);
    if (!h)
        return query_nomem(c->q);
    *ret = (struct point){.kind = POINT_HIST, .h = h};
    return 0;
}

int window_aggregate(struct range_call *c, const struct window *w, struct point *ret)
{
    if (floats(w) > 0 && hists(w) > 0) {
        annotate_mixed(c->q, c->pos, metric_name(&w->s->labels));
        return 0;
    }
    if (hists(w) > 0)
        return aggregate_hists(c, w, ret);
    if (c->fn->id == FN_AVG_OVER_TIME)
        return float_out(ret, avg_floats(w->s->fv + w->f0, floats(w)));
    return float_out(ret, sum_floats(w->s->fv + w->f0, floats(w)));
}

/* --- min, max, their times, deviation --- */
/* Index of the extreme; with last, the later of equal ones. NaN only when there is nothing else. */
static size_t extreme(const double *v, size_t n, double sign, bool last)
{
    size_t best = 0;

    for (size_t i = 0; i < n; i++)
        if (sign * v[i] > sign * v[best] || isnan(v[best]) || (last && v[i] == v[best]))
            best = i;
    return best;
}

static double variance(const double *v, size_t n)
{
    double mean = 0, cm = 0, aux = 0, ca = 0;

    for (size_t i = 0; i < n; i++) {
        double delta = v[i] - (mean + cm);

        kahan_add(delta / (double)(i + 1), &mean, &cm);
        kahan_add(delta * (v[i] - (mean + cm)), &aux, &ca);
    }
    return (aux + ca) / (double)n;
}

static int floats_over_time(struct range_call *c, const struct window *w, struct point *ret)
{
    const double *v = w->s->fv + w->f0;
    const int64_t *t = w->s->ft + w->f0;
    size_t n = floats(w);

    if (n == 0)
        return 0;
    note_ignored(c, w);
    switch (c->fn->id) {
    case FN_MIN_OVER_TIME:
        return float_out(ret, v[extreme(v, n, -1, false)]);
    case FN_MAX_OVER_TIME:
        return float_out(ret, v[extreme(v, n, 1, false)]);
    case FN_TS_OF_MIN_OVER_TIME:
        return float_out(ret, (double)t[extreme(v, n, -1, true)] / 1000);
    case FN_TS_OF_MAX_OVER_TIME:
        return float_out(ret, (double)t[extreme(v, n, 1, true)] / 1000);
    case FN_STDDEV_OVER_TIME:
        return float_out(ret, sqrt(variance(v, n)));
    default:
        ASSERT(c->fn->id == FN_STDVAR_OVER_TIME);
        return float_out(ret, variance(v, n));
    }
}

/* --- first, last --- */
static int point_at(const struct window *w, bool hist, size_t i, struct point *ret)
{
    if (hist)
        *ret = (struct point){.kind = POINT_HIST, .h = w->s->hh[i]};
    else
        *ret = (struct point){.kind = POINT_FLOAT, .v = w->s->fv[i]};
    return 0;
}

static int first_point(const struct window *w, bool time, struct point *ret)
{
    bool hist = floats(w) == 0 || (hists(w) > 0 && w->s->ht[w->h0] <= w->s->ft[w->f0]);

    if (time)
        return float_out(ret, (double)(hist ? w->s->ht[w->h0] : w->s->ft[w->f0]) / 1000);
    return point_at(w, hist, hist ? w->h0 : w->f0, ret);
}

static int last_point(const struct window *w, bool time, struct point *ret)
{
    bool hist = floats(w) == 0 || (hists(w) > 0 && w->s->ht[w->h1 - 1] >= w->s->ft[w->f1 - 1]);

    if (time)
        return float_out(ret, (double)(hist ? w->s->ht[w->h1 - 1] : w->s->ft[w->f1 - 1]) / 1000);
    return point_at(w, hist, hist ? w->h1 - 1 : w->f1 - 1, ret);
}

int window_over_time(struct range_call *c, const struct window *w, struct point *ret)
{
    switch (c->fn->id) {
    case FN_COUNT_OVER_TIME:
        return float_out(ret, (double)(floats(w) + hists(w)));
    case FN_PRESENT_OVER_TIME:
    case FN_ABSENT_OVER_TIME:
        return float_out(ret, 1);
    case FN_FIRST_OVER_TIME:
    case FN_TS_OF_FIRST_OVER_TIME:
        return first_point(w, c->fn->id == FN_TS_OF_FIRST_OVER_TIME, ret);
    case FN_LAST_OVER_TIME:
    case FN_TS_OF_LAST_OVER_TIME:
        return last_point(w, c->fn->id == FN_TS_OF_LAST_OVER_TIME, ret);
    default:
        return floats_over_time(c, w, ret);
    }
}

/* --- quantile_over_time, mad_over_time --- */
static double deviation(double *v, size_t n)
{
    double median;

    for (size_t i = 0; i < n; i++)
        if (isnan(v[i]))
            return NAN;
    sort_values(v, n);
    median = quantile_sorted(0.5, v, n);
    for (size_t i = 0; i < n; i++)
        v[i] = fabs(v[i] - median);
    sort_values(v, n);
    return quantile_sorted(0.5, v, n);
}

/* The window's values, sorted: what was sorted for the window before, changed at both ends. */
static const double *sorted_window(struct range_call *c, const struct window *w)
{
    const double *v = w->s->fv;
    size_t n = c->sorted1 - c->sorted0;

    if (w->f0 < c->sorted0 || w->f0 >= c->sorted1 || w->f1 < c->sorted1 || (w->f0 - c->sorted0) + (w->f1 - c->sorted1) > n / 2) {
        memcpy(c->sort, v + w->f0, (w->f1 - w->f0) * sizeof *v);
        sort_values(c->sort, w->f1 - w->f0);
    } else {
        for (size_t i = c->sorted0; i < w->f0; i++)
            sorted_remove(c->sort, n--, v[i]);
        for (size_t i = c->sorted1; i < w->f1; i++)
            sorted_add(c->sort, n++, v[i]);
    }
    c->sorted0 = w->f0;
    c->sorted1 = w->f1;
    return c->sort;
}

int window_quantile(struct range_call *c, const struct window *w, struct point *ret)
{
    size_t n = floats(w);
    double q;

    if (n == 0)
        return 0;
    note_ignored(c, w);
    if (c->fn->id == FN_MAD_OVER_TIME) {
        memcpy(c->sort, w->s->fv + w->f0, n * sizeof *c->sort);
        return float_out(ret, deviation(c->sort, n));
    }
    q = w->args[0];
    if (isnan(q) || q < 0 || q > 1)
        annotate_quantile(c->q, node_unwrap(c->call->call.args[0])->pos, q);
    return float_out(ret, quantile_sorted(q, sorted_window(c, w), n));
}

/* --- double_exponential_smoothing --- */
/* Two floats are needed; one among histograms is worth a word. */
static bool two_floats(struct range_call *c, const struct window *w)
{
    if (floats(w) > 0)
        note_ignored(c, w);
    return floats(w) >= 2;
}

int window_smoothing(struct range_call *c, const struct window *w, struct point *ret)
{
    const double *v = w->s->fv + w->f0;
    double sf = w->args[0], tf = w->args[1], s0 = 0, s1, b;

    if (sf <= 0 || sf >= 1)
        return query_fail(c->q, "invalid smoothing factor. Expected: 0 < sf < 1, got: %f", sf);
    if (tf <= 0 || tf >= 1)
        return query_fail(c->q, "invalid trend factor. Expected: 0 < tf < 1, got: %f", tf);
    if (!two_floats(c, w))
        return 0;
    s1 = v[0];
    b = v[1] - v[0];
    for (size_t i = 1; i < floats(w); i++) {
        double x = sf * v[i], y;

        if (i > 1)
            b = tf * (s1 - s0) + (1 - tf) * b;
        y = (1 - sf) * (s1 + b);
        s0 = s1;
        s1 = x + y;
    }
    return float_out(ret, s1);
}

/* --- deriv, predict_linear: least squares --- */
static void regression(const int64_t *t, const double *v, size_t n, int64_t at, double *slope,
                       double *intercept)
{
    double sx = 0, cx = 0, sy = 0, cy = 0, sxy = 0, cxy = 0, sx2 = 0, cx2 = 0, count = (double)n,
           cov, var;
    bool same = true;

    for (size_t i = 0; i < n; i++) {
        double x = (double)(t[i] - at) / 1e3;

        same &= i == 0 || v[i] == v[0];
        kahan_add(x, &sx, &cx);
        kahan_add(v[i], &sy, &cy);
        kahan_add(x * v[i], &sxy, &cxy);
        kahan_add(x * x, &sx2, &cx2);
    }
    if (same) {
        *slope = isinf(v[0]) ? NAN : 0;
        *intercept = isinf(v[0]) ? NAN : v[0];
        return;
    }
    sx += cx;
    sy += cy;
    sxy += cxy;
    sx2 += cx2;
    cov = sxy - sx * sy / count;
    var = sx2 - sx * sx / count;
    *slope = cov / var;
    *intercept = sy / count - *slope * sx / count;
}

int window_regression(struct range_call *c, const struct window *w, struct point *ret)
{
    const int64_t *t = w->s->ft + w->f0;
    const double *v = w->s->fv + w->f0;
    double slope, intercept;

    if (!two_floats(c, w))
        return 0;
    if (c->fn->id == FN_DERIV) {
        /* Any time near the samples will do, and keeps the numbers small. */
        regression(t, v, floats(w), t[0], &slope, &intercept);
        return float_out(ret, slope);
    }
    regression(t, v, floats(w), w->ts, &slope, &intercept);
    return float_out(ret, slope * w->args[0] + intercept);
}
