/* cached_run.h - runs a range query, taking from the results cache what it has and leaving there what will not change any more.
 * Used again are only steps at or before the *horizon*: nothing that arrives now can lie there. It is the caller's to know: now minus the age up to which samples are
 * accepted, and not less than the out-of-order window. A query whose steps depend on more than their own time (promql_steps_independent) is never cached.
 * Threads: one a run. */
#pragma once
#include "querier/result_cache.h"

struct cached_query {
    struct u128 key;     /* cached_key() */
    uint64_t generation; /* of the blocks' indexes */
    int64_t horizon_ms;  /* INT64_MIN: nothing is settled */
};

/* Evaluates the query over a range on its grid of steps. */
typedef int range_run_fn(void *arg, int64_t start_ms, int64_t end_ms, struct query_result *ret, struct err *err);
struct u128 cached_key(struct str tenants, struct str text, const struct query_opt *opt);
/* root: of the query, whose range and options opt has; run evaluates parts of it. */
int cached_run(struct result_cache *c, const struct cached_query *cq, const struct node *root, const struct query_opt *opt, range_run_fn *run, void *arg,
               struct query_result *ret, struct err *err);
