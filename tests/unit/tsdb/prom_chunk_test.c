/* Prometheus's chunks: what is written is read; real ones, with integer histograms, are read in tests/interop/blocktool.py. */
#include "common/base/rng.h"
#include "tests/test.h"
#include "tsdb/prom_chunk.h"

#include <math.h>

static double odd_value(struct rng *r, double before)
{
    switch (rng_below(r, 6)) {
    case 0:
        return before;
    case 1:
        return before + (double)rng_below(r, 1000);
    case 2:
        return bits_double(rng_u64(r));
    case 3:
        return bits_double(STALE_NAN_BITS);
    case 4:
        return -0.0;
    default:
        return before * 1.5;
    }
}

static int64_t odd_step(struct rng *r)
{
    static const int64_t most[] = {1, 15000, 100000, 1000000, 1LL << 40};

    return 1 + (int64_t)rng_below(r, (uint64_t)most[rng_below(r, ARRAY_LEN(most))]);
}

TEST(floats_come_back_bit_for_bit)
{
    struct rng r;

    rng_init(&r, 1);
    for (int round = 0; round < 2000; round++) {
        size_t n = 1 + rng_below(&r, PROM_CHUNK_SAMPLES_MAX);
        int64_t t[PROM_CHUNK_SAMPLES_MAX];
        double v[PROM_CHUNK_SAMPLES_MAX];
        struct chunk_columns c;
        struct arena a;
        struct buf out;

        for (size_t i = 0; i < n; i++) {
            t[i] = i ? t[i - 1] + odd_step(&r) : (int64_t)rng_below(&r, 1ULL << 41) - (1LL << 40);
            v[i] = odd_value(&r, i ? v[i - 1] : 1);
        }
        arena_init(&a, 1 << 20);
        buf_init(&out, 1 << 20);
        prom_chunk_floats(&out, t, v, n);
        CHECK(prom_chunk_decode(PROM_XOR, buf_view(&out), &a, &c, NULL) == 0);
        CHECK(c.n == n && !c.hist && !c.st);
        CHECK(memcmp(c.t, t, n * sizeof *t) == 0 && memcmp(c.v, v, n * sizeof *v) == 0);
        for (size_t cut = 0; cut + 1 < out.n; cut++) {
            arena_reset(&a);
            CHECK(prom_chunk_decode(PROM_XOR, str_n(out.p, cut), &a, &c, NULL) == RC_CORRUPT);
        }
        buf_fini(&out);
        arena_fini(&a);
    }
}

TEST(float_histograms_come_back_bit_for_bit)
{
    const struct hist_span spans[] = {{-3, 2}, {4, 3}}, neg[] = {{0, 1}}, custom_spans[] = {{0, 5}};
    const double bounds[] = {0.1, 0.25, 1, 3.14159265, 1e9};
    struct rng r;

    rng_init(&r, 2);
    for (int round = 0; round < 500; round++) {
        size_t n = 1 + rng_below(&r, 50);
        bool custom = rng_chance(&r, 0.3);
        struct histogram all[50];
        const struct histogram *h[50];
        double buckets[50][6];
        int64_t t[50];
        struct chunk_columns c;
        struct arena a;
        struct buf out;

        for (size_t i = 0; i < n; i++) {
            for (size_t k = 0; k < 6; k++)
                buckets[i][k] = (i ? buckets[i - 1][k] : 0) + (double)rng_below(&r, 9);
            all[i] = (struct histogram){.is_float = true, .hint = i ? HIST_HINT_NOT_RESET : HIST_HINT_RESET, .schema = 3, .zero_threshold = 0x1p-128, .sum = 12.5 * (double)i,
                                        .pos = {spans, 2, 5, {.f = buckets[i]}}, .neg = {neg, 1, 1, {.f = buckets[i] + 5}}};
            all[i].zero_count.f = (double)i;
            for (size_t k = 0; k < 6; k++)
                all[i].count.f += buckets[i][k];
            all[i].count.f += (double)i;
            if (custom) {
                all[i].schema = HIST_CUSTOM_SCHEMA;
                all[i].zero_threshold = all[i].zero_count.f = 0;
                all[i].neg = (struct hist_side){0};
                all[i].pos = (struct hist_side){custom_spans, 1, 5, {.f = buckets[i]}};
                all[i].custom = bounds;
                all[i].custom_count = ARRAY_LEN(bounds);
                all[i].count.f -= buckets[i][5] + (double)i;
            }
            h[i] = &all[i];
            t[i] = 1700000000000 + 15000 * (int64_t)i;
        }
        CHECK(prom_chunk_run(h, n) == n);
        arena_init(&a, 1 << 20);
        buf_init(&out, 1 << 20);
        prom_chunk_histograms(&out, t, h, n);
        CHECK(prom_chunk_decode(PROM_FLOAT_HISTOGRAM, buf_view(&out), &a, &c, NULL) == 0);
        CHECK(c.n == n && memcmp(c.t, t, n * sizeof *t) == 0);
        for (size_t i = 0; i < n; i++) {
            all[i].hint = i ? HIST_HINT_UNKNOWN : HIST_HINT_RESET;
            CHECK(c.hist[i] && histogram_eq(c.hist[i], h[i]));
        }
        buf_fini(&out);
        arena_fini(&a);
    }
}

TEST(what_is_no_chunk_is_refused)
{
    struct chunk_columns c;
    struct arena a;

    arena_init(&a, 1 << 20);
    CHECK(prom_chunk_decode(4, STR("abcdef"), &a, &c, NULL) == RC_VERSION);
    CHECK(prom_chunk_decode(PROM_XOR, STR(""), &a, &c, NULL) == RC_CORRUPT);
    CHECK(prom_chunk_decode(PROM_XOR, STR("\0\0"), &a, &c, NULL) == RC_CORRUPT);
    CHECK(prom_chunk_decode(PROM_XOR, STR("\xff\xff\1\2\3"), &a, &c, NULL) == RC_CORRUPT);
    CHECK(prom_chunk_decode(PROM_HISTOGRAM, STR("\0\1\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), &a, &c, NULL) == RC_CORRUPT);
    arena_fini(&a);
}
