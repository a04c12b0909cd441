/* discard.h - why a sample was not taken: the reasons as AMP names them, byte for byte (they are label values of
 * torc_discarded_samples_total and stand in error texts). */
#pragma once
#include "common/base/base.h"

#define DISCARD_REASONS(X)                                                                         \
    X(GREATER_THAN_MAX_SAMPLE_AGE, "greater_than_max_sample_age")                                  \
    X(NEW_VALUE_FOR_TIMESTAMP, "new-value-for-timestamp")                                          \
    X(PER_LABELSET_SERIES_LIMIT, "per_labelset_series_limit")                                      \
    X(PER_METRIC_SERIES_LIMIT, "per_metric_series_limit")                                          \
    X(PER_USER_SERIES_LIMIT, "per_user_series_limit")                                              \
    X(RATE_LIMITED, "rate_limited")                                                                \
    X(SAMPLE_OUT_OF_ORDER, "sample-out-of-order")                                                  \
    X(LABEL_VALUE_TOO_LONG, "label_value_too_long")                                                \
    X(MAX_LABEL_NAMES_PER_SERIES, "max_label_names_per_series")                                    \
    X(MISSING_METRIC_NAME, "missing_metric_name")                                                  \
    X(METRIC_NAME_INVALID, "metric_name_invalid")                                                  \
    X(LABEL_INVALID, "label_invalid")                                                              \
    X(DUPLICATE_LABEL_NAMES, "duplicate_label_names")                                              \
    X(LABEL_SIZE_EXCEEDED, "label_size_exceeded")                                                  \
    X(TOO_FAR_IN_FUTURE, "too_far_in_future")                                                      \
    X(NATIVE_HISTOGRAM_INVALID, "native_histogram_invalid")                                        \
    X(TOO_MANY_HA_CLUSTERS, "too_many_ha_clusters")                                                \
    X(FINGERPRINT_COLLISION, "fingerprint_collision")                                              \
    X(OUT_OF_BOUNDS, "out_of_bounds")                                                              \
    X(SERIES_INVALID, "series_invalid")                                                            \
    X(OTLP_TEMPORALITY, "otlp_temporality")                                                        \
    X(OTLP_POINT_INVALID, "otlp_point_invalid")

enum discard_reason {
    DISCARD_NONE,
#define X(id, text) DISCARD_##id,
    DISCARD_REASONS(X)
#undef X
        DISCARD_COUNT
};
const char *discard_text(enum discard_reason r);
