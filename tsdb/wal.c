/* Writing the log. Formats: wal_format.h. */
#include "tsdb/wal_impl.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int wal_dead(struct err *err)
{
    return err_set(err, RC_IO, "the log is dead since a write or sync failed");
}

static int wal_kill(struct wal *w, int rc)
{
    atomic_store(&w->dead, true);
    return rc;
}

/* --- segments --- */
/* Makes the file with its header and opens it; fd is untouched on failure. */
static int segment_create(const struct wal *w, uint64_t number, uint64_t previous_bytes,
                          int *ret_fd, struct err *err)
{
    struct wal_header h = {WAL_KIND_SEGMENT, w->shard, number, w->head_id, previous_bytes};
    uint8_t bytes[WAL_HEADER_BYTES];
    char path[PATH_MAX];
    int rc = wal_path(w->dir, number, WAL_SEGMENT_SUFFIX, path, sizeof path, err), fd;

    if (rc < 0)
        return rc;
    wal_header_encode(&h, bytes);
    rc = fs_write_atomic(path, str_n(bytes, sizeof bytes), err);
    if (rc < 0)
        return rc;
    FAULT(FAULT_CRASH, _exit(99));
    fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, RC_IO, "open %s", path);
    *ret_fd = fd;
    return 0;
}

static int fd_sync(int fd, struct err *err)
{
    FAULT(FAULT_IO, return err_set(err, RC_IO, "fault: fdatasync"));
    return fdatasync(fd) == 0 ? 0 : err_sys(err, RC_IO, "fdatasync");
}

static int segment_continue(const struct wal *w, const struct wal_segment_info *last, int *ret_fd,
                            struct err *err)
{
    char path[PATH_MAX];
    struct stat st;
    int rc = wal_path(w->dir, last->number, WAL_SEGMENT_SUFFIX, path, sizeof path, err), fd;

    if (rc < 0)
        return rc;
    fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, RC_IO, "open %s", path);
    if (fstat(fd, &st) != 0)
        rc = err_sys(err, RC_IO, "stat %s", path);
    else if ((uint64_t)st.st_size != last->bytes)
        rc = err_set(err, RC_INVALID, "%s: %lld bytes, replay left %" PRIu64, path,
                     (long long)st.st_size, last->bytes);
    /* What the process before wrote and did not sync has been replayed: it counts from now on. */
    if (rc == 0)
        rc = fd_sync(fd, err);
    if (rc < 0)
        close(fd);
    else
        *ret_fd = fd;
    return rc;
}

/* The log goes on in the last segment found, or in a first one. */
static int open_segment(struct wal *w, const struct wal_replay_stats *found, struct err *err)
{
    size_t n = found->segments.n;
    struct wal_segment_info last =
        n ? found->segments.v[n - 1] : (struct wal_segment_info){1, 0, INT64_MIN};
    int rc;

    for (size_t i = 0; i + 1 < n; i++) {
        *vec_push(&w->full) = found->segments.v[i];
        w->full_bytes += found->segments.v[i].bytes;
    }
    if (last.bytes)
        rc = segment_continue(w, &last, &w->fd, err);
    else
        rc =
            segment_create(w, last.number, n > 1 ? found->segments.v[n - 2].bytes : 0, &w->fd, err);
    atomic_store(&w->number, last.number);
    atomic_store(&w->offset, MAX(last.bytes, (uint64_t)WAL_HEADER_BYTES));
    atomic_store(&w->synced, last.bytes);
    w->t_max_ms = last.t_max_ms;
    return rc;
}

int wal_open(const struct wal_cfg *cfg, const struct wal_replay_stats *found, struct wal **ret,
             struct err *err)
{
    struct wal *w;
    struct stat st;
    char path[PATH_MAX];
    int rc;

    ASSERT(cfg->head_id != 0);
    if (found->head_id && found->head_id != cfg->head_id)
        return err_set(err, RC_INVALID, "%s belongs to head %016" PRIx64, cfg->dir, found->head_id);
    rc = fs_mkdirs(cfg->dir, err);
    if (rc < 0)
        return rc;
    w = xcalloc(1, sizeof *w);
    w->dir = xstrdup(cfg->dir);
    w->shard = cfg->shard;
    w->head_id = cfg->head_id;
    w->fd = -1;
    w->checkpoint = found->checkpoint;
    mutex_init(&w->lock);
    mutex_init(&w->sync_lock);
    if (found->checkpoint) {
        rc = wal_path(w->dir, found->checkpoint, WAL_CHECKPOINT_SUFFIX, path, sizeof path, err);
        if (rc == 0 && stat(path, &st) != 0)
            rc = err_sys(err, RC_IO, "stat %s", path);
        w->checkpoint_bytes = rc == 0 ? (uint64_t)st.st_size : 0;
    }
    if (rc == 0)
        rc = open_segment(w, found, err);
    if (rc < 0) {
        wal_kill(w, rc);
        wal_close(w);
        return rc;
    }
    *ret = w;
    return 0;
}

void wal_close(struct wal *w)
{
    if (!w)
        return;
    /* After the note nothing before it can be taken for torn. */
    if (wal_sync(w, NULL) == 0)
        (void)wal_append_note(w, NULL);
    if (w->fd >= 0) {
        wal_release(w);
        close(w->fd);
    }
    mutex_fini(&w->lock);
    mutex_fini(&w->sync_lock);
    vec_fini(&w->full);
    free(w->dir);
    free(w);
}

/* The new file takes over; sync_lock is held. */
static void rotate_done(struct wal *w, int fd)
{
    wal_release(w);
    close(w->fd);
    w->fd = fd;
    w->synced_total = atomic_load(&w->total);
    mutex_lock(&w->lock);
    *vec_push(&w->full) =
        (struct wal_segment_info){atomic_load(&w->number), atomic_load(&w->offset), w->t_max_ms};
    w->full_bytes += atomic_load(&w->offset);
    atomic_fetch_add(&w->number, 1);
    atomic_store(&w->offset, WAL_HEADER_BYTES);
    atomic_store(&w->synced, 0);
    mutex_unlock(&w->lock);
}

/* No room for a next segment, and no trace of it: the current one goes on. */
static bool rotate_later(const struct wal *w, uint64_t number, const struct err *why)
{
    char path[PATH_MAX];

    return wal_no_space(why->sys) && wal_path(w->dir, number, WAL_SEGMENT_SUFFIX, path, sizeof path, NULL) == 0 && access(path, F_OK) != 0 && errno == ENOENT;
}

int wal_rotate(struct wal *w, struct err *err)
{
    struct err why = {0};
    bool later = false;
    uint64_t number = atomic_load(&w->number), bytes = atomic_load(&w->offset);
    int fd = -1, rc;

    if (atomic_load(&w->dead))
        return wal_dead(err);
    mutex_lock(&w->sync_lock);
    /* A segment is whole on disk before there is a next one: only the last can be torn. */
    rc = fd_sync(w->fd, &why);
    FAULT(FAULT_CRASH, _exit(99));
    if (rc == 0) {
        rc = segment_create(w, number + 1, bytes, &fd, &why);
        later = rc < 0 && rotate_later(w, number + 1, &why);
    }
    if (rc < 0 && !later)
        wal_kill(w, rc);
    else if (later)
        rc = RC_UNAVAILABLE;
    else
        rotate_done(w, fd);
    mutex_unlock(&w->sync_lock);
    if (rc < 0 && err)
        *err = why;
    if (rc < 0)
        return err_wrap(err, rc, "log of shard %" PRIu32, w->shard);
    w->t_max_ms = INT64_MIN;
    w->noted = 0;
    return 0;
}

/* --- records --- */
#ifdef TORC_DEBUG
/* A write that stops in the middle, as a full disk or a power cut leaves it. */
static void write_half(int fd, const struct iovec *v, int n)
{
    for (int i = 0; i < n; i++) {
        size_t some = i + 1 < n ? v[i].iov_len : v[i].iov_len / 2;

        if (write(fd, v[i].iov_base, some) != (ssize_t)some)
            return;
    }
}
#endif

static int write_vector(int fd, struct iovec *v, int n, struct err *err)
{
    FAULT(FAULT_IO, (write_half(fd, v, n), errno = ENOSPC);
          return err_sys(err, RC_IO, "fault: write"));
    FAULT(FAULT_CRASH, (write_half(fd, v, n), _exit(99)));
    while (n > 0) {
        ssize_t did = writev(fd, v, n);

        if (did < 0 && errno == EINTR)
            continue;
        if (did <= 0)
            return err_sys(err, RC_IO, "write");
        for (; n > 0 && (size_t)did >= v->iov_len; v++, n--)
            did -= (ssize_t)v->iov_len;
        if (n > 0) {
            v->iov_base = (char *)v->iov_base + did;
            v->iov_len -= (size_t)did;
        }
    }
    return 0;
}

/* The SYNCED record, when there is something new to tell; returns its bytes or 0. */
static size_t note_fill(struct wal *w, uint8_t out[WAL_RECORD_HEADER_BYTES + WAL_NOTE_BYTES])
{
    uint64_t synced = atomic_load(&w->synced);
    struct str payload = str_n(out + WAL_RECORD_HEADER_BYTES, WAL_NOTE_BYTES);

    if (synced == w->noted)
        return 0;
    wal_note_encode(synced, out + WAL_RECORD_HEADER_BYTES);
    wal_record_header(WAL_SYNCED, &payload, 1, WAL_NOTE_BYTES, out);
    w->noted = synced;
    return WAL_RECORD_HEADER_BYTES + WAL_NOTE_BYTES;
}

static int write_bytes(struct wal *w, struct iovec *v, int n, size_t bytes, struct err *err)
{
    int rc = write_vector(w->fd, v, n, err);

    if (rc < 0)
        return err_wrap(err, wal_kill(w, rc), "log of shard %" PRIu32 ", segment %08" PRIu64,
                        w->shard, atomic_load(&w->number));
    atomic_fetch_add(&w->offset, bytes);
    atomic_fetch_add(&w->total, bytes);
    return 0;
}

int wal_append_note(struct wal *w, struct err *err)
{
    uint8_t note[WAL_RECORD_HEADER_BYTES + WAL_NOTE_BYTES];
    struct iovec v = {note, note_fill(w, note)};

    return v.iov_len ? write_bytes(w, &v, 1, v.iov_len, err) : 0;
}

int wal_append(struct wal *w, enum wal_type type, const struct str *parts, size_t n,
               int64_t t_max_ms, struct err *err)
{
    uint8_t note[WAL_RECORD_HEADER_BYTES + WAL_NOTE_BYTES], header[WAL_RECORD_HEADER_BYTES];
    struct iovec v[WAL_PARTS_MAX + 2];
    size_t length = 0, note_bytes;
    int vectors = 0, rc;

    ASSERT(type >= 1 && type <= WAL_TYPE_MAX && n >= 1 && n <= WAL_PARTS_MAX);
    if (atomic_load(&w->dead))
        return wal_dead(err);
    for (size_t i = 0; i < n; i++)
        if (size_add_overflows(length, parts[i].n, &length) || length > WAL_RECORD_BYTES_MAX)
            return err_set(err, RC_LIMIT, "a record of more than %d bytes", WAL_RECORD_BYTES_MAX);
    ASSERT(length > 0);
    if (atomic_load(&w->offset) > WAL_HEADER_BYTES &&
        atomic_load(&w->offset) + length + sizeof note + sizeof header > WAL_SEGMENT_BYTES) {
        rc = wal_rotate(w, err);
        if (rc < 0)
            return rc;
    }
    note_bytes = note_fill(w, note);
    wal_record_header((uint8_t)type, parts, n, length, header);
    if (note_bytes)
        v[vectors++] = (struct iovec){note, note_bytes};
    v[vectors++] = (struct iovec){header, sizeof header};
    for (size_t i = 0; i < n; i++)
        if (parts[i].n)
            v[vectors++] = (struct iovec){(void *)parts[i].p, parts[i].n};
    w->t_max_ms = MAX(w->t_max_ms, t_max_ms);
    return write_bytes(w, v, vectors, note_bytes + sizeof header + length, err);
}

int wal_sync(struct wal *w, struct err *err)
{
    uint64_t want = atomic_load(&w->total), total, offset;
    int rc = 0;

    if (atomic_load(&w->dead))
        return wal_dead(err);
    mutex_lock(&w->sync_lock);
    if (atomic_load(&w->dead)) {
        rc = wal_dead(err);
    } else if (w->synced_total < want) {
        total = atomic_load(&w->total);
        offset = atomic_load(&w->offset);
        rc = fd_sync(w->fd, err);
        if (rc < 0) {
            wal_kill(w, rc);
        } else {
            w->synced_total = total;
            atomic_store(&w->synced, offset);
        }
    }
    mutex_unlock(&w->sync_lock);
    return rc < 0 ? err_wrap(err, rc, "log of shard %" PRIu32, w->shard) : 0;
}

uint64_t wal_segment(struct wal *w)
{
    return atomic_load(&w->number);
}

struct wal_position wal_end(struct wal *w)
{
    return (struct wal_position){atomic_load(&w->number), atomic_load(&w->offset)};
}

uint64_t wal_bytes_since(struct wal *w, struct wal_position p)
{
    uint64_t bytes = 0;

    mutex_lock(&w->lock);
    for (size_t i = 0; i < w->full.n; i++)
        if (w->full.v[i].number >= p.segment)
            bytes += w->full.v[i].bytes;
    bytes += atomic_load(&w->offset);
    mutex_unlock(&w->lock);
    return bytes - MIN(bytes, p.offset);
}

uint64_t wal_bytes(struct wal *w)
{
    uint64_t bytes;

    mutex_lock(&w->lock);
    bytes = w->full_bytes + w->checkpoint_bytes + atomic_load(&w->offset);
    mutex_unlock(&w->lock);
    return bytes;
}
