/* The clocks that run against a connection, and the look-out for clients that left while we work
 * for them. */
#include "common/http/http_impl.h"
#include "common/sys/clock.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

enum { WATCH_TICK_MS = 200 };

struct tcp_progress {
    uint64_t received, acknowledged;
    uint32_t unsent;
};

static bool tcp_progress_get(int fd, struct tcp_progress *ret)
{
    struct tcp_info info = {0};
    socklen_t n = sizeof info;

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) != 0)
        return false;
    *ret = (struct tcp_progress){info.tcpi_bytes_received, info.tcpi_bytes_acked,
                                 info.tcpi_notsent_bytes};
    return true;
}

int64_t conn_silent_ms(const struct http_conn *c)
{
    struct tcp_info info = {0};
    socklen_t n = sizeof info;

    return getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &n) == 0 ? info.tcpi_last_data_recv : 0;
}

/* Slower than the minimum once the grace is over. */
static bool too_slow(const struct http_cfg *cfg, uint64_t bytes, int64_t elapsed_ns)
{
    int64_t late_ms = elapsed_ns / 1000000 - cfg->body_grace_ms;

    return late_ms > 0 && bytes < (uint64_t)(late_ms / 1000 * cfg->body_bytes_per_second + 1);
}

static bool client_left(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};

    return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

/* The reason to close c, or NULL. An idle connection has no deadline until the next request's first
 * byte, which libmicrohttpd does not report; the kernel's count of received bytes does. */
static const char *overdue(const struct http_cfg *cfg, struct http_conn *c, int64_t now)
{
    uint64_t serial = atomic_load(&c->serial);
    enum conn_phase phase = (enum conn_phase)atomic_load(&c->phase);
    int64_t elapsed =
        now - atomic_load(&c->phase_ns); /* after phase: at worst too short, see conn_phase_set() */
    struct tcp_progress tcp;
    bool fresh = c->mark_serial != serial;

    if (phase == CONN_HEADERS)
        return elapsed > cfg->header_timeout_ms * 1000000 ? "header_timeout" : NULL;
    if (phase == CONN_BODY)
        return too_slow(cfg, atomic_load(&c->body_bytes), elapsed) ? "body_timeout" : NULL;
    if (phase == CONN_HANDLING || !tcp_progress_get(c->fd, &tcp))
        return NULL;
    if (fresh) {
        c->mark_serial = serial;
        c->mark = phase == CONN_IDLE ? tcp.received : tcp.acknowledged;
        c->mark_ns = 0;
    }
    if (phase == CONN_SENDING) {
        c->mark_ns = c->mark_ns ? c->mark_ns : now;
        return tcp.unsent && too_slow(cfg, tcp.acknowledged - c->mark, now - c->mark_ns)
                   ? "read_timeout"
                   : NULL;
    }
    if (tcp.received > c->mark && c->mark_ns == 0)
        c->mark_ns = now;
    return c->mark_ns && now - c->mark_ns > cfg->header_timeout_ms * 1000000 ? "header_timeout"
                                                                             : NULL;
}

static void watch_one(struct http_server *s, struct http_conn *c, int64_t now)
{
    const char *reason = overdue(&s->cfg, c, now);

    if (reason && !c->shut) {
        c->shut = true;
        shutdown(c->fd, SHUT_RDWR); /* libmicrohttpd sees the end and cleans up on its own thread */
        server_closed(s, reason);
    }
    if (atomic_load(&c->phase) == CONN_HANDLING && !atomic_load(&c->cancel) && client_left(c->fd))
        atomic_store(&c->cancel, true);
}

void *watch_main(void *server)
{
    struct http_server *s = server;

    mutex_lock(&s->conns_lock);
    while (!s->watch_stop) {
        int64_t now = clock_mono_ns(clock_system());

        for (struct http_conn *c = s->conns; c; c = c->next)
            watch_one(s, c, now);
        if (s->tls)
            http_tls_tick(s->tls, now / 1000000);
        cond_wait_ms(&s->watch_wake, &s->conns_lock, WATCH_TICK_MS);
    }
    mutex_unlock(&s->conns_lock);
    return NULL;
}
