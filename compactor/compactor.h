/* compactor.h - keeps the blocks in the bucket few, merged and young: runs the plan (plan.h) again and again.
 * One thread runs jobs one after the other; several compactors share the jobs through owns(). Two that do the same job waste
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
    int64_t rewrite_after_ms, tombstone_keep_ms; /* plan.h */
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
    /* Appends the tenant's rules of retention as tombstones that end at their cutoff, seq is the rule's key (plan.h). NULL: none. */
    int (*rules)(void *arg, const char *tenant, int64_t now_ms, tombstones *ret, struct err *err);
    /* Whether this compactor takes part in the tenant's work (key 0), or does the job with this key (plan_job_key). NULL: all. */
    bool (*owns)(void *arg, const char *tenant, uint64_t key);
    uint32_t (*split)(void *arg, const char *tenant); /* blocks of a range; NULL: one */
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
/* Deletes all that the tenant has now, also what is not in blocks yet; returns once no reader can see it any more (INDEX_VIEW_AGE_MS). Blocks go in the next runs. */
int compactor_delete_tenant(struct compactor *c, const char *tenant, struct err *err);
/* How far that is, as JSON: tenant_id and blocks_deleted as Mimir has them, and more. */
int compactor_delete_status(struct compactor *c, const char *tenant, struct buf *out, struct err *err);
/* What a snapshot of the tenant has (tsdb/snapshot.h) comes back as new blocks, beside what there is now; deletions since then that touch its time are forgotten, and have to be
 * applied before (RC_UNAVAILABLE). RC_NOT_FOUND: no such snapshot. */
int compactor_restore(struct compactor *c, const char *tenant, const char *name, uint64_t *ret_samples, struct err *err);
/* Tenants with blocks, lag, retention, quarantined blocks; the job at hand; as JSON or as an HTML page. */
void compactor_status(struct compactor *c, bool html, struct buf *out);
