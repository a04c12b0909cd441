/* otlp_translate.h - an OTLP ExportMetricsServiceRequest as a Remote Write 1.0 request. A pure function of message and options.
 * Follows Prometheus 3 (prometheusremotewrite); differences: a zero threshold that the sender gives is kept, and bounds must increase.
 *   gauge, sum             one series; monotonic sums are counters
 *   histogram              _bucket{le}, _sum, _count, or (nhcb) one native histogram with custom buckets
 *   exponential histogram  a native histogram; scales above 8 are reduced to 8, below -4 refused
 *   summary                {quantile}, _sum, _count
 *   resource               target_info{job,instance,...} 1 at its newest point and every half lookback from its oldest on
 *   no recorded value      staleness markers
 * Points that cannot be stored are refused one by one through refuse(); bytes that are not OTLP fail the whole (RC_INVALID). Memory: the arena's budget holds
 * one point, one resource and one scope at a time; the output stops at body_max (RC_LIMIT). */
#pragma once
#include "common/model/discard.h"
#include "distributor/otlp_labels.h"
#include "distributor/otlp_write.h"

enum otlp_delta {
    OTLP_DELTA_REFUSE,
    OTLP_DELTA_NATIVE,     /* stored as they come: sum_over_time() adds them up; histograms with the hint "gauge", metadata of type unknown */
};
struct otlp_options {
    struct otlp_label_options labels;
    bool nhcb; /* histograms with explicit bounds become native ones with custom buckets */
    enum otlp_delta delta;
    size_t body_max;
    /* Called between two data points once part_bytes are written: what is in w should be taken, and more follows. NULL: never. */
    int (*part)(void *arg, struct otlp_write *w, struct err *err);
    size_t part_bytes;
    void (*refuse)(void *arg, enum discard_reason why, uint32_t points, const char *text);
    void *arg;
};
enum { OTLP_TARGET_INFO_INTERVAL_MS = 150000 /* half of the default lookback */, OTLP_TARGET_INFO_SAMPLES_MAX = 256 };

/* Initializes w in any case: otlp_write_fini() is due. */
int otlp_translate(struct str request, const struct otlp_options *o, struct arena *a, struct otlp_write *w, struct err *err);
