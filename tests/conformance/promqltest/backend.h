/* backend.h - a store with an engine over it, as the runner sees it: series go in, query results
 * come out. */
#pragma once
#include "promql/engine.h"
#include "promql/fhist.h"

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
    /* Queries go as text, and histograms come as the HTTP API shows them: struct api_histogram. */
    bool api;
    int (*clear)(struct backend *b, struct err *err);
    /* One transaction; series in order, samples of each in time order. */
    int (*load)(struct backend *b, const struct load_series *series, size_t n, struct err *err);
    /* The query is parsed already (and, unless api, may have been changed: nodes count, not the
     * text). Results live in opt->arena. */
    int (*query)(struct backend *b, struct promql_ast *ast, struct str text,
                 const struct query_opt *opt, struct query_result *ret, struct err *err);
    void (*free)(struct backend *b);
};

/* A histogram without its layout: base has count and sum only. */
struct api_histogram {
    struct histogram base;
    struct fhist_bucket *buckets; /* populated ones, ascending; index is not known */
    size_t n;
};

struct backend_opt {
    const char *url;          /* of the cluster's distributor and querier */
    const char *query_url;    /* of another querier, that is asked; NULL: url */
    bool warm;                /* half of each range is asked for before all of it, which then comes partly out of a results cache */
    const char *const *flush; /* ingesters to be flushed after each load; NULL at the end */
};
/* NULL: an option is missing. */
struct backend *backend_memory_new(const struct backend_opt *opt); /* the engine over plain memory */
struct backend *backend_head_new(const struct backend_opt *opt);   /* the engine over heads */
struct backend *backend_cluster_new(const struct backend_opt *opt);
