#include "app/cluster.h"
#include "common/http/confirm.h"
#include "common/http/html.h"
#include "common/model/tenant.h"
#include "compactor/compactor.h"
#include "querier/hiding.h"

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

static int rules(void *arg, const char *tenant, int64_t now_ms, tombstones *ret, struct err *err)
{
    struct app *app = arg;

    return hiding_rules(&limits_of(app->overrides, str_of(tenant))->retention_rules, now_ms, ret, err);
}

static uint32_t split(void *arg, const char *tenant)
{
    struct app *app = arg;

    return (uint32_t)limits_of(app->overrides, str_of(tenant))->compactor_split_shards;
}

/* A tenant's work is shared by as many compactors as its blocks are divided into; each job is one's. */
static bool owns(void *arg, const char *tenant, uint64_t key)
{
    struct app *app = arg;
    struct ring *r = app_ring(app_ring_node(app));
    uint16_t picked[BLOCK_SHARDS_MAX];
    size_t n = ring_pick(r, RING_COMPACTOR, hash64(tenant, strlen(tenant), 0), picked, MIN(split(app, tenant), (uint32_t)BLOCK_SHARDS_MAX));
    bool mine = n == 0;

    for (size_t i = 0; key == 0 && i < n; i++)
        mine |= picked[i] == ring_self(r);
    if (key && n)
        mine = picked[key % n] == ring_self(r);
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
        .rules = rules,
        .owns = owns,
        .split = split,
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

/* False when it was answered that there is none. */
static bool tenant_of(const struct compactor_module *m, struct http_req *req, char ret[TENANT_ID_BYTES_MAX + 1])
{
    struct str id = m->app->cfg.tenancy ? http_header(req, "X-Scope-OrgID") : STR(TENANT_DEFAULT);
    struct err err;

    if (id.n == 0) /* a form has no headers */
        id = http_param(req, "tenant");
    if (id.n == 0) {
        http_reply_text(req, 401, "no org id: which tenant is said by X-Scope-OrgID, or by the parameter tenant");
        return false;
    }
    if (tenant_id_check(id, &err) < 0) {
        http_reply_text(req, 400, "%s", err_text(&err));
        return false;
    }
    snprintf(ret, TENANT_ID_BYTES_MAX + 1, "%.*s", STR_FMT(id));
    return true;
}

static void page_delete_tenant(void *arg, struct http_req *req)
{
    struct compactor_module *m = arg;
    char tenant[TENANT_ID_BYTES_MAX + 1];
    struct err err;

    if (!tenant_of(m, req, tenant))
        return;
    if (compactor_delete_tenant(m->compactor, tenant, &err) < 0)
        http_reply_text(req, 500, "tenant not deleted: %s", err_text(&err));
    else
        http_reply(req, 200, HTTP_TYPE_TEXT, (struct str){0});
}

static void page_delete_tenant_form(UNUSED void *arg, struct http_req *req)
{
    struct buf out;

    if (!http_wants_html(req)) {
        http_reply(req, 200, HTTP_TYPE_JSON, STR("{\"status\":\"nothing was done: POST deletes the tenant of X-Scope-OrgID, or of the parameter tenant\"}\n"));
        return;
    }
    buf_init(&out, 64 << 10);
    html_begin(&out, "Delete a tenant");
    buf_z(&out, "<p>Hides all that the tenant has up to now, for good, and removes it from the bucket.</p>\n");
    html_form_begin(&out, req, "/compactor/delete_tenant");
    html_form_text(&out, "tenant", "Tenant", "");
    html_form_end(&out, "Delete");
    html_end(&out);
    http_reply_buf(req, 200, HTTP_TYPE_HTML, &out);
    buf_fini(&out);
}

/* Asks for a tenant, and shows what is known of the one that was asked for. */
static void reply_delete_status_html(struct http_req *req, struct str status)
{
    struct buf out;

    buf_init(&out, 64 << 10);
    html_begin(&out, "Deletion of a tenant");
    buf_z(&out, "<form method=\"get\" action=\"/compactor/delete_tenant_status\"><label>Tenant <input name=\"tenant\"></label> <button>Show</button></form>\n");
    if (status.n)
        html_pre(&out, status);
    html_end(&out);
    http_reply_buf(req, 200, HTTP_TYPE_HTML, &out);
    buf_fini(&out);
}

static void page_delete_tenant_status(void *arg, struct http_req *req)
{
    struct compactor_module *m = arg;
    char tenant[TENANT_ID_BYTES_MAX + 1];
    struct buf out;
    struct err err;

    if (http_wants_html(req) && http_param(req, "tenant").n == 0 && http_header(req, "X-Scope-OrgID").n == 0) {
        reply_delete_status_html(req, (struct str){0});
        return;
    }
    if (!tenant_of(m, req, tenant))
        return;
    buf_init(&out, 4096);
    if (compactor_delete_status(m->compactor, tenant, &out, &err) < 0)
        http_reply_text(req, 500, "%s", err_text(&err));
    else if (http_wants_html(req))
        reply_delete_status_html(req, buf_view(&out));
    else
        http_reply_buf(req, 200, HTTP_TYPE_JSON, &out);
    buf_fini(&out);
}

static void page_restore(void *arg, struct http_req *req)
{
    struct compactor_module *m = arg;
    char tenant[TENANT_ID_BYTES_MAX + 1], name[64];
    uint64_t samples = 0;
    struct err err;
    int rc;

    if (!tenant_of(m, req, tenant))
        return;
    snprintf(name, sizeof name, "%.*s", STR_FMT(http_param(req, "name")));
    rc = compactor_restore(m->compactor, tenant, name, &samples, &err);
    if (rc < 0)
        http_reply_text(req, rc == RC_NOT_FOUND ? 404 : rc == RC_UNAVAILABLE ? 503 : 500, "snapshot not restored: %s", err_text(&err));
    else
        http_reply_text(req, 200, "{\"status\":\"restored\",\"samples\":%llu}", (unsigned long long)samples);
}

static int start(void *self, UNUSED struct err *err)
{
    struct compactor_module *m = self;
    struct http_server *http = m->app->http;

    compactor_start(m->compactor);
    http_route(http, &(struct http_route){"/compactor/tenants", HTTP_M_GET, HTTP_BLOCKING, 0, NULL, page, m});
    http_route(http, &(struct http_route){"/compactor/run", HTTP_M_POST, HTTP_BLOCKING | HTTP_FORM | HTTP_CONFIRM, 4096, NULL, page_run, m});
    http_route(http, &(struct http_route){"/compactor/run", HTTP_M_GET, 0, 0, NULL, page_run_form, m});
    http_route(http, &(struct http_route){"/compactor/delete_tenant", HTTP_M_POST, HTTP_BLOCKING | HTTP_FORM | HTTP_CONFIRM, 4096, NULL, page_delete_tenant, m});
    http_route(http, &(struct http_route){"/compactor/delete_tenant", HTTP_M_GET, 0, 0, NULL, page_delete_tenant_form, m});
    http_route(http, &(struct http_route){"/compactor/delete_tenant_status", HTTP_M_GET, HTTP_BLOCKING, 0, NULL, page_delete_tenant_status, m});
    http_route(http, &(struct http_route){"/compactor/restore_snapshot", HTTP_M_POST, HTTP_BLOCKING | HTTP_FORM | HTTP_CONFIRM, 4096, NULL, page_restore, m});
    app_link(m->app, "/compactor/restore_snapshot", "Restore a tenant's snapshot (POST)", true);
    app_link(m->app, "/compactor/delete_tenant", "Delete a tenant (POST)", true);
    app_link(m->app, "/compactor/delete_tenant_status", "Deletion of a tenant", false);
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
