/* When requests are due, which times they carry, and which replica is dead. */
#include "loadgen/plan.h"
#include "tests/test.h"

enum { SECOND = 1000000000 };

TEST(slots_are_spread_over_the_interval_and_carry_their_due_time)
{
    struct plan p = {.interval_ns = 10LL * SECOND, .slots = 4, .start_ns = 5, .start_wall_ms = 1000000};

    CHECK_INT(plan_due_ns(&p, 0, 0), 5);
    CHECK_INT(plan_due_ns(&p, 0, 3), 5 + 7500000000);
    CHECK_INT(plan_due_ns(&p, 2, 1), 5 + 22500000000);
    CHECK_INT(plan_time_ms(&p, 2, 1, 0), 1022500);
    p.backfill_ms = 60000;
    p.step_ms = 20000;
    CHECK_INT(plan_time_ms(&p, 2, 1, 0), 1000000 - 60000 + 45000);
    p.backfill_ms = 0;
    p.max = true;
    CHECK_INT(plan_time_ms(&p, 2, 1, 777), 777);
}

TEST(replicas_are_due_together_and_carry_the_same_time)
{
    struct plan p = {.ha = true, .interval_ns = 10LL * SECOND, .slots = 8, .start_wall_ms = 1000000};

    for (uint32_t slot = 0; slot < 8; slot += 2)
        for (uint64_t round = 0; round < 3; round++) {
            CHECK_INT(plan_due_ns(&p, round, slot), plan_due_ns(&p, round, slot + 1));
            CHECK_INT(plan_time_ms(&p, round, slot, 1), plan_time_ms(&p, round, slot + 1, 2));
        }
    CHECK_INT(plan_due_ns(&p, 0, 2), 2500000000);
    CHECK(plan_fixed_times(&p));
}

TEST(one_replica_is_dead_at_a_time)
{
    struct plan p = {.ha = true, .interval_ns = SECOND, .slots = 2, .outage_ns = 10LL * SECOND};

    for (int64_t s = 0; s < 80; s++) {
        bool a = plan_silent(&p, 0, s * SECOND), b = plan_silent(&p, 1, s * SECOND);

        CHECK(a == (s / 10 % 4 == 1) && b == (s / 10 % 4 == 3));
    }
    p.outage_ns = 0;
    CHECK(!plan_silent(&p, 0, 15LL * SECOND));
    p.outage_ns = SECOND;
    p.ha = false;
    CHECK(!plan_silent(&p, 0, SECOND));
}

TEST(out_of_order_swaps_neighbours_and_loses_none)
{
    struct plan p = {.interval_ns = SECOND, .out_of_order = 25, .slots = 100, .seed = 3, .start_wall_ms = 1000000};
    int late = 0;

    for (uint32_t slot = 0; slot < 100; slot++)
        for (uint64_t round = 0; round < 20; round += 2) {
            int64_t first = plan_time_ms(&p, round, slot, 0), second = plan_time_ms(&p, round + 1, slot, 0), low = first < second ? first : second;

            CHECK_INT(first - second, first < second ? -1000 : 1000);
            CHECK_INT(low, 1000000 + ((int64_t)round - 1) * 1000 + slot * 10);
            late += second < first;
        }
    CHECK(late > 400 && late < 600); /* half of the pairs: a quarter of the samples */
}

TEST(the_share_that_is_due_ends_with_the_rounds)
{
    struct plan p = {.interval_ns = 10LL * SECOND, .rounds = 3};

    CHECK(plan_rounds_due(&p, -1) == 0 && plan_rounds_due(&p, 25LL * SECOND) == 2.5 && plan_rounds_due(&p, 500LL * SECOND) == 3);
    p.rounds = 0;
    CHECK(plan_rounds_due(&p, 500LL * SECOND) == 50);
}
