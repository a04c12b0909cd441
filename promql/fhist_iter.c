#include "promql/fhist_work.h"

#include <float.h>
#include <math.h>

enum { ROOTS = HIST_SCHEMA_MAX };

/* roots[i] = 2^(1/2^(i+1)) by repeated square roots; the first is 2/sqrt(2), one unit in the last
 * place below sqrt(2). A bound is the product of those its index names, largest first: thus every
 * bound has the very bits that Prometheus shows. */
static const double roots[ROOTS] = {
    0x1.6a09e667f3bccp+0, 0x1.306fe0a31b715p+0, 0x1.172b83c7d517bp+0, 0x1.0b5586cf9890fp+0,
    0x1.059b0d3158574p+0, 0x1.02c9a3e778061p+0, 0x1.0163da9fb3335p+0, 0x1.00b1afa5abcbfp+0,
};

double fhist_bound(int32_t schema, int32_t index)
{
    enum { EXP_LIMIT = 1200 }; /* beyond: 0 or Inf in any case */
    double fraction = 1;
    int64_t exponent;

    ASSERT(schema >= HIST_SCHEMA_MIN && schema <= HIST_SCHEMA_MAX);
    if (schema <= 0) {
        exponent = (int64_t)index * (1 << -schema);
    } else {
        exponent = index >> schema;
        for (int i = 0; i < schema; i++)
            if (index >> (schema - 1 - i) & 1)
                fraction *= roots[i];
    }
    if (fraction == 1 && exponent == 1024)
        return DBL_MAX; /* so that the next bucket, up to Inf, counts nothing but Inf */
    return ldexp(fraction, (int)MAX(MIN(exponent, (int64_t)EXP_LIMIT), (int64_t)-EXP_LIMIT));
}

static double custom_bound(const struct histogram *h, int64_t index)
{
    if (index < 0)
        return -INFINITY;
    return index < h->custom_count ? h->custom[index] : INFINITY;
}

struct fhist_bucket fhist_bucket_of(const struct histogram *h, bool negative, int64_t index,
                                    double count)
{
    struct fhist_bucket b = {.count = count, .index = (int32_t)index};

    if (fhist_is_custom(h)) {
        b.lower = custom_bound(h, index - 1);
        b.upper = custom_bound(h, index);
        b.lower_inclusive = index == 0;
        b.upper_inclusive = true;
        return b;
    }
    b.upper = fhist_bound(h->schema, (int32_t)index);
    b.lower = fhist_bound(h->schema, (int32_t)index - 1);
    if (negative) {
        double upper = b.upper;

        b.upper = -b.lower;
        b.lower = -upper;
    }
    b.lower_inclusive = b.lower < 0;
    b.upper_inclusive = b.upper > 0;
    return b;
}

/* Stages in the order of iteration: one side outwards in, the zero bucket, the other side inwards
 * out. */
enum { STAGE_FIRST, STAGE_ZERO, STAGE_LAST, STAGE_END };

static void iter_init(struct fhist_iter *it, const struct histogram *h, bool descending)
{
    ASSERT(h->is_float);
    *it = (struct fhist_iter){.h = h, .descending = descending};
    hist_walk_init_back(&it->walk, descending ? &h->pos : &h->neg);
}

void fhist_iter_init(struct fhist_iter *it, const struct histogram *h)
{
    iter_init(it, h, false);
}

void fhist_iter_init_back(struct fhist_iter *it, const struct histogram *h)
{
    iter_init(it, h, true);
}

static void cut_at_zero(const struct histogram *h, struct fhist_bucket *b)
{
    if (fhist_is_custom(h))
        return;
    if (b->lower > 0 && b->lower < h->zero_threshold)
        b->lower = h->zero_threshold;
    if (b->upper < 0 && b->upper > -h->zero_threshold)
        b->upper = -h->zero_threshold;
}

bool fhist_iter_next(struct fhist_iter *it, struct fhist_bucket *ret)
{
    const struct histogram *h = it->h;
    bool negative = (it->stage == STAGE_FIRST) != it->descending;

    if (it->stage == STAGE_ZERO) {
        it->stage = STAGE_LAST;
        hist_walk_init(&it->walk, it->descending ? &h->neg : &h->pos);
        if (h->zero_count.f > 0 && !fhist_is_custom(h)) {
            *ret = (struct fhist_bucket){
                -h->zero_threshold, h->zero_threshold, h->zero_count.f, true, true, 0};
            return true;
        }
        return fhist_iter_next(it, ret);
    }
    if (it->stage == STAGE_END)
        return false;
    if (it->stage == STAGE_FIRST ? hist_walk_prev(&it->walk) : hist_walk_next(&it->walk)) {
        *ret = fhist_bucket_of(h, negative, it->walk.index, it->walk.side->f[it->walk.at]);
        cut_at_zero(h, ret);
        return true;
    }
    it->stage = it->stage == STAGE_FIRST ? STAGE_ZERO : STAGE_END;
    return fhist_iter_next(it, ret);
}
