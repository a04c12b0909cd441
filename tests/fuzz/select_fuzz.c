/* Pages of a select from two replicas: split at the length that the first two bytes say, decoded as
 * the querier does, merged, read as columns. */
#include "common/wire/select.h"
#include "querier/columns.h"
#include "querier/fanout_impl.h"

static struct {
    struct fetch_limits limits;
    struct fetch_used used;
} fz;

static int take(struct series_set *set, struct str page, uint16_t from)
{
    struct ring_instance in = {.id = "fuzz"};
    struct fan_peer peer = {.in = &in, .instance = from};
    struct fanout_select s = {.limits = &fz.limits, .used = &fz.used};
    struct selecting sel = {.s = &s, .set = set};
    struct page_series *ps;
    struct select_reader r;
    int rc = select_page_open(page, NULL, set->arena, &r, NULL);

    while (rc == 0) {
        rc = page_next(&sel, &r, &peer, &ps, NULL);
        if (rc <= 0)
            break;
        rc = series_set_add(set, ps->fp, &ps->labels, &ps->input, NULL);
    }
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct series_set set;
    struct arena a, scratch;
    size_t cut;

    if (n < 2)
        return 0;
    cut = MIN((size_t)data[0] << 8 | data[1], n - 2);
    arena_init(&a, 64 << 20);
    arena_init(&scratch, 64 << 20);
    series_set_init(&set, &a);
    if (take(&set, str_n(data + 2, cut), 0) == 0 &&
        take(&set, str_n(data + 2 + cut, n - 2 - cut), 1) == 0) {
        for (size_t i = 0; i < set.n; i++) {
            struct stored_series merged;
            struct columns c;

            arena_reset(&scratch);
            if (series_entry_merge(&set.v[i], &scratch, &merged, NULL) == 0 &&
                stored_to_columns(&merged, INT64_MIN, INT64_MAX, &scratch, &c, NULL) == 0)
                for (size_t k = 1; k < c.n; k++)
                    ASSERT(c.t[k - 1] < c.t[k]);
        }
    }
    arena_fini(&a);
    arena_fini(&scratch);
    return 0;
}
