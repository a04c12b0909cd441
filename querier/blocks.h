/* blocks.h - which blocks a query reads, and their readers.
 * A *view* is what the indexes say at one moment: the level-0 generation first, then the tenant's
 * (index.h says why in this order), without blocks that are deleted, done for the tenant or merged
 * into one of its blocks. The view's generation goes to the ingesters, who give whatever its blocks
 * lack and refuse one that is too old (RC_STALE): then the caller takes a fresh view. So an old
 * view is never wrong, only refused. Indexes are read when a view older than max_age_ms is asked
 * for, and every refresh_ms in the background for tenants in use. Readers are kept open, the least
 * recently used go first. Without a bucket views are empty. Threads: any. */
#pragma once
#include "common/obs/log.h"
#include "common/obs/metrics.h"
#include "common/sys/clock.h"
#include "querier/fanout.h"
#include "tsdb/index.h"

enum {
    BLOCKS_TENANTS_MAX = 10000,
    BLOCKS_TENANT_IDLE_MS = 120000,
    BLOCKS_VIEW_AGE_MS = INDEX_VIEW_AGE_MS,
    BLOCKS_VIEW_LAST_MS = 1200000
};

struct blocks_cfg {
    struct bucket *bucket; /* borrowed; NULL: none */
    const struct clock *clock;
    struct log *log;
    struct metrics *metrics;
    int64_t readers_max, refresh_ms;
};

struct view_block {
    struct ulid id;
    int64_t mint_ms, maxt_ms;
    uint32_t level;
    struct block_shard shard;
    uint64_t series, samples, bytes;
};
struct blocks_view {
    atomic_int refs;
    _Atomic int64_t loaded_ms; /* monotonic, when reading the level-0 index began */
    uint64_t gen, tenant_gen;
    tombstones tombstones;       /* of the tenant */
    uint64_t tombstone_seq;
    int64_t tombstones_since_ms; /* monotonic: since when this process knows of the last of them */
    size_t n;
    struct view_block v[];
};
void blocks_view_unref(struct blocks_view *v); /* NULL is fine */

struct blocks;
struct blocks *blocks_new(const struct blocks_cfg *cfg);
void blocks_start(struct blocks *b); /* the background refresh */
void blocks_free(struct blocks *b);  /* stops it */
struct memory_account;
void blocks_memory(struct blocks *b, struct memory_account *a); /* views, indexes, readers; not the cached parts of tables */
/* max_age_ms 0: read now. When the indexes cannot be read: the last view, if it is younger than
 * BLOCKS_VIEW_LAST_MS (ingesters keep what they shipped for longer) and max_age_ms is not 0; else
 * RC_UNAVAILABLE. */
int blocks_view(struct blocks *b, struct str tenant, int64_t max_age_ms, struct blocks_view **ret,
                struct err *err);

/* With a reference. RC_NOT_FOUND when the block is not there (any more). */
int blocks_reader(struct blocks *b, const struct ulid *id, struct block_reader **ret,
                  struct err *err);

/* --- blocks_select.c --- */
struct blocks_select {
    const struct blocks_view *view;
    const struct store_select *q;
    const struct fetch_limits *limits;
    struct fetch_used *used;
    const struct fan_cfg *fan; /* deadline and cancel */
    uint32_t merged_votes;     /* of a block that replicas were merged into */
};
/* Adds the series of all blocks that overlap to the set. RC_NOT_FOUND: a block has gone, take a
 * fresh view. */
int blocks_select(struct blocks *b, const struct blocks_select *s, struct series_set *set,
                  struct err *err);
/* Label names (name.n == 0) or values, block by block: not unique over blocks. */
int blocks_label_values(struct blocks *b, const struct blocks_select *s, struct str name,
                        int (*fn)(void *arg, struct str value), void *arg, struct err *err);
