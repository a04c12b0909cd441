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
enum { HIST_SCHEMA_WIRE_MAX = 52 }; /* schemas 9..52 are accepted on the wire and reduced to 8, see histogram_reduce() */
enum { HIST_BUCKETS_MAX = 65536, HIST_SPANS_MAX = 65536, HIST_CUSTOM_MAX = 65536 };
/* Bucket indexes of a valid histogram lie in [-HIST_INDEX_MAX, HIST_INDEX_MAX]; doubles need less than 2^19 at schema 8. */
enum { HIST_INDEX_MAX = 1 << 24 };
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

/* 0, or RC_INVALID with a reason as Prometheus words it (conformance/remote-write.md section 6). Schemas 9..52 are invalid here: the edge
 * reduces them first. Reads no bucket past bucket_count, whatever the spans say. */
int histogram_validate(const struct histogram *h, struct err *err);
/* Canonical bytes: equal histograms (bit for bit, spans as given) have equal bytes. One version byte first; layout in
 * histogram_codec.c. h keeps the HIST_*_MAX ceilings. */
void histogram_encode(struct buf *out, const struct histogram *h);
/* Arrays come from the arena. Bounded by HIST_*_MAX and by the input; RC_CORRUPT on anything else, RC_NOMEM over budget. What it returns is safe
 * to walk and re-encodes to the same bytes, but need not pass histogram_validate() (results of queries may be negative). */
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

/* Walks the buckets of one side in ascending (next) or descending (prev) order of index, empty ones included:
 * w.at is the position in side.i or side.f, w.index the bucket's index. Never leaves [0, bucket_count). */
struct hist_walk {
    const struct hist_side *side;
    uint32_t span, in_span, at;
    int64_t index; /* 64 bits: spans that were never validated must not overflow it */
    bool started;
};
void hist_walk_init(struct hist_walk *w, const struct hist_side *side);      /* for next */
void hist_walk_init_back(struct hist_walk *w, const struct hist_side *side); /* for prev */
bool hist_walk_next(struct hist_walk *w);
bool hist_walk_prev(struct hist_walk *w);

/* Cuts empty buckets off the ends of spans, cuts runs of more than max_empty of them out, and joins spans that are at most max_empty apart.
 * Integer and float alike. Arrays come from the arena (custom bounds are borrowed from h); false over budget or when the
 * joined buckets would pass HIST_BUCKETS_MAX. ret may be h. */
bool histogram_compact(struct arena *a, const struct histogram *h, uint32_t max_empty, struct histogram *ret);
/* Lower resolution: merges buckets to the exponential schema given, which must not be above h's. h needs not be valid: the edge reduces schemas
 * 9..52 to 8, then validates. RC_NOMEM, or RC_INVALID when spans overlap, do not fit the buckets, or an index stays out of
 * range. Arrays come from the arena; ret may be h. */
int histogram_reduce(struct arena *a, const struct histogram *h, int32_t schema, struct histogram *ret, struct err *err);
/* Index of the bucket that bucket index of schema from falls into at schema to <= from. */
static inline int64_t hist_index_reduce(int64_t index, int32_t from, int32_t to)
{
    return ((index - 1) >> (from - to)) + 1;
}
