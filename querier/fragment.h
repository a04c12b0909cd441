/* fragment.h - a part of a query that one querier asks of another: an aggregation over a shard of the series (its part: promql_part), or all of the query over some of its
 * steps. The whole text travels along, so that warnings tell the places of the query as it was written. A result that does not fit a message, or that is not made of
 * parts, is refused (RC_LIMIT, RC_UNSUPPORTED), and the asker evaluates that part itself.
 * Series of an answer: u8 version, uvarint count, then per series: labels_encode, u8 flags (FRAGMENT_*), uvarint points; when there are fewer than steps, a bit per step
 * (step i is bit i % 8 of byte i / 8); with FRAGMENT_HISTOGRAMS, a bit per point, set for histograms; then the points: f64 bits, or histogram_encode.
 * Threads: any. */
#pragma once
#include "common/wire/torc.pb-c.h"
#include "promql/engine.h"
#include "querier/source.h"

enum { FRAGMENT_VERSION = 2, FRAGMENT_STEPS_MAX = 10000000 };
enum fragment_flag { FRAGMENT_DROP_NAME = 1, FRAGMENT_COUNT = 2, FRAGMENT_HISTOGRAMS = 4 /* some points are */ };

/* --- codecs --- */
void fragment_series_encode(struct buf *out, const struct query_result *res, int64_t start_ms, int64_t step_ms, size_t steps);
/* Everything in the arena. RC_CORRUPT, RC_VERSION, RC_NOMEM. */
int fragment_series_decode(struct str bytes, int64_t start_ms, int64_t step_ms, size_t steps, struct arena *a, struct query_result *ret, struct err *err);
size_t fragment_steps(int64_t start_ms, int64_t end_ms, int64_t step_ms);

/* Makes of a query the part of its aggregation n, as each of those that share n evaluates it. */
void fragment_part(const struct node *n, struct promql_ast *ast, struct query_opt *opt);

/* --- answering --- */
struct fragment_env {
    const struct source_env *source;
    atomic_int *helpers;
};
/* Evaluates until canceled; out gets a packed FragmentResponse. */
int fragment_answer(const struct fragment_env *env, struct str request, const atomic_bool *cancel, struct buf *out, struct fetch_used *ret_used, struct err *err);
