/* Decoders of what lies in a bucket: the first byte chooses one. Checksums are bypassed (values) or made right (JSON), so that the
 * fuzzer gets at what is behind them. */
#include "common/base/arena.h"
#include "tsdb/block_format.h"
#include "tsdb/index.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_symbols(struct str in)
{
    struct str page[BLOCK_PAGE_SYMBOLS];
    size_t n;

    if (block_symbols_decode(in, page, &n, NULL) == 0)
        for (size_t i = 0; i < n; i++)
            ASSERT(page[i].n > 0 && page[i].p >= in.p && page[i].p + page[i].n <= in.p + in.n);
}

static void fuzz_series(struct str in, struct arena *a)
{
    struct block_series s, again;
    struct buf b;

    if (block_series_decode(in, a, &s, NULL) < 0)
        return;
    buf_init(&b, 64 << 20);
    block_series_encode(&b, &s);
    ASSERT(block_series_decode(buf_view(&b), a, &again, NULL) == 0);
    ASSERT(again.window_count == s.window_count && again.label_count == s.label_count);
    ASSERT(again.windows[s.window_count - 1].maxt_ms == s.windows[s.window_count - 1].maxt_ms);
    buf_fini(&b);
}

/* What passes the check must bear every operation, and come back the same. */
static void fuzz_postings(struct str in)
{
    roaring_bitmap_t *set, *again, *other;
    uint64_t n;
    uint32_t *all;
    struct buf b;

    if (block_postings_decode(in, &set, NULL) < 0)
        return;
    n = roaring_bitmap_get_cardinality(set);
    ASSERT(n > 0);
    other = roaring_bitmap_from_range(0, 100000, 3);
    roaring_bitmap_or_inplace(other, set);
    ASSERT(roaring_bitmap_and_cardinality(other, set) == n);
    roaring_bitmap_andnot_inplace(other, set);
    ASSERT(!roaring_bitmap_intersect(other, set));
    roaring_bitmap_free(other);
    if (n < 1 << 20) {
        all = xmalloc(n * sizeof *all);
        roaring_bitmap_to_uint32_array(set, all);
        buf_init(&b, 64 << 20);
        block_postings_encode(&b, all, n);
        ASSERT(block_postings_decode(buf_view(&b), &again, NULL) == 0 && roaring_bitmap_equals(set, again));
        roaring_bitmap_free(again);
        buf_fini(&b);
        free(all);
    }
    roaring_bitmap_free(set);
}

static void fuzz_group(struct str in, struct arena *a)
{
    struct block_group g;
    const struct str *chunks;
    int64_t start;
    uint32_t n;

    if (block_group_open(in, 1700000000000, &g, NULL) < 0)
        return;
    while (block_group_next(&g, a, &start, &chunks, &n, NULL) > 0)
        for (uint32_t i = 0; i < n; i++)
            ASSERT(chunks[i].p >= in.p && chunks[i].p + chunks[i].n <= in.p + in.n);
}

static void fuzz_key(struct str in)
{
    struct str tenant, value;
    struct buf name, key;

    if (block_key_tenant(in, &tenant, NULL) < 0)
        return;
    buf_init(&name, BLOCK_KEY_BYTES_MAX);
    buf_init(&key, BLOCK_KEY_BYTES_MAX);
    if (block_key_split(in, tenant, &name, &value, NULL) == 0) {
        block_key_posting(&key, tenant, buf_view(&name), value);
        ASSERT(str_eq(buf_view(&key), in));
    }
    buf_fini(&name);
    buf_fini(&key);
}

/* JSON text without its seal: sealed here as a writer would. */
static void fuzz_json(struct str in, bool is_meta)
{
    struct block_meta m;
    struct index ix;
    struct buf b, again;
    char seal[32];

    if (in.n == 0)
        return;
    buf_init(&b, 64 << 20);
    buf_init(&again, 64 << 20);
    buf_str(&b, in);
    snprintf(seal, sizeof seal, ",\"crc32c\":\"%08x\"}\n", crc32c(0, in.p, in.n));
    buf_z(&b, seal);
    if (is_meta && block_meta_decode(buf_view(&b), &m, NULL) == 0) {
        ASSERT(block_meta_encode(&m, &again, NULL) == 0);
        block_meta_fini(&m);
        ASSERT(block_meta_decode(buf_view(&again), &m, NULL) == 0);
        block_meta_fini(&m);
    } else if (!is_meta && index_decode(buf_view(&b), &ix, NULL) == 0) {
        ASSERT(index_encode(&ix, "s", "p", &again, NULL) == 0);
        index_fini(&ix);
        ASSERT(index_decode(buf_view(&again), &ix, NULL) == 0);
        index_fini(&ix);
    }
    buf_fini(&again);
    buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str in;
    struct arena a;

    if (n == 0)
        return 0;
    in = str_n(data + 1, n - 1);
    arena_init(&a, 64 << 20);
    switch (data[0] % 7) {
    case 0: fuzz_symbols(in); break;
    case 1: fuzz_series(in, &a); break;
    case 2: fuzz_postings(in); break;
    case 3: fuzz_group(in, &a); break;
    case 4: fuzz_key(in); break;
    case 5: fuzz_json(in, true); break;
    case 6: fuzz_json(in, false); break;
    }
    arena_fini(&a);
    return 0;
}
