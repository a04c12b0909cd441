/* eval_info.c - info(): joins series with the labels of their info metrics (target_info unless
 * named otherwise). Series match by the identifying labels instance and job; of several info series
 * of one metric the one with the newest sample counts. Source: Prometheus 3 (promql/info.go). */
#include "promql/eval.h"

static const struct str identifying[] = {{"instance", 8}, {"job", 3}};

struct info_call {
    struct ev *ev;
    const struct matcher *matchers; /* of the second argument */
    size_t matcher_count;
    struct matrix base, info;
    uint8_t *ignored;             /* base rows that are info series themselves */
    size_t *info_sig, *info_name; /* per info row: its group, its metric */
    size_t names, groups;
    struct keymap sigs, metrics;
    size_t *newest; /* per group, at the step looked at: info row, or SIZE_MAX */
    struct keymap out_map;
    struct matrix out;
};

static bool is_name(const struct matcher *m)
{
    return str_eqz(m->name, LABEL_METRIC_NAME);
}

/* What says which metrics are info metrics: the second argument's name matchers; names ending in
 * _info when it only excludes some; target_info when it says nothing. */
enum naming { NAMING_TARGET, NAMING_SUFFIX, NAMING_GIVEN };

static enum naming naming_of(const struct info_call *c)
{
    enum naming n = NAMING_TARGET;

    for (size_t i = 0; i < c->matcher_count; i++)
        if (is_name(&c->matchers[i]))
            n = MAX(n, matcher_negative(&c->matchers[i]) ? NAMING_SUFFIX : NAMING_GIVEN);
    return n;
}

static bool names_info(const struct info_call *c, struct str name)
{
    for (size_t i = 0; i < c->matcher_count; i++)
        if (is_name(&c->matchers[i]) && !matcher_matches(&c->matchers[i], name))
            return false;
    switch (naming_of(c)) {
    case NAMING_TARGET:
        return str_eqz(name, "target_info");
    case NAMING_SUFFIX:
        return name.n > strlen("_info") && str_has_suffix(name, STR("_info"));
    default:
        return true;
    }
}

/* Whether the second argument lets label name through: it names it, or names none. */
static bool wants_label(const struct info_call *c, struct str name)
{
    bool any = false;

    for (size_t i = 0; i < c->matcher_count; i++) {
        if (is_name(&c->matchers[i]))
            continue;
        if (str_eq(c->matchers[i].name, name))
            return true;
        any = true;
    }
    return !any;
}

static bool all_match_empty(const struct info_call *c)
{
    for (size_t i = 0; i < c->matcher_count; i++)
        if (!is_name(&c->matchers[i]) && !matcher_matches(&c->matchers[i], STR("")))
            return false;
    return true;
}

/* --- when to look: as the selectors of the first argument do, if they all agree --- */
struct reference {
    struct selector_ref ref;
    bool any, mixed;
};

static void find_reference(const struct node *n, struct selector_ref outer, bool pinned,
                           struct reference *r);

static void reference_add(struct reference *r, struct selector_ref ref)
{
    if (!r->any)
        r->ref = ref;
    else if (r->ref.at != ref.at || r->ref.at_ms != ref.at_ms || r->ref.offset_ms != ref.offset_ms)
        r->mixed = true;
    r->any = true;
}

/* What an inner reference means seen from outside: an inner @ stands, offsets add up. */
static struct selector_ref reference_within(struct selector_ref outer, bool pinned, enum at_kind at,
                                            int64_t at_ms, int64_t offset_ms)
{
    if (at != AT_NONE)
        return (struct selector_ref){AT_TIME, at_ms, offset_ms};
    return (struct selector_ref){pinned ? AT_TIME : AT_NONE, outer.at_ms,
                                 outer.offset_ms + offset_ms};
}

static void find_in_children(const struct node *n, struct selector_ref outer, bool pinned,
                             struct reference *r)
{
    switch (n->type) {
    case NODE_CALL:
        for (size_t i = 0; i < n->call.arg_count; i++)
            find_reference(n->call.args[i], outer, pinned, r);
        break;
    case NODE_AGGREGATE:
        find_reference(n->agg.expr, outer, pinned, r);
        break;
    case NODE_BINARY:
        find_reference(n->binary.lhs, outer, pinned, r);
        find_reference(n->binary.rhs, outer, pinned, r);
        break;
    case NODE_UNARY:
        find_reference(n->unary.expr, outer, pinned, r);
        break;
    case NODE_PAREN:
        find_reference(n->paren, outer, pinned, r);
        break;
    default:
        break;
    }
}

static void find_reference(const struct node *n, struct selector_ref outer, bool pinned,
                           struct reference *r)
{
    if (n->type == NODE_SELECTOR) {
        reference_add(r, reference_within(outer, pinned, n->selector.at, n->selector.at_ms,
                                          n->selector.offset_ms));
    } else if (n->type == NODE_SUBQUERY) {
        struct selector_ref ref = reference_within(outer, pinned, n->subquery.at, n->subquery.at_ms,
                                                   n->subquery.offset_ms);

        find_reference(n->subquery.expr, ref, ref.at != AT_NONE, r);
    } else {
        find_in_children(n, outer, pinned, r);
    }
}

/* --- fetching --- */
static void quote_meta(struct buf *b, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (strchr("\\.+*?()|[]{}^$", s.p[i]) && s.p[i])
            buf_char(b, '\\');
        buf_char(b, s.p[i]);
    }
}

/* A regular expression of the values that base rows have for an identifying label; empty when there
 * is none. */
static int values_regex(struct info_call *c, struct str label, struct buf *b)
{
    struct keymap seen = {0};

    for (size_t i = 0; i < c->base.n; i++) {
        struct str v = labels_get(&c->base.rows[i].labels, label);
        size_t *at;
        bool fresh;
        int rc;

        if (c->ignored[i] || v.n == 0)
            continue;
        rc = keymap_put(c->ev->q, &seen, hash128_secret(v.p, v.n), &at, &fresh);
        if (rc < 0)
            return rc;
        if (!fresh)
            continue;
        if (b->n > 0)
            buf_char(b, '|');
        quote_meta(b, v);
    }
    return buf_ok(b) ? 0 : query_fail(c->ev->q, "info(): too many series to join");
}

enum { INFO_MATCHERS_MAX = ARRAY_LEN(identifying) + 1 };

/* own: matchers made here, to be freed. */
static int info_matchers(struct info_call *c, struct matcher *own, size_t *own_count)
{
    struct err *err = c->ev->q->err;
    enum naming naming = naming_of(c);
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(identifying); i++) {
        struct buf b;

        buf_init(&b, MATCHER_REGEX_BYTES_MAX);
        rc = values_regex(c, identifying[i], &b);
        if (rc == 0 && b.n > 0) {
            rc = matcher_init(&own[*own_count], MATCH_RE, identifying[i], buf_view(&b), err);
            *own_count += rc == 0;
        }
        buf_fini(&b);
    }
    if (rc < 0 || *own_count == 0)
        return rc;
    if (naming == NAMING_GIVEN)
        return 0;
    rc = matcher_init(&own[*own_count], naming == NAMING_TARGET ? MATCH_EQ : MATCH_RE,
                      STR(LABEL_METRIC_NAME),
                      naming == NAMING_TARGET ? STR("target_info") : STR(".+_info"), err);
    *own_count += rc == 0;
    return rc;
}

static int fetch_info(struct info_call *c, const struct node *arg)
{
    struct query *q = c->ev->q;
    struct matcher own[INFO_MATCHERS_MAX], *all;
    struct reference r = {0};
    struct stream *in;
    size_t own_count = 0;
    int rc = info_matchers(c, own, &own_count);

    find_reference(arg, (struct selector_ref){0}, false, &r);
    if (r.mixed)
        r.ref = (struct selector_ref){0};
    if (rc == 0 && own_count > 0) {
        all = arena_array(q->arena, own_count + c->matcher_count, sizeof *all);
        if (all) {
            memcpy(all, own, own_count * sizeof *all);
            if (c->matcher_count)
                memcpy(all + own_count, c->matchers, c->matcher_count * sizeof *all);
            rc = eval_select(c->ev, all, own_count + c->matcher_count, r.ref, SELECT_TIME_MS, &in);
            if (rc == 0)
                rc = matrix_gather(c->ev, in, &c->info);
        } else {
            rc = query_nomem(q);
        }
    }
    for (size_t i = 0; i < own_count; i++)
        matcher_fini(&own[i]);
    return rc;
}

/* --- joining --- */
static struct u128 signature(struct info_call *c, const struct labels *ls, size_t name)
{
    struct u128 key = labels_key_of(c->ev->q, ls, identifying, ARRAY_LEN(identifying), true, false);

    key.lo ^= mix64(name + 1);
    return key;
}

static int number_info(struct info_call *c)
{
    struct query *q = c->ev->q;

    c->info_sig = arena_array(q->arena, c->info.n, sizeof *c->info_sig);
    c->info_name = arena_array(q->arena, c->info.n, sizeof *c->info_name);
    if (!c->info_sig || !c->info_name)
        return query_nomem(q);
    for (size_t i = 0; i < c->info.n; i++) {
        struct str name = metric_name(&c->info.rows[i].labels);
        size_t *at;
        bool fresh;
        int rc = keymap_put(q, &c->metrics, hash128_secret(name.p, name.n), &at, &fresh);

        if (rc < 0)
            return rc;
        if (fresh)
            *at = c->names++;
        c->info_name[i] = *at;
        rc = keymap_put(q, &c->sigs, signature(c, &c->info.rows[i].labels, *at), &at, &fresh);
        if (rc < 0)
            return rc;
        if (fresh)
            *at = c->groups++;
        c->info_sig[i] = *at;
    }
    c->newest = arena_array(q->arena, c->groups, sizeof *c->newest);
    return c->newest ? 0 : query_nomem(q);
}

static int two_at_once(struct info_call *c, const struct row *a, const struct row *b, int64_t t)
{
    struct buf text;
    int rc;

    buf_init(&text, ERR_TEXT_MAX * 4);
    buf_z(&text, "found duplicate series for info metric: existing ");
    labels_print_braces(&text, &a->labels);
    buf_printf(&text, " @ %lld, new ", (long long)t);
    labels_print_braces(&text, &b->labels);
    buf_printf(&text, " @ %lld", (long long)t);
    rc = query_fail(c->ev->q, "%.*s", STR_FMT(buf_view(&text)));
    buf_fini(&text);
    return rc;
}

static int find_newest(struct info_call *c, size_t step)
{
    for (size_t g = 0; g < c->groups; g++)
        c->newest[g] = SIZE_MAX;
    for (size_t i = 0; i < c->info.n; i++) {
        const struct row *r = &c->info.rows[i], *other;
        size_t *at = &c->newest[c->info_sig[i]];

        if (r->kind[step] == POINT_NONE)
            continue;
        other = *at == SIZE_MAX ? NULL : &c->info.rows[*at];
        if (other && other->v[step] == r->v[step])
            return two_at_once(c, other, r, (int64_t)r->v[step]);
        if (!other || other->v[step] < r->v[step])
            *at = i;
    }
    return 0;
}

/* Adds the labels of one info series that are wanted and not there. added: those of other info
 * series so far. */
static int add_labels(struct info_call *c, const struct row *base, const struct row *info,
                      struct labels *added, struct labels *out)
{
    struct query *q = c->ev->q;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < info->labels.n; i++) {
        const struct label *l = &info->labels.v[i];
        struct str other;

        if (str_eqz(l->name, LABEL_METRIC_NAME) || !wants_label(c, l->name))
            continue;
        other = labels_get(added, l->name);
        if (other.n > 0 && !str_eq(other, l->value))
            return query_fail(q, "conflicting label: %.*s", STR_FMT(l->name));
        if (labels_get(&base->labels, l->name).p)
            continue;
        rc = labels_with(q, added, l->name, l->value, added);
        if (rc == 0)
            rc = labels_with(q, out, l->name, l->value, out);
    }
    return rc;
}

/* 1: the row's labels at this step are *out; 0: no row. */
static int enrich(struct info_call *c, const struct row *base, const size_t *sigs,
                  struct labels *out)
{
    struct labels added = {0};
    bool any = false;

    *out = base->labels;
    for (size_t name = 0; name < c->names; name++) {
        size_t at = sigs[name] == SIZE_MAX ? SIZE_MAX : c->newest[sigs[name]];
        int rc;

        if (at == SIZE_MAX)
            continue;
        any = true;
        rc = add_labels(c, base, &c->info.rows[at], &added, out);
        if (rc < 0)
            return rc;
    }
    return any || all_match_empty(c);
}

static int put_point(struct info_call *c, const struct row *base, const struct labels *ls,
                     size_t step)
{
    struct point p = row_get(base, step);
    struct row r;
    size_t *at;
    bool fresh;
    int rc = keymap_put(c->ev->q, &c->out_map, labels_key(c->ev->q, ls), &at, &fresh);

    if (rc == 0 && fresh) {
        *at = c->out.n;
        rc = row_init(c->ev, &r, base->h != NULL);
        r.labels = *ls;
        r.drop_name = base->drop_name;
        r.stable = true;
        if (rc == 0)
            rc = matrix_add(c->ev, &c->out, &r);
    }
    if (rc == 0 && base->h)
        rc = row_need_hist(c->ev, &c->out.rows[*at]);
    if (rc < 0)
        return rc;
    if (c->out.rows[*at].kind[step] != POINT_NONE)
        return query_fail(c->ev->q, "vector cannot contain metrics with the same labelset");
    row_set(&c->out.rows[*at], step, &p);
    return 0;
}

static int base_signatures(struct info_call *c, size_t **ret)
{
    struct query *q = c->ev->q;
    size_t *sigs = arena_array(q->arena, c->base.n * c->names, sizeof *sigs);

    if (!sigs)
        return query_nomem(q);
    for (size_t i = 0; i < c->base.n; i++) {
        for (size_t name = 0; name < c->names; name++) {
            size_t *at;
            bool fresh;
            int rc =
                keymap_put(q, &c->sigs, signature(c, &c->base.rows[i].labels, name), &at, &fresh);

            if (rc < 0)
                return rc;
            if (fresh)
                *at = SIZE_MAX;
            sigs[i * c->names + name] = *at;
        }
    }
    *ret = sigs;
    return 0;
}

static int combine_step(struct info_call *c, const size_t *sigs, size_t step)
{
    int rc = find_newest(c, step);

    for (size_t i = 0; rc == 0 && i < c->base.n; i++) {
        const struct row *base = &c->base.rows[i];
        struct labels ls = base->labels;
        int keep = 1;

        if (base->kind[step] == POINT_NONE)
            continue;
        if (!c->ignored[i])
            keep = enrich(c, base, sigs + i * c->names, &ls);
        rc = keep > 0 ? put_point(c, base, &ls, step) : keep;
    }
    return rc < 0 ? rc : query_poll(c->ev->q, c->base.n + c->info.n);
}

static int combine_all(struct info_call *c)
{
    size_t *sigs = NULL;
    int rc = number_info(c);

    if (rc == 0)
        rc = base_signatures(c, &sigs);
    for (size_t i = 0; rc == 0 && i < c->ev->steps; i++)
        rc = combine_step(c, sigs, i);
    return rc;
}

int eval_info(struct ev *ev, const struct node *n, struct stream **ret)
{
    const struct node *arg = node_unwrap(n->call.args[0]);
    const struct node *selector = n->call.arg_count > 1 ? node_unwrap(n->call.args[1]) : NULL;
    struct info_call c = {.ev = ev};
    int rc;

    if (selector) {
        c.matchers = selector->selector.matchers;
        c.matcher_count = selector->selector.matcher_count;
    }
    rc = eval_matrix(ev, arg, &c.base);
    if (rc < 0)
        return rc;
    c.ignored = arena_zalloc(ev->q->arena, c.base.n);
    if (!c.ignored)
        return query_nomem(ev->q);
    for (size_t i = 0; i < c.base.n; i++)
        c.ignored[i] = names_info(&c, metric_name(&c.base.rows[i].labels));
    rc = fetch_info(&c, arg);
    if (rc == 0)
        rc = combine_all(&c);
    if (rc == 0) {
        matrix_release(ev->q, &c.base);
        matrix_release(ev->q, &c.info);
    }
    return rc < 0 ? rc : stream_of_matrix(ev, &c.out, ret);
}
