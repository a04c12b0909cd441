/* Durations where ranges, steps and offsets stand: literals and arithmetic over them. */
#include "promql/parse.h"

#include <math.h>

/* As nanoseconds in 63 bits. */
static bool out_of_range(double seconds)
{
    return isnan(seconds) || seconds > 0x1p63 / 1e9 || seconds < -0x1p63 / 1e9;
}

static struct dur_expr *dur_new(struct parser *p, enum dur_op op, struct pos_range pos, struct dur_expr *lhs,
                                struct dur_expr *rhs)
{
    struct dur_expr *d = arena_zalloc(p->arena, sizeof *d);
    uint32_t height = 1 + MAX(lhs ? lhs->height : 0, rhs ? rhs->height : 0);

    if (!d) {
        parser_nomem(p);
        return NULL;
    }
    if (height > PROMQL_HEIGHT_MAX) {
        parser_limit(p, pos.start, "duration has more than %d operators in a row", PROMQL_HEIGHT_MAX);
        return NULL;
    }
    *d = (struct dur_expr){.op = op, .lhs = lhs, .rhs = rhs, .height = height, .pos = pos};
    return d;
}

/* Every form but a plain literal is experimental; d names the place. */
static bool experimental(struct parser *p, const struct dur_expr *d)
{
    if (!p->opt->duration_expr)
        return parser_error(p, d->pos.start, "experimental duration expression is not enabled");
    return true;
}

static struct dur_expr *dur_climb(struct parser *p, int min_prec);

static struct dur_expr *parse_literal(struct parser *p)
{
    struct token t = parser_take(p);
    struct dur_expr *d = dur_new(p, DUR_LITERAL, token_range(&t), NULL, NULL);

    if (!d || !parse_number_or_duration(p, t, &d->seconds))
        return NULL;
    d->is_number = t.type == TOK_NUMBER;
    return d;
}

static struct dur_expr *range_checked(struct parser *p, struct dur_expr *d, uint32_t pos)
{
    if (!d || !out_of_range(d->seconds))
        return d;
    parser_error(p, pos, "duration out of range");
    return NULL;
}

/* step() and range() */
static struct dur_expr *parse_query_length(struct parser *p)
{
    struct token t = parser_take(p);
    struct dur_expr *d = dur_new(p, t.type == TOK_STEP ? DUR_STEP : DUR_RANGE, token_range(&t), NULL, NULL);

    if (!d)
        return NULL;
    if (!parser_accept(p, TOK_LPAREN) || parser_peek(p) != TOK_RPAREN) {
        parser_unexpected_here(p);
        return NULL;
    }
    d->pos.end = parser_take(p).pos + 1;
    return d;
}

/* min_of(a, b) and max_of(a, b) */
static struct dur_expr *parse_extreme(struct parser *p)
{
    struct token t = parser_take(p);
    struct dur_expr *lhs, *rhs = NULL;

    if (!parser_accept(p, TOK_LPAREN)) {
        parser_unexpected_here(p);
        return NULL;
    }
    lhs = dur_climb(p, PREC_ADD);
    if (lhs && parser_accept(p, TOK_COMMA))
        rhs = dur_climb(p, PREC_ADD);
    else if (lhs)
        parser_unexpected_here(p);
    if (!rhs)
        return NULL;
    if (parser_peek(p) != TOK_RPAREN) {
        parser_unexpected_here(p);
        return NULL;
    }
    parser_take(p);
    /* Its place is that of the operands, as for every operation with two. */
    return dur_new(p, t.type == TOK_MIN_OF ? DUR_MIN : DUR_MAX, (struct pos_range){lhs->pos.start, rhs->pos.end}, lhs,
                   rhs);
}

/* The duration between parentheses; the opening one is next. */
static struct dur_expr *parse_inside_parens(struct parser *p)
{
    struct dur_expr *d;

    parser_take(p);
    d = dur_climb(p, PREC_ADD);
    if (!d)
        return NULL;
    if (!parser_accept(p, TOK_RPAREN)) {
        parser_unexpected_here(p);
        return NULL;
    }
    return d;
}

/* Parentheses around a literal, or around parentheses, leave no trace. */
static struct dur_expr *wrap(struct parser *p, struct dur_expr *d)
{
    return d->op == DUR_LITERAL || d->op == DUR_PAREN ? d : dur_new(p, DUR_PAREN, d->pos, NULL, d);
}

/* A sign in front of a literal becomes part of it; a plus vanishes. */
static struct dur_expr *apply_sign(struct parser *p, struct token sign, struct dur_expr *d)
{
    if (d->op == DUR_LITERAL) {
        d->seconds = sign.type == TOK_SUB ? -d->seconds : d->seconds;
        d->pos.start = sign.pos;
        return range_checked(p, d, sign.pos);
    }
    return sign.type == TOK_SUB ? dur_new(p, DUR_NEG, (struct pos_range){sign.pos, d->pos.end}, NULL, d) : d;
}

static struct dur_expr *parse_primary(struct parser *p)
{
    struct dur_expr *d = NULL;

    switch (parser_peek(p)) {
    case TOK_NUMBER:
    case TOK_DURATION:
        d = parse_literal(p);
        return d ? range_checked(p, d, d->pos.start) : NULL;
    case TOK_STEP:
    case TOK_RANGE:
        d = parse_query_length(p);
        return d && experimental(p, d) ? d : NULL;
    case TOK_MAX_OF:
    case TOK_MIN_OF:
        d = parse_extreme(p);
        return d && experimental(p, d) ? d : NULL;
    case TOK_LPAREN:
        d = parse_inside_parens(p);
        return d && experimental(p, d) ? wrap(p, d) : NULL;
    default: parser_unexpected_here(p); return NULL;
    }
}

static struct dur_expr *parse_operand(struct parser *p)
{
    enum token_type next = parser_peek(p);

    if (next == TOK_ADD || next == TOK_SUB) {
        struct token sign = parser_take(p);
        struct dur_expr *d = dur_climb(p, PREC_POW);

        return d ? apply_sign(p, sign, d) : NULL;
    }
    return parse_primary(p);
}

static enum dur_op dur_op_of(enum token_type t)
{
    switch (t) {
    case TOK_ADD: return DUR_ADD;
    case TOK_SUB: return DUR_SUB;
    case TOK_MUL: return DUR_MUL;
    case TOK_DIV: return DUR_DIV;
    case TOK_MOD: return DUR_MOD;
    case TOK_POW: return DUR_POW;
    default: return DUR_LITERAL;
    }
}

static struct dur_expr *parse_binary(struct parser *p, struct dur_expr *lhs)
{
    struct token t = parser_take(p);
    enum dur_op op = dur_op_of(t.type);
    int prec = binop_precedence(t.type);
    struct dur_expr *rhs = dur_climb(p, prec == PREC_POW ? prec : prec + 1);

    if (!rhs || !experimental(p, lhs))
        return NULL;
    if ((op == DUR_DIV || op == DUR_MOD) && rhs->op == DUR_LITERAL && rhs->seconds == 0) {
        parser_error(p, t.pos, "%s by zero", op == DUR_DIV ? "division" : "modulo");
        return NULL;
    }
    return dur_new(p, op, (struct pos_range){lhs->pos.start, rhs->pos.end}, lhs, rhs);
}

static struct dur_expr *climb_from(struct parser *p, struct dur_expr *d, int min_prec)
{
    while (d && dur_op_of(parser_peek(p)) != DUR_LITERAL && binop_precedence(p->tok.type) >= min_prec)
        d = parse_binary(p, d);
    return p->rc == 0 ? d : NULL;
}

static struct dur_expr *dur_climb(struct parser *p, int min_prec)
{
    struct dur_expr *d = NULL;

    if (parser_enter(p))
        d = climb_from(p, parse_operand(p), min_prec);
    parser_leave(p);
    return d;
}

/* Milliseconds of a literal, through nanoseconds as Prometheus goes. */
static int64_t literal_ms(const struct dur_expr *d)
{
    double ns = round(d->seconds * 1e9);

    return ns >= 0x1p63 ? INT64_MAX / 1000000 : (int64_t)ns / 1000000;
}

bool parse_range_duration(struct parser *p, int64_t *ret_ms, struct dur_expr **ret_expr)
{
    struct dur_expr *d = dur_climb(p, PREC_ADD);

    if (!d)
        return false;
    if (d->op != DUR_LITERAL) {
        *ret_ms = 0;
        *ret_expr = d;
        return true;
    }
    /* Less than a millisecond is nothing here; Prometheus would select an empty range. */
    if (!(literal_ms(d) > 0))
        return parser_error(p, d->pos.start, "duration must be greater than 0");
    *ret_ms = literal_ms(d);
    *ret_expr = NULL;
    return true;
}

/* With a sign in front only a single thing follows, except after a second sign. */
static struct dur_expr *parse_signed_offset(struct parser *p)
{
    struct token sign = parser_take(p);
    struct dur_expr *d;

    switch (parser_peek(p)) {
    case TOK_NUMBER:
    case TOK_DURATION: d = parse_literal(p); break;
    case TOK_STEP:
    case TOK_RANGE: d = parse_query_length(p); break;
    case TOK_MAX_OF:
    case TOK_MIN_OF: d = parse_extreme(p); break;
    case TOK_LPAREN:
        d = parse_inside_parens(p);
        d = d ? wrap(p, d) : NULL;
        /* The plus is kept: offset +(1m) ends with the parenthesis, offset (1m) goes on with what may follow. */
        if (d && d->op == DUR_PAREN && sign.type == TOK_ADD)
            return dur_new(p, DUR_POS, (struct pos_range){d->pos.start, d->pos.end}, NULL, d);
        return d ? apply_sign(p, sign, d) : NULL;
    default:
        d = dur_climb(p, PREC_POW);
        return d ? climb_from(p, apply_sign(p, sign, d), PREC_ADD) : NULL;
    }
    if (d && d->op != DUR_LITERAL) {
        d = dur_new(p, sign.type == TOK_SUB ? DUR_NEG : DUR_POS, (struct pos_range){sign.pos, d->pos.end}, NULL, d);
        return d && experimental(p, d) ? d : NULL;
    }
    return d ? apply_sign(p, sign, d) : NULL;
}

bool parse_offset_duration(struct parser *p, int64_t *ret_ms, struct dur_expr **ret_expr)
{
    enum token_type next = parser_peek(p);
    struct dur_expr *d;

    if (next == TOK_ADD || next == TOK_SUB)
        d = parse_signed_offset(p);
    else if (next == TOK_LPAREN)
        d = climb_from(p, parse_primary(p), PREC_ADD);
    else
        d = parse_primary(p);
    if (!d || p->rc != 0)
        return false;
    *ret_ms = d->op == DUR_LITERAL ? literal_ms(d) : 0;
    *ret_expr = d->op == DUR_LITERAL ? NULL : d;
    return true;
}
