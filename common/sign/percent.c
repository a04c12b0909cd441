#include "common/sign/percent.h"

static bool unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
           c == '~';
}

static void encode_char(struct buf *out, char c, bool slash)
{
    static const char digits[] = "0123456789ABCDEF";

    if (unreserved(c) || (slash && c == '/')) {
        buf_char(out, c);
    } else {
        char text[3] = {'%', digits[(uint8_t)c >> 4], digits[(uint8_t)c & 15]};

        buf_add(out, text, sizeof text);
    }
}

void percent_encode(struct buf *out, struct str s, bool slash)
{
    for (size_t i = 0; i < s.n; i++)
        encode_char(out, s.p[i], slash);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte that s begins with, and how many bytes spell it. */
static char decode_char(struct str s, size_t *ret_n)
{
    int hi = -1, lo = -1;

    if (s.p[0] == '%' && s.n > 2) {
        hi = hex_digit(s.p[1]);
        lo = hex_digit(s.p[2]);
    }
    *ret_n = hi >= 0 && lo >= 0 ? 3 : 1;
    return *ret_n == 3 ? (char)(uint8_t)(hi * 16 + lo) : s.p[0];
}

void percent_decode(struct buf *out, struct str s)
{
    for (size_t n; s.n; s = str_skip(s, n))
        buf_char(out, decode_char(s, &n));
}

void percent_normalise(struct buf *out, struct str s)
{
    for (size_t n; s.n; s = str_skip(s, n))
        encode_char(out, decode_char(s, &n), false);
}
