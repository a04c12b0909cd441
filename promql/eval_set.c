/* eval_set.c - and, or, unless; and the grouping of two vectors' rows by their join labels that all
 * matching starts from. */
#include "promql/eval.h"

static struct u128 match_key(struct ev *ev, const struct node *n, const struct row *r)
{
    return labels_key_of(ev->q, &r->labels, n->binary.match_labels, n->binary.match_label_count,
                         n->binary.on, false);
}

/* Numbers the groups; of[i] is row i's. */
static int number_rows(struct ev *ev, const struct node *n, const struct matrix *m,
                       struct keymap *map, size_t *groups, size_t *of)
{
    for (size_t i = 0; i < m->n; i++) {
        size_t *at;
        bool fresh;
        int rc = keymap_put(ev->q, map, match_key(ev, n, &m->rows[i]), &at, &fresh);

        if (rc == 0)
            rc = query_poll(ev->q, 8);
        if (rc < 0)
            return rc;
        if (fresh)
            *at = (*groups)++;
        of[i] = *at;
    }
    return 0;
}

static void place_rows(struct match_groups *g, const struct matrix *l, const struct matrix *r,
                       const size_t *lof, const size_t *rof, size_t *room)
{
    for (size_t i = 0; i < l->n; i++)
        g->v[lof[i]].ln++;
    for (size_t i = 0; i < r->n; i++)
        g->v[rof[i]].rn++;
    for (size_t i = 0; i < g->n; i++) {
        g->v[i].l = room;
        g->v[i].r = room + g->v[i].ln;
        room += g->v[i].ln + g->v[i].rn;
        g->v[i].ln = g->v[i].rn = 0;
    }
    for (size_t i = 0; i < l->n; i++)
        g->v[lof[i]].l[g->v[lof[i]].ln++] = i;
    for (size_t i = 0; i < r->n; i++)
        g->v[rof[i]].r[g->v[rof[i]].rn++] = i;
}

int match_group_rows(struct ev *ev, const struct node *n, const struct matrix *l,
                     const struct matrix *r, struct match_groups *ret)
{
    struct arena *a = ev->q->arena;
    size_t *lof = arena_array(a, l->n, sizeof *lof), *rof = arena_array(a, r->n, sizeof *rof);
    size_t *room = arena_array(a, l->n + r->n, sizeof *room);
    struct match_groups g = {0};
    struct keymap map = {0};
    int rc;

    if (!lof || !rof || !room)
        return query_nomem(ev->q);
    rc = number_rows(ev, n, l, &map, &g.n, lof);
    if (rc == 0)
        rc = number_rows(ev, n, r, &map, &g.n, rof);
    if (rc < 0)
        return rc;
    g.v = arena_zalloc(a, g.n * sizeof *g.v);
    if (!g.v)
        return query_nomem(ev->q);
    place_rows(&g, l, r, lof, rof, room);
    *ret = g;
    return 0;
}

/* Marks the steps at which any of the rows has a point. */
static void presence(const struct ev *ev, const struct matrix *m, const size_t *rows, size_t n,
                     uint8_t *ret)
{
    memset(ret, 0, ev->steps);
    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; i < ev->steps; i++)
            ret[i] |= m->rows[rows[k]].kind[i] != POINT_NONE;
}

/* Takes the points away where present[i] == when. */
static void blank(const struct ev *ev, struct matrix *m, const size_t *rows, size_t n,
                  const uint8_t *present, bool when)
{
    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; i < ev->steps; i++)
            if (present[i] == when)
                m->rows[rows[k]].kind[i] = POINT_NONE;
}

static int apply_set(struct ev *ev, enum binop op, struct matrix *l, struct matrix *r,
                     const struct match_groups *g)
{
    uint8_t *present = arena_alloc(ev->q->arena, ev->steps);

    if (!present)
        return query_nomem(ev->q);
    for (size_t k = 0; k < g->n; k++) {
        const struct match_group *mg = &g->v[k];
        int rc = query_poll(ev->q, (mg->ln + mg->rn) * ev->steps);

        if (rc < 0)
            return rc;
        if (op == OP_OR) {
            presence(ev, l, mg->l, mg->ln, present);
            blank(ev, r, mg->r, mg->rn, present, true);
        } else {
            presence(ev, r, mg->r, mg->rn, present);
            blank(ev, l, mg->l, mg->ln, present, op == OP_UNLESS);
        }
    }
    return 0;
}

static int take_rows(struct ev *ev, struct matrix *from, struct matrix *to)
{
    int rc = 0;

    query_unhold(ev->q, from->held);
    from->held = 0;
    for (size_t i = 0; rc == 0 && i < from->n; i++)
        if (!row_empty(ev, &from->rows[i]))
            rc = matrix_add(ev, to, &from->rows[i]);
    return rc;
}

int eval_set(struct ev *ev, const struct node *n, struct stream **ret)
{
    struct matrix l, r = {0}, out = {0};
    struct match_groups g;
    int rc = eval_matrix(ev, n->binary.lhs, &l);

    if (rc == 0)
        rc = eval_matrix(ev, n->binary.rhs, &r);
    if (rc == 0)
        rc = match_group_rows(ev, n, &l, &r, &g);
    if (rc == 0)
        rc = apply_set(ev, n->binary.op, &l, &r, &g);
    if (rc == 0)
        rc = take_rows(ev, &l, &out);
    if (rc == 0 && n->binary.op == OP_OR)
        rc = take_rows(ev, &r, &out);
    else if (rc == 0)
        matrix_release(ev->q, &r);
    if (rc == 0)
        rc = matrix_merge_result(ev, &out);
    return rc < 0 ? rc : stream_of_matrix(ev, &out, ret);
}
