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

static void fuzz_series(struct str in, uint32_t version, struct arena *a)
{
    struct block_series s, again;
    struct buf b;

    if (block_series_decode(version, in, a, &s, NULL) < 0)
        return;
    if (version == 1) /* is not written any more */
        return;
    buf_init(&b, 64 << 20);
    block_series_encode(&b, &s);
    ASSERT(block_series_decode(BLOCK_VERSION, buf_view(&b), a, &again, NULL) == 0);
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

/* Three windows of one, two and one chunks. What decodes is written the same way again. */
static void fuzz_group(struct str in, uint32_t version, struct arena *a)
{
    struct block_window w[3] = {{1700000000000, 1700000000000, 1700000060000, {0}, 5, 1, true},
                                {1700000100000, 1700000100001, 1700000160000, {0}, 5, 2, false},
                                {1700000200000, 1700000200000, 1700000260000, {0}, 5, 1, false}};
    struct block_chunks c[3], again;
    struct block_group g;
    struct buf b;

    if (block_group_open(version, in, w, ARRAY_LEN(w), &g, NULL) < 0)
        return;
    for (size_t i = 0; i < ARRAY_LEN(w); i++)
        if (block_group_next(&g, &w[i], a, &c[i], NULL) < 0)
            return;
    if (block_group_end(&g, NULL) < 0)
        return;
    buf_init(&b, 64 << 20);
    block_group_encode(&b, w, c, ARRAY_LEN(w));
    ASSERT(block_group_open(BLOCK_VERSION, buf_view(&b), w, ARRAY_LEN(w), &g, NULL) == 0);
    for (size_t i = 0; i < ARRAY_LEN(w); i++) {
        ASSERT(block_group_next(&g, &w[i], a, &again, NULL) == 0 && again.n == c[i].n);
        for (uint32_t k = 0; k < again.n; k++)
            ASSERT(str_eq(again.chunks[k], c[i].chunks[k]));
    }
    ASSERT(block_group_end(&g, NULL) == 0);
    buf_fini(&b);
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
    switch (data[0] % 9) {
    case 0: fuzz_symbols(in); break;
    case 1: fuzz_series(in, BLOCK_VERSION, &a); break;
    case 2: fuzz_postings(in); break;
    case 3: fuzz_group(in, BLOCK_VERSION, &a); break;
    case 4: fuzz_key(in); break;
    case 5: fuzz_json(in, true); break;
    case 6: fuzz_json(in, false); break;
    case 7: fuzz_series(in, 1, &a); break;
    case 8: fuzz_group(in, 1, &a); break;
    }
    arena_fini(&a);
    return 0;
}
