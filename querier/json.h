/* json.h - the answers of the query API, byte for byte as Prometheus 3 writes them
 * (conformance/http-api.md sections 1 and 2). A result is written piece by piece, so that a large
 * one never stands in one buffer. Threads: none of its own. */
#pragma once
#include "common/base/json.h"
#include "promql/engine.h"

/* Seconds with three decimals unless whole: -500 ms is -0.500. */
void json_timestamp(struct buf *out, int64_t ms);
/* "0.25", in quotes. */
void json_sample(struct buf *out, double v);
void json_labels(struct buf *out, const struct labels *ls);

enum { RESULT_NOTES_MAX = 16 };
struct result_json {
    const struct query_result *res; /* --- set by the caller --- */
    size_t limit;                   /* series; 0: all */
    bool stats, per_step;
    int64_t start_ms, step_ms; /* of the query, for per-step statistics */
    double seconds_queue, seconds_total;
    const char *notes[RESULT_NOTES_MAX]; /* further warnings */
    size_t note_count;
    struct str trace; /* JSON; .n 0: none */

    int stage, part; /* --- where writing is --- */
    size_t series, sample, written;
};
/* Appends a little more than bytes at most; false when the answer is complete. */
bool result_json_next(struct result_json *w, struct buf *out, size_t bytes);

/* {"status":"error","errorType":"..","error":".."} */
void json_error(struct buf *out, const char *type, struct str text);
/* ,"warnings":[..] or ,"infos":[..]; nothing when there are none. */
void json_notes(struct buf *out, const char *key, const char *const *v, size_t n);
