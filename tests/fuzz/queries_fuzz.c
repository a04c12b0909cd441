/* Messages about queries of other queriers: the first byte chooses between a request, which is answered, and an answer, which is taken. */
#include "querier/queries.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct active *active = active_new();
    struct queries qs;
    struct buf out;

    queries_init(&qs, "querier-1");
    buf_init(&out, RPC_MESSAGE_BYTES_MAX);
    if (n > 0 && data[0] % 2 == 0) {
        if (queries_answer(active, clock_system(), str_n(data + 1, n - 1), &out, NULL) == 0)
            ASSERT(queries_take(&qs, 1, buf_view(&out), NULL) == 0 && qs.ended.n == 0);
    } else if (n > 0 && queries_take(&qs, 1, str_n(data + 1, n - 1), NULL) == 0) {
        size_t before = qs.ended.n;

        queries_fold(&qs);
        ASSERT(qs.ended.n <= before);
        for (size_t i = 0; i < qs.ended.n; i++)
            ASSERT(qs.ended.v[i].count > 0 && qs.ended.v[i].took_ns >= 0 && qs.ended.v[i].queriers[0] == 2);
    }
    buf_fini(&out);
    queries_fini(&qs);
    active_free(active);
    return 0;
}
