#include "common/base/json.h"
#include "common/base/utf8.h"

static bool plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
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

void json_str(struct buf *out, struct str s)
{
    size_t at = 0;

    buf_char(out, '"');
    while (at < s.n) {
        size_t run = at, n;

        while (at < s.n && plain((unsigned char)s.p[at]))
            at++;
        buf_add(out, s.p + run, at - run);
        if (at == s.n)
            break;
        n = utf8_step(s, at);
        if (n > 1)
            buf_add(out, s.p + at, n);
        else if (n == 1)
            special(out, (unsigned char)s.p[at]);
        else
            buf_z(out, "\xef\xbf\xbd");
        at += n ? n : 1;
    }
    buf_char(out, '"');
}
