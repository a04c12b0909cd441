/* user_stats.c - how much each tenant has and sends, as the ingesters see it, each series and sample counted once.
 * All ingesters are asked at the same time. Where the ring has one zone for each replica, the zones of which all have answered hold everything once:
 * one of them is added up. Else all answers are, and divided by the replicas that they hold. */
#include "common/base/bytes.h"
#include "common/base/json.h"
#include "common/http/html.h"
#include "common/model/tenant.h"
#include "common/wire/pb_arena.h"
#include "common/wire/select.h"
#include "common/wire/torc.pb-c.h"
#include "distributor/distributor_impl.h"

#include <stdio.h>
#include <stdlib.h>

enum { ASK_MS = 5000, PAGE_BYTES_MAX = 64 << 20 };

struct user_stats {
    UT_hash_handle hh;
    char *tenant;
    double series, active, samples, ingested, rate;
};

struct asked {
    struct gather *gather;
    const struct ring_instance *in;
    bool answered;
    struct buf reply;
};

struct gather {
    struct ring *ring;
    struct asked *asked;
    size_t n;
    struct mutex lock; /* --- guards what was answered --- */
    struct cond done;
    size_t waiting;
    struct user_stats *users; /* once all have answered */
    size_t missing;           /* ingesters that did not answer */
    bool exact;
};

static void on_answer(void *arg, int rc, struct buf *reply, UNUSED const struct err *err)
{
    struct asked *a = arg;
    struct gather *g = a->gather;
    size_t n;

    mutex_lock(&g->lock);
    if (rc == 0) {
        a->answered = true;
        a->reply.max = reply->n;
        a->reply.n = a->reply.cap = reply->n;
        a->reply.p = buf_take(reply, &n);
    }
    g->waiting--;
    cond_signal(&g->done);
    mutex_unlock(&g->lock);
}

static bool owns(const struct ring_instance *in)
{
    return (in->roles & RING_INGESTER) && in->ownership > 0;
}

static void ask_all(struct distributor *d, struct gather *g, struct str tenant)
{
    Torc__Wire__UserStatsRequest m = TORC__WIRE__USER_STATS_REQUEST__INIT;
    struct buf request;

    m.version = SELECT_VERSION;
    m.tenant = pb_bytes(tenant);
    buf_init(&request, 4096);
    ASSERT(pb_pack(&m.base, &request));
    g->asked = xcalloc(ring_instances_n(g->ring) + 1, sizeof *g->asked);
    for (size_t i = 0; i < ring_instances_n(g->ring); i++)
        if (owns(ring_instance(g->ring, (uint16_t)i)))
            g->asked[g->n++] = (struct asked){.gather = g, .in = ring_instance(g->ring, (uint16_t)i)};
    g->waiting = g->n;
    for (size_t i = 0; i < g->n; i++)
        rpc_send(d->deps.rpc, g->asked[i].in->addr, RPC_USER_STATS, buf_view(&request), ASK_MS, on_answer, &g->asked[i]);
    mutex_lock(&g->lock);
    while (g->waiting)
        cond_wait(&g->done, &g->lock); /* each call ends by its own time */
    mutex_unlock(&g->lock);
    buf_fini(&request);
}

static struct user_stats *user_of(struct gather *g, struct str tenant)
{
    struct user_stats *u;

    HASH_FIND(hh, g->users, tenant.p, tenant.n, u);
    if (u || HASH_COUNT(g->users) >= DISTRIBUTOR_TENANTS_MAX)
        return u;
    u = xcalloc(1, sizeof *u);
    u->tenant = str_dupz(tenant);
    HASH_ADD_KEYPTR(hh, g->users, u->tenant, tenant.n, u);
    return u;
}

static int rows_add(struct gather *g, struct str rows, struct str rates, double part, struct err *err)
{
    struct rd r = rd_of(rows), rate = rd_of(rates);

    while (!rd_done(&r)) {
        struct str tenant = rd_lstr(&r);
        double series = (double)rd_u64(&r), active = (double)rd_u64(&r), samples = (double)rd_u64(&r), ingested = (double)rd_u64(&r);
        double per_second = rates.n ? bits_double(rd_u64(&rate)) : 0;
        struct user_stats *u;

        CORRUPT_UNLESS(rd_ok(&r) && rd_ok(&rate) && tenant_id_check(tenant, NULL) == 0, err);
        u = user_of(g, tenant);
        if (!u)
            return 0;
        u->series += series * part;
        u->active += active * part;
        u->samples += samples * part;
        u->ingested += ingested * part;
        u->rate += per_second * part;
    }
    return 0;
}

static int answer_add(struct gather *g, struct asked *a, double part, struct err *err)
{
    Torc__Wire__UserStatsResponse *m;
    struct arena scratch;
    int rc;

    arena_init(&scratch, a->reply.n * 2 + (64 << 10));
    m = torc__wire__user_stats_response__unpack(pb_arena_allocator(&scratch), a->reply.n, (const uint8_t *)a->reply.p);
    rc = m ? rows_add(g, pb_str(m->rows), pb_str(m->rates), part, err) : err_set(err, RC_CORRUPT, "the answer does not decode");
    arena_fini(&scratch);
    return rc < 0 ? err_wrap(err, rc, "statistics of %s", a->in->id) : rc;
}

static bool zone_is_whole(const struct gather *g, const char *zone)
{
    for (size_t i = 0; i < g->n; i++)
        if (strcmp(g->asked[i].in->zone, zone) == 0 && !g->asked[i].answered)
            return false;
    return true;
}

/* A zone that holds everything once; NULL: none does. */
static const char *whole_zone(const struct gather *g)
{
    if ((int)ring_zones_n(g->ring) != ring_rf(g->ring))
        return NULL;
    for (size_t i = 0; i < g->n; i++)
        if (zone_is_whole(g, g->asked[i].in->zone))
            return g->asked[i].in->zone;
    return NULL;
}

static int fold(struct gather *g, struct err *err)
{
    const char *zone = whole_zone(g);
    double replicas = 0;
    int rc = 0;

    for (size_t i = 0; i < g->n; i++) {
        g->missing += !g->asked[i].answered;
        replicas += g->asked[i].answered ? g->asked[i].in->ownership : 0;
    }
    if (g->missing == g->n)
        return err_set(err, RC_UNAVAILABLE, "no ingester answered");
    g->exact = zone != NULL;
    for (size_t i = 0; i < g->n && rc == 0; i++)
        if (g->asked[i].answered && (!zone || strcmp(g->asked[i].in->zone, zone) == 0))
            rc = answer_add(g, &g->asked[i], zone ? 1 : 1 / replicas, err);
    return rc;
}

static int by_series(const struct user_stats *a, const struct user_stats *b)
{
    return a->series != b->series ? (a->series < b->series ? 1 : -1) : strcmp(a->tenant, b->tenant);
}

static int gather(struct distributor *d, struct gather *g, struct str tenant, struct err *err)
{
    int rc;

    *g = (struct gather){.ring = d->deps.ring(d->deps.ring_arg)};
    mutex_init(&g->lock);
    cond_init(&g->done);
    if (!g->ring)
        return err_set(err, RC_UNAVAILABLE, "the ring is not known yet");
    ask_all(d, g, tenant);
    rc = fold(g, err);
    HASH_SORT(g->users, by_series);
    return rc;
}

static void gather_fini(struct gather *g)
{
    struct user_stats *u, *tmp;

    HASH_ITER(hh, g->users, u, tmp) {
        HASH_DEL(g->users, u);
        free(u->tenant);
        free(u);
    }
    for (size_t i = 0; i < g->n; i++)
        buf_fini(&g->asked[i].reply);
    free(g->asked);
    cond_fini(&g->done);
    mutex_fini(&g->lock);
    ring_unref(g->ring);
}

/* --- pages --- */

static void put_numbers(struct buf *out, const struct user_stats *u)
{
    buf_printf(out, "\"ingestionRate\":%.3f,\"numSeries\":%.0f,\"APIIngestionRate\":%.3f,\"RuleIngestionRate\":0,\"activeSeries\":%.0f,\"numSamples\":%.0f,"
               "\"ingestedSamples\":%.0f}", u ? u->rate : 0, u ? u->series : 0, u ? u->rate : 0, u ? u->active : 0, u ? u->samples : 0, u ? u->ingested : 0);
}

static void page_json(struct buf *out, const struct gather *g)
{
    buf_char(out, '[');
    for (const struct user_stats *u = g->users; u; u = u->hh.next) {
        buf_z(out, u == g->users ? "{\"userID\":" : ",{\"userID\":");
        json_z(out, u->tenant);
        buf_char(out, ',');
        put_numbers(out, u);
    }
    buf_z(out, "]\n");
}

static void page_html(struct buf *out, const struct gather *g)
{
    html_begin(out, "Tenants");
    buf_printf(out, "<p>%zu of %zu ingesters answered; figures are %s.</p>\n", g->n - g->missing, g->n,
               g->exact ? "of one replica, exact" : "of all replicas, divided by their number");
    html_table_begin(out);
    html_row(out, true, (const char *const[]){"Tenant", "Series", "Active series (2 h)", "Samples in memory", "Samples per second", "Samples ingested since the ingesters' start"}, 6);
    for (const struct user_stats *u = g->users; u && buf_ok(out); u = u->hh.next) {
        char series[32], active[32], samples[32], rate[32], ingested[32];

        snprintf(series, sizeof series, "%.0f", u->series);
        snprintf(active, sizeof active, "%.0f", u->active);
        snprintf(samples, sizeof samples, "%.0f", u->samples);
        snprintf(rate, sizeof rate, "%.1f", u->rate);
        snprintf(ingested, sizeof ingested, "%.0f", u->ingested);
        html_row(out, false, (const char *const[]){u->tenant, series, active, samples, rate, ingested}, 6);
    }
    html_table_end(out);
    html_end(out);
}

void dist_page_all_user_stats(void *arg, struct http_req *req)
{
    bool html = http_wants_html(req);
    struct gather g;
    struct buf out;
    struct err err;

    buf_init(&out, PAGE_BYTES_MAX);
    if (gather(arg, &g, STR(""), &err) < 0) {
        http_reply_text(req, 503, "%s", err_text(&err));
    } else {
        html ? page_html(&out, &g) : page_json(&out, &g);
        http_reply_buf(req, buf_ok(&out) ? 200 : 500, html ? HTTP_TYPE_HTML : HTTP_TYPE_JSON, &out);
    }
    gather_fini(&g);
    buf_fini(&out);
}

void dist_page_user_stats(void *arg, struct http_req *req)
{
    struct distributor *d = arg;
    struct str tenant = dist_request_tenant(d, req);
    struct gather g;
    struct buf out;
    struct err err;

    if (tenant_id_check(tenant, &err) < 0) {
        http_reply_text(req, 400, "%s", err_text(&err));
        return;
    }
    buf_init(&out, PAGE_BYTES_MAX);
    if (gather(d, &g, tenant, &err) < 0) {
        http_reply_text(req, 503, "%s", err_text(&err));
    } else {
        buf_char(&out, '{');
        put_numbers(&out, g.users);
        buf_char(&out, '\n');
        http_reply_buf(req, 200, HTTP_TYPE_JSON, &out);
    }
    gather_fini(&g);
    buf_fini(&out);
}
