/* store_encode.h - columns of any length as chunks that keep the ceilings of chunk.h. */
#pragma once
#include "tsdb/chunk.h"

typedef void stored_emit_fn(void *arg, struct str chunk);
/* Floats and histograms go into chunks of their own, in time order. scratch (max CHUNK_BYTES_MAX)
 * is overwritten; chunk is borrowed from it. The arena serves mixed columns only; RC_NOMEM when it
 * is full. */
int stored_encode(const struct chunk_columns *c, struct arena *a, struct buf *scratch,
                  stored_emit_fn *emit, void *arg);
