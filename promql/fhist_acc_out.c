/* Scaling accumulators and turning them into histograms; and the stream that additions read their
 * right side from. */
#include "promql/fhist_work.h"

#include <math.h>

void fhist_stream_init(struct fhist_stream *s, const struct histogram *h,
                       const struct hist_side *side, int32_t to, double threshold, bool kahan)
{
    ASSERT(to <= h->schema && (fhist_is_custom(h) ? to == h->schema : to >= HIST_SCHEMA_MIN));
    *s = (struct fhist_stream){
        .h = h, .to = to, .threshold = threshold, .kahan = kahan, .below = !fhist_is_custom(h)};
    hist_walk_init(&s->walk, side);
    s->more = hist_walk_next(&s->walk);
}

static int32_t stream_index(const struct fhist_stream *s)
{
    return (int32_t)hist_index_reduce(s->walk.index, s->h->schema, s->to);
}

bool fhist_stream_next(struct fhist_stream *s, int32_t *ret_index, double *ret_value,
                       double *ret_comp)
{
    while (s->more) {
        int32_t index = stream_index(s);
        double value = s->walk.side->f[s->walk.at], comp = 0;

        while ((s->more = hist_walk_next(&s->walk)) && stream_index(s) == index) {
            double x = s->walk.side->f[s->walk.at];

            if (s->kahan)
                kahan_add(x, &value, &comp);
            else
                value += x;
        }
        if (s->below && fhist_bound(s->to, index) <= s->threshold)
            continue;
        s->below = false;
        *ret_index = index;
        *ret_value = value;
        *ret_comp = comp;
        return true;
    }
    return false;
}

static void scale(double *v, double *comp, double k, bool divide)
{
    *v = divide ? *v / k : *v * k;
    *comp = divide ? *comp / k : *comp * k;
}

static void acc_scale(struct fhist_acc *acc, double k, bool divide)
{
    scale(&acc->count, &acc->comp_count, k, divide);
    scale(&acc->sum, &acc->comp_sum, k, divide);
    scale(&acc->zero, &acc->comp_zero, k, divide);
    for (int i = 0; i < 2; i++) {
        struct fhist_cells *c = i ? &acc->neg : &acc->pos;

        for (uint32_t j = 0; j < c->n; j++)
            scale(&c->value[j], &c->comp[j], k, divide);
    }
}

void fhist_acc_mul(struct fhist_acc *acc, double k)
{
    acc_scale(acc, k, false);
}

void fhist_acc_div(struct fhist_acc *acc, double k)
{
    acc_scale(acc, k, true);
}

static bool cells_overflowed(const struct fhist_cells *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (isinf(c->value[i]))
            return true;
    return false;
}

bool fhist_acc_overflowed(const struct fhist_acc *acc)
{
    return isinf(acc->count) || isinf(acc->sum) || isinf(acc->zero) ||
           cells_overflowed(&acc->pos) || cells_overflowed(&acc->neg);
}

static double cell_result(const struct fhist_cells *c, uint32_t i, double divisor)
{
    return c->value[i] / divisor + c->comp[i] / divisor;
}

static bool side_result(struct arena *a, const struct fhist_cells *c, double divisor,
                        struct hist_side *ret)
{
    uint32_t spans = 0, buckets = 0, span = 0, bucket = 0;
    int64_t end = INT64_MIN;
    struct hist_span *s;
    double *f;

    for (uint32_t i = 0; i < c->n; i++) {
        if (cell_result(c, i, divisor) == 0)
            continue;
        spans += c->index[i] != end;
        end = (int64_t)c->index[i] + 1;
        buckets++;
    }
    s = arena_array(a, spans, sizeof *s);
    f = arena_array(a, buckets, sizeof *f);
    if (!s || !f)
        return false;
    for (uint32_t i = 0; i < c->n; i++) {
        double value = cell_result(c, i, divisor);

        if (value == 0)
            continue;
        if (span == 0 || c->index[i] != end) {
            s[span] = (struct hist_span){.offset = (int32_t)(c->index[i] - (span > 0 ? end : 0))};
            span++;
        }
        s[span - 1].length++;
        end = (int64_t)c->index[i] + 1;
        f[bucket++] = value;
    }
    *ret = (struct hist_side){.spans = s, .span_count = spans, .bucket_count = buckets, .f = f};
    return true;
}

struct histogram *fhist_acc_result(struct arena *a, const struct fhist_acc *acc, double divisor)
{
    struct histogram *h = arena_alloc(a, sizeof *h);

    if (!h)
        return NULL;
    *h = (struct histogram){
        .is_float = true,
        .hint = acc->hint,
        .schema = acc->schema,
        .zero_threshold = acc->zero_threshold,
        .sum = acc->sum / divisor + acc->comp_sum / divisor,
        .count.f = acc->count / divisor + acc->comp_count / divisor,
        .zero_count.f = acc->zero / divisor + acc->comp_zero / divisor,
        .custom = arena_dup(a, acc->custom, acc->custom_count * sizeof *acc->custom),
        .custom_count = acc->custom_count,
    };
    if (!h->custom || !side_result(a, &acc->pos, divisor, &h->pos) ||
        !side_result(a, &acc->neg, divisor, &h->neg))
        return NULL;
    return h;
}
