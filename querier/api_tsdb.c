/* api_tsdb.c - status/tsdb: how many series there are and what makes them many, of the heads of one tenant. Each series counts once: see cardinality.h. */
#include "querier/api.h"

#include "querier/cardinality.h"

#include <stdlib.h>

enum { TOP_DEFAULT = 10, TOP_MAX = 10000 };

struct named {
    struct str name, value; /* value .p NULL: a name alone */
    uint64_t n;
};
struct named_list {
    struct named *v;
    size_t n;
};

static int by_count(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    int c;

    if (x->n != y->n)
        return x->n < y->n ? 1 : -1;
    c = str_cmp(x->name, y->name);
    return c ? c : str_cmp(x->value, y->value);
}

static void put_top(struct buf *out, const char *key, struct named_list *l, size_t top)
{
    if (l->n)
        qsort(l->v, l->n, sizeof *l->v, by_count);
    buf_printf(out, ",\"%s\":[", key);
    for (size_t i = 0; i < MIN(l->n, top) && buf_ok(out); i++) {
        struct buf name;

        buf_init(&name, 1 << 20);
        buf_str(&name, l->v[i].name);
        if (l->v[i].value.p) {
            buf_char(&name, '=');
            buf_str(&name, l->v[i].value);
        }
        buf_z(out, i ? ",{\"name\":" : "{\"name\":");
        json_str_html(out, buf_view(&name));
        buf_printf(out, ",\"value\":%llu}", (unsigned long long)l->v[i].n);
        buf_fini(&name);
    }
    buf_char(out, ']');
}

/* The four lists, made of pairs that stand in the order of their names. */
struct lists {
    struct named_list metrics, values, memory, pairs;
};

static bool lists_make(const struct cardinality *c, struct arena *a, struct lists *ret)
{
    struct named_list *all[] = {&ret->metrics, &ret->values, &ret->memory, &ret->pairs};

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        all[i]->v = arena_array(a, c->pair_count, sizeof *all[i]->v);
        all[i]->n = 0;
        if (!all[i]->v)
            return false;
    }
    for (size_t i = 0; i < c->pair_count; i++) {
        const struct pair_series *p = &c->pairs[i];
        bool first = i == 0 || !str_eq(p[-1].name, p->name);

        if (first) {
            ret->values.v[ret->values.n++] = (struct named){.name = p->name};
            ret->memory.v[ret->memory.n++] = (struct named){.name = p->name};
        }
        ret->values.v[ret->values.n - 1].n++;
        ret->memory.v[ret->memory.n - 1].n += p->value.n * p->series;
        ret->pairs.v[ret->pairs.n++] = (struct named){p->name, p->value, p->series};
        if (str_eqz(p->name, LABEL_METRIC_NAME))
            ret->metrics.v[ret->metrics.n++] = (struct named){.name = p->value, .n = p->series};
    }
    return true;
}

static int top_of(struct api_request *r, size_t *ret, struct err *err)
{
    struct str v = http_param(r->http, "limit");
    int rc;

    *ret = TOP_DEFAULT;
    if (v.n == 0)
        return 0;
    rc = param_limit(r, "limit", ret, err);
    if (rc == 0 && (*ret < 1 || *ret > TOP_MAX))
        rc = err_set(err, RC_INVALID, "limit must be between 1 and %d", TOP_MAX);
    return rc;
}

void api_status_tsdb(struct api_request *r)
{
    struct cardinality c = {0};
    struct lists lists = {0};
    struct source src;
    struct arena a;
    struct buf out;
    struct err err;
    int64_t deadline;
    size_t top;
    int rc = top_of(r, &top, &err);

    arena_init(&a, r->limits->query_memory ? (size_t)r->limits->query_memory : SIZE_MAX / 2);
    if (rc == 0) {
        api_deadline(r, r->limits->query_timeout_ms, &deadline);
        source_init(&src, &r->q->env, r->tenants, r->tenant_count, deadline, http_cancel_flag(r->http));
        rc = cardinality_of(&src, r->tenants[0], NULL, 0, CARDINALITY_PAIRS, &a, &c, &err);
    }
    if (rc == 0 && !lists_make(&c, &a, &lists))
        rc = err_set(&err, RC_NOMEM, "status/tsdb: memory budget is spent");
    if (rc < 0) {
        api_reply_error(r, &err);
        arena_fini(&a);
        return;
    }
    api_begin(&out);
    buf_printf(&out, "{\"headStats\":{\"numSeries\":%llu,\"numLabelPairs\":%zu,\"chunkCount\":%llu,\"minTime\":%lld,\"maxTime\":%lld}", (unsigned long long)c.series,
               c.pair_count, (unsigned long long)c.chunks, (long long)c.mint_ms, (long long)c.maxt_ms);
    put_top(&out, "seriesCountByMetricName", &lists.metrics, top);
    put_top(&out, "labelValueCountByLabelName", &lists.values, top);
    put_top(&out, "memoryInBytesByLabelName", &lists.memory, top);
    put_top(&out, "seriesCountByLabelValuePair", &lists.pairs, top);
    buf_char(&out, '}');
    if (c.truncated)
        buf_z(&out, ",\"warnings\":[\"there are more label pairs than fit an answer: counts are of a part of them\"]");
    api_end(r, &out, false);
    arena_fini(&a);
}
