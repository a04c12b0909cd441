/* plan.h - what to do next: index contents, time and retention in, jobs out. Pure: no bucket, no clock, no thread.
 *
 * Level 0 blocks hold all tenants, one block per ingester and 2 h. Per tenant they become one block of level 1, then 12 h (level 2), then 24 h (level 3).
 * A level-0 block that comes late, or is cut early by force, becomes a level-1 block of its own beside the one that is there; the next level merges
 * both. A range is merged once its end is settle_ms ago; a level above 1 also waits until no level-0 block of the tenant in it is left.
 * When a day is complete its 2 h blocks go to level 3 at once.
 * A tenant with split > 1 gets so many blocks of each range, divided by fingerprint. Higher levels merge shard by shard, as jobs of their own; where blocks of a range are divided
 * differently (the setting has changed), one job takes all of them and divides its result.
 *
 * Tombstones and rules of retention are applied by every merge. A block that no merge takes is rewritten for them once a tombstone is rewrite_after_ms old (or in
 * a hurry), or a rule covers all of the block's time. A tombstone is *applied* when no block and no level-0 block has anything left for it and heads have flushed the time
 * it covers; it is forgotten tombstone_keep_ms later, so that what comes late from an ingester that was away does not come back to life.
 *
 * Order of effects that readers rely on (tsdb/index.h): the tenant's index names the result before level 0 marks the sources done; a level-0 block
 * is marked deleted when all its tenants are done, and removed delete_delay_ms later. */
#pragma once
#include "tsdb/index.h"

enum { PLAN_LEVELS = 3, PLAN_SOURCES_MAX = 512 };

struct plan_cfg {
    int64_t level_ms[PLAN_LEVELS]; /* span of level 1, 2, 3; each a multiple of the one before */
    int64_t settle_ms;
    int64_t delete_delay_ms;
    int64_t rewrite_after_ms;
    int64_t tombstone_keep_ms;
};
extern const struct plan_cfg plan_cfg_default; /* 2 h, 12 h, 24 h; 25 min; 30 min; 15 min; 24 h */

struct plan_l0 {
    const struct index_block *block;
    const char *const *tenants; /* in the block, sorted */
    size_t tenant_count;
    bool readable;              /* false: its tenants are not known, leave it alone */
};
struct plan_tenant {
    const char *name;
    const struct index *index;
    int64_t retention_ms;       /* 0: for ever */
    const struct tombstone *rules; /* of retention: spans end at the cutoff, seq is the rule's key */
    size_t rule_count;
    uint32_t split;             /* blocks of a range; 0 or 1: one */
};
struct plan_input {
    int64_t now_ms;
    bool forced;                /* level-0 blocks are merged whether settled or not */
    const struct plan_l0 *l0;
    size_t l0_count;
    const struct plan_tenant *tenants; /* those this compactor looks after, sorted by name */
    size_t tenant_count;
};

enum plan_kind {
    PLAN_MARK_DONE, /* level 0: the tenant's samples in blocks are elsewhere, or past retention */
    PLAN_DELETE_L0, /* level 0: mark blocks deleted */
    PLAN_EXPIRE,    /* tenant: mark blocks deleted, all samples are past retention or deleted */
    PLAN_SETTLE,    /* tenant: mark tombstones as applied */
    PLAN_FORGET,    /* tenant: drop tombstones */
    PLAN_REMOVE,    /* remove the files of deleted blocks, then forget them */
    PLAN_MERGE,     /* merge blocks into one of level */
    PLAN_REWRITE,   /* one block, without what is hidden */
};
struct plan_job {
    enum plan_kind kind;
    const char *tenant;        /* borrowed from the input; NULL: the level-0 index */
    uint32_t level;            /* merge: of the result */
    int64_t range_start_ms, range_end_ms;
    struct ulid *blocks;       /* what the job is about */
    size_t block_count;
    struct ulid *sources;      /* merge: level-0 blocks that are in the result */
    size_t source_count;
    uint32_t split;            /* merge: into so many blocks; 0 or 1: one, of shard */
    struct block_shard shard;  /* merge, rewrite: of the result */
    uint64_t series;           /* of the inputs together: an upper bound of the work */
    size_t turn;               /* merge, rewrite: how many of the tenant come before it */
    uint64_t *seqs;            /* settle, forget: tombstones */
    size_t seq_count;
};
typedef VEC(struct plan_job) plan_jobs;

/* Cheap ones first; then each tenant's oldest merge, each one's second, and so on: none waits for all of another's. */
void plan_make(const struct plan_cfg *cfg, const struct plan_input *in, plan_jobs *ret);
void plan_jobs_free(plan_jobs *jobs);
/* Data of the tenant that should be at level 1 but is not, as a span of time in ms: from the start of the oldest settled level-0 block that waits to
 * the end of the newest settled one; 0 when none waits. */
int64_t plan_lag_ms(const struct plan_cfg *cfg, const struct plan_input *in, const struct plan_tenant *t);
/* Samples before this are past retention. */
int64_t plan_cutoff_ms(int64_t now_ms, int64_t retention_ms);
/* Which rules cover all samples up to maxt_ms, as one number; 0: none. A block is rewritten when this is not what it was last written for. */
uint64_t plan_retained(const struct tombstone *rules, size_t n, int64_t maxt_ms);
/* The same for the same work on every compactor; which of them does it is divided by this. */
uint64_t plan_job_key(const struct plan_job *j);
const char *plan_kind_name(enum plan_kind k);
