/* Percentiles, thresholds, JSON, flags. */
#include "loadgen/latency.h"
#include "loadgen/options.h"
#include "loadgen/report.h"
#include "tests/test.h"

#include <jansson.h>

TEST(percentiles_are_within_two_percent)
{
    struct latency *l = xcalloc(1, sizeof *l);

    CHECK(latency_quantile(l, 0.99) == 0);
    for (int64_t us = 1; us <= 1000000; us++)
        latency_add(l, us * 1000);
    for (int q = 1; q <= 100; q++) {
        double got = latency_quantile(l, q / 100.0), want = q / 100.0;

        CHECK(got >= want * 0.999999 && got <= want * 1.016);
    }
    CHECK(latency_quantile(l, 1) == 1.0);
    free(l);
}

TEST(extreme_latencies_have_a_bucket)
{
    struct latency *l = xcalloc(1, sizeof *l);

    latency_add(l, -5);
    CHECK(latency_quantile(l, 0.5) == 0);
    latency_add(l, INT64_MAX - 1000);
    CHECK(latency_quantile(l, 1) > 0);
    latency_add(l, 1);
    CHECK(latency_quantile(l, 0.5) <= 1e-6);
    free(l);
}

static struct send_stats stats;
static struct verdict verdict;
static struct report sample_report(void)
{
    memset(&stats, 0, sizeof stats);
    stats.elapsed_ns = 2000000000;
    stats.due_samples = 1000;
    stats.acked_samples = 900;
    stats.failed_samples = 100;
    stats.statuses[204] = 9;
    stats.statuses[400] = 1;
    snprintf(stats.last_error, sizeof stats.last_error, "a \"quoted\" reason");
    for (int i = 0; i < 100; i++)
        latency_add(&stats.latency, 10000000);
    verdict = (struct verdict){.right = 899, .lost = 1};
    return (struct report){.sent = &stats, .verified = &verdict, .differences = STR("  LOST: one\n"), .cpu_seconds = 0.5};
}

TEST(thresholds_hold_break_or_are_refused)
{
    static const struct {
        const char *text;
        int rc;
    } cases[] = {
        {"push_p99<50ms", 0},       {"push_p99<9ms", RC_LIMIT},    {"push_p99 <= 0.0102", 0},   {"samples_failed<=100", 0}, {"samples_failed<100", RC_LIMIT},
        {"acked_rate>=450", 0},     {"acked_rate>450", RC_LIMIT},  {"error_ratio<0.2", 0},      {"lost<=0", RC_LIMIT},      {"wrong<=0", 0},
        {"acked>=900", 0},          {"samples_per_second<450", RC_LIMIT}, {"errors<=0", 0},       {"query_p99<1", RC_INVALID},
        {"no_such_figure<1", RC_INVALID}, {"push_p99", RC_INVALID}, {"push_p99<", RC_INVALID}, {"push_p99<fast", RC_INVALID}, {"", RC_INVALID}, {"<", RC_INVALID},
    };
    struct report r = sample_report();

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err;

        CHECK_INT(report_threshold(&r, str_of(cases[i].text), &err), cases[i].rc);
    }
}

TEST(a_mistyped_threshold_lists_the_names)
{
    struct report r = sample_report();
    struct err err;

    CHECK_INT(report_threshold(&r, STR("push_p90percent<1"), &err), RC_INVALID);
    CHECK(strstr(err_text(&err), "push_p99, push_p999, push_max") && strstr(err_text(&err), "samples_acked") && strstr(err_text(&err), ", cpu"));
    CHECK_INT(report_threshold(&r, STR("push_p99<9ms"), &err), RC_LIMIT);
    CHECK_STR(err_text(&err), "threshold push_p99<9ms is broken: push_p99 is 10.000 ms");
}

TEST(queries_have_figures_and_lines_of_their_own)
{
    struct ask_query_stats each = {.done = 10, .errors = 2};
    struct ask_query one = {.expr = (char *)"sum(up)"};
    struct ask_queries queries = {.v = {&one, 1, 1}};
    struct ask_stats asked = {.due = 12, .done = 10, .errors = 2, .each = &each, .last_error = "status 503"};
    struct report r = sample_report();
    struct buf out;
    json_t *root;
    struct err err;

    for (int i = 0; i < 8; i++) {
        latency_add(&asked.latency, 4000000);
        latency_add(&each.latency, 4000000);
    }
    r.asked = &asked;
    r.queries = &queries;
    CHECK_INT(report_threshold(&r, STR("query_p99<5ms"), &err), 0);
    CHECK_INT(report_threshold(&r, STR("query_errors<=1"), &err), RC_LIMIT);
    CHECK_INT(report_threshold(&r, STR("errors<=2"), &err), 0);
    CHECK_INT(report_threshold(&r, STR("query_rate>=5"), &err), 0);
    buf_init(&out, 1 << 16);
    report_json(&r, &out);
    root = json_loadb(out.p, out.n, 0, NULL);
    CHECK_STR(json_string_value(json_object_get(json_array_get(json_object_get(root, "queries"), 0), "query")), "sum(up)");
    CHECK_INT(json_integer_value(json_object_get(json_array_get(json_object_get(root, "queries"), 0), "errors")), 2);
    json_decref(root);
    buf_clear(&out);
    report_text(&r, &out);
    buf_char(&out, '\0');
    CHECK(strstr(out.p, "done 10, errors 2") && strstr(out.p, "sum(up)") && strstr(out.p, "status 503"));
    buf_fini(&out);
}

TEST(the_json_report_parses_and_has_the_figures)
{
    struct report r = sample_report();
    struct buf out;
    json_t *root;

    buf_init(&out, 1 << 16);
    report_json(&r, &out);
    root = json_loadb(out.p, out.n, 0, NULL);
    CHECK(root);
    CHECK_INT(json_integer_value(json_object_get(root, "samples_acked")), 900);
    CHECK(json_number_value(json_object_get(root, "acked_rate")) == 450);
    CHECK_INT(json_integer_value(json_object_get(json_object_get(root, "statuses"), "400")), 1);
    CHECK_STR(json_string_value(json_object_get(root, "last_error")), "a \"quoted\" reason");
    CHECK(json_is_false(json_object_get(root, "clean")));
    json_decref(root);
    buf_clear(&out);
    report_text(&r, &out);
    buf_char(&out, '\0');
    CHECK(strstr(out.p, "verify: DIFFERENCES\n  LOST: one\n"));
    CHECK(strstr(out.p, "push_p99"));
    buf_fini(&out);
}

static int settle(struct load_options *o, struct config **ret_c, const char *flags)
{
    char text[512], *argv[32], *save = NULL;
    int argc = 0, rc;
    struct err err;

    memset(o, 0, sizeof *o);
    *ret_c = config_new();
    config_add(*ret_c, "", load_options_table, o);
    snprintf(text, sizeof text, "%s", flags);
    for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save))
        argv[argc++] = word;
    rc = config_load_flags(*ret_c, argc, argv, NULL, &err);
    return rc == 0 ? load_options_settle(o, NULL, &err) : rc;
}

TEST(flags_that_contradict_are_refused_and_the_rest_follows)
{
    struct load_options o;
    struct config *c;

    CHECK_INT(settle(&o, &c, "--url http://127.0.0.1:1/push --series 100"), 0);
    CHECK_INT(o.interval_ms, 15000);
    CHECK_INT(o.duration_ms, 60000);
    CHECK_INT(o.batch, 100);
    CHECK_STR(o.query_url, "http://127.0.0.1:1/prometheus");
    config_free(c);
    CHECK_INT(settle(&o, &c, "--backfill 10m --interval 30s"), 0);
    CHECK_INT(o.rounds, 20);
    CHECK(o.max && o.duration_ms == 0);
    config_free(c);
    CHECK_INT(settle(&o, &c, "--protocol otlp --threshold a<1 --threshold b<2,c<3"), 0);
    CHECK_STR(o.url, "http://127.0.0.1:9009/otlp/v1/metrics");
    CHECK_INT(o.codec, CODEC_GZIP);
    CHECK_INT(o.thresholds.n, 2);
    CHECK_STR(o.thresholds.v[1], "b<2,c<3");
    config_free(c);
    CHECK_INT(settle(&o, &c, "--protocol rw2 --compression zstd"), 0);
    CHECK_INT(o.codec, CODEC_ZSTD);
    config_free(c);
    static const char *const refused[] = {"--protocol otlp --compression snappy", "--protocol rw1 --compression none", "--protocol otlp --special", "--ha --max",
                                          "--ha-outage 5s", "--instances 4", "--protocol rw3", "--labels 3", "--labels 61"};
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        CHECK(settle(&o, &c, refused[i]) < 0);
        config_free(c);
    }
    CHECK(settle(&o, &c, "--rate 10 --max") < 0);
    config_free(c);
    CHECK(settle(&o, &c, "--rate 10 --interval 5s") < 0);
    config_free(c);
    CHECK(settle(&o, &c, "--verify-only") < 0);
    config_free(c);
    CHECK(settle(&o, &c, "--url https://127.0.0.1/") < 0);
    config_free(c);
    CHECK(settle(&o, &c, "--url http://:80/") < 0);
    config_free(c);
    CHECK(settle(&o, &c, "--url http://[::1]:9009/push") == 0);
    CHECK_STR(o.query_url, "http://[::1]:9009/prometheus");
    config_free(c);
}
