#include "common/rpc/sock.h"

#include "common/sys/clock.h"
#include "common/sys/thread.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 1024, WHY_BYTES = 128 };

int sock_addr_parse(const char *addr, struct sock_addr *ret)
{
    const char *colon = addr ? strrchr(addr, ':') : NULL, *host = addr;
    size_t n = colon ? (size_t)(colon - addr) : 0, digits;

    if (n >= 2 && host[0] == '[' && host[n - 1] == ']') {
        host++;
        n -= 2;
    }
    if (n == 0 || n >= SOCK_HOST_BYTES)
        return RC_INVALID;
    digits = strspn(colon + 1, "0123456789");
    if (digits == 0 || digits > 5 || colon[1 + digits] || strtoul(colon + 1, NULL, 10) > UINT16_MAX)
        return RC_INVALID;
    snprintf(ret->host, sizeof ret->host, "%.*s", (int)n, host);
    snprintf(ret->port, sizeof ret->port, "%s", colon + 1);
    return 0;
}

static int resolve(const struct sock_addr *a, int flags, struct addrinfo **ret)
{
    struct addrinfo hints = {.ai_flags = flags | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};

    return getaddrinfo(a->host, a->port, &hints, ret);
}

static int sock_open(const struct addrinfo *ai)
{
    return socket(ai->ai_family, ai->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, ai->ai_protocol);
}

void sock_no_delay(int fd)
{
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)); /* a matter of speed only */
}

void sock_keep_alive(int fd)
{
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &(int){SOCK_IDLE_S}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &(int){SOCK_PROBE_S}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &(int){SOCK_PROBES}, sizeof(int));
}

/* --- listening --- */

static int bound_port(int fd)
{
    struct sockaddr_storage at = {0};
    socklen_t n                = sizeof at;

    ASSERT(getsockname(fd, (struct sockaddr *)&at, &n) == 0);
    return ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&at)->sin6_port : ((struct sockaddr_in *)&at)->sin_port);
}

int sock_listen(const struct sock_addr *a, int *ret_fd, int *ret_port, struct err *err)
{
    struct addrinfo *ai;
    int e = resolve(a, AI_PASSIVE, &ai), fd, rc = 0;

    if (e != 0)
        return err_set(err, RC_IO, "listen on %s:%s: %s", a->host, a->port, gai_strerror(e));
    fd = sock_open(ai);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (fd < 0 || bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0) {
        rc = err_sys(err, RC_IO, "listen on %s:%s", a->host, a->port);
        if (fd >= 0)
            close(fd);
    } else {
        *ret_fd   = fd;
        *ret_port = bound_port(fd);
    }
    freeaddrinfo(ai);
    return rc;
}

/* --- connecting --- */

struct dial {
    struct sock_addr addr; /* --- read-only --- */
    int64_t until_ms;
    dial_done_fn *done;
    void *arg;
    atomic_int refs;
    atomic_bool ended; /* whoever sets it calls done */
};

struct dial *dial_ref(struct dial *d)
{
    atomic_fetch_add(&d->refs, 1);
    return d;
}

void dial_unref(struct dial *d)
{
    if (d && atomic_fetch_sub(&d->refs, 1) == 1)
        free(d);
}

/* Waits for a connection that was begun. 0 or an errno. */
static int connect_wait(int fd, int64_t until_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int e           = 0, n;
    socklen_t size  = sizeof e;

    do {
        int64_t left = until_ms - clock_mono_ms(clock_system());

        n = poll(&p, 1, (int)MIN(MAX(left, 0), (int64_t)INT32_MAX));
    } while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n == 0 ? ETIMEDOUT : errno;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &size) < 0 ? errno : e;
}

/* A socket, or a negative errno. */
static int connect_to(const struct addrinfo *ai, int64_t until_ms)
{
    int fd = sock_open(ai), e = 0;

    if (fd < 0)
        return -errno;
    if (connect(fd, ai->ai_addr, ai->ai_addrlen) < 0)
        e = errno == EINPROGRESS ? connect_wait(fd, until_ms) : errno;
    if (e == 0) {
        sock_no_delay(fd);
        return fd;
    }
    close(fd);
    return -e;
}

static void *dial_main(void *arg)
{
    struct dial *d       = arg;
    struct addrinfo *all = NULL;
    int e = resolve(&d->addr, 0, &all), fd = -EHOSTUNREACH;
    char why[WHY_BYTES];

    for (struct addrinfo *ai = all; ai && fd < 0 && !atomic_load(&d->ended); ai = ai->ai_next)
        fd = connect_to(ai, d->until_ms);
    errno = MAX(-fd, 0);
    if (e != 0)
        snprintf(why, sizeof why, "%s", gai_strerror(e));
    else
        snprintf(why, sizeof why, "%m");
    if (e == 0)
        freeaddrinfo(all);
    if (!atomic_exchange(&d->ended, true))
        d->done(d->arg, MAX(fd, -1), why);
    else if (fd >= 0)
        close(fd);
    dial_unref(d);
    return NULL;
}

struct dial *dial_start(const struct sock_addr *a, int64_t timeout_ms, dial_done_fn *done, void *arg)
{
    struct dial *d = xcalloc(1, sizeof *d);

    *d = (struct dial){.addr = *a, .until_ms = clock_mono_ms(clock_system()) + timeout_ms, .done = done, .arg = arg};
    atomic_init(&d->refs, 2);
    atomic_init(&d->ended, false);
    pthread_detach(thread_start("rpc-dial", dial_main, d));
    return d;
}

void dial_cancel(struct dial *d)
{
    if (!atomic_exchange(&d->ended, true))
        d->done(d->arg, -1, "canceled");
}
