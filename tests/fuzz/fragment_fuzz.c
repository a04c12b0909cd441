/* The answer of another querier to a part of a query: what is read is written back to bytes that are
 * read again, and merges with itself. */
#include "querier/fragment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct fetch_used used = {0};
    struct query_result parts[2], all;
    struct arena a;
    struct buf out;

    arena_init(&a, 64 << 20);
    buf_init(&out, 64 << 20);
    if (fragment_read(str_n(data, n), &a, &parts[0], &used, NULL) == 0) {
        fragment_write(&out, &parts[0], &used);
        ASSERT(buf_ok(&out));
        ASSERT(fragment_read(buf_view(&out), &a, &parts[1], &used, NULL) == 0);
        ASSERT(parts[1].series_count == parts[0].series_count);
        if (shard_merge(AGG_SUM, parts, 2, &a, &all, NULL) == 0)
            ASSERT(all.series_count <= parts[0].series_count);
    }
    buf_fini(&out);
    arena_fini(&a);
    return 0;
}
