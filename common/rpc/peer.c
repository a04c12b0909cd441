#include "common/rpc/peer.h"

#include "common/base/bytes.h"
#include "common/obs/log.h"
#include "common/obs/memory.h"
#include "common/rpc/conn.h"
#include "common/rpc/rpc_internal.h"
#include "common/rpc/sock.h"
#include "common/sys/clock.h"
#include "common/sys/thread.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { NONE = UINT16_MAX, SLOTS_FIRST = 16, NS_PER_MS = 1000000 };
_Static_assert((int)RPC_IN_FLIGHT_MAX < (int)NONE, "slots are numbered in 16 bits");

/* A call in flight. Its id on the wire is (generation << 16 | slot), so a late answer finds nobody. */
struct slot {
    struct peer_request req;
    struct conn_msg *unsent; /* waits for the connection */
    uint64_t generation;
    uint16_t prev, next; /* in flight, oldest first; or the free list by next */
    bool used;
};

struct peer {
    struct peer_env env; /* --- read-only --- */
    char addr[RPC_ADDR_BYTES_MAX];
    struct sock_addr where;
    atomic_int refs;
    struct peer *link; /* the client's, under its lock */

    struct mutex lock; /* --- guards the rest --- */
    struct slot *slots;
    uint32_t slots_cap, in_flight;
    uint16_t first, last, free;
    uint64_t generation;
    struct conn *conn;
    struct dial *dial; /* NULL: none in progress */
    bool shut, retired;
    int64_t connected_ms, retry_ms, used_ms, probed_ms;
    size_t waiting_bytes; /* of unsent messages */
    char failure[128];    /* why the last dial failed */
};

static int64_t now_ms(void)
{
    return clock_mono_ms(clock_system());
}

void peer_request_end(const struct peer_env *env, const struct peer_request *req, int rc, struct buf *reply,
                      const struct err *err)
{
    ASSERT((rc == RC_OK) == (err == NULL));
    rpc_metrics_done(env->metrics, req->method, rc, clock_mono_ns(clock_system()) - req->start_ns);
    rpc_callback_depth++;
    req->done(req->arg, rc, reply, err);
    rpc_callback_depth--;
}

/* --- slots; all called with the lock --- */

static struct slot *slot_new(struct peer *p)
{
    struct slot *s;
    uint16_t i;

    if (p->free == NONE) {
        uint32_t cap = p->slots_cap ? MIN(p->slots_cap * 2, (uint32_t)RPC_IN_FLIGHT_MAX) : SLOTS_FIRST;

        if (cap == p->slots_cap)
            return NULL;
        p->slots = xrealloc(p->slots, cap * sizeof *p->slots);
        for (uint32_t k = cap; k-- > p->slots_cap;) {
            p->slots[k] = (struct slot){.next = p->free};
            p->free     = (uint16_t)k;
        }
        p->slots_cap = cap;
    }
    i       = p->free;
    s       = &p->slots[i];
    p->free = s->next;
    *s      = (struct slot){.generation = ++p->generation, .prev = p->last, .next = NONE, .used = true};
    if (p->last != NONE)
        p->slots[p->last].next = i;
    else
        p->first = i;
    p->last = i;
    p->in_flight++;
    return s;
}

static uint64_t slot_id(const struct peer *p, const struct slot *s)
{
    return s->generation << 16 | (uint64_t)(s - p->slots);
}

static struct slot *slot_find(struct peer *p, uint64_t id)
{
    uint64_t i = id & 0xffff;

    if (i >= p->slots_cap || !p->slots[i].used || p->slots[i].generation != id >> 16)
        return NULL;
    return &p->slots[i];
}

static void slot_free(struct peer *p, struct slot *s)
{
    uint16_t i = (uint16_t)(s - p->slots);

    ASSERT(s->used);
    if (s->unsent) {
        conn_msg_free(s->unsent);
        s->unsent = NULL;
    }
    if (s->prev != NONE)
        p->slots[s->prev].next = s->next;
    else
        p->first = s->next;
    if (s->next != NONE)
        p->slots[s->next].prev = s->prev;
    else
        p->last = s->prev;
    s->used = false;
    s->next = p->free;
    p->free = i;
    p->in_flight--;
}

/* --- ending many calls: collected under the lock, reported without it --- */

struct ended {
    struct peer_request *reqs;
    size_t n, cap;
};

static void ended_add(struct ended *e, const struct peer_request *req)
{
    if (e->n == e->cap) {
        e->cap  = e->cap ? e->cap * 2 : 16;
        e->reqs = xrealloc(e->reqs, e->cap * sizeof *e->reqs);
    }
    e->reqs[e->n++] = *req;
}

static void take_all(struct peer *p, struct ended *e)
{
    while (p->first != NONE) {
        ended_add(e, &p->slots[p->first].req);
        slot_free(p, &p->slots[p->first]);
    }
    p->waiting_bytes = 0;
}

static void ended_report(struct peer *p, struct ended *e, int rc, const char *why)
{
    struct err err = {0};

    for (size_t i = 0; i < e->n; i++) {
        err_set(&err, rc, "%s: %s", p->addr, why);
        peer_request_end(&p->env, &e->reqs[i], rc, &(struct buf){0}, &err);
    }
    free(e->reqs);
}

/* --- connection events --- */

/* Takes body. */
static void on_frame(void *owner, struct conn *conn, const struct frame *f, char *body)
{
    struct peer *p          = owner;
    struct peer_request req = {0};
    struct buf reply        = {.p = body, .n = f->payload_len, .cap = f->payload_len, .max = f->payload_len};
    struct slot *s;

    if (!(f->flags & FRAME_REPLY)) { /* nobody calls a client */
        free(body);
        conn_close(conn);
        return;
    }
    mutex_lock(&p->lock);
    s = slot_find(p, f->id);
    if (s) {
        req = s->req;
        slot_free(p, s);
    }
    mutex_unlock(&p->lock);
    rpc_metrics_bytes(p->env.metrics, 0, f->payload_len);
    if (s && f->status == RC_OK) {
        peer_request_end(&p->env, &req, RC_OK, &reply, NULL);
    } else if (s) {
        struct err err = {0};

        err_set(&err, f->status, "%s: %.*s", p->addr, (int)MIN(reply.n, (size_t)ERR_TEXT_MAX),
                reply.n ? reply.p : rc_name(f->status));
        peer_request_end(&p->env, &req, f->status, &reply, &err);
    }
    buf_fini(&reply); /* without a slot: it came after its deadline */
}

static void on_refused(void *owner, enum frame_refusal why)
{
    rpc_metrics_refused(((struct peer *)owner)->env.metrics, why);
}

static void on_closed(void *owner, struct conn *conn, const struct err *why)
{
    struct peer *p  = owner;
    struct ended e  = {0};
    bool drop;

    if (why->rc != RC_UNAVAILABLE && p->env.log)
        log_limited(p->env.log, LOG_WARN, "connection to a peer closed", "peer", p->addr, "err", err_text(why));
    mutex_lock(&p->lock);
    drop = p->conn == conn;
    if (drop) {
        p->conn = NULL;
        /* A peer that accepts and drops at once (another cluster's) must not be dialed in a tight loop. */
        if (now_ms() - p->connected_ms < RPC_BACKOFF_MS) {
            p->retry_ms = now_ms() + RPC_BACKOFF_MS;
            snprintf(p->failure, sizeof p->failure, "%.100s", err_text(why));
        }
        take_all(p, &e);
    }
    mutex_unlock(&p->lock);
    ended_report(p, &e, RC_UNAVAILABLE, err_text(why));
    if (drop)
        conn_unref(conn);
}

static void on_freed(void *owner)
{
    struct peer *p = owner;

    rpc_metrics_connections(p->env.metrics, -1);
    peer_unref(p);
}

static const struct conn_events client_events = {on_frame, on_refused, on_closed, on_freed};

/* --- dialing --- */

/* Called with the lock. */
static void connected(struct peer *p, int fd)
{
    p->connected_ms = p->probed_ms = now_ms();
    p->conn = conn_new(fd, p->env.loop, p->env.cluster, &client_events, peer_ref(p));
    rpc_metrics_connections(p->env.metrics, 1);
    for (uint16_t i = p->first; i != NONE; i = p->slots[i].next) {
        if (p->slots[i].unsent)
            conn_send(p->conn, p->slots[i].unsent); /* false only when closed: on_closed ends the call */
        p->slots[i].unsent = NULL;
    }
    p->waiting_bytes = 0;
    conn_start(p->conn);
}

static void on_dialed(void *arg, int fd, const char *reason)
{
    struct peer *p = arg;
    struct ended e = {0};
    char why[sizeof p->failure];

    mutex_lock(&p->lock);
    dial_unref(p->dial);
    p->dial = NULL;
    if (fd >= 0 && !p->shut) {
        connected(p, fd);
    } else {
        if (fd >= 0)
            close(fd);
        p->retry_ms = now_ms() + RPC_BACKOFF_MS;
        snprintf(p->failure, sizeof p->failure, "no connection: %.100s", reason);
        take_all(p, &e);
    }
    memcpy(why, p->failure, sizeof why);
    mutex_unlock(&p->lock);
    ended_report(p, &e, RC_UNAVAILABLE, why);
    peer_unref(p);
}

/* --- life --- */

int peer_new(const char *addr, const struct peer_env *env, struct peer **ret, struct err *err)
{
    struct sock_addr where;
    struct peer *p;

    if (!addr || strlen(addr) >= RPC_ADDR_BYTES_MAX || sock_addr_parse(addr, &where) < 0)
        return err_set(err, RC_INVALID, "address \"%.64s\" is not host:port", addr ? addr : "");
    p        = xcalloc(1, sizeof *p);
    p->where = where;
    snprintf(p->addr, sizeof p->addr, "%s", addr);
    p->env  = *env;
    p->free = p->first = p->last = NONE;
    p->used_ms                   = now_ms();
    mutex_init(&p->lock);
    atomic_init(&p->refs, 1);
    *ret = p;
    return 0;
}

struct peer *peer_ref(struct peer *p)
{
    atomic_fetch_add(&p->refs, 1);
    return p;
}

void peer_unref(struct peer *p)
{
    if (atomic_fetch_sub(&p->refs, 1) == 1)
        p->env.unused(p->env.self, p);
}

void peer_free(struct peer *p)
{
    ASSERT(p->in_flight == 0 && !p->conn && !p->dial);
    free(p->slots);
    mutex_fini(&p->lock);
    free(p);
}

const char *peer_addr(const struct peer *p)
{
    return p->addr;
}

struct peer **peer_link(struct peer *p)
{
    return &p->link;
}

/* --- sending --- */

/* Called with the lock: a connection exists, is being made, or is begun here. */
static int ensure_connection(struct peer *p, struct err *err)
{
    if (p->retired)
        return err_set(err, RC_STALE, "%s: the address was idle and is gone", p->addr);
    if (p->shut)
        return err_set(err, RC_UNAVAILABLE, "%s: forgotten", p->addr);
    if (p->conn || p->dial)
        return 0;
    if (now_ms() < p->retry_ms)
        return err_set(err, RC_UNAVAILABLE, "%s: %s", p->addr, p->failure);
    p->dial = dial_start(&p->where, RPC_DIAL_MS, on_dialed, peer_ref(p));
    return 0;
}

static int begin(struct peer *p, const struct peer_request *req, size_t bytes, uint64_t *ret_id, struct err *err)
{
    struct slot *s = NULL;
    int rc;

    mutex_lock(&p->lock);
    rc = ensure_connection(p, err);
    if (rc == 0 && !p->conn && p->waiting_bytes + bytes > RPC_QUEUE_BYTES_MAX)
        rc = err_set(err, RC_UNAVAILABLE, "%s: too many bytes wait for the connection", p->addr);
    if (rc == 0 && !(s = slot_new(p)))
        rc = err_set(err, RC_UNAVAILABLE, "%s: %d calls in flight already", p->addr, RPC_IN_FLIGHT_MAX);
    if (rc == 0) {
        s->req     = *req;
        p->used_ms = now_ms();
        *ret_id    = slot_id(p, s);
    }
    mutex_unlock(&p->lock);
    return rc;
}

/* The checksum over the payload is computed between begin and here, without the lock; the call may have ended meanwhile. False: the connection did
 * not take it, and the call is forgotten here. */
static bool deliver(struct peer *p, uint64_t id, struct conn_msg *m, size_t bytes)
{
    bool lost = false;
    struct slot *s;

    mutex_lock(&p->lock);
    s = slot_find(p, id);
    if (!s) {
        conn_msg_free(m);
    } else if (p->conn) {
        lost = !conn_send(p->conn, m);
        if (lost)
            slot_free(p, s);
    } else {
        ASSERT(p->dial); /* else the call would have ended */
        s->unsent = m;
        p->waiting_bytes += bytes;
    }
    mutex_unlock(&p->lock);
    return !lost;
}

int peer_send(struct peer *p, const struct peer_request *req, char *body, struct str payload, bool *ret_lost, struct err *err)
{
    int64_t left_ms = (req->deadline_ns - req->start_ns) / NS_PER_MS;
    struct frame f  = {
         .cluster     = p->env.cluster,
         .method      = (uint16_t)req->method,
         .deadline_ms = (uint32_t)MIN(MAX(left_ms, 1), (int64_t)UINT32_MAX),
    };
    int rc = begin(p, req, payload.n, &f.id, err);

    if (rc < 0)
        return rc;
    rpc_metrics_bytes(p->env.metrics, payload.n, 0);
    *ret_lost = !deliver(p, f.id, body ? conn_msg_take(&f, body, payload.n) : conn_msg_copy(&f, payload), payload.n);
    if (*ret_lost)
        err_set(err, RC_UNAVAILABLE, "%s: the connection's send queue is full or closed", p->addr);
    return 0;
}

/* --- cancelling --- */

/* Called with the lock. */
static struct slot *slot_of(struct peer *p, rpc_done_fn *done, const void *arg)
{
    for (uint16_t i = p->first; i != NONE; i = p->slots[i].next)
        if (p->slots[i].req.done == done && p->slots[i].req.arg == arg)
            return &p->slots[i];
    return NULL;
}

/* Called with the lock. No slot: id 0, which no call has, so that a refusal finds nobody. */
static void send_cancel(struct peer *p, uint64_t id)
{
    struct frame f = {.cluster = p->env.cluster, .method = RPC_CANCEL};
    uint8_t payload[FRAME_CANCEL_BYTES];

    le_put64(payload, id);
    conn_send(p->conn, conn_msg_copy(&f, str_n(payload, sizeof payload))); /* false: it is closed, which the server sees */
}

void peer_cancel(struct peer *p, rpc_done_fn *done, void *arg)
{
    struct ended e = {0};
    struct slot *s;

    mutex_lock(&p->lock);
    s = slot_of(p, done, arg);
    if (s) {
        if (p->conn)
            send_cancel(p, slot_id(p, s));
        ended_add(&e, &s->req);
        slot_free(p, s);
    }
    mutex_unlock(&p->lock);
    ended_report(p, &e, RC_CANCELED, "canceled");
}

/* --- time --- */

static int64_t end_overdue(struct peer *p, int64_t now_ns, struct ended *e)
{
    int64_t next = INT64_MAX;

    for (uint16_t i = p->first, after; i != NONE; i = after) {
        struct slot *s = &p->slots[i];

        after = s->next;
        if (s->req.deadline_ns <= now_ns) {
            ended_add(e, &s->req);
            slot_free(p, s);
        } else {
            next = MIN(next, s->req.deadline_ns);
        }
    }
    return next;
}

/* Called with the lock. */
static void watch_silence(struct peer *p, int64_t now)
{
    struct frame ping = {.cluster = p->env.cluster, .flags = FRAME_PING};
    int64_t silent;

    if (p->in_flight == 0) {
        if (now - p->used_ms > RPC_IDLE_MS)
            conn_close(p->conn);
        return;
    }
    silent = now - MAX(conn_heard_ms(p->conn), p->slots[p->first].req.start_ns / NS_PER_MS);
    if (silent > RPC_SILENCE_MS) {
        conn_close(p->conn);
    } else if (silent > RPC_PROBE_MS && now - p->probed_ms > RPC_PROBE_MS / 2) {
        p->probed_ms = now;
        conn_send(p->conn, conn_msg_copy(&ping, (struct str){0}));
    }
}

/* Called with the lock. */
static bool is_idle(const struct peer *p, int64_t now)
{
    return !p->conn && !p->dial && p->in_flight == 0 && now - p->used_ms > RPC_IDLE_MS;
}

int64_t peer_tick(struct peer *p, int64_t now_ns, bool *ret_retired)
{
    struct ended e = {0};
    int64_t next;

    mutex_lock(&p->lock);
    next = end_overdue(p, now_ns, &e);
    if (p->conn)
        watch_silence(p, now_ns / NS_PER_MS);
    p->retired   = p->retired || is_idle(p, now_ns / NS_PER_MS);
    *ret_retired = p->retired;
    mutex_unlock(&p->lock);
    ended_report(p, &e, RC_TIMEOUT, "no answer before the deadline");
    return next;
}

void peer_shut(struct peer *p, int rc, const char *why)
{
    struct ended e = {0};
    struct conn *conn;
    struct dial *dial;

    mutex_lock(&p->lock);
    p->shut = true;
    conn    = p->conn ? conn_ref(p->conn) : NULL;
    dial    = p->dial ? dial_ref(p->dial) : NULL;
    take_all(p, &e);
    mutex_unlock(&p->lock);
    if (conn) {
        conn_close(conn);
        conn_unref(conn);
    }
    if (dial)
        dial_cancel(dial);
    dial_unref(dial);
    ended_report(p, &e, rc, why);
}

size_t peer_memory(struct peer *p)
{
    size_t n;

    mutex_lock(&p->lock);
    n = heap_bytes(p) + heap_bytes(p->slots) + p->waiting_bytes + (p->conn ? conn_memory(p->conn) : 0);
    mutex_unlock(&p->lock);
    return n;
}
