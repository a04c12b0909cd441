/* cluster_util.h - real ingesters behind real RPC servers, one querier behind a real HTTP server,
 * all in this process. */
#pragma once
#include "common/sys/thread.h"
#include "common/wire/push.h"
#include "ingester/ingester.h"
#include "querier/querier.h"
#include "tests/raw_http.h"
#include "tests/test.h"
#include "tsdb/index.h"

#include <ctype.h>

enum { INGESTERS_MAX = 6 };

struct node {
    struct ingester *in;
    struct rpc_server *srv;
    struct member member;
};
struct cluster {
    struct node nodes[INGESTERS_MAX];
    size_t n;
    int rf;
    struct limits limits;
    struct overrides *overrides;
    struct metrics *metrics[INGESTERS_MAX + 1]; /* the last: the querier's */
    struct log *log;
    struct bucket *bucket;
    struct rpc_client *rpc;
    struct querier *querier;
    struct http_server *http;
    uint16_t port;
    struct mutex ring_lock; /* guards ring and below */
    struct ring *ring;
    struct ring *old_ring; /* what the querier still sees, so often; NULL: the ring */
    int old_ring_uses;
};
static struct cluster cl;

static inline struct ring *cluster_ring(void *arg)
{
    struct cluster *c = arg;
    struct ring *r;

    mutex_lock(&c->ring_lock);
    r = ring_ref(c->ring);
    mutex_unlock(&c->ring_lock);
    return r;
}

static inline struct ring *querier_ring(void *arg)
{
    struct cluster *c = arg;
    struct ring *r;

    mutex_lock(&c->ring_lock);
    r = ring_ref(c->old_ring && c->old_ring_uses-- > 0 ? c->old_ring : c->ring);
    mutex_unlock(&c->ring_lock);
    return r;
}

/* The ring of the nodes as their members are now. */
static inline void cluster_ring_set(struct cluster *c, uint64_t epoch)
{
    const struct member *members[INGESTERS_MAX];
    struct ring *r, *old;

    for (size_t i = 0; i < c->n; i++)
        members[i] = &c->nodes[i].member;
    r = ring_new(members, c->n, c->rf, epoch, NULL);
    mutex_lock(&c->ring_lock);
    old = c->ring;
    c->ring = r;
    mutex_unlock(&c->ring_lock);
    ring_unref(old);
}

static inline void node_up(struct cluster *c, size_t i, const struct ingester_cfg *base)
{
    struct node *n = &c->nodes[i];
    char dir[512], id[32], listen[64];
    struct ingester_cfg cfg = *base;
    struct ingester_deps deps = {
        .clock = clock_system(),
        .log = c->log,
        .metrics = c->metrics[i],
        .overrides = c->overrides,
        .bucket = c->bucket,
        .ring = cluster_ring,
        .ring_arg = c,
    };
    struct err err = {0};

    snprintf(dir, sizeof dir, "%s/ingester-%zu", test_tmpdir(), i);
    snprintf(id, sizeof id, "ingester-%c-0", (char)('a' + i));
    snprintf(listen, sizeof listen, "127.0.0.1:0");
    cfg.data_dir = dir;
    cfg.instance_id = id;
    cfg.shards = 2;
    CHECK(ingester_new(&cfg, &deps, &n->in, &err) == 0);
    CHECK(rpc_server_new(&(struct rpc_server_cfg){.listen = listen,
                                                  .cluster = STR("test"),
                                                  .metrics = c->metrics[i]},
                         &n->srv, &err) == 0);
    ingester_handle(n->in, n->srv);
    CHECK(rpc_server_start(n->srv, &err) == 0);
    CHECK(ingester_start(n->in, &err) == 0);
    while (ingester_ready(n->in, &err) < 0)
        usleep(1000);
    snprintf(n->member.addr, sizeof n->member.addr, "127.0.0.1:%d", rpc_server_port(n->srv));
}

static inline void node_down(struct cluster *c, size_t i)
{
    rpc_server_free(c->nodes[i].srv);
    ingester_free(c->nodes[i].in);
    c->nodes[i].srv = NULL;
    c->nodes[i].in = NULL;
}

static inline void member_make(struct cluster *c, size_t i, const char *zone)
{
    struct member *m = &c->nodes[i].member;

    *m = (struct member){.roles = RING_INGESTER, .state = RING_ACTIVE, .incarnation = 1};
    snprintf(m->id, sizeof m->id, "ingester-%c-0", (char)('a' + i));
    snprintf(m->zone, sizeof m->zone, "%s", zone);
    m->tokens = calloc(64, sizeof *m->tokens);
    m->tokens_n = 64;
    tokens_of_name(str_of(m->id), 64, m->tokens);
}

struct cluster_opt {
    size_t nodes; /* 0: 3 */
    bool one_zone;
    bool blocks;
    bool tenancy;
    const struct ingester_cfg *ingester; /* NULL: the defaults */
    void (*limits)(struct limits *l);
};

static inline void cluster_up(const struct cluster_opt *o)
{
    struct cluster *c = &cl;
    struct http_cfg http = http_cfg_default;
    struct ingester_cfg ingester = ingester_cfg_default;
    struct querier_cfg qc = {0};
    struct querier_deps deps;
    char path[512];
    struct err err = {0};

    *c = (struct cluster){.n = o->nodes ? o->nodes : 3, .rf = 3};
    mutex_init(&c->ring_lock);
    options_default(limits_options, &c->limits);
    c->limits.label_request_rate = 0;
    c->limits.retention_period_ms = 0; /* samples are of 2023 */
    if (o->limits)
        o->limits(&c->limits);
    c->log = log_new(2, LOG_ERROR, LOG_LOGFMT);
    CHECK(overrides_new(&c->limits, "", 0, &(struct overrides_deps){0}, &c->overrides, &err) == 0);
    for (size_t i = 0; i <= INGESTERS_MAX; i++)
        c->metrics[i] = metrics_new();
    if (o->blocks) {
        snprintf(path, sizeof path, "%s/bucket", test_tmpdir());
        CHECK(bucket_fs_new(path, &c->bucket, &err) == 0);
    }
    for (size_t i = 0; i < c->n; i++)
        member_make(c, i,
                    o->one_zone ? "zone" : (const char *[]){"zone-a", "zone-b", "zone-c"}[i % 3]);
    cluster_ring_set(c, 1);
    ingester.flush_check_ms = 3600000; /* nothing is shipped unless the test says so */
    for (size_t i = 0; i < c->n; i++)
        node_up(c, i, o->ingester ? o->ingester : &ingester);
    cluster_ring_set(c, 1);
    CHECK(rpc_client_new(&(struct rpc_client_cfg){.cluster = STR("test")}, &c->rpc, &err) == 0);
    options_default(querier_options, &qc);
    qc.hedge_ms = 500;
    qc.workers = 4;
    qc.tenancy = o->tenancy;
    deps = (struct querier_deps){
        clock_system(), c->log, c->metrics[INGESTERS_MAX], c->overrides, c->rpc, querier_ring, c,
        c->bucket, NULL, "querier-0"};
    CHECK(querier_new(&qc, &deps, &c->querier, &err) == 0);
    http.address = "127.0.0.1";
    http.port = 0;
    http.threads = 2;
    http.gzip_level = 0;
    CHECK(http_server_new(&http, &(struct http_deps){NULL, c->metrics[INGESTERS_MAX]}, &c->http,
                          &err) == 0);
    querier_routes(c->querier, c->http);
    CHECK(querier_start(c->querier, &err) == 0);
    CHECK(http_server_start(c->http, &err) == 0);
    c->port = http_server_port(c->http);
}

static inline void cluster_down(void)
{
    struct cluster *c = &cl;
    char cmd[600];

    http_server_stop(c->http, 1000);
    http_server_free(c->http);
    querier_free(c->querier);
    rpc_client_free(c->rpc);
    for (size_t i = 0; i < c->n; i++) {
        node_down(c, i);
        member_fini(&c->nodes[i].member);
    }
    bucket_free(c->bucket);
    ring_unref(c->ring);
    ring_unref(c->old_ring);
    mutex_fini(&c->ring_lock);
    overrides_free(c->overrides);
    options_free(limits_options, &c->limits);
    for (size_t i = 0; i <= INGESTERS_MAX; i++)
        metrics_free(c->metrics[i]);
    log_free(c->log);
    snprintf(cmd, sizeof cmd, "rm -rf %s/*", test_tmpdir());
    CHECK(system(cmd) == 0);
}

/* --- writing --- */

/* "__name__=up,job=a" */
static inline struct labels labels_of(const char *text, struct label *v)
{
    struct labels ls = {v, 0};

    for (const char *p = text; *p;) {
        const char *eq = strchr(p, '='), *end = strchr(eq, ',');

        if (!end)
            end = eq + strlen(eq);
        v[ls.n++] =
            (struct label){str_n(p, (size_t)(eq - p)), str_n(eq + 1, (size_t)(end - eq - 1))};
        p = *end ? end + 1 : end;
    }
    CHECK(labels_sort(&ls, NULL));
    return ls;
}

/* Sends a batch to each node of the mask; all rows must be votes. */
static inline void push_batch_to(const char *tenant, const struct push_batch *b, unsigned mask)
{
    for (size_t i = 0; i < cl.n; i++) {
        struct push_header h = {.tenant = str_of(tenant), .ring_version = ring_epoch(cl.ring)};
        struct push_answer an;
        struct arena a;
        struct buf out, reply;
        struct err err = {0};

        if (!(mask & 1u << i))
            continue;
        buf_init(&out, 16 << 20);
        buf_init(&reply, 16 << 20);
        arena_init(&a, 16 << 20);
        CHECK(push_batch_encode(b, &h, &out, &err) == 0);
        CHECK(rpc_call_sync(cl.rpc, cl.nodes[i].member.addr, RPC_PUSH, buf_view(&out), 5000, &reply,
                            &err) == 0);
        CHECK(push_answer_decode(buf_view(&reply), &a, &an, &err) == 0);
        for (size_t k = 0; k < an.verdict_count; k++)
            CHECK(push_is_vote(an.verdicts[k]));
        buf_fini(&out);
        buf_fini(&reply);
        arena_fini(&a);
    }
}

/* n samples, one each step_ms from t on, with values v, v + dv, ... */
static inline void push_series_to(const char *tenant, const char *series, int64_t t,
                                  int64_t step_ms, size_t n, double v, double dv, unsigned mask)
{
    struct label lv[16];
    struct labels ls = labels_of(series, lv);
    fingerprint fp = labels_fingerprint(str_of(tenant), &ls);
    struct push_batch b;

    push_batch_init(&b, 16 << 20);
    push_batch_series(&b, fp, &ls);
    for (size_t i = 0; i < n; i++)
        push_batch_float(&b, fp, t + (int64_t)i * step_ms, double_bits(v + dv * (double)i), 0);
    push_batch_to(tenant, &b, mask);
    push_batch_fini(&b);
}

/* --- asking --- */

/* GET path?params; params are written plain and escaped here: "query=up{a=\"b\"}&time=4". */
static inline struct raw_reply ask_as(const char *headers, const char *path, const char *params)
{
    static char request[65536];
    size_t n = (size_t)snprintf(request, sizeof request, "GET %s%s", path, *params ? "?" : "");

    for (const char *p = params; *p; p++) {
        if (isalnum((unsigned char)*p) || strchr("=&-._~[]:", *p))
            request[n++] = *p;
        else
            n += (size_t)snprintf(request + n, 4, "%%%02X", (unsigned)(unsigned char)*p);
    }
    snprintf(request + n, sizeof request - n, " HTTP/1.1\r\nHost: t\r\n%s\r\n", headers);
    return raw_ask(cl.port, request);
}

static inline struct raw_reply ask(const char *path, const char *params)
{
    return ask_as("Connection: close\r\n", path, params);
}

static inline bool ask_is(const char *path, const char *params, int status, const char *body)
{
    struct raw_reply r = ask(path, params);
    bool ok = r.status == status && strcmp(r.body ? r.body : "", body) == 0;

    if (!ok)
        fprintf(stderr, "%s?%s\n  status %d: %s\n  wanted %d: %s\n", path, params, r.status,
                r.body ? r.body : "", status, body);
    raw_free(&r);
    return ok;
}

static inline double querier_metric(const char *family, const char *label, const char *value)
{
    return metric_value(metric_with(metrics_family(cl.metrics[INGESTERS_MAX], METRIC_COUNTER,
                                                   family, "", (const char *const[]){label, NULL}),
                                    value, NULL));
}

#define VECTOR(result)                                                                             \
    "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[" result "]}}"
#define MATRIX(result)                                                                             \
    "{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\",\"result\":[" result "]}}"
