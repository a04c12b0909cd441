#include "ring/ring_node.h"
#include "common/base/hash.h"
#include "common/sys/fs.h"
#include "common/sys/thread.h"
#include "ring/ring_msg.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

enum { STATE_MAGIC = 0x474e5254 /* "TRNG" */, STATE_BYTES_MAX = 1 << 20 };

struct outgoing {
    char addr[RING_ADDR_MAX + 1];
    char *p;
    size_t n;
};

struct ring_node {
    struct ring_node_deps deps;
    int rf;
    char *id, *path;
    struct mutex lock;        /* --- guards core, ring, outbox, flags below --- */
    struct cond wake;
    struct ring_core *core;
    struct ring *ring;
    VEC(struct outgoing) outbox; /* sent when the lock is free */
    bool changed, stopping, running, poked;
    pthread_t thread;
    struct metric *m_members, *m_epoch, *m_received, *m_malformed;
};

/* --- the state file: u32 magic, u32 crc32c of the rest, a gossip message with one record --- */

static void state_path(const char *dir, char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s/ring.state", dir);
}

static int state_load(const char *path, const char *id, struct ring_msg *ret, struct err *err)
{
    struct buf b;
    int rc;

    buf_init(&b, STATE_BYTES_MAX);
    rc = fs_read(path, &b, err);
    if (rc == 0 && (b.n < 8 || le_get32(b.p) != STATE_MAGIC || le_get32(b.p + 4) != crc32c(0, b.p + 8, b.n - 8)))
        rc = err_set(err, RC_CORRUPT, "%s is damaged: remove it to join as a new member", path);
    if (rc == 0)
        rc = ring_msg_decode(str_n(b.p + 8, b.n - 8), ret, err);
    if (rc == 0 && (ret->records.n != 1 || strcmp(ret->records.v[0].id, id) != 0)) {
        rc = err_set(err, RC_INVALID, "%s belongs to another member, not to %s: wrong data-dir or instance.id?", path, id);
        ring_msg_fini(ret);
    }
    buf_fini(&b);
    return rc;
}

static void on_persist(void *self, const struct member *m)
{
    struct ring_node *n = self;
    struct ring_msg msg = {.type = RING_MSG_GOSSIP, .sender = str_of(m->id), .sender_addr = str_of(m->addr), .borrowed_records = true};
    struct buf b;
    struct err err;

    if (!n->path)
        return;
    *vec_push(&msg.records) = *m;
    buf_init(&b, STATE_BYTES_MAX);
    buf_u32(&b, STATE_MAGIC);
    buf_u32(&b, 0);
    ring_msg_encode(&msg, &b);
    ASSERT(buf_ok(&b));
    le_put32(b.p + 4, crc32c(0, b.p + 8, b.n - 8));
    if (fs_write_atomic(n->path, buf_view(&b), &err) < 0)
        log_limited(n->deps.log, LOG_WARN, "ring state not written, will retry at the next change", "err", err_log(&err));
    buf_fini(&b);
    ring_msg_fini(&msg);
}

/* --- the core's environment; the lock is held --- */

static int64_t on_now(void *self)
{
    return clock_mono_ms(((struct ring_node *)self)->deps.clock);
}

static int64_t on_wall(void *self)
{
    return clock_wall_ms(((struct ring_node *)self)->deps.clock);
}

static void on_send(void *self, const char *addr, struct str msg)
{
    struct ring_node *n = self;
    struct outgoing *o = vec_push(&n->outbox);

    snprintf(o->addr, sizeof o->addr, "%s", addr);
    o->p = xmemdup(msg.p, msg.n);
    o->n = msg.n;
}

static void on_changed(void *self)
{
    ((struct ring_node *)self)->changed = true;
}

static void sent(UNUSED void *arg, UNUSED int rc, UNUSED struct str reply, UNUSED const struct err *err)
{
}

/* Lock held. */
static void view_renew(struct ring_node *n)
{
    size_t count = ring_core_members_n(n->core);
    const struct member **members;
    struct ring *next;

    if (!n->changed && n->ring)
        return;
    n->changed = false;
    members = xmalloc((count + 1) * sizeof *members);
    for (size_t i = 0; i < count; i++)
        members[i] = ring_core_member(n->core, i);
    next = n->ring ? ring_new_after(n->ring, members, count, n->rf, ring_core_epoch(n->core), n->id)
                   : ring_new(members, count, n->rf, ring_core_epoch(n->core), n->id);
    ring_unref(n->ring);
    n->ring = next;
    free(members);
}

/* After any event: new view, then messages go out without the lock. Lock held on entry, free on return. */
static void finish(struct ring_node *n)
{
    struct outgoing *list = n->outbox.v;
    size_t count = n->outbox.n;

    view_renew(n);
    n->outbox.v = NULL;
    n->outbox.n = n->outbox.cap = 0;
    mutex_unlock(&n->lock);
    for (size_t i = 0; i < count; i++) {
        rpc_send(n->deps.client, list[i].addr, RPC_GOSSIP, str_n(list[i].p, list[i].n), RING_GOSSIP_TIMEOUT_MS, sent, NULL);
        free(list[i].p);
    }
    free(list);
}

static void on_gossip(void *arg, struct rpc_call *call)
{
    struct ring_node *n = arg;
    struct err err;
    int rc;

    mutex_lock(&n->lock);
    rc = ring_core_receive(n->core, rpc_call_payload(call), &err);
    n->poked = true;
    cond_signal(&n->wake);
    finish(n);
    if (rc < 0) {
        log_limited(n->deps.log, LOG_WARN, "gossip refused", "err", err_log(&err));
        rpc_reply_err(call, &err);
    } else {
        rpc_reply(call, RC_OK, (struct str){0});
    }
}

static void *node_main(void *arg)
{
    struct ring_node *n = arg;

    for (;;) {
        int64_t next, wait;

        mutex_lock(&n->lock);
        if (n->stopping)
            break;
        n->poked = false;
        next = ring_core_tick(n->core);
        finish(n);
        mutex_lock(&n->lock);
        wait = next - on_now(n);
        if (!n->stopping && !n->poked && wait > 0)
            cond_wait_ms(&n->wake, &n->lock, MIN(wait, 1000));
        mutex_unlock(&n->lock);
    }
    mutex_unlock(&n->lock);
    return NULL;
}

static void collect(void *arg)
{
    struct ring_node *n = arg;
    struct ring_core_stats st;

    mutex_lock(&n->lock);
    st = ring_core_stats(n->core);
    metric_set(n->m_members, (double)ring_core_alive(n->core) + 1);
    metric_set(n->m_epoch, (double)ring_core_epoch(n->core));
    mutex_unlock(&n->lock);
    metric_set(n->m_received, (double)st.received);
    metric_set(n->m_malformed, (double)st.malformed);
}

static void metrics_make(struct ring_node *n)
{
    struct metrics *m = n->deps.metrics;

    n->m_members = metrics_gauge(m, "torc_ring_members", "Members of the cluster that are alive, this one included.");
    n->m_epoch = metrics_gauge(m, "torc_ring_epoch", "Version of who owns which ranges, as this process sees it.");
    n->m_received = metrics_gauge(m, "torc_ring_messages_received", "Gossip messages received since the start.");
    n->m_malformed = metrics_gauge(m, "torc_ring_messages_malformed", "Gossip messages refused since the start.");
    metrics_on_collect(m, collect, n);
}

static size_t tokens_make(const struct ring_node_cfg *cfg, uint32_t out[RING_TOKENS])
{
    int ordinal = tokens_ordinal_of_name(str_of(cfg->id));

    if (!(cfg->roles & RING_INGESTER))
        return 0;
    if (ordinal >= 0)
        tokens_of_ordinal((unsigned)ordinal, RING_TOKENS, out);
    else
        tokens_of_name(str_of(cfg->id), RING_TOKENS, out);
    return RING_TOKENS;
}

static int core_make(struct ring_node *n, const struct ring_node_cfg *cfg, struct err *err)
{
    const struct ring_core_env env = {n, on_now, on_wall, on_send, on_persist, on_changed, 0};
    struct ring_core_cfg c = {
        .id = cfg->id,
        .zone = cfg->zone,
        .addr = cfg->addr,
        .http_addr = cfg->http_addr,
        .roles = cfg->roles,
        .seeds = cfg->seeds,
        .seeds_n = cfg->seeds_n,
        .period_ms = cfg->period_ms,
        /* Roles without data are there at once; an ingester is ACTIVE when its log is replayed. */
        .state = cfg->roles & RING_INGESTER ? RING_PENDING : RING_ACTIVE,
    };
    struct ring_core_env seeded = env;
    uint32_t tokens[RING_TOKENS];
    struct ring_msg kept = {0};
    int rc = n->path ? state_load(n->path, cfg->id, &kept, err) : RC_NOT_FOUND;

    if (rc < 0 && rc != RC_NOT_FOUND)
        return rc;
    if (rc == 0)
        c.restored = &kept.records.v[0];
    c.tokens = tokens;
    c.tokens_n = (uint32_t)tokens_make(cfg, tokens);
    random_bytes(&seeded.random_seed, sizeof seeded.random_seed);
    rc = ring_core_new(&c, &seeded, &n->core, err);
    ring_msg_fini(&kept);
    return rc;
}

int ring_node_new(const struct ring_node_cfg *cfg, const struct ring_node_deps *deps, struct ring_node **ret, struct err *err)
{
    struct ring_node *n = xcalloc(1, sizeof *n);
    char path[PATH_MAX];
    int rc = 0;

    n->deps = *deps;
    n->rf = cfg->rf;
    n->id = xstrdup(cfg->id);
    mutex_init(&n->lock);
    cond_init(&n->wake);
    if (cfg->dir && cfg->dir[0]) {
        rc = fs_mkdirs(cfg->dir, err);
        state_path(cfg->dir, path);
        n->path = xstrdup(path);
    }
    if (rc == 0)
        rc = core_make(n, cfg, err);
    if (rc < 0) {
        ring_node_free(n);
        return err_wrap(err, rc, "ring");
    }
    n->changed = true;
    view_renew(n);
    metrics_make(n);
    rpc_server_handle(deps->server, RPC_GOSSIP, on_gossip, n);
    *ret = n;
    return 0;
}

void ring_node_start(struct ring_node *n)
{
    n->running = true;
    n->thread = thread_start("ring", node_main, n);
}

void ring_node_stop(struct ring_node *n)
{
    if (!n->running)
        return;
    mutex_lock(&n->lock);
    n->stopping = true;
    cond_broadcast(&n->wake);
    mutex_unlock(&n->lock);
    pthread_join(n->thread, NULL);
    n->running = false;
}

void ring_node_free(struct ring_node *n)
{
    if (!n)
        return;
    ring_node_stop(n);
    for (size_t i = 0; i < n->outbox.n; i++)
        free(n->outbox.v[i].p);
    vec_fini(&n->outbox);
    ring_unref(n->ring);
    ring_core_free(n->core);
    cond_fini(&n->wake);
    mutex_fini(&n->lock);
    free(n->path);
    free(n->id);
    free(n);
}

struct ring *ring_node_ring(struct ring_node *n)
{
    struct ring *r;

    mutex_lock(&n->lock);
    r = ring_ref(n->ring);
    mutex_unlock(&n->lock);
    return r;
}

static void poke_and_finish(struct ring_node *n)
{
    n->poked = true;
    cond_signal(&n->wake);
    finish(n);
}

void ring_node_set_state(struct ring_node *n, enum ring_state state)
{
    mutex_lock(&n->lock);
    if (ring_core_self(n->core)->state != state)
        ring_core_set_state(n->core, state);
    poke_and_finish(n);
}

void ring_node_set_flags(struct ring_node *n, uint32_t flags)
{
    mutex_lock(&n->lock);
    ring_core_set_flags(n->core, flags);
    poke_and_finish(n);
}

void ring_node_leave(struct ring_node *n)
{
    mutex_lock(&n->lock);
    ring_core_leave(n->core);
    poke_and_finish(n);
}

int ring_node_forget(struct ring_node *n, const char *id, struct err *err)
{
    int rc;

    mutex_lock(&n->lock);
    rc = ring_core_forget(n->core, id, err);
    poke_and_finish(n);
    return rc;
}
