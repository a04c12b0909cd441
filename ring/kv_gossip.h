/* kv_gossip.h - the shared state of ring_kv.h between the members themselves: runs kv_core over common/rpc (RPC_KV) with a thread and a real clock, tells
 * watchers, and writes the state down.
 * Order: kv_gossip_new (registers RPC_KV) before rpc_server_start, watchers, kv_gossip_start after the ring has started; kv_gossip_free after the rpc server.
 * DATA_DIR/kv.state holds all entries, so that the state outlives a restart of every member at once. It is written KV_SAVE_MS after a change at the latest, and at
 * the end; what a crash loses of it the others still know. A file that cannot be read (kv_file.h) is logged and begun anew.
 * Threads: kv_gossip_kv's functions from any. Watchers run on whichever thread brought the change, without a lock of the store's. */
#pragma once
#include "ring/ring.h"
#include "ring/ring_kv.h"

struct clock;
struct log;
struct metrics;
struct rpc_server;
struct kv_gossip;

enum { KV_SAVE_MS = 10000 };

struct kv_gossip_cfg {
    const char *addr;     /* as others reach this member's rpc server; copied */
    struct str cluster;
    uint32_t roles;       /* members with any of these take part */
    int64_t period_ms;    /* 0: KV_PERIOD_MS */
    const char *data_dir; /* NULL: not written down; copied */
};
struct kv_gossip_deps {
    struct rpc_server *server;
    const struct clock *clock; /* NULL: clock_system() */
    struct metrics *metrics;   /* NULL: none */
    struct log *log;           /* NULL: none */
    struct ring *(*ring)(void *arg); /* referenced for the caller */
    void *ring_arg;
};

int kv_gossip_new(const struct kv_gossip_cfg *cfg, const struct kv_gossip_deps *deps, struct kv_gossip **ret, struct err *err);
int kv_gossip_start(struct kv_gossip *g, struct err *err);
void kv_gossip_free(struct kv_gossip *g);
struct ring_kv kv_gossip_kv(struct kv_gossip *g);
