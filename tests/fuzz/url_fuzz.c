/* Form parameters: whatever parses must survive being encoded again and parsed again. */
#include "common/base/buf.h"
#include "common/http/url.h"

static void encode(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        buf_printf(out, "%%%02X", (unsigned char)s.p[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct url_params first = {0}, second = {0};
    struct arena a;
    struct buf text;

    arena_init(&a, 8 << 20);
    buf_init(&text, 16 << 20);
    if (url_params_parse(&a, str_n(data, n), &first, NULL) == 0) {
        for (size_t i = 0; i < first.n; i++) {
            encode(&text, first.v[i].name);
            buf_char(&text, '=');
            encode(&text, first.v[i].value);
            buf_char(&text, '&');
        }
        ASSERT(!buf_ok(&text) || url_params_parse(&a, buf_view(&text), &second, NULL) == 0);
        ASSERT(!buf_ok(&text) || first.n == second.n);
        for (size_t i = 0; i < second.n; i++)
            ASSERT(str_eq(first.v[i].name, second.v[i].name) &&
                   str_eq(first.v[i].value, second.v[i].value));
    }
    buf_fini(&text);
    arena_fini(&a);
    return 0;
}
