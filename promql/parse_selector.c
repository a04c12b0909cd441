/* Selectors, their matchers, and what may follow: offset, @, [range], [range:step], anchored, smoothed. */
#include "common/shim/shim.h"
#include "promql/parse.h"

#include <math.h>

bool token_names_metric(enum token_type t)
{
    switch (t) {
    case TOK_IDENT:
    case TOK_METRIC_IDENT:
    case TOK_AND:
    case TOK_OR:
    case TOK_UNLESS:
    case TOK_BY:
    case TOK_WITHOUT:
    case TOK_OFFSET:
    case TOK_ANCHORED:
    case TOK_SMOOTHED:
    case TOK_FILL:
    case TOK_FILL_LEFT:
    case TOK_FILL_RIGHT:
    case TOK_START:
    case TOK_END:
    case TOK_STEP:
    case TOK_RANGE:
    case TOK_MAX_OF:
    case TOK_MIN_OF: return true;
    default: return token_is_aggregation(t);
    }
}

/* --- matchers --- */

static bool add_matcher(struct parser *p, struct node *n, size_t *cap, uint32_t pos, enum matcher_type type,
                        struct str name, struct str value)
{
    bool regex = type == MATCH_RE || type == MATCH_NRE;
    struct matcher *m;
    struct err why;

    if (++p->matcher_count > PROMQL_MATCHERS_MAX)
        return parser_limit(p, pos, "query has more than %d matchers", PROMQL_MATCHERS_MAX);
    if (regex && ++p->regex_count > PROMQL_REGEX_MAX)
        return parser_limit(p, pos, "query has more than %d regular expressions", PROMQL_REGEX_MAX);
    if (!parser_grow(p, &n->selector.matchers, n->selector.matcher_count, cap, sizeof *n->selector.matchers))
        return false;
    m = &n->selector.matchers[n->selector.matcher_count];
    if (matcher_init(m, type, name, value, &why) < 0)
        return parser_error(p, pos, "%s", err_text(&why));
    n->selector.matcher_count++;
    if (m->re)
        p->regex_size += (size_t)shim_re2_size(m->re);
    if (p->regex_size > PROMQL_REGEX_SIZE_MAX)
        return parser_limit(p, pos, "regular expressions of the query are too large");
    return true;
}

static bool matcher_type_of(enum token_type t, enum matcher_type *ret)
{
    switch (t) {
    case TOK_EQL: *ret = MATCH_EQ; return true;
    case TOK_NEQ: *ret = MATCH_NEQ; return true;
    case TOK_EQL_REGEX: *ret = MATCH_RE; return true;
    case TOK_NEQ_REGEX: *ret = MATCH_NRE; return true;
    default: return false;
    }
}

/* name op "value", or a quoted metric name alone. */
static bool parse_matcher(struct parser *p, struct node *n, size_t *cap)
{
    static const char where[] = "label matching";
    struct token label, value;
    struct str name, text;
    enum matcher_type type;

    if (parser_peek(p) != TOK_IDENT && parser_peek(p) != TOK_STRING)
        return parser_unexpected(p, where, "identifier or \"}\"");
    label = parser_take(p);
    name = label.text;
    if (label.type == TOK_STRING) {
        name = parse_string(p, label);
        if (!name.p)
            return false;
    }
    if (!matcher_type_of(parser_peek(p), &type)) {
        if (label.type == TOK_STRING)
            return add_matcher(p, n, cap, label.pos, MATCH_EQ, STR("__name__"), name);
        return parser_unexpected(p, where, "label matching operator");
    }
    parser_take(p);
    if (parser_peek(p) != TOK_STRING)
        return parser_unexpected(p, where, "string");
    value = parser_take(p);
    text = parse_string(p, value);
    return text.p && add_matcher(p, n, cap, label.pos, type, name, text);
}

/* { matcher, ... } with the brace next. */
static bool parse_matchers(struct parser *p, struct node *n, size_t *cap)
{
    ASSERT(parser_peek(p) == TOK_LBRACE);
    parser_take(p);
    while (parser_peek(p) != TOK_RBRACE) {
        if (!parse_matcher(p, n, cap))
            return false;
        if (parser_peek(p) == TOK_RBRACE)
            break;
        if (!parser_accept(p, TOK_COMMA))
            return parser_unexpected(p, "label matching", "\",\" or \"}\"");
    }
    n->pos.end = parser_take(p).pos + 1;
    return true;
}

/* Registered at once, so that matchers are freed whatever follows. */
static struct node *selector_new(struct parser *p, struct pos_range pos)
{
    struct promql_ast *ast = p->ast;
    struct node *n = node_new(p, NODE_SELECTOR, pos);

    if (!n || !parser_grow(p, &ast->selectors, ast->selector_count, &p->selector_cap, sizeof *ast->selectors))
        return NULL;
    n->selector.range_ms = -1;
    ast->selectors[ast->selector_count++] = n;
    return n;
}

struct node *parse_selector_named(struct parser *p, struct token name)
{
    struct node *n = selector_new(p, token_range(&name));
    size_t cap = 0;

    if (!n || (parser_peek(p) == TOK_LBRACE && !parse_matchers(p, n, &cap)))
        return NULL;
    n->selector.name = name.text;
    return add_matcher(p, n, &cap, name.pos, MATCH_EQ, STR("__name__"), name.text) ? n : NULL;
}

struct node *parse_selector(struct parser *p)
{
    struct node *n;
    size_t cap = 0;

    if (token_names_metric(parser_peek(p)))
        return parse_selector_named(p, parser_take(p));
    if (parser_peek(p) != TOK_LBRACE) {
        parser_unexpected_here(p);
        return NULL;
    }
    n = selector_new(p, token_range(&p->tok));
    return n && parse_matchers(p, n, &cap) ? n : NULL;
}

/* --- modifiers --- */

static bool is_range(const struct node *n)
{
    return n->type == NODE_SELECTOR && (n->selector.range_ms >= 0 || n->selector.range_expr);
}

static bool parse_offset(struct parser *p, struct node *e)
{
    const char *where = p->where, *expected = p->expected;
    int64_t ms = 0;
    struct dur_expr *expr = NULL;
    bool ok;

    p->where = "offset";
    p->expected = "number, duration, step(), or range()";
    ok = parse_offset_duration(p, &ms, &expr);
    p->where = where;
    p->expected = expected;
    if (!ok)
        return false;
    if (e->type == NODE_SELECTOR && e->selector.offset_ms == 0 && !e->selector.offset_expr) {
        e->selector.offset_ms = ms;
        e->selector.offset_expr = expr;
    } else if (e->type == NODE_SUBQUERY && e->subquery.offset_ms == 0 && !e->subquery.offset_expr) {
        e->subquery.offset_ms = ms;
        e->subquery.offset_expr = expr;
    } else if (e->type == NODE_SELECTOR || e->type == NODE_SUBQUERY) {
        return parser_error(p, e->pos.start, "offset may not be set multiple times");
    } else {
        return parser_error(p, e->pos.start,
                            "offset modifier must be preceded by an instant vector selector or range vector selector "
                            "or a subquery");
    }
    e->pos.end = p->last_end;
    return true;
}

/* Where e keeps its @, or NULL with the error set. */
static enum at_kind *at_slot(struct parser *p, struct node *e, int64_t **ret_ms)
{
    enum at_kind *kind = NULL;

    if (e->type == NODE_SELECTOR) {
        kind = &e->selector.at;
        *ret_ms = &e->selector.at_ms;
    } else if (e->type == NODE_SUBQUERY) {
        kind = &e->subquery.at;
        *ret_ms = &e->subquery.at_ms;
    } else {
        parser_error(p, e->pos.start,
                     "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery");
        return NULL;
    }
    if (*kind != AT_NONE) {
        parser_error(p, e->pos.start, "@ <timestamp> may not be set multiple times");
        return NULL;
    }
    return kind;
}

static bool parse_at_function(struct parser *p, struct node *e)
{
    static const char expected[] = "timestamp";
    enum at_kind *kind, want = parser_take(p).type == TOK_START ? AT_START : AT_END;
    int64_t *ms;

    if (!parser_accept(p, TOK_LPAREN) || parser_peek(p) != TOK_RPAREN)
        return parser_unexpected(p, "@", expected);
    e->pos.end = parser_take(p).pos + 1;
    kind = at_slot(p, e, &ms);
    if (!kind)
        return false;
    *kind = want;
    return true;
}

static bool parse_at(struct parser *p, struct node *e)
{
    enum token_type next = parser_peek(p);
    bool minus = false;
    double seconds;
    int64_t *ms;
    enum at_kind *kind;
    struct token t;

    if (next == TOK_START || next == TOK_END)
        return parse_at_function(p, e);
    if (next == TOK_ADD || next == TOK_SUB)
        minus = parser_take(p).type == TOK_SUB;
    if (parser_peek(p) != TOK_NUMBER && parser_peek(p) != TOK_DURATION)
        return parser_unexpected(p, "@", "timestamp");
    t = parser_take(p);
    if (!parse_number_or_duration(p, t, &seconds))
        return false;
    seconds = minus ? -seconds : seconds;
    if (isnan(seconds))
        return parser_error(p, e->pos.start, "timestamp out of bounds for @ modifier: NaN");
    if (isinf(seconds))
        return parser_error(p, e->pos.start, "timestamp out of bounds for @ modifier: %sInf",
                            seconds < 0 ? "-" : "+");
    if (fabs(seconds) >= 0x1p63 / 1000)
        return parser_error(p, e->pos.start, "timestamp out of bounds for @ modifier: %f", seconds);
    kind = at_slot(p, e, &ms);
    if (!kind)
        return false;
    *kind = AT_TIME;
    *ms = (int64_t)round(seconds * 1000);
    e->pos.end = token_range(&t).end;
    return true;
}

static bool set_extended(struct parser *p, struct node *e, bool anchored)
{
    const char *word = anchored ? "anchored" : "smoothed";

    if (!p->opt->extended_ranges)
        return parser_error(p, e->pos.start, "%s modifier is experimental and not enabled", word);
    if (e->type == NODE_SUBQUERY)
        return parser_error(p, e->pos.start, "%s modifier is not supported for subqueries", word);
    if (e->type != NODE_SELECTOR)
        return parser_error(p, e->pos.start, "%s modifier not implemented", word);
    *(anchored ? &e->selector.anchored : &e->selector.smoothed) = true;
    if (e->selector.anchored && e->selector.smoothed)
        return parser_error(p, e->pos.start, "anchored and smoothed modifiers cannot be used together");
    return true;
}

/* --- brackets --- */

static bool make_range(struct parser *p, struct node *e, uint32_t open, int64_t ms, struct dur_expr *expr)
{
    if (e->type != NODE_SELECTOR || is_range(e))
        return parser_error(p, open, "ranges only allowed for vector selectors");
    if (e->selector.offset_ms != 0)
        return parser_error(p, open, "no offset modifiers allowed before range");
    if (e->selector.at == AT_TIME)
        return parser_error(p, open, "no @ modifiers allowed before range");
    e->selector.range_ms = expr ? 0 : ms;
    e->selector.range_expr = expr;
    return true;
}

static struct node *make_subquery(struct parser *p, struct node *e, int64_t ms, struct dur_expr *expr)
{
    struct node *n = node_new(p, NODE_SUBQUERY, e->pos);

    if (!n || !node_raise(p, n, e, NULL))
        return NULL;
    n->subquery.expr = e;
    n->subquery.range_ms = ms;
    n->subquery.range_expr = expr;
    if (parser_peek(p) == TOK_RBRACKET)
        return n;
    p->where = "subquery selector";
    p->expected = "number, duration, step(), range(), or \"]\"";
    if (!parse_range_duration(p, &n->subquery.step_ms, &n->subquery.step_expr))
        return NULL;
    p->expected = "\"]\"";
    if (parser_peek(p) != TOK_RBRACKET)
        parser_unexpected_here(p);
    return p->rc == 0 ? n : NULL;
}

/* After the [. */
static struct node *parse_brackets(struct parser *p, struct node *e, uint32_t open)
{
    const char *where = p->where, *expected = p->expected;
    int64_t ms = 0;
    struct dur_expr *expr = NULL;

    p->where = "subquery or range selector";
    p->expected = "number, duration, step(), or range()";
    if (!parse_range_duration(p, &ms, &expr))
        return NULL;
    if (parser_accept(p, TOK_COLON)) {
        e = make_subquery(p, e, ms, expr);
        if (e)
            e->pos.end = parser_take(p).pos + 1;
    } else if (parser_peek(p) == TOK_RBRACKET) {
        uint32_t close = parser_take(p).pos;

        if (!make_range(p, e, open, ms, expr))
            return NULL;
        e->pos.end = close + 1;
    } else {
        parser_unexpected(p, "subquery or range", "\":\" or \"]\"");
        return NULL;
    }
    p->where = where;
    p->expected = expected;
    return e;
}

struct node *parse_postfix(struct parser *p, struct node *e)
{
    while (e && p->rc == 0) {
        switch (parser_peek(p)) {
        case TOK_OFFSET: parser_take(p); parse_offset(p, e); break;
        case TOK_AT: parser_take(p); parse_at(p, e); break;
        case TOK_ANCHORED: parser_take(p); set_extended(p, e, true); break;
        case TOK_SMOOTHED: parser_take(p); set_extended(p, e, false); break;
        case TOK_LBRACKET: e = parse_brackets(p, e, parser_take(p).pos); break;
        default: return e;
        }
    }
    return NULL;
}
