/* shardable.c - which aggregations may be folded over shards of the series, or over series without the labels that no group has. When in doubt: not. */
#include "promql/eval.h"

/* A scalar that looks at no series. */
static bool plain_scalar(const struct node *n)
{
    switch (n->type) {
    case NODE_NUMBER:
        return true;
    case NODE_PAREN:
        return plain_scalar(n->paren);
    case NODE_UNARY:
        return plain_scalar(n->unary.expr);
    case NODE_BINARY:
        return plain_scalar(n->binary.lhs) && plain_scalar(n->binary.rhs);
    case NODE_CALL:
        return n->call.fn->id == FN_TIME || n->call.fn->id == FN_PI;
    default:
        return false;
    }
}

static bool by_series_function(enum function_id id)
{
    switch (id) {
    case FN_ABSENT:
    case FN_ABSENT_OVER_TIME:
    case FN_HISTOGRAM_FRACTION:
    case FN_HISTOGRAM_QUANTILE:
    case FN_HISTOGRAM_QUANTILES:
    case FN_INFO:
    case FN_LABEL_JOIN:
    case FN_LABEL_REPLACE:
    case FN_SCALAR:
    case FN_SORT:
    case FN_SORT_BY_LABEL:
    case FN_SORT_BY_LABEL_DESC:
    case FN_SORT_DESC:
    case FN_VECTOR:
        return false;
    default:
        return true;
    }
}

static bool by_series(const struct node *n);

static bool call_by_series(const struct node *n)
{
    size_t series = 0;

    if (!by_series_function(n->call.fn->id))
        return false;
    for (size_t i = 0; i < n->call.arg_count; i++) {
        const struct node *arg = n->call.args[i];

        if (arg->value == VALUE_SCALAR ? !plain_scalar(arg) : !by_series(arg))
            return false;
        series += arg->value != VALUE_SCALAR;
    }
    return series == 1;
}

/* The result has one series for each that was selected, or none, and depends on that one alone. */
static bool by_series(const struct node *n)
{
    switch (n->type) {
    case NODE_SELECTOR:
        return true;
    case NODE_SUBQUERY:
        return by_series(n->subquery.expr);
    case NODE_PAREN:
        return by_series(n->paren);
    case NODE_UNARY:
        return by_series(n->unary.expr);
    case NODE_CALL:
        return call_by_series(n);
    case NODE_BINARY:
        if (n->binary.lhs->value == VALUE_SCALAR)
            return plain_scalar(n->binary.lhs) && n->binary.rhs->value == VALUE_VECTOR && by_series(n->binary.rhs);
        return n->binary.rhs->value == VALUE_SCALAR && plain_scalar(n->binary.rhs) && by_series(n->binary.lhs);
    default:
        return false;
    }
}

/* The label that count_values makes is added to the group, and must stand in no way that names go. */
static bool label_stays(const struct node *param)
{
    param = node_unwrap(param);
    return param->type == NODE_STRING && !str_has_prefix(param->string, STR("__"));
}

bool promql_shardable(const struct node *n)
{
    if (n->type != NODE_AGGREGATE || !by_series(n->agg.expr))
        return false;
    switch (n->agg.op) {
    case AGG_COUNT_VALUES:
        return label_stays(n->agg.param);
    case AGG_TOPK:
    case AGG_BOTTOMK:
    case AGG_LIMITK:
    case AGG_LIMIT_RATIO:
    case AGG_QUANTILE:
        return plain_scalar(n->agg.param);
    default:
        return true;
    }
}

const struct node *promql_part(const struct node *n)
{
    ASSERT(n->type == NODE_AGGREGATE);
    switch (n->agg.op) {
    case AGG_QUANTILE:
    case AGG_STDDEV:
    case AGG_STDVAR:
        return node_unwrap(n->agg.expr);
    default:
        return n;
    }
}

bool promql_part_keeps_series(const struct node *n)
{
    switch (n->agg.op) {
    case AGG_TOPK:
    case AGG_BOTTOMK:
    case AGG_LIMITK:
    case AGG_LIMIT_RATIO:
        return true;
    default:
        return promql_part(n) != n;
    }
}

/* Points of a subquery are put together by labels. */
static bool has_subquery(const struct node *n)
{
    switch (n->type) {
    case NODE_SUBQUERY:
        return true;
    case NODE_PAREN:
        return has_subquery(n->paren);
    case NODE_UNARY:
        return has_subquery(n->unary.expr);
    case NODE_BINARY:
        return has_subquery(n->binary.lhs) || has_subquery(n->binary.rhs);
    case NODE_CALL:
        for (size_t i = 0; i < n->call.arg_count; i++)
            if (has_subquery(n->call.args[i]))
                return true;
        return false;
    default:
        return false;
    }
}

static bool folds(enum agg_op op)
{
    switch (op) {
    case AGG_SUM:
    case AGG_AVG:
    case AGG_COUNT:
    case AGG_MIN:
    case AGG_MAX:
    case AGG_GROUP:
    case AGG_STDDEV:
    case AGG_STDVAR:
        return true;
    default:
        return false;
    }
}

bool promql_needs_only_groups(const struct node *n)
{
    return n->type == NODE_AGGREGATE && !n->agg.without && folds(n->agg.op) && by_series(n->agg.expr) && !has_subquery(n->agg.expr);
}
