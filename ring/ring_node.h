/* ring_node.h - the ring at its edge: the core (ring_core.h) over RPC, with a thread, the real clock and a file for identity.
 * A member keeps its id, tokens, state and incarnation in DIR/ring.state (written whole, CRC32C), so that a restart comes back as the same member.
 * Threads: everything from any thread. Callbacks run without the node's lock. */
#pragma once
#include "common/obs/log.h"
#include "common/obs/metrics.h"
#include "common/rpc/rpc.h"
#include "common/sys/clock.h"
#include "ring/ring.h"
#include "ring/ring_core.h"

enum { RING_GOSSIP_TIMEOUT_MS = 2000 };

struct ring_node;
struct ring_node_cfg {
    const char *id, *zone, *addr, *http_addr; /* copied; addr is what others dial */
    uint32_t roles;                           /* enum ring_role, or-ed */
    const char *const *seeds;
    size_t seeds_n;
    int rf;
    int64_t period_ms;                        /* 0: RING_PERIOD_MS */
    const char *dir;                          /* "" or NULL: nothing is kept */
};
struct ring_node_deps {
    const struct clock *clock;
    struct log *log;
    struct metrics *metrics;
    struct rpc_server *server; /* RPC_GOSSIP is registered: before rpc_server_start */
    struct rpc_client *client;
};
int ring_node_new(const struct ring_node_cfg *cfg, const struct ring_node_deps *deps, struct ring_node **ret, struct err *err);
void ring_node_start(struct ring_node *n);
void ring_node_stop(struct ring_node *n); /* stays a member: others see it die, its tokens wait for its return */
void ring_node_free(struct ring_node *n);

/* The ring as this member sees it, with a reference (ring_unref). Never NULL. */
struct ring *ring_node_ring(struct ring_node *n);
void ring_node_set_state(struct ring_node *n, enum ring_state state);
void ring_node_set_flags(struct ring_node *n, uint32_t flags);
/* LEFT: its ranges pass to others. */
void ring_node_leave(struct ring_node *n);
/* Declares a dead member LEFT. RC_NOT_FOUND, RC_INVALID. */
int ring_node_forget(struct ring_node *n, const char *id, struct err *err);
/* Members with state, zone, heartbeat age, tokens, ownership; roles: which ones (0: all). */
void ring_node_write_json(struct ring_node *n, uint32_t roles, struct buf *out);
void ring_node_write_html(struct ring_node *n, uint32_t roles, const char *title, struct buf *out);
