/* Scrapes, read strictly, and what becomes of them. */
#include "common/base/bytes.h"
#include "common/obs/exposition.h"
#include "loadgen/model.h"
#include "tests/test.h"

#include <math.h>

static const char openmetrics[] = "# HELP http_requests Requests.\n"
                                  "# TYPE http_requests counter\n"
                                  "http_requests_total{code=\"200\",path=\"/a\\\"b\\\\c\\n\"} 1027 1.5 # {trace_id=\"x\"} 0.67 1.2\n"
                                  "http_requests_created{code=\"200\"} 1.7e9\n"
                                  "# TYPE temperature gauge\n"
                                  "# UNIT temperature celsius\n"
                                  "temperature -3.5\n"
                                  "# EOF\n";

static struct exposition *parser(const char *text)
{
    struct exposition *e = xcalloc(1, sizeof *e);

    exposition_init(e, str_of(text));
    return e;
}

TEST(openmetrics_is_read)
{
    struct exposition *e = parser(openmetrics);
    struct exposition_sample s;
    struct err err;

    CHECK_INT(exposition_next(e, &s, &err), 1);
    CHECK(str_eqz(s.name, "http_requests_total") && s.label_n == 2 && str_eqz(s.labels[0].name, "code") && str_eqz(s.labels[0].value, "200"));
    CHECK(str_eqz(s.labels[1].value, "/a\"b\\c\n") && s.value == 1027 && s.has_time && s.t_ms == 1500);
    CHECK(str_eqz(exposition_type(e, s.name), "counter"));
    CHECK_INT(exposition_next(e, &s, &err), 1);
    CHECK(str_eqz(s.name, "http_requests_created") && !s.has_time && str_eqz(exposition_type(e, s.name), "counter"));
    CHECK_INT(exposition_next(e, &s, &err), 1);
    CHECK(s.value == -3.5 && s.label_n == 0 && str_eqz(exposition_type(e, s.name), "gauge"));
    CHECK(str_eqz(exposition_type(e, STR("temperature_max")), ""));
    CHECK_INT(exposition_next(e, &s, &err), 0);
    CHECK_INT(exposition_next(e, &s, &err), 0);
    free(e);
}

TEST(the_text_format_has_blanks_milliseconds_and_every_number)
{
    struct exposition *e = parser("#comment\n\n  a { x = \"1\" , y=\"2\", }\t+Inf  1500 \nb NaN\nc{} -Inf -7\r\nd 1e-3");
    struct exposition_sample s;
    struct err err;

    CHECK(exposition_next(e, &s, &err) == 1 && s.label_n == 2 && isinf(s.value) && s.t_ms == 1500);
    CHECK(exposition_next(e, &s, &err) == 1 && isnan(s.value) && !s.has_time);
    CHECK(exposition_next(e, &s, &err) == 1 && s.value == -INFINITY && s.t_ms == -7);
    CHECK(exposition_next(e, &s, &err) == 1 && s.value == 1e-3);
    CHECK_INT(exposition_next(e, &s, &err), 0);
    free(e);
}

TEST(what_is_wrong_is_named_with_its_line)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"a 1\n1a 2\n", "line 2: want a metric name"},
        {"a{1=\"x\"} 2\n", "want a label name"},
        {"a{x\"x\"} 2\n", "want ="},
        {"a{x=x} 2\n", "must begin with a quote"},
        {"a{x=\"x} 2\n", "does not end"},
        {"a{x=\"\\q\"} 2\n", "unknown escape"},
        {"a{x=\"\\", "unknown escape"},
        {"a{x=\"1\" y=\"2\"} 2\n", "want , or }"},
        {"a{x=\"1\"", "want , or }"},
        {"a{x=\"1\",", "do not end"},
        {"a{x=\"1\",x=\"2\"} 2\n", "stands twice"},
        {"a{x=\"\xff\"} 2\n", "not UTF-8"},
        {"a\n", "want a blank or labels"},
        {"a!1\n", "want a blank or labels"},
        {"a \n", "want a value"},
        {"a one\n", "want a value"},
        {"a 1 2.5\n", "want a timestamp"},
        {"a 1 x\n", "want a timestamp"},
        {"a 1 2 3\n", "something behind the sample"},
        {"a 1 # {x=\"1\"} 2\n", "something behind the sample"}, /* an exemplar is OpenMetrics */
        {"# TYPE a counters\n", "unknown type"},
        {"# TYPE 1a counter\n", "no metric name"},
        {"# EOF\na 1\n# EOF\n", "behind # EOF"},
        {"a 1 1e300\n", "out of range"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct recording r = {0};
        struct err err = {0};

        CHECK_INT(recording_read(str_of(cases[i].text), &r, &err), RC_INVALID);
        print_message("%s\n", err_text(&err));
        CHECK(strstr(err_text(&err), cases[i].says) && strstr(err_text(&err), "line "));
        CHECK(!r.series);
    }
}

TEST(a_recording_keeps_its_order_types_and_values)
{
    static const char text[] = "# TYPE z counter\nz{job=\"app\",empty=\"\",b=\"2\"} 5 1000\n# TYPE a gauge\na 1 1000\nz{job=\"app\",b=\"2\"} 7 3000\nz{b=\"2\",job=\"app\"} 6 2000\n";
    struct recording r;
    struct err err;

    CHECK_INT(recording_read(str_of(text), &r, &err), 0);
    CHECK_INT(r.series_n, 2);
    CHECK(str_eqz(labels_get(&r.series[0].labels, STR("__name__")), "z") && str_eqz(labels_get(&r.series[0].labels, STR("exported_job")), "app"));
    CHECK(r.series[0].labels.n == 3 && r.series[0].type == TYPE_COUNTER && r.series[1].type == TYPE_GAUGE);
    CHECK(r.series[0].value_n == 3 && r.series[1].value_n == 1);
    for (size_t i = 0; i < 3; i++)
        CHECK(r.series[0].values[i] == double_bits(5 + (double)i));
    recording_free(&r);
    CHECK_INT(recording_read(STR("a 1\nb 2\na 3\n"), &r, &err), RC_INVALID);
    CHECK(strstr(err_text(&err), "line 3") && strstr(err_text(&err), "line 1"));
    CHECK_INT(recording_read(STR("# nothing\n"), &r, &err), RC_INVALID);
}

TEST(a_replay_sends_the_recorded_values_in_turn_from_every_instance)
{
    struct recording r;
    struct model_labels l;
    struct model m;
    struct err err;

    CHECK_INT(recording_read(STR("a{instance=\"x\"} 1 1\na{instance=\"x\"} 2 2\nb 9\n"), &r, &err), 0);
    model_init(&m, &(struct model_cfg){.series = 6, .tenants = 1, .labels = MODEL_LABELS, .epoch_ms = 1000000, .step_ms = 15000, .recording = &r});
    CHECK_INT(model_targets(&m), 3);
    for (uint32_t i = 0; i < 6; i++) {
        struct series_id id = {0, i, 0};
        char address[32];

        model_labels(&m, id, &l);
        CHECK(l.n == (i % 2 ? 3 : 4) && str_eqz(l.value[0], i % 2 ? "b" : "a"));
        for (size_t k = 0; k < l.n; k++)
            if (str_eqz(l.name[k], "instance"))
                CHECK(str_eq(l.value[k], model_instance(i / 2, 0, address)));
        for (int64_t round = 0; round < 5; round++)
            CHECK(model_value(&m, id, 1000000 + round * 15000 + 7) == double_bits(i % 2 ? 9 : 1 + (double)(round % 2)));
    }
    recording_free(&r);
}
