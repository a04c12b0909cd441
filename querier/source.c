#include "querier/source.h"

#include "querier/columns.h"
#include "querier/hiding.h"

#include <stdlib.h>
#include <unistd.h>

static int no_memory(struct err *err)
{
    return err_set(err, RC_NOMEM, "select: memory budget is spent");
}

/* --- attempts --- */

void source_fan_cfg(const struct source *s, struct fan_cfg *ret)
{
    *ret = (struct fan_cfg){
        .rpc = s->env->rpc,
        .clock = s->env->clock,
        .hedge_ms = s->env->hedge_ms,
        .deadline_mono_ns = s->deadline_mono_ns,
        .cancel = s->cancel,
        .trace = s->trace,
    };
}

static bool again(int rc)
{
    return rc == RC_STALE || rc == RC_MOVED || rc == RC_NOT_FOUND;
}

static int pause_ms(const struct source *s, int64_t ms, struct err *err)
{
    int64_t left = (s->deadline_mono_ns - clock_mono_ns(s->env->clock)) / 1000000;

    if (s->cancel && atomic_load(s->cancel))
        return err_set(err, RC_CANCELED, "query was canceled in expression evaluation");
    if (left <= ms)
        return err_set(err, RC_TIMEOUT, "query timed out in expression evaluation");
    usleep((useconds_t)(ms * 1000));
    return 0;
}

int source_try(struct source *s, struct str tenant, source_try_fn *fn, void *arg, struct err *err)
{
    struct fetch_used before = s->used;
    int64_t pause = SOURCE_PAUSE_MS >> 4;
    int rc = 0;

    for (int i = 0; i < SOURCE_ATTEMPTS; i++) {
        struct blocks_view *view;
        struct ring *ring;

        if (i > 0) {
            if (pause_ms(s, pause, err) < 0)
                return err->rc;
            pause = MIN(pause * 2, (int64_t)SOURCE_PAUSE_MS);
        }
        s->used = before;
        rc = blocks_view(s->env->blocks, tenant, i == 0 ? BLOCKS_VIEW_AGE_MS : 0, &view, err);
        if (rc < 0)
            return rc;
        ring = s->env->ring(s->env->ring_arg);
        rc = ring ? fn(arg, ring, view, err)
                  : err_set(err, RC_UNAVAILABLE, "the ring is not known yet");
        ring_unref(ring);
        blocks_view_unref(view);
        if (!again(rc))
            return rc;
        metric_inc(metric_with(s->env->retries, rc_name(rc), NULL));
        trace_add(s->trace, 0, "attempt %d: %s, again with a fresh index and ring", i + 1, rc_name(rc));
    }
    return err_wrap(err, RC_UNAVAILABLE, "given up after %d attempts", SOURCE_ATTEMPTS);
}

/* --- gathering --- */

struct gathering {
    struct source *s;
    const struct store_select *q;
    struct series_set *set;
    bool heads_only;
};

/* Adds what ingesters and blocks have, hidden or not. */
static int gather_all(struct gathering *g, const struct store_select *q, const struct ring *ring,
                      const struct blocks_view *view, struct series_set *set, struct err *err)
{
    struct fanout_select fs = {.ring = ring,
                               .q = q,
                               .index_gen = view->gen,
                               .limits = &g->s->limits,
                               .used = &g->s->used};
    struct blocks_select bs = {
        .view = view,
        .q = q,
        .limits = &g->s->limits,
        .used = &g->s->used,
        .fan = &fs.fan,
        .merged_votes = (uint32_t)ring_quorum(ring_rf(ring)),
    };
    int rc;

    source_fan_cfg(g->s, &fs.fan);
    rc = fanout_select(&fs, set, err);
    if (rc == 0 && (g->heads_only || (q->enough && set->n >= q->enough)))
        return 0;
    return rc == 0 ? blocks_select(g->s->env->blocks, &bs, set, err) : rc;
}

/* A part of the range of a question about labels (hiding_apply_labels). */
struct gathering_part {
    struct gathering *g;
    const struct ring *ring;
    const struct blocks_view *view;
};

static int gather_part(void *arg, struct time_span part, struct series_set *set, struct err *err)
{
    struct gathering_part *p = arg;
    struct store_select q = *p->g->q;
    struct fetch_used before = p->g->s->used;
    int rc;

    q.enough = 0;
    q.mint_ms = part.mint_ms;
    q.maxt_ms = part.maxt_ms;
    rc = gather_all(p->g, &q, p->ring, p->view, set, err);
    p->g->s->used = before; /* the same series once more */
    return rc;
}

static int gather_visible(struct gathering *g, const struct hiding *h, const struct ring *ring,
                          const struct blocks_view *view, struct err *err)
{
    struct gathering_part part = {g, ring, view};
    struct store_select q = *g->q;
    int rc = hiding_keep(h, &q.keep, g->set->arena, err);

    q.mint_ms = h->range.mint_ms;
    if (h->n)
        q.enough = 0;
    if (rc == 0)
        rc = gather_all(g, &q, ring, view, g->set, err);
    if (rc < 0 || h->n == 0)
        return rc;
    return q.mode == STORE_LABELS ? hiding_apply_labels(h, g->set, gather_part, &part, err)
                                  : hiding_apply(h, g->set, err);
}

static int gather_once(void *arg, const struct ring *ring, const struct blocks_view *view,
                       struct err *err)
{
    struct gathering *g = arg;
    struct hiding h;
    int rc;

    arena_reset(g->set->arena);
    series_set_init(g->set, g->set->arena);
    rc = hiding_init(&h, g->s->env, g->q->tenant, view, (struct time_span){g->q->mint_ms, g->q->maxt_ms},
                     g->q->mode == STORE_LABELS, g->set->arena, err);
    if (rc < 0)
        return rc;
    if (h.range.mint_ms <= h.range.maxt_ms)
        rc = gather_visible(g, &h, ring, view, err);
    hiding_fini(&h);
    return rc;
}

int source_gather(struct source *s, const struct store_select *q, struct series_set *set,
                  struct err *err)
{
    struct gathering g = {s, q, set, false};
    int rc = source_try(s, q->tenant, gather_once, &g, err);

    return rc == 0 && s->days ? fetch_count_days(s->days, &s->limits, set, err) : rc;
}

int source_gather_heads(struct source *s, const struct store_select *q, struct series_set *set,
                        struct err *err)
{
    struct gathering g = {s, q, set, true};

    return source_try(s, q->tenant, gather_once, &g, err);
}

/* --- tenants --- */

bool source_tenant_chosen(struct str tenant, const struct matcher *m, size_t n, struct matcher *ret,
                          size_t *ret_n)
{
    size_t out = 0;

    for (size_t i = 0; i < n; i++) {
        if (!str_eqz(m[i].name, LABEL_TENANT))
            ret[out++] = m[i];
        else if (!matcher_matches(&m[i], tenant))
            return false;
    }
    *ret_n = out;
    return true;
}

int source_label_tenant(struct str tenant, const struct labels *ls, struct arena *a,
                        struct labels *ret, struct err *err)
{
    struct label mine = {STR(LABEL_TENANT), tenant};
    struct labels out = {.v = arena_array(a, ls->n + 1, sizeof *out.v)};
    bool placed = false;

    if (!out.v)
        return no_memory(err);
    for (size_t i = 0; i < ls->n; i++) {
        int cmp = str_cmp(ls->v[i].name, mine.name);

        if (!placed && cmp >= 0) {
            out.v[out.n++] = mine;
            placed = true;
        }
        if (cmp != 0)
            out.v[out.n++] = ls->v[i];
    }
    if (!placed)
        out.v[out.n++] = mine;
    *ret = out;
    return 0;
}

/* --- the cursor --- */

/* What one tenant has. */
struct part {
    struct arena arena;
    struct series_set set;
};
struct cursor {
    struct series_cursor base;
    struct arena *query;  /* the query's arena */
    struct arena scratch; /* of the series at hand */
    int64_t mint_ms, maxt_ms;
    size_t n;
    struct labels *labels;
    const struct series_entry **entries;
    size_t part_count;
    struct part parts[];
};

static size_t cursor_count(const struct series_cursor *base)
{
    return CONTAINER_OF(base, struct cursor, base)->n;
}

static const struct labels *cursor_labels(const struct series_cursor *base, size_t i)
{
    return &CONTAINER_OF(base, struct cursor, base)->labels[i];
}

static int cursor_samples_in(const struct series_cursor *base, size_t i, struct arena *a,
                             struct columns *ret, struct err *err)
{
    const struct cursor *c = CONTAINER_OF(base, struct cursor, base);
    struct stored_series merged;
    int rc;

    if (i + 1 < c->n)
        __builtin_prefetch(c->entries[i + 1]->inputs);
    rc = series_entry_merge(c->entries[i], a, &merged, err);
    return rc < 0 ? rc : stored_to_columns(&merged, c->mint_ms, c->maxt_ms, a, ret, err);
}

static int cursor_samples(struct series_cursor *base, size_t i, struct columns *ret,
                          struct err *err)
{
    struct cursor *c = CONTAINER_OF(base, struct cursor, base);

    arena_reset(&c->scratch);
    return cursor_samples_in(base, i, &c->scratch, ret, err);
}

static void cursor_free(struct series_cursor *base)
{
    struct cursor *c = CONTAINER_OF(base, struct cursor, base);

    for (size_t i = 0; i < c->part_count; i++)
        arena_fini(&c->parts[i].arena);
    arena_fini(&c->scratch);
    free(c);
}

static int gather_tenant(struct source *s, struct cursor *c, struct str tenant,
                         const struct store_select *q, struct err *err)
{
    struct part *p = &c->parts[c->part_count++];
    struct store_select mine = *q;
    struct matcher *m = arena_array(c->query, q->matcher_count, sizeof *m);
    int rc;

    arena_init_in(&p->arena, c->query);
    series_set_init(&p->set, &p->arena);
    if (!m)
        return no_memory(err);
    mine.tenant = tenant;
    if (s->tenant_count > 1) {
        if (!source_tenant_chosen(tenant, q->matchers, q->matcher_count, m, &mine.matcher_count))
            return 0;
        mine.matchers = m;
    }
    rc = source_gather(s, &mine, &p->set, err);
    c->n += p->set.n;
    return rc;
}

enum { RUN_BITS_MAX = 20 };
struct placed {
    fingerprint fp;
    const struct series_entry *e;
};

static int by_fingerprint(const void *a, const void *b)
{
    return u128_cmp(((const struct placed *)a)->fp, ((const struct placed *)b)->fp);
}

/* Entries of a set by fingerprint. Fingerprints are spread evenly: the upper bits divide them into
 * runs of a few. */
static int sort_entries(const struct series_set *set, struct arena *query,
                        const struct series_entry **ret, struct err *err)
{
    unsigned bits = set->n > 16
                        ? MIN(60 - (unsigned)__builtin_clzll(set->n), (unsigned)RUN_BITS_MAX)
                        : 1,
             shift = 64 - bits;
    size_t runs = (size_t)1 << bits, at = 0, *ends;
    struct placed *v;
    struct arena a;

    arena_init_in(&a, query);
    ends = arena_zalloc(&a, (runs + 1) * sizeof *ends);
    v = arena_array(&a, set->n, sizeof *v);
    if (!ends || !v) {
        arena_fini(&a);
        return no_memory(err);
    }
    for (size_t i = 0; i < set->n; i++)
        ends[(set->v[i].fp.hi >> shift) + 1]++;
    for (size_t r = 0; r < runs; r++)
        ends[r + 1] += ends[r];
    /* ends[r] is where run r begins, and ends where it ends once it is full. */
    for (size_t i = 0; i < set->n; i++)
        v[ends[set->v[i].fp.hi >> shift]++] = (struct placed){set->v[i].fp, &set->v[i]};
    for (size_t r = 0; r < runs; at = ends[r++])
        if (ends[r] - at > 1)
            qsort(v + at, ends[r] - at, sizeof *v, by_fingerprint);
    for (size_t i = 0; i < set->n; i++)
        ret[i] = v[i].e;
    arena_fini(&a);
    return 0;
}

/* Series come in one order whoever answered first: sums of floats depend on it. */
static int lay_out(struct source *s, struct cursor *c, size_t limit, struct err *err)
{
    size_t at = 0;
    int rc = 0;

    c->labels = arena_array(c->query, c->n, sizeof *c->labels);
    c->entries = arena_array(c->query, c->n, sizeof *c->entries);
    if (!c->labels || !c->entries)
        return no_memory(err);
    for (size_t p = 0; p < c->part_count && rc == 0; p++) {
        const struct series_set *set = &c->parts[p].set;
        size_t first = at;

        rc = sort_entries(set, c->query, c->entries + first, err);
        at += set->n;
        for (size_t i = first; i < at && rc == 0; i++) {
            c->labels[i] = c->entries[i]->labels;
            if (s->tenant_count > 1)
                rc = source_label_tenant(s->tenants[p], &c->entries[i]->labels, c->query,
                                         &c->labels[i], err);
        }
    }
    if (limit)
        c->n = MIN(c->n, limit);
    return rc;
}

static int source_select(struct series_source *base, const struct matcher *m, size_t n,
                         const struct select_hints *hints, struct arena *arena,
                         struct series_cursor **ret, struct err *err)
{
    static const struct series_cursor_ops ops = {cursor_count, cursor_labels, cursor_samples,
                                                 cursor_samples_in, cursor_free};
    struct source *s = CONTAINER_OF(base, struct source, base);
    struct cursor *c = xcalloc(1, sizeof *c + s->tenant_count * sizeof c->parts[0]);
    struct store_select q = {.matchers = m,
                             .matcher_count = n,
                             .mint_ms = MAX(hints->mint_ms, s->mint_floor_ms),
                             .maxt_ms = hints->maxt_ms,
                             .shard = s->shard,
                             .shard_count = s->shard_count,
                             .mode = STORE_DATA,
                             .keep = hints->keep};
    int rc = 0;

    s->trace = hints->trace;
    c->base.ops = &ops;
    c->query = arena;
    arena_init_in(&c->scratch, arena);
    c->mint_ms = q.mint_ms;
    c->maxt_ms = q.maxt_ms;
    for (size_t i = 0; i < s->tenant_count && rc == 0 && q.mint_ms <= q.maxt_ms; i++)
        rc = gather_tenant(s, c, s->tenants[i], &q, err);
    if (rc == 0) {
        struct trace_node *step = trace_begin(s->trace, "order %zu series", c->n);

        rc = lay_out(s, c, hints->limit, err);
        trace_end(step, "%s", "");
    }
    s->trace = NULL;
    if (rc < 0)
        cursor_free(&c->base);
    else
        *ret = &c->base;
    return rc;
}

void source_init(struct source *s, const struct source_env *env, const struct str *tenants,
                 size_t tenant_count, int64_t deadline_mono_ns, const atomic_bool *cancel)
{
    ASSERT(tenant_count > 0 && tenant_count <= TENANT_FEDERATION_MAX);
    *s = (struct source){
        .base.select = source_select,
        .env = env,
        .tenant_count = tenant_count,
        .deadline_mono_ns = deadline_mono_ns,
        .cancel = cancel,
        .mint_floor_ms = INT64_MIN,
    };
    memcpy(s->tenants, tenants, tenant_count * sizeof *tenants);
}
