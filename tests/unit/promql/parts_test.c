/* An aggregation in parts says what it says at once: over shards of the series, whatever they hold, bit for bit but for sums and averages. */
#include "common/base/rng.h"
#include "promql/engine.h"
#include "promql/memsource.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { SERIES = 120, SAMPLES = 60, INTERVAL_MS = 15000, SHARDS = 3 };

struct world {
    struct memsource *all, *shards[SHARDS];
};

/* Small whole numbers, so that there are many equal ones, fractions, NaN, infinities, gaps; histograms in job h1 alone, mixed with floats in h2. */
static void fill(struct world *w, struct rng *r)
{
    static const double bucket[] = {2, 3};
    static const struct hist_span span = {1, 2};
    struct histogram hist = {.is_float = true, .sum = 1.25, .count.f = 5, .zero_count.f = 0, .pos = {.spans = &span, .span_count = 1, .bucket_count = 2, .f = bucket}};

    w->all = memsource_new();
    for (int k = 0; k < SHARDS; k++)
        w->shards[k] = memsource_new();
    for (int s = 0; s < SERIES; s++) {
        char host[16], job[16];
        struct label l[] = {{STR("__name__"), STR("x_total")},
                            {STR("host"), str_n(host, (size_t)snprintf(host, sizeof host, "%03d", s))},
                            {STR("job"), str_n(job, (size_t)snprintf(job, sizeof job, "h%d", s % 5))}};
        struct labels ls = {l, ARRAY_LEN(l)};

        for (int i = 0; i < SAMPLES; i++) {
            uint64_t dice = rng_below(r, 50);
            double v = dice == 1 ? NAN : dice == 2 && s % 5 == 3 ? INFINITY : dice < 25 ? (double)rng_below(r, 5) : (double)rng_below(r, 1000) / 7;
            bool is_hist = s % 5 == 1 || (s % 5 == 2 && i % 4 == 0 && s % 2);

            if (dice == 0 && s != 4 && s != 9)
                continue;
            if (s == 4 || s == 9) /* these cancel out, and leave what the others sum up to */
                v = s == 4 ? 1e100 : -1e100;
            hist.sum = v;
            CHECK(memsource_append(w->all, &ls, (int64_t)i * INTERVAL_MS, v, is_hist ? &hist : NULL, 0, NULL) == 0);
            CHECK(memsource_append(w->shards[(s * 7 / 5) % SHARDS], &ls, (int64_t)i * INTERVAL_MS, v, is_hist ? &hist : NULL, 0, NULL) == 0);
        }
    }
}

static void drop(struct world *w)
{
    memsource_free(w->all);
    for (int k = 0; k < SHARDS; k++)
        memsource_free(w->shards[k]);
}

struct sharing {
    struct world *w;
    const struct promql_ast *ast;
    const struct query_opt *opt;
    int taken;
};

/* memsource gives series in the order in which they were made, which is that of their labels. */
static int by_labels(const void *a, const void *b)
{
    return labels_cmp(&((const struct result_series *)a)->labels, &((const struct result_series *)b)->labels);
}

static int eval_parts(void *arg, const struct node *n, struct arena *a, struct query_result *ret, struct err *err)
{
    struct sharing *sh = arg;
    struct query_result parts[SHARDS], notes[SHARDS];
    const struct query_result *list[SHARDS];
    size_t total = 0;

    for (int k = 0; k < SHARDS; k++) {
        struct promql_ast ast = *sh->ast;
        struct query_opt opt = *sh->opt;
        int rc;

        ast.root = (struct node *)(uintptr_t)promql_part(n);
        opt.remote = NULL;
        opt.partial = true;
        opt.arena = a;
        rc = query_run(&ast, memsource_source(sh->w->shards[k]), &opt, &parts[k], err);
        if (rc == RC_UNSUPPORTED || (rc == 0 && n->agg.op == AGG_SUM && parts[k].warning_count))
            return 0;
        CHECK_INT(rc, 0);
        total += parts[k].series_count;
        notes[k] = parts[k];
        notes[k].series_count = 0;
        list[k] = &notes[k];
    }
    CHECK(query_results_join(list, SHARDS, a, ret, err) == 0);
    ret->series = arena_array(a, total, sizeof *ret->series);
    ret->series_count = 0;
    ret->stats.series = 0;
    for (int k = 0; k < SHARDS; k++) {
        ret->stats.series += parts[k].stats.series; /* each has its own; parts of a range have the same */
        for (size_t i = 0; i < parts[k].series_count; i++)
            ret->series[ret->series_count++] = parts[k].series[i];
    }
    if (total)
        qsort(ret->series, total, sizeof *ret->series, by_labels);
    sh->taken++;
    return 1;
}

static bool near(double a, double b, bool exact)
{
    if (double_bits(a) == double_bits(b) || (isnan(a) && isnan(b)))
        return true;
    return !exact && fabs(a - b) <= 1e-13 * fmax(fabs(a), fabs(b));
}

static bool same_point(const struct result_sample *a, const struct result_sample *b, bool exact)
{
    if (a->t != b->t || !a->h != !b->h)
        return false;
    if (!a->h)
        return near(a->v, b->v, exact);
    if (a->h->pos.bucket_count != b->h->pos.bucket_count || a->h->schema != b->h->schema || a->h->hint != b->h->hint || !near(a->h->sum, b->h->sum, exact) ||
        !near(a->h->count.f, b->h->count.f, exact))
        return false;
    for (uint32_t i = 0; i < a->h->pos.bucket_count; i++)
        if (!near(a->h->pos.f[i], b->h->pos.f[i], exact))
            return false;
    return true;
}

static bool same(const struct query_result *a, const struct query_result *b, bool exact)
{
    if (a->type != b->type || a->series_count != b->series_count || a->ordered != b->ordered || a->warning_count != b->warning_count || a->info_count != b->info_count)
        return false;
    for (size_t i = 0; i < a->series_count; i++) {
        const struct result_series *x = &a->series[i], *y = &b->series[i];

        if (!labels_eq(&x->labels, &y->labels) || x->n != y->n)
            return false;
        for (size_t k = 0; k < x->n; k++)
            if (!same_point(&x->s[k], &y->s[k], exact))
                return false;
    }
    return a->stats.samples_total == b->stats.samples_total && a->stats.series == b->stats.series;
}

static const struct {
    const char *text;
    bool exact; /* no sum of fractions in another order */
    int taken;  /* aggregations in parts, per run */
} cases[] = {
    {"sum by (job) (x_total{job=~\"h[0134]\"})", false, 1},
    {"sum(x_total{job=\"h1\"})", false, 1},
    {"sum by (job) (x_total)", false, 0}, /* a group that is mixed within a part */
    {"sum by (__name__) (rate(x_total{job!~\"h[12]\"}[2m]))", false, 1},
    {"count by (job) (x_total)", true, 1},
    {"count without (host) (x_total > 1)", true, 1},
    {"min by (job) (x_total)", true, 1},
    {"max without (host) (x_total)", true, 1},
    {"group by (job) (x_total)", true, 1},
    {"avg by (job) (x_total{job=~\"h[04]\"})", false, 1},
    {"avg(rate(x_total{job=\"h0\"}[2m]))", false, 1},
    {"avg by (job) (x_total)", false, 0}, /* histograms, infinities */
    {"topk(3, x_total)", true, 1},
    {"topk by (job) (2, x_total)", true, 1},
    {"bottomk(4, rate(x_total{job!=\"h1\"}[2m]))", true, 1},
    {"bottomk without (host) (time() / 100 - 1, x_total)", true, 1},
    {"sum by (__name__) (topk(3, rate(x_total{job=\"h0\"}[2m])))", false, 1},
    {"limitk(7, x_total)", true, 1},
    {"limitk by (job) (2, x_total)", true, 1},
    {"limit_ratio(0.3, x_total)", true, 1},
    {"limit_ratio(-0.3, x_total)", true, 1},
    {"quantile by (job) (0.7, x_total)", true, 1},
    {"quantile(1.5, x_total)", true, 1},
    {"stddev by (job) (x_total)", true, 1},
    {"stdvar(rate(x_total{job!=\"h1\"}[2m]))", true, 1},
    {"count_values by (job) (\"value\", x_total)", true, 1},
    {"count_values without (value, host) (\"value\", x_total)", true, 1},
    {"count_values(\"job\", x_total)", true, 1},
    {"avg by (job) (x_total{job=\"h4\"}) / max by (job) (x_total)", false, 2},
    {"sum(topk(2, x_total{job=\"h0\"})) + sum(count_values(\"v\", x_total))", false, 2},
    {"topk(2, nothing)", true, 1},
    {"avg(nothing)", true, 1},
};

/* A vector without an order of its own. */
static void sort(struct query_result *r)
{
    if (!r->ordered && r->series_count)
        qsort(r->series, r->series_count, sizeof *r->series, by_labels);
}

static void check(struct world *w, size_t i, int64_t step_ms)
{
    struct query_opt opt = {.start_ms = step_ms ? 60000 : SAMPLES * (int64_t)INTERVAL_MS, .end_ms = SAMPLES * (int64_t)INTERVAL_MS, .step_ms = step_ms, .delayed_name_removal = true};
    struct promql_ast ast;
    struct sharing sh = {.w = w, .ast = &ast, .opt = &opt};
    struct query_remote remote = {eval_parts, &sh};
    struct query_result alone, shared;
    struct arena a;
    struct err err;

    arena_init(&a, 256 << 20);
    opt.arena = &a;
    CHECK(promql_parse(str_of(cases[i].text), &promql_parse_all, &a, &ast, &err) == 0);
    CHECK(query_run(&ast, memsource_source(w->all), &opt, &alone, &err) == 0);
    opt.remote = &remote;
    CHECK(query_run(&ast, memsource_source(w->all), &opt, &shared, &err) == 0);
    sort(&alone);
    sort(&shared);
    if (!same(&alone, &shared, cases[i].exact) || (step_ms && sh.taken != cases[i].taken))
        fprintf(stderr, "%s, step %lld ms: %d in parts\n", cases[i].text, (long long)step_ms, sh.taken);
    CHECK(same(&alone, &shared, cases[i].exact));
    CHECK(step_ms == 0 || sh.taken == cases[i].taken);
    promql_ast_fini(&ast);
    arena_fini(&a);
}

TEST(parts_say_what_the_whole_says)
{
    struct rng r;

    rng_init(&r, 7);
    for (int round = 0; round < 3; round++) {
        struct world w;

        fill(&w, &r);
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            check(&w, i, 0);
            check(&w, i, INTERVAL_MS);
        }
        drop(&w);
    }
}
