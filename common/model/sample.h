/* sample.h - one observation of a series, and the bit patterns that have a meaning. */
#pragma once
#include "common/base/bytes.h"
#include "common/base/hash.h"

#define STALE_NAN_BITS  0x7ff0000000000002ULL
#define NORMAL_NAN_BITS 0x7ff8000000000001ULL

/* t and st in Unix ms; st is the start timestamp, 0 = not known. */
struct sample {
    int64_t t;
    double v;
    int64_t st;
};

static inline bool is_stale_nan(double v)
{
    return double_bits(v) == STALE_NAN_BITS;
}

/* Hash of one sample for digests (design section 6): XXH3-128, seed 0, over t, value bits, st as three little-endian
 * 64-bit words. A digest is the sum mod 2^128, so neither order nor layout matters. For a histogram, value bits are
 * the upper half of histogram_hash(). The same for ever: replicas and blocks of all versions must agree. */
static inline struct u128 sample_hash(int64_t t, uint64_t vbits, int64_t st)
{
    uint64_t w[3] = {(uint64_t)t, vbits, (uint64_t)st};

    return hash128_words3(w);
}
