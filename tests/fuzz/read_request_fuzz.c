/* Remote-read requests: decoded within a budget, or refused with a reason. */
#include "querier/read_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct read_request r;
    struct arena a;
    struct err err = {0};

    arena_init(&a, 32 << 20);
    if (read_request_decode(str_n(data, n), &a, &r, &err) == 0) {
        ASSERT(r.n <= READ_QUERIES_MAX && (r.type == READ_SAMPLES || r.type == READ_STREAMED_CHUNKS));
        for (size_t i = 0; i < r.n; i++)
            for (size_t k = 0; k < r.queries[i].matcher_count; k++)
                (void)matcher_matches(&r.queries[i].matchers[k], STR("x"));
        read_request_fini(&r);
    } else {
        ASSERT(err.text[0]);
    }
    arena_fini(&a);
    return 0;
}
