/* A scrape to be replayed: whatever is read has sorted labels with a name, at least one value a series, and each series once. */
#include "loadgen/recording.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct recording r;
    struct err err;

    if (recording_read(str_n(data, n), &r, &err) < 0)
        return 0;
    ASSERT(r.series_n > 0);
    for (uint32_t i = 0; i < r.series_n; i++) {
        const struct recorded_series *s = &r.series[i];

        ASSERT(s->value_n > 0 && s->labels.n > 0 && s->labels.n + 3 <= LABELS_PER_SERIES_MAX && s->type <= TYPE_STATESET);
        ASSERT(metric_name_legacy_valid(labels_get(&s->labels, STR(LABEL_METRIC_NAME))));
        for (size_t k = 0; k < s->labels.n; k++)
            ASSERT(s->labels.v[k].value.n > 0 && utf8_valid(s->labels.v[k].value) && (k == 0 || str_cmp(s->labels.v[k - 1].name, s->labels.v[k].name) < 0));
        for (uint32_t k = 0; k < i && r.series_n < 100; k++)
            ASSERT(!labels_eq(&r.series[k].labels, &s->labels));
    }
    recording_free(&r);
    return 0;
}
