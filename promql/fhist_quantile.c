#include "promql/fhist_work.h"

#include <math.h>

static void note(unsigned *notes, unsigned bit)
{
    if (notes)
        *notes |= bit;
}

static void zero_bucket_lean(const struct histogram *h, struct fhist_bucket *b)
{
    /* With observations on one side only, the zero bucket is taken to hold that side's. */
    if (h->neg.bucket_count == 0 && h->pos.bucket_count > 0)
        b->lower = 0;
    else if (h->pos.bucket_count == 0 && h->neg.bucket_count > 0)
        b->upper = 0;
}

/* The value at fraction of the way through an exponential bucket: linear between the logarithms of
 * its bounds. */
static double exponential_at(const struct fhist_bucket *b, double fraction)
{
    double lower = log2(fabs(b->lower)), upper = log2(fabs(b->upper));

    if (b->lower > 0)
        return exp2(lower + (upper - lower) * fraction);
    return -exp2(upper + (lower - upper) * (1 - fraction));
}

/* Observations in no bucket are NaN ones (which make the sum NaN too); total: those found so far.
 */
static bool nan_observed(const struct histogram *h, struct fhist_iter *it, double total)
{
    struct fhist_bucket b;

    while (fhist_iter_next(it, &b))
        total += b.count;
    return total < h->count.f;
}

/* A custom bucket with an infinite bound gives its other bound, except that values start at 0 when
 * that bound is positive. */
static bool custom_edge(const struct histogram *h, struct fhist_bucket *b, double *ret)
{
    if (!fhist_is_custom(h))
        return false;
    if (b->lower == -INFINITY) {
        *ret = b->upper;
        if (b->upper <= 0)
            return true;
        b->lower = 0;
        return false;
    }
    *ret = b->lower;
    return b->upper == INFINITY;
}

double fhist_quantile(const struct histogram *h, double q, unsigned *notes)
{
    bool forward = isnan(h->sum) || q < 0.5; /* with NaN observations only the lower end is known */
    struct fhist_bucket b = {0};
    struct fhist_iter it;
    double rank, total = 0, value;

    if (q < 0)
        return -INFINITY;
    if (q > 1)
        return INFINITY;
    if (h->count.f == 0 || isnan(q))
        return (double)NAN;
    rank = (forward ? q : 1 - q) * h->count.f;
    if (forward)
        fhist_iter_init(&it, h);
    else
        fhist_iter_init_back(&it, h);
    while (fhist_iter_next(&it, &b)) {
        total += b.count;
        if (b.count != 0 && total >= rank)
            break;
    }
    if (!fhist_is_custom(h) && b.lower < 0 && b.upper > 0)
        zero_bucket_lean(h, &b);
    if (custom_edge(h, &b, &value))
        return value;
    total = fmin(total, h->count.f); /* rounding errors of the additions */
    if (total < rank) {
        if (!isnan(h->sum))
            return b.upper; /* counts that do not add up */
        note(notes, FHIST_NOTE_QUANTILE_NAN);
        return (double)NAN;
    }
    rank = forward ? rank - (total - b.count) : total - rank;
    if (isnan(h->sum) && nan_observed(h, &it, total))
        note(notes, FHIST_NOTE_QUANTILE_SKEWED);
    if (fhist_is_custom(h) || (b.lower <= 0 && b.upper >= 0))
        return b.lower + (b.upper - b.lower) * (rank / b.count);
    return exponential_at(&b, rank / b.count);
}

/* --- fraction --- */
/* Observations up to v, which lies inside b; before: those below b. */
static double rank_linear(const struct fhist_bucket *b, double before, double v)
{
    /* An infinitely wide bucket cannot be divided: nothing of the last counts, all of the first. */
    if (b->lower == -INFINITY)
        return b->count;
    return before + b->count * (v - b->lower) / (b->upper - b->lower);
}

static double rank_exponential(const struct fhist_bucket *b, double before, double v)
{
    double lower = log2(fabs(b->lower)), upper = log2(fabs(b->upper)), at = log2(fabs(v));

    if (v > 0)
        return before + b->count * ((at - lower) / (upper - lower));
    return before + b->count * (1 - (at - upper) / (lower - upper));
}

struct rank {
    double bound, value;
    bool known;
};

static void rank_at_start(struct rank *r, const struct fhist_bucket *b, double before)
{
    if (!r->known && b->lower >= r->bound) {
        r->value = before;
        r->known = true;
    }
}

static void rank_inside(struct rank *r, const struct fhist_bucket *b, double before, bool linear)
{
    if (r->known || !(b->lower < r->bound && b->upper > r->bound))
        return;
    r->value = linear ? rank_linear(b, before, r->bound) : rank_exponential(b, before, r->bound);
    r->known = true;
}

static double rank_within(const struct rank *r, double total)
{
    return !r->known || r->value > total ? total : r->value;
}

double fhist_fraction(const struct histogram *h, double lower, double upper, unsigned *notes)
{
    struct rank from = {.bound = lower}, to = {.bound = upper};
    double total = 0, before = 0;
    struct fhist_bucket b;
    struct fhist_iter it;

    if (h->count.f == 0 || isnan(lower) || isnan(upper))
        return (double)NAN;
    if (lower >= upper)
        return 0;
    fhist_iter_init(&it, h);
    while (!(from.known && to.known) && fhist_iter_next(&it, &b)) {
        bool linear = fhist_is_custom(h) || (b.lower <= 0 && b.upper >= 0);

        total += b.count;
        if (b.lower <= 0 && b.upper >= 0)
            zero_bucket_lean(h, &b);
        rank_at_start(&from, &b, before);
        rank_at_start(&to, &b, before);
        rank_inside(&from, &b, before, linear);
        rank_inside(&to, &b, before, linear);
        before += b.count;
    }
    if (isnan(h->sum)) {
        while (fhist_iter_next(&it, &b))
            total += b.count;
        if (total < h->count.f)
            note(notes, FHIST_NOTE_FRACTION_NAN);
    } else {
        total = h->count.f;
    }
    return (rank_within(&to, total) - rank_within(&from, total)) / h->count.f;
}

/* --- variance --- */
/* The value all observations of a bucket are taken to have. */
static double bucket_mean(const struct histogram *h, const struct fhist_bucket *b)
{
    if (fhist_is_custom(h))
        return (b->upper + b->lower) / 2;
    if (b->lower <= 0 && b->upper >= 0)
        return 0;
    return copysign(sqrt(b->upper * b->lower), b->upper);
}

double fhist_stdvar(const struct histogram *h)
{
    double mean = h->sum / h->count.f, total = 0, comp = 0;
    struct fhist_bucket b;
    struct fhist_iter it;

    fhist_iter_init(&it, h);
    while (fhist_iter_next(&it, &b)) {
        double delta;

        if (b.count == 0)
            continue;
        delta = bucket_mean(h, &b) - mean;
        kahan_add(b.count * delta * delta, &total, &comp);
    }
    return (total + comp) / h->count.f;
}
