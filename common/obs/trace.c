#include "common/obs/trace.h"

#include "common/base/json.h"
#include "common/sys/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct trace_node {
    struct trace *trace;
    struct trace_node *parent, *first, *last, *next;
    int64_t begun_ns, ns; /* ns < 0: has not ended */
    int depth;
    char text[TRACE_TEXT_MAX];
};
struct trace {
    struct trace_node *root;
    size_t count;
    uint64_t left_out;
};

static int64_t now_ns(void)
{
    return clock_mono_ns(clock_system());
}

static struct trace_node *node_new(struct trace *t, struct trace_node *parent)
{
    struct trace_node *n;

    if (t->count == TRACE_NODES_MAX || (parent && parent->depth + 1 >= TRACE_DEPTH_MAX)) {
        t->left_out++;
        return NULL;
    }
    n = xcalloc(1, sizeof *n);
    t->count++;
    *n = (struct trace_node){.trace = t, .parent = parent, .ns = -1, .depth = parent ? parent->depth + 1 : 0};
    if (parent) {
        if (parent->last)
            parent->last->next = n;
        else
            parent->first = n;
        parent->last = n;
    }
    return n;
}

/* The next step in depth-first order below (and with) top. */
static struct trace_node *walk(struct trace_node *n, const struct trace_node *top)
{
    if (n->first)
        return n->first;
    while (n != top && !n->next)
        n = n->parent;
    return n == top ? NULL : n->next;
}

struct trace *trace_new(const char *text)
{
    struct trace *t = xcalloc(1, sizeof *t);

    t->root = node_new(t, NULL);
    t->root->begun_ns = now_ns();
    snprintf(t->root->text, sizeof t->root->text, "%s", text);
    return t;
}

void trace_free(struct trace *t)
{
    struct trace_node *n = t ? t->root : NULL;

    /* Leaves first: a node without children left is unlinked from its parent and freed. */
    while (n) {
        struct trace_node *child = n->first, *parent = n->parent;

        if (child) {
            n->first = child->next;
            n = child;
            continue;
        }
        free(n);
        n = parent;
    }
    free(t);
}

struct trace_node *trace_root(struct trace *t)
{
    return t ? t->root : NULL;
}

static PRINTF(2, 0) void text_add(struct trace_node *n, const char *fmt, va_list ap)
{
    size_t at = strlen(n->text);

    vsnprintf(n->text + at, sizeof n->text - at, fmt, ap);
}

static PRINTF(2, 0) struct trace_node *node_said(struct trace_node *parent, const char *fmt, va_list ap)
{
    struct trace_node *n = parent ? node_new(parent->trace, parent) : NULL;

    if (n)
        text_add(n, fmt, ap);
    return n;
}

struct trace_node *trace_begin(struct trace_node *parent, const char *fmt, ...)
{
    struct trace_node *n;
    va_list ap;

    va_start(ap, fmt);
    n = node_said(parent, fmt, ap);
    va_end(ap);
    if (n)
        n->begun_ns = now_ns();
    return n;
}

void trace_end(struct trace_node *n, const char *fmt, ...)
{
    va_list ap;

    if (!n)
        return;
    n->ns = now_ns() - n->begun_ns;
    va_start(ap, fmt);
    text_add(n, fmt, ap);
    va_end(ap);
}

struct trace_node *trace_add(struct trace_node *parent, int64_t ns, const char *fmt, ...)
{
    struct trace_node *n;
    va_list ap;

    va_start(ap, fmt);
    n = node_said(parent, fmt, ap);
    va_end(ap);
    if (n)
        n->ns = ns;
    return n;
}

void trace_set(struct trace_node *n, int64_t ns)
{
    if (n)
        n->ns = ns;
}

static int64_t duration(const struct trace_node *n)
{
    return n->ns >= 0 ? n->ns : now_ns() - n->begun_ns;
}

/* --- JSON --- */

static void open_step(struct buf *out, const struct trace_node *n)
{
    buf_printf(out, "{\"duration_msec\":%.3f,\"message\":", (double)duration(n) / 1e6);
    json_z(out, n->text);
    if (n->first)
        buf_z(out, ",\"children\":[");
}

void trace_print(struct buf *out, const struct trace *t)
{
    const struct trace_node *n = t->root;

    open_step(out, n);
    while (n && buf_ok(out)) {
        if (n->first) {
            n = n->first;
            open_step(out, n);
            continue;
        }
        buf_char(out, '}');
        while (n && !n->next) {
            n = n->parent;
            if (n == t->root && t->left_out)
                buf_printf(out, ",{\"duration_msec\":0,\"message\":\"%llu further steps are not shown\"}", (unsigned long long)t->left_out);
            if (n)
                buf_z(out, "]}");
        }
        if (n) {
            buf_char(out, ',');
            n = n->next;
            open_step(out, n);
        }
    }
}

/* --- between processes --- */

void trace_encode(struct buf *out, const struct trace *t)
{
    buf_u8(out, TRACE_VERSION);
    for (struct trace_node *n = t->root; n; n = walk(n, t->root)) {
        buf_uvarint(out, (uint64_t)n->depth);
        buf_uvarint(out, (uint64_t)duration(n));
        buf_lstr(out, str_of(n->text));
    }
}

int trace_decode(struct str bytes, struct trace_node *parent, struct err *err)
{
    struct rd r = rd_of(bytes);
    struct trace_node *at = parent;
    uint64_t depth_max = 0;
    uint8_t version = rd_u8(&r);
    int base;

    if (!parent)
        return 0;
    base = parent->depth + 1;
    CORRUPT_UNLESS(rd_ok(&r), err);
    if (version != TRACE_VERSION)
        return err_set(err, RC_VERSION, "trace version %u, this binary reads %d", version, TRACE_VERSION);
    while (!rd_done(&r)) {
        uint64_t depth = rd_uvarint(&r), ns = rd_uvarint(&r);
        struct str text = rd_lstr(&r);

        CORRUPT_UNLESS(rd_ok(&r) && depth <= depth_max && depth < TRACE_DEPTH_MAX && ns <= INT64_MAX && text.n < TRACE_TEXT_MAX, err);
        /* The one it stands below is the last that is less deep. */
        while (at && at != parent && at->depth - base >= (int)depth)
            at = at->parent;
        at = trace_add(at, (int64_t)ns, "%.*s", STR_FMT(text));
        if (!at)
            return 0; /* the trace is full */
        depth_max = depth + 1;
    }
    return 0;
}
