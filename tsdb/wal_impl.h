/* wal_impl.h - the open log, shared by wal.c and wal_cut.c; nobody else includes it. */
#pragma once
#include "common/base/fault.h"
#include "common/sys/fs.h"
#include "common/sys/thread.h"
#include "tsdb/wal_format.h"

#include <errno.h>
#include <stdatomic.h>

struct wal {
    char *dir; /* --- read-only after open --- */
    uint32_t shard;
    uint64_t head_id;

    atomic_bool dead;                /* --- any thread --- */
    _Atomic uint64_t number, offset; /* of the segment being written; the appender moves them */
    _Atomic uint64_t total;          /* bytes appended since open */
    _Atomic uint64_t synced;         /* bytes of this segment that are known to be on disk */

    struct mutex sync_lock; /* --- held while syncing and while the file changes; before lock --- */
    int fd; /* the appender writes to it without the lock: only it changes the file */
    uint64_t synced_total;

    struct mutex lock;                 /* --- guards the list of files --- */
    VEC(struct wal_segment_info) full; /* segments before the current one */
    uint64_t full_bytes, checkpoint, checkpoint_bytes;

    int64_t t_max_ms; /* --- appender only: of the current segment --- */
    uint64_t reserved; /* bytes from the beginning of the segment that its disk has room for */
    uint64_t noted;   /* last offset told by a SYNCED record */
};

static inline bool wal_no_space(int sys)
{
    return sys == ENOSPC || sys == EDQUOT;
}
/* Of the segment that is being written, before it is closed (appender). */
void wal_release(struct wal *w);
/* Writes down what has been synced so far (appender). */
int wal_append_note(struct wal *w, struct err *err);
