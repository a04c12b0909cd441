/* backend.h - a store with an engine over it, as the runner sees it: series go in, query results
 * come out. */
#pragma once
#include "promql/engine.h"

struct load_sample {
    int64_t t, st;
    double v;
    const struct histogram *h; /* not NULL: a histogram (a stale one as the storage wants it) */
};
struct load_series {
    struct labels labels;
    struct load_sample *s;
    size_t n;
};

struct backend {
    const char *name;
    int (*clear)(struct backend *b, struct err *err);
    /* One transaction; series in order, samples of each in time order. */
    int (*load)(struct backend *b, const struct load_series *series, size_t n, struct err *err);
    /* The query is parsed already (and may have been changed: nodes count, not the text). Results
     * live in opt->arena. */
    int (*query)(struct backend *b, struct promql_ast *ast, const struct query_opt *opt,
                 struct query_result *ret, struct err *err);
    void (*free)(struct backend *b);
};

struct backend *backend_memory_new(void); /* the engine over plain memory */
struct backend *backend_head_new(void);   /* the engine over heads */
