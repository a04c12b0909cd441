/* ring_store.h - how this member's table and those of the others become one: by gossip over common/rpc, or through etcd v3.
 * Whoever uses the ring sees neither (ring_node.h). A store is made before the table exists, runs from start to free, and touches the
 * table with the node's lock only.   Threads: as said at each verb. */
#pragma once
#include "ring/ring_core.h"

struct clock;
struct log;
struct metrics;
struct mutex;
struct rpc_server;

struct ring_store_env {
    void *self;
    struct mutex *lock; /* guards the table; ranks above all of a store's own */
    /* With the lock: something happened for which the table's tick, or one who waits for `told`, may be due. */
    void (*stir)(void *self);
    const struct clock *clock;
    struct metrics *metrics; /* NULL: none */
    struct log *log;         /* NULL: none */
};

struct ring_store_status {
    const char *name;
    bool reached;       /* the store, or for gossip another member */
    int64_t age_ms;     /* since it was heard last, -1: never */
    uint64_t failures;
    char failure[256];  /* the latest, "" */
};

struct ring_store_ops {
    bool stored; /* of ring_core_cfg */
    int (*start)(void *self, struct ring_core *table, struct err *err);
    void (*send)(void *self, const char *addr, struct str msg);           /* with the lock; a table without `stored` */
    void (*wake)(void *self);                                             /* with the lock: the table changed */
    bool (*told)(void *self);                                             /* with the lock: what this member last changed is out */
    void (*status)(void *self, struct ring_store_status *ret);            /* with the lock */
    uint64_t (*conflicts)(void *self);                                    /* with the lock: of this member's id, seen by the store */
    void (*free)(void *self);                                             /* without it; no call reaches the table afterwards */
};

struct ring_store {
    const struct ring_store_ops *ops;
    void *self;
};

struct ring_gossip_cfg {
    struct rpc_server *server; /* RPC_GOSSIP is registered here, so before it starts */
    struct str cluster;
    int64_t period_ms;
    const char *const *seeds; /* seeds.h */
    size_t seeds_n;
    int64_t seeds_period_ms; /* between look-ups of their names; 0: RING_DNS_PERIOD_MS */
};
int ring_gossip_new(const struct ring_gossip_cfg *cfg, const struct ring_store_env *env, struct ring_store *ret, struct err *err);

/* Strings are copied. */
struct ring_etcd_cfg {
    const char *const *endpoints; /* "http://host:2379", "https://..."; without a scheme: http. One is used until it fails */
    size_t endpoints_n;
    const char *prefix;              /* of all keys */
    struct str cluster;              /* follows the prefix */
    const char *user, *password;     /* empty: none */
    const char *ca, *cert, *key;     /* PEM files; empty: the system's authorities, no certificate of our own */
    bool insecure;                   /* the server's certificate is not checked */
    int64_t ttl_ms;
};
int ring_etcd_new(const struct ring_etcd_cfg *cfg, const struct ring_store_env *env, struct ring_store *ret, struct err *err);
