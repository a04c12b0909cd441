/* compare.h - whether a result is what an eval expects (F7, F8). */
#pragma once
#include "promql/engine.h"
#include "script.h"

enum { VERDICT_BYTES_MAX = 1 << 20 };

/* What of the expectation counts in this run. */
struct compare_opt {
    bool order;    /* when the eval asks for it */
    int64_t at_ms; /* INT64_MIN: the result as it is; else the points of a matrix at this time as a
                      vector. Annotations may be about other times then and are not looked at. */
    bool api;      /* histograms are struct api_histogram */
    bool scalar;   /* with at_ms: the one series is a scalar */
};

/* Appends what differs to why; nothing when all is as expected. */
void compare_result(const struct eval *e, const struct query_result *r,
                    const struct compare_opt *opt, struct buf *why);
/* rc and text of a failed query against "expect fail". */
void compare_error(const struct eval *e, const char *text, struct buf *why);
void compare_annotations(const struct eval *e, const struct query_result *r, struct buf *why);
