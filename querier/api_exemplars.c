/* api_exemplars.c - query_exemplars. */
#include "querier/api.h"
#include "querier/exemplars.h"
#include "tsdb/window.h"

static void write_exemplars(struct buf *out, const struct found_exemplars *f)
{
    buf_char(out, '[');
    for (size_t i = 0; i < f->n && buf_ok(out); i++) {
        const struct found_exemplar *e = &f->v[i];
        bool first = i == 0 || !labels_eq(&f->v[i - 1].series, &e->series);

        if (first) {
            buf_z(out, i ? "]},{\"seriesLabels\":" : "{\"seriesLabels\":");
            json_labels(out, &e->series);
            buf_z(out, ",\"exemplars\":[");
        }
        buf_z(out, first ? "{\"labels\":" : ",{\"labels\":");
        json_labels(out, &e->labels);
        buf_z(out, ",\"value\":");
        json_sample(out, e->v);
        buf_z(out, ",\"timestamp\":");
        json_timestamp(out, e->t);
        buf_char(out, '}');
    }
    buf_z(out, f->n ? "]}]" : "]");
}

static int find(struct api_request *r, const struct promql_ast *ast, int64_t start, int64_t end,
                struct arena *a, struct found_exemplars *ret, struct err *err)
{
    struct source src;
    int64_t deadline;

    api_deadline(r, r->limits->query_timeout_ms, &deadline);
    source_init(&src, &r->q->env, r->tenants, r->tenant_count, deadline, http_cancel_flag(r->http));
    return lookup_exemplars(&src, ast, MAX(start, TIMESTAMP_MIN_MS), MIN(end, TIMESTAMP_MAX_MS), a,
                            ret, err);
}

static int range_params(struct api_request *r, int64_t *start, int64_t *end, struct err *err)
{
    int rc = param_time_default(r, "start", start, NULL, err);

    if (rc == 0)
        rc = param_time_default(r, "end", end, NULL, err);
    if (rc == 0 && *end < *start)
        rc = err_set(err, RC_INVALID, "end timestamp must not be before start timestamp");
    return rc;
}

void api_query_exemplars(struct api_request *r)
{
    int64_t start = TIMESTAMP_MIN_MS, end = TIMESTAMP_MAX_MS;
    struct str text = http_param(r->http, "query");
    struct found_exemplars found = {0};
    struct promql_ast ast = {0};
    struct arena a;
    struct buf out;
    struct err err;
    int rc = range_params(r, &start, &end, &err);

    arena_init(&a, r->limits->query_memory ? (size_t)r->limits->query_memory : SIZE_MAX / 2);
    if (rc == 0) {
        rc = promql_parse(text.p ? text : STR(""), &promql_parse_all, &a, &ast, &err);
        if (rc == RC_LIMIT)
            rc = err.rc = RC_INVALID;
    }
    if (rc == 0 && ast.selector_count)
        rc = find(r, &ast, start, end, &a, &found, &err);
    if (rc < 0) {
        api_reply_error(r, &err);
    } else if (ast.selector_count == 0) {
        http_respond(r->http, http_resp_new(204));
        r->http = NULL;
    } else {
        api_begin(&out);
        write_exemplars(&out, &found);
        api_end(r, &out, false);
    }
    promql_ast_fini(&ast);
    arena_fini(&a);
}
