#include "common/base/json.h"
#include "common/base/utf8.h"

static bool plain(unsigned char c, bool html)
{
    return c >= 0x20 && (c < 0x7f || (html && c == 0x7f)) && c != '"' && c != '\\' && !(html && (c == '<' || c == '>' || c == '&'));
}

static void special(struct buf *out, unsigned char c)
{
    static const char short_forms[] = "\"\"\\\\\bb\ff\nn\rr\tt";

    for (const char *f = short_forms; *f; f += 2)
        if ((unsigned char)f[0] == c) {
            buf_char(out, '\\');
            buf_char(out, f[1]);
            return;
        }
    buf_printf(out, "\\u%04x", c);
}

/* U+2028 and U+2029: E2 80 A8, E2 80 A9. */
static bool line_separator(const char *p)
{
    return memcmp(p, "\xe2\x80", 2) == 0 && ((uint8_t)p[2] & 0xfe) == 0xa8;
}

static void quote(struct buf *out, struct str s, bool html)
{
    size_t at = 0;

    buf_char(out, '"');
    while (at < s.n) {
        size_t run = at, n;

        while (at < s.n && plain((unsigned char)s.p[at], html))
            at++;
        buf_add(out, s.p + run, at - run);
        if (at == s.n)
            break;
        n = utf8_step(s, at);
        if (n == 3 && html && line_separator(s.p + at))
            buf_printf(out, "\\u202%x", (unsigned)(uint8_t)s.p[at + 2] - 0xa0);
        else if (n > 1)
            buf_add(out, s.p + at, n);
        else if (n == 1)
            special(out, (unsigned char)s.p[at]);
        else
            buf_z(out, html ? "\\ufffd" : "\xef\xbf\xbd");
        at += n ? n : 1;
    }
    buf_char(out, '"');
}

void json_str(struct buf *out, struct str s)
{
    quote(out, s, false);
}

void json_str_html(struct buf *out, struct str s)
{
    quote(out, s, true);
}
