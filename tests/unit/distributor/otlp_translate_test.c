/* OTLP requests, written in JSON, as the series that they become; and what is refused, in words. */
#include "common/model/duration.h"
#include "distributor/otlp_json.h"
#include "distributor/otlp_translate.h"
#include "distributor/otlp_value.h"
#include "distributor/write2_request.h"
#include "tests/test.h"

/* --- a Remote Write request as text: one line per sample, histogram, exemplar, metadata --- */

static void labels_line(struct buf *out, const struct wr_series *s)
{
    struct label list[LABELS_MAX / 16];
    struct labels ls = {list, 0};
    struct rd r = rd_of(s->message);

    while (wr_label_next(&r, &list[ls.n], NULL) > 0)
        ls.n++;
    CHECK(s->labels.p != NULL); /* next to each other: the known-series cache hashes them as they stand */
    for (size_t i = 1; i < ls.n; i++)
        CHECK(str_cmp(list[i - 1].name, list[i].name) < 0);
    labels_print(out, &ls);
}

static void times(struct buf *out, int64_t t, int64_t start)
{
    buf_printf(out, " @%lld", (long long)t);
    if (start)
        buf_printf(out, " since %lld", (long long)start);
    buf_char(out, '\n');
}

static void samples_lines(struct buf *out, const struct wr_series *s)
{
    struct rd r = rd_of(s->message);
    uint64_t bits;
    int64_t t, start;

    while (w2_sample_next(&r, &t, &bits, &start, NULL) > 0) {
        labels_line(out, s);
        buf_char(out, ' ');
        if (bits == STALE_NAN_BITS)
            buf_z(out, "stale");
        else
            float_print(out, bits_double(bits));
        times(out, t, start);
    }
}

static void side_text(struct buf *out, const char *name, const struct hist_side *side)
{
    struct hist_walk w;

    hist_walk_init(&w, side);
    while (hist_walk_next(&w))
        buf_printf(out, " %s%lld:%llu", name, (long long)w.index, (unsigned long long)side->i[w.at]);
}

static void histogram_lines(struct buf *out, const struct wr_series *s, struct arena *a)
{
    struct rd r = rd_of(s->message);
    struct histogram h;
    struct err err;
    int64_t t, start;

    while (wr_started_histogram_next(&r, a, &t, &start, &h, &err) > 0) {
        if (histogram_validate(&h, &err) < 0)
            fail_msg("%s", err_text(&err));
        labels_line(out, s);
        buf_printf(out, " schema:%d count:%llu sum:", h.schema, (unsigned long long)h.count.i);
        if (histogram_is_stale(&h))
            buf_z(out, "stale");
        else
            float_print(out, h.sum);
        if (h.schema != HIST_CUSTOM_SCHEMA) {
            buf_printf(out, " zero:%llu/", (unsigned long long)h.zero_count.i);
            float_print(out, h.zero_threshold);
        }
        side_text(out, "+", &h.pos);
        side_text(out, "-", &h.neg);
        for (uint32_t i = 0; i < h.custom_count; i++) {
            buf_z(out, i ? "," : " bounds:");
            float_print(out, h.custom[i]);
        }
        buf_z(out, h.hint == HIST_HINT_GAUGE ? " gauge" : "");
        times(out, t, start);
    }
}

static void exemplar_lines(struct buf *out, const struct wr_series *s, struct arena *a)
{
    struct rd r = rd_of(s->message);
    struct labels ls;
    int64_t t;
    double v;

    while (wr_exemplar_next(&r, a, &t, &v, &ls, NULL) > 0) {
        buf_z(out, "  # ");
        labels_print(out, &ls);
        buf_char(out, ' ');
        float_print(out, v);
        buf_printf(out, " @%lld\n", (long long)t);
    }
}

static void metadata_line(struct buf *out, struct str message)
{
    struct wr_metadata m;

    CHECK_INT(wr_metadata_decode(message, &m, NULL), 0);
    buf_printf(out, "meta %.*s %u '%.*s' %.*s\n", STR_FMT(m.metric), m.type, STR_FMT(m.help), STR_FMT(m.unit));
}

static void request_text(struct buf *out, struct str body)
{
    struct rd r = rd_of(body);
    struct wr_series s;
    struct str metadata;
    struct arena a;
    int rc;

    arena_init(&a, 16 << 20);
    while ((rc = wr_next(&r, &s, &metadata, NULL)) > 0) {
        if (rc == 2) {
            metadata_line(out, metadata);
            continue;
        }
        samples_lines(out, &s);
        histogram_lines(out, &s, &a);
        exemplar_lines(out, &s, &a);
    }
    CHECK_INT(rc, 0);
    arena_fini(&a);
}

/* --- running one --- */

static void note_refusal(void *arg, enum discard_reason why, uint32_t points, const char *text)
{
    buf_printf(arg, "refused %u %s: %s\n", points, discard_text(why), text);
}

static int run(const char *json, struct otlp_options o, struct buf *text, struct err *err)
{
    struct buf request;
    struct otlp_write w;
    struct arena a;
    int rc;

    buf_init(&request, 1 << 20);
    rc = otlp_json_request(str_of(json), &request, err);
    if (rc < 0)
        fail_msg("%s", err_text(err));
    arena_init(&a, 16 << 20);
    if (!o.body_max)
        o.body_max = 1 << 20;
    o.refuse = note_refusal;
    o.arg = text;
    rc = otlp_translate(buf_view(&request), &o, &a, &w, err);
    if (rc == 0)
        request_text(text, buf_view(&w.body));
    otlp_write_fini(&w);
    arena_fini(&a);
    buf_fini(&request);
    return rc;
}

static void expect_with(const char *json, struct otlp_options o, const char *want)
{
    struct buf text;
    struct err err;

    buf_init(&text, 1 << 20);
    if (run(json, o, &text, &err) < 0)
        fail_msg("%s", err_text(&err));
    buf_char(&text, '\0');
    assert_string_equal(text.p, want);
    buf_fini(&text);
}

static const struct otlp_options standard = {.labels = {.naming = {.suffixes = true}}};

static void expect(const char *json, const char *want)
{
    expect_with(json, standard, want);
}

#define RESOURCE(attributes, metrics) "{\"resourceMetrics\":[{\"resource\":{\"attributes\":[" attributes "]},\"scopeMetrics\":[{\"metrics\":[" metrics "]}]}]}"
#define METRICS(metrics) RESOURCE("", metrics)
#define S(key, value) "{\"key\":\"" key "\",\"value\":{\"stringValue\":\"" value "\"}}"
#define T1 "\"timeUnixNano\":\"1000000000\""

/* --- numbers --- */

TEST(gauges_and_sums_become_one_series_each)
{
    expect(METRICS("{\"name\":\"cpu.load\",\"unit\":\"1\",\"description\":\"Load.\",\"gauge\":{\"dataPoints\":["
                   "{" T1 ",\"asDouble\":0.5,\"attributes\":[" S("cpu", "0") "]},{" T1 ",\"asInt\":\"-7\",\"attributes\":[" S("cpu", "1") "]}]}}"),
           "meta cpu_load_ratio 2 'Load.' \n"
           "cpu_load_ratio{cpu=\"0\"} 0.5 @1000\n"
           "cpu_load_ratio{cpu=\"1\"} -7 @1000\n");
    expect(METRICS("{\"name\":\"jobs\",\"unit\":\"{job}\",\"sum\":{\"aggregationTemporality\":2,\"isMonotonic\":true,\"dataPoints\":[{" T1 ",\"asInt\":3}]}},"
                   "{\"name\":\"queue\",\"sum\":{\"aggregationTemporality\":\"AGGREGATION_TEMPORALITY_CUMULATIVE\",\"dataPoints\":[{" T1 ",\"asInt\":4}]}}"),
           "meta jobs_total 1 '' \n"
           "jobs_total 3 @1000\n"
           "meta queue 2 '' \n"
           "queue 4 @1000\n");
}

TEST(no_recorded_value_is_a_staleness_marker)
{
    expect(METRICS("{\"name\":\"g\",\"gauge\":{\"dataPoints\":[{" T1 ",\"flags\":1}]}},"
                   "{\"name\":\"h\",\"histogram\":{\"aggregationTemporality\":2,\"dataPoints\":[{" T1 ",\"flags\":1,\"count\":\"0\",\"sum\":0,\"bucketCounts\":[0,0],"
                   "\"explicitBounds\":[1]}]}},"
                   "{\"name\":\"e\",\"exponentialHistogram\":{\"aggregationTemporality\":2,\"dataPoints\":[{" T1 ",\"flags\":1,\"count\":\"0\",\"scale\":0}]}}"),
           "meta g 2 '' \n"
           "g stale @1000\n"
           "meta h 3 '' \n"
           "h_sum stale @1000\n"
           "h_count stale @1000\n"
           "h_bucket{le=\"1\"} stale @1000\n"
           "h_bucket{le=\"+Inf\"} stale @1000\n"
           "meta e 3 '' \n"
           "e schema:0 count:0 sum:stale zero:0/1e-128 @1000\n");
}

TEST(a_point_without_a_value_is_refused_and_others_are_kept)
{
    expect(METRICS("{\"name\":\"g\",\"gauge\":{\"dataPoints\":[{" T1 "},{" T1 ",\"asInt\":1}]}}"),
           "refused 1 otlp_point_invalid: metric 'g': a data point has no value (otlp_point_invalid)\n"
           "meta g 2 '' \n"
           "g 1 @1000\n");
}

TEST(delta_temporality_needs_the_option)
{
    static const char json[] = METRICS("{\"name\":\"d\",\"sum\":{\"aggregationTemporality\":1,\"isMonotonic\":true,\"dataPoints\":[{" T1 ",\"asInt\":3},{" T1
                                       ",\"asInt\":4}]}},"
                                       "{\"name\":\"e\",\"exponentialHistogram\":{\"aggregationTemporality\":1,\"dataPoints\":[{" T1
                                       ",\"count\":\"0\",\"scale\":0}]}}");
    struct otlp_options native = standard;

    expect(json, "refused 2 otlp_temporality: metric 'd' has delta temporality: send it cumulative, or see otel_delta_temporality\n"
                 "refused 1 otlp_temporality: metric 'e' has delta temporality: send it cumulative, or see otel_delta_temporality\n");
    native.delta = OTLP_DELTA_NATIVE;
    expect_with(json, native, "meta d_total 0 '' \n"
                              "d_total 3 @1000\n"
                              "d_total 4 @1000\n"
                              "meta e 0 '' \n"
                              "e schema:0 count:0 sum:0 zero:0/1e-128 gauge @1000\n");
    expect(METRICS("{\"name\":\"u\",\"sum\":{\"dataPoints\":[{" T1 ",\"asInt\":3}]}}"),
           "refused 1 otlp_temporality: metric 'u' has no aggregation temporality\n");
}

#define SINCE "\"startTimeUnixNano\":\"500000000\"," T1

TEST(what_counts_up_keeps_its_start)
{
    expect(METRICS("{\"name\":\"c\",\"sum\":{\"aggregationTemporality\":2,\"isMonotonic\":true,\"dataPoints\":[{" SINCE ",\"asInt\":3}]}},"
                   "{\"name\":\"g\",\"gauge\":{\"dataPoints\":[{" SINCE ",\"asInt\":3}]}},"
                   "{\"name\":\"u\",\"sum\":{\"aggregationTemporality\":2,\"dataPoints\":[{" SINCE ",\"asInt\":3}]}},"
                   "{\"name\":\"h\",\"histogram\":{\"aggregationTemporality\":2,\"dataPoints\":[{" SINCE ",\"count\":\"1\"}]}},"
                   "{\"name\":\"e\",\"exponentialHistogram\":{\"aggregationTemporality\":2,\"dataPoints\":[{" SINCE ",\"count\":\"0\",\"scale\":0}]}},"
                   "{\"name\":\"late\",\"sum\":{\"aggregationTemporality\":2,\"isMonotonic\":true,\"dataPoints\":[{\"startTimeUnixNano\":\"1000000001\"," T1
                   ",\"asInt\":3}]}}"),
           "meta c_total 1 '' \n"
           "c_total 3 @1000 since 500\n"
           "meta g 2 '' \n"
           "g 3 @1000\n"
           "meta u 2 '' \n"
           "u 3 @1000\n"
           "meta h 3 '' \n"
           "h_count 1 @1000 since 500\n"
           "h_bucket{le=\"+Inf\"} 1 @1000 since 500\n"
           "meta e 3 '' \n"
           "e schema:0 count:0 sum:0 zero:0/1e-128 @1000 since 500\n"
           "meta late_total 1 '' \n"
           "late_total 3 @1000\n");
}

/* --- histograms --- */

#define HISTOGRAM(fields) METRICS("{\"name\":\"h\",\"unit\":\"s\",\"histogram\":{\"aggregationTemporality\":2,\"dataPoints\":[{" T1 "," fields "}]}}")

TEST(explicit_bounds_become_cumulative_buckets)
{
    expect(HISTOGRAM("\"count\":\"6\",\"sum\":12.5,\"bucketCounts\":[\"1\",\"2\",\"3\"],\"explicitBounds\":[0.5,1e7],\"attributes\":[" S("a", "b") "," S("z", "1") "]"),
           "meta h_seconds 3 '' seconds\n"
           "h_seconds_sum{a=\"b\", z=\"1\"} 12.5 @1000\n"
           "h_seconds_count{a=\"b\", z=\"1\"} 6 @1000\n"
           "h_seconds_bucket{a=\"b\", le=\"0.5\", z=\"1\"} 1 @1000\n"
           "h_seconds_bucket{a=\"b\", le=\"10000000\", z=\"1\"} 3 @1000\n"
           "h_seconds_bucket{a=\"b\", le=\"+Inf\", z=\"1\"} 6 @1000\n");
    expect(HISTOGRAM("\"count\":\"6\""), /* neither sum nor buckets */
           "meta h_seconds 3 '' seconds\n"
           "h_seconds_count 6 @1000\n"
           "h_seconds_bucket{le=\"+Inf\"} 6 @1000\n");
    expect(HISTOGRAM("\"count\":\"1\",\"bucketCounts\":[1],\"explicitBounds\":[1]"),
           "refused 1 otlp_point_invalid: metric 'h': histogram with 1 bucket counts for 1 bounds: one more than bounds was expected (otlp_point_invalid)\n"
           "meta h_seconds 3 '' seconds\n");
    expect(HISTOGRAM("\"count\":\"1\",\"bucketCounts\":[1,0,0],\"explicitBounds\":[1,1]"),
           "refused 1 otlp_point_invalid: metric 'h': histogram with bounds that do not increase (otlp_point_invalid)\n"
           "meta h_seconds 3 '' seconds\n");
}

TEST(explicit_bounds_become_custom_buckets_by_option)
{
    struct otlp_options o = standard;

    o.nhcb = true;
    expect_with(HISTOGRAM("\"count\":\"6\",\"sum\":12.5,\"bucketCounts\":[0,2,0,0,0,3,1],\"explicitBounds\":[1,2,3,4,5,6]"), o,
                "meta h_seconds 3 '' seconds\n"
                "h_seconds schema:-53 count:6 sum:12.5 +1:2 +5:3 +6:1 bounds:1,2,3,4,5,6 @1000\n");
    expect_with(HISTOGRAM("\"count\":\"3\",\"bucketCounts\":[1,0,0,2],\"explicitBounds\":[-1,0,1]"), o,
                "meta h_seconds 3 '' seconds\n"
                "h_seconds schema:-53 count:3 sum:0 +0:1 +1:0 +2:0 +3:2 bounds:-1,0,1 @1000\n");
}

#define EXPONENTIAL(fields) METRICS("{\"name\":\"e\",\"exponentialHistogram\":{\"aggregationTemporality\":2,\"dataPoints\":[{" T1 "," fields "}]}}")

TEST(exponential_histograms_become_native)
{
    expect(EXPONENTIAL("\"count\":\"11\",\"sum\":3,\"scale\":1,\"zeroCount\":\"2\",\"positive\":{\"offset\":-2,\"bucketCounts\":[\"1\",\"0\",\"4\"]},"
                       "\"negative\":{\"offset\":0,\"bucketCounts\":[1,0,0,0,0,3]}"),
           "meta e 3 '' \n"
           "e schema:1 count:11 sum:3 zero:2/1e-128 +-1:1 +0:0 +1:4 -1:1 -6:3 @1000\n");
    expect(EXPONENTIAL("\"count\":\"0\",\"scale\":8,\"zeroThreshold\":0.25"),
           "meta e 3 '' \n"
           "e schema:8 count:0 sum:0 zero:0/0.25 @1000\n");
}

TEST(scales_above_8_are_reduced_and_below_minus_4_refused)
{
    /* Scale 10: four buckets become one; indexes -5 to 4 are -2, -1 x 4, 0 x 4, 1. */
    expect(EXPONENTIAL("\"count\":\"10\",\"scale\":10,\"positive\":{\"offset\":-5,\"bucketCounts\":[1,1,1,1,1,1,1,1,1,1]}"),
           "meta e 3 '' \n"
           "e schema:8 count:10 sum:0 zero:0/1e-128 +-1:1 +0:4 +1:4 +2:1 @1000\n");
    expect(EXPONENTIAL("\"count\":\"3\",\"scale\":100,\"positive\":{\"offset\":-1,\"bucketCounts\":[1,2]}"),
           "meta e 3 '' \n"
           "e schema:8 count:3 sum:0 zero:0/1e-128 +0:1 +1:2 @1000\n");
    expect(EXPONENTIAL("\"count\":\"0\",\"scale\":-5"),
           "refused 1 native_histogram_invalid: metric 'e': exponential histogram with scale -5, the lowest that can be stored is -4 (native_histogram_invalid)\n"
           "meta e 3 '' \n");
    expect(EXPONENTIAL("\"count\":\"0\",\"scale\":0,\"zeroThreshold\":\"NaN\""),
           "refused 1 native_histogram_invalid: metric 'e': exponential histogram with a zero threshold that is negative or no number (native_histogram_invalid)\n"
           "meta e 3 '' \n");
}

TEST(summaries_have_quantiles)
{
    expect(METRICS("{\"name\":\"s\",\"summary\":{\"dataPoints\":[{" T1 ",\"count\":\"9\",\"sum\":4.5,\"quantileValues\":[{\"quantile\":0.5,\"value\":1},"
                   "{\"quantile\":0.99,\"value\":2}],\"attributes\":[" S("quantile", "mine") "]}]}}"),
           "meta s 5 '' \n"
           "s_sum{quantile=\"mine\"} 4.5 @1000\n"
           "s_count{quantile=\"mine\"} 9 @1000\n"
           "s{quantile=\"0.5\"} 1 @1000\n"
           "s{quantile=\"0.99\"} 2 @1000\n");
}

/* --- exemplars --- */

#define IDS "\"traceId\":\"0123456789ABCDEF0123456789abcdef\",\"spanId\":\"0123456789abcdef\""

TEST(exemplars_carry_their_trace)
{
    expect(METRICS("{\"name\":\"c\",\"sum\":{\"aggregationTemporality\":2,\"isMonotonic\":true,\"dataPoints\":[{" T1 ",\"asInt\":1,\"exemplars\":["
                   "{\"timeUnixNano\":\"900000000\",\"asInt\":\"2\"," IDS ",\"filteredAttributes\":[" S("user", "x") "]}]}]}}"),
           "meta c_total 1 '' \n"
           "c_total 1 @1000\n"
           "  # {trace_id=\"0123456789abcdef0123456789abcdef\", span_id=\"0123456789abcdef\", user=\"x\"} 2 @900\n");
    /* In the bucket of their value; those without a value are left out; attributes that make them too long too. */
    expect(HISTOGRAM("\"count\":\"2\",\"bucketCounts\":[1,1],\"explicitBounds\":[1],\"exemplars\":[{\"timeUnixNano\":\"1\",\"asDouble\":5},"
                     "{\"timeUnixNano\":\"1\",\"asDouble\":1," IDS ",\"filteredAttributes\":["
                     S("k", "1234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890") "]},{\"timeUnixNano\":\"1\"}]"),
           "meta h_seconds 3 '' seconds\n"
           "h_seconds_count 2 @1000\n"
           "h_seconds_bucket{le=\"1\"} 1 @1000\n"
           "  # {trace_id=\"0123456789abcdef0123456789abcdef\", span_id=\"0123456789abcdef\"} 1 @0\n"
           "h_seconds_bucket{le=\"+Inf\"} 2 @1000\n"
           "  # {} 5 @0\n");
}

/* --- attributes --- */

#define GAUGE(attributes) "{\"name\":\"g\",\"gauge\":{\"dataPoints\":[{" T1 ",\"asInt\":1,\"attributes\":[" attributes "]}]}}"

TEST(attributes_become_labels_and_collisions_are_joined)
{
    expect(METRICS(GAUGE(S("http.method", "GET") "," S("http_method", "b") "," S("http-method", "a") "," S("__name__", "no") "," S("empty", ""))),
           "meta g 2 '' \n"
           "g{http_method=\"a;GET;b\"} 1 @1000\n");
    expect(METRICS(GAUGE("{\"key\":\"b\",\"value\":{\"boolValue\":true}},{\"key\":\"d\",\"value\":{\"doubleValue\":1.5}},{\"key\":\"i\",\"value\":{\"intValue\":\"-3\"}},"
                         "{\"key\":\"n\"},{\"key\":\"x\",\"value\":{\"bytesValue\":\"aGk=\"}},{\"key\":\"nan\",\"value\":{\"doubleValue\":\"NaN\"}}")),
           "meta g 2 '' \n"
           "g{b=\"true\", d=\"1.5\", i=\"-3\", nan=\"NaN\", x=\"aGk=\"} 1 @1000\n");
    expect(METRICS(GAUGE("{\"key\":\"l\",\"value\":{\"arrayValue\":{\"values\":[{\"stringValue\":\"a\"},{\"intValue\":1},{},{\"doubleValue\":\"NaN\"}]}}},"
                         "{\"key\":\"m\",\"value\":{\"kvlistValue\":{\"values\":[" S("z", "<") ",{\"key\":\"a\",\"value\":{\"bytesValue\":\"aGk=\"}}]}}}")),
           "meta g 2 '' \n"
           "g{l=\"[\\\"a\\\",1,null,null]\", m=\"{\\\"a\\\":\\\"aGk=\\\",\\\"z\\\":\\\"\\\\u003c\\\"}\"} 1 @1000\n");
    expect(METRICS(GAUGE(S("", "x"))), "refused 1 label_invalid: metric 'g': attribute name '' becomes an empty name (label_invalid)\n"
                                       "meta g 2 '' \n");
}

TEST(names_stay_as_they_are_without_translation)
{
    struct otlp_options o = {.labels = {.naming = {.utf8 = true}}};

    expect_with(METRICS("{\"name\":\"my.gauge\",\"unit\":\"s\",\"gauge\":{\"dataPoints\":[{" T1 ",\"asInt\":1,\"attributes\":[" S("http.method", "GET") "]}]}}"), o,
                "meta my.gauge 2 '' seconds\n"
                "{\"my.gauge\", \"http.method\"=\"GET\"} 1 @1000\n");
}

/* --- resources and scopes --- */

TEST(resources_become_job_instance_and_target_info)
{
    expect(RESOURCE(S("service.name", "api") "," S("service.namespace", "shop") "," S("service.instance.id", "i-1") "," S("host.name", "h"), GAUGE(S("job", "mine"))),
           "meta g 2 '' \n"
           "g{instance=\"i-1\", job=\"shop/api\"} 1 @1000\n"
           "meta target_info 2 'Target metadata' \n"
           "target_info{host_name=\"h\", instance=\"i-1\", job=\"shop/api\"} 1 @1000\n");
    expect(RESOURCE(S("service.name", "api"), GAUGE("")), /* nothing besides the identity: no target_info */
           "meta g 2 '' \n"
           "g{job=\"api\"} 1 @1000\n");
    expect(RESOURCE(S("host.name", "h"), GAUGE("")), /* no identity: none either */
           "meta g 2 '' \n"
           "g 1 @1000\n");
    expect(RESOURCE(S("service.name", "api") "," S("host.name", "h"), ""), "");
}

TEST(resource_attributes_are_promoted_by_option)
{
    char *list[] = {"host.name", "zone"};
    struct opt_list promoted = {list, 2};
    struct otlp_options o = standard;

    o.labels.promoted = &promoted;
    o.labels.keep_identifying = true;
    expect_with(RESOURCE(S("service.name", "api") "," S("host.name", "h") "," S("zone", "z"), GAUGE(S("zone", "own"))), o,
                "meta g 2 '' \n"
                "g{host_name=\"h\", job=\"api\", zone=\"own\"} 1 @1000\n"
                "meta target_info 2 'Target metadata' \n"
                "target_info{host_name=\"h\", job=\"api\", service_name=\"api\", zone=\"z\"} 1 @1000\n");
}

TEST(target_info_is_found_wherever_a_point_is)
{
    expect(RESOURCE(S("service.name", "api") "," S("host.name", "h"),
                    "{\"name\":\"g\",\"gauge\":{\"dataPoints\":[{\"timeUnixNano\":\"400000000000\",\"asInt\":1},{\"timeUnixNano\":\"1000000000\",\"asInt\":2}]}}"),
           "meta g 2 '' \n"
           "g{job=\"api\"} 1 @400000\n"
           "g{job=\"api\"} 2 @1000\n"
           "meta target_info 2 'Target metadata' \n"
           "target_info{host_name=\"h\", job=\"api\"} 1 @1000\n"
           "target_info{host_name=\"h\", job=\"api\"} 1 @151000\n"
           "target_info{host_name=\"h\", job=\"api\"} 1 @301000\n"
           "target_info{host_name=\"h\", job=\"api\"} 1 @400000\n");
}

static size_t lines_with(struct buf *text, const char *what)
{
    size_t n = 0;

    buf_char(text, '\0');
    for (const char *p = text->p; (p = strstr(p, what)); p++)
        n++;
    return n;
}

TEST(target_info_has_a_ceiling)
{
    struct buf text;

    buf_init(&text, 1 << 20);
    CHECK_INT(run(RESOURCE(S("service.name", "api") "," S("host.name", "h"),
                           "{\"name\":\"g\",\"gauge\":{\"dataPoints\":[{\"timeUnixNano\":\"0\",\"asInt\":1},{\"timeUnixNano\":\"18446744073709551615\",\"asInt\":2}]}}"),
                  standard, &text, NULL), 0);
    CHECK_INT(lines_with(&text, "\ntarget_info{"), OTLP_TARGET_INFO_SAMPLES_MAX + 1);
    buf_fini(&text);
}

#define SCOPED(scope) "{\"resourceMetrics\":[{\"resource\":{\"attributes\":[" S("service.name", "api") "]},\"scopeMetrics\":[{\"metrics\":[" GAUGE(S("otel_scope_name", "attr")) \
                      "],\"scope\":" scope ",\"schemaUrl\":\"http://s\"}]}]}"

TEST(scopes_become_labels_by_option)
{
    struct otlp_options o = standard;

    expect(SCOPED("{\"name\":\"lib\",\"version\":\"1.2\"}"), "meta g 2 '' \ng{job=\"api\", otel_scope_name=\"attr\"} 1 @1000\n");
    o.labels.scope = true;
    expect_with(SCOPED("{\"name\":\"lib\",\"version\":\"1.2\",\"attributes\":[" S("a.b", "c") "," S("name", "over") "]}"), o,
                "meta g 2 '' \n"
                "g{job=\"api\", otel_scope_a_b=\"c\", otel_scope_name=\"lib\", otel_scope_schema_url=\"http://s\", otel_scope_version=\"1.2\"} 1 @1000\n");
    expect_with(SCOPED("{\"version\":\"1.2\"}"), o, "meta g 2 '' \ng{job=\"api\", otel_scope_name=\"attr\"} 1 @1000\n");
}

#define TWICE(x) x x
#define OPEN     "{\"arrayValue\":{\"values\":["
#define CLOSE    "]}}"
#define DEEP     TWICE(TWICE(TWICE(TWICE(TWICE(OPEN))))) OPEN OPEN TWICE(TWICE(TWICE(TWICE(TWICE(CLOSE))))) CLOSE CLOSE

TEST(attributes_that_cannot_be_labels_cost_their_resource_or_scope_alone)
{
    struct otlp_options o = standard;

    expect(RESOURCE(S("", "x") "," S("service.name", "api"), GAUGE("")),
           "refused 1 label_invalid: attributes of a resource: attribute name '' becomes an empty name\n");
    o.labels.scope = true;
    expect_with("{\"resourceMetrics\":[{\"scopeMetrics\":[{\"scope\":{\"name\":\"bad\",\"attributes\":[{\"key\":\"v\",\"value\":" DEEP "}]},\"metrics\":[" GAUGE("") "]},"
                "{\"scope\":{\"name\":\"good\"},\"metrics\":[" GAUGE("") "]}]}]}", o,
                "refused 1 label_invalid: attributes of a scope: an attribute's value is nested deeper than 32 levels\n"
                "meta g 2 '' \n"
                "g{otel_scope_name=\"good\"} 1 @1000\n");
}

/* --- ceilings and bad bytes --- */

TEST(deep_values_cost_an_exemplar_its_attributes_alone)
{
    expect(METRICS("{\"name\":\"c\",\"sum\":{\"aggregationTemporality\":2,\"dataPoints\":[{" T1 ",\"asInt\":1,\"exemplars\":["
                   "{\"timeUnixNano\":\"1\",\"asInt\":2," IDS ",\"filteredAttributes\":[{\"key\":\"deep\",\"value\":" DEEP "}]},"
                   "{\"timeUnixNano\":\"1\",\"asDouble\":\"NaN\"}]}]}}"),
           "meta c 2 '' \n"
           "c 1 @1000\n"
           "  # {trace_id=\"0123456789abcdef0123456789abcdef\", span_id=\"0123456789abcdef\"} 2 @0\n");
}

TEST(deep_values_are_refused_with_their_point)
{
    expect(METRICS(GAUGE("{\"key\":\"deep\",\"value\":" DEEP "}")),
           "refused 1 label_invalid: metric 'g': an attribute's value is nested deeper than 32 levels (label_invalid)\n"
           "meta g 2 '' \n");
}

TEST(the_output_has_a_ceiling)
{
    struct otlp_options o = standard;
    struct buf text;
    struct err err;

    o.body_max = 100;
    buf_init(&text, 1 << 20);
    CHECK_INT(run(HISTOGRAM("\"count\":\"6\",\"bucketCounts\":[1,2,3],\"explicitBounds\":[1,2]"), o, &text, &err), RC_LIMIT);
    CHECK(strstr(err_text(&err), "more than 100 bytes of series"));
    buf_fini(&text);
}

struct parts {
    struct buf text;
    size_t n;
};

static int part_print(void *arg, struct otlp_write *w, UNUSED struct err *err)
{
    struct parts *parts = arg;
    struct otlp_point *points;
    struct buf body;
    size_t count;

    otlp_write_take(w, &body, &points, &count);
    CHECK_INT(count, 1);
    CHECK_INT(points[0].rows, 1);
    buf_printf(&parts->text, "part %zu:\n", parts->n++);
    request_text(&parts->text, buf_view(&body));
    buf_fini(&body);
    free(points);
    return 0;
}

TEST(a_request_becomes_parts_between_points)
{
    struct otlp_options o = standard;
    struct parts parts = {0};
    struct buf request;
    struct otlp_write w;
    struct arena a;

    buf_init(&request, 1 << 20);
    buf_init(&parts.text, 1 << 20);
    arena_init(&a, 1 << 20);
    CHECK_INT(otlp_json_request(STR(METRICS("{\"name\":\"g\",\"gauge\":{\"dataPoints\":[{" T1 ",\"asInt\":1},{" T1 ",\"asInt\":2}]}}")), &request, NULL), 0);
    o.body_max = 1 << 20;
    o.part_bytes = 1;
    o.part = part_print;
    o.arg = &parts;
    CHECK_INT(otlp_translate(buf_view(&request), &o, &a, &w, NULL), 0);
    CHECK_INT(w.body.n, 0);
    buf_char(&parts.text, '\0');
    CHECK_STR(parts.text.p, "part 0:\nmeta g 2 '' \ng 1 @1000\npart 1:\ng 2 @1000\n");
    otlp_write_fini(&w);
    arena_fini(&a);
    buf_fini(&parts.text);
    buf_fini(&request);
}

TEST(malformed_bytes_fail_the_request)
{
    static const char *const bodies[] = {
        "\x0a",                 /* no length */
        "\x0a\x05\x12\x01",     /* shorter than it says */
        "\x0b",                 /* a group */
        "\x0a\x02\x0a\x05",     /* a resource that ends early */
    };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct otlp_options o = standard;
        struct otlp_write w;
        struct arena a;
        struct err err;

        arena_init(&a, 1 << 20);
        o.body_max = 1000;
        CHECK_INT(otlp_translate(str_of(bodies[i]), &o, &a, &w, &err), RC_INVALID);
        CHECK(strstr(err_text(&err), "malformed protobuf"));
        otlp_write_fini(&w);
        arena_fini(&a);
    }
}
