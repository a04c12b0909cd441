/* write_request.h - a zero-copy walk over a Remote Write 1.0 WriteRequest (schema in prometheus/remote.proto terms: field 1 timeseries, 3 metadata).
 * Nothing is allocated for samples: a series gives the span of its label bytes as they stand (hashed for the known-series cache) and cursors over
 * its samples, histograms and exemplars. Follows protobuf rules: unknown fields are skipped, packed and unpacked repeats are read, the last of a
 * repeated scalar counts; groups, field number 0 and lengths past the parent are refused (RC_INVALID: a client's bytes).
 * Differential-fuzzed against protobuf-c (tests/fuzz/write_request_fuzz.c). */
#pragma once
#include "common/base/arena.h"
#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/model/histogram.h"
#include "common/model/labels.h"

enum { EXEMPLAR_LABELS_MAX = 129 };

struct wr_series {
    struct str message;   /* the TimeSeries message */
    struct str labels;    /* span of its label fields, tags included; p NULL when they are not next to each other */
    struct str points;    /* what samples, histograms and exemplars are in: the message without the labels it begins with */
    uint32_t label_count;
    uint32_t sample_count, histogram_count, exemplar_count;
};
/* Walks the request: 1 series (*ret_series), 2 metadata (*ret_metadata is the message), 0 end, negative error. */
int wr_next(struct rd *r, struct wr_series *ret_series, struct str *ret_metadata, struct err *err);

/* Cursors inside a series; each: 1 with a value, 0 at the end, negative on malformed bytes. Start with rd_of(series->points), labels with rd_of(series->message). */
int wr_sample_next(struct rd *r, int64_t *ret_t, uint64_t *ret_vbits, struct err *err);
int wr_label_next(struct rd *r, struct label *ret, struct err *err);
/* Schemas 9 to 52 come reduced to 8. RC_UNSUPPORTED: well-formed bytes, but no histogram (negative count, mixed flavours, spans that do not fit): r stands
 * behind it and *ret_t is set all the same, go on. RC_LIMIT: the arena's budget is spent. */
int wr_histogram_next(struct rd *r, struct arena *a, int64_t *ret_t, struct histogram *ret, struct err *err);
/* With its start timestamp, which 1.0 does not have but OTLP writes (otlp_write.h). */
int wr_started_histogram_next(struct rd *r, struct arena *a, int64_t *ret_t, int64_t *ret_st, struct histogram *ret, struct err *err);
/* One Histogram message of 1.0 or 2.0; results as above, *ret_st is 0 when it says none. */
int wr_histogram_decode(struct str message, struct arena *a, int64_t *ret_t, int64_t *ret_st, struct histogram *ret, struct err *err);
/* An exemplar may have 128 characters: of more than EXEMPLAR_LABELS_MAX labels only that many are returned. */
int wr_exemplar_next(struct rd *r, struct arena *a, int64_t *ret_t, double *ret_v, struct labels *ret, struct err *err);

struct wr_metadata {
    uint8_t type;
    struct str metric, help, unit;
};
int wr_metadata_decode(struct str message, struct wr_metadata *ret, struct err *err);
