/* A cluster in virtual time: the ring's cores over a network that delays and loses, each ingester with its sync core, distributors and readers with what they know of
 * the ring, which may be old. Ingesters come, go, die, lose their disk, turn READ_ONLY; distributors freeze. Whatever was acknowledged before a read began must be in
 * what the read finds. TEST_SEED chooses the run; a failure prints the seed it happened with. */
#include "ingester/ingester_impl.h"
#include "ingester/sync_core.h"
#include "tests/sim/ring/ring_sim.h"

enum { SAMPLES_MAX = 1 << 14, WORDS = SAMPLES_MAX / 64, STEP_MS = 5, TURN_MS = 25, INGESTERS = 12, DISTRIBUTORS = 3, KEYS = 97 };

struct node {
    struct sync_core *core; /* of ingesters that run */
    struct ring *ring;
    int64_t ring_ms;
    uint64_t has[WORDS];
    bool busy, leaving, gone;
    int64_t gone_ms;
};
/* A comparison, a question, a read of one owner: what is on its way. */
enum kind { PUSH, VOTE, COMPARE_1, COMPARE_2, COMPARED, ASK, ASKED, READ, READ_DONE };
struct event {
    int64_t at_ms;
    enum kind kind;
    int to, from;
    uint32_t id;        /* sample, or read */
    uint64_t version;
    bool ok;
    uint64_t taken;
    uint64_t *data;     /* owned */
    int life;           /* of the process that waits for it */
};
struct write {
    uint32_t token;
    int targets[2 * RING_RF_MAX], n;
    uint8_t old, next;     /* masks over targets */
    uint8_t votes;
    bool moving, acked;
    int64_t acked_ms;
};
struct reading {
    uint32_t token;
    int64_t began_ms;
    uint64_t version;
    int asked, answered;
    bool failed;
    uint64_t *data;
};
struct world {
    struct sim *s;
    struct node nodes[SIM_NODES_MAX];
    int lives[SIM_NODES_MAX];
    struct write writes[SAMPLES_MAX];
    uint32_t writes_n;
    VEC(struct reading) reads;
    VEC(struct event) events;
    uint64_t acked, read, joins, leaves, rebuilds, stale_refused;
    int lost; /* the last one that lost its disk */
};

static int number_of(const struct ring_instance *in)
{
    return atoi(in->addr + 1);
}

static bool runs(const struct world *w, int i)
{
    return w->s->nodes[i].core != NULL;
}

static void turn_around(struct event *e)
{
    int to = e->to;

    e->to = e->from;
    e->from = to;
}

static void later(struct world *w, struct event e)
{
    e.at_ms = w->s->now_ms + 1 + (int64_t)rng_below(&w->s->rng, (uint64_t)w->s->delay_max_ms);
    if (rng_below(&w->s->rng, 50) == 0)
        e.at_ms += (int64_t)rng_below(&w->s->rng, 400); /* a slow one */
    *vec_push(&w->events) = e;
}

/* The snapshot that a process has: renewed at once when the ring changes, and for health. */
static struct ring *ring_of(struct world *w, int i)
{
    struct node *n = &w->nodes[i];
    const struct member *list[RING_MEMBERS_MAX];
    struct ring *before = n->ring;
    size_t count;

    if (before && ring_epoch(before) == ring_core_epoch(w->s->nodes[i].core) && w->s->now_ms - n->ring_ms < 1000)
        return before;
    count = ring_core_members_n(w->s->nodes[i].core);
    for (size_t k = 0; k < count; k++)
        list[k] = ring_core_member(w->s->nodes[i].core, k);
    n->ring = ring_new_after(before, list, count, 3, ring_core_epoch(w->s->nodes[i].core), w->s->nodes[i].id);
    n->ring_ms = w->s->now_ms;
    ring_unref(before);
    return n->ring;
}

static bool has(const struct world *w, int i, uint32_t sample)
{
    return w->nodes[i].has[sample / 64] >> (sample % 64) & 1;
}

static struct ownership ownership_of(struct world *w, int i)
{
    struct ownership own = {.ring = ring_of(w, i), .self = RING_NOBODY};

    own.self = ring_self(own.ring);
    if (own.self != RING_NOBODY)
        own.read_only = ring_instance(own.ring, own.self)->flags & RING_READ_ONLY;
    return own;
}

/* --- writing --- */

static int target_of(struct write *wr, int node)
{
    for (int i = 0; i < wr->n; i++)
        if (wr->targets[i] == node)
            return i;
    wr->targets[wr->n] = node;
    return wr->n++;
}

static void write_one(struct world *w, int distributor)
{
    uint32_t token = (uint32_t)mix64(rng_below(&w->s->rng, KEYS) + 1);
    struct ring *r = ring_of(w, distributor);
    const struct ring_replicas *set = ring_replicas(r, token);
    struct write *wr = &w->writes[w->writes_n];
    /* Some distributors freeze with all of a write in their hands. */
    int64_t frozen_ms = rng_below(&w->s->rng, 20) == 0 ? (int64_t)rng_below(&w->s->rng, 9000) : 0;

    if (!set || set->owners_n < 2 || w->writes_n == SAMPLES_MAX)
        return;
    *wr = (struct write){.token = token, .moving = set->moving};
    for (int i = 0; i < set->owners_n; i++)
        wr->old |= (uint8_t)(1U << target_of(wr, number_of(ring_instance(r, set->owners[i]))));
    for (int i = 0; i < set->next_n && set->moving; i++)
        wr->next |= (uint8_t)(1U << target_of(wr, number_of(ring_instance(r, set->next[i]))));
    for (int i = 0; i < wr->n; i++) {
        later(w, (struct event){.kind = PUSH, .to = wr->targets[i], .from = distributor, .id = w->writes_n, .version = ring_epoch(r)});
        w->events.v[w->events.n - 1].at_ms += frozen_ms;
    }
    w->writes_n++;
}

static void on_push(struct world *w, const struct event *e)
{
    struct ownership own = ownership_of(w, e->to);
    bool ok = ownership_takes(&own, (fingerprint){(uint64_t)w->writes[e->id].token << 32, 0}, e->version);

    w->stale_refused += !ok;
    if (ok)
        w->nodes[e->to].has[e->id / 64] |= 1ULL << (e->id % 64);
    later(w, (struct event){.kind = VOTE, .to = e->from, .from = e->to, .id = e->id, .ok = ok});
}

static void on_vote(struct world *w, const struct event *e)
{
    struct write *wr = &w->writes[e->id];

    if (!e->ok || wr->acked)
        return;
    wr->votes |= (uint8_t)(1U << target_of(wr, e->from));
    wr->acked = __builtin_popcount(wr->votes & wr->old) >= 2 && (!wr->moving || __builtin_popcount(wr->votes & wr->next) >= 2);
    wr->acked_ms = w->s->now_ms;
    w->acked += wr->acked;
}

/* --- comparing --- */

static bool shares(const struct ring *r, uint32_t token, uint16_t giver, uint16_t taker)
{
    return ring_owner_index(r, token, giver) >= 0 && (ring_owner_index(r, token, taker) >= 0 || ring_next_index(r, token, taker) >= 0);
}

/* Half of the samples, as they are now: the walk takes its time. */
static void give(struct world *w, struct event *e)
{
    struct ring *r = ring_of(w, e->to);
    uint16_t taker = ring_find(r, w->s->nodes[e->from].id);

    e->ok = ring_epoch(r) == e->version && taker != RING_NOBODY && ring_self(r) != RING_NOBODY;
    for (uint32_t k = 0; k < w->writes_n && e->ok; k++)
        if ((k & 1) == (e->kind == COMPARE_2) && has(w, e->to, k) && shares(r, w->writes[k].token, ring_self(r), taker))
            e->data[k / 64] |= 1ULL << (k % 64);
}

static void on_compare(struct world *w, struct event e)
{
    give(w, &e);
    if (e.ok && e.kind == COMPARE_1) {
        e.kind = COMPARE_2;
        later(w, e);
        return;
    }
    e.kind = COMPARED;
    turn_around(&e);
    later(w, e);
}

static void on_compared(struct world *w, const struct event *e)
{
    struct node *n = &w->nodes[e->to];
    bool ok = e->ok && ring_epoch(ring_of(w, e->to)) == e->version;

    n->busy = false;
    for (int i = 0; i < WORDS && ok; i++)
        n->has[i] |= e->data[i];
    sync_core_compared(n->core, w->s->nodes[e->from].id, e->version, ok, 0, w->s->now_ms);
}

static void on_ask(struct world *w, struct event e)
{
    e.kind = ASKED;
    e.taken = w->nodes[e.to].core && ring_epoch(ring_of(w, e.to)) == e.version ? sync_core_taken(w->nodes[e.to].core) : 0;
    turn_around(&e);
    later(w, e);
}

static void on_asked(struct world *w, const struct event *e)
{
    w->nodes[e->to].busy = false;
    sync_core_asked(w->nodes[e->to].core, w->s->nodes[e->from].id, e->taken, w->s->now_ms);
}

/* --- reading --- */

static void read_one(struct world *w, int reader)
{
    uint32_t token = (uint32_t)mix64(rng_below(&w->s->rng, KEYS) + 1), id = (uint32_t)w->reads.n;
    struct ring *r = ring_of(w, reader);
    const struct ring_replicas *set = ring_replicas(r, token);
    int owners[RING_RF_MAX], n = 0;

    if (!set || set->owners_n == 0)
        return;
    for (int i = 0; i < set->owners_n; i++)
        if (ring_instance(r, set->owners[i])->readable)
            owners[n++] = number_of(ring_instance(r, set->owners[i]));
    if (n < MIN(2, (int)set->owners_n))
        return;
    while (n > 2) { /* any two */
        owners[rng_below(&w->s->rng, (uint64_t)n)] = owners[n - 1];
        n--;
    }
    *vec_push(&w->reads) = (struct reading){token, w->s->now_ms, ring_epoch(r), n, 0, false, xcalloc(WORDS, 8)};
    for (int i = 0; i < n; i++)
        later(w, (struct event){.kind = READ, .to = owners[i], .from = reader, .id = id, .data = xcalloc(WORDS, 8)});
}

static void on_read(struct world *w, struct event e)
{
    e.kind = READ_DONE;
    e.ok = true;
    memcpy(e.data, w->nodes[e.to].has, sizeof w->nodes[e.to].has);
    e.version = ring_epoch(ring_of(w, e.to));
    turn_around(&e);
    later(w, e);
}

static void on_read_done(struct world *w, const struct event *e)
{
    struct reading *rd = &w->reads.v[e->id];

    rd->failed |= !e->ok || e->version != rd->version;
    for (int i = 0; i < WORDS; i++)
        rd->data[i] |= e->data[i];
    if (++rd->answered < rd->asked)
        return;
    for (uint32_t k = 0; k < w->writes_n && !rd->failed; k++)
        if (w->writes[k].token == rd->token && w->writes[k].acked && w->writes[k].acked_ms < rd->began_ms && !(rd->data[k / 64] >> (k % 64) & 1))
            fail_msg("seed %llu, %lld ms: a read that began at %lld does not see sample %u, acknowledged at %lld", (unsigned long long)w->s->seed, (long long)w->s->now_ms,
                     (long long)rd->began_ms, k, (long long)w->writes[k].acked_ms);
    w->read += !rd->failed;
    free(rd->data);
    rd->data = NULL;
}

/* --- the network --- */

static bool reply(enum kind k)
{
    return k == VOTE || k == COMPARED || k == ASKED || k == READ_DONE;
}

/* Nobody there: who waits hears so. */
static void undelivered(struct world *w, struct event e)
{
    if (reply(e.kind)) {
        if (e.kind == READ_DONE)
            w->reads.v[e.id].failed = true;
        free(e.data);
        return;
    }
    e.kind = e.kind == PUSH ? VOTE : e.kind == ASK ? ASKED : e.kind == READ ? READ_DONE : COMPARED;
    e.ok = false;
    turn_around(&e);
    later(w, e);
}

static void deliver(struct world *w, struct event e)
{
    if (!runs(w, e.to) || ((e.kind == COMPARED || e.kind == ASKED) && e.life != w->lives[e.to])) {
        undelivered(w, e);
        return;
    }
    switch (e.kind) {
    case PUSH:
        on_push(w, &e);
        break;
    case VOTE:
        on_vote(w, &e);
        break;
    case COMPARE_1:
    case COMPARE_2:
        on_compare(w, e);
        return;
    case COMPARED:
        on_compared(w, &e);
        break;
    case ASK:
        on_ask(w, e);
        return;
    case ASKED:
        on_asked(w, &e);
        break;
    case READ:
        on_read(w, e);
        return;
    case READ_DONE:
        on_read_done(w, &e);
        break;
    }
    free(e.data);
}

static void deliver_due(struct world *w)
{
    for (size_t i = 0; i < w->events.n;) {
        struct event e = w->events.v[i];

        if (e.at_ms > w->s->now_ms || w->s->nodes[e.to].paused) {
            i++;
            continue;
        }
        vec_remove_swap(&w->events, i);
        deliver(w, e);
    }
}

/* --- ingesters --- */

static void core_up(struct world *w, int i, bool new_head)
{
    const struct sync_core_cfg cfg = {.id = w->s->nodes[i].id, .period_ms = 60000, .settle_ms = 3000, .greet_ms = 1000, .contact_ms = 10000, .retry_ms = 500,
                                      .leave_ms = 600000, .new_head = new_head};

    w->lives[i]++;
    w->nodes[i].core = sync_core_new(&cfg, w->s->now_ms);
    w->nodes[i].busy = false;
}

static void node_down(struct world *w, int i)
{
    sync_core_free(w->nodes[i].core);
    w->nodes[i].core = NULL;
    ring_unref(w->nodes[i].ring);
    w->nodes[i].ring = NULL;
    sim_kill(w->s, i);
}

static void node_up(struct world *w, int i, bool new_head)
{
    sim_start(w->s, i);
    core_up(w, i, new_head);
}

static void act(struct world *w, int i, const struct sync_action *a)
{
    struct ring_core *rc = w->s->nodes[i].core;
    struct node *n = &w->nodes[i];
    struct event e = {.from = i, .version = ring_epoch(ring_of(w, i)), .life = w->lives[i]};

    switch (a->what) {
    case SYNC_WAIT:
        return;
    case SYNC_COMPARE:
    case SYNC_ASK:
        e.kind = a->what == SYNC_ASK ? ASK : COMPARE_1;
        e.to = number_of(ring_instance(n->ring, ring_find(n->ring, a->peer)));
        e.data = xcalloc(WORDS, 8);
        n->busy = true;
        later(w, e);
        return;
    case SYNC_SET_STATE:
        if (i == w->lost && a->state == RING_JOINING)
            fail_msg("seed %llu: an owner that lost its disk joins as if it were new", (unsigned long long)w->s->seed);
        w->joins += a->state == RING_ACTIVE && ring_core_self(rc)->state == RING_JOINING;
        ring_core_set_state(rc, a->state);
        return;
    case SYNC_SET_FLAGS:
        w->rebuilds += (ring_core_self(rc)->flags & RING_REBUILDING) && !(a->flags & RING_REBUILDING);
        ring_core_set_flags(rc, a->flags);
        return;
    case SYNC_KNOW:
        fail_msg("there are no blocks here");
        return;
    case SYNC_FLUSH:
        fail_msg("there are copies enough");
        return;
    case SYNC_GONE:
        ring_core_leave(rc);
        n->gone = true;
        n->gone_ms = w->s->now_ms;
        w->leaves++;
        return;
    }
}

static void turn(struct world *w, int i)
{
    struct node *n = &w->nodes[i];
    struct sync_action a;

    if (!n->core || n->gone || n->busy || w->s->nodes[i].paused || (w->s->now_ms + i * STEP_MS) % TURN_MS)
        return;
    sync_core_ring(n->core, ring_of(w, i), w->s->now_ms);
    a = sync_core_next(n->core, w->s->now_ms);
    act(w, i, &a);
}

static void step(struct world *w, bool load)
{
    sim_run_ms(w->s, STEP_MS);
    deliver_due(w);
    for (int i = 0; i < INGESTERS; i++) {
        if (runs(w, i))
            turn(w, i);
        w->lost = w->nodes[i].gone && w->lost == i ? -1 : w->lost;
        if (w->nodes[i].gone && w->s->now_ms - w->nodes[i].gone_ms > 1000) {
            node_down(w, i);
            w->nodes[i].gone = w->nodes[i].leaving = false;
            memset(w->nodes[i].has, 0, sizeof w->nodes[i].has);
        }
    }
    for (int d = INGESTERS; d < INGESTERS + DISTRIBUTORS && load; d++) {
        if (w->s->nodes[d].paused)
            continue;
        if (rng_below(&w->s->rng, 30) == 0)
            write_one(w, d);
        if (rng_below(&w->s->rng, 30) == 0)
            read_one(w, d);
    }
}

static void run_ms(struct world *w, int64_t ms)
{
    for (int64_t until = w->s->now_ms + ms; w->s->now_ms < until;)
        step(w, true);
}

/* --- what happens --- */

static int owners_now(struct world *w)
{
    int n = 0;

    for (int i = 0; i < INGESTERS; i++)
        n += runs(w, i) && !w->nodes[i].leaving && ring_core_self(w->s->nodes[i].core)->state == RING_ACTIVE;
    return n;
}

/* All run, have compared with all, and nothing moves: the next fault may cost a copy of anything. */
static bool calm(struct world *w)
{
    for (int i = 0; i < INGESTERS; i++)
        if (runs(w, i) && (ring_core_self(w->s->nodes[i].core)->state != RING_ACTIVE || ring_core_self(w->s->nodes[i].core)->flags || w->nodes[i].leaving ||
                           w->nodes[i].gone || w->s->nodes[i].paused || !sync_core_quiet(w->nodes[i].core) || sync_core_mover(w->nodes[i].core)))
            return false;
    return sim_agree(w->s);
}

static void until_calm(struct world *w)
{
    int64_t began = w->s->now_ms;

    for (int d = INGESTERS; d < INGESTERS + DISTRIBUTORS; d++)
        w->s->nodes[d].paused = false;
    while (!calm(w)) {
        step(w, true);
        if (w->s->now_ms - began > 600000) {
            for (int i = 0; i < INGESTERS; i++)
                if (runs(w, i))
                    printf("%s %s: %s\n", w->s->nodes[i].id, ring_state_name(ring_core_self(w->s->nodes[i].core)->state), sync_core_why(w->nodes[i].core));
            fail_msg("seed %llu: not calm after ten minutes", (unsigned long long)w->s->seed);
        }
    }
}

static void happen(struct world *w)
{
    int i = (int)rng_below(&w->s->rng, INGESTERS), d = INGESTERS + (int)rng_below(&w->s->rng, DISTRIBUTORS);

    switch (rng_below(&w->s->rng, 7)) {
    case 0:
    case 1: /* some come at once */
        for (int k = 0; k < 3; k++, i = (i + 1 + (int)rng_below(&w->s->rng, 3)) % INGESTERS)
            if (!runs(w, i))
                node_up(w, i, true);
        break;
    case 2: /* some want to go at once */
        for (int k = 0; k < 2 && owners_now(w) > 4; k++, i = (i + 1) % INGESTERS)
            if (runs(w, i) && !w->nodes[i].leaving && ring_core_self(w->s->nodes[i].core)->state == RING_ACTIVE) {
                sync_core_leave(w->nodes[i].core, true);
                w->nodes[i].leaving = true;
            }
        break;
    case 3: /* away for a while, one at a time */
        until_calm(w);
        if (runs(w, i)) {
            node_down(w, i);
            run_ms(w, (int64_t)rng_below(&w->s->rng, 8000));
            node_up(w, i, false);
        }
        break;
    case 4: /* a lost disk */
        until_calm(w);
        if (runs(w, i)) {
            node_down(w, i);
            run_ms(w, (int64_t)rng_below(&w->s->rng, 20000)); /* perhaps the others call it dead */
            memset(w->nodes[i].has, 0, sizeof w->nodes[i].has);
            if (rng_below(&w->s->rng, 2)) { /* that of the ring as well */
                member_fini(&w->s->nodes[i].saved);
                w->s->nodes[i].has_disk = false;
            }
            node_up(w, i, true);
            w->lost = i;
        }
        break;
    case 5: /* one that knows only the past goes on with it */
        w->s->nodes[d].paused = true;
        break;
    case 6:
        if (runs(w, i) && !w->nodes[i].leaving && !sync_core_mover(w->nodes[i].core) && ring_core_self(w->s->nodes[i].core)->state == RING_ACTIVE && sim_agree(w->s) &&
            owners_now(w) > 4 && !ring_core_self(w->s->nodes[i].core)->flags) {
            ring_core_set_flags(w->s->nodes[i].core, RING_READ_ONLY);
            run_ms(w, (int64_t)rng_below(&w->s->rng, 10000));
            if (runs(w, i) && !(ring_core_self(w->s->nodes[i].core)->flags & RING_REBUILDING))
                ring_core_set_flags(w->s->nodes[i].core, 0);
        }
        break;
    }
    run_ms(w, (int64_t)rng_below(&w->s->rng, 6000));
    for (d = INGESTERS; d < INGESTERS + DISTRIBUTORS; d++)
        if (rng_below(&w->s->rng, 3) == 0)
            w->s->nodes[d].paused = false;
}

static struct world *world_new(uint64_t seed, int zones, int first)
{
    struct world *w = xcalloc(1, sizeof *w);

    w->s = sim_new(seed);
    w->lost = -1;
    w->s->loss = 0.02;
    for (int i = 0; i < INGESTERS + DISTRIBUTORS; i++) {
        struct sim_node *n = &w->s->nodes[i];

        n->sim = w->s;
        n->joins = i < INGESTERS;
        n->roles = i < INGESTERS ? 0 : RING_DISTRIBUTOR;
        snprintf(n->zone, sizeof n->zone, "zone-%c", 'a' + i % zones);
        snprintf(n->id, sizeof n->id, "%s-%d", i < INGESTERS ? "ing" : "front", i);
        snprintf(n->addr, sizeof n->addr, "n%d:1", i);
        if (i < first || i >= INGESTERS)
            sim_start(w->s, i);
        if (i < first)
            core_up(w, i, true);
    }
    w->s->n = INGESTERS + DISTRIBUTORS;
    return w;
}

static void world_free(struct world *w)
{
    for (size_t i = 0; i < w->events.n; i++)
        free(w->events.v[i].data);
    for (size_t i = 0; i < w->reads.n; i++)
        free(w->reads.v[i].data);
    for (int i = 0; i < INGESTERS + DISTRIBUTORS; i++) {
        sync_core_free(w->nodes[i].core);
        ring_unref(w->nodes[i].ring);
    }
    vec_fini(&w->events);
    vec_fini(&w->reads);
    sim_free(w->s);
    free(w);
}

TEST(what_was_acknowledged_is_read_whoever_comes_and_goes)
{
    const char *runs_text = getenv("TEST_RUNS");
    int count = runs_text ? atoi(runs_text) : 3;
    uint64_t joins = 0, leaves = 0, rebuilds = 0, read = 0, acked = 0, refused = 0;

    for (int k = 0; k < count; k++) {
        struct world *w = world_new(test_seed() + (uint64_t)k, (const int[]){3, 1, 5}[k % 3], 3 + k % 4);

        until_calm(w);
        for (int i = 0; i < 16; i++)
            happen(w);
        sim_heal(w->s);
        until_calm(w);
        joins += w->joins;
        leaves += w->leaves;
        rebuilds += w->rebuilds;
        read += w->read;
        acked += w->acked;
        refused += w->stale_refused;
        world_free(w);
    }
    printf("%llu joins, %llu leaves, %llu rebuilt, %llu acknowledged, %llu read, %llu refused\n", (unsigned long long)joins, (unsigned long long)leaves,
           (unsigned long long)rebuilds, (unsigned long long)acked, (unsigned long long)read, (unsigned long long)refused);
    CHECK(joins > 0 && leaves > 0 && rebuilds > 0 && read > 1000 && acked > 1000 && refused > 0);
}

TEST(a_first_start_does_not_wait)
{
    for (int zones = 1; zones <= 3; zones += 2) {
        struct world *w = world_new(test_seed(), zones, 6);
        int64_t began = w->s->now_ms;

        w->s->loss = 0; /* who is not heard of in time comes too late for the first start, and joins */
        while (owners_now(w) < 6) {
            step(w, false);
            CHECK(w->s->now_ms - began < 3000);
        }
        CHECK_INT(w->joins, 0);
        world_free(w);
    }
}
