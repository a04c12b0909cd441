/* eval_agg.c - aggregations that fold: each row is added to its group and forgotten; memory follows
 * the groups. Those that return input series or need all values (topk, quantile, ...) are in
 * eval_agg_k.c. Order of operations and compensation of sums as in Prometheus (promql/engine.go).
 */
#include "promql/eval.h"

enum { SAW_FLOAT = 1, SAW_HIST = 2, RUNNING_MEAN = 4, BROKEN = 8 };

/* One group at one step. */
struct cell {
    double v, mean, c, n;
    uint8_t flags;
};
struct hist_cell {
    struct fhist_sum sum;
    struct fhist_mean mean;
};
struct group {
    struct labels labels;
    bool drop_name;
    struct cell *cells;
    struct hist_cell *hists; /* NULL until a histogram comes */
};
struct folding {
    struct ev *ev;
    const struct node *n;
    struct pos_range pos; /* of the operand, for annotations */
    struct keymap map;
    struct group *groups;
    size_t count, cap;
    bool reset_seen;
};

int agg_group_labels(struct ev *ev, const struct node *n, const struct labels *ls,
                     struct labels *ret)
{
    const struct str name = STR(LABEL_METRIC_NAME);
    int rc;

    *ret = (struct labels){0};
    if (!n->agg.without)
        return n->agg.grouping_count
                   ? labels_pick(ev->q, ls, n->agg.grouping, n->agg.grouping_count, true, ret)
                   : 0;
    rc = labels_pick(ev->q, ls, n->agg.grouping, n->agg.grouping_count, false, ret);
    return rc < 0 ? rc : labels_pick(ev->q, ret, &name, 1, false, ret);
}

static int group_add(struct folding *f, const struct labels *ls)
{
    struct query *q = f->ev->q;
    struct group *g;
    int rc;

    if (f->count == f->cap) {
        size_t cap = f->cap ? f->cap * 2 : 8;

        g = arena_array(q->arena, cap, sizeof *g);
        if (!g)
            return query_nomem(q);
        if (f->count)
            memcpy(g, f->groups, f->count * sizeof *g);
        f->groups = g;
        f->cap = cap;
    }
    g = &f->groups[f->count++];
    *g = (struct group){.cells = arena_array(q->arena, f->ev->steps, sizeof *g->cells)};
    if (!g->cells)
        return query_nomem(q);
    memset(g->cells, 0, f->ev->steps * sizeof *g->cells);
    rc = query_hold(q, f->ev->steps);
    return rc < 0 ? rc : agg_group_labels(f->ev, f->n, ls, &g->labels);
}

static int group_of(struct folding *f, const struct labels *ls, struct group **ret)
{
    const struct node *n = f->n;
    size_t *at;
    bool fresh;
    int rc = keymap_put(
        f->ev->q, &f->map,
        labels_key_of(f->ev->q, ls, n->agg.grouping, n->agg.grouping_count, !n->agg.without, false),
        &at, &fresh);

    if (rc == 0 && fresh) {
        *at = f->count;
        rc = group_add(f, ls);
    }
    if (rc == 0)
        *ret = &f->groups[*at];
    return rc;
}

/* --- floats --- */
static void add_mean(struct cell *c, double v)
{
    double q;

    if (!(c->flags & RUNNING_MEAN)) {
        double sum = c->v, k = c->c;

        kahan_add(v, &sum, &k);
        if (!isinf(sum)) {
            c->v = sum;
            c->c = k;
            return;
        }
        /* The sum would overflow: a running mean does not. */
        c->flags |= RUNNING_MEAN;
        c->mean = c->v / (c->n - 1);
        c->c /= c->n - 1;
    }
    q = (c->n - 1) / c->n;
    c->mean *= q;
    c->c *= q;
    kahan_add(v / c->n, &c->mean, &c->c);
}

static void add_variance(struct cell *c, double v)
{
    double delta = v - c->mean;

    c->mean += delta / c->n;
    c->v += delta * (v - c->mean);
}

static void add_first(enum agg_op op, struct cell *c, double v)
{
    c->v = v;
    if (op == AGG_STDDEV || op == AGG_STDVAR) {
        c->mean = v;
        c->v = isfinite(v) ? 0 : NAN;
    }
}

static void add_float(enum agg_op op, struct cell *c, double v)
{
    c->n++;
    c->flags |= SAW_FLOAT;
    if (c->n == 1) {
        add_first(op, c, v);
        return;
    }
    switch (op) {
    case AGG_SUM:
        kahan_add(v, &c->v, &c->c);
        break;
    case AGG_AVG:
        add_mean(c, v);
        break;
    case AGG_MIN:
        if (c->v > v || isnan(c->v))
            c->v = v;
        break;
    case AGG_MAX:
        if (c->v < v || isnan(c->v))
            c->v = v;
        break;
    case AGG_STDDEV:
    case AGG_STDVAR:
        add_variance(c, v);
        break;
    default:
        break;
    }
}

/* Sums of rows without histograms: the hot loop of sum(rate(x[5m])). */
static void sum_row(const struct ev *ev, struct cell *cells, const struct row *r)
{
    for (size_t i = 0; i < ev->steps; i++) {
        struct cell *c = &cells[i];

        if (r->kind[i] == POINT_NONE)
            continue;
        c->n++;
        c->flags |= SAW_FLOAT;
        if (c->n == 1)
            c->v = r->v[i];
        else
            kahan_add(r->v[i], &c->v, &c->c);
    }
}

/* --- histograms --- */
static int add_hist(struct folding *f, struct group *g, size_t i, const struct row *r)
{
    struct query *q = f->ev->q;
    struct cell *c = &g->cells[i];
    struct hist_cell *h;
    unsigned notes = 0;
    int rc;

    if (c->flags & BROKEN)
        return 0;
    c->flags |= SAW_HIST;
    if (!g->hists && !(g->hists = arena_zalloc(q->arena, f->ev->steps * sizeof *g->hists)))
        return query_nomem(q);
    h = &g->hists[i];
    rc = f->n->agg.op == AGG_SUM ? fhist_sum_add(q->arena, &h->sum, r->h[i], &notes)
                                 : fhist_mean_add(q->arena, &h->mean, r->h[i], &notes);
    if (rc == RC_EXECUTION) {
        annotate_mixed_schemas(q, f->pos, metric_name(&r->labels));
        c->flags |= BROKEN;
        return 0;
    }
    if (notes & FHIST_NOTE_BOUNDS_RECONCILED)
        annotate_reconciled(q, f->pos, HIST_OP_AGG);
    f->reset_seen |= (notes & FHIST_NOTE_RESET_COLLISION) != 0;
    return hist_rc(q, rc);
}

static int fold_hist(struct folding *f, struct group *g, size_t i, const struct row *r)
{
    switch (f->n->agg.op) {
    case AGG_SUM:
    case AGG_AVG:
        return add_hist(f, g, i, r);
    case AGG_COUNT:
    case AGG_GROUP:
        g->cells[i].n++;
        g->cells[i].flags |= SAW_FLOAT;
        return 0;
    default:
        annotate(f->ev->q, f->pos, "PromQL info: ignored histogram in %s aggregation",
                 agg_text(f->n->agg.op));
        return 0;
    }
}

static int fold_row(struct folding *f, const struct row *r)
{
    enum agg_op op = f->n->agg.op;
    bool hist = r->h && memchr(r->kind, POINT_HIST, f->ev->steps);
    struct group *g = NULL;
    int rc = group_of(f, &r->labels, &g);

    if (rc < 0)
        return rc;
    g->drop_name |= r->drop_name;
    if (op == AGG_SUM && !hist) {
        sum_row(f->ev, g->cells, r);
        return 0;
    }
    for (size_t i = 0; rc == 0 && i < f->ev->steps; i++) {
        if (r->kind[i] == POINT_FLOAT && !(g->cells[i].flags & BROKEN))
            add_float(op, &g->cells[i], r->v[i]);
        else if (r->kind[i] == POINT_HIST)
            rc = fold_hist(f, g, i, r);
    }
    return rc;
}

/* --- results --- */
static double cell_value(enum agg_op op, const struct cell *c)
{
    switch (op) {
    case AGG_SUM:
        return c->v + c->c;
    case AGG_AVG:
        return c->flags & RUNNING_MEAN ? c->mean + c->c : c->v / c->n + c->c / c->n;
    case AGG_COUNT:
        return c->n;
    case AGG_GROUP:
        return 1;
    case AGG_STDDEV:
        return sqrt(c->v / c->n);
    case AGG_STDVAR:
        return c->v / c->n;
    default:
        return c->v;
    }
}

static int cell_point(struct folding *f, const struct group *g, size_t i, struct point *ret)
{
    struct query *q = f->ev->q;
    enum agg_op op = f->n->agg.op;
    const struct cell *c = &g->cells[i];
    struct histogram *h;

    *ret = (struct point){.kind = POINT_NONE};
    if ((c->flags & SAW_FLOAT) && (c->flags & SAW_HIST)) {
        annotate(q, f->pos,
                 "PromQL warning: encountered a mix of histograms and floats for aggregation");
        return 0;
    }
    if (c->flags & BROKEN || !(c->flags & (SAW_FLOAT | SAW_HIST)))
        return 0;
    if (c->flags & SAW_FLOAT) {
        *ret = (struct point){.kind = POINT_FLOAT, .v = cell_value(op, c)};
        return 0;
    }
    h = op == AGG_SUM ? fhist_sum_result(q->arena, &g->hists[i].sum)
                      : fhist_mean_result(q->arena, &g->hists[i].mean);
    if (!h)
        return query_nomem(q);
    *ret = (struct point){.kind = POINT_HIST, .h = h};
    return 0;
}

static int group_row(struct folding *f, const struct group *g, struct matrix *out)
{
    struct ev *ev = f->ev;
    struct point p;
    struct row r;
    int rc = row_init(ev, &r, g->hists != NULL);

    for (size_t i = 0; rc == 0 && i < ev->steps; i++) {
        rc = cell_point(f, g, i, &p);
        if (rc == 0)
            row_set(&r, i, &p);
    }
    r.labels = g->labels;
    r.drop_name = g->drop_name;
    r.stable = true;
    if (rc == 0 && !row_empty(ev, &r))
        rc = matrix_add(ev, out, &r);
    return rc;
}

static int fold(struct folding *f, struct stream *in, struct matrix *out)
{
    struct query *q = f->ev->q;
    struct row r;
    int rc;

    while ((rc = stream_next(in, &r)) > 0) {
        rc = fold_row(f, &r);
        if (rc < 0)
            break;
    }
    stream_free(in);
    if (f->reset_seen)
        annotate_collision(q, f->pos, HIST_OP_AGG);
    query_unhold(q, f->count * f->ev->steps);
    for (size_t i = 0; rc == 0 && i < f->count; i++)
        rc = group_row(f, &f->groups[i], out);
    return rc;
}

int eval_aggregate(struct ev *ev, const struct node *n, struct stream **ret)
{
    const struct node *operand = node_unwrap(n->agg.expr);
    struct folding f = {.ev = ev, .n = n, .pos = operand->pos};
    struct matrix out = {0};
    struct stream *in;
    int rc;

    switch (n->agg.op) {
    case AGG_COUNT_VALUES:
        return eval_count_values(ev, n, ret);
    case AGG_TOPK:
    case AGG_BOTTOMK:
    case AGG_LIMITK:
    case AGG_LIMIT_RATIO:
    case AGG_QUANTILE:
        return eval_aggregate_k(ev, n, ret);
    default:
        break;
    }
    rc = eval_stream(ev, operand, &in);
    if (rc == 0)
        rc = fold(&f, in, &out);
    return rc < 0 ? rc : stream_of_matrix(ev, &out, ret);
}
