/* OTLP's JSON form: what it accepts, what it says of the rest. */
#include "common/wire/otlp.pb-c.h"
#include "common/wire/pb_arena.h"
#include "distributor/otlp_json.h"
#include "tests/test.h"

typedef Torc__Otlp__ExportMetricsServiceRequest Request;

/* Unpacked by the other decoder; free with the arena. */
static const Request *read_json(const char *json, struct arena *a)
{
    ProtobufCMessage *m;
    struct buf out;
    struct err err;

    buf_init(&out, 1 << 20);
    if (otlp_json_request(str_of(json), &out, &err) < 0 || pb_unpack(&torc__otlp__export_metrics_service_request__descriptor, a, buf_view(&out), &m, &err) < 0)
        fail_msg("%s: %s", json, err_text(&err));
    buf_fini(&out);
    return (const void *)m;
}

#define POINT(fields) "{\"resourceMetrics\":[{\"scopeMetrics\":[{\"metrics\":[{\"gauge\":{\"dataPoints\":[{" fields "}]}}]}]}]}"

static const Torc__Otlp__NumberDataPoint *point(const char *json, struct arena *a)
{
    return read_json(json, a)->resource_metrics[0]->scope_metrics[0]->metrics[0]->gauge->data_points[0];
}

TEST(numbers_come_as_numbers_and_as_texts)
{
    static const struct {
        const char *json;
        uint64_t time;
        int64_t i;
    } rows[] = {
        {POINT("\"timeUnixNano\":\"18446744073709551615\",\"asInt\":\"-9223372036854775808\""), UINT64_MAX, INT64_MIN},
        {POINT("\"timeUnixNano\":1700000000000000000,\"asInt\":-5"), 1700000000000000000, -5},
        {POINT("\"timeUnixNano\":1e9,\"asInt\":9223372036854775807,\"unknown\":{\"a\":[1]},\"attributes\":null"), 1000000000, INT64_MAX},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const Torc__Otlp__NumberDataPoint *p;
        struct arena a;

        arena_init(&a, 1 << 20);
        p = point(rows[i].json, &a);
        CHECK(p->time_unix_nano == rows[i].time && p->as_int == rows[i].i);
        CHECK_INT(p->value_case, TORC__OTLP__NUMBER_DATA_POINT__VALUE_AS_INT);
        CHECK_INT(p->n_attributes, 0);
        arena_fini(&a);
    }
}

TEST(doubles_may_be_no_numbers)
{
    static const struct {
        const char *json;
        double want;
    } rows[] = {{POINT("\"asDouble\":\"Infinity\""), 1.0 / 0.0}, {POINT("\"asDouble\":\"-Infinity\""), -1.0 / 0.0}, {POINT("\"asDouble\":\"1.5e3\""), 1500}, {POINT("\"asDouble\":7"), 7}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena a;

        arena_init(&a, 1 << 20);
        CHECK(point(rows[i].json, &a)->as_double == rows[i].want);
        arena_fini(&a);
    }
}

TEST(texts_may_hold_anything)
{
    const Torc__Otlp__Metric *m;
    struct arena a;

    arena_init(&a, 1 << 20);
    m = read_json("{\"resourceMetrics\":[{\"scopeMetrics\":[{\"metrics\":[{\"name\":\"a\\u0000b\\u00e9\",\"summary\":{}}]}]}]}", &a)->resource_metrics[0]->scope_metrics[0]->metrics[0];
    CHECK(str_eq(pb_str(m->name), STR("a\0b\xc3\xa9")));
    CHECK_INT(m->data_case, TORC__OTLP__METRIC__DATA_SUMMARY);
    arena_fini(&a);
}

TEST(ids_are_hexadecimal_and_bytes_base64)
{
    const Torc__Otlp__NumberDataPoint *p;
    const Torc__Otlp__Exemplar *e;
    struct arena a;

    arena_init(&a, 1 << 20);
    p = point(POINT("\"exemplars\":[{\"traceId\":\"00ff\",\"spanId\":\"\",\"filteredAttributes\":[{\"key\":\"k\",\"value\":{\"bytesValue\":\"_-8\"}}]}]"), &a);
    e = p->exemplars[0];
    CHECK(str_eq(pb_str(e->trace_id), STR("\x00\xff")));
    CHECK_INT(e->span_id.len, 0);
    CHECK(str_eq(pb_str(e->filtered_attributes[0]->value->bytes_value), STR("\xff\xef")));
    arena_fini(&a);
}

TEST(what_is_wrong_is_named)
{
    static const struct {
        const char *json, *text;
    } rows[] = {
        {"", "JSON: "},
        {"[]", "JSON: expected an object"},
        {"{\"resourceMetrics\":[{]}", "JSON: "},
        {"{\"resourceMetrics\":{}}", "JSON: field 'resource_metrics': expected an array"},
        {"{\"resourceMetrics\":[1]}", "JSON: field 'resource_metrics': expected an object"},
        {POINT("\"timeUnixNano\":\"x\""), "JSON: field 'time_unix_nano': expected an unsigned integer"},
        {POINT("\"timeUnixNano\":-1"), "JSON: field 'time_unix_nano': expected an unsigned integer"},
        {POINT("\"timeUnixNano\":\"18446744073709551616\""), "JSON: field 'time_unix_nano': expected an unsigned integer"},
        {POINT("\"timeUnixNano\":1.5"), "JSON: field 'time_unix_nano': expected an unsigned integer"},
        {POINT("\"asInt\":\"9223372036854775808\""), "JSON: field 'as_int': expected a signed integer"},
        {POINT("\"asDouble\":\"one\""), "JSON: field 'as_double': expected a number"},
        {POINT("\"asDouble\":true"), "JSON: field 'as_double': expected a number"},
        {POINT("\"flags\":4294967296"), "JSON: field 'flags': expected a smaller integer"},
        {POINT("\"attributes\":[{\"key\":1}]"), "JSON: field 'key': expected a text"},
        {POINT("\"attributes\":[{\"value\":{\"boolValue\":1}}]"), "JSON: field 'bool_value': expected true or false"},
        {POINT("\"attributes\":[{\"value\":{\"bytesValue\":\"a\"}}]"), "JSON: field 'bytes_value': expected base64"},
        {POINT("\"exemplars\":[{\"traceId\":\"0x\"}]"), "JSON: field 'trace_id': expected hexadecimal digits"},
        {POINT("\"exemplars\":[{\"traceId\":\"000\"}]"), "JSON: field 'trace_id': expected an even number of hexadecimal digits"},
        {"{\"resourceMetrics\":[{\"scopeMetrics\":[{\"metrics\":[{\"sum\":{\"aggregationTemporality\":\"SOMETIMES\"}}]}]}]}",
         "JSON: field 'aggregation_temporality': expected an enum's name or number"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf out;
        struct err err;

        buf_init(&out, 1 << 20);
        CHECK_INT(otlp_json_request(str_of(rows[i].json), &out, &err), RC_INVALID);
        if (strncmp(err_text(&err), rows[i].text, strlen(rows[i].text)) != 0)
            fail_msg("%s: got '%s', want '%s'", rows[i].json, err_text(&err), rows[i].text);
        buf_fini(&out);
    }
}

static int run_repeated(const char *open, const char *each, size_t times, struct err *err)
{
    struct buf json, out;
    int rc;

    buf_init(&json, 64 << 20);
    buf_init(&out, 64 << 20);
    buf_z(&json, open);
    for (size_t i = 0; i < times; i++)
        buf_z(&json, each);
    rc = otlp_json_request(buf_view(&json), &out, err);
    buf_fini(&json);
    buf_fini(&out);
    return rc;
}

TEST(bombs_are_refused_before_they_take_memory)
{
    struct err err;

    CHECK_INT(run_repeated("{\"resourceMetrics\":[", "{},", 2 << 20, &err), RC_LIMIT);
    CHECK(strstr(err_text(&err), "send smaller requests, or protobuf"));
    CHECK_INT(run_repeated("", "{\"resourceMetrics\":[", 100000, &err), RC_INVALID); /* jansson's own depth */
}

TEST(messages_nest_only_so_deep)
{
    static const char each[] = "{\"arrayValue\":{\"values\":[";
    struct buf json, out;
    struct err err;

    buf_init(&json, 1 << 20);
    buf_init(&out, 1 << 20);
    buf_z(&json, "{\"resourceMetrics\":[{\"resource\":{\"attributes\":[{\"value\":");
    for (int i = 0; i < OTLP_JSON_DEPTH_MAX; i++)
        buf_z(&json, each);
    for (int i = 0; i < OTLP_JSON_DEPTH_MAX; i++)
        buf_z(&json, "]}}");
    buf_z(&json, "}]}}]}");
    CHECK_INT(otlp_json_request(buf_view(&json), &out, &err), RC_INVALID);
    CHECK(strstr(err_text(&err), "nested deeper than 160 messages"));
    buf_fini(&json);
    buf_fini(&out);
}
