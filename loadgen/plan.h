/* plan.h - which request is due when, and which time its samples carry. Pure.
 * A round is one sample of every series: a request for each slot. Slots are the batches of all tenants; with an HA pair each batch has two slots next to
 * each other, one per replica, with the same samples.
 *
 * Pace    open loop: slot s of S is due at start + (round + s/S) * interval, and its samples carry that time;
 *         max: as soon as the connection is free, samples carry the time of sending;
 *         out of order: of two neighbouring rounds some batches send the later one's samples first, one round behind the present;
 *         backfill: samples carry start - backfill + (round + s/S) * step, whatever the pace.
 * Outage  with an HA pair and a period P: both replicas live for P, then a is dead for P, both live, b is dead, and so on. */
#pragma once
#include "common/base/base.h"

struct plan {
    bool max, ha;
    int64_t interval_ns;           /* of a round; unused with max */
    double out_of_order;           /* percent of samples that come behind a later one of their series; not with max, unless backfilled */
    int64_t backfill_ms, step_ms;  /* 0: samples carry the present */
    uint64_t rounds;               /* 0: until the duration is over */
    int64_t outage_ns;             /* 0: no replica dies */
    uint64_t seed;
    uint32_t slots;
    int64_t start_ns, start_wall_ms;
};

static inline uint32_t plan_replicas(const struct plan *p)
{
    return p->ha ? 2 : 1;
}
/* Not with max. */
int64_t plan_due_ns(const struct plan *p, uint64_t round, uint32_t slot);
/* wall_ms: the present. In order, but not with out of order or HA, the caller raises it above the batch's last. */
int64_t plan_time_ms(const struct plan *p, uint64_t round, uint32_t slot, int64_t wall_ms);
/* Times of a batch may repeat or fall back unless the caller sees to it. */
static inline bool plan_fixed_times(const struct plan *p)
{
    return p->out_of_order > 0 || p->ha;
}
/* The replica of this slot is dead at that time. */
bool plan_silent(const struct plan *p, uint32_t slot, int64_t due_ns);
/* Share of all samples of a round times the rounds that are due after age_ns; not with max. */
double plan_rounds_due(const struct plan *p, int64_t age_ns);
