/* window_steps.c - *_over_time of plain float series, all steps at once. The order of operations within a window is that of window_over.c, so results are equal
 * to the bit; several windows are worked on side by side, or one goes on from where the one before it stopped. tests/bench/engine_bench. */
#include "promql/eval.h"

#include <float.h>

enum { LANES = 4 };
typedef double pair __attribute__((vector_size(2 * sizeof(double))));
typedef int64_t pair_mask __attribute__((vector_size(2 * sizeof(int64_t))));

static inline pair pair_abs(pair x)
{
    return (pair)((pair_mask)x & INT64_MAX);
}

static inline pair pair_choose(pair_mask m, pair a, pair b)
{
    return (pair)((m & (pair_mask)a) | (~m & (pair_mask)b));
}

/* kahan_add() in both lanes, without branches. */
static inline void pair_add(pair x, pair *sum, pair *c)
{
    pair s = *sum, t = s + x, low = pair_choose(pair_abs(s) >= pair_abs(x), (s - t) + x, (x - t) + s);
    pair_mask infinite = pair_abs(t) > DBL_MAX;

    *c = (pair)((pair_mask)(*c + low) & ~infinite);
    *sum = t;
}

/* Sums of LANES windows of n samples or more, sample by sample. */
static void sum_lanes(const double *const *v, size_t n, double *ret_sum, double *ret_c)
{
    pair s0 = {0}, s1 = {0}, c0 = {0}, c1 = {0};

    for (size_t i = 0; i < n; i++) {
        pair_add((pair){v[0][i], v[1][i]}, &s0, &c0);
        pair_add((pair){v[2][i], v[3][i]}, &s1, &c1);
    }
    memcpy(ret_sum, &s0, sizeof s0);
    memcpy(ret_sum + 2, &s1, sizeof s1);
    memcpy(ret_c, &c0, sizeof c0);
    memcpy(ret_c + 2, &c1, sizeof c1);
}

static double sum_end(bool avg, const double *v, size_t n, size_t done, double sum, double c)
{
    for (size_t i = done; i < n; i++)
        kahan_add(v[i], &sum, &c);
    if (!avg)
        return isinf(sum) ? sum : sum + c;
    if (isfinite(sum))
        return sum / (double)n + c / (double)n;
    return n ? avg_floats(v, n) : 0;
}

static void sum_steps(const struct range_call *c, const struct samples *s, const struct plan *p, size_t steps, double *out)
{
    bool avg = c->fn->id == FN_AVG_OVER_TIME;
    size_t k = 0;

    for (; k + LANES <= steps; k += LANES) {
        const double *v[LANES];
        size_t n[LANES], common = SIZE_MAX;
        double sum[LANES], low[LANES];

        for (size_t l = 0; l < LANES; l++) {
            v[l] = s->fv + p->first[k + l];
            n[l] = p->end[k + l] - p->first[k + l];
            common = MIN(common, n[l]);
        }
        sum_lanes(v, common, sum, low);
        for (size_t l = 0; l < LANES; l++)
            out[k + l] = sum_end(avg, v[l], n[l], common, sum[l], low[l]);
    }
    for (; k < steps; k++)
        out[k] = sum_end(avg, s->fv + p->first[k], p->end[k] - p->first[k], 0, 0, 0);
}

/* The first of the greatest, NaN only where there is nothing else: found in the window before, it stays until it leaves. sign -1: the least. */
static void extreme_steps(const struct samples *s, const struct plan *p, size_t steps, double sign, double *out)
{
    const double *v = s->fv;
    size_t best = 0, seen = 0;

    for (size_t k = 0; k < steps; k++) {
        size_t first = p->first[k], end = p->end[k];

        out[k] = 0;
        if (first == end)
            continue;
        if (best < first || seen <= first) {
            best = first;
            seen = first + 1;
        }
        for (; seen < end; seen++)
            if (sign * v[seen] > sign * v[best] || isnan(v[best]))
                best = seen;
        out[k] = v[best];
    }
}

/* One sample of each window, or how many there are. */
static void pick_steps(const struct range_call *c, const struct samples *s, const struct plan *p, size_t steps, double *out)
{
    enum function_id id = c->fn->id;

    for (size_t k = 0; k < steps; k++) {
        size_t first = p->first[k], end = p->end[k];

        if (first == end)
            out[k] = 0;
        else if (id == FN_COUNT_OVER_TIME)
            out[k] = (double)(end - first);
        else if (id == FN_PRESENT_OVER_TIME)
            out[k] = 1;
        else
            out[k] = s->fv[id == FN_FIRST_OVER_TIME ? first : end - 1];
    }
}

bool window_over_steps(const struct range_call *c, const struct samples *s, const struct plan *p, size_t steps, struct ahead_row *ret)
{
    switch (c->fn->id) {
    case FN_SUM_OVER_TIME:
    case FN_AVG_OVER_TIME:
        sum_steps(c, s, p, steps, ret->v);
        break;
    case FN_MIN_OVER_TIME:
        extreme_steps(s, p, steps, -1, ret->v);
        break;
    case FN_MAX_OVER_TIME:
        extreme_steps(s, p, steps, 1, ret->v);
        break;
    case FN_COUNT_OVER_TIME:
    case FN_PRESENT_OVER_TIME:
    case FN_FIRST_OVER_TIME:
    case FN_LAST_OVER_TIME:
        pick_steps(c, s, p, steps, ret->v);
        break;
    default:
        return false;
    }
    for (size_t k = 0; k < steps; k++)
        ret->kind[k] = p->end[k] > p->first[k] ? POINT_FLOAT : POINT_NONE;
    return true;
}
