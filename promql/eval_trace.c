/* eval_trace.c - a stream that measures the one below it. */
#include "promql/eval.h"

#include "common/sys/clock.h"

#include <stdio.h>

struct traced {
    struct stream base;
    struct stream *in;
    struct trace_node *node;
    int64_t ns; /* so far */
    uint64_t rows, points;
};

static int64_t now_ns(void)
{
    return clock_mono_ns(clock_system());
}

static int traced_next(struct stream *s, struct row *ret)
{
    struct traced *t = CONTAINER_OF(s, struct traced, base);
    int64_t t0 = now_ns();
    int rc = stream_next(t->in, ret);

    t->ns += now_ns() - t0;
    trace_set(t->node, t->ns);
    if (rc > 0) {
        t->rows++;
        t->points += row_points(t->base.ev, ret);
    }
    return rc;
}

static void traced_free(struct stream *s)
{
    struct traced *t = CONTAINER_OF(s, struct traced, base);

    trace_end(t->node, ": %llu series, %llu points", (unsigned long long)t->rows, (unsigned long long)t->points);
    trace_set(t->node, t->ns);
    stream_free(t->in);
}

static struct trace_node *begin(struct query *q, const struct node *n)
{
    struct trace_node *node;
    struct buf text;

    buf_init(&text, PROMQL_TEXT_BYTES_MAX);
    promql_print(&text, n);
    node = trace_begin(q->trace, "eval %.*s", (int)MIN(text.n, (size_t)TRACE_TEXT_MAX / 2), text.p);
    buf_fini(&text);
    return node;
}

int eval_traced(struct ev *ev, const struct node *n, int (*open)(struct ev *ev, const struct node *n, struct stream **ret),
                struct stream **ret)
{
    static const struct stream_ops ops = {traced_next, traced_free};
    struct query *q = ev->q;
    struct trace_node *above = q->trace;
    struct traced *t = arena_zalloc(q->arena, sizeof *t);
    int64_t t0 = now_ns();
    int rc;

    if (!t)
        return query_nomem(q);
    *t = (struct traced){.base = {&ops, ev}, .node = begin(q, n)};
    q->trace = t->node;
    rc = open(ev, n, &t->in);
    q->trace = above;
    t->ns = now_ns() - t0;
    trace_set(t->node, t->ns);
    if (rc == 0)
        *ret = &t->base;
    return rc;
}
