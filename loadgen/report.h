/* report.h - what a run came to: a list of named figures, printed as text or JSON, and judged by thresholds. */
#pragma once
#include "loadgen/judge.h"
#include "loadgen/send.h"

struct report {
    const struct send_stats *sent;     /* NULL: nothing was written */
    const struct verdict *verified;    /* NULL: nothing was read back */
    double verify_seconds;
    struct str differences;            /* lines for a person */
    double cpu_seconds;                /* of this process */
};

void report_text(const struct report *r, struct buf *out);
void report_json(const struct report *r, struct buf *out);
/* "push_p99<50ms", with <, <=, >, >= and a number or a duration; 0 when it holds, RC_LIMIT when not, RC_INVALID when it is none. */
int report_threshold(const struct report *r, struct str text, struct err *err);

/* The progress line: each second on a terminal, over itself; each 5 s elsewhere. For send_cfg.tick; arg is a struct progress, zeroed. */
struct progress {
    int64_t next_ns;
    uint64_t last_acked;
    int64_t last_ns;
    int64_t total_ns; /* planned; 0: not known */
};
void progress_tick(void *arg, const struct send_stats *st);
