/* rate.h - a token bucket (design D11, requirement IN-040): refilled continuously at rate, capped at burst; a batch that does not fit is refused
 * whole. The caller holds a lock. Time is monotonic. */
#pragma once
#include "common/base/base.h"

struct rate_bucket {
    double tokens;
    int64_t at_ns; /* 0: never used, full */
};
static inline bool rate_take(struct rate_bucket *b, double rate, double burst, int64_t now_ns, double n)
{
    double filled = b->at_ns ? b->tokens + rate * (double)(now_ns - b->at_ns) * 1e-9 : burst;

    b->tokens = MIN(filled, burst);
    b->at_ns = now_ns;
    if (n > b->tokens)
        return false;
    b->tokens -= n;
    return true;
}
