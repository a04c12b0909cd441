#include "promql/fhist_work.h"

#include <math.h>

static bool side_to_float(struct arena *a, struct hist_side *side)
{
    double *f = arena_array(a, side->bucket_count, sizeof *f);

    if (!f)
        return false;
    for (uint32_t i = 0; i < side->bucket_count; i++)
        f[i] = (double)side->i[i];
    side->f = f;
    return true;
}

/* Copies what conversions left borrowed. */
static bool own(struct arena *a, struct histogram *h)
{
    h->custom = arena_dup(a, h->custom, h->custom_count * sizeof *h->custom);
    h->pos.spans = arena_dup(a, h->pos.spans, h->pos.span_count * sizeof *h->pos.spans);
    h->neg.spans = arena_dup(a, h->neg.spans, h->neg.span_count * sizeof *h->neg.spans);
    return h->custom && h->pos.spans && h->neg.spans;
}

const struct histogram *fhist_of(struct arena *a, const struct histogram *h)
{
    struct histogram *out;

    if (h->is_float)
        return h;
    out = arena_dup(a, h, sizeof *h);
    if (!out || !side_to_float(a, &out->pos) || !side_to_float(a, &out->neg) || !own(a, out))
        return NULL;
    out->is_float = true;
    out->count.f = (double)h->count.i;
    out->zero_count.f = (double)h->zero_count.i;
    return out;
}

struct histogram *fhist_dup(struct arena *a, const struct histogram *h)
{
    struct histogram *out = arena_alloc(a, sizeof *out);

    return out && histogram_dup(a, h, out) ? out : NULL;
}

struct histogram *fhist_compact(struct arena *a, const struct histogram *h, int max_empty)
{
    struct histogram *out = arena_alloc(a, sizeof *out);

    ASSERT(max_empty >= 0);
    if (!out || !histogram_compact(a, h, (uint32_t)max_empty, out))
        return NULL;
    out->custom = arena_dup(a, h->custom, h->custom_count * sizeof *h->custom);
    return out->custom ? out : NULL;
}

struct histogram *fhist_reduce(struct arena *a, const struct histogram *h, int32_t schema)
{
    struct histogram *out = arena_alloc(a, sizeof *out);

    return out && histogram_reduce(a, h, schema, out, NULL) == 0 ? out : NULL;
}

/* --- equality --- */
enum equality { SAME_BUCKETS, SAME_POPULATED };

static bool number_eq(double a, double b, enum equality how)
{
    return double_bits(a) == double_bits(b) || (how == SAME_POPULATED && isnan(a) && isnan(b));
}

static bool walk_next(struct hist_walk *w, enum equality how)
{
    while (hist_walk_next(w))
        if (how == SAME_BUCKETS || w->side->f[w->at] != 0)
            return true;
    return false;
}

static bool side_eq(const struct hist_side *a, const struct hist_side *b, enum equality how)
{
    struct hist_walk x, y;

    hist_walk_init(&x, a);
    hist_walk_init(&y, b);
    for (;;) {
        bool more = walk_next(&x, how);

        if (walk_next(&y, how) != more)
            return false;
        if (!more)
            return true;
        if (x.index != y.index || !number_eq(a->f[x.at], b->f[y.at], how))
            return false;
    }
}

static bool hist_eq(const struct histogram *a, const struct histogram *b, enum equality how)
{
    ASSERT(a->is_float && b->is_float);
    return a->schema == b->schema && number_eq(a->count.f, b->count.f, how) &&
           number_eq(a->sum, b->sum, how) &&
           (!fhist_is_custom(a) ||
            fhist_custom_eq(a->custom, a->custom_count, b->custom, b->custom_count)) &&
           a->zero_threshold == b->zero_threshold &&
           number_eq(a->zero_count.f, b->zero_count.f, how) && side_eq(&a->pos, &b->pos, how) &&
           side_eq(&a->neg, &b->neg, how);
}

bool fhist_eq(const struct histogram *a, const struct histogram *b)
{
    return hist_eq(a, b, SAME_POPULATED);
}

bool fhist_eq_exact(const struct histogram *a, const struct histogram *b)
{
    return hist_eq(a, b, SAME_BUCKETS);
}

/* --- counter resets --- */
/* A bucket of prev, at h's resolution and outside h's zero bucket, that is lower or gone in h. */
static bool side_reset(const struct histogram *h, const struct hist_side *now,
                       const struct histogram *prev, const struct hist_side *before)
{
    struct fhist_stream x, y;
    double value = 0, old, comp;
    int32_t index = INT32_MIN, old_index;
    bool more = true;

    fhist_stream_init(&x, h, now, h->schema, h->zero_threshold, false);
    fhist_stream_init(&y, prev, before, h->schema, h->zero_threshold, false);
    while (fhist_stream_next(&y, &old_index, &old, &comp)) {
        while (more && index < old_index)
            more = fhist_stream_next(&x, &index, &value, &comp);
        if (more && index == old_index ? value < old : old != 0)
            return true;
    }
    return false;
}

/* Count of everything up to and including bound, from where the walk stands. */
static double custom_rollup(const struct histogram *h, struct hist_walk *w, bool *more,
                            double bound)
{
    double total = 0;

    for (; *more && fhist_bucket_of(h, false, w->index, 0).upper <= bound;
         *more = hist_walk_next(w))
        total += h->pos.f[w->at];
    return total;
}

/* Different bounds: compares what lies between bounds that both have. */
static bool custom_reset(const struct histogram *h, const struct histogram *prev)
{
    struct hist_walk x, y;
    uint32_t i = 0, j = 0;
    bool x_more, y_more;

    hist_walk_init(&x, &h->pos);
    hist_walk_init(&y, &prev->pos);
    x_more = hist_walk_next(&x);
    y_more = hist_walk_next(&y);
    while (i <= h->custom_count && j <= prev->custom_count) {
        double now = i < h->custom_count ? h->custom[i] : INFINITY;
        double before = j < prev->custom_count ? prev->custom[j] : INFINITY;

        if (now == before &&
            custom_rollup(h, &x, &x_more, now) < custom_rollup(prev, &y, &y_more, now))
            return true;
        i += !(now > before);
        j += !(now < before);
    }
    return false;
}

bool fhist_detect_reset(const struct histogram *h, const struct histogram *prev)
{
    double threshold = h->zero_threshold;

    if (h->hint == HIST_HINT_RESET || h->hint == HIST_HINT_NOT_RESET)
        return h->hint == HIST_HINT_RESET;
    if (h->count.f < prev->count.f || fhist_is_custom(h) != fhist_is_custom(prev))
        return true;
    if (fhist_is_custom(h)) {
        if (!fhist_custom_eq(h->custom, h->custom_count, prev->custom, prev->custom_count))
            return custom_reset(h, prev);
        return side_reset(h, &h->pos, prev, &prev->pos);
    }
    if (h->schema > prev->schema || h->zero_threshold < prev->zero_threshold)
        return true;
    /* A threshold inside a populated bucket of prev cannot have grown from it. */
    if (h->zero_count.f < fhist_zero_at(prev, &threshold) || threshold != h->zero_threshold)
        return true;
    return side_reset(h, &h->pos, prev, &prev->pos) || side_reset(h, &h->neg, prev, &prev->neg);
}
