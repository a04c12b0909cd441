/* admit.c - the edge of admission.h: its clock and lock, its metrics, and what the refused are told. */
#include "common/sys/clock.h"
#include "distributor/distributor_impl.h"
#include "distributor/otlp_push.h"

#include <stdio.h>

static const char *const verdict_reasons[ADMISSION_VERDICTS] = {
    [ADMISSION_REFUSED_REQUESTS] = "requests",
    [ADMISSION_REFUSED_WINDOW] = "window",
    [ADMISSION_REFUSED_WAITED] = "waited",
    [ADMISSION_REFUSED_BYTES] = "bytes",
};

void dist_admit_init(struct distributor *d)
{
    struct dist_admit *a = &d->admit;
    struct metrics *m = d->deps.metrics;
    uint64_t seed;

    mutex_init(&a->lock);
    random_bytes(&seed, sizeof seed);
    rng_init(&a->rng, seed);
    admission_init(&a->admission, &(struct admission_cfg){d->cfg.in_flight_requests, d->cfg.target_delay_ms * 1000000}, clock_mono_ns(d->deps.clock));
    a->m_taken = metrics_counter(m, "torc_distributor_admitted_requests_total", "Pushes that were taken.");
    a->m_refused = metrics_family(m, METRIC_COUNTER, "torc_distributor_refused_requests_total",
                                  "Pushes that were refused with 503 before any work: too many in flight (requests, bytes), more than can be answered in time (window), "
                                  "too long in a socket (waited).",
                                  (const char *const[]){"reason", NULL});
    a->m_window = metrics_gauge(m, "torc_distributor_admission_window",
                                "Pushes that may be in flight now, so that no queue delays them by more than distributor.target-delay.");
    a->m_in_flight = metrics_gauge(m, "torc_distributor_unanswered_requests", "Pushes that are taken and not answered.");
    a->m_wait = metrics_histogram(m, "torc_distributor_wait_seconds", "From a push's last byte until a server thread came to it.");
    a->m_service = metrics_histogram(m, "torc_distributor_service_seconds", "From taking a push to its answer.");
    for (int v = ADMISSION_TAKEN + 1; v < ADMISSION_VERDICTS; v++)
        metric_with(a->m_refused, verdict_reasons[v], NULL);
}

void dist_admit_fini(struct distributor *d)
{
    mutex_fini(&d->admit.lock);
}

void dist_admit_collect(struct distributor *d)
{
    struct dist_admit *a = &d->admit;

    mutex_lock(&a->lock);
    metric_set(a->m_window, a->admission.window);
    metric_set(a->m_in_flight, a->admission.in_flight);
    mutex_unlock(&a->lock);
}

void dist_retry_after(struct distributor *d, struct http_resp *r)
{
    struct dist_admit *a = &d->admit;
    char seconds[16];

    mutex_lock(&a->lock);
    snprintf(seconds, sizeof seconds, "%u", admission_retry_after_s(&a->admission, clock_mono_ns(d->deps.clock), &a->rng));
    mutex_unlock(&a->lock);
    http_resp_header(r, "Retry-After", seconds);
}

static bool is_v2(const struct http_req *req)
{
    struct push_content content;
    struct err err;

    return content_negotiate(http_header(req, "Content-Type"), http_header(req, "Content-Encoding"), &content, &err) == 0 && content.v2;
}

static struct http_resp *refusal(struct distributor *d, const struct http_req *req, bool otlp, enum admission_verdict v, int64_t waited_ns, uint32_t window)
{
    struct http_resp *r;
    char text[256];
    int n;

    if (v == ADMISSION_REFUSED_REQUESTS)
        n = snprintf(text, sizeof text, "overloaded: as many pushes are in flight in this distributor as may be, limit %u (distributor.max-inflight-requests)",
                     d->cfg.in_flight_requests);
    else if (v == ADMISSION_REFUSED_WINDOW)
        n = snprintf(text, sizeof text, "overloaded: more than the %u pushes in flight would wait longer than %lld ms (distributor.target-delay)", window,
                     (long long)d->cfg.target_delay_ms);
    else if (v == ADMISSION_REFUSED_BYTES)
        n = snprintf(text, sizeof text, "overloaded: pushes of %llu bytes are in flight in this distributor (distributor.max-inflight-bytes)",
                     (unsigned long long)d->cfg.in_flight_bytes);
    else
        n = snprintf(text, sizeof text, "overloaded: this push lay in its socket for %lld ms, limit %lld ms (distributor.target-delay)",
                     (long long)(waited_ns / 1000000), (long long)d->cfg.target_delay_ms);
    if (otlp) {
        r = otlp_status(otlp_wants_json(req), 503, str_n(text, (size_t)n));
    } else {
        r = http_resp_new(503);
        http_resp_text(r, HTTP_TYPE_TEXT, str_n(text, (size_t)n));
        if (is_v2(req))
            push_written_headers(&(struct push_written){0}, r);
    }
    dist_retry_after(d, r);
    metric_inc(metric_with(d->admit.m_refused, verdict_reasons[v], NULL));
    metric_inc(d->m_requests_rejected);
    return r;
}

struct http_resp *dist_admit_refuse(struct distributor *d, const struct http_req *req, bool otlp)
{
    struct dist_admit *a = &d->admit;
    int64_t waited_ns = http_waited_ns(req);
    enum admission_verdict v;
    uint32_t window;

    mutex_lock(&a->lock);
    v = admission_judge(&a->admission, clock_mono_ns(d->deps.clock), waited_ns);
    window = a->admission.window;
    mutex_unlock(&a->lock);
    if (v == ADMISSION_TAKEN && atomic_load(&d->in_flight_bytes) >= d->cfg.in_flight_bytes)
        v = ADMISSION_REFUSED_BYTES;
    return v == ADMISSION_TAKEN ? NULL : refusal(d, req, otlp, v, waited_ns, window);
}

bool dist_admit_take(struct distributor *d, struct http_req *req, bool otlp, int64_t *ret_taken_ns)
{
    struct dist_admit *a = &d->admit;
    int64_t waited_ns = http_waited_ns(req), now = clock_mono_ns(d->deps.clock);
    enum admission_verdict v;
    uint32_t window;

    mutex_lock(&a->lock);
    v = admission_take(&a->admission, now, waited_ns);
    window = a->admission.window;
    mutex_unlock(&a->lock);
    if (v != ADMISSION_TAKEN) {
        http_respond(req, refusal(d, req, otlp, v, waited_ns, window));
        return false;
    }
    metric_inc(a->m_taken);
    metric_observe(a->m_wait, (double)waited_ns * 1e-9);
    *ret_taken_ns = now;
    return true;
}

void dist_admit_answered(struct distributor *d, int64_t taken_ns, bool failed)
{
    struct dist_admit *a = &d->admit;
    int64_t now = clock_mono_ns(d->deps.clock);

    mutex_lock(&a->lock);
    admission_answered(&a->admission, now, taken_ns, failed);
    mutex_unlock(&a->lock);
    metric_observe(a->m_service, (double)(now - taken_ns) * 1e-9);
}
