/* Function calls, aggregations and their lists: arguments and label names. */
#include "common/model/labels.h"
#include "promql/functions.h"
#include "promql/parse.h"

/* --- arguments --- */

bool token_starts_expr(enum token_type t)
{
    return t == TOK_NUMBER || t == TOK_DURATION || t == TOK_STRING || t == TOK_LPAREN || t == TOK_LBRACE ||
           t == TOK_ADD || t == TOK_SUB || token_names_metric(t);
}

/* ( expr, ... ) */
static bool parse_args(struct parser *p, struct node_list *ret)
{
    if (!parser_accept(p, TOK_LPAREN))
        return parser_unexpected_here(p);
    if (parser_accept(p, TOK_RPAREN))
        return true;
    for (;;) {
        struct node *arg = parse_expr(p, PREC_OR);
        uint32_t comma;

        if (!arg || !parser_grow(p, &ret->v, ret->n, &ret->cap, sizeof *ret->v))
            return false;
        ret->v[ret->n++] = arg;
        if (parser_accept(p, TOK_RPAREN))
            return true;
        if (parser_peek(p) != TOK_COMMA)
            return parser_unexpected_here(p);
        comma = parser_take(p).pos;
        if (!token_starts_expr(parser_peek(p)))
            return parser_error(p, comma, "trailing commas not allowed in function call args");
    }
}

static bool raise_over(struct parser *p, struct node *n, const struct node_list *args)
{
    for (size_t i = 0; i < args->n; i++) {
        if (!node_raise(p, n, args->v[i], NULL))
            return false;
    }
    return true;
}

struct node *parse_call(struct parser *p, struct token name)
{
    struct node *n = node_new(p, NODE_CALL, token_range(&name));
    struct node_list args = {0};
    const struct function *fn = function_find(name.text);
    char q[QUOTED_MAX];

    if (!n || !parse_args(p, &args) || !raise_over(p, n, &args))
        return NULL;
    n->pos.end = p->last_end;
    if (!fn) {
        parser_error(p, name.pos, "unknown function with name %s", quoted(q, name.text));
        return NULL;
    }
    if (fn->experimental && !p->opt->experimental_functions) {
        parser_error(p, name.pos, "function %s is not enabled", quoted(q, name.text));
        return NULL;
    }
    n->call.fn = fn;
    n->call.args = args.v;
    n->call.arg_count = args.n;
    return n;
}

/* --- label lists --- */

/* Words that may be labels in by (...), on (...): all but the few the grammar forgot or keeps. */
static bool token_names_label(enum token_type t)
{
    switch (t) {
    case TOK_BOOL:
    case TOK_GROUP_LEFT:
    case TOK_GROUP_RIGHT:
    case TOK_IGNORING:
    case TOK_ON:
    case TOK_ATAN2: return true;
    case TOK_WITHOUT: return false;
    default: return token_names_metric(t);
    }
}

static bool parse_label(struct parser *p, struct str *ret)
{
    struct token t;
    char q[QUOTED_MAX];

    if (!token_names_label(parser_peek(p)) && parser_peek(p) != TOK_STRING)
        return parser_unexpected(p, "grouping opts", "label");
    t = parser_take(p);
    *ret = t.type == TOK_STRING ? parse_string(p, t) : t.text;
    if (!ret->p)
        return false;
    if (ret->n == 0 || !utf8_valid(*ret))
        return parser_error(p, t.pos, "invalid label name for grouping: %s", quoted(q, *ret));
    return true;
}

bool parse_grouping(struct parser *p, struct str_list *ret)
{
    static const char where[] = "grouping opts";

    if (!parser_accept(p, TOK_LPAREN))
        return parser_unexpected(p, where, "\"(\"");
    while (parser_peek(p) != TOK_RPAREN) {
        struct str label;

        if (!parse_label(p, &label) || !parser_grow(p, &ret->v, ret->n, &ret->cap, sizeof *ret->v))
            return false;
        ret->v[ret->n++] = label;
        if (parser_peek(p) == TOK_RPAREN)
            break;
        if (!parser_accept(p, TOK_COMMA))
            return parser_unexpected(p, where, "\",\" or \")\"");
    }
    parser_take(p);
    return true;
}

/* --- aggregations --- */

static enum agg_op agg_op_of(enum token_type t)
{
    static const enum agg_op ops[] = {
        [TOK_SUM - TOK_SUM] = AGG_SUM,           [TOK_AVG - TOK_SUM] = AGG_AVG,
        [TOK_MIN - TOK_SUM] = AGG_MIN,           [TOK_MAX - TOK_SUM] = AGG_MAX,
        [TOK_COUNT - TOK_SUM] = AGG_COUNT,       [TOK_GROUP - TOK_SUM] = AGG_GROUP,
        [TOK_STDDEV - TOK_SUM] = AGG_STDDEV,     [TOK_STDVAR - TOK_SUM] = AGG_STDVAR,
        [TOK_TOPK - TOK_SUM] = AGG_TOPK,         [TOK_BOTTOMK - TOK_SUM] = AGG_BOTTOMK,
        [TOK_QUANTILE - TOK_SUM] = AGG_QUANTILE, [TOK_COUNT_VALUES - TOK_SUM] = AGG_COUNT_VALUES,
        [TOK_LIMITK - TOK_SUM] = AGG_LIMITK,     [TOK_LIMIT_RATIO - TOK_SUM] = AGG_LIMIT_RATIO,
    };

    ASSERT(token_is_aggregation(t));
    return ops[t - TOK_SUM];
}

static bool takes_param(enum agg_op op)
{
    return op >= AGG_TOPK;
}

/* by (...) or without (...), if it is next. */
static bool parse_agg_modifier(struct parser *p, struct node *n)
{
    struct str_list labels = {0};
    enum token_type next = parser_peek(p);

    if (next != TOK_BY && next != TOK_WITHOUT)
        return true;
    parser_take(p);
    if (!parse_grouping(p, &labels))
        return false;
    n->agg.has_grouping = true;
    n->agg.without = next == TOK_WITHOUT;
    n->agg.grouping = labels.v;
    n->agg.grouping_count = labels.n;
    return true;
}

static bool agg_set_args(struct parser *p, struct node *n, const struct node_list *args)
{
    size_t want = takes_param(n->agg.op) ? 2 : 1;

    if (args->n == 0)
        return parser_error(p, n->pos.start, "no arguments for aggregate expression provided");
    if (!p->opt->experimental_functions && (n->agg.op == AGG_LIMITK || n->agg.op == AGG_LIMIT_RATIO))
        return parser_error(p, n->pos.start,
                            "%s() is experimental and must be enabled with "
                            "--enable-feature=promql-experimental-functions",
                            agg_text(n->agg.op));
    if (args->n != want)
        return parser_error(p, n->pos.start,
                            "wrong number of arguments for aggregate expression provided, expected %zu, got %zu", want,
                            args->n);
    n->agg.param = want == 2 ? args->v[0] : NULL;
    n->agg.expr = args->v[want - 1];
    return true;
}

static bool parse_agg_parts(struct parser *p, struct node *n)
{
    struct node_list args = {0};
    bool before;

    if (!parse_agg_modifier(p, n))
        return false;
    before = n->agg.has_grouping;
    if (!parse_args(p, &args) || !raise_over(p, n, &args))
        return false;
    n->pos.end = p->last_end;
    if (!before && !parse_agg_modifier(p, n))
        return false;
    if (n->agg.has_grouping && !before)
        n->pos.end = p->last_end;
    return p->rc == 0 && agg_set_args(p, n, &args);
}

struct node *parse_aggregation(struct parser *p, struct token op)
{
    const char *where = p->where, *expected = p->expected;
    struct node *n = node_new(p, NODE_AGGREGATE, token_range(&op));
    bool ok;

    if (!n)
        return NULL;
    n->agg.op = agg_op_of(op.type);
    p->where = "aggregation";
    p->expected = NULL;
    ok = parse_agg_parts(p, n);
    p->where = where;
    p->expected = expected;
    return ok ? n : NULL;
}
