/* ring_core.h - membership as a pure core: messages and time in, messages out; no socket, thread, file or sleep.
 * Each member keeps a table of all members (member.h). Failure detection is SWIM's (Das, Gupta, Motivala, DSN 2002): one probe per
 * period in random round-robin order, indirect probes through others, suspicion before death, refutation by incarnation.
 * Changes spread by gossip (a few random members per round, also on probes and acks) and for certain by anti-entropy: every few periods a
 * digest goes to a random living member, now and then to a dead one and to a seed, so that partitions heal from either side.
 * Ours differs: full records are versioned and merge as described in member.h; a process that slept does not judge others by it.
 *
 * The epoch: bits 24.. are the sum of all members' `changes`, bits 0..23 a hash of what decides ownership. It never falls at one
 * member, differs when ownership differs, and is the same wherever the same membership is known. So records of departed ingesters stay
 * as tombstones without tokens; those of other roles go after RING_TOMBSTONE_MS.
 *
 * With a store (`stored`; etcd_core.h) the same table and the same rules live on without messages: records come from the store
 * (ring_core_hear), and who is alive too (ring_core_set_alive); nobody is probed.
 *
 * Threads: one at a time; the edge (ring_node.h) has the lock. */
#pragma once
#include "ring/member.h"

enum {
    RING_PERIOD_MS    = 1000,    /* default */
    RING_TOMBSTONE_MS = 600000,  /* of members without tokens */
    RING_FORGET_MS    = 60000,   /* a dead member without tokens is declared LEFT after this */
    RING_SEEDS_MAX    = 64,
    RING_SEED_ADDRS_MAX = 1024, /* that they stand for */
};

struct ring_core;

struct ring_core_env {
    void *self;
    int64_t (*now_ms)(void *self);  /* monotonic */
    int64_t (*wall_ms)(void *self); /* for dates that others read */
    void (*send)(void *self, const char *addr, struct str msg);
    /* This member's own record changed: write it down, so that a restart continues from it. */
    void (*persist)(void *self, const struct member *m);
    /* Something in the table changed; called at the end of an event, at most once for it. */
    void (*changed)(void *self);
    uint64_t random_seed;
};

struct ring_core_cfg {
    const char *id, *zone, *addr, *http_addr; /* copied */
    uint32_t roles;
    const char *const *seeds; /* "host:port"; copied; may include this member */
    size_t seeds_n;
    int64_t period_ms;         /* 0: RING_PERIOD_MS */
    const uint32_t *tokens;    /* for RING_INGESTER: ascending, distinct; copied */
    uint32_t tokens_n;
    enum ring_state state;     /* first state when there is nothing restored */
    const struct member *restored; /* as given to persist in an earlier life; NULL: none. Its tokens and state win. */
    bool stored;               /* a store carries records and health: no messages */
};

struct ring_core_stats {
    uint64_t received, malformed, sent, probes, probes_failed, refutations;
    uint64_t conflicts; /* messages of another process with this member's id */
    uint64_t table_full;
};

int ring_core_new(const struct ring_core_cfg *cfg, const struct ring_core_env *env, struct ring_core **ret, struct err *err);
void ring_core_free(struct ring_core *c);

/* Returns when (monotonic ms) it wants to be called next. */
int64_t ring_core_tick(struct ring_core *c);
/* Other addresses of the seeds; copied, at most RING_SEED_ADDRS_MAX. */
void ring_core_set_seeds(struct ring_core *c, const char *const *addrs, size_t n);
/* < 0: refused, with reason. After it, tick may want an earlier time. */
int ring_core_receive(struct ring_core *c, struct str msg, struct err *err);

const struct member *ring_core_self(const struct ring_core *c);
void ring_core_set_state(struct ring_core *c, enum ring_state state);
void ring_core_set_flags(struct ring_core *c, uint32_t flags);
/* LEFT, told to several members at once. */
void ring_core_leave(struct ring_core *c);
/* Declares another member LEFT. RC_NOT_FOUND; RC_INVALID for this member itself or one that is alive. */
int ring_core_forget(struct ring_core *c, const char *id, struct err *err);

/* --- with a store --- */
/* Takes a record that the store has (m is empty afterwards). */
void ring_core_hear(struct ring_core *c, struct member *m);
/* The store knows whether this member (not this one itself) is alive. */
void ring_core_set_alive(struct ring_core *c, const char *id, bool alive);
/* All that the store has was heard: a member without a past has none. */
void ring_core_synced(struct ring_core *c);

/* Table by ascending id, tombstones included. Borrowed until the next call that is not const. */
size_t ring_core_members_n(const struct ring_core *c);
const struct member *ring_core_member(const struct ring_core *c, size_t i);
/* Monotonic ms of the last message of this member's own, 0: never. */
int64_t ring_core_heard_ms(const struct ring_core *c, size_t i);
/* For how long this member has held it for dead, ms; 0: it does not. */
int64_t ring_core_dead_ms(const struct ring_core *c, size_t i);
/* A departed member without tokens that nobody needs to know of any more. */
bool ring_core_expired(const struct ring_core *c, const struct member *m);
uint64_t ring_core_epoch(const struct ring_core *c);
/* Others that are alive, without tombstones. */
size_t ring_core_alive(const struct ring_core *c);
struct ring_core_stats ring_core_stats(const struct ring_core *c);
