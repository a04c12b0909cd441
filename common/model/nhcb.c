#include "common/model/nhcb.h"

#include <math.h>
#include <stdlib.h>

enum { NHCB_EMPTY_RUN_MAX = 2 };
enum { NHCB_BUCKETS_MAX = 4096 }; /* the sort below is quadratic on hostile orders */
_Static_assert(NHCB_BUCKETS_MAX <= (int)HIST_CUSTOM_MAX, "a converted histogram is a legal one");

static bool whole(double v)
{
    return v == floor(v) && v <= 0x1p53;
}

/* Insertion sort: stable, and scraped buckets mostly come in order. Drops repeated bounds. Returns
 * the new n. */
static size_t buckets_sort(struct nhcb_bucket *b, size_t n)
{
    size_t kept = 0;

    for (size_t i = 0; i < n; i++) {
        struct nhcb_bucket x = b[i];
        size_t at = kept;

        while (at > 0 && b[at - 1].le > x.le)
            at--;
        if (at > 0 && b[at - 1].le == x.le)
            continue;
        memmove(&b[at + 1], &b[at], (kept - at) * sizeof *b);
        b[at] = x;
        kept++;
    }
    return kept;
}

static int buckets_check(const struct nhcb_bucket *b, size_t n, double count, struct err *err)
{
    double prev = 0;

    for (size_t i = 0; i < n; i++) {
        if (!(b[i].cumulative >= 0))
            return err_set(err, RC_INVALID,
                           "bucket count must be a positive number: le=%g, count=%g", b[i].le,
                           b[i].cumulative);
        if (b[i].cumulative < prev)
            return err_set(err, RC_INVALID,
                           "bucket counts must not decrease: le=%g, count=%g after %g", b[i].le,
                           b[i].cumulative, prev);
        prev = b[i].cumulative;
    }
    if (!(count >= 0))
        return err_set(err, RC_INVALID, "count must be a positive number: %g", count);
    if (n > 0 &&
        (b[n - 1].le == INFINITY ? b[n - 1].cumulative != count : b[n - 1].cumulative > count))
        return err_set(err, RC_INVALID,
                       "count mismatch: the highest bucket has %g, the count is %g",
                       b[n - 1].cumulative, count);
    return 0;
}

/* bounds: n finite ones; the cumulative value of bucket n is count. */
static bool fill(struct arena *a, const struct nhcb_bucket *b, size_t n, double count,
                 struct histogram *h)
{
    double *bounds = arena_array(a, n, sizeof *bounds), prev = 0;
    uint64_t *words = arena_array(a, n + 1, sizeof *words);
    struct hist_span *span = arena_array(a, 1, sizeof *span);

    if (!bounds || !words || !span)
        return false;
    for (size_t i = 0; i <= n; i++) {
        double to = i < n ? b[i].cumulative : count;

        words[i] = h->is_float ? double_bits(to - prev) : (uint64_t)to - (uint64_t)prev;
        prev = to;
        if (i < n)
            bounds[i] = b[i].le;
    }
    *span = (struct hist_span){0, (uint32_t)n + 1};
    h->pos = (struct hist_side){
        .spans = span, .span_count = 1, .bucket_count = (uint32_t)n + 1, .i = words};
    h->custom = bounds;
    h->custom_count = (uint32_t)n;
    return true;
}

int nhcb_convert(struct arena *a, struct nhcb_bucket *buckets, size_t n, const double *count,
                 double sum, struct histogram *ret, struct err *err)
{
    struct histogram h = {.schema = HIST_CUSTOM_SCHEMA, .sum = sum};
    double total;
    int rc;

    if (n == 0 && !count)
        return err_set(err, RC_INVALID, "classic histogram has neither buckets nor a count");
    if (n > NHCB_BUCKETS_MAX)
        return err_set(err, RC_INVALID, "classic histogram has more than %d buckets",
                       NHCB_BUCKETS_MAX);
    n = buckets_sort(buckets, n);
    total = count ? *count : buckets[n - 1].cumulative;
    rc = buckets_check(buckets, n, total, err);
    if (rc < 0)
        return rc;
    if (n > 0 && buckets[n - 1].le == INFINITY)
        n--;
    h.is_float = !whole(total);
    for (size_t i = 0; i < n; i++)
        h.is_float |= !whole(buckets[i].cumulative);
    if (h.is_float)
        h.count.f = total;
    else
        h.count.i = (uint64_t)total;
    if (!fill(a, buckets, n, total, &h) ||
        !histogram_compact(a, &h, h.is_float ? 0 : NHCB_EMPTY_RUN_MAX, &h))
        return err_set(err, RC_NOMEM, "no memory to convert a classic histogram");
    *ret = h;
    return 0;
}
