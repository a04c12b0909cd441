/* kv_core.h - the shared state of ring_kv.h carried by gossip, as a pure core: messages and time in, messages out; no socket, thread, file or sleep.
 * Every entry merges by ring_kv_cmp, a join of a semilattice, so all who have heard the same hold the same, in whatever order it came.
 * A change travels as news: a few random peers per round hear of it, a few times over (Demers et al., PODC 1987, rumor mongering). What news miss,
 * anti-entropy finds: every few periods KV_BUCKETS sums (2 kB) go to one peer, which answers with the keys and versions of the buckets that differ, as many as
 * fit a message; the answer to that brings what is newer and asks for what is not known. While this moves something it goes on at once, so a new member
 * has all after a few round trips, and members that agree exchange 2 kB.
 * Threads: one at a time; the edge (kv_gossip.h) has the lock. */
#pragma once
#include "ring/kv_msg.h"

enum {
    KV_PERIOD_MS  = 1000, /* default: of anti-entropy five, of news a fifth */
    KV_FANOUT     = 3,
    KV_BURST      = 16,   /* messages of news per round and peer */
    KV_PEERS_MAX  = 4096,
};

struct kv_core;
struct kv_core_env {
    void *self;
    int64_t (*now_ms)(void *self);  /* monotonic */
    int64_t (*wall_ms)(void *self); /* for the expiry of tombstones */
    /* Addresses of the others that are alive, borrowed until the next event; how many. */
    size_t (*peers)(void *self, const char *const **ret);
    void (*send)(void *self, const char *addr, struct str msg);
    /* An entry changed, here or by a message. Must not call the core. */
    void (*changed)(void *self, const struct ring_kv_entry *e);
    uint64_t random_seed;
};
struct kv_core_cfg {
    const char *addr; /* where others answer to; copied */
    int64_t period_ms; /* 0: KV_PERIOD_MS */
    size_t entries_max, bytes_max; /* 0: RING_KV_ENTRIES_MAX, RING_KV_BYTES_MAX */
};
struct kv_core_stats {
    uint64_t received, malformed, sent, sent_bytes;
    uint64_t full;  /* entries of others that did not fit */
};

struct kv_core *kv_core_new(const struct kv_core_cfg *cfg, const struct kv_core_env *env);
void kv_core_free(struct kv_core *c);

/* Returns when (monotonic ms) it wants to be called next. */
int64_t kv_core_tick(struct kv_core *c);
/* < 0: refused, with reason. */
int kv_core_receive(struct kv_core *c, struct str msg, struct err *err);

/* NULL: not there, or removed. Borrowed until the next event. */
const struct ring_kv_entry *kv_core_get(const struct kv_core *c, struct str key);
/* As ring_kv_put and ring_kv_remove; of a removal deleted is set and expires_ms is filled in here. */
int kv_core_put(struct kv_core *c, uint64_t if_version, const struct ring_kv_entry *e, struct err *err);
/* What another life or a message knew: merged without conditions; nothing is told to others when quiet. False: it did not change anything. */
bool kv_core_merge(struct kv_core *c, const struct ring_kv_entry *e, bool quiet);
/* Tombstones too. */
void kv_core_each(const struct kv_core *c, ring_kv_fn *fn, void *arg);
size_t kv_core_count(const struct kv_core *c); /* tombstones too */
size_t kv_core_bytes(const struct kv_core *c);
/* Equal when the states are equal. */
uint64_t kv_core_digest(const struct kv_core *c);
struct kv_core_stats kv_core_stats(const struct kv_core *c);
