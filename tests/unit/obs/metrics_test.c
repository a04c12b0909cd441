#include "common/obs/metrics.h"
#include "tests/test.h"

#include <math.h>
#include <pthread.h>

static char *exposed(struct metrics *m, bool openmetrics)
{
    struct buf out;
    size_t n;

    buf_init(&out, 16 << 20);
    metrics_write(m, openmetrics, &out);
    buf_char(&out, '\0');
    CHECK(buf_ok(&out));
    return buf_take(&out, &n);
}

TEST(counters_and_gauges_are_written_with_help_and_type)
{
    struct metrics *m = metrics_new();
    struct metric *c = metrics_counter(m, "torc_a_total", "Things \\ done\nsince start.");
    struct metric *g = metrics_gauge(m, "torc_b", "A \"level\".");
    char *text;

    metric_inc(c);
    metric_add(c, 2);
    metric_add_f64(c, 0.5);
    metric_set(g, -INFINITY);
    text = exposed(m, false);
    CHECK_STR(text,
              "# HELP torc_a_total Things \\\\ done\\nsince start.\n# TYPE torc_a_total counter\n"
              "torc_a_total 3.5\n# HELP torc_b A \"level\".\n# TYPE torc_b gauge\ntorc_b -Inf\n");
    free(text);
    text = exposed(m, true);
    CHECK_STR(text, "# HELP torc_a Things \\\\ done\\nsince start.\n# TYPE torc_a counter\n"
                    "torc_a_total 3.5\n# HELP torc_b A \\\"level\\\".\n# TYPE torc_b gauge\ntorc_b "
                    "-Inf\n# EOF\n");
    free(text);
    metrics_free(m);
}

TEST(label_values_are_escaped_and_the_same_values_are_the_same_child)
{
    struct metrics *m = metrics_new();
    struct metric_family *f =
        metrics_family(m, METRIC_GAUGE, "torc_l", "L.", (const char *const[]){"a", "b", NULL});
    struct metric *one = metric_with(f, "x\"\\\n", "\xff\xc3\xa4", NULL);
    char *text;

    CHECK(metric_with(f, "x\"\\\n", "\xff\xc3\xa4", NULL) == one);
    CHECK(metric_with(f, "x", "", NULL) != one);
    CHECK(metrics_family(m, METRIC_GAUGE, "torc_l", "L.", NULL) == f);
    metric_set(one, 1e21);
    text = exposed(m, false);
    CHECK(strstr(text, "torc_l{a=\"x\\\"\\\\\\n\",b=\"\xef\xbf\xbd\xc3\xa4\"} 1e+21\n"));
    CHECK(strstr(text, "torc_l{a=\"x\",b=\"\"} 0\n"));
    free(text);
    metric_remove(f, (struct str[]){STR("x"), STR("")}, 2);
    text = exposed(m, false);
    CHECK(!strstr(text, "a=\"x\",b"));
    free(text);
    metrics_free(m);
}

TEST(histogram_buckets_are_cumulative_and_closed_above)
{
    struct metrics *m = metrics_new();
    struct metric_family *f = metrics_family(m, METRIC_HISTOGRAM, "torc_h_seconds", "H.",
                                             (const char *const[]){"route", NULL});
    struct metric *h = metric_with(f, "/x", NULL);
    char *text;

    metric_observe(h, 0.0005);
    metric_observe(h, 1);
    metric_observe(h, 61);
    CHECK(metric_value(h) == 3);
    text = exposed(m, false);
    CHECK(strstr(text, "torc_h_seconds_bucket{route=\"/x\",le=\"0.0005\"} 1\n"));
    CHECK(strstr(text, "torc_h_seconds_bucket{route=\"/x\",le=\"0.5\"} 1\n"));
    CHECK(strstr(text, "torc_h_seconds_bucket{route=\"/x\",le=\"1\"} 2\n"));
    CHECK(strstr(text, "torc_h_seconds_bucket{route=\"/x\",le=\"60\"} 2\n"));
    CHECK(strstr(text, "torc_h_seconds_bucket{route=\"/x\",le=\"+Inf\"} 3\n"));
    CHECK(strstr(
        text, "torc_h_seconds_sum{route=\"/x\"} 62.0005\ntorc_h_seconds_count{route=\"/x\"} 3\n"));
    free(text);
    text = exposed(m, true);
    CHECK(strstr(text, "le=\"1.0\"} 2\n"));
    free(text);
    metrics_free(m);
}

TEST(past_the_ceiling_label_values_share_the_overflow_child)
{
    struct metrics *m = metrics_new();
    struct metric_family *f =
        metrics_family(m, METRIC_COUNTER, "torc_o_total", "O.", (const char *const[]){"v", NULL});
    char text[16];

    for (int i = 0; i < METRIC_CHILDREN_MAX; i++) {
        snprintf(text, sizeof text, "%d", i);
        metric_inc(metric_with(f, text, NULL));
    }
    CHECK(metric_with(f, "new", NULL) == metric_with(f, "newer", NULL));
    CHECK(metric_with(f, "new", NULL) == metric_with(f, "overflow", NULL));
    CHECK(metric_with(f, "7", NULL) != metric_with(f, "new", NULL));
    metrics_free(m);
}

static void set_from_hook(void *arg)
{
    struct metrics *m = arg;

    metric_set(metrics_gauge(m, "torc_hooked", "Set while collecting."), 42);
}

TEST(collect_hooks_run_before_values_are_read)
{
    struct metrics *m = metrics_new();
    char *text;

    metrics_on_collect(m, set_from_hook, m);
    text = exposed(m, false);
    CHECK(strstr(text, "torc_hooked 42\n"));
    free(text);
    metrics_free(m);
}

static double sample_of(const char *text, const char *name)
{
    char line[128];
    const char *at;

    snprintf(line, sizeof line, "\n%s ", name);
    at = strstr(text, line);
    CHECK(at != NULL);
    return strtod(at + strlen(line), NULL);
}

TEST(process_metrics_describe_this_process)
{
    struct metrics *m = metrics_new();
    char *text;

    metrics_add_process(m);
    metrics_add_process(m);
    text = exposed(m, false);
    CHECK(sample_of(text, "process_resident_memory_bytes") > 1e5);
    CHECK(sample_of(text, "process_open_fds") >= 3);
    CHECK(sample_of(text, "process_max_fds") >= 16);
    CHECK(sample_of(text, "process_threads") >= 1);
    CHECK(fabs(sample_of(text, "process_start_time_seconds") - (double)time(NULL)) < 600);
    CHECK(sample_of(text, "process_cpu_seconds_total") >= 0);
    free(text);
    metrics_free(m);
}

static void *add_many(void *arg)
{
    struct metric_family *f = arg;

    for (int i = 0; i < 20000; i++) {
        metric_inc(metric_with(f, "x", NULL));
        metric_add_f64(metric_with(f, "y", NULL), 0.5);
    }
    return NULL;
}

TEST(updates_from_several_threads_are_all_counted)
{
    struct metrics *m = metrics_new();
    struct metric_family *f =
        metrics_family(m, METRIC_COUNTER, "torc_t_total", "T.", (const char *const[]){"v", NULL});
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, add_many, f) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    CHECK(metric_value(metric_with(f, "x", NULL)) == 80000);
    CHECK(metric_value(metric_with(f, "y", NULL)) == 40000);
    metrics_free(m);
}
