/* compactor.h - keeps the blocks in the bucket few, merged and young: runs the plan (plan.h) again and again.
 * One thread runs jobs one after the other; several compactors share the tenants through owns(). Two that work on the same tenant waste
 * effort but lose nothing: the indexes decide.
 * A damaged block is moved aside in its index, counted and logged, and the job is planned again without it.
 * Retention is cut by windows: a window goes when its newest sample is past retention. Time is the wall clock, but never ahead of where the
 * monotonic clock says it can be since compactor_new. */
#pragma once
#include "common/config/option.h"
#include "common/obs/log.h"
#include "common/obs/metrics.h"
#include "common/sys/clock.h"
#include "compactor/plan.h"

struct compactor_cfg {
    char *scratch_dir;        /* emptied at start */
    int64_t interval_ms;      /* between runs */
    int64_t settle_ms;        /* plan.h */
    int64_t delete_delay_ms;
    int64_t orphan_age_ms;    /* files of blocks that no index names are removed after this; 0: never */
};
extern const struct option compactor_options[]; /* "compactor.…" */

#define RETENTION_DEFAULT_MS (150LL * 24 * 3600 * 1000)

/* Borrowed for the compactor's life. */
struct compactor_deps {
    struct bucket *bucket;
    const struct clock *clock;
    struct log *log;
    struct metrics *metrics;
    int64_t (*retention_ms)(void *arg, const char *tenant); /* 0: for ever. NULL: RETENTION_DEFAULT_MS for all */
    bool (*owns)(void *arg, const char *tenant);            /* NULL: all */
    void *arg;
};

struct compactor;
/* cfg is copied. */
int compactor_new(const struct compactor_cfg *cfg, const struct compactor_deps *deps, struct compactor **ret, struct err *err);
void compactor_free(struct compactor *c); /* stops first */
void compactor_start(struct compactor *c);
/* Returns when the job at hand has let go (between two series). */
void compactor_stop(struct compactor *c);
/* Wakes the thread. forced: level-0 blocks that are not settled are merged too. */
void compactor_wake(struct compactor *c, bool forced);
/* Plans and runs until nothing is left to do; waits for a run that is under way. What one tenant's job fails with does not stop the others; the first error is
 * returned at the end. */
int compactor_run_once(struct compactor *c, bool forced, struct err *err);
/* Tenants with blocks, lag, retention, quarantined blocks; the job at hand; as JSON or as an HTML page. */
void compactor_status(struct compactor *c, bool html, struct buf *out);
