/* metadata.h - what senders told about metrics (type, help, unit): per tenant, bounded, duplicates kept once. Own lock. */
#pragma once
#include "common/base/buf.h"
#include "common/wire/push.h"

struct metadata;
struct metadata *metadata_new(void);
void metadata_free(struct metadata *m);
size_t metadata_memory(struct metadata *m); /* bytes */
/* False when a ceiling (metrics, or entries of this metric; 0: off) kept it out. */
bool metadata_add(struct metadata *m, const struct push_metadata *row, size_t metrics_max, size_t per_metric_max);
/* Appends rows as PushRequest.metadata has them; metric.n == 0: all. Returns how many. */
uint32_t metadata_write(struct metadata *m, struct str metric, struct buf *out);
