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
        STALE_NAN_BITS,
        NORMAL_NAN_BITS,
        0xfff8000000000001ULL,
        0x7ff0000000000000ULL,
        0xfff0000000000000ULL,
        0x8000000000000000ULL,
        0,
        1,
        0x800fffffffffffffULL,
        0x0010000000000000ULL,
        0x7fefffffffffffffULL,
        0x4340000000000000ULL,
        0x4320000000000000ULL,
        0x4320000000000001ULL,
        0xc320000000000000ULL,
        0x3ff0000000000001ULL,
        0x7ff4deadbeef0001ULL,
        0x3fb999999999999aULL,
        0x3fb999999999999bULL,
    };
    return bits_double(rng_chance(r, 0.2) ? rng_u64(r) : odd[rng_below(r, ARRAY_LEN(odd))]);
}

enum shape {
    SHAPE_CONSTANT,
    SHAPE_COUNTER,
    SHAPE_STEADY,
    SHAPE_DECIMAL,
    SHAPE_DOUBLE,
    SHAPE_ODD,
    SHAPE_MIXED,
    SHAPE_GAUGE,
    SHAPE_MIXED_SCALES,
    SHAPE_MILLISECONDS,
    SHAPE_PAGES,
    SHAPES
};

static void series_fill(struct series *s, struct rng *r, enum shape shape, size_t n, int times,
                        int starts)
{
    int64_t t = 1700000000000 + (int64_t)rng_below(r, 1000000);
    double v = (double)rng_below(r, 1000000);

    s->n = n;
    s->has_st = starts != 0;
    for (size_t i = 0; i < n; i++) {
        s->st[i] = starts == 0   ? 0
                   : starts == 1 ? 1699999999000
                   : starts == 2 ? (i ? s->t[i - 1] : t - 15000)
                                 : (int64_t)rng_u64(r);
        s->t[i] = t;
        t += times == 0   ? 15000
             : times == 1 ? 15000 + (int64_t)rng_below(r, 7) - 3
                          : 1 + (int64_t)rng_below(r, 100000);
        switch (shape) {
        case SHAPE_CONSTANT:
            break;
        case SHAPE_COUNTER:
            v += (double)rng_below(r, 3000);
            break;
        case SHAPE_STEADY:
            v += 15;
            break;
        case SHAPE_DECIMAL:
            v = round((v + rng_double(r) * 15) * 100) / 100;
            break;
        case SHAPE_DOUBLE:
            v = rng_double(r) * 1000;
            break;
        case SHAPE_ODD:
            v = odd_value(r);
            break;
        case SHAPE_MIXED:
            v = rng_chance(r, 0.1) ? odd_value(r) : (double)(int64_t)rng_below(r, 1 << 20);
            break;
        case SHAPE_MILLISECONDS:
            v = (double)(int64_t)(rng_below(r, 1 << 24)) * (rng_chance(r, 0.02) ? 1 : 0.001);
            break;
        case SHAPE_PAGES:
            v = rng_chance(r, 0.01) ? odd_value(r) : (double)(4096 * rng_below(r, 1 << 20));
            break;
        case SHAPE_GAUGE:
            v = (double)rng_below(r, 100);
            break;
        default:
            v = (double)(int64_t)rng_below(r, 1 << 20) / pow(10, (double)rng_below(r, 12));
            break;
        }
        s->v[i] = v;
    }
}

static bool columns_are(const struct chunk_columns *c, const struct series *s)
{
    if (c->n != s->n || c->hist)
        return false;
    for (size_t i = 0; i < s->n; i++)
        if (c->t[i] != s->t[i] || double_bits(c->v[i]) != double_bits(s->v[i]) ||
            (c->st ? c->st[i] : 0) != (s->has_st ? s->st[i] : 0))
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
    ok = chunk_info(str_n(copy, bytes.n), &info, &err) == 0 && info.kind == CHUNK_FLOATS &&
         info.count == s->n && info.mint_ms == s->t[0] && info.maxt_ms == s->t[s->n - 1] &&
         chunk_decode(str_n(copy, bytes.n), &a, &c, &err) == 0 && columns_are(&c, s);
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

            series_fill(s, &r, shape, 1 + rng_below(&r, round ? 200 : SERIES_MAX),
                        (int)rng_below(&r, 3), (int)rng_below(&r, 4));
            c = open_of(s);
            CHECK(decodes_to(chunk_open_view(c), s));
            CHECK(chunk_open_count(c) == s->n && chunk_open_first_ms(c) == s->t[0] &&
                  chunk_open_last_ms(c) == s->t[s->n - 1]);
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
        {SHAPE_CONSTANT, 0, 32}, {SHAPE_STEADY, 0, 40},  {SHAPE_COUNTER, 0, 72},
        {SHAPE_COUNTER, 1, 92},  {SHAPE_DECIMAL, 0, 72}, {SHAPE_GAUGE, 0, 56},
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
            series_fill(s, &r, shape, 1 + rng_below(&r, round ? 300 : SERIES_MAX),
                        (int)rng_below(&r, 3), (int)rng_below(&r, 4));
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

/* --- histograms --- */
static const struct histogram *random_histogram(struct rng *r, struct arena *a,
                                                const struct histogram *before)
{
    struct histogram *h = arena_zalloc(a, sizeof *h);

    if (before && rng_chance(r, 0.85)) {
        uint64_t *i;

        CHECK(histogram_dup(a, before, h));
        i = arena_dup(a, h->pos.i, h->pos.bucket_count * 8);
        for (uint32_t k = 0; k < h->pos.bucket_count; k++) {
            if (h->is_float)
                i[k] = rng_chance(r, 0.1) ? double_bits(odd_value(r))
                                          : double_bits((double)rng_below(r, 100));
            else
                i[k] += rng_chance(r, 0.3) ? rng_below(r, 100) : 0;
        }
        h->pos.i = i;
        h->count.i = rng_chance(r, 0.01) ? rng_u64(r) : h->count.i + 1;
        h->sum = rng_chance(r, 0.05) ? odd_value(r) : h->sum + 1.25;
        return h;
    }
    h->is_float = rng_chance(r, 0.3);
    h->schema = (int32_t)rng_below(r, 13) - 4;
    h->hint = (uint8_t)rng_below(r, 4);
    h->zero_threshold = 1e-128;
    h->sum = rng_chance(r, 0.1) ? bits_double(STALE_NAN_BITS) : rng_double(r);
    for (int side = 0; side < 2; side++) {
        struct hist_side *s = side ? &h->neg : &h->pos;
        struct hist_span *spans = arena_array(a, 5, sizeof *spans);
        uint64_t *i = arena_array(a, 50, sizeof *i);

        s->span_count = (uint32_t)rng_below(r, 5);
        for (uint32_t k = 0; k < s->span_count; k++) {
            spans[k] = (struct hist_span){(int32_t)rng_below(r, 9), 1 + (uint32_t)rng_below(r, 9)};
            s->bucket_count += spans[k].length;
        }
        for (uint32_t k = 0; k < s->bucket_count; k++)
            i[k] = h->is_float ? double_bits((double)rng_below(r, 50)) : rng_below(r, 1000);
        s->spans = spans;
        s->i = i;
    }
    if (rng_chance(r, 0.2)) {
        double *custom = arena_array(a, 3, sizeof *custom);

        h->schema = HIST_CUSTOM_SCHEMA;
        custom[0] = 0.1, custom[1] = 1, custom[2] = 10;
        h->custom = custom;
        h->custom_count = 3;
    }
    return h;
}

static void histograms_fill(struct chunk_columns *c, struct rng *r, struct arena *a, size_t n)
{
    *c = (struct chunk_columns){.n = n,
                                .t = arena_array(a, n, 8),
                                .v = arena_zalloc(a, n * 8),
                                .hist = arena_array(a, n, sizeof *c->hist)};
    for (size_t i = 0; i < n; i++) {
        c->t[i] = 1000 + (int64_t)i * 15000;
        c->hist[i] = random_histogram(r, a, i ? c->hist[i - 1] : NULL);
    }
}

TEST(histogram_chunk_gives_back_equal_histograms)
{
    struct rng r;

    rng_init(&r, test_seed());
    for (int round = 0; round < 200; round++) {
        struct chunk_columns in, out;
        struct chunk_info info;
        struct arena a;
        struct buf b;

        arena_init(&a, 64 << 20);
        buf_init(&b, CHUNK_BYTES_MAX);
        histograms_fill(&in, &r, &a, 1 + rng_below(&r, 60));
        chunk_encode_histograms(&b, in.n, in.t, in.hist, NULL);
        CHECK(chunk_info(buf_view(&b), &info, NULL) == 0);
        CHECK(info.kind == CHUNK_HISTOGRAMS && info.count == in.n &&
              info.maxt_ms == in.t[in.n - 1]);
        CHECK(chunk_decode(buf_view(&b), &a, &out, NULL) == 0);
        CHECK(out.n == in.n && out.hist && !out.st);
        for (size_t i = 0; i < in.n; i++) {
            CHECK(histogram_eq(in.hist[i], out.hist[i]));
            CHECK(out.v[i] == 0 && out.t[i] == in.t[i]);
        }
        CHECK(u128_eq(chunk_digest(&in), chunk_digest(&out)));
        buf_fini(&b);
        arena_fini(&a);
    }
}

TEST(histogram_chunk_spends_little_on_what_does_not_change)
{
    struct chunk_columns in;
    struct arena a;
    struct rng r;
    struct buf b, one;

    rng_init(&r, 7);
    arena_init(&a, 64 << 20);
    buf_init(&b, CHUNK_BYTES_MAX);
    buf_init(&one, CHUNK_BYTES_MAX);
    histograms_fill(&in, &r, &a, 120);
    for (size_t i = 1; i < in.n; i++)
        in.hist[i] = in.hist[0];
    histogram_encode(&one, in.hist[0]);
    chunk_encode_histograms(&b, in.n, in.t, in.hist, NULL);
    CHECK(b.n < one.n + 2 * (in.hist[0]->pos.bucket_count + in.hist[0]->neg.bucket_count) + 60);
    buf_fini(&b);
    buf_fini(&one);
    arena_fini(&a);
}

/* --- merging --- */
static struct chunk_columns columns_of(struct arena *a, const struct series *s, size_t from,
                                       size_t every)
{
    struct chunk_columns c = {
        .t = arena_array(a, s->n, 8), .v = arena_array(a, s->n, 8), .st = arena_array(a, s->n, 8)};

    for (size_t i = from; i < s->n; i += every) {
        c.t[c.n] = s->t[i];
        c.v[c.n] = s->v[i];
        c.st[c.n++] = s->has_st ? s->st[i] : 0;
    }
    return c;
}

TEST(merge_does_not_depend_on_the_order_of_its_inputs)
{
    struct series *s = calloc(1, sizeof *s);
    struct rng r;

    rng_init(&r, test_seed());
    for (int round = 0; round < 100; round++) {
        struct chunk_columns in[6], out, first = {0};
        uint32_t votes[6];
        struct arena a;

        arena_init(&a, 64 << 20);
        series_fill(s, &r, SHAPE_GAUGE, 60, 1, (int)rng_below(&r, 3));
        for (int i = 0; i < 6; i++) {
            size_t from = rng_below(&r, 30), every = 1 + rng_below(&r, 3);

            in[i] = columns_of(&a, s, from, every);
            votes[i] = 1 + (uint32_t)rng_below(&r, 3);
            for (size_t k = 0; k < in[i].n; k++)
                if (rng_chance(&r, 0.2))
                    in[i].v[k] = (double)rng_below(&r, 3);
            if (i == 5) {
                in[i].hist = arena_zalloc(&a, in[i].n * sizeof *in[i].hist);
                for (size_t k = 0; k < in[i].n; k += 3)
                    in[i].hist[k] = random_histogram(&r, &a, NULL), in[i].v[k] = 0;
            }
        }
        for (int shuffle = 0; shuffle < 10; shuffle++) {
            for (size_t i = 5; i > 0; i--) {
                size_t j = rng_below(&r, i + 1);
                struct chunk_columns c = in[i];
                uint32_t v = votes[i];

                in[i] = in[j], in[j] = c;
                votes[i] = votes[j], votes[j] = v;
            }
            CHECK(chunk_merge_votes(in, votes, 6, &a, &out, NULL) == 0);
            for (size_t i = 1; i < out.n; i++)
                CHECK(out.t[i] > out.t[i - 1]);
            if (shuffle == 0)
                first = out;
            CHECK(out.n == first.n && u128_eq(chunk_digest(&out), chunk_digest(&first)));
        }
        arena_fini(&a);
    }
    free(s);
}

TEST(merge_of_parts_is_the_whole)
{
    struct series *s = calloc(1, sizeof *s);
    struct chunk_columns in[4], out;
    struct arena a;
    struct rng r;

    rng_init(&r, test_seed());
    arena_init(&a, 64 << 20);
    series_fill(s, &r, SHAPE_ODD, 1000, 1, 3);
    in[0] = columns_of(&a, s, 0, 3);
    in[1] = columns_of(&a, s, 1, 3);
    in[2] = columns_of(&a, s, 2, 3);
    in[3] = columns_of(&a, s, 500, 1);
    CHECK(chunk_merge(in, 4, &a, &out, NULL) == 0);
    CHECK(columns_are(&out, s));
    CHECK(chunk_merge(in, 0, &a, &out, NULL) == 0);
    CHECK(out.n == 0 && !out.st && !out.hist);
    arena_fini(&a);
    free(s);
}

TEST(merge_lets_votes_decide_and_else_the_smaller_bits)
{
    static const struct {
        const char *name;
        double v[3];
        uint32_t votes[3];
        int64_t st[3];
        double want;
        int64_t want_st;
    } cases[] = {
        {"majority", {5, 1, 5}, {1, 1, 1}, {0}, 5, 0},
        {"weights", {5, 1, 5}, {1, 3, 1}, {0}, 1, 0},
        {"tie, smaller bits", {5, 1, 3}, {1, 1, 1}, {0}, 1, 0},
        {"negative has larger bits", {-1, 7, 7.5}, {1, 1, 1}, {0}, 7, 0},
        {"start timestamps differ", {5, 5, 5}, {1, 1, 1}, {9, 4, 9}, 5, 9},
        {"start timestamps tie", {5, 5, 1}, {1, 1, 1}, {9, 4, 2}, 1, 2},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct chunk_columns in[3], out;
        struct arena a;
        int64_t t = 1000;

        arena_init(&a, 1 << 20);
        for (int k = 0; k < 3; k++)
            in[k] = (struct chunk_columns){1, &t, (double *)&cases[i].v[k],
                                           (int64_t *)&cases[i].st[k], NULL};
        CHECK(chunk_merge_votes(in, cases[i].votes, 3, &a, &out, NULL) == 0);
        if (out.n != 1 || out.v[0] != cases[i].want || (out.st ? out.st[0] : 0) != cases[i].want_st)
            fail_msg("%s: %zu samples, %g", cases[i].name, out.n, out.v[0]);
        arena_fini(&a);
    }
}
