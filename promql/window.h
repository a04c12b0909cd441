/* window.h - what the window functions share; included by window_*.c only. */
#pragma once
#include "promql/eval.h"

static inline struct str window_name(const struct window *w)
{
    return metric_name(&w->s->labels);
}

/* Whether the function is about counters, so that resets count. */
static inline bool call_counts(const struct range_call *c)
{
    return c->fn->id == FN_RATE || c->fn->id == FN_INCREASE;
}

static inline bool hist_is_custom(const struct histogram *h)
{
    return h->schema == HIST_CUSTOM_SCHEMA;
}

static inline bool hist_is_gauge(const struct histogram *h)
{
    return h->hint == HIST_HINT_GAUGE;
}

/* A start timestamp between two samples says that the counter began anew. One that equals the time
 * before it does so for deltas, which have a known start before that; a cumulative series with
 * unknown start looks alike but for that. */
static inline bool start_resets(int64_t prev_st, int64_t prev_t, int64_t st, int64_t t)
{
    if (st == 0 || st >= t || st < prev_t)
        return false;
    if (st > prev_t)
        return true;
    return prev_st != 0 && prev_st < prev_t;
}

/* One sample of either type. */
struct last {
    int64_t t, st;
    double v;
    const struct histogram *h;
};

/* Adds or subtracts; annotates what was reconciled. RC_EXECUTION: annotated as a mix, no result. */
int window_combine(struct range_call *c, struct str name, const struct histogram *x,
                   const struct histogram *y, enum hist_op op, struct histogram **ret);
void note_not_counter(struct range_call *c, const struct window *w);
void note_not_gauge(struct range_call *c, const struct window *w);
/* anchored and smoothed (window_edges.c). */
int window_extended_floats(struct range_call *c, const struct window *w, struct point *ret);
int window_extended_hists(struct range_call *c, const struct window *w, struct point *ret);
