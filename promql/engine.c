/* engine.c - runs a query: picks the evaluator of each node, and turns rows into results. */
#include "promql/eval.h"

#include "common/sys/clock.h"

#include <stdlib.h>

const struct node *node_unwrap(const struct node *n)
{
    while (n->type == NODE_PAREN)
        n = n->paren;
    return n;
}

struct str eval_string(const struct node *n)
{
    n = node_unwrap(n);
    ASSERT(n->type == NODE_STRING);
    return n->string;
}

/* --- scalars --- */
static int scalar_binary(struct ev *ev, const struct node *n, double **ret)
{
    double *l, *r;
    int rc;

    if (n->binary.op == OP_TRIM_UPPER || n->binary.op == OP_TRIM_LOWER)
        return query_fail(ev->q, "operator \"%s\" not allowed for Scalar operations",
                          binop_text(n->binary.op));
    rc = eval_scalar(ev, n->binary.lhs, &l);

    if (rc == 0)
        rc = eval_scalar(ev, n->binary.rhs, &r);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < ev->steps; i++)
        l[i] = scalar_binop(n->binary.op, l[i], r[i]);
    *ret = l;
    return query_poll(ev->q, ev->steps);
}

static int scalar_array(struct ev *ev, double value, double **ret)
{
    double *v = arena_array(ev->q->arena, ev->steps, sizeof *v);

    if (!v)
        return query_nomem(ev->q);
    for (size_t i = 0; i < ev->steps; i++)
        v[i] = value;
    *ret = v;
    return query_peak(ev->q, ev->steps);
}

static int eval_scalar_node(struct ev *ev, const struct node *n, double **ret)
{
    int rc;

    switch (n->type) {
    case NODE_NUMBER:
        return scalar_array(ev, n->number.value, ret);
    case NODE_PAREN:
        return eval_scalar(ev, n->paren, ret);
    case NODE_UNARY:
        rc = eval_scalar(ev, n->unary.expr, ret);
        for (size_t i = 0; rc == 0 && n->unary.minus && i < ev->steps; i++)
            (*ret)[i] = -(*ret)[i];
        return rc;
    case NODE_BINARY:
        return scalar_binary(ev, n, ret);
    default:
        ASSERT(n->type == NODE_CALL);
        rc = scalar_array(ev, 0, ret);
        return rc < 0 ? rc : eval_func_scalar(ev, n, *ret);
    }
}

static int enter(struct query *q)
{
    if (++q->depth > EVAL_DEPTH_MAX)
        return query_fail(q, "expression is nested deeper than %d levels, or chains as many operators", EVAL_DEPTH_MAX);
    return query_poll(q, 1);
}

int eval_scalar(struct ev *ev, const struct node *n, double **ret)
{
    int rc = enter(ev->q);

    if (rc == 0)
        rc = eval_scalar_node(ev, n, ret);
    ev->q->depth--;
    return rc;
}

/* --- vectors --- */
static int negate_row(struct ev *ev, struct row *r, void *arg UNUSED)
{
    int rc = row_drop_name(ev, r);

    for (size_t i = 0; rc == 0 && i < ev->steps; i++) {
        if (r->kind[i] == POINT_HIST && !(r->h[i] = fhist_mul(r->scratch, r->h[i], -1)))
            rc = query_nomem(ev->q);
        r->v[i] = -r->v[i];
    }
    return rc < 0 ? rc : 1;
}

static int eval_unary(struct ev *ev, const struct node *n, struct stream **ret)
{
    struct stream *in;
    int rc = eval_stream(ev, n->unary.expr, &in);

    if (rc < 0)
        return rc;
    if (n->unary.minus)
        return stream_map(ev, in, negate_row, NULL, ret);
    *ret = in;
    return 0;
}

static int eval_scalar_stream(struct ev *ev, const struct node *n, struct stream **ret)
{
    struct matrix m = {0};
    struct row r;
    double *v;
    int rc = eval_scalar(ev, n, &v);

    if (rc == 0)
        rc = row_init(ev, &r, false);
    if (rc < 0)
        return rc;
    memset(r.kind, POINT_FLOAT, ev->steps);
    memcpy(r.v, v, ev->steps * sizeof *v);
    r.stable = true;
    rc = matrix_add(ev, &m, &r);
    return rc < 0 ? rc : stream_of_matrix(ev, &m, ret);
}

static int eval_aggregate_here(struct ev *ev, const struct node *n, struct stream **ret)
{
    static const struct str none;
    const struct label_names keep = ev->q->keep;
    int rc = ev->q->opt->remote ? eval_remote(ev, n, ret) : 0;

    if (rc)
        return MIN(rc, 0);
    ev->q->keep = (struct label_names){0};
    if (promql_needs_only_groups(n))
        ev->q->keep = (struct label_names){n->agg.grouping_count ? n->agg.grouping : &none, n->agg.grouping_count};
    rc = eval_aggregate(ev, n, ret);
    ev->q->keep = keep;
    return rc;
}

static int eval_node(struct ev *ev, const struct node *n, struct stream **ret)
{
    if (n->value == VALUE_SCALAR)
        return eval_scalar_stream(ev, n, ret);
    switch (n->type) {
    case NODE_SELECTOR:
        return eval_selector(ev, n, SELECT_VALUE, ret);
    case NODE_CALL:
        return eval_func(ev, n, ret);
    case NODE_AGGREGATE:
        return eval_common(ev, n, eval_aggregate_here, ret);
    case NODE_BINARY:
        return eval_binary(ev, n, ret);
    case NODE_UNARY:
        return eval_unary(ev, n, ret);
    default:
        ASSERT(n->type == NODE_PAREN);
        return eval_stream(ev, n->paren, ret);
    }
}

int eval_stream(struct ev *ev, const struct node *n, struct stream **ret)
{
    const struct node *above = ev->q->above;
    int rc = enter(ev->q);

    if (n->type == NODE_CALL || n->type == NODE_AGGREGATE || n->type == NODE_BINARY)
        ev->q->above = n;
    if (rc == 0)
        rc = ev->q->trace && n->type != NODE_PAREN ? eval_traced(ev, n, eval_node, ret) : eval_node(ev, n, ret);
    ev->q->above = above;
    ev->q->depth--;
    return rc;
}

int eval_matrix(struct ev *ev, const struct node *n, struct matrix *ret)
{
    struct stream *s;
    int rc = eval_stream(ev, n, &s);

    *ret = (struct matrix){0};
    return rc < 0 ? rc : matrix_gather(ev, s, ret);
}

/* --- results --- */
static int result_points(struct ev *ev, const struct row *r, struct result_series *ret)
{
    size_t n = row_points(ev, r);

    ret->s = arena_array(ev->q->arena, n, sizeof *ret->s);
    if (!ret->s)
        return query_nomem(ev->q);
    ret->n = 0;
    for (size_t i = 0; i < ev->steps; i++)
        if (r->kind[i] != POINT_NONE)
            ret->s[ret->n++] = (struct result_sample){ev_time(ev, i), r->v[i],
                                                      r->kind[i] == POINT_HIST ? r->h[i] : NULL};
    return 0;
}

static int by_labels(const void *a, const void *b)
{
    return labels_cmp(&((const struct result_series *)a)->labels,
                      &((const struct result_series *)b)->labels);
}

static void sort_series(struct query *q, struct query_result *res)
{
    int64_t t0 = clock_mono_ns(clock_system());

    if (res->series_count > 1)
        qsort(res->series, res->series_count, sizeof *res->series, by_labels);
    q->stats->seconds_sort = (double)(clock_mono_ns(clock_system()) - t0) / 1e9;
}

/* Names that were to go are taken off now; two series may become one, or clash. */
static int drop_names(struct ev *ev, struct matrix *m)
{
    int rc = 0;

    if (ev->q->part)
        return 0;

    for (size_t i = 0; rc == 0 && i < m->n; i++)
        if (m->rows[i].drop_name)
            rc = labels_drop_meta(ev->q, &m->rows[i].labels, &m->rows[i].labels);
    return rc < 0 ? rc : matrix_merge(ev, m);
}

static int result_of_rows(struct ev *ev, struct matrix *m, struct query_result *res)
{
    struct query *q = ev->q;
    int rc = drop_names(ev, m);

    if (rc < 0)
        return rc;
    res->series = arena_array(q->arena, m->n, sizeof *res->series);
    if (!res->series)
        return query_nomem(q);
    for (size_t i = 0; rc == 0 && i < m->n; i++) {
        struct result_series *s = &res->series[res->series_count];

        rc = result_points(ev, &m->rows[i], s);
        s->labels = labels_dup(q->arena, &m->rows[i].labels);
        s->drop_name = q->part && m->rows[i].drop_name;
        s->count = m->rows[i].count;
        if (rc == 0 && !s->labels.v)
            rc = query_nomem(q);
        res->series_count += s->n > 0;
    }
    return rc;
}

/* A defined order of an instant vector survives parentheses only. */
static bool gives_order(const struct node *n)
{
    n = node_unwrap(n);
    if (n->type == NODE_AGGREGATE)
        return n->agg.op == AGG_TOPK || n->agg.op == AGG_BOTTOMK;
    if (n->type != NODE_CALL)
        return false;
    switch (n->call.fn->id) {
    case FN_SORT:
    case FN_SORT_DESC:
    case FN_SORT_BY_LABEL:
    case FN_SORT_BY_LABEL_DESC:
        return true;
    default:
        return false;
    }
}

static int run(struct ev *ev, const struct node *root, bool instant, struct query_result *res)
{
    struct matrix m;
    int rc;

    if (!instant && root->value != VALUE_SCALAR && root->value != VALUE_VECTOR)
        return err_set(
            ev->q->err, RC_INVALID,
            "invalid expression type \"%s\" for range query, must be Scalar or instant Vector",
            value_type_text(root->value));
    res->type = instant ? root->value : VALUE_MATRIX;
    if (root->value == VALUE_STRING) {
        res->string = eval_string(root);
        return 0;
    }
    if (root->value == VALUE_MATRIX) {
        rc = eval_range_matrix(ev, node_unwrap(root), res);
        if (rc == 0)
            sort_series(ev->q, res);
        return rc;
    }
    rc = eval_matrix(ev, root, &m);
    if (rc == 0)
        rc = result_of_rows(ev, &m, res);
    if (rc < 0)
        return rc;
    res->ordered = instant && gives_order(root);
    if (!instant && !ev->q->part)
        sort_series(ev->q, res);
    return 0;
}

static int steps_of(struct query *q, struct ev *ev)
{
    uint64_t steps;

    if (ev->end < ev->start)
        return err_set(q->err, RC_INVALID, "end timestamp must not be before start time");
    if (ev->start < INT64_MIN / 4 || ev->end > INT64_MAX / 4)
        return err_set(q->err, RC_INVALID, "query time is out of range");
    steps = (uint64_t)(ev->end - ev->start) / (uint64_t)ev->step + 1;
    if (steps > EVAL_STEPS_MAX)
        return err_set(q->err, RC_LIMIT, "query has more than %d steps", EVAL_STEPS_MAX);
    ev->steps = (size_t)steps;
    return 0;
}

static int stats_init(struct query *q, const struct ev *ev)
{
    struct query_stats *st = q->stats;

    st->step_count = ev->steps;
    if (!q->opt->stats_per_step)
        return 0;
    st->per_step = arena_zalloc(q->arena, ev->steps * sizeof *st->per_step);
    st->per_step_read = arena_zalloc(q->arena, ev->steps * sizeof *st->per_step_read);
    return st->per_step && st->per_step_read ? 0 : query_nomem(q);
}

static void query_close(struct query *q)
{
    aheads_close(q);
    for (struct open_cursor *o = q->cursors; o; o = o->next)
        o->c->ops->free(o->c);
    for (struct scratch *s = q->scratches; s; s = s->next)
        query_scratch_free(q, &s->arena);
    buf_fini(&q->key);
}

int query_run(struct promql_ast *ast, struct series_source *src, const struct query_opt *opt,
              struct query_result *ret, struct err *err)
{
    const struct clock *clock = clock_system();
    int64_t t0 = clock_mono_ns(clock), t1;
    struct query_result res = {0};
    struct err own;
    struct query q = {.opt = opt,
                      .src = src,
                      .arena = opt->arena,
                      .err = err ? err : &own,
                      .stats = &res.stats,
                      .samples_max = opt->samples_max ? opt->samples_max : SAMPLES_MAX_DEFAULT,
                      .read_max = opt->read_max ? opt->read_max : UINT64_MAX,
                      .processed_max = opt->processed_max ? opt->processed_max : UINT64_MAX,
                      .lookback_ms = opt->lookback_ms ? opt->lookback_ms : LOOKBACK_MS_DEFAULT,
                      .trace = opt->trace,
                      .part = opt->partial ? ast->root : NULL};
    bool instant = opt->step_ms == 0 && opt->start_ms == opt->end_ms;
    struct ev ev = {.q = &q,
                    .start = opt->start_ms,
                    .end = opt->end_ms,
                    .step = opt->step_ms ? opt->step_ms : 1,
                    .count = true};
    int rc;

    if (opt->step_ms < 0 || (opt->step_ms == 0 && !instant))
        return err_set(err, RC_INVALID,
                       "zero or negative query resolution step widths are not accepted. Try a "
                       "positive integer");
    buf_init(&q.key, PROMQL_TEXT_BYTES_MAX * 1024);
    rc = steps_of(&q, &ev);
    if (rc == 0)
        rc = promql_resolve(ast, opt->start_ms, opt->end_ms, opt->step_ms, q.err);
    if (rc == 0)
        rc = stats_init(&q, &ev);
    t1 = clock_mono_ns(clock);
    res.stats.seconds_prepare = (double)(t1 - t0) / 1e9;
    if (rc == 0)
        rc = commons_find(&q, ast->root);
    if (rc == 0)
        rc = run(&ev, ast->root, instant, &res);
    if (rc == 0)
        rc = query_processed(&q);
    if (rc == 0)
        rc = annotations_finish(&q, ast->text, &res);
    res.stats.seconds_eval = (double)(clock_mono_ns(clock) - t1) / 1e9;
    res.stats.series = q.series;
    query_close(&q);
    if (rc == 0)
        *ret = res;
    return rc;
}
