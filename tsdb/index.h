/* index.h - which blocks exist: immutable generations, created only if absent, so that nobody lists buckets in the hot path and nobody overwrites
 * another's index. One index for level 0 (all tenants): index/l0/<gen>.json; one per tenant from level 1: tenants/<tenant>/index/<gen>.json.
 * Readers load level 0 first, then the tenant's: a block leaves level 0 (or is marked done for a tenant) only after the tenant's index names the block that
 * holds its samples, so no sample is ever in neither; what is in both is recognised by sources and by digests.
 * Newest generation: found from a hint object (index/l0/HINT) and by probing upwards. */
#pragma once
#include "common/sys/fs.h"
#include "tsdb/block.h"

struct index_block {
    struct ulid id;
    int64_t mint_ms, maxt_ms, range_start_ms, range_end_ms;
    uint32_t level;
    uint64_t series, samples, bytes;
    struct ulid *sources; /* level >= 1 */
    size_t source_count;
    char ingester[128];   /* level 0 */
    char **done;          /* level 0: tenants whose samples are in a tenant block named by the tenant's index */
    size_t done_count;
    int64_t deleted_ms;   /* 0, or when it was marked for deletion: no reader may use it; removed after the delay */
};
struct index {
    uint64_t gen;         /* 0: no generation exists yet */
    VEC(struct index_block) blocks;
};
void index_fini(struct index *ix);
int index_copy(const struct index *from, struct index *ret);
/* tenant NULL: the level-0 index. */
int index_load(struct bucket *b, const char *tenant, struct index *ret, struct err *err);
/* Applies edit to the newest generation and publishes the next one; runs again on the newer generation when another writer was first
 * (at most INDEX_RETRIES times, then RC_UNAVAILABLE). edit returns negative to give up. ret (may be NULL) is what was published. */
enum { INDEX_RETRIES = 64 };
int index_update(struct bucket *b, const char *tenant, int (*edit)(void *arg, struct index *ix, struct err *err), void *arg, struct index *ret, struct err *err);
/* Convenience edit: adds one block (no change when its id is there already). */
int index_add_block(struct bucket *b, const char *tenant, const struct block_meta *m, uint64_t *ret_gen, struct err *err);
/* Removes generations older than the newest KEEP (64). */
int index_trim(struct bucket *b, const char *tenant, struct err *err);
/* Tenants that have an index, by listing (compactor only). */
int index_tenants(struct bucket *b, fs_names *ret, struct err *err);
