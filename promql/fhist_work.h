/* fhist_work.h - internal to promql/fhist_*.c: the accumulator that additions work on, and a stream
 * of one side's buckets at a lower resolution. An accumulator holds buckets by index, with a
 * Kahan-Neumaier compensation beside every number. Its arrays belong to the arena that every call
 * gets (the same one), and are reused: memory follows the number of distinct buckets. */
#pragma once
#include "promql/fhist.h"
#include "promql/kahan.h"

/* One side's buckets, ascending by index; parallel arrays. */
struct fhist_cells {
    int32_t *index;
    double *value, *comp;
    uint32_t n, cap;
};
struct fhist_acc {
    int32_t schema;
    uint8_t hint;
    double zero_threshold;
    double count, sum, zero;
    double comp_count, comp_sum, comp_zero;
    struct fhist_cells pos, neg;
    struct fhist_cells spare; /* where merges write; then it changes places with the side merged */
    double *custom;
    uint32_t custom_count;
};
bool fhist_acc_init(struct arena *a, struct fhist_acc *acc, const struct histogram *h);
bool fhist_acc_copy(struct arena *a, struct fhist_acc *acc, const struct fhist_acc *from);
enum fhist_op { FHIST_PLUS, FHIST_MINUS, FHIST_PLUS_KAHAN };
/* RC_EXECUTION (nothing changed) or RC_NOMEM (the accumulator is spoilt). */
int fhist_acc_add(struct arena *a, struct fhist_acc *acc, const struct histogram *y,
                  enum fhist_op op, unsigned *notes);
void fhist_acc_mul(struct fhist_acc *acc, double k);
void fhist_acc_div(struct fhist_acc *acc, double k);
bool fhist_acc_overflowed(const struct fhist_acc *acc); /* some number is infinite */
/* Every number divided by the divisor, compensations added; a new histogram in a. */
struct histogram *fhist_acc_result(struct arena *a, const struct fhist_acc *acc, double divisor);

/* The buckets of one side of h merged to the schema to (<= h's), those whose upper bound is at most
 * threshold left out (exponential). */
struct fhist_stream {
    const struct histogram *h;
    struct hist_walk walk;
    int32_t to;
    double threshold;
    bool kahan, below, more;
};
void fhist_stream_init(struct fhist_stream *s, const struct histogram *h,
                       const struct hist_side *side, int32_t to, double threshold, bool kahan);
bool fhist_stream_next(struct fhist_stream *s, int32_t *ret_index, double *ret_value,
                       double *ret_comp);

/* Zero count of h if its zero threshold were *threshold, which must not be below h's; a populated
 * bucket that *threshold cuts raises it to the bucket's far end. */
double fhist_zero_at(const struct histogram *h, double *threshold);
bool fhist_custom_eq(const double *a, uint32_t a_n, const double *b, uint32_t b_n);
static inline bool fhist_is_custom(const struct histogram *h)
{
    return h->schema == HIST_CUSTOM_SCHEMA;
}
/* Bounds of bucket index of one side; custom ones included. */
struct fhist_bucket fhist_bucket_of(const struct histogram *h, bool negative, int64_t index,
                                    double count);
