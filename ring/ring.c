#include "ring/ring.h"

#include "common/base/hash.h"
#include "common/base/vec.h"
#include "common/sys/thread.h"
#include "ring/layout.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { SHARD_SLOTS = 2 * RING_SHARDS_MAX };

struct shard {
    uint64_t key; /* hash of tenant and size */
    struct ring *ring;
};

struct ring {
    atomic_int refs; /* --- read-only after new, but for the shards --- */
    uint64_t epoch;
    int rf;
    uint16_t self;
    size_t n, zones_n;
    struct ring_instance *instances;
    struct member *members; /* the strings and tokens behind instances */
    struct layout *layout;

    struct mutex lock; /* --- guards the shards made so far --- */
    struct shard *shards; /* open addressing; NULL: none yet */
    size_t shards_n;
};

/* A member on its way into a snapshot. A shard takes some of its members only as owners now, others only as owners to be. */
struct candidate {
    const struct member *m;
    bool now, next;
};

static int by_id(const void *pa, const void *pb)
{
    const struct candidate *a = pa, *b = pb;

    return strcmp(a->m->id, b->m->id);
}

static bool takes_part(const struct member *m)
{
    return member_owns_tokens(m) && m->tokens_n > 0 && m->state != RING_PENDING && m->state != RING_LEFT;
}

static bool owns_now(const struct member *m)
{
    return takes_part(m) && (m->state == RING_ACTIVE || m->state == RING_LEAVING);
}

static bool owns_next(const struct member *m)
{
    return takes_part(m) &&
           (m->state == RING_JOINING || (m->state == RING_ACTIVE && !(m->flags & RING_READ_ONLY)));
}

/* Sorts list. */
static void copy_members(struct ring *r, struct candidate *list, size_t n)
{
    qsort(list, n, sizeof *list, by_id);
    r->n = n;
    r->members   = xcalloc(r->n + 1, sizeof *r->members);
    r->instances = xcalloc(r->n + 1, sizeof *r->instances);
    for (size_t i = 0; i < r->n; i++) {
        struct member *m = &r->members[i];

        member_copy(m, list[i].m);
        r->instances[i] = (struct ring_instance){
            .id            = m->id,
            .zone          = m->zone,
            .addr          = m->addr,
            .http_addr     = m->http_addr,
            .roles         = m->roles,
            .flags         = m->flags,
            .tokens_n      = m->tokens_n,
            .state         = m->state,
            .health        = m->health,
            .healthy       = m->health != RING_DEAD,
            .readable      = m->health != RING_DEAD && !(m->flags & RING_REBUILDING),
            .version       = m->version,
            .tokens        = m->tokens,
            .incarnation   = m->incarnation,
            .registered_ms = m->registered_ms,
        };
    }
}

static int by_name(const void *pa, const void *pb)
{
    return strcmp(*(const char *const *)pa, *(const char *const *)pb);
}

/* Distinct zones of the owners, by name. ret has room for r->n. */
static size_t list_zones(const struct ring *r, const struct candidate *list, const char **ret)
{
    size_t n = 0, kept = 0;

    for (size_t i = 0; i < r->n; i++) {
        if (!list || list[i].now || list[i].next)
            ret[n++] = r->members[i].zone;
    }
    qsort(ret, n, sizeof *ret, by_name);
    for (size_t i = 0; i < n; i++) {
        if (kept == 0 || strcmp(ret[i], ret[kept - 1]) != 0)
            ret[kept++] = ret[i];
    }
    return kept;
}

static uint16_t zone_number(const char *const *zones, size_t n, const char *zone)
{
    const char **at = bsearch(&zone, zones, n, sizeof *zones, by_name);

    ASSERT(at);
    return (uint16_t)(at - (const char **)zones);
}

static uint64_t instances_hash(const struct ring *r)
{
    uint64_t h = (uint64_t)r->rf;

    for (size_t i = 0; i < r->n; i++)
        h = hash64(r->members[i].id, strlen(r->members[i].id) + 1, h);
    return h;
}

static void make_layout(struct ring *r, const struct ring *before, const struct candidate *list)
{
    struct layout_owner *owners = xcalloc(r->n + 1, sizeof *owners);
    const char **zones          = xcalloc(r->n + 1, sizeof *zones);
    uint64_t *zone_hashes       = xcalloc(r->n + 1, sizeof *zone_hashes);
    uint64_t hash               = instances_hash(r);
    size_t n                    = 0;

    r->zones_n = list_zones(r, list, zones);
    for (size_t z = 0; z < r->zones_n; z++)
        zone_hashes[z] = hash64(zones[z], strlen(zones[z]), 0);
    for (size_t i = 0; i < r->n; i++) {
        const struct member *m = &r->members[i];

        if (!list[i].now && !list[i].next)
            continue;
        owners[n++] = (struct layout_owner){
            .tokens   = m->tokens,
            .tokens_n = m->tokens_n,
            .id_hash  = hash64(m->id, strlen(m->id), 0),
            .zone     = zone_number(zones, r->zones_n, m->zone),
            .instance = (uint16_t)i,
            .now      = list[i].now,
            .next     = list[i].next,
        };
    }
    if (before && before->epoch == r->epoch && layout_instances_hash(before->layout) == hash)
        r->layout = layout_ref(before->layout);
    else
        r->layout = layout_new(owners, n, zone_hashes, r->zones_n, r->rf, hash);
    free(zone_hashes);
    free(zones);
    free(owners);
}

static void fill_ownership(struct ring *r)
{
    for (size_t s = 0; s < layout_sets_n(r->layout); s++) {
        double share;
        const struct ring_replicas *set = layout_set(r->layout, s, &share);

        for (size_t i = 0; i < set->owners_n; i++)
            r->instances[set->owners[i]].ownership += share;
    }
}

static struct ring *build(const struct ring *before, struct candidate *list, size_t n, int rf, uint64_t epoch,
                          const char *self_id)
{
    struct ring *r = xcalloc(1, sizeof *r);

    ASSERT(rf > 0 && rf <= RING_RF_MAX && n <= RING_MEMBERS_MAX);
    atomic_init(&r->refs, 1);
    mutex_init(&r->lock);
    r->epoch = epoch;
    r->rf    = rf;
    copy_members(r, list, n);
    make_layout(r, before, list);
    fill_ownership(r);
    r->self = self_id ? ring_find(r, self_id) : RING_NOBODY;
    return r;
}

struct ring *ring_new_after(const struct ring *before, const struct member *const *members, size_t n, int rf, uint64_t epoch,
                            const char *self_id)
{
    struct candidate *list = xcalloc(n + 1, sizeof *list);
    struct ring *r;
    size_t kept = 0;

    for (size_t i = 0; i < n; i++) {
        if (members[i]->state != RING_LEFT)
            list[kept++] = (struct candidate){members[i], owns_now(members[i]), owns_next(members[i])};
    }
    r = build(before, list, kept, rf, epoch, self_id);
    free(list);
    return r;
}

struct ring *ring_new(const struct member *const *members, size_t n, int rf, uint64_t epoch, const char *self_id)
{
    return ring_new_after(NULL, members, n, rf, epoch, self_id);
}

struct ring *ring_ref(struct ring *r)
{
    atomic_fetch_add(&r->refs, 1);
    return r;
}

void ring_unref(struct ring *r)
{
    if (!r || atomic_fetch_sub(&r->refs, 1) != 1)
        return;
    for (size_t i = 0; r->shards && i < SHARD_SLOTS; i++)
        ring_unref(r->shards[i].ring);
    free(r->shards);
    layout_unref(r->layout);
    for (size_t i = 0; i < r->n; i++)
        member_fini(&r->members[i]);
    free(r->members);
    free(r->instances);
    mutex_fini(&r->lock);
    free(r);
}

/* --- looking --- */

uint64_t ring_epoch(const struct ring *r)
{
    return r->epoch;
}

int ring_rf(const struct ring *r)
{
    return r->rf;
}

size_t ring_instances_n(const struct ring *r)
{
    return r->n;
}

const struct ring_instance *ring_instance(const struct ring *r, uint16_t i)
{
    ASSERT(i < r->n);
    return &r->instances[i];
}

uint16_t ring_find(const struct ring *r, const char *id)
{
    size_t lo = 0, hi = r->n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int cmp    = strcmp(r->instances[mid].id, id);

        if (cmp == 0)
            return (uint16_t)mid;
        if (cmp < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return RING_NOBODY;
}

uint16_t ring_self(const struct ring *r)
{
    return r->self;
}

size_t ring_count(const struct ring *r, uint32_t roles)
{
    size_t n = 0;

    for (size_t i = 0; i < r->n; i++)
        n += r->instances[i].healthy && (r->instances[i].roles & roles);
    return n;
}

size_t ring_zones_n(const struct ring *r)
{
    return r->zones_n;
}

const struct ring_replicas *ring_replicas(const struct ring *r, uint32_t token)
{
    return layout_find(r->layout, token);
}

const struct ring_replicas *ring_only(const struct ring *r)
{
    double share;

    return layout_sets_n(r->layout) == 1 ? layout_set(r->layout, 0, &share) : NULL;
}

size_t ring_sets_n(const struct ring *r)
{
    return layout_sets_n(r->layout);
}

const struct ring_replicas *ring_set(const struct ring *r, size_t i)
{
    double share;

    return layout_set(r->layout, i, &share);
}

static int place(const uint16_t *set, size_t n, uint16_t instance)
{
    for (size_t i = 0; i < n; i++) {
        if (set[i] == instance)
            return (int)i;
    }
    return -1;
}

int ring_owner_index(const struct ring *r, uint32_t token, uint16_t instance)
{
    const struct ring_replicas *set = ring_replicas(r, token);

    return set ? place(set->owners, set->owners_n, instance) : -1;
}

int ring_next_index(const struct ring *r, uint32_t token, uint16_t instance)
{
    const struct ring_replicas *set = ring_replicas(r, token);

    return set ? place(set->next, set->next_n, instance) : -1;
}

bool ring_covered(const struct ring *r, const bool *answered, int need)
{
    for (size_t s = 0; s < layout_sets_n(r->layout); s++) {
        double share;
        const struct ring_replicas *set = layout_set(r->layout, s, &share);
        int have                        = 0;

        for (size_t i = 0; i < set->owners_n; i++)
            have += answered[set->owners[i]];
        if (have < MIN(need, (int)set->owners_n))
            return false;
    }
    return true;
}

static int healthy_of(const struct ring *r, const uint16_t *set, size_t n)
{
    int healthy = 0;

    for (size_t i = 0; i < n; i++)
        healthy += r->instances[set[i]].healthy;
    return healthy;
}

bool ring_quorate(const struct ring *r)
{
    int quorum = ring_quorum(r->rf);
    double share;

    for (size_t s = 0; s < layout_sets_n(r->layout); s++) {
        const struct ring_replicas *set = layout_set(r->layout, s, &share);

        if (healthy_of(r, set->owners, set->owners_n) < quorum || (set->moving && healthy_of(r, set->next, set->next_n) < quorum))
            return false;
    }
    return layout_sets_n(r->layout) > 0;
}

/* --- rendezvous hashing --- */

static uint64_t score(const struct ring_instance *in, uint64_t key)
{
    return hash64(in->id, strlen(in->id), key);
}

/* Keeps the n best (highest score) in ret, best first. */
static size_t keep_best(const struct ring *r, uint64_t key, uint16_t *ret, size_t have, size_t n, uint16_t candidate)
{
    uint64_t mine = score(&r->instances[candidate], key);
    size_t at     = have;

    while (at > 0 && score(&r->instances[ret[at - 1]], key) < mine)
        at--;
    if (at == n)
        return have;
    have = MIN(have + 1, n);
    memmove(&ret[at + 1], &ret[at], (have - 1 - at) * sizeof *ret);
    ret[at] = candidate;
    return have;
}

size_t ring_pick(const struct ring *r, uint32_t roles, uint64_t key, uint16_t *ret, size_t n)
{
    size_t have = 0;

    for (size_t i = 0; i < r->n && n > 0; i++) {
        const struct ring_instance *in = &r->instances[i];

        if (in->healthy && (in->roles & roles) && in->state != RING_PENDING)
            have = keep_best(r, key, ret, have, n, (uint16_t)i);
    }
    return have;
}

/* --- shuffle shards --- */

/* Owners now and owners to be are chosen apart, so that a shard moves like the whole ring does. */
static void choose_in_zone(const struct ring *r, const char *zone, uint64_t key, size_t count, bool next,
                           struct candidate *chosen)
{
    uint16_t *best = xcalloc(count + 1, sizeof *best);
    size_t have    = 0;

    for (size_t i = 0; i < r->n; i++) {
        const struct member *m = &r->members[i];

        if ((next ? owns_next(m) : owns_now(m)) && strcmp(m->zone, zone) == 0)
            have = keep_best(r, key, best, have, count, (uint16_t)i);
    }
    for (size_t i = 0; i < have; i++)
        *(next ? &chosen[best[i]].next : &chosen[best[i]].now) = true;
    free(best);
}

static struct ring *make_shard(const struct ring *r, uint64_t key, size_t size)
{
    struct candidate *chosen = xcalloc(r->n + 1, sizeof *chosen);
    const char **zones       = xcalloc(r->n + 1, sizeof *zones);
    size_t n = 0, zones_n = list_zones(r, NULL, zones), per_zone = (size + r->zones_n - 1) / r->zones_n;
    struct ring *shard;

    for (size_t i = 0; i < r->n; i++)
        chosen[i].m = &r->members[i];
    for (size_t z = 0; z < zones_n; z++) {
        choose_in_zone(r, zones[z], key, per_zone, false, chosen);
        choose_in_zone(r, zones[z], key, per_zone, true, chosen);
    }
    for (size_t i = 0; i < r->n; i++) {
        if (chosen[i].now || chosen[i].next)
            chosen[n++] = chosen[i];
    }
    shard = build(NULL, chosen, n, r->rf, r->epoch, r->self == RING_NOBODY ? NULL : r->instances[r->self].id);
    free(zones);
    free(chosen);
    return shard;
}

/* Called with the lock. */
static struct shard *shard_slot(struct ring *r, uint64_t key)
{
    size_t at = key % SHARD_SLOTS;

    while (r->shards[at].ring && r->shards[at].key != key)
        at = (at + 1) % SHARD_SLOTS;
    return &r->shards[at];
}

struct ring *ring_shuffle_shard(struct ring *r, struct str tenant, size_t size)
{
    uint64_t seed = hash64(tenant.p, tenant.n, 0x7368617264), key = mix64(seed ^ size);
    size_t owners = 0;
    struct ring *shard;
    struct shard *slot;

    for (size_t i = 0; i < r->n; i++)
        owners += takes_part(&r->members[i]);
    size = MAX(size, size ? (size_t)r->rf : 0);
    if (size == 0 || size >= owners)
        return ring_ref(r);
    mutex_lock(&r->lock);
    if (!r->shards)
        r->shards = xcalloc(SHARD_SLOTS, sizeof *r->shards);
    slot  = shard_slot(r, key);
    shard = slot->ring ? ring_ref(slot->ring) : NULL;
    mutex_unlock(&r->lock);
    if (shard)
        return shard;
    shard = make_shard(r, seed, size); /* seed without size: a larger shard contains the smaller */
    mutex_lock(&r->lock);
    slot = shard_slot(r, key);
    if (!slot->ring && r->shards_n < RING_SHARDS_MAX) {
        *slot = (struct shard){key, ring_ref(shard)};
        r->shards_n++;
    }
    mutex_unlock(&r->lock);
    return shard;
}
