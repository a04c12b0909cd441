/* ingester.h - keeps recent samples: heads, log, flush to blocks, answers pushes and selects over RPC.
 * Life: ingester_new (opens the data directory, takes its lock) -> ingester_start (replays in the background; not ready until done, pushes and selects answer
 * RC_UNAVAILABLE) -> serving -> ingester_stop (drains the shards; the log keeps everything, nothing is flushed) -> ingester_free.
 * Data directory: LOCK, head.id (identity of the head: new only when it starts empty), wal/NNNN per shard, scratch/.
 * Flush: a 2 h range is cut into a block once the newest sample is past its end by the out-of-order window (flush_delay_ms), or on request;
 * files first, meta.json, index last; then the set is marked published with the index generation, kept for retain_ms (readers with an older index
 * still need it), dropped, and the log is cut behind an image of the heads (image.h). */
#pragma once
#include "common/config/limits.h"
#include "common/obs/log.h"
#include "common/obs/metrics.h"
#include "common/rpc/rpc.h"
#include "common/sys/clock.h"
#include "ring/ring.h"
#include "tsdb/bucket.h"
#include "tsdb/wal.h"

enum { INGESTER_TENANTS_MAX = 200000 };

struct ingester_cfg {
    const char *data_dir;
    const char *instance_id;
    uint32_t shards;             /* 0: one per core, at most 8 */
    enum wal_sync wal_sync;
    int64_t wal_sync_interval_ms; /* 100 */
    int64_t flush_check_ms;      /* 15 s */
    int64_t flush_delay_ms;      /* after the end of a range: 15 min */
    int64_t retain_ms;           /* after publication: 30 min */
    int64_t series_idle_ms;      /* a series without samples for so long leaves memory: 2 h */
    uint64_t image_log_bytes;    /* log that a restart has to replay at most, of all shards together: 256 MiB */
    uint64_t push_queue_bytes;   /* of pushes that wait for one shard: 64 MiB; past it they are refused */
    /* Taking over from other ingesters: sync.h, sync_core.h. */
    int64_t sync_period_ms;      /* the slow check: 10 min; 0: none */
    int64_t sync_slack_ms;       /* newer samples are on their way still: 30 s */
    uint64_t sync_bytes_per_s;   /* 64 MiB; 0: as fast as it goes */
    int64_t settle_ms, greet_ms, contact_ms, leave_ms;
    bool alone;                  /* no other member is configured */
};
extern const struct ingester_cfg ingester_cfg_default;

/* This process's place in the ring. */
struct ingester_member {
    void (*set_state)(void *arg, enum ring_state state);
    void (*set_flags)(void *arg, uint32_t flags);
    void (*leave)(void *arg);
    void *arg;
};

struct ingester_deps {
    const struct clock *clock;
    struct log *log;
    struct metrics *metrics;
    struct overrides *overrides;
    struct bucket *bucket;
    /* Current ring snapshot, referenced for the caller; NULL: no ring, this ingester owns everything (tests). */
    struct ring *(*ring)(void *arg);
    void *ring_arg;
    /* Either NULL: nothing is taken over from others, and the ring is told nothing (tests). */
    struct rpc_client *rpc;
    const struct ingester_member *member; /* borrowed */
};

struct ingester;
int ingester_new(const struct ingester_cfg *cfg, const struct ingester_deps *deps, struct ingester **ret, struct err *err);
void ingester_handle(struct ingester *in, struct rpc_server *srv); /* registers the methods, before rpc_server_start */
int ingester_start(struct ingester *in, struct err *err);
/* 0 when it serves; else why not ("replaying 45%"). */
int ingester_ready(struct ingester *in, struct err *err);
void ingester_stop(struct ingester *in);
void ingester_free(struct ingester *in);

/* The ring or its flags have changed. Any thread. */
void ingester_ring_changed(struct ingester *in);
/* Leave the ring: hand over to who owns next, or flush; or stay after all. The wish is not kept over a restart. */
void ingester_leave(struct ingester *in, bool leave);
/* True once it is out of the ring; waits for it. */
bool ingester_left(struct ingester *in, int64_t timeout_ms);
/* READ_ONLY: owners, but what comes goes to the others. RC_EXISTS: another member moves; err names it. */
int ingester_set_read_only(struct ingester *in, bool on, struct err *err);
bool ingester_read_only(struct ingester *in);
/* Compares with all other owners now. */
void ingester_sync_now(struct ingester *in);
/* What was compared with whom, what differed: for /ingester/sync. The HTML is without its frame. */
void ingester_write_sync_json(struct ingester *in, struct buf *out);
void ingester_write_sync_html(struct ingester *in, struct buf *out);

/* Cuts everything in memory into blocks now and waits until they are published. ret_blocks may be NULL. */
int ingester_flush_all(struct ingester *in, uint64_t *ret_gen, uint64_t *ret_blocks, struct err *err);

struct ingester_stats {
    uint64_t series, tenants, wal_bytes, queued, queued_bytes;
    double replay_done; /* 0..1 */
};
void ingester_stats(struct ingester *in, struct ingester_stats *ret);
/* For /ingester/tenants. */
void ingester_write_tenants_json(struct ingester *in, struct buf *out);
void ingester_write_tenants_html(struct ingester *in, struct buf *out);
/* How far the replay is, or how long it took: for /ingester/replay. */
void ingester_write_replay_json(struct ingester *in, struct buf *out);
void ingester_write_replay_html(struct ingester *in, struct buf *out);
struct memory_account;
void ingester_memory(struct ingester *in, struct memory_account *a);
