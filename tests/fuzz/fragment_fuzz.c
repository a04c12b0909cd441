/* Series of a fragment's answer: what decodes encodes to a form that decodes to the same. The first bytes choose the steps. */
#include "querier/fragment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct query_result first, second;
    struct arena a;
    struct buf again;
    size_t steps;

    if (n < 2)
        return 0;
    steps = 1 + data[0] * (size_t)(1 + data[1] % 4);
    arena_init(&a, 64 << 20);
    buf_init(&again, 64 << 20);
    if (fragment_series_decode(str_n(data + 2, n - 2), 1000, 15, steps, &a, &first, NULL) == 0) {
        fragment_series_encode(&again, &first, 1000, 15, steps);
        ASSERT(buf_ok(&again) && fragment_series_decode(buf_view(&again), 1000, 15, steps, &a, &second, NULL) == 0);
        ASSERT(first.series_count == second.series_count);
        for (size_t i = 0; i < first.series_count; i++) {
            const struct result_series *x = &first.series[i], *y = &second.series[i];

            ASSERT(labels_eq(&x->labels, &y->labels) && x->n == y->n && x->drop_name == y->drop_name && x->count == y->count);
            for (size_t k = 0; k < x->n; k++)
                ASSERT(x->s[k].t == y->s[k].t && double_bits(x->s[k].v) == double_bits(y->s[k].v) && !x->s[k].h == !y->s[k].h &&
                       (!x->s[k].h || histogram_eq(x->s[k].h, y->s[k].h)));
        }
    }
    buf_fini(&again);
    arena_fini(&a);
    return 0;
}
