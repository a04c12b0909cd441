#include "ring/etcd_msg.h"

#include "common/base/base64.h"
#include "common/base/json.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* --- requests --- */

static void put_bytes(struct buf *out, const char *name, struct str bytes)
{
    json_key(out, name);
    buf_char(out, '"');
    base64_put(out, bytes);
    buf_char(out, '"');
}

static void put_number(struct buf *out, const char *name, uint64_t v)
{
    buf_printf(out, "\"%s\":\"%" PRIu64 "\"", name, v);
}

/* The first key behind all that begin with prefix: the prefix with its last byte, which is no 0xff in our keys, plus one. */
static void put_prefix(struct buf *out, struct str prefix)
{
    char *end = xmemdup(prefix.p, prefix.n);

    ASSERT(prefix.n > 0 && (uint8_t)end[prefix.n - 1] < 0xff);
    end[prefix.n - 1]++;
    put_bytes(out, "key", prefix);
    buf_char(out, ',');
    put_bytes(out, "range_end", str_n(end, prefix.n));
    free(end);
}

void etcd_put_authenticate(struct buf *out, struct str user, struct str password)
{
    buf_z(out, "{\"name\":");
    json_str(out, user);
    buf_z(out, ",\"password\":");
    json_str(out, password);
    buf_char(out, '}');
}

void etcd_put_grant(struct buf *out, int64_t ttl_s)
{
    buf_char(out, '{');
    put_number(out, "TTL", (uint64_t)ttl_s);
    buf_char(out, '}');
}

void etcd_put_lease(struct buf *out, uint64_t lease)
{
    buf_char(out, '{');
    put_number(out, "ID", lease);
    buf_char(out, '}');
}

void etcd_put_range(struct buf *out, struct str prefix, bool keys_only)
{
    buf_char(out, '{');
    put_prefix(out, prefix);
    buf_z(out, keys_only ? ",\"keys_only\":true}" : "}");
}

void etcd_put_watch(struct buf *out, struct str prefix, uint64_t start_revision)
{
    buf_z(out, "{\"create_request\":{");
    put_prefix(out, prefix);
    buf_char(out, ',');
    put_number(out, "start_revision", start_revision);
    buf_z(out, "}}");
}

void etcd_put_key(struct buf *out, struct str key, struct str value, uint64_t lease)
{
    buf_char(out, '{');
    put_bytes(out, "key", key);
    buf_char(out, ',');
    put_bytes(out, "value", value);
    buf_char(out, ',');
    put_number(out, "lease", lease);
    buf_char(out, '}');
}

void etcd_put_swap(struct buf *out, struct str key, uint64_t expected, struct str value)
{
    buf_z(out, "{\"compare\":[{\"target\":\"MOD\",");
    put_bytes(out, "key", key);
    buf_char(out, ',');
    put_number(out, "mod_revision", expected);
    buf_printf(out, "}],\"success\":[{\"%s\":{", value.p ? "request_put" : "request_delete_range");
    put_bytes(out, "key", key);
    if (value.p) {
        buf_char(out, ',');
        put_bytes(out, "value", value);
    }
    buf_z(out, "}}],\"failure\":[{\"request_range\":{");
    put_bytes(out, "key", key);
    buf_z(out, "}}]}");
}

/* --- answers --- */

/* "123", or 123 as other gateways write it; absent: 0. */
static int read_number(const json_t *o, const char *name, uint64_t *ret, struct err *err)
{
    const json_t *v = json_object_get(o, name);
    const char *s   = json_string_value(v);
    char *end;

    if (!v)
        return 0;
    if (json_is_integer(v) && json_integer_value(v) >= 0) {
        *ret = (uint64_t)json_integer_value(v);
        return 0;
    }
    if (!s || *s < '0' || *s > '9')
        return err_set(err, RC_CORRUPT, "etcd: \"%s\" is not a number", name);
    errno = 0;
    *ret  = strtoull(s, &end, 10);
    return *end || errno ? err_set(err, RC_CORRUPT, "etcd: \"%s\" is not a number of 64 bits", name) : 0;
}

static int read_bytes(const json_t *o, const char *name, struct buf *bytes, struct str *ret, struct err *err)
{
    const json_t *v = json_object_get(o, name);
    size_t before   = bytes->n;

    if (!v)
        return 0;
    if (!json_is_string(v) || !base64_get(str_n(json_string_value(v), json_string_length(v)), bytes))
        return err_set(err, RC_CORRUPT, "etcd: \"%s\" is not base64", name);
    *ret = str_n(bytes->p + before, bytes->n - before);
    return 0;
}

/* Absent: NULL and 0. */
static int read_child(const json_t *o, const char *name, json_type type, const json_t **ret, struct err *err)
{
    *ret = json_object_get(o, name);
    return !*ret || json_typeof(*ret) == type ? 0 : err_set(err, RC_CORRUPT, "etcd: \"%s\" has another type", name);
}

static int read_kv(const json_t *o, bool deleted, struct etcd_answer *a, struct err *err)
{
    struct etcd_kv kv = {.deleted = deleted, .key = STR(""), .value = STR("")};
    int rc;

    if (!json_is_object(o) || a->kvs.n >= ETCD_KVS_MAX)
        return err_set(err, RC_CORRUPT, "etcd: more than %d keys, or one that is no object", ETCD_KVS_MAX);
    rc = read_bytes(o, "key", &a->bytes, &kv.key, err);
    if (rc == 0)
        rc = read_bytes(o, "value", &a->bytes, &kv.value, err);
    if (rc == 0)
        rc = read_number(o, "mod_revision", &kv.mod_revision, err);
    if (rc == 0)
        rc = read_number(o, "lease", &kv.lease, err);
    if (rc == 0)
        *(struct etcd_kv *)vec_push(&a->kvs) = kv;
    return rc;
}

static int read_kvs(const json_t *o, struct etcd_answer *a, struct err *err)
{
    const json_t *list;
    int rc = read_child(o, "kvs", JSON_ARRAY, &list, err);

    for (size_t i = 0; rc == 0 && i < json_array_size(list); i++)
        rc = read_kv(json_array_get(list, i), false, a, err);
    return rc;
}

static int read_events(const json_t *o, struct etcd_answer *a, struct err *err)
{
    const json_t *list;
    int rc = read_child(o, "events", JSON_ARRAY, &list, err);

    for (size_t i = 0; rc == 0 && i < json_array_size(list); i++) {
        const json_t *event = json_array_get(list, i);
        const char *type    = json_string_value(json_object_get(event, "type"));

        rc = read_kv(json_object_get(event, "kv"), type && strcmp(type, "DELETE") == 0, a, err);
    }
    return rc;
}

/* Of a transaction: the ranges among what was done. */
static int read_responses(const json_t *o, struct etcd_answer *a, struct err *err)
{
    const json_t *list, *range;
    int rc = read_child(o, "responses", JSON_ARRAY, &list, err);

    for (size_t i = 0; rc == 0 && i < json_array_size(list); i++) {
        rc = read_child(json_array_get(list, i), "response_range", JSON_OBJECT, &range, err);
        if (rc == 0 && range)
            rc = read_kvs(range, a, err);
    }
    return rc;
}

/* {"error":"text","code":5}, and in a stream {"error":{"grpc_code":5,"message":"text"}}. */
static int read_error(const json_t *o, struct etcd_answer *a)
{
    const json_t *e = json_object_get(o, "error");
    const char *text;

    if (!e)
        return 0;
    text    = json_string_value(json_is_object(e) ? json_object_get(e, "message") : e);
    a->code = (int)json_integer_value(json_is_object(e) ? json_object_get(e, "grpc_code") : json_object_get(o, "code"));
    if (a->code == ETCD_OK) /* an error is one even without a code */
        a->code = 2;
    for (size_t i = 0; text && text[i] && i + 1 < sizeof a->message; i++)
        a->message[i] = text[i] < ' ' || text[i] > '~' ? '?' : text[i]; /* goes to logs */
    return 0;
}

static int read_token(const json_t *o, struct etcd_answer *a, struct err *err)
{
    const json_t *v = json_object_get(o, "token");
    size_t n        = json_string_length(v), before = a->bytes.n;

    if (!v)
        return 0;
    CORRUPT_UNLESS(json_is_string(v) && n <= ETCD_TOKEN_BYTES_MAX, err);
    for (size_t i = 0; i < n; i++) /* becomes a header */
        CORRUPT_UNLESS(json_string_value(v)[i] > ' ' && json_string_value(v)[i] <= '~', err);
    buf_add(&a->bytes, json_string_value(v), n);
    a->token = str_n(a->bytes.p + before, n);
    return 0;
}

static int read_header(const json_t *o, struct etcd_answer *a, struct err *err)
{
    const json_t *header;
    int rc = read_child(o, "header", JSON_OBJECT, &header, err);

    return rc == 0 && header ? read_number(header, "revision", &a->revision, err) : rc;
}

static int read_answer(const json_t *root, struct etcd_answer *a, struct err *err)
{
    const json_t *o;
    uint64_t ttl = 0;
    int rc       = read_child(root, "result", JSON_OBJECT, &o, err);

    if (rc < 0)
        return rc;
    o = o ? o : root; /* streams wrap their messages */
    if (rc == 0)
        rc = read_error(root, a);
    if (rc == 0)
        rc = read_header(o, a, err);
    if (rc == 0)
        rc = read_kvs(o, a, err);
    if (rc == 0)
        rc = read_events(o, a, err);
    if (rc == 0)
        rc = read_responses(o, a, err);
    if (rc == 0)
        rc = read_token(o, a, err);
    if (rc == 0)
        rc = read_number(o, "compact_revision", &a->compact_revision, err);
    if (rc == 0)
        rc = read_number(o, "ID", &a->lease, err);
    if (rc == 0)
        rc = read_number(o, "TTL", &ttl, err);
    a->ttl_s     = (int64_t)MIN(ttl, (uint64_t)INT32_MAX);
    a->succeeded = json_is_true(json_object_get(o, "succeeded"));
    a->created   = json_is_true(json_object_get(o, "created"));
    a->canceled  = json_is_true(json_object_get(o, "canceled"));
    return rc;
}

int etcd_answer_decode(struct str text, struct etcd_answer *ret, struct err *err)
{
    struct etcd_answer a = {0};
    json_error_t where;
    json_t *root;
    int rc;

    if (text.n > ETCD_ANSWER_BYTES_MAX)
        return err_set(err, RC_LIMIT, "etcd: an answer of %zu bytes, at most %d are read", text.n, ETCD_ANSWER_BYTES_MAX);
    root = json_loadb(text.p ? text.p : "", text.n, JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(root)) {
        rc = err_set(err, RC_CORRUPT, "etcd: the answer is no JSON object: %s", root ? "another type" : where.text);
        json_decref(root);
        return rc;
    }
    buf_init(&a.bytes, text.n + 1);
    if (!buf_reserve(&a.bytes, text.n + 1)) /* once: the strings point into it */
        rc = err_set(err, RC_NOMEM, "etcd: no memory for an answer of %zu bytes", text.n);
    else
        rc = read_answer(root, &a, err);
    json_decref(root);
    if (rc < 0) {
        etcd_answer_fini(&a);
        return rc;
    }
    *ret = a;
    return 0;
}

void etcd_answer_fini(struct etcd_answer *a)
{
    vec_fini(&a->kvs);
    buf_fini(&a->bytes);
}
