#include "promql/retention.h"
#include "tests/test.h"

struct seen {
    size_t n;
    int64_t period_ms;
    uint64_t key;
    bool matches;
};

static int look(void *arg, const struct matcher *m, size_t n, int64_t period_ms, uint64_t key, UNUSED struct err *err)
{
    struct seen *s = arg;

    s->n++;
    s->period_ms = period_ms;
    s->key ^= key;
    s->matches = n > 0 && matcher_matches(&m[0], STR("dev:1"));
    return 0;
}

TEST(rules_are_a_selector_and_a_period)
{
    static const struct {
        const char *rule;
        int64_t period_ms;
        const char *error; /* NULL: fine */
    } cases[] = {
        {"{env=\"dev:1\"}:7d", 7 * 86400000LL, NULL},
        {"{env=~\"dev:.*\",x!=\"\"}:1h30m", 5400000, NULL},
        {"debug_total{env=\"dev:1\"}:1d", 86400000, NULL},
        {"{env=\"dev\"}", 0, "\"{env=\\\"dev\\\"}\""},
        {"{env=\"dev\"}:", 0, "retention_rules"},
        {"{env=\"dev\"}:soon", 0, "retention_rules"},
        {"{env=\"dev\"}:59m", 0, "less than 1h"},
        {"{env=}:1d", 0, "parse error"},
        {"rate(x[5m]):1d", 0, "parse error"},
        {":1d", 0, "retention_rules"},
        {"{env=~\"(\"}:1d", 0, "parse error"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct limits l = {.retention_rules = {(char *[]){(char *)cases[i].rule}, 1}};
        struct seen s = {0};
        struct err err = {0};
        int rc = retention_limits_check(&l, &err);

        if (rc != (cases[i].error ? RC_INVALID : 0))
            fail_msg("%s: %d %s", cases[i].rule, rc, rc ? err_text(&err) : "");
        if (cases[i].error) {
            CHECK(strstr(err_text(&err), "retention_rules"));
            CHECK(retention_rules_each(&l.retention_rules, look, &s, NULL) == RC_INVALID && s.n == 0);
            continue;
        }
        CHECK(retention_rules_each(&l.retention_rules, look, &s, &err) == 0);
        CHECK(s.n == 1 && s.period_ms == cases[i].period_ms && s.key != 0);
    }
}

TEST(equal_rules_have_equal_keys)
{
    struct opt_list two = {(char *[]){"{a=\"1\"}:1d", "{a=\"1\"}:1d"}, 2}, other = {(char *[]){"{a=\"1\"}:1d", "{a=\"1\"}:2d"}, 2};
    struct seen s = {0};

    CHECK(retention_rules_each(&two, look, &s, NULL) == 0 && s.n == 2 && s.key == 0);
    CHECK(retention_rules_each(&other, look, &s, NULL) == 0 && s.n == 4 && s.key != 0);
}
