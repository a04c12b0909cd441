#include "tsdb/store.h"
#include "common/base/rng.h"
#include "tests/test.h"
#include "tsdb/store_encode.h"

#define T0 1700006400000LL

static const struct hist_span span = {0, 2};
static const uint64_t counts[] = {1, 2};
static const struct histogram hist = {
    .schema = 1,
    .sum = 5,
    .count.i = 3,
    .pos = {.spans = &span, .span_count = 1, .bucket_count = 2, .i = counts}};

/* One series being made: windows from samples. */
struct made {
    struct arena a;
    struct stored_series s;
    struct stored_window windows[16];
    struct str chunks[64];
    uint32_t n;
};

static void made_init(struct made *m)
{
    memset(m, 0, sizeof *m);
    arena_init(&m->a, 1 << 26);
    m->s = (struct stored_series){.fp = {1, 0}, .windows = m->windows};
}

static void take_chunk(void *arg, struct str chunk)
{
    struct made *m = arg;

    CHECK(m->n < ARRAY_LEN(m->chunks));
    m->chunks[m->n++] = arena_str(&m->a, chunk);
}

/* Each run of `step` samples is a chunk of its own. */
static void made_window(struct made *m, const struct chunk_columns *c, size_t step)
{
    struct stored_window *w = &m->windows[m->s.window_count++];
    struct buf scratch;
    uint32_t first = m->n;

    buf_init(&scratch, CHUNK_BYTES_MAX);
    for (size_t i = 0; i < c->n; i += step) {
        struct chunk_columns part = {.n = MIN(step, c->n - i), .t = c->t + i, .v = c->v + i};

        part.st = c->st ? c->st + i : NULL;
        part.hist = c->hist ? c->hist + i : NULL;
        CHECK(stored_encode(&part, &m->a, &scratch, take_chunk, m) == 0);
    }
    buf_fini(&scratch);
    *w = (struct stored_window){.start_ms = window_start(m->s.fp, c->t[0], NULL),
                                .mint_ms = c->t[0],
                                .maxt_ms = c->t[c->n - 1],
                                .digest = chunk_digest(c),
                                .count = (uint32_t)c->n,
                                .chunk_count = m->n - first,
                                .chunks = m->chunks + first};
}

/* "t:v t:h ..." (h: the histogram), t from T0 */
static void made_samples(struct made *m, const char *text)
{
    int64_t t[64];
    double v[64];
    const struct histogram *h[64] = {0};
    struct chunk_columns c = {.t = t, .v = v, .hist = h};

    while (*text) {
        char *end;

        t[c.n] = T0 + strtoll(text, &end, 10);
        text = end + 1;
        v[c.n] = *text == 'h' ? 0 : strtod(text, &end);
        h[c.n] = *text == 'h' ? &hist : NULL;
        text = *text == 'h' ? text + 1 : end;
        text += *text == ' ';
        c.n++;
    }
    made_window(m, &c, 64);
}

static void check_columns(const struct stored_series *s, int64_t mint, int64_t maxt,
                          const char *want)
{
    struct chunk_columns c;
    struct arena a;
    struct buf b;

    arena_init(&a, 1 << 26);
    buf_init(&b, 1 << 20);
    CHECK(stored_series_columns(s, mint, maxt, &a, &c, NULL) == 0);
    for (size_t i = 0; i < c.n; i++) {
        buf_printf(&b, "%s%lld:", i ? " " : "", (long long)(c.t[i] - T0));
        if (c.hist && c.hist[i])
            buf_char(&b, 'h');
        else
            buf_printf(&b, "%g", c.v[i]);
    }
    buf_char(&b, '\0');
    CHECK_STR(b.p, want);
    buf_fini(&b);
    arena_fini(&a);
}

static void check_merge(struct made *in, size_t n, const uint32_t *votes, const char *want)
{
    const struct stored_series *refs[8];
    struct stored_series out;
    struct arena a;

    arena_init(&a, 1 << 26);
    for (size_t first = 0; first < n; first++) { /* whatever the order of inputs */
        uint32_t turned[8];

        for (size_t i = 0; i < n; i++) {
            refs[i] = &in[(first + i) % n].s;
            turned[i] = votes ? votes[(first + i) % n] : 1;
        }
        CHECK(stored_series_merge(refs, votes ? turned : NULL, n, &a, &out, NULL) == 0);
        check_columns(&out, INT64_MIN, INT64_MAX, want);
        for (size_t i = 0; i < out.window_count; i++) {
            struct stored_series one = {
                .fp = out.fp, .window_count = 1, .windows = &out.windows[i]};
            struct chunk_columns c;

            CHECK(i == 0 || out.windows[i - 1].start_ms < out.windows[i].start_ms);
            CHECK(stored_series_columns(&one, INT64_MIN, INT64_MAX, &a, &c, NULL) == 0);
            CHECK(c.n == out.windows[i].count && u128_eq(chunk_digest(&c), out.windows[i].digest));
            CHECK(c.t[0] == out.windows[i].mint_ms && c.t[c.n - 1] == out.windows[i].maxt_ms);
        }
    }
    arena_fini(&a);
}

TEST(merging_follows_digests_then_votes)
{
    static const struct {
        const char *name, *in[3], *want;
        uint32_t votes[3];
    } cases[] = {
        {"equal", {"1:1 2:2", "1:1 2:2", "1:1 2:2"}, "1:1 2:2", {1, 1, 1}},
        {"one lacks a sample", {"1:1 2:2", "1:1", "1:1 2:2"}, "1:1 2:2", {1, 1, 1}},
        {"each has its own", {"1:1 4:4", "2:2", "3:h"}, "1:1 2:2 3:h 4:4", {1, 1, 1}},
        {"the majority wins", {"1:9", "1:1", "1:9"}, "1:9", {1, 1, 1}},
        {"votes stand behind an input", {"1:9", "1:1"}, "1:9", {2, 1, 0}},
        {"and decide between three", {"1:1", "1:9", "1:5"}, "1:9", {1, 3, 2}},
        {"without a majority the smaller bits", {"1:9", "1:1"}, "1:1", {1, 1, 0}},
        {"a float before a histogram", {"1:h", "1:7"}, "1:7", {1, 1, 0}},
        {"two histograms before a float", {"1:h", "1:7", "1:h"}, "1:h", {1, 1, 1}},
    };
    for (size_t k = 0; k < ARRAY_LEN(cases); k++) {
        struct made in[3];
        size_t n = 0;

        print_message("%s\n", cases[k].name);
        for (; n < 3 && cases[k].in[n]; n++) {
            made_init(&in[n]);
            made_samples(&in[n], cases[k].in[n]);
        }
        check_merge(in, n, cases[k].votes, cases[k].want);
        for (size_t i = 0; i < n; i++)
            arena_fini(&in[i].a);
    }
}

TEST(windows_are_merged_each_on_its_own)
{
    struct made in[2];

    for (int i = 0; i < 2; i++)
        made_init(&in[i]);
    made_samples(&in[0], "1:1 2:2");
    made_samples(&in[0], "1800000:3");
    made_samples(&in[0], "7200000:4");
    made_samples(&in[1], "1800000:3");
    made_samples(&in[1], "3600000:5");
    made_samples(&in[1], "7200000:4 7200009:6");
    check_merge(in, 2, NULL, "1:1 2:2 1800000:3 3600000:5 7200000:4 7200009:6");
    for (int i = 0; i < 2; i++)
        arena_fini(&in[i].a);
}

TEST(windows_without_data_keep_bounds_and_no_digest)
{
    struct made in[2];
    const struct stored_series *refs[] = {&in[0].s, &in[1].s};
    struct stored_series out;
    struct arena a;

    arena_init(&a, 1 << 20);
    for (int i = 0; i < 2; i++) {
        made_init(&in[i]);
        made_samples(&in[i], i ? "5:1 9:2 11:3" : "1:1 9:2");
        in[i].windows[0].chunk_count = 0;
    }
    CHECK(stored_series_merge(refs, NULL, 2, &a, &out, NULL) == 0);
    CHECK_INT(out.window_count, 1);
    CHECK(out.windows[0].mint_ms == T0 + 1 && out.windows[0].maxt_ms == T0 + 11 &&
          out.windows[0].count == 3);
    CHECK(out.windows[0].chunk_count == 0 && u128_eq(out.windows[0].digest, (struct u128){0}));
    refs[1] = refs[0];
    CHECK(stored_series_merge(refs, NULL, 2, &a, &out, NULL) == 0);
    CHECK(u128_eq(out.windows[0].digest, in[0].windows[0].digest));
    for (int i = 0; i < 2; i++)
        arena_fini(&in[i].a);
    arena_fini(&a);
}

TEST(columns_keep_to_the_range)
{
    struct made m;

    made_init(&m);
    made_samples(&m, "1:1 2:h 3:3");
    made_samples(&m, "1800000:4 1800005:5");
    check_columns(&m.s, INT64_MIN, INT64_MAX, "1:1 2:h 3:3 1800000:4 1800005:5");
    check_columns(&m.s, T0 + 2, T0 + 1800000, "2:h 3:3 1800000:4");
    check_columns(&m.s, T0 + 4, T0 + 1799999, "");
    check_columns(&m.s, T0 + 1800005, T0 + 1800005, "1800005:5");
    arena_fini(&m.a);
}

TEST(what_does_not_fit_together_is_corrupt)
{
    struct made m;
    struct chunk_columns c = {.n = 77};
    struct stored_series out = {.window_count = 77};
    struct arena a;
    struct str bad = STR("\x1f no chunk");

    arena_init(&a, 1 << 20);
    made_init(&m);
    made_samples(&m, "1:1 2:2");
    m.windows[0].count = 1; /* fewer than there are */
    CHECK_INT(stored_series_columns(&m.s, INT64_MIN, INT64_MAX, &a, &c, NULL), RC_CORRUPT);
    m.windows[0].count = 2;
    m.windows[1] = m.windows[0]; /* time goes back */
    m.s.window_count = 2;
    CHECK_INT(stored_series_columns(&m.s, INT64_MIN, INT64_MAX, &a, &c, NULL), RC_CORRUPT);
    m.s.window_count = 1;
    m.windows[0].chunk_count = 0;
    CHECK_INT(stored_series_columns(&m.s, INT64_MIN, INT64_MAX, &a, &c, NULL), RC_CORRUPT);
    m.windows[0].chunk_count = 1;
    m.windows[0].chunks = &bad;
    CHECK_INT(stored_series_columns(&m.s, INT64_MIN, INT64_MAX, &a, &c, NULL), RC_CORRUPT);
    m.windows[0].chunks = m.chunks;
    m.windows[0].count = UINT32_MAX; /* more than any memory: the budget, not a crash */
    m.s.window_count = 2;
    CHECK_INT(stored_series_columns(&m.s, INT64_MIN, INT64_MAX, &a, &c, NULL), RC_NOMEM);
    CHECK(c.n == 77 && out.window_count == 77);
    arena_fini(&m.a);
    arena_fini(&a);
}

TEST(compacting_keeps_the_samples_in_fewer_chunks)
{
    enum { N = 3000 };
    struct made m;
    struct stored_series out;
    struct chunk_columns c = {.n = N}, got;
    struct arena a;
    struct rng rng;

    rng_init(&rng, test_seed());
    arena_init(&a, 1 << 26);
    made_init(&m);
    c.t = malloc(N * sizeof *c.t);
    c.v = malloc(N * sizeof *c.v);
    c.st = malloc(N * sizeof *c.st);
    for (int i = 0; i < N; i++) {
        c.t[i] = T0 + i * 500;
        c.v[i] = (double)rng_below(&rng, 50);
        c.st[i] = i % 7;
    }
    made_window(&m, &c, 100);
    CHECK_INT(m.windows[0].chunk_count, N / 100);
    CHECK(stored_series_compact(&m.s, &a, &out, NULL) == 0);
    CHECK_INT(out.windows[0].chunk_count, 1);
    CHECK(u128_eq(out.windows[0].digest, m.windows[0].digest));
    CHECK(stored_series_columns(&out, INT64_MIN, INT64_MAX, &a, &got, NULL) == 0);
    CHECK_INT(got.n, N);
    for (int i = 0; i < N; i++)
        CHECK(got.t[i] == c.t[i] && got.v[i] == c.v[i] && got.st[i] == c.st[i]);
    m.windows[0].digest.lo++; /* not the samples that were counted */
    CHECK_INT(stored_series_compact(&m.s, &a, &out, NULL), RC_CORRUPT);
    free(c.t);
    free(c.v);
    free(c.st);
    arena_fini(&m.a);
    arena_fini(&a);
}
