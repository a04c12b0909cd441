/* api.c - who asks, whether it may, and how answers and errors look. */
#include "querier/api.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* --- answers --- */

static void respond(struct api_request *r, int status, struct buf *out)
{
    http_reply_buf(r->http, status, HTTP_TYPE_JSON, out);
    r->http = NULL;
}

void api_reply_error(struct api_request *r, const struct err *err)
{
    static const struct {
        int rc, status;
        const char *type;
    } kinds[] = {
        {RC_INVALID, 400, "bad_data"},        {RC_EXECUTION, 422, "execution"},
        {RC_LIMIT, 422, "execution"},         {RC_NOMEM, 422, "execution"},
        {RC_TIMEOUT, 503, "timeout"},         {RC_CANCELED, 499, "canceled"},
        {RC_UNAVAILABLE, 503, "unavailable"}, {RC_RATE, 429, "too_many_requests"},
        {RC_NOT_FOUND, 404, "not_found"},
    };
    int status = 500;
    const char *type = "internal";
    char text[ERR_TEXT_MAX + 64];
    struct buf out;

    snprintf(text, sizeof text, "%s", err_text(err));
    /* Every arena of a request has this budget. */
    if (err->rc == RC_NOMEM && r->limits && r->limits->query_memory)
        snprintf(text, sizeof text, "%s (limit: %llu bytes, query_memory)", err_text(err),
                 (unsigned long long)r->limits->query_memory);
    else if (err->rc == RC_TIMEOUT && r->timeout_ms)
        snprintf(text, sizeof text, "%s (limit: %lld ms, %s)", err_text(err), (long long)r->timeout_ms,
                 r->timeout_ms == r->limits->query_timeout_ms ? "query_timeout" : "timeout");
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (kinds[i].rc == err->rc) {
            status = kinds[i].status;
            type = kinds[i].type;
        }
    metric_inc(metric_with(r->q->m_failures, type, NULL));
    if (status >= 500 && err->rc != RC_TIMEOUT)
        log_limited(r->q->deps.log, LOG_WARN, "request failed", "route",
                    http_route_pattern(r->http), "tenant", r->tenant_text, "err", err_log(err));
    buf_init(&out, sizeof text * 8);
    json_error(&out, type, str_of(text));
    respond(r, status, &out);
    buf_fini(&out);
}

void api_reply(struct api_request *r, struct buf *out)
{
    struct err err;

    if (buf_ok(out)) {
        respond(r, 200, out);
    } else {
        err_set(&err, RC_EXECUTION, "the answer is larger than %d bytes", API_ANSWER_BYTES_MAX);
        api_reply_error(r, &err);
    }
    buf_fini(out);
}

void api_begin(struct buf *out)
{
    buf_init(out, API_ANSWER_BYTES_MAX);
    buf_z(out, "{\"status\":\"success\",\"data\":");
}

void api_end(struct api_request *r, struct buf *out, bool truncated)
{
    if (truncated)
        buf_z(out, ",\"warnings\":[\"results truncated due to limit\"]");
    buf_char(out, '}');
    api_reply(r, out);
}

void api_deadline(struct api_request *r, int64_t timeout_ms, int64_t *ret_mono_ns)
{
    if (timeout_ms <= 0)
        timeout_ms = 2 * 60000;
    r->timeout_ms = MIN(timeout_ms, (int64_t)24 * 3600 * 1000);
    *ret_mono_ns = r->begun_ns + r->timeout_ms * 1000000;
}

void api_count_fetched(struct querier *q, const struct fetch_used *used)
{
    metric_add(q->m_series, used->series);
    metric_add(q->m_chunks, used->chunks);
    metric_add(q->m_bytes, used->bytes);
    metric_add(q->m_windows, used->windows_fetched);
    metric_add(q->m_conflicts, used->conflicts);
}

void api_count_memory(struct querier *q, const struct arena *a)
{
    uint64_t old = atomic_load(&q->peak);

    while (a->peak > old && !atomic_compare_exchange_weak(&q->peak, &old, a->peak))
        ;
    metric_set(q->m_peak, (double)atomic_load(&q->peak));
}

/* --- rates --- */

static double rate_of(const struct limits *l, enum api_class class)
{
    switch (class) {
    case API_QUERY:
    case API_READ:
        return l->query_request_rate;
    case API_OTHER:
    case API_NOW:
        return l->other_request_rate;
    default:
        return l->label_request_rate;
    }
}

/* Limits are per tenant over all queriers. */
static double queriers(const struct querier *q)
{
    struct ring *ring = q->deps.ring(q->deps.ring_arg);
    size_t n = ring ? ring_count(ring, RING_QUERIER) : 1;

    ring_unref(ring);
    return (double)MAX(n, (size_t)1);
}

static bool rate_ok(struct querier *q, struct str tenant, const struct limits *l,
                    enum api_class class)
{
    double rate = rate_of(l, class);
    struct query_tenant *t;
    bool ok;

    if (rate <= 0)
        return true;
    rate /= queriers(q);
    mutex_lock(&q->tenants_lock);
    HASH_FIND(hh, q->tenants, tenant.p, tenant.n, t);
    if (!t && HASH_COUNT(q->tenants) < QUERIER_TENANTS_MAX) {
        t = xcalloc(1, sizeof *t);
        t->id = str_dupz(tenant);
        t->id_len = tenant.n;
        HASH_ADD_KEYPTR(hh, q->tenants, t->id, t->id_len, t);
    }
    ok =
        t && rate_take(&t->rates[class], rate, MAX(ceil(rate), 1), clock_mono_ns(q->deps.clock), 1);
    mutex_unlock(&q->tenants_lock);
    return ok;
}

void tenants_free(struct querier *q)
{
    struct query_tenant *t, *tmp;

    HASH_ITER(hh, q->tenants, t, tmp)
    {
        HASH_DEL(q->tenants, t);
        free(t->id);
        free(t);
    }
}

/* --- entering --- */

static int by_tenant(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* a|b|c, each valid, without repetitions. */
static int tenants_parse(struct api_request *r, struct err *err)
{
    struct str rest = str_of(r->tenant_text);
    size_t n = 0;

    for (;;) {
        size_t bar = str_find(rest, '|');
        int rc;

        if (r->tenant_count == TENANT_FEDERATION_MAX)
            return err_set(err, RC_INVALID, "more than %d tenants in one query",
                           TENANT_FEDERATION_MAX);
        r->tenants[r->tenant_count] = str_sub(rest, 0, bar);
        rc = tenant_id_check(r->tenants[r->tenant_count++], err);
        if (rc < 0)
            return rc;
        if (bar == rest.n)
            break;
        rest = str_skip(rest, bar + 1);
    }
    qsort(r->tenants, r->tenant_count, sizeof r->tenants[0], by_tenant);
    for (size_t i = 0; i < r->tenant_count; i++)
        if (n == 0 || !str_eq(r->tenants[n - 1], r->tenants[i]))
            r->tenants[n++] = r->tenants[i];
    r->tenant_count = n;
    return 0;
}

static void tenant_find(struct api_request *r)
{
    struct str id = http_path_param(r->http, "id");

    r->workspace = id.p != NULL;
    if (!id.p && r->q->cfg.tenancy)
        id = http_header(r->http, "X-Scope-OrgID");
    r->tenant_text = id.p ? str_dupz(id) : xstrdup(TENANT_DEFAULT);
}

static void request_free(struct api_request *r)
{
    ASSERT(!r->http);
    free(r->tenant_text);
    free(r);
}

static bool over(const struct queue_job *job)
{
    const struct api_request *r = CONTAINER_OF(job, const struct api_request, job);

    return atomic_load(http_cancel_flag(r->http)) ||
           clock_mono_ns(r->q->deps.clock) - r->queued_ns > r->q->cfg.waiting_ms * 1000000;
}

static void drop(struct queue_job *job)
{
    struct api_request *r = CONTAINER_OF(job, struct api_request, job);
    struct err err;

    if (atomic_load(http_cancel_flag(r->http)))
        err_set(&err, RC_CANCELED, "query was canceled in query queue");
    else
        err_set(&err, RC_TIMEOUT,
                "query timed out in query queue (limit: %lld ms, querier.max-waiting-time)",
                (long long)r->q->cfg.waiting_ms);
    api_reply_error(r, &err);
    request_free(r);
}

static void run(struct queue_job *job)
{
    struct api_request *r = CONTAINER_OF(job, struct api_request, job);

    if (over(job)) {
        drop(job);
        return;
    }
    r->begun_ns = clock_mono_ns(r->q->deps.clock);
    r->endpoint->handle(r);
    request_free(r);
}

void api_enter(void *route, struct http_req *req)
{
    const struct api_route *ar = route;
    struct api_request *r = xcalloc(1, sizeof *r);
    struct querier *q = ar->q;
    struct err err;
    int rc;

    *r = (struct api_request){.job = {.run = run, .over = over, .drop = drop},
                              .q = q,
                              .endpoint = ar->endpoint,
                              .http = req,
                              .queued_ns = clock_mono_ns(q->deps.clock)};
    tenant_find(r);
    rc = tenants_parse(r, &err);
    if (rc == 0) {
        r->limits = limits_of(q->deps.overrides, r->tenants[0]);
        if (!rate_ok(q, r->tenants[0], r->limits, r->endpoint->class)) {
            metric_inc(q->m_rated);
            http_reply(r->http, 429, HTTP_TYPE_JSON, STR("{\"message\":\"Rate exceeded\"}"));
            r->http = NULL;
            request_free(r);
            return;
        }
        if (r->endpoint->class == API_NOW) {
            run(&r->job);
            return;
        }
        rc = queue_submit(q->queue, r->tenants[0], (size_t)r->limits->max_query_concurrency,
                          &r->job, &err);
    }
    if (rc < 0) {
        api_reply_error(r, &err);
        request_free(r);
    }
}
