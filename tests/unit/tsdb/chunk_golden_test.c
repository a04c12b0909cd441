/* Chunks written by earlier versions of this program must be readable for ever:
 * tests/data/chunk/<name>.chunk and their digests in
 * tests/data/chunk/digests ("name count hi lo"). TORC_WRITE_GOLDEN=1 adds files for new names;
 * existing ones are never written again. */
#include "common/base/rng.h"
#include "common/sys/fs.h"
#include "tests/test.h"
#include "tsdb/chunk.h"

#include <inttypes.h>
#include <math.h>

#define GOLDEN TEST_SOURCE_DIR "/tests/data/chunk"

enum form { SEALED, OPEN, HISTOGRAMS };
static const struct golden {
    const char *name;
    enum form form;
    int values, times, starts;
    size_t n;
} goldens[] = {
    {"v1-constant", SEALED, 0, 0, 0, 120},
    {"v1-counter", SEALED, 1, 0, 0, 120},
    {"v1-decimal", SEALED, 2, 1, 0, 120},
    {"v1-doubles", SEALED, 3, 2, 0, 60},
    {"v1-odd-bits", SEALED, 4, 1, 0, 40},
    {"v1-pages", SEALED, 5, 0, 1, 120},
    {"v1-few-changes", SEALED, 6, 0, 0, 120},
    {"v1-delta-starts", SEALED, 1, 1, 2, 60},
    {"v1-ints-starts", SEALED, 1, 0, 3, 30},
    {"v1-times", SEALED, 8, 0, 0, 60},
    {"v1-open-times", OPEN, 8, 0, 0, 40},
    {"v1-one", SEALED, 1, 0, 0, 1},
    {"v1-many", SEALED, 1, 1, 0, 600},
    {"v1-special", SEALED, 7, 0, 0, 120},
    {"v1-open", OPEN, 2, 1, 0, 50},
    {"v1-open-xor", OPEN, 3, 0, 0, 30},
    {"v1-open-odd-bits", OPEN, 4, 2, 0, 40},
    {"v1-open-starts", OPEN, 1, 1, 2, 30},
    {"v1-histograms", HISTOGRAMS, 0, 1, 1, 40},
    {"v1-float-histograms", HISTOGRAMS, 1, 0, 0, 20},
};

static double golden_value(struct rng *r, int kind, double before)
{
    switch (kind) {
    case 1:
        return before + (double)rng_below(r, 1000);
    case 2:
        return round((before + rng_double(r)) * 1000) / 1000;
    case 3:
        return rng_double(r);
    case 4:
        return bits_double(rng_chance(r, 0.3)   ? STALE_NAN_BITS
                           : rng_chance(r, 0.3) ? 1ULL << 63
                                                : rng_u64(r));
    case 5:
        return (double)(4096 * (1000 + rng_below(r, 200)));
    case 6:
        return rng_chance(r, 0.1) ? before + 0.25 : before;
    case 7:
        return rng_chance(r, 0.05) ? bits_double(STALE_NAN_BITS) : (double)rng_below(r, 50);
    case 8:
        return (double)(200000 + rng_below(r, 9000)) * 0.001;
    default:
        return before;
    }
}

static void golden_histogram(struct histogram *h, size_t i, bool is_float, struct arena *a)
{
    struct hist_span *spans = arena_array(a, 2, sizeof *spans);
    uint64_t *counts = arena_array(a, 6, sizeof *counts);

    spans[0] = (struct hist_span){-2, 2};
    spans[1] = (struct hist_span){i < 20 ? 1 : 3, 4}; /* the layout changes once */
    for (size_t k = 0; k < 6; k++)
        counts[k] = is_float ? double_bits((double)(i * k) + 0.5) : i * k + 3;
    *h = (struct histogram){
        .is_float = is_float, .schema = 2, .zero_threshold = 0x1p-128, .sum = (double)i * 1.5};
    h->count.i = is_float ? double_bits((double)i + 20) : i * 15 + 18;
    h->pos = (struct hist_side){.spans = spans, .span_count = 2, .bucket_count = 6, .i = counts};
}

static struct buf golden_make(const struct golden *g, uint64_t seed)
{
    int64_t t[1000], st[1000];
    double v[1000];
    struct histogram all[100];
    const struct histogram *h[100];
    struct chunk_open *open = chunk_open_new();
    struct arena a;
    struct rng r;
    struct buf b;

    rng_init(&r, seed);
    arena_init(&a, 1 << 20);
    buf_init(&b, CHUNK_BYTES_MAX);
    for (size_t i = 0; i < g->n; i++) {
        t[i] = i ? t[i - 1] + (g->times == 0   ? 15000
                               : g->times == 1 ? 14998 + (int64_t)rng_below(&r, 5)
                                               : 1 + (int64_t)rng_below(&r, 1 << 20))
                 : 1700000000123;
        st[i] = g->starts == 0   ? 0
                : g->starts == 1 ? 1690000000000
                : g->starts == 2 ? (i ? t[i - 1] : t[0] - 1)
                                 : (int64_t)rng_below(&r, 1 << 30);
        v[i] = golden_value(&r, g->values, i ? v[i - 1] : 1234);
        if (g->form == OPEN)
            CHECK(chunk_open_append(open, t[i], double_bits(v[i]), st[i]));
        if (g->form == HISTOGRAMS) {
            golden_histogram(&all[i], i, g->values == 1, &a);
            h[i] = &all[i];
        }
    }
    if (g->form == SEALED)
        chunk_encode_floats(&b, g->n, t, v, st);
    else if (g->form == OPEN)
        buf_str(&b, chunk_open_view(open));
    else
        chunk_encode_histograms(&b, g->n, t, h, st);
    chunk_open_free(open);
    arena_fini(&a);
    return b;
}

static void golden_write(const struct golden *g, uint64_t seed)
{
    char path[512];
    struct chunk_columns c;
    struct u128 digest;
    struct arena a;
    struct buf b;
    FILE *f;

    snprintf(path, sizeof path, GOLDEN "/%s.chunk", g->name);
    if (fs_exists(path))
        return;
    b = golden_make(g, seed);
    arena_init(&a, 1 << 24);
    CHECK(fs_write_atomic(path, buf_view(&b), NULL) == 0);
    CHECK(chunk_decode(buf_view(&b), &a, &c, NULL) == 0);
    digest = chunk_digest(&c);
    f = fopen(GOLDEN "/digests", "a");
    CHECK(f &&
          fprintf(f, "%s %zu %016" PRIx64 " %016" PRIx64 "\n", g->name, c.n, digest.hi, digest.lo) >
              0 &&
          fclose(f) == 0);
    arena_fini(&a);
    buf_fini(&b);
}

TEST(chunks_of_earlier_versions_decode_to_the_samples_they_were_made_of)
{
    char line[256], name[100], path[512];
    size_t count, lines = 0;
    struct u128 want;
    FILE *f;

    for (size_t i = 0; getenv("TORC_WRITE_GOLDEN") && i < ARRAY_LEN(goldens); i++)
        golden_write(&goldens[i], i + 1);
    f = fopen(GOLDEN "/digests", "r");
    CHECK(f);
    for (; fgets(line, sizeof line, f); lines++) {
        struct chunk_columns c;
        struct arena a;
        struct buf b;

        CHECK(sscanf(line, "%99s %zu %" SCNx64 " %" SCNx64, name, &count, &want.hi, &want.lo) == 4);
        snprintf(path, sizeof path, GOLDEN "/%s.chunk", name);
        buf_init(&b, CHUNK_BYTES_MAX);
        arena_init(&a, 1 << 24);
        CHECK(fs_read(path, &b, NULL) == 0);
        if (chunk_decode(buf_view(&b), &a, &c, NULL) < 0 || c.n != count ||
            !u128_eq(chunk_digest(&c), want))
            fail_msg("%s reads differently", name);
        arena_fini(&a);
        buf_fini(&b);
    }
    fclose(f);
    CHECK(lines >= ARRAY_LEN(goldens));
}

/* Not only old files: what is written today has the same samples, whatever codec it picks. */
TEST(chunks_made_today_have_the_digests_of_the_golden_ones)
{
    char line[256], name[100];
    struct u128 want;
    size_t count;
    FILE *f = fopen(GOLDEN "/digests", "r");

    CHECK(f);
    while (fgets(line, sizeof line, f)) {
        CHECK(sscanf(line, "%99s %zu %" SCNx64 " %" SCNx64, name, &count, &want.hi, &want.lo) == 4);
        for (size_t i = 0; i < ARRAY_LEN(goldens); i++) {
            struct chunk_columns c;
            struct arena a;
            struct buf b;

            if (strcmp(goldens[i].name, name) != 0)
                continue;
            b = golden_make(&goldens[i], i + 1);
            arena_init(&a, 1 << 24);
            CHECK(chunk_decode(buf_view(&b), &a, &c, NULL) == 0);
            if (!u128_eq(chunk_digest(&c), want))
                fail_msg("%s is made differently", name);
            arena_fini(&a);
            buf_fini(&b);
        }
    }
    fclose(f);
}
