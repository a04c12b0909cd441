#include "loadgen/options.h"

#include "loadgen/image.h"
#include "loadgen/send.h"
#include "loadgen/verify_request.h"

#include <stdio.h>
#include <stdlib.h>

#define AT(field) offsetof(struct load_options, field)

static const char *const protocols[] = {"rw1", "rw2", "otlp", NULL};
static const char *const compressions[] = {"auto", "none", "snappy", "gzip", "zstd", NULL};

const struct option load_options_table[] = {
    {"url", OPT_STRING, AT(url), .doc = "Where samples go; empty: /api/v1/push, or /otlp/v1/metrics with otlp, at http://127.0.0.1:9009."},
    {"protocol", OPT_ENUM, AT(protocol), .def = "rw1", .values = protocols, .doc = "Remote Write 1.0, Remote Write 2.0 or OTLP over HTTP, all as protobuf."},
    {"compression", OPT_ENUM, AT(compression), .def = "auto", .values = compressions,
     .doc = "Of requests. auto: snappy, with otlp gzip. Remote Write by the book has snappy only and needs one; otlp has no snappy."},
    {"series", OPT_INT, AT(series), .def = "10000", .min = "1", .max = "100000000",
     .doc = "Active plain series of each tenant; 96 in 250 are buckets of classic histograms."},
    {"native-histograms", OPT_INT, AT(natives), .min = "0", .max = "10000000",
     .doc = "Active series of native histograms of each tenant, besides --series."},
    {"labels", OPT_INT, AT(labels), .def = "9", .min = "4", .max = "60", .doc = "Labels of a series."},
    {"exemplars", OPT_FLOAT, AT(exemplars), .min = "0", .max = "100", .doc = "Percent of the counters and buckets that carry an exemplar with each sample."},
    {"interval", OPT_DURATION, AT(interval_ms), .doc = "Time between two samples of a series; 0: 15s, or what --rate needs."},
    {"rate", OPT_FLOAT, AT(rate), .min = "0", .doc = "Samples per second in all, instead of --interval."},
    {"max", OPT_BOOL, AT(max), .doc = "No pace: each connection sends as fast as it is answered."},
    {"duration", OPT_DURATION, AT(duration_ms), .doc = "Length of the run; 0: 1m, or until --rounds are sent."},
    {"rounds", OPT_INT, AT(rounds), .min = "0", .doc = "Samples of each series; 0: as many as the duration has."},
    {"backfill", OPT_DURATION, AT(backfill_ms),
     .doc = "Timestamps begin this long ago and advance by --interval, at the pace of --rate or --max; ends at the present unless --rounds says otherwise."},
    {"tenants", OPT_INT, AT(tenants), .def = "1", .min = "1", .max = "100000", .doc = "Tenants, each with all the series."},
    {"tenant", OPT_STRING, AT(tenant), .doc = "X-Scope-OrgID; with several tenants the part before -1, -2, ... Empty: no header, or load-1, load-2, ..."},
    {"churn", OPT_FLOAT, AT(churn), .min = "0", .max = "6000",
     .doc = "Percent of the scraped targets, and so of the series, that are replaced by new ones each minute."},
    {"out-of-order", OPT_FLOAT, AT(out_of_order), .min = "0", .max = "50",
     .doc = "Percent of the samples that come behind a later one of their series, by one interval."},
    {"special", OPT_BOOL, AT(special), .doc = "One series in 50 sends NaN payloads, staleness markers, infinities, -0, denormals."},
    {"ha", OPT_BOOL, AT(ha),
     .doc = "Every tenant is an HA pair: each request is sent twice, with the labels cluster and __replica__; an answer of 202 means that it was deduplicated."},
    {"ha-outage", OPT_DURATION, AT(ha_outage_ms), .doc = "With --ha: for this long both replicas live, then one is dead, both live, the other is dead, and so on; 0: none dies."},
    {"replay", OPT_STRING, AT(replay),
     .doc = "File with a recorded scrape (Prometheus text or OpenMetrics) whose series are sent with their recorded values, instead of --series."},
    {"instances", OPT_INT, AT(instances), .def = "1", .min = "1", .max = "1000000", .doc = "With --replay: as this many scraped instances."},
    {"seed", OPT_INT, AT(seed), .def = "1", .min = "0", .doc = "Names and values follow from it."},
    {"batch", OPT_INT, AT(batch), .def = "2000", .min = "1", .max = "100000", .doc = "Samples of a request."},
    {"connections", OPT_INT, AT(connections), .def = "2", .min = "1", .max = "1024", .doc = "Connections; each owns a part of the series and sends it in order."},
    {"timeout", OPT_DURATION, AT(timeout_ms), .def = "30s", .min = "10ms", .doc = "Time for an answer."},
    {"give-up", OPT_DURATION, AT(give_up_ms), .def = "5m", .doc = "A request is repeated for this long."},
    {"drain", OPT_DURATION, AT(drain_ms), .def = "30s", .doc = "Time after the end of the run for what is due but not sent yet."},
    {"query", OPT_LIST, AT(query), .repeats = true,
     .doc = "A query to be asked meanwhile: \"EXPR\", or \"range=1h step=15s EXPR\". May be given several times; they take turns."},
    {"queries", OPT_STRING, AT(queries), .doc = "File with such queries, one a line; lines that begin with # are comments."},
    {"query-rate", OPT_FLOAT, AT(query_rate), .def = "1", .min = "0.001", .max = "100000",
     .doc = "Queries per second, all together, each at its due time."},
    {"query-connections", OPT_INT, AT(query_connections), .def = "4", .min = "1", .max = "1024",
     .doc = "Queries at a time; later ones wait, and their latency grows."},
    {"query-timeout", OPT_DURATION, AT(query_timeout_ms), .def = "2m", .min = "10ms", .doc = "Time for a query's answer."},
    {"query-url", OPT_STRING, AT(query_url), .doc = "Base of the query API, before /api/v1/query; empty: /prometheus at the host of --url."},
    {"verify", OPT_BOOL, AT(verify), .doc = "Read everything back afterwards and judge every acknowledged sample."},
    {"verify-only", OPT_BOOL, AT(verify_only), .doc = "Write nothing: judge what --history says was written."},
    {"verify-wait", OPT_DURATION, AT(verify_wait_ms), .def = "1m", .doc = "A query that is answered with 5xx or 429, or not at all, is repeated for this long."},
    {"verify-path", OPT_ENUM, AT(verify_path), .def = "instant", .values = verify_path_names,
     .doc = "How everything is read back: instant queries with range selectors; range queries of last_over_time, a step each --interval; or remote read, which shows bits."},
    {"history", OPT_STRING, AT(history), .doc = "File for what was sent and acknowledged; --verify-only reads it."},
    {"request-log", OPT_STRING, AT(request_log),
     .doc = "File with a line for each attempt at a request: begin and end (seconds of the monotonic clock), outcome, status, tenant, batch, samples, timestamp."},
    {"differences", OPT_STRING, AT(differences), .doc = "File for every difference that the verification finds, one a line; the report shows the first 20."},
    {"json", OPT_BOOL, AT(json), .doc = "Report as JSON."},
    {"quiet", OPT_BOOL, AT(quiet), .doc = "No line of progress each second."},
    {"metrics-listen", OPT_STRING, AT(metrics_listen), .doc = "HOST:PORT where /metrics has the figures of the report while it runs."},
    {"metrics-file", OPT_STRING, AT(metrics_file), .doc = "File that has the same, written anew each second and at the end."},
    {"threshold", OPT_LIST, AT(thresholds), .repeats = true,
     .doc = "A figure of the report with its bound, \"push_p99<50ms\"; several with commas or by giving it several times. Outside one the exit code is 2."},
    {0},
};

static int query_url(struct load_options *o, struct err *err)
{
    struct http_peer peer;
    char url[HTTP_HOST_MAX + 32];
    int rc;

    if (*o->query_url)
        return 0;
    rc = http_peer_of(o->url, &peer, err);
    if (rc < 0)
        return rc;
    snprintf(url, sizeof url, "http://%s/prometheus", peer.host);
    free(o->query_url);
    o->query_url = xstrdup(url);
    return 0;
}

static int settle_protocol(struct load_options *o, struct err *err)
{
    bool otlp = o->protocol == PROTOCOL_OTLP;

    if (!*o->url) {
        free(o->url);
        o->url = xstrdup(otlp ? "http://127.0.0.1:9009/otlp/v1/metrics" : "http://127.0.0.1:9009/api/v1/push");
    }
    o->codec = o->compression == COMPRESSION_AUTO ? (otlp ? CODEC_GZIP : CODEC_SNAPPY) : (enum codec)(o->compression - COMPRESSION_FIRST_CODEC);
    if (otlp && o->codec == CODEC_SNAPPY)
        return err_set(err, RC_INVALID, "--compression snappy: OTLP has none, gzip, zstd");
    if (!otlp && o->codec == CODEC_NONE)
        return err_set(err, RC_INVALID, "--compression none: remote write is always compressed");
    if (otlp && o->special)
        return err_set(err, RC_INVALID, "--special needs remote write: OTLP has no NaN payloads and no staleness markers as values");
    return 0;
}

static int settle_series(struct load_options *o, const struct recording *recording, struct err *err)
{
    if (recording && (o->natives || o->special || o->labels != MODEL_LABELS))
        return err_set(err, RC_INVALID, "--replay sends what was recorded: no --native-histograms, --special or --labels");
    if (!recording && o->instances != 1)
        return err_set(err, RC_INVALID, "--instances needs --replay");
    if (recording)
        o->series = (int64_t)recording->series_n * o->instances;
    if (((double)o->series + (double)o->natives) * (double)o->tenants > UINT32_MAX)
        return err_set(err, RC_INVALID, "more than 4 billion series");
    o->batch = MIN(o->batch, o->series);
    return 0;
}

static int settle_pace(struct load_options *o, struct err *err)
{
    if (o->rate > 0 && o->max)
        return err_set(err, RC_INVALID, "--rate and --max contradict each other");
    if (o->rate > 0 && o->interval_ms && !o->backfill_ms)
        return err_set(err, RC_INVALID, "--rate and --interval contradict each other: the series are given");
    if (o->backfill_ms && o->rate <= 0)
        o->max = true;
    if (o->out_of_order > 0 && o->max && !o->backfill_ms)
        return err_set(err, RC_INVALID, "--out-of-order needs a pace or --backfill: with --max there is no order to leave");
    if (o->ha && o->max && !o->backfill_ms)
        return err_set(err, RC_INVALID, "--ha needs a pace or --backfill: both replicas send the same timestamps");
    if (o->ha_outage_ms && !o->ha)
        return err_set(err, RC_INVALID, "--ha-outage needs --ha");
    if (!o->interval_ms)
        o->interval_ms = 15000;
    if (o->backfill_ms && !o->rounds)
        o->rounds = MAX(o->backfill_ms / o->interval_ms, 1);
    if (!o->duration_ms && !o->rounds)
        o->duration_ms = 60000;
    return 0;
}

int load_options_settle(struct load_options *o, const struct recording *recording, struct err *err)
{
    int rc = settle_protocol(o, err);

    if (rc == 0)
        rc = settle_series(o, recording, err);
    if (rc == 0)
        rc = settle_pace(o, err);
    if (rc < 0)
        return rc;
    if (o->verify_only && !*o->history)
        return err_set(err, RC_INVALID, "--verify-only needs --history");
    if (strlen(o->tenant) > HISTORY_TENANT_MAX)
        return err_set(err, RC_INVALID, "--tenant is longer than %d bytes", HISTORY_TENANT_MAX);
    return query_url(o, err);
}
