#include "app/cluster.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

struct ring_cfg {
    char *id, *zone, *advertise, *advertise_http;
    struct opt_list seeds;
    int64_t rf, period_ms;
};

#define AT(field) offsetof(struct ring_cfg, field)
static const struct option options[] = {
    {"instance.id", OPT_STRING, AT(id), .def = "torc-0",
     .doc = "Name of this process in the cluster, unique. A number at the end is its ordinal: ingesters spread their tokens by it."},
    {"instance.zone", OPT_STRING, AT(zone), .def = "zone-1", .doc = "Failure domain. The copies of a series go to different zones."},
    {"ring.seeds", OPT_LIST, AT(seeds), .doc = "host:port of other processes to join through; this process may be among them."},
    {"ring.advertise-address", OPT_STRING, AT(advertise), .doc = "host:port that others dial; empty: server.rpc-listen-address."},
    {"ring.advertise-http-address", OPT_STRING, AT(advertise_http), .doc = "host:port of this process's pages, for links."},
    {"ring.replication-factor", OPT_INT, AT(rf), .def = "0", .min = "0", .max = "5",
     .doc = "Copies of each series; the same in every process. A quorum is more than half. 0: 3, or 1 for a process alone (target all, no seeds)."},
    {"ring.period", OPT_DURATION, AT(period_ms), .def = "1s", .min = "50ms", .max = "1m", .doc = "Time between probes of other members."},
    {0},
};

struct ring_module {
    struct app *app;
    struct ring_node *node;
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
    return c->seeds.n == 0 && app->cfg.target.n == 1 && strcmp(app->cfg.target.v[0], "all") == 0;
}

static int init(struct app *app, const void *cfg, void **ret_self, struct err *err)
{
    const struct ring_cfg *c = cfg;
    struct ring_module *m = xcalloc(1, sizeof *m);
    char dir[PATH_MAX], http[RING_ADDR_MAX + 1];
    struct ring_node_cfg node = {
        .id = m->id,
        .zone = c->zone,
        .addr = c->advertise[0] ? c->advertise : app_rpc_listen_address(app),
        .http_addr = http,
        .roles = roles_of(app),
        .seeds = (const char *const *)c->seeds.v,
        .seeds_n = c->seeds.n,
        .cluster = str_of(app_cluster_name(app)),
        .rf = c->rf ? (int)c->rf : alone(app, c) ? 1 : RF_DEFAULT,
        .period_ms = c->period_ms,
        .data_dir = dir,
    };
    struct ring_node_deps deps = {app_rpc_server(app), app->clock, app->metrics, app->log};

    snprintf(m->id, sizeof m->id, "%s", c->id);
    snprintf(dir, sizeof dir, "%s/ring", app->cfg.data_dir);
    if (c->advertise_http[0])
        snprintf(http, sizeof http, "%s", c->advertise_http);
    else
        snprintf(http, sizeof http, "%s:%d", app->cfg.http_address, (int)app->cfg.http_port);
    m->app = app;
    m->period_ms = c->period_ms;
    m->alone = c->seeds.n == 0;
    *ret_self = m;
    return ring_node_new(&node, &deps, &m->node, err);
}

static void page(void *arg, struct http_req *req)
{
    struct ring_module *m = arg;
    bool html = http_wants_html(req);
    struct buf out;

    buf_init(&out, RING_PAGE_BYTES_MAX);
    if (html) {
        buf_z(&out, "<!doctype html><meta charset=utf-8><title>Ring</title><h1>Ring</h1>");
        ring_node_write_html(m->node, &out);
    } else {
        ring_node_write_json(m->node, &out);
    }
    http_reply_buf(req, buf_ok(&out) ? 200 : 500, html ? HTTP_TYPE_HTML : HTTP_TYPE_JSON, &out);
    buf_fini(&out);
}

static int start(void *self, struct err *err)
{
    static const char *const pages[] = {"/ingester/ring", "/distributor/ring", "/querier/ring", "/compactor/ring", "/memberlist"};
    struct ring_module *m = self;

    for (size_t i = 0; i < ARRAY_LEN(pages); i++)
        http_route(m->app->http, &(struct http_route){pages[i], HTTP_M_GET, 0, 0, NULL, page, m});
    app_link(m->app, "/memberlist", "Members and their rings", false);
    return ring_node_start(m->node, NULL, err);
}

static void free_module(void *self)
{
    struct ring_module *m = self;

    ring_node_free(m->node);
    free(m);
}

struct ring_node *app_ring_node(struct app *app)
{
    return ((struct ring_module *)app_module_self(app, "ring"))->node;
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
