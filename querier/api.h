/* api.h - what the files of the HTTP API share; nobody else includes it. */
#pragma once
#include "common/base/rate.h"
#include "common/sys/thread.h"
#include "querier/active.h"
#include "querier/fragment.h"
#include "querier/json.h"
#include "querier/querier.h"
#include "querier/queue.h"
#include "querier/result_cache.h"
#include "querier/source.h"

#include <uthash.h>

/* API_READ: its body is no form. API_NOW: answered at once, past the queue (on a thread of HTTP that may block), for those that look at what is in it. */
enum api_class { API_QUERY, API_READ, API_SERIES, API_LABELS, API_METADATA, API_OTHER, API_NOW, API_CLASSES };
enum {
    API_BODY_BYTES_MAX = 1 << 20,
    READ_BODY_BYTES_MAX = 32 << 20, /* of remote read, as sent and inflated */
    API_ROUTES_MAX = 128,
    API_ANSWER_BYTES_MAX = 256 << 20,
    API_NAME_BYTES_MAX = 4096,
    API_SELECTORS_MAX = 1000 /* match[] of one request */
};

struct api_request;
struct api_endpoint {
    const char *patterns[3];
    unsigned methods;
    enum api_class class;
    void (*handle)(struct api_request *r); /* on a worker; responds once */
};
struct api_route {
    struct querier *q;
    const struct api_endpoint *endpoint;
};

struct query_tenant {
    UT_hash_handle hh;
    char *id;
    size_t id_len;
    struct rate_bucket rates[API_CLASSES];
};

struct querier {
    struct querier_cfg cfg; /* --- fixed after new --- */
    struct querier_deps deps;
    struct blocks *blocks;
    struct source_env env;
    struct queue *queue; /* from start on */
    struct active *active;
    struct result_cache *results;
    struct api_route routes[API_ROUTES_MAX];
    size_t route_count;
    int64_t started_wall_ms;
    atomic_int helpers;        /* --- any thread: see query_opt --- */
    struct mutex tenants_lock; /* --- guards tenants --- */
    struct query_tenant *tenants;
    struct metric *m_seconds, *m_series, *m_chunks, *m_bytes, *m_windows, *m_conflicts, *m_rated, *m_fragments;
    struct metric_family *m_failures, *m_processed;
    struct metric *m_peak;
    _Atomic uint64_t peak; /* bytes of the query that held most */
};

/* One request, from the moment it is queued. */
struct api_request {
    struct queue_job job;
    struct querier *q;
    const struct api_endpoint *endpoint;
    struct http_req *http;
    const struct limits *limits; /* of the first tenant */
    char *tenant_text;           /* "a" or "a|b" */
    struct str tenants[TENANT_FEDERATION_MAX];
    size_t tenant_count;
    bool workspace; /* asked under /workspaces/ */
    int64_t queued_ns, begun_ns;
    int64_t timeout_ms; /* as api_deadline set it; 0: not yet */
};

/* --- api.c: entering and answering --- */
void api_enter(void *route, struct http_req *req);
/* 200 with the bytes of out (which is finished); 500 when they did not fit. */
void api_reply(struct api_request *r, struct buf *out);
void api_reply_error(struct api_request *r, const struct err *err);
/* {"status":"success","data":; the caller writes the data and calls api_end. */
void api_begin(struct buf *out);
/* Closes the object, with the warning about a limit when truncated. */
void api_end(struct api_request *r, struct buf *out, bool truncated);
void api_deadline(struct api_request *r, int64_t timeout_ms, int64_t *ret_mono_ns);
void api_count_fetched(struct querier *q, const struct fetch_used *used);
/* Of a query's arena, before it goes. */
void api_count_memory(struct querier *q, const struct arena *a);
void tenants_free(struct querier *q);

/* --- api_params.c: each error is worded as Prometheus words it --- */
/* err becomes `invalid parameter "name": ...` (RC_INVALID). */
int param_invalid(const char *name, struct err *err);
int param_time(const struct api_request *r, const char *name, int64_t *ret_ms,
               struct err *err); /* required */
/* ret_given may be NULL; when absent *ret_ms stays. */
int param_time_default(const struct api_request *r, const char *name, int64_t *ret_ms,
                       bool *ret_given, struct err *err);
int param_limit(const struct api_request *r, const char *name, size_t *ret, struct err *err);
int param_step(const struct api_request *r, int64_t *ret_ms, struct err *err); /* greater than zero */
int param_count(const struct api_request *r, const char *name, uint64_t *ret,
                struct err *err); /* 0 when absent */
/* start, end and the range limit of the metadata endpoints. */
struct api_range {
    int64_t mint_ms, maxt_ms;
};
int param_range(const struct api_request *r, struct api_range *ret, struct err *err);
int range_check(const struct api_request *r, int64_t start_ms, int64_t end_ms, struct err *err);
/* U__ escaped names (http-api.md section 3); the arena holds the result. RC_INVALID. */
int param_label_name(struct str in, struct arena *a, struct str *ret, struct err *err);
/* The selectors of match[]. */
struct api_selectors {
    struct promql_ast *v;
    size_t n;
};
int param_selectors(const struct api_request *r, struct arena *a, struct api_selectors *ret,
                    struct err *err);
void selectors_fini(struct api_selectors *s);

/* --- endpoints --- */
void api_query(struct api_request *r);
void api_query_range(struct api_request *r);
void api_series(struct api_request *r);
void api_labels(struct api_request *r);
void api_label_values(struct api_request *r);
void api_metadata(struct api_request *r);
void api_format_query(struct api_request *r);
void api_parse_query(struct api_request *r);
void api_query_exemplars(struct api_request *r);
void api_rules(struct api_request *r);
void api_alerts(struct api_request *r);
void api_status_config(struct api_request *r);
void api_status_flags(struct api_request *r);
void api_status_runtimeinfo(struct api_request *r);
void api_active_queries(struct api_request *r);
void api_read(struct api_request *r);
void api_explain(struct api_request *r);
void api_status_tsdb(struct api_request *r);
void api_top_queries(struct api_request *r);
void api_cancel_query(struct api_request *r);
void api_user_limits(struct api_request *r);
void api_cardinality_names(struct api_request *r);
void api_cardinality_values(struct api_request *r);
void api_active_series(struct api_request *r);
void api_delete_series(struct api_request *r);
void api_clean_tombstones(struct api_request *r);
void api_tombstones(struct api_request *r);
void api_snapshot(struct api_request *r);
void api_snapshots(struct api_request *r);
void api_snapshot_remove(struct api_request *r);

/* --- api_admin.c --- */
/* Whether deletions and snapshots are taken from this request. */
int api_admin_check(const struct api_request *r, struct err *err);
void api_reply_empty(struct api_request *r); /* 204 */

/* --- pages.c --- */
void page_blocks(void *querier, struct http_req *req);
