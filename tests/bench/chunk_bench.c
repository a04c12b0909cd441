/* Chunk codecs on series shaped like those of node_exporter and Go programs: bytes a sample, ns to
 * append and to seal, samples/s to decode.
 *   chunk_bench [samples per chunk, default 120] */
#include "common/base/rng.h"
#include "tsdb/chunk.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { CHUNKS = 200, ROUNDS = 20 };

struct gen {
    struct rng rng;
    double v, rate;
    int kind;
};

static double noise(struct gen *g)
{
    return rng_double(&g->rng) + rng_double(&g->rng) + rng_double(&g->rng) - 1.5;
}

/* weight: share of series in a node_exporter scrape, in percent, judged from its metric families */
static const struct shape {
    const char *name;
    int weight, kind;
    double start, rate;
} shapes[] = {
    {"constant (info, limits, zero counters)", 45, 0, 0, 0},
    {"counter, rarely moving", 12, 1, 3000, 0.05},
    {"counter, small steps (interrupts, packets)", 10, 2, 1e6, 40},
    {"counter, large steps (bytes)", 7, 2, 3e11, 250000},
    {"cpu seconds, 2 decimals", 8, 3, 90000, 14.2},
    {"cpu seconds, mostly idle mode", 4, 3, 200, 0.05},
    {"gauge in pages (memory bytes)", 6, 4, 8e9, 3000},
    {"small gauge (procs, load)", 5, 5, 2, 0},
    {"float sum (durations)", 2, 6, 1000, 0.3},
    {"arbitrary doubles", 1, 7, 0, 0},
};

static double next_value(struct gen *g)
{
    switch (g->kind) {
    case 1:
        return g->v += rng_chance(&g->rng, g->rate) ? 1 : 0;
    case 2:
        return g->v += round(g->rate * (1 + noise(g) * 0.5));
    case 3:
        return g->v = round((g->v + g->rate * (1 + noise(g) * 0.1)) * 100) / 100;
    case 4:
        return g->v = (round(g->v / 4096) + round(noise(g) * g->rate)) * 4096;
    case 5:
        return g->v = rng_chance(&g->rng, 0.4) ? round((2 + noise(g)) * 100) / 100 : g->v;
    case 6:
        return g->v += g->rate * rng_double(&g->rng);
    case 7:
        return rng_double(&g->rng);
    default:
        return g->v;
    }
}

/* CPU time, because the machine may be shared. */
static double seconds(void)
{
    struct timespec t;

    ASSERT(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

struct result {
    double sealed_bytes, open_bytes, open20_memory; /* a sample; a series */
    double append_ns, seal_ns, decode_per_s, open_decode_per_s;
};

static void fill(struct gen *g, const struct shape *shape, uint64_t seed, size_t n, int64_t *t,
                 double *v)
{
    int64_t at = 1700000000000 + (int64_t)(seed * 977 % 15000);

    rng_init(&g->rng, seed);
    g->kind = shape->kind;
    g->v = shape->start * (1 + (double)(seed % 10));
    g->v = shape->kind == 3 ? round(g->v * 100) / 100 : round(g->v);
    g->rate = shape->rate;
    for (size_t i = 0; i < n; i++) {
        t[i] = at;
        v[i] = next_value(g);
        at += 15000;
        if (seed % 10 == 0) /* one series in ten comes from an agent whose scrapes jitter */
            at += (int64_t)rng_below(&g->rng, 5) - 2;
    }
}

static double decode_rate(const struct str chunks[CHUNKS], size_t n)
{
    struct arena a;
    double began;

    arena_init(&a, 16 << 20);
    began = seconds();
    for (int round = 0; round < ROUNDS; round++)
        for (size_t c = 0; c < CHUNKS; c++) {
            struct chunk_columns cols;

            arena_reset(&a);
            ASSERT(chunk_decode(chunks[c], &a, &cols, NULL) == 0);
        }
    began = seconds() - began;
    arena_fini(&a);
    return (double)(CHUNKS * n) * ROUNDS / began;
}

static void measure(const struct shape *shape, size_t n, struct result *r)
{
    int64_t *t = xmalloc(CHUNKS * n * sizeof *t);
    double *v = xmalloc(CHUNKS * n * sizeof *v), began;
    struct buf *sealed = xcalloc(CHUNKS, sizeof *sealed);
    struct chunk_open **opened = xcalloc(CHUNKS, sizeof *opened);
    double samples = (double)(CHUNKS * n);
    struct str views[CHUNKS];
    struct gen g;

    *r = (struct result){0};
    for (size_t c = 0; c < CHUNKS; c++) {
        fill(&g, shape, c, n, t + c * n, v + c * n);
        buf_init(&sealed[c], CHUNK_BYTES_MAX);
    }
    began = seconds();
    for (size_t c = 0; c < CHUNKS; c++) {
        struct chunk_open *open = opened[c] = chunk_open_new();

        for (size_t i = 0; i < n; i++) {
            ASSERT(chunk_open_append(open, t[c * n + i], double_bits(v[c * n + i]), 0));
            if (i == 19)
                r->open20_memory += (double)chunk_open_memory(open) / CHUNKS;
        }
        r->open_bytes += (double)chunk_open_view(open).n / samples;
    }
    r->append_ns = (seconds() - began) / samples * 1e9;
    began = seconds();
    for (size_t c = 0; c < CHUNKS; c++)
        chunk_encode_floats(&sealed[c], n, t + c * n, v + c * n, NULL);
    r->seal_ns = (seconds() - began) / samples * 1e9;
    for (size_t c = 0; c < CHUNKS; c++)
        views[c] = buf_view(&sealed[c]);
    r->decode_per_s = decode_rate(views, n);
    for (size_t c = 0; c < CHUNKS; c++)
        views[c] = chunk_open_view(opened[c]);
    r->open_decode_per_s = decode_rate(views, n);
    for (size_t c = 0; c < CHUNKS; c++) {
        chunk_open_free(opened[c]);
        r->sealed_bytes += (double)sealed[c].n / samples;
        buf_fini(&sealed[c]);
    }
    free(sealed);
    free(opened);
    free(t);
    free(v);
}

int main(int argc, char **argv)
{
    size_t n = argc > 1 ? strtoul(argv[1], NULL, 10) : 120;
    struct result sum = {0};
    double decode_s = 0, open_decode_s = 0;

    if (n < 20 || n > CHUNK_SAMPLES_MAX)
        return 2;
    printf("%zu samples a chunk\n%-44s %6s %6s %8s %8s %8s %8s %8s\n", n, "series", "sealed",
           "open", "20 open", "append", "seal", "decode", "open");
    printf("%-44s %6s %6s %8s %8s %8s %8s %8s\n", "", "B", "B", "B", "ns", "ns", "M/s", "M/s");
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        double share = shapes[i].weight / 100.0;
        struct result r;

        measure(&shapes[i], n, &r);
        printf("%-44s %6.2f %6.2f %8.0f %8.1f %8.1f %8.0f %8.0f\n", shapes[i].name, r.sealed_bytes,
               r.open_bytes, r.open20_memory, r.append_ns, r.seal_ns, r.decode_per_s / 1e6,
               r.open_decode_per_s / 1e6);
        sum.sealed_bytes += share * r.sealed_bytes;
        sum.open_bytes += share * r.open_bytes;
        sum.open20_memory += share * r.open20_memory;
        sum.append_ns += share * r.append_ns;
        sum.seal_ns += share * r.seal_ns;
        decode_s += share / r.decode_per_s;
        open_decode_s += share / r.open_decode_per_s;
    }
    printf("%-44s %6.2f %6.2f %8.0f %8.1f %8.1f %8.0f %8.0f\n", "mix", sum.sealed_bytes,
           sum.open_bytes, sum.open20_memory, sum.append_ns, sum.seal_ns, 1 / decode_s / 1e6,
           1 / open_decode_s / 1e6);
    return 0;
}
