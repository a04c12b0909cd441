/* Which aggregations may be folded over shards of the series. */
#include "promql/ast.h"
#include "tests/test.h"

static const struct {
    const char *text;
    bool shards;
} cases[] = {
    {"sum(m)", true},
    {"sum by (a) (rate(m[5m]))", true},
    {"min without (i) (m * 2)", true},
    {"max(clamp_min(-m, 3))", true},
    {"count by (a) (m > 50)", true},
    {"group by (a) (m offset 1m)", true},
    {"sum(max_over_time(rate(m[1m])[5m:1m]))", true},
    {"m", false},
    {"avg(m)", true},
    {"topk(2, m)", true},
    {"quantile(0.5, m)", true},
    {"stddev(m)", true},
    {"limitk(2, m)", true},
    {"count_values(\"v\", m)", true},
    {"count_values(\"__v\", m)", false},
    {"topk(scalar(m), m)", false},
    {"bottomk(time() / 10, m)", true},
    {"avg(m + m)", false},
    {"sum(m) + 1", false},
    {"sum(m + m)", false},
    {"sum(m * on (i) m)", false},
    {"sum(m or n)", false},
    {"sum(sum by (a) (m))", false},
    {"sum(absent(m))", false},
    {"sum(absent_over_time(m[5m]))", false},
    {"sum(label_replace(m, \"a\", \"x\", \"\", \"\"))", false},
    {"sum(m * scalar(m))", false},
    {"sum(clamp_max(m, scalar(m)))", false},
    {"sum(histogram_quantile(0.9, m))", false},
    {"sum(vector(1))", false},
    {"sum by (__name__) (m)", true},
};

TEST(only_what_folds_is_divided)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct promql_ast ast;
        struct arena a;

        arena_init(&a, 1 << 20);
        CHECK_INT(promql_parse(str_of(cases[i].text), &promql_parse_all, &a, &ast, NULL), 0);
        if (promql_shardable(ast.root) != cases[i].shards)
            fprintf(stderr, "%s\n", cases[i].text);
        CHECK_INT(promql_shardable(ast.root), cases[i].shards);
        promql_ast_fini(&ast);
        arena_fini(&a);
    }
}
