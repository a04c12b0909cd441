#include "querier/hiding.h"

#include "promql/retention.h"

#include <stdlib.h>

static int no_memory(struct err *err)
{
    return err_set(err, RC_NOMEM, "select: memory budget is spent");
}

/* --- what there is --- */

struct rules {
    tombstones *to;
    int64_t now_ms, applied_ms;
};

static int rule_add(void *arg, const struct matcher *m, size_t n, int64_t period_ms, uint64_t key, struct err *err)
{
    struct rules *r = arg;
    struct tombstone t;
    int rc = tombstone_init(&t, m, n, (struct time_span){TIMESTAMP_MIN_MS, r->now_ms - period_ms - 1}, err);

    if (rc < 0)
        return rc;
    t.seq = key;
    t.applied_ms = r->applied_ms;
    *vec_push(r->to) = t;
    return 0;
}

int hiding_rules(const struct opt_list *rules, int64_t now_ms, tombstones *ret, struct err *err)
{
    struct rules r = {.to = ret, .now_ms = now_ms};

    return retention_rules_each(rules, rule_add, &r, err);
}

static int rules_load(struct hiding *h, const struct source_env *env, struct str tenant, struct err *err)
{
    int64_t now_ms = clock_wall_ms(env->clock);
    struct rules r = {&h->rules, now_ms, now_ms};
    const struct limits *l = env->overrides ? limits_of(env->overrides, tenant) : NULL;
    int rc = l ? retention_rules_each(&l->retention_rules, rule_add, &r, err) : 0;

    if (rc == 0 && l && l->retention_period_ms > 0)
        rc = rule_add(&r, NULL, 0, l->retention_period_ms, 1, err);

    return rc == RC_INVALID ? err_wrap(err, RC_EXECUTION, "limits") : rc;
}

/* Not once blocks are rewritten and all that is hidden is long past. */
static bool any_waits(struct time_span range, const tombstones *list)
{
    for (size_t i = 0; i < list->n; i++)
        if (list->v[i].applied_ms == 0 && time_spans_meet(list->v[i].span, range))
            return true;
    return false;
}

/* Past what is deleted for all series from the beginning of the range on. */
static int64_t behind_all(const tombstones *list, int64_t from_ms)
{
    for (size_t i = 0; i < list->n; i++) {
        const struct tombstone *t = &list->v[i];

        if (t->matcher_count == 0 && t->span.mint_ms <= from_ms && t->span.maxt_ms >= from_ms)
            from_ms = t->span.maxt_ms + 1;
    }
    return from_ms;
}

static size_t take_meeting(struct time_span range, const tombstones *from, struct tombstone *to)
{
    size_t n = 0;

    for (size_t i = 0; i < from->n; i++)
        if (time_spans_meet(from->v[i].span, range))
            to[n++] = from->v[i];
    return n;
}

int hiding_init(struct hiding *h, const struct source_env *env, struct str tenant, const struct blocks_view *view, struct time_span range, bool labels,
                struct arena *a, struct err *err)
{
    struct tombstone *v;
    int rc;

    *h = (struct hiding){.range = range, .waiting = any_waits(range, &view->tombstones)};
    rc = rules_load(h, env, tenant, err);
    if (rc == 0)
        h->range.mint_ms = behind_all(&h->rules, behind_all(&view->tombstones, range.mint_ms));
    if (labels) /* a window is named when its last sample lies in the range; samples may lie before it */
        range = h->range;
    if (rc == 0 && view->tombstones.n + h->rules.n > 0) {
        v = arena_array(a, view->tombstones.n + h->rules.n, sizeof *v);
        if (v) {
            h->v = v;
            h->n = take_meeting(range, &view->tombstones, v);
            h->n += take_meeting(range, &h->rules, v + h->n);
        } else {
            rc = no_memory(err);
        }
    }
    if (rc < 0)
        hiding_fini(h);
    return rc;
}

void hiding_fini(struct hiding *h)
{
    tombstones_fini(&h->rules);
    h->n = 0;
}

bool hiding_has(const struct hiding *h, const struct labels *ls, int64_t t)
{
    for (size_t i = 0; i < h->n; i++)
        if (time_spans_meet(h->v[i].span, (struct time_span){t, t}) && tombstone_matches(&h->v[i], ls))
            return true;
    return false;
}

/* --- labels to ask for --- */

static int by_name(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

int hiding_keep(const struct hiding *h, const struct label_names **keep, struct arena *a, struct err *err)
{
    size_t count = *keep ? (*keep)->n : 0, n = 0;
    struct label_names *out;
    struct str *v;

    if (!*keep || h->n == 0)
        return 0;
    for (size_t i = 0; i < h->n; i++)
        count += h->v[i].matcher_count;
    out = arena_alloc(a, sizeof *out);
    v = arena_array(a, count, sizeof *v);
    if (!out || !v)
        return no_memory(err);
    for (size_t i = 0; i < (*keep)->n; i++)
        v[n++] = (*keep)->v[i];
    for (size_t i = 0; i < h->n; i++)
        for (size_t k = 0; k < h->v[i].matcher_count; k++)
            v[n++] = h->v[i].matchers[k].name;
    if (n)
        qsort(v, n, sizeof *v, by_name);
    count = n;
    n = 0;
    for (size_t i = 0; i < count; i++)
        if (n == 0 || !str_eq(v[n - 1], v[i]))
            v[n++] = v[i];
    *out = (struct label_names){v, n};
    *keep = out;
    return 0;
}

/* --- samples --- */

static int entry_spans(const struct hiding *h, struct series_set *set, struct series_entry *e, struct err *err)
{
    return tombstones_spans(h->v, h->n, &e->labels, (struct time_span){INT64_MIN, INT64_MAX}, set->arena, &e->hidden, err);
}

static bool all_hidden(const struct series_entry *e)
{
    for (const struct series_input *in = e->inputs; in; in = in->next)
        for (size_t i = 0; i < in->window_count; i++)
            if (!time_spans_cover(&e->hidden, (struct time_span){in->windows[i].mint_ms, in->windows[i].maxt_ms}))
                return false;
    return true;
}

int hiding_apply(const struct hiding *h, struct series_set *set, struct err *err)
{
    bool drop = false;
    int rc = 0;

    for (size_t i = 0; i < set->n && rc == 0 && h->n; i++) {
        rc = entry_spans(h, set, &set->v[i], err);
        set->v[i].dropped = rc == 0 && set->v[i].hidden.n && all_hidden(&set->v[i]);
        drop |= set->v[i].dropped;
    }
    if (rc == 0 && drop)
        series_set_drop(set);
    return rc;
}

/* --- labels --- */

static int by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* Where a span of a series in doubt begins, or the first moment behind one: sorted, each once. The parts of the range lie between. False: too many. */
static bool bounds_collect(const struct hiding *h, const struct series_set *set, int64_t v[HIDING_PARTS_MAX + 1], size_t *ret_n)
{
    size_t n = 0;

    v[n++] = h->range.mint_ms;
    for (size_t i = 0; i < set->n; i++) {
        const struct series_entry *e = &set->v[i];

        for (size_t k = 0; e->dropped && k < e->hidden.n; k++) {
            const int64_t edges[2] = {e->hidden.v[k].mint_ms, e->hidden.v[k].maxt_ms == INT64_MAX ? INT64_MAX : e->hidden.v[k].maxt_ms + 1};

            for (size_t j = 0; j < 2; j++) {
                if (edges[j] <= h->range.mint_ms || edges[j] > h->range.maxt_ms || bsearch(&edges[j], v, n, sizeof *v, by_time))
                    continue;
                if (n == HIDING_PARTS_MAX)
                    return false;
                v[n++] = edges[j];
                qsort(v, n, sizeof *v, by_time);
            }
        }
    }
    *ret_n = n;
    return true;
}

/* Series of one part: those in doubt that the part shows are kept. */
static int part_look(struct series_set *set, struct time_span span, hiding_part_fn *part, void *arg, struct err *err)
{
    struct series_set found;
    struct arena a;
    int rc;

    arena_init_in(&a, set->arena);
    series_set_init(&found, &a);
    rc = part(arg, span, &found, err);
    for (size_t i = 0; rc == 0 && i < found.n; i++) {
        struct series_entry *e = series_set_find(set, found.v[i].fp);

        if (e && e->dropped && !time_spans_cover(&e->hidden, span))
            e->dropped = false;
    }
    arena_fini(&a);
    return rc;
}

static bool part_wanted(const struct series_set *set, struct time_span span)
{
    for (size_t i = 0; i < set->n; i++)
        if (set->v[i].dropped && !time_spans_cover(&set->v[i].hidden, span))
            return true;
    return false;
}

int hiding_apply_labels(const struct hiding *h, struct series_set *set, hiding_part_fn *part, void *arg, struct err *err)
{
    int64_t bounds[HIDING_PARTS_MAX + 1];
    size_t n = 0, touched = 0;
    int rc = 0;

    for (size_t i = 0; i < set->n && rc == 0 && h->n; i++) {
        rc = entry_spans(h, set, &set->v[i], err);
        set->v[i].dropped = rc == 0 && set->v[i].hidden.n; /* until a part shows it */
        touched += set->v[i].dropped;
    }
    if (rc < 0 || touched == 0)
        return rc;
    if (!bounds_collect(h, set, bounds, &n)) {
        for (size_t i = 0; i < set->n; i++)
            set->v[i].dropped &= time_spans_cover(&set->v[i].hidden, h->range);
        n = 0;
    }
    for (size_t i = 0; i < n && rc == 0; i++) {
        struct time_span span = {bounds[i], i + 1 < n ? bounds[i + 1] - 1 : h->range.maxt_ms};

        if (part_wanted(set, span))
            rc = part_look(set, span, part, arg, err);
    }
    if (rc == 0)
        series_set_drop(set);
    return rc;
}
