/* sync_core.h - when does an ingester compare itself with which other, and what follows from it? Pure core: snapshots of the ring and time in, the
 * next action out; no socket, thread or clock. The edge (sync.h) carries the action out and tells what came of it.
 *
 * One comparison ("sync") takes over from another owner what this ingester lacks, by digests of windows. It counts at one ring version: both
 * sides were at that version all the time. The other one has known the move since before, so what it accepts later stands under the move too
 * (ownership.c): nothing can come to it afterwards that the members to be do not hear of.
 *
 * Used for
 *   joining     PENDING until nobody else moves and the ring has been quiet for settle_ms, JOINING until RF - quorum + 1 owners of every range to be
 *               were compared (so every acknowledged sample is here), then ACTIVE. Where no owner is displaced (a first start, fewer owners than
 *               copies) there is nothing to wait for.
 *   leaving     LEAVING until all who take over have done so at this version, then gone. When the copies become fewer, or the takers take longer
 *               than leave_ms, what is here is flushed first.
 *   rebuilding  an owner without its disk is no read replica until RF - quorum + 1 others of each range were compared.
 *   catching up, and the slow check: all owners of shared ranges, at the start, after every change of ownership, when one that was dead is back (perhaps it
 *               was this ingester that was cut off), each time again after slack_ms; and each period_ms.
 *
 * One at a time: `next` of the ring is the set when all who move have moved. Were two to move at once, the set in between would be one that
 * nobody has written to. So who finds another JOINING, LEAVING or READ_ONLY one steps back; of two that began at the same time the one with the
 * greater id does. Relies on gossip to reach everyone within settle_ms.
 *
 * Threads: one at a time. */
#pragma once
#include "ring/ring.h"

enum sync_do {
    SYNC_WAIT,      /* until_ms, or until the ring changes */
    SYNC_COMPARE,   /* with peer; answer with sync_core_compared. whole: up to the newest sample, for ranges that come here with all they have */
    SYNC_ASK,       /* peer: which version has it taken over at; answer with sync_core_asked */
    SYNC_SET_STATE, /* the next snapshot shows it */
    SYNC_SET_FLAGS,
    SYNC_KNOW,      /* refuse readers with an index older than gen; then sync_core_known */
    SYNC_FLUSH,     /* everything, and wait until readers have seen it; then sync_core_flushed */
    SYNC_GONE,      /* leave the ring: nothing is needed of this ingester any more */
};
struct sync_action {
    enum sync_do what;
    int64_t until_ms;
    char peer[RING_ID_MAX + 1];
    bool whole;
    enum ring_state state;
    uint32_t flags;
    uint64_t gen;
};

struct sync_core_cfg {
    const char *id;      /* copied */
    int64_t period_ms;   /* of the slow check; 0: none */
    int64_t settle_ms;   /* news are everywhere within this */
    int64_t greet_ms;    /* the first answer of another member brings its table within this */
    int64_t contact_ms;  /* without any other member for so long: there is none */
    int64_t retry_ms;    /* after a comparison that failed; grows to 32 times */
    int64_t leave_ms;    /* takers have so long */
    int64_t slack_ms;    /* what a comparison leaves out as too young: once more after so long */
    bool alone;          /* no other member is configured */
    bool new_head;       /* the data directory was empty */
};

struct sync_peer {
    char id[RING_ID_MAX + 1];
    bool dead;
    bool gives, takes;     /* at this version: owns what is here or comes here; takes what is here */
    uint64_t done_version; /* compared completely; 0: never */
    uint64_t taken_version;
    int64_t done_ms, retry_ms, asked_ms;
    unsigned failures;
};

struct sync_core;
struct sync_core *sync_core_new(const struct sync_core_cfg *cfg, int64_t now_ms);
void sync_core_free(struct sync_core *c);

/* The latest snapshot, whenever something may have changed. Referenced. */
void sync_core_ring(struct sync_core *c, struct ring *r, int64_t now_ms);
struct sync_action sync_core_next(struct sync_core *c, int64_t now_ms);
/* gen: the newest index generation of windows that the peer did not show, because they are in blocks. */
void sync_core_compared(struct sync_core *c, const char *peer, uint64_t version, bool ok, uint64_t gen, int64_t now_ms);
void sync_core_asked(struct sync_core *c, const char *peer, uint64_t taken_version, int64_t now_ms);
void sync_core_known(struct sync_core *c, uint64_t gen);
void sync_core_flushed(struct sync_core *c, bool ok);
/* Leave the ring, or stay (also out of LEAVING). */
void sync_core_leave(struct sync_core *c, bool leave);
/* Compare with all now. */
void sync_core_kick(struct sync_core *c, int64_t now_ms);

/* The version at which everything that comes here is here; 0: not yet. */
uint64_t sync_core_taken(const struct sync_core *c);
/* Another member that moves, NULL: none. Borrowed until the next snapshot. */
const struct ring_instance *sync_core_mover(const struct sync_core *c);
/* Everybody who gives has been compared since the last kick, change or period. */
bool sync_core_quiet(const struct sync_core *c);
/* The i-th peer is to be compared since then. */
bool sync_core_due(const struct sync_core *c, size_t i);
const char *sync_core_why(const struct sync_core *c); /* what it waits for, in words */
size_t sync_core_peers_n(const struct sync_core *c);
const struct sync_peer *sync_core_peer(const struct sync_core *c, size_t i);
