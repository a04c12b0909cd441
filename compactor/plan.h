/* plan.h - what to do next: index contents, time and retention in, jobs out. Pure: no bucket, no clock, no thread.
 *
 * Level 0 blocks hold all tenants, one block per ingester and 2 h. Per tenant they become one block of level 1, then 12 h (level 2), then 24 h (level 3).
 * A level-0 block that comes late, or is cut early by force, becomes a level-1 block of its own beside the one that is there; the next level merges
 * both. A range is merged once its end is settle_ms ago; a level above 1 also waits until no level-0 block of the tenant in it is left.
 * When a day is complete its 2 h blocks go to level 3 at once.
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
};
extern const struct plan_cfg plan_cfg_default; /* 2 h, 12 h, 24 h; 25 min; 30 min */

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
    PLAN_EXPIRE,    /* tenant: mark blocks deleted, all samples are past retention */
    PLAN_REMOVE,    /* remove the files of deleted blocks, then forget them */
    PLAN_MERGE,     /* merge blocks into one of level */
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
};
typedef VEC(struct plan_job) plan_jobs;

/* Cheap ones first, merges oldest first. */
void plan_make(const struct plan_cfg *cfg, const struct plan_input *in, plan_jobs *ret);
void plan_jobs_free(plan_jobs *jobs);
/* Data of the tenant that should be at level 1 but is not, as a span of time in ms: from the start of the oldest settled level-0 block that waits to
 * the end of the newest settled one; 0 when none waits. */
int64_t plan_lag_ms(const struct plan_cfg *cfg, const struct plan_input *in, const struct plan_tenant *t);
/* Samples before this are past retention. */
int64_t plan_cutoff_ms(int64_t now_ms, int64_t retention_ms);
const char *plan_kind_name(enum plan_kind k);
