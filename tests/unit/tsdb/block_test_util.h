/* block_test_util.h - random tenants, series and windows for block tests. Chunk bytes are opaque to a block but for their fronts, so here they are noise. */
#pragma once
#include "common/base/rng.h"
#include "tests/test.h"
#include "tsdb/block.h"

#include <string.h>

struct model_series {
    char tenant[32];
    struct stored_series s;
};
typedef VEC(struct model_series) model;

static inline struct str noise(struct arena *a, struct rng *r, size_t max)
{
    size_t n = 1 + rng_below(r, max);
    char *p = arena_alloc(a, n);

    for (size_t i = 0; i < n; i++)
        p[i] = (char)rng_u64(r);
    return str_n(p, n);
}

/* Noise behind the front of a real chunk. */
static inline struct str fronted(struct arena *a, struct rng *r, const struct stored_window *w)
{
    char front[CHUNK_FRONT_MAX];
    size_t n = chunk_front(front, w->count, w->mint_ms, w->maxt_ms);
    struct str c = noise(a, r, 100);
    char *p = arena_alloc(a, c.n + n);

    p[0] = c.p[0];
    memcpy(p + 1, front, n);
    memcpy(p + 1 + n, c.p + 1, c.n - 1);
    return str_n(p, c.n + n);
}

static inline void model_windows(struct arena *a, struct rng *r, struct stored_series *s, int64_t base_ms, size_t most)
{
    size_t n = 1 + rng_below(r, most);
    struct stored_window *w = arena_zalloc(a, n * sizeof *w);
    int64_t at = base_ms + (int64_t)rng_below(r, 600000);

    for (size_t i = 0; i < n; i++) {
        struct str *chunks;
        int64_t end;

        w[i].start_ms = window_start(s->fp, at, &end);
        w[i].mint_ms = w[i].start_ms + (int64_t)rng_below(r, (uint64_t)MIN(end - w[i].start_ms, (int64_t)1000));
        w[i].maxt_ms = w[i].mint_ms + (int64_t)rng_below(r, (uint64_t)(end - w[i].mint_ms));
        w[i].digest = (struct u128){rng_u64(r), rng_u64(r)};
        w[i].count = 1 + (uint32_t)rng_below(r, 500);
        w[i].chunk_count = 1 + (uint32_t)rng_below(r, 3);
        chunks = arena_array(a, w[i].chunk_count, sizeof *chunks);
        for (uint32_t c = 0; c < w[i].chunk_count; c++)
            chunks[c] = rng_chance(r, 0.5) ? fronted(a, r, &w[i]) : noise(a, r, rng_chance(r, 0.05) ? 9000 : 200);
        w[i].chunks = chunks;
        at = end + WINDOW_MS * (int64_t)rng_below(r, 3);
    }
    s->windows = w;
    s->window_count = n;
}

static inline int by_model_order(const void *pa, const void *pb)
{
    const struct model_series *a = pa, *b = pb;
    int c = strcmp(a->tenant, b->tenant);

    return c ? c : labels_cmp(&a->s.labels, &b->s.labels);
}

/* Labels: some shared by all, some rare, some with odd bytes; each series its own. */
static inline void model_labels(struct arena *a, struct rng *r, struct model_series *m, unsigned serial)
{
    struct label *v = arena_array(a, 8, sizeof *v);
    size_t n = 0;

    v[n++] = (struct label){STR("__name__"), str_of(arena_printf(a, "metric_%u", (unsigned)rng_below(r, 5)))};
    if (rng_chance(r, 0.9))
        v[n++] = (struct label){STR("env"), rng_chance(r, 0.5) ? STR("prod") : STR("dev")};
    if (rng_chance(r, 0.7))
        v[n++] = (struct label){STR("instance"), str_of(arena_printf(a, "10.0.0.%u:9100", (unsigned)rng_below(r, 40)))};
    v[n++] = (struct label){STR("serial"), str_of(arena_printf(a, "%u", serial))};
    if (rng_chance(r, 0.1))
        v[n++] = (struct label){STR("z\0y"), STR("zero \0 byte")};
    if (rng_chance(r, 0.1))
        v[n++] = (struct label){STR("z"), STR("\xc3\xa4")};
    m->s.labels = (struct labels){v, n};
    CHECK(labels_sort(&m->s.labels, NULL));
    m->s.fp = labels_fingerprint(str_of(m->tenant), &m->s.labels);
}

static inline void model_fill(model *m, struct arena *a, struct rng *r, size_t n, int64_t base_ms, size_t most_windows)
{
    static const char *const tenants[] = {"acme", "acme-2", "zeta", "0"};

    for (unsigned i = 0; i < n; i++) {
        struct model_series *s = vec_push(m);

        snprintf(s->tenant, sizeof s->tenant, "%s", tenants[rng_below(r, 4)]);
        model_labels(a, r, s, i);
        model_windows(a, r, &s->s, base_ms, most_windows);
    }
    qsort(m->v, m->n, sizeof *m->v, by_model_order);
}

static inline void check_window(const struct stored_window *got, const struct stored_window *want, bool data)
{
    CHECK(got->start_ms == want->start_ms && got->mint_ms == want->mint_ms && got->maxt_ms == want->maxt_ms);
    CHECK(!digest_known(got->digest) || u128_eq(got->digest, want->digest)); /* merged blocks keep none */
    CHECK(got->count == want->count);
    CHECK(got->chunk_count == (data ? want->chunk_count : 0));
    for (uint32_t i = 0; data && i < want->chunk_count; i++)
        CHECK(str_eq(got->chunks[i], want->chunks[i]));
}

/* Ships m (of one tenant only, when tenant is given) as a block; *ret is its meta. */
static inline int model_ship(const model *m, const char *tenant, struct bucket *b, struct block_meta *ret, struct err *err)
{
    struct block_meta meta = {.range_start_ms = 0, .range_end_ms = BLOCK_RANGE_MS, .level = tenant ? 1 : 0};
    struct block_writer *w = NULL;
    char scratch[256];
    int rc;

    ulid_new(&meta.id, 1700000000000);
    snprintf(meta.ingester, sizeof meta.ingester, "ingester-0");
    snprintf(meta.tenant, sizeof meta.tenant, "%s", tenant ? tenant : "");
    snprintf(scratch, sizeof scratch, "%s/scratch", test_tmpdir());
    rc = block_writer_new(scratch, &meta, &w, err);
    for (size_t i = 0; rc == 0 && i < m->n; i++)
        if (!tenant || strcmp(tenant, m->v[i].tenant) == 0)
            rc = block_writer_add(w, str_of(m->v[i].tenant), &m->v[i].s, err);
    if (rc == 0)
        rc = block_writer_ship(w, b, ret, err);
    block_writer_free(w);
    return rc;
}
