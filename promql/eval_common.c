/* eval_common.c - aggregations that stand in a query more than once are evaluated once: a / (a + b), x > bool y or x. Their groups are kept until the query ends, and each place
 * gets copies of the rows. What an evaluation has to say (warnings) names its place, so one that said something is evaluated again at the next. */
#include "promql/eval.h"

struct common {
    struct common *next;
    const struct node *node; /* the first place */
    struct str text;
    size_t places;
    bool kept, spoke;        /* m is the result; it came with annotations: not to be used again */
    struct matrix m;
    uint64_t samples_total, samples_read; /* what it cost, counted at each place as Prometheus does */
};

/* --- finding them --- */

static int note(struct query *q, const struct node *n)
{
    struct common *c;
    struct buf text;
    struct str copy;

    buf_init(&text, PROMQL_TEXT_BYTES_MAX * 4);
    promql_print(&text, n);
    for (c = q->commons; c; c = c->next)
        if (str_eq(c->text, buf_view(&text)))
            break;
    if (c) {
        c->places++;
        buf_fini(&text);
        return 0;
    }
    copy = buf_ok(&text) ? arena_str(q->arena, buf_view(&text)) : (struct str){0};
    buf_fini(&text);
    c = arena_zalloc(q->arena, sizeof *c);
    if (!c || !copy.p)
        return query_nomem(q);
    *c = (struct common){.next = q->commons, .node = n, .text = copy, .places = 1};
    q->commons = c;
    return 0;
}

/* Not below subqueries: those have steps of their own. */
static int collect(struct query *q, const struct node *n)
{
    int rc = 0;

    switch (n->type) {
    case NODE_PAREN:
        return collect(q, n->paren);
    case NODE_UNARY:
        return collect(q, n->unary.expr);
    case NODE_BINARY:
        rc = collect(q, n->binary.lhs);
        return rc < 0 ? rc : collect(q, n->binary.rhs);
    case NODE_AGGREGATE:
        rc = note(q, n);
        return rc < 0 ? rc : collect(q, n->agg.expr);
    case NODE_CALL:
        for (size_t i = 0; i < n->call.arg_count && rc == 0; i++)
            rc = collect(q, n->call.args[i]);
        return rc;
    default:
        return 0;
    }
}

/* Only an operator puts two expressions side by side. */
static bool has_operator(const struct node *n)
{
    switch (n->type) {
    case NODE_PAREN:
        return has_operator(n->paren);
    case NODE_UNARY:
        return has_operator(n->unary.expr);
    case NODE_AGGREGATE:
        return has_operator(n->agg.expr);
    case NODE_CALL:
        for (size_t i = 0; i < n->call.arg_count; i++)
            if (has_operator(n->call.args[i]))
                return true;
        return false;
    default:
        return n->type == NODE_BINARY;
    }
}

int commons_find(struct query *q, const struct node *root)
{
    return has_operator(root) && !q->opt->stats_per_step ? collect(q, root) : 0;
}

/* --- rows --- */

struct copies {
    struct stream base;
    const struct common *c;
    size_t at;
    struct row row;
};

static int copies_next(struct stream *s, struct row *ret)
{
    struct copies *cs = CONTAINER_OF(s, struct copies, base);
    const struct row *from;
    int rc;

    if (cs->at == cs->c->m.n)
        return 0;
    from = &cs->c->m.rows[cs->at++];
    rc = from->h ? row_need_hist(s->ev, &cs->row) : 0;
    if (rc < 0)
        return rc;
    memcpy(cs->row.kind, from->kind, s->ev->steps);
    memcpy(cs->row.v, from->v, s->ev->steps * sizeof *from->v);
    if (from->h)
        memcpy(cs->row.h, from->h, s->ev->steps * sizeof *from->h);
    cs->row.labels = from->labels;
    cs->row.drop_name = from->drop_name;
    *ret = cs->row;
    return 1;
}

static int copies_of(struct ev *ev, const struct common *c, struct stream **ret)
{
    static const struct stream_ops ops = {copies_next, NULL};
    struct copies *cs = arena_zalloc(ev->q->arena, sizeof *cs);
    int rc;

    if (!cs)
        return query_nomem(ev->q);
    *cs = (struct copies){.base = {&ops, ev}, .c = c};
    rc = row_init(ev, &cs->row, false);
    if (rc == 0)
        *ret = &cs->base;
    return rc;
}

static struct common *common_of(const struct query *q, const struct node *n)
{
    struct common *found = NULL;
    struct buf text;

    for (struct common *c = q->commons; c && !found; c = c->next)
        found = c->node == n ? c : NULL;
    if (found)
        return found;
    buf_init(&text, PROMQL_TEXT_BYTES_MAX * 4);
    promql_print(&text, n);
    for (struct common *c = q->commons; c && !found; c = c->next)
        found = str_eq(c->text, buf_view(&text)) ? c : NULL;
    buf_fini(&text);
    return found;
}

int eval_common(struct ev *ev, const struct node *n, int (*open)(struct ev *ev, const struct node *n, struct stream **ret), struct stream **ret)
{
    struct query *q = ev->q;
    struct query_stats *st = q->stats;
    struct common *c = q->commons && !ev->outer && q->hist_scope == HIST_ALL ? common_of(q, n) : NULL;
    size_t said = q->annotations.count;
    uint64_t total = st->samples_total, read = st->samples_read;
    struct stream *in;
    int rc;

    if (!c || c->places < 2 || c->spoke)
        return open(ev, n, ret);
    if (c->kept) {
        st->samples_total += c->samples_total;
        st->samples_read += c->samples_read;
        return copies_of(ev, c, ret);
    }
    rc = open(ev, n, &in);
    if (rc == 0)
        rc = matrix_gather(ev, in, &c->m);
    if (rc < 0)
        return rc;
    c->spoke = q->annotations.count > said;
    c->kept = !c->spoke;
    c->samples_total = st->samples_total - total;
    c->samples_read = st->samples_read - read;
    return copies_of(ev, c, ret);
}
