/* job.h - running one merge: blocks of one tenant in, one block out.
 * K-way by labels over block iterators; per series, windows with equal digests are taken as they are, others are decoded and merged
 * (stored_series_merge); windows whose samples are all past retention are left out. Memory: one series of each input and the symbols and
 * postings of the tenant. Touches no index. One thread per job. */
#pragma once
#include "compactor/plan.h"

#include <stdatomic.h>

struct job_env {
    struct bucket *bucket;
    const char *scratch;     /* local directory for the new block */
    int64_t now_ms, cutoff_ms;
    atomic_bool *cancel;     /* true: RC_CANCELED soon. NULL: never */
    atomic_uint_fast64_t *series_done; /* progress; NULL: nobody looks */
};
struct job_result {
    bool any;                /* false: every sample was past retention; there is no block */
    struct block_meta meta;  /* of the shipped block; block_meta_fini */
};
/* RC_CORRUPT or RC_NOT_FOUND with *ret_bad set (valid id): that input is damaged or not there; other errors leave it "". */
int job_merge(const struct job_env *env, const struct plan_job *job, struct job_result *ret, struct ulid *ret_bad, struct err *err);
