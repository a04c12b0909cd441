/* querier.h - answers queries: the Prometheus HTTP API over recent samples in the ingesters and
 * older ones in blocks (design D8). Routes, all under /prometheus/api/v1, /api/v1 and
 * /workspaces/{id}/api/v1: query, query_range, series, labels, label/{name}/values, metadata,
 * format_query, parse_query, query_exemplars, rules, alerts, status/{config,flags,runtimeinfo}, user_limits,
 * cardinality/{label_names,label_values,active_series},
 * admin/tsdb/{delete_series,clean_tombstones,tombstones,snapshot,snapshots}; and /querier/blocks. The tenant is the workspace of the path, or X-Scope-OrgID when tenancy is on
 * (a|b: several, whose series get __tenant_id__). Requests wait in a queue that is fair by tenant;
 * each runs on one worker with an arena of its own. Life: querier_new, querier_routes,
 * querier_start; querier_free once the HTTP server has drained. */
#pragma once
#include "common/config/config.h"
#include "common/config/limits.h"
#include "common/http/http.h"
#include "common/obs/log.h"
#include "common/obs/metrics.h"
#include "common/rpc/rpc.h"
#include "common/sys/clock.h"
#include "ring/ring.h"
#include "tsdb/bucket.h"

/* When a query is shared among queriers (scatter.h). */
struct scatter_cfg {
    int64_t shards_max;  /* queriers that share one query; 1 or less: none do */
    int64_t samples_min; /* of blocks, that a query must read */
    int64_t split_ms;    /* ranges longer than this are divided into parts of it; 0: never */
};

enum { QUERIER_TENANTS_MAX = 200000 };

struct querier_cfg {
    int64_t workers; /* requests that run at once in this process */
    int64_t helpers; /* threads that those may take beside their own, all together; -1: one less
                        than cores */
    int64_t waiting_max, tenant_waiting_max;
    int64_t waiting_ms; /* longest time in the queue */
    int64_t hedge_ms; /* silence of an ingester after which others are asked too */
    int64_t lookback_ms;
    int64_t index_refresh_ms;
    int64_t blocks_open_max;
    bool admin_api; /* deletions are taken */
    bool tracing; /* trace=1 is answered */
    int64_t slow_query_ms; /* slower ones are written to the log; 0: none */
    uint64_t results_cache_bytes;
    struct scatter_cfg scatter;
    bool tenancy; /* false: X-Scope-OrgID is not read (paths still name a workspace) */
};
extern const struct option querier_options[]; /* all but tenancy, which other roles share */

struct querier_deps {
    const struct clock *clock;
    struct log *log;
    struct metrics *metrics;
    struct overrides *overrides;
    struct rpc_client *rpc;
    struct ring *(*ring)(void *arg); /* with a reference; NULL: not joined yet */
    void *ring_arg;
    struct bucket *bucket; /* NULL: no blocks */
    const struct config *config; /* of the process, for status pages; NULL: none is shown */
    const char *instance_id;     /* of the process, borrowed; lists of queries name it */
};

struct querier;
int querier_new(const struct querier_cfg *cfg, const struct querier_deps *deps,
                struct querier **ret, struct err *err);
void querier_routes(struct querier *q, struct http_server *http);
void querier_handle(struct querier *q, struct rpc_server *srv); /* what other queriers ask */
int querier_start(struct querier *q, struct err *err);
void querier_free(struct querier *q); /* NULL is fine */
struct memory_account;
void querier_memory(struct querier *q, struct memory_account *a);
