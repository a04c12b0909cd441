#include "promql/memsource.h"

#include "promql/fhist.h"

#include <stdlib.h>

struct mem_series {
    struct labels labels;
    size_t n, cap;
    int64_t *t, *st;
    double *v;
    const struct histogram **hist;
    bool any_hist, any_st;
};

struct memsource {
    struct series_source base;
    struct arena arena;
    struct mem_series *series;
    size_t n, cap;
    size_t *slots, slot_cap; /* index + 1 by hash of labels; 0: free */
};

static uint64_t hash_of(const struct labels *ls)
{
    struct buf b;
    uint64_t h;

    buf_init(&b, SIZE_MAX);
    labels_encode(&b, ls);
    ASSERT(buf_ok(&b));
    h = hash64(b.p, b.n, 0);
    buf_fini(&b);
    return h;
}

static size_t *slot_of(const struct memsource *m, const struct labels *ls)
{
    size_t i = (size_t)hash_of(ls) & (m->slot_cap - 1);

    while (m->slots[i] && !labels_eq(&m->series[m->slots[i] - 1].labels, ls))
        i = (i + 1) & (m->slot_cap - 1);
    return &m->slots[i];
}

static void slots_grow(struct memsource *m)
{
    free(m->slots);
    m->slot_cap = m->slot_cap ? m->slot_cap * 2 : 64;
    m->slots = xcalloc(m->slot_cap, sizeof *m->slots);
    for (size_t i = 0; i < m->n; i++)
        *slot_of(m, &m->series[i].labels) = i + 1;
}

static struct mem_series *series_of(struct memsource *m, const struct labels *ls)
{
    size_t *slot;

    if (m->n * 2 >= m->slot_cap)
        slots_grow(m);
    slot = slot_of(m, ls);
    if (*slot)
        return &m->series[*slot - 1];
    if (m->n == m->cap) {
        m->cap = m->cap ? m->cap * 2 : 16;
        m->series = xrealloc(m->series, m->cap * sizeof *m->series);
    }
    m->series[m->n] = (struct mem_series){.labels = labels_dup(&m->arena, ls)};
    *slot = ++m->n;
    return &m->series[m->n - 1];
}

static void series_grow(struct mem_series *s)
{
    s->cap = s->cap ? s->cap * 2 : 16;
    s->t = xrealloc(s->t, s->cap * sizeof *s->t);
    s->st = xrealloc(s->st, s->cap * sizeof *s->st);
    s->v = xrealloc(s->v, s->cap * sizeof *s->v);
    s->hist = xrealloc(s->hist, s->cap * sizeof *s->hist);
}

static bool same_sample(const struct mem_series *s, double v, const struct histogram *h)
{
    const struct histogram *last = s->hist[s->n - 1];

    if (!h || !last)
        return !h && !last && double_bits(s->v[s->n - 1]) == double_bits(v);
    return fhist_eq(last, h);
}

int memsource_append(struct memsource *m, const struct labels *ls, int64_t t, double v, const struct histogram *h, int64_t st, struct err *err)
{
    struct mem_series *s = series_of(m, ls);
    struct histogram *copy = NULL;

    if (h) {
        copy = fhist_dup(&m->arena, fhist_of(&m->arena, h));
        ASSERT(copy); /* the arena has no limit */
    }
    if (s->n > 0 && t <= s->t[s->n - 1]) {
        if (t == s->t[s->n - 1] && same_sample(s, v, copy))
            return 0;
        return err_set(err, RC_INVALID, "%s", t == s->t[s->n - 1] ? "duplicate sample for timestamp" : "out of order sample");
    }
    if (s->n == s->cap)
        series_grow(s);
    if (copy)
        copy->hint = fhist_storage_hint(copy, s->n > 0 ? s->hist[s->n - 1] : NULL);
    s->t[s->n] = t;
    s->st[s->n] = st;
    s->v[s->n] = v;
    s->hist[s->n++] = copy;
    s->any_hist |= copy != NULL;
    s->any_st |= st != 0;
    return 0;
}

/* --- reading --- */
struct mem_cursor {
    struct series_cursor base;
    const struct memsource *m;
    size_t *index, n;
    int64_t mint, maxt;
};

static size_t cursor_count(const struct series_cursor *c)
{
    return CONTAINER_OF(c, struct mem_cursor, base)->n;
}

static const struct labels *cursor_labels(const struct series_cursor *c, size_t i)
{
    const struct mem_cursor *mc = CONTAINER_OF(c, struct mem_cursor, base);

    return &mc->m->series[mc->index[i]].labels;
}

static size_t first_at(const struct mem_series *s, int64_t t)
{
    size_t lo = 0, hi = s->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (s->t[mid] < t)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static int cursor_samples_in(const struct series_cursor *c, size_t i, struct arena *a UNUSED, struct columns *ret, struct err *err UNUSED)
{
    const struct mem_cursor *mc = CONTAINER_OF(c, struct mem_cursor, base);
    const struct mem_series *s = &mc->m->series[mc->index[i]];
    size_t from = first_at(s, mc->mint), to = first_at(s, mc->maxt + 1);

    *ret = (struct columns){0};
    if (from >= to)
        return 0;
    ret->n = to - from;
    ret->t = s->t + from;
    ret->v = s->v + from;
    ret->st = s->any_st ? s->st + from : NULL;
    ret->hist = s->any_hist ? s->hist + from : NULL;
    return 0;
}

static int cursor_samples(struct series_cursor *c, size_t i, struct columns *ret, struct err *err)
{
    return cursor_samples_in(c, i, NULL, ret, err);
}

static void cursor_free(struct series_cursor *c UNUSED)
{
    /* All of it is in the query's arena. */
}

static bool matches(const struct matcher *m, size_t n, const struct labels *ls)
{
    for (size_t i = 0; i < n; i++) {
        struct str v = labels_get(ls, m[i].name);

        if (!matcher_matches(&m[i], v.p ? v : STR("")))
            return false;
    }
    return true;
}

static int select_series(struct series_source *src, const struct matcher *m, size_t n, const struct select_hints *hints,
                         struct arena *arena, struct series_cursor **ret, struct err *err)
{
    static const struct series_cursor_ops ops = {cursor_count, cursor_labels, cursor_samples, cursor_samples_in, cursor_free};
    const struct memsource *ms = CONTAINER_OF(src, struct memsource, base);
    struct mem_cursor *c = arena_alloc(arena, sizeof *c);
    size_t *index = arena_array(arena, ms->n, sizeof *index);

    if (!c || !index)
        return err_set(err, RC_NOMEM, "select: memory budget is spent");
    *c = (struct mem_cursor){{&ops}, ms, index, 0, hints->mint_ms, hints->maxt_ms};
    for (size_t i = 0; i < ms->n; i++)
        if (matches(m, n, &ms->series[i].labels) && (hints->limit == 0 || c->n < hints->limit))
            index[c->n++] = i;
    *ret = &c->base;
    return 0;
}

struct memsource *memsource_new(void)
{
    struct memsource *m = xcalloc(1, sizeof *m);

    m->base.select = select_series;
    arena_init(&m->arena, SIZE_MAX);
    return m;
}

void memsource_free(struct memsource *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n; i++) {
        free(m->series[i].t);
        free(m->series[i].st);
        free(m->series[i].v);
        free(m->series[i].hist);
    }
    free(m->series);
    free(m->slots);
    arena_fini(&m->arena);
    free(m);
}

struct series_source *memsource_source(struct memsource *m)
{
    return &m->base;
}
