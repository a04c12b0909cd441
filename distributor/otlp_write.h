/* otlp_write.h - series written as the TimeSeries of a Remote Write 1.0 request, so that translated data takes the way of every push: known-series cache,
 * limits, quorum. Besides, which data point each series came from, so that an answer can count points.
 * Start timestamps, which 1.0 does not have, stand where 2.0 has them (Sample 3, Histogram 17).
 * One series: _begin, samples or a histogram, exemplars, _end. Check otlp_write_ok() once at the end. */
#pragma once
#include "common/base/buf.h"
#include "common/model/labels.h"

struct otlp_point {
    uint32_t offset; /* of its first series in the body; ascending */
    uint32_t rows;   /* samples and histograms that it became */
};
#define OTLP_NOT_A_POINT UINT32_MAX /* rows of what the sender does not count: target_info */

struct otlp_write {
    struct buf body;
    struct buf one;            /* the message being written */
    struct otlp_point *points; /* heap */
    size_t point_count, point_cap;
    int64_t start_ms;          /* of samples to come; 0: not known */
};
void otlp_write_init(struct otlp_write *w, size_t body_max);
void otlp_write_fini(struct otlp_write *w);
bool otlp_write_ok(const struct otlp_write *w);

/* Moves out what was written (free() points); w is empty afterwards, and goes on. */
void otlp_write_take(struct otlp_write *w, struct buf *ret_body, struct otlp_point **ret_points, size_t *ret_count);

/* What follows, up to the next call, comes from one data point (or, counted false, from none). */
void otlp_write_point(struct otlp_write *w, bool counted);
/* base is sorted, without __name__; extra (name .n 0: none) goes over a label of the same name. */
void otlp_write_begin(struct otlp_write *w, struct str metric, const char *suffix, const struct labels *base, struct label extra);
void otlp_write_sample(struct otlp_write *w, int64_t t, double v);
/* labels of an exemplar need no order. */
void otlp_write_exemplar(struct otlp_write *w, int64_t t, double v, const struct labels *ls);
/* The Histogram message as its writer (otlp_histogram.c) made it in a buffer. */
void otlp_write_histogram(struct otlp_write *w, const struct buf *message);
void otlp_write_end(struct otlp_write *w);
void otlp_write_metadata(struct otlp_write *w, uint8_t type, struct str metric, struct str help, struct str unit);

/* Fields of messages. */
static inline void pb_put_varint(struct buf *b, unsigned number, uint64_t v)
{
    buf_uvarint(b, number << 3);
    buf_uvarint(b, v);
}
static inline void pb_put_bits(struct buf *b, unsigned number, uint64_t bits)
{
    buf_uvarint(b, number << 3 | 1);
    buf_u64(b, bits);
}
static inline void pb_put_bytes(struct buf *b, unsigned number, struct str s)
{
    buf_uvarint(b, number << 3 | 2);
    buf_lstr(b, s);
}
