/* job.h - running one merge: blocks of one tenant in, one block out, or one for each shard.
 * K-way by labels over block iterators; per series, windows with equal digests are taken as they are, others are decoded and merged
 * (stored_series_merge); windows whose samples are all past retention are left out, and every sample that is hidden. Memory: one series of each input and the symbols and
 * postings of the tenant. Touches no index. One thread per job. */
#pragma once
#include "compactor/plan.h"

#include <stdatomic.h>

struct job_env {
    struct bucket *bucket;
    const char *scratch;     /* local directory for the new block */
    int64_t now_ms, cutoff_ms;
    const struct tombstone *hidden; /* tombstones and rules of retention */
    size_t hidden_count;
    atomic_bool *cancel;     /* true: RC_CANCELED soon. NULL: never */
    atomic_uint_fast64_t *series_done; /* progress; NULL: nobody looks */
};
struct job_result {
    struct block_meta *metas; /* of the shipped blocks, of shards that have series; job_result_fini */
    size_t n;                 /* 0: every sample was past retention or hidden */
};
void job_result_fini(struct job_result *r);
/* Whether a block of the job (a rewrite) has any series that is hidden. */
int job_touches(const struct job_env *env, const struct plan_job *job, bool *ret, struct ulid *ret_bad, struct err *err);
/* RC_CORRUPT or RC_NOT_FOUND with *ret_bad set (valid id): that input is damaged or not there; other errors leave it "". */
int job_merge(const struct job_env *env, const struct plan_job *job, struct job_result *ret, struct ulid *ret_bad, struct err *err);
