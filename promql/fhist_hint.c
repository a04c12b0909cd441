/* fhist_hint.c - the counter-reset hint that storage reports for a sample, given the one before. */
#include "promql/fhist.h"

/* Whether h goes on where prev stopped: same layout, nothing lost. */
static bool run_continues(const struct histogram *h, const struct histogram *prev)
{
    struct histogram a = *prev, b = *h;

    if (h->hint == HIST_HINT_RESET || (h->hint == HIST_HINT_GAUGE) != (prev->hint == HIST_HINT_GAUGE))
        return false;
    if (histogram_is_stale(prev) != histogram_is_stale(h))
        return histogram_is_stale(h);
    if (h->schema != prev->schema || h->zero_threshold != prev->zero_threshold || h->custom_count != prev->custom_count)
        return false;
    for (uint32_t i = 0; i < h->custom_count; i++)
        if (h->custom[i] != prev->custom[i])
            return false;
    a.hint = b.hint = HIST_HINT_UNKNOWN;
    return !fhist_detect_reset(&b, &a);
}

uint8_t fhist_storage_hint(const struct histogram *h, const struct histogram *prev)
{
    if (h->hint == HIST_HINT_GAUGE)
        return HIST_HINT_GAUGE;
    return prev && run_continues(h, prev) ? HIST_HINT_NOT_RESET : HIST_HINT_UNKNOWN;
}
