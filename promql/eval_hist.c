/* eval_hist.c - histogram_quantile, histogram_quantiles, histogram_fraction: native histograms
 * point by point (fhist.h), classic ones from the rows of a group, sorted by their le. Source:
 * Prometheus 3 (promql/quantile.go); differences: none known. */
#include "promql/eval.h"

#include "common/model/duration.h"

#include <stdlib.h>

struct bucket {
    double le, count;
};
/* A classic histogram: rows that differ in le alone. */
struct classic {
    struct labels labels; /* without le */
    bool drop_name;
    struct classic_row {
        double le;
        const struct row *row;
        struct classic_row *next;
    } * rows;
    struct classic_row **sorted;
    size_t n;
};
struct hist_call {
    struct ev *ev;
    const struct node *n;
    struct pos_range pos; /* of the vector */
    const struct node *vector;
    const double *a, *b;       /* quantile, or the fraction's bounds */
    struct str quantile_label; /* of histogram_quantiles; p NULL otherwise */
    struct matrix m;           /* operand */
    struct classic *classics;
    size_t count, cap;
    struct keymap map;      /* labels without le -> index of classics */
    struct bucket *buckets; /* room for the largest */
    struct matrix out;
};

/* --- classic: one set of buckets --- */
static size_t coalesce(struct bucket *b, size_t n)
{
    size_t k = 0;

    for (size_t i = 1; i < n; i++) {
        if (b[i].le == b[k].le)
            b[k].count += b[i].count;
        else
            b[++k] = b[i];
    }
    return k + 1;
}

static bool almost_equal(double a, double b)
{
    const double tolerance = 1e-12, least = 0x1p-1022;
    double diff = fabs(a - b), sum = fabs(a) + fabs(b);

    if (a == b || (isnan(a) && isnan(b)))
        return true;
    if (a == 0 || b == 0 || sum < least)
        return diff < tolerance * least;
    return diff / fmin(sum, 0x1.fffffffffffffp1023) < tolerance;
}

struct fix {
    bool forced;
    double min, max, diff;
};

/* Counts never fall: scrapes may have caught the buckets at different times. Small falls are
 * rounding. */
static void make_monotonic(struct bucket *b, size_t n, struct fix *f)
{
    double prev = b[0].count;

    for (size_t i = 1; i < n; i++) {
        double cur = b[i].count;

        if (almost_equal(prev, cur)) {
            b[i].count = prev;
        } else if (cur < prev) {
            f->min = f->forced ? fmin(f->min, b[i].le) : b[i].le;
            f->max = f->forced ? fmax(f->max, b[i].le) : b[i].le;
            f->diff = fmax(f->diff, prev - cur);
            f->forced = true;
            b[i].count = prev;
        } else {
            prev = cur;
        }
    }
}

static double classic_quantile(double q, struct bucket *b, size_t n, struct fix *f)
{
    double rank, count, start = 0;
    size_t i = 0;

    if (isnan(q))
        return NAN;
    if (q < 0)
        return -INFINITY;
    if (q > 1)
        return INFINITY;
    if (b[n - 1].le != INFINITY)
        return NAN;
    n = coalesce(b, n);
    make_monotonic(b, n, f);
    if (n < 2 || b[n - 1].count == 0)
        return NAN;
    rank = q * b[n - 1].count;
    while (i < n - 1 && !(b[i].count >= rank))
        i++;
    if (i == n - 1)
        return b[n - 2].le;
    if (i == 0 && b[0].le <= 0)
        return b[0].le;
    count = b[i].count;
    if (i > 0) {
        start = b[i - 1].le;
        count -= b[i - 1].count;
        rank -= b[i - 1].count;
    }
    return start + (b[i].le - start) * (rank / count);
}

/* Observations at or below v, linear within the bucket; the first bucket starts at 0 when its bound
 * is positive. Within a bucket without a lower bound there is nothing to interpolate: it counts as
 * a whole. */
static double rank_at(double v, const struct bucket *b, size_t n)
{
    double below = 0, lower = b[0].le > 0 ? 0 : -INFINITY;

    for (size_t i = 0; i < n; i++) {
        if (lower >= v)
            return below;
        if (b[i].le > v)
            return isinf(lower) ? b[i].count
                                : below + (b[i].count - below) * (v - lower) / (b[i].le - lower);
        below = b[i].count;
        lower = b[i].le;
    }
    return b[n - 1].count;
}

static double classic_fraction(double lower, double upper, struct bucket *b, size_t n)
{
    double count;

    if (b[n - 1].le != INFINITY)
        return NAN;
    n = coalesce(b, n);
    count = b[n - 1].count;
    if (count == 0 || isnan(lower) || isnan(upper))
        return NAN;
    if (lower >= upper)
        return 0;
    return (fmin(rank_at(upper, b, n), count) - fmin(rank_at(lower, b, n), count)) / count;
}

/* --- sorting rows into histograms --- */
static int classic_add(struct hist_call *c, const struct row *r, double le)
{
    const struct str le_name = STR("le");
    struct query *q = c->ev->q;
    struct classic_row *cr = arena_alloc(q->arena, sizeof *cr);
    struct classic *cl;
    size_t *at;
    bool fresh;
    int rc =
        keymap_put(q, &c->map, labels_key_of(q, &r->labels, &le_name, 1, false, true), &at, &fresh);

    if (rc < 0 || !cr)
        return rc < 0 ? rc : query_nomem(q);
    if (fresh) {
        if (c->count == c->cap) {
            size_t cap = c->cap ? c->cap * 2 : 8;
            struct classic *v = arena_array(q->arena, cap, sizeof *v);

            if (!v)
                return query_nomem(q);
            if (c->count)
                memcpy(v, c->classics, c->count * sizeof *v);
            c->classics = v;
            c->cap = cap;
        }
        *at = c->count++;
        c->classics[*at] = (struct classic){0};
        rc = labels_pick(q, &r->labels, &le_name, 1, false, &c->classics[*at].labels);
    }
    cl = &c->classics[*at];
    *cr = (struct classic_row){le, r, cl->rows};
    cl->rows = cr;
    cl->drop_name |= r->drop_name;
    cl->n++;
    return rc;
}

static bool has_kind(const struct ev *ev, const struct row *r, enum point_kind kind)
{
    return memchr(r->kind, kind, ev->steps) != NULL;
}

static void bad_bucket(struct hist_call *c, const struct row *r, struct str le)
{
    struct buf b;

    buf_init(&b, PROMQL_TEXT_BYTES_MAX);
    buf_z(&b, "PromQL warning: bucket label \"le\" is missing or has a malformed value of ");
    labels_quote(&b, le);
    annotate_for(c->ev->q, c->pos, metric_name(&r->labels), "%.*s", STR_FMT(buf_view(&b)));
    buf_fini(&b);
}

static int sort_rows(struct hist_call *c)
{
    for (size_t i = 0; i < c->m.n; i++) {
        const struct row *r = &c->m.rows[i];
        struct str text = labels_get(&r->labels, STR("le"));
        double le;
        int rc;

        if (!has_kind(c->ev, r, POINT_FLOAT))
            continue;
        if (float_parse(text, &le, NULL) < 0) {
            bad_bucket(c, r, text.p ? text : STR(""));
            continue;
        }
        rc = classic_add(c, r, le);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int by_le(const void *a, const void *b)
{
    double x = (*(struct classic_row *const *)a)->le, y = (*(struct classic_row *const *)b)->le;

    if (isnan(x) || isnan(y))
        return isnan(x) - isnan(y);
    return (x > y) - (x < y);
}

static int sort_buckets(struct hist_call *c)
{
    struct arena *a = c->ev->q->arena;
    size_t most = 0;

    for (size_t i = 0; i < c->count; i++) {
        struct classic *cl = &c->classics[i];
        size_t n = 0;

        cl->sorted = arena_array(a, cl->n, sizeof *cl->sorted);
        if (!cl->sorted)
            return query_nomem(c->ev->q);
        for (struct classic_row *r = cl->rows; r; r = r->next)
            cl->sorted[n++] = r;
        qsort(cl->sorted, n, sizeof *cl->sorted, by_le);
        most = MAX(most, n);
    }
    c->buckets = arena_array(a, most, sizeof *c->buckets);
    return c->buckets ? 0 : query_nomem(c->ev->q);
}

static size_t buckets_at(struct hist_call *c, const struct classic *cl, size_t step)
{
    size_t n = 0;

    for (size_t k = 0; k < cl->n; k++)
        if (cl->sorted[k]->row->kind[step] == POINT_FLOAT)
            c->buckets[n++] = (struct bucket){cl->sorted[k]->le, cl->sorted[k]->row->v[step]};
    return n;
}

/* A native and a classic histogram of one name and labels: neither is evaluated where both have
 * points. */
static int resolve_conflicts(struct hist_call *c)
{
    struct query *q = c->ev->q;

    for (size_t k = 0; k < c->m.n; k++) {
        struct row *r = &c->m.rows[k];
        size_t *at;
        bool fresh;
        int rc;

        if (!has_kind(c->ev, r, POINT_HIST))
            continue;
        rc = keymap_put(q, &c->map, labels_key(q, &r->labels), &at, &fresh);
        if (rc < 0)
            return rc;
        if (fresh) {
            *at = SIZE_MAX;
            continue;
        }
        for (size_t i = 0; *at != SIZE_MAX && i < c->ev->steps; i++) {
            struct classic *cl = &c->classics[*at];

            if (r->kind[i] != POINT_HIST || buckets_at(c, cl, i) == 0)
                continue;
            annotate_for(q, c->pos, metric_name(&r->labels),
                         "PromQL warning: vector contains a mix of classic and native histograms");
            r->kind[i] = POINT_NONE;
            for (size_t b = 0; b < cl->n; b++)
                cl->sorted[b]->row->kind[i] = POINT_NONE;
        }
    }
    return 0;
}

/* --- evaluation --- */
static double native_value(struct hist_call *c, const struct row *r, size_t step)
{
    struct query *q = c->ev->q;
    struct str name = metric_name(&r->labels);
    unsigned notes = 0;
    double v;

    if (c->n->call.fn->id == FN_HISTOGRAM_FRACTION)
        v = fhist_fraction(r->h[step], c->a[step], c->b[step], &notes);
    else
        v = fhist_quantile(r->h[step], c->a[step], &notes);
    if (notes & FHIST_NOTE_QUANTILE_NAN)
        annotate_for(
            q, c->pos, name,
            "PromQL info: input to histogram_quantile has NaN observations, result is NaN");
    if (notes & FHIST_NOTE_QUANTILE_SKEWED)
        annotate_for(q, c->pos, name,
                     "PromQL info: input to histogram_quantile has NaN observations, result is "
                     "skewed higher");
    if (notes & FHIST_NOTE_FRACTION_NAN)
        annotate_for(q, c->pos, name,
                     "PromQL info: input to histogram_fraction has NaN observations, which are "
                     "excluded from all fractions");
    return v;
}

static double classic_value(struct hist_call *c, const struct classic *cl, size_t step, size_t n)
{
    struct fix f = {0};
    double v;

    if (c->n->call.fn->id == FN_HISTOGRAM_FRACTION)
        return classic_fraction(c->a[step], c->b[step], c->buckets, n);
    v = classic_quantile(c->a[step], c->buckets, n, &f);
    if (f.forced)
        annotate_monotonicity(c->ev->q, c->pos, metric_name(&cl->labels), ev_time(c->ev, step),
                              f.min, f.max, f.diff);
    return v;
}

/* The quantile's label differs from step to step only if the quantile does: points go to the row of
 * their own label set. */
static int put_row(struct hist_call *c, struct row *r, const struct labels *labels, bool drop_name)
{
    int rc;

    r->labels = *labels;
    r->drop_name = drop_name;
    r->stable = true;
    rc = row_drop_name(c->ev, r);
    if (rc == 0 && c->quantile_label.p) {
        struct buf b;
        struct str text;

        buf_init(&b, 512);
        print_g(&b, c->a[0]);
        if (buf_ok(&b) && isfinite(c->a[0]) && !memchr(b.p, '.', b.n) && !memchr(b.p, 'e', b.n))
            buf_z(&b, ".0");
        text = arena_str(c->ev->q->arena, buf_view(&b));
        buf_fini(&b);
        rc = text.p ? labels_with(c->ev->q, &r->labels, c->quantile_label, text, &r->labels)
                    : query_nomem(c->ev->q);
    }
    return rc < 0 ? rc : matrix_add(c->ev, &c->out, r);
}

static int eval_native(struct hist_call *c, const struct row *in)
{
    struct row r;
    int rc = row_init(c->ev, &r, false);

    if (rc < 0 || !has_kind(c->ev, in, POINT_HIST))
        return rc;
    for (size_t i = 0; i < c->ev->steps; i++) {
        if (in->kind[i] != POINT_HIST)
            continue;
        r.kind[i] = POINT_FLOAT;
        r.v[i] = native_value(c, in, i);
    }
    return put_row(c, &r, &in->labels, in->drop_name);
}

static int eval_classic(struct hist_call *c, const struct classic *cl)
{
    struct row r;
    int rc = row_init(c->ev, &r, false);

    for (size_t i = 0; rc == 0 && i < c->ev->steps; i++) {
        size_t n = buckets_at(c, cl, i);

        rc = query_poll(c->ev->q, n);
        if (n == 0)
            continue;
        r.kind[i] = POINT_FLOAT;
        r.v[i] = classic_value(c, cl, i, n);
    }
    if (rc < 0 || row_empty(c->ev, &r))
        return rc;
    return put_row(c, &r, &cl->labels, cl->drop_name);
}

static int eval_one(struct hist_call *c)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < c->m.n; i++)
        rc = eval_native(c, &c->m.rows[i]);
    for (size_t i = 0; rc == 0 && i < c->count; i++)
        rc = eval_classic(c, &c->classics[i]);
    return rc;
}

static void check_quantile(struct hist_call *c, const double *v, const struct node *arg)
{
    for (size_t i = 0; i < c->ev->steps; i++)
        if (isnan(v[i]) || v[i] < 0 || v[i] > 1)
            annotate_quantile(c->ev->q, node_unwrap(arg)->pos, v[i]);
}

static int eval_quantiles(struct hist_call *c)
{
    const struct node *n = c->n;
    size_t count = n->call.arg_count - 2;
    double **v = arena_array(c->ev->q->arena, count, sizeof *v);
    int rc = v ? 0 : query_nomem(c->ev->q);

    c->quantile_label = eval_string(n->call.args[1]);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = eval_scalar(c->ev, n->call.args[i + 2], &v[i]);
        if (rc == 0)
            check_quantile(c, v[i], n->call.args[i + 2]);
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        c->a = v[i];
        rc = eval_one(c);
    }
    return rc;
}

static int eval_args(struct hist_call *c)
{
    const struct node *n = c->n;
    double *a, *b = NULL;
    int rc = eval_scalar(c->ev, n->call.args[0], &a);

    if (rc == 0 && n->call.fn->id == FN_HISTOGRAM_FRACTION)
        rc = eval_scalar(c->ev, n->call.args[1], &b);
    else if (rc == 0)
        check_quantile(c, a, n->call.args[0]);
    c->a = a;
    c->b = b;
    return rc;
}

int eval_hist_classic(struct ev *ev, const struct node *n, struct stream **ret)
{
    bool many = n->call.fn->id == FN_HISTOGRAM_QUANTILES;
    struct hist_call c = {.ev = ev, .n = n};
    enum hist_scope hist_scope;
    int rc = 0;

    hist_scope = query_hist_scope(ev->q, HIST_WHOLE);
    c.vector = node_unwrap(n->call.args[many ? 0 : n->call.arg_count - 1]);
    c.pos = c.vector->pos;
    if (!many)
        rc = eval_args(&c);
    if (rc == 0)
        rc = eval_matrix(ev, c.vector, &c.m);
    ev->q->hist_scope = hist_scope;
    if (rc == 0)
        rc = sort_rows(&c);
    if (rc == 0)
        rc = sort_buckets(&c);
    if (rc == 0)
        rc = resolve_conflicts(&c);
    if (rc == 0)
        rc = many ? eval_quantiles(&c) : eval_one(&c);
    if (rc == 0) {
        matrix_release(ev->q, &c.m);
        rc = matrix_merge_result(ev, &c.out);
    }
    return rc < 0 ? rc : stream_of_matrix(ev, &c.out, ret);
}
