/* plan.h - where the windows of all steps begin and end among the timestamps of a series. Series scraped together have the same timestamps, so one plan
 * serves them all: plans are kept by their timestamps (compared in full), the oldest memory is dropped at a ceiling.
 * Windows are left-open, as in Prometheus 3: step k sees times in (end_ms - range_ms, end_ms], end_ms = start_ms + k * step_ms.
 * Threads: one owner at a time.   Memory: the arena given, at most PLANS_BYTES_MAX beside one plan. */
#pragma once
#include "common/base/arena.h"

enum {
    PLAN_SLOTS = 256,
    PLANS_BYTES_MAX = 512 << 10,
};

struct plan_spec {
    int64_t start_ms, step_ms, range_ms; /* step_ms 0: every step sees the same window (@) */
    size_t steps;
};

struct plan {
    const int64_t *t; /* timestamps, a copy */
    size_t n;
    uint32_t *first, *end;     /* per step: samples [first, end) */
    double *factor;            /* NULL until somebody puts something there: see window_rate.c */
    uint8_t *two;              /* 1 where there are at least two samples */
    size_t total, fresh, most; /* samples in all windows; those that no earlier window had; those of the fullest window */
};

struct plans {
    struct plan_spec spec;
    struct arena *arena;
    struct plan *slots[PLAN_SLOTS];
};

/* Allocates nothing before the first plan. */
void plans_init(struct plans *p, const struct plan_spec *spec, struct arena *a);
/* Borrowed until the next call. NULL: no memory, or more samples than a plan can count. Times strictly increase. */
struct plan *plan_of(struct plans *p, const int64_t *t, size_t n);
