/* histogram.h - native histograms: exponential (schema -4..8) and custom buckets (schema -53).
 * Buckets hold absolute counts (the wire's deltas are undone at the edge); integer histograms keep uint64 counts so that
 * nothing is rounded, float histograms keep doubles. Memory is the arena's or the caller's: struct histogram borrows.
 * Source: Prometheus native histogram specification; wire form in conformance/remote-write.md section 6. */
#pragma once
#include "common/model/sample.h"
#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/err.h"

enum { HIST_CUSTOM_SCHEMA = -53, HIST_SCHEMA_MIN = -4, HIST_SCHEMA_MAX = 8 };
enum { HIST_BUCKETS_MAX = 65536, HIST_SPANS_MAX = 65536 };
enum hist_hint { HIST_HINT_UNKNOWN = 0, HIST_HINT_RESET = 1, HIST_HINT_NOT_RESET = 2, HIST_HINT_GAUGE = 3 };

struct hist_span {
    int32_t offset; /* first: index of its first bucket; later: gap to the end of the span before */
    uint32_t length;
};
struct hist_side {
    const struct hist_span *spans;
    uint32_t span_count;
    uint32_t bucket_count; /* = sum of span lengths */
    union {
        const uint64_t *i; /* !is_float: absolute counts */
        const double *f;   /* is_float */
    };
};
struct histogram {
    bool is_float;
    uint8_t hint;   /* enum hist_hint; only explicit hints (RESET, GAUGE) are stored */
    int32_t schema;
    double zero_threshold;
    double sum;     /* STALE_NAN_BITS: the series ended here */
    union {
        uint64_t i;
        double f;
    } count, zero_count;
    struct hist_side pos, neg;
    const double *custom; /* upper bounds, strictly increasing, without +Inf; schema -53 only */
    uint32_t custom_count;
};

/* 0, or RC_INVALID with a reason as Prometheus words it (conformance/remote-write.md section 6). */
int histogram_validate(const struct histogram *h, struct err *err);
/* Canonical bytes: equal histograms (bit for bit, spans as given) have equal bytes. One version byte first. */
void histogram_encode(struct buf *out, const struct histogram *h);
/* Arrays come from the arena. Bounded by HIST_*_MAX and by the input; RC_CORRUPT on anything else. */
int histogram_decode(struct rd *r, struct arena *a, struct histogram *ret, struct err *err);
bool histogram_eq(const struct histogram *a, const struct histogram *b); /* by canonical bytes */
/* XXH3-128, seed 0, of the canonical bytes; its hi word is the value word of sample_hash(). */
struct u128 histogram_hash(const struct histogram *h);
static inline bool histogram_is_stale(const struct histogram *h)
{
    return is_stale_nan(h->sum);
}
/* Deep copy into the arena; false over budget. */
bool histogram_dup(struct arena *a, const struct histogram *h, struct histogram *ret);
