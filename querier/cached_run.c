#include "querier/cached_run.h"

#include "common/base/buf.h"

struct u128 cached_key(struct str tenants, struct str text, const struct query_opt *opt)
{
    int64_t phase = opt->start_ms % opt->step_ms;
    struct u128 key;
    struct buf b;

    buf_init(&b, tenants.n + text.n + 128);
    buf_lstr(&b, tenants);
    buf_lstr(&b, text);
    buf_u64(&b, (uint64_t)opt->step_ms);
    buf_u64(&b, (uint64_t)(phase < 0 ? phase + opt->step_ms : phase));
    buf_u64(&b, (uint64_t)opt->lookback_ms);
    ASSERT(buf_ok(&b));
    key = hash128_secret(b.p, b.n);
    buf_fini(&b);
    return key;
}

/* --- a run in parts --- */

enum { PARTS_MAX = 3 }; /* before, out of, and behind the cached range */
struct run {
    range_run_fn *run;
    void *arg;
    const struct query_opt *opt;
    struct query_result results[PARTS_MAX];
    const struct query_result *parts[PARTS_MAX];
    size_t n;
};

static int run_part(struct run *r, int64_t from_ms, int64_t to_ms, struct err *err)
{
    struct query_result *res = &r->results[r->n];
    int rc = r->run(r->arg, from_ms, to_ms, res, err);

    if (rc == 0)
        r->parts[r->n++] = res;
    return rc;
}

static int no_memory(struct err *err)
{
    return err_set(err, RC_NOMEM, "query processing would load too many bytes into memory in joining results");
}

/* Histograms live in the cache, which may let them go before the query's result is written. */
static bool own_histograms(struct arena *a, struct result_series *s)
{
    struct result_sample *v;
    size_t i = 0;

    while (i < s->n && !s->s[i].h)
        i++;
    if (i == s->n)
        return true;
    v = arena_array(a, s->n, sizeof *v);
    for (i = 0; v && i < s->n; i++)
        if (!result_sample_dup(a, &s->s[i], &v[i]))
            return false;
    s->s = v;
    return v != NULL;
}

/* The series of a cached range between two of its steps. Arrays of floats are shared until the parts are joined, which copies them. */
static int take_part(struct run *r, const struct cached_range *c, int64_t from_ms, int64_t to_ms, struct err *err)
{
    struct query_result *res = &r->results[r->n];
    struct arena *a = r->opt->arena;

    *res = c->res;
    res->series_count = 0;
    res->series = arena_array(a, c->res.series_count, sizeof *res->series);
    if (!res->series || !query_texts_dup(a, c->res.warnings, c->res.warning_count, &res->warnings) || !query_texts_dup(a, c->res.infos, c->res.info_count, &res->infos))
        return no_memory(err);
    for (size_t i = 0; i < c->res.series_count; i++) {
        struct result_series s = c->res.series[i];

        s.labels = labels_dup(a, &s.labels);
        if (c->res.series[i].labels.n && !s.labels.v)
            return no_memory(err);
        while (s.n && s.s[0].t < from_ms) {
            s.s++;
            s.n--;
        }
        while (s.n && s.s[s.n - 1].t > to_ms)
            s.n--;
        if (!own_histograms(a, &s))
            return no_memory(err);
        if (s.n)
            res->series[res->series_count++] = s;
    }
    r->parts[r->n++] = res;
    return 0;
}

/* The last step of the grid that is not after t. */
static int64_t step_at(const struct query_opt *o, int64_t t)
{
    return t < o->start_ms ? t : o->start_ms + (t - o->start_ms) / o->step_ms * o->step_ms;
}

static int run_around(struct run *r, const struct cached_range *c, struct err *err)
{
    const struct query_opt *o = r->opt;
    int64_t from = MAX(o->start_ms, c->from_ms), to = MIN(step_at(o, o->end_ms), c->to_ms);
    int rc = 0;

    trace_add(o->trace, 0, "results cache: steps from %lld to %lld ms are known", (long long)from, (long long)to);
    if (o->start_ms < from)
        rc = run_part(r, o->start_ms, from - o->step_ms, err);
    if (rc == 0)
        rc = take_part(r, c, from, to, err);
    if (rc == 0 && to + o->step_ms <= o->end_ms)
        rc = run_part(r, to + o->step_ms, o->end_ms, err);
    return rc;
}

static bool overlaps(const struct cached_range *c, const struct query_opt *o)
{
    return c->from_ms <= o->end_ms && c->to_ms >= o->start_ms;
}

/* Leaves in the cache what is settled of the result, and what the range has beyond it where the two touch. */
static void keep(struct result_cache *c, const struct cached_query *cq, const struct query_opt *o, const struct cached_range *had,
                 const struct query_result *res)
{
    int64_t to = step_at(o, MIN(o->end_ms, cq->horizon_ms));

    if (to < o->start_ms || (had && had->from_ms <= o->start_ms && had->to_ms >= to))
        return;
    result_cache_put(c, cq->key, cq->generation, o->start_ms, to, o->step_ms, res);
}

int cached_run(struct result_cache *c, const struct cached_query *cq, const struct node *root, const struct query_opt *opt, range_run_fn *run, void *arg,
               struct query_result *ret, struct err *err)
{
    struct run r = {.run = run, .arg = arg, .opt = opt};
    struct cached_range *had = NULL;
    int rc;

    if (opt->step_ms == 0 || opt->stats_per_step || opt->start_ms > cq->horizon_ms || !promql_steps_independent(root))
        return run(arg, opt->start_ms, opt->end_ms, ret, err);
    had = result_cache_get(c, cq->key, cq->generation);
    if (had && overlaps(had, opt)) {
        rc = run_around(&r, had, err);
        if (rc == 0)
            rc = query_results_join(r.parts, r.n, opt->arena, ret, err);
    } else {
        rc = run(arg, opt->start_ms, opt->end_ms, ret, err);
    }
    if (rc == 0)
        keep(c, cq, opt, had, ret);
    cached_range_unref(c, had);
    return rc;
}
