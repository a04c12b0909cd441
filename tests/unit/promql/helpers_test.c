/* Helper threads change nothing: every query gives the same result, bit for bit, with and without. */
#include "common/base/rng.h"
#include "promql/engine.h"
#include "promql/memsource.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>

enum { SERIES = 900, SAMPLES = 60, INTERVAL_MS = 15000 };

/* Counters with resets and gaps, stale markers, NaN, infinities; every 50th series has start timestamps, every 70th histograms between. */
static struct memsource *filled(struct rng *r)
{
    static const struct histogram hist = {.is_float = true, .sum = 1};
    struct memsource *m = memsource_new();

    for (int s = 0; s < SERIES; s++) {
        char host[32];
        struct label l[] = {{STR("__name__"), STR("x_total")},
                            {STR("host"), str_n(host, (size_t)snprintf(host, sizeof host, "h%d", s))},
                            {STR("job"), str_n(host, (size_t)snprintf(host, sizeof host, "h%d", s) > 2 ? 2 : 1)}};
        struct labels ls = {l, ARRAY_LEN(l)};
        double v = 0;

        for (int i = 0; i < SAMPLES; i++) {
            int64_t t = (int64_t)i * INTERVAL_MS + (int64_t)rng_below(r, s % 3 ? 1 : 900), st = s % 50 ? 0 : MAX(t - 20000, 1);
            uint64_t dice = rng_below(r, 60);
            double value;

            if (dice == 0)
                continue;
            v = dice == 1 ? 0 : v + (double)rng_below(r, 100) / 7;
            value = dice == 2 ? bits_double(STALE_NAN_BITS) : dice == 3 ? NAN : dice == 4 ? INFINITY : dice == 5 ? -0.0 : v;
            CHECK(memsource_append(m, &ls, t, value, s % 70 == 0 && dice < 20 ? &hist : NULL, st, NULL) == 0);
        }
    }
    return m;
}

static void ask(struct memsource *m, const char *text, int64_t step_ms, atomic_int *helpers, bool per_step, struct arena *a, struct query_result *ret)
{
    struct query_opt opt = {.start_ms = step_ms ? 60000 : SAMPLES * (int64_t)INTERVAL_MS,
                            .end_ms = SAMPLES * (int64_t)INTERVAL_MS,
                            .step_ms = step_ms,
                            .delayed_name_removal = true,
                            .arena = a,
                            .stats_per_step = per_step,
                            .helpers = helpers};
    struct promql_ast ast;
    struct err err;

    CHECK(promql_parse(str_of(text), &promql_parse_all, a, &ast, &err) == 0);
    CHECK(query_run(&ast, memsource_source(m), &opt, ret, &err) == 0);
    promql_ast_fini(&ast);
}

static void check_same(const struct query_result *x, const struct query_result *y)
{
    CHECK(x->series_count == y->series_count);
    CHECK(x->stats.samples_total == y->stats.samples_total && x->stats.samples_read == y->stats.samples_read);
    CHECK(x->stats.peak_samples == y->stats.peak_samples);
    CHECK(x->warning_count == y->warning_count && x->info_count == y->info_count);
    for (size_t i = 0; i < x->series_count; i++) {
        const struct result_series *a = &x->series[i], *b = &y->series[i];

        CHECK(labels_eq(&a->labels, &b->labels) && a->n == b->n);
        for (size_t k = 0; k < a->n; k++)
            CHECK(a->s[k].t == b->s[k].t && !a->s[k].h == !b->s[k].h && double_bits(a->s[k].v) == double_bits(b->s[k].v));
    }
}

TEST(results_do_not_depend_on_helpers)
{
    static const char *const queries[] = {
        "sum(rate(x_total[2m]))",
        "sum by (job) (increase(x_total[1m]))",
        "rate(x_total[90s] offset 30s)",
        "delta(x_total[2m] @ 300)",
        "irate(x_total[1m])",
        "quantile_over_time(0.9, x_total[3m])",
        "quantile_over_time(2, x_total[3m])",
        "mad_over_time(x_total[3m])",
        "max_over_time(x_total[1m])",
        "avg_over_time(x_total[1m])",
        "last_over_time(x_total[1m])",
        "first_over_time(x_total[1m] offset 10s)",
        "min_over_time(x_total[4m])",
        "sum_over_time(x_total[4m])",
        "avg_over_time(x_total[4m] @ 400)",
        "sum_over_time(x_total[70s])",
        "count_over_time(x_total[2m] @ 300)",
        "present_over_time(x_total[40s])",
        "stddev_over_time(x_total[1m])",
        "quantile_over_time(scalar(x_total{host=\"h1\"}) / 1000, x_total[3m] @ 300)",
        "avg by (job) (x_total)",
        "avg by (job) (x_total * 1e308)",
        "min by (job) (x_total)",
        "max(x_total)",
        "stdvar by (job) (x_total)",
        "group by (job) (x_total)",
        "sum by (job) (last_over_time(x_total[10m]))",
        "avg by (job) (last_over_time(x_total[10m]) * 1e306)",
        "min(last_over_time(x_total[10m]))",
        "max(-last_over_time(x_total[10m]))",
        "rate(sum by (job) (x_total)[2m:15s])",
        "avg_over_time(last_over_time(x_total[10m])[3m:20s])",
        "count(x_total)",
        "sum by (job) (x_total offset 1m)",
        "x_total @ 400",
        "x_total / on (host) x_total",
        "topk(3, x_total)",
        "max_over_time(sum by (job) (rate(x_total[1m]))[5m:30s])",
        "limitk(5, x_total)",
        "-x_total",
    };
    struct rng r;
    struct memsource *m;

    rng_init(&r, 17);
    m = filled(&r);
    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        for (int64_t step = 0; step <= 15000; step += 7500) {
            struct query_result alone = {0}, helped = {0}, by_step = {0};
            atomic_int helpers = 3;
            struct arena a, b, c;

            arena_init(&a, (size_t)1 << 30);
            arena_init(&b, (size_t)1 << 30);
            arena_init(&c, (size_t)1 << 30);
            ask(m, queries[i], step, NULL, false, &a, &alone);
            ask(m, queries[i], step, &helpers, false, &b, &helped);
            /* Statistics per step are counted step by step: nothing is computed for all steps at once. */
            ask(m, queries[i], step, NULL, true, &c, &by_step);
            CHECK(helpers == 3);
            CHECK(alone.series_count > 0);
            check_same(&alone, &helped);
            check_same(&alone, &by_step);
            arena_fini(&a);
            arena_fini(&b);
            arena_fini(&c);
        }
    }
    memsource_free(m);
}

/* An error in the middle gives the threads back too. */
TEST(helpers_come_back_after_an_error)
{
    struct rng r;
    struct memsource *m;
    atomic_int helpers = 2;
    struct query_result res;
    struct promql_ast ast;
    struct arena a;
    struct err err;
    struct query_opt opt = {.start_ms = 60000, .end_ms = 900000, .step_ms = 15000, .samples_max = 1000, .arena = &a, .helpers = &helpers};

    rng_init(&r, 3);
    m = filled(&r);
    arena_init(&a, (size_t)1 << 30);
    CHECK(promql_parse(STR("rate(x_total[2m])"), &promql_parse_all, &a, &ast, &err) == 0);
    CHECK(query_run(&ast, memsource_source(m), &opt, &res, &err) == RC_EXECUTION);
    CHECK(helpers == 2);
    promql_ast_fini(&ast);
    arena_fini(&a);
    memsource_free(m);
}
