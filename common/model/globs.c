#include "common/model/globs.h"

#include <stdlib.h>

struct list {
    struct str *v;
    size_t n, bytes;
};
struct parser {
    struct str in;
    size_t at;
    int depth;
};

static void list_fini(struct list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free((char *)l->v[i].p);
    free(l->v);
    *l = (struct list){0};
}

/* Appends a followed by b. Two .+ in a row need two characters, which bytes cannot tell: false. */
static bool list_add(struct list *l, struct str a, struct str b)
{
    bool meets = a.n > 0 && b.n > 0 && (uint8_t)a.p[a.n - 1] >= GLOB_SOME && (uint8_t)b.p[0] >= GLOB_SOME;
    char *p;

    if (l->n == GLOBS_MAX || a.n + b.n > GLOBS_BYTES_MAX - l->bytes)
        return false;
    if (meets && (uint8_t)a.p[a.n - 1] == GLOB_SOME && (uint8_t)b.p[0] == GLOB_SOME)
        return false;
    p = xmalloc(a.n + b.n + 1);
    if (a.n)
        memcpy(p, a.p, a.n);
    if (b.n)
        memcpy(p + a.n, b.p, b.n);
    if (meets) {
        /* .* beside .+ is .+ */
        if ((uint8_t)b.p[0] == GLOB_SOME)
            p[a.n - 1] = (char)GLOB_SOME;
        memmove(p + a.n, p + a.n + 1, b.n - 1);
    }
    l->v = xrealloc(l->v, (l->n + 1) * sizeof *l->v);
    l->v[l->n++] = (struct str){p, a.n + b.n - meets};
    l->bytes += a.n + b.n;
    return true;
}

static bool list_move(struct list *into, struct list *from)
{
    bool ok = true;

    for (size_t i = 0; i < from->n && ok; i++)
        ok = list_add(into, from->v[i], STR(""));
    list_fini(from);
    return ok;
}

/* Each of l followed by each of tails. */
static bool list_cross(struct list *l, const struct list *tails)
{
    struct list out = {0};
    bool ok = true;

    for (size_t i = 0; i < l->n && ok; i++)
        for (size_t k = 0; k < tails->n && ok; k++)
            ok = list_add(&out, l->v[i], tails->v[k]);
    list_fini(l);
    *l = out;
    return ok;
}

static bool more(const struct parser *p)
{
    return p->at < p->in.n;
}

static bool at_char(const struct parser *p, const char *chars)
{
    return more(p) && p->in.p[p->at] != '\0' && strchr(chars, p->in.p[p->at]);
}

static bool parse_alternatives(struct parser *p, struct list *ret);

static bool parse_group(struct parser *p, struct list *ret)
{
    p->at++;
    if (at_char(p, "?")) {
        if (p->in.n - p->at < 2 || p->in.p[p->at + 1] != ':')
            return false;
        p->at += 2;
    }
    if (p->depth == GLOBS_DEPTH_MAX)
        return false;
    p->depth++;
    if (!parse_alternatives(p, ret) || !at_char(p, ")"))
        return false;
    p->at++;
    p->depth--;
    return true;
}

/* .* or .+ */
static bool parse_dot(struct parser *p, struct list *ret)
{
    static const char any = (char)GLOB_ANY, some = (char)GLOB_SOME;

    p->at++;
    if (!at_char(p, "*+"))
        return false;
    return list_add(ret, str_n(p->in.p[p->at++] == '*' ? &any : &some, 1), STR(""));
}

/* Text without a meaning of its own, escapes of punctuation undone. */
static bool parse_literal(struct parser *p, struct list *ret)
{
    struct buf text;
    bool ok = true;

    buf_init(&text, GLOBS_BYTES_MAX);
    while (ok && more(p) && !at_char(p, ".*+?()|[]{}^$")) {
        if (at_char(p, "\\")) {
            p->at++;
            ok = at_char(p, "\\.+*?()|[]{}^$-/\"'");
            if (!ok)
                break;
        }
        ok = p->in.p[p->at] != '\0';
        if (ok)
            buf_char(&text, p->in.p[p->at++]);
    }
    ok = ok && buf_ok(&text) && list_add(ret, buf_view(&text), STR(""));
    buf_fini(&text);
    return ok;
}

/* One element; nothing may be repeated but a dot. */
static bool parse_element(struct parser *p, struct list *ret)
{
    bool ok = at_char(p, "(") ? parse_group(p, ret) : at_char(p, ".") ? parse_dot(p, ret) : at_char(p, "*+?[]{}^$") ? false : parse_literal(p, ret);

    return ok && !at_char(p, "*+?{");
}

static bool parse_sequence(struct parser *p, struct list *ret)
{
    bool ok = list_add(ret, STR(""), STR(""));

    while (ok && more(p) && !at_char(p, "|)")) {
        struct list one = {0};

        ok = parse_element(p, &one) && list_cross(ret, &one);
        list_fini(&one);
    }
    return ok;
}

static bool parse_alternatives(struct parser *p, struct list *ret)
{
    for (;;) {
        struct list one = {0};
        bool ok = parse_sequence(p, &one);

        if (!ok)
            list_fini(&one);
        else
            ok = list_move(ret, &one);
        if (!ok || !at_char(p, "|"))
            return ok;
        p->at++;
    }
}

static int by_str(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* How many bytes of literal text from at on. */
static size_t literal_run(struct str glob, size_t at)
{
    size_t n = 0;

    while (at + n < glob.n && (uint8_t)glob.p[at + n] < GLOB_SOME)
        n++;
    return n;
}

bool globs_parse(struct str regex, struct globs *ret)
{
    struct parser p = {.in = regex};
    struct list l = {0};
    struct globs g = {.literal = true};

    if (!parse_alternatives(&p, &l) || more(&p)) {
        list_fini(&l);
        return false;
    }
    qsort(l.v, l.n, sizeof *l.v, by_str);
    for (size_t i = 0; i < l.n; i++) {
        g.literal &= literal_run(l.v[i], 0) == l.v[i].n;
        if (g.n > 0 && str_eq(l.v[g.n - 1], l.v[i]))
            free((char *)l.v[i].p);
        else
            l.v[g.n++] = l.v[i];
    }
    g.v = l.v;
    if (!g.literal && g.n > GLOBS_SEARCHED_MAX) {
        globs_fini(&g);
        return false;
    }
    *ret = g;
    return true;
}

void globs_fini(struct globs *g)
{
    struct list l = {.v = g->v, .n = g->n};

    list_fini(&l);
    *g = (struct globs){0};
}

/* The earliest place for each run of text leaves most for those after it. */
static bool glob_match(struct str glob, struct str text)
{
    size_t at = literal_run(glob, 0);

    if (!str_has_prefix(text, str_sub(glob, 0, at)))
        return false;
    text = str_skip(text, at);
    while (at < glob.n) {
        size_t least = (uint8_t)glob.p[at++] == GLOB_SOME, n = literal_run(glob, at);
        struct str run = str_sub(glob, at, at + n);
        const char *found;

        if (text.n < least + n)
            return false;
        at += n;
        if (at == glob.n)
            return str_has_suffix(text, run);
        found = memmem(text.p + least, text.n - least, run.p, n);
        if (!found)
            return false;
        text = str_skip(text, (size_t)(found - text.p) + n);
    }
    return text.n == 0;
}

bool globs_match(const struct globs *g, struct str text)
{
    for (size_t i = 0; i < g->n; i++)
        if (glob_match(g->v[i], text))
            return true;
    return false;
}

struct str globs_prefix(const struct globs *g)
{
    struct str first = str_sub(g->v[0], 0, literal_run(g->v[0], 0));

    for (size_t i = 1; i < g->n; i++) {
        size_t n = 0;

        while (n < first.n && n < g->v[i].n && first.p[n] == g->v[i].p[n])
            n++;
        first.n = n;
    }
    return first;
}
