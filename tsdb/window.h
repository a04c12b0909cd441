/* window.h - replica-deterministic windows of sample time.
 * Time is cut into windows of 30 minutes, offset per series by its fingerprint (so that chunks do not all end at once), and also at block
 * bounds (multiples of 2 h). Which window a sample belongs to depends on nothing but (fingerprint, timestamp): every replica, head and
 * block cuts alike, and the digest of a window (sum mod 2^128 of sample_hash) can be compared between any two of them.
 * Timestamps are refused outside [TIMESTAMP_MIN_MS, TIMESTAMP_MAX_MS] on the way in, so the arithmetic here cannot overflow. */
#pragma once
#include "common/model/labels.h"

#define TIMESTAMP_MIN_MS (-(1LL << 53))
#define TIMESTAMP_MAX_MS (1LL << 53)
enum { WINDOW_MS = 30 * 60 * 1000, BLOCK_RANGE_MS = 2 * 60 * 60 * 1000 };

static inline int64_t floor_to(int64_t t, int64_t unit)
{
    int64_t r = t % unit;

    return t - (r < 0 ? r + unit : r);
}
/* Start of the window of t; *ret_end is one past its last millisecond. */
static inline int64_t window_start(fingerprint fp, int64_t t, int64_t *ret_end)
{
    int64_t offset = (int64_t)(fp.lo % WINDOW_MS);
    int64_t start = floor_to(t - offset, WINDOW_MS) + offset, end = start + WINDOW_MS;
    int64_t block = floor_to(t, BLOCK_RANGE_MS);

    start = MAX(start, block);
    end = MIN(end, block + BLOCK_RANGE_MS);
    if (ret_end)
        *ret_end = end;
    return start;
}
