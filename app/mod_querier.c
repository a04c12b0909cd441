#include "app/cluster.h"
#include "querier/querier.h"

#include <stdlib.h>

struct querier_module {
    struct app *app;
    struct querier *querier;
};

static int init(struct app *app, const void *cfg, void **ret_self, struct err *err)
{
    struct querier_cfg c = *(const struct querier_cfg *)cfg;
    struct querier_module *m = xcalloc(1, sizeof *m);
    struct querier_deps deps = {
        .clock = app->clock,
        .log = app->log,
        .metrics = app->metrics,
        .overrides = app->overrides,
        .rpc = app_rpc_client(app),
        .ring = app_ring,
        .ring_arg = app_ring_node(app),
        .bucket = app_bucket(app),
        .config = app->config,
        .instance_id = app_instance_id(app),
    };

    int rc;

    c.tenancy = app->cfg.tenancy;
    m->app = app;
    *ret_self = m;
    rc = querier_new(&c, &deps, &m->querier, err);
    if (rc == 0)
        querier_handle(m->querier, app_rpc_server(app));
    return rc;
}

static int start(void *self, struct err *err)
{
    struct querier_module *m = self;

    querier_routes(m->querier, m->app->http);
    app_link(m->app, "/querier/blocks", "Blocks that queries read", false);
    return querier_start(m->querier, err);
}

static void memory(void *self, struct memory_account *a)
{
    querier_memory(((struct querier_module *)self)->querier, a);
}

static void free_module(void *self)
{
    struct querier_module *m = self;

    querier_free(m->querier);
    free(m);
}

static const char *const deps[] = {"rpc", "ring", "bucket", NULL};
const struct module module_querier = {
    .name = "querier",
    .deps = deps,
    .target = true,
    .options = querier_options,
    .cfg_size = sizeof(struct querier_cfg),
    .init = init,
    .start = start,
    .free = free_module,
    .memory = memory,
};
