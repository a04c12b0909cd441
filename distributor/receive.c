/* receive.c - the HTTP side of a push: who, how large, which encoding; then parse, limit, replicate; and the answer. */
#include "common/model/duration.h"
#include "common/model/tenant.h"
#include "distributor/distributor_impl.h"

#include <stdio.h>
#include <stdlib.h>

struct push *push_ref(struct push *p)
{
    atomic_fetch_add(&p->refs, 1);
    return p;
}

static void push_free(struct push *p)
{
    for (uint32_t i = 0; i < p->target_count; i++) {
        struct push_target *t = &p->targets[i];

        if (t->batch && t->batch != &p->shared) {
            push_batch_fini(t->batch);
            free(t->batch);
        }
        free(t->row_map);
        free(t->series_sent);
        free(t->address);
        free(t->instance);
    }
    free(p->targets);
    push_batch_fini(&p->shared);
    ring_unref(p->ring);
    free(p->series);
    free(p->rows);
    free(p->starts);
    free(p->hists);
    free(p->exemplars);
    free(p->metadata);
    free(p->points);
    buf_fini(&p->body);
    buf_fini(&p->errors);
    arena_fini(&p->arena);
    mutex_fini(&p->lock);
    atomic_fetch_sub(&p->d->in_flight_bytes, p->charged);
    atomic_fetch_sub(&p->d->in_flight_requests, 1);
    free(p);
}

void push_unref(struct push *p)
{
    if (atomic_fetch_sub(&p->refs, 1) == 1)
        push_free(p);
}

/* --- answers --- */

void push_written_headers(const struct push_written *w, struct http_resp *r)
{
    char text[32];

    snprintf(text, sizeof text, "%llu", (unsigned long long)w->samples);
    http_resp_header(r, "X-Prometheus-Remote-Write-Samples-Written", text);
    snprintf(text, sizeof text, "%llu", (unsigned long long)w->histograms);
    http_resp_header(r, "X-Prometheus-Remote-Write-Histograms-Written", text);
    snprintf(text, sizeof text, "%llu", (unsigned long long)w->exemplars);
    http_resp_header(r, "X-Prometheus-Remote-Write-Exemplars-Written", text);
}

static void written_headers(struct push *p, struct http_resp *r)
{
    struct push_written w;

    push_written(p, &w);
    push_written_headers(&w, r);
}

static void reply(struct push *p, int status, struct str text)
{
    struct http_resp *r;

    if (!p->http)
        return; /* nobody asked: a fill */
    if (status >= 400)
        metric_inc(p->d->m_requests_rejected);
    if (p->otlp) {
        p->http = NULL;
        otlp_push_done(p, status, text);
        return;
    }
    r = http_resp_new(status);
    if (p->content.v2)
        written_headers(p, r);
    if (status == 503 || status == 429)
        dist_retry_after(p->d, r);
    if (text.n)
        http_resp_text(r, HTTP_TYPE_TEXT, text);
    http_respond(p->http, r);
    p->http = NULL;
    dist_admit_answered(p->d, p->taken_ns, status == 503);
}

/* Refused by a quorum of owners, or by us. */
/* Some were refused for their rate alone: the same request may succeed later, and what is stored already is no error then. */
static bool late_refused(const struct push *p)
{
    for (uint32_t i = 0; i < p->quorum.rows; i++)
        if (p->quorum.refusals[i] >= p->quorum.need[i] && p->quorum.reason[i] == DISCARD_RATE_LIMITED)
            return true;
    return false;
}

static void reply_refused(struct push *p)
{
    struct buf text;
    uint32_t all = p->refused + p->row_count + p->hist_count, lost = p->refused + p->quorum.refused;

    if (p->otlp) { /* its answer counts data points */
        reply(p, late_refused(p) ? 429 : 400, buf_view(&p->errors));
        return;
    }
    buf_init(&text, PUSH_ERRORS_TEXT_MAX * 2);
    if (lost)
        buf_printf(&text, "%u of %u samples were not stored, the others are. The first reasons:\n", lost, all);
    else
        buf_printf(&text, "All %u samples were stored, but not all of the request is right. The first reasons:\n", all);
    buf_str(&text, buf_view(&p->errors));
    buf_char(&text, '\n');
    reply(p, late_refused(p) ? 429 : 400, buf_view(&text));
    buf_fini(&text);
}

static void count_refusals(struct push *p)
{
    for (uint32_t i = 0; i < p->quorum.rows; i++)
        if (p->quorum.refusals[i] >= p->quorum.need[i])
            metric_inc(metric_with(p->d->m_discarded, discard_text((enum discard_reason)p->quorum.reason[i]), p->tenant->id, NULL));
}

/* Every row that went to the ingesters is stored. */
static void reply_stored(struct push *p)
{
    if (p->content.v2 || p->otlp)
        push2_metadata_acked(p);
    if (p->refused || p->faults)
        reply_refused(p);
    else
        reply(p, p->success_status, (struct str){0});
}

void push_answer(struct push *p)
{
    struct buf text;

    if (!p->http)
        return;
    switch (quorum_state(&p->quorum)) {
    case QUORUM_OPEN:
        return;
    case QUORUM_WRITTEN:
        reply_stored(p);
        return;
    case QUORUM_REFUSED:
        count_refusals(p);
        if (p->content.v2 || p->otlp)
            push2_metadata_acked(p);
        reply_refused(p);
        return;
    case QUORUM_FAILED:
        buf_init(&text, 1024);
        buf_printf(&text, "%u of %u samples did not reach a quorum of their ingesters; nothing is wrong with the request, send it again\n",
                   p->quorum.failed, p->quorum.rows);
        reply(p, 503, buf_view(&text));
        buf_fini(&text);
        return;
    }
}

static void reply_error(struct push *p, const struct err *err)
{
    int status = err->rc == RC_UNAVAILABLE || err->rc == RC_NOMEM || err->rc == RC_INTERNAL ? 503 : err->rc == RC_RATE ? 429 : err->rc == RC_LIMIT ? 413
               : err->rc == RC_UNSUPPORTED                                                                                                     ? 415
                                                                                                                                              : 400;
    struct buf text;

    buf_init(&text, ERR_TEXT_MAX + 2);
    buf_printf(&text, "%s\n", err_text(err));
    reply(p, status, buf_view(&text));
    buf_fini(&text);
}

/* --- judging the request --- */

struct str dist_request_tenant(const struct distributor *d, const struct http_req *req)
{
    struct str id = http_path_param(req, "id");

    if (id.p)
        return id;
    id = http_header(req, "X-Scope-OrgID");
    return d->cfg.tenancy && id.p ? id : STR(TENANT_DEFAULT);
}

int push_charge(void *arg, size_t bytes, struct err *err)
{
    struct push *p = arg;

    p->charged += bytes;
    if (atomic_fetch_add(&p->d->in_flight_bytes, bytes) + bytes > p->d->cfg.in_flight_bytes)
        return err_set(err, RC_UNAVAILABLE, "too many bytes in flight in this distributor, limit %llu (distributor.max-inflight-bytes)",
                       (unsigned long long)p->d->cfg.in_flight_bytes);
    return 0;
}

void push_uncharge(struct push *p, size_t bytes)
{
    ASSERT(p->charged >= bytes);
    p->charged -= bytes;
    atomic_fetch_sub(&p->d->in_flight_bytes, bytes);
}

static int inflate_body(struct push *p, struct str body, struct err *err)
{
    struct body_budget budget = {.inflated_max = (size_t)p->limits->max_request_inflated_size, .charge = push_charge, .arg = p};

    return body_inflate(p->content.encoding, body, &budget, &p->body, err);
}

static double share(const struct distributor *d, double limit)
{
    uint32_t n = d->deps.distributors ? d->deps.distributors(d->deps.ring_arg) : 1;

    return limit / MAX(n, 1u);
}

static int requests_take(struct push *p, struct err *err)
{
    bool fits;

    if (p->limits->request_rate <= 0)
        return 0;
    mutex_lock(&p->tenant->rate_lock);
    fits = rate_take(&p->tenant->requests, share(p->d, p->limits->request_rate), MAX((double)p->limits->request_burst_size, 1),
                     clock_mono_ns(p->d->deps.clock), 1);
    mutex_unlock(&p->tenant->rate_lock);
    return fits ? 0 : err_set(err, RC_RATE, "{\"message\":\"Rate exceeded\"}");
}

/* The whole batch or nothing (IN-013). */
static int samples_take(struct push *p, struct err *err)
{
    uint32_t samples = p->row_count + p->hist_count;
    struct buf text;
    bool fits;

    if (p->limits->ingestion_rate <= 0)
        return 0;
    mutex_lock(&p->tenant->rate_lock);
    fits = rate_take(&p->tenant->samples, share(p->d, p->limits->ingestion_rate), (double)p->limits->ingestion_burst_size,
                     clock_mono_ns(p->d->deps.clock), samples + p->metadata_count);
    mutex_unlock(&p->tenant->rate_lock);
    if (fits)
        return 0;
    metric_add(metric_with(p->d->m_discarded, discard_text(DISCARD_RATE_LIMITED), p->tenant->id, NULL), samples);
    buf_init(&text, 64);
    float_print_plain(&text, p->limits->ingestion_rate);
    err_set(err, RC_RATE, "ingestion rate limit (%.*s) exceeded while adding %u samples and %u metadata", STR_FMT(text), samples, p->metadata_count);
    buf_fini(&text);
    return RC_RATE;
}

int push_store(struct push *p, struct err *err)
{
    int rc;

    p->ring = p->d->deps.ring(p->d->deps.ring_arg);
    if (!p->ring)
        return err_set(err, RC_UNAVAILABLE, "the ring is not known yet");
    dist_ring_seen(p->d, ring_epoch(p->ring));
    p->ack_epoch = atomic_load(&p->d->ack_epoch);
    push_ha_begin(p);
    rc = p->content.v2 ? push2_parse(p, err) : push_parse(p, err);
    if (rc == 0)
        push_ha_end(p);
    if (rc == 0)
        rc = samples_take(p, err);
    if (rc < 0)
        return rc;
    metric_add(p->d->m_received, p->row_count + p->hist_count);
    if (p->row_count + p->hist_count == 0 && p->ha.samples + p->ha.histograms > 0)
        p->success_status = 202; /* as Mimir answers a standby */
    if (p->row_count + p->hist_count + p->metadata_count == 0) {
        reply_stored(p);
        return 0;
    }
    return push_replicate(p, err);
}

static int push_run(struct push *p, struct err *err)
{
    int rc = content_negotiate(http_header(p->http, "Content-Type"), http_header(p->http, "Content-Encoding"), &p->content, err);

    if (rc == 0)
        rc = requests_take(p, err);
    if (rc == 0)
        rc = inflate_body(p, http_body(p->http), err);
    return rc < 0 ? rc : push_store(p, err);
}

/* Replies, and says so, to a request that nobody waits for any more. */
static bool push_canceled(struct push *p)
{
    if (!atomic_load(http_cancel_flag(p->http)))
        return false;
    reply(p, 503, STR("canceled: the client has left, or this process is shutting down\n"));
    return true;
}

/* On a worker: server threads only read and write sockets, so that refusals, /ready and /metrics do not stand behind work. */
static void push_work(void *arg)
{
    struct push *p = arg;
    struct err err;

    if (!push_canceled(p) && push_run(p, &err) < 0)
        reply_error(p, &err);
    push_unref(p);
}

enum { PUSH_ARENA_FACTOR = 8 };

struct push *push_new(struct distributor *d, struct dist_tenant *tenant, struct http_req *req)
{
    struct push *p = xcalloc(1, sizeof *p);

    p->d = d;
    p->tenant = tenant;
    p->limits = limits_of(d->deps.overrides, str_n(tenant->id, tenant->id_len));
    p->http = req;
    p->success_status = req && http_path_param(req, "id").p ? 200 : 204;
    atomic_store(&p->refs, 1);
    mutex_init(&p->lock);
    /* Parsed labels, exemplars and histograms of a body: a small multiple of its size. */
    arena_init(&p->arena, ((size_t)p->limits->max_request_inflated_size + (1 << 20)) * PUSH_ARENA_FACTOR);
    buf_init(&p->errors, PUSH_ERRORS_TEXT_MAX);
    atomic_fetch_add(&d->in_flight_requests, 1);
    return p;
}

/* Hands p to the workers. */
static void push_submit(struct push *p, void (*work)(void *p))
{
    bool queued = pool_submit(p->d->workers, work, p);

    ASSERT(queued); /* it holds what admission takes */
}

void push_handle(void *arg, struct http_req *req)
{
    struct distributor *d = arg;
    struct dist_tenant *tenant;
    struct push *p;
    struct err err;
    int64_t taken_ns;

    if (!dist_admit_take(d, req, false, &taken_ns))
        return;
    if (dist_tenant_get(d, dist_request_tenant(d, req), &tenant, &err) < 0) {
        http_reply_text(req, err.rc == RC_UNAVAILABLE ? 503 : 400, "%s", err_text(&err));
        dist_admit_answered(d, taken_ns, false);
        return;
    }
    p = push_new(d, tenant, req);
    p->taken_ns = taken_ns;
    push_submit(p, push_work);
}

/* --- OTLP: a request may become several pushes --- */

static void parts_store(struct push *first, struct otlp_push *otlp, struct http_req *req)
{
    while (otlp_push_more(otlp)) {
        struct push *p = push_new(first->d, first->tenant, req);
        struct err err;

        otlp_push_next(otlp, first, p);
        otlp_push_add(otlp, p);
        if (push_store(p, &err) < 0)
            reply_error(p, &err);
        push_unref(p);
    }
}

/* Of a request that cannot be read to its end nothing is stored. */
static void otlp_run(struct push *p)
{
    struct otlp_push *otlp = p->otlp;
    struct http_req *req = p->http;
    struct err err;
    int rc = requests_take(p, &err);

    if (rc == 0)
        rc = otlp_push_open(p, &err);
    if (rc < 0) {
        reply_error(p, &err);
        return;
    }
    if (push_store(p, &err) < 0)
        reply_error(p, &err);
    parts_store(p, otlp, req);
}

/* On a worker, as push_work; with a hold on its otlp_push. */
static void otlp_work(void *arg)
{
    struct push *p = arg;
    struct otlp_push *otlp = p->otlp;

    if (!push_canceled(p))
        otlp_run(p);
    otlp_push_release(otlp);
    push_unref(p);
}

void push_handle_otlp(void *arg, struct http_req *req)
{
    struct distributor *d = arg;
    struct dist_tenant *tenant;
    struct otlp_push *otlp;
    struct push *p;
    struct err err;
    int64_t taken_ns;

    if (!dist_admit_take(d, req, true, &taken_ns))
        return;
    otlp = otlp_push_new(d, taken_ns, req);
    if (dist_tenant_get(d, dist_request_tenant(d, req), &tenant, &err) < 0) {
        otlp_push_fail(otlp, err.rc == RC_UNAVAILABLE ? 503 : 400, str_of(err_text(&err)));
        return;
    }
    p = push_new(d, tenant, req);
    otlp_push_add(otlp, p);
    push_submit(p, otlp_work);
}
