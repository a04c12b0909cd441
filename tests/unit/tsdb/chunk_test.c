#include "common/base/rng.h"
#include "tests/test.h"
#include "tsdb/chunk.h"

#include <math.h>

/* --- series to try --- */
enum { SERIES_MAX = CHUNK_SAMPLES_MAX };
struct series {
    size_t n;
    int64_t t[SERIES_MAX], st[SERIES_MAX];
    double v[SERIES_MAX];
    bool has_st;
};

static double odd_value(struct rng *r)
{
    static const uint64_t odd[] = {
        STALE_NAN_BITS,       NORMAL_NAN_BITS,       0xfff8000000000001ULL, 0x7ff0000000000000ULL,
        0xfff0000000000000ULL, 0x8000000000000000ULL, 0,                    1,
        0x800fffffffffffffULL, 0x0010000000000000ULL, 0x7fefffffffffffffULL, 0x4340000000000000ULL,
        0x4320000000000000ULL, 0x4320000000000001ULL, 0xc320000000000000ULL, 0x3ff0000000000001ULL,
        0x7ff4deadbeef0001ULL, 0x3fb999999999999aULL, 0x3fb999999999999bULL,
    };
    return bits_double(rng_chance(r, 0.2) ? rng_u64(r) : odd[rng_below(r, ARRAY_LEN(odd))]);
}

enum shape {
    SHAPE_CONSTANT, SHAPE_COUNTER, SHAPE_STEADY, SHAPE_DECIMAL, SHAPE_DOUBLE, SHAPE_ODD, SHAPE_MIXED, SHAPE_GAUGE, SHAPE_MIXED_SCALES,
    SHAPES
};

static void series_fill(struct series *s, struct rng *r, enum shape shape, size_t n, int times, int starts)
{
    int64_t t = 1700000000000 + (int64_t)rng_below(r, 1000000);
    double v = (double)rng_below(r, 1000000);

    s->n = n;
    s->has_st = starts != 0;
    for (size_t i = 0; i < n; i++) {
        s->st[i] = starts == 0 ? 0 : starts == 1 ? 1699999999000 : starts == 2 ? (i ? s->t[i - 1] : t - 15000) : (int64_t)rng_u64(r);
        s->t[i] = t;
        t += times == 0 ? 15000 : times == 1 ? 15000 + (int64_t)rng_below(r, 7) - 3 : 1 + (int64_t)rng_below(r, 100000);
        switch (shape) {
        case SHAPE_CONSTANT: break;
        case SHAPE_COUNTER: v += (double)rng_below(r, 3000); break;
        case SHAPE_STEADY: v += 15; break;
        case SHAPE_DECIMAL: v = round((v + rng_double(r) * 15) * 100) / 100; break;
        case SHAPE_DOUBLE: v = rng_double(r) * 1000; break;
        case SHAPE_ODD: v = odd_value(r); break;
        case SHAPE_MIXED: v = rng_chance(r, 0.1) ? odd_value(r) : (double)(int64_t)rng_below(r, 1 << 20); break;
        case SHAPE_GAUGE: v = (double)rng_below(r, 100); break;
        default: v = (double)(int64_t)rng_below(r, 1 << 20) / pow(10, (double)rng_below(r, 12)); break;
        }
        s->v[i] = v;
    }
}

static bool columns_are(const struct chunk_columns *c, const struct series *s)
{
    if (c->n != s->n || c->hist)
        return false;
    for (size_t i = 0; i < s->n; i++)
        if (c->t[i] != s->t[i] || double_bits(c->v[i]) != double_bits(s->v[i]) || (c->st ? c->st[i] : 0) != (s->has_st ? s->st[i] : 0))
            return false;
    return true;
}

static bool decodes_to(struct str bytes, const struct series *s)
{
    char *copy = malloc(bytes.n); /* of its own, so that ASan sees the end */
    struct chunk_columns c;
    struct chunk_info info;
    struct err err;
    struct arena a;
    bool ok;

    memcpy(copy, bytes.p, bytes.n);
    arena_init(&a, 1 << 20);
    ok = chunk_info(str_n(copy, bytes.n), &info, &err) == 0 && info.kind == CHUNK_FLOATS && info.count == s->n &&
         info.mint_ms == s->t[0] && info.maxt_ms == s->t[s->n - 1] && chunk_decode(str_n(copy, bytes.n), &a, &c, &err) == 0 &&
         columns_are(&c, s);
    arena_fini(&a);
    free(copy);
    return ok;
}

static struct chunk_open *open_of(const struct series *s)
{
    struct chunk_open *c = chunk_open_new();

    for (size_t i = 0; i < s->n; i++)
        CHECK(chunk_open_append(c, s->t[i], double_bits(s->v[i]), s->has_st ? s->st[i] : 0));
    return c;
}

TEST(open_chunk_gives_back_every_shape_bit_for_bit)
{
    struct series *s = calloc(1, sizeof *s);
    struct rng r;

    rng_init(&r, test_seed());
    for (int round = 0; round < 40; round++)
        for (int shape = 0; shape < SHAPES; shape++) {
            struct chunk_open *c;

            series_fill(s, &r, shape, 1 + rng_below(&r, round ? 200 : SERIES_MAX), (int)rng_below(&r, 3), (int)rng_below(&r, 4));
            c = open_of(s);
            CHECK(decodes_to(chunk_open_view(c), s));
            CHECK(chunk_open_count(c) == s->n && chunk_open_first_ms(c) == s->t[0] && chunk_open_last_ms(c) == s->t[s->n - 1]);
            CHECK(chunk_open_last_bits(c) == double_bits(s->v[s->n - 1]));
            chunk_open_free(c);
        }
    free(s);
}

TEST(open_chunk_is_whole_after_every_append)
{
    struct series *s = calloc(1, sizeof *s);
    struct chunk_open *c = chunk_open_new();
    struct rng r;
    size_t n = 300;

    rng_init(&r, test_seed());
    series_fill(s, &r, SHAPE_MIXED, n, 1, 0);
    s->has_st = true;
    s->st[50] = 77; /* start timestamps that come late, and a last one that is zero again */
    for (s->n = 1; s->n <= n; s->n++) {
        size_t i = s->n - 1;

        CHECK(chunk_open_append(c, s->t[i], double_bits(s->v[i]), s->st[i]));
        CHECK(decodes_to(chunk_open_view(c), s));
    }
    chunk_open_free(c);
    free(s);
}

TEST(open_chunk_refuses_one_sample_too_many_and_a_span_past_32_bits)
{
    struct chunk_open *c = chunk_open_new();

    CHECK(chunk_open_view(c).n == 0);
    for (int i = 0; i < CHUNK_SAMPLES_MAX; i++)
        CHECK(chunk_open_append(c, i, (uint64_t)i << 40, 0));
    CHECK(!chunk_open_append(c, CHUNK_SAMPLES_MAX, 0, 0));
    chunk_open_free(c);
    c = chunk_open_new();
    CHECK(chunk_open_append(c, -5, 0, 0));
    CHECK(chunk_open_append(c, (1LL << 32) - 6, 0, 0));
    CHECK(!chunk_open_append(c, (1LL << 32) - 4, 0, 0));
    CHECK_INT(chunk_open_count(c), 2);
    CHECK_INT(chunk_open_last_ms(c), (1LL << 32) - 6);
    chunk_open_free(c);
}

TEST(open_chunk_of_20_common_samples_is_small)
{
    static const struct {
        enum shape shape;
        int times;
        size_t bytes;
    } cases[] = {
        {SHAPE_CONSTANT, 0, 32}, {SHAPE_STEADY, 0, 40}, {SHAPE_COUNTER, 0, 72}, {SHAPE_COUNTER, 1, 92},
        {SHAPE_DECIMAL, 0, 72},  {SHAPE_GAUGE, 0, 56},
    };
    struct series *s = calloc(1, sizeof *s);
    struct rng r;

    rng_init(&r, test_seed());
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct chunk_open *c;

        series_fill(s, &r, cases[i].shape, 20, cases[i].times, 0);
        c = open_of(s);
        if (chunk_open_view(c).n > cases[i].bytes)
            fail_msg("case %zu: %zu bytes", i, chunk_open_view(c).n);
        CHECK(chunk_open_memory(c) <= cases[i].bytes + 80);
        chunk_open_free(c);
    }
    free(s);
}

static bool sealed_gives_back(const struct series *s)
{
    struct buf b;
    bool ok;

    buf_init(&b, CHUNK_BYTES_MAX);
    chunk_encode_floats(&b, s->n, s->t, s->v, s->has_st ? s->st : NULL);
    ok = buf_ok(&b) && decodes_to(buf_view(&b), s);
    buf_fini(&b);
    return ok;
}

TEST(sealed_chunk_gives_back_every_shape_bit_for_bit)
{
    struct series *s = calloc(1, sizeof *s);
    struct rng r;

    rng_init(&r, test_seed());
    for (int round = 0; round < 40; round++)
        for (int shape = 0; shape < SHAPES; shape++) {
            series_fill(s, &r, shape, 1 + rng_below(&r, round ? 300 : SERIES_MAX), (int)rng_below(&r, 3), (int)rng_below(&r, 4));
            CHECK(sealed_gives_back(s));
        }
    free(s);
}

TEST(chunks_hold_the_extreme_timestamps_and_values)
{
    struct series *s = calloc(1, sizeof *s);

    s->n = 3;
    s->t[0] = INT64_MIN;
    s->t[1] = 0;
    s->t[2] = INT64_MAX;
    s->v[0] = bits_double(UINT64_MAX);
    s->v[2] = bits_double(1ULL << 63);
    CHECK(sealed_gives_back(s));
    s->has_st = true;
    s->st[0] = INT64_MIN;
    s->st[1] = INT64_MAX;
    CHECK(sealed_gives_back(s));
    s->n = 1;
    CHECK(sealed_gives_back(s));
    free(s);
}
