#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/bytes.h"
#include "common/base/hash.h"
#include "tests/test.h"

TEST(crc32c_has_the_castagnoli_check_value)
{
    char zeros[32] = {0};

    CHECK(crc32c(0, zeros, 32) == 0x8A9136AA);
    CHECK(crc32c(crc32c(0, zeros, 10), zeros + 10, 22) == 0x8A9136AA);
}

TEST(an_arena_within_another_counts_in_both)
{
    struct arena outer, inner, innermost;
    char *taken = malloc(3000);

    arena_init(&outer, 40000);
    CHECK(arena_alloc(&outer, 10000));
    arena_init_in(&inner, &outer);
    arena_init_in(&innermost, &inner);
    CHECK(arena_alloc(&inner, 5000) && arena_alloc(&innermost, 5000));
    CHECK(outer.used >= 20000 && inner.used >= 10000 && inner.used < 20000);
    CHECK(!arena_alloc(&innermost, 25000) && !arena_charge(&innermost, 25000));
    CHECK(arena_take(&innermost, taken, 3000) && arena_charge(&innermost, 100));
    arena_reset(&innermost);
    CHECK(inner.used < 16000);
    arena_fini(&innermost);
    arena_fini(&inner);
    CHECK(inner.used == 0 && outer.used < 20000 && outer.peak >= 23000);
    CHECK(arena_alloc(&outer, 20000));
    arena_fini(&outer);
    CHECK(outer.used == 0);
}

TEST(arena_refuses_what_is_over_its_budget_and_keeps_what_it_has)
{
    struct arena a;
    char *p;

    arena_init(&a, 10000);
    p = arena_alloc(&a, 5000);
    CHECK(p != NULL);
    memset(p, 1, 5000);
    CHECK(arena_alloc(&a, 6000) == NULL);
    CHECK(p[4999] == 1);
    CHECK(arena_alloc(&a, 1000) != NULL);
    arena_reset(&a);
    arena_fini(&a);
    CHECK(a.used == 0);
}

TEST(buf_stops_at_its_maximum)
{
    struct buf b;

    buf_init(&b, 10);
    buf_z(&b, "123456789");
    CHECK(buf_ok(&b));
    buf_printf(&b, "%d", 1);
    CHECK(buf_ok(&b) && b.n == 10);
    buf_char(&b, 'x');
    CHECK(!buf_ok(&b) && b.n == 10);
    buf_fini(&b);
}

TEST(varints_read_back_and_overlong_ones_fail)
{
    static const uint64_t values[] = {0, 1, 127, 128, 300, UINT32_MAX, INT64_MAX, UINT64_MAX};
    static const char overlong[] = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02";
    struct buf b;
    struct rd r;

    buf_init(&b, 1000);
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        buf_uvarint(&b, values[i]);
    r = rd_of(buf_view(&b));
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        CHECK(rd_uvarint(&r) == values[i]);
    CHECK(rd_done(&r));
    rd_u8(&r);
    CHECK(!rd_ok(&r));
    r = rd_of(str_n(overlong, 10));
    rd_uvarint(&r);
    CHECK(!rd_ok(&r));
    buf_fini(&b);
}
