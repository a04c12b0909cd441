/* checkpoint.h - what must outlive logs that are deleted: labels of live series, metadata. */
#pragma once
#include "ingester/ingester_impl.h"

/* Appends to the log what a checkpoint holds: for series that came from logs that are about to be removed. Shard thread. */
int checkpoint_append(struct shard *s, struct ingester *with, struct err *err);
/* Metadata of all tenants as records, for a head image. Any thread. */
int checkpoint_metadata(struct ingester *in, wal_emit_fn *emit, void *emit_arg, struct err *err);
