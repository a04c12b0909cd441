#include "common/model/histogram.h"
#include "common/model/duration.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static int bad(struct err *err, const char *where, const char *why)
{
    return err_set(err, RC_INVALID, "%s%s", where, why);
}

/* As Go's %v prints a float count. */
static int bad_count(struct err *err, const char *before, double v, const char *after)
{
    struct buf text;
    int rc;

    buf_init(&text, 64);
    float_print_g(&text, v);
    rc = err_set(err, RC_INVALID, "%s%.*s: %s", before, STR_FMT(buf_view(&text)), after);
    buf_fini(&text);
    return rc;
}

#define NEGATIVE_BUCKET "histogram has a bucket whose observation count is negative"

/* Spans against buckets. first_any: the first offset may be negative (exponential schemas).
 * ret_length: gaps and buckets together. */
static int spans_validate(const struct hist_side *side, bool first_any, const char *where,
                          uint64_t *ret_length, struct err *err)
{
    uint64_t buckets = 0, length = 0;
    bool far = false;
    int64_t index = 0;

    if (side->span_count > HIST_SPANS_MAX || side->bucket_count > HIST_BUCKETS_MAX)
        return err_set(err, RC_INVALID, "%shistogram has too many spans or buckets", where);
    for (uint32_t i = 0; i < side->span_count; i++) {
        const struct hist_span *s = &side->spans[i];

        if (s->offset < 0 && !(i == 0 && first_any))
            return err_set(err, RC_INVALID,
                           "%sspan number %" PRIu32 " with offset %" PRId32
                           ": histogram has a span whose offset is negative",
                           where, i + 1, s->offset);
        buckets += s->length;
        length += (uint64_t)(int64_t)s->offset + s->length;
        index += (int64_t)s->offset + s->length;
        far |= s->offset < -HIST_INDEX_MAX || index > HIST_INDEX_MAX;
    }
    if (buckets != side->bucket_count)
        return err_set(
            err, RC_INVALID,
            "%sspans need %" PRIu64 " buckets, have %" PRIu32
            " buckets: histogram spans specify different number of buckets than provided",
            where, buckets, side->bucket_count);
    if (far)
        return err_set(err, RC_INVALID, "%shistogram has a bucket index out of range", where);
    *ret_length = length;
    return 0;
}

enum { BOUND_TEXT_MAX = 400 };

/* As Go's %f. */
static const char *bound_text(double v, char *text)
{
    if (isinf(v))
        return v > 0 ? "+Inf" : "-Inf";
    snprintf(text, BOUND_TEXT_MAX, "%f", v);
    return text;
}

static int bounds_validate(const struct histogram *h, struct err *err)
{
    double prev = -INFINITY;

    if (h->custom_count > HIST_CUSTOM_MAX)
        return bad(err, "custom buckets: ", "histogram has too many custom bounds");
    for (uint32_t i = 0; i < h->custom_count; i++) {
        double bound = h->custom[i];

        if (isnan(bound))
            return bad(err, "custom buckets: ", "histogram custom bounds must not be NaN");
        if (bound <= prev) {
            char before[BOUND_TEXT_MAX], now[BOUND_TEXT_MAX];

            return err_set(err, RC_INVALID,
                           "custom buckets: previous bound is %s and current is %s: histogram "
                           "custom bounds must be in strictly "
                           "increasing order",
                           bound_text(prev, before), bound_text(bound, now));
        }
        prev = bound;
    }
    if (prev == INFINITY)
        return bad(err, "custom buckets: ",
                   "last +Inf bound must not be explicitly defined: histogram custom bounds must "
                   "be finite");
    return 0;
}

static int custom_validate(const struct histogram *h, struct err *err)
{
    uint64_t length;
    int rc = bounds_validate(h, err);

    if (rc == 0)
        rc = spans_validate(&h->pos, false, "custom buckets: ", &length, err);
    if (rc < 0)
        return rc;
    if ((uint64_t)h->custom_count + 1 < length)
        return err_set(
            err, RC_INVALID,
            "custom buckets: only %" PRIu32
            " custom bounds defined which is insufficient to cover total span length of %" PRIu64
            ": histogram custom bounds are too few",
            h->custom_count, length);
    if (h->is_float ? h->zero_count.f != 0 : h->zero_count.i != 0)
        return bad(err, "custom buckets: ", "must have zero count of 0");
    if (h->zero_threshold != 0)
        return bad(err, "custom buckets: ", "must have zero threshold of 0");
    if (h->neg.span_count > 0)
        return bad(err, "custom buckets: ", "must not have negative spans");
    if (h->neg.bucket_count > 0)
        return bad(err, "custom buckets: ", "must not have negative buckets");
    return 0;
}

static int float_side_validate(const struct hist_side *side, const char *where, struct err *err)
{
    for (uint32_t i = 0; i < side->bucket_count; i++) {
        char before[128];

        if (!(side->f[i] < 0))
            continue;
        snprintf(before, sizeof before, "%sbucket number %" PRIu32 " has observation count of ",
                 where, i + 1);
        return bad_count(err, before, side->f[i], NEGATIVE_BUCKET);
    }
    return 0;
}

static int exponential_validate(const struct histogram *h, struct err *err)
{
    uint64_t length;
    int rc = spans_validate(&h->pos, true, "positive side: ", &length, err);

    if (rc == 0)
        rc = spans_validate(&h->neg, true, "negative side: ", &length, err);
    if (rc == 0 && h->is_float)
        rc = float_side_validate(&h->neg, "negative side: ", err);
    if (rc < 0)
        return rc;
    if (h->is_float && h->zero_count.f < 0)
        return bad_count(err, "zero bucket has observation count of ", h->zero_count.f,
                         NEGATIVE_BUCKET);
    if (h->custom_count > 0)
        return bad(err, "", "histogram with exponential schema must not have custom bounds");
    return 0;
}

/* Saturates: a sum past 2^64 equals no count. */
static uint64_t buckets_total(const struct histogram *h)
{
    uint64_t total = h->zero_count.i;

    for (int s = 0; s < 2; s++) {
        const struct hist_side *side = s ? &h->neg : &h->pos;

        for (uint32_t i = 0; i < side->bucket_count; i++)
            if (__builtin_add_overflow(total, side->i[i], &total))
                return UINT64_MAX;
    }
    return total;
}

static int integer_count_validate(const struct histogram *h, struct err *err)
{
    uint64_t total = buckets_total(h);

    if (isnan(h->sum) && total > h->count.i)
        return err_set(err, RC_INVALID,
                       "%" PRIu64 " observations found in buckets, but the Count field is %" PRIu64
                       ": histogram's observation count should be at least the number of "
                       "observations found in the buckets",
                       total, h->count.i);
    /* NaN observations are in the count and in no bucket. */
    if (!isnan(h->sum) && total != h->count.i)
        return err_set(err, RC_INVALID,
                       "%" PRIu64 " observations found in buckets, but the Count field is %" PRIu64
                       ": histogram's observation count should equal the number of observations "
                       "found in the buckets (in absence of NaN)",
                       total, h->count.i);
    return 0;
}

static int schema_invalid(int32_t schema, struct err *err)
{
    bool known = schema >= -9 && schema <= HIST_SCHEMA_WIRE_MAX;

    return err_set(err, RC_INVALID,
                   "histogram has an %s schema, which must be between %d and %d for exponential "
                   "buckets, or %d for custom buckets, got "
                   "schema %" PRId32,
                   known ? "invalid" : "unknown", known ? HIST_SCHEMA_MIN : -9,
                   known ? HIST_SCHEMA_MAX : HIST_SCHEMA_WIRE_MAX, HIST_CUSTOM_SCHEMA, schema);
}

int histogram_validate(const struct histogram *h, struct err *err)
{
    int rc;

    /* Prometheus lets these pass; nothing that compares thresholds could then be trusted to end. */
    if (!(h->zero_threshold >= 0))
        return bad(err, "", "zero threshold must be a number that is not negative");
    if (h->schema == HIST_CUSTOM_SCHEMA)
        rc = custom_validate(h, err);
    else if (h->schema >= HIST_SCHEMA_MIN && h->schema <= HIST_SCHEMA_MAX)
        rc = exponential_validate(h, err);
    else
        rc = schema_invalid(h->schema, err);
    if (rc < 0)
        return rc;
    if (!h->is_float)
        return integer_count_validate(h, err);
    if (h->count.f < 0)
        return bad_count(err, "observation count is  ", h->count.f,
                         "histogram's observation count is negative");
    return float_side_validate(&h->pos, "positive side: ", err);
}
