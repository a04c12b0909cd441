/* exposition.h - reads what a scrape returns: Prometheus's text format 0.0.4 and OpenMetrics 1.0, strictly.
 * A pull parser over bytes from outside: one sample at a time, nothing allocated, ceilings in EXPOSITION_*. An OpenMetrics text is known by its last line
 * "# EOF", behind which nothing may stand; exemplars ("# {...} value") are allowed in it and passed over. Timestamps: milliseconds in 0.0.4, seconds
 * in OpenMetrics. Label values keep their escapes resolved; names are the classic ones, [a-zA-Z_:][a-zA-Z0-9_:]* and for labels without the colon.
 * Facts: prometheus.io/docs/instrumenting/exposition_formats, OpenMetrics 1.0 section 4. */
#pragma once
#include "common/base/err.h"
#include "common/base/str.h"

enum { EXPOSITION_LABELS_MAX = 60, EXPOSITION_LINE_BYTES_MAX = 1 << 16, EXPOSITION_NAME_BYTES_MAX = 1024 };

struct exposition_sample {
    struct str name; /* borrowed from the text */
    struct {
        struct str name, value; /* name from the text; value from the text, or from the parser until the next sample when it had escapes */
    } labels[EXPOSITION_LABELS_MAX];
    size_t label_n;
    double value;
    bool has_time;
    int64_t t_ms;
};

struct exposition {
    struct str text, rest;
    size_t line;
    bool openmetrics, ended;
    struct str type_name, type; /* of the last TYPE line */
    char unescaped[EXPOSITION_LINE_BYTES_MAX];
};

void exposition_init(struct exposition *e, struct str text);
/* 1: a sample; 0: the end; negative: RC_INVALID, which names the line. ret is only valid until the next call. */
int exposition_next(struct exposition *e, struct exposition_sample *ret, struct err *err);
/* The type that holds for a sample of that name: of its family, by the last TYPE line; "" when there is none. */
struct str exposition_type(const struct exposition *e, struct str name);
