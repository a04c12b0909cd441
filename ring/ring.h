/* ring.h - who owns which tokens: an immutable picture of the membership at one moment, for any number of reading threads.
 *
 * Ranges. Each zone has a ring of its own: the tokens of its owners cut the 32-bit space, a key belongs to the first token >= it.
 * With as many zones as the replication factor (RF), a replica set is the key's owner in each zone, in order of zone names. With
 * more zones, RF of them are chosen per slice (1/16384 of the space) by rendezvous hashing. With fewer, a zone gives several: the
 * key's owner, then the zone's best by rendezvous hashing of (slice, id); walking on to the next instances, as consistent
 * hashing commonly does, left one instance 1.5 times as much as another. All sets are computed when the snapshot is built; a
 * look-up is a search in one table.
 *
 * Ownership while things move. `owners` are the instances that answer for the range now: ACTIVE and LEAVING ones, alive or
 * not: quorum counts them all, until they are LEFT or forgotten. JOINING ones own nothing yet. `next` is the set as it will be when every
 * JOINING instance is ACTIVE and every LEAVING or READ_ONLY one has gone. Where the two differ (`moving`), writes need a
 * quorum of both; reads use owners. A change of state to ACTIVE or LEFT confirms a hand-over. READ_ONLY instances stay owners and
 * cannot acknowledge writes. REBUILDING ones are owners that do not count as read replicas (`readable` is false).
 *
 * Epoch: see ring_core.h. Equal epochs mean equal owners; health changes without it.
 * Indexes (uint16_t) name instances within one snapshot only; across snapshots use ids.
 * Memory: shared, dropped with ring_unref. Everything returned is borrowed until then. Threads: any. */
#pragma once
#include "ring/member.h"

enum {
    RING_RF_MAX   = 5,
    RING_NOBODY   = UINT16_MAX,
    RING_SHARDS_MAX = 1024, /* shuffle shards remembered per snapshot */
};

struct ring;

struct ring_instance {
    const char *id, *zone, *addr, *http_addr;
    uint32_t roles, flags, tokens_n;
    enum ring_state state;
    enum ring_health health;
    bool healthy;         /* health is not RING_DEAD */
    bool readable;        /* healthy and not REBUILDING */
    uint64_t incarnation, version;
    const uint32_t *tokens; /* [tokens_n] ascending */
    int64_t registered_ms; /* wall clock */
    double ownership;     /* share of all replicas of all keys; over all instances the sum is RF or less */
};

struct ring_replicas {
    uint8_t owners_n, next_n;
    bool moving;                    /* next differs from owners */
    uint16_t owners[RING_RF_MAX];   /* distinct */
    uint16_t next[RING_RF_MAX];
    uint16_t hints[RING_RF_MAX];    /* per owner: the next ACTIVE instance of its zone that is no owner, or RING_NOBODY */
};

static inline int ring_quorum(int rf)
{
    return rf / 2 + 1;
}

/* members: any order, tombstones are skipped, borrowed during the call. self_id may be NULL. */
struct ring *ring_new(const struct member *const *members, size_t n, int rf, uint64_t epoch, const char *self_id);
/* The same, but takes over the ranges of `before` when the epoch is the same: only health and addresses differ then. */
struct ring *ring_new_after(const struct ring *before, const struct member *const *members, size_t n, int rf, uint64_t epoch,
                            const char *self_id);
struct ring *ring_ref(struct ring *r);
void ring_unref(struct ring *r); /* NULL is fine */

uint64_t ring_epoch(const struct ring *r);
int ring_rf(const struct ring *r);
size_t ring_instances_n(const struct ring *r); /* all roles, by ascending id */
const struct ring_instance *ring_instance(const struct ring *r, uint16_t i);
uint16_t ring_find(const struct ring *r, const char *id); /* RING_NOBODY */
uint16_t ring_self(const struct ring *r);                 /* RING_NOBODY in a shard without this member */
/* Healthy instances with any of these roles. */
size_t ring_count(const struct ring *r, uint32_t roles);
size_t ring_zones_n(const struct ring *r); /* zones with owners */

/* NULL: nobody owns tokens. */
const struct ring_replicas *ring_replicas(const struct ring *r, uint32_t token);
/* The one set that owns every key, as with one owner in each of RF zones; NULL: there are several (also of the same owners in another order), or none. */
const struct ring_replicas *ring_only(const struct ring *r);
/* The distinct sets that own at least one key each. */
size_t ring_sets_n(const struct ring *r);
const struct ring_replicas *ring_set(const struct ring *r, size_t i);
/* Place of an instance among the owners of token, -1: not an owner. */
int ring_owner_index(const struct ring *r, uint32_t token, uint16_t instance);
/* The same for next. */
int ring_next_index(const struct ring *r, uint32_t token, uint16_t instance);

/* answered[i]: instance i answered. True when every key has at least `need` owners that did (or all of its owners, where it has
 * fewer). For reads need = RF - ring_quorum(RF) + 1. */
bool ring_covered(const struct ring *r, const bool *answered, int need);

/* Every key has a quorum of healthy owners, and where ranges move of owners to be. False without any owner. */
bool ring_quorate(const struct ring *r);

/* A tenant's shard: at most ceil(size / zones) instances of each zone, by rendezvous hashing of (tenant, id), so that one more instance
 * replaces one at most. size 0 or not below the number of owners: the ring itself. With a reference; its indexes are its own. */
struct ring *ring_shuffle_shard(struct ring *r, struct str tenant, size_t size);

/* Up to n healthy instances with these roles in order of preference for this key, by rendezvous hashing: block and job ownership.
 * Returns how many. */
size_t ring_pick(const struct ring *r, uint32_t roles, uint64_t key, uint16_t *ret, size_t n);
