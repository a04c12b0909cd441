/* batch_encode.h - parts of batch.h: one encoder per protocol, and what two of them share. */
#pragma once
#include "loadgen/batch.h"

void batch_encode_rw1(const struct batch *b, int64_t t_ms, struct skeleton *out);
void batch_encode_rw2(const struct batch *b, int64_t t_ms, struct skeleton *out);
void batch_encode_otlp(const struct batch *b, int64_t t_ms, struct skeleton *out);

/* Piece i, if it is kept: true and written. Otherwise the caller writes it from out's byte begin on and keeps it; pieces come in order, without marks. */
bool piece_copy(const struct batch *b, uint32_t i, struct skeleton *out);
void piece_keep(const struct batch *b, uint32_t i, const struct skeleton *out, size_t begin);

/* Both versions of remote write have the same Sample and Histogram. */
void put_sample(struct skeleton *out, uint32_t field, uint32_t k);
void put_native(struct skeleton *out, uint32_t field, const struct histogram *h, int64_t t_ms);
