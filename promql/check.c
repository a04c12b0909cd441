/* Types of expressions, once the text is known to be well-formed. The first error wins, in the order of Prometheus's
 * checkAST(). */
#include "promql/functions.h"
#include "promql/parse.h"

#include <stdio.h>

static bool check(struct parser *p, struct node *n);

static bool is_comparison(enum binop op)
{
    return op >= OP_EQ && op <= OP_GTE;
}

static bool is_set(enum binop op)
{
    return op == OP_AND || op == OP_OR || op == OP_UNLESS;
}

/* --- aggregations and calls --- */

static bool check_expect(struct parser *p, struct node *n, enum value_type want, const char *where)
{
    if (!check(p, n))
        return false;
    if (n->value != want)
        return parser_error(p, n->pos.start, "expected type %s in %s, got %s", value_type_text(want), where,
                            value_type_text(n->value));
    return true;
}

static bool check_aggregate(struct parser *p, struct node *n)
{
    n->value = VALUE_VECTOR;
    if (!check_expect(p, n->agg.expr, VALUE_VECTOR, "aggregation expression"))
        return false;
    return !n->agg.param || check_expect(p, n->agg.param, n->agg.op == AGG_COUNT_VALUES ? VALUE_STRING : VALUE_SCALAR,
                                         "aggregation parameter");
}

static enum value_type arg_type(char c)
{
    switch (c) {
    case 's': return VALUE_SCALAR;
    case 'v': return VALUE_VECTOR;
    case 'm': return VALUE_MATRIX;
    default: ASSERT(c == 'S'); return VALUE_STRING;
    }
}

static bool check_arg_count(struct parser *p, const struct node *n)
{
    const struct function *fn = n->call.fn;
    size_t args = strlen(fn->args), got = n->call.arg_count, least = fn->variadic ? args - 1 : args;

    if (fn->variadic == 0 && got != args)
        return parser_error(p, n->pos.start, "expected %zu argument(s) in call to \"%s\", got %zu", args, fn->name,
                            got);
    if (got < least)
        return parser_error(p, n->pos.start, "expected at least %zu argument(s) in call to \"%s\", got %zu", least,
                            fn->name, got);
    if (fn->variadic > 0 && got > least + (size_t)fn->variadic)
        return parser_error(p, n->pos.start, "expected at most %zu argument(s) in call to \"%s\", got %zu",
                            least + (size_t)fn->variadic, fn->name, got);
    return true;
}

static enum value_type type_of(const struct node *n);

/* info(v, {selector}): the second argument only picks labels and has no name. */
static bool check_info(struct parser *p, struct node *n)
{
    struct node *arg = n->call.args[1];
    enum value_type type = type_of(arg);

    if (type != VALUE_VECTOR)
        return parser_error(p, n->pos.start, "expected type instant vector in call to function \"info\", got %s",
                            value_type_text(type));
    if (arg->type != NODE_SELECTOR)
        return parser_error(p, arg->pos.start, "expected label selectors only");
    if (arg->selector.name.p)
        return parser_error(p, arg->pos.start, "expected label selectors only, got vector selector instead");
    arg->selector.empty_ok = true;
    return true;
}

static bool check_call(struct parser *p, struct node *n)
{
    const struct function *fn = n->call.fn;
    size_t args = strlen(fn->args);
    char where[80];

    n->value = fn->ret;
    if (!check_arg_count(p, n) || (fn->id == FN_INFO && n->call.arg_count > 1 && !check_info(p, n)))
        return false;
    snprintf(where, sizeof where, "call to function \"%s\"", fn->name);
    for (size_t i = 0; i < n->call.arg_count; i++) {
        if (!check_expect(p, n->call.args[i], arg_type(fn->args[MIN(i, args - 1)]), where))
            return false;
    }
    return true;
}

/* --- operators --- */

/* Where the operator stands: behind the left side and white space. */
static uint32_t op_pos(const struct parser *p, const struct node *n)
{
    struct str text = p->ast->text;
    size_t i = n->binary.lhs->pos.end;

    while (i < text.n && (text.p[i] == ' ' || text.p[i] == '\t' || text.p[i] == '\n' || text.p[i] == '\r'))
        i++;
    return (uint32_t)i;
}

static bool check_matching_labels(struct parser *p, const struct node *n)
{
    char q[QUOTED_MAX];

    for (size_t i = 0; n->binary.on && i < n->binary.match_label_count; i++) {
        for (size_t k = 0; k < n->binary.include_count; k++) {
            if (str_eq(n->binary.match_labels[i], n->binary.include[k]))
                return parser_error(p, op_pos(p, n), "label %s must not occur in ON and GROUP clause at once",
                                    quoted(q, n->binary.match_labels[i]));
        }
    }
    return true;
}

/* Without two vectors there is nothing to match. */
static bool check_no_matching(struct parser *p, struct node *n)
{
    if (n->binary.match_label_count > 0)
        return parser_error(p, n->pos.start, "vector matching only allowed between instant vectors");
    if (n->binary.fill_lhs_set || n->binary.fill_rhs_set)
        return parser_error(p, n->pos.start, "filling in missing series only allowed between instant vectors");
    if (is_set(n->binary.op) && (n->binary.lhs->value == VALUE_SCALAR || n->binary.rhs->value == VALUE_SCALAR))
        return parser_error(p, n->pos.start, "set operator \"%s\" not allowed in binary scalar expression",
                            binop_text(n->binary.op));
    n->binary.has_matching = n->binary.on = false;
    n->binary.card = CARD_ONE_TO_ONE;
    n->binary.include_count = 0;
    return true;
}

static bool check_set(struct parser *p, struct node *n)
{
    if (n->binary.card != CARD_ONE_TO_ONE)
        return parser_error(p, n->pos.start, "no grouping allowed for \"%s\" operation", binop_text(n->binary.op));
    if (n->binary.fill_lhs_set || n->binary.fill_rhs_set)
        return parser_error(p, n->pos.start, "filling in missing series not allowed for set operators");
    n->binary.card = CARD_MANY_TO_MANY;
    return true;
}

static bool check_binary(struct parser *p, struct node *n)
{
    static const char only[] = "binary expression must contain only scalar and instant vector types";
    struct node *lhs = n->binary.lhs, *rhs = n->binary.rhs;
    bool scalars;

    if (!check(p, lhs) || !check(p, rhs))
        return false;
    scalars = lhs->value == VALUE_SCALAR && rhs->value == VALUE_SCALAR;
    n->value = scalars ? VALUE_SCALAR : VALUE_VECTOR;
    if (n->binary.return_bool && !is_comparison(n->binary.op))
        return parser_error(p, op_pos(p, n), "bool modifier can only be used on comparison operators");
    if (is_comparison(n->binary.op) && !n->binary.return_bool && scalars)
        return parser_error(p, op_pos(p, n), "comparisons between scalars must use BOOL modifier");
    if (!check_matching_labels(p, n))
        return false;
    if (lhs->value != VALUE_SCALAR && lhs->value != VALUE_VECTOR)
        return parser_error(p, lhs->pos.start, only);
    if (rhs->value != VALUE_SCALAR && rhs->value != VALUE_VECTOR)
        return parser_error(p, rhs->pos.start, only);
    if (lhs->value != VALUE_VECTOR || rhs->value != VALUE_VECTOR)
        return check_no_matching(p, n);
    return !is_set(n->binary.op) || check_set(p, n);
}

static bool check_unary(struct parser *p, struct node *n)
{
    struct node *e = n->unary.expr;

    if (!check(p, e))
        return false;
    n->value = e->value;
    if (e->value != VALUE_SCALAR && e->value != VALUE_VECTOR)
        return parser_error(p, n->pos.start,
                            "unary expression only allowed on expressions of type scalar or instant vector, got \"%s\"",
                            value_type_text(e->value));
    return true;
}

/* --- selectors --- */

static bool check_subquery(struct parser *p, struct node *n)
{
    static const char *const names[] = {"none", "scalar", "vector", "matrix", "string"};

    n->value = VALUE_MATRIX;
    if (!check(p, n->subquery.expr))
        return false;
    if (n->subquery.expr->value != VALUE_VECTOR)
        return parser_error(p, n->pos.start, "subquery is only allowed on instant vector, got %s instead",
                            names[n->subquery.expr->value]);
    return true;
}

static bool check_selector(struct parser *p, struct node *n)
{
    char a[QUOTED_MAX], b[QUOTED_MAX];

    n->value = type_of(n);
    for (size_t i = 0; n->selector.name.p && i + 1 < n->selector.matcher_count; i++) {
        const struct matcher *m = &n->selector.matchers[i];

        if (str_eqz(m->name, "__name__"))
            return parser_error(p, n->pos.start, "metric name must not be set twice: %s or %s",
                                quoted(a, n->selector.name), quoted(b, m->value));
    }
    if (n->selector.name.p || n->selector.empty_ok)
        return true;
    for (size_t i = 0; i < n->selector.matcher_count; i++) {
        if (!matcher_matches(&n->selector.matchers[i], STR("")))
            return true;
    }
    return parser_error(p, n->pos.start, "vector selector must contain at least one non-empty matcher");
}

/* The type without a check: what info() wants to know of its argument beforehand. */
static enum value_type type_of(const struct node *n)
{
    while (n->type == NODE_PAREN || n->type == NODE_UNARY)
        n = n->type == NODE_PAREN ? n->paren : n->unary.expr;
    switch (n->type) {
    case NODE_NUMBER: return VALUE_SCALAR;
    case NODE_STRING: return VALUE_STRING;
    case NODE_SUBQUERY: return VALUE_MATRIX;
    case NODE_CALL: return n->call.fn->ret;
    case NODE_SELECTOR: return n->selector.range_ms >= 0 ? VALUE_MATRIX : VALUE_VECTOR;
    case NODE_BINARY:
        return type_of(n->binary.lhs) == VALUE_SCALAR && type_of(n->binary.rhs) == VALUE_SCALAR ? VALUE_SCALAR
                                                                                                 : VALUE_VECTOR;
    default: return VALUE_VECTOR;
    }
}

static bool check(struct parser *p, struct node *n)
{
    switch (n->type) {
    case NODE_NUMBER: n->value = VALUE_SCALAR; return true;
    case NODE_STRING: n->value = VALUE_STRING; return true;
    case NODE_SELECTOR: return check_selector(p, n);
    case NODE_SUBQUERY: return check_subquery(p, n);
    case NODE_CALL: return check_call(p, n);
    case NODE_AGGREGATE: return check_aggregate(p, n);
    case NODE_BINARY: return check_binary(p, n);
    case NODE_UNARY: return check_unary(p, n);
    default: break;
    }
    ASSERT(n->type == NODE_PAREN);
    if (!check(p, n->paren))
        return false;
    n->value = n->paren->value;
    return true;
}

bool check_types(struct parser *p, struct node *root)
{
    ASSERT(root->height <= PROMQL_HEIGHT_MAX);
    return check(p, root);
}
