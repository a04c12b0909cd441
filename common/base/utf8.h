/* utf8.h - one step of UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF).
 */
#pragma once
#include "common/base/str.h"

/* Length (1..4) of the well-formed character at s.p[at], 0 when the bytes there are not one. */
static inline size_t utf8_step(struct str s, size_t at)
{
    const unsigned char *p = (const unsigned char *)s.p + at;
    size_t left = s.n - at;
    unsigned char low = 0x80, high = 0xbf;
    size_t n;

    if (left == 0)
        return 0;
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (p[0] == 0xe0)
        low = 0xa0;
    else if (p[0] == 0xed)
        high = 0x9f;
    else if (p[0] == 0xf0)
        low = 0x90;
    else if (p[0] == 0xf4)
        high = 0x8f;
    if (left < n || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

static inline bool utf8_valid(struct str s)
{
    for (size_t at = 0, n; at < s.n; at += n)
        if ((n = utf8_step(s, at)) == 0)
            return false;
    return true;
}
