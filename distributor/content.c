#include "distributor/content.h"

enum { SHOWN_MAX = 80 /* bytes of a header in a text */ };

static int shown(struct str s)
{
    return (int)MIN(s.n, (size_t)SHOWN_MAX);
}

static struct str unquote(struct str s)
{
    return s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"' ? str_sub(s, 1, s.n - 1) : s;
}

static int param_take(struct str param, bool *ret_v2, struct err *err)
{
    size_t eq = str_find(param, '=');
    struct str value;

    if (eq == param.n)
        return err_set(err, RC_UNSUPPORTED, "Content-Type parameter '%.*s' is not key=value", shown(param), param.p);
    if (!str_ieq(str_trim(str_sub(param, 0, eq)), STR("proto")))
        return 0;
    value = unquote(str_trim(str_skip(param, eq + 1)));
    *ret_v2 = str_eqz(value, "io.prometheus.write.v2.Request");
    if (!*ret_v2 && !str_eqz(value, "prometheus.WriteRequest"))
        return err_set(err, RC_UNSUPPORTED, "message '%.*s' is not supported, send io.prometheus.write.v2.Request or prometheus.WriteRequest", shown(value), value.p);
    return 0;
}

static int type_judge(struct str type, bool *ret_v2, struct err *err)
{
    size_t semi = str_find(type, ';');
    int rc = 0;

    if (!str_ieq(str_trim(str_sub(type, 0, semi)), STR("application/x-protobuf")))
        return err_set(err, RC_UNSUPPORTED, "Content-Type '%.*s' is not supported, send application/x-protobuf", shown(type), type.p);
    while (semi < type.n && rc == 0) {
        struct str rest = str_skip(type, semi + 1);
        size_t n = str_find(rest, ';');

        rc = param_take(str_trim(str_sub(rest, 0, n)), ret_v2, err);
        semi += 1 + n;
    }
    return rc;
}

int content_negotiate(struct str type, struct str encoding, struct push_content *ret, struct err *err)
{
    struct push_content c = {.v2 = false};
    int rc = body_encoding_parse(encoding, BODY_SNAPPY | BODY_GZIP | BODY_ZSTD, BODY_SNAPPY, &c.encoding, err);

    if (rc == 0 && type.p)
        rc = type_judge(type, &c.v2, err);
    if (rc == 0)
        *ret = c;
    return rc;
}
