/* engine.h - evaluates a parsed query over a series source.
 * Series-at-a-time: per selector, each series is decoded once into columns and evaluated for all steps as arrays; aggregations fold series into
 * groups, so that memory follows the groups. All memory of a query comes from one arena with a byte budget: over budget is
 * that query's error (RC_EXECUTION, "query processing would load too many ...").
 * Threads: an engine is immutable and shared; a run belongs to one thread, which may take helpers for decoding and evaluating series. Results do not
 * depend on them: rows are folded in the order of the series. */
#pragma once
#include "common/obs/trace.h"
#include "promql/ast.h"
#include "promql/source.h"

#include <stdatomic.h>

enum { ANNOTATIONS_MAX = 10 };

struct query_result;
/* Evaluates an aggregation in parts, each over some of the series, elsewhere. 1: *ret has what all parts gave (query_opt.partial), over the steps of the query (an
 * instant query has one), in the arena; of an aggregation that depends on the order of series (promql_part_keeps_series), in the order of the source. 0: not taken, it is evaluated
 * here. The parts are folded here. Notes of ret become notes of the query, its statistics are added. */
struct query_remote {
    int (*eval)(void *arg, const struct node *n, struct arena *arena, struct query_result *ret, struct err *err);
    void *arg;
};

struct query_opt {
    int64_t start_ms, end_ms, step_ms; /* instant: start == end, step 0 */
    int64_t lookback_ms;               /* default 5 min when 0 */
    int64_t subquery_step_ms;          /* default step of subqueries, 1 min when 0 */
    size_t samples_max;                /* samples held at a time; 0 = 50,000,000 */
    uint64_t read_max;                 /* samples read (query_stats.samples_read); more end the query with RC_EXECUTION; 0: none */
    const char *samples_rule;          /* named in errors about samples_max and read_max ("max_query_samples"); NULL: unnamed */
    size_t series_max;                 /* per query; 0: none */
    uint64_t processed_max;            /* samples processed (query_stats.samples_total); more end the query with RC_EXECUTION; 0: none */
    const char *processed_rule;        /* named in that error */
    bool stats_per_step;
    bool delayed_name_removal; /* usual: true; names of results go when the query ends, not at once */
    bool type_and_unit_labels; /* usual: false; rate() judges counters by __type__, not by name */
    const atomic_bool *cancel;         /* polled often; NULL: none */
    int64_t deadline_mono_ns;          /* 0: none */
    struct arena *arena;               /* results live here; owned by the caller */
    atomic_int *helpers;               /* threads that queries of this process may still take beside their own; NULL: none */
    const struct query_remote *remote; /* NULL: none */
    bool partial;                      /* the root is a part of an aggregation (promql_part): rows come as they are, for query_remote */
    struct trace_node *trace;          /* steps of the evaluation go below it; NULL: none */
};

struct result_sample {
    int64_t t;
    double v;
    const struct histogram *h; /* float histogram, or NULL when v counts */
};
struct result_series {
    struct labels labels;
    bool drop_name; /* of a partial result: the name is still there, and goes when the query ends */
    bool count;     /* of a partial average: how many values stand behind the sum with the same labels */
    size_t n;
    struct result_sample *s;
};
struct query_stats {
    uint64_t samples_total, samples_read, peak_samples; /* totalQueryableSamples, samplesRead, peakSamples */
    uint64_t *per_step, *per_step_read;                 /* step_count entries when asked for */
    size_t step_count;
    double seconds_prepare, seconds_eval, seconds_sort;
    uint64_t series;
};
struct query_result {
    enum value_type type;      /* instant: scalar, string, vector or matrix; range: always matrix */
    struct result_series *series; /* vector: one sample each; matrix; scalar: one series without labels, one sample */
    size_t series_count;
    struct str string;
    bool ordered;              /* sort*() or topk/bottomk gave a defined order (instant) */
    const char **warnings, **infos; /* full texts, unique, at most ANNOTATIONS_MAX each, with the "omitted" text as http-api.md says */
    size_t warning_count, info_count;
    struct query_stats stats;
};

/* Copies a sample with its histogram; false: out of memory. */
bool result_sample_dup(struct arena *a, const struct result_sample *from, struct result_sample *ret);
/* Copies warnings or infos; false: out of memory. */
bool query_texts_dup(struct arena *a, const char *const *from, size_t n, const char ***ret);
/* Results of consecutive parts of one range query (matrices in the order of their labels), as one: series are joined, statistics and notes added up.
 * Memory from the arena; strings and histograms are shared with the parts. RC_NOMEM. */
int query_results_join(const struct query_result *const *parts, size_t n, struct arena *a, struct query_result *ret, struct err *err);

/* ast is resolved in place (promql_resolve). Errors: RC_INVALID (400 bad_data), RC_EXECUTION (422), RC_TIMEOUT, RC_CANCELED, RC_NOMEM and RC_LIMIT
 * (422), and those of the source. */
int query_run(struct promql_ast *ast, struct series_source *src, const struct query_opt *opt, struct query_result *ret,
              struct err *err);
