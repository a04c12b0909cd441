/* Numbers, durations and strings as Go reads them. */
#include "common/model/duration.h"
#include "promql/parse.h"

#include <math.h>
#include <stdlib.h>
#include <unistr.h>

enum { NUMBER_BYTES_MAX = 400 };

/* --- numbers --- */

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return 99;
}

static bool is_hex(struct str s)
{
    return s.n > 1 && s.p[0] == '0' && (s.p[1] == 'x' || s.p[1] == 'X');
}

/* Underscores only between digits, or between the base prefix and a digit. */
static bool underscores_ok(struct str s)
{
    bool after_digit = false, hex = is_hex(s);

    for (size_t i = hex ? 2 : 0; i < s.n; i++) {
        bool digit = digit_of(s.p[i]) < (hex ? 16 : 10);

        if (s.p[i] == '_' && !(after_digit || (hex && i == 2)))
            return false;
        if (!digit && i > 0 && s.p[i] != '_' && s.p[i - 1] == '_')
            return false;
        after_digit = digit;
    }
    return s.n == 0 || s.p[s.n - 1] != '_';
}

/* An integer with Go's base detection: 0x1f, 017, 1_000. False when it is none or does not fit into 63 bits. */
static bool integer_parse(struct str s, double *ret)
{
    uint64_t v = 0;
    int base = 10;
    size_t i = 0;

    if (s.n > 1 && s.p[0] == '0') {
        base = is_hex(s) ? 16 : 8;
        i = base == 16 ? 2 : 1;
    }
    if (i == s.n || !underscores_ok(s))
        return false;
    for (; i < s.n; i++) {
        int d = digit_of(s.p[i]);

        if (s.p[i] == '_')
            continue;
        if (d >= base || __builtin_mul_overflow(v, (uint64_t)base, &v) || __builtin_add_overflow(v, (uint64_t)d, &v))
            return false;
    }
    *ret = (double)v;
    return v <= INT64_MAX;
}

bool parse_number(struct parser *p, struct token t, double *ret)
{
    char z[NUMBER_BYTES_MAX + 1], q[QUOTED_MAX], *end;
    size_t n = 0;
    bool inf = str_ieq(t.text, STR("inf"));

    if (inf || str_ieq(t.text, STR("nan"))) {
        *ret = inf ? HUGE_VAL : (double)NAN;
        return true;
    }
    if (integer_parse(t.text, ret))
        return true;
    if (t.text.n > NUMBER_BYTES_MAX)
        return parser_limit(p, t.pos, "number of %zu digits is longer than %d", t.text.n, NUMBER_BYTES_MAX);
    for (size_t i = 0; i < t.text.n; i++) {
        if (t.text.p[i] != '_')
            z[n++] = t.text.p[i];
    }
    z[n] = '\0';
    *ret = strtod(z, &end);
    /* Hexadecimal floats need an exponent in Go, which the lexer does not take. */
    if (*end != '\0' || is_hex(t.text) || !underscores_ok(t.text))
        return parser_error(p, t.pos, "error parsing number: strconv.ParseFloat: parsing %s: invalid syntax",
                            quoted(q, t.text));
    if (isinf(*ret))
        return parser_error(p, t.pos, "error parsing number: strconv.ParseFloat: parsing %s: value out of range",
                            quoted(q, t.text));
    return true;
}

bool parse_duration_literal(struct parser *p, struct token t, double *ret)
{
    int64_t ms;
    struct err why;

    if (duration_parse_ms(t.text, &ms, &why) < 0)
        return parser_error(p, t.pos, "%s", err_text(&why));
    *ret = (double)(ms / 1000) + (double)(ms % 1000) / 1000;
    return true;
}

bool parse_number_or_duration(struct parser *p, struct token t, double *ret)
{
    ASSERT(t.type == TOK_NUMBER || t.type == TOK_DURATION);
    return t.type == TOK_NUMBER ? parse_number(p, t, ret) : parse_duration_literal(p, t, ret);
}

/* --- strings --- */

/* Value of the n digits of a base from *at on, which moves past them. The lexer has seen that they are there. */
static uint32_t escape_value(struct str s, size_t *at, size_t n, uint32_t base)
{
    uint32_t v = 0;

    ASSERT(s.n - *at >= n);
    for (size_t i = 0; i < n; i++)
        v = v * base + (uint32_t)digit_of(s.p[(*at)++]);
    return v;
}

/* Undoes the escape after a backslash; writes at most 4 bytes, never more than the escape has. */
static size_t unescape(struct str s, size_t *at, char *out)
{
    static const char letters[] = "abfnrtv", bytes[] = "\a\b\f\n\r\t\v";
    char c = s.p[(*at)++];
    const char *letter = strchr(letters, c);
    int n;

    switch (c) {
    case 'x': out[0] = (char)escape_value(s, at, 2, 16); return 1;
    case 'u':
    case 'U':
        n = u8_uctomb((uint8_t *)out, escape_value(s, at, c == 'u' ? 4 : 8, 16), 4);
        ASSERT(n > 0);
        return (size_t)n;
    default: break;
    }
    if (c >= '0' && c <= '7') {
        --*at;
        out[0] = (char)escape_value(s, at, 3, 8);
        return 1;
    }
    out[0] = letter ? bytes[letter - letters] : c;
    return 1;
}

struct str parse_string(struct parser *p, struct token t)
{
    struct str inner = str_sub(t.text, 1, t.text.n - 1);
    char *out;
    size_t n = 0;

    if (t.text.p[0] == '`' || str_find(inner, '\\') == inner.n)
        return inner;
    out = arena_alloc(p->arena, inner.n);
    if (!out) {
        parser_nomem(p);
        return (struct str){0};
    }
    for (size_t i = 0; i < inner.n;) {
        if (inner.p[i] != '\\') {
            out[n++] = inner.p[i++];
            continue;
        }
        i++;
        n += unescape(inner, &i, out + n);
    }
    return (struct str){out, n};
}
