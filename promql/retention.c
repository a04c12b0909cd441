#include "promql/retention.h"

#include "common/base/hash.h"
#include "common/model/duration.h"
#include "promql/ast.h"

enum { RULE_ARENA_BYTES_MAX = 1 << 20 };

static int bad_rule(struct str text, const struct err *why, struct err *err)
{
    struct err cause = *why;

    return err_set(err, RC_INVALID, "retention_rules: \"%.*s\": %s", (int)MIN(text.n, (size_t)200), text.p, err_text(&cause));
}

static int rule_period(struct str text, size_t *ret_selector, int64_t *ret_ms, struct err *err)
{
    size_t colon = text.n;
    int rc;

    while (colon > 0 && text.p[colon - 1] != ':')
        colon--;
    if (colon == 0)
        return err_set(err, RC_INVALID, "SELECTOR:PERIOD expected, as {env=\"dev\"}:7d");
    rc = duration_parse_ms(str_skip(text, colon), ret_ms, err);
    if (rc == 0 && *ret_ms < RETENTION_RULE_MIN_MS)
        rc = err_set(err, RC_INVALID, "a period of less than 1h");
    *ret_selector = colon - 1;
    return rc;
}

static int rule_run(struct str text, retention_rule_fn *fn, void *arg, struct err *err)
{
    struct promql_ast ast;
    struct arena a;
    struct err why;
    int64_t period = 0;
    size_t selector = 0;
    int rc = rule_period(text, &selector, &period, &why);

    arena_init(&a, RULE_ARENA_BYTES_MAX);
    if (rc == 0)
        rc = promql_parse_selector(str_sub(text, 0, selector), &a, &ast, &why);
    if (rc < 0) {
        rc = bad_rule(text, &why, err);
    } else {
        rc = fn ? fn(arg, ast.root->selector.matchers, ast.root->selector.matcher_count, period, hash64(text.p, text.n, 0) >> 1 | 1, err) : 0;
        promql_ast_fini(&ast);
    }
    arena_fini(&a);
    return rc;
}

int retention_rules_each(const struct opt_list *rules, retention_rule_fn *fn, void *arg, struct err *err)
{
    int rc = 0;

    if (rules->n > RETENTION_RULES_MAX)
        return err_set(err, RC_INVALID, "retention_rules: %zu rules, at most %d", rules->n, RETENTION_RULES_MAX);
    for (size_t i = 0; rc == 0 && i < rules->n; i++)
        rc = rule_run(str_of(rules->v[i]), fn, arg, err);
    return rc;
}

int retention_limits_check(const struct limits *l, struct err *err)
{
    return retention_rules_each(&l->retention_rules, NULL, NULL, err);
}
