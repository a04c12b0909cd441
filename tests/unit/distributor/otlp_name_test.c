/* OpenTelemetry names as Prometheus names: the cases of the specification's compatibility document and of Prometheus. */
#include "distributor/otlp_name.h"
#include "tests/test.h"

enum { ESC = 0, UTF8 = 1, SUFFIX = 2 };

static const struct {
    const char *name, *unit;
    enum otlp_kind kind;
    int how;
    const char *want; /* NULL: refused */
} metrics[] = {
    {"http.server.duration", "s", OTLP_HISTOGRAM, SUFFIX, "http_server_duration_seconds"},
    {"system.cpu.time", "s", OTLP_COUNTER, SUFFIX, "system_cpu_time_seconds_total"},
    {"memory.usage", "By", OTLP_GAUGE, SUFFIX, "memory_usage_bytes"},
    {"memory_usage_bytes", "By", OTLP_GAUGE, SUFFIX, "memory_usage_bytes"},
    {"requests.total", "1", OTLP_COUNTER, SUFFIX, "requests_total"},
    {"total.requests", "", OTLP_COUNTER, SUFFIX, "requests_total"},
    {"requests", "{request}", OTLP_COUNTER, SUFFIX, "requests_total"},
    {"requests", "", OTLP_UP_DOWN_COUNTER, SUFFIX, "requests"},
    {"cpu.utilization", "1", OTLP_GAUGE, SUFFIX, "cpu_utilization_ratio"},
    {"ratio.of.hits", "1", OTLP_GAUGE, SUFFIX, "of_hits_ratio"},
    {"hits", "1", OTLP_UP_DOWN_COUNTER, SUFFIX, "hits"},
    {"network.io", "By/s", OTLP_GAUGE, SUFFIX, "network_io_bytes_per_second"},
    {"speed", "m/s", OTLP_GAUGE, SUFFIX, "speed_meters_per_second"},
    {"speed", "km/h", OTLP_GAUGE, SUFFIX, "speed_km_per_hour"},
    {"errors", "1/s", OTLP_COUNTER, SUFFIX, "errors_per_second_total"},
    {"errors", "{error}/{request}", OTLP_GAUGE, SUFFIX, "errors"},
    {"disk.free", "%", OTLP_GAUGE, SUFFIX, "disk_free_percent"},
    {"broken.unit", "/", OTLP_GAUGE, SUFFIX, "broken_unit"},
    {"per.unit", "m/_", OTLP_GAUGE, SUFFIX, "per_unit_meters"},
    {"unit", "_x__y_", OTLP_GAUGE, SUFFIX, "unit_x_y_"},
    {"3.times", "", OTLP_GAUGE, SUFFIX, "_3_times"},
    {"a__b..c", "", OTLP_GAUGE, SUFFIX, "a_b_c"},
    {":odd:", "", OTLP_GAUGE, SUFFIX, ":odd:"},
    {"gr\xc3\xbc\xc3\x9f.e", "", OTLP_GAUGE, SUFFIX, "gr_e"},
    {"_hidden_", "s", OTLP_GAUGE, SUFFIX, "hidden_seconds"},
    {"temperature", "Cel", OTLP_GAUGE, SUFFIX, "temperature_celsius"},
    {"\xff", "", OTLP_GAUGE, SUFFIX, NULL},
    {"...", "s", OTLP_GAUGE, SUFFIX, "seconds"},
    {"...", "", OTLP_GAUGE, SUFFIX, NULL},
    {"", "s", OTLP_GAUGE, SUFFIX, NULL},
    {"http.server.duration", "s", OTLP_HISTOGRAM, ESC, "http_server_duration"},
    {"a__b..c_", "By", OTLP_COUNTER, ESC, "a__b_c_"},
    {".a.", "", OTLP_GAUGE, ESC, "a"},
    {"3.times", "", OTLP_GAUGE, ESC, "_3_times"},
    {"_._", "", OTLP_GAUGE, ESC, NULL},
    {"http.server.duration", "s", OTLP_HISTOGRAM, UTF8, "http.server.duration"},
    {"http.server.duration", "s", OTLP_HISTOGRAM, UTF8 | SUFFIX, "http.server.duration_seconds"},
    {"http.seconds", "s", OTLP_HISTOGRAM, UTF8 | SUFFIX, "http.seconds"},
    {"http.requests.total", "", OTLP_COUNTER, UTF8 | SUFFIX, "http.requests_total"},
    {"total", "", OTLP_COUNTER, UTF8 | SUFFIX, "total_total"},
    {"io", "By/s", OTLP_COUNTER, UTF8 | SUFFIX, "io_bytes_per_second_total"},
    {"io.per_second", "By/s", OTLP_GAUGE, UTF8 | SUFFIX, "io_bytes_per_second"},
    {"hit.ratio", "1", OTLP_GAUGE, UTF8 | SUFFIX, "hit_ratio"},
    {"3 times", "", OTLP_GAUGE, UTF8 | SUFFIX, "3 times"},
};

static struct otlp_naming naming(int how)
{
    return (struct otlp_naming){.utf8 = how & UTF8, .suffixes = how & SUFFIX};
}

static void same(struct str got, const char *want)
{
    if (!str_eqz(got, want))
        fail_msg("got '%.*s', want '%s'", STR_FMT(got), want);
}

TEST(metric_names_follow_the_strategy)
{
    for (size_t i = 0; i < ARRAY_LEN(metrics); i++) {
        struct arena a;
        struct str got = STR("untouched");
        struct err err;
        int rc;

        arena_init(&a, 1 << 20);
        rc = otlp_metric_name(&a, str_of(metrics[i].name), str_of(metrics[i].unit), metrics[i].kind, naming(metrics[i].how), &got, &err);
        if (metrics[i].want) {
            CHECK_INT(rc, 0);
            same(got, metrics[i].want);
        } else {
            CHECK_INT(rc, RC_INVALID);
            same(got, "untouched");
        }
        arena_fini(&a);
    }
}

static const struct {
    const char *name;
    bool utf8;
    const char *want;
} labels[] = {
    {"method", false, "method"},       {"http.method", false, "http_method"}, {"a..b", false, "a__b"},   {"1st", false, "key_1st"},
    {"_private", false, "key_private"}, {"__reserved__", false, "__reserved__"}, {".dot", false, "key_dot"}, {"\xc3\xa9t\xc3\xa9", false, "key_t_"},
    {"\xff\xfe", false, NULL},         {"", false, NULL},                     {"..", false, NULL},       {"Upper_9", false, "Upper_9"},
    {"http.method", true, "http.method"}, {"1st", true, "1st"},
    {"a:b", false, "a_b"},
};

TEST(attribute_names_become_label_names)
{
    for (size_t i = 0; i < ARRAY_LEN(labels); i++) {
        struct arena a;
        struct str got = STR("untouched");
        struct err err;
        int rc;

        arena_init(&a, 1 << 20);
        rc = otlp_label_name(&a, str_of(labels[i].name), (struct otlp_naming){.utf8 = labels[i].utf8}, &got, &err);
        CHECK_INT(rc, labels[i].want ? 0 : RC_INVALID);
        same(got, labels[i].want ? labels[i].want : "untouched");
        arena_fini(&a);
    }
}

TEST(units_are_spelled_out)
{
    static const struct {
        const char *unit, *want;
    } rows[] = {{"s", "seconds"}, {"By/s", "bytes_per_second"}, {"{packet}/s", "per_second"}, {"1", ""}, {"", ""}, {"furlong/fortnight", "furlong_per_fortnight"}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena a;
        struct str got;

        arena_init(&a, 1 << 20);
        CHECK_INT(otlp_unit_name(&a, str_of(rows[i].unit), (struct otlp_naming){0}, &got, NULL), 0);
        same(got, rows[i].want);
        arena_fini(&a);
    }
}

TEST(a_spent_budget_is_no_fault_of_the_name)
{
    struct arena a;
    struct str got;

    arena_init(&a, 1);
    CHECK_INT(otlp_metric_name(&a, STR("a.b"), STR("s"), OTLP_GAUGE, naming(SUFFIX), &got, NULL), RC_LIMIT);
    CHECK_INT(otlp_label_name(&a, STR("a.b"), naming(ESC), &got, NULL), RC_LIMIT);
    arena_fini(&a);
}
