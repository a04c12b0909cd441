/* The answer to an OTLP request: what is read lies within it. */
#include "loadgen/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct http_client c = {.status = 200, .body = {.p = (char *)(uintptr_t)data, .n = n}};
    struct str message = {0};
    uint64_t rejected = 0;
    struct answer a;
    struct err err;
    int rc = answer_otlp_decode(str_n(data, n), &rejected, &message, &err);

    answer_judge(&c, PROTOCOL_OTLP, false, 100, &a);
    ASSERT(a.written <= 100 && (a.fate == ANSWER_REFUSED) == (rc < 0));
    if (rc == 0 && message.n)
        ASSERT(message.p >= (const char *)data && message.p + message.n <= (const char *)data + n);
    return 0;
}
