/* Single kinds of faults, each for a minute or more of virtual time; what must hold throughout is asserted in ring_sim.h: epochs never fall, owners have
 * tokens. Afterwards all agree, and nobody stays unhealthy for longer than a minute (reliability.md F7, F8). */
#include "tests/sim/ring/ring_sim.h"

static uint64_t seeds_n(void)
{
    return getenv("SIM_SEEDS") ? strtoull(getenv("SIM_SEEDS"), NULL, 10) : 2;
}

static struct sim *cluster(uint64_t seed, int n)
{
    struct sim *s = sim_new(seed);

    for (int i = 0; i < n; i++)
        sim_add(s);
    sim_until_agree(s, 20000);
    return s;
}

/* Owners of a sample of keys, as one member sees them; equal for all. */
static void check_one_ownership(struct sim *s)
{
    struct ring *first = NULL;

    for (int i = 0; i < s->n; i++) {
        struct ring *r;

        if (!s->nodes[i].core)
            continue;
        r     = sim_ring(&s->nodes[i]);
        first = first ? first : ring_ref(r);
        CHECK(ring_epoch(r) == ring_epoch(first));
        for (uint64_t k = 0; k < 100; k++)
            CHECK(memcmp(ring_replicas(r, (uint32_t)mix64(k)), ring_replicas(first, (uint32_t)mix64(k)), sizeof(struct ring_replicas)) == 0);
        ring_unref(r);
    }
    ring_unref(first);
}

static void heal_and_check(struct sim *s, const char *what, int64_t *worst)
{
    int64_t took;

    sim_heal(s);
    for (int i = 0; i < s->n; i++) {
        if (!s->nodes[i].core)
            sim_start(s, i);
    }
    took   = sim_until_agree(s, 60000); /* fails with the seed */
    *worst = MAX(*worst, took);
    check_one_ownership(s);
    sim_run_ms(s, 20000);
    if (!sim_agree(s))
        fail_msg("seed %llu: %s: agreement did not last", (unsigned long long)s->seed, what);
    sim_free(s);
}

/* Some member changes what decides ownership. */
static void change_something(struct sim *s)
{
    struct sim_node *node = &s->nodes[rng_below(&s->rng, (uint64_t)s->n)];

    if (!node->core || ring_core_self(node->core)->state == RING_LEFT)
        return;
    if (rng_chance(&s->rng, 0.5))
        ring_core_set_state(node->core, rng_chance(&s->rng, 0.5) ? RING_LEAVING : RING_ACTIVE);
    else
        ring_core_set_flags(node->core, (uint32_t)rng_below(&s->rng, 4));
}

/* A third of all messages lost, the rest up to two seconds late and so out of order, some twice. */
TEST(heavy_loss_and_reordering_end_in_one_ownership)
{
    int64_t worst = 0;

    for (uint64_t seed = test_seed(); seed < test_seed() + seeds_n(); seed++) {
        struct sim *s = cluster(seed, 7);

        s->loss         = 0.3;
        s->duplicates   = 0.2;
        s->delay_max_ms = 2000;
        for (int second = 0; second < 30; second++) {
            if (second % 10 == 0)
                change_something(s);
            sim_run_ms(s, 1000);
        }
        heal_and_check(s, "loss", &worst);
    }
    print_message("30 %% loss, 2 s of reordering: one ownership %lld virtual ms afterwards at worst\n", (long long)worst);
}

/* Members that hear and are not heard, or the other way round, in changing pairs. */
TEST(one_way_partitions_end_in_one_ownership)
{
    int64_t worst = 0;

    for (uint64_t seed = test_seed(); seed < test_seed() + seeds_n(); seed++) {
        struct sim *s = cluster(seed, 9);

        for (int round = 0; round < 6; round++) {
            memset(s->cut, 0, sizeof s->cut);
            for (int a = 0; a < s->n; a++) {
                bool mute = rng_chance(&s->rng, 0.3), deaf = rng_chance(&s->rng, 0.2);

                for (int b = 0; b < s->n; b++) {
                    s->cut[a][b] = s->cut[a][b] || (mute && a != b);
                    s->cut[b][a] = s->cut[b][a] || (deaf && a != b);
                }
            }
            change_something(s);
            sim_run_ms(s, 15000);
        }
        heal_and_check(s, "one-way", &worst);
    }
    print_message("one-way partitions: one ownership %lld virtual ms afterwards at worst\n", (long long)worst);
}

/* A random set of members is cut off one by one, then let back in another order (F8). */
TEST(swizzle_clog_ends_in_one_ownership)
{
    int64_t worst = 0;

    for (uint64_t seed = test_seed(); seed < test_seed() + seeds_n(); seed++) {
        struct sim *s = cluster(seed, 9);

        for (int round = 0; round < 4; round++) {
            int order[9], n = 2 + (int)rng_below(&s->rng, 6);

            for (int i = 0; i < 9; i++)
                order[i] = i;
            for (int release = 0; release < 2; release++) {
                for (int i = 9; i > 1; i--) { /* the first n by chance; for the release only these change places */
                    int k    = (int)rng_below(&s->rng, (uint64_t)i);
                    int x    = order[i - 1];
                    bool mix = !release || (i <= n && k < n);

                    if (mix) {
                        order[i - 1] = order[k];
                        order[k]     = x;
                    }
                }
                for (int i = 0; i < n; i++) {
                    for (int b = 0; b < s->n; b++)
                        sim_cut(s, order[i], b, !release && b != order[i]);
                    change_something(s);
                    sim_run_ms(s, 500 + (int64_t)rng_below(&s->rng, 6000));
                }
            }
        }
        heal_and_check(s, "swizzle", &worst);
    }
    print_message("swizzle-clog: one ownership %lld virtual ms afterwards at worst\n", (long long)worst);
}

/* Links that go on and off every 0.2 to 3 s (F8). */
TEST(flapping_links_end_in_one_ownership)
{
    int64_t worst = 0;

    for (uint64_t seed = test_seed(); seed < test_seed() + seeds_n(); seed++) {
        struct sim *s = cluster(seed, 6);
        int64_t until = s->now_ms + 90000;

        while (s->now_ms < until) {
            int a = (int)rng_below(&s->rng, 6), b = (int)rng_below(&s->rng, 6);

            if (a != b)
                sim_cut(s, a, b, !s->cut[a][b]);
            if (rng_chance(&s->rng, 0.1))
                change_something(s);
            sim_run_ms(s, 200 + (int64_t)rng_below(&s->rng, 2800) / 6); /* of 15 links one at a time */
        }
        heal_and_check(s, "flapping", &worst);
    }
    print_message("flapping links: one ownership %lld virtual ms afterwards at worst\n", (long long)worst);
}

/* Processes that stop for seconds to minutes, are killed and restarted, with or without what they had written down. */
TEST(pauses_and_restarts_end_in_one_ownership)
{
    int64_t worst = 0;

    for (uint64_t seed = test_seed(); seed < test_seed() + seeds_n(); seed++) {
        struct sim *s = cluster(seed, 7);

        for (int step = 0; step < 60; step++) {
            struct sim_node *node = &s->nodes[rng_below(&s->rng, (uint64_t)s->n)];

            if (rng_chance(&s->rng, 0.4)) {
                node->paused = node->core && !node->paused;
            } else if (node->core) {
                sim_kill(s, (int)(node - s->nodes));
                node->paused = false;
                if (rng_chance(&s->rng, 0.2)) { /* a new disk */
                    member_fini(&node->saved);
                    node->has_disk = false;
                }
            } else {
                sim_start(s, (int)(node - s->nodes));
            }
            sim_run_ms(s, (int64_t)rng_below(&s->rng, 8000));
        }
        heal_and_check(s, "pauses", &worst);
    }
    print_message("pauses, kills and lost disks: one ownership %lld virtual ms afterwards at worst\n", (long long)worst);
}
