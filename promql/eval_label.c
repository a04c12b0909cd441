/* eval_label.c - label sets as the engine needs them: keys, picks, and the functions that rewrite
 * or order by labels. */
#include "promql/eval.h"

#include "common/shim/shim.h"

#include <stdlib.h>

#define NAME_LABEL STR(LABEL_METRIC_NAME)

bool label_is_meta(struct str name)
{
    return str_eq(name, NAME_LABEL) || str_eq(name, STR("__type__")) ||
           str_eq(name, STR("__unit__"));
}

bool name_in(const struct str *names, size_t n, struct str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(names[i], name))
            return true;
    return false;
}

struct str metric_name(const struct labels *ls)
{
    struct str s = labels_get(ls, NAME_LABEL);

    return s.p ? s : STR("");
}

static void key_add(struct buf *b, const struct label *l)
{
    buf_lstr(b, l->name);
    buf_lstr(b, l->value);
}

static struct u128 key_end(struct buf *b)
{
    ASSERT(buf_ok(b));
    return hash128_secret(b->p ? b->p : "", b->n);
}

struct u128 labels_key(struct query *q, const struct labels *ls)
{
    buf_clear(&q->key);
    for (size_t i = 0; i < ls->n; i++)
        key_add(&q->key, &ls->v[i]);
    return key_end(&q->key);
}

struct u128 labels_key_of(struct query *q, const struct labels *ls, const struct str *names,
                          size_t n, bool on, bool name_too)
{
    buf_clear(&q->key);
    for (size_t i = 0; i < ls->n; i++) {
        struct str name = ls->v[i].name;

        if (name_in(names, n, name) == on && (on || name_too || !str_eq(name, NAME_LABEL)))
            key_add(&q->key, &ls->v[i]);
    }
    return key_end(&q->key);
}

static int labels_alloc(struct query *q, size_t n, struct labels *ret)
{
    *ret = (struct labels){arena_array(q->arena, n, sizeof *ret->v), 0};
    return ret->v ? 0 : query_nomem(q);
}

int labels_pick(struct query *q, const struct labels *ls, const struct str *names, size_t n,
                bool on, struct labels *ret)
{
    struct labels out;
    int rc = labels_alloc(q, ls->n, &out);

    for (size_t i = 0; rc == 0 && i < ls->n; i++)
        if (name_in(names, n, ls->v[i].name) == on)
            out.v[out.n++] = ls->v[i];
    if (rc == 0)
        *ret = out;
    return rc;
}

int labels_drop_meta(struct query *q, const struct labels *ls, struct labels *ret)
{
    struct labels out;
    int rc = labels_alloc(q, ls->n, &out);

    for (size_t i = 0; rc == 0 && i < ls->n; i++)
        if (!label_is_meta(ls->v[i].name))
            out.v[out.n++] = ls->v[i];
    if (rc == 0)
        *ret = out;
    return rc;
}

int labels_with(struct query *q, const struct labels *ls, struct str name, struct str value,
                struct labels *ret)
{
    struct labels out;
    int rc = labels_alloc(q, ls->n + 1, &out);
    bool placed = value.n == 0;

    for (size_t i = 0; rc == 0 && i < ls->n; i++) {
        int c = str_cmp(ls->v[i].name, name);

        if (c >= 0 && !placed) {
            out.v[out.n++] = (struct label){name, value};
            placed = true;
        }
        if (c != 0)
            out.v[out.n++] = ls->v[i];
    }
    if (rc < 0)
        return rc;
    if (!placed)
        out.v[out.n++] = (struct label){name, value};
    *ret = out;
    return 0;
}

void labels_print_braces(struct buf *out, const struct labels *ls)
{
    buf_char(out, '{');
    for (size_t i = 0; i < ls->n; i++) {
        if (i > 0)
            buf_z(out, ", ");
        if (label_name_legacy_valid(ls->v[i].name))
            buf_str(out, ls->v[i].name);
        else
            labels_quote(out, ls->v[i].name);
        buf_char(out, '=');
        labels_quote(out, ls->v[i].value);
    }
    buf_char(out, '}');
}

static bool label_name_valid(struct str s)
{
    return s.n > 0 && utf8_valid(s);
}

/* After a label was set: the row may have got the name of another. */
static int relabeled(struct ev *ev, struct stream *in, row_fn *fn, void *arg, struct stream **ret)
{
    struct matrix m = {0};
    struct row r;
    int rc;

    while ((rc = stream_next(in, &r)) > 0) {
        rc = fn(ev, &r, arg);
        if (rc >= 0)
            rc = matrix_add(ev, &m, &r);
        if (rc < 0)
            break;
    }
    stream_free(in);
    if (rc == 0)
        rc = matrix_merge(ev, &m);
    return rc < 0 ? rc : stream_of_matrix(ev, &m, ret);
}

static int row_set_label(struct ev *ev, struct row *r, struct str name, struct str value)
{
    int rc = labels_with(ev->q, &r->labels, name, value, &r->labels);

    if (rc == 0 && str_eq(name, NAME_LABEL))
        r->drop_name = false;
    return rc;
}

/* --- label_replace --- */
enum { CAPTURES_MAX = 64, LABEL_VALUE_BYTES_MAX = 1 << 20 };

struct replace {
    struct str dst, repl, src;
    struct shim_re2 *re;
    int groups;
    struct buf out;
};

static bool word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* The reference after a '$' in t: its name and how many bytes it takes; false when it is not one.
 */
static bool reference(struct str t, struct str *ret_name, size_t *ret_taken)
{
    size_t from = t.n > 0 && t.p[0] == '{', to = from;

    while (to < t.n && word_char(t.p[to]))
        to++;
    if (to == from || (from && (to == t.n || t.p[to] != '}')))
        return false;
    *ret_name = str_sub(t, from, to);
    *ret_taken = to + from;
    return true;
}

static struct str captured(const struct replace *rp, struct str name, const struct str *caps)
{
    long index = 0;

    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] < '0' || name.p[i] > '9' || index > CAPTURES_MAX) {
            index = shim_re2_group_named(rp->re, name);
            break;
        }
        index = index * 10 + (name.p[i] - '0');
    }
    if (index < 0 || index > rp->groups || index >= CAPTURES_MAX || !caps[index].p)
        return STR("");
    return caps[index];
}

/* $1, ${1}, $name, ${name}, $$; anything else stays. Source: Go's regexp.Expand. */
static void expand(struct replace *rp, const struct str *caps)
{
    struct str t = rp->repl, name;
    size_t taken;

    buf_clear(&rp->out);
    while (t.n > 0) {
        size_t at = str_find(t, '$');

        buf_add(&rp->out, t.p, at);
        t = str_skip(t, at);
        if (t.n == 0)
            break;
        t = str_skip(t, 1);
        if (t.n > 0 && t.p[0] == '$') {
            buf_char(&rp->out, '$');
            t = str_skip(t, 1);
        } else if (reference(t, &name, &taken)) {
            buf_str(&rp->out, captured(rp, name, caps));
            t = str_skip(t, taken);
        } else {
            buf_char(&rp->out, '$');
        }
    }
}

static int replace_row(struct ev *ev, struct row *r, void *arg)
{
    struct replace *rp = arg;
    struct str caps[CAPTURES_MAX], src = labels_get(&r->labels, rp->src), value;

    if (!src.p)
        src = STR("");
    memset(caps, 0, sizeof caps);
    if (!shim_re2_capture(rp->re, src, caps, (size_t)MIN(rp->groups + 1, CAPTURES_MAX)))
        return 1;
    expand(rp, caps);
    if (!buf_ok(&rp->out))
        return query_fail(ev->q, "label_replace(): value is too long");
    value = arena_str(ev->q->arena, buf_view(&rp->out));
    if (value.n && !value.p)
        return query_nomem(ev->q);
    return row_set_label(ev, r, rp->dst, value);
}

int eval_label_replace(struct ev *ev, const struct node *n, struct stream **ret)
{
    struct query *q = ev->q;
    struct replace rp = {.dst = eval_string(n->call.args[1]),
                         .repl = eval_string(n->call.args[2]),
                         .src = eval_string(n->call.args[3])};
    struct str pattern = eval_string(n->call.args[4]);
    struct stream *in;
    char why[128];
    int rc;

    rp.re = shim_re2_new(pattern, why, sizeof why);
    if (!rp.re)
        return query_fail(q, "invalid regular expression in label_replace(): %.*s",
                          STR_FMT(pattern));
    rp.groups = shim_re2_groups(rp.re);
    buf_init(&rp.out, LABEL_VALUE_BYTES_MAX);
    if (!label_name_valid(rp.dst))
        rc = query_fail(q, "invalid destination label name in label_replace(): %.*s",
                        STR_FMT(rp.dst));
    else
        rc = eval_stream(ev, n->call.args[0], &in);
    if (rc == 0)
        rc = relabeled(ev, in, replace_row, &rp, ret);
    buf_fini(&rp.out);
    shim_re2_free(rp.re);
    return rc;
}

/* --- label_join --- */
struct join {
    struct str dst, sep;
    const struct node *call;
    struct buf out;
};

static int join_row(struct ev *ev, struct row *r, void *arg)
{
    struct join *j = arg;
    struct str value;

    buf_clear(&j->out);
    for (size_t i = 3; i < j->call->call.arg_count; i++) {
        if (i > 3)
            buf_str(&j->out, j->sep);
        buf_str(&j->out, labels_get(&r->labels, eval_string(j->call->call.args[i])));
    }
    if (!buf_ok(&j->out))
        return query_fail(ev->q, "label_join(): value is too long");
    value = arena_str(ev->q->arena, buf_view(&j->out));
    if (value.n && !value.p)
        return query_nomem(ev->q);
    return row_set_label(ev, r, j->dst, value);
}

int eval_label_join(struct ev *ev, const struct node *n, struct stream **ret)
{
    struct query *q = ev->q;
    struct join j = {
        .dst = eval_string(n->call.args[1]), .sep = eval_string(n->call.args[2]), .call = n};
    struct stream *in;
    int rc;

    for (size_t i = 3; i < n->call.arg_count; i++) {
        struct str src = eval_string(n->call.args[i]);

        if (!label_name_valid(src))
            return query_fail(q, "invalid source label name in label_join(): %.*s", STR_FMT(src));
    }
    if (!label_name_valid(j.dst))
        return query_fail(q, "invalid destination label name in label_join(): %.*s",
                          STR_FMT(j.dst));
    rc = eval_stream(ev, n->call.args[0], &in);
    if (rc < 0)
        return rc;
    buf_init(&j.out, LABEL_VALUE_BYTES_MAX);
    rc = relabeled(ev, in, join_row, &j, ret);
    buf_fini(&j.out);
    return rc;
}

/* --- sort, sort_desc, sort_by_label, sort_by_label_desc --- */
static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A run of digits or of anything else. */
static struct str chunk_take(struct str *s)
{
    size_t n = 1;
    struct str c;

    while (n < s->n && digit(s->p[n]) == digit(s->p[0]))
        n++;
    c = str_sub(*s, 0, n);
    *s = str_skip(*s, n);
    return c;
}

/* Digits that fit an int64, as a number; false for others. */
static bool chunk_number(struct str c, int64_t *ret)
{
    int64_t v = 0;

    for (size_t i = 0; i < c.n; i++)
        if (!digit(c.p[i]) || __builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, c.p[i] - '0', &v))
            return false;
    *ret = v;
    return true;
}

/* Runs of digits compare as numbers, the rest as bytes; a prefix comes first. */
static int natural_cmp(struct str a, struct str b)
{
    while (a.n && b.n) {
        struct str ca = chunk_take(&a), cb = chunk_take(&b);
        int64_t na, nb;
        int c;

        if (chunk_number(ca, &na) && chunk_number(cb, &nb))
            c = (na > nb) - (na < nb);
        else
            c = str_cmp(ca, cb);
        if (c)
            return c;
    }
    return (a.n > 0) - (b.n > 0);
}

struct sort_item {
    const struct row *row;
    size_t order;
};
struct sort_ctx {
    const struct node *call;
    bool by_label, descending;
};

static int by_label(const struct sort_ctx *sc, const struct row *a, const struct row *b)
{
    int c;

    for (size_t i = 1; i < sc->call->call.arg_count; i++) {
        struct str name = eval_string(sc->call->call.args[i]);
        struct str va = labels_get(&a->labels, name), vb = labels_get(&b->labels, name);

        if (!str_eq(va, vb)) {
            c = natural_cmp(va, vb);
            if (c == 0)
                c = str_cmp(va, vb);
            return sc->descending ? -c : c;
        }
    }
    c = labels_cmp(&a->labels, &b->labels);
    return sc->descending ? -c : c;
}

static int by_value(const struct sort_ctx *sc, double a, double b)
{
    if (isnan(a) || isnan(b))
        return isnan(a) - isnan(b); /* NaN at the end either way */
    return sc->descending ? (a < b) - (a > b) : (a > b) - (a < b);
}

static int sort_cmp(const void *x, const void *y, void *arg)
{
    const struct sort_item *a = x, *b = y;
    const struct sort_ctx *sc = arg;
    int c = sc->by_label ? by_label(sc, a->row, b->row) : by_value(sc, a->row->v[0], b->row->v[0]);

    return c ? c : (a->order > b->order) - (a->order < b->order);
}

static int sort_instant(struct ev *ev, struct sort_ctx *sc, struct matrix *m, struct stream **ret)
{
    struct query *q = ev->q;
    struct sort_item *items = arena_array(q->arena, m->n, sizeof *items);
    struct matrix out = {.held = m->held};
    size_t n = 0;

    out.rows = arena_array(q->arena, m->n, sizeof *out.rows);
    if (!items || !out.rows)
        return query_nomem(q);
    for (size_t i = 0; i < m->n; i++)
        if (sc->by_label || m->rows[i].kind[0] == POINT_FLOAT)
            items[n++] = (struct sort_item){&m->rows[i], i};
    qsort_r(items, n, sizeof *items, sort_cmp, sc);
    for (size_t i = 0; i < n; i++)
        out.rows[i] = *items[i].row;
    out.n = n;
    *m = (struct matrix){0};
    return stream_of_matrix(ev, &out, ret);
}

static int floats_only(struct ev *ev, struct row *r, void *arg UNUSED)
{
    for (size_t i = 0; i < ev->steps; i++)
        if (r->kind[i] == POINT_HIST)
            r->kind[i] = POINT_NONE;
    return !row_empty(ev, r);
}

int eval_sort(struct ev *ev, const struct node *n, struct stream **ret)
{
    enum function_id id = n->call.fn->id;
    struct sort_ctx sc = {n, id == FN_SORT_BY_LABEL || id == FN_SORT_BY_LABEL_DESC,
                          id == FN_SORT_DESC || id == FN_SORT_BY_LABEL_DESC};
    struct matrix m = {0};
    struct stream *in;
    int rc = eval_stream(ev, n->call.args[0], &in);

    if (rc < 0)
        return rc;
    if (ev->steps > 1) {
        annotate(ev->q, n->pos,
                 "PromQL warning: sort is ineffective for range queries since results are always "
                 "ordered by labels");
        if (!sc.by_label)
            return stream_map(ev, in, floats_only, NULL, ret);
        *ret = in;
        return 0;
    }
    rc = matrix_gather(ev, in, &m);
    return rc < 0 ? rc : sort_instant(ev, &sc, &m, ret);
}

/* --- absent, absent_over_time --- */
/* Whether matcher i gives its label to absent(): the first = of its name, with nothing after it for
 * the same name. */
static bool matcher_pins(const struct matcher *v, size_t n, size_t i)
{
    if (v[i].type != MATCH_EQ || v[i].value.n == 0 || str_eq(v[i].name, NAME_LABEL))
        return false;
    for (size_t k = 0; k < n; k++)
        if (k != i && str_eq(v[k].name, v[i].name) && (k > i || v[k].type == MATCH_EQ))
            return false;
    return true;
}

static int absent_labels(struct query *q, const struct node *arg, struct labels *ret)
{
    struct labels out;
    int rc;

    *ret = (struct labels){0};
    arg = node_unwrap(arg);
    if (arg->type != NODE_SELECTOR)
        return 0;
    rc = labels_alloc(q, arg->selector.matcher_count, &out);
    for (size_t i = 0; rc == 0 && i < arg->selector.matcher_count; i++) {
        const struct matcher *m = &arg->selector.matchers[i];

        if (matcher_pins(arg->selector.matchers, arg->selector.matcher_count, i))
            out.v[out.n++] = (struct label){m->name, m->value};
    }
    if (rc < 0)
        return rc;
    labels_sort(&out, NULL);
    *ret = out;
    return 0;
}

/* One row with 1 wherever no row of in has a point. */
static int absent_of(struct ev *ev, const struct node *arg, struct stream *in, struct stream **ret)
{
    struct matrix m = {0};
    struct row out, r;
    int rc = row_init(ev, &out, false);

    for (size_t i = 0; rc == 0 && i < ev->steps; i++) {
        out.kind[i] = POINT_FLOAT;
        out.v[i] = 1;
    }
    while (rc == 0 && (rc = stream_next(in, &r)) > 0) {
        for (size_t i = 0; i < ev->steps; i++)
            if (r.kind[i] != POINT_NONE)
                out.kind[i] = POINT_NONE;
        rc = 0;
    }
    stream_free(in);
    if (rc == 0)
        rc = absent_labels(ev->q, arg, &out.labels);
    out.stable = true;
    if (rc == 0 && !row_empty(ev, &out))
        rc = matrix_add(ev, &m, &out);
    return rc < 0 ? rc : stream_of_matrix(ev, &m, ret);
}

int eval_absent(struct ev *ev, const struct node *n, struct stream **ret)
{
    struct stream *in;
    int rc = eval_stream(ev, n->call.args[0], &in);

    return rc < 0 ? rc : absent_of(ev, n->call.args[0], in, ret);
}

int eval_absent_over_time(struct ev *ev, const struct node *n, struct stream **ret)
{
    struct stream *in;
    int rc = eval_range_call(ev, n, &in);

    return rc < 0 ? rc : absent_of(ev, n->call.args[0], in, ret);
}
