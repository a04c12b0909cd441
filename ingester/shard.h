/* shard.h - one head shard with its owner thread and its log.
 * All changes of a head happen on the shard's thread, as jobs from a bounded queue: pushes (divided by the caller so that every row belongs to
 * this shard), seals, publications, drops, checkpoints. The thread takes what has queued up, runs it, syncs the log once if the mode is
 * WAL_ALWAYS, then finishes every job (group commit).
 * Reads go straight to the head (head.h: any thread). A shard whose log failed is dead: it refuses every job and every read, and the ingester is
 * no longer ready; nothing that was not logged has been acknowledged. */
#pragma once
#include "common/obs/log.h"
#include "common/sys/clock.h"
#include "common/sys/thread.h"
#include "common/wire/push.h"
#include "tsdb/head.h"
#include "tsdb/wal_payload.h"

#include <stdatomic.h>

enum { SHARD_QUEUE_JOBS_MAX = 4096, SHARDS_MAX = 64, SHARD_FULL_RETRY_MS = 200 };

struct shard;
struct shard_job {
    struct shard_job *next;
    void (*run)(struct shard_job *job, struct shard *s);  /* on the shard's thread */
    /* After the log is as durable as the mode says. dead: the shard's log failed before or during this job. */
    void (*done)(struct shard_job *job, bool dead);
    size_t bytes; /* held by the job until it is done, against the queue's ceiling; 0: upkeep, which is always taken */
};

struct shard_cfg {
    const char *dir;   /* DIR/wal/NNNN */
    uint32_t number, count;
    uint64_t head_id;
    enum wal_sync sync;
    int64_t sync_interval_ms;
    size_t queue_bytes_max;
};
/* Makes an empty head. Replay (replay.c) fills it, then shard_open_log opens the log for appending, then shard_start runs the thread. */
int shard_new(const struct shard_cfg *cfg, struct log *log, struct shard **ret, struct err *err);
/* found: what replay of this shard's directory said. */
int shard_open_log(struct shard *s, const struct wal_replay_stats *found, struct err *err);
void shard_start(struct shard *s);
/* Runs what is queued, syncs, stops the thread. */
void shard_stop(struct shard *s);
void shard_free(struct shard *s);

/* False when the queue is full or the shard is dead or stopping: the job was not taken. */
bool shard_submit(struct shard *s, struct shard_job *job);
/* A push of so many bytes would not be taken now. */
bool shard_full(struct shard *s, size_t bytes);
/* The disk of the log was full a moment ago: a push would not be taken. Asked again after SHARD_FULL_RETRY_MS. */
bool shard_disk_full(const struct shard *s);
/* Blocks until the job is done; 0 or RC_UNAVAILABLE / RC_IO. Not from the shard's thread. */
int shard_run_sync(struct shard *s, void (*run)(void *arg, struct shard *s), void *arg, struct err *err);

struct head *shard_head(struct shard *s);
void shard_head_renew(struct shard *s); /* an empty one, before the shard has started */
const char *shard_dir(const struct shard *s);
struct wal *shard_wal(struct shard *s);
bool shard_dead(const struct shard *s);
/* Marks the log as failed; logged once. */
void shard_kill(struct shard *s, const struct err *why);
size_t shard_queued(const struct shard *s);       /* jobs that are taken and not done */
size_t shard_queued_bytes(const struct shard *s); /* what they hold */
size_t shard_memory(struct shard *s); /* bytes of its queue and its log, not of its head */

/* --- on the shard's thread --- */
/* Room in the log for what a job will write, before it changes anything. False: the disk is full, the job must not be done; logged once. */
bool shard_reserve(struct shard *s, size_t bytes);
/* Appends a record; on failure the shard is dead (shard_kill). */
void shard_log(struct shard *s, enum wal_type type, const struct str *parts, size_t n, int64_t t_max_ms);
/* A list record (wal_payload.h) of n rows. */
void shard_log_list(struct shard *s, enum wal_type type, struct str tenant, size_t n, const struct buf *rows, int64_t t_max_ms);
struct buf *shard_scratch(struct shard *s);
