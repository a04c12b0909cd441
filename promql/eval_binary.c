/* eval_binary.c - operators: the arithmetic of two points, and vectors with scalars.
 * Vectors with vectors are in eval_match.c (one side unique) and eval_set.c (and, or, unless). */
#include "promql/eval.h"

bool binop_compares(enum binop op)
{
    return op >= OP_EQ && op <= OP_GTE;
}

bool binop_changes_schema(enum binop op)
{
    return op >= OP_ADD && op <= OP_ATAN2;
}

static bool compare(enum binop op, double l, double r)
{
    switch (op) {
    case OP_EQ:
        return l == r;
    case OP_NEQ:
        return l != r;
    case OP_LT:
        return l < r;
    case OP_LTE:
        return l <= r;
    case OP_GT:
        return l > r;
    default:
        ASSERT(op == OP_GTE);
        return l >= r;
    }
}

double scalar_binop(enum binop op, double l, double r)
{
    switch (op) {
    case OP_ADD:
        return l + r;
    case OP_SUB:
        return l - r;
    case OP_MUL:
        return l * r;
    case OP_DIV:
        return l / r;
    case OP_MOD:
        return fmod(l, r);
    case OP_POW:
        return pow(l, r);
    case OP_ATAN2:
        return atan2(l, r);
    default:
        return compare(op, l, r);
    }
}

static int incompatible(struct query *q, const struct node *n, const struct point *l,
                        const struct point *r, bool *ret_keep)
{
    const char *op = binop_text(n->binary.op);

    annotate(
        q, n->pos,
        "PromQL info: incompatible sample types encountered for binary operator \"%s\": %s %s %s",
        op, l->kind == POINT_HIST ? "histogram" : "float", op,
        r->kind == POINT_HIST ? "histogram" : "float");
    *ret_keep = false;
    return 1;
}

static int hist_add_sub(struct query *q, const struct node *n, const struct point *l,
                        const struct point *r, struct arena *a, struct point *ret, bool *ret_keep)
{
    bool add = n->binary.op == OP_ADD;
    enum hist_op op = add ? HIST_OP_ADD : HIST_OP_SUB;
    struct histogram *h;
    unsigned notes = 0;
    int rc = add ? fhist_add(a, l->h, r->h, &h, &notes) : fhist_sub(a, l->h, r->h, &h, &notes);

    if (rc == RC_EXECUTION) {
        annotate(q, n->pos,
                 "PromQL warning: incompatible bucket layout encountered for binary operator %s",
                 binop_text(n->binary.op));
        *ret_keep = false;
        return 1;
    }
    if (rc < 0)
        return hist_rc(q, rc);
    if (notes & FHIST_NOTE_RESET_COLLISION)
        annotate_collision(q, n->pos, op);
    if (notes & FHIST_NOTE_BOUNDS_RECONCILED)
        annotate_reconciled(q, n->pos, op);
    if (!add)
        h->hint = HIST_HINT_GAUGE;
    *ret = (struct point){.kind = POINT_HIST, .h = h};
    *ret_keep = true;
    return 0;
}

static int hist_out(struct query *q, struct histogram *h, struct point *ret, bool *ret_keep)
{
    if (!h)
        return query_nomem(q);
    *ret = (struct point){.kind = POINT_HIST, .h = h};
    *ret_keep = true;
    return 0;
}

static int hist_hist(struct query *q, const struct node *n, const struct point *l,
                     const struct point *r, struct arena *a, struct point *ret, bool *ret_keep)
{
    enum binop op = n->binary.op;

    if (op == OP_ADD || op == OP_SUB)
        return hist_add_sub(q, n, l, r, a, ret, ret_keep);
    if (op != OP_EQ && op != OP_NEQ)
        return incompatible(q, n, l, r, ret_keep);
    *ret = *l;
    *ret_keep = fhist_eq_exact(l->h, r->h) == (op == OP_EQ);
    return 0;
}

int point_binop(struct ev *ev, const struct node *n, const struct point *l, const struct point *r,
                struct arena *a, struct point *ret, bool *ret_keep)
{
    struct query *q = ev->q;
    enum binop op = n->binary.op;

    if (l->kind == POINT_HIST && r->kind == POINT_HIST)
        return hist_hist(q, n, l, r, a, ret, ret_keep);
    if (l->kind == POINT_HIST) {
        if (op == OP_MUL)
            return hist_out(q, fhist_mul(a, l->h, r->v), ret, ret_keep);
        if (op == OP_DIV)
            return hist_out(q, fhist_div(a, l->h, r->v), ret, ret_keep);
        if (op == OP_TRIM_UPPER || op == OP_TRIM_LOWER)
            return hist_out(q, fhist_trim(a, l->h, r->v, op == OP_TRIM_UPPER), ret, ret_keep);
        return incompatible(q, n, l, r, ret_keep);
    }
    if (r->kind == POINT_HIST) {
        if (op == OP_MUL)
            return hist_out(q, fhist_mul(a, r->h, l->v), ret, ret_keep);
        return incompatible(q, n, l, r, ret_keep);
    }
    if (op == OP_TRIM_UPPER || op == OP_TRIM_LOWER)
        return incompatible(q, n, l, r, ret_keep);
    *ret_keep = true;
    *ret = (struct point){.kind = POINT_FLOAT, .v = l->v};
    if (binop_compares(op))
        *ret_keep = compare(op, l->v, r->v);
    else
        ret->v = scalar_binop(op, l->v, r->v);
    return 0;
}

/* --- vector and scalar --- */
struct scalar_side {
    const struct node *n;
    const double *v;
    bool left; /* the scalar stands left */
};

static int scalar_point(struct ev *ev, const struct scalar_side *s, size_t i, struct row *r,
                        struct point *ret, bool *ret_keep)
{
    struct point vec = row_get(r, i), num = {.kind = POINT_FLOAT, .v = s->v[i]};
    int rc = s->left ? point_binop(ev, s->n, &num, &vec, r->scratch, ret, ret_keep)
                     : point_binop(ev, s->n, &vec, &num, r->scratch, ret, ret_keep);

    if (rc != 0) {
        *ret_keep = false;
        return MIN(rc, 0);
    }
    /* A comparison keeps the vector's value, wherever it stands. */
    if (binop_compares(s->n->binary.op) && s->left)
        *ret = vec;
    if (s->n->binary.return_bool) {
        *ret = (struct point){.kind = POINT_FLOAT, .v = *ret_keep};
        *ret_keep = true;
    }
    return 0;
}

/* Floats only, no filter: the common case, without a look at each point's type. */
static bool plain_arithmetic(struct ev *ev, const struct scalar_side *s, struct row *r)
{
    enum binop op = s->n->binary.op;

    if (!binop_changes_schema(op) || (r->h && memchr(r->kind, POINT_HIST, ev->steps)))
        return false;
    for (size_t i = 0; i < ev->steps; i++)
        r->v[i] = s->left ? scalar_binop(op, s->v[i], r->v[i]) : scalar_binop(op, r->v[i], s->v[i]);
    return true;
}

static int scalar_row(struct ev *ev, struct row *r, void *arg)
{
    const struct scalar_side *s = arg;
    bool any = false, keep;
    int rc = 0;

    if (binop_changes_schema(s->n->binary.op) || s->n->binary.return_bool)
        rc = row_drop_name(ev, r);
    if (rc == 0 && plain_arithmetic(ev, s, r))
        return 1;
    for (size_t i = 0; rc == 0 && i < ev->steps; i++) {
        struct point p = {0};

        if (r->kind[i] == POINT_NONE)
            continue;
        rc = scalar_point(ev, s, i, r, &p, &keep);
        if (!keep)
            p.kind = POINT_NONE;
        any |= keep;
        row_set(r, i, &p);
    }
    return rc < 0 ? rc : any;
}

static int eval_with_scalar(struct ev *ev, const struct node *n, struct stream **ret)
{
    bool left = n->binary.lhs->value == VALUE_SCALAR;
    struct scalar_side *s = arena_zalloc(ev->q->arena, sizeof *s);
    struct stream *in;
    double *v;
    int rc;

    if (!s)
        return query_nomem(ev->q);
    rc = eval_scalar(ev, left ? n->binary.lhs : n->binary.rhs, &v);
    if (rc == 0)
        rc = eval_stream(ev, left ? n->binary.rhs : n->binary.lhs, &in);
    if (rc < 0)
        return rc;
    *s = (struct scalar_side){n, v, left};
    return stream_map(ev, in, scalar_row, s, ret);
}

static int eval_operator(struct ev *ev, const struct node *n, struct stream **ret)
{
    if (n->binary.lhs->value == VALUE_SCALAR || n->binary.rhs->value == VALUE_SCALAR)
        return eval_with_scalar(ev, n, ret);
    if (n->binary.op == OP_AND || n->binary.op == OP_OR || n->binary.op == OP_UNLESS)
        return eval_set(ev, n, ret);
    return eval_match(ev, n, ret);
}

int eval_binary(struct ev *ev, const struct node *n, struct stream **ret)
{
    bool trims = n->binary.op == OP_TRIM_UPPER || n->binary.op == OP_TRIM_LOWER;
    enum hist_scope scope = query_hist_scope(ev->q, trims ? HIST_WHOLE : ev->q->hist_scope);
    int rc = eval_operator(ev, n, ret);

    ev->q->hist_scope = scope;
    return rc;
}
