#include "distributor/otlp_value.h"
#include "common/base/base64.h"
#include "common/base/json.h"
#include "common/model/duration.h"
#include "common/wire/pb_arena.h"

#include <math.h>
#include <stdlib.h>

static int no_memory(struct err *err)
{
    return err_set(err, RC_LIMIT, "attribute values: the request's memory budget is spent");
}

static int json_value(struct arena *a, const Torc__Otlp__AnyValue *v, int depth, struct buf *out, struct err *err);

static int json_list(struct arena *a, struct str message, int depth, struct buf *out, struct err *err)
{
    const Torc__Otlp__ArrayValue *list;
    ProtobufCMessage *m;
    int rc = pb_unpack(&torc__otlp__array_value__descriptor, a, message, &m, err);

    if (rc < 0)
        return rc;
    list = (const void *)m;
    buf_char(out, '[');
    for (size_t i = 0; i < list->n_values && rc == 0; i++) {
        if (i)
            buf_char(out, ',');
        rc = json_value(a, list->values[i], depth + 1, out, err);
    }
    buf_char(out, ']');
    return rc;
}

static int by_key(const void *x, const void *y)
{
    const Torc__Otlp__KeyValue *const *a = x, *const *b = y;

    return str_cmp(pb_str((*a)->key), pb_str((*b)->key));
}

static int json_map(struct arena *a, struct str message, int depth, struct buf *out, struct err *err)
{
    const Torc__Otlp__KeyValueList *map;
    ProtobufCMessage *m;
    int rc = pb_unpack(&torc__otlp__key_value_list__descriptor, a, message, &m, err);

    if (rc < 0)
        return rc;
    map = (const void *)m;
    if (map->n_values)
        qsort(map->values, map->n_values, sizeof *map->values, by_key);
    buf_char(out, '{');
    for (size_t i = 0; i < map->n_values && rc == 0; i++) {
        if (i)
            buf_char(out, ',');
        json_str_html(out, pb_str(map->values[i]->key));
        buf_char(out, ':');
        rc = json_value(a, map->values[i]->value, depth + 1, out, err);
    }
    buf_char(out, '}');
    return rc;
}

static int json_value(struct arena *a, const Torc__Otlp__AnyValue *v, int depth, struct buf *out, struct err *err)
{
    if (depth > OTLP_VALUE_DEPTH_MAX)
        return err_set(err, RC_INVALID, "an attribute's value is nested deeper than %d levels", OTLP_VALUE_DEPTH_MAX);
    switch (v ? v->value_case : TORC__OTLP__ANY_VALUE__VALUE__NOT_SET) {
    case TORC__OTLP__ANY_VALUE__VALUE_STRING_VALUE:
        json_str_html(out, pb_str(v->string_value));
        return 0;
    case TORC__OTLP__ANY_VALUE__VALUE_BOOL_VALUE:
        buf_z(out, v->bool_value ? "true" : "false");
        return 0;
    case TORC__OTLP__ANY_VALUE__VALUE_INT_VALUE:
        buf_printf(out, "%lld", (long long)v->int_value);
        return 0;
    case TORC__OTLP__ANY_VALUE__VALUE_DOUBLE_VALUE:
        if (isfinite(v->double_value))
            float_print(out, v->double_value);
        else
            buf_z(out, "null"); /* JSON has none */
        return 0;
    case TORC__OTLP__ANY_VALUE__VALUE_ARRAY_VALUE:
        return json_list(a, pb_str(v->array_value), depth, out, err);
    case TORC__OTLP__ANY_VALUE__VALUE_KVLIST_VALUE:
        return json_map(a, pb_str(v->kvlist_value), depth, out, err);
    case TORC__OTLP__ANY_VALUE__VALUE_BYTES_VALUE:
        buf_char(out, '"');
        base64_put(out, pb_str(v->bytes_value));
        buf_char(out, '"');
        return 0;
    default:
        buf_z(out, "null");
        return 0;
    }
}

int otlp_value_text(struct arena *a, const Torc__Otlp__AnyValue *v, struct str *ret, struct err *err)
{
    struct buf b;
    struct str text;
    int rc = 0;

    if (!v || v->value_case == TORC__OTLP__ANY_VALUE__VALUE__NOT_SET) {
        *ret = STR("");
        return 0;
    }
    if (v->value_case == TORC__OTLP__ANY_VALUE__VALUE_STRING_VALUE) {
        *ret = v->string_value.len ? pb_str(v->string_value) : STR("");
        return 0;
    }
    buf_init(&b, OTLP_VALUE_BYTES_MAX);
    if (v->value_case == TORC__OTLP__ANY_VALUE__VALUE_BYTES_VALUE)
        base64_put(&b, pb_str(v->bytes_value));
    else if (v->value_case == TORC__OTLP__ANY_VALUE__VALUE_DOUBLE_VALUE)
        float_print(&b, v->double_value);
    else
        rc = json_value(a, v, 0, &b, err);
    text = arena_str(a, buf_view(&b));
    if (rc == 0 && (!buf_ok(&b) || (b.n && !text.p)))
        rc = no_memory(err);
    buf_fini(&b);
    if (rc == 0)
        *ret = text.n ? text : STR("");
    return rc;
}
