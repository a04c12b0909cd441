/* memory_page.c - /debug/memory: what the memory of this process is for, by tenant and kind, and how that adds up to RSS. */
#include "app/app.h"
#include "common/base/arena.h"
#include "common/base/json.h"
#include "common/http/html.h"
#include "common/obs/memory.h"
#include "common/obs/metrics.h"

#include <stdatomic.h>
#include <stdio.h>

enum { PAGE_BYTES_MAX = 64 << 20, HTML_TENANTS_MAX = 100 };

/* --- JSON --- */
static void json_kind(struct buf *out, bool *first, const char *name, size_t bytes)
{
    if (bytes == 0)
        return;
    buf_z(out, *first ? "" : ",");
    json_z(out, name);
    buf_printf(out, ":%zu", bytes);
    *first = false;
}

static void json_tenant(struct buf *out, const struct memory_tenant *t)
{
    bool first = true;

    buf_z(out, "{\"tenant\":");
    json_str(out, t->name);
    buf_printf(out, ",\"bytes\":%zu,\"kinds\":{", t->total);
    for (int k = 0; k < MEMORY_KINDS; k++)
        json_kind(out, &first, memory_kind_name((enum memory_kind)k), t->bytes[k]);
    buf_z(out, "}}");
}

/* Of the heap, by kind; the rest of it; the allocator's own; what is not heap. */
struct sums {
    struct memory_process p;
    size_t kinds; /* of p.allocated */
    long long unattributed; /* of RSS */
};

static struct sums sum_up(const struct memory_account *a)
{
    struct sums s = {0};

    memory_process(&s.p);
    for (int k = 0; k < MEMORY_KINDS; k++)
        s.kinds += memory_total(a, (enum memory_kind)k);
    s.unattributed = (long long)s.p.rss - (long long)(s.kinds + s.p.cached + s.p.slack + s.p.unused + s.p.metadata - s.p.untouched + s.p.stacks + s.p.files);
    return s;
}

static void page_json(struct buf *out, struct memory_account *a, const struct sums *s)
{
    const struct memory_tenant *const *tenants;
    bool first = true;
    size_t n;

    buf_printf(out, "{\"rss\":%zu,\"unattributed\":%lld,\"kinds\":{", s->p.rss, s->unattributed);
    for (int k = 0; k < MEMORY_KINDS; k++)
        json_kind(out, &first, memory_kind_name((enum memory_kind)k), memory_total(a, (enum memory_kind)k));
    buf_printf(out, "},\"allocator\":{\"name\":\"%s\",\"allocated\":%zu,\"cached\":%zu,\"slack\":%zu,\"unused\":%zu,\"metadata\":%zu,"
               "\"untouched\":%zu,\"retained\":%zu},", s->p.allocator, s->p.allocated, s->p.cached, s->p.slack,
               s->p.unused, s->p.metadata, s->p.untouched, s->p.retained);
    buf_printf(out, "\"stacks\":%zu,\"files\":%zu,\"tenants\":[", s->p.stacks, s->p.files);
    tenants = memory_tenants(a, &n);
    for (size_t i = 0; i < n; i++) {
        buf_z(out, i ? "," : "");
        json_tenant(out, tenants[i]);
    }
    buf_z(out, "]}\n");
}

/* --- HTML --- */
static void html_bytes(struct buf *out, const char *name, long long bytes, const char *doc)
{
    char text[32];

    snprintf(text, sizeof text, "%lld", bytes);
    html_row(out, false, (const char *const[]){name, text, doc}, 3);
}

static void html_parts(struct buf *out, const struct memory_account *a, const struct sums *s)
{
    html_table_begin(out);
    html_row(out, true, (const char *const[]){"Part", "Bytes", ""}, 3);
    html_bytes(out, "resident", (long long)s->p.rss, "all of it");
    for (int k = 0; k < MEMORY_KINDS; k++)
        if (memory_total(a, (enum memory_kind)k))
            html_bytes(out, memory_kind_name((enum memory_kind)k), (long long)memory_total(a, (enum memory_kind)k), "");
    html_bytes(out, "allocator slack", (long long)s->p.slack, "in pages with live allocations");
    html_bytes(out, "allocator caches", (long long)s->p.cached, "given back, kept by threads");
    html_bytes(out, "allocator unused", (long long)s->p.unused, "pages kept for allocations to come");
    html_bytes(out, "allocator metadata", (long long)s->p.metadata, "");
    html_bytes(out, "untouched", -(long long)s->p.untouched, "of these, never written to");
    html_bytes(out, "thread stacks", (long long)s->p.stacks, "");
    html_bytes(out, "files", (long long)s->p.files, "program and libraries");
    html_bytes(out, "not attributed", s->unattributed, "the rest");
    html_bytes(out, "allocator retained", (long long)s->p.retained, "addresses only");
    html_table_end(out);
}

static void html_tenants(struct buf *out, struct memory_account *a)
{
    const struct memory_tenant *const *tenants;
    size_t n;

    tenants = memory_tenants(a, &n);
    buf_printf(out, "<h2>Tenants</h2>\n<p>%zu, the largest %d are shown; JSON has all of them.</p>\n", n, HTML_TENANTS_MAX);
    html_table_begin(out);
    html_row(out, true, (const char *const[]){"Tenant", "Bytes", "Largest kinds"}, 3);
    for (size_t i = 0; i < MIN(n, (size_t)HTML_TENANTS_MAX) && buf_ok(out); i++) {
        struct buf name, kinds;
        char bytes[24];

        buf_init(&name, 4096);
        buf_init(&kinds, 4096);
        buf_str(&name, tenants[i]->name.n ? tenants[i]->name : STR("(of no tenant)"));
        buf_char(&name, '\0');
        for (int k = 0; k < MEMORY_KINDS; k++)
            if (tenants[i]->bytes[k] > tenants[i]->total / 20)
                buf_printf(&kinds, "%s%s %zu", kinds.n ? ", " : "", memory_kind_name((enum memory_kind)k), tenants[i]->bytes[k]);
        buf_char(&kinds, '\0');
        snprintf(bytes, sizeof bytes, "%zu", tenants[i]->total);
        html_row(out, false, (const char *const[]){name.p, bytes, kinds.p}, 3);
        buf_fini(&name);
        buf_fini(&kinds);
    }
    html_table_end(out);
}

static struct memory_account *account(struct app *app)
{
    struct memory_account *a = memory_account_new();
    size_t arenas, known;

    for (size_t i = 0; i < app->order_count; i++) {
        struct app_module *m = app->order[i];

        if (m->module->memory && atomic_load(&m->state) == MODULE_RUNNING)
            m->module->memory(m->self, a);
    }
    http_server_memory(app->http, a);
    if (app->admin)
        http_server_memory(app->admin, a);
    memory_add(a, (struct str){0}, MEMORY_METRICS, metrics_memory(app->metrics));
    /* Results that are kept live in arenas too, and those of running queries have been added to their tenants. */
    known = memory_total(a, MEMORY_ARENAS) + memory_total(a, MEMORY_RESULT_CACHE);
    arenas = arena_bytes_live();
    memory_add(a, (struct str){0}, MEMORY_ARENAS, arenas > known ? arenas - known : 0);
    return a;
}

static void page_memory(void *arg, struct http_req *req)
{
    bool html = http_wants_html(req);
    struct memory_account *a = account(arg);
    struct sums s = sum_up(a);
    struct buf out;

    buf_init(&out, PAGE_BYTES_MAX);
    if (html) {
        html_begin(&out, "Memory");
        html_parts(&out, a, &s);
        html_tenants(&out, a);
        html_end(&out);
    } else {
        page_json(&out, a, &s);
    }
    memory_account_free(a);
    if (buf_ok(&out))
        http_reply_buf(req, 200, html ? HTTP_TYPE_HTML : HTTP_TYPE_JSON, &out);
    else
        http_reply_text(req, 500, "the page is larger than %d bytes", PAGE_BYTES_MAX);
    buf_fini(&out);
}

void app_memory_page_add(struct app *app)
{
    http_route(app->http, &(struct http_route){"/debug/memory", HTTP_M_GET, HTTP_BLOCKING, 0, NULL, page_memory, app});
    app_link(app, "/debug/memory", "what memory is used for, by tenant and kind", false);
}
