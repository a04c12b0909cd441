/* eval_agg.c - aggregations that fold: each row is added to its group and forgotten; memory follows
 * the groups. Those that return input series or need all values (topk, quantile, ...) are in
 * eval_agg_k.c. Order of operations and compensation of sums as in Prometheus (promql/engine.go).
 */
#include "promql/eval.h"
#include "promql/kernels.h"

enum { SAW_FLOAT = 1, SAW_HIST = 2, RUNNING_MEAN = 4, BROKEN = 8 };

/* A group at each step. Rows of floats without gaps only raise full: it is to be added to every n. */
struct cells {
    double *v, *c, *n;
    double *mean; /* only of those that need one */
    uint8_t *flags;
    size_t full;
};
struct hist_cell {
    struct fhist_sum sum;
    struct fhist_mean mean;
};
struct group {
    struct labels labels;
    bool drop_name;
    struct cells cells;
    struct hist_cell *hists; /* NULL until a histogram comes */
};
struct folding {
    struct ev *ev;
    const struct node *n;
    enum agg_op op; /* the node's, or that of its parts */
    bool whole;     /* rows with the same labels are a group, whatever the node says */
    bool part;      /* of sums, which leave out what they have lost: lost_row gives it */
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

static int cells_init(struct folding *f, struct cells *c)
{
    enum agg_op op = f->op;
    bool means = op == AGG_AVG || op == AGG_STDDEV || op == AGG_STDVAR;
    size_t n = f->ev->steps, arrays = means ? 4 : 3;
    char *p = arena_array(f->ev->q->arena, n, arrays * sizeof(double) + 1);

    if (!p)
        return query_nomem(f->ev->q);
    memset(p, 0, n * (arrays * sizeof(double) + 1));
    *c = (struct cells){.v = (double *)p, .c = (double *)p + n, .n = (double *)p + 2 * n};
    c->mean = means ? (double *)p + 3 * n : NULL;
    c->flags = (uint8_t *)((double *)p + arrays * n);
    /* Whatever comes first is less, and more, than that. */
    for (size_t i = 0; i < n && (op == AGG_MIN || op == AGG_MAX); i++)
        c->v[i] = NAN;
    return 0;
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
    *g = (struct group){0};
    rc = cells_init(f, &g->cells);
    if (rc == 0)
        rc = query_hold(q, f->ev->steps);
    if (f->whole)
        g->labels = *ls;
    return rc < 0 || f->whole ? rc : agg_group_labels(f->ev, f->n, ls, &g->labels);
}

static int group_of(struct folding *f, const struct labels *ls, struct group **ret)
{
    const struct node *n = f->n;
    size_t *at;
    bool fresh;
    int rc;

    if (f->count > 0 && !f->whole && !n->agg.without && n->agg.grouping_count == 0) {
        *ret = &f->groups[0]; /* there is but one */
        return 0;
    }
    rc = keymap_put(
        f->ev->q, &f->map,
        f->whole ? labels_key(f->ev->q, ls)
                 : labels_key_of(f->ev->q, ls, n->agg.grouping, n->agg.grouping_count, !n->agg.without, false),
        &at, &fresh);

    if (rc == 0 && fresh) {
        *at = f->count;
        rc = group_add(f, ls);
    }
    if (rc == 0)
        *ret = &f->groups[*at];
    return rc;
}

/* --- floats, one step --- */
static void add_mean(struct cells *c, size_t i, double v)
{
    double q;

    if (!(c->flags[i] & RUNNING_MEAN)) {
        double sum = c->v[i], k = c->c[i];

        kahan_add(v, &sum, &k);
        if (!isinf(sum) || c->n[i] == 1) {
            c->v[i] = sum;
            c->c[i] = k;
            return;
        }
        /* The sum would overflow: a running mean does not. */
        c->flags[i] |= RUNNING_MEAN;
        c->mean[i] = c->v[i] / (c->n[i] - 1);
        c->c[i] /= c->n[i] - 1;
    }
    q = (c->n[i] - 1) / c->n[i];
    c->mean[i] *= q;
    c->c[i] *= q;
    kahan_add(v / c->n[i], &c->mean[i], &c->c[i]);
}

static void add_variance(struct cells *c, size_t i, double v)
{
    double delta = v - c->mean[i];

    if (c->n[i] == 1) {
        c->mean[i] = v;
        c->v[i] = isfinite(v) ? 0 : NAN;
        return;
    }
    c->mean[i] += delta / c->n[i];
    c->v[i] += delta * (v - c->mean[i]);
}

/* A sum that begins at zero is the same as one that begins with its first value; NAN gives way to any value. */
static void add_float(enum agg_op op, struct cells *c, size_t i, double v)
{
    c->n[i]++;
    c->flags[i] |= SAW_FLOAT;
    switch (op) {
    case AGG_SUM:
        kahan_add(v, &c->v[i], &c->c[i]);
        break;
    case AGG_AVG:
        add_mean(c, i, v);
        break;
    case AGG_MIN:
        if (c->v[i] > v || isnan(c->v[i]))
            c->v[i] = v;
        break;
    case AGG_MAX:
        if (c->v[i] < v || isnan(c->v[i]))
            c->v[i] = v;
        break;
    case AGG_STDDEV:
    case AGG_STDVAR:
        add_variance(c, i, v);
        break;
    default:
        break;
    }
}

/* --- floats, all steps --- */
/* Floats at n steps in a row, from step at on, but for their number. */
static void fold_run(enum agg_op op, struct cells *c, const double *v, size_t at, size_t n)
{
    switch (op) {
    case AGG_AVG:
    case AGG_SUM:
        kernel_sum(c->v + at, c->c + at, v + at, n);
        break;
    case AGG_MIN:
        kernel_min(c->v + at, v + at, n);
        break;
    case AGG_MAX:
        kernel_max(c->v + at, v + at, n);
        break;
    default:
        break;
    }
}

/* The steps from *at on that have a point; false: no more. */
static bool next_run(const uint8_t *kind, size_t n, size_t *at, size_t *ret_n)
{
    const uint8_t *gap;

    while (*at < n && kind[*at] == POINT_NONE)
        ++*at;
    gap = memchr(kind + *at, POINT_NONE, n - *at);
    *ret_n = gap ? (size_t)(gap - kind) - *at : n - *at;
    return *ret_n > 0;
}

/* Means that are running already, or would have to from here on, take another way. */
static bool mean_overflows(const struct cells *c, const struct row *r, size_t n)
{
    bool over = memchr(c->flags, RUNNING_MEAN | SAW_FLOAT, n) != NULL;
    size_t len;

    for (size_t at = 0; !over && next_run(r->kind, n, &at, &len); at += len)
        over = kernel_overflows(c->v + at, r->v + at, len);
    return over;
}

/* A row without histograms, run by run; false: this operator, or this row, goes step by step. */
static bool fold_floats(enum agg_op op, struct cells *c, const struct row *r, size_t n)
{
    size_t len;

    if (op == AGG_STDDEV || op == AGG_STDVAR || (op == AGG_AVG && mean_overflows(c, r, n)))
        return false;
    for (size_t at = 0; next_run(r->kind, n, &at, &len); at += len) {
        fold_run(op, c, r->v, at, len);
        if (len == n) {
            c->full++;
            break;
        }
        for (size_t i = at; i < at + len; i++) {
            c->n[i]++;
            c->flags[i] |= SAW_FLOAT;
        }
    }
    return true;
}

/* What full stands for goes where it belongs. */
static void cells_settle(struct cells *c, size_t n)
{
    for (size_t i = 0; i < n && c->full > 0; i++) {
        c->n[i] += (double)c->full;
        c->flags[i] |= SAW_FLOAT;
    }
    c->full = 0;
}

/* --- histograms --- */
static int add_hist(struct folding *f, struct group *g, size_t i, const struct row *r)
{
    struct query *q = f->ev->q;
    struct cells *c = &g->cells;
    struct hist_cell *h;
    unsigned notes = 0;
    int rc;

    if (c->flags[i] & BROKEN)
        return 0;
    c->flags[i] |= SAW_HIST;
    if (!g->hists && !(g->hists = arena_zalloc(q->arena, f->ev->steps * sizeof *g->hists)))
        return query_nomem(q);
    h = &g->hists[i];
    rc = f->op == AGG_SUM ? fhist_sum_add(q->arena, &h->sum, r->h[i], &notes)
                                 : fhist_mean_add(q->arena, &h->mean, r->h[i], &notes);
    if (rc == RC_EXECUTION) {
        annotate_mixed_schemas(q, f->pos, metric_name(&r->labels));
        c->flags[i] |= BROKEN;
        return 0;
    }
    if (notes & FHIST_NOTE_BOUNDS_RECONCILED)
        annotate_reconciled(q, f->pos, HIST_OP_AGG);
    f->reset_seen |= (notes & FHIST_NOTE_RESET_COLLISION) != 0;
    return hist_rc(q, rc);
}

static int fold_hist(struct folding *f, struct group *g, size_t i, const struct row *r)
{
    switch (f->op) {
    case AGG_SUM:
    case AGG_AVG:
        return add_hist(f, g, i, r);
    case AGG_COUNT:
    case AGG_GROUP:
        g->cells.n[i]++;
        g->cells.flags[i] |= SAW_FLOAT;
        return 0;
    default:
        annotate(f->ev->q, f->pos, "PromQL info: ignored histogram in %s aggregation",
                 agg_text(f->n->agg.op));
        return 0;
    }
}

static int fold_row(struct folding *f, const struct row *r)
{
    enum agg_op op = f->op;
    bool hist = r->h && memchr(r->kind, POINT_HIST, f->ev->steps);
    struct group *g = NULL;
    int rc = group_of(f, &r->labels, &g);

    if (rc < 0)
        return rc;
    g->drop_name |= r->drop_name;
    /* Groups that met histograms may be broken at some steps. */
    if (!hist && !g->hists && fold_floats(op, &g->cells, r, f->ev->steps))
        return 0;
    cells_settle(&g->cells, f->ev->steps);
    for (size_t i = 0; rc == 0 && i < f->ev->steps; i++) {
        if (r->kind[i] == POINT_FLOAT && !(g->cells.flags[i] & BROKEN))
            add_float(op, &g->cells, i, r->v[i]);
        else if (r->kind[i] == POINT_HIST)
            rc = fold_hist(f, g, i, r);
    }
    return rc;
}

/* --- results --- */
static double cell_value(const struct folding *f, const struct cells *c, size_t i)
{
    switch (f->op) {
    case AGG_SUM:
        return f->part ? c->v[i] : c->v[i] + c->c[i];
    case AGG_AVG:
        return c->flags[i] & RUNNING_MEAN ? c->mean[i] + c->c[i] : c->v[i] / c->n[i] + c->c[i] / c->n[i];
    case AGG_COUNT:
        return c->n[i];
    case AGG_GROUP:
        return 1;
    case AGG_STDDEV:
        return sqrt(c->v[i] / c->n[i]);
    case AGG_STDVAR:
        return c->v[i] / c->n[i];
    default:
        return c->v[i];
    }
}

static int cell_point(struct folding *f, const struct group *g, size_t i, struct point *ret)
{
    struct query *q = f->ev->q;
    enum agg_op op = f->op;
    const struct cells *c = &g->cells;
    uint8_t flags = c->flags[i];
    struct histogram *h;

    *ret = (struct point){.kind = POINT_NONE};
    if ((flags & SAW_FLOAT) && (flags & SAW_HIST)) {
        annotate(q, f->pos,
                 "PromQL warning: encountered a mix of histograms and floats for aggregation");
        return 0;
    }
    if (flags & BROKEN || !(flags & (SAW_FLOAT | SAW_HIST)))
        return 0;
    if (flags & SAW_FLOAT) {
        *ret = (struct point){.kind = POINT_FLOAT, .v = cell_value(f, c, i)};
        return 0;
    }
    h = op == AGG_SUM ? fhist_sum_result(q->arena, &g->hists[i].sum)
                      : fhist_mean_result(q->arena, &g->hists[i].mean);
    if (!h)
        return query_nomem(q);
    *ret = (struct point){.kind = POINT_HIST, .h = h};
    return 0;
}

static int group_row(struct folding *f, struct group *g, struct matrix *out)
{
    struct ev *ev = f->ev;
    struct point p;
    struct row r;
    int rc = row_init(ev, &r, g->hists != NULL);

    cells_settle(&g->cells, ev->steps);
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

/* Adds all rows to their groups. */
static int fold_rows(struct folding *f, struct stream *in)
{
    struct row r;
    int rc;

    while ((rc = stream_next(in, &r)) > 0) {
        rc = fold_row(f, &r);
        if (rc < 0)
            break;
    }
    stream_free(in);
    if (f->reset_seen)
        annotate_collision(f->ev->q, f->pos, HIST_OP_AGG);
    return rc;
}

static int fold_result(struct folding *f, struct matrix *out)
{
    int rc = 0;

    query_unhold(f->ev->q, f->count * f->ev->steps);
    for (size_t i = 0; rc == 0 && i < f->count; i++)
        rc = group_row(f, &f->groups[i], out);
    return rc;
}

/* --- parts of sums and averages: sums, what they have lost (as one more value of the group, so that values that cancel out between parts leave the right
 * rest), and how many values are behind them --- */

static int lost_row(struct folding *f, const struct group *g, struct matrix *out)
{
    struct ev *ev = f->ev;
    struct row r;
    int rc = row_init(ev, &r, false);

    for (size_t i = 0; rc == 0 && i < ev->steps; i++) {
        bool lost = (g->cells.flags[i] & (SAW_FLOAT | SAW_HIST | BROKEN)) == SAW_FLOAT && g->cells.c[i] != 0;

        r.kind[i] = lost ? POINT_FLOAT : POINT_NONE;
        r.v[i] = g->cells.c[i];
    }
    r.labels = g->labels;
    r.drop_name = g->drop_name;
    r.stable = true;
    return rc < 0 || row_empty(ev, &r) ? rc : matrix_add(ev, out, &r);
}

static int sum_part(struct folding *f, struct matrix *out)
{
    int rc;

    f->part = true;
    rc = fold_result(f, out);
    for (size_t i = 0; rc == 0 && i < f->count; i++)
        rc = lost_row(f, &f->groups[i], out);
    return rc;
}

static int not_in_parts(struct query *q, const char *what)
{
    return err_set(q->err, RC_UNSUPPORTED, "an average of %s is not made of parts", what);
}

static int count_row(struct folding *f, const struct group *g, struct matrix *out)
{
    struct ev *ev = f->ev;
    struct row r;
    int rc = row_init(ev, &r, false);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < ev->steps; i++) {
        r.kind[i] = g->cells.flags[i] & SAW_FLOAT ? POINT_FLOAT : POINT_NONE;
        r.v[i] = g->cells.n[i];
    }
    r.labels = g->labels;
    r.count = true;
    r.stable = true;
    return row_empty(ev, &r) ? 0 : matrix_add(ev, out, &r);
}

/* A sum that is infinite may have overflowed. */
static bool sums_finite(const struct folding *f)
{
    for (size_t k = 0; k < f->count; k++)
        for (size_t i = 0; i < f->ev->steps; i++)
            if (isinf(f->groups[k].cells.v[i]))
                return false;
    return true;
}

static int average_part(struct folding *f, struct stream *in, struct matrix *out)
{
    int rc;

    f->op = AGG_SUM;
    rc = fold_rows(f, in);
    for (size_t i = 0; rc == 0 && i < f->count; i++)
        if (f->groups[i].hists)
            rc = not_in_parts(f->ev->q, "histograms");
    if (rc == 0 && !sums_finite(f))
        rc = not_in_parts(f->ev->q, "values whose sum is not finite");
    if (rc == 0)
        rc = sum_part(f, out);
    for (size_t i = 0; rc == 0 && i < f->count; i++)
        rc = count_row(f, &f->groups[i], out);
    return rc;
}

/* The counts are put in the place of the number of sums. 0: the sum is not finite. */
static int average_of_parts(struct folding *f, struct matrix *counts)
{
    for (size_t i = 0; i < f->count; i++) {
        struct cells *c = &f->groups[i].cells;

        cells_settle(c, f->ev->steps);
        memset(c->n, 0, f->ev->steps * sizeof *c->n);
    }
    for (size_t k = 0; k < counts->n; k++) {
        const struct row *r = &counts->rows[k];
        struct group *g = NULL;
        int rc = group_of(f, &r->labels, &g);

        if (rc < 0)
            return rc;
        for (size_t i = 0; i < f->ev->steps; i++)
            if (r->kind[i] == POINT_FLOAT)
                g->cells.n[i] += r->v[i];
    }
    f->op = AGG_AVG;
    return sums_finite(f);
}

int eval_aggregate_parts(struct ev *ev, const struct node *n, struct matrix *rows, struct matrix *counts, struct stream **ret)
{
    enum agg_op op = n->agg.op;
    struct folding f = {.ev = ev, .n = n, .op = op, .pos = node_unwrap(n->agg.expr)->pos, .whole = op == AGG_COUNT_VALUES};
    struct matrix out = {0};
    struct stream *in;
    int rc;

    if (promql_part_keeps_series(n) && op != AGG_STDDEV && op != AGG_STDVAR) {
        rc = eval_aggregate_k_rows(ev, n, rows, ret);
        return rc < 0 ? rc : 1;
    }
    if (op == AGG_COUNT || op == AGG_COUNT_VALUES || op == AGG_AVG)
        f.op = AGG_SUM;
    rc = stream_of_matrix(ev, rows, &in);
    if (rc == 0)
        rc = fold_rows(&f, in);
    if (rc == 0)
        rc = op == AGG_AVG ? average_of_parts(&f, counts) : 1;
    matrix_release(ev->q, counts);
    if (rc == 0)
        query_unhold(ev->q, f.count * ev->steps);
    if (rc <= 0)
        return rc;
    rc = fold_result(&f, &out);
    if (rc == 0)
        rc = stream_of_matrix(ev, &out, ret);
    return rc < 0 ? rc : 1;
}

int eval_aggregate(struct ev *ev, const struct node *n, struct stream **ret)
{
    const struct node *operand = node_unwrap(n->agg.expr);
    struct folding f = {.ev = ev, .n = n, .op = n->agg.op, .pos = operand->pos};
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
    if (rc == 0 && n == ev->q->part && f.op == AGG_AVG) {
        rc = average_part(&f, in, &out);
    } else if (rc == 0) {
        rc = fold_rows(&f, in);
        if (rc == 0)
            rc = n == ev->q->part && f.op == AGG_SUM ? sum_part(&f, &out) : fold_result(&f, &out);
    }
    return rc < 0 ? rc : stream_of_matrix(ev, &out, ret);
}
