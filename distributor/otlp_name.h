/* otlp_name.h - OpenTelemetry metric, unit and attribute names as Prometheus names. Pure; texts come from the arena or are borrowed from the input.
 * Source: the OpenTelemetry specification "Prometheus and OpenMetrics compatibility" and Prometheus 3 (otlptranslator); differences: none known. */
#pragma once
#include "common/base/arena.h"
#include "common/base/err.h"

struct otlp_naming {
    bool utf8;     /* names stay as they are; else every character that legacy names do not have becomes '_' */
    bool suffixes; /* append unit, _total and _ratio */
};
enum otlp_kind { OTLP_GAUGE, OTLP_COUNTER, OTLP_UP_DOWN_COUNTER, OTLP_HISTOGRAM, OTLP_EXPONENTIAL_HISTOGRAM, OTLP_SUMMARY };

/* RC_INVALID: empty, or nothing but '_' is left; RC_LIMIT: the arena's budget is spent. */
int otlp_metric_name(struct arena *a, struct str name, struct str unit, enum otlp_kind kind, struct otlp_naming n, struct str *ret, struct err *err);
int otlp_label_name(struct arena *a, struct str name, struct otlp_naming n, struct str *ret, struct err *err);
/* "By/s" -> "bytes_per_second", for metadata; empty when there is none. */
int otlp_unit_name(struct arena *a, struct str unit, struct otlp_naming n, struct str *ret, struct err *err);
