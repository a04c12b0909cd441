#include "querier/shard_plan.h"

#include "promql/functions.h"

#include <math.h>
#include <stdlib.h>

/* --- planning; recursion ends at PROMQL_HEIGHT_MAX --- */

/* One metric name, so that series stay distinct when functions take the name away. */
static bool names_one_metric(const struct node *n)
{
    for (size_t i = 0; i < n->selector.matcher_count; i++) {
        const struct matcher *m = &n->selector.matchers[i];

        if (m->type == MATCH_EQ && str_eqz(m->name, LABEL_METRIC_NAME) && m->value.n > 0)
            return true;
    }
    return false;
}

/* Functions whose result for a series depends on nothing but that series. */
static bool function_of_one_series(const struct function *f)
{
    switch (f->id) {
    case FN_ABS:
    case FN_AVG_OVER_TIME:
    case FN_CEIL:
    case FN_CHANGES:
    case FN_CLAMP:
    case FN_CLAMP_MAX:
    case FN_CLAMP_MIN:
    case FN_COUNT_OVER_TIME:
    case FN_DELTA:
    case FN_DERIV:
    case FN_EXP:
    case FN_FLOOR:
    case FN_IDELTA:
    case FN_INCREASE:
    case FN_IRATE:
    case FN_LAST_OVER_TIME:
    case FN_LN:
    case FN_LOG10:
    case FN_LOG2:
    case FN_MAX_OVER_TIME:
    case FN_MIN_OVER_TIME:
    case FN_PRESENT_OVER_TIME:
    case FN_RATE:
    case FN_RESETS:
    case FN_SGN:
    case FN_SQRT:
    case FN_STDDEV_OVER_TIME:
    case FN_STDVAR_OVER_TIME:
    case FN_SUM_OVER_TIME:
        return true;
    default:
        return false;
    }
}

static bool is_constant(const struct node *n)
{
    switch (n->type) {
    case NODE_NUMBER:
        return true;
    case NODE_PAREN:
        return is_constant(n->paren);
    case NODE_UNARY:
        return is_constant(n->unary.expr);
    default:
        return false;
    }
}

static bool is_per_series(const struct node *n);

static bool call_per_series(const struct node *n)
{
    if (!function_of_one_series(n->call.fn) || n->call.arg_count == 0 ||
        !is_per_series(n->call.args[0]))
        return false;
    for (size_t i = 1; i < n->call.arg_count; i++)
        if (!is_constant(n->call.args[i]))
            return false;
    return true;
}

static bool is_per_series(const struct node *n)
{
    switch (n->type) {
    case NODE_SELECTOR:
        return names_one_metric(n);
    case NODE_PAREN:
        return is_per_series(n->paren);
    case NODE_UNARY:
        return is_per_series(n->unary.expr);
    case NODE_SUBQUERY:
        return is_per_series(n->subquery.expr);
    case NODE_CALL:
        return call_per_series(n);
    case NODE_BINARY:
        return (is_constant(n->binary.lhs) && is_per_series(n->binary.rhs)) ||
               (is_per_series(n->binary.lhs) && is_constant(n->binary.rhs));
    default:
        return false;
    }
}

bool shard_plan(const struct promql_ast *ast, enum agg_op *ret_op)
{
    const struct node *n = ast->root;

    while (n->type == NODE_PAREN)
        n = n->paren;
    if (n->type != NODE_AGGREGATE || n->agg.param || !is_per_series(n->agg.expr))
        return false;
    switch (n->agg.op) {
    case AGG_SUM:
    case AGG_MIN:
    case AGG_MAX:
    case AGG_COUNT:
    case AGG_GROUP:
        *ret_op = n->agg.op;
        return true;
    default:
        return false;
    }
}

bool shard_part_combines(const struct query_result *part)
{
    if (part->warning_count > 0 || part->info_count >= ANNOTATIONS_MAX || part->stats.per_step)
        return false;
    for (size_t i = 0; i < part->series_count; i++)
        for (size_t k = 0; k < part->series[i].n; k++)
            if (part->series[i].s[k].h)
                return false;
    return true;
}

/* --- merging --- */

static double combine(enum agg_op op, double a, double b)
{
    switch (op) {
    case AGG_MIN:
        return isnan(a) || b < a ? b : a;
    case AGG_MAX:
        return isnan(a) || b > a ? b : a;
    case AGG_GROUP:
        return a;
    default:
        return a + b;
    }
}

static int no_memory(struct err *err)
{
    return err_set(err, RC_NOMEM, "merging parts of a query: memory budget is spent");
}

/* Both by time. */
static int merge_series(enum agg_op op, struct result_series *into, const struct result_series *in,
                        struct arena *a, struct err *err)
{
    struct result_sample *out = arena_array(a, into->n + in->n, sizeof *out);
    size_t n = 0, i = 0, k = 0;

    if (!out)
        return no_memory(err);
    while (i < into->n || k < in->n) {
        if (k == in->n || (i < into->n && into->s[i].t < in->s[k].t)) {
            out[n++] = into->s[i++];
        } else if (i == into->n || in->s[k].t < into->s[i].t) {
            out[n++] = in->s[k++];
        } else {
            out[n] = into->s[i++];
            out[n].v = combine(op, out[n].v, in->s[k++].v);
            n++;
        }
    }
    into->s = out;
    into->n = n;
    return 0;
}

struct piece {
    struct result_series series;
    size_t part; /* parts combine in their order, whatever qsort does */
};

static int by_labels(const void *a, const void *b)
{
    const struct piece *x = a, *y = b;
    int c = labels_cmp(&x->series.labels, &y->series.labels);

    return c ? c : (x->part > y->part) - (x->part < y->part);
}

static int merge_groups(enum agg_op op, const struct query_result *parts, size_t n,
                        struct arena *a, struct query_result *ret, struct err *err)
{
    struct piece *v;
    size_t count = 0, at = 0;
    int rc = 0;

    for (size_t i = 0; i < n; i++)
        count += parts[i].series_count;
    v = arena_array(a, count, sizeof *v);
    ret->series = arena_array(a, count, sizeof *ret->series);
    if (!v || !ret->series)
        return no_memory(err);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < parts[i].series_count; k++)
            v[at++] = (struct piece){parts[i].series[k], i};
    if (count > 1)
        qsort(v, count, sizeof *v, by_labels);
    ret->series_count = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        struct result_series *last = ret->series + ret->series_count - (ret->series_count > 0);

        if (ret->series_count && labels_eq(&last->labels, &v[i].series.labels))
            rc = merge_series(op, last, &v[i].series, a, err);
        else
            ret->series[ret->series_count++] = v[i].series;
    }
    return rc;
}

static int merge_infos(const struct query_result *parts, size_t n, struct arena *a,
                       struct query_result *ret, struct err *err)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++)
        count += parts[i].info_count;
    ret->infos = arena_array(a, count, sizeof *ret->infos);
    ret->info_count = 0;
    if (!ret->infos)
        return no_memory(err);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < parts[i].info_count; k++) {
            size_t at = 0;

            while (at < ret->info_count && strcmp(ret->infos[at], parts[i].infos[k]) != 0)
                at++;
            if (at == ret->info_count && at < ANNOTATIONS_MAX)
                ret->infos[ret->info_count++] = parts[i].infos[k];
        }
    return 0;
}

int shard_merge(enum agg_op op, const struct query_result *parts, size_t n, struct arena *a,
                struct query_result *ret, struct err *err)
{
    struct query_result out = parts[0];
    int rc;

    ASSERT(n > 0);
    for (size_t i = 1; i < n; i++) {
        const struct query_stats *s = &parts[i].stats;

        out.stats.samples_total += s->samples_total;
        out.stats.samples_read += s->samples_read;
        out.stats.peak_samples += s->peak_samples;
        out.stats.series += s->series;
    }
    rc = merge_groups(op, parts, n, a, &out, err);
    if (rc == 0)
        rc = merge_infos(parts, n, a, &out, err);
    if (rc == 0)
        *ret = out;
    return rc;
}
