/* read_answer.h - series as remote read sends them: protobuf TimeSeries with samples, or frames of ChunkedReadResponse with chunks in
 * Prometheus's encodings (tsdb/prom_chunk.h). Schema: conformance/remote-write.md section 4; frames: conformance/http-api.md section 6.
 * Histograms go as float histograms. Start timestamps have no place there. Threads: none of its own. */
#pragma once
#include "common/base/buf.h"
#include "promql/source.h"

enum { READ_FRAME_BYTES = 1 << 20 }; /* of chunk data, after which a series goes on in the next frame */

/* Appends field 1 (timeseries) of a QueryResult. */
void read_put_series(struct buf *out, const struct labels *ls, const struct columns *c);
/* Appends the frames of one series of query number query: uvarint length, CRC-32C big-endian, message. scratch is cleared. */
void read_put_frames(struct buf *out, struct buf *scratch, const struct labels *ls, const struct columns *c, size_t query);
