/* eval_func.c - functions that look at one point, or at no point at all, and the table of who does
 * the others. */
#include "promql/eval.h"

/* --- scalars --- */
static int scalar_of_vector(struct ev *ev, const struct node *arg, double *out)
{
    uint8_t *seen = arena_zalloc(ev->q->arena, ev->steps);
    struct stream *in;
    struct row r;
    int rc;

    if (!seen)
        return query_nomem(ev->q);
    for (size_t i = 0; i < ev->steps; i++)
        out[i] = NAN;
    rc = eval_stream(ev, arg, &in);
    if (rc < 0)
        return rc;
    while ((rc = stream_next(in, &r)) > 0) {
        for (size_t i = 0; i < ev->steps; i++)
            if (r.kind[i] == POINT_FLOAT)
                out[i] = seen[i]++ ? NAN : r.v[i];
        /* Two say as much as 256 would. */
        for (size_t i = 0; i < ev->steps; i++)
            seen[i] = MIN(seen[i], 2);
    }
    stream_free(in);
    return rc;
}

/* As Go's math.Min and math.Max: NaN wins over numbers (not over the infinity that decides). */
static double go_min(double a, double b)
{
    if (a == -INFINITY || b == -INFINITY)
        return -INFINITY;
    if (isnan(a) || isnan(b))
        return NAN;
    if (a == 0 && b == 0)
        return signbit(a) ? a : b;
    return a < b ? a : b;
}

static double go_max(double a, double b)
{
    if (a == INFINITY || b == INFINITY)
        return INFINITY;
    if (isnan(a) || isnan(b))
        return NAN;
    if (a == 0 && b == 0)
        return signbit(a) ? b : a;
    return a > b ? a : b;
}

static int scalar_pick(struct ev *ev, const struct node *n, double *out)
{
    double *a, *b;
    int rc = eval_scalar(ev, n->call.args[0], &a);

    if (rc == 0)
        rc = eval_scalar(ev, n->call.args[1], &b);
    for (size_t i = 0; rc == 0 && i < ev->steps; i++)
        out[i] = n->call.fn->id == FN_MIN_OF ? go_min(a[i], b[i]) : go_max(a[i], b[i]);
    return rc;
}

int eval_func_scalar(struct ev *ev, const struct node *n, double *out)
{
    const struct query_opt *o = ev->q->opt;
    double v = 0;

    switch (n->call.fn->id) {
    case FN_SCALAR:
        return scalar_of_vector(ev, n->call.args[0], out);
    case FN_MIN_OF:
    case FN_MAX_OF:
        return scalar_pick(ev, n, out);
    case FN_TIME:
        for (size_t i = 0; i < ev->steps; i++)
            out[i] = (double)ev_time(ev, i) / 1000;
        return 0;
    case FN_PI:
        v = M_PI;
        break;
    case FN_START:
        v = (double)o->start_ms / 1000;
        break;
    case FN_END:
        v = (double)o->end_ms / 1000;
        break;
    case FN_RANGE:
        v = (double)(o->end_ms - o->start_ms) / 1000;
        break;
    default:
        ASSERT(n->call.fn->id == FN_STEP);
        v = (double)o->step_ms / 1000;
        break;
    }
    for (size_t i = 0; i < ev->steps; i++)
        out[i] = v;
    return 0;
}

/* --- one float in, one float out --- */
static double to_radians(double v)
{
    return v * M_PI / 180;
}

static double to_degrees(double v)
{
    return v * 180 / M_PI;
}

static double sign_of(double v)
{
    return v < 0 ? -1 : v > 0 ? 1 : v;
}

typedef double float_fn(double v);

static float_fn *float_function(enum function_id id)
{
    switch (id) {
#define F(ID, fn)                                                                                  \
    case FN_##ID:                                                                                  \
        return fn
        F(ABS, fabs);
        F(CEIL, ceil);
        F(FLOOR, floor);
        F(EXP, exp);
        F(SQRT, sqrt);
        F(LN, log);
        F(LOG2, log2);
        F(LOG10, log10);
        F(SIN, sin);
        F(COS, cos);
        F(TAN, tan);
        F(ASIN, asin);
        F(ACOS, acos);
        F(ATAN, atan);
        F(SINH, sinh);
        F(COSH, cosh);
        F(TANH, tanh);
        F(ASINH, asinh);
        F(ACOSH, acosh);
        F(ATANH, atanh);
        F(RAD, to_radians);
        F(DEG, to_degrees);
        F(SGN, sign_of);
#undef F
    default:
        return NULL;
    }
}

/* What map_floats computes: by a function, by a date part, or with scalar arguments. */
struct float_map {
    float_fn *fn;
    enum function_id id;
    const double *a, *b; /* arguments per step, or NULL */
};

/* Out of range becomes the least integer, as x86 converts. */
static int64_t to_seconds(double v)
{
    return v >= -0x1p63 && v < 0x1p63 ? (int64_t)v : INT64_MIN;
}

static double float_value(const struct float_map *m, size_t i, double v)
{
    double inverse;

    if (m->fn)
        return m->fn(v);
    switch (m->id) {
    case FN_CLAMP:
        return go_max(m->a[i], go_min(m->b[i], v));
    case FN_CLAMP_MIN:
        return go_max(m->a[i], v);
    case FN_CLAMP_MAX:
        return go_min(m->a[i], v);
    case FN_ROUND:
        /* The inverse gives fewer rounding surprises than dividing. */
        inverse = 1 / (m->a ? m->a[i] : 1);
        return floor(v * inverse + 0.5) / inverse;
    default:
        return date_part(m->id, to_seconds(v));
    }
}

static int map_floats(struct ev *ev, struct row *r, void *arg)
{
    const struct float_map *m = arg;
    bool any = false;
    int rc;

    for (size_t i = 0; i < ev->steps; i++) {
        if (r->kind[i] != POINT_FLOAT || (m->id == FN_CLAMP && m->b[i] < m->a[i])) {
            r->kind[i] = POINT_NONE;
            continue;
        }
        r->v[i] = float_value(m, i, r->v[i]);
        any = true;
    }
    rc = row_drop_name(ev, r);
    return rc < 0 ? rc : any;
}

static int eval_float_map(struct ev *ev, const struct node *n, struct stream **ret)
{
    struct float_map *m = arena_zalloc(ev->q->arena, sizeof *m);
    struct stream *in;
    double *v;
    int rc = 0;

    if (!m)
        return query_nomem(ev->q);
    m->id = n->call.fn->id;
    m->fn = float_function(m->id);
    for (size_t i = 1; rc == 0 && i < n->call.arg_count; i++) {
        rc = eval_scalar(ev, n->call.args[i], &v);
        if (rc == 0)
            *(i == 1 ? &m->a : &m->b) = v;
    }
    if (rc == 0)
        rc = eval_stream(ev, n->call.args[0], &in);
    return rc < 0 ? rc : stream_map(ev, in, map_floats, m, ret);
}

/* --- one histogram in, one float out --- */
static double hist_value(enum function_id id, const struct histogram *h)
{
    switch (id) {
    case FN_HISTOGRAM_COUNT:
        return h->count.f;
    case FN_HISTOGRAM_SUM:
        return h->sum;
    case FN_HISTOGRAM_AVG:
        return h->sum / h->count.f;
    case FN_HISTOGRAM_STDDEV:
        return sqrt(fhist_stdvar(h));
    default:
        ASSERT(id == FN_HISTOGRAM_STDVAR);
        return fhist_stdvar(h);
    }
}

static int map_hists(struct ev *ev, struct row *r, void *arg)
{
    const struct node *n = arg;
    bool any = false;
    int rc;

    for (size_t i = 0; i < ev->steps; i++) {
        if (r->kind[i] != POINT_HIST) {
            r->kind[i] = POINT_NONE;
            continue;
        }
        r->kind[i] = POINT_FLOAT;
        r->v[i] = hist_value(n->call.fn->id, r->h[i]);
        any = true;
    }
    rc = row_drop_name(ev, r);
    return rc < 0 ? rc : any;
}

static int eval_hist_map(struct ev *ev, const struct node *n, struct stream **ret)
{
    enum function_id id = n->call.fn->id;
    bool whole = id == FN_HISTOGRAM_STDDEV || id == FN_HISTOGRAM_STDVAR;
    enum hist_scope scope = query_hist_scope(ev->q, whole ? HIST_WHOLE : HIST_STATS);
    struct stream *in;
    int rc = eval_stream(ev, n->call.args[0], &in);

    ev->q->hist_scope = scope;
    return rc < 0 ? rc : stream_map(ev, in, map_hists, (void *)(uintptr_t)n, ret);
}

/* --- timestamp, start_timestamp --- */
static int map_time(struct ev *ev, struct row *r, void *arg UNUSED)
{
    int rc = row_drop_name(ev, r);

    for (size_t i = 0; i < ev->steps; i++) {
        if (r->kind[i] != POINT_NONE)
            r->kind[i] = POINT_FLOAT;
        r->v[i] = (double)ev_time(ev, i) / 1000;
    }
    return rc < 0 ? rc : 1;
}

static int map_drop_name(struct ev *ev, struct row *r, void *arg UNUSED)
{
    int rc = row_drop_name(ev, r);

    return rc < 0 ? rc : 1;
}

/* A selector gives its samples' own times; of anything else, only the step's time is known, and no
 * start. */
static int eval_timestamp(struct ev *ev, const struct node *n, struct stream **ret)
{
    const struct node *arg = node_unwrap(n->call.args[0]);
    bool start = n->call.fn->id == FN_START_TIMESTAMP;
    struct matrix none = {0};
    struct stream *in;
    int rc;

    if (arg->type == NODE_SELECTOR) {
        rc = eval_selector(ev, arg, start ? SELECT_START_TIMESTAMP : SELECT_TIMESTAMP, &in);
        return rc < 0 ? rc : stream_map(ev, in, map_drop_name, NULL, ret);
    }
    if (start)
        return stream_of_matrix(ev, &none, ret);
    rc = eval_stream(ev, arg, &in);
    return rc < 0 ? rc : stream_map(ev, in, map_time, NULL, ret);
}

/* --- vector(), and date functions of the evaluation time --- */
static int row_of_scalars(struct ev *ev, const double *v, struct stream **ret)
{
    struct matrix m = {0};
    struct row r;
    int rc = row_init(ev, &r, false);

    if (rc < 0)
        return rc;
    memset(r.kind, POINT_FLOAT, ev->steps);
    memcpy(r.v, v, ev->steps * sizeof *v);
    r.stable = true;
    rc = matrix_add(ev, &m, &r);
    return rc < 0 ? rc : stream_of_matrix(ev, &m, ret);
}

static int eval_date(struct ev *ev, const struct node *n, struct stream **ret)
{
    double *v;

    if (n->call.arg_count > 0)
        return eval_float_map(ev, n, ret);
    v = arena_array(ev->q->arena, ev->steps, sizeof *v);
    if (!v)
        return query_nomem(ev->q);
    for (size_t i = 0; i < ev->steps; i++)
        v[i] = date_part(n->call.fn->id, ev_time(ev, i) / 1000);
    return row_of_scalars(ev, v, ret);
}

static int eval_vector(struct ev *ev, const struct node *n, struct stream **ret)
{
    double *v;
    int rc = eval_scalar(ev, n->call.args[0], &v);

    return rc < 0 ? rc : row_of_scalars(ev, v, ret);
}

/* --- who does what --- */
int eval_func(struct ev *ev, const struct node *n, struct stream **ret)
{
    switch (n->call.fn->id) {
    case FN_ABSENT:
        return eval_absent(ev, n, ret);
    case FN_ABSENT_OVER_TIME:
        return eval_absent_over_time(ev, n, ret);
    case FN_VECTOR:
        return eval_vector(ev, n, ret);
    case FN_TIMESTAMP:
    case FN_START_TIMESTAMP:
        return eval_timestamp(ev, n, ret);
    case FN_LABEL_REPLACE:
        return eval_label_replace(ev, n, ret);
    case FN_LABEL_JOIN:
        return eval_label_join(ev, n, ret);
    case FN_SORT:
    case FN_SORT_DESC:
    case FN_SORT_BY_LABEL:
    case FN_SORT_BY_LABEL_DESC:
        return eval_sort(ev, n, ret);
    case FN_INFO:
        return eval_info(ev, n, ret);
    case FN_HISTOGRAM_QUANTILE:
    case FN_HISTOGRAM_QUANTILES:
    case FN_HISTOGRAM_FRACTION:
        return eval_hist_classic(ev, n, ret);
    case FN_HISTOGRAM_AVG:
    case FN_HISTOGRAM_COUNT:
    case FN_HISTOGRAM_STDDEV:
    case FN_HISTOGRAM_STDVAR:
    case FN_HISTOGRAM_SUM:
        return eval_hist_map(ev, n, ret);
    case FN_DAY_OF_MONTH:
    case FN_DAY_OF_WEEK:
    case FN_DAY_OF_YEAR:
    case FN_DAYS_IN_MONTH:
    case FN_HOUR:
    case FN_MINUTE:
    case FN_MONTH:
    case FN_YEAR:
        return eval_date(ev, n, ret);
    default:
        break;
    }
    for (size_t i = 0; i < n->call.arg_count; i++)
        if (n->call.args[i]->value == VALUE_MATRIX)
            return eval_range_call(ev, n, ret);
    return eval_float_map(ev, n, ret);
}
