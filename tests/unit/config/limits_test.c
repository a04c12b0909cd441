#include "common/config/limits.h"
#include "common/sys/fs.h"
#include "tests/test.h"

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static struct limits defaults;
static char path[256];

static void start(const char *text)
{
    memset(&defaults, 0, sizeof defaults);
    options_default(limits_options, &defaults);
    snprintf(path, sizeof path, "%s/overrides.yaml", test_tmpdir());
    CHECK(fs_write_atomic(path, str_of(text), NULL) == 0);
}

static struct overrides *open_overrides(struct metrics *m, int64_t period_ms)
{
    struct overrides *o = NULL;
    struct err err = {0};

    if (overrides_new(&defaults, path, period_ms, &(struct overrides_deps){.metrics = m}, &o, &err) < 0)
        fail_msg("%s", err_text(&err));
    return o;
}

static void finish(struct overrides *o)
{
    overrides_free(o);
    options_free(limits_options, &defaults);
}

TEST(defaults_are_the_documented_quotas)
{
    start("");
    CHECK(defaults.ingestion_rate == 1666666 && defaults.ingestion_burst_size == 1000000);
    CHECK(defaults.max_active_series == 50000000 && defaults.max_series_per_metric == 0);
    CHECK(defaults.max_label_names_per_series == 150 && defaults.max_label_size_bytes == 7168);
    CHECK(defaults.max_sample_age_ms == 3600000 && defaults.creation_grace_period_ms == 600000);
    CHECK(defaults.out_of_order_window_ms == 600000 && defaults.out_of_order_rate == 83333);
    CHECK(defaults.request_rate == 3000 && defaults.query_request_rate == 300 &&
          defaults.label_request_rate == 10);
    CHECK(defaults.max_request_body_size == 1000000 &&
          defaults.max_request_inflated_size == 8000000);
    CHECK(defaults.max_metadata_length == 1024 && defaults.max_metadata_per_metric == 10);
    CHECK(defaults.max_metrics_with_metadata == 20000 &&
          defaults.name_validation == NAME_VALIDATION_UTF8);
    CHECK(defaults.retention_period_ms == 150LL * 86400000 &&
          defaults.max_query_range_ms == 95LL * 86400000);
    CHECK(defaults.max_query_samples == 50000000 && defaults.max_query_series == 12000000);
    CHECK(defaults.max_query_bytes == 5000000000 && defaults.max_query_text == 65536 &&
          defaults.max_points == 11000);
    CHECK(defaults.ha_max_clusters == 500 && defaults.ha_failover_timeout_ms == 30000);
    CHECK_STR(defaults.ha_cluster_label, "cluster");
    CHECK_STR(defaults.ha_replica_label, "__replica__");
    finish(NULL);
}

TEST(tenants_get_their_overrides_and_others_the_defaults)
{
    struct overrides *o;

    start("overrides:\n  acme: {ingestion_rate: 5, ha_cluster_label: pair}\n  free:\n  other: "
          "{ingestion-rate: 5, ha_cluster_label: pair}\n");
    o = open_overrides(NULL, 0);
    CHECK(limits_of(o, STR("acme"))->ingestion_rate == 5);
    CHECK_STR(limits_of(o, STR("acme"))->ha_cluster_label, "pair");
    CHECK(limits_of(o, STR("acme"))->max_points == 11000);
    CHECK(limits_of(o, STR("nobody")) == limits_default(o));
    CHECK(limits_of(o, STR("free")) == limits_default(o));
    CHECK(limits_of(o, STR("acme")) ==
          limits_of(o, STR("other"))); /* equal limits are one object */
    CHECK(limits_of(o, STR("acme"))->generation != limits_default(o)->generation);
    finish(o);
}

TEST(limits_may_be_lists)
{
    struct overrides *o;

    start("overrides:\n  acme: {promote_otel_resource_attributes: [host.name, zone]}\n"
          "  same: {promote_otel_resource_attributes: \"host.name,zone\"}\n");
    o = open_overrides(NULL, 0);
    CHECK_INT(limits_of(o, STR("acme"))->promote_otel_resource_attributes.n, 2);
    CHECK_STR(limits_of(o, STR("acme"))->promote_otel_resource_attributes.v[1], "zone");
    CHECK(limits_of(o, STR("acme")) == limits_of(o, STR("same")));
    CHECK_INT(limits_default(o)->promote_otel_resource_attributes.n, 0);
    finish(o);
}

TEST(a_reload_changes_generations_only_where_limits_changed)
{
    const struct limits *acme, *other;
    struct overrides *o;

    start("overrides:\n  acme: {ingestion_rate: 5}\n  other: {max_points: 1}\n");
    o = open_overrides(NULL, 0);
    acme = limits_of(o, STR("acme"));
    other = limits_of(o, STR("other"));
    CHECK(fs_write_atomic(
              path, STR("overrides:\n  acme: {ingestion_rate: 6}\n  other: {max_points: 1}\n"),
              NULL) == 0);
    CHECK(overrides_reload(o, NULL) == 0);
    CHECK(acme->ingestion_rate == 5); /* held pointers stay valid and fixed */
    CHECK(limits_of(o, STR("acme"))->ingestion_rate == 6);
    CHECK(limits_of(o, STR("acme"))->generation != acme->generation);
    CHECK(limits_of(o, STR("other")) == other);
    finish(o);
}

static const struct {
    const char *text, *want;
} bad[] = {
    {"overrides:\n  a:\n    ingestion_rat: 5\n",
     ":3: unknown limit \"ingestion_rat\", did you mean \"ingestion_rate\"?"},
    {"overrides:\n  a/b: {}\n", ":2: tenant id contains unsupported character"},
    {"overrides:\n  a: {ingestion_rate: -1}\n", ":2: ingestion_rate: below the minimum 0"},
    {"overrides:\n  a: {}\n  a: {}\n", ":3: \"a\" is already given in line 2"},
    {"override: {}\n", ":1: unknown section \"override\", did you mean \"overrides\"?"},
    {"overrides:\n  a: {ingestion_rate: [1]}\n", ":2: ingestion_rate: want one float"},
    {"overrides: [a]\n", ":1: want tenants"},
    {"overrides: {a: 5}\n", ":1: want limits"},
    {"overrides: {a: {retention_period: 2000d}}\n", "above the maximum 1095d"},
};

TEST(a_bad_file_keeps_the_old_limits_and_says_so)
{
    struct metrics *m = metrics_new();
    struct metric *ok = metrics_gauge(m, "torc_runtime_config_last_reload_successful",
                                      "1 when the last look at the file of overrides succeeded.");
    struct overrides *o;

    start("overrides:\n  acme: {ingestion_rate: 5}\n");
    o = open_overrides(m, 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = {0};

        CHECK(metric_value(ok) == 1);
        CHECK(fs_write_atomic(path, str_of(bad[i].text), NULL) == 0);
        CHECK(overrides_reload(o, &err) < 0);
        if (!strstr(err_text(&err), bad[i].want))
            fail_msg("case %zu: got \"%s\", want \"%s\"", i, err_text(&err), bad[i].want);
        CHECK(limits_of(o, STR("acme"))->ingestion_rate == 5);
        CHECK(metric_value(ok) == 0);
        CHECK(fs_write_atomic(path, STR("overrides:\n  acme: {ingestion_rate: 5}\n"), NULL) == 0);
        CHECK(overrides_reload(o, NULL) == 0);
    }
    CHECK(fs_remove(path, NULL) == 0);
    CHECK(overrides_reload(o, NULL) == RC_NOT_FOUND);
    CHECK(limits_of(o, STR("acme"))->ingestion_rate == 5);
    CHECK(metric_value(ok) == 0);
    finish(o);
    metrics_free(m);
}

TEST(the_first_load_must_succeed)
{
    struct overrides *o = NULL;
    struct err err = {0};

    start("nonsense: 1\n");
    CHECK(overrides_new(&defaults, path, 0, &(struct overrides_deps){0}, &o, &err) == RC_INVALID);
    CHECK(o == NULL);
    CHECK(overrides_new(&defaults, "", 0, &(struct overrides_deps){0}, &o, &err) == 0);
    finish(o);
}

static _Atomic bool stop;

static void *read_limits(void *arg)
{
    struct overrides *o = arg;

    while (!atomic_load(&stop)) {
        const struct limits *l = limits_of(o, STR("acme"));

        CHECK(l->ingestion_rate == 5 || l->ingestion_rate == 6);
        CHECK(l->max_points == (int64_t)l->ingestion_rate * 10);
    }
    return NULL;
}

TEST(the_thread_picks_changes_up_while_others_read)
{
    struct overrides *o;
    pthread_t readers[2];
    char text[100];

    start("overrides:\n  acme: {ingestion_rate: 5, max_points: 50}\n");
    o = open_overrides(NULL, 2);
    atomic_store(&stop, false);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&readers[i], NULL, read_limits, o) == 0);
    for (int i = 0; i < 20; i++) {
        int rate = 5 + i % 2;

        snprintf(text, sizeof text, "overrides:\n  acme: {ingestion_rate: %d, max_points: %d}\n",
                 rate, rate * 10);
        CHECK(fs_write_atomic(path, str_of(text), NULL) == 0);
        for (int tries = 0; tries < 5000 && limits_of(o, STR("acme"))->ingestion_rate != rate;
             tries++)
            usleep(1000);
        CHECK(limits_of(o, STR("acme"))->ingestion_rate == rate);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(readers[i], NULL);
    finish(o);
}

TEST(overrides_print_and_read_back)
{
    struct overrides *o;
    struct buf out;
    json_t *root;

    start("overrides:\n  b: {out_of_order_window: 2h}\n  a: {max_request_body_size: 2MB, "
          "ha_replica_label: \"x: y\"}\n");
    o = open_overrides(NULL, 0);
    buf_init(&out, 1 << 20);
    overrides_print_yaml(o, true, &out);
    CHECK(str_eqz(buf_view(&out),
                  "overrides:\n  \"a\":\n    max_request_body_size: 2MB\n    ha_replica_label: "
                  "\"x: y\"\n  \"b\":\n    out_of_order_window: 2h\n"));
    buf_clear(&out);
    overrides_print_yaml(o, false, &out);
    CHECK(fs_write_atomic(path, buf_view(&out), NULL) == 0);
    const struct limits *before = limits_of(o, STR("a"));
    CHECK(overrides_reload(o, NULL) == 0);
    CHECK(limits_of(o, STR("a")) == before);
    buf_clear(&out);
    limits_print_json(before, &out);
    root = json_loadb(out.p, out.n, 0, NULL);
    CHECK(root != NULL);
    CHECK(json_integer_value(json_object_get(root, "max_request_body_size")) == 2000000);
    CHECK_STR(json_string_value(json_object_get(root, "retention_period")), "150d");
    json_decref(root);
    buf_fini(&out);
    finish(o);
}
