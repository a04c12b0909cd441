/* Several distributors, each with an election core (distributor/ha_core.h) over a shared state (ring/kv_core.h) that is carried by a network which loses, repeats and
 * delays; two replicas send every few seconds to any of them, die and come back. All from one seed, in virtual time. */
#include "distributor/ha_core.h"
#include "tests/sim/ring/kv_sim.h"

enum { DISTRIBUTORS = 4, REPLICAS = 2, EVERY_MS = 2000, STEP_MS = 100, SPREAD_MS = 12000 };
#define KEY "ha/t/prod"

static const struct ha_rules rules = {.failover_ms = 30000, .update_ms = 15000, .jitter_ms = 5000};

struct world;
struct dist {
    struct world *w;
    struct ha_core *core; /* NULL: down */
    int at;
};
struct world {
    struct kv_sim *kv;
    struct rng rng;
    struct dist dists[DISTRIBUTORS];
    bool alive[REPLICAS];
    int64_t send_ms[REPLICAS], flip_ms[REPLICAS], sent_ms[REPLICAS]; /* next, next death or birth, last sent */
    int64_t back_ms[REPLICAS]; /* sends again since, after a silence */
    int last_taken;
    int64_t changed_ms;
    int64_t split_since_ms;      /* distributors follow different ones since; 0: they agree */
    int64_t longest_split_ms, split_sum_ms;
    uint32_t taken, left_out, changes, early;
};

static void ignore(UNUSED void *self, UNUSED struct str cluster, UNUSED const struct ha_elected *e)
{
}

static int64_t wall(const struct world *w)
{
    return 1700000000000 + w->kv->now_ms;
}

static void on_change(void *arg, const struct ring_kv_entry *entry)
{
    struct dist *d = arg;
    struct ha_elected e;

    if (!d->core)
        return;
    CHECK(entry->deleted || ha_elected_decode(entry->version, entry->value, &e, NULL) == 0);
    ha_core_learn(d->core, STR("prod"), entry->version, entry->deleted ? NULL : &e, d->w->kv->now_ms, wall(d->w));
}

static void learn_all(void *arg, const struct ring_kv_entry *e)
{
    on_change(arg, e);
}

static void dist_start(struct world *w, int i)
{
    struct dist *d = &w->dists[i];

    *d = (struct dist){w, ha_core_new(ignore, NULL, rng_u64(&w->rng)), i};
    w->kv->nodes[i].changed = on_change;
    w->kv->nodes[i].changed_arg = d;
    kv_core_each(w->kv->nodes[i].core, learn_all, d);
}

static void dist_restart(struct world *w, int i)
{
    ha_core_free(w->dists[i].core);
    w->dists[i].core = NULL;
    kv_sim_stop(w->kv, i, true);
    kv_sim_start(w->kv, i);
    dist_start(w, i);
}

static struct world *world_new(uint64_t seed)
{
    struct world *w = xcalloc(1, sizeof *w);

    w->kv = kv_sim_new(seed, DISTRIBUTORS);
    rng_init(&w->rng, seed * 77 + 1);
    for (int i = 0; i < DISTRIBUTORS; i++)
        dist_start(w, i);
    for (int r = 0; r < REPLICAS; r++) {
        w->alive[r] = true;
        w->send_ms[r] = (int64_t)rng_below(&w->rng, EVERY_MS);
        w->flip_ms[r] = 60000;
    }
    w->last_taken = -1;
    return w;
}

static void world_free(struct world *w)
{
    for (int i = 0; i < DISTRIBUTORS; i++)
        ha_core_free(w->dists[i].core);
    kv_sim_free(w->kv);
    free(w);
}

static const char *name_of(int r)
{
    return r == 0 ? "prom-a" : "prom-b";
}

static void write_out(struct world *w, struct dist *d)
{
    struct ha_write x;
    struct buf b;

    buf_init(&b, RING_KV_VALUE_MAX);
    while (ha_core_next_write(d->core, w->kv->now_ms, &x)) {
        struct ring_kv_entry e = {.key = STR(KEY), .version = x.e.epoch, .deleted = x.remove};

        buf_clear(&b);
        if (!x.remove)
            ha_elected_encode(&x.e, &b);
        e.value = buf_view(&b);
        kv_core_put(w->kv->nodes[d->at].core, RING_KV_ANY, &e, NULL);
        w->kv->nodes[d->at].tick_ms = w->kv->now_ms;
    }
    buf_fini(&b);
}

/* A change of replicas while the other one sends is early, unless it was silent and is back for so short a time that not all can know, or a change has just been
 * of which not all know. */
static void take(struct world *w, int r)
{
    int64_t now = w->kv->now_ms;

    w->taken++;
    if (w->last_taken >= 0 && w->last_taken != r) {
        w->changes++;
        w->early += now - w->sent_ms[w->last_taken] < EVERY_MS && now - w->back_ms[w->last_taken] > SPREAD_MS &&
                    now - w->changed_ms > SPREAD_MS;
        w->changed_ms = now;
    }
    w->last_taken = r;
}

static void send_one(struct world *w, int r)
{
    struct dist *d = &w->dists[rng_below(&w->rng, DISTRIBUTORS)];
    int64_t now = w->kv->now_ms;

    if (now - w->sent_ms[r] > 2 * EVERY_MS)
        w->back_ms[r] = now;
    w->send_ms[r] = now + EVERY_MS;
    w->sent_ms[r] = now;
    if (ha_core_heard(d->core, ha_core_pair(d->core, STR("prod"), str_of(name_of(r))), &rules, now, wall(w)) == HA_FOLLOWED)
        take(w, r);
    else
        w->left_out++;
    write_out(w, d);
}

static void replicas_step(struct world *w, int64_t outage_max_ms)
{
    for (int r = 0; r < REPLICAS; r++) {
        if (w->alive[r] && w->kv->now_ms >= w->send_ms[r])
            send_one(w, r);
        if (!outage_max_ms || w->kv->now_ms < w->flip_ms[r])
            continue;
        w->alive[r] = !w->alive[r];
        w->flip_ms[r] = w->kv->now_ms + 1000 + (int64_t)rng_below(&w->rng, (uint64_t)outage_max_ms);
        w->send_ms[r] = w->kv->now_ms + (int64_t)rng_below(&w->rng, EVERY_MS);
    }
}

static int followed_by(const struct dist *d)
{
    for (int r = 0; r < REPLICAS; r++)
        if (ha_core_follows(d->core, ha_core_pair(d->core, STR("prod"), str_of(name_of(r)))))
            return r;
    return -1;
}

static void look(struct world *w)
{
    int first = followed_by(&w->dists[0]);
    bool split = false;

    for (int i = 1; i < DISTRIBUTORS; i++)
        split |= followed_by(&w->dists[i]) != first;
    if (!split) {
        w->split_since_ms = 0;
        return;
    }
    w->split_since_ms = w->split_since_ms ? w->split_since_ms : w->kv->now_ms;
    w->split_sum_ms += STEP_MS;
    w->longest_split_ms = MAX(w->longest_split_ms, w->kv->now_ms - w->split_since_ms);
}

static void run(struct world *w, int64_t ms, int64_t outage_max_ms, bool restarts)
{
    for (int64_t until = w->kv->now_ms + ms; w->kv->now_ms < until;) {
        kv_sim_run_ms(w->kv, STEP_MS);
        replicas_step(w, outage_max_ms);
        for (int i = 0; i < DISTRIBUTORS; i++) {
            ha_core_tick(w->dists[i].core, w->kv->now_ms);
            write_out(w, &w->dists[i]);
        }
        if (restarts && rng_chance(&w->rng, 0.002))
            dist_restart(w, (int)rng_below(&w->rng, DISTRIBUTORS));
        look(w);
    }
}

static uint64_t seeds(void)
{
    return getenv("SIM_SEEDS") ? strtoull(getenv("SIM_SEEDS"), NULL, 10) : 40;
}

TEST(one_replica_is_followed_at_a_time_whoever_dies)
{
    uint64_t first = test_seed(), n = seeds();
    int64_t longest = 0, sum = 0;
    uint32_t changes = 0;

    for (uint64_t seed = first; seed < first + n; seed++) {
        struct world *w = world_new(seed);

        run(w, SPREAD_MS, 0, false); /* the first election */
        w->longest_split_ms = w->split_sum_ms = w->early = w->changes = 0;
        w->split_since_ms = 0;
        w->kv->loss = 0.2;
        w->kv->delay_max_ms = 200;
        run(w, 15 * 60000, 90000, true);
        if (w->longest_split_ms > SPREAD_MS || w->early > 0)
            fail_msg("seed %llu: split for %lld ms, %u early of %u changes", (unsigned long long)seed, (long long)w->longest_split_ms, w->early, w->changes);
        CHECK(w->left_out > 0 && w->taken > 0);
        longest = MAX(longest, w->longest_split_ms);
        sum += w->split_sum_ms;
        changes += w->changes;
        world_free(w);
    }
    CHECK(changes > n);
    print_message("%llu seeds of 15 virtual minutes: %u changes, none from a replica that had been sending for 12 s; distributors followed different ones for %lld ms at worst, "
                  "%.2f %% of the time\n", (unsigned long long)n, changes, (long long)longest, 100.0 * (double)sum / (double)((int64_t)n * 15 * 60000));
}

TEST(two_replicas_that_live_are_never_changed)
{
    struct world *w = world_new(test_seed());

    run(w, SPREAD_MS, 0, false);
    w->changes = 0;
    w->kv->loss = 0.3;
    run(w, 60 * 60000, 0, true);
    CHECK_INT(w->changes, 0);
    world_free(w);
}

/* Each side follows whom it hears; afterwards all follow the later election. */
TEST(a_partition_ends_with_one_replica)
{
    uint64_t first = test_seed(), n = seeds();
    int64_t worst = 0;

    for (uint64_t seed = first; seed < first + n; seed++) {
        struct world *w = world_new(seed);

        run(w, SPREAD_MS, 0, false);
        for (int i = 0; i < DISTRIBUTORS; i++)
            for (int k = 0; k < DISTRIBUTORS; k++)
                w->kv->cut[i][k] = (i < 2) != (k < 2);
        run(w, 120000 + (int64_t)rng_below(&w->rng, 60000), 60000, true);
        kv_sim_heal(w->kv);
        w->split_since_ms = 0;
        w->longest_split_ms = 0;
        run(w, 60000, 0, false);
        if (w->split_since_ms || w->longest_split_ms > SPREAD_MS)
            fail_msg("seed %llu: still split, or for %lld ms", (unsigned long long)seed, (long long)w->longest_split_ms);
        worst = MAX(worst, w->longest_split_ms);
        world_free(w);
    }
    print_message("%llu partitions: one replica at the latest %lld virtual ms after they ended\n", (unsigned long long)n, (long long)worst);
}
