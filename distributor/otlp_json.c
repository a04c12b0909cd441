#include "distributor/otlp_json.h"
#include "common/base/base64.h"
#include "common/base/bytes.h"
#include "common/model/duration.h"
#include "common/wire/otlp.pb-c.h"

#include <jansson.h>
#include <math.h>

/* --- what jansson's tree takes, generously, by the characters that make nodes --- */

enum { OBJECT_BYTES = 288, ARRAY_BYTES = 176, PAIR_BYTES = 176, ELEMENT_BYTES = 80 };

size_t otlp_json_cost(struct str json)
{
    size_t cost = json.n * 2;
    bool quoted = false;

    for (size_t i = 0; i < json.n; i++) {
        char c = json.p[i];

        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted)
            cost += c == '{' ? OBJECT_BYTES : c == '[' ? ARRAY_BYTES : c == ':' ? PAIR_BYTES : c == ',' ? ELEMENT_BYTES : 0;
    }
    return cost;
}

/* --- numbers --- */

static int refuse(const ProtobufCFieldDescriptor *f, const char *want, struct err *err)
{
    return err_set(err, RC_INVALID, "JSON: field '%s': expected %s", f->name, want);
}

static bool digits_u64(struct str s, uint64_t *ret)
{
    uint64_t v = 0;

    if (s.n == 0 || s.n > 20)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned digit = (unsigned)(s.p[i] - '0');

        if (digit > 9 || v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *ret = v;
    return true;
}

/* Magnitude and sign, so that both 64-bit ranges fit. */
static bool integer_of(const json_t *v, bool *negative, uint64_t *magnitude)
{
    *negative = false;
    if (json_is_integer(v)) {
        json_int_t i = json_integer_value(v);

        *negative = i < 0;
        *magnitude = i < 0 ? (uint64_t)-(i + 1) + 1 : (uint64_t)i;
        return true;
    }
    if (json_is_real(v)) {
        double d = json_real_value(v);

        if (d != trunc(d) || fabs(d) >= 0x1p63)
            return false;
        *negative = d < 0;
        *magnitude = (uint64_t)fabs(d);
        return true;
    }
    if (json_is_string(v)) {
        struct str s = str_n(json_string_value(v), json_string_length(v));

        *negative = s.n && s.p[0] == '-';
        return digits_u64(*negative ? str_skip(s, 1) : s, magnitude);
    }
    return false;
}

static int signed_of(const ProtobufCFieldDescriptor *f, const json_t *v, int64_t min, int64_t max, int64_t *ret, struct err *err)
{
    uint64_t magnitude;
    bool negative;

    if (!integer_of(v, &negative, &magnitude) || magnitude > (uint64_t)INT64_MAX + negative)
        return refuse(f, "a signed integer", err);
    *ret = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return *ret < min || *ret > max ? refuse(f, "a smaller integer", err) : 0;
}

static int unsigned_of(const ProtobufCFieldDescriptor *f, const json_t *v, uint64_t max, uint64_t *ret, struct err *err)
{
    bool negative;

    if (!integer_of(v, &negative, ret) || (negative && *ret))
        return refuse(f, "an unsigned integer", err);
    return *ret > max ? refuse(f, "a smaller integer", err) : 0;
}

static int double_of(const ProtobufCFieldDescriptor *f, const json_t *v, double *ret, struct err *err)
{
    if (json_is_number(v)) {
        *ret = json_number_value(v);
        return 0;
    }
    if (json_is_string(v) && float_parse(str_n(json_string_value(v), json_string_length(v)), ret, NULL) == 0)
        return 0;
    return refuse(f, "a number", err);
}

static int enum_of(const ProtobufCFieldDescriptor *f, const json_t *v, uint64_t *ret, struct err *err)
{
    const ProtobufCEnumValue *e = json_is_string(v) ? protobuf_c_enum_descriptor_get_value_by_name(f->descriptor, json_string_value(v)) : NULL;

    if (e) {
        *ret = (uint64_t)e->value;
        return 0;
    }
    return json_is_integer(v) ? unsigned_of(f, v, INT32_MAX, ret, err) : refuse(f, "an enum's name or number", err);
}

/* --- bytes --- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int hex_add(const ProtobufCFieldDescriptor *f, struct str s, struct buf *out, struct err *err)
{
    buf_uvarint(out, s.n / 2);
    for (size_t i = 0; i + 1 < s.n; i += 2) {
        int hi = hex_digit(s.p[i]), lo = hex_digit(s.p[i + 1]);

        if (hi < 0 || lo < 0)
            return refuse(f, "hexadecimal digits", err);
        buf_char(out, (char)(hi << 4 | lo));
    }
    return s.n % 2 ? refuse(f, "an even number of hexadecimal digits", err) : 0;
}

static int base64_add(const ProtobufCFieldDescriptor *f, struct str s, struct buf *out, struct err *err)
{
    buf_uvarint(out, base64_bytes(s));
    return base64_get(s, out) || !buf_ok(out) ? 0 : refuse(f, "base64", err);
}

/* --- messages --- */

static int message_add(const ProtobufCMessageDescriptor *d, const json_t *o, int depth, struct buf *out, struct err *err);

/* Length and message; the length is known only afterwards, so the message is moved behind it. */
static int nested_add(const ProtobufCMessageDescriptor *d, const ProtobufCFieldDescriptor *f, const json_t *v, int depth, struct buf *out, struct err *err)
{
    size_t start = out->n, size, n;
    char length[UVARINT_MAX];
    int rc;

    if (!json_is_object(v))
        return refuse(f, "an object", err);
    rc = message_add(d, v, depth + 1, out, err);
    size = out->n - start;
    n = uvarint_put(length, size);
    if (rc < 0 || !buf_reserve(out, n))
        return rc;
    memmove(out->p + start + n, out->p + start, size);
    memcpy(out->p + start, length, n);
    out->n += n;
    return 0;
}

static bool named(const ProtobufCFieldDescriptor *f, const char *name)
{
    return strcmp(f->name, name) == 0;
}

/* Our schema declares text as bytes, and nested attribute values too. */
static int bytes_add(const ProtobufCFieldDescriptor *f, const json_t *v, int depth, struct buf *out, struct err *err)
{
    struct str s;

    if (named(f, "array_value"))
        return nested_add(&torc__otlp__array_value__descriptor, f, v, depth, out, err);
    if (named(f, "kvlist_value"))
        return nested_add(&torc__otlp__key_value_list__descriptor, f, v, depth, out, err);
    if (!json_is_string(v))
        return refuse(f, "a text", err);
    s = str_n(json_string_value(v), json_string_length(v));
    if (named(f, "trace_id") || named(f, "span_id"))
        return hex_add(f, s, out, err);
    if (named(f, "bytes_value"))
        return base64_add(f, s, out, err);
    buf_lstr(out, s);
    return 0;
}

static int scalar_add(const ProtobufCFieldDescriptor *f, const json_t *v, struct buf *out, struct err *err)
{
    uint64_t u = 0;
    int64_t i = 0;
    double d = 0;
    int rc;

    switch (f->type) {
    case PROTOBUF_C_TYPE_BOOL:
        rc = json_is_boolean(v) ? 0 : refuse(f, "true or false", err);
        buf_uvarint(out, json_is_true(v));
        return rc;
    case PROTOBUF_C_TYPE_ENUM:
        rc = enum_of(f, v, &u, err);
        buf_uvarint(out, u);
        return rc;
    case PROTOBUF_C_TYPE_UINT32:
        rc = unsigned_of(f, v, UINT32_MAX, &u, err);
        buf_uvarint(out, u);
        return rc;
    case PROTOBUF_C_TYPE_UINT64:
        rc = unsigned_of(f, v, UINT64_MAX, &u, err);
        buf_uvarint(out, u);
        return rc;
    case PROTOBUF_C_TYPE_FIXED64:
        rc = unsigned_of(f, v, UINT64_MAX, &u, err);
        buf_u64(out, u);
        return rc;
    case PROTOBUF_C_TYPE_SINT32:
        rc = signed_of(f, v, INT32_MIN, INT32_MAX, &i, err);
        buf_svarint(out, i);
        return rc;
    case PROTOBUF_C_TYPE_INT64:
        rc = signed_of(f, v, INT64_MIN, INT64_MAX, &i, err);
        buf_uvarint(out, (uint64_t)i);
        return rc;
    case PROTOBUF_C_TYPE_SFIXED64:
        rc = signed_of(f, v, INT64_MIN, INT64_MAX, &i, err);
        buf_u64(out, (uint64_t)i);
        return rc;
    default:
        ASSERT(f->type == PROTOBUF_C_TYPE_DOUBLE); /* our schema has no others */
        rc = double_of(f, v, &d, err);
        buf_u64(out, double_bits(d));
        return rc;
    }
}

static unsigned wire_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 1;
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return 2;
    default:
        return 0;
    }
}

static int field_add(const ProtobufCFieldDescriptor *f, const json_t *v, int depth, struct buf *out, struct err *err)
{
    if (json_is_null(v))
        return 0; /* as if it were not there */
    buf_uvarint(out, (uint64_t)f->id << 3 | wire_of(f->type));
    if (f->type == PROTOBUF_C_TYPE_MESSAGE)
        return nested_add(f->descriptor, f, v, depth, out, err);
    return f->type == PROTOBUF_C_TYPE_BYTES ? bytes_add(f, v, depth, out, err) : scalar_add(f, v, out, err);
}

/* start_time_unix_nano and startTimeUnixNano. */
static bool camel_eq(const char *snake, const char *camel)
{
    for (; *snake; snake++, camel++) {
        char want = *snake;

        if (want == '_') {
            snake++;
            want = *snake >= 'a' && *snake <= 'z' ? (char)(*snake - 32) : *snake;
        }
        if (*camel != want)
            return false;
    }
    return !*camel;
}

static const ProtobufCFieldDescriptor *field_find(const ProtobufCMessageDescriptor *d, const char *camel)
{
    for (unsigned i = 0; i < d->n_fields; i++)
        if (camel_eq(d->fields[i].name, camel))
            return &d->fields[i];
    return NULL;
}

static int message_add(const ProtobufCMessageDescriptor *d, const json_t *o, int depth, struct buf *out, struct err *err)
{
    const char *key;
    json_t *v, *element;
    size_t i;
    int rc = depth > OTLP_JSON_DEPTH_MAX ? err_set(err, RC_INVALID, "JSON: nested deeper than %d messages", OTLP_JSON_DEPTH_MAX) : 0;

    /* NOLINTNEXTLINE(performance-no-int-to-ptr): jansson's iterator */
    json_object_foreach((json_t *)(uintptr_t)o, key, v) {
        const ProtobufCFieldDescriptor *f = rc == 0 ? field_find(d, key) : NULL;

        if (!f)
            continue;
        if (f->label != PROTOBUF_C_LABEL_REPEATED) {
            rc = field_add(f, v, depth, out, err);
            continue;
        }
        if (!json_is_array(v) && !json_is_null(v))
            rc = refuse(f, "an array", err);
        json_array_foreach(v, i, element)
            rc = rc == 0 ? field_add(f, element, depth, out, err) : rc;
    }
    return rc;
}

int otlp_json_request(struct str json, struct buf *out, struct err *err)
{
    size_t cost = otlp_json_cost(json);
    json_error_t why;
    json_t *root;
    int rc;

    if (cost > OTLP_JSON_TREE_BYTES_MAX)
        return err_set(err, RC_LIMIT, "JSON: reading this text would take %zu bytes, limit %d: send smaller requests, or protobuf", cost,
                       OTLP_JSON_TREE_BYTES_MAX);
    root = json_loadb(json.p, json.n, JSON_ALLOW_NUL, &why);
    if (!root)
        return err_set(err, RC_INVALID, "JSON: %s at line %d, column %d", why.text, why.line, why.column);
    rc = json_is_object(root) ? message_add(&torc__otlp__export_metrics_service_request__descriptor, root, 0, out, err)
                              : err_set(err, RC_INVALID, "JSON: expected an object");
    json_decref(root);
    if (rc == 0 && !buf_ok(out))
        rc = err_set(err, RC_LIMIT, "JSON: the request's memory budget is spent");
    return rc;
}
