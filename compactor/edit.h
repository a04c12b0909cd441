/* edit.h - the compactor's changes to indexes. Each can run again, by the same or another compactor, after a crash anywhere. */
#pragma once
#include "compactor/plan.h"

/* What a merge has left out. */
struct edit_done {
    uint64_t applied;  /* tombstones up to this one */
    const struct tombstone *rules;
    size_t rule_count;
};
/* The tenant's index names the n results (none: nothing was left) in place of the job's blocks. RC_STALE when others have changed those in the meantime:
 * the results must not be used. */
int edit_publish(struct bucket *b, const struct plan_job *job, const struct block_meta *results, size_t n, const struct edit_done *done, int64_t now_ms, struct err *err);
/* The block needs no rewriting for those. */
int edit_applied(struct bucket *b, const char *tenant, const struct ulid *block, const struct edit_done *done, struct err *err);
/* Tombstones: marked as applied; dropped. */
int edit_settle(struct bucket *b, const struct plan_job *job, int64_t now_ms, struct err *err);
int edit_forget_tombstones(struct bucket *b, const struct plan_job *job, struct err *err);
/* Level 0: blocks are done for tenant. */
int edit_mark_done(struct bucket *b, const struct ulid *blocks, size_t n, const char *tenant, struct err *err);
/* Marks blocks deleted. Level 0 (tenant NULL): only those for which all_done says yes on the newest generation. */
int edit_delete(struct bucket *b, const char *tenant, const struct ulid *blocks, size_t n,
                bool (*all_done)(void *arg, const struct index_block *b), void *arg, int64_t now_ms, struct err *err);
/* Forgets blocks that are marked deleted. */
int edit_forget(struct bucket *b, const char *tenant, const struct ulid *blocks, size_t n, struct err *err);
/* Moves a damaged block aside, unless it is deleted anyhow: *ret_moved. A tenant's block is made again from those of its sources that level 0 still has and that
 * were marked deleted after young_ms (others may be about to be removed): they are set back to waiting first. */
int edit_quarantine(struct bucket *b, const char *tenant, const struct ulid *block, const char *reason, int64_t now_ms,
                    int64_t young_ms, bool *ret_moved, struct err *err);
/* Publishes an empty first generation when the tenant has none. */
int edit_create(struct bucket *b, const char *tenant, struct err *err);
