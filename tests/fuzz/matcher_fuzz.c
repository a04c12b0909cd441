/* A matcher agrees with plain RE2. Input: the expression, a newline, texts of one line each. */
#include "common/model/labels.h"
#include "common/model/matcher.h"
#include "common/shim/shim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check(const struct matcher *m, const struct shim_re2 *re, struct str text)
{
    bool want = shim_re2_match(re, text);

    ASSERT(matcher_accepts(m, text) == want);
    ASSERT(!want || str_has_prefix(text, m->prefix));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str in = str_n(data, n), regex = str_sub(in, 0, str_find(in, '\n')), rest = str_skip(in, MIN(regex.n + 1, n));
    struct shim_re2 *re;
    struct matcher m;
    char why[256];
    int rc = matcher_init(&m, MATCH_RE, STR("x"), regex, NULL);

    if (!utf8_valid(regex)) {
        ASSERT(rc < 0);
        return 0;
    }
    re = shim_re2_new(regex, why, sizeof why);
    ASSERT((rc == 0) == (re != NULL) || regex.n > MATCHER_REGEX_BYTES_MAX);
    while (re && rc == 0 && utf8_valid(rest)) {
        struct str text = str_sub(rest, 0, str_find(rest, '\n'));

        check(&m, re, text);
        if (text.n == rest.n)
            break;
        rest = str_skip(rest, text.n + 1);
    }
    if (re)
        shim_re2_free(re);
    if (rc == 0)
        matcher_fini(&m);
    return 0;
}
