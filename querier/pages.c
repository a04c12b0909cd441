/* pages.c - /querier/blocks: which blocks a tenant's queries read. */
#include "querier/api.h"

#include "common/http/html.h"
#include "common/model/duration.h"

#include <stdio.h>

enum { PAGE_BYTES_MAX = 64 << 20 };

static void page_json(struct buf *out, const struct blocks_view *v)
{
    buf_printf(out, "{\"indexGeneration\":%llu,\"tenantIndexGeneration\":%llu,\"blocks\":[",
               (unsigned long long)v->gen, (unsigned long long)v->tenant_gen);
    for (size_t i = 0; i < v->n && buf_ok(out); i++) {
        const struct view_block *b = &v->v[i];

        buf_printf(out,
                   "%s{\"ulid\":\"%s\",\"level\":%u,\"minTime\":%lld,\"maxTime\":%lld,\"series\":%"
                   "llu,\"samples\":%llu,\"bytes\":%llu}",
                   i ? "," : "", b->id.text, b->level, (long long)b->mint_ms, (long long)b->maxt_ms,
                   (unsigned long long)b->series, (unsigned long long)b->samples,
                   (unsigned long long)b->bytes);
    }
    buf_z(out, "]}\n");
}

static void page_html(struct buf *out, const struct blocks_view *v)
{
    html_begin(out, "Blocks");
    buf_printf(out, "<p>index generation %llu, the tenant's %llu</p>\n", (unsigned long long)v->gen,
               (unsigned long long)v->tenant_gen);
    html_table_begin(out);
    html_row(out, true,
             (const char *const[]){"Block", "Level", "From", "To", "Series", "Samples", "Bytes"},
             7);
    for (size_t i = 0; i < v->n && buf_ok(out); i++) {
        const struct view_block *b = &v->v[i];
        char level[16], series[24], samples[24], bytes[24];
        struct buf from, to;

        snprintf(level, sizeof level, "%u", b->level);
        snprintf(series, sizeof series, "%llu", (unsigned long long)b->series);
        snprintf(samples, sizeof samples, "%llu", (unsigned long long)b->samples);
        snprintf(bytes, sizeof bytes, "%llu", (unsigned long long)b->bytes);
        buf_init(&from, 64);
        buf_init(&to, 64);
        time_print_rfc3339(&from, b->mint_ms);
        time_print_rfc3339(&to, b->maxt_ms);
        buf_char(&from, '\0');
        buf_char(&to, '\0');
        html_row(out, false,
                 (const char *const[]){b->id.text, level, from.p, to.p, series, samples, bytes}, 7);
        buf_fini(&from);
        buf_fini(&to);
    }
    html_table_end(out);
    html_end(out);
}

void page_blocks(void *arg, struct http_req *req)
{
    struct querier *q = arg;
    struct str tenant = http_param(req, "tenant");
    bool html = http_wants_html(req);
    struct blocks_view *v;
    struct buf out;
    struct err err;
    int rc;

    if (tenant.n == 0)
        tenant = STR(TENANT_DEFAULT);
    rc = tenant_id_check(tenant, &err);
    if (rc == 0)
        rc = blocks_view(q->blocks, tenant, 0, &v, &err);
    if (rc < 0) {
        http_reply_text(req, rc == RC_INVALID ? 400 : 503, "%s", err_text(&err));
        return;
    }
    buf_init(&out, PAGE_BYTES_MAX);
    if (html)
        page_html(&out, v);
    else
        page_json(&out, v);
    blocks_view_unref(v);
    if (buf_ok(&out))
        http_reply_buf(req, 200, html ? HTTP_TYPE_HTML : HTTP_TYPE_JSON, &out);
    else
        http_reply_text(req, 500, "the page is larger than %d bytes", PAGE_BYTES_MAX);
    buf_fini(&out);
}
