/* write.h - what a load stores as a Remote Write 2.0 request: protobuf in snappy's block format. The
 * encoder is the test's own. A series of floats and histograms is two messages, as 2.0 wants it. */
#pragma once
#include "backend.h"

enum { WRITE_BYTES_MAX = 256 << 20 };

/* Appends the body of one POST. */
void write_request(struct buf *out, const struct load_series *series, size_t n);
