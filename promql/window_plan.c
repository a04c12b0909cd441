/* window_plan.c - the windows of all steps, found once for all series whose samples have the same times. */
#include "promql/window.h"

int window_plan_init(struct query *q, struct window_plan *p, size_t steps)
{
    *p = (struct window_plan){
        .t = arena_array(q->arena, PLAN_SAMPLES_MAX, sizeof *p->t),
        .f0 = arena_array(q->arena, steps, sizeof *p->f0),
        .f1 = arena_array(q->arena, steps, sizeof *p->f1),
        .factor = arena_array(q->arena, steps, sizeof *p->factor),
    };
    return p->t && p->f0 && p->f1 && p->factor ? 0 : query_nomem(q);
}

bool window_plan_fit(struct window_plan *p, const struct samples *s, int64_t start, int64_t step, size_t steps, int64_t range_ms)
{
    uint32_t f0 = 0, f1 = 0, n = (uint32_t)s->nf;

    if (s->nf > PLAN_SAMPLES_MAX || s->nf == 0)
        return false;
    if (p->n == s->nf && memcmp(p->t, s->ft, s->nf * sizeof *p->t) == 0)
        return true;
    p->n = s->nf;
    memcpy(p->t, s->ft, s->nf * sizeof *p->t);
    p->total = p->fresh = p->most = 0;
    for (size_t i = 0; i < steps; i++) {
        int64_t end = start + (int64_t)i * step;
        uint32_t seen = f1;

        while (f0 < n && s->ft[f0] <= end - range_ms)
            f0++;
        f1 = MAX(f1, f0);
        while (f1 < n && s->ft[f1] <= end)
            f1++;
        p->f0[i] = f0;
        p->f1[i] = f1;
        p->factor[i] = NAN;
        p->total += f1 - f0;
        p->fresh += f1 - MAX(f0, seen);
        p->most = MAX(p->most, (size_t)(f1 - f0));
    }
    return true;
}
