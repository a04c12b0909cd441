#include "app/cluster.h"
#include "common/http/confirm.h"
#include "compactor/compactor.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

struct compactor_module {
    struct app *app;
    struct compactor *compactor;
    char scratch[PATH_MAX];
};

static int64_t retention_ms(void *arg, const char *tenant)
{
    struct app *app = arg;

    return limits_of(app->overrides, str_of(tenant))->retention_period_ms;
}

/* Of the compactors in the ring, one is first for each tenant. */
static bool owns(void *arg, const char *tenant)
{
    struct app *app = arg;
    struct ring *r = app_ring(app_ring_node(app));
    uint16_t first;
    bool mine = ring_pick(r, RING_COMPACTOR, hash64(tenant, strlen(tenant), 0), &first, 1) == 0 || first == ring_self(r);

    ring_unref(r);
    return mine;
}

static int init(struct app *app, const void *cfg, void **ret_self, struct err *err)
{
    struct compactor_cfg c = *(const struct compactor_cfg *)cfg;
    struct compactor_module *m = xcalloc(1, sizeof *m);
    struct compactor_deps deps = {
        .bucket = app_bucket(app),
        .clock = app->clock,
        .log = app->log,
        .metrics = app->metrics,
        .retention_ms = retention_ms,
        .owns = owns,
        .arg = app,
    };

    m->app = app;
    *ret_self = m;
    if (!c.scratch_dir[0]) {
        snprintf(m->scratch, sizeof m->scratch, "%s/compactor", app->cfg.data_dir);
        c.scratch_dir = m->scratch;
    }
    return compactor_new(&c, &deps, &m->compactor, err);
}

static void page(void *arg, struct http_req *req)
{
    struct compactor_module *m = arg;
    bool html = http_wants_html(req);
    struct buf out;

    buf_init(&out, 64 << 20);
    compactor_status(m->compactor, html, &out);
    http_reply_buf(req, buf_ok(&out) ? 200 : 500, html ? HTTP_TYPE_HTML : HTTP_TYPE_JSON, &out);
    buf_fini(&out);
}

/* Merges what there is, settled or not, and answers when it is done. */
static void page_run(void *arg, struct http_req *req)
{
    struct compactor_module *m = arg;
    struct err err;

    if (compactor_run_once(m->compactor, true, &err) < 0)
        http_reply_text(req, 500, "compaction failed, every sample is where it was: %s", err_text(&err));
    else
        http_reply(req, 200, HTTP_TYPE_JSON, STR("{\"status\":\"done\"}\n"));
}

static void page_run_form(UNUSED void *arg, struct http_req *req)
{
    http_reply_form(req, "Compact", "Merges the blocks that there are, also those that may still get neighbours, and waits for it.", "Compact");
}

static int start(void *self, UNUSED struct err *err)
{
    struct compactor_module *m = self;
    struct http_server *http = m->app->http;

    compactor_start(m->compactor);
    http_route(http, &(struct http_route){"/compactor/tenants", HTTP_M_GET, HTTP_BLOCKING, 0, NULL, page, m});
    http_route(http, &(struct http_route){"/compactor/run", HTTP_M_POST, HTTP_BLOCKING | HTTP_FORM | HTTP_CONFIRM, 4096, NULL, page_run, m});
    http_route(http, &(struct http_route){"/compactor/run", HTTP_M_GET, 0, 0, NULL, page_run_form, m});
    app_link(m->app, "/compactor/tenants", "Compaction by tenant", false);
    app_link(m->app, "/compactor/run", "Compact now (POST)", true);
    return 0;
}

static void stop(void *self)
{
    compactor_stop(((struct compactor_module *)self)->compactor);
}

static void free_module(void *self)
{
    struct compactor_module *m = self;

    compactor_free(m->compactor);
    free(m);
}

static const char *const deps[] = {"ring", "bucket", NULL};
const struct module module_compactor = {
    .name = "compactor",
    .deps = deps,
    .target = true,
    .options = compactor_options,
    .cfg_size = sizeof(struct compactor_cfg),
    .init = init,
    .start = start,
    .stop = stop,
    .free = free_module,
};
