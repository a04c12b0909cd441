/* retention.h - rules of retention per selector, as a tenant's limits list them: SELECTOR:PERIOD, for example {env="dev"}:7d. Samples of a series that are older than
 * the period of any rule that matches it, or than retention_period, are hidden and then removed. */
#pragma once
#include "common/config/limits.h"
#include "common/model/matcher.h"

enum { RETENTION_RULES_MAX = 100 };
#define RETENTION_RULE_MIN_MS (3600 * 1000LL)

/* Calls fn for each rule; a negative return stops and is passed on. key: equal for equal texts, never 0. Matchers are borrowed until fn returns. Errors of a rule name it. */
typedef int retention_rule_fn(void *arg, const struct matcher *m, size_t n, int64_t period_ms, uint64_t key, struct err *err);
int retention_rules_each(const struct opt_list *rules, retention_rule_fn *fn, void *arg, struct err *err);
/* RC_INVALID names the rule and what is wrong with it (overrides_deps.check). */
int retention_limits_check(const struct limits *l, struct err *err);
