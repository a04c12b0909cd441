/* Room for records before they are made: a log that has it does not fail for want of space in the middle of a record. */
#include "tsdb/wal_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

/* Of the current segment, as far as what is asked for and a good piece more; the file's length stays. */
static int allocate(struct wal *w, uint64_t end, struct err *err)
{
    uint64_t offset = atomic_load(&w->offset), want = end + WAL_RESERVE_BYTES;
    int rc;

    FAULT(FAULT_IO, return err_set(err, RC_UNAVAILABLE, "fault: no space left"));
    do
        rc = fallocate(w->fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)(want - offset));
    while (rc != 0 && errno == EINTR);
    /* Of the last bytes of a disk only what is needed. */
    if (rc != 0 && wal_no_space(errno)) {
        want = end;
        rc = fallocate(w->fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)(want - offset));
    }
    if (rc != 0 && wal_no_space(errno))
        return err_sys(err, RC_UNAVAILABLE, "no space for the log of shard %" PRIu32 ", segment %08" PRIu64, w->shard, atomic_load(&w->number));
    /* A file system without fallocate promises nothing; a disk that is broken will say so when it is written to. */
    w->reserved = want;
    return 0;
}

int wal_reserve(struct wal *w, size_t bytes, struct err *err)
{
    uint64_t end = atomic_load(&w->offset) + bytes + WAL_UPKEEP_BYTES;
    int rc = 0;

    if (atomic_load(&w->dead))
        return 0; /* whoever appends is told */
    if (end > WAL_SEGMENT_BYTES && atomic_load(&w->offset) > WAL_HEADER_BYTES) {
        rc = wal_rotate(w, err);
        end = atomic_load(&w->offset) + bytes + WAL_UPKEEP_BYTES;
    }
    if (rc == 0 && end > w->reserved)
        rc = allocate(w, end, err);
    return rc;
}

void wal_release(struct wal *w)
{
    /* Gives back what lies behind the end; when it fails it is only room. */
    if (w->reserved > atomic_load(&w->offset) && ftruncate(w->fd, (off_t)atomic_load(&w->offset)) != 0)
        errno = 0;
    w->reserved = 0;
}
