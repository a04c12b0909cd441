/* api_cardinality.c - cardinality/{label_names,label_values,active_series} and user_limits, in Mimir's shapes.
 * Series are those of the ingesters, each counted once however many replicas hold it: their fingerprints are put together, as for a query.
 * count_method=inmemory (default): what is in memory; active: with a sample in the last ACTIVE_MS. */
#include "querier/api.h"


#include <stdlib.h>

enum { ACTIVE_MS = 20 * 60 * 1000, LIMIT_DEFAULT = 20, LIMIT_MAX = 500, NAMES_MAX = 100 };

void api_user_limits(struct api_request *r)
{
    struct buf out;

    buf_init(&out, API_ANSWER_BYTES_MAX);
    limits_print_json(r->limits, &out);
    buf_char(&out, '\n');
    api_reply(r, &out);
}

/* --- what is asked --- */

struct card_request {
    struct arena arena;
    struct promql_ast selector;
    bool has_selector;
    struct store_select q;
    size_t limit;
    struct source source;
    struct series_set set;
    struct arena set_arena;
};

static int param_selector(struct api_request *r, struct card_request *c, struct err *err)
{
    struct str text = http_param(r->http, "selector");
    int rc;

    if (text.n == 0)
        return 0;
    rc = promql_parse_selector(text, &c->arena, &c->selector, err);
    if (rc < 0) {
        if (rc == RC_INVALID || rc == RC_LIMIT)
            rc = param_invalid("selector", err);
        return rc;
    }
    c->has_selector = true;
    c->q.matchers = c->selector.root->selector.matchers;
    c->q.matcher_count = c->selector.root->selector.matcher_count;
    return 0;
}

static int param_method(struct api_request *r, struct card_request *c, bool active, struct err *err)
{
    struct str method = http_param(r->http, "count_method");

    if (str_eqz(method, "active"))
        active = true;
    else if (method.n && !str_eqz(method, "inmemory"))
        return err_set(err, RC_INVALID, "invalid count_method \"%.*s\": want inmemory or active",
                       (int)MIN(method.n, (size_t)256), method.p);
    if (active)
        c->q.mint_ms = clock_wall_ms(r->q->deps.clock) - ACTIVE_MS;
    return 0;
}

static int param_top(struct api_request *r, struct card_request *c, struct err *err)
{
    int rc;

    c->limit = LIMIT_DEFAULT;
    if (http_param(r->http, "limit").n == 0)
        return 0;
    rc = param_limit(r, "limit", &c->limit, err);
    if (rc == 0 && c->limit > LIMIT_MAX)
        rc = err_set(err, RC_INVALID, "limit must be between 0 and %d", LIMIT_MAX);
    return rc;
}

static void card_fini(struct card_request *c)
{
    if (c->has_selector)
        promql_ast_fini(&c->selector);
    arena_fini(&c->set_arena);
    arena_fini(&c->arena);
}

/* Reads the parameters; the caller ends with card_fini in any case. */
static int card_init(struct api_request *r, struct card_request *c, bool active, struct err *err)
{
    int rc;

    *c = (struct card_request){.q = {.tenant = r->tenants[0], .mint_ms = TIMESTAMP_MIN_MS, .maxt_ms = TIMESTAMP_MAX_MS, .mode = STORE_LABELS}};
    arena_init(&c->arena, r->limits->query_memory ? (size_t)r->limits->query_memory : SIZE_MAX / 2);
    arena_init_in(&c->set_arena, &c->arena);
    if (r->tenant_count > 1)
        return err_set(err, RC_INVALID, "cardinality is of one tenant, not of %zu", r->tenant_count);
    rc = param_top(r, c, err);
    if (rc == 0)
        rc = param_method(r, c, active, err);
    return rc == 0 ? param_selector(r, c, err) : rc;
}

static int card_gather(struct api_request *r, struct card_request *c, struct err *err)
{
    int64_t deadline;
    int rc;

    api_deadline(r, r->limits->query_timeout_ms, &deadline);
    source_init(&c->source, &r->q->env, r->tenants, r->tenant_count, deadline, http_cancel_flag(r->http));
    c->source.limits.series_max = (uint64_t)r->limits->max_query_series;
    series_set_init(&c->set, &c->set_arena);
    rc = source_gather_heads(&c->source, &c->q, &c->set, err);
    api_count_fetched(r->q, &c->source.used);
    api_count_memory(r->q, &c->arena);
    return rc;
}

/* --- counting --- */

/* A label pair of a series; the pairs of all, sorted, make every count. */
struct pair {
    struct str name, value;
};
struct pairs {
    struct pair *v;
    size_t n;
};

static int by_pair(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    int c = str_cmp(x->name, y->name);

    return c ? c : str_cmp(x->value, y->value);
}

static bool wanted(const struct str *names, size_t n, struct str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(names[i], name))
            return true;
    return n == 0;
}

/* names: only these; n 0: all. */
static int pairs_of(const struct series_set *set, const struct str *names, size_t n, struct arena *a, struct pairs *ret, struct err *err)
{
    size_t total = 0;

    for (size_t i = 0; i < set->n; i++)
        total += set->v[i].labels.n;
    ret->n = 0;
    ret->v = arena_array(a, total, sizeof *ret->v);
    if (!ret->v)
        return err_set(err, RC_NOMEM, "cardinality: memory budget is spent");
    for (size_t i = 0; i < set->n; i++)
        for (size_t k = 0; k < set->v[i].labels.n; k++) {
            const struct label *l = &set->v[i].labels.v[k];

            if (wanted(names, n, l->name))
                ret->v[ret->n++] = (struct pair){l->name, l->value};
        }
    if (ret->n)
        qsort(ret->v, ret->n, sizeof *ret->v, by_pair);
    return 0;
}

struct counted {
    struct str text;
    uint64_t n;      /* names: values; values: series */
    uint64_t series; /* names: series that have it */
};
struct counted_list {
    struct counted *v;
    size_t n;
};

static int by_count(const void *a, const void *b)
{
    const struct counted *x = a, *y = b;

    return x->n != y->n ? (x->n < y->n ? 1 : -1) : str_cmp(x->text, y->text);
}

/* One entry per value of the pairs from *at on that have this name; *at: behind them. */
static struct counted_list values_of(const struct pairs *p, size_t *at, struct counted *room)
{
    struct counted_list l = {room, 0};
    size_t begin = *at;

    for (; *at < p->n && str_eq(p->v[*at].name, p->v[begin].name); (*at)++) {
        if (l.n == 0 || !str_eq(l.v[l.n - 1].text, p->v[*at].value))
            l.v[l.n++] = (struct counted){p->v[*at].value, 0, 0};
        l.v[l.n - 1].n++;
    }
    return l;
}

/* The same values, counted and sorted by name, the largest first. */
static struct counted_list names_of(const struct pairs *p, struct counted *room, struct counted *scratch)
{
    struct counted_list l = {room, 0};

    for (size_t at = 0; at < p->n;) {
        size_t begin = at;
        struct counted_list values = values_of(p, &at, scratch);

        l.v[l.n++] = (struct counted){p->v[begin].name, values.n, at - begin};
    }
    if (l.n)
        qsort(l.v, l.n, sizeof *l.v, by_count);
    return l;
}

/* --- label_names --- */

static void write_names(struct buf *out, const struct counted_list *l, size_t limit)
{
    uint64_t values = 0;

    for (size_t i = 0; i < l->n; i++)
        values += l->v[i].n;
    buf_printf(out, "{\"label_values_count_total\":%llu,\"label_names_count\":%zu,\"cardinality\":[", (unsigned long long)values, l->n);
    for (size_t i = 0; i < MIN(l->n, limit) && buf_ok(out); i++) {
        buf_z(out, i ? ",{\"label_name\":" : "{\"label_name\":");
        json_str_html(out, l->v[i].text);
        buf_printf(out, ",\"label_values_count\":%llu}", (unsigned long long)l->v[i].n);
    }
    buf_z(out, "]}");
}

static void finish(struct api_request *r, struct card_request *c, int rc, struct buf *out, const struct err *err)
{
    if (rc == 0) {
        api_reply(r, out);
    } else {
        buf_fini(out);
        api_reply_error(r, err);
    }
    card_fini(c);
}

void api_cardinality_names(struct api_request *r)
{
    struct counted *room = NULL, *scratch = NULL;
    struct card_request c;
    struct pairs pairs;
    struct buf out;
    struct err err;
    int rc = card_init(r, &c, false, &err);

    buf_init(&out, API_ANSWER_BYTES_MAX);
    if (rc == 0)
        rc = card_gather(r, &c, &err);
    if (rc == 0)
        rc = pairs_of(&c.set, NULL, 0, &c.arena, &pairs, &err);
    if (rc == 0) {
        room = arena_array(&c.arena, pairs.n, sizeof *room);
        scratch = arena_array(&c.arena, pairs.n, sizeof *scratch);
        if (!room || !scratch)
            rc = err_set(&err, RC_NOMEM, "cardinality: memory budget is spent");
    }
    if (rc == 0) {
        struct counted_list l = names_of(&pairs, room, scratch);

        write_names(&out, &l, c.limit);
    }
    finish(r, &c, rc, &out, &err);
}

/* --- label_values --- */

static int param_names(struct api_request *r, struct arena *a, struct str names[NAMES_MAX], size_t *ret_n, struct err *err)
{
    const struct url_params *params = http_params(r->http);
    size_t n = 0;
    int rc = 0;

    for (size_t i = 0; i < params->n && rc == 0; i++) {
        if (!str_eqz(params->v[i].name, "label_names[]"))
            continue;
        if (n == NAMES_MAX)
            return err_set(err, RC_INVALID, "more than %d label_names[]", NAMES_MAX);
        rc = param_label_name(params->v[i].value, a, &names[n++], err);
    }
    if (rc == 0 && n == 0)
        rc = err_set(err, RC_INVALID, "'label_names[]' param is required");
    *ret_n = n;
    return rc;
}

static void write_label(struct buf *out, struct str name, struct counted_list *values, uint64_t series, size_t limit)
{
    buf_z(out, "{\"label_name\":");
    json_str_html(out, name);
    buf_printf(out, ",\"label_values_count\":%zu,\"series_count\":%llu,\"cardinality\":[", values->n, (unsigned long long)series);
    if (values->n)
        qsort(values->v, values->n, sizeof *values->v, by_count);
    for (size_t i = 0; i < MIN(values->n, limit) && buf_ok(out); i++) {
        buf_z(out, i ? ",{\"label_value\":" : "{\"label_value\":");
        json_str_html(out, values->v[i].text);
        buf_printf(out, ",\"series_count\":%llu}", (unsigned long long)values->v[i].n);
    }
    buf_z(out, "]}");
}

void api_cardinality_values(struct api_request *r)
{
    struct str names[NAMES_MAX];
    struct counted *room = NULL;
    struct card_request c;
    struct pairs pairs;
    struct buf out;
    struct err err;
    size_t n = 0;
    int rc = card_init(r, &c, false, &err);

    buf_init(&out, API_ANSWER_BYTES_MAX);
    if (rc == 0)
        rc = param_names(r, &c.arena, names, &n, &err);
    if (rc == 0)
        rc = card_gather(r, &c, &err);
    if (rc == 0)
        rc = pairs_of(&c.set, names, n, &c.arena, &pairs, &err);
    if (rc == 0 && !(room = arena_array(&c.arena, pairs.n, sizeof *room)))
        rc = err_set(&err, RC_NOMEM, "cardinality: memory budget is spent");
    if (rc == 0) {
        buf_printf(&out, "{\"series_count_total\":%zu,\"labels\":[", c.set.n);
        for (size_t at = 0; at < pairs.n && buf_ok(&out);) {
            size_t begin = at;
            struct counted_list values = values_of(&pairs, &at, room);

            buf_z(&out, begin ? "," : "");
            write_label(&out, pairs.v[begin].name, &values, at - begin, c.limit);
        }
        buf_z(&out, "]}");
    }
    finish(r, &c, rc, &out, &err);
}

/* --- active_series --- */

static int by_entry(const void *a, const void *b)
{
    const struct series_entry *x = a, *y = b;

    return labels_cmp(&x->labels, &y->labels);
}

void api_active_series(struct api_request *r)
{
    struct card_request c;
    struct buf out;
    struct err err;
    int rc = card_init(r, &c, true, &err);

    buf_init(&out, API_ANSWER_BYTES_MAX);
    if (rc == 0 && !c.has_selector)
        rc = err_set(&err, RC_INVALID, "'selector' param is required");
    if (rc == 0)
        rc = card_gather(r, &c, &err);
    if (rc == 0) {
        if (c.set.n)
            qsort(c.set.v, c.set.n, sizeof *c.set.v, by_entry);
        buf_z(&out, "{\"data\":[");
        for (size_t i = 0; i < c.set.n && buf_ok(&out); i++) {
            buf_z(&out, i ? "," : "");
            json_labels(&out, &c.set.v[i].labels);
        }
        buf_z(&out, "]}");
    }
    finish(r, &c, rc, &out, &err);
}
