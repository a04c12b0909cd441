/* Range queries through the results cache answer as without it, use it where samples are settled, and never beyond. */
#include "querier/cached_run.h"
#include "promql/memsource.h"
#include "tests/test.h"

#include <math.h>

#define MIN_MS 60000LL

static struct metrics *metrics;

__attribute__((constructor)) static void metrics_make(void)
{
    metrics = metrics_new();
}

struct asked {
    struct arena arena;
    struct query_result res;
};

static void add_histograms(struct memsource *m, int64_t until_ms)
{
    static const struct hist_span span = {1, 2};
    double counts[2];
    struct histogram h = {.is_float = true, .pos = {.spans = &span, .span_count = 1, .bucket_count = 2, .f = counts}};
    struct label l[] = {{STR("__name__"), STR("h")}};

    for (int64_t t = 30 * MIN_MS; t <= until_ms; t += 15000) {
        h.sum = (double)t;
        counts[0] = (double)t / 100;
        counts[1] = (double)t / 300;
        h.count.f = counts[0] + counts[1];
        CHECK(memsource_append(m, &(struct labels){l, 1}, t, 0, &h, 0, NULL) == 0);
    }
}

static struct memsource *source_with(double factor, int64_t until_ms)
{
    struct memsource *m = memsource_new();

    for (int k = 0; k < 3; k++) {
        char name[8] = {(char)('a' + k)};
        struct label l[] = {{STR("__name__"), STR("m_total")}, {STR("x"), str_of(name)}};
        struct labels ls = {l, 2};

        /* Series begin and end at different times, so that parts have different ones. */
        for (int64_t t = k * 10 * MIN_MS; t <= until_ms - k * 7 * MIN_MS; t += 15000)
            CHECK(memsource_append(m, &ls, t, (double)t * factor * (k + 1), NULL, 0, NULL) == 0);
    }
    add_histograms(m, until_ms);
    return m;
}

struct runner {
    struct promql_ast *ast;
    struct memsource *m;
    const struct query_opt *opt;
};

static int run(void *arg, int64_t start_ms, int64_t end_ms, struct query_result *ret, struct err *err)
{
    struct runner *r = arg;
    struct query_opt opt = *r->opt;

    opt.start_ms = start_ms;
    opt.end_ms = end_ms;
    return query_run(r->ast, memsource_source(r->m), &opt, ret, err);
}

static void ask(struct result_cache *c, struct memsource *m, const char *text, int64_t start, int64_t end, int64_t horizon, uint64_t generation, struct asked *ret)
{
    struct query_opt opt = {.start_ms = start, .end_ms = end, .step_ms = MIN_MS, .delayed_name_removal = true, .arena = &ret->arena};
    struct cached_query cq = {.generation = generation, .horizon_ms = horizon};
    struct promql_ast ast;

    memset(ret, 0, sizeof *ret);
    arena_init(&ret->arena, 64 << 20);
    CHECK(promql_parse(str_of(text), &promql_parse_all, &ret->arena, &ast, NULL) == 0);
    cq.key = cached_key(STR("t"), str_of(text), &opt);
    CHECK(cached_run(c, &cq, ast.root, &opt, run, &(struct runner){&ast, m, &opt}, &ret->res, NULL) == 0);
    promql_ast_fini(&ast);
}

/* But for the hint, which depends on whether the sample before was read too. */
static bool same_histogram(const struct histogram *a, const struct histogram *b)
{
    struct histogram x, y;

    if (!a || !b)
        return a == b;
    x = *a;
    y = *b;
    x.hint = y.hint = HIST_HINT_UNKNOWN;
    return histogram_eq(&x, &y);
}

static bool same(const struct query_result *a, const struct query_result *b)
{
    if (a->series_count != b->series_count || a->warning_count != b->warning_count || a->info_count != b->info_count)
        return false;
    for (size_t i = 0; i < a->series_count; i++) {
        const struct result_series *x = &a->series[i], *y = &b->series[i];

        if (!labels_eq(&x->labels, &y->labels) || x->n != y->n)
            return false;
        for (size_t k = 0; k < x->n; k++)
            if (x->s[k].t != y->s[k].t || !same_histogram(x->s[k].h, y->s[k].h) || (x->s[k].v != y->s[k].v && !(isnan(x->s[k].v) && isnan(y->s[k].v))))
                return false;
    }
    return true;
}

static const char *const queries[] = {
    "m_total", "rate(m_total[5m])", "sum by (x) (rate(m_total[3m]))", "topk(1, m_total)", "m_total - m_total offset 5m",
    "max_over_time(rate(m_total[2m])[10m:1m])", "absent(m_total{x=\"c\"})", "rate(m_total[5m]) > 100 or vector(1)", "time()", "rate(m_total{x!=\"q\"}[1m]) / 0",
    "h", "sum(rate(h[5m]))", "histogram_quantile(0.7, h)", "h or m_total",
};

TEST(answers_through_the_cache_are_those_without_it)
{
    struct result_cache *none = result_cache_new(0, metrics), *c = result_cache_new(8 << 20, metrics);
    struct memsource *m = source_with(1, 180 * MIN_MS);
    static const struct {
        int start, end;
    } ranges[] = {{60, 120}, {61, 121}, {70, 150}, {30, 80}, {0, 170}, {100, 110}, {150, 190}, {20, 20}, {3, 169}};

    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        for (size_t k = 0; k < ARRAY_LEN(ranges); k++) {
            struct asked with, without;
            int64_t start = ranges[k].start * MIN_MS, end = ranges[k].end * MIN_MS + 1234;

            ask(c, m, queries[i], start, end, 140 * MIN_MS, 1, &with);
            ask(none, m, queries[i], start, end, 140 * MIN_MS, 1, &without);
            if (!same(&with.res, &without.res))
                fail_msg("%s from %d to %d", queries[i], ranges[k].start, ranges[k].end);
            arena_fini(&with.arena);
            arena_fini(&without.arena);
        }
    }
    CHECK(result_cache_bytes(c) > 0);
    result_cache_free(c);
    result_cache_free(none);
    memsource_free(m);
}

/* What a query got out of the cache is its own: histograms too. */
TEST(results_outlive_the_cache)
{
    struct result_cache *c = result_cache_new(8 << 20, metrics);
    struct memsource *m = source_with(1, 180 * MIN_MS);
    struct asked first, second;

    ask(c, m, "h", 60 * MIN_MS, 120 * MIN_MS, 140 * MIN_MS, 1, &first);
    CHECK(result_cache_bytes(c) > 0);
    ask(c, m, "h", 60 * MIN_MS, 120 * MIN_MS, 140 * MIN_MS, 1, &second);
    result_cache_free(c);
    CHECK(second.res.series_count == 1 && second.res.series[0].n == 61 && second.res.series[0].s[0].h);
    CHECK(same(&first.res, &second.res));
    arena_fini(&first.arena);
    arena_fini(&second.arena);
    memsource_free(m);
}

/* The value of the first series at a time; NaN when it has none. */
static double value_at(const struct query_result *r, int64_t t)
{
    for (size_t k = 0; r->series_count && k < r->series[0].n; k++)
        if (r->series[0].s[k].t == t)
            return r->series[0].s[k].v;
    return NAN;
}

/* Another source stands for a world in which samples came late: only unsettled steps may show it, and all do. */
TEST(only_steps_up_to_the_horizon_are_used_again)
{
    struct result_cache *c = result_cache_new(8 << 20, metrics);
    struct memsource *before = source_with(1, 180 * MIN_MS), *after = source_with(2, 180 * MIN_MS);
    struct asked a;

    ask(c, before, "m_total", 60 * MIN_MS, 120 * MIN_MS, 100 * MIN_MS, 1, &a);
    arena_fini(&a.arena);
    ask(c, after, "m_total", 60 * MIN_MS, 120 * MIN_MS, 100 * MIN_MS, 1, &a);
    CHECK(value_at(&a.res, 100 * MIN_MS) == 100.0 * MIN_MS);
    CHECK(value_at(&a.res, 101 * MIN_MS) == 2 * 101.0 * MIN_MS);
    CHECK(value_at(&a.res, 120 * MIN_MS) == 2 * 120.0 * MIN_MS);
    arena_fini(&a.arena);
    /* Blocks changed: nothing of before counts. */
    ask(c, after, "m_total", 60 * MIN_MS, 120 * MIN_MS, 100 * MIN_MS, 2, &a);
    CHECK(value_at(&a.res, 60 * MIN_MS) == 2 * 60.0 * MIN_MS);
    arena_fini(&a.arena);
    result_cache_free(c);
    memsource_free(before);
    memsource_free(after);
}

TEST(queries_that_look_elsewhere_are_not_cached)
{
    static const char *const texts[] = {"m_total @ 3600", "m_total @ end()", "m_total offset -5m", "rate(m_total[5m] @ start())", "sum(rate(m_total[range()]))",
                                        "max_over_time(m_total[5m:1m] @ 60)", "m_total smoothed"};
    struct memsource *m = source_with(1, 180 * MIN_MS);

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct result_cache *c = result_cache_new(8 << 20, metrics);
        struct asked a;

        ask(c, m, texts[i], 60 * MIN_MS, 120 * MIN_MS, 100 * MIN_MS, 1, &a);
        CHECK_INT(result_cache_bytes(c), 0);
        arena_fini(&a.arena);
        result_cache_free(c);
    }
    memsource_free(m);
}

TEST(the_cache_keeps_to_its_bytes)
{
    struct result_cache *c = result_cache_new(256 << 10, metrics);
    struct memsource *m = source_with(1, 180 * MIN_MS);

    for (int i = 0; i < 200; i++) {
        char text[64];
        struct asked a;

        snprintf(text, sizeof text, "m_total * %d", i);
        ask(c, m, text, 0, 140 * MIN_MS, 140 * MIN_MS, 1, &a);
        arena_fini(&a.arena);
        CHECK(result_cache_bytes(c) <= 256 << 10);
    }
    CHECK(result_cache_bytes(c) > 0);
    result_cache_free(c);
    memsource_free(m);
}
