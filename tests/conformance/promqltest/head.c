/* The engine over real heads: several shards, a part of each load sealed into flush sets, selects
 * in small pages, and from there on what a querier does with an ingester's answer. */
#include "backend.h"

#include "querier/columns.h"
#include "querier/series_set.h"
#include "tsdb/head.h"

#include <stdlib.h>

enum { SHARDS = 4, PAGE_BYTES = 4096 };
#define TENANT STR("conformance")

struct head_backend {
    struct backend base;
    struct series_source source;
    struct head *heads[SHARDS];
    uint64_t sets; /* flush sets made so far */
};

static void heads_free(struct head_backend *b)
{
    for (size_t i = 0; i < SHARDS; i++)
        head_free(b->heads[i]);
}

static void heads_new(struct head_backend *b)
{
    for (size_t i = 0; i < SHARDS; i++)
        b->heads[i] = head_new();
    b->sets = 0;
}

static int head_clear(struct backend *base, struct err *err UNUSED)
{
    struct head_backend *b = CONTAINER_OF(base, struct head_backend, base);

    heads_free(b);
    heads_new(b);
    return 0;
}

/* --- writing --- */
static int verdict_rc(enum append_verdict verdict, struct err *err)
{
    switch (verdict) {
    case APPEND_ACCEPTED:
    case APPEND_DUPLICATE:
        return 0;
    case APPEND_NEW_VALUE:
        return err_set(err, RC_INVALID, "duplicate sample for timestamp");
    default:
        return err_set(err, RC_INVALID, "out of order sample");
    }
}

static int append_series(struct head *h, fingerprint fp, const struct load_series *in,
                         struct err *err)
{
    static const struct append_rules in_order = {0};
    struct head_series *s;
    int rc = head_create(h, TENANT, fp, &in->labels, &s, err);

    for (size_t i = 0; rc == 0 && i < in->n; i++) {
        const struct load_sample *p = &in->s[i];

        rc = verdict_rc(p->h ? head_append_histogram(h, s, p->t, p->h, p->st, &in_order)
                             : head_append(h, s, p->t, double_bits(p->v), p->st, &in_order),
                        err);
    }
    return rc;
}

/* The older half goes into a flush set, as if on its way to a block. */
static void seal_half(struct head_backend *b, int64_t newest_ms)
{
    b->sets++;
    for (size_t i = 0; i < SHARDS; i++) {
        head_lock(b->heads[i]);
        head_seal(b->heads[i], newest_ms / 2, b->sets);
        head_unlock(b->heads[i]);
    }
}

static int head_load(struct backend *base, const struct load_series *series, size_t n,
                     struct err *err)
{
    struct head_backend *b = CONTAINER_OF(base, struct head_backend, base);
    int64_t newest = 0;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < n; i++) {
        fingerprint fp = labels_fingerprint(TENANT, &series[i].labels);
        struct head *h = b->heads[fingerprint_hash(fp) % SHARDS];

        if (series[i].n == 0)
            continue;
        newest = MAX(newest, series[i].s[series[i].n - 1].t);
        head_lock(h);
        rc = append_series(h, fp, &series[i], err);
        head_unlock(h);
    }
    seal_half(b, newest);
    return rc;
}

/* --- reading --- */
struct head_cursor {
    struct series_cursor base;
    struct series_set set;
    struct arena scratch; /* of the series at hand */
    int64_t mint_ms, maxt_ms;
    size_t limit;
};

static size_t cursor_count(const struct series_cursor *base)
{
    const struct head_cursor *c = CONTAINER_OF(base, struct head_cursor, base);

    return c->limit ? MIN(c->limit, c->set.n) : c->set.n;
}

static const struct labels *cursor_labels(const struct series_cursor *base, size_t i)
{
    return &CONTAINER_OF(base, struct head_cursor, base)->set.v[i].labels;
}

static int cursor_samples(struct series_cursor *base, size_t i, struct columns *ret,
                          struct err *err)
{
    struct head_cursor *c = CONTAINER_OF(base, struct head_cursor, base);
    struct stored_series merged;
    int rc;

    arena_reset(&c->scratch);
    rc = series_entry_merge(&c->set.v[i], &c->scratch, &merged, err);
    if (rc == 0)
        rc = stored_to_columns(&merged, c->mint_ms, c->maxt_ms, &c->scratch, ret, err);
    return rc;
}

static void cursor_free(struct series_cursor *base)
{
    arena_fini(&CONTAINER_OF(base, struct head_cursor, base)->scratch);
}

/* What the head lends, kept in the query's arena. */
static int keep_series(void *arg, const struct stored_series *s)
{
    struct series_set *set = arg;
    struct arena *a = set->arena;
    struct labels ls = labels_dup(a, &s->labels);
    struct series_input *in = arena_zalloc(a, sizeof *in);

    if (!ls.v || !in)
        return RC_NOMEM;
    in->windows = arena_dup(a, s->windows, s->window_count * sizeof *in->windows);
    if (!in->windows)
        return RC_NOMEM;
    in->window_count = s->window_count;
    in->votes = 1;
    for (size_t w = 0; w < s->window_count; w++) {
        struct stored_window *win = &in->windows[w];
        struct str *chunks = arena_array(a, win->chunk_count, sizeof *chunks);

        if (!chunks)
            return RC_NOMEM;
        for (uint32_t i = 0; i < win->chunk_count; i++)
            if (!(chunks[i] = arena_str(a, win->chunks[i])).p)
                return RC_NOMEM;
        win->chunks = chunks;
    }
    return series_set_add(set, s->fp, &ls, in, NULL);
}

static int select_heads(struct head_backend *b, const struct store_select *q,
                        struct series_set *set, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < SHARDS && rc >= 0; i++) {
        uint64_t cursor = 0;

        do
            rc = head_select(b->heads[i], q, 0, PAGE_BYTES, &cursor, keep_series, set, err);
        while (rc >= 0 && cursor != 0);
    }
    return rc < 0 ? err_set(err, rc, "select failed") : 0;
}

static int source_select(struct series_source *src, const struct matcher *m, size_t n,
                         const struct select_hints *hints, struct arena *arena,
                         struct series_cursor **ret, struct err *err)
{
    static const struct series_cursor_ops ops = {cursor_count, cursor_labels, cursor_samples,
                                                 NULL, cursor_free};
    struct head_backend *b = CONTAINER_OF(src, struct head_backend, source);
    struct head_cursor *c = arena_zalloc(arena, sizeof *c);
    struct store_select q = {.tenant = TENANT,
                             .matchers = m,
                             .matcher_count = n,
                             .mint_ms = hints->mint_ms,
                             .maxt_ms = hints->maxt_ms,
                             .mode = STORE_DATA};
    int rc;

    if (!c)
        return err_set(err, RC_NOMEM, "select: memory budget is spent");
    c->base.ops = &ops;
    c->mint_ms = hints->mint_ms;
    c->maxt_ms = hints->maxt_ms;
    c->limit = hints->limit;
    arena_init(&c->scratch, SIZE_MAX);
    series_set_init(&c->set, arena);
    rc = select_heads(b, &q, &c->set, err);
    if (rc == 0)
        *ret = &c->base;
    else
        cursor_free(&c->base);
    return rc;
}

static int head_query(struct backend *base, struct promql_ast *ast, struct str text UNUSED,
                      const struct query_opt *opt, struct query_result *ret, struct err *err)
{
    return query_run(ast, &CONTAINER_OF(base, struct head_backend, base)->source, opt, ret, err);
}

static void head_backend_free(struct backend *base)
{
    struct head_backend *b = CONTAINER_OF(base, struct head_backend, base);

    heads_free(b);
    free(b);
}

struct backend *backend_head_new(const struct backend_opt *opt UNUSED)
{
    struct head_backend *b = xcalloc(1, sizeof *b);

    b->base = (struct backend){.name = "head",
                               .clear = head_clear,
                               .load = head_load,
                               .query = head_query,
                               .free = head_backend_free};
    b->source.select = source_select;
    heads_new(b);
    return &b->base;
}
