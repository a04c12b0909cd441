#include "common/model/duration.h"
#include "common/model/histogram.h"
#include "common/model/nhcb.h"
#include "tests/test.h"

#include <math.h>

static struct arena arena;

static void arena_ready(void)
{
    if (!arena.budget)
        arena_init(&arena, 64 << 20);
}

/* --- histograms to break --- */
static const struct hist_span pos_spans[] = {{-1, 2}, {1, 1}}, neg_spans[] = {{0, 1}},
                              custom_spans[] = {{0, 2}, {0, 1}};
static const struct hist_span minus_first[] = {{-1, 2}, {1, 1}}, minus_later[] = {{0, 2}, {-1, 1}},
                              short_spans[] = {{0, 1}};
static const struct hist_span far_spans[] = {{HIST_INDEX_MAX, 3}}, wide_spans[] = {{0, 2}, {3, 1}},
                              huge_spans[] = {{0, UINT32_MAX}, {0, 4}};
static const uint64_t pos_i[] = {1, 2, 3}, neg_i[] = {4}, big_i[] = {UINT64_MAX, 2, 3};
static const double pos_f[] = {1, 2.5, 3}, neg_f[] = {4}, minus_f[] = {1, -0.5, 3};
static const double bounds[] = {1, 2}, falling[] = {2, 1}, equal[] = {1, 1}, with_nan[] = {1, NAN},
                    with_inf[] = {1, INFINITY};
static const double from_minus_inf[] = {-INFINITY, 1};

#define SIDE_I(s, c)                                                                               \
    {                                                                                              \
        .spans = s, .span_count = ARRAY_LEN(s), .bucket_count = ARRAY_LEN(c), .i = c               \
    }
#define SIDE_F(s, c)                                                                               \
    {                                                                                              \
        .spans = s, .span_count = ARRAY_LEN(s), .bucket_count = ARRAY_LEN(c), .f = c               \
    }
#define INTEGER                                                                                    \
    .schema = 3, .zero_threshold = 0.001, .sum = 12.5, .count.i = 15, .zero_count.i = 5,           \
    .pos = SIDE_I(pos_spans, pos_i), .neg = SIDE_I(neg_spans, neg_i)
#define FLOAT                                                                                      \
    .is_float = true, .schema = 3, .sum = 12.5, .count.f = 15, .zero_count.f = 5,                  \
    .pos = SIDE_F(pos_spans, pos_f), .neg = SIDE_F(neg_spans, neg_f)
#define CUSTOM                                                                                     \
    .schema = HIST_CUSTOM_SCHEMA, .sum = 1, .count.i = 6, .pos = SIDE_I(custom_spans, pos_i),      \
    .custom = bounds, .custom_count = 2
#define CUSTOM_BOUNDS(b)                                                                           \
    {                                                                                              \
        CUSTOM, .custom = b, .custom_count = ARRAY_LEN(b)                                          \
    }
/* One field of a valid histogram set otherwise. */
#pragma GCC diagnostic ignored "-Woverride-init"

static const struct {
    const char *why; /* NULL: valid */
    struct histogram h;
} cases[] = {
    {NULL, {INTEGER}},
    {NULL, {FLOAT}},
    {NULL, {CUSTOM}},
    {NULL, {.sum = 0}},
    {NULL, {INTEGER, .sum = NAN, .count.i = 16}},
    {NULL, {FLOAT, .count.f = 1}}, /* float counts are not checked against each other */
    {NULL, {CUSTOM, .custom_count = 0, .pos = SIDE_I(short_spans, neg_i), .count.i = 4}},
    {"histogram has an unknown schema, which must be between -9 and 52 for exponential buckets, or "
     "-53 for custom buckets, got schema 53",
     {INTEGER, .schema = 53}},
    {"histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, or "
     "-53 for custom buckets, got schema -5",
     {INTEGER, .schema = -5}},
    {"histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, or "
     "-53 for custom buckets, got schema 9",
     {INTEGER, .schema = 9}},
    {"15 observations found in buckets, but the Count field is 16: histogram's observation count "
     "should equal the number of observations found "
     "in the buckets (in absence of NaN)",
     {INTEGER, .count.i = 16}},
    {"15 observations found in buckets, but the Count field is 14: histogram's observation count "
     "should be at least the number of observations "
     "found in the buckets",
     {INTEGER, .sum = NAN, .count.i = 14}},
    {"18446744073709551615 observations found in buckets, but the Count field is 9: histogram's "
     "observation count should equal the number of "
     "observations found in the buckets (in absence of NaN)",
     {INTEGER, .pos = SIDE_I(pos_spans, big_i), .count.i = 9}},
    {"positive side: span number 2 with offset -1: histogram has a span whose offset is negative",
     {INTEGER, .pos = SIDE_I(minus_later, pos_i)}},
    {"negative side: span number 2 with offset -1: histogram has a span whose offset is negative",
     {INTEGER, .neg = SIDE_I(minus_later, pos_i)}},
    {"positive side: spans need 1 buckets, have 3 buckets: histogram spans specify different "
     "number of buckets than provided",
     {INTEGER, .pos = SIDE_I(short_spans, pos_i)}},
    {"positive side: spans need 4294967299 buckets, have 3 buckets: histogram spans specify "
     "different number of buckets than provided",
     {FLOAT}},
    {"positive side: histogram has a bucket index out of range",
     {INTEGER, .pos = SIDE_I(far_spans, pos_i)}},
    {"positive side: bucket number 2 has observation count of -0.5: histogram has a bucket whose "
     "observation count is negative",
     {FLOAT, .pos = SIDE_F(pos_spans, minus_f)}},
    {"negative side: bucket number 2 has observation count of -0.5: histogram has a bucket whose "
     "observation count is negative",
     {FLOAT, .neg = SIDE_F(pos_spans, minus_f)}},
    {"zero bucket has observation count of -1: histogram has a bucket whose observation count is "
     "negative",
     {FLOAT, .zero_count.f = -1}},
    {"observation count is  -1: histogram's observation count is negative", {FLOAT, .count.f = -1}},
    {"zero threshold must be a number that is not negative", {INTEGER, .zero_threshold = NAN}},
    {"zero threshold must be a number that is not negative", {INTEGER, .zero_threshold = -1}},
    {"histogram with exponential schema must not have custom bounds",
     {INTEGER, .custom = bounds, .custom_count = 2}},
    {"custom buckets: previous bound is 2.000000 and current is 1.000000: histogram custom bounds "
     "must be in strictly increasing order",
     CUSTOM_BOUNDS(falling)},
    {"custom buckets: previous bound is 1.000000 and current is 1.000000: histogram custom bounds "
     "must be in strictly increasing order",
     CUSTOM_BOUNDS(equal)},
    {"custom buckets: previous bound is -Inf and current is -Inf: histogram custom bounds must be "
     "in strictly increasing order",
     CUSTOM_BOUNDS(from_minus_inf)},
    {"custom buckets: histogram custom bounds must not be NaN", CUSTOM_BOUNDS(with_nan)},
    {"custom buckets: last +Inf bound must not be explicitly defined: histogram custom bounds must "
     "be finite",
     CUSTOM_BOUNDS(with_inf)},
    {"custom buckets: span number 1 with offset -1: histogram has a span whose offset is negative",
     {CUSTOM, .pos = SIDE_I(minus_first, pos_i)}},
    {"custom buckets: only 2 custom bounds defined which is insufficient to cover total span "
     "length of 6: histogram custom bounds are too few",
     {CUSTOM, .pos = SIDE_I(wide_spans, pos_i)}},
    {"custom buckets: must have zero count of 0", {CUSTOM, .zero_count.i = 1}},
    {"custom buckets: must have zero threshold of 0", {CUSTOM, .zero_threshold = 0.5}},
    {"custom buckets: must not have negative spans", {CUSTOM, .neg = SIDE_I(neg_spans, neg_i)}},
};

TEST(validate_words_its_reasons_as_prometheus)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct histogram h = cases[i].h;
        struct err err = {0};
        int rc;

        if (cases[i].why && strstr(cases[i].why, "4294967299"))
            h.pos = (struct hist_side)SIDE_F(huge_spans, pos_f);
        rc = histogram_validate(&h, &err);
        if (rc != (cases[i].why ? RC_INVALID : 0) ||
            (cases[i].why && strcmp(err_text(&err), cases[i].why) != 0))
            fail_msg("case %zu: want %s\n got %d %s", i, cases[i].why ? cases[i].why : "nothing",
                     rc, err_text(&err));
    }
}

/* --- canonical bytes --- */
static struct str encoded(const struct histogram *h)
{
    struct buf out;
    struct str s;

    arena_ready();
    buf_init(&out, 4 << 20);
    histogram_encode(&out, h);
    CHECK(buf_ok(&out));
    s = arena_str(&arena, buf_view(&out));
    buf_fini(&out);
    return s;
}

TEST(decode_gives_back_what_was_encoded)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct histogram back = {0};
        struct str bytes;
        struct rd r;

        if (cases[i].why)
            continue;
        bytes = encoded(&cases[i].h);
        r = rd_of(bytes);
        CHECK_INT(histogram_decode(&r, &arena, &back, NULL), 0);
        CHECK(rd_done(&r));
        CHECK(histogram_eq(&back, &cases[i].h));
        CHECK(u128_eq(histogram_hash(&back), histogram_hash(&cases[i].h)));
        CHECK(str_eq(encoded(&back), bytes));
    }
}

TEST(every_cut_and_every_flipped_byte_is_survived)
{
    struct str whole[] = {encoded(&cases[0].h), encoded(&cases[1].h), encoded(&cases[2].h)};

    for (size_t k = 0; k < ARRAY_LEN(whole); k++)
        for (size_t n = 0; n < whole[k].n; n++) {
            struct histogram h = {.schema = 77};
            char *copy = xmemdup(whole[k].p, n); /* its own allocation, so that ASan sees the end */
            struct rd r = rd_of(str_n(copy, n));

            CHECK_INT(histogram_decode(&r, &arena, &h, NULL), RC_CORRUPT);
            CHECK_INT(h.schema, 77);
            free(copy);
            for (int bit = 0; bit < 8; bit++) {
                struct str bytes = arena_str(&arena, whole[k]);

                ((char *)(uintptr_t)bytes.p)[n] ^= (char)(1 << bit);
                r = rd_of(bytes);
                if (histogram_decode(&r, &arena, &h, NULL) == 0 && rd_done(&r))
                    CHECK(str_eq(encoded(&h), bytes) && !histogram_eq(&h, &cases[k].h));
                h.schema = 77;
            }
        }
}

TEST(decode_refuses_lengths_beyond_the_input_and_long_varints)
{
    static const char many_spans[] = "\x01\x00\x00\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xff\xff\x03";
    static const char many_buckets[] =
        "\x01\x00\x00\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x80\x80\x04";
    static const char long_count[] = "\x01\x00\x00\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x80\x00\0\0\0";
    static const char short_count[] = "\x01\x00\x00\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    static const struct {
        struct str bytes;
        int rc;
    } inputs[] = {
        {{many_spans, sizeof many_spans - 1}, RC_CORRUPT},
        {{many_buckets, sizeof many_buckets - 1}, RC_CORRUPT},
        {{long_count, sizeof long_count - 1}, RC_CORRUPT},
        {{short_count, sizeof short_count - 1}, 0},
    };

    arena_ready();
    for (size_t i = 0; i < ARRAY_LEN(inputs); i++) {
        struct rd r = rd_of(inputs[i].bytes);
        struct histogram h;

        CHECK_INT(histogram_decode(&r, &arena, &h, NULL), inputs[i].rc);
    }
}

TEST(decode_stays_within_the_budget)
{
    struct str bytes = encoded(&cases[0].h);
    struct rd r = rd_of(bytes);
    struct histogram h;
    struct arena tiny;

    arena_init(&tiny, 16);
    CHECK_INT(histogram_decode(&r, &tiny, &h, NULL), RC_NOMEM);
    CHECK(!histogram_dup(&tiny, &cases[0].h, &h));
    arena_fini(&tiny);
}

TEST(small_whole_float_counts_take_few_bytes)
{
    struct histogram integer = cases[0].h, flt = cases[1].h;

    CHECK(encoded(&flt).n <= encoded(&integer).n + 20);
}

TEST(equality_sees_every_field)
{
    struct histogram a = {INTEGER}, b = a;

    CHECK(histogram_eq(&a, &b));
    b.hint = HIST_HINT_GAUGE;
    CHECK(!histogram_eq(&a, &b) && !u128_eq(histogram_hash(&a), histogram_hash(&b)));
    b = a;
    b.zero_threshold = -b.zero_threshold;
    CHECK(!histogram_eq(&a, &b));
    b = a;
    b.pos.i = big_i;
    CHECK(!histogram_eq(&a, &b));
    b = a;
    b.sum = bits_double(STALE_NAN_BITS);
    CHECK(!histogram_eq(&a, &b) && histogram_is_stale(&b) && !histogram_is_stale(&a));
}

TEST(dup_shares_nothing)
{
    struct histogram copy;

    arena_ready();
    for (size_t i = 0; i < 3; i++) {
        CHECK(histogram_dup(&arena, &cases[i].h, &copy));
        CHECK(histogram_eq(&copy, &cases[i].h));
        CHECK(copy.pos.i != cases[i].h.pos.i && copy.pos.spans != cases[i].h.pos.spans);
        CHECK(copy.custom_count == 0 || copy.custom != cases[i].h.custom);
    }
}

/* --- layout --- */
TEST(walks_meet_in_both_directions)
{
    static const struct hist_span odd[] = {{0, 0}, {-3, 1}, {0, 0}, {2, 2}, {0, 1}, {5, 0}};
    static const int64_t want[] = {-3, 0, 1, 2};
    struct hist_side side = {.spans = odd, .span_count = ARRAY_LEN(odd), .bucket_count = 4};
    struct hist_walk w;
    uint32_t n = 0;

    hist_walk_init(&w, &side);
    for (; hist_walk_next(&w); n++)
        CHECK(n < 4 && w.at == n && w.index == want[n]);
    CHECK_INT(n, 4);
    hist_walk_init_back(&w, &side);
    while (hist_walk_prev(&w)) {
        n--;
        CHECK(w.at == n && w.index == want[n]);
    }
    CHECK_INT(n, 0);
    CHECK(!hist_walk_prev(&w));
}

TEST(walks_stay_inside_buckets_that_spans_promise_too_many_of)
{
    static const struct hist_span lying[] = {{0, 100}, {INT32_MAX, 100}};
    struct hist_side side = {.spans = lying, .span_count = 2, .bucket_count = 3};
    struct hist_walk w;
    uint32_t n = 0;

    hist_walk_init(&w, &side);
    while (hist_walk_next(&w))
        n++;
    CHECK_INT(n, 3);
}

static const struct {
    struct hist_span in[4];
    uint32_t in_spans, in_buckets;
    uint64_t counts[5];
    uint32_t max_empty;
    struct hist_span out[2];
    uint32_t spans, buckets;
    uint64_t want[4];
} compactions[] = {
    {{{5, 3}}, 1, 3, {1, 2, 3}, 0, {{5, 3}}, 1, 3, {1, 2, 3}},
    {{{5, 5}}, 1, 5, {0, 0, 1, 0, 0}, 0, {{7, 1}}, 1, 1, {1}},
    {{{5, 5}}, 1, 5, {1, 0, 0, 0, 2}, 2, {{5, 1}, {3, 1}}, 2, 2, {1, 2}},
    {{{5, 4}}, 1, 4, {1, 0, 0, 2}, 2, {{5, 4}}, 1, 4, {1, 0, 0, 2}},
    {{{5, 1}, {2, 1}}, 2, 2, {1, 2}, 2, {{5, 4}}, 1, 4, {1, 0, 0, 2}},
    {{{5, 1}, {0, 1}, {0, 0}, {1, 1}}, 4, 3, {1, 2, 3}, 0, {{5, 2}, {1, 1}}, 2, 3, {1, 2, 3}},
    {{{5, 2}, {3, 2}}, 2, 4, {1, 0, 0, 2}, 0, {{5, 1}, {5, 1}}, 2, 2, {1, 2}},
    {{{5, 3}}, 1, 3, {0, 0, 0}, 5, {{0, 0}}, 0, 0, {0}},
};

TEST(compact_cuts_and_joins_spans)
{
    arena_ready();
    for (size_t i = 0; i < ARRAY_LEN(compactions); i++) {
        struct histogram h = {.pos = {.spans = compactions[i].in,
                                      .span_count = compactions[i].in_spans,
                                      .bucket_count = compactions[i].in_buckets,
                                      .i = compactions[i].counts}},
                         out;

        CHECK(histogram_compact(&arena, &h, compactions[i].max_empty, &out));
        CHECK_INT(out.pos.span_count, compactions[i].spans);
        CHECK_INT(out.pos.bucket_count, compactions[i].buckets);
        CHECK(memcmp(out.pos.spans, compactions[i].out,
                     out.pos.span_count * sizeof *out.pos.spans) == 0);
        CHECK(memcmp(out.pos.i, compactions[i].want, out.pos.bucket_count * sizeof *out.pos.i) ==
              0);
    }
}

TEST(compact_does_not_fill_gaps_beyond_the_ceiling)
{
    static const struct hist_span far[] = {{0, 1}, {HIST_BUCKETS_MAX, 1}};
    static const double counts[] = {1, 1};
    struct histogram h = {.is_float = true, .pos = SIDE_F(far, counts)}, out;

    arena_ready();
    CHECK(!histogram_compact(&arena, &h, UINT32_MAX, &out));
    CHECK(histogram_compact(&arena, &h, 2, &out));
}

TEST(reduce_merges_buckets_and_keeps_the_count)
{
    static const struct hist_span spans[] = {{-3, 4}, {2, 2}};
    static const uint64_t counts[] = {1, 2, 3, 4, 5, 6}; /* indexes -3 -2 -1 0 3 4 */
    static const struct hist_span wire[] = {{INT32_MAX - 1, 2}}, too_far[] = {{INT32_MAX, 2}};
    struct histogram h = {.schema = 1, .count.i = 21, .pos = SIDE_I(spans, counts)}, out;

    arena_ready();
    CHECK_INT(histogram_reduce(&arena, &h, 0, &out, NULL), 0);
    CHECK_INT(out.schema, 0);
    /* (i - 1) >> 1 + 1: -1 -1 0 0 2 2 */
    CHECK(out.pos.span_count == 2 && out.pos.bucket_count == 3);
    CHECK(out.pos.spans[0].offset == -1 && out.pos.spans[0].length == 2 &&
          out.pos.spans[1].offset == 1 && out.pos.spans[1].length == 1);
    CHECK(out.pos.i[0] == 3 && out.pos.i[1] == 7 && out.pos.i[2] == 11);
    CHECK_INT(histogram_validate(&out, NULL), 0);
    /* Schemas of the wire reach indexes that no schema of ours has. */
    h = (struct histogram){.schema = 20,
                           .count.i = 3,
                           .pos = {.spans = wire, .span_count = 1, .bucket_count = 2, .i = counts}};
    CHECK_INT(histogram_reduce(&arena, &h, HIST_SCHEMA_MAX, &out, NULL), 0);
    CHECK_INT(histogram_validate(&out, NULL), 0);
    CHECK_INT(out.pos.bucket_count, 1);
    h.schema = 9;
    h.pos.spans = too_far;
    CHECK_INT(histogram_reduce(&arena, &h, HIST_SCHEMA_MAX, &out, NULL), RC_INVALID);
    h.pos.spans = minus_later;
    h.pos.span_count = 2;
    h.pos.bucket_count = 3;
    CHECK_INT(histogram_reduce(&arena, &h, HIST_SCHEMA_MAX, &out, NULL), RC_INVALID);
    h.pos.spans = wide_spans;
    h.pos.bucket_count = 2;
    CHECK_INT(histogram_reduce(&arena, &h, HIST_SCHEMA_MAX, &out, NULL), RC_INVALID);
}

/* --- classic buckets --- */
enum { NHCB_MAX = 6 };
static const struct {
    const char *why; /* NULL: converted */
    struct nhcb_bucket in[NHCB_MAX];
    size_t n;
    double count; /* NaN: not given */
    bool is_float;
    double total;
    double bounds[NHCB_MAX], counts[NHCB_MAX];
    uint32_t bound_count;
} classics[] = {
    {NULL, {{0.1, 1}, {0.2, 3}, {INFINITY, 4}}, 3, NAN, false, 4, {0.1, 0.2}, {1, 2, 1}, 2},
    {NULL, {{INFINITY, 4}, {0.2, 3}, {0.1, 1}}, 3, 4, false, 4, {0.1, 0.2}, {1, 2, 1}, 2},
    {NULL, {{1, 2.5}, {2, 7.5}, {INFINITY, 100}}, 3, NAN, true, 100, {1, 2}, {2.5, 5, 92.5}, 2},
    {NULL,
     {{0, 9}, {1, 9}, {2, 10}, {4, 18}},
     4,
     NAN,
     false,
     18,
     {0, 1, 2, 4},
     {9, 0, 1, 8, 0},
     4},                                              /* no +Inf: highest bucket */
    {NULL, {{1, 3}}, 1, 5, false, 5, {1}, {3, 2}, 1}, /* no +Inf: the count */
    {NULL,
     {{0.1, 1}, {0.2, 1}, {0.2, 1}, {INFINITY, 4}},
     4,
     NAN,
     false,
     4,
     {0.1, 0.2},
     {1, 0, 3},
     2}, /* repeated bound */
    {NULL, {{INFINITY, 0}, {INFINITY, 0}}, 2, NAN, false, 0, {0}, {0}, 0},
    {NULL, {{0, 0}}, 0, 7, false, 7, {0}, {7}, 0},
    {"neither buckets nor a count", {{0, 0}}, 0, NAN, false, 0, {0}, {0}, 0},
    {"must not decrease", {{1, 3}, {2, 2}, {INFINITY, 3}}, 3, NAN, false, 0, {0}, {0}, 0},
    {"must be a positive number", {{1, -3}, {INFINITY, 3}}, 2, NAN, false, 0, {0}, {0}, 0},
    {"must be a positive number", {{1, NAN}, {INFINITY, 3}}, 2, NAN, false, 0, {0}, {0}, 0},
    {"count mismatch", {{1, 3}, {INFINITY, 4}}, 2, 5, false, 0, {0}, {0}, 0},
    {"count mismatch", {{1, 3}}, 1, 2, false, 0, {0}, {0}, 0},
};

static double count_at(const struct histogram *h, int64_t index)
{
    struct hist_walk w;

    hist_walk_init(&w, &h->pos);
    while (hist_walk_next(&w))
        if (w.index == index)
            return h->is_float ? h->pos.f[w.at] : (double)h->pos.i[w.at];
    return 0;
}

TEST(classic_buckets_become_one_histogram)
{
    arena_ready();
    for (size_t i = 0; i < ARRAY_LEN(classics); i++) {
        struct nhcb_bucket in[NHCB_MAX];
        struct histogram h = {.schema = 77};
        struct err err = {0};
        int rc;

        memcpy(in, classics[i].in, sizeof in);
        rc = nhcb_convert(&arena, in, classics[i].n,
                          isnan(classics[i].count) ? NULL : &classics[i].count, 2.5, &h, &err);
        if (classics[i].why) {
            CHECK_INT(rc, RC_INVALID);
            CHECK(strstr(err_text(&err), classics[i].why));
            CHECK_INT(h.schema, 77);
            continue;
        }
        CHECK_INT(rc, 0);
        CHECK_INT(histogram_validate(&h, NULL), 0);
        CHECK(h.is_float == classics[i].is_float && h.schema == HIST_CUSTOM_SCHEMA && h.sum == 2.5);
        CHECK((h.is_float ? h.count.f : (double)h.count.i) == classics[i].total);
        CHECK_INT(h.custom_count, classics[i].bound_count);
        for (uint32_t b = 0; b <= h.custom_count; b++) {
            CHECK(b == h.custom_count || h.custom[b] == classics[i].bounds[b]);
            CHECK(count_at(&h, b) == classics[i].counts[b]);
        }
    }
}

TEST(long_runs_of_empty_classic_buckets_are_cut_out)
{
    struct nhcb_bucket in[] = {{1, 1}, {2, 1}, {3, 1}, {4, 2},       {5, 2},
                               {6, 2}, {7, 2}, {8, 3}, {INFINITY, 3}};
    struct histogram h;

    arena_ready();
    CHECK_INT(nhcb_convert(&arena, in, ARRAY_LEN(in), NULL, 0, &h, NULL), 0);
    CHECK(h.pos.span_count == 2 && h.pos.bucket_count == 5); /* 1 0 0 1 | three empty | 1 */
    CHECK(h.pos.spans[0].length == 4 && h.pos.spans[1].offset == 3);
}

static const struct {
    double v;
    const char *want;
} g_texts[] = {
    {1000000, "1e+06"},
    {123456, "123456"},
    {1234567, "1.234567e+06"},
    {100000.5, "100000.5"},
    {0.0001, "0.0001"},
    {0.00001, "1e-05"},
    {-0.000012, "-1.2e-05"},
    {1e20, "1e+20"},
    {1e100, "1e+100"},
    {0, "0"},
    {NAN, "NaN"},
    {INFINITY, "+Inf"},
    {-INFINITY, "-Inf"},
    {-2.5, "-2.5"},
    {1.5e300, "1.5e+300"},
    {999999, "999999"},
    {5e-324, "5e-324"},
    {0.1, "0.1"},
};

TEST(float_print_g_writes_what_go_writes)
{
    for (size_t i = 0; i < ARRAY_LEN(g_texts); i++) {
        struct buf out;

        buf_init(&out, 1000);
        float_print_g(&out, g_texts[i].v);
        buf_char(&out, '\0');
        CHECK_STR(out.p, g_texts[i].want);
        buf_fini(&out);
    }
}
