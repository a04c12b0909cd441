#include "distributor/ha_core.h"
#include "common/base/bytes.h"
#include "common/base/vec.h"
#include "ring/ring_kv.h"

#include <stdlib.h>
#include <uthash.h>

enum { PAUSE_WINDOW_MS = 60000, NUMBERS = 5, TAIL_BYTES = 1 + NUMBERS * 8 + 1 };

struct cluster {
    UT_hash_handle hh;
    char *name;
    size_t name_len;
    uint16_t leader;        /* pair; 0: none */
    struct ha_elected e;    /* replica is not used: the pair has it. epoch stays when nobody leads */
    int64_t heard_ms;       /* sign of life of the leader, own or others' */
    int64_t own_ms;         /* own; 0: none yet */
    int64_t published_ms;   /* the shared state was told, by whomever */
    int64_t period_ms;      /* until it is told again */
    int64_t gone_ms;        /* nobody leads since */
    int64_t pause_ms[2], pause_from_ms; /* longest pause between pushes of this minute and the one before */
    int64_t gap_from_ms, gap_to_ms, gap_due_ms; /* monotonic; due 0: none */
    int64_t lead_from_ms;   /* the one before was last heard of; what the leader sent since then is missing */
    bool write, remove;
};
struct pair {
    char *key;              /* cluster, 0, replica */
    size_t key_len, cluster_len;
};
struct pair_slot {
    UT_hash_handle hh;
    uint16_t id;
};
struct ha_core {
    void (*elected)(void *self, struct str cluster, const struct ha_elected *e);
    void *self;
    struct rng rng;
    struct cluster *clusters;   /* by name */
    size_t followed;            /* clusters with a leader */
    VEC(struct pair) pairs;     /* id - 1 */
    struct pair_slot *by_key;
    bool writes;
};

/* --- the value in the shared state --- */

void ha_elected_encode(const struct ha_elected *e, struct buf *out)
{
    const uint64_t numbers[NUMBERS] = {(uint64_t)e->received_ms, (uint64_t)e->gap_to_ms, (uint64_t)e->gap_from_ms, (uint64_t)e->elected_ms, e->elections};
    char be[8];

    buf_str(out, e->replica);
    buf_u8(out, 0);
    for (int i = 0; i < NUMBERS; i++) {
        be_put64(be, numbers[i]);
        buf_add(out, be, sizeof be);
    }
    buf_u8(out, HA_VALUE_VERSION);
}

int ha_elected_decode(uint64_t version, struct str value, struct ha_elected *ret, struct err *err)
{
    uint64_t numbers[NUMBERS];
    const char *p;

    CORRUPT_UNLESS(value.n >= 1 + TAIL_BYTES && value.n <= HA_NAME_MAX + TAIL_BYTES, err);
    if ((uint8_t)value.p[value.n - 1] != HA_VALUE_VERSION)
        return err_set(err, RC_VERSION, "HA state of version %u, this binary reads %d", (unsigned)(uint8_t)value.p[value.n - 1], HA_VALUE_VERSION);
    p = value.p + value.n - TAIL_BYTES;
    CORRUPT_UNLESS(*p == 0, err);
    for (int i = 0; i < NUMBERS; i++) {
        numbers[i] = be_get64(p + 1 + i * 8);
        CORRUPT_UNLESS(numbers[i] <= INT64_MAX / 2, err);
    }
    *ret = (struct ha_elected){
        .replica = {value.p, value.n - TAIL_BYTES},
        .epoch = version,
        .received_ms = (int64_t)numbers[0],
        .gap_to_ms = (int64_t)numbers[1],
        .gap_from_ms = (int64_t)numbers[2],
        .elected_ms = (int64_t)numbers[3],
        .elections = numbers[4],
    };
    return 0;
}

/* --- names --- */

struct ha_core *ha_core_new(void (*elected)(void *self, struct str cluster, const struct ha_elected *e), void *self, uint64_t seed)
{
    struct ha_core *c = xcalloc(1, sizeof *c);

    c->elected = elected;
    c->self = self;
    rng_init(&c->rng, seed);
    return c;
}

static void cluster_free(struct ha_core *c, struct cluster *cl)
{
    HASH_DEL(c->clusters, cl);
    free(cl->name);
    free(cl);
}

void ha_core_free(struct ha_core *c)
{
    struct cluster *cl, *cl_tmp;
    struct pair_slot *s, *s_tmp;

    if (!c)
        return;
    HASH_ITER(hh, c->clusters, cl, cl_tmp)
        cluster_free(c, cl);
    HASH_ITER(hh, c->by_key, s, s_tmp) {
        HASH_DEL(c->by_key, s);
        free(s);
    }
    for (size_t i = 0; i < c->pairs.n; i++)
        free(c->pairs.v[i].key);
    vec_fini(&c->pairs);
    free(c);
}

uint16_t ha_core_pair(struct ha_core *c, struct str cluster, struct str replica)
{
    char key[2 * HA_NAME_MAX + 1];
    size_t n = cluster.n + 1 + replica.n;
    struct pair_slot *slot;

    ASSERT(cluster.n <= HA_NAME_MAX && replica.n <= HA_NAME_MAX);
    memcpy(key, cluster.p, cluster.n);
    key[cluster.n] = 0;
    memcpy(key + cluster.n + 1, replica.p, replica.n);
    HASH_FIND(hh, c->by_key, key, n, slot);
    if (slot)
        return slot->id;
    if (c->pairs.n >= HA_PAIRS_MAX)
        return 0;
    *(struct pair *)vec_push(&c->pairs) = (struct pair){xmemdup(key, n), n, cluster.n};
    slot = xcalloc(1, sizeof *slot);
    slot->id = (uint16_t)c->pairs.n;
    HASH_ADD_KEYPTR(hh, c->by_key, c->pairs.v[c->pairs.n - 1].key, n, slot);
    return slot->id;
}

static const struct pair *pair_at(const struct ha_core *c, uint16_t pair)
{
    ASSERT(pair > 0 && pair <= c->pairs.n);
    return &c->pairs.v[pair - 1];
}

struct str ha_core_cluster_of(const struct ha_core *c, uint16_t pair)
{
    return str_n(pair_at(c, pair)->key, pair_at(c, pair)->cluster_len);
}

struct str ha_core_replica_of(const struct ha_core *c, uint16_t pair)
{
    const struct pair *p = pair_at(c, pair);

    return str_n(p->key + p->cluster_len + 1, p->key_len - p->cluster_len - 1);
}

static struct cluster *cluster_find(const struct ha_core *c, struct str name)
{
    struct cluster *cl;

    HASH_FIND(hh, c->clusters, name.p, name.n, cl);
    return cl;
}

static struct cluster *cluster_make(struct ha_core *c, struct str name)
{
    struct cluster *cl = cluster_find(c, name);

    if (cl)
        return cl;
    cl = xcalloc(1, sizeof *cl);
    cl->name = xmemdup(name.p, name.n);
    cl->name_len = name.n;
    HASH_ADD_KEYPTR(hh, c->clusters, cl->name, cl->name_len, cl);
    return cl;
}

static struct ha_elected elected_of(const struct ha_core *c, const struct cluster *cl)
{
    struct ha_elected e = cl->e;

    e.replica = cl->leader ? ha_core_replica_of(c, cl->leader) : (struct str){0};
    return e;
}

/* --- following --- */

/* Told sooner than others would fail over, whatever the timeouts are set to. */
static int64_t period_of(struct ha_core *c, const struct ha_rules *r)
{
    int64_t jitter = r->jitter_ms > 0 ? (int64_t)rng_below(&c->rng, (uint64_t)r->jitter_ms) : 0;

    return MIN(r->update_ms + jitter, r->failover_ms * 2 / 3);
}

static void want_write(struct ha_core *c, struct cluster *cl, int64_t now_ms)
{
    cl->write = true;
    cl->published_ms = now_ms;
    c->writes = true;
}

static void follow(struct ha_core *c, struct cluster *cl, uint16_t pair, int64_t now_ms)
{
    struct ha_elected e;

    cl->lead_from_ms = cl->leader ? cl->heard_ms : now_ms;
    c->followed += cl->leader == 0;
    cl->leader = pair;
    cl->heard_ms = now_ms;
    cl->own_ms = cl->gap_due_ms = 0;
    cl->pause_ms[0] = cl->pause_ms[1] = 0;
    cl->remove = false;
    e = elected_of(c, cl);
    c->elected(c->self, str_n(cl->name, cl->name_len), &e);
}

static int64_t pause_of(const struct cluster *cl)
{
    int64_t longest = MAX(cl->pause_ms[0], cl->pause_ms[1]);

    return longest ? MIN(MAX(longest, (int64_t)HA_PAUSE_MIN_MS), (int64_t)HA_PAUSE_MAX_MS) : HA_PAUSE_MS;
}

static int64_t silence_of(const struct cluster *cl)
{
    return pause_of(cl) * 3 / 2 + HA_PAUSE_MIN_MS / 2;
}

static void pause_note(struct cluster *cl, int64_t pause_ms, int64_t now_ms)
{
    if (now_ms - cl->pause_from_ms >= PAUSE_WINDOW_MS) {
        cl->pause_ms[1] = now_ms - cl->pause_from_ms < 2 * PAUSE_WINDOW_MS ? cl->pause_ms[0] : 0;
        cl->pause_ms[0] = 0;
        cl->pause_from_ms = now_ms;
    }
    cl->pause_ms[0] = MAX(cl->pause_ms[0], pause_ms);
}

/* What standbys sent about that time waits until what the followed one sends after it has come too. */
static void gap_set(struct cluster *cl, int64_t from_ms, int64_t to_ms, int64_t now_ms)
{
    cl->gap_from_ms = cl->gap_due_ms ? MIN(cl->gap_from_ms, from_ms) : from_ms;
    cl->gap_to_ms = to_ms;
    cl->gap_due_ms = MAX(now_ms, to_ms) + pause_of(cl) + HA_PAUSE_MIN_MS;
}

static void leader_heard(struct ha_core *c, struct cluster *cl, const struct ha_rules *r, int64_t now_ms, int64_t wall_ms)
{
    int64_t pause = cl->own_ms ? now_ms - cl->own_ms : 0, silence = silence_of(cl);

    if (pause > silence) {
        gap_set(cl, cl->own_ms, now_ms, now_ms);
        cl->e.gap_from_ms = wall_ms - pause;
        cl->e.gap_to_ms = wall_ms;
        cl->e.received_ms = MAX(cl->e.received_ms, wall_ms);
        want_write(c, cl, now_ms);
    }
    pause_note(cl, MIN(pause, silence), now_ms);
    cl->heard_ms = cl->own_ms = now_ms;
    if (now_ms - cl->published_ms < cl->period_ms)
        return;
    cl->e.received_ms = MAX(cl->e.received_ms, wall_ms);
    cl->period_ms = period_of(c, r);
    want_write(c, cl, now_ms);
}

static void elect(struct ha_core *c, struct cluster *cl, uint16_t pair, const struct ha_rules *r, int64_t now_ms, int64_t wall_ms)
{
    cl->e = (struct ha_elected){
        .epoch = cl->e.epoch + 1,
        .received_ms = wall_ms,
        .elected_ms = wall_ms,
        .elections = cl->e.elections + 1,
    };
    follow(c, cl, pair, now_ms);
    cl->own_ms = now_ms;
    cl->period_ms = period_of(c, r);
    want_write(c, cl, now_ms);
}

enum ha_verdict ha_core_heard(struct ha_core *c, uint16_t pair, const struct ha_rules *rules, int64_t now_ms, int64_t wall_ms)
{
    struct str name = ha_core_cluster_of(c, pair);
    struct cluster *cl = cluster_find(c, name);

    if (!cl || !cl->leader) {
        if (rules->clusters_max && c->followed >= (size_t)rules->clusters_max)
            return HA_TOO_MANY;
        elect(c, cluster_make(c, name), pair, rules, now_ms, wall_ms);
        return HA_FOLLOWED;
    }
    if (cl->leader == pair) {
        leader_heard(c, cl, rules, now_ms, wall_ms);
        return HA_FOLLOWED;
    }
    if (now_ms - cl->heard_ms < rules->failover_ms)
        return HA_STANDBY;
    elect(c, cl, pair, rules, now_ms, wall_ms);
    return HA_FOLLOWED;
}

/* --- the shared state --- */

static void forget(struct ha_core *c, struct cluster *cl, uint64_t epoch, int64_t now_ms)
{
    c->followed -= cl->leader != 0;
    cl->leader = 0;
    cl->e = (struct ha_elected){.epoch = epoch};
    cl->gone_ms = now_ms;
    cl->gap_due_ms = 0;
    cl->write = false;
}

/* The order of ring_kv_cmp, as far as it decides who is followed. */
static bool leads_over(const struct ha_core *c, const struct cluster *cl, const struct ha_elected *e)
{
    if (!cl->leader || e->epoch != cl->e.epoch)
        return e->epoch > cl->e.epoch;
    return str_cmp(e->replica, ha_core_replica_of(c, cl->leader)) > 0;
}

static void learn_same(struct cluster *cl, const struct ha_elected *e, int64_t now_ms, int64_t wall_ms)
{
    if (e->gap_to_ms > cl->e.gap_to_ms) {
        int64_t ago = MIN(MAX(wall_ms - e->gap_to_ms, (int64_t)0), (int64_t)HA_PAUSE_MAX_MS), long_ms = MAX(e->gap_to_ms - e->gap_from_ms, (int64_t)0);

        gap_set(cl, now_ms - ago - MIN(long_ms, (int64_t)HA_IDLE_MS), now_ms - ago, now_ms);
        cl->e.gap_from_ms = e->gap_from_ms;
        cl->e.gap_to_ms = e->gap_to_ms;
    }
    if (e->received_ms <= cl->e.received_ms)
        return;
    cl->e.received_ms = e->received_ms;
    cl->heard_ms = cl->published_ms = now_ms;
}

void ha_core_learn(struct ha_core *c, struct str cluster, uint64_t version, const struct ha_elected *e, int64_t now_ms, int64_t wall_ms)
{
    struct cluster *cl = e ? cluster_make(c, cluster) : cluster_find(c, cluster);
    uint16_t pair;

    if (!e) {
        if (cl && version > cl->e.epoch)
            forget(c, cl, version, now_ms);
        return;
    }
    if (cl->leader && e->epoch == cl->e.epoch && str_eq(e->replica, ha_core_replica_of(c, cl->leader))) {
        learn_same(cl, e, now_ms, wall_ms);
        return;
    }
    if (!leads_over(c, cl, e))
        return;
    pair = ha_core_pair(c, cluster, e->replica);
    if (!pair)
        return;
    cl->e = *e;
    cl->write = false;
    follow(c, cl, pair, now_ms);
    cl->published_ms = now_ms;
}

void ha_core_tick(struct ha_core *c, int64_t now_ms)
{
    struct cluster *cl, *tmp;

    HASH_ITER(hh, c->clusters, cl, tmp) {
        if (cl->leader && now_ms - cl->heard_ms >= HA_IDLE_MS) {
            forget(c, cl, cl->e.epoch + 1, now_ms);
            cl->remove = c->writes = true;
        } else if (!cl->leader && !cl->remove && now_ms - cl->gone_ms >= 2 * RING_KV_TOMBSTONE_MS) {
            cluster_free(c, cl);
        }
    }
}

bool ha_core_next_write(struct ha_core *c, int64_t now_ms, struct ha_write *ret)
{
    struct cluster *cl, *tmp;

    if (!c->writes)
        return false;
    HASH_ITER(hh, c->clusters, cl, tmp) {
        if (!cl->write && !cl->remove)
            continue;
        *ret = (struct ha_write){str_n(cl->name, cl->name_len), cl->remove, elected_of(c, cl)};
        cl->write = cl->remove = false;
        cl->published_ms = now_ms;
        return true;
    }
    c->writes = false;
    return false;
}

void ha_core_write_failed(struct ha_core *c, struct str cluster)
{
    struct cluster *cl = cluster_find(c, cluster);

    if (!cl)
        return;
    cl->write = cl->leader != 0;
    cl->remove = cl->leader == 0;
    c->writes = true;
}

/* --- looking --- */

bool ha_core_follows(const struct ha_core *c, uint16_t pair)
{
    const struct cluster *cl = cluster_find(c, ha_core_cluster_of(c, pair));

    return cl && cl->leader == pair;
}

static bool gap_due(const struct cluster *cl, int64_t now_ms)
{
    return cl->gap_due_ms && now_ms >= cl->gap_due_ms;
}

bool ha_core_in_gap(const struct ha_core *c, uint16_t pair, int64_t came_ms, int64_t now_ms)
{
    const struct cluster *cl = cluster_find(c, ha_core_cluster_of(c, pair));

    if (cl && cl->leader == pair)
        return came_ms >= cl->lead_from_ms - HA_GAP_MARGIN_MS;
    return cl && gap_due(cl, now_ms) && came_ms >= cl->gap_from_ms - HA_GAP_MARGIN_MS && came_ms <= cl->gap_to_ms + HA_GAP_MARGIN_MS;
}

void ha_core_gaps_done(struct ha_core *c, int64_t now_ms)
{
    struct cluster *cl, *tmp;

    HASH_ITER(hh, c->clusters, cl, tmp)
        if (gap_due(cl, now_ms))
            cl->gap_due_ms = 0;
}

void ha_core_each(const struct ha_core *c, int64_t now_ms, void (*fn)(void *arg, const struct ha_view *v), void *arg)
{
    struct cluster *cl, *tmp;

    HASH_ITER(hh, c->clusters, cl, tmp)
        if (cl->leader)
            fn(arg, &(struct ha_view){str_n(cl->name, cl->name_len), elected_of(c, cl), now_ms - cl->heard_ms});
}

size_t ha_core_clusters(const struct ha_core *c)
{
    return c->followed;
}

size_t ha_core_memory(const struct ha_core *c)
{
    size_t names = 0;

    for (size_t i = 0; i < c->pairs.n; i++)
        names += c->pairs.v[i].key_len;
    return sizeof *c + names + c->pairs.cap * sizeof *c->pairs.v + HASH_COUNT(c->by_key) * sizeof(struct pair_slot) +
           HASH_COUNT(c->clusters) * (sizeof(struct cluster) + 32);
}
