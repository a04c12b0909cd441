#include "tsdb/tombstone.h"

#include <stdlib.h>

/* Tombstones are kept as JSON. */
static bool text_ok(struct str s)
{
    return utf8_valid(s) && str_find(s, '\0') == s.n;
}

int tombstone_init(struct tombstone *t, const struct matcher *m, size_t n, struct time_span span, struct err *err)
{
    struct tombstone out = {.span = span};
    int rc = 0;

    if (n > TOMBSTONE_MATCHERS_MAX)
        return err_set(err, RC_LIMIT, "a deletion by more than %d matchers", TOMBSTONE_MATCHERS_MAX);
    out.matchers = n ? xcalloc(n, sizeof *out.matchers) : NULL;
    while (rc == 0 && out.matcher_count < n) {
        const struct matcher *from = &m[out.matcher_count];

        rc = text_ok(from->name) && text_ok(from->value) ? 0 : err_set(err, RC_INVALID, "a matcher of a deletion must be UTF-8 without NUL");
        if (rc == 0)
            rc = matcher_init(&out.matchers[out.matcher_count], from->type, from->name, from->value, err);
        out.matcher_count += rc == 0;
    }
    if (rc < 0)
        tombstone_fini(&out);
    else
        *t = out;
    return rc;
}

void tombstone_fini(struct tombstone *t)
{
    for (size_t i = 0; i < t->matcher_count; i++)
        matcher_fini(&t->matchers[i]);
    free(t->matchers);
    *t = (struct tombstone){0};
}

int tombstone_dup(const struct tombstone *from, struct tombstone *ret, struct err *err)
{
    struct tombstone out;
    int rc = tombstone_init(&out, from->matchers, from->matcher_count, from->span, err);

    if (rc < 0)
        return rc;
    *ret = *from;
    ret->matchers = out.matchers;
    return 0;
}

void tombstones_fini(tombstones *list)
{
    for (size_t i = 0; i < list->n; i++)
        tombstone_fini(&list->v[i]);
    vec_fini(list);
}

size_t tombstones_memory(const tombstones *list)
{
    size_t n = list->cap * sizeof *list->v;

    for (size_t i = 0; i < list->n; i++) {
        n += list->v[i].matcher_count * sizeof *list->v[i].matchers;
        for (size_t k = 0; k < list->v[i].matcher_count; k++)
            n += list->v[i].matchers[k].name.n + list->v[i].matchers[k].value.n;
    }
    return n;
}

bool tombstone_same_series(const struct tombstone *a, const struct tombstone *b)
{
    if (a->matcher_count != b->matcher_count)
        return false;
    for (size_t i = 0; i < a->matcher_count; i++)
        if (a->matchers[i].type != b->matchers[i].type || !str_eq(a->matchers[i].name, b->matchers[i].name) ||
            !str_eq(a->matchers[i].value, b->matchers[i].value))
            return false;
    return true;
}

bool tombstone_matches(const struct tombstone *t, const struct labels *ls)
{
    for (size_t i = 0; i < t->matcher_count; i++)
        if (!matcher_matches(&t->matchers[i], labels_get(ls, t->matchers[i].name)))
            return false;
    return true;
}

/* --- spans --- */

static int by_start(const void *a, const void *b)
{
    int64_t x = ((const struct time_span *)a)->mint_ms, y = ((const struct time_span *)b)->mint_ms;

    return (x > y) - (x < y);
}

static size_t spans_join(struct time_span *v, size_t n)
{
    size_t kept = 0;

    qsort(v, n, sizeof *v, by_start);
    for (size_t i = 0; i < n; i++) {
        struct time_span *last = kept ? &v[kept - 1] : NULL;

        if (last && (last->maxt_ms == INT64_MAX || v[i].mint_ms <= last->maxt_ms + 1))
            last->maxt_ms = MAX(last->maxt_ms, v[i].maxt_ms);
        else
            v[kept++] = v[i];
    }
    return kept;
}

int tombstones_spans(const struct tombstone *list, size_t n, const struct labels *ls, struct time_span within, struct arena *a, struct time_spans *ret,
                     struct err *err)
{
    struct time_span *v = NULL;
    size_t count = 0;

    for (size_t i = 0; i < n; i++) {
        if (!time_spans_meet(list[i].span, within) || !tombstone_matches(&list[i], ls))
            continue;
        if (!v && !(v = arena_array(a, n - i, sizeof *v)))
            return err_set(err, RC_NOMEM, "deletions: memory budget is spent");
        v[count++] = list[i].span;
    }
    *ret = (struct time_spans){v, count ? spans_join(v, count) : 0};
    return 0;
}

bool time_spans_cover(const struct time_spans *s, struct time_span all)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].mint_ms <= all.mint_ms && s->v[i].maxt_ms >= all.maxt_ms)
            return true;
    return false;
}

bool time_spans_have(const struct time_spans *s, int64_t t)
{
    return time_spans_cover(s, (struct time_span){t, t});
}
