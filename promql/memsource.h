/* memsource.h - series in plain memory: the smallest real series source, for unit tests, scripts
 * and fuzzing. Samples are appended in time order, one sorted column per series, and read back as
 * source.h asks, reset hints of histograms included: gauge as it was, not_reset within an
 * uninterrupted run, else unknown. Threads: one at a time; no appends while a cursor is open. */
#pragma once
#include "promql/source.h"

struct memsource;
struct memsource *memsource_new(void);
void memsource_free(struct memsource *m);
struct series_source *memsource_source(struct memsource *m); /* lives as long as m */

/* Copies labels (sorted). One sample: h when not NULL, else v. RC_INVALID when the series has a
 * later sample, or another one at t; a repeat of the newest sample, bit for bit, is accepted and
 * ignored. h becomes a float histogram. st: start timestamp, 0 unknown. */
int memsource_append(struct memsource *m, const struct labels *ls, int64_t t, double v,
                     const struct histogram *h, int64_t st, struct err *err);
