#include "common/base/base64.h"

static int digit_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

static struct str without_padding(struct str s)
{
    while (s.n && s.p[s.n - 1] == '=')
        s.n--;
    return s;
}

size_t base64_bytes(struct str text)
{
    return without_padding(text).n * 3 / 4;
}

bool base64_get(struct str text, struct buf *out)
{
    struct str s  = without_padding(text);
    uint32_t bits = 0;
    unsigned have = 0;

    if (s.n % 4 == 1)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        int digit = digit_of(s.p[i]);

        if (digit < 0)
            return false;
        bits = bits << 6 | (uint32_t)digit;
        have += 6;
        if (have >= 8) {
            have -= 8;
            buf_char(out, (char)(bits >> have));
        }
    }
    return buf_ok(out);
}

void base64_put(struct buf *out, struct str bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < bytes.n; i += 3) {
        size_t n   = MIN(bytes.n - i, (size_t)3);
        uint32_t v = 0;

        for (size_t k = 0; k < 3; k++)
            v = v << 8 | (k < n ? (uint8_t)bytes.p[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            buf_char(out, k <= n ? digits[v >> (18 - 6 * k) & 63] : '=');
    }
}
