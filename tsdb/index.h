/* index.h - which blocks exist: immutable generations, created only if absent, so that nobody lists buckets in the hot path and nobody overwrites
 * another's index. One index for level 0 (all tenants): index/l0/<gen>.json; one per tenant from level 1: tenants/<tenant>/index/<gen>.json.
 * Readers load level 0 first, then the tenant's: a block leaves level 0 (or is marked done for a tenant) only after the tenant's index names the block that
 * holds its samples, so no sample is ever in neither; what is in both is recognised by sources (index_covers) and by digests.
 * A tenant's index also has its tombstones (tombstone.h), numbered by tombstone_seq; a block says up to which number it has been rewritten. Readers hide
 * what any tombstone covers, whatever the block says. A reader's view may be INDEX_VIEW_AGE_MS old, not more: a deletion is answered after that time has passed.
 * Newest generation: found from a hint object (index/l0/HINT) and by probing upwards. */
#pragma once
#include "common/sys/fs.h"
#include "tsdb/block.h"
#include "tsdb/tombstone.h"

struct index_block {
    struct ulid id;
    int64_t mint_ms, maxt_ms, range_start_ms, range_end_ms;
    uint32_t level;
    uint64_t series, samples, bytes;
    struct ulid *sources; /* level >= 1 */
    size_t source_count;
    char ingester[128];   /* level 0 */
    char **done;          /* level 0, sorted: tenants whose samples are in a tenant block named by the tenant's index */
    size_t done_count;
    int64_t deleted_ms;   /* 0, or when it was marked for deletion: no reader may use it; removed after the delay */
    char *reason;         /* quarantined: why, else NULL */
    int64_t since_ms;     /* quarantined: since when */
    struct block_shard shard; /* level >= 1 */
    uint64_t applied;     /* level >= 1: nothing is left in it that tombstones up to this number cover */
    uint64_t retained;    /* level >= 1: rules of retention that it was rewritten for, as a number (plan.h); 0: none */
};
typedef VEC(struct index_block) index_blocks;
struct index {
    uint64_t gen;         /* 0: no generation exists yet */
    index_blocks blocks;
    index_blocks quarantined; /* found damaged by the compactor: not read, not merged, kept for an operator */
    tombstones tombstones; /* ascending seq */
    uint64_t tombstone_seq; /* the last that was given away */
};
void index_fini(struct index *ix);
size_t index_memory(const struct index *ix); /* bytes */
/* RC_INVALID as tombstone_dup. */
int index_copy(const struct index *from, struct index *ret, struct err *err);
/* tenant NULL: the level-0 index. */
int index_load(struct bucket *b, const char *tenant, struct index *ret, struct err *err);
/* Applies edit to the newest generation and publishes the next one; runs again on the newer generation when another writer was first
 * (at most INDEX_RETRIES times, then RC_UNAVAILABLE). edit returns negative to give up, positive when there is nothing to change (nothing is
 * published), and must bear being run on an index that has its change already. ret (may be NULL) is what was published.
 * After an IO error it is unknown whether the change was published. */
enum { INDEX_RETRIES = 64, INDEX_KEEP = 64, INDEX_VIEW_AGE_MS = 1000 };
int index_update(struct bucket *b, const char *tenant, int (*edit)(void *arg, struct index *ix, struct err *err), void *arg, struct index *ret, struct err *err);
/* Convenience edit: adds one block (no change when its id is there already). */
int index_add_block(struct bucket *b, const char *tenant, const struct block_meta *m, uint64_t *ret_gen, struct err *err);
/* --- deletion (index_delete.c) --- */
/* Adds tombstones for the series that each of the n takes (matchers, span, tenant and hurry are read; the rest is given), now. One of the same series whose span meets
 * takes the place of the older; one that is covered by an older changes nothing. RC_LIMIT past TOMBSTONES_MAX. ret_gen (may be NULL): of the index that has them all.
 * Hidden from every reader INDEX_VIEW_AGE_MS later. */
int index_delete_series(struct bucket *b, const char *tenant, const struct tombstone *list, size_t n, int64_t now_ms, uint64_t *ret_gen, struct err *err);
/* Whatever the tenant has with timestamps up to now, recent samples too. */
int index_delete_tenant(struct bucket *b, const char *tenant, int64_t now_ms, struct err *err);
/* All tombstones that wait are to be applied at once. */
int index_hurry(struct bucket *b, const char *tenant, struct err *err);
/* The newest tombstone of the tenant as a whole; NULL when it was not deleted, or that is long done. */
const struct tombstone *index_tenant_deleted(const struct index *ix);
/* Whether the block may have samples left that t covers. */
bool index_block_pending(const struct index_block *b, const struct tombstone *t);

/* Removes generations older than the newest INDEX_KEEP. */
int index_trim(struct bucket *b, const char *tenant, struct err *err);
/* Tenants that have an index, by listing (compactor only). */
int index_tenants(struct bucket *b, fs_names *ret, struct err *err);

/* --- questions and changes, for readers and edits --- */
struct index_block *index_find(struct index *ix, const struct ulid *id); /* among blocks; NULL when absent */
bool index_block_has_source(const struct index_block *b, const struct ulid *id);
bool index_block_done(const struct index_block *b, const char *tenant);
/* Whether blocks of the tenant's index hold the samples that level-0 block l0 has of the tenant: one whole block, or one of each shard that is not empty. */
bool index_covers(const struct index *tenant, const struct ulid *l0);
/* Both false when nothing changed. */
bool index_block_mark_done(struct index_block *b, const char *tenant);
bool index_block_unmark_done(struct index_block *b, const char *tenant);
void index_put_meta(struct index *ix, const struct block_meta *m); /* copies */
void index_drop(struct index *ix, const struct ulid *id);
/* Moves the block aside; false when it is not among blocks. */
bool index_quarantine(struct index *ix, const struct ulid *id, const char *reason, int64_t now_ms);
void index_block_fini(struct index_block *b);

/* One generation as text (sealed_json.h): for publishing, tests and fuzzing. self, parent: random ids that chain generations. */
int index_encode(const struct index *ix, const char *self, const char *parent, struct buf *out, struct err *err);
int index_decode(struct str text, struct index *ret, struct err *err);
