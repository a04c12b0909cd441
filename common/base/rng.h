/* rng.h - xoshiro256** (Blackman and Vigna, 2018) from a seed: simulator, generator, jitter. Not for secrets. */
#pragma once
#include "common/base/hash.h"

struct rng {
    uint64_t s[4];
};

static inline void rng_init(struct rng *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        r->s[i] = mix64(seed += 0x9e3779b97f4a7c15ULL);
    if (!(r->s[0] | r->s[1] | r->s[2] | r->s[3]))
        r->s[0] = 1;
}
static inline uint64_t rng_rotl_(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}
static inline uint64_t rng_u64(struct rng *r)
{
    uint64_t result = rng_rotl_(r->s[1] * 5, 7) * 9, t = r->s[1] << 17;

    r->s[2] ^= r->s[0];
    r->s[3] ^= r->s[1];
    r->s[1] ^= r->s[2];
    r->s[0] ^= r->s[3];
    r->s[2] ^= t;
    r->s[3] = rng_rotl_(r->s[3], 45);
    return result;
}
/* Uniform in [0, n), n > 0 (bias below 2^-32 for the n used here). */
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
    return (uint64_t)(((__uint128_t)rng_u64(r) * n) >> 64);
}
static inline double rng_double(struct rng *r)
{
    return (double)(rng_u64(r) >> 11) * 0x1.0p-53;
}
static inline bool rng_chance(struct rng *r, double p)
{
    return rng_double(r) < p;
}
