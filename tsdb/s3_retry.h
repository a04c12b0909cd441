/* s3_retry.h - when a request that failed goes out again. Pure: time and random bits come in.
 * Each object has a pace: after S3_PACE_FREE failures in a row, whoever asks for it (any thread) is given times at least S3_PACE_MS apart, until
 * one request succeeds. Paces live in a fixed table by hash of the name, so two objects may share one, which only makes them slower. */
#pragma once
#include "common/base/base.h"

enum {
    S3_PACE_SLOTS = 1024,
    S3_PACE_FREE = 3,
    S3_PACE_MS = 1000,
    S3_BACKOFF_FIRST_MS = 100,
    S3_BACKOFF_MAX_MS = 10000,
    S3_RETRY_AFTER_MAX_MS = 60000,
};

struct s3_pace {
    int64_t next_ms; /* nobody before */
    uint32_t failures;
};

/* The time, from now_ms on, when a request for an object may go out; that time is then taken. */
int64_t s3_pace_take(struct s3_pace *p, int64_t now_ms);
void s3_pace_result(struct s3_pace *p, bool ok, int64_t now_ms);

/* How long to wait before attempt (the first retry is 1): exponential with full jitter over its upper half, at least retry_after_ms (0: not said). */
int64_t s3_backoff_ms(unsigned attempt, int64_t retry_after_ms, uint64_t random);
/* What an answer means for its request. transport: there was no answer. */
bool s3_retryable(bool transport, long status, const char *code);
