/* eval.h - inside of the engine: what the eval_*.c files share. No other room includes it.
 *
 * An expression over vectors becomes a *stream* of rows; a row is one series with an array of
 * points, one place per step. Rows are pulled one by one, so that sum(rate(x[5m])) holds one
 * decoded series and the groups, nothing else. Operators that must see all rows (vector matching,
 * topk, classic histograms) gather them into a matrix first. Scalars are arrays over the steps. A
 * row belongs to whoever pulled it until the next pull on the same stream; he may change it in
 * place. Memory: what outlives a row is in the query's arena; what one row needs (its histograms)
 * is in the arena the row names, which the leaf below resets at the next pull. Errors: functions
 * return rc and have filled query->err. */
#pragma once
#include "promql/engine.h"
#include "promql/fhist.h"
#include "promql/functions.h"
#include "promql/kahan.h"
#include "promql/plan.h"

#include <math.h>

enum {
    POLL_SAMPLES = 4096,       /* samples between two looks at the cancel flag and the clock */
    EVAL_STEPS_MAX = 10000000, /* steps of one evaluation, subqueries included */
    EVAL_DEPTH_MAX = 2 * PROMQL_DEPTH_MAX,
    SAMPLES_MAX_DEFAULT = 50000000,
    LOOKBACK_MS_DEFAULT = 300000,
    SUBQUERY_STEP_MS_DEFAULT = 60000,
};

enum point_kind { POINT_NONE, POINT_FLOAT, POINT_HIST };

struct point {
    uint8_t kind;
    double v;
    const struct histogram *h;
};

struct row {
    struct labels labels;
    bool drop_name; /* delayed name removal: the name goes at the end of the query */
    bool count; /* of a part of an average: number of values behind the row with the same labels */
    bool stable; /* arrays and histograms live in the query's arena and belong to this row alone */
    uint8_t *kind; /* enum point_kind per step */
    double *v;
    const struct histogram **h; /* NULL when no point is a histogram */
    struct arena *scratch;      /* for what lives as long as this row */
};

struct matrix {
    struct row *rows;
    size_t n, cap;
    size_t held; /* samples charged to the query */
};

struct annotation;
struct annotations {
    struct annotation *list, **tail;
    size_t count;
};

/* An arena beside the query's, for what is short-lived; freed with the query at the latest. What it
 * holds from row to row is charged to the query's budget. */
struct scratch {
    struct arena arena;
    size_t charged;
    struct scratch *next;
};
struct open_cursor {
    struct series_cursor *c;
    struct open_cursor *next;
};

/* What an expression above needs of native histograms. */
enum hist_scope {
    HIST_ALL,   /* nothing known */
    HIST_STATS, /* below histogram_count, _sum, _avg: only those, and whether the counter was reset
                 */
    HIST_WHOLE, /* below something that needs buckets, whatever else is said */
};

struct query {
    const struct query_opt *opt;
    struct series_source *src;
    struct arena *arena;
    struct err *err;
    struct annotations annotations;
    struct query_stats *stats;
    struct open_cursor *cursors; /* open until the query ends: labels are borrowed from them */
    struct scratch *scratches;
    struct ahead *aheads; /* whose threads end before the cursors go */
    struct buf key; /* scratch for label keys */
    size_t samples_max, held;
    uint64_t processed_max, read_max; /* UINT64_MAX: none */
    int64_t lookback_ms;
    size_t poll_left;
    size_t series;
    int depth;
    const struct node *above;   /* the call, aggregation or operator around the node being opened */
    struct label_names keep;    /* labels that an aggregation above it needs; v NULL: all */
    enum hist_scope hist_scope; /* at the node being opened */
    struct trace_node *trace;   /* of the node being opened */
    struct common *commons;     /* eval_common.c */
    const struct node *part;    /* query_opt.partial: the root; else NULL */
};
/* Enters a scope for the nodes below; returns the one to go back to. */
static inline enum hist_scope query_hist_scope(struct query *q, enum hist_scope scope)
{
    enum hist_scope old = q->hist_scope;

    if (old != HIST_WHOLE)
        q->hist_scope = scope;
    return old;
}

/* One evaluation over evenly spaced steps: the query itself, or the inside of a subquery. */
struct ev {
    struct query *q;
    int64_t start, end, step; /* step > 0 */
    size_t steps;
    bool count;             /* samples count for the statistics */
    const struct ev *outer; /* of a subquery; NULL at the top */
};
static inline int64_t ev_time(const struct ev *ev, size_t i)
{
    return ev->start + (int64_t)i * ev->step;
}

struct stream;
struct stream_ops {
    int (*next)(struct stream *s, struct row *ret); /* 1: a row; 0: no more; < 0: rc */
    void (*free)(struct stream *s); /* what is not in the query's arena; may be NULL */
};
struct stream {
    const struct stream_ops *ops;
    struct ev *ev;
};
static inline int stream_next(struct stream *s, struct row *ret)
{
    return s->ops->next(s, ret);
}
static inline void stream_free(struct stream *s)
{
    if (s && s->ops->free)
        s->ops->free(s);
}

/* --- query.c: limits, labels, rows, matrices --- */
int query_nomem(struct query *q);
int query_fail(struct query *q, const char *fmt, ...) PRINTF(2, 3); /* RC_EXECUTION */
int query_processed(struct query *q); /* RC_EXECUTION once more samples were processed or read than may be */
int query_poll_slow(struct query *q);
/* Call with the number of samples touched; looks at the clock now and then. */
static inline int query_poll(struct query *q, size_t samples)
{
    if (LIKELY(samples < q->poll_left)) {
        q->poll_left -= samples;
        return 0;
    }
    return query_poll_slow(q);
}
int query_scratch(struct query *q, struct arena **ret);
int query_scratch_settle(struct query *q, struct arena *scratch, size_t used); /* once per row; used: scratch->used, as its thread says */
void query_scratch_free(struct query *q, struct arena *scratch);  /* again is fine */
/* Samples held in memory; refuses to pass the limit. */
int query_hold(struct query *q, size_t samples);
void query_unhold(struct query *q, size_t samples);
/* Momentary peak above what is held (a window of one series). */
int query_peak(struct query *q, size_t samples);
size_t hist_samples(const struct histogram *h); /* what a histogram counts as */
static inline size_t point_samples(const struct point *p)
{
    return p->kind == POINT_HIST ? hist_samples(p->h) : p->kind;
}
void ev_count_step(struct ev *ev, size_t step, uint64_t total, uint64_t read);
static inline void ev_count(struct ev *ev, size_t step, uint64_t total, uint64_t read)
{
    struct query_stats *st = ev->q->stats;

    if (!ev->count)
        return;
    st->samples_total += total;
    st->samples_read += read;
    if (UNLIKELY(st->samples_total > ev->q->processed_max || st->samples_read > ev->q->read_max))
        ev->q->poll_left = 0; /* the next poll ends the query */
    if (st->per_step)
        ev_count_step(ev, step, total, read);
}

/* Arrays of one row for ev->steps, cleared. */
int row_init(struct ev *ev, struct row *row, bool with_hist);
int row_need_hist(struct ev *ev, struct row *row);
void row_clear(const struct ev *ev, struct row *row);
static inline struct point row_get(const struct row *r, size_t i)
{
    return (struct point){r->kind[i], r->v[i], r->kind[i] == POINT_HIST ? r->h[i] : NULL};
}
/* p->kind HIST needs row_need_hist() before. */
static inline void row_set(struct row *r, size_t i, const struct point *p)
{
    r->kind[i] = p->kind;
    r->v[i] = p->v;
    if (r->h)
        r->h[i] = p->h;
}
bool row_empty(const struct ev *ev, const struct row *r);
size_t row_points(const struct ev *ev, const struct row *r);
/* The series leaves the meaning of its name behind: marks or strips __name__, __type__, __unit__.
 */
int row_drop_name(struct ev *ev, struct row *r);

/* Appends; the row is copied into the arena unless it is stable. */
int matrix_add(struct ev *ev, struct matrix *m, const struct row *r);
int matrix_gather(struct ev *ev, struct stream *s, struct matrix *m); /* frees s */
void matrix_release(struct query *q, struct matrix *m);
/* Unites rows with equal labels; two points at one step are the error "vector cannot contain
 * metrics with the same labelset". */
int matrix_merge(struct ev *ev, struct matrix *m);
/* As an operator's result must be: ranges are merged always, instants only without delayed name
 * removal. */
int matrix_merge_result(struct ev *ev, struct matrix *m);
/* Rows in order; takes m's content. */
int stream_of_matrix(struct ev *ev, struct matrix *m, struct stream **ret);

/* A map from keys (label hashes under the process's secret) to numbers. */
struct keymap {
    struct keymap_slot *slots;
    size_t n, cap;
};
/* *ret_at: where the number stands; *ret_new says whether it was added (with 0). */
int keymap_put(struct query *q, struct keymap *m, struct u128 key, size_t **ret_at, bool *ret_new);

/* Keys of label sets; names sorted where given. */
struct u128 labels_key(struct query *q, const struct labels *ls);
struct u128 labels_key_of(struct query *q, const struct labels *ls, const struct str *names,
                          size_t n, bool on, bool name_too);
/* on: keeps names; else drops them. Shares strings. v NULL: no memory (and err is set). */
int labels_pick(struct query *q, const struct labels *ls, const struct str *names, size_t n,
                bool on, struct labels *ret);
int labels_drop_meta(struct query *q, const struct labels *ls, struct labels *ret);
/* Copy with name set to value (empty: removed). Shares strings. */
int labels_with(struct query *q, const struct labels *ls, struct str name, struct str value,
                struct labels *ret);
bool label_is_meta(struct str name); /* __name__, __type__, __unit__ */
bool name_in(const struct str *names, size_t n, struct str name);
struct str metric_name(const struct labels *ls);
void labels_print_braces(struct buf *out, const struct labels *ls); /* {__name__="x", a="b"} */
const struct node *node_unwrap(const struct node *n);               /* without parentheses */

/* --- annotations.c --- */
void annotate(struct query *q, struct pos_range pos, const char *fmt, ...) PRINTF(3, 4);
/* " for metric name "N"" appended when name is not empty. fmt has no name. */
void annotate_for(struct query *q, struct pos_range pos, struct str name, const char *fmt, ...)
    PRINTF(4, 5);
/* fmt ends where the quoted name is to stand. */
void annotate_name(struct query *q, struct pos_range pos, const char *prefix, struct str name);
void annotate_monotonicity(struct query *q, struct pos_range pos, struct str name, int64_t t,
                           double min_bucket, double max_bucket, double max_diff);
/* A text that another evaluation of the same query has finished. */
void annotate_text(struct query *q, const char *text);
int annotations_finish(struct query *q, struct str text, struct query_result *ret);
/* Those with more than one caller. */
void annotate_mixed(struct query *q, struct pos_range pos, struct str name);
void annotate_mixed_schemas(struct query *q, struct pos_range pos, struct str name);
void annotate_ignored_in_range(struct query *q, struct pos_range pos, struct str name);
void annotate_quantile(struct query *q, struct pos_range pos, double got);
void annotate_ratio(struct query *q, struct pos_range pos, double got, double to);
void print_g(struct buf *b, double v); /* as %g of Go */
enum hist_op { HIST_OP_ADD, HIST_OP_SUB, HIST_OP_AGG };
void annotate_reconciled(struct query *q, struct pos_range pos, enum hist_op op);
void annotate_collision(struct query *q, struct pos_range pos, enum hist_op op);

/* --- engine.c --- */
int eval_stream(struct ev *ev, const struct node *n,
                struct stream **ret); /* VALUE_VECTOR, VALUE_SCALAR (one row) */
int eval_scalar(struct ev *ev, const struct node *n, double **ret); /* array of ev->steps */
int eval_matrix(struct ev *ev, const struct node *n, struct matrix *ret);
struct str eval_string(const struct node *n);

/* --- eval_trace.c --- */
/* Opens n with open, as a step of the trace: its duration is the time spent in it and below, of opening and of pulling all rows. */
int eval_traced(struct ev *ev, const struct node *n, int (*open)(struct ev *ev, const struct node *n, struct stream **ret),
                struct stream **ret);

/* --- eval_common.c --- */
/* Notes which aggregations stand in the query more than once. */
int commons_find(struct query *q, const struct node *root);
/* Opens an aggregation with open, or gives what an equal one has given. */
int eval_common(struct ev *ev, const struct node *n, int (*open)(struct ev *ev, const struct node *n, struct stream **ret), struct stream **ret);

/* --- eval_remote.c --- */
/* 1: *ret is the aggregation, folded from the parts that query_opt.remote gave; 0: evaluate it here. */
int eval_remote(struct ev *ev, const struct node *n, struct stream **ret);

/* --- eval_selector.c --- */
enum selector_value { SELECT_VALUE, SELECT_TIMESTAMP, SELECT_START_TIMESTAMP, SELECT_TIME_MS };
/* The time a selector or subquery looks at, for step time t: @ and offset applied. */
enum {
    TIME_BITS = 61
}; /* times and offsets stay below 2^61 ms either way, so that a few of them add up without overflow
    */
static inline int64_t time_clamp(int64_t t)
{
    const int64_t most = (int64_t)1 << TIME_BITS;

    return t > most ? most : t < -most ? -most : t;
}
static inline int64_t ref_time(enum at_kind at, int64_t at_ms, int64_t offset_ms, int64_t t)
{
    return time_clamp(at == AT_NONE ? t : at_ms) - time_clamp(offset_ms);
}
int eval_selector(struct ev *ev, const struct node *n, enum selector_value what,
                  struct stream **ret);
/* As eval_selector, with other matchers and a fixed reference. */
struct selector_ref {
    enum at_kind at;
    int64_t at_ms, offset_ms;
};
int eval_select(struct ev *ev, const struct matcher *m, size_t n, struct selector_ref ref,
                enum selector_value what, struct stream **ret);
/* Index of the first time that is not before t, from index i on: galloping, so that a walk over all
 * steps is linear. */
size_t seek_time(const int64_t *times, size_t n, size_t i, int64_t t);
/* Replaces histograms by their count, sum and reset hint; a hint that is not known is found by
 * comparing with the one before. Integer histograms become float. */
int columns_to_stats(struct query *q, struct arena *a, struct columns *c);
/* What the source may know about the use of the series: the function or aggregation directly above.
 */
void hints_above(const struct query *q, struct select_hints *h);
int select_open(struct query *q, const struct matcher *m, size_t n,
                const struct select_hints *hints, struct series_cursor **ret);

/* --- ahead.c: rows of many series by several threads, while the process has some to spare (query_opt.helpers) --- */
enum { AHEAD_THREADS_MAX = 8 };
struct ahead_row {
    bool ready; /* false: not a plain series: whoever pulls computes it as usual */
    bool any, floats;
    uint8_t *kind; /* floats only */
    double *v;
    size_t total, fresh, most; /* samples: for ev_count, query_peak */
};
/* On any of the threads: fills kind and v for all steps and the rest as it applies; false: not ready. Touches nothing that is shared, query included. */
struct ahead_lane {
    unsigned index;
    struct arena *scratch; /* of one row */
    struct plans plans;
};
typedef bool ahead_fn(void *arg, struct ahead_lane *lane, size_t i, struct ahead_row *ret);
struct ahead;
/* *ret NULL: not worth it, or no threads. arg: borrowed. */
int ahead_open(struct query *q, const struct plan_spec *spec, size_t count, ahead_fn *fill, void *arg, struct ahead **ret);
/* Row of series i, which never decreases; borrowed until the next call. */
int ahead_row(struct ahead *a, size_t i, const struct ahead_row **ret);
void ahead_stop(struct ahead *a); /* gives the threads back; NULL and again are fine */
void aheads_close(struct query *q);

/* --- eval_range.c: series windows for functions over ranges --- */
/* Raw samples of a series, split by type; stale markers are gone. */
struct samples {
    struct labels labels;
    bool drop_name;
    size_t nf, nh;
    const int64_t *ft, *fst; /* fst, hst: start timestamps or NULL */
    const double *fv;
    const int64_t *ht, *hst;
    const struct histogram *const *hh;
    bool falls; /* some float is below the one before: the series may have a counter reset */
};
/* What a window function sees at one step. */
struct window {
    const struct samples *s;
    size_t f0, f1, h0, h1;  /* [f0, f1) floats, [h0, h1) histograms */
    int64_t ts, start, end; /* step time; window (start, end] */
    double range_s;
    const double *args; /* scalar arguments at this step */
};
struct range_call {
    struct query *q;
    const struct function *fn;
    const struct node *call;
    struct pos_range pos;          /* of the argument, for annotations */
    bool anchored, smoothed;
    struct arena *scratch;
    double *sort;             /* room for all values of the series at hand */
    size_t sorted0, sorted1;  /* sort holds the values of [sorted0, sorted1), sorted; empty: nothing */
};
typedef int window_fn(struct range_call *c, const struct window *w, struct point *ret);
int eval_range_call(struct ev *ev, const struct node *call, struct stream **ret);
int eval_range_matrix(struct ev *ev, const struct node *n,
                      struct query_result *ret); /* a bare range selector or subquery */
window_fn window_rate, window_instant, window_over_time, window_aggregate, window_quantile,
    window_changes, window_resets, window_smoothing, window_regression;
struct ahead_row;
/* All steps of a plain series at once: floats, no start timestamps, no stale markers. false: no memory. */
bool window_rate_steps(struct range_call *c, const struct samples *s, struct plans *plans, struct plan *p, struct ahead_row *ret);
/* false: not one of those that have loops of their own. */
bool window_over_steps(const struct range_call *c, const struct samples *s, const struct plan *p, size_t steps, struct ahead_row *ret);
/* anchored or smoothed without a function: the window cut to its bounds, with the values there. */
int window_extend(struct range_call *c, struct window *w, struct samples *ret, size_t *ret_samples);
/* RC_NOMEM of the histogram functions gets its words. */
static inline int hist_rc(struct query *q, int rc)
{
    return rc == RC_NOMEM ? query_nomem(q) : rc;
}

/* h1 at t1, h2 at t2, linear at t; a counter that was reset starts from zero. RC_EXECUTION: schemas
 * do not mix. */
int hist_interpolate(struct query *q, struct arena *a, const struct histogram *h1, int64_t t1,
                     const struct histogram *h2, int64_t t2, int64_t t, bool counter,
                     struct pos_range pos, struct histogram **ret);

/* --- numbers.c --- */
/* window_over.c: the mean as Prometheus computes it; n > 0 */
double avg_floats(const double *v, size_t n);
double quantile_sorted(double q, const double *v, size_t n);
/* Order of values as integers: NaN first, -0 before 0; different bits never compare equal. */
uint64_t value_order(double v);
void sort_values(double *v, size_t n);
/* Into and out of n sorted values; one more has room, or is there. */
void sorted_add(double *v, size_t n, double x);
void sorted_remove(double *v, size_t n, double x);

/* --- the rest --- */
int eval_func(struct ev *ev, const struct node *n, struct stream **ret);
int eval_func_scalar(struct ev *ev, const struct node *n, double *out);
int eval_label_replace(struct ev *ev, const struct node *n, struct stream **ret);
int eval_label_join(struct ev *ev, const struct node *n, struct stream **ret);
int eval_sort(struct ev *ev, const struct node *n, struct stream **ret);
int eval_absent(struct ev *ev, const struct node *n, struct stream **ret);
int eval_absent_over_time(struct ev *ev, const struct node *n, struct stream **ret);
int eval_hist_classic(struct ev *ev, const struct node *n, struct stream **ret);
int eval_info(struct ev *ev, const struct node *n, struct stream **ret);
int eval_aggregate(struct ev *ev, const struct node *n, struct stream **ret);
int eval_aggregate_k(struct ev *ev, const struct node *n, struct stream **ret);
/* From what parts gave: 1; 0: it has to be evaluated at once (an average whose sum is not finite). counts: of averages. Takes both. */
int eval_aggregate_parts(struct ev *ev, const struct node *n, struct matrix *rows, struct matrix *counts, struct stream **ret);
int eval_aggregate_k_rows(struct ev *ev, const struct node *n, struct matrix *m, struct stream **ret);
/* The labels of the group a series falls into. */
int agg_group_labels(struct ev *ev, const struct node *n, const struct labels *ls,
                     struct labels *ret);
int eval_count_values(struct ev *ev, const struct node *n, struct stream **ret);
int eval_binary(struct ev *ev, const struct node *n, struct stream **ret);
int eval_match(struct ev *ev, const struct node *n, struct stream **ret);
int eval_set(struct ev *ev, const struct node *n, struct stream **ret);
/* Join keys of both operands: rows of one key stand together. */
struct match_groups {
    size_t n;
    struct match_group {
        size_t *l, *r; /* row indices */
        size_t ln, rn;
    } * v;
};
int match_group_rows(struct ev *ev, const struct node *n, const struct matrix *l,
                     const struct matrix *r, struct match_groups *ret);
double scalar_binop(enum binop op, double l, double r);
/* 0 and *ret_keep; comparisons keep l. */
int point_binop(struct ev *ev, const struct node *n, const struct point *l, const struct point *r,
                struct arena *a, struct point *ret, bool *ret_keep);
bool binop_compares(enum binop op);
bool binop_changes_schema(enum binop op);
double date_part(enum function_id fn, int64_t unix_s);
/* Makes a stream that passes each row of in through fn; fn returns 1 to keep the row, 0 to drop it,
 * < 0 to fail. */
typedef int row_fn(struct ev *ev, struct row *r, void *arg);
int stream_map(struct ev *ev, struct stream *in, row_fn *fn, void *arg, struct stream **ret);
