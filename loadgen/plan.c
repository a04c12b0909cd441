#include "loadgen/plan.h"

#include "common/base/hash.h"

static const int64_t NS_PER_MS = 1000000;

/* Slots of a pair of replicas are due together. */
static int64_t part(const struct plan *p, int64_t whole, uint32_t slot)
{
    return (int64_t)((__int128)whole * (slot / plan_replicas(p)) / (p->slots / plan_replicas(p)));
}

int64_t plan_due_ns(const struct plan *p, uint64_t round, uint32_t slot)
{
    return p->start_ns + (int64_t)round * p->interval_ns + part(p, p->interval_ns, slot);
}

/* Which round's samples go out in a round: the same one, or rounds 2k-1 and 2k change places in 2k and 2k+1. A share p of swapped pairs makes p/2 of
 * the samples late. */
static int64_t samples_round(const struct plan *p, uint64_t round, uint32_t slot)
{
    uint64_t pair = mix64(p->seed ^ mix64((round / 2) << 32 | slot / plan_replicas(p)));
    bool swapped = (double)(pair >> 11) * 0x1.0p-53 < p->out_of_order / 50;

    if (p->out_of_order <= 0)
        return (int64_t)round;
    return (int64_t)round - 1 + (swapped ? (round % 2 ? -1 : 1) : 0);
}

int64_t plan_time_ms(const struct plan *p, uint64_t round, uint32_t slot, int64_t wall_ms)
{
    int64_t r = samples_round(p, round, slot);

    if (p->backfill_ms)
        return p->start_wall_ms - p->backfill_ms + r * p->step_ms + part(p, p->step_ms, slot);
    if (p->max)
        return wall_ms;
    return (p->start_wall_ms * NS_PER_MS + r * p->interval_ns + part(p, p->interval_ns, slot)) / NS_PER_MS;
}

bool plan_silent(const struct plan *p, uint32_t slot, int64_t due_ns)
{
    int64_t phase;

    if (!p->ha || p->outage_ns <= 0)
        return false;
    phase = (due_ns - p->start_ns) / p->outage_ns % 4;
    return phase % 2 == 1 && slot % 2 == (uint32_t)(phase / 2);
}

double plan_rounds_due(const struct plan *p, int64_t age_ns)
{
    double due = (double)MAX(age_ns, 0) / (double)p->interval_ns;

    return p->rounds ? MIN(due, (double)p->rounds) : due;
}
