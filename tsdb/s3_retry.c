#include "tsdb/s3_retry.h"

#include <string.h>

int64_t s3_pace_take(struct s3_pace *p, int64_t now_ms)
{
    int64_t at = MAX(now_ms, p->next_ms);

    if (p->failures >= S3_PACE_FREE)
        p->next_ms = at + S3_PACE_MS;
    return at;
}

void s3_pace_result(struct s3_pace *p, bool ok, int64_t now_ms)
{
    if (ok) {
        *p = (struct s3_pace){0};
        return;
    }
    if (p->failures < UINT32_MAX)
        p->failures++;
    if (p->failures >= S3_PACE_FREE)
        p->next_ms = MAX(p->next_ms, now_ms + S3_PACE_MS);
}

int64_t s3_backoff_ms(unsigned attempt, int64_t retry_after_ms, uint64_t random)
{
    int64_t most = S3_BACKOFF_FIRST_MS;

    ASSERT(attempt > 0);
    for (unsigned i = 1; i < attempt && most < S3_BACKOFF_MAX_MS; i++)
        most *= 2;
    most = MIN(most, S3_BACKOFF_MAX_MS);
    most = most / 2 + (int64_t)(random % (uint64_t)(most / 2 + 1));
    return MAX(most, MIN(retry_after_ms, S3_RETRY_AFTER_MAX_MS));
}

bool s3_retryable(bool transport, long status, const char *code)
{
    static const char *const codes[] = {"RequestTimeout", "SlowDown", "InternalError", "ServiceUnavailable", "OperationAborted", "ConditionalRequestConflict",
                                        "Throttling", "ThrottlingException", "RequestLimitExceeded", "BadDigest", "XAmzContentSHA256Mismatch"};

    /* An answer to HEAD has no code. */
    if (transport || status == 408 || status == 409 || (status == 400 && !code[0]) || status == 429 || status == 500 || status == 502 || status == 503 || status == 504)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (strcmp(code, codes[i]) == 0)
            return true;
    return false;
}
