/* nhcb.h - classic histogram buckets (le, cumulative count) to one native histogram with custom
 * buckets. Rules: conformance/promqltest-format.md, load_with_nhcb; Prometheus does the same when
 * it scrapes with convert_classic_histograms. */
#pragma once
#include "common/model/histogram.h"

struct nhcb_bucket {
    double le, cumulative; /* le is not NaN; +Inf allowed */
};
/* buckets are sorted in place; of equal bounds the first given counts. count NULL: the highest
 * bucket's value. Without a +Inf bucket one with the count is added. The result is an integer
 * histogram, compacted to at most two empty buckets in a row, when every value is a whole number
 * below 2^53, else a compact float histogram. Arrays come from the arena. RC_INVALID: no bucket and
 * no count, more than 4096 buckets, a negative or falling cumulative value, a count other than the
 * +Inf bucket's. RC_NOMEM. */
int nhcb_convert(struct arena *a, struct nhcb_bucket *buckets, size_t n, const double *count,
                 double sum, struct histogram *ret, struct err *err);
