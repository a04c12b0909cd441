#include "ring/kv_gossip.h"

#include "common/obs/log.h"
#include "common/obs/metrics.h"
#include "common/rpc/rpc.h"
#include "common/sys/clock.h"
#include "common/sys/fs.h"
#include "common/sys/thread.h"
#include "ring/kv_file.h"

#include <stdlib.h>

struct watcher {
    char *prefix;
    ring_kv_fn *fn;
    void *arg;
};

struct kv_gossip {
    const struct clock *clock; /* --- read-only after start --- */
    struct kv_gossip_deps deps;
    char *addr, *data_dir;
    uint32_t roles;
    int64_t period_ms;
    struct rpc_client *client;
    struct metric *m_entries, *m_bytes, *m_malformed, *m_sent_bytes;
    pthread_t thread;
    bool started;

    struct mutex watch_lock; /* --- held while watchers are told; not within lock --- */
    struct watcher watchers[RING_KV_WATCHERS_MAX];
    size_t watchers_n;

    struct mutex lock; /* --- guards the rest --- */
    struct cond wake;
    struct kv_core *core; /* NULL before start */
    struct ring *peers_of;
    VEC(const char *) peers;             /* of peers_of */
    VEC(struct ring_kv_entry) changed;   /* copies, until the watchers are told */
    bool dirty, woken, stop;
    int64_t saved_ms;
};

/* --- environment of the core; all called with the lock --- */

static int64_t env_now_ms(void *self)
{
    return clock_mono_ms(((struct kv_gossip *)self)->clock);
}

static int64_t env_wall_ms(void *self)
{
    return clock_wall_ms(((struct kv_gossip *)self)->clock);
}

static size_t env_peers(void *self, const char *const **ret)
{
    struct kv_gossip *g = self;

    *ret = g->peers.v;
    return g->peers.n;
}

static void on_sent(UNUSED void *arg, UNUSED int rc, UNUSED struct buf *reply, UNUSED const struct err *err)
{
    /* A lost message is the protocol's business. */
}

static void env_send(void *self, const char *addr, struct str msg)
{
    struct kv_gossip *g = self;

    rpc_send(g->client, addr, RPC_KV, msg, g->period_ms, on_sent, g);
}

static void env_changed(void *self, const struct ring_kv_entry *e)
{
    struct kv_gossip *g       = self;
    struct ring_kv_entry copy = *e;

    g->dirty = g->woken = true;
    cond_broadcast(&g->wake);
    copy.key.p   = xmemdup(e->key.p, e->key.n);
    copy.value.p = xmemdup(e->value.p, e->value.n);
    *(struct ring_kv_entry *)vec_push(&g->changed) = copy;
}

static void refresh_peers(struct kv_gossip *g)
{
    struct ring *r = g->deps.ring(g->deps.ring_arg);

    if (!r)
        return;
    ring_unref(g->peers_of);
    g->peers_of = r;
    vec_clear(&g->peers);
    for (size_t i = 0; i < ring_instances_n(r); i++) {
        const struct ring_instance *in = ring_instance(r, (uint16_t)i);

        if ((in->roles & g->roles) && in->healthy && (uint16_t)i != ring_self(r) && g->peers.n < KV_PEERS_MAX)
            *(const char **)vec_push(&g->peers) = in->addr;
    }
}

/* --- watchers --- */

/* Lock held, and released for the calls. */
static void tell_watchers(struct kv_gossip *g)
{
    struct ring_kv_entry *list = g->changed.v;
    size_t n                   = g->changed.n;

    if (n == 0)
        return;
    g->changed.v = NULL;
    g->changed.n = g->changed.cap = 0;
    mutex_unlock(&g->lock);
    mutex_lock(&g->watch_lock);
    for (size_t i = 0; i < n; i++) {
        for (size_t w = 0; w < g->watchers_n; w++)
            if (str_has_prefix(list[i].key, str_of(g->watchers[w].prefix)))
                g->watchers[w].fn(g->watchers[w].arg, &list[i]);
        free((char *)list[i].key.p);
        free((char *)list[i].value.p);
    }
    free(list);
    mutex_unlock(&g->watch_lock);
    mutex_lock(&g->lock);
}

/* --- the file --- */

static void restore_one(void *core, const struct ring_kv_entry *e)
{
    kv_core_merge(core, e, true);
}

static void restore(struct kv_gossip *g)
{
    struct err err = {0};
    int rc         = kv_file_read(g->data_dir, restore_one, g->core, &err);

    if (rc < 0 && rc != RC_NOT_FOUND && g->deps.log)
        log_error(g->deps.log, "shared state not read, begun anew; others may still know it", "err", err_log(&err));
    g->dirty = false;
}

/* Lock held, and released while writing. One at a time: the thread's, and free's after it. */
static void save(struct kv_gossip *g)
{
    struct err err = {0};
    struct buf b;

    if (!g->data_dir || !g->dirty)
        return;
    g->dirty    = false;
    g->saved_ms = env_now_ms(g);
    buf_init(&b, KV_FILE_BYTES_MAX);
    kv_file_encode(g->core, &b);
    mutex_unlock(&g->lock);
    if (kv_file_write(g->data_dir, buf_view(&b), &err) < 0 && g->deps.log)
        log_limited(g->deps.log, LOG_ERROR, "shared state not written, will retry with its next change", "err", err_log(&err));
    buf_fini(&b);
    mutex_lock(&g->lock);
}

/* --- thread and messages --- */

static void *gossip_main(void *arg)
{
    struct kv_gossip *g = arg;

    mutex_lock(&g->lock);
    while (!g->stop) {
        int64_t next, left;

        refresh_peers(g);
        next     = kv_core_tick(g->core);
        g->woken = false;
        tell_watchers(g);
        if (g->dirty && env_now_ms(g) - g->saved_ms >= KV_SAVE_MS)
            save(g);
        left = MIN(next - env_now_ms(g), g->period_ms);
        if (!g->woken && !g->stop && left > 0)
            cond_wait_ms(&g->wake, &g->lock, left);
    }
    mutex_unlock(&g->lock);
    return NULL;
}

static void on_message(void *arg, struct rpc_call *call)
{
    struct kv_gossip *g = arg;
    struct err err      = {0};
    int rc;

    mutex_lock(&g->lock);
    if (g->core && !g->stop)
        rc = kv_core_receive(g->core, rpc_call_payload(call), &err);
    else
        rc = err_set(&err, RC_UNAVAILABLE, "shared state: not running");
    mutex_unlock(&g->lock); /* the thread, which a change wakes, tells the watchers: they may take their time */
    if (rc == 0) {
        rpc_reply(call, RC_OK, (struct str){0});
        return;
    }
    if (g->deps.log && rc != RC_UNAVAILABLE)
        log_limited(g->deps.log, LOG_WARN, "message of the shared state refused", "err", err_text(&err));
    rpc_reply_err(call, &err);
}

/* --- verbs --- */

static int op_get(void *self, struct str key, struct buf *ret_value, uint64_t *ret_version, struct err *err)
{
    struct kv_gossip *g = self;
    const struct ring_kv_entry *e;
    int rc = 0;

    mutex_lock(&g->lock);
    e = g->core ? kv_core_get(g->core, key) : NULL;
    if (e) {
        buf_str(ret_value, e->value);
        if (ret_version)
            *ret_version = e->version;
    } else {
        rc = err_set(err, RC_NOT_FOUND, "shared state: no \"%.*s\"", (int)MIN(key.n, (size_t)80), key.p);
    }
    mutex_unlock(&g->lock);
    return rc;
}

static int put(struct kv_gossip *g, uint64_t if_version, const struct ring_kv_entry *e, struct err *err)
{
    int rc;

    mutex_lock(&g->lock);
    rc = g->core ? kv_core_put(g->core, if_version, e, err) : err_set(err, RC_UNAVAILABLE, "shared state: not started");
    tell_watchers(g);
    mutex_unlock(&g->lock);
    return rc;
}

static int op_put(void *self, struct str key, uint64_t if_version, uint64_t version, struct str value, struct err *err)
{
    return put(self, if_version, &(struct ring_kv_entry){.key = key, .value = value, .version = version}, err);
}

static int op_remove(void *self, struct str key, uint64_t if_version, uint64_t version, struct err *err)
{
    return put(self, if_version, &(struct ring_kv_entry){.key = key, .version = version, .deleted = true}, err);
}

struct listing {
    struct str prefix;
    ring_kv_fn *fn;
    void *arg;
};

static void list_one(void *arg, const struct ring_kv_entry *e)
{
    struct listing *l = arg;

    if (!e->deleted && str_has_prefix(e->key, l->prefix))
        l->fn(l->arg, e);
}

static void op_list(void *self, struct str prefix, ring_kv_fn *fn, void *arg)
{
    struct kv_gossip *g = self;
    struct listing l    = {prefix, fn, arg};

    mutex_lock(&g->lock);
    if (g->core)
        kv_core_each(g->core, list_one, &l);
    mutex_unlock(&g->lock);
}

static void op_watch(void *self, struct str prefix, ring_kv_fn *fn, void *arg)
{
    struct kv_gossip *g = self;

    mutex_lock(&g->watch_lock);
    ASSERT(g->watchers_n < RING_KV_WATCHERS_MAX);
    g->watchers[g->watchers_n++] = (struct watcher){str_dupz(prefix), fn, arg};
    mutex_unlock(&g->watch_lock);
}

static void op_unwatch(void *self, ring_kv_fn *fn, void *arg)
{
    struct kv_gossip *g = self;

    mutex_lock(&g->watch_lock);
    for (size_t i = 0; i < g->watchers_n; i++) {
        if (g->watchers[i].fn == fn && g->watchers[i].arg == arg) {
            free(g->watchers[i].prefix);
            g->watchers[i--] = g->watchers[--g->watchers_n];
        }
    }
    mutex_unlock(&g->watch_lock);
}

struct ring_kv kv_gossip_kv(struct kv_gossip *g)
{
    static const struct ring_kv_ops ops = {op_get, op_put, op_remove, op_list, op_watch, op_unwatch};

    return (struct ring_kv){&ops, g};
}

/* --- life --- */

static void collect(void *arg)
{
    struct kv_gossip *g = arg;

    mutex_lock(&g->lock);
    if (g->core) {
        struct kv_core_stats s = kv_core_stats(g->core);

        metric_set(g->m_entries, (double)kv_core_count(g->core));
        metric_set(g->m_bytes, (double)kv_core_bytes(g->core));
        metric_set(g->m_malformed, (double)s.malformed);
        metric_set(g->m_sent_bytes, (double)s.sent_bytes);
    }
    mutex_unlock(&g->lock);
}

static void make_metrics(struct kv_gossip *g, struct metrics *m)
{
    if (!m)
        return;
    g->m_entries    = metrics_gauge(m, "torc_ring_kv_entries", "Entries of the state that members share.");
    g->m_bytes      = metrics_gauge(m, "torc_ring_kv_bytes", "Bytes of keys and values of the state that members share.");
    g->m_malformed  = metrics_gauge(m, "torc_ring_kv_malformed_messages", "Messages of the shared state that could not be read.");
    g->m_sent_bytes = metrics_gauge(m, "torc_ring_kv_sent_bytes", "Bytes of messages of the shared state that this member sent.");
    metrics_on_collect(m, collect, g);
}

int kv_gossip_new(const struct kv_gossip_cfg *cfg, const struct kv_gossip_deps *deps, struct kv_gossip **ret, struct err *err)
{
    struct rpc_client_cfg client = {.cluster = cfg->cluster, .metrics = deps->metrics, .log = deps->log};
    struct kv_gossip *g          = xcalloc(1, sizeof *g);
    int rc;

    g->deps      = *deps;
    g->clock     = deps->clock ? deps->clock : clock_system();
    g->addr      = xstrdup(cfg->addr);
    g->data_dir  = cfg->data_dir ? xstrdup(cfg->data_dir) : NULL;
    g->roles     = cfg->roles;
    g->period_ms = cfg->period_ms ? cfg->period_ms : KV_PERIOD_MS;
    mutex_init(&g->watch_lock);
    mutex_init(&g->lock);
    cond_init(&g->wake);
    rc = strlen(g->addr) > KV_ADDR_MAX ? err_set(err, RC_INVALID, "shared state: address \"%.80s\" has more than %d bytes", g->addr, KV_ADDR_MAX)
                                       : rpc_client_new(&client, &g->client, err);
    if (rc < 0) {
        kv_gossip_free(g);
        return rc;
    }
    make_metrics(g, deps->metrics);
    rpc_server_handle(deps->server, RPC_KV, on_message, g);
    *ret = g;
    return 0;
}

int kv_gossip_start(struct kv_gossip *g, struct err *err)
{
    struct kv_core_env env = {g, env_now_ms, env_wall_ms, env_peers, env_send, env_changed, 0};
    struct kv_core_cfg cfg = {.addr = g->addr, .period_ms = g->period_ms};
    int rc                 = g->data_dir ? fs_mkdirs(g->data_dir, err) : 0;

    ASSERT(!g->started);
    if (rc < 0)
        return rc;
    random_bytes(&env.random_seed, sizeof env.random_seed);
    mutex_lock(&g->lock);
    g->core = kv_core_new(&cfg, &env);
    if (g->data_dir)
        restore(g);
    g->saved_ms = env_now_ms(g);
    tell_watchers(g);
    mutex_unlock(&g->lock);
    g->started = true;
    g->thread  = thread_start("kv", gossip_main, g);
    return 0;
}

void kv_gossip_free(struct kv_gossip *g)
{
    if (!g)
        return;
    mutex_lock(&g->lock);
    g->stop = true;
    cond_broadcast(&g->wake);
    mutex_unlock(&g->lock);
    if (g->started)
        pthread_join(g->thread, NULL);
    rpc_client_free(g->client);
    mutex_lock(&g->lock);
    if (g->core)
        save(g);
    mutex_unlock(&g->lock);
    for (size_t i = 0; i < g->changed.n; i++) {
        free((char *)g->changed.v[i].key.p);
        free((char *)g->changed.v[i].value.p);
    }
    for (size_t i = 0; i < g->watchers_n; i++)
        free(g->watchers[i].prefix);
    kv_core_free(g->core);
    ring_unref(g->peers_of);
    vec_fini(&g->peers);
    vec_fini(&g->changed);
    free(g->addr);
    free(g->data_dir);
    cond_fini(&g->wake);
    mutex_fini(&g->lock);
    mutex_fini(&g->watch_lock);
    free(g);
}
