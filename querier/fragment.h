/* fragment.h - a part of a query that one querier asks of another: an aggregation over a shard of the series, or all of it over some of its steps.
 * The whole text travels along, so that warnings tell the places of the query as it was written. Series of answers are floats only; a result with histograms, or one
 * that does not fit a message, is refused (RC_UNSUPPORTED, RC_LIMIT), and the asker evaluates that part itself.
 * Series of an answer: u8 version, uvarint count, then per series: labels_encode, uvarint points; when there are fewer than steps, a bit per step (step i is bit i % 8 of byte
 * i / 8); f64 bits of each point.
 * Threads: any. */
#pragma once
#include "common/wire/torc.pb-c.h"
#include "promql/engine.h"
#include "querier/source.h"

enum { FRAGMENT_VERSION = 1, FRAGMENT_STEPS_MAX = 10000000 };

/* --- codecs --- */
void fragment_series_encode(struct buf *out, const struct query_result *res, int64_t start_ms, int64_t step_ms, size_t steps);
/* Everything in the arena. RC_CORRUPT, RC_VERSION, RC_NOMEM. */
int fragment_series_decode(struct str bytes, int64_t start_ms, int64_t step_ms, size_t steps, struct arena *a, struct query_result *ret, struct err *err);
size_t fragment_steps(int64_t start_ms, int64_t end_ms, int64_t step_ms);

/* --- answering --- */
struct fragment_env {
    const struct source_env *source;
    atomic_int *helpers;
};
/* Evaluates until canceled; out gets a packed FragmentResponse. */
int fragment_answer(const struct fragment_env *env, struct str request, const atomic_bool *cancel, struct buf *out, struct fetch_used *ret_used, struct err *err);
