#include "common/rpc/conn.h"

#include "common/rpc/rpc.h"
#include "common/sys/clock.h"
#include "common/sys/thread.h"

#include <stdatomic.h>
#include <stdlib.h>

enum {
    STAGE_BYTES  = 8192,    /* cut small frames from here; at most this much of a large payload is copied */
    TX_IOVS      = 8,       /* nng takes no more */
    TX_BYTES_MAX = 1 << 20, /* per send call */
    INLINE_BYTES = 1024,    /* a taken payload this short is copied behind its header: one iov, one allocation */
};

struct conn_msg {
    struct conn_msg *next;
    char *body; /* NULL: the payload follows the header in head */
    size_t body_len, head_len;
    uint8_t head[];
};

struct conn {
    nng_stream *st; /* --- read-only after new --- */
    uint32_t cluster;
    const struct conn_events *ev;
    void *owner;
    nng_aio *rx_aio, *tx_aio;
    atomic_int refs; /* owner + one per outstanding aio + holders */
    _Atomic int64_t heard_ms;

    uint8_t stage[STAGE_BYTES]; /* --- receive callback only: one at a time --- */
    size_t staged;              /* bytes of stage that are not consumed yet */
    struct frame frame;         /* header of the payload being received */
    char *body;                 /* its allocation; not NULL: all of stage is consumed */
    size_t body_got;

    struct mutex lock; /* --- guards the rest --- */
    struct conn_msg *tx_first, **tx_last;
    size_t tx_bytes;  /* unsent bytes in the list */
    size_t tx_offset; /* bytes of tx_first that are sent already */
    bool tx_busy, closed;
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

/* May run inside one of the callbacks of the aios, which therefore go by nng's reaper. */
void conn_unref(struct conn *c)
{
    const struct conn_events *ev = c->ev;
    void *owner                  = c->owner;

    if (atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    ASSERT(!c->tx_busy);
    nng_aio_reap(c->rx_aio);
    nng_aio_reap(c->tx_aio);
    nng_stream_free(c->st);
    tx_drop_all(c);
    free(c->body);
    mutex_fini(&c->lock);
    free(c);
    ev->freed(owner);
}

void conn_close(struct conn *c)
{
    mutex_lock(&c->lock);
    c->closed = true;
    mutex_unlock(&c->lock);
    nng_stream_close(c->st);
}

int64_t conn_heard_ms(const struct conn *c)
{
    return atomic_load_explicit(&c->heard_ms, memory_order_relaxed);
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

static size_t iov_add(nng_iov *iov, size_t n, const void *p, size_t len, size_t *skip)
{
    if (*skip >= len) {
        *skip -= len;
        return n;
    }
    iov[n] = (nng_iov){.iov_buf = (char *)(uintptr_t)p + *skip, .iov_len = len - *skip};
    *skip  = 0;
    return n + 1;
}

/* Called with the lock: gathers from the head of the queue and sends. */
static void tx_arm(struct conn *c)
{
    nng_iov iov[TX_IOVS];
    size_t n = 0, bytes = 0, skip = c->tx_offset;

    for (struct conn_msg *m = c->tx_first; m && n + 2 <= TX_IOVS && bytes < TX_BYTES_MAX; m = m->next) {
        n = iov_add(iov, n, m->head, m->head_len, &skip);
        n = iov_add(iov, n, m->body, m->body_len, &skip);
        bytes += msg_bytes(m);
    }
    ASSERT(n > 0 && nng_aio_set_iov(c->tx_aio, (unsigned)n, iov) == 0);
    nng_stream_send(c->st, c->tx_aio);
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

static void tx_done(void *arg)
{
    struct conn *c = arg;
    bool failed    = nng_aio_result(c->tx_aio) != 0;

    mutex_lock(&c->lock);
    failed = failed || c->closed;
    if (!failed)
        tx_advance(c, nng_aio_count(c->tx_aio));
    if (!failed && c->tx_first) {
        tx_arm(c); /* from here the next callback may already run: the reference is its own */
        mutex_unlock(&c->lock);
        return;
    }
    c->tx_busy = false;
    if (failed) {
        c->closed = true;
        tx_drop_all(c);
    }
    mutex_unlock(&c->lock);
    if (failed)
        nng_stream_close(c->st);
    conn_unref(c);
}

bool conn_send(struct conn *c, struct conn_msg *m)
{
    mutex_lock(&c->lock);
    if (c->closed || c->tx_bytes + msg_bytes(m) > RPC_QUEUE_BYTES_MAX) {
        mutex_unlock(&c->lock);
        conn_msg_free(m);
        return false;
    }
    *c->tx_last = m;
    c->tx_last  = &m->next;
    c->tx_bytes += msg_bytes(m);
    if (!c->tx_busy) {
        c->tx_busy = true;
        conn_ref(c);
        tx_arm(c);
    }
    mutex_unlock(&c->lock);
    return true;
}

/* --- receiving --- */

/* nng 1.5.2 never completes a send or recv that begins after nng_stream_close, so closed is decided under the lock.
 * False when closed. After true the next callback may already run: touch nothing. */
static bool rx_arm(struct conn *c)
{
    nng_iov iov[2];
    unsigned n = 0;
    bool closed;

    if (c->body) {
        ASSERT(c->staged == 0);
        iov[n++] = (nng_iov){c->body + c->body_got, c->frame.payload_len - c->body_got};
    }
    iov[n++] = (nng_iov){c->stage + c->staged, STAGE_BYTES - c->staged};
    ASSERT(nng_aio_set_iov(c->rx_aio, n, iov) == 0);
    mutex_lock(&c->lock);
    closed = c->closed;
    if (!closed)
        nng_stream_recv(c->st, c->rx_aio);
    mutex_unlock(&c->lock);
    return !closed;
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
        }
        at += have;
        c->body_got = have;
        if (have == c->frame.payload_len) {
            char *body = c->body;

            c->body = NULL;
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
    c->ev->closed(c->owner, c, why);
    conn_unref(c);
}

static void rx_done(void *arg)
{
    struct conn *c = arg;
    struct err err = {0};
    int e          = nng_aio_result(c->rx_aio);

    if (e != 0) {
        err_set(&err, RC_UNAVAILABLE, "connection lost: %s", nng_strerror(e));
        rx_end(c, &err);
        return;
    }
    atomic_store_explicit(&c->heard_ms, clock_mono_ms(clock_system()), memory_order_relaxed);
    if (rx_take(c, nng_aio_count(c->rx_aio), &err) < 0) {
        rx_end(c, &err);
        return;
    }
    if (!rx_arm(c)) {
        err_set(&err, RC_UNAVAILABLE, "connection closed");
        rx_end(c, &err);
    }
}

struct conn *conn_new(nng_stream *st, uint32_t cluster, const struct conn_events *ev, void *owner)
{
    struct conn *c = xcalloc(1, sizeof *c);

    c->st      = st;
    c->cluster = cluster;
    c->ev      = ev;
    c->owner   = owner;
    c->tx_last = &c->tx_first;
    mutex_init(&c->lock);
    atomic_init(&c->refs, 1);
    atomic_init(&c->heard_ms, clock_mono_ms(clock_system()));
    ASSERT(nng_aio_alloc(&c->rx_aio, rx_done, c) == 0);
    ASSERT(nng_aio_alloc(&c->tx_aio, tx_done, c) == 0);
    return c;
}

void conn_start(struct conn *c)
{
    conn_ref(c);
    ASSERT(rx_arm(c)); /* nobody else has it yet */
}
