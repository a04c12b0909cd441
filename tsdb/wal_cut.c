/* Removing old segments. */
#include "tsdb/wal_impl.h"

#include <inttypes.h>
#include <limits.h>
#include <unistd.h>

/* Oldest first, so that what is left has no gap after a failure. */
static int remove_old(struct wal *w, uint64_t number, uint64_t old_checkpoint, struct err *err)
{
    char path[PATH_MAX];
    int rc = 0;

    if (old_checkpoint && old_checkpoint != number) {
        FAULT(FAULT_CRASH, _exit(99));
        rc = wal_path(w->dir, old_checkpoint, WAL_CHECKPOINT_SUFFIX, path, sizeof path, err);
        if (rc == 0)
            rc = fs_remove(path, err);
    }
    while (rc == 0) {
        struct wal_segment_info oldest = {0};

        mutex_lock(&w->lock);
        if (w->full.n && w->full.v[0].number < number)
            oldest = w->full.v[0];
        mutex_unlock(&w->lock);
        if (!oldest.number)
            break;
        FAULT(FAULT_CRASH, _exit(99));
        rc = wal_path(w->dir, oldest.number, WAL_SEGMENT_SUFFIX, path, sizeof path, err);
        if (rc == 0)
            rc = fs_remove(path, err);
        if (rc < 0)
            break;
        mutex_lock(&w->lock);
        w->full_bytes -= oldest.bytes;
        w->full.n--;
        memmove(w->full.v, w->full.v + 1, w->full.n * sizeof *w->full.v);
        mutex_unlock(&w->lock);
    }
    return rc;
}

/* The checkpoint goes first: what is left without it cannot be taken for a whole log. */
int wal_cut(struct wal *w, uint64_t below, struct err *err)
{
    uint64_t checkpoint;
    int rc;

    ASSERT(below <= atomic_load(&w->number));
    mutex_lock(&w->lock);
    checkpoint = w->checkpoint <= below ? w->checkpoint : 0;
    mutex_unlock(&w->lock);
    rc = remove_old(w, below, checkpoint, err);
    if (rc < 0)
        return err_wrap(err, rc, "log of shard %" PRIu32 ": removing old segments", w->shard);
    if (checkpoint && checkpoint < below) {
        mutex_lock(&w->lock);
        w->checkpoint = w->checkpoint_bytes = 0;
        mutex_unlock(&w->lock);
    }
    return 0;
}
