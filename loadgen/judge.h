/* judge.h - is what a query returned for one series what was written? Pure.
 * Through JSON every NaN looks alike, and range selectors leave staleness markers out; so any NaN answers for a NaN, and where a marker was
 * written nothing may come back. Where an answer has bits (exact) both are as any other value. */
#pragma once
#include "common/base/buf.h"
#include "loadgen/history.h"

#include <stdio.h>

struct verdict {
    uint64_t right;   /* acknowledged, and there */
    uint64_t extra;   /* there though never acknowledged: a request whose fate is unknown */
    uint64_t lost;    /* acknowledged, not there */
    uint64_t twice;   /* a timestamp more than once, or a series more than once in an answer */
    uint64_t wrong;   /* another value than the one that was sent, or samples out of order */
    uint64_t phantom; /* never sent */
    uint64_t leak;    /* what another tenant of the history sent */
    uint64_t hidden;  /* staleness markers, which cannot be seen this way */
};

struct judge_sample {
    int64_t t_ms;
    uint64_t bits; /* see model_word() */
};

/* The first differences, for a person; all of them for a program. */
struct judge_log {
    struct buf text;
    size_t lines;
    FILE *all; /* NULL: none; the caller's */
};
enum { JUDGE_LINES_MAX = 20, JUDGE_TENANTS_MAX = 16 /* in which a leak is looked for */ };

/* What an answer can show of one series over (lo_ms, hi_ms]. */
struct judge_span {
    struct series_id id;
    int64_t lo_ms, hi_ms;
    bool exact;
};
/* Judges one series over (lo_ms, hi_ms]: got, in the order of the answer, against the history, which is sorted. */
void judge_series(const struct model *m, const struct history *h, const struct judge_span *span, const struct judge_sample *got, size_t got_n,
                  struct verdict *v, struct judge_log *log);
/* The same of an answer that has only the newest sample of each step: (lo_ms + k * step_ms, lo_ms + (k + 1) * step_ms], told at the step's end. What was never
 * acknowledged may be that sample or not. got_n 0: no step had one. */
void judge_steps(const struct model *m, const struct history *h, const struct judge_span *span, int64_t step_ms, const struct judge_sample *got, size_t got_n,
                 struct verdict *v, struct judge_log *log);
/* PRINTF-like line; the text has the first JUDGE_LINES_MAX. */
void judge_note(struct judge_log *log, const char *fmt, ...) PRINTF(2, 3);
static inline bool verdict_clean(const struct verdict *v)
{
    return v->lost + v->twice + v->wrong + v->phantom + v->leak == 0;
}
