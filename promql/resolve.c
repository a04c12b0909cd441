/* What a query's start, end and step decide: durations that are calculated, and @ start() and end(). */
#include "promql/ast.h"
#include "promql/functions.h"

#include <math.h>

struct query_times {
    int64_t start_ms, end_ms, step_ms;
};

/* --- durations --- */

static int dur_error(const struct dur_expr *d, struct err *err, const char *what)
{
    return err_set(err, RC_INVALID, "%u:%u: %s", d->pos.start, d->pos.end, what);
}

static double go_min(double a, double b)
{
    return isnan(a) || isnan(b) ? (isinf(a) && a < 0) || (isinf(b) && b < 0) ? -HUGE_VAL : (double)NAN : fmin(a, b);
}

static double go_max(double a, double b)
{
    return isnan(a) || isnan(b) ? (isinf(a) && a > 0) || (isinf(b) && b > 0) ? HUGE_VAL : (double)NAN : fmax(a, b);
}

static int dur_apply(const struct dur_expr *d, double a, double b, double *ret, struct err *err)
{
    switch (d->op) {
    case DUR_MIN: *ret = go_min(a, b); return 0;
    case DUR_MAX: *ret = go_max(a, b); return 0;
    case DUR_ADD: *ret = a + b; return 0;
    case DUR_SUB: *ret = a - b; return 0;
    case DUR_MUL: *ret = a * b; return 0;
    case DUR_POW: *ret = pow(a, b); return 0;
    case DUR_NEG: *ret = -b; return 0;
    case DUR_DIV:
        if (b == 0)
            return dur_error(d, err, "division by zero");
        *ret = a / b;
        return 0;
    case DUR_MOD:
        if (b == 0)
            return dur_error(d, err, "modulo by zero");
        *ret = fmod(a, b);
        return 0;
    default: ASSERT(d->op == DUR_POS || d->op == DUR_PAREN); *ret = b; return 0;
    }
}

int promql_duration_eval(const struct dur_expr *d, int64_t start_ms, int64_t end_ms, int64_t step_ms,
                         double *ret_seconds, struct err *err)
{
    double a = 0, b = 0;
    int rc = 0;

    switch (d->op) {
    case DUR_LITERAL: *ret_seconds = d->seconds; return 0;
    case DUR_STEP: *ret_seconds = (double)step_ms / 1000; return 0;
    case DUR_RANGE: *ret_seconds = (double)(end_ms - start_ms) / 1000; return 0;
    default: break;
    }
    if (d->lhs)
        rc = promql_duration_eval(d->lhs, start_ms, end_ms, step_ms, &a, err);
    if (rc == 0)
        rc = promql_duration_eval(d->rhs, start_ms, end_ms, step_ms, &b, err);
    return rc == 0 ? dur_apply(d, a, b, ret_seconds, err) : rc;
}

/* Nothing happens without an expression. Offsets may be negative or zero. */
static int resolve_duration(const struct dur_expr *d, const struct query_times *q, bool positive, int64_t *ret_ms,
                            struct err *err)
{
    double seconds;
    int rc;

    if (!d)
        return 0;
    rc = promql_duration_eval(d, q->start_ms, q->end_ms, q->step_ms, &seconds, err);
    if (rc < 0)
        return rc;
    if (!isfinite(seconds))
        return dur_error(d, err, "duration is NaN or infinite");
    /* Milliseconds are the smallest unit; a step of less must not turn into the default step. */
    if (positive && seconds * 1000 < 1)
        return dur_error(d, err, "duration must be greater than 0");
    if (fabs(seconds) >= 0x1p63 / 1e9)
        return dur_error(d, err, "duration is out of range");
    *ret_ms = (int64_t)(seconds * 1000);
    return 0;
}

/* --- nodes --- */

static void resolve_at(enum at_kind at, const struct query_times *q, int64_t *ms)
{
    if (at == AT_START)
        *ms = q->start_ms;
    else if (at == AT_END)
        *ms = q->end_ms;
}

static int resolve_selector(struct node *n, const struct query_times *q, struct err *err)
{
    int rc = resolve_duration(n->selector.range_expr, q, true, &n->selector.range_ms, err);

    if (rc == 0)
        rc = resolve_duration(n->selector.offset_expr, q, false, &n->selector.offset_ms, err);
    resolve_at(n->selector.at, q, &n->selector.at_ms);
    return rc;
}

static int resolve(struct node *n, const struct query_times *q, struct err *err)
{
    int rc = 0;

    switch (n->type) {
    case NODE_NUMBER:
    case NODE_STRING: return 0;
    case NODE_SELECTOR: return resolve_selector(n, q, err);
    case NODE_SUBQUERY:
        rc = resolve_duration(n->subquery.offset_expr, q, false, &n->subquery.offset_ms, err);
        if (rc == 0)
            rc = resolve_duration(n->subquery.step_expr, q, true, &n->subquery.step_ms, err);
        if (rc == 0)
            rc = resolve_duration(n->subquery.range_expr, q, true, &n->subquery.range_ms, err);
        resolve_at(n->subquery.at, q, &n->subquery.at_ms);
        return rc == 0 ? resolve(n->subquery.expr, q, err) : rc;
    case NODE_CALL:
        for (size_t i = 0; i < n->call.arg_count && rc == 0; i++)
            rc = resolve(n->call.args[i], q, err);
        return rc;
    case NODE_AGGREGATE:
        rc = resolve(n->agg.expr, q, err);
        return rc == 0 && n->agg.param ? resolve(n->agg.param, q, err) : rc;
    case NODE_BINARY:
        rc = resolve(n->binary.lhs, q, err);
        return rc == 0 ? resolve(n->binary.rhs, q, err) : rc;
    case NODE_UNARY: return resolve(n->unary.expr, q, err);
    case NODE_PAREN: return resolve(n->paren, q, err);
    }
    return rc;
}

int promql_resolve(struct promql_ast *ast, int64_t start_ms, int64_t end_ms, int64_t step_ms, struct err *err)
{
    struct query_times q = {start_ms, end_ms, step_ms};

    return resolve(ast->root, &q, err);
}
