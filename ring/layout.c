#include "ring/layout.h"

#include "common/base/hash.h"
#include "common/base/vec.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { DIRECTORY_BITS = 12, DIRECTORY = 1 << DIRECTORY_BITS };

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
    uint32_t *range_set;   /* [ranges_n] */
    uint32_t directory[DIRECTORY + 1]; /* first range whose token has at least these upper bits */
    VEC(struct set) sets;
};

/* Working state of layout_new. */
struct builder {
    const struct layout_owner *owners;
    size_t owners_n, zones_n;
    struct point *points;
    size_t points_n;
    size_t now_zone[RING_MEMBERS_MAX]; /* owners per zone */
    size_t next_zone[RING_MEMBERS_MAX];
    uint32_t *index; /* open addressing over sets; UINT32_MAX: empty */
    size_t index_n;
};

/* How many replicas, and how many of them in one zone at most. */
struct quota {
    size_t count, per_zone;
};

static int by_token(const void *pa, const void *pb)
{
    const struct point *a = pa, *b = pb;

    if (a->token != b->token)
        return a->token < b->token ? -1 : 1;
    return (a->owner > b->owner) - (a->owner < b->owner);
}

/* The smallest limit per zone that gives as many replicas as instances and rf allow. */
static struct quota quota_of(const size_t *per_zone, size_t zones_n, size_t rf)
{
    struct quota q = {.per_zone = 0};
    size_t total   = 0;

    for (size_t z = 0; z < zones_n; z++)
        total += per_zone[z];
    total = MIN(total, rf);
    while (q.count < total) {
        q.per_zone++;
        q.count = 0;
        for (size_t z = 0; z < zones_n; z++)
            q.count += MIN(per_zone[z], q.per_zone);
    }
    q.count = total;
    return q;
}

static bool among(const uint16_t *set, size_t n, uint16_t owner)
{
    for (size_t i = 0; i < n; i++) {
        if (set[i] == owner)
            return true;
    }
    return false;
}

/* Owner numbers in walking order from point `at`. */
static uint8_t walk(const struct builder *b, size_t at, struct quota q, bool next, uint16_t ret[RING_RF_MAX])
{
    size_t n = 0;

    for (size_t step = 0; step < b->points_n && n < q.count; step++) {
        uint16_t owner               = b->points[(at + step) % b->points_n].owner;
        const struct layout_owner *o = &b->owners[owner];
        size_t same_zone             = 0;

        if (!(next ? o->next : o->now) || among(ret, n, owner))
            continue;
        for (size_t i = 0; i < n; i++)
            same_zone += b->owners[ret[i]].zone == o->zone;
        if (same_zone < q.per_zone)
            ret[n++] = owner;
    }
    return (uint8_t)n;
}

/* For each owner the next instance of its zone that takes part now and later and is no owner here. */
static void find_hints(const struct builder *b, size_t at, const uint16_t *owners, size_t n, uint16_t *ret)
{
    size_t missing = 0;

    for (size_t i = 0; i < n; i++) {
        size_t here = 0;

        for (size_t k = 0; k < n; k++)
            here += b->owners[owners[k]].zone == b->owners[owners[i]].zone;
        ret[i] = RING_NOBODY;
        missing += b->now_zone[b->owners[owners[i]].zone] > here;
    }
    for (size_t step = 0; step < b->points_n && missing > 0; step++) {
        uint16_t owner               = b->points[(at + step) % b->points_n].owner;
        const struct layout_owner *o = &b->owners[owner];

        if (!o->now || !o->next || among(owners, n, owner) || among(ret, n, owner))
            continue;
        for (size_t i = 0; i < n; i++) {
            if (ret[i] == RING_NOBODY && b->owners[owners[i]].zone == o->zone) {
                ret[i] = owner;
                missing--;
                break;
            }
        }
    }
}

static void to_instances(const struct builder *b, uint16_t *set, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (set[i] != RING_NOBODY)
            set[i] = b->owners[set[i]].instance;
    }
}

static struct ring_replicas replicas_at(const struct builder *b, size_t at, struct quota now, struct quota next)
{
    struct ring_replicas r;

    memset(&r, 0, sizeof r); /* compared as bytes */
    r.owners_n = walk(b, at, now, false, r.owners);
    r.next_n   = walk(b, at, next, true, r.next);
    find_hints(b, at, r.owners, r.owners_n, r.hints);
    to_instances(b, r.owners, r.owners_n);
    to_instances(b, r.next, r.next_n);
    to_instances(b, r.hints, r.owners_n);
    r.moving = r.owners_n != r.next_n;
    for (size_t i = 0; i < r.next_n && !r.moving; i++)
        r.moving = !among(r.owners, r.owners_n, r.next[i]);
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
    b->index[at]                                    = (uint32_t)l->sets.n;
    ((struct set *)vec_push(&l->sets))->replicas = *r;
    return b->index[at];
}

static void collect_points(struct builder *b)
{
    size_t total = 0;

    for (size_t i = 0; i < b->owners_n; i++) {
        total += b->owners[i].tokens_n;
        b->now_zone[b->owners[i].zone] += b->owners[i].now;
        b->next_zone[b->owners[i].zone] += b->owners[i].next;
    }
    b->points = xcalloc(total ? total : 1, sizeof *b->points);
    for (size_t i = 0; i < b->owners_n; i++) {
        for (uint32_t k = 0; k < b->owners[i].tokens_n; k++)
            b->points[b->points_n++] = (struct point){b->owners[i].tokens[k], (uint16_t)i};
    }
    qsort(b->points, b->points_n, sizeof *b->points, by_token);
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

struct layout *layout_new(const struct layout_owner *owners, size_t n, size_t zones_n, int rf, uint64_t instances_hash)
{
    struct layout *l  = xcalloc(1, sizeof *l);
    struct builder *b = xcalloc(1, sizeof *b);
    struct quota now, next;

    ASSERT(n < RING_NOBODY && zones_n <= RING_MEMBERS_MAX && rf > 0 && rf <= RING_RF_MAX);
    *b = (struct builder){.owners = owners, .owners_n = n, .zones_n = zones_n};
    atomic_init(&l->refs, 1);
    l->instances_hash = instances_hash;
    collect_points(b);
    now          = quota_of(b->now_zone, zones_n, (size_t)rf);
    next         = quota_of(b->next_zone, zones_n, (size_t)rf);
    l->tokens    = xcalloc(b->points_n + 1, sizeof *l->tokens);
    l->range_set = xcalloc(b->points_n + 1, sizeof *l->range_set);
    for (size_t i = 0; i < b->points_n; i++) {
        struct ring_replicas r;

        if (i > 0 && b->points[i].token == b->points[i - 1].token)
            continue; /* an empty range; the walk from its twin meets this one */
        r                         = replicas_at(b, i, now, next);
        l->tokens[l->ranges_n]    = b->points[i].token;
        l->range_set[l->ranges_n] = set_of(l, b, &r);
        l->ranges_n++;
    }
    for (size_t i = 0; i < l->ranges_n; i++) {
        uint32_t before = l->tokens[i ? i - 1 : l->ranges_n - 1];

        l->sets.v[l->range_set[i]].positions +=
            l->ranges_n == 1 ? (uint64_t)1 << 32 : (uint64_t)(uint32_t)(l->tokens[i] - before);
    }
    make_directory(l);
    free(b->points);
    free(b->index);
    free(b);
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
