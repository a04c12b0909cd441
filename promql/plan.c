#include "promql/plan.h"

#include "common/base/hash.h"

void plans_init(struct plans *p, const struct plan_spec *spec, struct arena *a)
{
    *p = (struct plans){.spec = *spec, .arena = a};
}

static bool plan_is_of(const struct plan *p, const int64_t *t, size_t n)
{
    return p && p->n == n && (n == 0 || memcmp(p->t, t, n * sizeof *t) == 0);
}

/* Regular series differ in their first time. */
static size_t slot_of(const int64_t *t, size_t n)
{
    return n ? (size_t)(mix64((uint64_t)t[0] ^ (uint64_t)n << 48) % PLAN_SLOTS) : 0;
}

/* Two pointers that walk the times while the window moves. */
static void place(struct plan *p, const struct plan_spec *s)
{
    size_t first = 0, end = 0;

    for (size_t k = 0; k < s->steps; k++) {
        int64_t hi = s->start_ms + (int64_t)k * s->step_ms, lo = hi - s->range_ms;
        size_t seen = end;

        while (first < p->n && p->t[first] <= lo)
            first++;
        end = MAX(first, end);
        while (end < p->n && p->t[end] <= hi)
            end++;
        p->first[k] = (uint32_t)first;
        p->end[k] = (uint32_t)end;
        p->two[k] = end - first >= 2;
        p->total += end - first;
        p->fresh += end - MAX(first, seen);
        p->most = MAX(p->most, end - first);
    }
}

static struct plan *plan_new(struct plans *ps, const int64_t *t, size_t n)
{
    struct plan *p = arena_zalloc(ps->arena, sizeof *p);

    if (!p)
        return NULL;
    p->n = n;
    p->t = arena_dup(ps->arena, n ? (const void *)t : "", n * sizeof *t);
    p->first = arena_array(ps->arena, ps->spec.steps, sizeof *p->first);
    p->end = arena_array(ps->arena, ps->spec.steps, sizeof *p->end);
    p->two = arena_alloc(ps->arena, ps->spec.steps);
    if (!p->t || !p->first || !p->end || !p->two)
        return NULL;
    place(p, &ps->spec);
    return p;
}

struct plan *plan_of(struct plans *ps, const int64_t *t, size_t n)
{
    size_t at = slot_of(t, n);

    if (plan_is_of(ps->slots[at], t, n))
        return ps->slots[at];
    if (n > UINT32_MAX)
        return NULL;
    if (ps->arena->used > PLANS_BYTES_MAX) {
        arena_reset(ps->arena);
        memset(ps->slots, 0, sizeof ps->slots);
    }
    ps->slots[at] = plan_new(ps, t, n);
    return ps->slots[at];
}
