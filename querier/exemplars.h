/* exemplars.h - exemplars of the series that selectors match, from the ingesters (blocks hold
 * none). The owners that a read of samples needs are asked; exemplars are no part of a write's
 * quorum, so one that a single owner has may be missed. Memory: everything in the arena given. */
#pragma once
#include "promql/ast.h"
#include "querier/source.h"

struct found_exemplar {
    struct labels series, labels;
    int64_t t;
    double v;
};
struct found_exemplars {
    struct found_exemplar *v; /* by series, then time; each once */
    size_t n, cap;
};
/* Of all tenants of s; mint <= t <= maxt. */
int lookup_exemplars(struct source *s, const struct promql_ast *ast, int64_t mint_ms,
                     int64_t maxt_ms, struct arena *a, struct found_exemplars *ret,
                     struct err *err);
