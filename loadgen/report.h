/* report.h - what a run came to: a list of named figures, printed as text or JSON, and judged by thresholds. */
#pragma once
#include "loadgen/ask.h"
#include "loadgen/judge.h"
#include "loadgen/send.h"

struct report {
    const struct send_stats *sent;     /* NULL: nothing was written */
    const struct ask_stats *asked;     /* NULL: there were no queries */
    const struct ask_queries *queries; /* of them */
    const struct verdict *verified;    /* NULL: nothing was read back */
    double verify_seconds;
    struct str differences;            /* lines for a person */
    double cpu_seconds;                /* of this process */
};

struct figure {
    const char *name, *unit; /* unit "s", "B", "samples/s", "queries/s" or "" */
    bool counts;             /* only ever grows */
    double v;
};
enum { FIGURES_MAX = 80 };
struct figures {
    struct figure v[FIGURES_MAX];
    size_t n;
};
/* Always in the same order; verifying adds some behind those of the run. */
void report_figures(const struct report *r, struct figures *ret);

void report_text(const struct report *r, struct buf *out);
void report_json(const struct report *r, struct buf *out);
/* "push_p99<50ms", with <, <=, >, >= and a number or a duration; 0 when it holds, RC_LIMIT when not, RC_INVALID when it is none or when the report
 * has no such figure: the error lists those that it has. samples_per_second and acked are other names of acked_rate and samples_acked. */
int report_threshold(const struct report *r, struct str text, struct err *err);

/* The progress line of each second: over itself on a terminal, lines elsewhere. */
struct progress {
    uint64_t last_acked, last_asked;
    int64_t last_ns;
    int64_t total_ns; /* planned; 0: not known */
};
void progress_tick(struct progress *p, const struct send_stats *st, const struct ask_stats *asked);
