/* The generator's history file: whatever opens can be asked for every batch, in order, within bounds. */
#include "loadgen/history.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct history h;
    struct err err;
    size_t all = 0, count;

    if (history_decode(str_n(data, n), &h, &err) < 0)
        return 0;
    for (uint32_t b = 0; b < history_batches(&h.cfg) * h.cfg.model.tenants; b++) {
        const struct history_entry *e = history_of(&h, b, &count);

        for (size_t i = 0; i < count; i++)
            ASSERT(e[i].batch == b && (i == 0 || e[i].t_ms > e[i - 1].t_ms));
        all += count;
    }
    ASSERT(all == h.sent.n);
    history_fini(&h);
    return 0;
}
