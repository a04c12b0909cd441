#include "common/config/limits.h"
#include "common/base/json.h"

static const char *const validations[] = {"utf8", "legacy", NULL};

static const char *const otel_strategies[] = {
    "UnderscoreEscapingWithSuffixes", "UnderscoreEscapingWithoutSuffixes",
    "NoUTF8EscapingWithSuffixes", "NoTranslation", NULL};
static const char *const otel_deltas[] = {"refuse", "native", NULL};

#define AT(field) offsetof(struct limits, field)

const struct option limits_options[] = {
    {"ingestion_rate", OPT_FLOAT, AT(ingestion_rate), .def = "1666666", .min = "0", .reload = true,
     .doc = "Samples per second, over all distributors.", .enforced = "distributor",
     .reason = "rate_limited"},
    {"ingestion_burst_size", OPT_INT, AT(ingestion_burst_size), .def = "1000000", .min = "0",
     .reload = true, .doc = "Samples that may come at once.", .enforced = "distributor",
     .reason = "rate_limited"},
    {"request_rate", OPT_FLOAT, AT(request_rate), .def = "3000", .min = "0", .reload = true,
     .doc = "Push requests per second, over all distributors.", .enforced = "distributor",
     .reason = "rate_limited"},
    {"request_burst_size", OPT_INT, AT(request_burst_size), .def = "3000", .min = "0",
     .reload = true, .doc = "Push requests that may come at once.", .enforced = "distributor",
     .reason = "rate_limited"},
    {"out_of_order_rate", OPT_FLOAT, AT(out_of_order_rate), .def = "83333", .min = "0",
     .reload = true, .doc = "Out-of-order samples per second.", .enforced = "ingester",
     .reason = "rate_limited"},
    {"max_request_body_size", OPT_BYTES, AT(max_request_body_size), .def = "1MB", .reload = true,
     .doc = "Bytes of a push request as sent.", .enforced = "distributor"},
    {"max_request_inflated_size", OPT_BYTES, AT(max_request_inflated_size), .def = "8MB",
     .reload = true, .doc = "Bytes of a push request once decompressed.",
     .enforced = "distributor"},
    {"max_label_names_per_series", OPT_INT, AT(max_label_names_per_series), .def = "150",
     .min = "0", .reload = true, .doc = "Labels of one series.", .enforced = "distributor",
     .reason = "max_label_names_per_series"},
    {"max_label_name_length", OPT_INT, AT(max_label_name_length), .def = "1024", .min = "0",
     .reload = true, .doc = "Bytes of a label name.", .enforced = "distributor",
     .reason = "label_invalid"},
    {"max_label_value_length", OPT_INT, AT(max_label_value_length), .def = "2048", .min = "0",
     .reload = true, .doc = "Bytes of a label value.", .enforced = "distributor",
     .reason = "label_value_too_long"},
    {"max_label_size_bytes", OPT_BYTES, AT(max_label_size_bytes), .def = "7KiB", .reload = true,
     .doc = "Bytes of all label names and values of one series.", .enforced = "distributor",
     .reason = "label_size_exceeded"},
    {"max_sample_age", OPT_DURATION, AT(max_sample_age_ms), .def = "1h", .reload = true,
     .doc = "Older samples are refused.", .enforced = "distributor",
     .reason = "greater_than_max_sample_age"},
    {"creation_grace_period", OPT_DURATION, AT(creation_grace_period_ms), .def = "10m",
     .reload = true, .doc = "Samples further in the future are refused.", .enforced = "distributor",
     .reason = "too_far_in_future"},
    {"max_metadata_length", OPT_INT, AT(max_metadata_length), .def = "1024", .min = "0",
     .reload = true,
     .doc = "Bytes of metric name, type, unit and help together; longer metadata is dropped, "
            "samples are kept.",
     .enforced = "distributor"},
    {"max_exemplars_per_series_per_request", OPT_INT, AT(max_exemplars_per_series_per_request),
     .def = "100", .min = "0", .reload = true,
     .doc = "Further exemplars of a series in one request are dropped.", .enforced = "distributor"},
    {"max_native_histogram_buckets", OPT_INT, AT(max_native_histogram_buckets), .def = "160",
     .min = "0", .reload = true, .doc = "Buckets of one native histogram sample.",
     .enforced = "distributor", .reason = "native_histogram_invalid"},
    {"name_validation", OPT_ENUM, AT(name_validation), .def = "utf8", .values = validations,
     .reload = true, .doc = "Which metric and label names are accepted.", .enforced = "distributor",
     .reason = "label_invalid"},
    {"otel_translation_strategy", OPT_ENUM, AT(otel_translation_strategy),
     .def = "UnderscoreEscapingWithSuffixes", .values = otel_strategies, .reload = true,
     .doc = "How names of OTLP metrics and attributes become names of metrics and labels.",
     .enforced = "distributor"},
    {"promote_otel_resource_attributes", OPT_LIST, AT(promote_otel_resource_attributes),
     .reload = true,
     .doc = "OTLP resource attributes that become labels of every series of the resource.",
     .enforced = "distributor"},
    {"otel_keep_identifying_resource_attributes", OPT_BOOL,
     AT(otel_keep_identifying_resource_attributes), .def = "false", .reload = true,
     .doc = "Keep service.name, service.namespace and service.instance.id in target_info, besides "
            "job and instance.",
     .enforced = "distributor"},
    {"otel_promote_scope_metadata", OPT_BOOL, AT(otel_promote_scope_metadata), .def = "false",
     .reload = true,
     .doc = "OTLP scopes become labels: otel_scope_name, otel_scope_version, "
            "otel_scope_schema_url and one for each attribute of the scope.",
     .enforced = "distributor"},
    {"otel_convert_histograms_to_nhcb", OPT_BOOL, AT(otel_convert_histograms_to_nhcb),
     .def = "false", .reload = true,
     .doc = "Store OTLP histograms with explicit bounds as native histograms with custom buckets.",
     .enforced = "distributor"},
    {"otel_delta_temporality", OPT_ENUM, AT(otel_delta_temporality), .def = "refuse",
     .values = otel_deltas, .reload = true,
     .doc = "What becomes of OTLP sums and histograms with delta temporality: refuse, or native "
            "(stored as they come; sum_over_time adds them up).",
     .enforced = "distributor", .reason = "otlp_temporality"},
    {"accept_ha_samples", OPT_BOOL, AT(accept_ha_samples), .def = "true", .reload = true,
     .doc = "Follow one replica of each pair of senders that carry the cluster and replica labels.",
     .enforced = "distributor"},
    {"ha_cluster_label", OPT_STRING, AT(ha_cluster_label), .def = "cluster", .reload = true,
     .doc = "Label that names a pair of senders.", .enforced = "distributor"},
    {"ha_replica_label", OPT_STRING, AT(ha_replica_label), .def = "__replica__", .reload = true,
     .doc = "Label that names one of a pair; removed from accepted samples.",
     .enforced = "distributor"},
    {"ha_max_clusters", OPT_INT, AT(ha_max_clusters), .def = "500", .min = "0", .reload = true,
     .doc = "Pairs of senders.", .enforced = "distributor", .reason = "too_many_ha_clusters"},
    {"ha_failover_timeout", OPT_DURATION, AT(ha_failover_timeout_ms), .def = "30s", .min = "1s",
     .reload = true, .doc = "Silence after which the other replica of a pair is followed.",
     .enforced = "distributor"},
    {"ha_standby_bytes", OPT_BYTES, AT(ha_standby_bytes), .def = "64MiB", .reload = true,
     .doc = "Requests of replicas that are not followed, kept as sent by each distributor for the "
            "failover timeout and 30 s more to fill gaps of the followed one; 0 keeps none.",
     .enforced = "distributor"},
    {"ingestion_tenant_shard_size", OPT_INT, AT(ingestion_tenant_shard_size), .def = "0",
     .min = "0", .reload = true, .doc = "Ingesters that hold the tenant's series; 0 is all.",
     .enforced = "distributor and querier"},
    {"max_active_series", OPT_INT, AT(max_active_series), .def = "50000000", .min = "0",
     .reload = true, .doc = "Active series, over all ingesters.", .enforced = "ingester",
     .reason = "per_user_series_limit"},
    {"max_series_per_metric", OPT_INT, AT(max_series_per_metric), .def = "0", .min = "0",
     .reload = true, .doc = "Active series of one metric name, over all ingesters.",
     .enforced = "ingester", .reason = "per_metric_series_limit"},
    {"out_of_order_window", OPT_DURATION, AT(out_of_order_window_ms), .def = "10m", .reload = true,
     .doc = "How much older than its series' newest sample a sample may be; 0 accepts none.",
     .enforced = "ingester", .reason = "sample-out-of-order"},
    {"max_metadata_per_metric", OPT_INT, AT(max_metadata_per_metric), .def = "10", .min = "0",
     .reload = true, .doc = "Different metadata of one metric; further ones are dropped.",
     .enforced = "ingester"},
    {"max_metrics_with_metadata", OPT_INT, AT(max_metrics_with_metadata), .def = "20000",
     .min = "0", .reload = true, .doc = "Metrics with metadata; that of further ones is dropped.",
     .enforced = "ingester"},
    {"max_exemplars", OPT_INT, AT(max_exemplars), .def = "100000", .min = "0", .reload = true,
     .doc = "Exemplars kept, over all ingesters; 0 keeps none.", .enforced = "ingester"},
    {"query_request_rate", OPT_FLOAT, AT(query_request_rate), .def = "300", .min = "0",
     .reload = true, .doc = "Queries per second.", .enforced = "querier"},
    {"label_request_rate", OPT_FLOAT, AT(label_request_rate), .def = "10", .min = "0",
     .reload = true,
     .doc = "Requests for series, labels or metadata per second, each kind by itself.",
     .enforced = "querier"},
    {"other_request_rate", OPT_FLOAT, AT(other_request_rate), .def = "100", .min = "0",
     .reload = true, .doc = "Other API requests per second.", .enforced = "querier"},
    {"max_query_range", OPT_DURATION, AT(max_query_range_ms), .def = "95d", .reload = true,
     .doc = "Time between start and end of a query.", .enforced = "querier"},
    {"max_query_samples", OPT_INT, AT(max_query_samples), .def = "50000000", .min = "0",
     .reload = true, .doc = "Samples of an instant query, or of each 24 h of a range query.",
     .enforced = "querier"},
    {"max_query_series", OPT_INT, AT(max_query_series), .def = "12000000", .min = "0",
     .reload = true, .doc = "Series of an instant query, or of each 24 h of a range query.",
     .enforced = "querier"},
    {"max_query_chunks", OPT_INT, AT(max_query_chunks), .def = "2000000", .min = "0",
     .reload = true, .doc = "Chunks that one query may fetch.", .enforced = "querier"},
    {"max_query_bytes", OPT_BYTES, AT(max_query_bytes), .def = "5GB", .reload = true,
     .doc = "Bytes scanned by an instant query, or by each 24 h of a range query.",
     .enforced = "querier"},
    {"max_query_text", OPT_BYTES, AT(max_query_text), .def = "64KiB", .reload = true,
     .doc = "Bytes of a query's expression.", .enforced = "querier"},
    {"max_query_concurrency", OPT_INT, AT(max_query_concurrency), .def = "20", .min = "0",
     .reload = true, .doc = "Queries that run at once; further ones wait.", .enforced = "querier"},
    {"max_points", OPT_INT, AT(max_points), .def = "11000", .min = "0", .reload = true,
     .doc = "Points per series of a range query.", .enforced = "querier"},
    {"query_timeout", OPT_DURATION, AT(query_timeout_ms), .def = "2m", .reload = true,
     .doc = "Longest time of a query; the timeout parameter can only shorten it.",
     .enforced = "querier"},
    {"query_memory", OPT_BYTES, AT(query_memory), .def = "1GiB", .reload = true,
     .doc = "Memory that one query may hold.", .enforced = "querier"},
    {"max_query_lookback", OPT_DURATION, AT(max_query_lookback_ms), .def = "0", .reload = true,
     .doc = "How far before now a query may reach; earlier times are cut off.",
     .enforced = "querier"},
    {"align_queries_with_step", OPT_BOOL, AT(align_queries_with_step), .def = "false",
     .reload = true,
     .doc = "Round start and end of range queries to the step, which makes more of them cacheable.",
     .enforced = "querier"},
    {"max_label_values", OPT_INT, AT(max_label_values), .def = "0", .min = "0", .reload = true,
     .doc = "Entries of one answer about labels or series.", .enforced = "querier"},
    {"retention_period", OPT_DURATION, AT(retention_period_ms), .def = "150d", .max = "1095d",
     .reload = true, .doc = "Older samples are deleted; 0 keeps them for ever.",
     .enforced = "compactor"},
    {"retention_rules", OPT_LIST, AT(retention_rules), .reload = true, .repeats = true,
     .doc = "Shorter retention for some series: SELECTOR:PERIOD, for example {env=\"dev\"}:7d. The "
            "shortest period that applies counts; at least 1h.",
     .enforced = "querier, compactor"},
    {"compactor_split_shards", OPT_INT, AT(compactor_split_shards), .def = "1", .min = "1",
     .max = "64", .reload = true,
     .doc = "Blocks that the compactor divides a time range of the tenant into, by series.",
     .enforced = "compactor"},
    {0},
};

static void put_json_value(const struct option *o, const struct limits *l, struct buf *out)
{
    bool bare = o->type == OPT_BOOL || o->type == OPT_INT || o->type == OPT_FLOAT;
    struct buf text;

    if (o->type == OPT_BYTES) {
        buf_printf(out, "%llu",
                   (unsigned long long)*(const uint64_t *)((const void *)((const char *)l + o->offset)));
        return;
    }
    buf_init(&text, OPT_TEXT_BYTES_MAX * 2);
    option_print(o, l, &text);
    if (bare)
        buf_str(out, buf_view(&text));
    else
        json_str(out, buf_view(&text));
    buf_fini(&text);
}

static bool is_equal(const struct option *o, const struct limits *a, const struct limits *b)
{
    struct buf x, y;
    bool equal;

    buf_init(&x, OPT_TEXT_BYTES_MAX * 2);
    buf_init(&y, OPT_TEXT_BYTES_MAX * 2);
    option_print(o, a, &x);
    option_print(o, b, &y);
    equal = str_eq(buf_view(&x), buf_view(&y));
    buf_fini(&x);
    buf_fini(&y);
    return equal;
}

static void print_json(const struct limits *l, const struct limits *base, struct buf *out)
{
    bool first = true;

    buf_char(out, '{');
    for (const struct option *o = limits_options; o->name; o++) {
        if (base && is_equal(o, l, base))
            continue;
        buf_z(out, first ? "" : ",");
        first = false;
        json_key(out, o->name);
        put_json_value(o, l, out);
    }
    buf_char(out, '}');
}

void limits_print_json(const struct limits *l, struct buf *out)
{
    print_json(l, NULL, out);
}

void limits_print_json_diff(const struct limits *l, const struct limits *base, struct buf *out)
{
    print_json(l, base, out);
}
