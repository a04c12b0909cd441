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

struct u128 cached_key(struct str tenants, struct str text, const struct query_opt *opt);
/* As query_run. */
int cached_run(struct result_cache *c, const struct cached_query *cq, struct promql_ast *ast, struct series_source *src, const struct query_opt *opt,
               struct query_result *ret, struct err *err);
