/* The store that needs nobody else: the table's messages over common/rpc. It has an rpc client of its own, so that gossip never waits
 * behind large messages. */
#include "common/obs/log.h"
#include "common/rpc/rpc.h"
#include "common/sys/clock.h"
#include "common/sys/thread.h"
#include "ring/ring_dns.h"
#include "ring/ring_store.h"

#include <stdlib.h>

struct gossip {
    struct ring_store_env env; /* --- read-only --- */
    int64_t period_ms, seeds_period_ms;
    struct rpc_client *client;
    struct seeds seeds; /* until start */
    struct ring_dns *dns;

    struct ring_core *table; /* --- guarded by the node's lock; NULL before start, and after its end --- */
    int sending;             /* messages on their way */
    int64_t heard_ms;        /* 0: never */
};

static void on_sent(void *arg, UNUSED int rc, UNUSED struct buf *reply, UNUSED const struct err *err)
{
    struct gossip *g = arg;

    mutex_lock(g->env.lock); /* a lost message is the protocol's business */
    g->sending--;
    if (g->sending == 0)
        g->env.stir(g->env.self);
    mutex_unlock(g->env.lock);
}

static void gossip_send(void *self, const char *addr, struct str msg)
{
    struct gossip *g = self;

    g->sending++;
    rpc_send(g->client, addr, RPC_GOSSIP, msg, g->period_ms, on_sent, g);
}

static void on_gossip(void *arg, struct rpc_call *call)
{
    struct gossip *g = arg;
    struct err err   = {0};
    int rc;

    mutex_lock(g->env.lock);
    if (g->table) {
        rc          = ring_core_receive(g->table, rpc_call_payload(call), &err);
        g->heard_ms = rc == 0 ? clock_mono_ms(g->env.clock) : g->heard_ms;
        g->env.stir(g->env.self); /* it may want its tick earlier now */
    } else {
        rc = err_set(&err, RC_UNAVAILABLE, "ring member is not running");
    }
    mutex_unlock(g->env.lock);
    if (rc == 0) {
        rpc_reply(call, RC_OK, (struct str){0});
        return;
    }
    if (g->env.log && rc != RC_UNAVAILABLE)
        log_limited(g->env.log, LOG_WARN, "ring message refused", "err", err_text(&err));
    rpc_reply_err(call, &err);
}

static void on_seeds(void *arg, const seed_addrs *addrs)
{
    struct gossip *g  = arg;
    const char **list = xcalloc(addrs->n + 1, sizeof *list);

    for (size_t i = 0; i < addrs->n; i++)
        list[i] = addrs->v[i].text;
    mutex_lock(g->env.lock);
    ring_core_set_seeds(g->table, list, addrs->n);
    g->env.stir(g->env.self);
    mutex_unlock(g->env.lock);
    free(list);
}

/* The names as they stand serve until the first answer. */
static void start_seeds(struct gossip *g)
{
    struct ring_dns_cfg cfg = {g->seeds_period_ms, g->env.metrics, g->env.log, on_seeds, g};
    seed_addrs now          = {0};

    seeds_addrs(&g->seeds, &now);
    on_seeds(g, &now);
    vec_fini(&now);
    if (seeds_have_names(&g->seeds))
        g->dns = ring_dns_new(&cfg, &g->seeds);
}

static int gossip_start(void *self, struct ring_core *table, UNUSED struct err *err)
{
    struct gossip *g = self;

    mutex_lock(g->env.lock);
    g->table = table;
    mutex_unlock(g->env.lock);
    start_seeds(g);
    return 0;
}

static void gossip_wake(UNUSED void *self)
{
}

static bool gossip_told(void *self)
{
    return ((struct gossip *)self)->sending == 0;
}

static void gossip_status(void *self, struct ring_store_status *ret)
{
    struct gossip *g = self;

    *ret = (struct ring_store_status){
        .name    = "gossip",
        .reached = g->table && ring_core_alive(g->table) > 0,
        .age_ms  = g->heard_ms ? clock_mono_ms(g->env.clock) - g->heard_ms : -1,
    };
}

static uint64_t gossip_conflicts(UNUSED void *self)
{
    return 0; /* the table counts them */
}

static void gossip_free(void *self)
{
    struct gossip *g = self;

    ring_dns_free(g->dns);
    seeds_fini(&g->seeds);
    mutex_lock(g->env.lock);
    g->table = NULL;
    mutex_unlock(g->env.lock);
    rpc_client_free(g->client);
    free(g);
}

static const struct ring_store_ops gossip_ops = {
    .start     = gossip_start,
    .send      = gossip_send,
    .wake      = gossip_wake,
    .told      = gossip_told,
    .status    = gossip_status,
    .conflicts = gossip_conflicts,
    .free      = gossip_free,
};

int ring_gossip_new(const struct ring_gossip_cfg *cfg, const struct ring_store_env *env, struct ring_store *ret, struct err *err)
{
    struct rpc_client_cfg client = {.cluster = cfg->cluster, .metrics = env->metrics, .log = env->log};
    struct gossip *g             = xcalloc(1, sizeof *g);
    int rc;

    g->env       = *env;
    g->period_ms = cfg->period_ms;
    g->seeds_period_ms = cfg->seeds_period_ms;
    rc = cfg->seeds_n <= RING_SEEDS_MAX ? seeds_init(&g->seeds, cfg->seeds, cfg->seeds_n, err)
                                        : err_set(err, RC_LIMIT, "ring.seeds: %zu, at most %d", cfg->seeds_n, RING_SEEDS_MAX);
    if (rc == 0)
        rc = rpc_client_new(&client, &g->client, err);
    if (rc < 0) {
        seeds_fini(&g->seeds);
        free(g);
        return rc;
    }
    rpc_server_handle(cfg->server, RPC_GOSSIP, on_gossip, g);
    *ret = (struct ring_store){&gossip_ops, g};
    return 0;
}
