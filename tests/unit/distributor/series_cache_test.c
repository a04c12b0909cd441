#include "distributor/series_cache.h"
#include "common/base/rng.h"
#include "tests/test.h"

static struct u128 key(uint64_t i)
{
    return hash128(&i, sizeof i, 7);
}

TEST(entries_are_found_until_the_limits_change)
{
    struct series_cache *c = series_cache_new(1 << 20);
    struct series_entry e = {.fp = {1, 2}, .limits_gen = 5}, got;

    CHECK(!series_cache_get(c, key(1), 5, &got));
    series_cache_put(c, key(1), &e);
    CHECK(series_cache_get(c, key(1), 5, &got) && u128_eq(got.fp, e.fp));
    CHECK(!series_cache_get(c, key(1), 6, &got));
    series_cache_free(c);
}

TEST(a_group_is_answered_bit_by_bit)
{
    struct series_cache *c = series_cache_new(1 << 20);
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
    struct series_cache *c = series_cache_new(1 << 20);
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
    struct series_cache *c = series_cache_new(1 << 20);
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
