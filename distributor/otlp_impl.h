/* otlp_impl.h - what the files of the OTLP translation say to each other. */
#pragma once
#include "distributor/otlp_translate.h"

/* The metric being translated. */
struct otlp_metric {
    enum otlp_kind kind;
    struct str raw_name, name; /* as sent; as stored, without the suffixes of its series */
    bool delta;
};
struct otlp_run {
    const struct otlp_options *o;
    struct otlp_write *w;
    struct arena resource, scope, point; /* within the request's; reset as they end */
    struct otlp_common common, scoped;   /* of the resource; with the scope */
    struct otlp_metric metric;
    bool resource_bad, scope_bad;        /* its attributes cannot be labels: its points are refused, bad says why */
    struct err bad;
    bool timed;                          /* a point came in this resource */
    int64_t oldest_ms, newest_ms;
    uint64_t metadata_seen[1024];        /* hashes: most repetitions within a request are left out */
};

/* One data point. 0: done or refused, negative: the whole request is broken. */
int otlp_number_point(struct otlp_run *r, struct str point, struct err *err);
int otlp_summary_point(struct otlp_run *r, struct str point, struct err *err);
int otlp_histogram_point(struct otlp_run *r, struct str point, struct err *err);
int otlp_exponential_point(struct otlp_run *r, struct str point, struct err *err);

/* --- for the points --- */
enum { OTLP_FLAG_NO_RECORDED_VALUE = 1 };
static inline int64_t otlp_ms(uint64_t ns)
{
    return (int64_t)(ns / 1000000);
}
/* After a step on a point failed: RC_INVALID refuses the point (0), anything else is the request's error. why: of the refusal. */
int otlp_point_failed(struct otlp_run *r, enum discard_reason why, int rc, const struct err *text, struct err *err);
/* Labels of a point; its times are noted, and its series are announced. 1: go on; else return it. */
int otlp_point_open(struct otlp_run *r, const struct otlp_attributes *attributes, uint64_t start_ns, uint64_t time_ns, struct labels *ret, struct err *err);

struct otlp_exemplar {
    int64_t t;
    double v;
    struct labels labels;
};
/* Sorted by value. Those without a value, or with NaN, are left out. */
int otlp_exemplars(struct otlp_run *r, Torc__Otlp__Exemplar *const *list, size_t n, struct otlp_exemplar **ret, size_t *ret_n, struct err *err);
