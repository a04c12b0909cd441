#include "loadgen/latency.h"

/* The first octave and the second hold exact microseconds: [0, 64) and [64, 128). */
static size_t bucket_of(uint64_t us)
{
    unsigned shift;

    if (us < 2 * LATENCY_STEPS)
        return (size_t)us;
    shift = 63 - (unsigned)__builtin_clzll(us) - 6;
    return MIN(shift * LATENCY_STEPS + (size_t)(us >> shift), (size_t)LATENCY_BUCKETS - 1);
}

static uint64_t bucket_end(size_t i)
{
    size_t shift = i < 2 * LATENCY_STEPS ? 0 : i / LATENCY_STEPS - 1;

    return ((uint64_t)(i - shift * LATENCY_STEPS + 1) << shift) - 1;
}

void latency_add(struct latency *l, int64_t ns)
{
    uint64_t us = (uint64_t)(MAX(ns, 0) + 999) / 1000;

    l->count++;
    l->max_us = MAX(l->max_us, us);
    l->buckets[bucket_of(us)]++;
}

double latency_quantile(const struct latency *l, double q)
{
    uint64_t want = (uint64_t)(q * (double)l->count), seen = 0;

    ASSERT(q > 0 && q <= 1);
    if (l->count == 0)
        return 0;
    if ((double)want < q * (double)l->count)
        want++;
    for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
        seen += l->buckets[i];
        if (seen >= want)
            return (double)MIN(bucket_end(i), l->max_us) * 1e-6;
    }
    return (double)l->max_us * 1e-6;
}
