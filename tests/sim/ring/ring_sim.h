/* ring_sim.h - members on a virtual clock and network: loss, delay, reordering, duplicates, cut links, pauses, kills, restarts, all
 * from one seed. Single-threaded; a run with the same seed is the same run. */
#pragma once
#include "common/base/rng.h"
#include "common/base/vec.h"
#include "ring/ring.h"
#include "ring/ring_core.h"
#include "tests/test.h"

enum { SIM_NODES_MAX = 80 };

struct sim;
struct sim_node {
    struct sim *sim;
    struct ring_core *core; /* NULL: down */
    struct member saved;    /* its disk */
    bool has_disk, paused;
    uint32_t roles; /* 0: an ingester */
    bool joins;     /* begins PENDING, not ACTIVE */
    char id[32], zone[8], addr[32];
    int64_t tick_ms;
    uint64_t last_epoch;
};

struct sim_event {
    int64_t at_ms;
    uint64_t seq; /* ties in order of sending */
    int to;
    char *p;
    size_t n;
};

struct sim {
    struct rng rng;
    uint64_t seed;
    int64_t now_ms;
    int n;
    struct sim_node nodes[SIM_NODES_MAX];
    bool cut[SIM_NODES_MAX][SIM_NODES_MAX]; /* from, to */
    double loss, duplicates;
    int64_t delay_min_ms, delay_max_ms;
    VEC(struct sim_event) heap;
    uint64_t seq, delivered, bytes;
};

/* --- heap by time --- */

static bool sim_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->seq < b->seq;
}

static void sim_push(struct sim *s, struct sim_event e)
{
    size_t i = s->heap.n;

    *(struct sim_event *)vec_push(&s->heap) = e;
    while (i > 0 && sim_before(&s->heap.v[i], &s->heap.v[(i - 1) / 2])) {
        struct sim_event x          = s->heap.v[i];
        s->heap.v[i]                = s->heap.v[(i - 1) / 2];
        s->heap.v[i = (i - 1) / 2] = x;
    }
}

static struct sim_event sim_pop(struct sim *s)
{
    struct sim_event top = s->heap.v[0];
    size_t i             = 0;

    s->heap.v[0] = s->heap.v[--s->heap.n];
    for (;;) {
        size_t least = i, l = 2 * i + 1, r = l + 1;

        if (l < s->heap.n && sim_before(&s->heap.v[l], &s->heap.v[least]))
            least = l;
        if (r < s->heap.n && sim_before(&s->heap.v[r], &s->heap.v[least]))
            least = r;
        if (least == i)
            return top;
        struct sim_event x = s->heap.v[i];
        s->heap.v[i]       = s->heap.v[least];
        s->heap.v[least]   = x;
        i                  = least;
    }
}

/* --- environment of a core --- */

static int64_t sim_env_now(void *self)
{
    return ((struct sim_node *)self)->sim->now_ms;
}

static int64_t sim_env_wall(void *self)
{
    return 1700000000000 + ((struct sim_node *)self)->sim->now_ms;
}

static void sim_env_send(void *self, const char *addr, struct str msg)
{
    struct sim_node *from = self;
    struct sim *s         = from->sim;
    int to                = atoi(addr + 1), f = (int)(from - s->nodes);

    for (int copy = 0; copy < 2; copy++) {
        if (copy == 1 && !rng_chance(&s->rng, s->duplicates))
            break;
        if (to >= s->n || s->cut[f][to] || rng_chance(&s->rng, s->loss))
            continue;
        sim_push(s, (struct sim_event){
                        s->now_ms + s->delay_min_ms +
                            (int64_t)rng_below(&s->rng, (uint64_t)(s->delay_max_ms - s->delay_min_ms + 1)),
                        s->seq++, to, xmemdup(msg.p, msg.n), msg.n});
    }
}

static void sim_env_persist(void *self, const struct member *m)
{
    struct sim_node *node = self;

    if (node->has_disk)
        member_fini(&node->saved);
    member_copy(&node->saved, m);
    node->has_disk = true;
}

static void sim_env_changed(void *self)
{
    struct sim_node *node = self;
    uint64_t epoch        = node->core ? ring_core_epoch(node->core) : 0;

    ASSERT(epoch >> 24 >= node->last_epoch >> 24); /* never falls at one member */
    node->last_epoch = epoch;
    for (size_t i = 0; node->core && i < ring_core_members_n(node->core); i++) {
        const struct member *m = ring_core_member(node->core, i);

        ASSERT(m->state == RING_LEFT || !(m->roles & RING_INGESTER) ? m->tokens_n == 0 : m->tokens_n > 0); /* nobody owns without tokens, nobody has tokens and is gone */
    }
}

/* --- verbs --- */

static struct sim *sim_new(uint64_t seed)
{
    struct sim *s = xcalloc(1, sizeof *s);

    s->seed         = seed;
    s->now_ms       = 1000;
    s->delay_min_ms = 1;
    s->delay_max_ms = 20;
    rng_init(&s->rng, seed);
    return s;
}

static void sim_start(struct sim *s, int i)
{
    static const char *const seeds[] = {"n0:1", "n1:1", "n2:1"};
    struct sim_node *node            = &s->nodes[i];
    struct ring_core_env env = {node, sim_env_now, sim_env_wall, sim_env_send, sim_env_persist, sim_env_changed,
                                rng_u64(&s->rng)};
    uint32_t tokens[RING_TOKENS];
    int ordinal              = tokens_ordinal_of_name(str_of(node->id));
    struct ring_core_cfg cfg = {.id = node->id, .zone = node->zone, .addr = node->addr,
                                .roles = node->roles ? node->roles : RING_INGESTER,
                                .seeds = seeds, .seeds_n = 3, .tokens = tokens, .tokens_n = node->roles ? 0 : RING_TOKENS,
                                .state = node->joins ? RING_PENDING : RING_ACTIVE, .restored = node->has_disk ? &node->saved : NULL};
    struct err err = {0};

    ASSERT(!node->core);
    tokens_of_ordinal((unsigned)ordinal, RING_TOKENS, tokens);
    node->last_epoch = 0; /* a new process begins to count anew */
    node->paused     = false;
    if (ring_core_new(&cfg, &env, &node->core, &err) < 0)
        fail_msg("%s", err.text);
    node->tick_ms = s->now_ms;
}

/* Three zones in turn; ordinals count within a zone. */
UNUSED static int sim_add(struct sim *s)
{
    int i                 = s->n++;
    struct sim_node *node = &s->nodes[i];

    ASSERT(i < SIM_NODES_MAX);
    node->sim = s;
    snprintf(node->zone, sizeof node->zone, "zone-%c", 'a' + i % 3);
    snprintf(node->id, sizeof node->id, "ing-%c-%d", 'a' + i % 3, i / 3);
    snprintf(node->addr, sizeof node->addr, "n%d:1", i);
    sim_start(s, i);
    return i;
}

static void sim_kill(struct sim *s, int i)
{
    ring_core_free(s->nodes[i].core);
    s->nodes[i].core = NULL;
}

static void sim_free(struct sim *s)
{
    for (int i = 0; i < s->n; i++) {
        ring_core_free(s->nodes[i].core);
        if (s->nodes[i].has_disk)
            member_fini(&s->nodes[i].saved);
    }
    for (size_t i = 0; i < s->heap.n; i++)
        free(s->heap.v[i].p);
    vec_fini(&s->heap);
    free(s);
}

static int sim_next_tick(const struct sim *s)
{
    int best = -1;

    for (int i = 0; i < s->n; i++) {
        const struct sim_node *node = &s->nodes[i];

        if (node->core && !node->paused && (best < 0 || node->tick_ms < s->nodes[best].tick_ms))
            best = i;
    }
    return best;
}

static void sim_deliver(struct sim *s, struct sim_event e)
{
    struct sim_node *node = &s->nodes[e.to];
    struct err err        = {0};

    if (node->paused) { /* waits in the socket */
        e.at_ms += 1000;
        sim_push(s, e);
        return;
    }
    if (node->core) {
        int rc = ring_core_receive(node->core, str_n(e.p, e.n), &err);

        if (rc < 0)
            fail_msg("seed %llu: %s", (unsigned long long)s->seed, err.text);
        node->tick_ms = MIN(node->tick_ms, s->now_ms);
        s->delivered++;
        s->bytes += e.n;
    }
    free(e.p);
}

static void sim_run_ms(struct sim *s, int64_t ms)
{
    int64_t until = s->now_ms + ms;

    for (;;) {
        int t        = sim_next_tick(s);
        int64_t tick = t < 0 ? INT64_MAX : MAX(s->nodes[t].tick_ms, s->now_ms);
        int64_t msg  = s->heap.n ? MAX(s->heap.v[0].at_ms, s->now_ms) : INT64_MAX;

        if (MIN(tick, msg) > until)
            break;
        s->now_ms = MIN(tick, msg);
        if (msg <= tick)
            sim_deliver(s, sim_pop(s));
        else
            s->nodes[t].tick_ms = ring_core_tick(s->nodes[t].core);
    }
    s->now_ms = until;
}

UNUSED static struct ring *sim_ring(const struct sim_node *node)
{
    const struct member *list[RING_MEMBERS_MAX];
    size_t n = ring_core_members_n(node->core);

    for (size_t i = 0; i < n; i++)
        list[i] = ring_core_member(node->core, i);
    return ring_new(list, n, 3, ring_core_epoch(node->core), node->id);
}

/* All running members know the same members, in the same states, and who runs. */
static bool sim_agree(const struct sim *s)
{
    const struct ring_core *first = NULL;

    for (int i = 0; i < s->n; i++) {
        const struct ring_core *c = s->nodes[i].core;

        if (!c || ring_core_self(c)->state == RING_LEFT)
            continue;
        first = first ? first : c;
        if (ring_core_epoch(c) != ring_core_epoch(first) || ring_core_members_n(c) != ring_core_members_n(first))
            return false;
        for (size_t k = 0; k < ring_core_members_n(c); k++) {
            const struct member *m = ring_core_member(c, k), *f = ring_core_member(first, k);
            bool runs = false;

            for (int x = 0; x < s->n; x++)
                runs = runs || (s->nodes[x].core && strcmp(s->nodes[x].id, m->id) == 0);
            if (member_cmp_version(m, f) != 0 || m->state != f->state || m->flags != f->flags)
                return false;
            if (m->state != RING_LEFT && (m->health != RING_DEAD) != runs)
                return false;
        }
    }
    return true;
}

/* Runs until all agree; returns the virtual ms it took, or fails. */
UNUSED static int64_t sim_until_agree(struct sim *s, int64_t limit_ms)
{
    int64_t began = s->now_ms;

    while (!sim_agree(s)) {
        if (s->now_ms - began >= limit_ms)
            fail_msg("seed %llu: no agreement after %lld virtual ms", (unsigned long long)s->seed, (long long)limit_ms);
        sim_run_ms(s, 50);
    }
    return s->now_ms - began;
}

UNUSED static void sim_cut(struct sim *s, int a, int b, bool cut)
{
    s->cut[a][b] = s->cut[b][a] = cut;
}

UNUSED static void sim_heal(struct sim *s)
{
    memset(s->cut, 0, sizeof s->cut);
    for (int i = 0; i < s->n; i++)
        s->nodes[i].paused = false;
    s->loss = s->duplicates = 0;
    s->delay_max_ms         = 20;
}
