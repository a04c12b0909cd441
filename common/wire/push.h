/* push.h - the columnar push between distributor and ingester: building, reading, and its verdicts.
 * Rows of one series keep their order. A push holds the samples of one tenant; t = base + u32 offset, so a builder starts another
 * batch when the spread of times passes 49 days (push_batch_fits). */
#pragma once
#include "common/base/arena.h"
#include "common/model/discard.h"
#include "common/model/histogram.h"
#include "common/model/labels.h"

enum { PUSH_VERSION = 1, PUSH_ROWS_MAX = 1 << 20, PUSH_REFUSALS_MAX = 100 };
enum push_flag { PUSH_HINT = 1, PUSH_STANDBY = 2 };

/* One byte per row. Below PUSH_REFUSED counts as shown; from it on: PUSH_REFUSED + enum discard_reason. */
enum push_verdict {
    PUSH_ACCEPTED = 0,  /* stored and logged: a vote */
    PUSH_DUPLICATE = 1, /* was there already: a vote */
    PUSH_UNKNOWN = 2,   /* send labels: no vote */
    PUSH_MOVED = 3,     /* not an owner at this ring version: no vote */
    PUSH_RETRY = 4,     /* could not be judged or logged: no vote */
    PUSH_REFUSED = 32,
};
static inline bool push_is_vote(uint8_t v)
{
    return v <= PUSH_DUPLICATE;
}
static inline enum discard_reason push_reason(uint8_t v)
{
    return v >= PUSH_REFUSED ? (enum discard_reason)(v - PUSH_REFUSED) : DISCARD_NONE;
}

/* --- building: columns are filled in place --- */
struct push_batch {
    struct buf fps, offsets, values, starts, series, histograms, exemplars, metadata;
    uint32_t rows, histogram_rows, exemplar_rows, metadata_rows, series_rows;
    int64_t base_ms;
    bool has_base, has_starts;
};
void push_batch_init(struct push_batch *b, size_t bytes_max);
void push_batch_fini(struct push_batch *b);
void push_batch_clear(struct push_batch *b);
/* The oldest time to come; without it the first row's time decides, and rows up to 12 days older fit. Before the first row. */
void push_batch_oldest(struct push_batch *b, int64_t t);
/* What the columns take; SIZE_MAX when one passed its maximum. */
size_t push_batch_bytes(const struct push_batch *b);
/* False when t cannot share a batch with what is in it: send it and start another. */
bool push_batch_fits(const struct push_batch *b, int64_t t);
/* Room for so many more floats, so that columns do not grow while they are filled. */
void push_batch_reserve(struct push_batch *b, uint32_t rows);
void push_batch_float(struct push_batch *b, fingerprint fp, int64_t t, uint64_t vbits, int64_t st);
void push_batch_histogram(struct push_batch *b, fingerprint fp, int64_t t, int64_t st, const struct histogram *h);
void push_batch_exemplar(struct push_batch *b, fingerprint fp, int64_t t, double v, const struct labels *ls);
void push_batch_metadata(struct push_batch *b, struct str metric, uint8_t type, struct str help, struct str unit);
void push_batch_series(struct push_batch *b, fingerprint fp, const struct labels *ls);
void push_batch_series_encoded(struct push_batch *b, fingerprint fp, struct str labels_encoded);
struct push_header {
    struct str tenant;
    uint64_t ring_version, head_id;
    uint32_t flags;       /* PUSH_STANDBY: rows are taken only where their series have a hole; the others count as there already */
    int64_t gap_until_ms; /* with PUSH_STANDBY, never 0 */
};
int push_batch_encode(const struct push_batch *b, const struct push_header *h, struct buf *out, struct err *err);

/* --- reading: everything borrows from the payload; sizes of all columns are checked against rows here --- */
struct push_view {
    struct push_header header;
    uint32_t rows, histogram_rows, exemplar_rows, metadata_rows, series_rows;
    int64_t base_ms;
    const uint8_t *fps, *offsets, *values, *starts; /* starts NULL when none; unaligned: read with le_get */
    struct str series, histograms, exemplars, metadata;
};
/* The arena holds the envelope. RC_CORRUPT, RC_VERSION. */
int push_view_decode(struct str payload, struct arena *a, struct push_view *ret, struct err *err);
static inline fingerprint push_fp(const uint8_t *p)
{
    return (fingerprint){le_get64(p), le_get64(p + 8)};
}
/* Cursor over the variable lists (a row of series is fingerprint and labels_encode(), as in a WAL_SERIES record); each returns 1 with a row, 0 at the end, negative on corrupt bytes. */
int push_series_next(struct rd *r, struct arena *a, fingerprint *ret_fp, struct labels *ret, struct err *err);
int push_histogram_next(struct rd *r, struct arena *a, fingerprint *ret_fp, int64_t *ret_t, int64_t *ret_st, struct histogram *ret, struct err *err);
int push_exemplar_next(struct rd *r, struct arena *a, fingerprint *ret_fp, int64_t *ret_t, double *ret_v, struct labels *ret, struct err *err);
struct push_metadata {
    struct str metric, help, unit;
    uint8_t type;
};
int push_metadata_next(struct rd *r, struct push_metadata *ret, struct err *err);

/* --- answer --- */
struct push_refusal {
    uint32_t row;
    struct str text;
};
struct push_answer {
    uint64_t head_id, ring_version;
    const uint8_t *verdicts; /* NULL: every row accepted; else rows + histogram_rows bytes */
    size_t verdict_count;
    const struct push_refusal *refusals;
    size_t refusal_count;
};
int push_answer_encode(const struct push_answer *an, struct buf *out, struct err *err);
int push_answer_decode(struct str payload, struct arena *a, struct push_answer *ret, struct err *err);
