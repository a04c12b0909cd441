/* wal_payload.h - what is inside WAL records. Every payload begins with a u8 version; everything is
 * little-endian.
 *   SAMPLES     lstr tenant | u32 n | fps 16n (hi, lo) | i64 base | u32 offsets 4n | values 8n
 *               | u8 has_st [| i64 starts 8n] | bitmap of accepted rows, (n + 7) / 8 bytes, row 0
 *               lowest, unused bits zero
 *   SERIES      lstr tenant | uvarint n | n x { fp (hi, lo u64) | labels_encode }
 *   HISTOGRAMS  lstr tenant | uvarint n | n x { fp | i64 t | i64 st | histogram_encode }, accepted
 *               rows only
 *   EXEMPLARS   lstr tenant | uvarint n | n x { fp | i64 t | u64 value bits | labels_encode }
 *   METADATA    lstr tenant | uvarint n | n x { lstr metric | u8 type | lstr help | lstr unit }
 *   SEAL        u64 set id | i64 below_ms
 *   PUBLISHED   u64 set id | u64 index generation
 *   DROPPED     u64 set id | i64 idle_before_ms
 * Writers fill a buf (check buf_ok); readers return 0, RC_CORRUPT or RC_VERSION, and what they hand
 * out borrows from the payload or the arena. */
#pragma once
#include "common/model/histogram.h"
#include "common/model/labels.h"
#include "tsdb/wal.h"

enum { WAL_PAYLOAD_VERSION = 1, WAL_ROWS_MAX = 1 << 20 };

/* --- samples: columns, not copied --- */
struct wal_samples {
    struct str tenant;
    uint32_t n;
    const uint8_t *fps, *offsets, *values, *starts /* or NULL */, *accepted; /* unaligned */
    int64_t base_ms;
};
/* Fills head[] (a small scratch buffer owned by the caller) and parts for wal_append without
 * copying the columns. Returns the number of parts. Tenants
 * are at most WAL_TENANT_MAX bytes (asserted). */
enum { WAL_SAMPLES_PARTS = 10, WAL_SAMPLES_HEAD = 512, WAL_TENANT_MAX = 400 };
size_t wal_samples_parts(const struct wal_samples *s, uint8_t head[WAL_SAMPLES_HEAD],
                         struct str parts[WAL_SAMPLES_PARTS]);
int wal_samples_decode(struct str payload, struct wal_samples *ret, struct err *err);
static inline bool wal_samples_accepted(const struct wal_samples *s, uint32_t row)
{
    return s->accepted[row / 8] >> (row % 8) & 1;
}
static inline fingerprint wal_samples_fp(const struct wal_samples *s, uint32_t row)
{
    const uint8_t *p = s->fps + 16 * (size_t)row;

    return (fingerprint){le_get64(p), le_get64(p + 8)};
}
static inline int64_t wal_samples_t(const struct wal_samples *s, uint32_t row)
{
    return s->base_ms + le_get32(s->offsets + 4 * (size_t)row);
}
/* Newest accepted timestamp, INT64_MIN when no row was accepted. */
int64_t wal_samples_t_max(const struct wal_samples *s);

/* --- lists of rows: a writer, and a reader that hands out one row after the other --- */
struct wal_list {
    struct str tenant;
    uint64_t left; /* rows not read yet, at most WAL_ROWS_MAX */
    struct rd r;
};
/* For all list types: the front, for n rows to be added. */
void wal_list_begin(struct buf *out, struct str tenant, size_t n);
int wal_list_open(struct str payload, struct wal_list *ret, struct err *err);
/* Readers of a row: 1 with a row, 0 after the last, else an error. */
void wal_series_add(struct buf *out, fingerprint fp, const struct labels *ls);
int wal_series_next(struct wal_list *l, struct arena *a, fingerprint *ret_fp, struct labels *ret,
                    struct err *err);

void wal_histogram_add(struct buf *out, fingerprint fp, int64_t t, int64_t st,
                       const struct histogram *h);
struct wal_histogram {
    fingerprint fp;
    int64_t t, st;
    struct histogram h;
};
int wal_histogram_next(struct wal_list *l, struct arena *a, struct wal_histogram *ret,
                       struct err *err);

void wal_exemplar_add(struct buf *out, fingerprint fp, int64_t t, double v,
                      const struct labels *ls);
struct wal_exemplar {
    fingerprint fp;
    int64_t t;
    double v;
    struct labels labels;
};
int wal_exemplar_next(struct wal_list *l, struct arena *a, struct wal_exemplar *ret,
                      struct err *err);

void wal_metadata_add(struct buf *out, struct str metric, uint8_t type, struct str help,
                      struct str unit);
struct wal_metadata {
    struct str metric, help, unit;
    uint8_t type;
};
int wal_metadata_next(struct wal_list *l, struct wal_metadata *ret, struct err *err);

/* --- marks: SEAL (value: below_ms), PUBLISHED (index generation), DROPPED (idle_before_ms) --- */
struct wal_mark {
    uint64_t set_id, value;
};
enum { WAL_MARK_BYTES = 17 };
struct str wal_mark_encode(const struct wal_mark *m,
                           uint8_t out[WAL_MARK_BYTES]); /* borrowed from out */
int wal_mark_decode(struct str payload, struct wal_mark *ret, struct err *err);
