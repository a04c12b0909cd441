/* Expressions by climbing precedences: signs, primaries, binary operators and their modifiers. */
#include "promql/parse.h"

static const struct {
    enum token_type token;
    enum binop op;
    int prec;
} binops[] = {
    {TOK_ADD, OP_ADD, PREC_ADD},         {TOK_SUB, OP_SUB, PREC_ADD},         {TOK_MUL, OP_MUL, PREC_MUL},
    {TOK_DIV, OP_DIV, PREC_MUL},         {TOK_MOD, OP_MOD, PREC_MUL},         {TOK_POW, OP_POW, PREC_POW},
    {TOK_ATAN2, OP_ATAN2, PREC_MUL},     {TOK_EQLC, OP_EQ, PREC_COMPARE},     {TOK_NEQ, OP_NEQ, PREC_COMPARE},
    {TOK_LSS, OP_LT, PREC_COMPARE},      {TOK_LTE, OP_LTE, PREC_COMPARE},     {TOK_GTR, OP_GT, PREC_COMPARE},
    {TOK_GTE, OP_GTE, PREC_COMPARE},     {TOK_TRIM_UPPER, OP_TRIM_UPPER, PREC_COMPARE},
    {TOK_TRIM_LOWER, OP_TRIM_LOWER, PREC_COMPARE}, {TOK_AND, OP_AND, PREC_AND},
    {TOK_UNLESS, OP_UNLESS, PREC_AND},   {TOK_OR, OP_OR, PREC_OR},
};

static size_t binop_row(enum token_type t)
{
    size_t i = 0;

    while (i < ARRAY_LEN(binops) && binops[i].token != t)
        i++;
    return i;
}

int binop_precedence(enum token_type t)
{
    size_t i = binop_row(t);

    return i < ARRAY_LEN(binops) ? binops[i].prec : PREC_NONE;
}

/* --- primaries --- */

static struct node *parse_number_literal(struct parser *p, struct token t)
{
    struct node *n = node_new(p, NODE_NUMBER, token_range(&t));

    if (!n || !parse_number_or_duration(p, t, &n->number.value))
        return NULL;
    n->number.is_duration = t.type == TOK_DURATION;
    return n;
}

static struct node *parse_string_literal(struct parser *p, struct token t)
{
    struct node *n = node_new(p, NODE_STRING, token_range(&t));

    if (!n)
        return NULL;
    n->string = parse_string(p, t);
    return n->string.p ? n : NULL;
}

static struct node *parse_parens(struct parser *p, struct token open)
{
    struct node *inner, *n = node_new(p, NODE_PAREN, token_range(&open));

    inner = n ? parse_expr(p, PREC_OR) : NULL;
    if (!inner)
        return NULL;
    if (parser_peek(p) != TOK_RPAREN) {
        parser_unexpected_here(p);
        return NULL;
    }
    n->pos.end = parser_take(p).pos + 1;
    n->paren = inner;
    return node_raise(p, n, inner, NULL) ? n : NULL;
}

/* A word: an aggregation, a call or a selector, which what follows it decides. */
static struct node *parse_word(struct parser *p, struct token word)
{
    bool callable = word.type == TOK_IDENT || (word.type >= TOK_START && word.type <= TOK_MIN_OF);
    enum token_type next = parser_peek(p);

    if (token_is_aggregation(word.type) && (next == TOK_LPAREN || next == TOK_BY || next == TOK_WITHOUT))
        return parse_aggregation(p, word);
    if (callable && next == TOK_LPAREN)
        return parse_call(p, word);
    return parse_selector_named(p, word);
}

static struct node *parse_primary(struct parser *p)
{
    enum token_type next = parser_peek(p);

    switch (next) {
    case TOK_NUMBER:
    case TOK_DURATION: return parse_number_literal(p, parser_take(p));
    case TOK_STRING: return parse_string_literal(p, parser_take(p));
    case TOK_LPAREN: return parse_parens(p, parser_take(p));
    default: break;
    }
    return token_names_metric(next) ? parse_word(p, parser_take(p)) : parse_selector(p);
}

/* A sign in front of a number becomes part of it. */
static struct node *parse_sign(struct parser *p, struct token sign)
{
    bool minus = sign.type == TOK_SUB;
    struct node *n, *e = parse_expr(p, PREC_POW);

    if (!e)
        return NULL;
    if (e->type == NODE_NUMBER) {
        e->number.value = minus ? -e->number.value : e->number.value;
        e->pos.start = sign.pos;
        return e;
    }
    n = node_new(p, NODE_UNARY, (struct pos_range){sign.pos, e->pos.end});
    if (!n || !node_raise(p, n, e, NULL))
        return NULL;
    n->unary.minus = minus;
    n->unary.expr = e;
    return n;
}

static struct node *parse_operand(struct parser *p)
{
    enum token_type next = parser_peek(p);
    struct node *e;

    if (next == TOK_ADD || next == TOK_SUB)
        return parse_sign(p, parser_take(p));
    e = parse_primary(p);
    return e ? parse_postfix(p, e) : NULL;
}

/* --- binary operators --- */

/* ( number ) */
static bool parse_fill_value(struct parser *p, double *ret)
{
    bool minus = false;
    struct token t;

    if (!parser_accept(p, TOK_LPAREN))
        return parser_unexpected_here(p);
    if (parser_peek(p) == TOK_ADD || parser_peek(p) == TOK_SUB)
        minus = parser_take(p).type == TOK_SUB;
    if (parser_peek(p) != TOK_NUMBER && parser_peek(p) != TOK_DURATION)
        return parser_unexpected_here(p);
    t = parser_take(p);
    if (!parse_number_or_duration(p, t, ret))
        return false;
    *ret = minus ? -*ret : *ret;
    return parser_accept(p, TOK_RPAREN) || parser_unexpected_here(p);
}

/* fill(x), or fill_left(x) and fill_right(y) in any order, each at most once. */
static bool parse_fill(struct parser *p, struct node *n)
{
    if (parser_accept(p, TOK_FILL)) {
        if (!parse_fill_value(p, &n->binary.fill_lhs))
            return false;
        n->binary.fill_rhs = n->binary.fill_lhs;
        n->binary.fill_lhs_set = n->binary.fill_rhs_set = true;
        return true;
    }
    for (int i = 0; i < 2; i++) {
        if (!n->binary.fill_lhs_set && parser_accept(p, TOK_FILL_LEFT)) {
            if (!parse_fill_value(p, &n->binary.fill_lhs))
                return false;
            n->binary.fill_lhs_set = true;
        } else if (!n->binary.fill_rhs_set && parser_accept(p, TOK_FILL_RIGHT)) {
            if (!parse_fill_value(p, &n->binary.fill_rhs))
                return false;
            n->binary.fill_rhs_set = true;
        }
    }
    return true;
}

static bool parse_matching(struct parser *p, struct node *n)
{
    struct str_list labels = {0};
    enum token_type next = parser_peek(p);

    if (next != TOK_ON && next != TOK_IGNORING)
        return true;
    n->binary.on = parser_take(p).type == TOK_ON;
    n->binary.has_matching = true;
    if (!parse_grouping(p, &labels))
        return false;
    n->binary.match_labels = labels.v;
    n->binary.match_label_count = labels.n;
    next = parser_peek(p);
    if (next != TOK_GROUP_LEFT && next != TOK_GROUP_RIGHT)
        return true;
    n->binary.card = parser_take(p).type == TOK_GROUP_LEFT ? CARD_MANY_TO_ONE : CARD_ONE_TO_MANY;
    if (token_starts_expr(parser_peek(p)) && parser_peek(p) != TOK_LPAREN)
        return true;
    labels = (struct str_list){0};
    if (!parse_grouping(p, &labels))
        return false;
    n->binary.include = labels.v;
    n->binary.include_count = labels.n;
    return true;
}

/* The operator is the next token. */
static struct node *parse_binary(struct parser *p, struct node *lhs)
{
    size_t row = binop_row(parser_take(p).type);
    int prec = binops[row].prec;
    struct node *n = node_new(p, NODE_BINARY, lhs->pos);

    if (!n)
        return NULL;
    n->binary.op = binops[row].op;
    n->binary.lhs = lhs;
    n->binary.return_bool = parser_accept(p, TOK_BOOL);
    if (!parse_matching(p, n) || !parse_fill(p, n))
        return NULL;
    n->binary.rhs = parse_expr(p, prec == PREC_POW ? prec : prec + 1);
    if (!n->binary.rhs || !node_raise(p, n, lhs, n->binary.rhs))
        return NULL;
    n->pos.end = n->binary.rhs->pos.end;
    if (!p->opt->fill_modifiers && (n->binary.fill_lhs_set || n->binary.fill_rhs_set)) {
        parser_error(p, n->pos.start, "binop fill modifiers are experimental and not enabled");
        return NULL;
    }
    return n;
}

struct node *parse_expr(struct parser *p, int min_prec)
{
    struct node *e = NULL;

    if (parser_enter(p))
        e = parse_operand(p);
    while (e) {
        int prec = binop_precedence(parser_peek(p));

        if (prec == PREC_NONE || prec < min_prec)
            break;
        e = parse_binary(p, e);
    }
    parser_leave(p);
    return p->rc == 0 ? e : NULL;
}
