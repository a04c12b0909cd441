#include "common/model/duration.h"
#include "common/shim/shim.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>

static const struct {
    const char *name;
    int64_t ms;
} units[] = {
    {"y", 365LL * 86400000}, {"w", 7LL * 86400000}, {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1},
};

static int bad_duration(struct str s, struct err *err)
{
    return err_set(err, RC_INVALID, "not a valid duration string: \"%.*s\"", (int)MIN(s.n, (size_t)64), s.p);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

int duration_parse_ms(struct str s, int64_t *ret_ms, struct err *err)
{
    int64_t total = 0;
    size_t at = 0, next_unit = 0;

    if (s.n == 0)
        return err_set(err, RC_INVALID, "empty duration string");
    if (str_eqz(s, "0")) {
        *ret_ms = 0;
        return 0;
    }
    while (at < s.n) {
        uint64_t v = 0;
        int64_t part;
        size_t digits = at, word, unit = 0;

        for (; at < s.n && is_digit(s.p[at]); at++) {
            if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(s.p[at] - '0'), &v))
                return bad_duration(s, err);
        }
        word = at;
        while (at < s.n && !is_digit(s.p[at]))
            at++;
        if (word == digits || at == word)
            return bad_duration(s, err);
        while (unit < ARRAY_LEN(units) && !str_eqz(str_sub(s, word, at), units[unit].name))
            unit++;
        if (unit == ARRAY_LEN(units))
            return err_set(err, RC_INVALID, "unknown unit \"%.*s\" in duration \"%.*s\"", (int)MIN(at - word, (size_t)64),
                           s.p + word, (int)MIN(s.n, (size_t)64), s.p);
        if (unit < next_unit)
            return bad_duration(s, err);
        if (__builtin_mul_overflow(v, units[unit].ms, &part) || __builtin_add_overflow(total, part, &total) ||
            total > INT64_MAX / 1000000)
            return err_set(err, RC_INVALID, "duration out of range");
        next_unit = unit + 1;
    }
    *ret_ms = total;
    return 0;
}

void duration_print(struct buf *out, int64_t ms)
{
    uint64_t left = ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms;

    if (ms == 0) {
        buf_z(out, "0s");
        return;
    }
    if (ms < 0)
        buf_char(out, '-');
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        uint64_t n = left / (uint64_t)units[i].ms;

        /* Years and weeks only when they divide exactly, as Prometheus prints them: 90d reads better than 12w6d. */
        if (n == 0 || (i < 2 && left % (uint64_t)units[i].ms != 0))
            continue;
        buf_printf(out, "%llu%s", (unsigned long long)n, units[i].name);
        left -= n * (uint64_t)units[i].ms;
    }
}

int float_parse(struct str s, double *ret, struct err *err)
{
    char z[512], *end;
    double v;

    /* strtod() takes more: white space in front, nan(...), hexadecimal numbers without an exponent. */
    if (s.n == 0 || s.n >= sizeof z || memchr(s.p, '\0', s.n) || isspace((unsigned char)s.p[0]) || memchr(s.p, '(', s.n) ||
        ((memchr(s.p, 'x', s.n) || memchr(s.p, 'X', s.n)) && !memchr(s.p, 'p', s.n) && !memchr(s.p, 'P', s.n)))
        return err_set(err, RC_INVALID, "not a number: \"%.*s\"", (int)MIN(s.n, (size_t)64), s.p ? s.p : "");
    memcpy(z, s.p, s.n);
    z[s.n] = '\0';
    v = strtod(z, &end);
    if (*end != '\0')
        return err_set(err, RC_INVALID, "not a number: \"%.64s\"", z);
    *ret = isnan(v) ? (double)NAN : v;
    return 0;
}

int duration_param_parse_ms(struct str s, int64_t *ret_ms, struct err *err)
{
    double seconds;

    if (float_parse(s, &seconds, NULL) == 0) {
        double ns = seconds * 1e9;

        if (isnan(ns) || ns > 9.2233720368547e18 || ns < -9.2233720368547e18)
            return err_set(err, RC_INVALID, "cannot parse \"%.*s\" to a valid duration. It overflows int64",
                           (int)MIN(s.n, (size_t)64), s.p);
        *ret_ms = (int64_t)(ns / 1e6);
        return 0;
    }
    if (duration_parse_ms(s, ret_ms, NULL) == 0)
        return 0;
    return err_set(err, RC_INVALID, "cannot parse \"%.*s\" to a valid duration", (int)MIN(s.n, (size_t)64),
                   s.p ? s.p : "");
}

static bool digits_take(struct str s, size_t *at, size_t count, int *ret)
{
    int v = 0;

    if (s.n - *at < count)
        return false;
    for (size_t i = 0; i < count; i++) {
        char c = s.p[(*at)++];

        if (c < '0' || c > '9')
            return false;
        v = v * 10 + (c - '0');
    }
    *ret = v;
    return true;
}

static bool char_take(struct str s, size_t *at, const char *any)
{
    if (*at >= s.n || s.p[*at] == '\0' || !strchr(any, s.p[*at]))
        return false;
    ++*at;
    return true;
}

static bool rfc3339_parse(struct str s, int64_t *ret_ms)
{
    struct tm tm = {0};
    size_t at = 0;
    int64_t ms = 0, scale = 100, offset = 0;

    if (!digits_take(s, &at, 4, &tm.tm_year) || !char_take(s, &at, "-") || !digits_take(s, &at, 2, &tm.tm_mon) ||
        !char_take(s, &at, "-") || !digits_take(s, &at, 2, &tm.tm_mday) || !char_take(s, &at, "Tt") ||
        !digits_take(s, &at, 2, &tm.tm_hour) || !char_take(s, &at, ":") || !digits_take(s, &at, 2, &tm.tm_min) ||
        !char_take(s, &at, ":") || !digits_take(s, &at, 2, &tm.tm_sec))
        return false;
    if (tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 || tm.tm_min > 59 ||
        tm.tm_sec > 59)
        return false;
    if (char_take(s, &at, ".")) {
        size_t first = at;

        for (; at < s.n && s.p[at] >= '0' && s.p[at] <= '9'; at++, scale /= 10)
            ms += (s.p[at] - '0') * scale;
        if (at == first)
            return false;
    }
    if (!char_take(s, &at, "Zz")) {
        int hours, minutes;
        bool minus = at < s.n && s.p[at] == '-';

        if (!char_take(s, &at, "+-") || !digits_take(s, &at, 2, &hours) || !char_take(s, &at, ":") ||
            !digits_take(s, &at, 2, &minutes))
            return false;
        offset = (minus ? -1 : 1) * (hours * 3600 + minutes * 60);
    }
    if (at != s.n)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    int month = tm.tm_mon, day = tm.tm_mday;
    int64_t seconds = (int64_t)timegm(&tm);
    if (tm.tm_mon != month || tm.tm_mday != day)
        return false; /* 30 February */
    *ret_ms = (seconds - offset) * 1000 + ms;
    return true;
}

int time_param_parse_ms(struct str s, int64_t *ret_ms, struct err *err)
{
    double seconds;

    if (float_parse(s, &seconds, NULL) == 0 && !isnan(seconds) && fabs(seconds) < 9.2e15) {
        *ret_ms = (int64_t)llround(seconds * 1000);
        return 0;
    }
    if (rfc3339_parse(s, ret_ms))
        return 0;
    /* The two literal limits that metadata endpoints use as defaults. */
    if (str_eqz(s, "-292273086-05-16T16:47:06Z")) {
        *ret_ms = INT64_MIN / 1000;
        return 0;
    }
    if (str_eqz(s, "292277025-08-18T07:12:54.999999999Z")) {
        *ret_ms = INT64_MAX / 1000;
        return 0;
    }
    return err_set(err, RC_INVALID, "cannot parse \"%.*s\" to a valid timestamp", (int)MIN(s.n, (size_t)64),
                   s.p ? s.p : "");
}

void time_print_rfc3339(struct buf *out, int64_t unix_ms)
{
    time_t seconds = (time_t)(unix_ms / 1000);
    int64_t ms = unix_ms % 1000;
    struct tm tm;

    if (ms < 0) {
        ms += 1000;
        seconds--;
    }
    gmtime_r(&seconds, &tm);
    buf_printf(out, "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
               tm.tm_min, tm.tm_sec);
    if (ms)
        buf_printf(out, ".%03d", (int)ms);
    buf_char(out, 'Z');
}

void float_print(struct buf *out, double v)
{
    char text[SHIM_DOUBLE_MAX];

    buf_add(out, text, shim_double_text(v, true, text));
}

void float_print_plain(struct buf *out, double v)
{
    char text[SHIM_DOUBLE_MAX];

    buf_add(out, text, shim_double_text(v, false, text));
}

void float_print_g(struct buf *out, double v)
{
    enum { PLAIN_MIN = -4, PLAIN_MAX = 6 };
    char text[SHIM_DOUBLE_MAX], digits[SHIM_DOUBLE_MAX];
    size_t n = shim_double_text(v, false, text), from = v < 0, point, count = 0;
    int exponent;

    if (isnan(v) || isinf(v) || v == 0) {
        buf_add(out, text, n);
        return;
    }
    point = str_find(str_n(text, n), '.');
    for (size_t i = from; i < n; i++)
        if (text[i] != '.' && (count > 0 || text[i] != '0'))
            digits[count++] = text[i];
    /* Of the first digit: of the integer part's, or behind the point after some zeros. */
    exponent = text[from] != '0' ? (int)(point - from) - 1 : (int)count - (int)(n - point - 1) - 1;
    if (exponent >= PLAIN_MIN && exponent < PLAIN_MAX) {
        buf_add(out, text, n);
        return;
    }
    while (count > 1 && digits[count - 1] == '0')
        count--;
    if (v < 0)
        buf_char(out, '-');
    buf_char(out, digits[0]);
    if (count > 1)
        buf_char(out, '.');
    buf_add(out, digits + 1, count - 1);
    buf_printf(out, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
}
