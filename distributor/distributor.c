#include "distributor/distributor.h"
#include "distributor/distributor_impl.h"

#include "common/obs/memory.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

const struct distributor_cfg distributor_cfg_default = {
    .push_timeout_ms = 5000,
    .series_cache_bytes = 256 << 20,
    .in_flight_bytes = 512 << 20,
    .lingering_bytes = 64 << 20,
    .in_flight_requests = 2000,
    .target_delay_ms = 100,
    .ha_update_ms = 15000,
    .ha_jitter_ms = 5000,
    .tenancy = true,
};

static void collect(void *arg)
{
    struct distributor *d = arg;
    struct dist_tenant *t, *tmp;
    size_t bytes = 0;

    pthread_rwlock_rdlock(&d->tenants_lock);
    HASH_ITER(hh, d->tenants, t, tmp) {
        series_cache_age(t->cache);
        bytes += series_cache_bytes(t->cache);
    }
    pthread_rwlock_unlock(&d->tenants_lock);
    metric_set(d->m_series_cache_bytes, (double)bytes);
    metric_set(d->m_in_flight, (double)atomic_load(&d->in_flight_requests));
    dist_admit_collect(d);
    dist_linger_collect(d);
}

static void metrics_make(struct distributor *d)
{
    struct metrics *m = d->deps.metrics;

    d->m_received = metrics_counter(m, "torc_distributor_received_samples_total", "Samples that passed validation and limits.");
    d->m_requests_rejected = metrics_counter(m, "torc_distributor_rejected_requests_total", "Push requests not answered with success.");
    d->m_labels_sent = metrics_counter(m, "torc_distributor_labels_sent_total", "Series whose labels were sent to an ingester; known ones travel without.");
    d->m_unknown = metrics_counter(m, "torc_distributor_unknown_rows_total", "Rows an ingester did not know and that were sent again with labels.");
    d->m_series_cache_bytes = metrics_gauge(m, "torc_distributor_series_cache_bytes", "Memory of the known-series caches.");
    d->m_in_flight = metrics_gauge(m, "torc_distributor_inflight_requests", "Push requests whose ingesters have not all answered.");
    d->m_discarded = metrics_family(m, METRIC_COUNTER, "torc_discarded_samples_total", "Samples not stored, by reason and tenant.",
                                    (const char *const[]){"reason", "user", NULL});
    d->m_non_ha = metrics_family(m, METRIC_COUNTER, "torc_distributor_non_ha_samples_received_total", "Samples without the labels of an HA pair, of tenants that accept such.",
                                 (const char *const[]){"user", NULL});
    d->m_acks = metrics_family(m, METRIC_COUNTER, "torc_distributor_ingester_answers_total", "Answers of ingesters to pushes, by outcome; skipped: not asked, too many bytes wait for it (distributor.max-lingering-bytes).",
                               (const char *const[]){"status", NULL});
    d->m_lingering = metrics_family(m, METRIC_GAUGE, "torc_distributor_lingering_bytes", "Bytes of answered pushes that wait for this ingester's answer.",
                                    (const char *const[]){"ingester", NULL});
    metrics_on_collect(m, collect, d);
}

static int workers_of(const struct distributor_cfg *cfg)
{
    return cfg->workers ? (int)cfg->workers : (int)MAX(sysconf(_SC_NPROCESSORS_ONLN), 2L);
}

int distributor_new(const struct distributor_cfg *cfg, const struct distributor_deps *deps, struct distributor **ret, UNUSED struct err *err)
{
    struct distributor *d = xcalloc(1, sizeof *d);

    d->cfg = *cfg;
    d->deps = *deps;
    pthread_rwlock_init(&d->tenants_lock, NULL);
    mutex_init(&d->heads_lock);
    d->metadata_seen = metadata_seen_new();
    dist_admit_init(d);
    metrics_make(d);
    d->ha = ha_tracker_new(&(struct ha_tracker_cfg){cfg->ha_update_ms, cfg->ha_jitter_ms},
                           &(struct ha_tracker_deps){deps->clock, deps->log, deps->metrics, deps->overrides, deps->kv, push_ha_fill, d});
    d->workers = pool_new("push", workers_of(cfg), (int)cfg->in_flight_requests);
    *ret = d;
    return 0;
}

enum { BODY_BYTES_MAX = 128 << 20 }; /* with the limit off */

static const struct limits *request_limits(struct distributor *d, const struct http_req *req)
{
    struct str id = http_path_param(req, "id");

    if (!id.p)
        id = http_header(req, "X-Scope-OrgID");
    return id.p ? limits_of(d->deps.overrides, id) : limits_default(d->deps.overrides);
}

static size_t as_sent_max(const struct limits *l)
{
    return l->max_request_body_size ? (size_t)l->max_request_body_size : BODY_BYTES_MAX;
}

static size_t body_limit(void *arg, const struct http_req *req, struct http_resp **ret_no)
{
    *ret_no = dist_admit_refuse(arg, req, false);
    return as_sent_max(request_limits(arg, req));
}

/* OTLP bodies may come as they are: those have the limit of inflated ones. */
static size_t body_limit_otlp(void *arg, const struct http_req *req, struct http_resp **ret_no)
{
    struct str encoding = http_header(req, "Content-Encoding");
    const struct limits *l = request_limits(arg, req);

    *ret_no = dist_admit_refuse(arg, req, true);
    if (encoding.p && !str_ieq(str_trim(encoding), STR("identity")))
        return as_sent_max(l);
    return l->max_request_inflated_size ? (size_t)l->max_request_inflated_size : BODY_BYTES_MAX;
}

static void ha_page(void *arg, struct http_req *req)
{
    enum { PAGE_BYTES_MAX = 64 << 20 };
    struct distributor *d = arg;
    bool html = http_wants_html(req);
    struct buf out;

    buf_init(&out, PAGE_BYTES_MAX);
    (html ? ha_tracker_write_html : ha_tracker_write_json)(d->ha, &out);
    http_reply_buf(req, buf_ok(&out) ? 200 : 500, html ? HTTP_TYPE_HTML : HTTP_TYPE_JSON, &out);
    buf_fini(&out);
}

static void otlp_routes(struct distributor *d, struct http_server *http)
{
    static const char *const patterns[] = {"/otlp/v1/metrics", "/api/v1/otlp/v1/metrics"};

    for (size_t i = 0; i < ARRAY_LEN(patterns); i++)
        http_route(http, &(struct http_route){
            .pattern = patterns[i],
            .methods = HTTP_M_POST,
            .body_limit = body_limit_otlp,
            .handle = push_handle_otlp,
            .arg = d,
        });
}

void distributor_routes(struct distributor *d, struct http_server *http)
{
    static const char *const patterns[] = {"/api/v1/push", "/api/v1/write", "/workspaces/{id}/api/v1/remote_write"};
    static const char *const user_stats[] = {"/api/v1/user_stats", "/prometheus/api/v1/user_stats", "/workspaces/{id}/api/v1/user_stats"};

    for (size_t i = 0; i < ARRAY_LEN(patterns); i++)
        http_route(http, &(struct http_route){
            .pattern = patterns[i],
            .methods = HTTP_M_POST,
            .body_limit = body_limit,
            .handle = push_handle,
            .arg = d,
        });
    otlp_routes(d, http);
    http_route(http, &(struct http_route){"/distributor/all_user_stats", HTTP_M_GET, HTTP_BLOCKING, 0, NULL, dist_page_all_user_stats, d});
    for (size_t i = 0; i < ARRAY_LEN(user_stats); i++)
        http_route(http, &(struct http_route){user_stats[i], HTTP_M_GET, HTTP_BLOCKING, 0, NULL, dist_page_user_stats, d});
    http_route(http, &(struct http_route){.pattern = "/distributor/ha_tracker", .methods = HTTP_M_GET, .handle = ha_page, .arg = d});
}

void distributor_memory(struct distributor *d, struct memory_account *a)
{
    struct dist_tenant *t, *tmp;

    pthread_rwlock_rdlock(&d->tenants_lock);
    HASH_ITER(hh, d->tenants, t, tmp) {
        memory_add(a, str_n(t->id, t->id_len), MEMORY_SERIES_CACHE, series_cache_bytes(t->cache));
        memory_add(a, str_n(t->id, t->id_len), MEMORY_TENANTS, heap_bytes(t) + heap_bytes(t->id));
    }
    memory_add(a, (struct str){0}, MEMORY_TENANTS, UTHASH_BYTES(hh, d->tenants));
    pthread_rwlock_unlock(&d->tenants_lock);
    memory_add(a, (struct str){0}, MEMORY_TENANTS, ha_tracker_memory(d->ha));
    memory_add(a, (struct str){0}, MEMORY_METADATA, metadata_seen_memory(d->metadata_seen));
    memory_add(a, (struct str){0}, MEMORY_PUSHES, atomic_load(&d->in_flight_bytes));
}

void distributor_drain(struct distributor *d, int64_t timeout_ms)
{
    int64_t until = clock_mono_ms(d->deps.clock) + timeout_ms;

    while (atomic_load(&d->in_flight_requests) && clock_mono_ms(d->deps.clock) < until)
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}

void distributor_free(struct distributor *d)
{
    if (!d)
        return;
    ha_tracker_free(d->ha); /* it pushes */
    pool_free(d->workers);
    dist_tenants_free(d);
    dist_heads_free(d);
    metadata_seen_free(d->metadata_seen);
    dist_admit_fini(d);
    pthread_rwlock_destroy(&d->tenants_lock);
    mutex_fini(&d->heads_lock);
    free(d);
}
