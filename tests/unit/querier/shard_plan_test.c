#include "promql/memsource.h"
#include "querier/shard_plan.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>

enum { PARTS = 3, SERIES = 40, SAMPLES = 60 };

static const struct {
    const char *text;
    bool divides;
} plans[] = {
    {"sum(m)", true},
    {"(sum by (a) (rate(m[5m])))", true},
    {"min without (i) (m * 2)", true},
    {"max(clamp_min(-m, 3))", true},
    {"count by (a) (m > 50)", true},
    {"group by (a) (m offset 1m)", true},
    {"sum(max_over_time(rate(m[1m])[5m:1m]))", true},
    {"m", false},
    {"avg(m)", false},
    {"topk(2, m)", false},
    {"quantile(0.5, m)", false},
    {"sum(m) + 1", false},
    {"sum(m + m)", false},
    {"sum(m * on (i) m)", false},
    {"sum(absent(m))", false},
    {"sum({a=\"0\"})", false},
    {"sum({__name__=~\"m|n\"})", false},
    {"sum(sum by (a) (m))", false},
    {"sum(label_replace(m, \"a\", \"x\", \"\", \"\"))", false},
    {"sum(m * scalar(m))", false},
    {"sum(histogram_quantile(0.9, m))", false},
    {"sum(vector(1))", false},
    {"count_values(\"v\", m)", false},
};

TEST(only_what_combines_is_divided)
{
    for (size_t i = 0; i < ARRAY_LEN(plans); i++) {
        struct promql_ast ast;
        enum agg_op op;
        struct arena a;

        arena_init(&a, 1 << 20);
        assert_int_equal(promql_parse(str_of(plans[i].text), &promql_parse_all, &a, &ast, NULL), 0);
        if (shard_plan(&ast, &op) != plans[i].divides)
            fail_msg("%s", plans[i].text);
        promql_ast_fini(&ast);
        arena_fini(&a);
    }
}

/* All series in whole, each in its part too. */
static void fill(struct memsource *whole, struct memsource **parts)
{
    for (int s = 0; s < SERIES; s++) {
        char i_text[8], a_text[8];
        struct label lv[] = {{STR("__name__"), STR("m")}, {STR("a"), {0}}, {STR("i"), {0}}};
        struct labels ls = {lv, 3};
        uint32_t part;

        snprintf(i_text, sizeof i_text, "%d", s);
        snprintf(a_text, sizeof a_text, "%d", s % 4);
        lv[1].value = str_of(a_text);
        lv[2].value = str_of(i_text);
        part = fingerprint_mod(labels_fingerprint(STR("t"), &ls), PARTS);
        for (int k = s % 5; k < SAMPLES; k++) {
            double v = s == 7 ? NAN : s * 1.7 + k * 0.1;

            assert_int_equal(memsource_append(whole, &ls, k * 15000, v, NULL, 0, NULL), 0);
            assert_int_equal(memsource_append(parts[part], &ls, k * 15000, v, NULL, 0, NULL), 0);
        }
    }
}

static void run(const char *text, struct memsource *m, struct arena *a, enum agg_op *op,
                struct query_result *ret)
{
    struct query_opt opt = {.end_ms = SAMPLES * 15000,
                            .step_ms = 20000,
                            .lookback_ms = 60000,
                            .delayed_name_removal = true,
                            .arena = a};
    struct promql_ast ast;
    struct err err = {0};

    assert_int_equal(promql_parse(str_of(text), &promql_parse_all, a, &ast, &err), 0);
    assert_true(shard_plan(&ast, op));
    if (query_run(&ast, memsource_source(m), &opt, ret, &err) < 0)
        fail_msg("%s: %s", text, err_text(&err));
    promql_ast_fini(&ast);
}

static void check_equal(const char *text, const struct query_result *x, const struct query_result *y)
{
    assert_int_equal(x->series_count, y->series_count);
    assert_int_equal(x->stats.samples_total, y->stats.samples_total);
    assert_int_equal(x->info_count, y->info_count);
    for (size_t i = 0; i < x->series_count; i++) {
        assert_true(labels_eq(&x->series[i].labels, &y->series[i].labels));
        assert_int_equal(x->series[i].n, y->series[i].n);
        for (size_t k = 0; k < x->series[i].n; k++) {
            struct result_sample p = x->series[i].s[k], q = y->series[i].s[k];

            assert_int_equal(p.t, q.t);
            if (isnan(p.v) ? !isnan(q.v) : fabs(p.v - q.v) > 1e-9 * fabs(p.v))
                fail_msg("%s at %lld: %.17g, parts %.17g", text, (long long)p.t, p.v, q.v);
        }
    }
}

TEST(parts_make_the_whole)
{
    struct memsource *whole = memsource_new(), *parts[PARTS];

    for (size_t i = 0; i < PARTS; i++)
        parts[i] = memsource_new();
    fill(whole, parts);
    for (size_t i = 0; i < ARRAY_LEN(plans) && plans[i].divides; i++) {
        struct query_result want, got, part[PARTS];
        enum agg_op op;
        struct arena a;

        arena_init(&a, 64 << 20);
        run(plans[i].text, whole, &a, &op, &want);
        assert_true(want.series_count > 0);
        for (size_t k = 0; k < PARTS; k++) {
            run(plans[i].text, parts[k], &a, &op, &part[k]);
            assert_true(shard_part_combines(&part[k]));
        }
        assert_int_equal(shard_merge(op, part, PARTS, &a, &got, NULL), 0);
        check_equal(plans[i].text, &want, &got);
        arena_fini(&a);
    }
    memsource_free(whole);
    for (size_t i = 0; i < PARTS; i++)
        memsource_free(parts[i]);
}
