/* samples_util.h - series with real samples, blocks made of them, and what is in a bucket for a reader, sample by sample.
 * The reading side decodes chunks itself and knows nothing of merging code. */
#pragma once
#include "common/base/rng.h"
#include "tests/test.h"
#include "tsdb/index.h"

struct truth_sample {
    fingerprint fp;
    int64_t t;
    uint64_t vbits;
};
typedef VEC(struct truth_sample) truth;

static inline int by_truth(const void *pa, const void *pb)
{
    const struct truth_sample *a = pa, *b = pb;
    int c = u128_cmp(a->fp, b->fp);

    if (c)
        return c;
    if (a->t != b->t)
        return a->t < b->t ? -1 : 1;
    return (a->vbits > b->vbits) - (a->vbits < b->vbits);
}

/* Sorted, equal samples once. */
static inline void truth_settle(truth *t)
{
    size_t kept = 0;

    if (t->n)
        qsort(t->v, t->n, sizeof *t->v, by_truth);
    for (size_t i = 0; i < t->n; i++)
        if (kept == 0 || by_truth(&t->v[kept - 1], &t->v[i]) != 0)
            t->v[kept++] = t->v[i];
    t->n = kept;
}

static inline bool truth_equal(const truth *a, const truth *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (by_truth(&a->v[i], &b->v[i]) != 0)
            return false;
    return true;
}

struct sample_series {
    char tenant[32];
    struct labels labels;
    fingerprint fp;
    VEC(struct sample) samples; /* ascending */
};
typedef VEC(struct sample_series) sample_set;

static inline int by_set_order(const void *pa, const void *pb)
{
    const struct sample_series *a = pa, *b = pb;
    int c = strcmp(a->tenant, b->tenant);

    return c ? c : labels_cmp(&a->labels, &b->labels);
}

/* per_tenant series of each tenant, a sample about every step_ms in [from, to), sometimes constant, sometimes not. */
static inline void sample_set_fill(sample_set *set, struct arena *a, struct rng *r, const char *const *tenants, size_t per_tenant,
                                   int64_t from_ms, int64_t to_ms, int64_t step_ms)
{
    for (; *tenants; tenants++) {
        for (size_t i = 0; i < per_tenant; i++) {
            struct sample_series *s = vec_push(set);
            struct label *v = arena_array(a, 3, sizeof *v);
            bool constant = rng_chance(r, 0.3);

            snprintf(s->tenant, sizeof s->tenant, "%s", *tenants);
            v[0] = (struct label){STR("__name__"), str_of(arena_printf(a, "m%zu", i % 3))};
            v[1] = (struct label){STR("i"), str_of(arena_printf(a, "%zu", i))};
            v[2] = (struct label){STR("job"), STR("j")};
            s->labels = (struct labels){v, 3};
            s->fp = labels_fingerprint(str_of(s->tenant), &s->labels);
            for (int64_t t = from_ms + (int64_t)rng_below(r, (uint64_t)step_ms); t < to_ms; t += step_ms)
                *vec_push(&s->samples) = (struct sample){t, constant ? 1.0 : (double)rng_below(r, 1000000) / 7, 0};
        }
    }
    qsort(set->v, set->n, sizeof *set->v, by_set_order);
}

static inline void sample_set_fini(sample_set *set)
{
    for (size_t i = 0; i < set->n; i++)
        vec_fini(&set->v[i].samples);
    vec_fini(set);
}

static inline struct str encode_samples(struct arena *a, const struct sample *s, size_t n, size_t stride)
{
    int64_t *t = arena_array(a, n, sizeof *t);
    double *v = arena_array(a, n, sizeof *v);
    size_t k = 0;
    struct str out;
    struct buf b;

    for (size_t i = 0; i < n; i += stride, k++) {
        t[k] = s[i].t;
        v[k] = s[i].v;
    }
    buf_init(&b, CHUNK_BYTES_MAX);
    chunk_encode_floats(&b, k, t, v, NULL);
    out = arena_str(a, buf_view(&b));
    buf_fini(&b);
    return out;
}

/* Windows of n samples; split: two chunks that interleave, as a head with late samples would have. */
static inline void samples_to_windows(struct arena *a, fingerprint fp, const struct sample *s, size_t n, bool split,
                                      struct stored_series *ret)
{
    struct stored_window *w = arena_zalloc(a, (n + 1) * sizeof *w);
    size_t count = 0;

    for (size_t i = 0, end; i < n; i = end) {
        struct stored_window *now = &w[count++];
        int64_t window_end;
        struct str *chunks = arena_array(a, 2, sizeof *chunks);

        now->start_ms = window_start(fp, s[i].t, &window_end);
        for (end = i; end < n && s[end].t < window_end; end++)
            now->digest = u128_add(now->digest, sample_hash(s[end].t, double_bits(s[end].v), s[end].st));
        now->mint_ms = s[i].t;
        now->maxt_ms = s[end - 1].t;
        now->count = (uint32_t)(end - i);
        now->chunk_count = split && end - i > 1 ? 2 : 1;
        chunks[0] = encode_samples(a, s + i, end - i, now->chunk_count);
        if (now->chunk_count == 2)
            chunks[1] = encode_samples(a, s + i + 1, end - i - 1, 2);
        now->chunks = chunks;
    }
    ret->fp = fp;
    ret->windows = w;
    ret->window_count = count;
}

/* Ships a level-0 block of the samples of set in [from, to), each lost with probability loss, and names it in the index.
 * What is in it is added to into (may be NULL). */
static inline struct ulid ship_level0(struct bucket *b, const char *scratch, const sample_set *set, const char *ingester,
                                      int64_t from_ms, int64_t to_ms, struct rng *r, double loss, int64_t now_ms, truth *into)
{
    struct block_meta meta = {.range_start_ms = from_ms, .range_end_ms = to_ms}, shipped;
    struct block_writer *w = NULL;
    struct err err = {0};
    uint64_t gen;

    ulid_new(&meta.id, now_ms);
    snprintf(meta.ingester, sizeof meta.ingester, "%s", ingester);
    CHECK(block_writer_new(scratch, &meta, &w, &err) == 0);
    for (size_t i = 0; i < set->n; i++) {
        const struct sample_series *ss = &set->v[i];
        VEC(struct sample) some = {0};
        struct stored_series out = {.labels = ss->labels};
        struct arena a;

        for (size_t k = 0; k < ss->samples.n; k++) {
            const struct sample *s = &ss->samples.v[k];

            if (s->t < from_ms || s->t >= to_ms || rng_chance(r, loss))
                continue;
            *vec_push(&some) = *s;
            if (into)
                *vec_push(into) = (struct truth_sample){ss->fp, s->t, double_bits(s->v)};
        }
        arena_init(&a, 64 << 20);
        samples_to_windows(&a, ss->fp, some.v, some.n, rng_chance(r, 0.2), &out);
        if (out.window_count > 0 && block_writer_add(w, str_of(ss->tenant), &out, &err) < 0)
            fail_msg("%s", err_log(&err));
        arena_fini(&a);
        vec_fini(&some);
    }
    if (block_writer_ship(w, b, &shipped, &err) < 0)
        fail_msg("%s", err_log(&err));
    block_writer_free(w);
    CHECK(index_add_block(b, NULL, &shipped, &gen, &err) == 0);
    block_meta_fini(&shipped);
    return meta.id;
}

/* --- reading as a querier would --- */

static inline int truth_add_block(struct bucket *b, const struct ulid *id, const char *tenant, truth *to, struct err *err)
{
    struct block_reader *r = NULL;
    struct block_iter *it = NULL;
    const struct stored_series *s;
    int rc = block_open(b, id, &r, err);

    if (rc == 0)
        rc = block_iter_new(r, str_of(tenant), &it, err);
    while (rc >= 0 && (rc = block_iter_next(it, &s, err)) == 1) {
        struct arena a;

        arena_init(&a, 64 << 20);
        for (size_t i = 0; rc >= 0 && i < s->window_count; i++) {
            for (uint32_t k = 0; rc >= 0 && k < s->windows[i].chunk_count; k++) {
                struct chunk_columns c;

                rc = chunk_decode(s->windows[i].chunks[k], &a, &c, err);
                for (size_t n = 0; rc == 0 && n < c.n; n++)
                    *vec_push(to) = (struct truth_sample){s->fp, c.t[n], double_bits(c.v[n])};
            }
        }
        arena_fini(&a);
    }
    block_iter_free(it);
    block_unref(r);
    return rc;
}

/* All samples of the tenant by the rules of index.h: level 0 first, then the tenant's; what is done or covered is not read from level 0. */
static inline int truth_read(struct bucket *b, const char *tenant, truth *ret, struct err *err)
{
    struct index l0, ix = {0};
    truth out = {0};
    int rc = index_load(b, NULL, &l0, err);

    if (rc == 0)
        rc = index_load(b, tenant, &ix, err);
    for (size_t i = 0; rc == 0 && i < l0.blocks.n; i++) {
        const struct index_block *l = &l0.blocks.v[i];

        if (!l->deleted_ms && !index_block_done(l, tenant) && !index_covers(&ix, &l->id))
            rc = truth_add_block(b, &l->id, tenant, &out, err);
    }
    for (size_t i = 0; rc == 0 && i < ix.blocks.n; i++)
        if (!ix.blocks.v[i].deleted_ms)
            rc = truth_add_block(b, &ix.blocks.v[i].id, tenant, &out, err);
    index_fini(&ix);
    index_fini(&l0);
    if (rc < 0) {
        vec_fini(&out);
        return rc;
    }
    truth_settle(&out);
    *ret = out;
    return 0;
}
