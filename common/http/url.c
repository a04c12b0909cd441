#include "common/http/url.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int bad_escape(struct str in, size_t at, struct err *err)
{
    struct str part = str_sub(in, at, MIN(at + 3, in.n));

    return err_set(err, RC_INVALID, "invalid URL escape \"%.*s\"", STR_FMT(part));
}

int url_decode(struct arena *a, struct str in, bool plus, struct str *ret, struct err *err)
{
    size_t n = 0;
    char *out;

    if (str_find(in, '%') == in.n && (!plus || str_find(in, '+') == in.n)) {
        *ret = in;
        return 0;
    }
    out = arena_alloc(a, in.n);
    if (!out)
        return err_set(err, RC_NOMEM, "request parameters need too much memory");
    for (size_t i = 0; i < in.n; i++) {
        char c = in.p[i];

        if (c == '%') {
            int high = i + 2 < in.n ? hex_digit(in.p[i + 1]) : -1;
            int low = i + 2 < in.n ? hex_digit(in.p[i + 2]) : -1;

            if (high < 0 || low < 0)
                return bad_escape(in, i, err);
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        out[n++] = c;
    }
    *ret = str_n(out, n);
    return 0;
}

static int params_add(struct arena *a, struct url_params *p, struct url_param param,
                      struct err *err)
{
    if (p->n == URL_PARAMS_MAX)
        return err_set(err, RC_LIMIT, "more than %d request parameters", URL_PARAMS_MAX);
    if (param.name.n > URL_PARAM_NAME_BYTES_MAX)
        return err_set(err, RC_LIMIT, "a request parameter's name is longer than %d bytes",
                       URL_PARAM_NAME_BYTES_MAX);
    if (p->n == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 8;
        struct url_param *v = arena_array(a, cap, sizeof *v);

        if (!v)
            return err_set(err, RC_NOMEM, "request parameters need too much memory");
        if (p->n)
            memcpy(v, p->v, p->n * sizeof *v);
        p->v = v;
        p->cap = cap;
    }
    p->v[p->n++] = param;
    return 0;
}

int url_params_parse(struct arena *a, struct str text, struct url_params *p, struct err *err)
{
    int rc = 0;

    while (rc == 0 && text.n > 0) {
        size_t end = str_find(text, '&');
        struct str pair = str_sub(text, 0, end);
        size_t equals = str_find(pair, '=');
        struct url_param param;

        text = str_skip(text, MIN(end + 1, text.n));
        if (pair.n == 0)
            continue;
        if (str_find(pair, ';') < pair.n)
            return err_set(err, RC_INVALID, "invalid semicolon separator in query");
        rc = url_decode(a, str_sub(pair, 0, equals), true, &param.name, err);
        if (rc == 0)
            rc = url_decode(a, str_skip(pair, MIN(equals + 1, pair.n)), true, &param.value, err);
        if (rc == 0)
            rc = params_add(a, p, param, err);
    }
    return rc;
}

struct str url_params_get(const struct url_params *p, struct str name)
{
    for (size_t i = 0; i < p->n; i++)
        if (str_eq(p->v[i].name, name))
            return p->v[i].value;
    return (struct str){0};
}
