#include "app/cluster.h"
#include "common/http/html.h"
#include "ring/kv_gossip.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

struct ring_cfg {
    char *id, *zone, *advertise, *advertise_http;
    struct opt_list seeds;
    int64_t rf, period_ms, seeds_period_ms, auto_forget_ms;
    int store;
    struct opt_list endpoints;
    char *prefix, *user, *password, *ca, *cert, *key;
    bool insecure;
    int64_t ttl_ms;
};
enum { STORE_GOSSIP, STORE_ETCD };

#define AT(field) offsetof(struct ring_cfg, field)
static const char *const stores[] = {"gossip", "etcd", NULL};
static const struct option options[] = {
    {"instance.id", OPT_STRING, AT(id), .def = "torc-0",
     .doc = "Name of this process in the cluster, unique. A number at the end is its ordinal: ingesters spread their tokens by it."},
    {"instance.zone", OPT_STRING, AT(zone), .def = "zone-1", .doc = "Failure domain. The copies of a series go to different zones."},
    {"ring.seeds", OPT_LIST, AT(seeds), 
     .doc = "Processes to join through by gossip; this one may be among them. host:port: every address of host (a headless Service). "
            "dnssrv+NAME: every SRV record of NAME."},
    {"ring.seeds-period", OPT_DURATION, AT(seeds_period_ms), .def = "10s", .min = "1s", .max = "1h",
     .doc = "Names of seeds are looked up again after this; what is not found keeps its last addresses."},
    {"ring.advertise-address", OPT_STRING, AT(advertise), .doc = "host:port that others dial; empty: server.rpc-listen-address."},
    {"ring.advertise-http-address", OPT_STRING, AT(advertise_http), .doc = "host:port of this process's pages, for links."},
    {"ring.replication-factor", OPT_INT, AT(rf), .def = "0", .min = "0", .max = "5",
     .doc = "Copies of each series; the same in every process. A quorum is more than half. 0: 3, or 1 for a process alone (target all, no seeds)."},
    {"ring.period", OPT_DURATION, AT(period_ms), .def = "1s", .min = "50ms", .max = "1m", .doc = "Time between probes of other members."},
    {"ring.auto-forget-after", OPT_DURATION, AT(auto_forget_ms), .def = "0s",
     .doc = "An ingester that is dead for so long is forgotten, unless a range would be left without a quorum of healthy owners or more than a "
            "third of the owners is dead. 0: only by hand."},
    {"ring.store", OPT_ENUM, AT(store), .def = "gossip", .values = stores,
     .doc = "How members learn of each other: by gossip among themselves, or through etcd v3; the same in every process."},
    {"ring.etcd.endpoints", OPT_LIST, AT(endpoints),
     .doc = "http://host:port or https://host:port of etcd's client port (its JSON gateway); one is used until it fails, then the next."},
    {"ring.etcd.prefix", OPT_STRING, AT(prefix), .def = "torc", .doc = "Begin of all keys in etcd; the cluster's name follows it."},
    {"ring.etcd.username", OPT_STRING, AT(user), .doc = "Empty: etcd is used without authentication."},
    {"ring.etcd.password", OPT_STRING, AT(password), .secret = true, .doc = "Of ring.etcd.username."},
    {"ring.etcd.tls-ca-file", OPT_STRING, AT(ca), .doc = "PEM file of authorities for etcd's certificate; empty: those of the system."},
    {"ring.etcd.tls-cert-file", OPT_STRING, AT(cert), .doc = "PEM file of this process's certificate for etcd; empty: none."},
    {"ring.etcd.tls-key-file", OPT_STRING, AT(key), .doc = "PEM file of its private key."},
    {"ring.etcd.tls-insecure-skip-verify", OPT_BOOL, AT(insecure), .def = "false", .doc = "Do not check etcd's certificate."},
    {"ring.etcd.lease-ttl", OPT_DURATION, AT(ttl_ms), .def = "15s", .min = "2s", .max = "10m",
     .doc = "A member that has not renewed its lease for so long is unhealthy. It renews every third of it."},
    {0},
};

struct ring_module {
    struct app *app;
    struct ring_node *node;
    struct kv_gossip *kv;
    int64_t period_ms;
    bool alone;
    char id[RING_ID_MAX + 1];
};

static uint32_t roles_of(struct app *app)
{
    static const struct {
        const char *module;
        uint32_t role;
    } roles[] = {{"ingester", RING_INGESTER}, {"distributor", RING_DISTRIBUTOR}, {"querier", RING_QUERIER}, {"compactor", RING_COMPACTOR}};
    uint32_t mine = 0;

    for (size_t i = 0; i < app->module_count; i++)
        for (size_t k = 0; k < ARRAY_LEN(roles); k++)
            if (app->modules[i].wanted && strcmp(app->modules[i].module->name, roles[k].module) == 0)
                mine |= roles[k].role;
    return mine;
}

enum { RF_DEFAULT = 3 };

static bool alone(const struct app *app, const struct ring_cfg *c)
{
    return c->store == STORE_GOSSIP && c->seeds.n == 0 && app->cfg.target.n == 1 && strcmp(app->cfg.target.v[0], "all") == 0;
}

/* Held by those who decide by it. */
static int kv_new(struct ring_module *m, const struct ring_node_cfg *node, struct err *err)
{
    struct kv_gossip_cfg cfg = {
        .addr = node->addr,
        .cluster = node->cluster,
        .roles = RING_DISTRIBUTOR,
        .period_ms = node->period_ms,
        .data_dir = node->data_dir,
    };
    struct kv_gossip_deps deps = {app_rpc_server(m->app), m->app->clock, m->app->metrics, m->app->log, app_ring, m->node};

    return node->roles & RING_DISTRIBUTOR ? kv_gossip_new(&cfg, &deps, &m->kv, err) : 0;
}

static int init(struct app *app, const void *cfg, void **ret_self, struct err *err)
{
    const struct ring_cfg *c = cfg;
    struct ring_module *m = xcalloc(1, sizeof *m);
    char dir[PATH_MAX], http[RING_ADDR_MAX + 1];
    struct ring_etcd_cfg etcd = {
        .endpoints = (const char *const *)c->endpoints.v,
        .endpoints_n = c->endpoints.n,
        .prefix = c->prefix,
        .user = c->user,
        .password = c->password,
        .ca = c->ca,
        .cert = c->cert,
        .key = c->key,
        .insecure = c->insecure,
        .ttl_ms = c->ttl_ms,
    };
    struct ring_node_cfg node = {
        .id = m->id,
        .zone = c->zone,
        .addr = c->advertise[0] ? c->advertise : app_rpc_listen_address(app),
        .http_addr = http,
        .roles = roles_of(app),
        .seeds = (const char *const *)c->seeds.v,
        .seeds_n = c->seeds.n,
        .seeds_period_ms = c->seeds_period_ms,
        .cluster = str_of(app_cluster_name(app)),
        .rf = c->rf ? (int)c->rf : alone(app, c) ? 1 : RF_DEFAULT,
        .period_ms = c->period_ms,
        .auto_forget_ms = c->auto_forget_ms,
        .data_dir = dir,
        .etcd = c->store == STORE_ETCD ? &etcd : NULL,
    };
    struct ring_node_deps deps = {app_rpc_server(app), app->clock, app->metrics, app->log};
    int rc;

    snprintf(m->id, sizeof m->id, "%s", c->id);
    snprintf(dir, sizeof dir, "%s/ring", app->cfg.data_dir);
    if (c->advertise_http[0])
        snprintf(http, sizeof http, "%s", c->advertise_http);
    else
        snprintf(http, sizeof http, "%s:%d", app->cfg.http_address, (int)app->cfg.http_port);
    m->app = app;
    m->period_ms = c->period_ms;
    m->alone = c->store == STORE_GOSSIP && c->seeds.n == 0;
    *ret_self = m;
    rc = ring_node_new(&node, &deps, &m->node, err);
    return rc < 0 ? rc : kv_new(m, &node, err);
}

/* --- pages --- */

static const struct ring_page_route {
    const char *path, *title;
    uint32_t roles; /* 0: all */
} pages[] = {
    {"/ingester/ring", "Ingester ring", RING_INGESTER},
    {"/distributor/ring", "Distributor ring", RING_DISTRIBUTOR},
    {"/querier/ring", "Querier ring", RING_QUERIER},
    {"/compactor/ring", "Compactor ring", RING_COMPACTOR},
    {"/memberlist", "Members", 0},
};

static const struct ring_page_route *page_of(const struct http_req *req)
{
    for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
        if (strcmp(pages[i].path, http_route_pattern(req)) == 0)
            return &pages[i];
    }
    ASSERT(!"a page without a row");
    return NULL;
}

static void page(void *arg, struct http_req *req)
{
    struct ring_module *m = arg;
    const struct ring_page_route *p = page_of(req);
    struct ring_view view = {p->roles, str_eqz(http_param(req, "tokens"), "true"), p->path, req};
    bool html = http_wants_html(req);
    struct buf out;

    buf_init(&out, RING_PAGE_BYTES_MAX);
    if (html) {
        html_begin(&out, p->title);
        ring_node_write_html(m->node, &view, &out);
        html_end(&out);
    } else {
        ring_node_write_json(m->node, &view, &out);
    }
    if (buf_ok(&out))
        http_reply_buf(req, 200, html ? HTTP_TYPE_HTML : HTTP_TYPE_JSON, &out);
    else
        http_reply_text(req, 500, "the page is larger than %d bytes", RING_PAGE_BYTES_MAX);
    buf_fini(&out);
}

/* The form of a page, or a runbook: POST forget=ID. */
static void page_forget(void *arg, struct http_req *req)
{
    struct ring_module *m = arg;
    struct str id = http_param(req, "forget");
    char name[RING_ID_MAX + 1];
    struct err err = {0};
    struct http_resp *r;
    int rc;

    if (id.n == 0 || id.n > RING_ID_MAX) {
        http_reply_text(req, 400, "forget: the id of a member is needed, 1 to %d bytes", RING_ID_MAX);
        return;
    }
    snprintf(name, sizeof name, "%.*s", STR_FMT(id));
    rc = ring_node_forget(m->node, name, &err);
    if (rc < 0) {
        http_reply_text(req, rc == RC_NOT_FOUND ? 404 : 409, "%s", err_text(&err));
        return;
    }
    log_warn(m->app->log, "member forgotten by hand", "member", name, "client", http_client_address(req));
    r = http_resp_new(http_wants_html(req) ? 303 : 200);
    if (http_wants_html(req))
        http_resp_header(r, "Location", page_of(req)->path);
    else
        http_resp_text(r, HTTP_TYPE_JSON, STR("{\"status\":\"success\"}\n"));
    http_respond(req, r);
}

enum { FORM_BYTES_MAX = 4096 };

static int start(void *self, struct err *err)
{
    struct ring_module *m = self;
    int rc;

    for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
        http_route(m->app->http, &(struct http_route){pages[i].path, HTTP_M_GET, 0, 0, NULL, page, m});
        http_route(m->app->http, &(struct http_route){pages[i].path, HTTP_M_POST, HTTP_FORM | HTTP_CONFIRM, FORM_BYTES_MAX, NULL, page_forget, m});
        app_link(m->app, pages[i].path, pages[i].title, false);
    }
    rc = ring_node_start(m->node, NULL, err);
    return rc == 0 && m->kv ? kv_gossip_start(m->kv, err) : rc;
}

static void free_module(void *self)
{
    struct ring_module *m = self;

    kv_gossip_free(m->kv);
    ring_node_free(m->node);
    free(m);
}

struct ring_node *app_ring_node(struct app *app)
{
    return ((struct ring_module *)app_module_self(app, "ring"))->node;
}

struct ring_kv app_ring_kv(struct app *app)
{
    return kv_gossip_kv(((struct ring_module *)app_module_self(app, "ring"))->kv);
}

int64_t app_ring_period_ms(struct app *app)
{
    return ((struct ring_module *)app_module_self(app, "ring"))->period_ms;
}

bool app_ring_alone(struct app *app)
{
    return ((struct ring_module *)app_module_self(app, "ring"))->alone;
}

const char *app_instance_id(struct app *app)
{
    return ((struct ring_module *)app_module_self(app, "ring"))->id;
}

struct ring *app_ring(void *node)
{
    return ring_node_ring(node);
}

uint32_t app_ring_distributors(void *node)
{
    struct ring *r = ring_node_ring(node);
    uint32_t n = (uint32_t)ring_count(r, RING_DISTRIBUTOR);

    ring_unref(r);
    return MAX(n, 1u);
}

static const char *const deps[] = {"rpc", NULL};
const struct module module_ring = {
    .name = "ring",
    .deps = deps,
    .options = options,
    .cfg_size = sizeof(struct ring_cfg),
    .init = init,
    .start = start,
    .free = free_module,
};
