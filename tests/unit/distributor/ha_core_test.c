#include "distributor/ha_core.h"
#include "distributor/ha_hold.h"
#include "common/base/vec.h"
#include "tests/test.h"

#define WALL 1700000000000

static const struct ha_rules rules = {.failover_ms = 30000, .update_ms = 15000, .clusters_max = 2};

static uint32_t elections_seen;

static void on_elected(UNUSED void *self, UNUSED struct str cluster, UNUSED const struct ha_elected *e)
{
    elections_seen++;
}

static struct ha_core *core_new(void)
{
    elections_seen = 0;
    return ha_core_new(on_elected, NULL, test_seed());
}

static enum ha_verdict heard(struct ha_core *c, const char *cluster, const char *replica, int64_t now_ms)
{
    return ha_core_heard(c, ha_core_pair(c, str_of(cluster), str_of(replica)), &rules, now_ms, WALL + now_ms);
}

/* Drops what is to be written; how much it was. */
static size_t writes(struct ha_core *c, int64_t now_ms, struct ha_write *last)
{
    size_t n = 0;
    struct ha_write w = {0};

    while (ha_core_next_write(c, now_ms, &w)) {
        n++;
        if (last)
            *last = w;
    }
    return n;
}

TEST(one_replica_is_followed_until_it_was_silent_for_the_timeout)
{
    static const struct {
        int64_t at_ms;
        const char *replica;
        enum ha_verdict want;
    } steps[] = {
        {1000, "a", HA_FOLLOWED}, {1001, "b", HA_STANDBY},   {16000, "a", HA_FOLLOWED}, {16001, "b", HA_STANDBY},
        {45999, "b", HA_STANDBY}, /* a millisecond short of it */
        {46000, "b", HA_FOLLOWED}, {46001, "a", HA_STANDBY}, {60000, "b", HA_FOLLOWED}, {70000, "a", HA_STANDBY},
        {90000, "a", HA_FOLLOWED}, {90001, "b", HA_STANDBY}, {90002, "c", HA_STANDBY},
    };
    struct ha_core *c = core_new();

    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        if (heard(c, "prod", steps[i].replica, steps[i].at_ms) != steps[i].want)
            fail_msg("step %zu, %s at %lld", i, steps[i].replica, (long long)steps[i].at_ms);
    CHECK_INT(elections_seen, 3);
    ha_core_free(c);
}

TEST(clusters_beyond_the_limit_are_told_so_and_known_ones_go_on)
{
    struct ha_core *c = core_new();

    CHECK_INT(heard(c, "one", "a", 1000), HA_FOLLOWED);
    CHECK_INT(heard(c, "two", "a", 1000), HA_FOLLOWED);
    CHECK_INT(heard(c, "three", "a", 1000), HA_TOO_MANY);
    CHECK_INT(heard(c, "one", "b", 1000), HA_STANDBY);
    CHECK_INT(ha_core_clusters(c), 2);
    /* Nobody sends "two" any more: its place is free again. */
    CHECK_INT(heard(c, "one", "a", 1000 + HA_IDLE_MS), HA_FOLLOWED);
    ha_core_tick(c, 1000 + HA_IDLE_MS);
    CHECK_INT(heard(c, "three", "a", 1001 + HA_IDLE_MS), HA_FOLLOWED);
    ha_core_free(c);
}

TEST(elections_are_written_at_once_and_heartbeats_once_in_the_update_timeout)
{
    struct ha_core *c = core_new();
    struct ha_write w = {0};
    size_t beats = 0;

    CHECK_INT(heard(c, "prod", "a", 1000), HA_FOLLOWED);
    CHECK_INT(writes(c, 1000, &w), 1);
    CHECK(w.e.epoch == 1 && w.e.elections == 1 && w.e.elected_ms == WALL + 1000 && str_eqz(w.e.replica, "a") && !w.remove);
    for (int64_t t = 2000; t <= 61000; t += 1000) {
        heard(c, "prod", "a", t);
        beats += writes(c, t, &w);
    }
    CHECK_INT(beats, 4);
    CHECK(w.e.epoch == 1 && w.e.received_ms == WALL + 61000);
    ha_core_write_failed(c, STR("prod"));
    CHECK_INT(writes(c, 62000, &w), 1);
    ha_core_free(c);
}

TEST(heartbeats_come_before_others_would_fail_over)
{
    const struct ha_rules quick = {.failover_ms = 3000, .update_ms = 15000, .jitter_ms = 5000};
    struct ha_core *c = core_new();
    uint16_t a = ha_core_pair(c, STR("prod"), STR("a"));
    size_t beats = 0;

    for (int64_t t = 1000; t <= 13000; t += 500) {
        ha_core_heard(c, a, &quick, t, WALL + t);
        beats += writes(c, t, NULL);
    }
    CHECK_INT(beats, 7); /* the election, and each 2 s */
    ha_core_free(c);
}

TEST(of_what_others_say_the_greatest_epoch_and_name_is_followed)
{
    static const struct {
        uint64_t epoch;
        const char *replica; /* NULL: removed */
        const char *followed; /* then */
    } steps[] = {
        {1, "b", "b"}, {1, "a", "b"}, {1, "bb", "bb"}, {2, "a", "a"}, {1, "z", "a"}, {2, NULL, "a"}, {3, NULL, ""}, {3, "z", ""}, {4, "c", "c"},
    };
    struct ha_core *c = core_new();

    CHECK_INT(heard(c, "prod", "a", 1000), HA_FOLLOWED);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct ha_elected e = {.replica = str_of(steps[i].replica), .epoch = steps[i].epoch, .received_ms = WALL + 1000};
        static const char *const names[] = {"a", "b", "bb", "c", "z"};

        ha_core_learn(c, STR("prod"), steps[i].epoch, steps[i].replica ? &e : NULL, 2000, WALL + 2000);
        for (size_t k = 0; k < ARRAY_LEN(names); k++)
            if (ha_core_follows(c, ha_core_pair(c, STR("prod"), str_of(names[k]))) != (strcmp(names[k], steps[i].followed) == 0))
                fail_msg("step %zu: %s", i, names[k]);
    }
    ha_core_free(c);
}

/* What another distributor hears of the followed replica counts here, whatever its clock says. */
TEST(heartbeats_of_others_keep_the_followed_replica_followed)
{
    struct ha_core *c = core_new();
    struct ha_elected e = {.replica = STR("a"), .epoch = 1, .received_ms = WALL - 500000};

    ha_core_learn(c, STR("prod"), 1, &e, 1000, WALL + 1000);
    for (int64_t t = 20000; t <= 200000; t += 20000) {
        e.received_ms += 20000;
        ha_core_learn(c, STR("prod"), 1, &e, t, WALL + t);
        CHECK_INT(heard(c, "prod", "b", t + 19999), HA_STANDBY);
    }
    ha_core_learn(c, STR("prod"), 1, &e, 221000, WALL + 221000); /* the same again says nothing */
    CHECK_INT(heard(c, "prod", "b", 231000), HA_FOLLOWED);
    ha_core_free(c);
}

TEST(a_cluster_that_was_forgotten_begins_with_a_higher_epoch)
{
    struct ha_core *c = core_new();
    struct ha_write w = {0};

    heard(c, "prod", "a", 1000);
    writes(c, 1000, NULL);
    ha_core_tick(c, 1000 + HA_IDLE_MS);
    CHECK_INT(writes(c, 1000 + HA_IDLE_MS, &w), 1);
    CHECK(w.remove && w.e.epoch == 2);
    CHECK_INT(heard(c, "prod", "b", 5000 + HA_IDLE_MS), HA_FOLLOWED);
    CHECK_INT(writes(c, 5000 + HA_IDLE_MS, &w), 1);
    CHECK(!w.remove && w.e.epoch == 3 && str_eqz(w.e.replica, "b"));
    ha_core_free(c);
}

/* Replica a is heard every 5 s, then not for gap_ms, then again. */
static bool gap_after(int64_t gap_ms, int64_t came_ms, struct ha_write *told)
{
    struct ha_core *c = core_new();
    uint16_t a = ha_core_pair(c, STR("prod"), STR("a")), b = ha_core_pair(c, STR("prod"), STR("b"));
    int64_t t;
    bool in;

    for (t = 100000; t <= 200000; t += 5000)
        ha_core_heard(c, a, &rules, t, WALL + t);
    writes(c, 200000, NULL);
    t = 200000 + gap_ms;
    CHECK_INT(ha_core_heard(c, a, &rules, t, WALL + t), HA_FOLLOWED);
    *told = (struct ha_write){0};
    writes(c, t, told);
    CHECK(!ha_core_in_gap(c, b, came_ms, t)); /* what comes after it has its time */
    in = ha_core_in_gap(c, b, came_ms, t + 60000);
    ha_core_gaps_done(c, t + 60000);
    CHECK(!ha_core_in_gap(c, b, came_ms, t + 60000));
    ha_core_free(c);
    return in;
}

TEST(a_silence_that_is_longer_than_usual_is_a_gap)
{
    struct ha_write w = {0};

    CHECK(!gap_after(7000, 203000, &w));
    CHECK_INT(w.e.gap_to_ms, 0);
    CHECK(gap_after(12000, 203000, &w));
    CHECK(w.e.gap_from_ms == WALL + 200000 && w.e.gap_to_ms == WALL + 212000);
    CHECK(gap_after(25000, 200000 - HA_GAP_MARGIN_MS, &w));
    CHECK(!gap_after(25000, 200000 - HA_GAP_MARGIN_MS - 1, &w));
    CHECK(gap_after(25000, 225000 + HA_GAP_MARGIN_MS, &w));
    CHECK(!gap_after(25000, 225000 + HA_GAP_MARGIN_MS + 1, &w));
}

TEST(of_what_the_elected_one_sent_before_that_is_wanted_which_came_since_the_other_is_silent)
{
    struct ha_core *c = core_new();
    uint16_t b = ha_core_pair(c, STR("prod"), STR("b"));

    for (int64_t t = 100000; t <= 200000; t += 5000)
        heard(c, "prod", "a", t);
    CHECK(!ha_core_in_gap(c, b, 199000, 231000));
    CHECK_INT(heard(c, "prod", "b", 231000), HA_FOLLOWED);
    CHECK(ha_core_in_gap(c, b, 200000 - HA_GAP_MARGIN_MS, 231000));
    CHECK(!ha_core_in_gap(c, b, 200000 - HA_GAP_MARGIN_MS - 1, 231000));
    ha_core_free(c);
}

TEST(gaps_that_others_saw_are_known_here)
{
    struct ha_core *c = core_new();
    uint16_t b = ha_core_pair(c, STR("prod"), STR("b"));
    struct ha_elected e = {.replica = STR("a"), .epoch = 1, .received_ms = WALL};

    ha_core_learn(c, STR("prod"), 1, &e, 1000000, WALL);
    e.received_ms = e.gap_to_ms = WALL + 20000;
    e.gap_from_ms = WALL + 5000;
    ha_core_learn(c, STR("prod"), 1, &e, 1021000, WALL + 21000);
    CHECK(ha_core_in_gap(c, b, 1012000, 1040000));
    ha_core_gaps_done(c, 1040000);
    ha_core_learn(c, STR("prod"), 1, &e, 1041000, WALL + 41000); /* known already */
    CHECK(!ha_core_in_gap(c, b, 1012000, 1100000));
    ha_core_free(c);
}

/* One that sends seldom has no gaps by that. */
TEST(pauses_between_pushes_are_learnt)
{
    struct ha_core *c = core_new();
    struct ha_write w = {0};
    int64_t last_gap = 0;

    for (int64_t t = 100000; t < 700000; t += 25000) {
        heard(c, "prod", "a", t);
        if (writes(c, t, &w))
            last_gap = w.e.gap_to_ms;
    }
    CHECK(last_gap > 0 && last_gap < WALL + 250000);
    ha_core_free(c);
}

TEST(values_of_the_shared_state_come_back_and_sort_by_name_and_time)
{
    struct ha_elected e = {STR("prom-a"), 7, WALL, WALL - 5, WALL - 3, WALL - 2, 9}, got;
    struct buf a, b;

    buf_init(&a, 1024);
    buf_init(&b, 1024);
    ha_elected_encode(&e, &a);
    CHECK_INT(ha_elected_decode(7, buf_view(&a), &got, NULL), 0);
    CHECK(str_eqz(got.replica, "prom-a") && got.epoch == 7 && got.received_ms == WALL && got.elected_ms == WALL - 5 && got.gap_from_ms == WALL - 3 &&
          got.gap_to_ms == WALL - 2 && got.elections == 9);
    e.received_ms++;
    ha_elected_encode(&e, &b);
    CHECK(str_cmp(buf_view(&b), buf_view(&a)) > 0);
    buf_clear(&b);
    e = (struct ha_elected){.replica = STR("prom-aa")};
    ha_elected_encode(&e, &b);
    CHECK(str_cmp(buf_view(&b), buf_view(&a)) > 0);
    for (size_t n = 0; n < a.n; n++)
        CHECK(ha_elected_decode(7, str_n(a.p, n), &got, NULL) < 0);
    a.p[a.n - 1]++;
    CHECK_INT(ha_elected_decode(7, buf_view(&a), &got, NULL), RC_VERSION);
    buf_fini(&a);
    buf_fini(&b);
}

/* --- ha_hold --- */

static enum ha_fate by_pair(UNUSED void *arg, struct ha_held *held)
{
    return held->pair == 1 ? HA_FILL : held->pair == 2 ? HA_DROP : HA_KEEP;
}

TEST(held_requests_go_by_their_fate_and_the_oldest_when_there_are_too_many)
{
    static const uint16_t pairs[] = {1, 2, 3, 1, 3, 2, 1};
    const struct push_content content = {.encoding = BODY_SNAPPY};
    struct ha_body *body = ha_body_new(STR("0123456789"), &content, false);
    struct ha_hold h;
    struct ha_held *fill;
    size_t one, n = 0;

    ha_hold_init(&h);
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        CHECK(ha_hold_add(&h, body, pairs[i], (int64_t)i, 1 << 20));
    one = h.bytes / ARRAY_LEN(pairs);
    fill = ha_hold_sweep(&h, by_pair, NULL);
    for (int64_t last = -1; fill; n++) {
        struct ha_held *next = fill->next;

        CHECK(fill->pair == 1 && fill->came_ms > last && fill->body->n == 10);
        last = fill->came_ms;
        ha_held_free(fill);
        fill = next;
    }
    CHECK_INT(n, 3);
    CHECK_INT(h.bytes, one * 2);
    CHECK(!ha_hold_add(&h, body, 4, 100, one * 2));
    CHECK(h.bytes == one * 2 && h.first->came_ms == 4);
    CHECK(!ha_hold_add(&h, body, 4, 101, one - 1));
    CHECK(h.bytes == 0 && !h.first);
    CHECK(ha_hold_add(&h, body, 1, 102, one));
    CHECK_INT(atomic_load(&body->refs), 2);
    ha_hold_fini(&h);
    ha_body_unref(body);
}
