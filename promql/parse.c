#include "promql/parse.h"
#include "common/model/labels.h"

#include <stdarg.h>
#include <stdio.h>

const struct promql_parse_opt promql_parse_all = {
    .duration_expr = true, .experimental_functions = true, .extended_ranges = true, .fill_modifiers = true};

/* --- errors --- */

static bool error_at(struct parser *p, int rc, uint32_t pos, const char *fmt, va_list ap) PRINTF(4, 0);
static bool error_at(struct parser *p, int rc, uint32_t pos, const char *fmt, va_list ap)
{
    char reason[ERR_TEXT_MAX];
    struct str text = p->ast->text;
    size_t line = 1, line_start = 0;

    if (p->rc != 0)
        return false;
    ASSERT(pos <= text.n);
    vsnprintf(reason, sizeof reason, fmt, ap);
    for (size_t i = 0; i < pos; i++) {
        if (text.p[i] == '\n') {
            line++;
            line_start = i + 1;
        }
    }
    if (text.n == 0)
        p->rc = err_set(p->err, rc, "unknown position: parse error: %s", reason);
    else
        p->rc = err_set(p->err, rc, "%zu:%zu: parse error: %s", line, pos - line_start + 1, reason);
    return false;
}

bool parser_error(struct parser *p, uint32_t pos, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_at(p, RC_INVALID, pos, fmt, ap);
    va_end(ap);
    return false;
}

bool parser_limit(struct parser *p, uint32_t pos, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_at(p, RC_LIMIT, pos, fmt, ap);
    va_end(ap);
    return false;
}

bool parser_nomem(struct parser *p)
{
    if (p->rc == 0)
        p->rc = err_set(p->err, RC_NOMEM, "query needs too much memory to parse");
    return false;
}

const char *quoted(char out[QUOTED_MAX], struct str s)
{
    struct buf b;

    buf_init(&b, QUOTED_MAX - 1);
    labels_quote(&b, str_sub(s, 0, MIN(s.n, (size_t)700)));
    snprintf(out, QUOTED_MAX, "%.*s", STR_FMT(buf_view(&b)));
    buf_fini(&b);
    return out;
}

bool parser_unexpected(struct parser *p, const char *where, const char *expected)
{
    struct buf b;

    /* A broken token has been reported when it was read. */
    if (parser_peek(p) == TOK_ERROR)
        return false;
    buf_init(&b, ERR_TEXT_MAX);
    token_describe(&b, &p->tok);
    parser_error(p, p->tok.pos, "unexpected %.*s%s%s%s%s", STR_FMT(buf_view(&b)), where ? " in " : "",
                 where ? where : "", expected ? ", expected " : "", expected ? expected : "");
    buf_fini(&b);
    return false;
}

bool parser_unexpected_here(struct parser *p)
{
    return parser_unexpected(p, p->where, p->expected);
}

/* --- tokens --- */

enum token_type parser_peek(struct parser *p)
{
    if (!p->has_tok) {
        p->tok = lexer_next(&p->lex);
        p->has_tok = true;
        if (p->tok.type == TOK_ERROR)
            parser_error(p, p->tok.pos, "%.*s", STR_FMT(p->tok.text));
    }
    return p->tok.type;
}

struct token parser_take(struct parser *p)
{
    parser_peek(p);
    p->has_tok = false;
    p->last_end = token_range(&p->tok).end;
    return p->tok;
}

bool parser_accept(struct parser *p, enum token_type type)
{
    if (parser_peek(p) != type)
        return false;
    parser_take(p);
    return true;
}

struct pos_range token_range(const struct token *t)
{
    return (struct pos_range){t->pos, t->pos + (uint32_t)t->text.n};
}

/* --- memory and ceilings --- */

bool parser_enter(struct parser *p)
{
    if (++p->depth > PROMQL_DEPTH_MAX)
        return parser_limit(p, (uint32_t)p->lex.start, "expression is nested deeper than %d levels", PROMQL_DEPTH_MAX);
    return true;
}

void parser_leave(struct parser *p)
{
    ASSERT(p->depth > 0);
    p->depth--;
}

bool parser_grow(struct parser *p, void *list_v, size_t n, size_t *cap, size_t size)
{
    void *old, *grown;

    if (n < *cap)
        return true;
    grown = arena_array(p->arena, *cap ? *cap * 2 : 4, size);
    if (!grown)
        return parser_nomem(p);
    memcpy(&old, list_v, sizeof old);
    if (n)
        memcpy(grown, old, n * size);
    memcpy(list_v, &grown, sizeof grown);
    *cap = *cap ? *cap * 2 : 4;
    return true;
}

struct node *node_new(struct parser *p, enum node_type type, struct pos_range pos)
{
    struct node *n = arena_zalloc(p->arena, sizeof *n);

    if (!n) {
        parser_nomem(p);
        return NULL;
    }
    n->type = type;
    n->pos = pos;
    n->height = 1;
    return n;
}

bool node_raise(struct parser *p, struct node *n, const struct node *a, const struct node *b)
{
    n->height = MAX(n->height, 1 + MAX(a ? a->height : 0, b ? b->height : 0));
    if (n->height > PROMQL_HEIGHT_MAX)
        return parser_limit(p, n->pos.start, "expression has more than %d operators in a row", PROMQL_HEIGHT_MAX);
    return true;
}

/* --- entry points --- */

static struct node *parse_whole(struct parser *p)
{
    struct node *root;

    if (parser_peek(p) == TOK_EOF) {
        parser_error(p, 0, "no expression found in input");
        return NULL;
    }
    root = parse_expr(p, PREC_OR);
    if (root && parser_peek(p) != TOK_EOF)
        parser_unexpected(p, NULL, NULL);
    if (p->rc == 0)
        check_types(p, root);
    return root;
}

static struct node *parse_only_selector(struct parser *p)
{
    struct node *n = parse_selector(p);

    if (n && parser_peek(p) != TOK_EOF)
        parser_unexpected(p, NULL, NULL);
    return n;
}

static int parse_with(struct str text, const struct promql_parse_opt *opt, struct arena *arena, struct promql_ast *ret,
                      struct err *err, struct node *(*grammar)(struct parser *))
{
    struct promql_ast ast = {.text = text, .arena = arena};
    struct parser p = {.opt = opt, .arena = arena, .ast = &ast, .err = err};

    if (text.n > PROMQL_TEXT_BYTES_MAX)
        return err_set(err, RC_LIMIT, "1:1: parse error: query of %zu bytes is longer than %d", text.n,
                       PROMQL_TEXT_BYTES_MAX);
    lexer_init(&p.lex, text);
    ast.root = grammar(&p);
    if (p.rc != 0) {
        promql_ast_fini(&ast);
        return p.rc;
    }
    ASSERT(ast.root && p.depth == 0);
    *ret = ast;
    return 0;
}

int promql_parse(struct str text, const struct promql_parse_opt *opt, struct arena *arena, struct promql_ast *ret,
                 struct err *err)
{
    return parse_with(text, opt ? opt : &promql_parse_all, arena, ret, err, parse_whole);
}

int promql_parse_selector(struct str text, struct arena *arena, struct promql_ast *ret, struct err *err)
{
    return parse_with(text, &promql_parse_all, arena, ret, err, parse_only_selector);
}

void promql_ast_fini(struct promql_ast *ast)
{
    for (size_t i = 0; i < ast->selector_count; i++) {
        struct node *n = ast->selectors[i];

        for (size_t m = 0; m < n->selector.matcher_count; m++)
            matcher_fini(&n->selector.matchers[m]);
        n->selector.matcher_count = 0;
    }
    ast->selector_count = 0;
}

/* --- names --- */

const char *value_type_text(enum value_type t)
{
    static const char *const texts[] = {
        [VALUE_NONE] = "none",           [VALUE_SCALAR] = "scalar", [VALUE_VECTOR] = "instant vector",
        [VALUE_MATRIX] = "range vector", [VALUE_STRING] = "string",
    };

    ASSERT((size_t)t < ARRAY_LEN(texts));
    return texts[t];
}

const char *binop_text(enum binop op)
{
    static const char *const texts[] = {
        [OP_ADD] = "+",          [OP_SUB] = "-",   [OP_MUL] = "*", [OP_DIV] = "/", [OP_MOD] = "%", [OP_POW] = "^",
        [OP_ATAN2] = "atan2",    [OP_EQ] = "==",   [OP_NEQ] = "!=", [OP_LT] = "<", [OP_LTE] = "<=", [OP_GT] = ">",
        [OP_GTE] = ">=",         [OP_AND] = "and", [OP_OR] = "or", [OP_UNLESS] = "unless", [OP_TRIM_UPPER] = "</",
        [OP_TRIM_LOWER] = ">/",
    };

    ASSERT((size_t)op < ARRAY_LEN(texts));
    return texts[op];
}

const char *agg_text(enum agg_op op)
{
    static const char *const texts[] = {
        [AGG_SUM] = "sum",           [AGG_AVG] = "avg",       [AGG_MIN] = "min",
        [AGG_MAX] = "max",           [AGG_COUNT] = "count",   [AGG_GROUP] = "group",
        [AGG_STDDEV] = "stddev",     [AGG_STDVAR] = "stdvar", [AGG_TOPK] = "topk",
        [AGG_BOTTOMK] = "bottomk",   [AGG_QUANTILE] = "quantile", [AGG_COUNT_VALUES] = "count_values",
        [AGG_LIMITK] = "limitk",     [AGG_LIMIT_RATIO] = "limit_ratio",
    };

    ASSERT((size_t)op < ARRAY_LEN(texts));
    return texts[op];
}
