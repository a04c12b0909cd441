/* The HTTP API: shapes, errors, limits, tenants. */
#include "tests/component/querier/cluster_util.h"

#define T0              1600000000000LL
#define ALL             7u
#define BAD(text)       "{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"" text "\"}"
#define EXECUTION(text) "{\"status\":\"error\",\"errorType\":\"execution\",\"error\":\"" text "\"}"
#define DATA(text)      "{\"status\":\"success\",\"data\":" text "}"

static const struct {
    const char *path, *params;
    int status;
    const char *body;
} cases[] = {
    /* parameters of queries */
    {"/api/v1/query", "query=up&time=x", 400,
     BAD("invalid parameter \\\"time\\\": invalid time value for 'time': cannot parse \\\"x\\\" to "
         "a valid timestamp")},
    {"/api/v1/query", "query=up&limit=x", 400,
     BAD("invalid parameter \\\"limit\\\": strconv.Atoi: parsing \\\"x\\\": invalid syntax")},
    {"/api/v1/query", "query=up&limit=-1", 400,
     BAD("invalid parameter \\\"limit\\\": limit must be non-negative")},
    {"/api/v1/query", "query=up&timeout=abc", 400,
     BAD("invalid parameter \\\"timeout\\\": cannot parse \\\"abc\\\" to a valid duration")},
    {"/api/v1/query", "query=up&lookback_delta=abc", 400,
     BAD("error parsing lookback delta duration: cannot parse \\\"abc\\\" to a valid duration")},
    {"/api/v1/query", "query=sum(", 400,
     BAD("invalid parameter \\\"query\\\": 1:5: parse error: unclosed left parenthesis")},
    {"/api/v1/query_range", "query=up&start=1&end=0&step=1", 400,
     BAD("invalid parameter \\\"end\\\": end timestamp must not be before start time")},
    {"/api/v1/query_range", "query=up&end=0&step=1", 400,
     BAD("invalid parameter \\\"start\\\": cannot parse \\\"\\\" to a valid timestamp")},
    {"/api/v1/query_range", "query=up&start=0&end=1&step=0", 400,
     BAD("invalid parameter \\\"step\\\": zero or negative query resolution step widths are not "
         "accepted. Try a positive integer")},
    {"/api/v1/query_range", "query=up&start=0&end=11001&step=1", 400,
     BAD("exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query "
         "resolution (?step=XX)")},
    {"/api/v1/query_range", "query=up[5m]&start=0&end=1&step=1", 400,
     BAD("invalid parameter \\\"query\\\": invalid expression type \\\"range vector\\\" for range "
         "query, must be Scalar or instant Vector")},
    {"/api/v1/query_range", "query=up&start=0&end=8208001&step=1d", 422,
     EXECUTION("the query time range exceeds the limit (query length: 95d1s, limit: 95d)")},
    /* answers */
    {"/api/v1/query", "query=up&time=1600000030", 200,
     VECTOR("{\"metric\":{\"__name__\":\"up\",\"job\":\"a\"},\"value\":[1600000030,\"3\"]},{"
            "\"metric\":{\"__name__\":\"up\",\"job\":\"b\"},\"value\":[1600000030,\"5\"]}")},
    {"/api/v1/query", "query=up&time=2020-09-13T12:27:10Z&limit=1", 200,
     "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[{\"metric\":{\"__"
     "name__\":\"up\",\"job\":\"a\"},\"value\":[1600000030,\"3\"]}]},"
     "\"warnings\":[\"results truncated due to limit\"]}"},
    {"/api/v1/query", "query=up{job=\"a\"}&time=1600000350", 200, VECTOR("")},
    {"/api/v1/query", "query=up{job=\"a\"}&time=1600000350&lookback_delta=10m", 200,
     VECTOR("{\"metric\":{\"__name__\":\"up\",\"job\":\"a\"},\"value\":[1600000350,\"4\"]}")},
    {"/api/v1/query", "query=rate(up[1m])&time=1600000045&limit=0", 200,
     "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[{\"metric\":{\"job\":"
     "\"a\"},\"value\":[1600000045,\"0.06666666666666665\"]},"
     "{\"metric\":{\"job\":\"b\"},\"value\":[1600000045,\"0\"]}]},"
     "\"infos\":[\"PromQL info: metric might not be a counter, name does not end in "
     "_total/_sum/_count/_bucket: \\\"up\\\" (1:6)\"]}"},
    {"/api/v1/query", "query=up/on()up&time=1600000030", 422,
     EXECUTION("found duplicate series for the match group {} on the right hand-side of the "
               "operation: [{__name__=\\\"up\\\", job=\\\"a\\\"}, "
               "{__name__=\\\"up\\\", job=\\\"b\\\"}];many-to-many matching not allowed: matching "
               "labels must be unique on one side")},
    {"/api/v1/query", "query=up&time=1600000030&max_samples_processed_error_threshold=1", 422,
     EXECUTION("the query processed 2 samples, more than max_samples_processed_error_threshold "
               "allows (1)")},
    {"/api/v1/query", "query=sum(up)&time=1600000030&max_samples_processed_warning_threshold=2",
     200,
     "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[{\"metric\":{},"
     "\"value\":[1600000030,\"8\"]}]},"
     "\"warnings\":[\"the query processed 2 samples, max_samples_processed_warning_threshold is "
     "2\"]}"},
    /* series and labels */
    {"/api/v1/series", "", 400, BAD("no match[] parameter provided")},
    {"/api/v1/series", "match[]={x=\"\"}", 400,
     BAD("invalid parameter \\\"match[]\\\": match[] must contain at least one non-empty matcher")},
    {"/api/v1/series", "match[]=up&match[]={job=\"b\"}&start=1600000000&end=1600000100", 200,
     DATA("[{\"__name__\":\"up\",\"job\":\"a\"},{\"__name__\":\"up\",\"job\":\"b\"}]")},
    {"/api/v1/series", "match[]=up&limit=1", 200,
     "{\"status\":\"success\",\"data\":[{\"__name__\":\"up\",\"job\":\"a\"}],\"warnings\":["
     "\"results truncated due to limit\"]}"},
    {"/api/v1/series", "match[]=nothing", 200, DATA("[]")},
    {"/api/v1/series", "match[]=up&start=0&end=9000000", 422,
     EXECUTION("the query time range exceeds the limit (query length: 104d4h, limit: 95d)")},
    {"/prometheus/api/v1/labels", "", 200, DATA("[\"__name__\",\"a.b\",\"job\"]")},
    {"/api/v1/labels", "match[]={job=\"b\"}", 200, DATA("[\"__name__\",\"job\"]")},
    {"/api/v1/labels", "limit=2", 200,
     "{\"status\":\"success\",\"data\":[\"__name__\",\"a.b\"],\"warnings\":[\"results truncated "
     "due to limit\"]}"},
    {"/workspaces/anonymous/api/v1/label/job/values", "", 200, DATA("[\"a\",\"b\"]")},
    {"/api/v1/label/__name__/values", "", 200, DATA("[\"strange\",\"up\"]")},
    {"/api/v1/label/U__a_2e_b/values", "", 200, DATA("[\"\\u003cx\\u003e\"]")},
    {"/api/v1/label/nothing/values", "", 200, DATA("[]")},
    {"/api/v1/label/U__/values", "", 400, BAD("invalid label name: \\\"U__\\\"")},
    /* cardinality: of three replicas each series counts once */
    {"/prometheus/api/v1/cardinality/label_names", "", 200,
     "{\"label_values_count_total\":5,\"label_names_count\":3,\"cardinality\":[{\"label_name\":\"__name__\",\"label_values_count\":2},"
     "{\"label_name\":\"job\",\"label_values_count\":2},{\"label_name\":\"a.b\",\"label_values_count\":1}]}"},
    {"/api/v1/cardinality/label_names", "selector=up&limit=1", 200,
     "{\"label_values_count_total\":3,\"label_names_count\":2,\"cardinality\":[{\"label_name\":\"job\",\"label_values_count\":2}]}"},
    {"/api/v1/cardinality/label_names", "count_method=active", 200,
     "{\"label_values_count_total\":0,\"label_names_count\":0,\"cardinality\":[]}"},
    {"/api/v1/cardinality/label_names", "count_method=x", 400, BAD("invalid count_method \\\"x\\\": want inmemory or active")},
    {"/api/v1/cardinality/label_names", "limit=501", 400, BAD("limit must be between 0 and 500")},
    {"/api/v1/cardinality/label_names", "selector={", 400, NULL},
    {"/api/v1/cardinality/label_values", "label_names[]=job&label_names[]=__name__&limit=1", 200,
     "{\"series_count_total\":3,\"labels\":[{\"label_name\":\"__name__\",\"label_values_count\":2,\"series_count\":3,\"cardinality\":["
     "{\"label_value\":\"up\",\"series_count\":2}]},"
     "{\"label_name\":\"job\",\"label_values_count\":2,\"series_count\":2,\"cardinality\":[{\"label_value\":\"a\",\"series_count\":1}]}]}"},
    {"/api/v1/cardinality/label_values", "", 400, BAD("'label_names[]' param is required")},
    {"/api/v1/cardinality/active_series", "selector=up", 200, "{\"data\":[]}"},
    {"/api/v1/cardinality/active_series", "selector={__name__=~\"u.*\"}&count_method=inmemory", 200, "{\"data\":[]}"},
    {"/api/v1/cardinality/active_series", "", 400, BAD("'selector' param is required")},
    /* metadata */
    {"/api/v1/metadata", "", 200,
     DATA("{\"strange\":[{\"type\":\"gauge\",\"help\":\"\",\"unit\":\"s\"}],\"up\":[{\"type\":"
          "\"counter\",\"help\":\"a \\\"b\\\"\",\"unit\":\"\"},"
          "{\"type\":\"gauge\",\"help\":\"other\",\"unit\":\"\"}]}")},
    {"/api/v1/metadata", "metric=up&limit_per_metric=1", 200,
     DATA("{\"up\":[{\"type\":\"counter\",\"help\":\"a \\\"b\\\"\",\"unit\":\"\"}]}")},
    {"/api/v1/metadata", "limit=1", 200,
     DATA("{\"strange\":[{\"type\":\"gauge\",\"help\":\"\",\"unit\":\"s\"}]}")},
    {"/api/v1/metadata", "metric=none", 200, DATA("{}")},
    {"/api/v1/metadata", "limit=x", 400, BAD("limit must be a number")},
    /* expressions, rules, status */
    {"/api/v1/format_query", "query=foo/bar", 200, DATA("\"foo / bar\"")},
    {"/api/v1/format_query", "query=foo{", 400, NULL},
    {"/api/v1/parse_query", "query=1", 200, DATA("{\"type\":\"numberLiteral\",\"val\":\"1\"}")},
    {"/api/v1/query_exemplars", "query=up&start=0&end=1", 200, DATA("[]")},
    {"/api/v1/query_exemplars", "query=1&start=0&end=1", 204, ""},
    {"/api/v1/query_exemplars", "query=up&start=1&end=0", 400,
     BAD("end timestamp must not be before start timestamp")},
    {"/api/v1/rules", "", 200, DATA("{\"groups\":[]}")},
    {"/api/v1/rules", "type=x", 400,
     BAD("invalid parameter \\\"type\\\": not supported value \\\"x\\\"")},
    {"/workspaces/w/api/v1/rules", "", 200,
     "{\"status\":\"success\",\"data\":{\"groups\":[]},\"errorType\":\"\",\"error\":\"\"}"},
    {"/workspaces/w/api/v1/alerts", "", 200,
     "{\"status\":\"success\",\"data\":{\"alerts\":[]},\"errorType\":\"\",\"error\":\"\"}"},
    {"/api/v1/status/config", "", 200, DATA("{\"yaml\":\"\"}")},
    {"/api/v1/status/flags", "", 200, DATA("{}")},
    {"/workspaces/bad%7Cid/api/v1/query", "query=1", 200, NULL},
    {"/workspaces/bad@id/api/v1/query", "query=1", 400,
     BAD("tenant id contains unsupported character 0x40 at byte 3")},
};

static void fill(void)
{
    struct push_batch b;

    push_series_to("anonymous", "__name__=up,job=a", T0, 15000, 4, 1, 1, ALL);
    push_series_to("anonymous", "__name__=up,job=b", T0, 15000, 4, 5, 0, ALL);
    push_series_to("anonymous", "__name__=strange,a.b=<x>", T0, 15000, 4, 5, 0, ALL);
    push_batch_init(&b, 1 << 20);
    push_batch_metadata(&b, STR("up"), 1, STR("a \"b\""), STR(""));
    push_batch_metadata(&b, STR("strange"), 2, STR(""), STR("s"));
    push_batch_to("anonymous", &b, ALL);
    push_batch_clear(&b);
    push_batch_metadata(&b, STR("up"), 2, STR("other"), STR(""));
    push_batch_to("anonymous", &b, 3);
    push_batch_fini(&b);
}

TEST(answers_and_errors_are_prometheus_s)
{
    int failed = 0;

    cluster_up(&(struct cluster_opt){0});
    fill();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (cases[i].body) {
            failed += !ask_is(cases[i].path, cases[i].params, cases[i].status, cases[i].body);
        } else {
            struct raw_reply r = ask(cases[i].path, cases[i].params);

            failed += r.status != cases[i].status;
            raw_free(&r);
        }
    }
    CHECK_INT(failed, 0);
    cluster_down();
}

TEST(exemplars_of_selected_series_come_once_each)
{
    struct label lv[4], ev[1] = {{STR("trace_id"), STR("<1>")}};
    struct labels ls, trace = {ev, 1};
    struct push_batch b;

    cluster_up(&(struct cluster_opt){0});
    fill();
    push_batch_init(&b, 1 << 20);
    for (int i = 0; i < 2; i++) {
        fingerprint fp;

        ls = labels_of(i ? "__name__=up,job=b" : "__name__=up,job=a", lv);
        fp = labels_fingerprint(STR("anonymous"), &ls);
        push_batch_exemplar(&b, fp, T0 + 2500, 0.25, &trace);
        push_batch_exemplar(&b, fp, T0 + 1000, 3, &(struct labels){NULL, 0});
    }
    push_batch_to("anonymous", &b, ALL);
    push_batch_fini(&b);
    CHECK(ask_is("/api/v1/query_exemplars",
                 "query=rate(up{job=\"a\"}[1m])/up{job=~\"a|c\"}&start=1600000000&end=1600000010",
                 200,
                 DATA("[{\"seriesLabels\":{\"__name__\":\"up\",\"job\":\"a\"},\"exemplars\":[{"
                      "\"labels\":{},\"value\":\"3\",\"timestamp\":1600000001},"
                      "{\"labels\":{\"trace_id\":\"\\u003c1\\u003e\"},\"value\":\"0.25\","
                      "\"timestamp\":1600000002.500}]}]")));
    CHECK(ask_is(
        "/api/v1/query_exemplars", "query=up&start=1600000002", 200,
        DATA("[{\"seriesLabels\":{\"__name__\":\"up\",\"job\":\"a\"},\"exemplars\":[{\"labels\":{"
             "\"trace_id\":\"\\u003c1\\u003e\"},\"value\":\"0.25\",\"timestamp\":1600000002.500}]},"
             "{\"seriesLabels\":{\"__name__\":\"up\",\"job\":\"b\"},\"exemplars\":[{\"labels\":{"
             "\"trace_id\":\"\\u003c1\\u003e\"},\"value\":\"0.25\",\"timestamp\":1600000002.500}]}"
             "]")));
    cluster_down();
}

static void replicas_differ(size_t nodes, bool one_zone)
{
    int64_t now = clock_wall_ms(clock_system());
    char series[64];

    cluster_up(&(struct cluster_opt){.nodes = nodes, .one_zone = one_zone, .tenancy = true});
    for (unsigned i = 0; i < 60; i++) { /* each on two of its three owners at least, and some are old */
        snprintf(series, sizeof series, "__name__=m%u,i=%u", i % 3, i);
        push_series_to("anonymous", series, i % 2 ? now - 60000 : now - 3600 * 1000, 1000, 3, 1, 1, i % 4 ? ALL : 3u << i % 2);
    }
    CHECK(ask_is("/api/v1/cardinality/label_values", "label_names[]=__name__", 200,
                 "{\"series_count_total\":60,\"labels\":[{\"label_name\":\"__name__\",\"label_values_count\":3,\"series_count\":60,\"cardinality\":["
                 "{\"label_value\":\"m0\",\"series_count\":20},{\"label_value\":\"m1\",\"series_count\":20},{\"label_value\":\"m2\",\"series_count\":20}]}]}"));
    CHECK(ask_is("/api/v1/cardinality/label_values", "label_names[]=__name__&count_method=active&limit=1", 200,
                 "{\"series_count_total\":30,\"labels\":[{\"label_name\":\"__name__\",\"label_values_count\":3,\"series_count\":30,\"cardinality\":["
                 "{\"label_value\":\"m0\",\"series_count\":10}]}]}"));
    CHECK(ask_is("/api/v1/cardinality/active_series", "selector={i=~\"1|2|3\"}", 200,
                 "{\"data\":[{\"__name__\":\"m0\",\"i\":\"3\"},{\"__name__\":\"m1\",\"i\":\"1\"}]}"));
    cluster_down();
}

TEST(cardinality_is_exact_where_replicas_differ)
{
    replicas_differ(3, false);
    replicas_differ(3, true);
}

TEST(user_limits_are_those_of_the_tenant)
{
    struct raw_reply r;

    cluster_up(&(struct cluster_opt){.tenancy = true});
    r = ask("/api/v1/user_limits", "");
    CHECK_INT(r.status, 200);
    CHECK(strstr(r.body, "\"max_points\":11000,"));
    raw_free(&r);
    cluster_down();
}

TEST(post_merges_body_and_query_string)
{
    static const char request[] = "POST /api/v1/query?time=9&query=3 HTTP/1.1\r\nHost: "
                                  "t\r\nContent-Type: application/x-www-form-urlencoded\r\n"
                                  "Content-Length: 19\r\n\r\nquery=1%2B1&unused=";
    struct raw_reply r;

    cluster_up(&(struct cluster_opt){0});
    r = raw_ask(cl.port, request);
    CHECK_STR(r.body, DATA("{\"resultType\":\"scalar\",\"result\":[9,\"2\"]}"));
    CHECK_STR(raw_header(&r, "Content-Type"), "application/json");
    raw_free(&r);
    cluster_down();
}

TEST(stats_count_samples_by_step)
{
    struct raw_reply r;

    cluster_up(&(struct cluster_opt){0});
    fill();
    r = ask("/api/v1/query_range",
            "query=sum(up)&start=1600000000&end=1600000030&step=15&stats=all");
    CHECK(strstr(r.body, "\"samples\":{\"totalQueryableSamplesPerStep\":[[1600000000,2],["
                         "1600000015,2],[1600000030,2]],\"totalQueryableSamples\":6,"));
    CHECK(strstr(r.body, "\"stats\":{\"timings\":{\"evalTotalTime\":"));
    raw_free(&r);
    r = ask("/api/v1/query", "query=up&time=1600000030&stats=1");
    CHECK(strstr(r.body, "\"totalQueryableSamples\":2,") && !strstr(r.body, "PerStep"));
    CHECK(strstr(r.body,
                 "\"warnings\":[\"value \\\"1\\\" for parameter \\\"stats\\\" is deprecated"));
    raw_free(&r);
    cluster_down();
}

/* --- tenants --- */

TEST(tenants_are_apart_unless_asked_together)
{
    struct raw_reply r;

    cluster_up(&(struct cluster_opt){.tenancy = true});
    push_series_to("t1", "__name__=up,job=a", T0, 15000, 4, 1, 0, ALL);
    push_series_to("t2", "__name__=up,job=a", T0, 15000, 4, 2, 0, ALL);
    r = ask_as("X-Scope-OrgID: t2\r\n", "/api/v1/query", "query=up&time=1600000030");
    CHECK_STR(
        r.body,
        VECTOR("{\"metric\":{\"__name__\":\"up\",\"job\":\"a\"},\"value\":[1600000030,\"2\"]}"));
    raw_free(&r);
    r = ask_as("X-Scope-OrgID: t2|t1|t2\r\n", "/api/v1/query", "query=up&time=1600000030");
    CHECK_STR(r.body, VECTOR("{\"metric\":{\"__name__\":\"up\",\"__tenant_id__\":\"t1\",\"job\":"
                             "\"a\"},\"value\":[1600000030,\"1\"]},"
                             "{\"metric\":{\"__name__\":\"up\",\"__tenant_id__\":\"t2\",\"job\":"
                             "\"a\"},\"value\":[1600000030,\"2\"]}"));
    raw_free(&r);
    r = ask_as("X-Scope-OrgID: t1|t2\r\n", "/api/v1/query",
               "query=sum(up{__tenant_id__=~\"x|t2\"})&time=1600000030");
    CHECK_STR(r.body, VECTOR("{\"metric\":{},\"value\":[1600000030,\"2\"]}"));
    raw_free(&r);
    r = ask_as("X-Scope-OrgID: t1|t2\r\n", "/api/v1/label/__tenant_id__/values", "");
    CHECK_STR(r.body, DATA("[\"t1\",\"t2\"]"));
    raw_free(&r);
    r = ask_as("X-Scope-OrgID: t1|t2\r\n", "/api/v1/series", "match[]=up{__tenant_id__=\"t1\"}");
    CHECK_STR(r.body, DATA("[{\"__name__\":\"up\",\"__tenant_id__\":\"t1\",\"job\":\"a\"}]"));
    raw_free(&r);
    r = ask("/api/v1/query", "query=up&time=1600000030");
    CHECK_STR(r.body, VECTOR(""));
    raw_free(&r);
    cluster_down();
}

/* --- limits --- */

static void small(struct limits *l)
{
    l->max_query_series = 3;
    l->max_query_chunks = 6;
    l->max_query_text = 60;
    l->max_points = 1000;
    l->max_label_values = 2;
}

static void small_days(struct limits *l)
{
    l->max_query_series = 3;
    l->out_of_order_window_ms = 100 * 86400000LL;
}

TEST(limits_name_themselves)
{
    char name[64];

    cluster_up(&(struct cluster_opt){.limits = small});
    for (int s = 0; s < 4; s++) {
        snprintf(name, sizeof name, "__name__=m,i=%d", s);
        push_series_to("anonymous", name, T0, 15000, 2, s, 0, ALL);
    }
    push_series_to("anonymous", "__name__=long", T0, 600000, 40, 1, 0, ALL);
    CHECK(ask_is("/api/v1/query", "query=m{i!=\"0\"}&time=1600000015&limit=1", 200,
                 "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[{"
                 "\"metric\":{\"__name__\":\"m\",\"i\":\"1\"},\"value\":[1600000015,\"1\"]}]},"
                 "\"warnings\":[\"results truncated due to limit\"]}"));
    CHECK(ask_is(
        "/api/v1/query", "query=m&time=1600000015", 422,
        EXECUTION(
            "expanding series: the query hit the max number of series limit (limit: 3 series, "
            "max_query_series)")));
    CHECK(ask_is("/api/v1/query", "query=count_over_time(long[1d])&time=1600024000", 422,
                 EXECUTION("expanding series: the query hit the max number of chunks limit while "
                           "fetching chunks from ingesters (limit: 6 chunks, max_query_chunks)")));
    CHECK(ask_is("/api/v1/query",
                 "query=1111111111+1111111111+1111111111+1111111111+1111111111+1111111111", 400,
                 BAD("invalid parameter \\\"query\\\": the expression has 65 bytes, limit 60 "
                     "(max_query_text)")));
    CHECK(ask_is("/api/v1/query_range", "query=1&start=0&end=1001&step=1", 400,
                 BAD("exceeded maximum resolution of 1,000 points per timeseries. Try decreasing "
                     "the query resolution (?step=XX)")));
    CHECK(ask_is("/api/v1/label/i/values", "", 200,
                 "{\"status\":\"success\",\"data\":[\"0\",\"1\"],\"warnings\":[\"results truncated "
                 "due to limit\"]}"));
    cluster_down();
}

/* Four series on one day, and one on each of four other days. */
TEST(series_and_bytes_are_limited_day_by_day)
{
    const char *url = "/api/v1/query_range";
    char params[128];

    cluster_up(&(struct cluster_opt){.limits = small_days});
    for (int s = 0; s < 8; s++) {
        snprintf(params, sizeof params, "__name__=%s,i=%d", s < 4 ? "one" : "each", s);
        push_series_to("anonymous", params, s < 4 ? T0 : T0 + s * 86400000LL, 15000, 2, s, 0, ALL);
    }
    CHECK(ask_is(url, "query=one&start=1600000000&end=1600864000&step=86400", 422,
                 EXECUTION("expanding series: the query hit the max number of series limit (limit: "
                           "3 series per 24 h, max_query_series)")));
    CHECK(ask_is(url, "query=count(each)&start=1600000000&end=1600864000&step=86400", 200,
                 "{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\",\"result\":[{\"metric\":{},"
                 "\"values\":[[1600345600,\"1\"],[1600432000,\"1\"],[1600518400,\"1\"],[1600604800,\"1\"]]}]}}"));
    cluster_down();
}

static void slow_rates(struct limits *l)
{
    l->query_request_rate = 0.001;
    l->query_memory = 200 << 10;
}

TEST(rates_are_kept_per_tenant)
{
    cluster_up(&(struct cluster_opt){.limits = slow_rates});
    CHECK(ask_is("/workspaces/a/api/v1/query", "query=1&time=0", 200,
                 DATA("{\"resultType\":\"scalar\",\"result\":[0,\"1\"]}")));
    CHECK(ask_is("/workspaces/a/api/v1/query", "query=1&time=0", 429,
                 "{\"message\":\"Rate exceeded\"}"));
    CHECK(ask_is("/workspaces/b/api/v1/query", "query=1&time=0", 200,
                 DATA("{\"resultType\":\"scalar\",\"result\":[0,\"1\"]}")));
    cluster_down();
}

TEST(a_query_stays_within_its_memory)
{
    struct raw_reply r;
    char name[64];

    cluster_up(&(struct cluster_opt){.limits = slow_rates});
    for (int s = 0; s < 500; s++) {
        snprintf(name, sizeof name, "__name__=m,i=%d", s);
        push_series_to("anonymous", name, T0, 15000, 50, s * 0.37, 0.911, ALL);
    }
    r = ask("/api/v1/query", "query=m[1h]&time=1600000600");
    CHECK_INT(r.status, 422);
    CHECK(strstr(r.body, "too many bytes into memory"));
    raw_free(&r);
    cluster_down();
}

/* Larger than several pieces of a stream. */
TEST(large_results_are_streamed_whole)
{
    struct raw_reply r;
    char name[96];
    size_t n = 0;

    cluster_up(&(struct cluster_opt){0});
    for (int s = 0; s < 20; s++) {
        snprintf(name, sizeof name, "__name__=big,i=%03d", s);
        push_series_to("anonymous", name, T0, 15000, 1000, s * 0.37, 0.911, s % 2 ? ALL : 3);
    }
    r = ask("/api/v1/query_range", "query=big&start=1600000000&end=1600014985&step=15");
    CHECK_INT(r.status, 200);
    CHECK(r.body_n > 6 * HTTP_PULL_BYTES);
    for (const char *p = r.body; (p = strstr(p, "[16000")) != NULL; p++)
        n++;
    CHECK_INT(n, 20 * 1000);
    CHECK(strncmp(r.body,
                  "{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\",\"result\":[{"
                  "\"metric\":{\"__name__\":\"big\",\"i\":\"000\"},\"values\":[[1600000000,\"0\"],",
                  60) == 0);
    CHECK_STR(r.body + r.body_n - strlen("\"]]}]}}"), "\"]]}]}}");
    raw_free(&r);
    cluster_down();
}
