/* fhist.h - arithmetic on float histograms, the values of PromQL.
 * All functions work on struct histogram with is_float = true; results are allocated in the arena
 * given. Semantics, rounding order and bucket rules are Prometheus 3's (model/histogram,
 * promql/quantile), which conformance/promql pins; resolution reduction, zero-bucket reconciliation
 * and custom-bounds intersection included. Results of arithmetic are compact: no empty buckets, no
 * adjacent spans, so callers need not compact again. New histograms own all their arrays in the
 * arena; scratch memory of one call never stays there. false or NULL results mean that the arena's
 * budget is spent (or HIST_BUCKETS_MAX reached), unless said otherwise. Nothing here is shared
 * between threads. */
#pragma once
#include "common/model/histogram.h"

/* Integer to float; a float histogram is returned as it is. NULL over budget. */
const struct histogram *fhist_of(struct arena *a, const struct histogram *h);
struct histogram *fhist_dup(struct arena *a, const struct histogram *h);

/* What an operation had to do or saw, for annotations: or-ed into *notes, which may be NULL
 * everywhere. */
enum fhist_note {
    FHIST_NOTE_RESET_COLLISION = 1,   /* CounterReset met NotCounterReset */
    FHIST_NOTE_BOUNDS_RECONCILED = 2, /* custom bounds differed and were intersected */
    FHIST_NOTE_QUANTILE_NAN = 4,      /* the rank lies among NaN observations: result NaN */
    FHIST_NOTE_QUANTILE_SKEWED = 8,   /* there are NaN observations: result skewed higher */
    FHIST_NOTE_FRACTION_NAN = 16,     /* there are NaN observations: in no fraction */
};
/* RC_EXECUTION when one is exponential and the other custom; RC_NOMEM. *ret is new, the caller may
 * change its hint. The hint of both results: equal hints stay, gauge wins, else unknown. PromQL's
 * binary "-" then marks its result HIST_HINT_GAUGE, as do rate, increase, delta, irate and idelta;
 * the test scripts' H-GxN does not. */
int fhist_add(struct arena *a, const struct histogram *x, const struct histogram *y,
              struct histogram **ret, unsigned *notes);
int fhist_sub(struct arena *a, const struct histogram *x, const struct histogram *y,
              struct histogram **ret, unsigned *notes);
/* A negative k makes a gauge. Division by zero keeps count, sum and zero bucket (Inf or NaN) and
 * drops all other buckets. */
struct histogram *fhist_mul(struct arena *a, const struct histogram *h, double k);
struct histogram *fhist_div(struct arena *a, const struct histogram *h, double k);

/* Kahan-Neumaier compensated running sum of every field and bucket, for sum and sum_over_time.
 * Starts as {0}. Its memory, in the arena given to add (always the same one), grows with the number
 * of distinct buckets, not with the number of additions. fhist_sum_add: RC_EXECUTION on a mix of
 * exponential and custom (the sum stays as it was), RC_NOMEM. The collision note is raised once
 * both explicit reset hints were seen. fhist_sum_result: a new histogram, the sum is not changed;
 * NULL over budget or when nothing was added. */
struct fhist_acc;
struct fhist_sum {
    struct fhist_acc *acc;
    bool reset_seen, not_reset_seen;
};
int fhist_sum_add(struct arena *a, struct fhist_sum *s, const struct histogram *x, unsigned *notes);
struct histogram *fhist_sum_result(struct arena *a, const struct fhist_sum *s);
/* Mean, for avg and avg_over_time: sum divided by the number of additions, or an incremental mean
 * once the sum overflows. Same rules. */
struct fhist_mean {
    struct fhist_sum sum; /* the running mean when incremental */
    double n;
    double magnitude; /* upper bound of every |field|: overflow is looked for only near it */
    bool incremental;
};
int fhist_mean_add(struct arena *a, struct fhist_mean *m, const struct histogram *x,
                   unsigned *notes);
struct histogram *fhist_mean_result(struct arena *a, const struct fhist_mean *m);

struct histogram *fhist_compact(struct arena *a, const struct histogram *h, int max_empty);
struct histogram *fhist_reduce(struct arena *a, const struct histogram *h, int32_t schema);
/* Same buckets, empty ones apart; counts and sums by bits, NaN = NaN. */
bool fhist_eq(const struct histogram *a, const struct histogram *b);
/* == of PromQL and changes(): as fhist_eq, but empty buckets must be the same too, and NaN payloads
 * differ. Hints are not compared. */
bool fhist_eq_exact(const struct histogram *a, const struct histogram *b);
/* Whether going from prev to h is a counter reset (uses the hints, schema, zero threshold, buckets,
 * count). */
bool fhist_detect_reset(const struct histogram *h, const struct histogram *prev);
/* The hint that storage reports for h (source.h): GAUGE as it was, NOT_RESET where h goes on with the
 * run of prev (the sample before it; NULL: none, or a float), else UNKNOWN. */
uint8_t fhist_storage_hint(const struct histogram *h, const struct histogram *prev);

/* Iteration over populated and empty buckets of all sides by their bounds, the zero bucket only
 * when populated; used by quantile, fraction and JSON. Bounds that reach into the zero bucket are
 * cut at the zero threshold. */
struct fhist_bucket {
    double lower, upper, count;
    bool lower_inclusive, upper_inclusive;
    int32_t index;
};
struct fhist_iter {
    const struct histogram *h;
    struct hist_walk walk;
    int stage;
    bool descending;
};
/* Most negative bucket first; _back: most positive first. */
void fhist_iter_init(struct fhist_iter *it, const struct histogram *h);
void fhist_iter_init_back(struct fhist_iter *it, const struct histogram *h);
bool fhist_iter_next(struct fhist_iter *it, struct fhist_bucket *ret);
double fhist_bound(int32_t schema, int32_t index); /* upper bound of exponential bucket index */

double fhist_quantile(const struct histogram *h, double q, unsigned *notes);
double fhist_fraction(const struct histogram *h, double lower, double upper, unsigned *notes);
double fhist_stdvar(const struct histogram *h);
/* </ and >/ of PromQL. NULL over budget. */
struct histogram *fhist_trim(struct arena *a, const struct histogram *h, double bound,
                             bool keep_below);

/* {{schema:0 sum:5 count:4 buckets:[1 2 1]}} of the test scripts (promqltest-format.md) and its
 * printing; s is the text between {{ and }}. RC_INVALID with a reason; counts are not checked
 * against each other. The printed text stands in {{ }}; buckets are joined into one span per side
 * (out fails when that takes more than HIST_BUCKETS_MAX). */
int fhist_parse_text(struct arena *a, struct str s, struct histogram **ret, struct err *err);
bool fhist_text_gives_hint(struct str s); /* whether counter_reset_hint stands in it */
void fhist_print_text(struct buf *out, const struct histogram *h);
/* The string form Prometheus uses in count_values and error texts:
 * {count:4, sum:5, (0.5,1]:1, ...}. */
void fhist_print(struct buf *out, const struct histogram *h);
/* The JSON of the HTTP API:
 * {"count":"..","sum":"..","buckets":[[rule,"lower","upper","count"],..]}. */
void fhist_print_json(struct buf *out, const struct histogram *h);
