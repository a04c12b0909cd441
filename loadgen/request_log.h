/* request_log.h - a line for each attempt at a request: when it went out, when its fate was known, what that was. For whoever wants to know what happened
 * at a moment: how many pushes were acknowledged while a node was down, how long they took.
 *
 * Text, tab-separated, after a line that names the columns. Times are seconds of the monotonic clock, which all processes of a machine share. */
#pragma once
#include "common/base/err.h"

enum request_outcome {
    REQUEST_OK,
    REQUEST_FAIL,    /* refused for good, as a whole or in part */
    REQUEST_UNKNOWN, /* 5xx, 429, a timeout, a broken connection: may have been written */
};

struct request_line {
    int64_t begin_ns, end_ns;
    enum request_outcome outcome;
    int status; /* 0: there was no answer */
    uint32_t tenant, batch, samples;
    int64_t t_ms; /* of its samples */
};

struct request_log;
/* An existing file is replaced. */
int request_log_new(const char *path, struct request_log **ret, struct err *err);
/* NULL is fine: nothing is written. */
void request_log_add(struct request_log *l, const struct request_line *line);
void request_log_free(struct request_log *l); /* NULL is fine */
