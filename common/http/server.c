#include "common/http/http_impl.h"
#include "common/base/rng.h"
#include "common/sys/clock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SEND_CANCELLED_MS = 500 }; /* for the answers of cancelled requests to leave */

const struct http_cfg http_cfg_default = {
    .address = "0.0.0.0",
    .port = 9009,
    .threads = 4,
    .workers = 4,
    .connections_max = 10000,
    .header_timeout_ms = 10000,
    .idle_timeout_ms = 120000,
    .body_grace_ms = 10000,
    .body_bytes_per_second = 1024,
    .bodies_bytes_max = 1 << 30,
    .blocking_queue_max = 1000,
    .gzip_level = 1,
};

static const char *const method_names[] = {"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "other"};

void server_closed(struct http_server *s, const char *reason)
{
    if (s->closed)
        metric_inc(metric_with(s->closed, reason, NULL));
}

/* The time first: the watcher reads the phase first, so that it never holds an old time against a new phase. */
void conn_phase_set(struct http_conn *c, enum conn_phase phase)
{
    atomic_store(&c->phase_ns, clock_mono_ns(clock_system()));
    atomic_store(&c->phase, (int)phase);
    atomic_fetch_add(&c->serial, 1);
}

/* --- connections --- */

static void address_print(const struct sockaddr *sa, char *out, size_t size)
{
    char text[INET6_ADDRSTRLEN] = "";

    if (sa && sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)sa;

        inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
        snprintf(out, size, "%s:%u", text, ntohs(in->sin_port));
    } else if (sa && sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)sa;

        inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof text);
        snprintf(out, size, "[%s]:%u", text, ntohs(in6->sin6_port));
    } else {
        snprintf(out, size, "unknown");
    }
}

static void conn_add(struct http_server *s, struct MHD_Connection *mhd, void **socket_context)
{
    const union MHD_ConnectionInfo *fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *sa = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct http_conn *c = xcalloc(1, sizeof *c);

    c->fd = fd->connect_fd;
    address_print(sa ? sa->client_addr : NULL, c->address, sizeof c->address);
    conn_phase_set(c, CONN_HEADERS);
    mutex_lock(&s->conns_lock);
    c->next = s->conns;
    if (c->next)
        c->next->prev = c;
    s->conns = c;
    mutex_unlock(&s->conns_lock);
    if (s->connections)
        metric_add_f64(s->connections, 1);
    *socket_context = c;
}

static void req_free(struct http_req *req);

static void conn_remove(struct http_server *s, struct http_conn *c)
{
    mutex_lock(&s->conns_lock);
    if (c->next)
        c->next->prev = c->prev;
    if (c->prev)
        c->prev->next = c->next;
    else
        s->conns = c->next;
    mutex_unlock(&s->conns_lock);
    if (s->connections)
        metric_add_f64(s->connections, -1);
    if (c->req)
        req_free(c->req);
    free(c);
}

/* libmicrohttpd calls this with CLOSED before it closes the socket, so a connection in the list has a live fd. */
static void on_connection(void *arg, struct MHD_Connection *mhd, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        conn_add(arg, mhd, socket_context);
    else if (*socket_context)
        conn_remove(arg, *socket_context);
}

static struct http_conn *conn_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info->socket_context;
}

/* --- requests --- */

static void request_id_make(char id[40])
{
    static _Thread_local struct rng rng;
    static _Thread_local bool seeded;
    uint64_t a, b;

    if (!seeded) {
        uint64_t seed;

        random_bytes(&seed, sizeof seed);
        rng_init(&rng, seed);
        seeded = true;
    }
    a = (rng_u64(&rng) & ~0xf000ULL) | 0x4000; /* version 4, variant 1 (RFC 9562) */
    b = (rng_u64(&rng) & ~(3ULL << 62)) | 2ULL << 62;
    snprintf(id, 40, "%08x-%04x-%04x-%04x-%012llx", (unsigned)(a >> 32), (unsigned)(a >> 16 & 0xffff),
             (unsigned)(a & 0xffff), (unsigned)(b >> 48), (unsigned long long)(b & 0xffffffffffffULL));
}

/* The first word of a request: its line is complete, its headers are not. */
static void *on_uri(void *arg, const char *uri, struct MHD_Connection *mhd)
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

static void req_free(struct http_req *req)
{
    http_resp_free(req->resp);
    body_free(req);
    arena_fini(&req->arena);
    mutex_fini(&req->lock);
    free(req->uri);
    free(req);
}

/* The answer is known before the body: what is left of it is dropped, so that the connection can go on. */
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

/* What the headers alone decide. */
static enum MHD_Result begin(struct http_req *req, const char *method, const char *version)
{
    const struct http_route *route;
    struct http_resp *no = NULL;
    struct err err = {0};
    int rc;

    req->begun = true;
    req->received_ns = clock_mono_ns(clock_system());
    req->method = method_of(method);
    req->head = req->method == HTTP_HEAD;
    rc = req_check(req, method, version, &err);
    if (rc < 0) {
        server_closed(req->server, "bad_request");
        return refuse_and_close(req, resp_text(rc == RC_LIMIT ? 431 : 400, "%s", err_text(&err)));
    }
    if (strcmp(version, "HTTP/1.0") == 0 && http_header(req, "Transfer-Encoding").p)
        return refuse_and_close(req, resp_text(400, "HTTP/1.0 has no Transfer-Encoding"));
    if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0)
        return refuse_and_close(req, resp_text(505, "HTTP/1.0 and HTTP/1.1 are spoken here"));
    no = find_route(req);
    if (!no) {
        route = &req->route->route;
        req->body_limit = route->body_limit ? route->body_limit(route->arg, req) : route->body_bytes_max;
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
            refuse(req, resp_text(503, "too many bytes in requests at this moment"));
    }
    if (req->discarding) {
        req->discarded += part.n;
        body_free(req);
        return req->discarded > HTTP_DISCARD_BYTES_MAX ? MHD_NO : MHD_YES;
    }
    buf_str(&req->body, part);
    if (!buf_ok(&req->body))
        refuse(req, resp_text(503, "out of memory"));
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

/* The whole request is here. */
static void dispatch(struct http_req *req)
{
    struct err err = {0};
    int status = 400;

    req->dispatched = true;
    if (!req->discarding && req_params_parse(req, &status, &err) < 0)
        refuse(req, resp_text(status, "%s", err_text(&err)));
    if (!admit(req)) {
        if (req->state == REQ_READING)
            refuse(req, resp_text(503, "shutting down"));
        return;
    }
    req->state = REQ_RUNNING;
    conn_phase_set(req->conn, CONN_HANDLING);
    if (!(req->route->route.flags & HTTP_BLOCKING))
        run_handler(req);
    else if (!pool_submit(req->server->pool, run_handler, req))
        http_respond(req, resp_text(503, "too many requests are waiting"));
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

    resp_prepare(req, r);
    mutex_lock(&req->lock);
    ASSERT(req->state == REQ_RUNNING || req->state == REQ_SUSPENDED);
    req->resp = r;
    if (req->state == REQ_SUSPENDED)
        MHD_resume_connection(req->mhd);
    req->state = REQ_ANSWERED;
    mutex_lock(&s->conns_lock);
    load_of(req)->unanswered--;
    cond_broadcast(&s->conns_changed);
    mutex_unlock(&s->conns_lock);
    mutex_unlock(&req->lock); /* from here the server's thread may free req */
}

static enum MHD_Result on_access(UNUSED void *arg, struct MHD_Connection *mhd, UNUSED const char *url, const char *method,
                                 const char *version, const char *upload, size_t *upload_n, UNUSED void **con_cls)
{
    struct http_conn *c = conn_of(mhd);
    struct http_req *req = c->req;
    struct str part;

    if (!req)
        return MHD_NO;
    if (!req->begun)
        return begin(req, method, version);
    if (*upload_n) {
        part = str_n(upload, *upload_n);
        *upload_n = 0;
        return take_body(req, part);
    }
    if (!req->dispatched)
        dispatch(req);
    return answer_or_wait(req);
}

static void account(struct http_server *s, struct http_req *req)
{
    double seconds = (double)(clock_mono_ns(clock_system()) - req->received_ns) / 1e9;
    char status[16];

    snprintf(status, sizeof status, "%d", req->status ? req->status : 499); /* 499: the client left first */
    if (s->duration && req->begun)
        metric_observe(metric_with(s->duration, method_names[req->method], http_route_pattern(req), status, NULL), seconds);
    if (req->status >= 500)
        log_limited(s->log, LOG_WARN, "request failed", "method", method_names[req->method], "route",
                    http_route_pattern(req), "status", status, "seconds", log_f64(seconds), "client", req->conn->address,
                    "request_id", req->id);
}

static void on_completed(void *arg, struct MHD_Connection *mhd, UNUSED void **con_cls,
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

/* --- the server --- */

int http_server_new(const struct http_cfg *cfg, const struct http_deps *deps, struct http_server **ret, struct err *err)
{
    static const char *const duration_labels[] = {"method", "route", "status_code", NULL};
    struct http_server *s;

    if (cfg->threads < 1 || cfg->workers < 1 || cfg->connections_max < cfg->threads || cfg->blocking_queue_max < 1)
        return err_set(err, RC_INVALID, "http: threads, workers, queue and connections must be positive");
    s = xcalloc(1, sizeof *s);
    s->cfg = *cfg;
    snprintf(s->address, sizeof s->address, "%s", cfg->address);
    s->cfg.address = s->address;
    s->log = deps->log;
    s->listen_fd = -1;
    mutex_init(&s->routes_lock);
    mutex_init(&s->conns_lock);
    cond_init(&s->conns_changed);
    cond_init(&s->watch_wake);
    if (deps->metrics) {
        s->duration = metrics_family(deps->metrics, METRIC_HISTOGRAM, "torc_request_duration_seconds",
                                     "Time from complete headers to the answer's last byte, in seconds.", duration_labels);
        s->inflight = metrics_family(deps->metrics, METRIC_GAUGE, "torc_inflight_requests", "Requests being worked on.",
                                     (const char *const[]){"route", NULL});
        s->closed = metrics_family(deps->metrics, METRIC_COUNTER, "torc_http_closed_total",
                                   "Connections that the server closed, by reason.", (const char *const[]){"reason", NULL});
        s->connections = metrics_gauge(deps->metrics, "torc_http_connections", "Open HTTP connections.");
        server_closed(s, "header_timeout");
    }
    *ret = s;
    return 0;
}

static int listen_on(struct http_server *s, struct err *err)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(s->cfg.port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(s->cfg.port)};
    struct sockaddr *sa = (struct sockaddr *)&in;
    socklen_t n = sizeof in;
    int on = 1, off = 0, fd;

    if (inet_pton(AF_INET, s->address, &in.sin_addr) != 1) {
        if (inet_pton(AF_INET6, s->address, &in6.sin6_addr) != 1)
            return err_set(err, RC_INVALID, "listen address \"%s\" is no IPv4 or IPv6 address", s->address);
        sa = (struct sockaddr *)&in6;
        n = sizeof in6;
    }
    fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_sys(err, RC_IO, "socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (sa->sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, sa, n) != 0 || listen(fd, 1024) != 0 || getsockname(fd, sa, &n) != 0) {
        int rc = err_sys(err, RC_IO, "listen on %s port %u", s->address, s->cfg.port);

        close(fd);
        return rc;
    }
    s->port = ntohs(sa == (struct sockaddr *)&in ? in.sin_port : in6.sin6_port);
    s->listen_fd = fd;
    return 0;
}

static void on_mhd_log(void *arg, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static void on_mhd_log(void *arg, const char *fmt, va_list ap)
{
    struct http_server *s = arg;
    char text[512];

    vsnprintf(text, sizeof text, fmt, ap);
    text[strcspn(text, "\n")] = '\0';
    log_limited(s->log, LOG_DEBUG, "libmicrohttpd", "text", text);
}

/* Paths and parameters are decoded by url.c, once. */
static size_t keep_escapes(UNUSED void *arg, UNUSED struct MHD_Connection *mhd, char *text)
{
    return strlen(text);
}

int http_server_start(struct http_server *s, struct err *err)
{
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    struct MHD_OptionItem pool[] = {{s->cfg.threads > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, s->cfg.threads, NULL},
                                    {MHD_OPTION_END, 0, NULL}};
    int rc = listen_on(s, err);

    if (rc < 0)
        return rc;
    if (strchr(s->address, ':'))
        flags |= MHD_USE_IPv6;
    s->pool = pool_new("http-worker", s->cfg.workers, s->cfg.blocking_queue_max);
    s->watcher = thread_start("http-watch", watch_main, s);
    s->watching = true;
    s->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_access, s, MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log, s, MHD_OPTION_LISTEN_SOCKET, s->listen_fd,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
        MHD_OPTION_URI_LOG_CALLBACK, on_uri, s, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)s->cfg.connections_max, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        (unsigned)s->cfg.connections_per_ip_max, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)((s->cfg.idle_timeout_ms + 999) / 1000),
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_HEADER_BYTES_MAX, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_ARRAY, pool, MHD_OPTION_END);
    if (!s->daemon)
        return err_set(err, RC_INTERNAL, "the HTTP server did not start");
    return 0;
}

uint16_t http_server_port(const struct http_server *s)
{
    return s->port;
}

static void cancel_all(struct http_server *s)
{
    for (struct http_conn *c = s->conns; c; c = c->next)
        atomic_store(&c->cancel, true);
}

static void wait_idle(struct http_server *s, const struct http_load *load, int64_t until_ms)
{
    int64_t left;

    while (load->in_flight > 0 && (left = until_ms - clock_mono_ms(clock_system())) > 0)
        cond_wait_ms(&s->conns_changed, &s->conns_lock, left);
}

/* Under conns_lock: until nothing is in flight or time is up, then, cancelled, until everything is answered. */
static void wait_out(struct http_server *s, const struct http_load *load, int64_t until_ms)
{
    wait_idle(s, load, until_ms);
    if (load->unanswered == 0)
        return;
    log_warn(s->log, "drain time is over, requests are cancelled", "requests", log_i64(load->unanswered));
    cancel_all(s);
    while (load->unanswered > 0)
        cond_wait(&s->conns_changed, &s->conns_lock);
    wait_idle(s, load, clock_mono_ms(clock_system()) + SEND_CANCELLED_MS);
}

void http_server_drain(struct http_server *s, int64_t drain_ms)
{
    mutex_lock(&s->conns_lock);
    atomic_store(&s->draining, true);
    wait_out(s, &s->work, clock_mono_ms(clock_system()) + drain_ms);
    mutex_unlock(&s->conns_lock);
}

void http_server_stop(struct http_server *s, int64_t drain_ms)
{
    int64_t until = clock_mono_ms(clock_system()) + drain_ms;

    if (s->daemon) {
        http_server_drain(s, drain_ms);
        MHD_quiesce_daemon(s->daemon);
        mutex_lock(&s->conns_lock);
        s->closing = true;
        wait_out(s, &s->always, until); /* libmicrohttpd must not be stopped over suspended connections */
        mutex_unlock(&s->conns_lock);
        MHD_stop_daemon(s->daemon);
        s->daemon = NULL;
    }
    if (s->watching) {
        mutex_lock(&s->conns_lock);
        s->watch_stop = true;
        cond_signal(&s->watch_wake);
        mutex_unlock(&s->conns_lock);
        pthread_join(s->watcher, NULL);
        s->watching = false;
    }
    pool_free(s->pool);
    s->pool = NULL;
    if (s->listen_fd >= 0)
        close(s->listen_fd);
    s->listen_fd = -1;
}

void http_server_free(struct http_server *s)
{
    if (!s)
        return;
    http_server_stop(s, 0);
    for (size_t i = 0; i < s->route_count; i++)
        free(s->routes[i]);
    cond_fini(&s->watch_wake);
    cond_fini(&s->conns_changed);
    mutex_fini(&s->conns_lock);
    mutex_fini(&s->routes_lock);
    free(s);
}
