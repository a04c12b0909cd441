/* eval_agg_k.c - aggregations that need the rows themselves: topk, bottomk, limitk, limit_ratio
 * return some of them, quantile and count_values need all values of a step. */
#include "promql/eval.h"

#include "common/shim/shim.h"

#include <stdlib.h>

/* --- rows by group, in order of appearance --- */
struct row_group {
    size_t *rows, n;
};
struct row_groups {
    struct row_group *v;
    size_t n;
};

static int group_rows(struct ev *ev, const struct node *n, const struct matrix *m,
                      struct row_groups *ret)
{
    struct query *q = ev->q;
    size_t *of = arena_array(q->arena, m->n, sizeof *of),
           *room = arena_array(q->arena, m->n, sizeof *room);
    struct row_groups g = {0};
    struct keymap map = {0};

    if (!of || !room)
        return query_nomem(q);
    for (size_t i = 0; i < m->n; i++) {
        size_t *at;
        bool fresh;
        int rc = keymap_put(q, &map,
                            labels_key_of(q, &m->rows[i].labels, n->agg.grouping,
                                          n->agg.grouping_count, !n->agg.without, false),
                            &at, &fresh);

        if (rc < 0)
            return rc;
        if (fresh)
            *at = g.n++;
        of[i] = *at;
    }
    g.v = arena_zalloc(q->arena, g.n * sizeof *g.v);
    if (!g.v)
        return query_nomem(q);
    for (size_t i = 0; i < m->n; i++)
        g.v[of[i]].n++;
    for (size_t i = 0; i < g.n; i++) {
        g.v[i].rows = room;
        room += g.v[i].n;
        g.v[i].n = 0;
    }
    for (size_t i = 0; i < m->n; i++)
        g.v[of[i]].rows[g.v[of[i]].n++] = i;
    *ret = g;
    return 0;
}

/* --- the parameter --- */
struct param {
    double *v, min, max;
    bool nan;
};

static int param_eval(struct ev *ev, const struct node *n, struct param *ret)
{
    int rc = eval_scalar(ev, n->agg.param, &ret->v);

    if (rc < 0)
        return rc;
    ret->min = ret->max = ret->v[0];
    ret->nan = false;
    for (size_t i = 0; i < ev->steps; i++) {
        ret->nan |= isnan(ret->v[i]);
        ret->min = fmin(ret->min, ret->v[i]);
        ret->max = fmax(ret->max, ret->v[i]);
    }
    return 0;
}

static int param_overflow(struct query *q, double v, const char *how)
{
    struct buf b;
    int rc;

    buf_init(&b, 512);
    print_g(&b, v);
    rc = query_fail(q, "Scalar value %.*s %s int64", STR_FMT(buf_view(&b)), how);
    buf_fini(&b);
    return rc;
}

/* 0: go on; 1: the result is empty. */
static int param_check(struct ev *ev, const struct node *n, const struct param *p)
{
    struct query *q = ev->q;
    struct pos_range pos = node_unwrap(n->agg.param)->pos;

    switch (n->agg.op) {
    case AGG_QUANTILE:
        if (p->nan)
            annotate_quantile(q, pos, NAN);
        if (p->max > 1)
            annotate_quantile(q, pos, p->max);
        if (p->min < 0)
            annotate_quantile(q, pos, p->min);
        return 0;
    case AGG_LIMIT_RATIO:
        if (p->nan)
            return query_fail(q, "Ratio value is NaN");
        if (p->max > 1)
            annotate_ratio(q, pos, p->max, 1);
        if (p->min < -1)
            annotate_ratio(q, pos, p->min, -1);
        return p->max == 0 && p->min == 0;
    default:
        if (p->nan)
            return query_fail(q, "Parameter value is NaN");
        if (p->max < 1)
            return 1;
        if (p->min <= -0x1p63)
            return param_overflow(q, p->min, "underflows");
        if (p->max >= 9223372036854774784.0)
            return param_overflow(q, p->max, "overflows");
        return 0;
    }
}

/* --- topk, bottomk --- */
struct choice {
    double v;
    size_t row;
};
struct selection {
    struct ev *ev;
    const struct node *n;
    struct matrix *m;
    struct choice *heap; /* room for the largest group */
    uint8_t **keep;      /* per row: steps to keep */
    double sign;         /* 1: topk; -1: bottomk */
};

/* The element to give up first is on top: the least, NaN before all, and of equal ones the one that came last: so it does not matter what else there is. */
static bool heap_less(const struct selection *s, const struct choice *a, const struct choice *b)
{
    if (isnan(a->v) || isnan(b->v))
        return isnan(a->v) && (!isnan(b->v) || a->row > b->row);
    return a->v == b->v ? a->row > b->row : s->sign * a->v < s->sign * b->v;
}

static void heap_swap(struct choice *h, size_t i, size_t j)
{
    struct choice c = h[i];

    h[i] = h[j];
    h[j] = c;
}

static void heap_up(const struct selection *s, size_t i)
{
    while (i > 0 && heap_less(s, &s->heap[i], &s->heap[(i - 1) / 2])) {
        heap_swap(s->heap, i, (i - 1) / 2);
        i = (i - 1) / 2;
    }
}

static void heap_down(const struct selection *s, size_t n)
{
    for (size_t i = 0;;) {
        size_t k = 2 * i + 1;

        if (k >= n)
            return;
        if (k + 1 < n && heap_less(s, &s->heap[k + 1], &s->heap[k]))
            k++;
        if (!heap_less(s, &s->heap[k], &s->heap[i]))
            return;
        heap_swap(s->heap, i, k);
        i = k;
    }
}

static size_t choose(struct selection *s, const struct row_group *g, size_t step, size_t k)
{
    size_t n = 0;

    for (size_t i = 0; i < g->n; i++) {
        const struct row *r = &s->m->rows[g->rows[i]];
        double v = r->v[step];

        if (r->kind[step] == POINT_HIST)
            annotate(s->ev->q, s->n->pos, "PromQL info: ignored histogram in %s aggregation",
                     agg_text(s->n->agg.op));
        if (r->kind[step] != POINT_FLOAT)
            continue;
        if (n < k) {
            s->heap[n] = (struct choice){v, g->rows[i]};
            heap_up(s, n++);
        } else if (s->sign * s->heap[0].v < s->sign * v || (isnan(s->heap[0].v) && !isnan(v))) {
            s->heap[0] = (struct choice){v, g->rows[i]};
            heap_down(s, n);
        }
    }
    return n;
}

static int best_first(const void *x, const void *y, void *arg)
{
    const struct choice *a = x, *b = y;
    const struct selection *s = arg;

    if (isnan(a->v) || isnan(b->v))
        return isnan(a->v) - isnan(b->v);
    if (a->v != b->v)
        return s->sign * a->v > s->sign * b->v ? -1 : 1;
    return (a->row > b->row) - (a->row < b->row);
}

/* --- limitk, limit_ratio --- */
/* Prometheus's label hash (its default string layout), so that the same series are chosen. */
static double ratio_of(struct query *q, const struct labels *ls)
{
    struct buf *b = &q->key;

    buf_clear(b);
    for (size_t i = 0; i < 2 * ls->n; i++) {
        struct str s = i % 2 ? ls->v[i / 2].value : ls->v[i / 2].name;

        if (s.n < 255) {
            buf_u8(b, (uint8_t)s.n);
        } else {
            buf_u8(b, 255);
            buf_u16(b, (uint16_t)s.n);
            buf_u8(b, (uint8_t)(s.n >> 16));
        }
        buf_str(b, s);
    }
    return (double)hash_xxh64(b->p ? b->p : "", b->n, 0) / (double)UINT64_MAX;
}

static bool in_ratio(double ratio, double limit)
{
    limit = fmax(-1, fmin(1, limit));
    return limit >= 0 ? ratio < limit || limit == 1 : ratio >= 1 + limit;
}

static void keep_ratio(struct selection *s, const struct param *p)
{
    for (size_t k = 0; k < s->m->n; k++) {
        double ratio = ratio_of(s->ev->q, &s->m->rows[k].labels);

        for (size_t i = 0; i < s->ev->steps; i++)
            s->keep[k][i] = p->v[i] != 0 && in_ratio(ratio, p->v[i]);
    }
}

static void keep_first(struct selection *s, const struct row_group *g, size_t step, size_t k)
{
    for (size_t i = 0; i < g->n && k > 0; i++) {
        if (s->m->rows[g->rows[i]].kind[step] == POINT_NONE)
            continue;
        s->keep[g->rows[i]][step] = 1;
        k--;
    }
}

static size_t param_k(const struct param *p, size_t step, size_t n)
{
    return p->v[step] < 1 ? 0 : p->v[step] >= (double)n ? n : (size_t)p->v[step];
}

static int keep_group(struct selection *s, const struct row_group *g, const struct param *p)
{
    for (size_t i = 0; i < s->ev->steps; i++) {
        size_t k = param_k(p, i, s->m->n), n;
        int rc = query_poll(s->ev->q, g->n);

        if (rc < 0)
            return rc;
        if (k == 0)
            continue;
        if (s->n->agg.op == AGG_LIMITK) {
            keep_first(s, g, i, k);
            continue;
        }
        n = choose(s, g, i, k);
        for (size_t c = 0; c < n; c++)
            s->keep[s->heap[c].row][i] = 1;
    }
    return 0;
}

/* The rows in the order they came, with the points that were kept. */
static int kept_rows(struct selection *s, struct matrix *out)
{
    int rc = 0;

    query_unhold(s->ev->q, s->m->held);
    for (size_t k = 0; rc == 0 && k < s->m->n; k++) {
        struct row *r = &s->m->rows[k];

        for (size_t i = 0; i < s->ev->steps; i++)
            if (!s->keep[k][i])
                r->kind[i] = POINT_NONE;
        if (!row_empty(s->ev, r))
            rc = matrix_add(s->ev, out, r);
    }
    return rc;
}

/* An instant result is ordered within each group; groups come in the order of the first row that each keeps, which does not depend on rows that none does. */
struct ranked_group {
    const struct row_group *g;
    size_t first;
};

static int by_first(const void *a, const void *b)
{
    size_t x = ((const struct ranked_group *)a)->first, y = ((const struct ranked_group *)b)->first;

    return (x > y) - (x < y);
}

static int ranked_rows(struct selection *s, const struct row_groups *g, const struct param *p,
                       struct matrix *out)
{
    size_t k = param_k(p, 0, s->m->n);
    struct ranked_group *groups = arena_array(s->ev->q->arena, g->n, sizeof *groups);
    int rc = 0;

    if (!groups)
        return query_nomem(s->ev->q);
    for (size_t i = 0; i < g->n; i++) {
        size_t n = choose(s, &g->v[i], 0, k);

        groups[i] = (struct ranked_group){&g->v[i], SIZE_MAX};
        for (size_t c = 0; c < n; c++)
            groups[i].first = MIN(groups[i].first, s->heap[c].row);
    }
    if (g->n > 1)
        qsort(groups, g->n, sizeof *groups, by_first);
    query_unhold(s->ev->q, s->m->held);
    for (size_t i = 0; rc == 0 && i < g->n; i++) {
        size_t n = choose(s, groups[i].g, 0, k);

        qsort_r(s->heap, n, sizeof *s->heap, best_first, s);
        for (size_t c = 0; rc == 0 && c < n; c++)
            rc = matrix_add(s->ev, out, &s->m->rows[s->heap[c].row]);
    }
    return rc;
}

static int keep_alloc(struct selection *s)
{
    struct arena *a = s->ev->q->arena;

    s->heap = arena_array(a, s->m->n, sizeof *s->heap);
    s->keep = arena_array(a, s->m->n, sizeof *s->keep);
    if (!s->heap || !s->keep)
        return query_nomem(s->ev->q);
    for (size_t k = 0; k < s->m->n; k++)
        if (!(s->keep[k] = arena_zalloc(a, s->ev->steps)))
            return query_nomem(s->ev->q);
    return 0;
}

static int select_rows(struct ev *ev, const struct node *n, struct matrix *m, const struct param *p,
                       struct matrix *out)
{
    struct selection s = {.ev = ev, .n = n, .m = m, .sign = n->agg.op == AGG_BOTTOMK ? -1 : 1};
    bool ranks = n->agg.op == AGG_TOPK || n->agg.op == AGG_BOTTOMK;
    struct row_groups g;
    int rc = group_rows(ev, n, m, &g);

    if (rc == 0)
        rc = keep_alloc(&s);
    if (rc == 0 && ranks && ev->steps == 1)
        return ranked_rows(&s, &g, p, out);
    if (rc == 0 && n->agg.op == AGG_LIMIT_RATIO)
        keep_ratio(&s, p);
    for (size_t i = 0; rc == 0 && n->agg.op != AGG_LIMIT_RATIO && i < g.n; i++)
        rc = keep_group(&s, &g.v[i], p);
    return rc < 0 ? rc : kept_rows(&s, out);
}

/* --- quantile --- */
static int quantile_group(struct ev *ev, const struct node *n, const struct matrix *m,
                          const struct row_group *g, const struct param *p, double *room,
                          struct matrix *out)
{
    struct row r;
    int rc = row_init(ev, &r, false);

    r.stable = true;
    for (size_t i = 0; rc == 0 && i < ev->steps; i++) {
        size_t values = 0;

        for (size_t k = 0; k < g->n; k++) {
            const struct row *in = &m->rows[g->rows[k]];

            if (in->kind[i] == POINT_FLOAT)
                room[values++] = in->v[i];
            else if (in->kind[i] == POINT_HIST)
                annotate(ev->q, node_unwrap(n->agg.expr)->pos,
                         "PromQL info: ignored histogram in quantile aggregation");
        }
        if (values > 0) {
            sort_values(room, values);
            r.kind[i] = POINT_FLOAT;
            r.v[i] = quantile_sorted(p->v[i], room, values);
        }
        rc = query_poll(ev->q, g->n);
    }
    for (size_t k = 0; rc == 0 && k < g->n; k++)
        r.drop_name |= m->rows[g->rows[k]].drop_name;
    if (rc == 0)
        rc = agg_group_labels(ev, n, &m->rows[g->rows[0]].labels, &r.labels);
    if (rc == 0 && !row_empty(ev, &r))
        rc = matrix_add(ev, out, &r);
    return rc;
}

static int quantile_rows(struct ev *ev, const struct node *n, struct matrix *m,
                         const struct param *p, struct matrix *out)
{
    double *room = arena_array(ev->q->arena, m->n, sizeof *room);
    struct row_groups g;
    int rc;

    if (!room)
        return query_nomem(ev->q);
    rc = group_rows(ev, n, m, &g);
    for (size_t i = 0; rc == 0 && i < g.n; i++)
        rc = quantile_group(ev, n, m, &g.v[i], p, room, out);
    matrix_release(ev->q, m);
    return rc;
}

static int aggregate_k(struct ev *ev, const struct node *n, const struct param *p, struct matrix *m, struct stream **ret)
{
    struct matrix out = {0};
    int rc = param_check(ev, n, p);

    if (rc == 0)
        rc = n->agg.op == AGG_QUANTILE ? quantile_rows(ev, n, m, p, &out)
                                       : select_rows(ev, n, m, p, &out);
    else if (rc > 0)
        matrix_release(ev->q, m);
    return rc < 0 ? rc : stream_of_matrix(ev, &out, ret);
}

int eval_aggregate_k(struct ev *ev, const struct node *n, struct stream **ret)
{
    struct matrix m = {0};
    struct param p;
    int rc = param_eval(ev, n, &p);

    if (rc == 0)
        rc = eval_matrix(ev, node_unwrap(n->agg.expr), &m);
    return rc < 0 ? rc : aggregate_k(ev, n, &p, &m, ret);
}

int eval_aggregate_k_rows(struct ev *ev, const struct node *n, struct matrix *m, struct stream **ret)
{
    struct param p;
    int rc = param_eval(ev, n, &p);

    return rc < 0 ? rc : aggregate_k(ev, n, &p, m, ret);
}

/* --- count_values --- */
static int value_text(struct query *q, const struct point *p, struct str *ret)
{
    char text[SHIM_DOUBLE_MAX];
    struct buf b;

    if (p->kind == POINT_FLOAT) {
        *ret = arena_str(q->arena, str_n(text, shim_double_text(p->v, false, text)));
    } else {
        buf_init(&b, PROMQL_TEXT_BYTES_MAX * 16);
        fhist_print(&b, p->h);
        *ret = buf_ok(&b) ? arena_str(q->arena, buf_view(&b)) : (struct str){0};
        buf_fini(&b);
    }
    return ret->p ? 0 : query_nomem(q);
}

struct counting {
    struct ev *ev;
    const struct node *n;
    struct str label;
    struct str *names; /* grouping, and with by() the value's label */
    size_t name_count;
    struct keymap map;
    struct matrix out;
};

static int count_group(struct counting *c, const struct labels *ls, size_t *ret)
{
    struct ev *ev = c->ev;
    const struct str name = STR(LABEL_METRIC_NAME);
    bool by = !c->n->agg.without, fresh;
    struct row r;
    size_t *at;
    int rc = keymap_put(ev->q, &c->map,
                        labels_key_of(ev->q, ls, c->names, c->name_count, by, false), &at, &fresh);

    if (rc == 0 && fresh) {
        *at = c->out.n;
        rc = row_init(ev, &r, false);
        r.stable = true;
        if (rc == 0)
            rc = labels_pick(ev->q, ls, c->names, c->name_count, by, &r.labels);
        if (rc == 0 && !by)
            rc = labels_pick(ev->q, &r.labels, &name, 1, false, &r.labels);
        if (rc == 0)
            rc = matrix_add(ev, &c->out, &r);
        if (rc == 0)
            rc = query_hold(ev->q, ev->steps);
    }
    if (rc == 0)
        *ret = *at;
    return rc;
}

static bool same_point(const struct point *a, const struct point *b)
{
    return a->kind == b->kind && a->h == b->h &&
           (a->kind == POINT_HIST || double_bits(a->v) == double_bits(b->v));
}

static int count_row(struct counting *c, const struct row *r)
{
    struct point last = {.kind = POINT_NONE};
    size_t group = 0;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < c->ev->steps; i++) {
        struct point p = row_get(r, i);
        struct labels ls;
        struct str text;

        if (p.kind == POINT_NONE)
            continue;
        if (!same_point(&p, &last)) {
            rc = value_text(c->ev->q, &p, &text);
            if (rc == 0)
                rc = labels_with(c->ev->q, &r->labels, c->label, text, &ls);
            if (rc == 0)
                rc = count_group(c, &ls, &group);
            /* The next row's histogram may stand at the same address: only floats are remembered.
             */
            last = p.kind == POINT_FLOAT ? p : (struct point){.kind = POINT_NONE};
        }
        if (rc == 0) {
            struct row *out = &c->out.rows[group];

            out->v[i] = out->kind[i] == POINT_NONE ? 1 : out->v[i] + 1;
            out->kind[i] = POINT_FLOAT;
        }
    }
    return rc;
}

static int counting_init(struct counting *c)
{
    struct query *q = c->ev->q;
    const struct node *n = c->n;
    struct buf b;
    int rc;

    c->label = eval_string(n->agg.param);
    if (c->label.n == 0 || !utf8_valid(c->label)) {
        buf_init(&b, ERR_TEXT_MAX * 4);
        labels_quote(&b, c->label);
        rc = query_fail(q, "invalid label name %.*s", STR_FMT(buf_view(&b)));
        buf_fini(&b);
        return rc;
    }
    c->names = arena_array(q->arena, n->agg.grouping_count + 1, sizeof *c->names);
    if (!c->names)
        return query_nomem(q);
    for (size_t i = 0; i < n->agg.grouping_count; i++)
        c->names[c->name_count++] = n->agg.grouping[i];
    if (!n->agg.without)
        c->names[c->name_count++] = c->label;
    return 0;
}

int eval_count_values(struct ev *ev, const struct node *n, struct stream **ret)
{
    struct counting c = {.ev = ev, .n = n};
    struct stream *in;
    struct row r;
    int rc = counting_init(&c);

    if (rc == 0)
        rc = eval_stream(ev, node_unwrap(n->agg.expr), &in);
    if (rc < 0)
        return rc;
    while ((rc = stream_next(in, &r)) > 0) {
        rc = count_row(&c, &r);
        if (rc < 0)
            break;
    }
    stream_free(in);
    c.out.held += c.out.n * ev->steps;
    if (rc == 0)
        rc = matrix_merge_result(ev, &c.out);
    return rc < 0 ? rc : stream_of_matrix(ev, &c.out, ret);
}
