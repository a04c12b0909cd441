/* Decode; what decodes has these very bytes as its only form, and walking, validating, compacting
 * and reducing it is safe. */
#include "common/model/histogram.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void same_bytes(const struct histogram *h, const uint8_t *data, size_t n)
{
    struct buf out;

    buf_init(&out, n);
    histogram_encode(&out, h);
    ASSERT(buf_ok(&out) && str_eq(buf_view(&out), str_n(data, n)));
    buf_fini(&out);
}

static uint64_t walked(const struct hist_side *side)
{
    struct hist_walk w;
    uint64_t n = 0, back = 0;

    hist_walk_init(&w, side);
    while (hist_walk_next(&w))
        n++;
    hist_walk_init_back(&w, side);
    while (hist_walk_prev(&w))
        back++;
    ASSERT(n == back);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct rd r = rd_of(str_n(data, n));
    struct histogram h, small, copy;
    struct arena a;

    arena_init(&a, 16 << 20);
    if (histogram_decode(&r, &a, &h, NULL) == 0) {
        same_bytes(&h, data, n - rd_left(&r));
        ASSERT(walked(&h.pos) == h.pos.bucket_count && walked(&h.neg) == h.neg.bucket_count);
        ASSERT(histogram_dup(&a, &h, &copy) && histogram_eq(&copy, &h));
        if (histogram_validate(&h, NULL) == 0 && histogram_compact(&a, &h, n % 4, &small)) {
            ASSERT(histogram_validate(&small, NULL) == 0);
            if (h.schema != HIST_CUSTOM_SCHEMA &&
                histogram_reduce(&a, &h, HIST_SCHEMA_MIN, &small, NULL) == 0 && !h.is_float)
                ASSERT(histogram_validate(&small, NULL) == 0);
        }
    }
    arena_fini(&a);
    return 0;
}
