#include "promql/lexer.h"
#include "common/model/labels.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistr.h>

enum { RUNE_EOF = -1, RUNE_ERROR = 0xfffd };

static const struct {
    const char *word;
    enum token_type type;
} words[] = {
    {"and", TOK_AND}, {"or", TOK_OR}, {"unless", TOK_UNLESS}, {"atan2", TOK_ATAN2},
    {"sum", TOK_SUM}, {"avg", TOK_AVG}, {"min", TOK_MIN}, {"max", TOK_MAX}, {"count", TOK_COUNT}, {"group", TOK_GROUP},
    {"stddev", TOK_STDDEV}, {"stdvar", TOK_STDVAR}, {"topk", TOK_TOPK}, {"bottomk", TOK_BOTTOMK},
    {"quantile", TOK_QUANTILE}, {"count_values", TOK_COUNT_VALUES}, {"limitk", TOK_LIMITK},
    {"limit_ratio", TOK_LIMIT_RATIO}, {"bool", TOK_BOOL}, {"by", TOK_BY}, {"without", TOK_WITHOUT}, {"on", TOK_ON},
    {"ignoring", TOK_IGNORING}, {"group_left", TOK_GROUP_LEFT}, {"group_right", TOK_GROUP_RIGHT}, {"fill", TOK_FILL},
    {"fill_left", TOK_FILL_LEFT}, {"fill_right", TOK_FILL_RIGHT}, {"offset", TOK_OFFSET}, {"anchored", TOK_ANCHORED},
    {"smoothed", TOK_SMOOTHED}, {"start", TOK_START}, {"end", TOK_END}, {"step", TOK_STEP}, {"range", TOK_RANGE},
    {"max_of", TOK_MAX_OF}, {"min_of", TOK_MIN_OF}, {"inf", TOK_NUMBER}, {"nan", TOK_NUMBER},
};

void lexer_init(struct lexer *l, struct str text)
{
    ASSERT(text.n < UINT32_MAX);
    *l = (struct lexer){.text = text};
}

/* --- characters --- */

static bool is_space(int c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

static bool is_alpha(int c)
{
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_alnum(int c)
{
    return is_alpha(c) || is_digit(c);
}

/* The byte at the cursor, or RUNE_EOF. */
static int peek(const struct lexer *l)
{
    return l->at < l->text.n ? (uint8_t)l->text.p[l->at] : RUNE_EOF;
}

static bool peek_any(const struct lexer *l, const char *set)
{
    int c = peek(l);

    return c > 0 && strchr(set, c) != NULL;
}

static bool accept(struct lexer *l, const char *set)
{
    if (!peek_any(l, set))
        return false;
    l->at++;
    return true;
}

/* Decodes one rune and moves past it; an invalid byte is RUNE_ERROR and one byte long. */
static int32_t rune_next(struct lexer *l)
{
    ucs4_t uc;
    int n;

    if (l->at >= l->text.n)
        return RUNE_EOF;
    n = u8_mbtoucr(&uc, (const uint8_t *)l->text.p + l->at, l->text.n - l->at);
    if (n <= 0) {
        l->at++;
        return RUNE_ERROR;
    }
    l->at += (size_t)n;
    return (int32_t)uc;
}

/* Go's %q of a rune. */
static const char *rune_quote(char out[32], int32_t rune)
{
    static const char letters[] = "abtnvfr";

    if (rune < 0)
        rune = RUNE_ERROR;
    if (rune == '\'' || rune == '\\')
        snprintf(out, 32, "'\\%c'", (char)rune);
    else if (rune >= '\a' && rune <= '\r')
        snprintf(out, 32, "'\\%c'", letters[rune - '\a']);
    else if (rune < ' ' || rune == 0x7f)
        snprintf(out, 32, "'\\x%02x'", (unsigned)rune);
    else if (!rune_printable((uint32_t)rune))
        snprintf(out, 32, rune < 0x10000 ? "'\\u%04x'" : "'\\U%08x'", (unsigned)rune);
    else {
        uint8_t utf8[6];
        int n = u8_uctomb(utf8, (ucs4_t)rune, sizeof utf8);

        snprintf(out, 32, "'%.*s'", n, (const char *)utf8);
    }
    return out;
}

/* Go's %#U: U+0041 'A', without the character when it cannot be printed. */
static const char *rune_code(char out[48], int32_t rune)
{
    char quoted[32];
    uint8_t utf8[6];
    int n;

    if (!rune_printable((uint32_t)rune)) {
        snprintf(out, 48, "U+%04X", (unsigned)rune);
        return out;
    }
    n = u8_uctomb(utf8, (ucs4_t)rune, sizeof utf8);
    snprintf(quoted, sizeof quoted, "'%.*s'", n, (const char *)utf8);
    snprintf(out, 48, "U+%04X %s", (unsigned)rune, quoted);
    return out;
}

/* --- making tokens --- */

static struct token emit(struct lexer *l, enum token_type type)
{
    struct token t = {type, (uint32_t)l->start, str_sub(l->text, l->start, l->at)};

    l->start = l->at;
    return t;
}

static struct token error_token(const struct lexer *l)
{
    return (struct token){TOK_ERROR, (uint32_t)l->start, str_of(l->error)};
}

static struct token fail(struct lexer *l, const char *fmt, ...) PRINTF(2, 3);
static struct token fail(struct lexer *l, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(l->error, sizeof l->error, fmt, ap);
    va_end(ap);
    return error_token(l);
}

static struct token fail_rune(struct lexer *l, const char *what, int32_t rune)
{
    char quoted[32];

    return fail(l, "%s: %s", what, rune_quote(quoted, rune));
}

/* --- numbers and durations --- */

/* Reads what looks like a number; whether it is one, the parser finds out. False leaves the cursor where a duration
 * may go on from. Underscores separate digits; 0x starts hexadecimal, in which e still counts as an exponent first. */
static bool scan_number(struct lexer *l)
{
    const char *digits = "0123456789";
    size_t from = l->at;
    bool hex = false, dot = false, exponent = false;

    if (accept(l, "0") && accept(l, "xX")) {
        accept(l, "_");
        digits = "0123456789abcdefABCDEF";
        hex = true;
    }
    accept(l, ".");
    accept(l, digits);
    while (peek_any(l, "._eE") || peek_any(l, digits)) {
        if ((dot && accept(l, ".")) || (exponent && accept(l, "eE")))
            return false;
        if (accept(l, ".")) {
            dot = true;
            if (accept(l, "_.") || hex)
                return false;
        } else if (accept(l, "eE")) {
            exponent = true;
            accept(l, "+-");
            if (accept(l, "._eE") || peek(l) == RUNE_EOF)
                return false;
        } else if (accept(l, "_")) {
            if (accept(l, "._eE") || peek(l) == RUNE_EOF)
                return false;
        } else {
            while (accept(l, digits))
                ;
        }
    }
    return l->at != from && !is_alnum(peek(l));
}

/* The units after the first digits: 1h30m. False has moved past the character that is wrong. */
static bool scan_duration_rest(struct lexer *l)
{
    if (!accept(l, "smhdwy"))
        return false;
    accept(l, "s"); /* ms; hs and its kind fail when the duration is read */
    while (is_digit(peek(l))) {
        while (accept(l, "0123456789"))
            ;
        if (!accept(l, "smhdw"))
            return false;
        accept(l, "s");
    }
    if (!is_alnum(peek(l)))
        return true;
    l->at++;
    return false;
}

static struct token lex_number_or_duration(struct lexer *l)
{
    struct buf quoted;
    struct token t;

    l->in_duration = false;
    if (scan_number(l))
        return emit(l, TOK_NUMBER);
    if (scan_duration_rest(l))
        return emit(l, TOK_DURATION);
    buf_init(&quoted, LEXER_ERROR_MAX);
    labels_quote(&quoted, str_sub(l->text, l->start, l->at));
    t = fail(l, "bad number or duration syntax: %.*s", STR_FMT(buf_view(&quoted)));
    buf_fini(&quoted);
    return t;
}

/* --- strings --- */

static int digit_value(int32_t rune)
{
    if (rune >= '0' && rune <= '9')
        return rune - '0';
    if (rune >= 'a' && rune <= 'f')
        return rune - 'a' + 10;
    if (rune >= 'A' && rune <= 'F')
        return rune - 'A' + 10;
    return 16;
}

/* After the backslash. False with the error set. */
static bool scan_escape(struct lexer *l, int quote)
{
    int32_t rune = rune_next(l);
    uint32_t x = 0, max = 0x10ffff;
    int digits, base = 16;
    char code[48];

    if (rune == quote || (rune > 0 && rune < 0x80 && strchr("abfnrtv\\", rune)))
        return true;
    switch (rune) {
    case 'x': digits = 2, max = 255; break;
    case 'u': digits = 4; break;
    case 'U': digits = 8; break;
    case RUNE_EOF: fail(l, "escape sequence not terminated"); return false;
    default:
        if (rune < '0' || rune > '7') {
            fail(l, "unknown escape sequence %s", rune_code(code, rune));
            return false;
        }
        digits = 3, base = 8, max = 255;
    }
    if (base == 16)
        rune = rune_next(l);
    for (int i = 0; i < digits; i++) {
        int d = digit_value(rune);

        if (d >= base) {
            if (rune == RUNE_EOF)
                fail(l, "escape sequence not terminated");
            else
                fail(l, "illegal character %s in escape sequence", rune_code(code, rune));
            return false;
        }
        x = x * (uint32_t)base + (uint32_t)d;
        if (i + 1 < digits)
            rune = rune_next(l);
    }
    if (x > max || (x >= 0xd800 && x < 0xe000)) {
        fail(l, "escape sequence is an invalid Unicode code point");
        return false;
    }
    return true;
}

/* The opening quote has been read. */
static struct token lex_string(struct lexer *l, int quote)
{
    for (;;) {
        int32_t rune = rune_next(l);

        if (rune == RUNE_ERROR)
            return fail(l, "invalid UTF-8 rune");
        if (quote != '`' && (rune == RUNE_EOF || rune == '\n'))
            return fail(l, "unterminated quoted string");
        if (rune == RUNE_EOF)
            return fail(l, "unterminated raw string");
        if (rune == quote)
            return emit(l, TOK_STRING);
        if (rune == '\\' && quote != '`' && !scan_escape(l, quote))
            return error_token(l);
    }
}

/* --- words --- */

static bool followed_by_paren(const struct lexer *l)
{
    size_t i = l->at;

    while (i < l->text.n && is_space(l->text.p[i]))
        i++;
    return i < l->text.n && l->text.p[i] == '(';
}

static struct token lex_word(struct lexer *l)
{
    struct str word;

    while (is_alnum(peek(l)) || peek(l) == ':')
        l->at++;
    word = str_sub(l->text, l->start, l->at);
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        enum token_type type = words[i].type;

        if (!str_ieq(word, str_of(words[i].word)))
            continue;
        /* A metric may be called fill, even next to the modifier: fill + fill. */
        if ((type == TOK_FILL || type == TOK_FILL_LEFT || type == TOK_FILL_RIGHT) && !followed_by_paren(l))
            type = TOK_IDENT;
        return emit(l, type);
    }
    return emit(l, str_find(word, ':') < word.n ? TOK_METRIC_IDENT : TOK_IDENT);
}

static bool starts_duration_word(int c)
{
    return c > 0 && strchr("srmSRM", c) != NULL;
}

/* step, range, max_of, min_of with the first letter read; false leaves the token where it began. */
static bool scan_duration_word(struct lexer *l, struct token *ret)
{
    struct str word;

    while (is_alpha(peek(l)))
        l->at++;
    word = str_sub(l->text, l->start, l->at);
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (words[i].type >= TOK_STEP && str_ieq(word, str_of(words[i].word))) {
            *ret = emit(l, words[i].type);
            return true;
        }
    }
    return false;
}

/* --- the three modes --- */

static struct token lex_braces(struct lexer *l)
{
    int32_t rune;

    if (is_alpha(peek(l))) {
        while (is_alnum(peek(l)))
            l->at++;
        return emit(l, TOK_IDENT);
    }
    rune = rune_next(l);
    switch (rune) {
    case RUNE_EOF: return fail(l, "unexpected end of input inside braces");
    case ',': return emit(l, TOK_COMMA);
    case '"':
    case '\'':
    case '`': return lex_string(l, rune);
    case '=': return accept(l, "~") ? emit(l, TOK_EQL_REGEX) : emit(l, TOK_EQL);
    case '!':
        if (accept(l, "~"))
            return emit(l, TOK_NEQ_REGEX);
        if (accept(l, "="))
            return emit(l, TOK_NEQ);
        return fail_rune(l, "unexpected character after '!' inside braces", rune_next(l));
    case '{': return fail(l, "unexpected left brace '{'");
    case '}': l->brace_open = false; return emit(l, TOK_RBRACE);
    default: return fail_rune(l, "unexpected character inside braces", rune);
    }
}

static struct token lex_paren(struct lexer *l, bool open)
{
    struct token t = emit(l, open ? TOK_LPAREN : TOK_RPAREN);

    if (open)
        l->paren_depth++;
    else if (l->paren_depth-- == 0)
        return fail(l, "unexpected right parenthesis ')'");
    return t;
}

/* Directly after [, up to the first number. */
static struct token lex_duration(struct lexer *l)
{
    static const char singles[] = "+-*/%^,";
    static const enum token_type types[] = {TOK_ADD, TOK_SUB, TOK_MUL, TOK_DIV, TOK_MOD, TOK_POW, TOK_COMMA};
    struct token t;
    int32_t rune = rune_next(l);
    const char *single = rune > 0 && rune < 0x80 ? strchr(singles, rune) : NULL;

    if (single)
        return emit(l, types[single - singles]);
    if (rune == RUNE_EOF)
        return fail(l, "unexpected end of input in duration expression");
    if (rune == ']') {
        l->in_duration = l->bracket_open = l->got_colon = false;
        return emit(l, TOK_RBRACKET);
    }
    if (rune == ':') {
        t = emit(l, TOK_COLON);
        if (!l->got_duration)
            return fail(l, "unexpected colon before duration in duration expression");
        if (l->got_colon)
            return fail(l, "unexpected repeated colon in duration expression");
        l->got_colon = true;
        return t;
    }
    if (rune == '(' || rune == ')')
        return lex_paren(l, rune == '(');
    if (is_digit(rune) || (rune == '.' && is_digit(peek(l)))) {
        l->at--;
        l->got_duration = true;
        return lex_number_or_duration(l);
    }
    if (starts_duration_word(rune) && scan_duration_word(l, &t))
        return t;
    return fail_rune(l, "unexpected character in duration expression", rune);
}

/* Letters and colons in brackets, after the first number. */
static struct token lex_bracket_word(struct lexer *l, int c)
{
    struct token t;
    char quoted[32];

    if (c == ':') {
        if (l->got_colon)
            return fail(l, "unexpected colon ':'");
        l->got_colon = true;
        return emit(l, TOK_COLON);
    }
    if (starts_duration_word(c) && scan_duration_word(l, &t))
        return t;
    return fail(l, "unexpected character: %s, expected ':'", rune_quote(quoted, c));
}

static struct token lex_bracket(struct lexer *l, bool open)
{
    char c = open ? '[' : ']';

    if (l->bracket_open == open)
        return fail(l, "unexpected %s bracket '%c'", open ? "left" : "right", c);
    l->bracket_open = l->in_duration = open;
    if (open)
        l->got_colon = false;
    return emit(l, open ? TOK_LBRACKET : TOK_RBRACKET);
}

static struct token lex_comparison(struct lexer *l, int c)
{
    switch (c) {
    case '=':
        if (accept(l, "="))
            return emit(l, TOK_EQLC);
        return peek(l) == '~' ? fail(l, "unexpected character after '=': '~'") : emit(l, TOK_EQL);
    case '!':
        return accept(l, "=") ? emit(l, TOK_NEQ) : fail_rune(l, "unexpected character after '!'", rune_next(l));
    case '<':
        return emit(l, accept(l, "=") ? TOK_LTE : accept(l, "/") ? TOK_TRIM_UPPER : TOK_LSS);
    default:
        return emit(l, accept(l, "=") ? TOK_GTE : accept(l, "/") ? TOK_TRIM_LOWER : TOK_GTR);
    }
}

static struct token lex_end(struct lexer *l)
{
    if (l->paren_depth != 0)
        return fail(l, "unclosed left parenthesis");
    if (l->bracket_open)
        return fail(l, "unclosed left bracket");
    return emit(l, TOK_EOF);
}

static struct token lex_statement(struct lexer *l)
{
    int32_t rune = rune_next(l);

    switch (rune) {
    case RUNE_EOF: return lex_end(l);
    case ',': return emit(l, TOK_COMMA);
    case '*': return emit(l, TOK_MUL);
    case '/': return emit(l, TOK_DIV);
    case '%': return emit(l, TOK_MOD);
    case '+': return emit(l, TOK_ADD);
    case '-': return emit(l, TOK_SUB);
    case '^': return emit(l, TOK_POW);
    case '@': return emit(l, TOK_AT);
    case '=':
    case '!':
    case '<':
    case '>': return lex_comparison(l, rune);
    case '"':
    case '\'':
    case '`': return lex_string(l, rune);
    case '(':
    case ')': return lex_paren(l, rune == '(');
    case '[':
    case ']': return lex_bracket(l, rune == '[');
    case '{': l->brace_open = true; return emit(l, TOK_LBRACE);
    default: break;
    }
    if (is_digit(rune) || (rune == '.' && is_digit(peek(l)))) {
        l->at--;
        return lex_number_or_duration(l);
    }
    if (!is_alpha(rune) && rune != ':')
        return fail_rune(l, "unexpected character", rune);
    return l->bracket_open ? lex_bracket_word(l, rune) : lex_word(l);
}

/* White space everywhere; comments not in the arithmetic of a duration. */
static void skip_blanks(struct lexer *l)
{
    for (;;) {
        while (is_space(peek(l)))
            l->at++;
        if (peek(l) != '#' || (l->in_duration && !l->brace_open))
            break;
        while (peek(l) != RUNE_EOF && peek(l) != '\n' && peek(l) != '\r')
            l->at++;
    }
    l->start = l->at;
}

struct token lexer_next(struct lexer *l)
{
    if (l->error[0])
        return error_token(l);
    skip_blanks(l);
    if (l->brace_open)
        return lex_braces(l);
    return l->in_duration ? lex_duration(l) : lex_statement(l);
}
