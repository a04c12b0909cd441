/* One request on its way: libmicrohttpd's callbacks, from the request line to the last byte of the
 * answer. */
#include "common/http/http_impl.h"
#include "common/base/rng.h"
#include "common/http/confirm.h"
#include "common/sys/clock.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const method_names[] = {"GET",  "POST",    "PUT",  "DELETE",
                                           "HEAD", "OPTIONS", "other"};

/* Of this thread; for identities, not for secrets. */
static uint64_t random_u64(void)
{
    static _Thread_local struct rng rng;
    static _Thread_local bool seeded;

    if (!seeded) {
        uint64_t seed;

        random_bytes(&seed, sizeof seed);
        rng_init(&rng, seed);
        seeded = true;
    }
    return rng_u64(&rng);
}

static void request_id_make(char id[40])
{
    uint64_t a = (random_u64() & ~0xf000ULL) | 0x4000; /* version 4, variant 1 (RFC 9562) */
    uint64_t b = (random_u64() & ~(3ULL << 62)) | 2ULL << 62;

    snprintf(id, 40, "%08x-%04x-%04x-%04x-%012llx", (unsigned)(a >> 32),
             (unsigned)(a >> 16 & 0xffff), (unsigned)(a & 0xffff), (unsigned)(b >> 48),
             (unsigned long long)(b & 0xffffffffffffULL));
}

/* The first word of a request: its line is complete, its headers are not. */
void *exchange_on_uri(void *arg, const char *uri, struct MHD_Connection *mhd)
{
    struct http_conn *c = conn_of(mhd);
    struct http_req *req = xcalloc(1, sizeof *req);

    ASSERT(c && !c->req);
    req->server = arg;
    req->conn = c;
    req->mhd = mhd;
    req->uri = xstrdup(uri);
    arena_init(&req->arena, HTTP_REQ_MEMORY_MAX);
    buf_init(&req->body, 0);
    mutex_init(&req->lock);
    request_id_make(req->id);
    c->req = req;
    if (atomic_load(&c->phase) == CONN_IDLE)
        conn_phase_set(c, CONN_HEADERS);
    atomic_store(&c->cancel, false);
    atomic_store(&c->body_bytes, 0);
    return NULL;
}

static void body_free(struct http_req *req)
{
    atomic_fetch_sub(&req->server->bodies_bytes, req->charged);
    req->charged = 0;
    buf_fini(&req->body);
}

void req_free(struct http_req *req)
{
    http_resp_free(req->resp);
    http_resp_free(req->guard_no);
    body_free(req);
    arena_fini(&req->arena);
    mutex_fini(&req->lock);
    free(req->uri);
    free(req);
}

/* The answer is known before the body: what is left of it is dropped, so that the connection can go
 * on. */
static void refuse(struct http_req *req, struct http_resp *resp)
{
    if (req->resp)
        http_resp_free(req->resp);
    req->resp = resp;
    req->state = REQ_ANSWERED;
    req->discarding = true;
}

static enum MHD_Result queue_answer(struct http_req *req)
{
    struct MHD_Response *m;
    enum MHD_Result ok;

    if (!req->resp)
        return MHD_NO; /* already queued: libmicrohttpd is stopping and has dropped it */
    req->status = resp_status(req->resp);
    m = resp_make(req, req->resp);
    http_resp_free(req->resp);
    req->resp = NULL;
    if (!m)
        return MHD_NO;
    conn_phase_set(req->conn, CONN_SENDING);
    ok = MHD_queue_response(req->mhd, (unsigned)req->status, m);
    MHD_destroy_response(m);
    return ok;
}

/* Answers at once; libmicrohttpd then closes, because the request was not read to its end. */
static enum MHD_Result refuse_and_close(struct http_req *req, struct http_resp *resp)
{
    http_resp_header(resp, "Connection", "close");
    refuse(req, resp);
    return queue_answer(req);
}

static struct http_resp *method_not_allowed(unsigned allowed)
{
    struct http_resp *r = resp_text(405, "method not allowed");
    struct buf list;

    buf_init(&list, 256);
    for (int i = 0; i < HTTP_METHOD_COUNT; i++)
        if (allowed & (1u << i))
            buf_printf(&list, "%s%s", list.n ? ", " : "", method_names[i]);
    buf_char(&list, '\0');
    http_resp_header(r, "Allow", list.p);
    buf_fini(&list);
    return r;
}

/* Finds the route; on failure the answer to give. */
static struct http_resp *find_route(struct http_req *req)
{
    struct err err = {0};
    unsigned allowed;

    req->route = route_find(req->server, req->path, req->method, req->path_params, &allowed);
    if (!req->route && !atomic_load(&req->server->routed))
        return resp_text(503, "starting");
    if (!req->route)
        return allowed ? method_not_allowed(allowed) : resp_text(404, "404 page not found");
    if (req_path_params_decode(req, &err) < 0)
        return resp_text(400, "%s", err_text(&err));
    return NULL;
}

static uint64_t content_length(const struct http_req *req)
{
    struct str text = http_header(req, "Content-Length");
    uint64_t n = 0;

    for (size_t i = 0; i < text.n; i++) /* digits only, at most 18: req_check() */
        n = n * 10 + (uint64_t)(text.p[i] - '0');
    return n;
}

static struct http_resp *too_large(const struct http_req *req)
{
    return resp_text(413, "request body is larger than %zu bytes", req->body_limit);
}

/* Nothing is wrong with the request. */
static struct http_resp *busy(const char *text)
{
    struct http_resp *r = resp_text(503, "%s", text);

    http_resp_header(r, "Retry-After", "1");
    return r;
}

/* What the route says of the body; no: the answer that is known already. */
static enum MHD_Result begin_body(struct http_req *req, struct http_resp *no)
{
    const struct http_route *route;

    if (!no) {
        route = &req->route->route;
        req->body_limit =
            route->body_limit ? route->body_limit(route->arg, req, &no) : route->body_bytes_max;
    }
    if (!no) {
        req->body.max = req->body_limit;
        if (content_length(req) > req->body_limit)
            no = too_large(req);
        else
            buf_reserve(&req->body, MIN(content_length(req), (uint64_t)1 << 20));
    }
    if (no && content_length(req) > HTTP_DISCARD_BYTES_MAX)
        return refuse_and_close(req, no);
    if (no)
        refuse(req, no);
    conn_phase_set(req->conn, CONN_BODY);
    return MHD_YES;
}

/* On the guard's thread. Once the connection is resumed req belongs to the server's. */
static void run_guard(void *arg)
{
    struct http_req *req = arg;
    struct http_server *s = req->server;
    struct MHD_Connection *mhd = req->mhd;
    struct http_resp *no = s->guard.slow(s->guard.arg, req);

    mutex_lock(&req->lock);
    req->guard_no = no;
    req->guard = GUARD_ANSWERED;
    mutex_unlock(&req->lock);
    MHD_resume_connection(mhd);
    mutex_lock(&s->conns_lock);
    s->guarded--;
    cond_broadcast(&s->conns_changed);
    mutex_unlock(&s->conns_lock);
}

/* Takes the connection out of the event loop until the guard has decided. */
static enum MHD_Result guard_wait(struct http_req *req)
{
    struct http_server *s = req->server;
    bool waits;

    mutex_lock(&s->conns_lock);
    waits = !s->closing;
    s->guarded += waits;
    mutex_unlock(&s->conns_lock);
    if (!waits)
        return begin_body(req, busy("shutting down"));
    mutex_lock(&req->lock); /* it cannot be resumed before it is suspended */
    waits = pool_submit(s->guard_pool, run_guard, req);
    if (waits) {
        req->guard = GUARD_WAITING;
        conn_phase_set(req->conn, CONN_HANDLING);
        MHD_suspend_connection(req->mhd);
    }
    mutex_unlock(&req->lock);
    if (waits)
        return MHD_YES;
    mutex_lock(&s->conns_lock);
    s->guarded--;
    cond_broadcast(&s->conns_changed);
    mutex_unlock(&s->conns_lock);
    return begin_body(req, busy("too many passwords are being checked"));
}

/* The guard has decided. */
static enum MHD_Result guard_over(struct http_req *req)
{
    struct http_resp *no;

    mutex_lock(&req->lock);
    no = req->guard_no;
    req->guard_no = NULL;
    req->guard = GUARD_OVER;
    mutex_unlock(&req->lock);
    return begin_body(req, no);
}

/* What the headers alone decide. */
static enum MHD_Result begin(struct http_req *req, const char *method, const char *version)
{
    struct http_resp *no = NULL;
    struct err err = {0};
    int rc;

    req->begun = true;
    req->received_ns = clock_mono_ns(clock_system());
    req->method = method_of(method);
    rc = req_check(req, method, version, &err);
    if (rc < 0) {
        server_closed(req->server, "bad_request");
        return refuse_and_close(req, resp_text(rc == RC_LIMIT ? 431 : 400, "%s", err_text(&err)));
    }
    if (!traceparent_parse(http_header(req, "traceparent"), &req->trace))
        traceparent_begin(random_u64(), random_u64(), &req->trace);
    if (strcmp(version, "HTTP/1.0") == 0 && http_header(req, "Transfer-Encoding").p)
        return refuse_and_close(req, resp_text(400, "HTTP/1.0 has no Transfer-Encoding"));
    if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0)
        return refuse_and_close(req, resp_text(505, "HTTP/1.0 and HTTP/1.1 are spoken here"));
    no = find_route(req);
    if (!no && req->server->tls && req->route->role != HTTP_ROLE_OPEN && !http_tls_client_ok(req->server->tls, req->mhd, req->conn))
        no = resp_text(403, "a client certificate that is signed, valid and for clients is wanted (server.tls-client-ca-file)");
    if (!no && req->server->guard.quick) {
        enum http_guard_answer answer = req->server->guard.quick(req->server->guard.arg, req, &no);

        if (answer == HTTP_GUARD_LATER)
            return guard_wait(req);
    }
    return begin_body(req, no);
}

/* Once refused the body is only dropped, and not for ever. */
static enum MHD_Result take_body(struct http_req *req, struct str part)
{
    uint64_t all;

    atomic_fetch_add(&req->conn->body_bytes, part.n);
    if (!req->discarding && part.n > req->body_limit - req->body.n)
        refuse(req, too_large(req));
    if (!req->discarding) {
        all = atomic_fetch_add(&req->server->bodies_bytes, part.n) + part.n;
        req->charged += part.n;
        if (all > req->server->cfg.bodies_bytes_max)
            refuse(req, busy("too many bytes in requests at this moment (server.http-bodies-bytes)"));
    }
    if (req->discarding) {
        req->discarded += part.n;
        body_free(req);
        return req->discarded > HTTP_DISCARD_BYTES_MAX ? MHD_NO : MHD_YES;
    }
    buf_str(&req->body, part);
    if (!buf_ok(&req->body))
        refuse(req, busy("out of memory"));
    return MHD_YES;
}

static void run_handler(void *arg)
{
    struct http_req *req = arg;

    req->route->route.handle(req->route->route.arg, req);
}

static bool is_always(const struct http_req *req)
{
    return req->route && (req->route->route.flags & HTTP_ALWAYS);
}

static struct http_load *load_of(const struct http_req *req)
{
    return is_always(req) ? &req->server->always : &req->server->work;
}

/* Counts the request as in flight; false when its handler must not begin. */
static bool admit(struct http_req *req)
{
    struct http_server *s = req->server;
    bool ok;

    mutex_lock(&s->conns_lock);
    load_of(req)->in_flight++;
    ok = req->state == REQ_READING && !s->closing && (is_always(req) || !atomic_load(&s->draining));
    load_of(req)->unanswered += ok;
    mutex_unlock(&s->conns_lock);
    if (req->route && req->route->inflight)
        metric_add_f64(req->route->inflight, 1);
    return ok;
}

static bool is_change(const struct http_req *req)
{
    return req->route && (req->route->route.flags & HTTP_CONFIRM) && req->method != HTTP_GET &&
           req->method != HTTP_HEAD;
}

static struct http_resp *not_confirmed(void)
{
    return resp_text(403, "not confirmed: a browser must send the form that this process gave it within the last hour "
                          "(it may have been another process, or an earlier start); other clients send the header "
                          HTTP_CONFIRM_HEADER ": yes");
}

/* The whole request is here. */
static void dispatch(struct http_req *req)
{
    struct err err = {0};
    int status = 400;

    req->dispatched = true;
    if (!req->discarding && req_params_parse(req, &status, &err) < 0)
        refuse(req, resp_text(status, "%s", err_text(&err)));
    if (!req->discarding && is_change(req) && !req_confirmed(req))
        refuse(req, not_confirmed());
    if (!admit(req)) {
        if (req->state == REQ_READING)
            refuse(req, busy("shutting down"));
        return;
    }
    req->state = REQ_RUNNING;
    conn_phase_set(req->conn, CONN_HANDLING);
    if (!(req->route->route.flags & HTTP_BLOCKING))
        run_handler(req);
    else if (!pool_submit(req->server->pool, run_handler, req))
        http_respond(req, busy("too many requests are waiting (server.http-worker-queue)"));
}

/* Queues the answer, or takes the connection out of the event loop until there is one. */
static enum MHD_Result answer_or_wait(struct http_req *req)
{
    bool answered;

    mutex_lock(&req->lock);
    answered = req->state == REQ_ANSWERED;
    if (!answered) {
        req->state = REQ_SUSPENDED;
        MHD_suspend_connection(req->mhd);
    }
    mutex_unlock(&req->lock);
    return answered ? queue_answer(req) : MHD_YES;
}

void http_respond(struct http_req *req, struct http_resp *r)
{
    struct http_server *s = req->server;
    struct http_load *load = load_of(req);
    struct MHD_Connection *mhd = req->mhd;
    bool suspended;

    resp_prepare(req, r);
    mutex_lock(&req->lock);
    ASSERT(req->state == REQ_RUNNING || req->state == REQ_SUSPENDED);
    req->resp = r;
    suspended = req->state == REQ_SUSPENDED;
    req->state = REQ_ANSWERED;
    mutex_unlock(&req->lock);
    /* The server's thread may free req from here on, or, when it is suspended, from its resumption on: it does so
     * without asking for the answer when the client has left. */
    if (suspended)
        MHD_resume_connection(mhd);
    mutex_lock(&s->conns_lock);
    load->unanswered--;
    cond_broadcast(&s->conns_changed);
    mutex_unlock(&s->conns_lock);
}

enum MHD_Result exchange_on_access(UNUSED void *arg, struct MHD_Connection *mhd,
                                   UNUSED const char *url, const char *method, const char *version,
                                   const char *upload, size_t *upload_n, UNUSED void **con_cls)
{
    struct http_conn *c = conn_of(mhd);
    struct http_req *req = c->req;
    struct str part;

    if (!req)
        return MHD_NO;
    if (!req->begun)
        return begin(req, method, version);
    if (req->guard == GUARD_ANSWERED) {
        enum MHD_Result ok = guard_over(req);

        if (*upload_n == 0 || ok == MHD_NO)
            return ok; /* libmicrohttpd repeats the call that was suspended */
    }
    if (*upload_n) {
        part = str_n(upload, *upload_n);
        *upload_n = 0;
        return take_body(req, part);
    }
    if (!req->dispatched)
        dispatch(req);
    return answer_or_wait(req);
}

/* What was done is written in full; what was refused is anybody's to send. */
static void audit(struct http_server *s, const struct http_req *req, const char *status)
{
    if (req->status == 401 || req->status == 403)
        log_limited(s->log, LOG_WARN, "admin call refused", "method", method_names[req->method], "route",
                    http_route_pattern(req), "client", req->conn->address, "request_id", req->id, "trace_id",
                 req->trace.trace_id);
    else
        log_info(s->log, "admin call", "method", method_names[req->method], "route", http_route_pattern(req), "path",
                 req->uri, "status", status, "user", http_user(req), "client", req->conn->address, "request_id", req->id, "trace_id",
                 req->trace.trace_id);
}

static void account(struct http_server *s, struct http_req *req)
{
    double seconds = (double)(clock_mono_ns(clock_system()) - req->received_ns) / 1e9;
    char status[16];

    snprintf(status, sizeof status, "%d",
             req->status ? req->status : 499); /* 499: the client left first */
    if (s->duration && req->begun)
        metric_observe(metric_with(s->duration, method_names[req->method], http_route_pattern(req),
                                   status, NULL),
                       seconds);
    if (is_change(req))
        audit(s, req, status);
    if (req->status >= 500)
        log_limited(s->log, LOG_WARN, "request failed", "method", method_names[req->method],
                    "route", http_route_pattern(req), "status", status, "seconds", log_f64(seconds),
                    "client", req->conn->address, "request_id", req->id, "trace_id",
                 req->trace.trace_id);
}

void exchange_on_completed(void *arg, struct MHD_Connection *mhd, UNUSED void **con_cls,
                           UNUSED enum MHD_RequestTerminationCode why)
{
    struct http_server *s = arg;
    struct http_conn *c = conn_of(mhd);
    struct http_req *req = c ? c->req : NULL;

    if (!req)
        return;
    account(s, req);
    if (req->dispatched && req->route && req->route->inflight)
        metric_add_f64(req->route->inflight, -1);
    if (req->dispatched) {
        mutex_lock(&s->conns_lock);
        load_of(req)->in_flight--;
        cond_broadcast(&s->conns_changed);
        mutex_unlock(&s->conns_lock);
    }
    c->req = NULL;
    req_free(req);
    conn_phase_set(c, CONN_IDLE);
}
