/* api_active.c - running queries, the dearest ones of late, and cancelling one (VictoriaMetrics' shapes), of all queriers and the tenant that asks. */
#include "querier/api.h"
#include "querier/queries.h"

#include "common/base/json.h"
#include "common/model/duration.h"

#include <stdio.h>
#include <stdlib.h>

enum { TOP_DEFAULT = 20, TOP_MAX = 1000, TOP_AGE_MS = 10 * 60000 };

/* Here first, then, unless that was enough, in all other queriers. The names in qs are the ring's. */
static void ask_all(struct api_request *r, const struct queries_ask *ask, struct queries *qs, struct ring **ret_ring)
{
    const struct querier_deps *deps = &r->q->deps;

    *ret_ring = deps->ring(deps->ring_arg);
    queries_init(qs, deps->instance_id);
    queries_here(qs, r->q->active, ask, deps->clock);
    if (!qs->canceled)
        queries_ask_peers(qs, deps->rpc, *ret_ring, ask);
}

static void print_warnings(struct buf *out, const struct queries *qs)
{
    for (size_t i = 0; i < qs->warnings.n; i++) {
        buf_z(out, i ? "," : ",\"warnings\":[");
        json_z(out, qs->warnings.v[i]);
    }
    if (qs->warnings.n)
        buf_char(out, ']');
}

/* --- what runs --- */

static int longest_first(const void *x, const void *y)
{
    const struct running_query *a = x, *b = y;

    return a->took_ms != b->took_ms ? (a->took_ms < b->took_ms) - (a->took_ms > b->took_ms) : (a->id > b->id) - (a->id < b->id);
}

static void print_running(struct buf *out, const struct queries *qs, const struct running_query *q)
{
    buf_printf(out, "{\"duration\":\"%.3fs\",\"id\":\"%llX\",\"querier\":", (double)q->took_ms / 1e3, (unsigned long long)q->id);
    json_z(out, qs->names.v[q->querier]);
    buf_z(out, ",\"remote_addr\":");
    json_str(out, q->remote);
    buf_z(out, ",\"query\":");
    json_str(out, q->text);
    buf_printf(out, ",\"start\":%lld,\"end\":%lld,\"step\":%lld}", (long long)q->start_ms, (long long)q->end_ms, (long long)q->step_ms);
}

void api_active_queries(struct api_request *r)
{
    struct queries_ask ask = {.what = QUERIES_RUNNING, .tenant = str_of(r->tenant_text)};
    struct ring *ring;
    struct queries qs;
    struct buf out;

    ask_all(r, &ask, &qs, &ring);
    if (qs.running.n)
        qsort(qs.running.v, qs.running.n, sizeof *qs.running.v, longest_first);
    buf_init(&out, API_ANSWER_BYTES_MAX);
    buf_z(&out, "{\"status\":\"ok\",\"data\":[");
    for (size_t i = 0; i < qs.running.n && buf_ok(&out); i++) {
        buf_z(&out, i ? "," : "");
        print_running(&out, &qs, &qs.running.v[i]);
    }
    buf_char(&out, ']');
    print_warnings(&out, &qs);
    buf_char(&out, '}');
    queries_fini(&qs);
    ring_unref(ring);
    api_reply(r, &out);
}

/* --- what ran --- */

static double average(const struct ended_query *e)
{
    return (double)e->took_ns / 1e9 / (double)e->count;
}

static int by_text(const struct ended_query *a, const struct ended_query *b)
{
    int c = str_cmp(a->text, b->text);

    return c ? c : (a->range_ms > b->range_ms) - (a->range_ms < b->range_ms);
}
static int by_count(const void *x, const void *y)
{
    const struct ended_query *a = x, *b = y;

    return a->count != b->count ? (a->count < b->count) - (a->count > b->count) : by_text(a, b);
}
static int by_average(const void *x, const void *y)
{
    double a = average(x), b = average(y);

    return a != b ? (a < b) - (a > b) : by_text(x, y);
}
static int by_sum(const void *x, const void *y)
{
    const struct ended_query *a = x, *b = y;

    return a->took_ns != b->took_ns ? (a->took_ns < b->took_ns) - (a->took_ns > b->took_ns) : by_text(a, b);
}

static void print_queriers(struct buf *out, const struct queries *qs, const struct ended_query *e)
{
    bool first = true;

    buf_z(out, ",\"queriers\":[");
    for (size_t i = 0; i < qs->names.n; i++) {
        if (!(e->queriers[i / 64] >> (i % 64) & 1))
            continue;
        buf_z(out, first ? "" : ",");
        json_z(out, qs->names.v[i]);
        first = false;
    }
    buf_z(out, "]}");
}

enum figure { FIGURE_COUNT, FIGURE_AVERAGE, FIGURE_SUM };

static void print_top(struct buf *out, const char *key, struct queries *qs, size_t top, enum figure f)
{
    static int (*const orders[])(const void *, const void *) = {by_count, by_average, by_sum};

    if (qs->ended.n)
        qsort(qs->ended.v, qs->ended.n, sizeof *qs->ended.v, orders[f]);
    buf_printf(out, ",\"%s\":[", key);
    for (size_t i = 0; i < MIN(qs->ended.n, top) && buf_ok(out); i++) {
        const struct ended_query *e = &qs->ended.v[i];

        buf_z(out, i ? ",{\"query\":" : "{\"query\":");
        json_str(out, e->text);
        buf_printf(out, ",\"timeRangeSeconds\":%lld", (long long)(e->range_ms / 1000));
        if (f == FIGURE_AVERAGE)
            buf_printf(out, ",\"avgDurationSeconds\":%.3f", average(e));
        if (f == FIGURE_SUM)
            buf_printf(out, ",\"sumDurationSeconds\":%.3f", (double)e->took_ns / 1e9);
        buf_printf(out, ",\"count\":%llu", (unsigned long long)e->count);
        print_queriers(out, qs, e);
    }
    buf_char(out, ']');
}

void api_top_queries(struct api_request *r)
{
    struct queries_ask ask = {.what = QUERIES_ENDED, .tenant = str_of(r->tenant_text), .age_ms = TOP_AGE_MS};
    struct str age = http_param(r->http, "maxLifetime");
    struct ring *ring;
    struct queries qs;
    size_t top = 0;
    struct buf out;
    struct err err;
    int rc = param_limit(r, "topN", &top, &err);

    if (rc == 0 && age.n && (rc = duration_param_parse_ms(age, &ask.age_ms, &err)) < 0)
        rc = param_invalid("maxLifetime", &err);
    if (rc < 0) {
        api_reply_error(r, &err);
        return;
    }
    ask_all(r, &ask, &qs, &ring);
    top = top == 0 ? TOP_DEFAULT : MIN(top, (size_t)TOP_MAX);
    buf_init(&out, API_ANSWER_BYTES_MAX);
    buf_printf(&out, "{\"topN\":\"%zu\",\"maxLifetime\":\"%llds\",\"lastQueriesCount\":%d", top, (long long)(ask.age_ms / 1000), ACTIVE_DONE_MAX);
    print_top(&out, "topByCount", &qs, top, FIGURE_COUNT);
    print_top(&out, "topByAvgDuration", &qs, top, FIGURE_AVERAGE);
    print_top(&out, "topBySumDuration", &qs, top, FIGURE_SUM);
    print_warnings(&out, &qs);
    buf_char(&out, '}');
    queries_fini(&qs);
    ring_unref(ring);
    api_reply(r, &out);
}

/* --- ending one --- */

static int id_param(const struct api_request *r, uint64_t *ret, struct err *err)
{
    struct str text = http_param(r->http, "id");
    char digits[20], *end = digits;

    snprintf(digits, sizeof digits, "%.*s", (int)MIN(text.n, sizeof digits), text.p ? text.p : "");
    *ret = strtoull(digits, &end, 16);
    if (text.n > 0 && text.n <= 16 && !*end && digits[0] != '-')
        return 0;
    err_set(err, RC_INVALID, "\"%.*s\" is no id of a query; status/active_queries lists them", (int)MIN(text.n, (size_t)64), text.p ? text.p : "");
    return param_invalid("id", err);
}

static int not_found(const struct queries *qs, uint64_t id, struct err *err)
{
    if (qs->warnings.n)
        return err_set(err, RC_UNAVAILABLE, "no query with the id %llX was found; %s", (unsigned long long)id, qs->warnings.v[0]);
    return err_set(err, RC_NOT_FOUND, "no query with the id %llX runs", (unsigned long long)id);
}

void api_cancel_query(struct api_request *r)
{
    struct queries_ask ask = {.what = QUERIES_CANCEL, .tenant = str_of(r->tenant_text)};
    struct ring *ring;
    struct queries qs;
    struct buf out;
    struct err err;
    int rc = id_param(r, &ask.id, &err);

    if (rc < 0) {
        api_reply_error(r, &err);
        return;
    }
    ask_all(r, &ask, &qs, &ring);
    if (qs.canceled) {
        api_begin(&out);
        buf_printf(&out, "{\"id\":\"%llX\",\"querier\":", (unsigned long long)ask.id);
        json_z(&out, qs.names.v[qs.canceled_by]);
        buf_char(&out, '}');
        api_end(r, &out, false);
    } else {
        not_found(&qs, ask.id, &err);
        api_reply_error(r, &err);
    }
    queries_fini(&qs);
    ring_unref(ring);
}
