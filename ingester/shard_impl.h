/* shard_impl.h - the fields of a shard, for shard.c and shard_load.c only. */
#pragma once
#include "common/base/buf.h"
#include "common/sys/fs.h"
#include "ingester/shard.h"

struct shard {
    struct shard_cfg cfg;        /* --- read-only after start --- */
    char *dir;
    struct log *log;
    struct head *head;           /* own lock */
    struct wal *wal;
    pthread_t thread;
    struct mutex lock;           /* --- guards the queue --- */
    struct cond wake;
    struct shard_job *first, *last;
    size_t jobs, job_bytes;
    bool running, stopping;
    _Atomic size_t queued;
    atomic_bool dead;
    bool unsynced;               /* --- shard thread only --- */
    int64_t synced_ns;
    struct buf scratch;
};
/* Appends to the log; kills the shard on failure. Shard thread. */
int shard_log(struct shard *s, enum wal_type type, const struct str *parts, size_t n, int64_t t_max_ms);
