/* Ceilings, switches, the selector alone, and what start, end and step decide. */
#include "promql/functions.h"
#include "tests/unit/promql/promql_test.h"

#include <math.h>

/* --- ceilings --- */

/* unit repeated n times between head and tail. */
static struct str repeated(struct buf *b, const char *head, const char *unit, size_t n, const char *tail)
{
    buf_init(b, 4 << 20);
    buf_z(b, head);
    for (size_t i = 0; i < n; i++)
        buf_z(b, unit);
    buf_z(b, tail);
    CHECK(buf_ok(b));
    return buf_view(b);
}

TEST(hostile_queries_are_refused_before_they_cost)
{
    static const struct {
        const char *head, *unit, *tail;
        size_t n;
        const char *want; /* within the message */
    } cases[] = {
        {"", "(", "1", 10000, "nested deeper than 200"},
        {"", "-", "1", 10000, "nested deeper than 200"},
        {"", "sum(", "a", 10000, "nested deeper than 200"},
        {"", "rate(", "a", 10000, "nested deeper than 200"},
        {"1", "^1", "", 10000, "nested deeper than 200"},
        {"a[", "(", "1m", 10000, "nested deeper than 200"},
        {"a[", "-", "1m]", 10000, "nested deeper than 200"},
        {"a offset ", "min_of(1m,", "1m", 5000, "nested deeper than 200"},
        {"1", "+1", "", 524288, "longer than 65536"},
        {"1", "+1", "", 30000, "more than 1000 operators"},
        {"a", " or a", "", 10000, "more than 1000 operators"},
        {"a", "[1m:]", "", 10000, "more than 1000 operators"},
        {"a[1m", "+1m", "]", 10000, "more than 1000 operators"},
        {"{", "a=\"\",", "}", 10000, "more than 2000 matchers"},
        {"{", "a=~\".x\",", "}", 1000, "more than 256 regular expressions"},
        {"{", "a=~\"(a?){1000}a{1000}\",", "}", 100, "regular expressions of the query are too large"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct parsed p;
        struct buf b;

        parse_n(&p, repeated(&b, cases[i].head, cases[i].unit, cases[i].n, cases[i].tail));
        CHECK_INT(p.rc, RC_LIMIT);
        if (!strstr(err_text(&p.err), cases[i].want) || !strstr(err_text(&p.err), ": parse error: "))
            fail_msg("%zu: %s", i, err_text(&p.err));
        parsed_fini(&p);
        buf_fini(&b);
    }
}

TEST(what_the_ceilings_allow_can_be_parsed_printed_and_freed)
{
    static const struct {
        const char *head, *unit, *tail;
        size_t n;
    } cases[] = {
        {"1", "+1", "", 999},          {"a", "[1m:]", "", 1},
        {"a", " == bool a", "", 999},  {"a[1m", "+1m", "]", 999},               {"sum by (", "a,", ") (x)", 30000},
        {"a", " offset 0s", "", 6000}, {"{", "a=\"b\",", "}", 2000},            {"label_join(a", ",\"a\"", ")", 10000},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct parsed p;
        struct buf b;

        parse_n(&p, repeated(&b, cases[i].head, cases[i].unit, cases[i].n, cases[i].tail));
        if (p.rc != 0)
            print_message("%zu: %s\n", i, err_text(&p.err));
        CHECK_INT(p.rc, 0);
        free(text_of(p.ast.root, promql_print));
        free(text_of(p.ast.root, promql_pretty));
        free(text_of(p.ast.root, promql_print_json));
        CHECK_INT(promql_resolve(&p.ast, 0, 0, 1000, NULL), 0);
        parsed_fini(&p);
        buf_fini(&b);
    }
}

TEST(an_arena_that_is_too_small_is_an_error_and_leaks_nothing)
{
    static const char query[] = "sum by (a, b) (rate(foo{a=\"b\\n\",c=~\"d.*\"}[5m] offset (1m + 2m))) + on (x) bar{e!~\"f.\"}";
    int rc = RC_NOMEM;

    for (size_t budget = 0; rc != 0; budget += 128) {
        struct promql_ast ast;
        struct arena a;

        CHECK(budget < 1 << 20);
        arena_init(&a, budget);
        rc = promql_parse(str_of(query), NULL, &a, &ast, NULL);
        CHECK(rc == 0 || rc == RC_NOMEM);
        if (rc == 0)
            promql_ast_fini(&ast);
        arena_fini(&a);
    }
}

/* --- switches --- */

TEST(experimental_syntax_can_be_switched_off)
{
    static const struct {
        const char *query, *want;
    } cases[] = {
        {"a[1m + 1m]", "1:3: parse error: experimental duration expression is not enabled"},
        {"a offset step()", "1:10: parse error: experimental duration expression is not enabled"},
        {"a offset -(1m)", NULL},
        {"a offset (1m)", "1:11: parse error: experimental duration expression is not enabled"},
        {"a anchored", "1:1: parse error: anchored modifier is experimental and not enabled"},
        {"a[5m] smoothed", "1:1: parse error: smoothed modifier is experimental and not enabled"},
        {"a + fill (0) b", "1:1: parse error: binop fill modifiers are experimental and not enabled"},
        {"info(a)", "1:1: parse error: function \"info\" is not enabled"},
        {"limitk(1, a)",
         "1:1: parse error: limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions"},
        {"first_over_time(a[5m])", NULL},
    };
    static const struct promql_parse_opt none = {0};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct promql_ast ast = {0};
        struct arena a;
        struct err err = {0};

        arena_init(&a, 1 << 20);
        CHECK_INT(promql_parse(str_of(cases[i].query), &none, &a, &ast, &err), cases[i].want ? RC_INVALID : 0);
        if (cases[i].want)
            CHECK_STR(err_text(&err), cases[i].want);
        promql_ast_fini(&ast);
        arena_fini(&a);
    }
}

/* --- selectors alone --- */

TEST(a_selector_alone_takes_nothing_else)
{
    static const struct {
        const char *query, *want;
    } cases[] = {
        {"up", NULL},
        {"{}", NULL}, /* whether that is allowed, the caller knows */
        {"sum{a=\"b\"}", NULL},
        {"{\"my.metric\",c=~\"d.*\"}", NULL},
        {"up[5m]", "1:3: parse error: unexpected \"[\""},
        {"up offset 5m", "1:4: parse error: unexpected <offset>"},
        {"sum(up)", "1:4: parse error: unexpected \"(\""},
        {"1", "1:1: parse error: unexpected number \"1\""},
        {"", "unknown position: parse error: unexpected end of input"},
        {"up{a=\"b\"", "1:9: parse error: unexpected end of input inside braces"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct promql_ast ast = {0};
        struct arena a;
        struct err err = {0};

        arena_init(&a, 1 << 20);
        CHECK_INT(promql_parse_selector(str_of(cases[i].query), &a, &ast, &err), cases[i].want ? RC_INVALID : 0);
        if (cases[i].want)
            CHECK_STR(err_text(&err), cases[i].want);
        else
            CHECK(ast.selector_count == 1 && ast.root == ast.selectors[0]);
        promql_ast_fini(&ast);
        arena_fini(&a);
    }
}

TEST(selectors_are_listed_in_text_order_with_the_name_as_last_matcher)
{
    struct parsed p;

    parse_n(&p, STR("sum(a{x=\"1\"}) + rate(b[5m]) * max_over_time(c[5m:1m]) - 3"));
    CHECK_INT(p.rc, 0);
    CHECK_INT(p.ast.selector_count, 3);
    for (size_t i = 0; i < 3; i++) {
        const struct node *n = p.ast.selectors[i];
        const struct matcher *last = &n->selector.matchers[n->selector.matcher_count - 1];

        CHECK(n->selector.name.n == 1 && n->selector.name.p[0] == (char)('a' + i));
        CHECK(str_eqz(last->name, "__name__") && str_eq(last->value, n->selector.name) && last->type == MATCH_EQ);
    }
    CHECK_INT(p.ast.selectors[0]->selector.matcher_count, 2);
    CHECK_INT(p.ast.selectors[0]->selector.range_ms, -1);
    CHECK_INT(p.ast.selectors[1]->selector.range_ms, 300000);
    CHECK_INT(p.ast.root->height, 6);
    parsed_fini(&p);
}

/* --- start, end, step --- */

TEST(durations_and_moments_follow_start_end_and_step)
{
    static const struct {
        const char *query;
        int64_t range_ms, offset_ms, at_ms;
        const char *want; /* error, or NULL */
    } cases[] = {
        {"a[5m] offset 1m @ 5", 300000, 60000, 5000, NULL},
        {"a[step()]", 15000, 0, 0, NULL},
        {"a[range()] @ start()", 50000, 0, 10000, NULL},
        {"a offset -step() @ end()", -1, -15000, 60000, NULL},
        {"a[1m + 2 * 3s ^ 2]", 78000, 0, 0, NULL},
        {"a[min_of(step(), 1m) + max_of(1, 2)]", 17000, 0, 0, NULL},
        {"a offset (7 % 4 - 1.5)", -1, 1500, 0, NULL},
        {"a offset (1 / 3)", -1, 333, 0, NULL},
        {"a[step() - 15s]", 0, 0, 0, "2:14: duration must be greater than 0"},
        {"a[1m - 2m]", 0, 0, 0, "2:9: duration must be greater than 0"},
        {"a[1m / (1m - 60)]", 0, 0, 0, "2:15: division by zero"},
        {"a[1m % (1m - 60)]", 0, 0, 0, "2:15: modulo by zero"},
        {"a[-1 ^ 0.5]", 0, 0, 0, "2:10: duration must be greater than 0"},
        {"a[(0 - 1) ^ 0.5]", 0, 0, 0, "3:15: duration is NaN or infinite"},
        {"a[1e9 ^ 99]", 0, 0, 0, "2:10: duration is NaN or infinite"},
        {"a[1e9 * 1000]", 0, 0, 0, "2:12: duration is out of range"},
        {"a offset (0 - 1e9 * 1000)", 0, 0, 0, "10:24: duration is out of range"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct parsed p;
        const struct node *n;

        parse_n(&p, str_of(cases[i].query));
        CHECK_INT(p.rc, 0);
        n = p.ast.selectors[0];
        CHECK_INT(promql_resolve(&p.ast, 10000, 60000, 15000, &p.err), cases[i].want ? RC_INVALID : 0);
        if (cases[i].want) {
            CHECK_STR(err_text(&p.err), cases[i].want);
        } else {
            CHECK(n->selector.range_ms == cases[i].range_ms);
            CHECK(n->selector.offset_ms == cases[i].offset_ms);
            CHECK(n->selector.at_ms == cases[i].at_ms);
        }
        parsed_fini(&p);
    }
}

TEST(subqueries_resolve_range_step_and_offset)
{
    struct parsed p;

    parse_n(&p, STR("max_over_time(a[0s + range():step() * 2] offset (step() + 1s) @ start())"));
    CHECK_INT(p.rc, 0);
    CHECK_INT(promql_resolve(&p.ast, 10000, 60000, 15000, NULL), 0);
    CHECK(p.ast.root->call.args[0]->subquery.range_ms == 50000);
    CHECK(p.ast.root->call.args[0]->subquery.step_ms == 30000);
    CHECK(p.ast.root->call.args[0]->subquery.offset_ms == 16000);
    CHECK(p.ast.root->call.args[0]->subquery.at_ms == 10000);
    CHECK_INT(promql_resolve(&p.ast, 0, 0, 0, NULL), RC_INVALID); /* an instant query has no step and no range */
    parsed_fini(&p);
}

/* --- functions --- */

TEST(functions_are_found_by_name_and_by_id)
{
    for (int id = 0; id < FN_COUNT; id++) {
        const struct function *fn = function_get((enum function_id)id);

        CHECK(fn->id == (enum function_id)id);
        CHECK(function_find(str_of(fn->name)) == fn);
        CHECK(id == 0 || strcmp(function_get((enum function_id)(id - 1))->name, fn->name) < 0);
    }
    CHECK(function_find(STR("rat")) == NULL);
    CHECK(function_find(STR("Rate")) == NULL);
    CHECK(function_find(STR("")) == NULL);
}
