#include "tsdb/sealed_json.h"
#include "common/base/hash.h"

#include <stdio.h>
#include <stdlib.h>

enum { SEAL_BYTES = 22 }; /* ,"crc32c":"xxxxxxxx"} and a newline */

static void seal_text(struct str body, char out[SEAL_BYTES + 1])
{
    snprintf(out, SEAL_BYTES + 1, ",\"crc32c\":\"%08x\"}\n", crc32c(0, body.p, body.n));
}

int sealed_json_encode(json_t *obj, struct buf *out, struct err *err)
{
    char *text = obj ? json_dumps(obj, JSON_COMPACT) : NULL;
    char seal[SEAL_BYTES + 1];
    struct str body;

    json_decref(obj);
    if (!text)
        return err_set(err, RC_NOMEM, "JSON text: memory is out or a string is no UTF-8");
    body = str_of(text);
    ASSERT(body.n > 2 && body.p[body.n - 1] == '}');
    body.n--;
    seal_text(body, seal);
    buf_str(out, body);
    buf_z(out, seal);
    free(text);
    return buf_ok(out) ? 0 : err_set(err, RC_NOMEM, "JSON text is larger than %zu bytes", out->max);
}

int sealed_json_decode(struct str text, json_t **ret, struct err *err)
{
    char seal[SEAL_BYTES + 1];
    json_error_t why;
    struct str body;
    json_t *obj;

    CORRUPT_UNLESS(text.n > SEAL_BYTES, err);
    body = str_sub(text, 0, text.n - SEAL_BYTES);
    seal_text(body, seal);
    if (memcmp(text.p + body.n, seal, SEAL_BYTES) != 0)
        return err_set(err, RC_CORRUPT, "checksum does not match");
    obj = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &why);
    if (!obj)
        return err_set(err, RC_CORRUPT, "no JSON: line %d: %s", why.line, why.text);
    if (!json_is_object(obj)) {
        json_decref(obj);
        return err_set(err, RC_CORRUPT, "no JSON object");
    }
    *ret = obj;
    return 0;
}

int json_get_i64(const json_t *obj, const char *name, int64_t min, int64_t max, int64_t *ret, struct err *err)
{
    const json_t *v = json_object_get(obj, name);

    if (!json_is_integer(v))
        return err_set(err, RC_CORRUPT, "no integer '%s'", name);
    if (json_integer_value(v) < min || json_integer_value(v) > max)
        return err_set(err, RC_CORRUPT, "'%s' is %lld, out of range", name, (long long)json_integer_value(v));
    *ret = json_integer_value(v);
    return 0;
}

int json_get_u64(const json_t *obj, const char *name, uint64_t max, uint64_t *ret, struct err *err)
{
    int64_t v;
    int rc = json_get_i64(obj, name, 0, (int64_t)MIN(max, (uint64_t)INT64_MAX), &v, err);

    if (rc == 0)
        *ret = (uint64_t)v;
    return rc;
}

int json_get_text(const json_t *obj, const char *name, char *ret, size_t size, struct err *err)
{
    const json_t *v = json_object_get(obj, name);

    if (!json_is_string(v))
        return err_set(err, RC_CORRUPT, "no string '%s'", name);
    if (json_string_length(v) >= size || strlen(json_string_value(v)) != json_string_length(v))
        return err_set(err, RC_CORRUPT, "'%s' is longer than %zu bytes or has a NUL", name, size - 1);
    memcpy(ret, json_string_value(v), json_string_length(v) + 1);
    return 0;
}

int json_get_array(const json_t *obj, const char *name, size_t max, const json_t **ret, struct err *err)
{
    const json_t *v = json_object_get(obj, name);

    if (!json_is_array(v))
        return err_set(err, RC_CORRUPT, "no array '%s'", name);
    if (json_array_size(v) > max)
        return err_set(err, RC_CORRUPT, "'%s' has %zu members, at most %zu", name, json_array_size(v), max);
    *ret = v;
    return 0;
}
