#include "distributor/series_cache.h"
#include "common/base/rng.h"
#include "tests/test.h"

static struct u128 key(uint64_t i)
{
    return hash128(&i, sizeof i, 7);
}

TEST(entries_are_found_until_the_limits_change)
{
    struct series_cache *c = series_cache_new(1 << 20, clock_system());
    struct series_entry e = {.fp = {1, 2}, .limits_gen = 5}, got;

    CHECK(!series_cache_get(c, key(1), 5, &got));
    series_cache_put(c, key(1), &e);
    CHECK(series_cache_get(c, key(1), 5, &got) && u128_eq(got.fp, e.fp));
    CHECK(!series_cache_get(c, key(1), 6, &got));
    series_cache_free(c);
}

TEST(a_group_is_answered_bit_by_bit)
{
    struct series_cache *c = series_cache_new(1 << 20, clock_system());
    struct series_entry got[SERIES_CACHE_GROUP];
    struct u128 keys[SERIES_CACHE_GROUP];
    uint64_t want = 0, found;

    for (uint64_t i = 0; i < SERIES_CACHE_GROUP; i++) {
        struct series_entry e = {.fp = {i, ~i}, .limits_gen = i % 5 == 0};

        keys[i] = key(i);
        series_cache_prefetch(c, keys[i]);
        if (i % 3 == 0)
            continue;
        series_cache_put(c, keys[i], &e);
        want |= (uint64_t)!e.limits_gen << i;
    }
    found = series_cache_get_many(c, keys, SERIES_CACHE_GROUP, 0, got);
    CHECK(found == want);
    for (uint64_t i = 0; i < SERIES_CACHE_GROUP; i++)
        CHECK(!(found >> i & 1) || got[i].fp.hi == i);
    CHECK_INT(series_cache_get_many(c, keys + 1, 2, 0, got), 3);
    CHECK_INT(series_cache_get_many(c, keys, 0, 0, got), 0);
    series_cache_free(c);
}

TEST(acks_add_up_within_an_epoch_and_start_again_with_the_next)
{
    struct series_cache *c = series_cache_new(1 << 20, clock_system());
    struct series_entry e = {.ack_epoch = 1}, got;

    series_cache_put(c, key(1), &e);
    series_cache_ack(c, key(1), 1, 1);
    series_cache_ack(c, key(1), 4, 1);
    CHECK(series_cache_get(c, key(1), 0, &got) && got.acked == 5);
    series_cache_ack(c, key(1), 2, 2);
    CHECK(series_cache_get(c, key(1), 0, &got) && got.acked == 2 && got.ack_epoch == 2);
    series_cache_ack(c, key(9), 1, 1);
    CHECK(!series_cache_get(c, key(9), 0, &got));
    series_cache_free(c);
}

TEST(the_cache_stays_within_its_bytes_and_keeps_what_is_used)
{
    struct series_cache *c = series_cache_new(1 << 20, clock_system());
    struct series_entry e = {0}, got;
    size_t kept = 0;

    for (uint64_t i = 0; i < 100000; i++) {
        series_cache_put(c, key(i), &e);
        if (i % 16 == 0)
            kept += series_cache_get(c, key(1), 0, &got);
    }
    CHECK(series_cache_bytes(c) <= (1 << 20) + 4096);
    CHECK(kept > 6000);
    series_cache_free(c);
}

TEST(a_cache_larger_than_its_ceiling_still_knows_a_part)
{
    enum { SERIES = 30000 };
    struct series_cache *c = series_cache_new(1 << 20, clock_system()); /* some 20,000 */
    struct series_entry e = {0}, got;
    size_t known = 0;

    for (int round = 0; round < 4; round++)
        for (uint64_t i = 0; i < SERIES; i++) {
            bool hit = series_cache_get(c, key(i), 0, &got);

            known += round == 3 && hit;
            if (!hit)
                series_cache_put(c, key(i), &e);
        }
    CHECK(known > SERIES / 20);
    CHECK(series_cache_bytes(c) <= (1 << 20) + 4096);
    series_cache_free(c);
}

/* As a map of 4,000 keys says, across the split into stripes and many growths. */
TEST(every_entry_is_found_whole_whatever_the_size)
{
    enum { KEYS = 4000 };
    struct series_cache *c = series_cache_new(64 << 20, clock_system());
    struct series_entry got[SERIES_CACHE_GROUP], e;
    struct u128 hashes[SERIES_CACHE_GROUP];

    for (uint64_t n = 0; n < KEYS; n++) {
        e = (struct series_entry){.fp = {n, ~n}, .acked = (uint32_t)n, .ack_epoch = 3, .limits_gen = 9};
        series_cache_put(c, key(n), &e);
        CHECK(series_cache_count(c) == n + 1);
        if (n % 97)
            continue;
        for (uint64_t from = 0; from <= n; from += SERIES_CACHE_GROUP) {
            for (uint64_t i = 0; i < SERIES_CACHE_GROUP; i++)
                hashes[i] = key(from + i);
            CHECK(series_cache_get_many(c, hashes, SERIES_CACHE_GROUP, 9, got) == (n + 1 - from >= 64 ? ~0ULL : (1ULL << (n + 1 - from)) - 1));
            for (uint64_t i = 0; i < SERIES_CACHE_GROUP && from + i <= n; i++)
                CHECK(got[i].fp.hi == from + i && got[i].fp.lo == ~(from + i) && got[i].acked == (uint32_t)(from + i) && got[i].ack_epoch == 3);
        }
    }
    series_cache_free(c);
}

TEST(a_series_takes_at_most_80_bytes_and_a_tenant_of_few_hardly_more)
{
    struct series_cache *c = series_cache_new(1 << 30, clock_system());
    struct series_entry e = {0};

    for (uint64_t n = 1; n <= 200000; n++) {
        series_cache_put(c, key(n), &e);
        if (n == 20 || n == 900 || n == 20000 || n % 50000 == 0)
            CHECK(series_cache_bytes(c) <= n * 72 + 1536);
    }
    series_cache_free(c);
}

TEST(series_that_nobody_sends_any_more_go_and_their_memory_too)
{
    enum { SERIES = 50000, STAY = 500 };
    struct clock_manual clock;
    struct series_cache *c;
    struct series_entry e = {0}, got;
    size_t full;

    clock_manual_init(&clock, 1700000000000);
    c = series_cache_new(64 << 20, &clock.clock);
    for (uint64_t i = 0; i < SERIES; i++)
        series_cache_put(c, key(i), &e);
    full = series_cache_bytes(c);
    for (int hour = 0; hour < 2; hour++) {
        for (uint64_t i = 0; i < STAY; i++)
            CHECK(series_cache_get(c, key(i), 0, &got));
        series_cache_age(c); /* nothing before its time */
        CHECK(series_cache_count(c) == (hour ? STAY : SERIES));
        clock_manual_advance_ms(&clock, SERIES_CACHE_AGE_MS);
        series_cache_age(c);
        CHECK(series_cache_count(c) == STAY);
    }
    CHECK(series_cache_bytes(c) < full / 25);
    for (uint64_t i = 0; i < STAY; i++)
        CHECK(series_cache_get(c, key(i), 0, &got));
    series_cache_free(c);
}
