/* ring_node.h - this process's membership: runs ring_core over a store (ring_store.h) with a thread and a real clock, writes its identity
 * down, and publishes snapshots (ring.h).
 * Order: ring_node_new (registers RPC_GOSSIP) before rpc_server_start, ring_node_start after it.
 * Stores: gossip between the members, which needs nobody else; or etcd v3. What the ring does is the same; with etcd a member is
 * unhealthy when its lease ends, and while etcd is away the last ring stays.
 * Identity: DATA_DIR/ring.state holds id, zone, tokens, state and counters; a restarted process continues as the same member, with the
 * same state, without a change of ownership. Without the file (a new disk) an ingester that the others still know as an owner comes back
 * as that owner with RING_REBUILDING set.
 * First state: of ingesters RING_PENDING, the role moves it on with ring_node_set_state; of others RING_ACTIVE.
 * Threads: all functions from any thread, except new, start and free. Change callbacks run on whichever thread publishes, one at a
 * time; they may take snapshots but must not call set_state, set_flags, leave or forget. */
#pragma once
#include "common/base/buf.h"
#include "ring/ring.h"
#include "ring/ring_core.h"
#include "ring/ring_store.h"

struct http_req;
struct ring_node;

struct ring_node_cfg {
    const char *id;   /* unique in the cluster; a number at its end is the ordinal that decides the tokens */
    const char *zone; /* "" : all in one */
    const char *addr; /* "host:port" others reach the rpc server at; NULL: given to ring_node_start */
    const char *http_addr; /* for pages; may be NULL */
    struct str cluster;
    uint32_t roles;
    const char *const *seeds; /* of gossip; seeds.h */
    size_t seeds_n;
    int64_t seeds_period_ms; /* between look-ups of their names; 0: RING_DNS_PERIOD_MS */
    int rf;
    int64_t period_ms;    /* 0: RING_PERIOD_MS */
    int64_t auto_forget_ms; /* an ingester that is dead for so long is forgotten, if auto_forget.h's rule allows it; 0: never */
    const char *data_dir; /* NULL: identity is not kept */
    const struct ring_etcd_cfg *etcd; /* NULL: gossip; its cluster is the one above. Borrowed during ring_node_new */
};
struct ring_node_deps {
    struct rpc_server *server;
    const struct clock *clock; /* NULL: clock_system() */
    struct metrics *metrics;   /* NULL: none */
    struct log *log;           /* NULL: none */
};
typedef void ring_change_fn(void *arg, struct ring *ring); /* borrowed during the call */

enum { RING_WATCHERS_MAX = 16, RING_PAGE_BYTES_MAX = 16 << 20 };

int ring_node_new(const struct ring_node_cfg *cfg, const struct ring_node_deps *deps, struct ring_node **ret, struct err *err);
/* Before start. */
void ring_node_on_change(struct ring_node *n, ring_change_fn *fn, void *arg);
/* addr: as in cfg, needed here when it was not there (a port that the system chose). */
int ring_node_start(struct ring_node *n, const char *addr, struct err *err);
/* Stops without a word to others: a restart. Leave first to go for good. The rpc server must have been freed before, it calls the node.
 * NULL is fine. */
void ring_node_free(struct ring_node *n);

/* The latest snapshot, with a reference. Never NULL after start. */
struct ring *ring_node_ring(struct ring_node *n);
/* The own snapshot shows it when these return; the others hear within a second. */
void ring_node_set_state(struct ring_node *n, enum ring_state state);
void ring_node_set_flags(struct ring_node *n, uint32_t flags);
enum ring_state ring_node_state(struct ring_node *n);
uint32_t ring_node_flags(struct ring_node *n);
/* LEFT: tells others and waits (half a second at most) until the message is out. */
void ring_node_leave(struct ring_node *n);
/* Declares a dead member LEFT, by hand of an operator. RC_NOT_FOUND, RC_INVALID (alive). */
int ring_node_forget(struct ring_node *n, const char *id, struct err *err);
/* Waits until at least count healthy members (this one included) have any of these roles. */
bool ring_node_wait(struct ring_node *n, uint32_t roles, size_t count, int64_t timeout_ms);

void ring_node_store_status(struct ring_node *n, struct ring_store_status *ret);

/* What a page shows of the members: state, zone, age of the last heartbeat, tokens, share of ownership, version. With gossip a heartbeat is
 * any message of that member; with etcd it is etcd's word that its lease is alive. */
struct ring_view {
    uint32_t roles; /* members with any of these; 0: all, the store and who has departed too */
    bool tokens;    /* each one */
    const char *path;           /* of the page */
    const struct http_req *req; /* HTML: forms to forget what is dead carry its token; NULL: no forms */
};
/* A JSON object, or HTML without the page's frame. */
void ring_node_write_json(struct ring_node *n, const struct ring_view *view, struct buf *out);
void ring_node_write_html(struct ring_node *n, const struct ring_view *view, struct buf *out);
