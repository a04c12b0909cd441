/* scatter.h - one query over several queriers: aggregations by shards of the series, long ranges by parts of their steps.
 * The querier that was asked sends fragments (fragment.h) to its peers of the ring and evaluates a share itself. Whatever a peer does not answer (gone, another version,
 * too large) is evaluated here; so peers change how long a query takes, never what it says, but for the last bits of sums and averages, which are added in another
 * order (docs/conformance.md).
 * Only queries that read many samples from blocks are worth it: an estimate from the block index decides, ingesters are not asked.
 * Threads: one a query. */
#pragma once
#include "querier/cached_run.h"
#include "querier/fragment.h"
#include "querier/querier.h"

enum { SCATTER_PEERS_MAX = 64, SCATTER_PARTS_MAX = 1000 /* of a range; longer ones are not divided */ };

struct scatter {
    const struct scatter_cfg *cfg;
    const struct query_opt *opt; /* of the query */
    struct source *src;
    struct promql_ast *ast;
    struct ring *ring;         /* reference */
    uint16_t peers[SCATTER_PEERS_MAX]; /* instances; the first is this querier */
    size_t peer_count;
    struct query_remote remote;
    int64_t start_ms, end_ms;  /* of the run at hand */
};

/* Finds the peers; peer_count is 1 when it stays here. */
void scatter_init(struct scatter *s, const struct scatter_cfg *cfg, const struct query_opt *opt, struct source *src, struct promql_ast *ast);
void scatter_fini(struct scatter *s);
/* As query_run over the range given, divided where that pays (a range_run_fn of cached_run.h). */
int scatter_run(void *scatter, int64_t start_ms, int64_t end_ms, struct query_result *ret, struct err *err);
