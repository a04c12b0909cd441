#include "querier/querier.h"

#include "common/model/duration.h"
#include "common/obs/memory.h"
#include "querier/api.h"
#include "querier/queries.h"
#include "tsdb/block.h"

#include <stdlib.h>
#include <unistd.h>

#define AT(field) offsetof(struct querier_cfg, field)
const struct option querier_options[] = {
    {"querier.helper-threads", OPT_INT, AT(helpers), .def = "-1", .min = "-1", .max = "1024",
     .doc = "Threads that queries of this process may take, all together, to decode and evaluate "
            "series beside their own; -1: one less than there are cores."},
    {"querier.max-concurrent", OPT_INT, AT(workers), .def = "32", .min = "1", .max = "1024",
     .doc = "Requests that run at once in this process."},
    {"querier.max-waiting", OPT_INT, AT(waiting_max), .def = "10000", .min = "1", .max = "1000000",
     .doc = "Requests that wait for a worker; more are answered 503."},
    {"querier.max-waiting-per-tenant", OPT_INT, AT(tenant_waiting_max), .def = "400", .min = "1",
     .max = "1000000", .doc = "Requests of one tenant that wait; more are answered 429."},
    {"querier.max-waiting-time", OPT_DURATION, AT(waiting_ms), .def = "30s", .min = "100ms",
     .max = "10m", .doc = "Longest time that a request waits for a worker; then it is answered 503."},
    {"querier.hedge-after", OPT_DURATION, AT(hedge_ms), .def = "2s", .min = "10ms", .max = "1m",
     .doc = "Silence of an ingester after which others are asked in its place."},
    {"querier.lookback-delta", OPT_DURATION, AT(lookback_ms), .def = "5m", .min = "1s", .max = "1d",
     .doc = "How old the newest sample of a series may be to count as its value."},
    {"querier.index-refresh", OPT_DURATION, AT(index_refresh_ms), .def = "5s", .min = "100ms",
     .max = "5m", .doc = "How often block indexes of tenants in use are read in the background."},
    {"querier.max-open-blocks", OPT_INT, AT(blocks_open_max), .def = "2000", .min = "1",
     .max = "1000000", .doc = "Block readers that are kept open."},
    {"querier.results-cache-bytes", OPT_BYTES, AT(results_cache_bytes), .def = "256MiB",
     .doc = "Memory for results of range queries, of steps that no accepted sample can change any "
            "more; 0: none. nocache=1 passes it by."},
    {"querier.shards", OPT_INT, AT(scatter.shards_max), .def = "16", .min = "1", .max = "64",
     .doc = "Queriers that share one heavy query, each a part of its series or of its range; 1: none do."},
    {"querier.shard-min-samples", OPT_INT, AT(scatter.samples_min), .def = "5000000", .min = "0",
     .doc = "Samples of blocks that a query must have in its range to be shared."},
    {"querier.split-interval", OPT_DURATION, AT(scatter.split_ms), .def = "1d", .min = "0", .max = "31d",
     .doc = "Shared range queries longer than this are divided into parts of it; 0: never."},
    {"querier.admin-api", OPT_BOOL, AT(admin_api), .def = "true",
     .doc = "Take deletions of series and snapshots (admin/tsdb/delete_series, clean_tombstones, snapshot); false answers 503."},
    {"querier.slow-query-threshold", OPT_DURATION, AT(slow_query_ms), .def = "10s", .max = "1h",
     .doc = "Queries that take longer, waiting included, are written to the log with their text; 0: none."},
    {"querier.trace-enabled", OPT_BOOL, AT(tracing), .def = "true",
     .doc = "Answer trace=1 with a tree of where the time of a query went; it names processes and zones."},
    {0},
};

#define API(path)                                                                                  \
    {                                                                                              \
        "/prometheus/api/v1" path, "/api/v1" path, "/workspaces/{id}/api/v1" path                  \
    }
static const struct api_endpoint endpoints[] = {
    {API("/query"), HTTP_M_GET | HTTP_M_POST, API_QUERY, api_query},
    {API("/query_range"), HTTP_M_GET | HTTP_M_POST, API_QUERY, api_query_range},
    {API("/series"), HTTP_M_GET | HTTP_M_POST, API_SERIES, api_series},
    {API("/labels"), HTTP_M_GET | HTTP_M_POST, API_LABELS, api_labels},
    {API("/label/{name}/values"), HTTP_M_GET, API_LABELS, api_label_values},
    {API("/metadata"), HTTP_M_GET, API_METADATA, api_metadata},
    {API("/format_query"), HTTP_M_GET | HTTP_M_POST, API_OTHER, api_format_query},
    {API("/parse_query"), HTTP_M_GET | HTTP_M_POST, API_OTHER, api_parse_query},
    {API("/read"), HTTP_M_POST, API_READ, api_read},
    {API("/query_exemplars"), HTTP_M_GET | HTTP_M_POST, API_OTHER, api_query_exemplars},
    {API("/rules"), HTTP_M_GET, API_OTHER, api_rules},
    {API("/alerts"), HTTP_M_GET, API_OTHER, api_alerts},
    {API("/status/config"), HTTP_M_GET, API_OTHER, api_status_config},
    {API("/status/flags"), HTTP_M_GET, API_OTHER, api_status_flags},
    {API("/status/runtimeinfo"), HTTP_M_GET, API_OTHER, api_status_runtimeinfo},
    {API("/explain"), HTTP_M_GET | HTTP_M_POST, API_OTHER, api_explain},
    {API("/status/tsdb"), HTTP_M_GET, API_OTHER, api_status_tsdb},
    {API("/status/active_queries"), HTTP_M_GET, API_NOW, api_active_queries},
    {API("/status/active_queries/cancel"), HTTP_M_POST, API_NOW, api_cancel_query},
    {API("/admin/tsdb/delete_series"), HTTP_M_POST | HTTP_M_PUT, API_OTHER, api_delete_series},
    {API("/admin/tsdb/clean_tombstones"), HTTP_M_POST | HTTP_M_PUT, API_OTHER, api_clean_tombstones},
    {API("/admin/tsdb/tombstones"), HTTP_M_GET, API_OTHER, api_tombstones},
    {API("/admin/tsdb/snapshot"), HTTP_M_POST | HTTP_M_PUT, API_OTHER, api_snapshot},
    {API("/admin/tsdb/snapshots"), HTTP_M_GET, API_OTHER, api_snapshots},
    {API("/admin/tsdb/snapshot"), HTTP_M_DELETE, API_OTHER, api_snapshot_remove},
    {API("/status/top_queries"), HTTP_M_GET, API_NOW, api_top_queries},
    {API("/user_limits"), HTTP_M_GET, API_NOW, api_user_limits},
    {API("/cardinality/label_names"), HTTP_M_GET | HTTP_M_POST, API_OTHER, api_cardinality_names},
    {API("/cardinality/label_values"), HTTP_M_GET | HTTP_M_POST, API_OTHER, api_cardinality_values},
    {API("/cardinality/active_series"), HTTP_M_GET | HTTP_M_POST, API_OTHER, api_active_series},
};
_Static_assert(ARRAY_LEN(endpoints) * 3 <= API_ROUTES_MAX, "every route has its argument");

static void metrics_make(struct querier *q)
{
    static const int retried[] = {RC_STALE, RC_MOVED, RC_NOT_FOUND}; /* there from the start: a rate needs a zero before the first */
    struct metrics *m = q->deps.metrics;

    q->m_seconds = metrics_histogram(m, "torc_querier_query_seconds",
                                     "Duration of queries that were answered, waiting included.");
    q->m_series = metrics_counter(m, "torc_querier_fetched_series_total",
                                  "Series fetched from ingesters and blocks.");
    q->m_chunks = metrics_counter(m, "torc_querier_fetched_chunks_total", "Chunks fetched.");
    q->m_bytes = metrics_counter(m, "torc_querier_fetched_bytes_total",
                                 "Bytes of pages and chunks fetched.");
    q->m_windows = metrics_counter(m, "torc_querier_fetched_windows_total",
                                   "Windows fetched because replicas differed.");
    q->m_conflicts = metrics_counter(m, "torc_querier_conflicts_total",
                                     "Timestamps for which replicas held different values.");
    q->m_fragments = metrics_counter(m, "torc_querier_fragments_total", "Parts of other queriers' queries that were evaluated here.");
    q->m_rated = metrics_counter(m, "torc_querier_rate_limited_total",
                                 "Requests refused for a tenant's rate.");
    q->env.retries = metrics_family(m, METRIC_COUNTER, "torc_querier_retries_total",
                                    "Selects begun again with a fresh index and ring, by reason.",
                                    (const char *const[]){"reason", NULL});
    for (size_t i = 0; i < ARRAY_LEN(retried); i++)
        metric_with(q->env.retries, rc_name(retried[i]), NULL);
    q->m_peak = metrics_gauge(m, "torc_querier_query_memory_peak_bytes",
                              "Memory of the query that held most since the start (limit: query_memory).");
    q->m_processed = metrics_family(m, METRIC_COUNTER, "torc_querier_samples_processed_total",
                                    "Samples processed by queries that were answered (QSP).",
                                    (const char *const[]){"user", NULL});
    q->m_failures = metrics_family(m, METRIC_COUNTER, "torc_querier_failures_total",
                                   "Requests that failed, by type of error.",
                                   (const char *const[]){"type", NULL});
}

int querier_new(const struct querier_cfg *cfg, const struct querier_deps *deps,
                struct querier **ret, UNUSED struct err *err)
{
    struct querier *q = xcalloc(1, sizeof *q);
    struct blocks_cfg blocks = {
        .bucket = deps->bucket,
        .clock = deps->clock,
        .log = deps->log,
        .metrics = deps->metrics,
        .readers_max = cfg->blocks_open_max,
        .refresh_ms = cfg->index_refresh_ms,
    };

    q->cfg = *cfg;
    q->deps = *deps;
    q->helpers =
        (int)(cfg->helpers >= 0 ? cfg->helpers : MAX(sysconf(_SC_NPROCESSORS_ONLN), 1L) - 1);
    q->started_wall_ms = clock_wall_ms(deps->clock);
    mutex_init(&q->tenants_lock);
    q->blocks = blocks_new(&blocks);
    q->env = (struct source_env){
        .blocks = q->blocks,
        .rpc = deps->rpc,
        .clock = deps->clock,
        .ring = deps->ring,
        .ring_arg = deps->ring_arg,
        .hedge_ms = cfg->hedge_ms,
        .overrides = deps->overrides,
    };
    metrics_make(q);
    q->active = active_new();
    q->results = result_cache_new(cfg->results_cache_bytes, deps->metrics);
    q->queue = queue_new(&(struct queue_cfg){
        .workers = (int)cfg->workers,
        .waiting_max = (size_t)cfg->waiting_max,
        .tenant_waiting_max = (size_t)cfg->tenant_waiting_max,
        .metrics = deps->metrics,
    });
    *ret = q;
    return 0;
}

void querier_routes(struct querier *q, struct http_server *http)
{
    for (size_t i = 0; i < ARRAY_LEN(endpoints); i++)
        for (size_t k = 0; k < ARRAY_LEN(endpoints[i].patterns); k++) {
            struct api_route *ar = &q->routes[q->route_count++];
            bool form = endpoints[i].class != API_READ, now = endpoints[i].class == API_NOW, admin = strstr(endpoints[i].patterns[k], "/admin/") != NULL;

            *ar = (struct api_route){q, &endpoints[i]};
            http_route(http,
                       &(struct http_route){endpoints[i].patterns[k], endpoints[i].methods,
                                            (form ? HTTP_FORM : 0) | (now ? HTTP_BLOCKING : 0) | (admin ? HTTP_CONFIRM : 0),
                                            form ? API_BODY_BYTES_MAX : READ_BODY_BYTES_MAX,
                                            NULL, api_enter, ar});
        }
    http_route(http, &(struct http_route){"/querier/blocks", HTTP_M_GET, HTTP_BLOCKING, 0, NULL,
                                          page_blocks, q});
}

static void on_fragment(void *querier, struct rpc_call *call)
{
    struct querier *q = querier;
    struct fragment_env env = {&q->env, &q->helpers};
    struct fetch_used used;
    struct err err;
    struct buf out;

    buf_init(&out, RPC_MESSAGE_BYTES_MAX);
    if (fragment_answer(&env, rpc_call_payload(call), rpc_call_canceled(call), &out, &used, &err) == 0)
        rpc_reply_buf(call, RC_OK, &out);
    else
        rpc_reply_err(call, &err);
    api_count_fetched(q, &used);
    metric_inc(q->m_fragments);
    buf_fini(&out);
}

/* On an I/O thread, so that it is answered while fragments have all workers: what it does takes some milliseconds at most. */
static void on_queries(void *querier, struct rpc_call *call)
{
    struct querier *q = querier;
    struct err err;
    struct buf out;

    buf_init(&out, RPC_MESSAGE_BYTES_MAX);
    if (queries_answer(q->active, q->deps.clock, rpc_call_payload(call), &out, &err) == 0)
        rpc_reply_buf(call, RC_OK, &out);
    else
        rpc_reply_err(call, &err);
    buf_fini(&out);
}

void querier_handle(struct querier *q, struct rpc_server *srv)
{
    rpc_server_handle(srv, RPC_QUERIES, on_queries, q);
    rpc_server_handle_slow(srv, RPC_FRAGMENT, on_fragment, q);
}

int querier_start(struct querier *q, UNUSED struct err *err)
{
    blocks_start(q->blocks);
    return 0;
}

void querier_free(struct querier *q)
{
    if (!q)
        return;
    queue_free(q->queue);
    active_free(q->active);
    result_cache_free(q->results);
    blocks_free(q->blocks);
    tenants_free(q);
    mutex_fini(&q->tenants_lock);
    free(q);
}

void querier_memory(struct querier *q, struct memory_account *a)
{
    memory_add(a, (struct str){0}, MEMORY_RESULT_CACHE, result_cache_bytes(q->results));
    blocks_memory(q->blocks, a);
    active_memory(q->active, a);
}
