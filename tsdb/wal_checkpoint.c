/* Replacing old segments by a checkpoint. */
#include "tsdb/wal_impl.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

enum { CHECKPOINT_BUFFER = 1 << 18 };

struct checkpoint {
    int fd;
    struct buf out; /* written when it has CHECKPOINT_BUFFER bytes */
    uint64_t records, bytes;
};

static int checkpoint_flush(struct checkpoint *c, struct err *err)
{
    int rc = fs_write_all(c->fd, c->out.p, c->out.n, err);

    c->bytes += c->out.n;
    buf_clear(&c->out);
    return rc;
}

static int checkpoint_add(struct checkpoint *c, uint8_t type, struct str payload, struct err *err)
{
    uint8_t header[WAL_RECORD_HEADER_BYTES];

    if (payload.n == 0 || payload.n > WAL_RECORD_BYTES_MAX)
        return err_set(err, RC_LIMIT, "a record of %zu bytes, at most %d", payload.n,
                       WAL_RECORD_BYTES_MAX);
    wal_record_header(type, &payload, 1, payload.n, header);
    buf_add(&c->out, header, sizeof header);
    buf_str(&c->out, payload);
    if (!buf_ok(&c->out))
        return err_set(err, RC_NOMEM, "memory for a checkpoint record");
    c->records++;
    return c->out.n >= CHECKPOINT_BUFFER ? checkpoint_flush(c, err) : 0;
}

static int checkpoint_emit(void *arg, enum wal_type type, struct str payload, struct err *err)
{
    ASSERT(type >= 1 && type <= WAL_TYPE_MAX);
    return checkpoint_add(arg, (uint8_t)type, payload, err);
}

typedef int fill_fn(void *arg, wal_emit_fn *emit, void *emit_arg, struct err *err);

/* Header, records, END, all on disk. */
static int checkpoint_write(const struct wal *w, uint64_t number, struct checkpoint *c,
                            fill_fn *fill, void *arg, struct err *err)
{
    struct wal_header h = {WAL_KIND_CHECKPOINT, w->shard, number, w->head_id, 0};
    uint8_t header[WAL_HEADER_BYTES], end[8];
    int rc;

    wal_header_encode(&h, header);
    buf_add(&c->out, header, sizeof header);
    rc = fill(arg, checkpoint_emit, c, err);
    FAULT(FAULT_CRASH, _exit(99));
    if (rc == 0) {
        le_put64(end, c->records);
        rc = checkpoint_add(c, WAL_END, str_n(end, sizeof end), err);
    }
    if (rc == 0)
        rc = checkpoint_flush(c, err);
    FAULT(FAULT_IO, rc = err_set(err, RC_IO, "fault: fsync of a checkpoint"));
    if (rc == 0 && fsync(c->fd) != 0)
        rc = err_sys(err, RC_IO, "fsync of a checkpoint");
    FAULT(FAULT_CRASH, _exit(99));
    return rc;
}

static int checkpoint_make(const struct wal *w, uint64_t number, fill_fn *fill, void *arg,
                           uint64_t *ret_bytes, struct err *err)
{
    struct checkpoint c = {.fd = -1};
    char path[PATH_MAX], temporary[PATH_MAX];
    int rc = wal_path(w->dir, number, WAL_CHECKPOINT_SUFFIX, path, sizeof path, err);

    if (rc == 0)
        rc = wal_path(w->dir, number, WAL_CHECKPOINT_SUFFIX ".tmp", temporary, sizeof temporary,
                      err);
    if (rc < 0)
        return rc;
    c.fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (c.fd < 0)
        return err_sys(err, RC_IO, "create %s", temporary);
    buf_init(&c.out, (size_t)WAL_RECORD_BYTES_MAX + 2 * CHECKPOINT_BUFFER);
    rc = checkpoint_write(w, number, &c, fill, arg, err);
    buf_fini(&c.out);
    if (close(c.fd) != 0 && rc == 0)
        rc = err_sys(err, RC_IO, "close %s", temporary);
    if (rc == 0)
        rc = fs_rename(temporary, path, err);
    FAULT(FAULT_CRASH, _exit(99));
    if (rc < 0)
        unlink(temporary);
    else
        *ret_bytes = c.bytes;
    return rc;
}

/* Number of the first segment that stays; 0 when none would go. */
static uint64_t first_kept(struct wal *w, uint64_t below, int64_t t_ms)
{
    uint64_t number = 0;

    mutex_lock(&w->lock);
    for (size_t i = 0; i < w->full.n && w->full.v[i].number < below && w->full.v[i].t_max_ms < t_ms;
         i++)
        number = w->full.v[i].number + 1;
    mutex_unlock(&w->lock);
    return number;
}

/* Oldest first, so that what is left has no gap after a failure. */
static int remove_old(struct wal *w, uint64_t number, uint64_t old_checkpoint, struct err *err)
{
    char path[PATH_MAX];
    int rc = 0;

    if (old_checkpoint && old_checkpoint != number) {
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

int wal_checkpoint(struct wal *w, uint64_t below, int64_t t_ms, fill_fn *fill, void *arg,
                   struct err *err)
{
    uint64_t number = first_kept(w, below, t_ms), old = w->checkpoint, bytes;
    int rc;

    if (!number)
        return 0;
    rc = checkpoint_make(w, number, fill, arg, &bytes, err);
    if (rc < 0)
        return err_wrap(err, rc, "checkpoint of shard %" PRIu32, w->shard);
    mutex_lock(&w->lock);
    w->checkpoint = number;
    w->checkpoint_bytes = bytes;
    mutex_unlock(&w->lock);
    rc = remove_old(w, number, old, err);
    return rc < 0 ? err_wrap(err, rc, "checkpoint of shard %" PRIu32, w->shard) : 0;
}
