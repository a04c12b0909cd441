#include "loadgen/options.h"

#include "loadgen/image.h"
#include "loadgen/send.h"

#include <stdio.h>
#include <stdlib.h>

#define AT(field) offsetof(struct load_options, field)

const struct option load_options_table[] = {
    {"url", OPT_STRING, AT(url), .def = "http://127.0.0.1:9009/api/v1/push", .doc = "Remote Write 1.0 endpoint."},
    {"series", OPT_INT, AT(series), .def = "10000", .min = "1", .max = "100000000", .doc = "Active series of each tenant."},
    {"interval", OPT_DURATION, AT(interval_ms), .doc = "Time between two samples of a series; 0: 15s, or what --rate needs."},
    {"rate", OPT_FLOAT, AT(rate), .min = "0", .doc = "Samples per second in all, instead of --interval."},
    {"max", OPT_BOOL, AT(max), .doc = "No pace: each connection sends as fast as it is answered."},
    {"duration", OPT_DURATION, AT(duration_ms), .doc = "Length of the run; 0: 1m, or until --rounds are sent."},
    {"rounds", OPT_INT, AT(rounds), .min = "0", .doc = "Samples of each series; 0: as many as the duration has."},
    {"backfill", OPT_DURATION, AT(backfill_ms),
     .doc = "Timestamps begin this long ago and advance by --interval, at the pace of --rate or --max; ends at the present unless --rounds says otherwise."},
    {"tenants", OPT_INT, AT(tenants), .def = "1", .min = "1", .max = "100000", .doc = "Tenants, each with all the series."},
    {"tenant", OPT_STRING, AT(tenant), .doc = "X-Scope-OrgID; with several tenants the part before -1, -2, ... Empty: no header, or load-1, load-2, ..."},
    {"churn", OPT_FLOAT, AT(churn), .min = "0", .max = "6000", .doc = "Percent of the scraped targets that are replaced by new ones each minute."},
    {"out-of-order", OPT_FLOAT, AT(out_of_order), .min = "0", .max = "50", .doc = "Percent of the samples that come behind a later one of their series, by one interval."},
    {"special", OPT_BOOL, AT(special), .doc = "One series in 50 sends NaN payloads, staleness markers, infinities, -0, denormals."},
    {"seed", OPT_INT, AT(seed), .def = "1", .min = "0", .doc = "Names and values follow from it."},
    {"batch", OPT_INT, AT(batch), .def = "2000", .min = "1", .max = "100000", .doc = "Samples of a request."},
    {"connections", OPT_INT, AT(connections), .def = "2", .min = "1", .max = "1024", .doc = "Connections; each owns a part of the series and sends it in order."},
    {"timeout", OPT_DURATION, AT(timeout_ms), .def = "30s", .min = "10ms", .doc = "Time for an answer."},
    {"give-up", OPT_DURATION, AT(give_up_ms), .def = "5m", .doc = "A request is repeated for this long."},
    {"drain", OPT_DURATION, AT(drain_ms), .def = "30s", .doc = "Time after the end of the run for what is due but not sent yet."},
    {"verify", OPT_BOOL, AT(verify), .doc = "Read everything back afterwards and judge every acknowledged sample."},
    {"verify-only", OPT_BOOL, AT(verify_only), .doc = "Write nothing: judge what --history says was written."},
    {"verify-wait", OPT_DURATION, AT(verify_wait_ms), .def = "1m", .doc = "A query that is answered with 5xx or 429, or not at all, is repeated for this long."},
    {"query-url", OPT_STRING, AT(query_url), .doc = "Base of the query API, before /api/v1/query; empty: /prometheus at the host of --url."},
    {"history", OPT_STRING, AT(history), .doc = "File for what was sent and acknowledged; --verify-only reads it."},
    {"json", OPT_BOOL, AT(json), .doc = "Report as JSON."},
    {"threshold", OPT_LIST, AT(thresholds), .doc = "Figures of the report with bounds, \"push_p99<50ms,samples_failed<=0\"; outside one the exit code is 2."},
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

int load_options_settle(struct load_options *o, struct err *err)
{
    double all = (double)o->series * (double)o->tenants;

    if (o->rate > 0 && o->max)
        return err_set(err, RC_INVALID, "--rate and --max contradict each other");
    if (o->rate > 0 && o->interval_ms && !o->backfill_ms)
        return err_set(err, RC_INVALID, "--rate and --interval contradict each other: the series are given");
    if (o->backfill_ms && o->rate <= 0)
        o->max = true;
    if (o->out_of_order > 0 && o->max && !o->backfill_ms)
        return err_set(err, RC_INVALID, "--out-of-order needs a pace or --backfill: with --max there is no order to leave");
    if (o->verify_only && !*o->history)
        return err_set(err, RC_INVALID, "--verify-only needs --history");
    if (strlen(o->tenant) > HISTORY_TENANT_MAX)
        return err_set(err, RC_INVALID, "--tenant is longer than %d bytes", HISTORY_TENANT_MAX);
    if (all > UINT32_MAX)
        return err_set(err, RC_INVALID, "more than 4 billion series");
    o->batch = MIN(o->batch, o->series);
    if (!o->interval_ms)
        o->interval_ms = 15000;
    if (o->backfill_ms && !o->rounds)
        o->rounds = MAX(o->backfill_ms / o->interval_ms, 1);
    if (!o->duration_ms && !o->rounds)
        o->duration_ms = 60000;
    return query_url(o, err);
}
