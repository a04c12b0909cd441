/* latency.h - a histogram of durations: log-linear, 64 steps an octave (under 1.6 % error), microseconds up to 71 minutes. */
#pragma once
#include "common/base/base.h"

enum { LATENCY_STEPS = 64, LATENCY_OCTAVES = 27, LATENCY_BUCKETS = LATENCY_STEPS * LATENCY_OCTAVES };

struct latency {
    uint64_t count, max_us;
    uint64_t buckets[LATENCY_BUCKETS];
};

void latency_add(struct latency *l, int64_t ns);
/* Seconds that the share q in (0, 1] of all took at most; 0 without any. */
double latency_quantile(const struct latency *l, double q);
