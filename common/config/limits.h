/* limits.h - what one tenant may do: one table of limits, their defaults in the configuration
 * (limits.*), and a file of overrides per tenant that is re-read while the process runs: overrides:
 *     acme: {ingestion_rate: 50000, out_of_order_window: 2h}
 * 0 switches a limit off, unless its row says otherwise. A file that does not load changes nothing:
 * the old limits stay, the log and torc_runtime_config_last_reload_successful say so. Threads:
 * limits_of from any. A struct limits never changes and lives as long as the overrides; equal
 * limits are one object, so memory grows with the number of different limit sets ever seen, not
 * with reloads. */
#pragma once
#include "common/config/option.h"
#include "common/obs/log.h"
#include "common/obs/metrics.h"

enum { OVERRIDES_FILE_BYTES_MAX = 16 << 20, OVERRIDES_TENANTS_MAX = 100000 };
enum name_validation { NAME_VALIDATION_UTF8, NAME_VALIDATION_LEGACY };
enum otel_translation_strategy {
    OTEL_UNDERSCORE_ESCAPING_WITH_SUFFIXES,
    OTEL_UNDERSCORE_ESCAPING_WITHOUT_SUFFIXES,
    OTEL_NO_UTF8_ESCAPING_WITH_SUFFIXES,
    OTEL_NO_TRANSLATION,
};
enum otel_delta_temporality { OTEL_DELTA_REFUSE, OTEL_DELTA_NATIVE };

struct limits {
    uint64_t generation; /* equal exactly when all limits are; never 0. Caches keyed by it survive
                            reloads that change nothing here */

    /* distributor: rates of the tenant over all distributors */
    double ingestion_rate;        /* samples/s */
    int64_t ingestion_burst_size; /* samples */
    double request_rate;          /* push requests/s */
    int64_t request_burst_size;
    double out_of_order_rate;       /* samples/s */
    uint64_t max_request_body_size; /* compressed */
    uint64_t max_request_inflated_size;
    int64_t max_label_names_per_series;
    int64_t max_label_name_length;  /* bytes */
    int64_t max_label_value_length; /* bytes */
    uint64_t max_label_size_bytes;  /* all names and values of a series */
    int64_t max_sample_age_ms;
    int64_t creation_grace_period_ms; /* how far in the future */
    int64_t max_metadata_length;      /* bytes */
    int64_t max_exemplars_per_series_per_request;
    int64_t max_native_histogram_buckets;
    int name_validation; /* enum name_validation */
    int otel_translation_strategy; /* enum otel_translation_strategy */
    struct opt_list promote_otel_resource_attributes;
    bool otel_keep_identifying_resource_attributes;
    bool otel_promote_scope_metadata;
    bool otel_convert_histograms_to_nhcb;
    int otel_delta_temporality; /* enum otel_delta_temporality */
    bool accept_ha_samples;
    char *ha_cluster_label, *ha_replica_label;
    int64_t ha_max_clusters;
    int64_t ha_failover_timeout_ms;
    uint64_t ha_standby_bytes;
    int64_t ingestion_tenant_shard_size; /* instances; 0: all */

    /* ingester */
    int64_t max_active_series;
    int64_t max_series_per_metric;
    int64_t out_of_order_window_ms;
    int64_t max_metadata_per_metric;
    int64_t max_metrics_with_metadata;
    int64_t max_exemplars; /* kept for the tenant */

    /* querier */
    double query_request_rate, label_request_rate, other_request_rate; /* requests/s */
    int64_t max_query_range_ms;
    int64_t max_query_samples, max_query_series, max_query_chunks;
    uint64_t max_query_bytes; /* scanned */
    uint64_t max_query_text;  /* bytes of the expression */
    int64_t max_query_concurrency;
    int64_t max_points; /* steps of a range query */
    int64_t query_timeout_ms;
    uint64_t query_memory;         /* bytes one query may hold */
    int64_t max_query_lookback_ms; /* how far back a query may reach */
    bool align_queries_with_step;
    int64_t max_label_values; /* entries in one answer about labels */

    /* compactor */
    int64_t retention_period_ms;
    struct opt_list retention_rules; /* promql/retention.h */
    int64_t compactor_split_shards;  /* blocks that the series of a range are divided into */
};
extern const struct option limits_options[];

struct overrides;
struct overrides_deps {
    struct log *log;         /* may be NULL */
    struct metrics *metrics; /* may be NULL */
    int (*check)(const struct limits *l, struct err *err); /* what no single row can say; NULL: nothing */
};

/* path: the file, "" for none; it must load the first time. period_ms: how often it is looked at;
 * 0: only by overrides_reload. defaults is copied. */
int overrides_new(const struct limits *defaults, const char *path, int64_t period_ms,
                  const struct overrides_deps *deps, struct overrides **ret, struct err *err);
void overrides_free(struct overrides *o);
/* Never NULL: the defaults for a tenant without an entry. */
const struct limits *limits_of(struct overrides *o, struct str tenant);
const struct limits *limits_default(struct overrides *o);
/* Reads the file now. On failure nothing changes. */
int overrides_reload(struct overrides *o, struct err *err);
/* The overrides as YAML. diff: only what differs from the defaults, else every limit of every
 * tenant that has an entry. */
void overrides_print_yaml(struct overrides *o, bool diff, struct buf *out);
/* {"file":..,"loaded":true,"error":"","overrides":{"tenant":{..}}}: the same as JSON, and how the last look at the file
 * went; error is "" when it went well. The YAML begins with a comment when it did not. */
void overrides_print_json(struct overrides *o, bool diff, struct buf *out);
/* One tenant's limits as a JSON object. */
void limits_print_json(const struct limits *l, struct buf *out);
/* Only those that differ from base's; base NULL: all. */
void limits_print_json_diff(const struct limits *l, const struct limits *base, struct buf *out);
