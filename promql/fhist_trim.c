#include "promql/fhist_work.h"

#include <math.h>

/* What a trim leaves of one bucket: how many observations, and the value each is taken to have in
 * the new sum. */
struct kept {
    double count, value;
};

static double finite_or_0(double v)
{
    return isinf(v) ? 0 : v;
}

/* Representative value of (lower, upper]: arithmetic mean for custom buckets, geometric for
 * exponential ones; an infinite bound gives way. */
static double middle(double lower, double upper, bool linear)
{
    double geometric;

    if (isinf(lower) && isinf(upper))
        return 0;
    if (isinf(lower))
        return upper > 0 ? upper / 2 : upper;
    if (isinf(upper))
        return lower;
    if (linear)
        return (lower + upper) / 2;
    geometric = sqrt(fabs(lower * upper));
    return upper > 0 ? geometric : -geometric;
}

/* How many of b's observations are at or below bound, which lies inside. */
static double below(const struct fhist_bucket *b, double bound, bool linear)
{
    double lower, upper, at;

    if (linear)
        return b->count * ((bound - b->lower) / (b->upper - b->lower));
    lower = log2(fabs(b->lower));
    upper = log2(fabs(b->upper));
    at = log2(fabs(bound));
    if (b->upper > 0)
        return b->count * ((at - lower) / (upper - lower));
    return b->count * (1 - (at - upper) / (lower - upper));
}

/* bound lies inside a bucket that starts at -Inf: custom buckets only. A positive upper bound makes
 * it start at 0; else nothing is known about where its observations lie. */
static struct kept cut_open_below(const struct fhist_bucket *b, double bound, bool keep_below)
{
    bool from_zero = b->upper > 0 && b->upper != INFINITY;

    if (keep_below) {
        if (from_zero && bound > 0)
            return (struct kept){b->count * bound / b->upper, bound / 2};
        if (b->upper <= 0)
            return (struct kept){b->count, bound};
    } else if (from_zero && bound >= 0) {
        return (struct kept){b->count * (1 - bound / b->upper), (bound + b->upper) / 2};
    }
    return (struct kept){0, finite_or_0(b->upper)};
}

static struct kept cut(const struct fhist_bucket *b, double bound, bool keep_below, bool linear)
{
    double under;

    if (b->lower == -INFINITY)
        return cut_open_below(b, bound, keep_below);
    if (b->upper == INFINITY)
        return keep_below ? (struct kept){0, b->lower} : (struct kept){b->count, bound};
    under = below(b, bound, linear);
    if (keep_below)
        return (struct kept){under, middle(b->lower, bound, linear)};
    return (struct kept){b->count - under, middle(bound, b->upper, linear)};
}

static struct kept keep(const struct fhist_bucket *b, double bound, bool keep_below, bool linear)
{
    if (keep_below ? b->upper <= bound : b->lower >= bound)
        return (struct kept){b->count, middle(b->lower, b->upper, linear)};
    if (keep_below ? b->lower < bound : b->upper > bound)
        return cut(b, bound, keep_below, linear);
    return (struct kept){0};
}

struct trim {
    double bound, count, sum;
    bool keep_below, changed;
};

static void trim_total(struct trim *t, struct kept k, double before)
{
    t->count += k.count;
    t->sum += k.value * k.count;
    t->changed |= k.count != before;
}

/* Buckets of one side into f; returns whether any was populated. */
static bool side_trim(struct trim *t, const struct histogram *h, bool negative, double *f)
{
    const struct hist_side *side = negative ? &h->neg : &h->pos;
    bool populated = false;
    struct hist_walk w;

    hist_walk_init(&w, side);
    while (hist_walk_next(&w)) {
        struct fhist_bucket b = fhist_bucket_of(h, negative, w.index, side->f[w.at]);
        struct kept k = {0};

        if (b.count != 0) {
            k = keep(&b, t->bound, t->keep_below, fhist_is_custom(h));
            trim_total(t, k, b.count);
            populated = true;
        }
        f[w.at] = k.count;
    }
    return populated;
}

/* Linear; leans to the populated side when there is but one. */
static struct kept zero_keep(const struct trim *t, const struct histogram *h, bool has_pos,
                             bool has_neg)
{
    double lower = has_pos && !has_neg ? 0 : -h->zero_threshold,
           upper = has_neg && !has_pos ? 0 : h->zero_threshold;
    double count = h->zero_count.f, from = lower, to = upper;

    if (t->keep_below ? t->bound <= lower : (t->bound >= upper && t->bound > lower))
        return (struct kept){0};
    if (t->keep_below ? t->bound >= upper : t->bound <= lower)
        return (struct kept){count, (lower + upper) / 2};
    if (t->keep_below)
        to = t->bound;
    else
        from = t->bound;
    return (struct kept){count * ((to - from) / (upper - lower)), (from + to) / 2};
}

struct histogram *fhist_trim(struct arena *a, const struct histogram *h, double bound,
                             bool keep_below)
{
    struct trim t = {.bound = bound, .keep_below = keep_below};
    struct histogram out = *h, *ret = NULL;
    bool has_pos, has_neg;
    struct arena tmp;
    double *pos, *neg;

    ASSERT(h->is_float);
    arena_init(&tmp, 2 * (HIST_BUCKETS_MAX + 1024) * sizeof(double));
    pos = arena_array(&tmp, h->pos.bucket_count, sizeof *pos);
    neg = arena_array(&tmp, h->neg.bucket_count, sizeof *neg);
    if (pos && neg) {
        has_pos = side_trim(&t, h, false, pos);
        has_neg = side_trim(&t, h, true, neg);
        if (h->zero_count.f > 0) {
            struct kept k = zero_keep(&t, h, has_pos, has_neg);

            trim_total(&t, k, h->zero_count.f);
            out.zero_count.f = k.count;
        }
        /* The sum is only an estimate: an untouched histogram keeps its own. */
        if (t.changed) {
            out.count.f = t.count;
            out.sum = t.sum;
            out.pos.f = pos;
            out.neg.f = neg;
        }
        ret = fhist_compact(a, &out, 0);
    }
    arena_fini(&tmp);
    return ret;
}
