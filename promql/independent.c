/* independent.c - whether the steps of a range query can be evaluated apart from each other. */
#include "promql/ast.h"

#include "promql/functions.h"

static bool fixed(const struct dur_expr *d)
{
    return d == NULL; /* an expression may ask for the range or step of the query */
}

static bool looks_back(enum at_kind at, int64_t offset_ms)
{
    return at == AT_NONE && offset_ms >= 0;
}

/* What sorts warns of ranges of several steps, which a part of one step is not. */
static bool sorts(enum function_id id)
{
    return id == FN_SORT || id == FN_SORT_DESC || id == FN_SORT_BY_LABEL || id == FN_SORT_BY_LABEL_DESC;
}

bool promql_steps_independent(const struct node *n)
{
    switch (n->type) {
    case NODE_SELECTOR:
        return looks_back(n->selector.at, n->selector.offset_ms) && fixed(n->selector.range_expr) && fixed(n->selector.offset_expr) && !n->selector.smoothed;
    case NODE_SUBQUERY:
        return looks_back(n->subquery.at, n->subquery.offset_ms) && fixed(n->subquery.range_expr) && fixed(n->subquery.step_expr) &&
               fixed(n->subquery.offset_expr) && promql_steps_independent(n->subquery.expr);
    case NODE_CALL:
        if (sorts(n->call.fn->id))
            return false;
        for (size_t i = 0; i < n->call.arg_count; i++)
            if (!promql_steps_independent(n->call.args[i]))
                return false;
        return true;
    case NODE_AGGREGATE:
        return promql_steps_independent(n->agg.expr) && (!n->agg.param || promql_steps_independent(n->agg.param));
    case NODE_BINARY:
        return promql_steps_independent(n->binary.lhs) && promql_steps_independent(n->binary.rhs);
    case NODE_UNARY:
        return promql_steps_independent(n->unary.expr);
    case NODE_PAREN:
        return promql_steps_independent(n->paren);
    default:
        return true; /* literals */
    }
}
