/* api_series.c - series, labels, label values, metadata. */
#include "querier/api.h"
#include "querier/lookup.h"

#include <stdlib.h>

/* What these requests have in common. */
struct lookup_request {
    struct arena arena;
    struct api_selectors selectors;
    struct api_range range;
    size_t limit;
    struct source source;
};

static void lookup_fini(struct lookup_request *l)
{
    selectors_fini(&l->selectors);
    arena_fini(&l->arena);
}

/* series: its errors about match[] name the parameter, those of the others do not. */
static int lookup_init(struct api_request *r, struct lookup_request *l, bool series,
                       struct err *err)
{
    int64_t deadline;
    int rc;

    *l = (struct lookup_request){0};
    arena_init(&l->arena, r->limits->query_memory ? (size_t)r->limits->query_memory : SIZE_MAX / 2);
    rc = param_limit(r, "limit", &l->limit, err);
    if (rc == 0)
        rc = param_range(r, &l->range, err);
    if (rc == 0) {
        rc = param_selectors(r, &l->arena, &l->selectors, err);
        if (rc == RC_INVALID && series)
            param_invalid("match[]", err);
    }
    if (r->limits->max_label_values > 0 &&
        (l->limit == 0 || l->limit > (size_t)r->limits->max_label_values))
        l->limit = (size_t)r->limits->max_label_values;
    api_deadline(r, r->limits->query_timeout_ms, &deadline);
    source_init(&l->source, &r->q->env, r->tenants, r->tenant_count, deadline,
                http_cancel_flag(r->http));
    l->source.limits.series_max = (uint64_t)r->limits->max_query_series;
    return rc;
}

static struct store_select select_of(const struct lookup_request *l, const struct promql_ast *ast)
{
    struct store_select q = {
        .mint_ms = l->range.mint_ms, .maxt_ms = l->range.maxt_ms, .mode = STORE_LABELS};

    if (ast) {
        q.matchers = ast->root->selector.matchers;
        q.matcher_count = ast->root->selector.matcher_count;
    }
    return q;
}

static void finish(struct api_request *r, struct lookup_request *l, int rc, struct buf *out,
                   bool truncated, const struct err *err)
{
    api_count_fetched(r->q, &l->source.used);
    api_count_memory(r->q, &l->arena);
    if (rc == 0) {
        api_end(r, out, truncated);
    } else {
        buf_fini(out);
        api_reply_error(r, err);
    }
    lookup_fini(l);
}

/* --- labels and values --- */

static void write_values(struct buf *out, const struct value_set *s)
{
    buf_char(out, '[');
    for (size_t i = 0; i < s->n && buf_ok(out); i++) {
        if (i > 0)
            buf_char(out, ',');
        json_str_html(out, s->v[i]);
    }
    buf_char(out, ']');
}

static void answer_labels(struct api_request *r, bool values)
{
    struct lookup_request l;
    struct value_set set = {.arena = &l.arena};
    struct str name = {0};
    struct buf out;
    struct err err;
    int rc = lookup_init(r, &l, false, &err);

    api_begin(&out);
    if (rc == 0 && values)
        rc = param_label_name(http_path_param(r->http, "name"), &l.arena, &name, &err);
    for (size_t i = 0; rc == 0 && i < MAX(l.selectors.n, (size_t)1); i++) {
        struct store_select q = select_of(&l, l.selectors.n ? &l.selectors.v[i] : NULL);

        rc = lookup_labels(&l.source, &q, name, l.limit, &set, &err);
    }
    if (rc == 0) {
        value_set_finish(&set, l.limit);
        write_values(&out, &set);
    }
    finish(r, &l, rc, &out, set.truncated, &err);
}

void api_labels(struct api_request *r)
{
    answer_labels(r, false);
}

void api_label_values(struct api_request *r)
{
    answer_labels(r, true);
}

/* --- series --- */

struct labels_list {
    struct labels *v;
    size_t n;
};

static int by_labels(const void *a, const void *b)
{
    return labels_cmp(a, b);
}

/* Labels of one tenant's series that match any selector, appended to the list. */
static int tenant_series(struct lookup_request *l, struct str tenant, struct labels_list *list,
                         struct err *err)
{
    struct arena *a = &l->arena;
    bool federated = l->source.tenant_count > 1;
    int rc = 0;

    for (size_t i = 0; i < l->selectors.n && rc == 0; i++) {
        struct store_select q = select_of(l, &l->selectors.v[i]);
        struct matcher *m = arena_array(a, q.matcher_count, sizeof *m);
        struct series_set set;
        struct arena part;
        struct labels *v;

        if (!m)
            return err_set(err, RC_NOMEM, "series: memory budget is spent");
        q.tenant = tenant;
        q.enough = l->limit ? l->limit + 1 : 0; /* one more: whether the limit cuts */
        if (federated) {
            if (!source_tenant_chosen(tenant, q.matchers, q.matcher_count, m, &q.matcher_count))
                continue;
            q.matchers = m;
        }
        arena_init_in(&part, a);
        series_set_init(&set, &part);
        rc = source_gather(&l->source, &q, &set, err);
        v = rc == 0 ? arena_array(a, list->n + set.n, sizeof *v) : NULL;
        if (v && list->n)
            memcpy(v, list->v, list->n * sizeof *v);
        for (size_t k = 0; v && k < set.n && rc == 0; k++) {
            struct labels ls = labels_dup(a, &set.v[k].labels);

            if (federated)
                rc = source_label_tenant(tenant, &ls, a, &ls, err);
            v[list->n++] = ls;
            if (set.v[k].labels.n && !ls.v)
                v = NULL;
        }
        arena_fini(&part);
        if (rc == 0 && !v)
            return err_set(err, RC_NOMEM, "series: memory budget is spent");
        list->v = v;
    }
    return rc;
}

/* Sorted, each once; true when the limit cut it. */
static bool write_series(struct buf *out, struct labels_list *list, size_t limit)
{
    size_t n = 0;
    bool truncated = false;

    if (list->n)
        qsort(list->v, list->n, sizeof *list->v, by_labels);
    buf_char(out, '[');
    for (size_t i = 0; i < list->n && buf_ok(out) && !truncated; i++) {
        if (i > 0 && labels_eq(&list->v[i - 1], &list->v[i]))
            continue;
        truncated = limit && n == limit;
        if (truncated)
            break;
        if (n++ > 0)
            buf_char(out, ',');
        json_labels(out, &list->v[i]);
    }
    buf_char(out, ']');
    return truncated;
}

void api_series(struct api_request *r)
{
    struct labels_list list = {0};
    struct lookup_request l;
    bool truncated = false;
    struct buf out;
    struct err err;
    int rc = lookup_init(r, &l, true, &err);

    api_begin(&out);
    if (rc == 0 && l.selectors.n == 0)
        rc = err_set(&err, RC_INVALID, "no match[] parameter provided");
    for (size_t i = 0; i < r->tenant_count && rc == 0; i++)
        rc = tenant_series(&l, r->tenants[i], &list, &err);
    if (rc == 0)
        truncated = write_series(&out, &list, l.limit);
    finish(r, &l, rc, &out, truncated, &err);
}

/* --- metadata --- */

/* Negative: all, as Prometheus has it. */
static int metadata_limit(const struct api_request *r, const char *name, size_t *ret,
                          struct err *err)
{
    struct str v = http_param(r->http, name);

    *ret = SIZE_MAX;
    if (v.n == 0 || v.p[0] == '-')
        return 0;
    if (param_limit(r, name, ret, err) < 0)
        return err_set(err, RC_INVALID, "%s must be a number", name);
    return 0;
}

static void write_metadata(struct buf *out, const struct metadata_rows *rows, size_t limit,
                           size_t per_metric)
{
    size_t metrics = 0, of_metric = 0;

    buf_char(out, '{');
    for (size_t i = 0; i < rows->n && buf_ok(out); i++) {
        const struct metadata_row *m = &rows->v[i];

        if (i == 0 || !str_eq(rows->v[i - 1].metric, m->metric)) {
            if (metrics == limit)
                break;
            buf_z(out, metrics ? "]," : "");
            json_str_html(out, m->metric);
            buf_z(out, ":[");
            metrics++;
            of_metric = 0;
        }
        if (of_metric == per_metric)
            continue;
        buf_z(out, of_metric++ ? ",{\"type\":" : "{\"type\":");
        json_str_html(out, str_of(metadata_type_name(m->type)));
        buf_z(out, ",\"help\":");
        json_str_html(out, m->help);
        buf_z(out, ",\"unit\":");
        json_str_html(out, m->unit);
        buf_char(out, '}');
    }
    buf_z(out, metrics ? "]}" : "}");
}

void api_metadata(struct api_request *r)
{
    struct str metric = http_param(r->http, "metric");
    struct metadata_rows rows = {0};
    size_t limit, per_metric = 0;
    struct lookup_request l = {0};
    int64_t deadline;
    struct buf out;
    struct err err;
    int rc = metadata_limit(r, "limit", &limit, &err);

    api_begin(&out);
    arena_init(&l.arena, r->limits->query_memory ? (size_t)r->limits->query_memory : SIZE_MAX / 2);
    if (rc == 0)
        rc = metadata_limit(r, "limit_per_metric", &per_metric, &err);
    api_deadline(r, r->limits->query_timeout_ms, &deadline);
    source_init(&l.source, &r->q->env, r->tenants, r->tenant_count, deadline,
                http_cancel_flag(r->http));
    if (rc == 0)
        rc = lookup_metadata(&l.source, metric, &l.arena, &rows, &err);
    if (rc == 0)
        write_metadata(&out, &rows, limit, per_metric);
    finish(r, &l, rc, &out, false, &err);
}
