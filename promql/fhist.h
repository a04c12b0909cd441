/* fhist.h - arithmetic on float histograms, the values of PromQL.
 * All functions work on struct histogram with is_float = true; results are allocated in the arena given. Semantics, rounding order and bucket
 * rules are Prometheus 3's (model/histogram), which conformance/promql pins; compaction, resolution reduction, zero-bucket reconciliation
 * and custom-bounds intersection included. false or NULL results mean the arena's budget is spent, unless said otherwise. */
#pragma once
#include "common/model/histogram.h"

/* Integer to float; a float histogram is returned as it is. */
const struct histogram *fhist_of(struct arena *a, const struct histogram *h);
struct histogram *fhist_dup(struct arena *a, const struct histogram *h);

enum fhist_note {             /* what an operation had to do, for annotations; or-ed bits */
    FHIST_NOTE_RESET_COLLISION = 1, /* counter reset hints contradict: CounterReset with NotCounterReset */
    FHIST_NOTE_BOUNDS_RECONCILED = 2, /* custom bounds differed and were intersected */
};
/* RC_EXECUTION when one is exponential and the other custom; RC_NOMEM. *ret is new. */
int fhist_add(struct arena *a, const struct histogram *x, const struct histogram *y, struct histogram **ret, unsigned *notes);
int fhist_sub(struct arena *a, const struct histogram *x, const struct histogram *y, struct histogram **ret, unsigned *notes);
struct histogram *fhist_mul(struct arena *a, const struct histogram *h, double k);
struct histogram *fhist_div(struct arena *a, const struct histogram *h, double k);
/* Kahan-compensated running sum, used by sum, avg, sum_over_time, avg_over_time: add x into the accumulator (NULL *sum starts it). */
struct fhist_sum {
    struct histogram *sum, *comp;
};
int fhist_sum_add(struct arena *a, struct fhist_sum *s, const struct histogram *x, unsigned *notes);
struct histogram *fhist_sum_result(struct arena *a, const struct fhist_sum *s);

struct histogram *fhist_compact(struct arena *a, const struct histogram *h, int max_empty);
struct histogram *fhist_reduce(struct arena *a, const struct histogram *h, int32_t schema);
bool fhist_eq(const struct histogram *a, const struct histogram *b); /* same spans after compaction, same counts; sums by bits, NaN = NaN */
bool fhist_eq_exact(const struct histogram *a, const struct histogram *b); /* == of PromQL */
/* Whether going from prev to h is a counter reset (uses the hints, schema, zero threshold, buckets, count). */
bool fhist_detect_reset(const struct histogram *h, const struct histogram *prev);

/* Iteration over populated and empty buckets of all sides in ascending order of bounds; used by quantile, fraction and JSON. */
struct fhist_bucket {
    double lower, upper, count;
    bool lower_inclusive, upper_inclusive;
    int32_t index;
};
struct fhist_iter {
    const struct histogram *h;
    int stage;
    uint32_t span, in_span, at;
    int32_t index;
};
void fhist_iter_init(struct fhist_iter *it, const struct histogram *h); /* most negative first */
bool fhist_iter_next(struct fhist_iter *it, struct fhist_bucket *ret);
double fhist_bound(int32_t schema, int32_t index); /* upper bound of exponential bucket index */

enum fhist_quantile_note { FHIST_QUANTILE_OK, FHIST_QUANTILE_NAN_OBSERVED /* h.sum is NaN with observations outside buckets */ };
double fhist_quantile(const struct histogram *h, double q, unsigned *notes);
double fhist_fraction(const struct histogram *h, double lower, double upper, unsigned *notes);
double fhist_stdvar(const struct histogram *h);
/* </ and >/ of PromQL. */
struct histogram *fhist_trim(struct arena *a, const struct histogram *h, double bound, bool keep_below);

/* {{schema:0 sum:5 count:4 buckets:[1 2 1]}} of the test scripts (promqltest-format.md) and its printing; s is the text between {{ and }}. */
int fhist_parse_text(struct arena *a, struct str s, struct histogram **ret, struct err *err);
void fhist_print_text(struct buf *out, const struct histogram *h);
/* The string form Prometheus uses in count_values and error texts: {count:4, sum:5, (0.5,1]:1, ...}. */
void fhist_print(struct buf *out, const struct histogram *h);
/* The JSON of the HTTP API: {"count":"..","sum":"..","buckets":[[rule,"lower","upper","count"],..]}. */
void fhist_print_json(struct buf *out, const struct histogram *h);
