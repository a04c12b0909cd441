#include "blocktool/tool.h"
#include "blocktool/walk.h"

struct side {
    const struct ulid *id;
    struct walk *walk;
    struct stored_series series;
    bool any;
};

static int step(struct side *s, struct err *err)
{
    int rc = walk_next(s->walk, &s->series, err);

    s->any = rc == 1;
    return MIN(rc, 0);
}

static void say(struct tool *t, const struct stored_series *s, const char *what, const char *where)
{
    struct buf text;

    buf_init(&text, 1 << 20);
    labels_print(&text, &s->labels);
    printf("%.*s: %s%s\n", STR_FMT(buf_view(&text)), what, where);
    buf_fini(&text);
    t->wrong = true;
}

static void say_window(struct tool *t, const struct stored_series *s, const struct stored_window *a, const struct stored_window *b)
{
    char what[160];

    snprintf(what, sizeof what, "window %lld: %u samples and %u samples%s", (long long)(a ? a : b)->start_ms, a ? a->count : 0, b ? b->count : 0,
             a && b && a->count == b->count ? ", not the same" : "");
    say(t, s, what, "");
}

/* Windows begin at the same times wherever the series is. */
static void compare(struct tool *t, const struct stored_series *a, const struct stored_series *b)
{
    size_t i = 0, k = 0;

    while (i < a->window_count || k < b->window_count) {
        const struct stored_window *x = i < a->window_count ? &a->windows[i] : NULL, *y = k < b->window_count ? &b->windows[k] : NULL;

        if (x && y && x->start_ms != y->start_ms) {
            if (x->start_ms < y->start_ms)
                y = NULL;
            else
                x = NULL;
        }
        if (!x || !y || !u128_eq(x->digest, y->digest))
            say_window(t, a, x, y);
        i += x != NULL;
        k += y != NULL;
    }
}

static int diff(struct tool *t, struct side s[2], struct err *err)
{
    int rc = step(&s[0], err);

    if (rc == 0)
        rc = step(&s[1], err);
    while (rc == 0 && (s[0].any || s[1].any)) {
        int order = !s[0].any ? 1 : !s[1].any ? -1 : labels_cmp(&s[0].series.labels, &s[1].series.labels);

        if (order == 0)
            compare(t, &s[0].series, &s[1].series);
        else
            say(t, &s[order > 0].series, "only in ", s[order > 0].id->text);
        if (order <= 0)
            rc = step(&s[0], err);
        if (rc == 0 && order >= 0)
            rc = step(&s[1], err);
    }
    return rc;
}

int tool_diff(struct tool *t, struct err *err)
{
    struct ulid ids[2];
    struct side s[2] = {{.id = &ids[0]}, {.id = &ids[1]}};
    struct block_reader *r = NULL;
    int rc = tool_block(t, 0, &ids[0], err);

    if (rc == 0)
        rc = tool_block(t, 1, &ids[1], err);
    if (rc == 0)
        rc = block_open(t->bucket, &ids[0], &r, err);
    if (rc == 0)
        rc = tool_tenant(t, block_meta(r), err);
    block_unref(r);
    for (size_t i = 0; rc == 0 && i < 2; i++)
        rc = walk_new(t->bucket, t->o.tenant, &ids[i], 1, &s[i].walk, err);
    if (rc == 0)
        rc = diff(t, s, err);
    if (rc == 0 && !t->wrong)
        printf("no difference for tenant %s\n", t->o.tenant);
    walk_free(s[0].walk);
    walk_free(s[1].walk);
    return rc;
}
