/* The pages that every process serves. */
#include "app/app.h"
#include "common/base/json.h"
#include "common/http/html.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { PAGE_BYTES_MAX = 64 << 20 };

/* The level of Prometheus's HTTP API that the query side follows: what clients compare, not our
 * release. */
#define API_LEVEL "3.0.0"

const char *module_state_name(enum module_state state)
{
    static const char *const names[] = {"new",      "starting", "running",
                                        "stopping", "stopped",  "failed"};

    return names[state];
}

void app_link(struct app *app, const char *path, const char *title, bool dangerous)
{
    mutex_lock(&app->links_lock);
    ASSERT(app->link_count < APP_LINKS_MAX);
    app->links[app->link_count++] = (struct app_link){path, title, dangerous};
    mutex_unlock(&app->links_lock);
}

static void module_why_not(struct app_module *m, struct buf *why_not)
{
    enum module_state state = (enum module_state)atomic_load(&m->state);
    size_t before = why_not->n;

    buf_printf(why_not, "%s: ", m->module->name);
    if (state != MODULE_RUNNING)
        buf_printf(why_not, "%s\n", module_state_name(state));
    else if (m->module->ready && !m->module->ready(m->self, why_not))
        buf_char(why_not, '\n');
    else
        why_not->n = before;
}

bool app_ready(struct app *app, struct buf *why_not)
{
    size_t before = why_not->n;

    if (atomic_load(&app->draining))
        buf_z(why_not, "shutting down\n");
    if (!atomic_load(&app->started))
        buf_z(why_not, "starting\n");
    for (size_t i = 0; i < app->order_count; i++)
        module_why_not(app->order[i], why_not);
    return why_not->n == before;
}

static void page_ready(void *arg, struct http_req *req)
{
    struct buf why;

    buf_init(&why, PAGE_BYTES_MAX);
    if (app_ready(arg, &why))
        http_reply(req, 200, HTTP_TYPE_TEXT, STR("ready\n"));
    else
        http_reply(req, 503, HTTP_TYPE_TEXT, buf_view(&why));
    buf_fini(&why);
}

static void page_healthy(UNUSED void *arg, struct http_req *req)
{
    http_reply(req, 200, HTTP_TYPE_TEXT, STR("OK\n"));
}

/* Browsers ask for one beside any text. */
static void page_no_icon(UNUSED void *arg, struct http_req *req)
{
    http_reply(req, 204, NULL, STR(""));
}

static void page_metrics(void *arg, struct http_req *req)
{
    struct app *app = arg;
    bool openmetrics = http_accepts(req, "application/openmetrics-text");
    struct buf out;

    buf_init(&out, PAGE_BYTES_MAX);
    metrics_write(app->metrics, openmetrics, &out);
    if (buf_ok(&out))
        http_reply_buf(req, 200,
                       openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                   : "text/plain; version=0.0.4; charset=utf-8",
                       &out);
    else
        http_reply_text(req, 500, "the exposition is larger than %d bytes", PAGE_BYTES_MAX);
    buf_fini(&out);
}

static void reply_buf_or_500(struct http_req *req, const char *type, struct buf *out)
{
    if (buf_ok(out))
        http_reply_buf(req, 200, type, out);
    else
        http_reply_text(req, 500, "the page is larger than %d bytes", PAGE_BYTES_MAX);
    buf_fini(out);
}

static bool wants_diff(const struct http_req *req)
{
    return str_eqz(http_param(req, "mode"), "diff");
}

/* YAML for a terminal, the same in a page for a browser. Takes the buffer. */
static void reply_yaml(struct http_req *req, const char *title, struct buf *yaml)
{
    struct buf page;

    if (!http_wants_html(req)) {
        reply_buf_or_500(req, HTTP_TYPE_TEXT, yaml);
        return;
    }
    buf_init(&page, PAGE_BYTES_MAX);
    html_begin(&page, title);
    html_pre(&page, buf_view(yaml));
    html_end(&page);
    page.failed |= !buf_ok(yaml);
    buf_fini(yaml);
    reply_buf_or_500(req, HTTP_TYPE_HTML, &page);
}

static void reply_config(struct http_req *req, const struct config *c)
{
    bool json = http_accepts(req, "application/json");
    struct buf out;

    buf_init(&out, PAGE_BYTES_MAX);
    if (json) {
        config_print_json(c, wants_diff(req), &out);
        reply_buf_or_500(req, HTTP_TYPE_JSON, &out);
    } else {
        config_print_yaml(c, wants_diff(req), &out);
        reply_yaml(req, wants_diff(req) ? "Configuration that differs from the defaults" : "Configuration", &out);
    }
}

static void reply_config_defaults(struct http_req *req)
{
    struct app *fresh = xcalloc(1, sizeof *fresh);

    app_config_compose(fresh);
    reply_config(req, fresh->config);
    app_config_free(fresh);
    free(fresh);
}

static void page_config(void *arg, struct http_req *req)
{
    struct app *app = arg;

    if (str_eqz(http_param(req, "mode"), "defaults"))
        reply_config_defaults(req);
    else
        reply_config(req, app->config);
}

static void page_runtime_config(void *arg, struct http_req *req)
{
    struct app *app = arg;
    struct buf out;

    buf_init(&out, PAGE_BYTES_MAX);
    if (http_accepts(req, "application/json")) {
        overrides_print_json(app->overrides, wants_diff(req), &out);
        reply_buf_or_500(req, HTTP_TYPE_JSON, &out);
    } else {
        overrides_print_yaml(app->overrides, wants_diff(req), &out);
        reply_yaml(req, "Limits per tenant", &out);
    }
}

static void services_html(struct app *app, struct buf *out)
{
    html_begin(out, "Services");
    html_table_begin(out);
    html_row(out, true, (const char *const[]){"Service", "State"}, 2);
    for (size_t i = 0; i < app->order_count; i++)
        html_row(out, false,
                 (const char *const[]){
                     app->order[i]->module->name,
                     module_state_name((enum module_state)atomic_load(&app->order[i]->state))},
                 2);
    html_table_end(out);
    html_end(out);
}

static void page_services(void *arg, struct http_req *req)
{
    struct app *app = arg;
    bool html = http_wants_html(req);
    struct buf out;

    buf_init(&out, PAGE_BYTES_MAX);
    if (html) {
        services_html(app, &out);
    } else {
        buf_z(&out, "{\"services\":[");
        for (size_t i = 0; i < app->order_count; i++) {
            buf_z(&out, i ? ",{\"name\":" : "{\"name\":");
            json_z(&out, app->order[i]->module->name);
            buf_z(&out, ",\"state\":");
            json_z(&out, module_state_name((enum module_state)atomic_load(&app->order[i]->state)));
            buf_char(&out, '}');
        }
        buf_z(&out, "]}\n");
    }
    reply_buf_or_500(req, html ? HTTP_TYPE_HTML : HTTP_TYPE_JSON, &out);
}

static void index_html(struct app *app, struct buf *out)
{
    int64_t up_ms = clock_wall_ms(app->clock) - app->started_wall_ms;

    html_begin(out, "torc");
    buf_printf(out, "<p>version %s, revision %s, up %lld s</p>\n<ul>\n", TORC_VERSION,
               app_revision(), (long long)(up_ms / 1000));
    for (size_t i = 0; i < app->link_count; i++) {
        buf_printf(out, "<li><a%s href=\"", app->links[i].dangerous ? " class=\"danger\"" : "");
        html_str(out, str_of(app->links[i].path));
        buf_z(out, "\">");
        html_str(out, str_of(app->links[i].path));
        buf_z(out, "</a> ");
        html_str(out, str_of(app->links[i].title));
        buf_z(out, app->links[i].dangerous ? " (dangerous)</li>\n" : "</li>\n");
    }
    buf_z(out, "</ul>\n");
    html_end(out);
}

static void page_index(void *arg, struct http_req *req)
{
    struct app *app = arg;
    bool json = http_accepts(req, "application/json");
    struct buf out;

    buf_init(&out, PAGE_BYTES_MAX);
    mutex_lock(&app->links_lock);
    if (json) {
        buf_z(&out, "{\"pages\":[");
        for (size_t i = 0; i < app->link_count; i++) {
            buf_z(&out, i ? ",{\"path\":" : "{\"path\":");
            json_z(&out, app->links[i].path);
            buf_z(&out, ",\"title\":");
            json_z(&out, app->links[i].title);
            buf_printf(&out, ",\"dangerous\":%s}", app->links[i].dangerous ? "true" : "false");
        }
        buf_z(&out, "]}\n");
    } else {
        index_html(app, &out);
    }
    mutex_unlock(&app->links_lock);
    reply_buf_or_500(req, json ? HTTP_TYPE_JSON : HTTP_TYPE_HTML, &out);
}

/* No "features" key: with one Grafana takes us for Mimir and looks for its ruler. */
static void page_buildinfo(UNUSED void *arg, struct http_req *req)
{
    struct buf out;

    buf_init(&out, PAGE_BYTES_MAX);
    buf_z(&out,
          "{\"status\":\"success\",\"data\":{\"application\":\"torc\",\"version\":\"" API_LEVEL
          "\",\"release\":\"" TORC_VERSION "\",\"revision\":");
    json_z(&out, app_revision());
    buf_z(&out, ",\"branch\":\"\",\"buildUser\":\"\",\"buildDate\":\"\",\"goVersion\":\"\"}}\n");
    reply_buf_or_500(req, HTTP_TYPE_JSON, &out);
}

void app_pages_add(struct app *app)
{
    const struct http_route routes[] = {
        {"/", HTTP_M_GET, HTTP_ALWAYS, 0, NULL, page_index, app},
        {"/ready", HTTP_M_GET, HTTP_ALWAYS, 0, NULL, page_ready, app},
        {"/-/ready", HTTP_M_GET, HTTP_ALWAYS, 0, NULL, page_ready, app},
        {"/-/healthy", HTTP_M_GET, HTTP_ALWAYS, 0, NULL, page_healthy, app},
        {"/favicon.ico", HTTP_M_GET, HTTP_ALWAYS, 0, NULL, page_no_icon, app},
        {"/metrics", HTTP_M_GET, HTTP_ALWAYS, 0, NULL, page_metrics, app},
        {"/config", HTTP_M_GET, HTTP_ALWAYS, 0, NULL, page_config, app},
        {"/runtime_config", HTTP_M_GET, HTTP_ALWAYS, 0, NULL, page_runtime_config, app},
        {"/services", HTTP_M_GET, HTTP_ALWAYS, 0, NULL, page_services, app},
        {"/api/v1/status/buildinfo", HTTP_M_GET, HTTP_ALWAYS, 0, NULL, page_buildinfo, app},
        {"/prometheus/api/v1/status/buildinfo", HTTP_M_GET, HTTP_ALWAYS, 0, NULL, page_buildinfo,
         app},
        {"/workspaces/{id}/api/v1/status/buildinfo", HTTP_M_GET, HTTP_ALWAYS, 0, NULL,
         page_buildinfo, app},
    };

    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        http_route(app->http, &routes[i]);
    app_memory_page_add(app);
    app_debug_pages_add(app);
    app_link(app, "/ready", "whether this process takes requests", false);
    app_link(app, "/services", "modules and their states", false);
    app_link(app, "/metrics", "metrics of this process", false);
    app_link(app, "/config", "effective configuration", false);
    app_link(app, "/config?mode=diff", "what differs from the defaults", false);
    app_link(app, "/config?mode=defaults", "the defaults", false);
    app_link(app, "/runtime_config", "limits of tenants that have their own, and how the last look at the file went", false);
    app_link(app, "/runtime_config?mode=diff", "limits per tenant that differ from the defaults",
             false);
    app_link(app, "/api/v1/status/buildinfo", "version", false);
}
