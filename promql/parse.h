/* parse.h - what the files of the parser share; nobody else includes it.
 * Recursive descent with one token of lookahead over the grammar of Prometheus 3.14 (generated_parser.y). Messages and
 * their order are part of the contract: the first error wins, so a token is only fetched (and its lexical error only
 * seen) where the LALR parser would fetch it too. Functions return NULL or false once p->rc is set; nobody goes on.
 * Every recursion passes parser_enter(); heights of trees are counted in the nodes. */
#pragma once
#include "promql/ast.h"
#include "promql/lexer.h"

/* Precedences of binary operators, loosest first; a sign binds as * does. */
enum { PREC_NONE, PREC_OR, PREC_AND, PREC_COMPARE, PREC_ADD, PREC_MUL, PREC_POW };

struct parser {
    struct lexer lex;
    struct token tok; /* lookahead, when has_tok */
    bool has_tok;
    uint32_t last_end; /* behind the token taken last */
    const struct promql_parse_opt *opt;
    struct arena *arena;
    struct promql_ast *ast;
    struct err *err;
    int rc; /* of the first error */
    unsigned depth;
    size_t selector_cap, matcher_count, regex_count, regex_size;
    const char *where, *expected; /* the construct around, for messages; NULL when there is none */
};

struct str_list {
    struct str *v;
    size_t n, cap;
};
struct node_list {
    struct node **v;
    size_t n, cap;
};

/* --- parse.c --- */
enum token_type parser_peek(struct parser *p);
struct token parser_take(struct parser *p);
bool parser_accept(struct parser *p, enum token_type type); /* takes it if it is next */
/* "unexpected <next token> in <where>, expected <expected>"; false always. where and expected may be NULL. */
bool parser_unexpected(struct parser *p, const char *where, const char *expected);
/* The same for the construct around. */
bool parser_unexpected_here(struct parser *p);
bool parser_error(struct parser *p, uint32_t pos, const char *fmt, ...) PRINTF(3, 4); /* RC_INVALID; false always */
bool parser_limit(struct parser *p, uint32_t pos, const char *fmt, ...) PRINTF(3, 4); /* RC_LIMIT */
bool parser_nomem(struct parser *p);
bool parser_enter(struct parser *p);
void parser_leave(struct parser *p);
/* Room for one more element of a growing arena array; false (RC_NOMEM) when the budget is spent. */
bool parser_grow(struct parser *p, void *list_v, size_t n, size_t *cap, size_t size);
struct node *node_new(struct parser *p, enum node_type type, struct pos_range pos);
/* Height one above the higher child (NULL: none); false past the ceiling. */
bool node_raise(struct parser *p, struct node *n, const struct node *a, const struct node *b);
struct pos_range token_range(const struct token *t);
/* s in Go's quotes, cut at some 700 bytes, NUL-terminated, valid until the next call with the same out. */
enum { QUOTED_MAX = 1000 };
const char *quoted(char out[QUOTED_MAX], struct str s);

/* --- parse_expr.c --- */
struct node *parse_expr(struct parser *p, int min_prec);
int binop_precedence(enum token_type t); /* PREC_NONE: no binary operator */

/* --- parse_call.c --- */
struct node *parse_aggregation(struct parser *p, struct token op);
bool token_starts_expr(enum token_type t);
struct node *parse_call(struct parser *p, struct token name);
bool parse_grouping(struct parser *p, struct str_list *ret); /* ( label, ... ) */

/* --- parse_selector.c --- */
/* name, name{...} or {...}, without what may follow; the first token is next, or the name has been taken. */
struct node *parse_selector(struct parser *p);
bool token_names_metric(enum token_type t); /* words that may, outside of braces */
struct node *parse_selector_named(struct parser *p, struct token name);
/* Offset, @, range, subquery, anchored, smoothed after e, as often as they come. */
struct node *parse_postfix(struct parser *p, struct node *e);

/* --- parse_duration.c --- */
/* What stands in brackets: a literal above zero gives *ret_ms and *ret_expr NULL, anything else an expression. */
bool parse_range_duration(struct parser *p, int64_t *ret_ms, struct dur_expr **ret_expr);
/* What stands after offset: a literal stops there, parentheses may be calculated with. */
bool parse_offset_duration(struct parser *p, int64_t *ret_ms, struct dur_expr **ret_expr);

/* --- parse_literal.c --- */
bool parse_number(struct parser *p, struct token t, double *ret);          /* TOK_NUMBER */
bool parse_duration_literal(struct parser *p, struct token t, double *ret); /* TOK_DURATION, in seconds */
bool parse_number_or_duration(struct parser *p, struct token t, double *ret);
struct str parse_string(struct parser *p, struct token t); /* unquoted, in the arena; p NULL on error */

/* --- check.c --- */
bool check_types(struct parser *p, struct node *root);
