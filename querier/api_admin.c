/* api_admin.c - deletion of series: POST|PUT admin/tsdb/delete_series and clean_tombstones as Prometheus has them, GET admin/tsdb/tombstones with their state.
 * A deletion is a new generation of the tenant's index. It is answered when no querier can have an older view in use for a query that begins then: every view is read
 * anew after INDEX_VIEW_AGE_MS. */
#include "querier/api.h"

#include <stdio.h>
#include <unistd.h>

enum { ACK_MARGIN_MS = 100 }; /* clocks of two machines do not tick alike */

int api_admin_check(const struct api_request *r, struct err *err)
{
    if (!r->q->cfg.admin_api)
        return err_set(err, RC_UNAVAILABLE, "admin APIs disabled");
    if (!r->q->deps.bucket)
        return err_set(err, RC_UNAVAILABLE, "there is no bucket to keep deletions in");
    return r->tenant_count > 1 ? err_set(err, RC_INVALID, "deletions are for one tenant at a time") : 0;
}

void api_reply_empty(struct api_request *r)
{
    http_reply(r->http, 204, HTTP_TYPE_JSON, (struct str){0});
    r->http = NULL;
}

/* start and end as given, but nothing beyond now: what is written later stays. */
static int span_param(const struct api_request *r, int64_t now_ms, struct time_span *ret, struct err *err)
{
    struct time_span s = {TIMESTAMP_MIN_MS, now_ms};
    int rc = param_time_default(r, "start", &s.mint_ms, NULL, err);

    if (rc == 0)
        rc = param_time_default(r, "end", &s.maxt_ms, NULL, err);
    if (rc == 0 && s.maxt_ms < s.mint_ms) {
        err_set(err, RC_INVALID, "end timestamp must not be before start time");
        return param_invalid("end", err);
    }
    s.mint_ms = MAX(s.mint_ms, TIMESTAMP_MIN_MS);
    s.maxt_ms = MIN(s.maxt_ms, now_ms);
    if (rc == 0)
        *ret = s;
    return rc;
}

static int tombstones_make(const struct api_selectors *sel, struct time_span span, tombstones *ret, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < sel->n && rc == 0; i++) {
        struct tombstone t = {0};

        rc = tombstone_init(&t, sel->v[i].root->selector.matchers, sel->v[i].root->selector.matcher_count, span, err);
        if (rc == 0)
            *vec_push(ret) = t;
    }
    return rc;
}

static int delete_run(struct api_request *r, const struct api_selectors *sel, struct time_span span, int64_t now_ms, struct err *err)
{
    char tenant[TENANT_ID_BYTES_MAX + 1];
    tombstones list = {0};
    uint64_t gen = 0;
    int rc = tombstones_make(sel, span, &list, err);

    snprintf(tenant, sizeof tenant, "%.*s", STR_FMT(r->tenants[0]));
    if (rc == 0)
        rc = index_delete_series(r->q->deps.bucket, tenant, list.v, list.n, now_ms, &gen, err);
    tombstones_fini(&list);
    if (rc < 0)
        return rc == RC_LIMIT ? err_wrap(err, RC_EXECUTION, "delete_series") : rc;
    log_info(r->q->deps.log, "series deleted", "tenant", tenant, "selectors", log_i64((int64_t)sel->n), "from", log_i64(span.mint_ms), "to",
             log_i64(span.maxt_ms), "generation", log_i64((int64_t)gen));
    usleep((INDEX_VIEW_AGE_MS + ACK_MARGIN_MS) * 1000);
    return 0;
}

void api_delete_series(struct api_request *r)
{
    int64_t now = clock_wall_ms(r->q->deps.clock);
    struct api_selectors sel = {0};
    struct time_span span = {0};
    struct arena a;
    struct err err;
    int rc = api_admin_check(r, &err);

    arena_init(&a, r->limits->query_memory ? (size_t)r->limits->query_memory : SIZE_MAX / 2);
    if (rc == 0)
        rc = span_param(r, now, &span, &err);
    if (rc == 0)
        rc = param_selectors(r, &a, &sel, &err);
    if (rc == 0 && sel.n == 0)
        rc = err_set(&err, RC_INVALID, "no match[] parameter provided");
    if (rc == 0 && span.mint_ms <= span.maxt_ms) /* else all of it lies in the future */
        rc = delete_run(r, &sel, span, now, &err);
    if (rc < 0)
        api_reply_error(r, &err);
    else
        api_reply_empty(r);
    selectors_fini(&sel);
    arena_fini(&a);
}

void api_clean_tombstones(struct api_request *r)
{
    char tenant[TENANT_ID_BYTES_MAX + 1];
    struct err err;
    int rc = api_admin_check(r, &err);

    snprintf(tenant, sizeof tenant, "%.*s", STR_FMT(r->tenants[0]));
    if (rc == 0)
        rc = index_hurry(r->q->deps.bucket, tenant, &err);
    if (rc < 0)
        api_reply_error(r, &err);
    else
        api_reply_empty(r);
}

/* --- what is deleted --- */

static const char *state_of(const struct tombstone *t, size_t pending)
{
    return t->applied_ms ? "applied" : pending ? "rewriting" : "hidden";
}

static void tombstone_json(struct buf *out, const struct index *ix, const struct tombstone *t)
{
    size_t pending = 0;
    struct buf text;

    for (size_t i = 0; i < ix->blocks.n; i++)
        pending += index_block_pending(&ix->blocks.v[i], t);
    buf_init(&text, 1 << 20);
    buf_char(&text, '{');
    for (size_t i = 0; i < t->matcher_count; i++) {
        buf_z(&text, i ? "," : "");
        matcher_print(&text, &t->matchers[i]);
    }
    buf_char(&text, '}');
    buf_printf(out, "{\"id\":%llu,\"selector\":", (unsigned long long)t->seq);
    json_str(out, buf_view(&text));
    buf_fini(&text);
    buf_printf(out,
               ",\"start\":%lld,\"end\":%lld,\"created\":%lld,\"tenantDeleted\":%s,\"state\":\"%s\",\"blocksToRewrite\":%zu,\"applied\":%lld}",
               (long long)t->span.mint_ms, (long long)t->span.maxt_ms, (long long)t->created_ms, t->tenant ? "true" : "false",
               state_of(t, pending), pending, (long long)t->applied_ms);
}

void api_tombstones(struct api_request *r)
{
    char tenant[TENANT_ID_BYTES_MAX + 1];
    struct index ix = {0};
    struct err err;
    struct buf out;
    int rc = api_admin_check(r, &err);

    snprintf(tenant, sizeof tenant, "%.*s", STR_FMT(r->tenants[0]));
    if (rc == 0)
        rc = index_load(r->q->deps.bucket, tenant, &ix, &err);
    if (rc < 0) {
        api_reply_error(r, &err);
        return;
    }
    api_begin(&out);
    buf_char(&out, '[');
    for (size_t i = 0; i < ix.tombstones.n; i++) {
        buf_z(&out, i ? "," : "");
        tombstone_json(&out, &ix, &ix.tombstones.v[i]);
    }
    buf_char(&out, ']');
    index_fini(&ix);
    api_end(r, &out, false);
}
