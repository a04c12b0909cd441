#include "common/http/http_impl.h"
#include "common/base/hash.h"
#include "common/obs/memory.h"
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

void server_closed(struct http_server *s, const char *reason)
{
    if (s->closed)
        metric_inc(metric_with(s->closed, reason, NULL));
}

/* The time first: the watcher reads the phase first, so that it never holds an old time against a
 * new phase. */
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
    const union MHD_ConnectionInfo *fd =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *sa =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
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

/* libmicrohttpd calls this with CLOSED before it closes the socket, so a connection in the list has
 * a live fd. */
static void on_connection(void *arg, struct MHD_Connection *mhd, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        conn_add(arg, mhd, socket_context);
    else if (*socket_context)
        conn_remove(arg, *socket_context);
}

struct http_conn *conn_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info->socket_context;
}

/* --- the server --- */

int http_server_new(const struct http_cfg *cfg, const struct http_deps *deps,
                    struct http_server **ret, struct err *err)
{
    static const char *const duration_labels[] = {"method", "route", "status_code", NULL};
    struct http_server *s;

    if (cfg->threads < 1 || cfg->workers < 1 || cfg->connections_max < cfg->threads ||
        cfg->blocking_queue_max < 1)
        return err_set(err, RC_INVALID,
                       "http: threads, workers, queue and connections must be positive");
    s = xcalloc(1, sizeof *s);
    s->cfg = *cfg;
    snprintf(s->address, sizeof s->address, "%s", cfg->address);
    s->cfg.address = s->address;
    random_bytes(s->secret, sizeof s->secret);
    atomic_store(&s->routed, !cfg->routes_follow);
    s->log = deps->log;
    s->roles = ~0u;
    s->listen_fd = -1;
    mutex_init(&s->routes_lock);
    mutex_init(&s->conns_lock);
    cond_init(&s->conns_changed);
    cond_init(&s->watch_wake);
    if (deps->metrics) {
        s->duration = metrics_family(
            deps->metrics, METRIC_HISTOGRAM, "torc_request_duration_seconds",
            "Time from complete headers to the answer's last byte, in seconds.", duration_labels);
        s->inflight =
            metrics_family(deps->metrics, METRIC_GAUGE, "torc_inflight_requests",
                           "Requests being worked on.", (const char *const[]){"route", NULL});
        s->closed = metrics_family(deps->metrics, METRIC_COUNTER, "torc_http_closed_total",
                                   "Connections that the server closed, by reason.",
                                   (const char *const[]){"reason", NULL});
        s->connections =
            metrics_gauge(deps->metrics, "torc_http_connections", "Open HTTP connections.");
        server_closed(s, "header_timeout");
    }
    if (cfg->tls.cert_file && *cfg->tls.cert_file) {
        int rc = http_tls_new(&cfg->tls, deps->log, deps->metrics, &s->tls, err);

        if (rc < 0) {
            http_server_free(s);
            return rc;
        }
    }
    *ret = s;
    return 0;
}

void http_server_roles(struct http_server *s, unsigned roles)
{
    s->roles = roles;
}

void http_server_twin(struct http_server *s, struct http_server *other)
{
    s->twin = other;
}

void http_server_guard(struct http_server *s, const struct http_guard *guard)
{
    s->guard = *guard;
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
            return err_set(err, RC_INVALID, "listen address \"%s\" is no IPv4 or IPv6 address",
                           s->address);
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

static void on_mhd_log(void *arg, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));
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

enum { TLS_OPTIONS = 3 };

static int tls_options(struct http_server *s, struct MHD_OptionItem out[TLS_OPTIONS + 1], unsigned *flags, struct err *err)
{
    gnutls_certificate_retrieve_function2 *retriever = http_tls_retriever(s->tls);
    struct MHD_OptionItem *o = out;

    if (!retriever)
        return err_set(err, RC_LIMIT, "more than %d servers with TLS in one process", TLS_SERVERS_MAX);
    *flags |= MHD_USE_TLS;
    *o++ = (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0,
                                   (void *)(uintptr_t) "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:%SERVER_PRECEDENCE"};
    *o++ = (struct MHD_OptionItem){MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *)retriever};
    if (http_tls_client_ca(s->tls))
        *o++ = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_TRUST, 0, (void *)(uintptr_t)http_tls_client_ca(s->tls)};
    *o = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    return 0;
}

int http_server_start(struct http_server *s, struct err *err)
{
    unsigned flags =
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    struct MHD_OptionItem pool[] = {
        {s->cfg.threads > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, s->cfg.threads, NULL},
        {MHD_OPTION_END, 0, NULL}};
    struct MHD_OptionItem tls[TLS_OPTIONS + 1] = {{MHD_OPTION_END, 0, NULL}};
    int rc = listen_on(s, err);

    if (rc == 0 && s->tls)
        rc = tls_options(s, tls, &flags, err);
    if (rc < 0)
        return rc;
    if (s->guard.quick)
        s->guard_pool = pool_new("http-guard", 1, HTTP_GUARD_WAITING_MAX);
    if (strchr(s->address, ':'))
        flags |= MHD_USE_IPv6;
    s->pool = pool_new("http-worker", s->cfg.workers, s->cfg.blocking_queue_max);
    s->watcher = thread_start("http-watch", watch_main, s);
    s->watching = true;
    s->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, exchange_on_access, s, MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log, s,
        MHD_OPTION_LISTEN_SOCKET, s->listen_fd, MHD_OPTION_NOTIFY_COMPLETED, exchange_on_completed,
        s, MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_URI_LOG_CALLBACK,
        exchange_on_uri, s, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)s->cfg.connections_max,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)s->cfg.connections_per_ip_max,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)((s->cfg.idle_timeout_ms + 999) / 1000),
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_HEADER_BYTES_MAX,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_ARRAY, pool, MHD_OPTION_ARRAY, tls,
        MHD_OPTION_END);
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

/* Under conns_lock: until nothing is in flight or time is up, then, cancelled, until everything is
 * answered. */
static void wait_out(struct http_server *s, const struct http_load *load, int64_t until_ms)
{
    wait_idle(s, load, until_ms);
    if (load->unanswered == 0)
        return;
    log_warn(s->log, "drain time is over, requests are cancelled", "requests",
             log_i64(load->unanswered));
    cancel_all(s);
    while (load->unanswered > 0)
        cond_wait(&s->conns_changed, &s->conns_lock);
    wait_idle(s, load, clock_mono_ms(clock_system()) + SEND_CANCELLED_MS);
}

void http_server_routed(struct http_server *s)
{
    atomic_store(&s->routed, true);
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
        mutex_lock(&s->conns_lock);
        s->closing = true;
        while (s->guarded) /* a hash or two each */
            cond_wait(&s->conns_changed, &s->conns_lock);
        wait_out(s, &s->always,
                 until); /* libmicrohttpd must not be stopped over suspended connections */
        mutex_unlock(&s->conns_lock);
        /* Not quiesced before: MHD_quiesce_daemon (0.9.75) takes the listening socket out of a worker's
         * epoll set while that worker may be doing the same, and aborts when it was second. Who connects
         * until here is answered 503 (closing). */
        MHD_stop_daemon(s->daemon);
        s->daemon = NULL;
        s->listen_fd = -1; /* closed by it */
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
    pool_free(s->guard_pool);
    s->guard_pool = NULL;
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
    if (s->tls)
        http_tls_forget(s->tls);
    http_tls_free(s->tls);
    cond_fini(&s->watch_wake);
    cond_fini(&s->conns_changed);
    mutex_fini(&s->conns_lock);
    mutex_fini(&s->routes_lock);
    free(s);
}

void http_server_memory(struct http_server *s, struct memory_account *a)
{
    size_t n = heap_bytes(s) + atomic_load(&s->bodies_bytes);

    mutex_lock(&s->conns_lock);
    for (const struct http_conn *c = s->conns; c; c = c->next)
        n += heap_bytes(c);
    n += (size_t)s->work.in_flight * sizeof(struct http_req);
    mutex_unlock(&s->conns_lock);
    for (size_t i = 0; i < s->route_count; i++)
        n += heap_bytes(s->routes[i]);
    memory_add(a, (struct str){0}, MEMORY_HTTP_BUFFERS, n);
}
