#include "querier/json.h"
#include "tests/test.h"

#include <math.h>

static struct buf out;

static const char *text(void)
{
    buf_char(&out, '\0');
    return out.p;
}

static void begin(void)
{
    buf_fini(&out);
    buf_init(&out, 1 << 20);
}

TEST(timestamps_have_three_decimals_or_none)
{
    static const struct {
        int64_t ms;
        const char *want;
    } cases[] = {
        {0, "0"},
        {60000, "60"},
        {1435781451781, "1435781451.781"},
        {1435781451890, "1435781451.890"},
        {-500, "-0.500"},
        {-1000, "-1"},
        {1, "0.001"},
        {INT64_MIN, "-9223372036854775.808"},
        {INT64_MAX, "9223372036854775.807"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        begin();
        json_timestamp(&out, cases[i].ms);
        CHECK_STR(text(), cases[i].want);
    }
}

TEST(samples_are_shortest_decimals)
{
    static const struct {
        double v;
        const char *want;
    } cases[] = {
        {1, "\"1\""},
        {0.1, "\"0.1\""},
        {1e-7, "\"1e-07\""},
        {1e21, "\"1e+21\""},
        {123456789012345680000.0, "\"123456789012345680000\""},
        {NAN, "\"NaN\""},
        {INFINITY, "\"+Inf\""},
        {-INFINITY, "\"-Inf\""},
        {-0.0, "\"-0\""},
        {16.87214000011479, "\"16.87214000011479\""},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        begin();
        json_sample(&out, cases[i].v);
        CHECK_STR(text(), cases[i].want);
    }
}

TEST(strings_are_escaped_as_go_does)
{
    begin();
    json_str_html(&out,
                  STR("a\"\\\n\t\x01<&>\x7f \xe2\x80\xa8 \xe2\x80\xa9 \xe2\x80\xaa \xff \xc3\xa9"));
    CHECK_STR(text(), "\"a\\\"\\\\\\n\\t\\u0001\\u003c\\u0026\\u003e\x7f \\u2028 \\u2029 "
                      "\xe2\x80\xaa \\ufffd \xc3\xa9\"");
}

/* --- results --- */

static struct label up_v[] = {{{"__name__", 8}, {"up", 2}}, {{"job", 3}, {"<a>", 3}}};
static const struct labels up = {up_v, 2};
static const struct labels none = {NULL, 0};

static const struct hist_span span = {0, 2};
static const double counts[] = {1, 2};
static const struct histogram hist = {
    .is_float = true,
    .sum = 5,
    .count.f = 3,
    .pos = {.spans = &span, .span_count = 1, .bucket_count = 2, .f = counts}};
#define HIST                                                                                       \
    "{\"count\":\"3\",\"sum\":\"5\",\"buckets\":[[0,\"0.5\",\"1\",\"1\"],[0,\"1\",\"2\",\"2\"]]}"

/* Written in pieces of so many bytes. */
static const char *write_by(const struct result_json *from, size_t bytes)
{
    struct result_json w = *from;

    begin();
    while (result_json_next(&w, &out, bytes))
        CHECK(buf_ok(&out));
    return text();
}

/* The answer must not depend on where it is cut. */
static void check_result(const struct result_json *w, const char *want)
{
    for (size_t bytes = 1; bytes < 400; bytes++)
        CHECK_STR(write_by(w, bytes), want);
}

TEST(a_matrix_lists_floats_then_histograms)
{
    struct result_sample floats[] = {{1000, 1, NULL}, {2500, 0.5, NULL}};
    struct result_sample mixed[] = {{1000, 0, &hist}, {2000, 7, NULL}, {3000, 0, &hist}};
    struct result_sample hists[] = {{1000, 0, &hist}};
    struct result_series series[] = {{.labels = up, .n = 2, .s = floats}, {.labels = none, .n = 3, .s = mixed}, {.labels = none, .n = 1, .s = hists}};
    struct query_result res = {.type = VALUE_MATRIX, .series = series, .series_count = 3};
    struct result_json w = {.res = &res};

    check_result(&w, "{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\",\"result\":["
                     "{\"metric\":{\"__name__\":\"up\",\"job\":\"\\u003ca\\u003e\"},\"values\":[[1,"
                     "\"1\"],[2.500,\"0.5\"]]},"
                     "{\"metric\":{},\"values\":[[2,\"7\"]],\"histograms\":[[1," HIST "],[3," HIST
                     "]]},"
                     "{\"metric\":{},\"histograms\":[[1," HIST "]]}]}}");
    w.limit = 1;
    check_result(&w, "{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\",\"result\":["
                     "{\"metric\":{\"__name__\":\"up\",\"job\":\"\\u003ca\\u003e\"},\"values\":[[1,"
                     "\"1\"],[2.500,\"0.5\"]]}]},"
                     "\"warnings\":[\"results truncated due to limit\"]}");
    res.series_count = 0;
    check_result(&w, "{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\",\"result\":[]}}");
}

TEST(a_vector_has_values_and_histograms_with_notes_behind)
{
    struct result_sample a[] = {{1500, 1, NULL}}, b[] = {{1500, 0, &hist}};
    struct result_series series[] = {{.labels = up, .n = 1, .s = a}, {.labels = none, .n = 1, .s = b}};
    const char *warnings[] = {"w<1>", "w2"}, *infos[] = {"i"};
    struct query_result res = {.type = VALUE_VECTOR,
                               .series = series,
                               .series_count = 2,
                               .warnings = warnings,
                               .warning_count = 2,
                               .infos = infos,
                               .info_count = 1};
    struct result_json w = {.res = &res, .notes = {"mine"}, .note_count = 1};

    check_result(
        &w,
        "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":["
        "{\"metric\":{\"__name__\":\"up\",\"job\":\"\\u003ca\\u003e\"},\"value\":[1.500,\"1\"]},"
        "{\"metric\":{},\"histogram\":[1.500," HIST
        "]}]},\"warnings\":[\"w\\u003c1\\u003e\",\"w2\",\"mine\"],\"infos\":[\"i\"]}");
}

TEST(scalars_have_the_shortest_time_and_no_exponent)
{
    struct result_sample s[] = {{1435781451890, 1e-7, NULL}};
    struct result_series series[] = {{.labels = none, .n = 1, .s = s}};
    struct query_result res = {.type = VALUE_SCALAR, .series = series, .series_count = 1};
    struct result_json w = {.res = &res};

    check_result(&w, "{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":["
                     "1435781451.89,\"0.0000001\"]}}");
    s[0] = (struct result_sample){-500, 1e22, NULL};
    check_result(&w, "{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[-0.5,"
                     "\"10000000000000000000000\"]}}");
}

TEST(strings_carry_their_time)
{
    struct query_result res = {.type = VALUE_STRING, .string = STR("a\"b")};
    struct result_json w = {.res = &res, .start_ms = 4500};

    check_result(&w, "{\"status\":\"success\",\"data\":{\"resultType\":\"string\",\"result\":[4.5,"
                     "\"a\\\"b\"]}}");
}

TEST(statistics_follow_the_result)
{
    uint64_t total[] = {0, 4, 4}, read[] = {0, 4, 1};
    struct query_result res = {.type = VALUE_MATRIX,
                               .stats = {.samples_total = 8,
                                         .samples_read = 5,
                                         .peak_samples = 6,
                                         .per_step = total,
                                         .per_step_read = read,
                                         .step_count = 3,
                                         .seconds_prepare = 0.25,
                                         .seconds_eval = 0.5,
                                         .seconds_sort = 0}};
    struct result_json w = {.res = &res,
                            .stats = true,
                            .per_step = true,
                            .start_ms = 1652382000000,
                            .step_ms = 1000000,
                            .seconds_queue = 0.125,
                            .seconds_total = 1};

    check_result(&w, "{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\",\"result\":[],"
                     "\"stats\":{\"timings\":{\"evalTotalTime\":0.75,\"resultSortTime\":0,"
                     "\"queryPreparationTime\":0.25,\"innerEvalTime\":0.5,\"execQueueTime\":0.125,"
                     "\"execTotalTime\":1},"
                     "\"samples\":{\"totalQueryableSamplesPerStep\":[[1652382000,0],[1652383000,4],"
                     "[1652384000,4]],\"totalQueryableSamples\":8,"
                     "\"samplesReadPerStep\":[[1652382000,0],[1652383000,4],[1652384000,1]],"
                     "\"samplesRead\":5,\"peakSamples\":6}}}}");
    w.per_step = false;
    CHECK(!strstr(write_by(&w, 100000), "PerStep"));
    buf_fini(&out);
}

TEST(errors_have_type_and_text)
{
    begin();
    json_error(&out, "bad_data", STR("1:2: \"<\""));
    CHECK_STR(
        text(),
        "{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"1:2: \\\"\\u003c\\\"\"}");
    buf_fini(&out);
}
