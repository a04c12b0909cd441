/* shard_plan.h - which queries can be divided by series, and how the parts become one answer.
 * A part is the whole expression over the series whose fingerprint mod n is its number. That gives
 * the same groups as all series at once only where the root is an aggregation whose parts combine
 * (sum, min, max, count, group) and everything below it works on one series at a time: a selector of
 * one metric name, functions of a series alone, arithmetic and comparison with constants. When in
 * doubt a query is not divided. Parts with histograms or warnings are not combined: what a mixed
 * group gives depends on all of its members.
 * Each part sums with Kahan's compensation, but the parts are added plainly: a sum may differ in its
 * last bits from the undivided one.   Pure; threads: none of its own. */
#pragma once
#include "promql/engine.h"

/* Whether the query can be divided; *ret_op: how values of the same group and step combine. */
bool shard_plan(const struct promql_ast *ast, enum agg_op *ret_op);
/* Whether the answer of a part may be combined with others. */
bool shard_part_combines(const struct query_result *part);
/* Answers of all n parts as one, sorted by labels; statistics are added up, notes united. Arrays
 * are from the arena, labels and notes stay those of the parts. RC_NOMEM. */
int shard_merge(enum agg_op op, const struct query_result *parts, size_t n, struct arena *a,
                struct query_result *ret, struct err *err);
