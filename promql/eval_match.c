/* eval_match.c - arithmetic and comparison of two vectors: each row of the "many" side meets the
 * one row of the other side that has the same join labels and a point at that step. Error texts are
 * Prometheus's: users search for them. */
#include "promql/eval.h"

struct match {
    struct ev *ev;
    const struct node *n;
    struct matrix many, one; /* operands; one is unique per group and step */
    bool swapped;            /* one stands left */
    struct matrix out;
    uint8_t *present;  /* scratch for fill_rows */
    uint8_t *any_many; /* steps at which the many side has any point at all */
    uint8_t *taken;    /* one-to-one: steps at which the group's row had its match */
    uint8_t **used;    /* per output row: steps at which something was put (many-to-one) */
    size_t used_cap;
    struct keymap by_labels;            /* output rows by (group, labels) */
    const double *fill_many, *fill_one; /* stand in for a missing side; NULL: no match */
};

static bool one_to_one(const struct match *m)
{
    return m->n->binary.card == CARD_ONE_TO_ONE;
}

/* --- labels of results --- */
static int result_labels(struct match *m, const struct labels *many, const struct labels *one,
                         struct labels *ret)
{
    struct query *q = m->ev->q;
    const struct node *n = m->n;
    struct labels ls = *many;
    int rc = 0;

    if (binop_changes_schema(n->binary.op))
        rc = labels_drop_meta(q, &ls, &ls);
    if (rc == 0 && one_to_one(m))
        rc = labels_pick(q, &ls, n->binary.match_labels, n->binary.match_label_count, n->binary.on,
                         &ls);
    for (size_t i = 0; rc == 0 && i < n->binary.include_count; i++) {
        struct str value = labels_get(one, n->binary.include[i]);

        rc = labels_with(q, &ls, n->binary.include[i], value, &ls);
    }
    if (rc == 0 && n->binary.return_bool && !q->opt->delayed_name_removal)
        rc = labels_drop_meta(q, &ls, &ls);
    *ret = ls;
    return rc;
}

/* The labels both sides agree on: what a filled-in partner has. */
static int match_labels(struct match *m, const struct labels *ls, struct labels *ret)
{
    const struct str name = STR(LABEL_METRIC_NAME);
    int rc = labels_pick(m->ev->q, ls, m->n->binary.match_labels, m->n->binary.match_label_count,
                         m->n->binary.on, ret);

    /* ignoring() never means the name. */
    return rc == 0 && !m->n->binary.on ? labels_pick(m->ev->q, ret, &name, 1, false, ret) : rc;
}

static int grow_used(struct match *m)
{
    size_t cap = m->used_cap ? m->used_cap * 2 : 8;
    uint8_t **v = arena_array(m->ev->q->arena, cap, sizeof *v);

    if (!v)
        return query_nomem(m->ev->q);
    if (m->used_cap)
        memcpy(v, m->used, m->used_cap * sizeof *v);
    m->used = v;
    m->used_cap = cap;
    return 0;
}

static int add_output(struct match *m, const struct labels *ls, bool drop_name)
{
    struct row r;
    int rc = row_init(m->ev, &r, false);

    if (rc == 0 && m->out.n == m->used_cap)
        rc = grow_used(m);
    if (rc < 0)
        return rc;
    r.labels = *ls;
    r.drop_name = drop_name || m->n->binary.return_bool;
    r.stable = true;
    m->used[m->out.n] = arena_zalloc(m->ev->q->arena, m->ev->steps);
    if (!m->used[m->out.n])
        return query_nomem(m->ev->q);
    return matrix_add(m->ev, &m->out, &r);
}

/* The output row for this pair of label sets within group g. */
static int output_of(struct match *m, size_t g, const struct labels *many, const struct labels *one,
                     bool drop_name, size_t *ret)
{
    struct query *q = m->ev->q;
    struct labels ls;
    struct u128 key;
    size_t *at;
    bool fresh;
    int rc = result_labels(m, many, one, &ls);

    if (rc < 0)
        return rc;
    key = labels_key(q, &ls);
    key.lo ^= mix64(g + 1);
    rc = keymap_put(q, &m->by_labels, key, &at, &fresh);
    if (rc == 0 && fresh) {
        *at = m->out.n;
        rc = add_output(m, &ls, drop_name);
    }
    if (rc == 0)
        *ret = *at;
    return rc;
}

/* --- errors --- */
static int found_duplicates(struct match *m, const struct labels *a, const struct labels *b)
{
    struct query *q = m->ev->q;
    struct labels group;
    struct buf text;
    int rc;

    rc = match_labels(m, a, &group);
    if (rc < 0)
        return rc;
    buf_init(&text, ERR_TEXT_MAX * 4);
    buf_z(&text, "found duplicate series for the match group ");
    labels_print_braces(&text, &group);
    buf_printf(&text, " on the %s hand-side of the operation: [", m->swapped ? "left" : "right");
    labels_print_braces(&text, labels_cmp(a, b) < 0 ? a : b);
    buf_z(&text, ", ");
    labels_print_braces(&text, labels_cmp(a, b) < 0 ? b : a);
    buf_z(&text, "];many-to-many matching not allowed: matching labels must be unique on one side");
    rc = query_fail(q, "%.*s", STR_FMT(buf_view(&text)));
    buf_fini(&text);
    return rc;
}

static int claim(struct match *m, size_t out, size_t step)
{
    uint8_t *taken = one_to_one(m) ? m->taken : m->used[out];

    if (taken[step]++ == 0)
        return 0;
    if (one_to_one(m))
        return query_fail(m->ev->q, "multiple matches for labels: many-to-one matching must be "
                                    "explicit (group_left/group_right)");
    return query_fail(m->ev->q,
                      "multiple matches for labels: grouping labels must ensure unique matches");
}

/* --- points --- */
static int match_point(struct match *m, size_t out, size_t step, const struct point *many,
                       const struct point *one)
{
    struct point p;
    bool keep = false;
    int rc;

    if (m->swapped)
        rc = point_binop(m->ev, m->n, one, many, m->ev->q->arena, &p, &keep);
    else
        rc = point_binop(m->ev, m->n, many, one, m->ev->q->arena, &p, &keep);
    if (rc != 0)
        return MIN(rc, 0);
    rc = claim(m, out, step);
    if (rc < 0)
        return rc;
    if (m->n->binary.return_bool) {
        p = (struct point){.kind = POINT_FLOAT, .v = keep};
        keep = true;
    }
    if (!keep)
        return 0;
    if (p.kind == POINT_HIST)
        rc = row_need_hist(m->ev, &m->out.rows[out]);
    if (rc == 0)
        row_set(&m->out.rows[out], step, &p);
    return rc;
}

/* Which row of the one side has a point at each step; SIZE_MAX: none. */
static int find_ones(struct match *m, const size_t *rows, size_t n, size_t *ret)
{
    for (size_t i = 0; i < m->ev->steps; i++)
        ret[i] = SIZE_MAX;
    for (size_t k = 0; k < n; k++) {
        const struct row *r = &m->one.rows[rows[k]];

        for (size_t i = 0; i < m->ev->steps; i++) {
            if (r->kind[i] == POINT_NONE)
                continue;
            if (ret[i] != SIZE_MAX && (m->any_many[i] || m->fill_many || m->fill_one))
                return found_duplicates(m, &r->labels, &m->one.rows[ret[i]].labels);
            ret[i] = rows[k];
        }
    }
    return 0;
}

static int match_row(struct match *m, size_t g, const struct row *many, const size_t *ones)
{
    size_t last = SIZE_MAX - 1, out = 0;
    int rc = query_poll(m->ev->q, m->ev->steps);

    for (size_t i = 0; rc == 0 && i < m->ev->steps; i++) {
        struct point a = row_get(many, i), b = {.kind = POINT_FLOAT};

        if (a.kind == POINT_NONE || (ones[i] == SIZE_MAX && !m->fill_one))
            continue;
        if (ones[i] == SIZE_MAX)
            b.v = *m->fill_one;
        else
            b = row_get(&m->one.rows[ones[i]], i);
        if (ones[i] != last) {
            struct labels filled;
            const struct labels *one = &filled;

            last = ones[i];
            if (last == SIZE_MAX)
                rc = match_labels(m, &many->labels, &filled);
            else
                one = &m->one.rows[last].labels;
            if (rc == 0)
                rc = output_of(m, g, &many->labels, one, many->drop_name, &out);
        }
        if (rc == 0)
            rc = match_point(m, out, i, &a, &b);
    }
    return rc;
}

/* Steps of the one side that nobody matched meet the fill value of the many side. present: steps at
 * which the many side has a point. */
static int fill_row(struct match *m, size_t g, const uint8_t *present, const struct row *one)
{
    struct point a = {.kind = POINT_FLOAT, .v = *m->fill_many};
    size_t out = SIZE_MAX;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < m->ev->steps; i++) {
        struct point b = row_get(one, i);

        if (b.kind == POINT_NONE || present[i])
            continue;
        if (out == SIZE_MAX) {
            struct labels filled;

            rc = match_labels(m, &one->labels, &filled);
            if (rc == 0)
                rc = output_of(m, g, &filled, &one->labels, false, &out);
        }
        if (rc == 0)
            rc = match_point(m, out, i, &a, &b);
    }
    return rc;
}

static int fill_rows(struct match *m, size_t g, const size_t *many, size_t many_n,
                     const size_t *one, size_t one_n)
{
    int rc = 0;

    memset(m->present, 0, m->ev->steps);
    for (size_t k = 0; k < many_n; k++)
        for (size_t i = 0; i < m->ev->steps; i++)
            m->present[i] |= m->many.rows[many[k]].kind[i] != POINT_NONE;
    for (size_t k = 0; rc == 0 && k < one_n; k++)
        rc = fill_row(m, g, m->present, &m->one.rows[one[k]]);
    return rc;
}

static int match_group(struct match *m, size_t g, const struct match_group *mg, size_t *ones)
{
    const size_t *many = m->swapped ? mg->r : mg->l, *one = m->swapped ? mg->l : mg->r;
    size_t many_n = m->swapped ? mg->rn : mg->ln, one_n = m->swapped ? mg->ln : mg->rn;
    int rc = query_poll(m->ev->q, (many_n + one_n + 1) * m->ev->steps);

    if (rc < 0 || (many_n == 0 && !m->fill_many && one_n < 2) || (one_n == 0 && !m->fill_one))
        return rc;
    rc = find_ones(m, one, one_n, ones);
    if (one_to_one(m))
        memset(m->taken, 0, m->ev->steps);
    for (size_t i = 0; rc == 0 && i < many_n; i++)
        rc = match_row(m, g, &m->many.rows[many[i]], ones);
    if (rc == 0 && m->fill_many)
        rc = fill_rows(m, g, many, many_n, one, one_n);
    return rc;
}

static int match_all(struct match *m, const struct match_groups *g)
{
    struct arena *a = m->ev->q->arena;
    size_t *ones = arena_array(a, m->ev->steps, sizeof *ones);
    int rc = 0;

    m->taken = arena_zalloc(a, m->ev->steps);
    m->any_many = arena_zalloc(a, m->ev->steps);
    m->present = arena_alloc(a, m->ev->steps);
    if (!ones || !m->taken || !m->any_many || !m->present)
        return query_nomem(m->ev->q);
    for (size_t k = 0; k < m->many.n; k++)
        for (size_t i = 0; i < m->ev->steps; i++)
            m->any_many[i] |= m->many.rows[k].kind[i] != POINT_NONE;
    for (size_t i = 0; rc == 0 && i < g->n; i++)
        rc = match_group(m, i, &g->v[i], ones);
    return rc;
}

static int keep_filled(struct ev *ev, struct matrix *m)
{
    struct matrix out = {0};
    int rc = 0;

    query_unhold(ev->q, m->held);
    for (size_t i = 0; rc == 0 && i < m->n; i++)
        if (!row_empty(ev, &m->rows[i]))
            rc = matrix_add(ev, &out, &m->rows[i]);
    *m = out;
    return rc;
}

/* With either side empty at a step and nothing to fill, Prometheus does not even look for
 * duplicates. */
static bool nothing_to_match(const struct node *n, const struct matrix *l, const struct matrix *r)
{
    bool fill = n->binary.fill_lhs_set || n->binary.fill_rhs_set;

    return (l->n == 0 && r->n == 0) || ((l->n == 0 || r->n == 0) && !fill);
}

int eval_match(struct ev *ev, const struct node *n, struct stream **ret)
{
    struct match m = {.ev = ev, .n = n, .swapped = n->binary.card == CARD_ONE_TO_MANY};
    struct match_groups g;
    struct matrix l, r = {0};
    int rc = eval_matrix(ev, n->binary.lhs, &l);

    if (rc == 0)
        rc = eval_matrix(ev, n->binary.rhs, &r);
    if (rc < 0)
        return rc;
    m.many = m.swapped ? r : l;
    m.one = m.swapped ? l : r;
    /* group_right turns the sides around before anything is filled: fill_right is for the one side
     * either way. */
    if (n->binary.fill_lhs_set)
        m.fill_many = &n->binary.fill_lhs;
    if (n->binary.fill_rhs_set)
        m.fill_one = &n->binary.fill_rhs;
    if (!nothing_to_match(n, &l, &r)) {
        rc = match_group_rows(ev, n, &l, &r, &g);
        if (rc == 0)
            rc = match_all(&m, &g);
    }
    if (rc == 0) {
        matrix_release(ev->q, &l);
        matrix_release(ev->q, &r);
        rc = keep_filled(ev, &m.out);
    }
    if (rc == 0)
        rc = matrix_merge_result(ev, &m.out);
    return rc < 0 ? rc : stream_of_matrix(ev, &m.out, ret);
}
