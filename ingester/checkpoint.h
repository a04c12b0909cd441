/* checkpoint.h - what must outlive the log segments that are deleted: labels of live series, metadata. */
#pragma once
#include "ingester/ingester_impl.h"

/* Appends to the log what a checkpoint holds: for series that came from logs that are about to be removed. Shard thread. */
int checkpoint_append(struct shard *s, struct ingester *with, struct err *err);
/* Replaces the segments of this shard whose samples are all older than older_than_ms. with: also its tenants' metadata (one shard keeps it); NULL: none.
 * Shard thread. */
int checkpoint_write(struct shard *s, struct ingester *with, int64_t older_than_ms, struct err *err);
