#include "common/rpc/conn.h"

#include "common/obs/memory.h"
#include "common/rpc/rpc.h"
#include "common/sys/clock.h"
#include "common/sys/thread.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    STAGE_BYTES  = 8192,    /* cut small frames from here; at most this much of a large payload is copied */
    TX_IOVS      = 16,
    TX_BYTES_MAX = 1 << 20, /* per send call */
    RX_BYTES_MAX = 4 << 20, /* then other connections of the thread have their turn */
    INLINE_BYTES = 1024,    /* a taken payload this short is copied behind its header: one iov, one allocation */
};

struct conn_msg {
    struct conn_msg *next;
    char *body; /* NULL: the payload follows the header in head */
    size_t body_len, head_len;
    uint8_t head[];
};

struct conn {
    struct loop_source source; /* first: the loop knows a connection by it */
    struct loop *loop;         /* --- read-only after new --- */
    int fd;
    uint32_t cluster;
    const struct conn_events *ev;
    void *owner;
    atomic_int refs;    /* owner + one from start until it ended + holders */
    atomic_bool closed; /* set under the lock */
    _Atomic int64_t heard_ms;

    uint8_t stage[STAGE_BYTES]; /* --- the loop's thread only --- */
    size_t staged;              /* bytes of stage that are not consumed yet */
    struct frame frame;         /* header of the payload being received */
    char *body;                 /* its allocation; not NULL: all of stage is consumed */
    size_t body_got;
    _Atomic size_t receiving;   /* bytes of body; any thread may look */

    struct mutex lock; /* --- guards the rest --- */
    struct conn_msg *tx_first, **tx_last;
    size_t tx_bytes;  /* unsent bytes in the list */
    size_t tx_offset; /* bytes of tx_first that are sent already */
    bool tx_waits;    /* for room in the socket: the loop's thread goes on */
};

/* --- messages --- */

struct conn_msg *conn_msg_copy(const struct frame *f, struct str payload)
{
    struct conn_msg *m = xmalloc(sizeof *m + FRAME_HEADER_BYTES + payload.n);

    *m = (struct conn_msg){.head_len = FRAME_HEADER_BYTES + payload.n};
    frame_encode(f, payload, m->head);
    if (payload.n)
        memcpy(m->head + FRAME_HEADER_BYTES, payload.p, payload.n);
    return m;
}

struct conn_msg *conn_msg_take(const struct frame *f, char *payload, size_t n)
{
    struct conn_msg *m;

    if (n <= INLINE_BYTES) {
        m = conn_msg_copy(f, str_n(payload, n));
        free(payload);
        return m;
    }
    m = xmalloc(sizeof *m + FRAME_HEADER_BYTES);
    *m = (struct conn_msg){.body = payload, .body_len = n, .head_len = FRAME_HEADER_BYTES};
    frame_encode(f, str_n(payload, n), m->head);
    return m;
}

void conn_msg_free(struct conn_msg *m)
{
    if (m)
        free(m->body);
    free(m);
}

static size_t msg_bytes(const struct conn_msg *m)
{
    return m->head_len + m->body_len;
}

/* --- life --- */

struct conn *conn_ref(struct conn *c)
{
    atomic_fetch_add(&c->refs, 1);
    return c;
}

static void tx_drop_all(struct conn *c)
{
    while (c->tx_first) {
        struct conn_msg *m = c->tx_first;

        c->tx_first = m->next;
        conn_msg_free(m);
    }
    c->tx_last  = &c->tx_first;
    c->tx_bytes = c->tx_offset = 0;
}

void conn_unref(struct conn *c)
{
    const struct conn_events *ev = c->ev;
    void *owner                  = c->owner;

    if (atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    close(c->fd);
    tx_drop_all(c);
    free(c->body);
    mutex_fini(&c->lock);
    free(c);
    ev->freed(owner);
}

/* Called with the lock. The loop's thread finds the end of the stream and does the rest. */
static void shut(struct conn *c)
{
    if (!atomic_exchange(&c->closed, true))
        shutdown(c->fd, SHUT_RDWR);
    tx_drop_all(c);
    c->tx_waits = false;
}

void conn_close(struct conn *c)
{
    mutex_lock(&c->lock);
    shut(c);
    mutex_unlock(&c->lock);
}

int64_t conn_heard_ms(const struct conn *c)
{
    return atomic_load_explicit(&c->heard_ms, memory_order_relaxed);
}

size_t conn_memory(struct conn *c)
{
    return heap_bytes(c) + conn_unsent(c) + atomic_load_explicit(&c->receiving, memory_order_relaxed);
}

size_t conn_unsent(struct conn *c)
{
    size_t n;

    mutex_lock(&c->lock);
    n = c->tx_bytes;
    mutex_unlock(&c->lock);
    return n;
}

/* --- sending --- */

static size_t iov_add(struct iovec *iov, size_t n, const void *p, size_t len, size_t *skip)
{
    if (*skip >= len) { /* also what is empty */
        *skip -= len;
        return n;
    }
    iov[n] = (struct iovec){.iov_base = (char *)(uintptr_t)p + *skip, .iov_len = len - *skip};
    *skip  = 0;
    return n + 1;
}

/* Called with the lock: one send of what is at the head of the queue. */
static ssize_t tx_some(struct conn *c)
{
    struct iovec iov[TX_IOVS];
    size_t n = 0, bytes = 0, skip = c->tx_offset;

    for (struct conn_msg *m = c->tx_first; m && n + 2 <= TX_IOVS && bytes < TX_BYTES_MAX; m = m->next) {
        n = iov_add(iov, n, m->head, m->head_len, &skip);
        n = iov_add(iov, n, m->body, m->body_len, &skip);
        bytes += msg_bytes(m);
    }
    ASSERT(n > 0);
    return sendmsg(c->fd, &(struct msghdr){.msg_iov = iov, .msg_iovlen = n}, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Called with the lock. */
static void tx_advance(struct conn *c, size_t sent)
{
    ASSERT(sent <= c->tx_bytes);
    c->tx_bytes -= sent;
    sent += c->tx_offset;
    while (c->tx_first && sent >= msg_bytes(c->tx_first)) {
        struct conn_msg *m = c->tx_first;

        sent -= msg_bytes(m);
        c->tx_first = m->next;
        conn_msg_free(m);
    }
    if (!c->tx_first)
        c->tx_last = &c->tx_first;
    c->tx_offset = sent;
}

/* Called with the lock: until all is sent or the socket takes no more. */
static void tx_flush(struct conn *c)
{
    c->tx_waits = false;
    while (c->tx_first && !c->tx_waits) {
        ssize_t n = tx_some(c);

        if (n >= 0)
            tx_advance(c, (size_t)n);
        else if (errno == EAGAIN)
            c->tx_waits = true;
        else if (errno != EINTR)
            shut(c);
    }
}

bool conn_send(struct conn *c, struct conn_msg *m)
{
    bool taken;

    mutex_lock(&c->lock);
    taken = !c->closed && c->tx_bytes + msg_bytes(m) <= RPC_QUEUE_BYTES_MAX;
    if (taken) {
        *c->tx_last = m;
        c->tx_last  = &m->next;
        c->tx_bytes += msg_bytes(m);
        if (!c->tx_waits)
            tx_flush(c);
    }
    mutex_unlock(&c->lock);
    if (!taken)
        conn_msg_free(m);
    return taken;
}

/* --- receiving --- */

/* One read, of *ret_wanted bytes at most. */
static ssize_t rx_some(struct conn *c, size_t *ret_wanted)
{
    struct iovec iov[2];
    int n = 0;

    if (c->body) {
        ASSERT(c->staged == 0);
        iov[n++] = (struct iovec){c->body + c->body_got, c->frame.payload_len - c->body_got};
    }
    iov[n++]    = (struct iovec){c->stage + c->staged, STAGE_BYTES - c->staged};
    *ret_wanted = iov[0].iov_len + (n == 2 ? iov[1].iov_len : 0);
    return readv(c->fd, iov, n);
}

/* Takes body. */
static int rx_deliver(struct conn *c, const struct frame *f, char *body, struct err *err)
{
    struct frame pong = {.id = f->id, .cluster = c->cluster, .flags = FRAME_PING | FRAME_REPLY};
    int rc            = frame_check(f, str_n(body, f->payload_len), err);

    if (rc < 0)
        c->ev->refused(c->owner, FRAME_DAMAGED);
    if (rc < 0 || (f->flags & FRAME_PING)) {
        free(body);
        if (rc == 0 && !(f->flags & FRAME_REPLY))
            conn_send(c, conn_msg_copy(&pong, (struct str){0}));
        return rc;
    }
    c->ev->frame(c->owner, c, f, body);
    return 0;
}

/* Cuts all whole frames out of the stage; begins the body of one that is not whole. */
static int rx_cut(struct conn *c, struct err *err)
{
    size_t at = 0;
    int rc    = 0;

    while (rc == 0 && !c->body && c->staged - at >= FRAME_HEADER_BYTES) {
        enum frame_refusal why;
        size_t have;

        rc = frame_decode(c->stage + at, c->cluster, &c->frame, &why, err);
        if (rc < 0) {
            c->ev->refused(c->owner, why);
            break;
        }
        at += FRAME_HEADER_BYTES;
        have = MIN(c->frame.payload_len, c->staged - at);
        if (c->frame.payload_len > 0) {
            c->body = malloc(c->frame.payload_len);
            if (!c->body)
                return err_set(err, RC_NOMEM, "no memory for a frame of %u bytes", c->frame.payload_len);
            memcpy(c->body, c->stage + at, have);
            atomic_store_explicit(&c->receiving, c->frame.payload_len, memory_order_relaxed);
        }
        at += have;
        c->body_got = have;
        if (have == c->frame.payload_len) {
            char *body = c->body;

            c->body = NULL;
            atomic_store_explicit(&c->receiving, 0, memory_order_relaxed);
            rc      = rx_deliver(c, &c->frame, body, err);
        }
    }
    memmove(c->stage, c->stage + at, c->staged - at);
    c->staged -= at;
    return rc;
}

static int rx_take(struct conn *c, size_t n, struct err *err)
{
    int rc = 0;

    if (c->body) {
        size_t part = MIN(n, c->frame.payload_len - c->body_got);

        c->body_got += part;
        c->staged = n - part;
        if (c->body_got == c->frame.payload_len) {
            char *body = c->body;

            c->body = NULL;
            atomic_store_explicit(&c->receiving, 0, memory_order_relaxed);
            rc      = rx_deliver(c, &c->frame, body, err);
        }
    } else {
        c->staged += n;
    }
    return rc == 0 && !c->body ? rx_cut(c, err) : rc;
}

static void rx_end(struct conn *c, const struct err *why)
{
    conn_close(c);
    loop_remove(&c->source, c->fd);
    c->ev->closed(c->owner, c, why);
    conn_unref(c);
}

/* Reads until there is no more, or others shall have their turn. Negative: the connection is over. */
static int rx_drain(struct conn *c, bool ends, struct err *err)
{
    size_t wanted, total = 0;

    while (total < RX_BYTES_MAX) {
        ssize_t n = rx_some(c, &wanted);
        int rc;

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n < 0)
            return err_sys(err, RC_UNAVAILABLE, "connection lost");
        if (n == 0)
            return err_set(err, RC_UNAVAILABLE, c->closed ? "connection closed" : "connection lost: closed by the other side");
        total += (size_t)n;
        atomic_store_explicit(&c->heard_ms, clock_mono_ms(clock_system()), memory_order_relaxed);
        rc = rx_take(c, (size_t)n, err);
        if (rc == 0 && c->closed)
            rc = err_set(err, RC_UNAVAILABLE, "connection closed");
        if (rc < 0)
            return rc;
        if ((size_t)n < wanted && !ends)
            return 0;
    }
    loop_again(&c->source, c->fd);
    return 0;
}

static void on_ready(struct loop_source *s, uint32_t events)
{
    struct conn *c  = (struct conn *)s;
    struct err err  = {0};
    const bool ends = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;

    if (events & EPOLLOUT) {
        mutex_lock(&c->lock);
        if (c->tx_waits)
            tx_flush(c);
        mutex_unlock(&c->lock);
    }
    if ((ends || (events & EPOLLIN)) && rx_drain(c, ends, &err) < 0)
        rx_end(c, &err);
}

struct conn *conn_new(int fd, struct loop *loop, uint32_t cluster, const struct conn_events *ev, void *owner)
{
    struct conn *c = xcalloc(1, sizeof *c);

    c->source.ready = on_ready;
    c->loop         = loop;
    c->fd           = fd;
    c->cluster      = cluster;
    c->ev           = ev;
    c->owner        = owner;
    c->tx_last      = &c->tx_first;
    mutex_init(&c->lock);
    atomic_init(&c->refs, 1);
    atomic_init(&c->closed, false);
    atomic_init(&c->heard_ms, clock_mono_ms(clock_system()));
    return c;
}

void conn_start(struct conn *c)
{
    conn_ref(c);
    loop_add(c->loop, &c->source, c->fd);
}
