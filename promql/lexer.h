/* lexer.h - splits PromQL text into tokens, as Prometheus 3 splits it, errors included.
 * The language is not regular: inside [ ] only durations are known, inside { } words are never keywords, and fill is a
 * keyword only in front of a parenthesis. So the lexer carries a little state and produces one token per call.
 * Tokens borrow from the text. Not for threads. After an error every further token is that error. */
#pragma once
#include "common/base/buf.h"
#include "common/base/str.h"

/* Order matters: operators, aggregations and keywords are ranges. */
enum token_type {
    TOK_EOF, TOK_ERROR, TOK_IDENT, TOK_METRIC_IDENT /* with a colon */, TOK_NUMBER, TOK_DURATION, TOK_STRING,
    TOK_LPAREN, TOK_RPAREN, TOK_LBRACE, TOK_RBRACE, TOK_LBRACKET, TOK_RBRACKET, TOK_COMMA, TOK_COLON, TOK_EQL,
    /* operators */
    TOK_ADD, TOK_SUB, TOK_MUL, TOK_DIV, TOK_MOD, TOK_POW, TOK_ATAN2, TOK_EQLC, TOK_NEQ, TOK_LSS, TOK_LTE, TOK_GTR,
    TOK_GTE, TOK_AND, TOK_OR, TOK_UNLESS, TOK_TRIM_UPPER, TOK_TRIM_LOWER, TOK_EQL_REGEX, TOK_NEQ_REGEX, TOK_AT,
    /* aggregations */
    TOK_SUM, TOK_AVG, TOK_MIN, TOK_MAX, TOK_COUNT, TOK_GROUP, TOK_STDDEV, TOK_STDVAR, TOK_TOPK, TOK_BOTTOMK,
    TOK_QUANTILE, TOK_COUNT_VALUES, TOK_LIMITK, TOK_LIMIT_RATIO,
    /* keywords */
    TOK_BOOL, TOK_BY, TOK_WITHOUT, TOK_ON, TOK_IGNORING, TOK_GROUP_LEFT, TOK_GROUP_RIGHT, TOK_FILL, TOK_FILL_LEFT,
    TOK_FILL_RIGHT, TOK_OFFSET, TOK_ANCHORED, TOK_SMOOTHED,
    /* words that name a moment or a length of the query */
    TOK_START, TOK_END, TOK_STEP, TOK_RANGE, TOK_MAX_OF, TOK_MIN_OF,
};

static inline bool token_is_operator(enum token_type t)
{
    return t >= TOK_ADD && t <= TOK_AT;
}
static inline bool token_is_aggregation(enum token_type t)
{
    return t >= TOK_SUM && t <= TOK_LIMIT_RATIO;
}
static inline bool token_is_keyword(enum token_type t)
{
    return t >= TOK_BOOL && t <= TOK_SMOOTHED;
}

struct token {
    enum token_type type;
    uint32_t pos; /* byte offset */
    struct str text;
};

enum { LEXER_ERROR_MAX = 192 };
struct lexer {
    struct str text;
    size_t at, start;    /* next byte; first byte of the token in work */
    bool in_duration;    /* directly after [ or inside its arithmetic: no words but step, range, max_of, min_of */
    bool brace_open, bracket_open, got_colon, got_duration;
    size_t paren_depth;
    char error[LEXER_ERROR_MAX]; /* NUL-terminated, set with the first TOK_ERROR */
};

void lexer_init(struct lexer *l, struct str text); /* at most 4 GiB - 1 */
/* Comments are skipped. At the end TOK_EOF, again and again. */
struct token lexer_next(struct lexer *l);
/* How messages speak of a token: identifier "foo", <op:+>, end of input. */
void token_describe(struct buf *out, const struct token *t);
