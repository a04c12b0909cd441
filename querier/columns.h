/* columns.h - from what stores hold to what the engine reads: the samples of one merged series as
 * columns of source.h, histograms as float histograms with the counter-reset hints that storage
 * reports. A hint needs the sample before: it is looked for in the same window even before mint;
 * the first sample of the first window is UNKNOWN (or GAUGE). */
#pragma once
#include "promql/source.h"
#include "tsdb/store.h"

/* Samples with mint <= t <= maxt. Every window must carry data. Memory from the arena: RC_NOMEM. */
int stored_to_columns(const struct stored_series *s, int64_t mint_ms, int64_t maxt_ms,
                      struct arena *a, struct columns *ret, struct err *err);
