/* result_cache.h - results of range queries, to be used again by those that ask for later or longer ranges.
 * An entry belongs to a key (tenants, text, step and phase of the grid, lookback) and covers one range of steps, which grows as queries ask for more.
 * It is good while its *generation* is that of today's view of blocks (indexes, tombstones): another one drops it. The caller puts nothing in that may
 * still change: see cached_run.h.
 * Memory: at most bytes_max, the least recently used go first; what is in use stays until it is let go. Threads: any. */
#pragma once
#include "common/base/hash.h"
#include "common/obs/metrics.h"
#include "promql/engine.h"

struct result_cache;
/* A range of results; never changes. */
struct cached_range {
    int64_t from_ms, to_ms, step_ms; /* first and last step */
    struct query_result res;         /* a matrix, in the order of labels; statistics are zero */
};

/* bytes_max 0: keeps nothing. */
struct result_cache *result_cache_new(size_t bytes_max, struct metrics *metrics);
void result_cache_free(struct result_cache *c); /* NULL is fine */
/* With a reference; NULL when there is none of this generation. */
struct cached_range *result_cache_get(struct result_cache *c, struct u128 key, uint64_t generation);
void cached_range_unref(struct result_cache *c, struct cached_range *r); /* NULL is fine */
/* Keeps a copy of res from step from_ms to step to_ms, in place of what the key has. */
void result_cache_put(struct result_cache *c, struct u128 key, uint64_t generation, int64_t from_ms, int64_t to_ms, int64_t step_ms,
                      const struct query_result *res);
size_t result_cache_bytes(struct result_cache *c);
