#include "ring/layout.h"

#include "common/base/hash.h"
#include "common/base/vec.h"

#include <stdatomic.h>
#include <stdlib.h>

enum {
    DIRECTORY_BITS = 12,
    DIRECTORY      = 1 << DIRECTORY_BITS,
    SLICE_BITS     = 14, /* what tokens do not decide is chosen per slice of the key space */
    SLICES         = 1 << SLICE_BITS,
};

struct point {
    uint32_t token;
    uint16_t owner;
};

struct set {
    struct ring_replicas replicas;
    uint64_t positions; /* keys that have this set */
};

struct layout {
    atomic_int refs;
    uint64_t instances_hash;
    size_t ranges_n;
    uint32_t *tokens;      /* [ranges_n] ascending: range i is (tokens[i-1], tokens[i]] */
    uint32_t *range_set;               /* [ranges_n] */
    uint32_t directory[DIRECTORY + 1]; /* first range whose token has at least these upper bits */
    VEC(struct set) sets;
};

/* One zone's tokens of the owners now, or of the owners to be. */
struct zone_ring {
    struct point *points; /* ascending */
    size_t n;
    uint16_t *owners; /* [instances] */
    size_t instances;
};

/* Working state of layout_new. */
struct builder {
    const struct layout_owner *owners;
    const uint64_t *zone_hashes;
    size_t owners_n, zones_n, rf;
    struct zone_ring *now, *next; /* [zones_n] */
    uint32_t *ends;               /* last keys of all ranges, ascending, distinct */
    size_t ends_n;
    uint32_t *index; /* open addressing over sets; UINT32_MAX: empty */
    size_t index_n;
};

static int by_token(const void *pa, const void *pb)
{
    const struct point *a = pa, *b = pb;

    if (a->token != b->token)
        return a->token < b->token ? -1 : 1;
    return (a->owner > b->owner) - (a->owner < b->owner);
}

static int ascending(const void *pa, const void *pb)
{
    uint32_t a = *(const uint32_t *)pa, b = *(const uint32_t *)pb;

    return (a > b) - (a < b);
}

static bool among(const uint16_t *set, size_t n, uint16_t owner)
{
    for (size_t i = 0; i < n; i++) {
        if (set[i] == owner)
            return true;
    }
    return false;
}

/* --- one replica set --- */

/* First point whose token is >= key, around the end. */
static size_t point_at(const struct zone_ring *z, uint32_t key)
{
    size_t lo = 0, hi = z->n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (z->points[mid].token < key)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo == z->n ? 0 : lo;
}

/* Zones with owners, in this slice's order of preference (rendezvous hashing), or by name when all of them are needed. */
static size_t rank_zones(const struct builder *b, const struct zone_ring *zones, uint32_t key, uint16_t *ret)
{
    uint32_t slice = key >> (32 - SLICE_BITS);
    size_t n       = 0;

    for (size_t z = 0; z < b->zones_n; z++) {
        if (zones[z].instances)
            ret[n++] = (uint16_t)z;
    }
    if (b->rf % n == 0)
        return n;
    for (size_t i = 1; i < n; i++) {
        for (size_t k = i; k > 0 && mix64(b->zone_hashes[ret[k]] ^ slice) > mix64(b->zone_hashes[ret[k - 1]] ^ slice); k--) {
            uint16_t x = ret[k];

            ret[k]     = ret[k - 1];
            ret[k - 1] = x;
        }
    }
    return n;
}

/* Replicas per ranked zone: alike, the first ones get what remains, and what a small zone cannot hold. */
static void quotas(const struct zone_ring *zones, const uint16_t *ranked, size_t n, size_t rf, uint8_t *ret)
{
    bool placed = true;

    memset(ret, 0, n);
    while (rf > 0 && placed) {
        placed = false;
        for (size_t i = 0; i < n && rf > 0; i++) {
            if (ret[i] < zones[ranked[i]].instances) {
                ret[i]++;
                rf--;
                placed = true;
            }
        }
    }
}

/* The best by rendezvous hashing of (slice, id) of the zone's instances that are not owners yet. */
static uint16_t best_of_rest(const struct builder *b, const struct zone_ring *z, uint32_t key, const uint16_t *have, size_t n)
{
    uint64_t slice = key >> (32 - SLICE_BITS), best = 0;
    uint16_t found = RING_NOBODY;

    for (size_t i = 0; i < z->instances; i++) {
        uint64_t score = mix64(b->owners[z->owners[i]].id_hash ^ slice);

        if (!among(have, n, z->owners[i]) && (found == RING_NOBODY || score > best)) {
            found = z->owners[i];
            best  = score;
        }
    }
    ASSERT(found != RING_NOBODY); /* a quota is at most the zone's instances */
    return found;
}

/* Owner numbers of this key. */
static uint8_t replicas_of(const struct builder *b, const struct zone_ring *zones, uint32_t key, uint16_t ret[RING_RF_MAX])
{
    uint16_t ranked[RING_MEMBERS_MAX];
    uint8_t quota[RING_MEMBERS_MAX];
    size_t zones_n, n = 0;
    bool any = false;

    for (size_t z = 0; z < b->zones_n && !any; z++)
        any = zones[z].instances > 0;
    if (!any)
        return 0;
    zones_n = rank_zones(b, zones, key, ranked);
    quotas(zones, ranked, zones_n, b->rf, quota);
    for (size_t i = 0; i < zones_n; i++) {
        const struct zone_ring *z = &zones[ranked[i]];

        for (size_t k = 0; k < quota[i]; k++, n++)
            ret[n] = k == 0 ? z->points[point_at(z, key)].owner : best_of_rest(b, z, key, ret, n);
    }
    return (uint8_t)n;
}

/* For an owner the next instance of its zone that takes part now and later and is no owner, nor a hint already, here. */
static uint16_t hint_of(const struct builder *b, uint32_t key, const struct ring_replicas *r, size_t i)
{
    const struct zone_ring *z = &b->now[b->owners[r->owners[i]].zone];
    size_t at                 = point_at(z, key);

    for (size_t step = 0; step < z->n; step++) {
        uint16_t owner = z->points[(at + step) % z->n].owner;

        if (b->owners[owner].next && !among(r->owners, r->owners_n, owner) && !among(r->hints, i, owner))
            return owner;
    }
    return RING_NOBODY;
}

static bool zone_has_spare(const struct builder *b, const struct ring_replicas *r, size_t i)
{
    uint16_t zone = b->owners[r->owners[i]].zone;
    size_t used   = 0;

    for (size_t k = 0; k < r->owners_n; k++)
        used += b->owners[r->owners[k]].zone == zone;
    for (size_t k = 0; k < i; k++)
        used += r->hints[k] != RING_NOBODY && b->owners[r->hints[k]].zone == zone;
    return b->now[zone].instances > used;
}

static void to_instances(const struct builder *b, uint16_t *set, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (set[i] != RING_NOBODY)
            set[i] = b->owners[set[i]].instance;
    }
}

static struct ring_replicas replicas_at(const struct builder *b, uint32_t key)
{
    struct ring_replicas r;

    memset(&r, 0, sizeof r); /* compared as bytes */
    r.owners_n = replicas_of(b, b->now, key, r.owners);
    r.next_n   = replicas_of(b, b->next, key, r.next);
    for (size_t i = 0; i < r.owners_n; i++)
        r.hints[i] = zone_has_spare(b, &r, i) ? hint_of(b, key, &r, i) : RING_NOBODY;
    r.moving = r.owners_n != r.next_n;
    for (size_t i = 0; i < r.next_n && !r.moving; i++)
        r.moving = !among(r.owners, r.owners_n, r.next[i]);
    if (!r.moving) /* the same instances, in the same order */
        memcpy(r.next, r.owners, sizeof r.next);
    to_instances(b, r.owners, r.owners_n);
    to_instances(b, r.next, r.next_n);
    to_instances(b, r.hints, r.owners_n);
    return r;
}

static void index_grow(struct layout *l, struct builder *b)
{
    free(b->index);
    b->index_n = b->index_n ? b->index_n * 2 : 256;
    b->index   = xmalloc(b->index_n * sizeof *b->index);
    memset(b->index, 0xff, b->index_n * sizeof *b->index);
    for (size_t i = 0; i < l->sets.n; i++) {
        size_t at = hash64(&l->sets.v[i].replicas, sizeof(struct ring_replicas), 0) % b->index_n;

        while (b->index[at] != UINT32_MAX)
            at = (at + 1) % b->index_n;
        b->index[at] = (uint32_t)i;
    }
}

static uint32_t set_of(struct layout *l, struct builder *b, const struct ring_replicas *r)
{
    size_t at;

    if (l->sets.n * 2 >= b->index_n)
        index_grow(l, b);
    at = hash64(r, sizeof *r, 0) % b->index_n;
    while (b->index[at] != UINT32_MAX) {
        if (memcmp(&l->sets.v[b->index[at]].replicas, r, sizeof *r) == 0)
            return b->index[at];
        at = (at + 1) % b->index_n;
    }
    b->index[at] = (uint32_t)l->sets.n;
    *(struct set *)vec_push(&l->sets) = (struct set){*r, 0};
    return b->index[at];
}

/* --- ranges --- */

static struct zone_ring *zone_rings(const struct builder *b, bool next)
{
    struct zone_ring *zones = xcalloc(b->zones_n + 1, sizeof *zones);

    for (size_t i = 0; i < b->owners_n; i++) {
        const struct layout_owner *o = &b->owners[i];
        struct zone_ring *z          = &zones[o->zone];

        if (!(next ? o->next : o->now))
            continue;
        z->points = xrealloc(z->points, (z->n + o->tokens_n) * sizeof *z->points);
        for (uint32_t k = 0; k < o->tokens_n; k++)
            z->points[z->n++] = (struct point){o->tokens[k], (uint16_t)i};
        z->owners = xrealloc(z->owners, (z->instances + 1) * sizeof *z->owners);
        z->owners[z->instances++] = (uint16_t)i;
    }
    for (size_t z = 0; z < b->zones_n; z++) {
        if (zones[z].n)
            qsort(zones[z].points, zones[z].n, sizeof *zones[z].points, by_token);
    }
    return zones;
}

static void zone_rings_free(const struct builder *b, struct zone_ring *zones)
{
    for (size_t z = 0; z < b->zones_n; z++) {
        free(zones[z].points);
        free(zones[z].owners);
    }
    free(zones);
}

static size_t zones_with_owners(const struct builder *b, const struct zone_ring *zones)
{
    size_t n = 0;

    for (size_t z = 0; z < b->zones_n; z++)
        n += zones[z].instances > 0;
    return n;
}

/* Whether something is chosen per slice: some of many zones, or several instances of one. */
static bool needs_slices(const struct builder *b, const struct zone_ring *zones)
{
    size_t n = zones_with_owners(b, zones);

    return n > 0 && b->rf != n;
}

/* Every key at which some replica set may end. */
static void find_ends(struct builder *b)
{
    bool slices  = needs_slices(b, b->now) || needs_slices(b, b->next);
    size_t total = 0, n = 0, kept = 0;

    for (size_t i = 0; i < b->owners_n; i++)
        total += b->owners[i].tokens_n;
    b->ends = xmalloc((total + SLICES) * sizeof *b->ends);
    for (size_t i = 0; i < b->owners_n; i++) {
        for (uint32_t t = 0; t < b->owners[i].tokens_n; t++)
            b->ends[n++] = b->owners[i].tokens[t];
    }
    for (uint32_t s = 1; slices && s <= SLICES; s++)
        b->ends[n++] = (uint32_t)((uint64_t)s << (32 - SLICE_BITS)) - 1;
    qsort(b->ends, n, sizeof *b->ends, ascending);
    for (size_t i = 0; i < n; i++) {
        if (kept == 0 || b->ends[i] != b->ends[kept - 1])
            b->ends[kept++] = b->ends[i];
    }
    b->ends_n = kept;
}

static void make_directory(struct layout *l)
{
    size_t range = 0;

    for (uint32_t d = 0; d <= DIRECTORY; d++) {
        while (range < l->ranges_n && l->tokens[range] >> (32 - DIRECTORY_BITS) < d)
            range++;
        l->directory[d] = (uint32_t)range;
    }
}

static void make_ranges(struct layout *l, struct builder *b)
{
    uint32_t last = UINT32_MAX;

    l->tokens    = xcalloc(b->ends_n + 1, sizeof *l->tokens);
    l->range_set = xcalloc(b->ends_n + 1, sizeof *l->range_set);
    for (size_t i = 0; i < b->ends_n; i++) {
        struct ring_replicas r = replicas_at(b, b->ends[i]);
        uint32_t set           = set_of(l, b, &r);

        if (set == last) { /* the same owners as the range before: one range */
            l->tokens[l->ranges_n - 1] = b->ends[i];
            continue;
        }
        l->tokens[l->ranges_n]      = b->ends[i];
        l->range_set[l->ranges_n++] = last = set;
    }
    for (size_t i = 0; i < l->ranges_n; i++) {
        uint32_t before = l->tokens[i ? i - 1 : l->ranges_n - 1];

        l->sets.v[l->range_set[i]].positions +=
            l->ranges_n == 1 ? (uint64_t)1 << 32 : (uint64_t)(uint32_t)(l->tokens[i] - before);
    }
}

struct layout *layout_new(const struct layout_owner *owners, size_t n, const uint64_t *zone_hashes, size_t zones_n, int rf,
                          uint64_t instances_hash)
{
    struct layout *l = xcalloc(1, sizeof *l);
    struct builder b = {
        .owners = owners, .owners_n = n, .zone_hashes = zone_hashes, .zones_n = zones_n, .rf = (size_t)rf};

    ASSERT(n < RING_NOBODY && zones_n <= RING_MEMBERS_MAX && rf > 0 && rf <= RING_RF_MAX);
    atomic_init(&l->refs, 1);
    l->instances_hash = instances_hash;
    b.now             = zone_rings(&b, false);
    b.next            = zone_rings(&b, true);
    find_ends(&b);
    make_ranges(l, &b);
    make_directory(l);
    zone_rings_free(&b, b.now);
    zone_rings_free(&b, b.next);
    free(b.ends);
    free(b.index);
    return l;
}

struct layout *layout_ref(struct layout *l)
{
    atomic_fetch_add(&l->refs, 1);
    return l;
}

void layout_unref(struct layout *l)
{
    if (!l || atomic_fetch_sub(&l->refs, 1) != 1)
        return;
    free(l->tokens);
    free(l->range_set);
    vec_fini(&l->sets);
    free(l);
}

uint64_t layout_instances_hash(const struct layout *l)
{
    return l->instances_hash;
}

const struct ring_replicas *layout_find(const struct layout *l, uint32_t token)
{
    uint32_t lo = l->directory[token >> (32 - DIRECTORY_BITS)];
    uint32_t hi = l->directory[(token >> (32 - DIRECTORY_BITS)) + 1];

    if (l->ranges_n == 0)
        return NULL;
    while (lo < hi) { /* first range whose token is >= token, or hi: then hi is it */
        uint32_t mid = lo + (hi - lo) / 2;

        if (l->tokens[mid] < token)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == l->ranges_n)
        lo = 0;
    return &l->sets.v[l->range_set[lo]].replicas;
}

size_t layout_sets_n(const struct layout *l)
{
    return l->sets.n;
}

const struct ring_replicas *layout_set(const struct layout *l, size_t i, double *ret_share)
{
    ASSERT(i < l->sets.n);
    *ret_share = (double)l->sets.v[i].positions / 0x1p32;
    return &l->sets.v[i].replicas;
}
