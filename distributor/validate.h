/* validate.h - is this series, this sample, allowed? Each refusal has a discard reason (common/model/discard.h) and a text that names the series, the
 * rule and the setting. Pure: no state, no clock. */
#pragma once
#include "common/base/arena.h"
#include "common/model/discard.h"
#include "common/model/labels.h"

struct label_rules {
    size_t names_max, name_bytes_max, value_bytes_max, total_bytes_max; /* 0: off */
    bool legacy_names;
};
struct sample_rules {
    int64_t now_ms;
    int64_t age_max_ms, future_max_ms; /* 0: off */
};

enum { SERIES_TEXT_MAX = 256 };
/* {…} of the series, cut to SERIES_TEXT_MAX bytes, escaped. */
void series_text(const struct labels *ls, char out[SERIES_TEXT_MAX + 4]);

/* A refusal for count labels where rules or LABELS_MAX allow fewer; ls may hold only the first of them. */
enum discard_reason labels_too_many(const struct labels *ls, size_t count, const struct label_rules *rules, struct err *err);
/* Any refusal that is not of a label or a time: "text (reason) series: '{…}'". */
void series_explain(enum discard_reason why, const char *text, const struct labels *ls, struct err *err);
/* The same of a native histogram, with its time. */
void histogram_explain(const char *text, int64_t t, const struct labels *ls, struct err *err);
/* Sorts ls in place and drops labels with an empty value; then judges. DISCARD_NONE when fine, else err explains. */
enum discard_reason labels_judge(struct labels *ls, const struct label_rules *rules, struct err *err);
/* Cheap test for the hot path; sample_explain makes the text. */
static inline enum discard_reason sample_judge(int64_t t, const struct sample_rules *r)
{
    if (UNLIKELY(r->age_max_ms && t < r->now_ms - r->age_max_ms))
        return DISCARD_GREATER_THAN_MAX_SAMPLE_AGE;
    if (UNLIKELY(r->future_max_ms && t > r->now_ms + r->future_max_ms))
        return DISCARD_TOO_FAR_IN_FUTURE;
    if (UNLIKELY(t < -(1LL << 53) || t > (1LL << 53)))
        return DISCARD_OUT_OF_BOUNDS;
    return DISCARD_NONE;
}
void sample_explain(enum discard_reason why, int64_t t, const struct sample_rules *r, const struct labels *ls, struct err *err);
