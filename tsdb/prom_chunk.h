/* prom_chunk.h - Prometheus's own chunk encodings: written for its remote-read stream, read from its blocks. Our blocks use others (chunk.h).
 * XOR: u16 big-endian count, then bits, first bit highest: Pelkonen et al. (Gorilla, VLDB 2015), with time in ms: the first t as a
 *   varint and its value in 64 bits, the second t as a uvarint delta, then deltas of deltas in classes of 14, 17, 20 and 64 bits.
 * Float histograms: u16 count, u8 counter-reset header (two upper bits), the layout (zero threshold, schema, spans, custom bounds) once,
 *   then per sample t, count, zero count, sum and all buckets: raw for the first, deltas of deltas and XOR after it. Numbers in variable bits.
 * Integer histograms (read only): the same front; count, zero count and buckets (each bucket less the one before) as integers: raw, then deltas of
 *   deltas; the sum as XOR. Behind a stale sum no buckets follow.
 * Source: prometheus/tsdb/chunkenc (xor.go, histogram.go, float_histogram.go, histogram_meta.go, varbit.go) of 3.x.
 * Threads: none of its own. */
#pragma once
#include "tsdb/chunk.h"

enum prom_encoding { PROM_XOR = 1, PROM_HISTOGRAM = 2, PROM_FLOAT_HISTOGRAM = 3 };
enum { PROM_CHUNK_SAMPLES_MAX = 120 };

/* n in 1..PROM_CHUNK_SAMPLES_MAX, times increase. */
void prom_chunk_floats(struct buf *out, const int64_t *t, const double *v, size_t n);
/* How many of the n >= 1 float histograms, from the first on, one chunk can hold: same layout, and no counter reset between them (by their
 * hints: each but the first is NOT_RESET, or all are GAUGE). At least 1, at most PROM_CHUNK_SAMPLES_MAX. */
size_t prom_chunk_run(const struct histogram *const *h, size_t n);
/* As many as prom_chunk_run says, or fewer. */
void prom_chunk_histograms(struct buf *out, const int64_t *t, const struct histogram *const *h, size_t n);

/* Bytes from outside as columns; times increase. Memory from the arena (RC_NOMEM). Resolutions above ours are reduced. A counter
 * reset is told of the first sample only, where the header knows it. RC_VERSION: an encoding that this program does not read; RC_CORRUPT. */
int prom_chunk_decode(unsigned encoding, struct str bytes, struct arena *a, struct chunk_columns *ret, struct err *err);
