/* api_active.c - running queries, the dearest ones of late, and cancelling one (VictoriaMetrics' shapes; of this
 * process and the tenant that asks). */
#include "querier/api.h"

#include "common/model/duration.h"

#include <stdio.h>
#include <stdlib.h>

static void begin(struct buf *out)
{
    buf_init(out, API_ANSWER_BYTES_MAX);
}

void api_active_queries(struct api_request *r)
{
    struct buf out;

    begin(&out);
    buf_z(&out, "{\"status\":\"ok\",\"data\":");
    active_print(r->q->active, &out, str_of(r->tenant_text), clock_mono_ns(r->q->deps.clock));
    buf_char(&out, '}');
    api_reply(r, &out);
}

void api_top_queries(struct api_request *r)
{
    struct str age = http_param(r->http, "maxLifetime");
    int64_t age_ms = 10 * 60000;
    size_t top = 0;
    struct buf out;
    struct err err;
    int rc = param_limit(r, "topN", &top, &err);

    if (rc == 0 && age.n && (rc = duration_param_parse_ms(age, &age_ms, &err)) < 0)
        rc = param_invalid("maxLifetime", &err);
    if (rc < 0) {
        api_reply_error(r, &err);
        return;
    }
    top = top == 0 ? 20 : MIN(top, (size_t)ACTIVE_TOP_MAX);
    begin(&out);
    buf_printf(&out, "{\"topN\":\"%zu\",\"maxLifetime\":\"%llds\",\"lastQueriesCount\":%d", top, (long long)(age_ms / 1000), ACTIVE_DONE_MAX);
    active_print_top(r->q->active, &out, str_of(r->tenant_text), top,
                     clock_wall_ms(r->q->deps.clock) - age_ms);
    buf_char(&out, '}');
    api_reply(r, &out);
}

void api_cancel_query(struct api_request *r)
{
    struct str text = http_param(r->http, "id");
    char digits[20], *end = digits;
    unsigned long long id;
    struct buf out;
    struct err err;
    int rc;

    snprintf(digits, sizeof digits, "%.*s", (int)MIN(text.n, sizeof digits), text.p ? text.p : "");
    id = strtoull(digits, &end, 16);
    if (text.n == 0 || text.n > 16 || *end || digits[0] == '-') {
        err_set(&err, RC_INVALID, "\"%.*s\" is no id of a query; status/active_queries lists them",
                (int)MIN(text.n, (size_t)64), text.p ? text.p : "");
        param_invalid("id", &err);
        api_reply_error(r, &err);
        return;
    }
    rc = active_cancel(r->q->active, str_of(r->tenant_text), id, &err);
    if (rc < 0) {
        api_reply_error(r, &err);
        return;
    }
    api_begin(&out);
    buf_printf(&out, "{\"id\":\"%llX\"}", id);
    api_end(r, &out, false);
}
