/* source.h - where the engine gets series from: an abstract select over some store (a head in tests, the fan-out over ingesters and
 * blocks in a querier).
 * A selection is a cursor: labels of all series are known after select (so that groups can be laid out first), samples are decoded series by
 * series, on demand, into columns. Series come in any order, each label set once. Histograms and floats of a series come in one time-ordered
 * list. Threads: one query uses one cursor from one thread at a time; different cursors are independent. */
#pragma once
#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/model/histogram.h"
#include "common/model/labels.h"
#include "common/model/matcher.h"
#include "common/obs/trace.h"

struct select_hints {
    int64_t mint_ms, maxt_ms;  /* samples with mint <= t <= maxt may be needed */
    int64_t step_ms, range_ms; /* of the query; 0 when unknown */
    struct str func;           /* function or aggregation directly above, "" when none */
    const struct label_names *keep; /* labels that are needed; series may come without the others, and so with equal labels. NULL: all */
    size_t limit;              /* 0: no limit; at most this many series */
    struct trace_node *trace;  /* steps of the selection go below it; NULL: none */
};

/* One series' samples, decoded. Column i: t[i]; v[i] when hist is NULL or hist[i] is NULL; else hist[i]. st may be NULL (no start timestamps known). Stale
 * markers are included as they stand. Valid until the next call on the cursor. Counter-reset hints of histograms: as conformance section "What
 * the storage must report": GAUGE, NOT_RESET, or UNKNOWN. */
struct columns {
    size_t n;
    const int64_t *t;
    const double *v;
    const int64_t *st;
    const struct histogram *const *hist;
};

struct series_cursor;
struct series_cursor_ops {
    size_t (*count)(const struct series_cursor *c);
    const struct labels *(*labels)(const struct series_cursor *c, size_t i);
    /* Any order, any number of times. Labels and columns are borrowed: labels until the cursor is freed (results copy them). */
    int (*samples)(struct series_cursor *c, size_t i, struct columns *ret, struct err *err);
    /* As samples, from several threads at a time, also while another one is in samples; columns live in the arena given or as long as the cursor. NULL: not possible. */
    int (*samples_in)(const struct series_cursor *c, size_t i, struct arena *a, struct columns *ret, struct err *err);
    void (*free)(struct series_cursor *c);
};
struct series_cursor {
    const struct series_cursor_ops *ops;
};

struct series_source {
    /* arena: the query's, for labels and bookkeeping; over its budget: RC_NOMEM. Warnings go through warn (may be NULL). */
    int (*select)(struct series_source *src, const struct matcher *matchers, size_t matcher_count,
                  const struct select_hints *hints, struct arena *arena, struct series_cursor **ret, struct err *err);
};
