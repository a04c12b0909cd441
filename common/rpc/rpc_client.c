#include "common/base/hash.h"
#include "common/base/vec.h"
#include "common/obs/memory.h"
#include "common/rpc/peer.h"
#include "common/rpc/rpc.h"
#include "common/rpc/rpc_internal.h"
#include "common/sys/clock.h"
#include "common/sys/thread.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { PEER_BUCKETS = 256, TICK_MS = 1000, NS_PER_MS = 1000000 };

/* A call that failed before it reached a peer's table: reported by the client's thread, since done must not run inside
 * rpc_send. */
struct failed {
    struct failed *next;
    struct peer_request req;
    struct err err;
};

struct rpc_client {
    uint32_t cluster;
    struct log *log;
    struct rpc_metrics metrics;
    struct loop *loop;
    pthread_t thread;
    _Atomic int64_t wake_ns; /* the thread looks at deadlines then; a sooner deadline must wake it */

    struct mutex lock; /* --- guards the rest --- */
    struct cond changed;
    struct peer *buckets[PEER_BUCKETS];
    struct peer *unused; /* to be freed by the thread */
    size_t peers_listed, peers_live;
    struct failed *failed_first, **failed_last;
    bool wake, stop;
};

static struct peer **bucket_of(struct rpc_client *c, const char *addr)
{
    return &c->buckets[hash64(addr, strlen(addr), 0) % PEER_BUCKETS];
}

static void wake(struct rpc_client *c)
{
    mutex_lock(&c->lock);
    c->wake = true;
    cond_signal(&c->changed);
    mutex_unlock(&c->lock);
}

/* --- peers --- */

static void peer_unused(void *self, struct peer *p)
{
    struct rpc_client *c = self;

    mutex_lock(&c->lock);
    *peer_link(p) = c->unused;
    c->unused     = p;
    c->wake       = true;
    cond_signal(&c->changed);
    mutex_unlock(&c->lock);
}

static struct peer **find(struct rpc_client *c, const char *addr)
{
    struct peer **at = bucket_of(c, addr);

    while (*at && strcmp(peer_addr(*at), addr) != 0)
        at = peer_link(*at);
    return at;
}

/* Takes p out of the table, if it is in it still, and ends its calls. */
static void forget_peer(struct rpc_client *c, struct peer *p, int rc, const char *why)
{
    struct peer **at;
    bool listed;

    mutex_lock(&c->lock);
    at     = find(c, peer_addr(p));
    listed = *at == p;
    if (listed) {
        *at           = *peer_link(p);
        *peer_link(p) = NULL;
        c->peers_listed--;
    }
    mutex_unlock(&c->lock);
    peer_shut(p, rc, why);
    if (listed)
        peer_unref(p);
}

/* With a reference. */
static int peer_of(struct rpc_client *c, const char *addr, struct peer **ret, struct err *err)
{
    struct peer_env env = {c->cluster, c->log, &c->metrics, c->loop, peer_unused, c};
    struct peer **at;
    int rc = 0;

    mutex_lock(&c->lock);
    at = find(c, addr);
    if (*at) {
        *ret = peer_ref(*at);
        mutex_unlock(&c->lock);
        return 0;
    }
    if (c->stop)
        rc = err_set(err, RC_CANCELED, "client is closing");
    else if (c->peers_listed >= RPC_PEERS_MAX)
        rc = err_set(err, RC_LIMIT, "%d addresses in use already", RPC_PEERS_MAX);
    else
        rc = peer_new(addr, &env, ret, err);
    if (rc == 0) {
        *at = peer_ref(*ret);
        c->peers_listed++;
        c->peers_live++;
    }
    mutex_unlock(&c->lock);
    return rc;
}

void rpc_client_forget(struct rpc_client *c, const char *addr)
{
    struct peer *p;

    mutex_lock(&c->lock);
    p = *find(c, addr);
    if (p)
        peer_ref(p);
    mutex_unlock(&c->lock);
    if (p) {
        forget_peer(c, p, RC_UNAVAILABLE, "forgotten");
        peer_unref(p);
    }
}

/* --- the client's thread: deadlines, failures, idle and unused peers --- */

static void report_failed(struct rpc_client *c, struct failed *f)
{
    const struct peer_env env = {.metrics = &c->metrics};

    while (f) {
        struct failed *next = f->next;

        peer_request_end(&env, &f->req, f->err.rc, &(struct buf){0}, &f->err);
        free(f);
        f = next;
    }
}

typedef VEC(struct peer *) peer_list;

static void list_peers(struct rpc_client *c, peer_list *ret)
{
    mutex_lock(&c->lock);
    for (size_t i = 0; i < PEER_BUCKETS; i++) {
        for (struct peer *p = c->buckets[i]; p; p = *peer_link(p))
            *vec_push(ret) = peer_ref(p);
    }
    mutex_unlock(&c->lock);
}

static void tick_peers(struct rpc_client *c)
{
    int64_t now = clock_mono_ns(clock_system()), next = now + (int64_t)TICK_MS * NS_PER_MS;
    peer_list peers = {0};

    /* Whoever adds a sooner deadline than this while we look wakes us again. */
    atomic_store(&c->wake_ns, next);
    list_peers(c, &peers);
    for (size_t i = 0; i < peers.n; i++) {
        bool retired;
        int64_t wants = peer_tick(peers.v[i], now, &retired);

        next = MIN(next, wants);
        if (retired)
            forget_peer(c, peers.v[i], RC_UNAVAILABLE, "idle");
        peer_unref(peers.v[i]);
    }
    vec_fini(&peers);
    atomic_store(&c->wake_ns, next);
}

static void free_unused(struct rpc_client *c, struct peer *p)
{
    size_t n = 0;

    while (p) {
        struct peer *next = *peer_link(p);

        peer_free(p);
        p = next;
        n++;
    }
    mutex_lock(&c->lock);
    c->peers_live -= n;
    mutex_unlock(&c->lock);
}

static void *client_main(void *arg)
{
    struct rpc_client *c = arg;

    mutex_lock(&c->lock);
    while (!c->stop || c->peers_live > 0 || c->failed_first) {
        struct failed *failed = c->failed_first;
        struct peer *unused   = c->unused;
        int64_t left_ms;

        c->failed_first = NULL;
        c->failed_last  = &c->failed_first;
        c->unused       = NULL;
        c->wake         = false;
        mutex_unlock(&c->lock);
        report_failed(c, failed);
        free_unused(c, unused);
        tick_peers(c);
        mutex_lock(&c->lock);
        left_ms = (atomic_load(&c->wake_ns) - clock_mono_ns(clock_system()) + NS_PER_MS - 1) / NS_PER_MS;
        if (!c->wake && left_ms > 0 && !(c->stop && c->peers_live == 0))
            cond_wait_ms(&c->changed, &c->lock, left_ms);
    }
    mutex_unlock(&c->lock);
    return NULL;
}

int rpc_client_new(const struct rpc_client_cfg *cfg, struct rpc_client **ret, UNUSED struct err *err)
{
    struct rpc_client *c = xcalloc(1, sizeof *c);

    c->cluster     = frame_cluster_hash(cfg->cluster);
    c->log         = cfg->log;
    c->failed_last = &c->failed_first;
    mutex_init(&c->lock);
    cond_init(&c->changed);
    rpc_metrics_init(&c->metrics, cfg->metrics, false);
    c->loop   = loop_new("rpc-out");
    c->thread = thread_start("rpc-client", client_main, c);
    *ret      = c;
    return 0;
}

void rpc_client_free(struct rpc_client *c)
{
    peer_list peers = {0};

    if (!c)
        return;
    mutex_lock(&c->lock);
    c->stop = true;
    mutex_unlock(&c->lock);
    list_peers(c, &peers);
    for (size_t i = 0; i < peers.n; i++) {
        forget_peer(c, peers.v[i], RC_CANCELED, "client is closing");
        peer_unref(peers.v[i]);
    }
    vec_fini(&peers);
    wake(c);
    pthread_join(c->thread, NULL); /* it has freed all peers, and so all connections have ended */
    loop_free(c->loop);
    cond_fini(&c->changed);
    mutex_fini(&c->lock);
    free(c);
}

/* --- calls --- */

static void fail_later(struct rpc_client *c, const struct peer_request *req, const struct err *err)
{
    struct failed *f = xmalloc(sizeof *f);

    *f = (struct failed){.req = *req, .err = *err};
    mutex_lock(&c->lock);
    *c->failed_last = f;
    c->failed_last  = &f->next;
    c->wake         = true;
    cond_signal(&c->changed);
    mutex_unlock(&c->lock);
}

/* Takes body when it is not NULL and the call was accepted. */
static int send_now(struct rpc_client *c, const char *addr, const struct peer_request *req, char *body,
                    struct str payload, struct err *err)
{
    int rc    = RC_STALE;
    bool lost = false;

    if (payload.n > RPC_MESSAGE_BYTES_MAX)
        return err_set(err, RC_LIMIT, "%s: message of %zu bytes, at most %d fit", addr, payload.n,
                       RPC_MESSAGE_BYTES_MAX);
    if (req->deadline_ns <= req->start_ns)
        return err_set(err, RC_TIMEOUT, "%s: the deadline had passed before the call", addr);
    /* A peer that is retired between look-up and use is about to leave the table: the next look-up makes a new one. */
    while (rc == RC_STALE) {
        struct peer *p;

        rc = peer_of(c, addr, &p, err);
        if (rc < 0)
            return rc;
        rc = peer_send(p, req, body, payload, &lost, err);
        if (rc == RC_STALE)
            forget_peer(c, p, RC_UNAVAILABLE, "idle");
        peer_unref(p);
    }
    if (rc == 0 && lost)
        fail_later(c, req, err); /* here it would run within rpc_send, under the caller's locks */
    else if (rc == 0 && req->deadline_ns < atomic_load(&c->wake_ns))
        wake(c);
    return rc;
}

static struct peer_request request(enum rpc_method method, int64_t timeout_ms, rpc_done_fn *done, void *arg)
{
    int64_t now = clock_mono_ns(clock_system());

    ASSERT((unsigned)method < RPC_METHODS_MAX);
    timeout_ms = MIN(timeout_ms, (int64_t)INT32_MAX);
    return (struct peer_request){(unsigned)method, now, now + timeout_ms * NS_PER_MS, done, arg};
}

void rpc_send(struct rpc_client *c, const char *addr, enum rpc_method method, struct str payload, int64_t timeout_ms,
              rpc_done_fn *done, void *arg)
{
    struct peer_request req = request(method, timeout_ms, done, arg);
    struct err err          = {0};

    if (send_now(c, addr, &req, NULL, payload, &err) < 0)
        fail_later(c, &req, &err);
}

void rpc_send_buf(struct rpc_client *c, const char *addr, enum rpc_method method, struct buf *payload,
                  int64_t timeout_ms, rpc_done_fn *done, void *arg)
{
    struct peer_request req = request(method, timeout_ms, done, arg);
    struct err err          = {0};
    char *body;
    size_t n;
    int rc;

    if (!buf_ok(payload)) {
        buf_fini(payload);
        err_set(&err, RC_LIMIT, "%s: message over its buffer's maximum", addr);
        fail_later(c, &req, &err);
        return;
    }
    body = buf_take(payload, &n);
    rc   = send_now(c, addr, &req, body, str_n(body, n), &err);
    if (rc < 0) {
        free(body);
        fail_later(c, &req, &err);
    }
}

void rpc_cancel(struct rpc_client *c, const char *addr, rpc_done_fn *done, void *arg)
{
    struct peer *p;

    mutex_lock(&c->lock);
    p = *find(c, addr);
    if (p)
        peer_ref(p);
    mutex_unlock(&c->lock);
    if (p) {
        peer_cancel(p, done, arg);
        peer_unref(p);
    }
}

struct sync_call {
    struct mutex lock;
    struct cond done;
    bool ended;
    int rc;
    struct buf *reply;
    struct err *err;
};

static void sync_done(void *arg, int rc, struct buf *reply, const struct err *err)
{
    struct sync_call *s = arg;

    mutex_lock(&s->lock);
    s->rc = rc;
    if (rc == 0 && s->reply) {
        buf_str(s->reply, buf_view(reply));
        if (!buf_ok(s->reply))
            s->rc = err_set(s->err, RC_LIMIT, "answer of %zu bytes is longer than wanted", reply->n);
    }
    if (rc < 0 && s->err)
        *s->err = *err;
    s->ended = true;
    cond_signal(&s->done);
    mutex_unlock(&s->lock);
}

int rpc_call_sync(struct rpc_client *c, const char *addr, enum rpc_method method, struct str payload,
                  int64_t timeout_ms, struct buf *ret_reply, struct err *err)
{
    struct sync_call s = {.reply = ret_reply, .err = err};

    ASSERT(rpc_callback_depth == 0); /* it would wait for a thread that it occupies */
    mutex_init(&s.lock);
    cond_init(&s.done);
    rpc_send(c, addr, method, payload, timeout_ms, sync_done, &s);
    mutex_lock(&s.lock);
    while (!s.ended)
        cond_wait(&s.done, &s.lock);
    mutex_unlock(&s.lock);
    cond_fini(&s.done);
    mutex_fini(&s.lock);
    return s.rc;
}

size_t rpc_client_memory(struct rpc_client *c)
{
    size_t n = heap_bytes(c);

    mutex_lock(&c->lock);
    for (size_t i = 0; i < PEER_BUCKETS; i++)
        for (struct peer *p = c->buckets[i]; p; p = *peer_link(p))
            n += peer_memory(p);
    mutex_unlock(&c->lock);
    return n;
}
