#include "common/base/bytes.h"
#include "common/obs/log.h"
#include "common/obs/memory.h"
#include "common/rpc/conn.h"
#include "common/rpc/rpc.h"
#include "common/rpc/rpc_internal.h"
#include "common/rpc/rpc_metrics.h"
#include "common/rpc/sock.h"
#include "common/sys/clock.h"
#include "common/sys/thread.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

enum { ACCEPT_PAUSE_MS = 50, DRAIN_STEP_MS = 5, SERVER_IDLE_MS = 300000 };

/* What is counted apart, so that no kind keeps another out. */
enum call_kind { CALL_CONTROL, /* gossip: who is alive must not depend on load */ CALL_FAST, CALL_SLOW, CALL_KINDS };

struct handler {
    rpc_handler_fn *fn;
    void *arg;
    bool slow;
};

/* One accepted connection. */
struct client_conn {
    struct rpc_server *srv;
    struct conn *conn;
    struct client_conn *prev, *next; /* guarded by srv->lock */
    struct rpc_call *calls;          /* of slow methods, likewise */
};

struct rpc_call {
    struct rpc_server *srv;
    struct conn *conn; /* a reference */
    struct frame frame;
    char *body;
    int64_t start_ns, deadline_ns;
    enum call_kind kind;
    struct rpc_call *next; /* worker queue */
    struct client_conn *from; /* of a slow method: whose list it is in */
    struct rpc_call *prev_call, *next_call; /* that list, guarded by srv->lock */
    atomic_bool canceled;
};

struct rpc_server {
    struct loop_source accepts; /* first: the loop knows the server by it */
    struct sock_addr where;     /* --- read-only after start --- */
    struct loop *loop;
    int listener; /* -1: none */
    uint32_t cluster;
    int calls_max, workers_count;
    size_t bytes_max;
    struct log *log;
    struct handler handlers[RPC_METHODS_MAX];
    int port;
    bool started;
    pthread_t *workers;

    struct rpc_metrics metrics; /* --- any thread --- */
    atomic_int calls, calls_of[CALL_KINDS];
    atomic_size_t bytes; /* their payloads */
    atomic_bool draining;

    struct mutex lock; /* --- guards the rest --- */
    struct cond changed;
    struct cond work; /* for workers: a call, or the end */
    struct client_conn *conns;
    int conns_live; /* until conn_events.freed */
    struct rpc_call *queue_first, **queue_last;
    bool stop_workers, closing;
};

/* --- calls --- */

struct str rpc_call_payload(const struct rpc_call *call)
{
    return str_n(call->body, call->frame.payload_len);
}

int64_t rpc_call_left_ms(const struct rpc_call *call)
{
    int64_t left = call->deadline_ns - clock_mono_ns(clock_system());

    return left > 0 ? (left + 999999) / 1000000 : 0;
}

unsigned rpc_call_method(const struct rpc_call *call)
{
    return call->frame.method;
}

const _Atomic bool *rpc_call_canceled(const struct rpc_call *call)
{
    ASSERT(call->from);
    return &call->canceled;
}

/* Called with the lock. */
static void call_list(struct client_conn *cc, struct rpc_call *call)
{
    call->from = cc;
    DL_APPEND2(cc->calls, call, prev_call, next_call);
}

static void call_unlist(struct rpc_call *call)
{
    mutex_lock(&call->srv->lock);
    DL_DELETE2(call->from->calls, call, prev_call, next_call);
    mutex_unlock(&call->srv->lock);
}

static void on_cancel(struct client_conn *cc, struct str payload)
{
    uint64_t id = payload.n == FRAME_CANCEL_BYTES ? le_get64(payload.p) : 0;
    struct rpc_call *call;

    mutex_lock(&cc->srv->lock);
    DL_FOREACH2(cc->calls, call, next_call)
    if (call->frame.id == id)
        atomic_store(&call->canceled, true);
    mutex_unlock(&cc->srv->lock);
}

static struct frame answer_to(const struct frame *f, int status)
{
    ASSERT(status <= 0 && status > INT16_MIN);
    return (struct frame){
        .id      = f->id,
        .cluster = f->cluster,
        .method  = f->method,
        .flags   = FRAME_REPLY,
        .status  = (int16_t)status,
    };
}

/* Takes m. The server may be freed by another thread as soon as the reference is gone, so that goes last. */
static void call_end(struct rpc_call *call, int status, struct conn_msg *m, size_t sent)
{
    struct rpc_server *srv = call->srv;
    struct conn *conn      = call->conn;

    if (call->from)
        call_unlist(call);
    atomic_fetch_sub(&srv->bytes, call->frame.payload_len);
    atomic_fetch_sub(&srv->calls_of[call->kind], 1);
    rpc_metrics_done(&srv->metrics, call->frame.method, status, clock_mono_ns(clock_system()) - call->start_ns);
    rpc_metrics_bytes(&srv->metrics, sent, call->frame.payload_len);
    free(call->body);
    free(call);
    conn_send(conn, m); /* false: the caller is gone, nobody waits */
    atomic_fetch_sub(&srv->calls, 1);
    conn_unref(conn);
}

static bool too_long(const struct rpc_call *call, size_t n)
{
    if (n <= RPC_MESSAGE_BYTES_MAX)
        return false;
    if (call->srv->log)
        log_limited(call->srv->log, LOG_ERROR, "answer too long for one message, sent an error instead", "method",
                    rpc_method_name(call->frame.method), "bytes", log_i64((int64_t)n));
    return true;
}

void rpc_reply(struct rpc_call *call, int status, struct str payload)
{
    struct frame f;

    if (too_long(call, payload.n)) {
        status  = RC_LIMIT;
        payload = STR("answer is too long for one message");
    }
    f = answer_to(&call->frame, status);
    call_end(call, status, conn_msg_copy(&f, payload), payload.n);
}

void rpc_reply_buf(struct rpc_call *call, int status, struct buf *payload)
{
    struct frame f;
    char *p;
    size_t n;

    if (!buf_ok(payload) || payload->n > RPC_MESSAGE_BYTES_MAX) {
        size_t wanted = MAX(payload->n, (size_t)RPC_MESSAGE_BYTES_MAX + 1);

        buf_fini(payload);
        too_long(call, wanted);
        rpc_reply(call, RC_LIMIT, STR("answer is too long for one message"));
        return;
    }
    f = answer_to(&call->frame, status);
    p = buf_take(payload, &n);
    call_end(call, status, conn_msg_take(&f, p, n), n);
}

void rpc_reply_err(struct rpc_call *call, const struct err *err)
{
    ASSERT(err->rc < 0);
    rpc_reply(call, err->rc, str_of(err_text(err)));
}

/* --- requests --- */

static void run_handler(struct rpc_call *call)
{
    const struct handler *h = &call->srv->handlers[call->frame.method];

    rpc_callback_depth++;
    h->fn(h->arg, call);
    rpc_callback_depth--;
}

static void queue_call(struct client_conn *cc, struct rpc_call *call)
{
    struct rpc_server *srv = cc->srv;

    mutex_lock(&srv->lock);
    call_list(cc, call);
    *srv->queue_last = call;
    srv->queue_last  = &call->next;
    mutex_unlock(&srv->lock);
    cond_signal(&srv->work); /* without the lock, which the worker would only wait for */
}

static void *worker_main(void *arg)
{
    struct rpc_server *srv = arg;

    thread_nice(NICE_READS);
    mutex_lock(&srv->lock);
    for (;;) {
        struct rpc_call *call = srv->queue_first;

        if (!call && srv->stop_workers)
            break;
        if (!call) {
            cond_wait(&srv->work, &srv->lock);
            continue;
        }
        srv->queue_first = call->next;
        if (!srv->queue_first)
            srv->queue_last = &srv->queue_first;
        mutex_unlock(&srv->lock);
        if (atomic_load(&call->canceled))
            rpc_reply(call, RC_CANCELED, STR("canceled before the call could begin"));
        else if (rpc_call_left_ms(call) == 0)
            rpc_reply(call, RC_TIMEOUT, STR("deadline passed before the call could begin"));
        else
            run_handler(call);
        mutex_lock(&srv->lock);
    }
    mutex_unlock(&srv->lock);
    return NULL;
}

static enum call_kind kind_of(const struct rpc_server *srv, unsigned method)
{
    if (method < RPC_PUSH)
        return CALL_CONTROL;
    return method < RPC_METHODS_MAX && srv->handlers[method].slow ? CALL_SLOW : CALL_FAST;
}

/* Takes body. */
static void on_frame(void *owner, struct conn *conn, const struct frame *f, char *body)
{
    struct client_conn *cc = owner;
    struct rpc_server *srv = cc->srv;
    struct rpc_call *call;
    int64_t now = clock_mono_ns(clock_system());
    size_t bytes;

    if (f->flags & FRAME_REPLY) { /* not an answer to anything a server asked */
        free(body);
        conn_close(conn);
        return;
    }
    if (f->method == RPC_CANCEL) {
        on_cancel(cc, str_n(body, f->payload_len));
        free(body);
        return;
    }
    call  = xmalloc(sizeof *call);
    *call = (struct rpc_call){
        .srv         = srv,
        .conn        = conn_ref(conn),
        .frame       = *f,
        .body        = body,
        .start_ns    = now,
        .deadline_ns = now + (int64_t)f->deadline_ms * 1000000,
        .kind        = kind_of(srv, f->method),
    };
    atomic_fetch_add(&srv->calls, 1);
    bytes = atomic_fetch_add(&srv->bytes, f->payload_len) + f->payload_len;
    if (atomic_fetch_add(&srv->calls_of[call->kind], 1) >= srv->calls_max)
        rpc_reply(call, RC_UNAVAILABLE, STR("overloaded: too many calls in progress (server.rpc-calls)"));
    else if (call->kind != CALL_CONTROL && bytes > srv->bytes_max && bytes > f->payload_len) /* one call fits, whatever its size */
        rpc_reply(call, RC_UNAVAILABLE, STR("overloaded: too many bytes in calls in progress (server.rpc-calls-bytes)"));
    else if (atomic_load(&srv->draining))
        rpc_reply(call, RC_UNAVAILABLE, STR("shutting down"));
    else if (f->method >= RPC_METHODS_MAX || !srv->handlers[f->method].fn)
        rpc_reply(call, RC_UNSUPPORTED, STR("this process does not serve the method"));
    else if (call->kind == CALL_SLOW)
        queue_call(cc, call);
    else
        run_handler(call);
}

static void on_refused(void *owner, enum frame_refusal why)
{
    rpc_metrics_refused(&((struct client_conn *)owner)->srv->metrics, why);
}

/* Called with the lock. */
static void unlist(struct client_conn *cc)
{
    struct rpc_server *srv = cc->srv;

    if (cc->prev)
        cc->prev->next = cc->next;
    else
        srv->conns = cc->next;
    if (cc->next)
        cc->next->prev = cc->prev;
}

static void on_closed(void *owner, struct conn *conn, const struct err *why)
{
    struct client_conn *cc = owner;
    struct rpc_server *srv = cc->srv;
    struct rpc_call *call;

    if (why->rc != RC_UNAVAILABLE && srv->log)
        log_limited(srv->log, LOG_WARN, "connection of a caller closed", "err", err_text(why));
    mutex_lock(&srv->lock);
    DL_FOREACH2(cc->calls, call, next_call)
    atomic_store(&call->canceled, true);
    unlist(cc);
    mutex_unlock(&srv->lock);
    conn_unref(conn);
}

static void on_freed(void *owner)
{
    struct client_conn *cc = owner;
    struct rpc_server *srv = cc->srv;

    free(cc);
    rpc_metrics_connections(&srv->metrics, -1);
    mutex_lock(&srv->lock);
    srv->conns_live--;
    cond_broadcast(&srv->changed);
    mutex_unlock(&srv->lock);
}

static const struct conn_events server_events = {on_frame, on_refused, on_closed, on_freed};

/* --- accepting --- */

/* Callers close their idle connections themselves; what is left silent belongs to vanished machines. */
static void sweep_idle(struct rpc_server *srv)
{
    int64_t now = clock_mono_ms(clock_system());

    mutex_lock(&srv->lock);
    for (struct client_conn *cc = srv->conns; cc; cc = cc->next) {
        if (now - conn_heard_ms(cc->conn) > SERVER_IDLE_MS)
            conn_close(cc->conn); /* events come on other threads */
    }
    mutex_unlock(&srv->lock);
}

/* Takes fd on success. */
static bool adopt(struct rpc_server *srv, int fd)
{
    struct client_conn *cc;
    bool room;

    mutex_lock(&srv->lock);
    room = !srv->closing && srv->conns_live < RPC_SERVER_CONNS;
    if (room) {
        cc       = xcalloc(1, sizeof *cc);
        cc->srv  = srv;
        cc->conn = conn_new(fd, srv->loop, srv->cluster, &server_events, cc);
        cc->next = srv->conns;
        if (cc->next)
            cc->next->prev = cc;
        srv->conns = cc;
        srv->conns_live++;
        conn_start(cc->conn);
    }
    mutex_unlock(&srv->lock);
    return room;
}

/* Takes fd. */
static void accepted(struct rpc_server *srv, int fd)
{
    sock_no_delay(fd);
    sock_keep_alive(fd);
    sweep_idle(srv);
    if (adopt(srv, fd))
        rpc_metrics_connections(&srv->metrics, 1);
    else
        close(fd);
}

static bool is_closing(struct rpc_server *srv)
{
    bool closing;

    mutex_lock(&srv->lock);
    closing = srv->closing;
    mutex_unlock(&srv->lock);
    return closing;
}

static void on_accept(struct loop_source *s, UNUSED uint32_t events)
{
    struct rpc_server *srv = (struct rpc_server *)s;

    for (;;) {
        int fd = accept4(srv->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            accepted(srv, fd);
        } else if (errno == EAGAIN || is_closing(srv)) {
            return;
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            if (srv->log)
                log_limited(srv->log, LOG_WARN, "accept failed, will retry", "err", "out of file descriptors or memory");
            usleep(ACCEPT_PAUSE_MS * 1000); /* this one thread may wait, the alternative spins */
        } /* else the connection broke before it was accepted */
    }
}

/* --- life --- */

int rpc_server_new(const struct rpc_server_cfg *cfg, struct rpc_server **ret, struct err *err)
{
    struct rpc_server *srv = xcalloc(1, sizeof *srv);

    if (sock_addr_parse(cfg->listen, &srv->where) < 0) {
        free(srv);
        return err_set(err, RC_INVALID, "listen address \"%s\" is not host:port", cfg->listen);
    }
    srv->listener      = -1;
    srv->cluster       = frame_cluster_hash(cfg->cluster);
    srv->calls_max     = cfg->calls_max ? cfg->calls_max : RPC_CALLS_MAX;
    srv->bytes_max     = cfg->bytes_max ? cfg->bytes_max : RPC_CALLS_BYTES_MAX;
    srv->workers_count = cfg->workers ? cfg->workers : RPC_WORKERS;
    srv->log           = cfg->log;
    srv->queue_last    = &srv->queue_first;
    mutex_init(&srv->lock);
    cond_init(&srv->changed);
    cond_init(&srv->work);
    rpc_metrics_init(&srv->metrics, cfg->metrics, true);
    *ret = srv;
    return 0;
}

static void handle(struct rpc_server *srv, enum rpc_method method, struct handler h)
{
    ASSERT(!srv->started && (unsigned)method < RPC_METHODS_MAX && !srv->handlers[method].fn);
    srv->handlers[method] = h;
}

void rpc_server_handle(struct rpc_server *srv, enum rpc_method method, rpc_handler_fn *fn, void *arg)
{
    handle(srv, method, (struct handler){fn, arg, false});
}

void rpc_server_handle_slow(struct rpc_server *srv, enum rpc_method method, rpc_handler_fn *fn, void *arg)
{
    handle(srv, method, (struct handler){fn, arg, true});
}

int rpc_server_start(struct rpc_server *srv, struct err *err)
{
    int rc = sock_listen(&srv->where, &srv->listener, &srv->port, err);

    ASSERT(!srv->started);
    if (rc < 0)
        return rc;
    srv->started = true;
    srv->loop    = loop_new("rpc-in");
    srv->workers = xcalloc((size_t)srv->workers_count, sizeof *srv->workers);
    for (int i = 0; i < srv->workers_count; i++)
        srv->workers[i] = thread_start("rpc-worker", worker_main, srv);
    srv->accepts.ready = on_accept;
    loop_add(srv->loop, &srv->accepts, srv->listener);
    return 0;
}

int rpc_server_port(const struct rpc_server *srv)
{
    return srv->port;
}

/* Called with the lock. */
static bool all_sent(struct rpc_server *srv)
{
    if (atomic_load(&srv->calls) > 0)
        return false;
    for (struct client_conn *cc = srv->conns; cc; cc = cc->next) {
        if (conn_unsent(cc->conn) > 0)
            return false;
    }
    return true;
}

bool rpc_server_drain(struct rpc_server *srv, int64_t timeout_ms)
{
    int64_t until = clock_mono_ms(clock_system()) + timeout_ms;
    bool done;

    atomic_store(&srv->draining, true);
    mutex_lock(&srv->lock);
    while (!(done = all_sent(srv)) && clock_mono_ms(clock_system()) < until)
        cond_wait_ms(&srv->changed, &srv->lock, DRAIN_STEP_MS);
    mutex_unlock(&srv->lock);
    return done;
}

/* The listening socket itself is closed with the server, since the loop may be about to accept. */
static void stop_accepting(struct rpc_server *srv)
{
    mutex_lock(&srv->lock);
    srv->closing = true;
    mutex_unlock(&srv->lock);
    if (srv->listener >= 0)
        shutdown(srv->listener, SHUT_RD);
}

void rpc_server_free(struct rpc_server *srv)
{
    if (!srv)
        return;
    atomic_store(&srv->draining, true);
    stop_accepting(srv);
    mutex_lock(&srv->lock);
    for (struct client_conn *cc = srv->conns; cc; cc = cc->next)
        conn_close(cc->conn);
    while (srv->conns_live > 0) /* calls hold their connections: none is left after this */
        cond_wait(&srv->changed, &srv->lock);
    srv->stop_workers = true;
    cond_broadcast(&srv->work);
    mutex_unlock(&srv->lock);
    for (int i = 0; srv->started && i < srv->workers_count; i++)
        pthread_join(srv->workers[i], NULL);
    free(srv->workers);
    loop_free(srv->loop);
    if (srv->listener >= 0)
        close(srv->listener);
    cond_fini(&srv->changed);
    cond_fini(&srv->work);
    mutex_fini(&srv->lock);
    free(srv);
}

size_t rpc_server_memory(struct rpc_server *srv)
{
    size_t n = heap_bytes(srv) + atomic_load(&srv->bytes) + (size_t)atomic_load(&srv->calls) * sizeof(struct rpc_call);

    mutex_lock(&srv->lock);
    for (const struct client_conn *cc = srv->conns; cc; cc = cc->next)
        n += heap_bytes(cc) + (cc->conn ? conn_memory(cc->conn) : 0);
    mutex_unlock(&srv->lock);
    return n;
}
