/* Reading the log back. */
#include "common/base/fault.h"
#include "common/base/planted.h"
#include "common/sys/fs.h"
#include "tsdb/wal_format.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

void wal_replay_stats_fini(struct wal_replay_stats *s)
{
    vec_fini(&s->segments);
}

/* --- one file --- */
struct scan {
    const struct wal_header *want; /* head_id 0: any; previous_bytes is not compared here */
    bool last;
    uint64_t from; /* offset of the first record that is read; 0: behind the header */
    struct wal_position *at;
    wal_record_fn *fn;
    void *arg;
    void (*progress)(void *arg, uint64_t valid); /* may be NULL */
    void *progress_arg;
    /* out */
    struct wal_header header;
    uint64_t valid; /* bytes up to the torn tail */
    uint64_t records;
    int64_t t_max_ms;
};

static int scan_header(struct wal_reader *r, struct scan *s, struct err *err)
{
    const struct wal_header *want = s->want;
    const uint8_t *p;
    int rc = wal_reader_take(r, WAL_HEADER_BYTES, &p, err);

    if (rc < 0)
        return rc;
    if (!p && s->last && want->kind == WAL_KIND_SEGMENT) {
        s->header = *want;
        return 0;
    }
    if (!p)
        return err_set(err, RC_CORRUPT, "header cut short");
    rc = wal_header_decode(p, &s->header, err);
    if (rc < 0)
        return rc;
    if (s->header.kind != want->kind)
        return err_set(err, RC_CORRUPT, "segment and checkpoint mixed up");
    if (s->header.number != want->number)
        return err_set(err, RC_CORRUPT, "this is number %" PRIu64 ", not %" PRIu64,
                       s->header.number, want->number);
    if (s->header.shard != want->shard)
        return err_set(err, RC_CORRUPT, "this is of shard %" PRIu32 ", not %" PRIu32,
                       s->header.shard, want->shard);
    if (want->head_id && s->header.head_id != want->head_id)
        return err_set(err, RC_CORRUPT,
                       "this is of another head (%016" PRIx64 ", not %016" PRIx64 ")",
                       s->header.head_id, want->head_id);
    s->valid = WAL_HEADER_BYTES;
    if (s->from > s->valid) {
        rc = wal_reader_seek(r, s->from, err);
        s->valid = s->from;
    }
    return rc;
}

static int scan_invalid(struct wal_reader *r, struct scan *s, const char *why, struct err *err)
{
    uint64_t at = r->offset, synced = UINT64_MAX;

    if (s->last && s->want->kind == WAL_KIND_SEGMENT) {
        int rc = wal_reader_synced(r, &synced, err);

        if (rc < 0)
            return rc;
    }
    if (synced > at)
        return err_set(err, RC_CORRUPT, "offset %" PRIu64 ": %s", at, why);
    return 0;
}

/* Segment or checkpoint. */
static int scan_file(struct wal_reader *r, struct scan *s, struct err *err)
{
    bool checkpoint = s->want->kind == WAL_KIND_CHECKPOINT, ended = false;
    uint64_t before = 0; /* of the last record */
    int rc;

    s->t_max_ms = INT64_MIN;
    s->valid = s->records = 0;
    rc = scan_header(r, s, err);
    while (rc == 0 && s->valid) {
        int64_t t_max_ms = INT64_MIN;
        enum wal_read what;
        struct str payload;
        const char *why;
        uint8_t type;

        rc = wal_reader_next(r, &what, &type, &payload, &why, err);
        if (rc < 0)
            break;
        if (what == WAL_READ_END) {
            if (PLANTED("skip-last-record") && before)
                s->valid = before;
            break;
        }
        if (what == WAL_READ_INVALID)
            return scan_invalid(r, s, why, err);
        if (ended || (checkpoint ? type == WAL_SYNCED : type == WAL_END))
            return err_set(err, RC_CORRUPT, "offset %" PRIu64 ": record of type %d out of place",
                           s->valid, type);
        if (type == WAL_END) {
            CORRUPT_UNLESS(payload.n == 8 && le_get64(payload.p) == s->records, err);
            ended = true;
        } else if (type != WAL_SYNCED) {
            if (s->at)
                *s->at = (struct wal_position){s->want->number, r->offset};
            rc = s->fn(s->arg, type, payload, &t_max_ms, err);
            if (rc < 0)
                return err_wrap(err, rc, "offset %" PRIu64 ": record of type %d", s->valid, type);
            s->records++;
            s->t_max_ms = MAX(s->t_max_ms, t_max_ms);
        }
        if (type != WAL_SYNCED)
            before = s->valid;
        s->valid = r->offset;
        if (s->progress)
            s->progress(s->progress_arg, s->valid);
    }
    if (rc == 0 && checkpoint && !ended)
        return err_set(err, RC_CORRUPT, "the end of the checkpoint is missing");
    return rc;
}

int wal_segment_scan(struct str bytes, const struct wal_header *want, bool last, wal_record_fn *fn,
                     void *arg, uint64_t *ret_valid, struct err *err)
{
    struct scan s = {.want = want, .last = last, .fn = fn, .arg = arg};
    struct wal_reader r;
    int rc;

    wal_reader_init_memory(&r, bytes);
    rc = scan_file(&r, &s, err);
    wal_reader_fini(&r);
    if (rc == 0)
        *ret_valid = s.valid;
    return rc;
}

/* --- the directory --- */
struct listed {
    VEC(struct wal_segment_info) segments; /* ascending; bytes are sizes of files */
    uint64_t checkpoint, checkpoint_bytes; /* the newest one; 0: none */
    fs_names names;
};

static int by_number(const void *a, const void *b)
{
    uint64_t x = ((const struct wal_segment_info *)a)->number,
             y = ((const struct wal_segment_info *)b)->number;

    return (x > y) - (x < y);
}

static int file_size(const char *dir, const char *name, uint64_t *ret, struct err *err)
{
    char path[PATH_MAX];
    struct stat st;

    if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) >= sizeof path)
        return err_set(err, RC_INVALID, "path too long: %.64s...", dir);
    if (stat(path, &st) != 0)
        return err_sys(err, RC_IO, "stat %s", path);
    *ret = (uint64_t)st.st_size;
    return 0;
}

static int list_dir(const char *dir, struct listed *l, struct err *err)
{
    int rc = fs_list(dir, &l->names, err);

    if (rc == RC_NOT_FOUND)
        return 0;
    for (size_t i = 0; rc == 0 && i < l->names.n; i++) {
        const char *name = l->names.v[i];
        uint64_t segment = wal_name_number(name, WAL_SEGMENT_SUFFIX),
                 checkpoint = wal_name_number(name, WAL_CHECKPOINT_SUFFIX);
        uint64_t bytes = 0;

        if (segment || checkpoint)
            rc = file_size(dir, name, &bytes, err);
        if (segment)
            *vec_push(&l->segments) = (struct wal_segment_info){segment, bytes, INT64_MIN};
        if (checkpoint > l->checkpoint) {
            l->checkpoint = checkpoint;
            l->checkpoint_bytes = bytes;
        }
        if (l->segments.n > WAL_SEGMENTS_MAX)
            return err_set(err, RC_LIMIT, "%s: more than %d segments", dir, WAL_SEGMENTS_MAX);
    }
    if (l->segments.n)
        qsort(l->segments.v, l->segments.n, sizeof *l->segments.v, by_number);
    return rc;
}

/* What the checkpoint replaced and what was never finished. */
static int remove_leftovers(const char *dir, const struct listed *l, struct err *err)
{
    char path[PATH_MAX];
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < l->names.n; i++) {
        const char *name = l->names.v[i];
        uint64_t segment = wal_name_number(name, WAL_SEGMENT_SUFFIX),
                 checkpoint = wal_name_number(name, WAL_CHECKPOINT_SUFFIX);
        bool temporary =
            strstr(name, WAL_SEGMENT_SUFFIX ".tmp") || strstr(name, WAL_CHECKPOINT_SUFFIX ".tmp");

        if (!temporary && !(segment && segment < l->checkpoint) &&
            !(checkpoint && checkpoint < l->checkpoint))
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, name);
        rc = fs_remove(path, err);
    }
    return rc;
}

struct replay {
    const struct wal_replay_cfg *cfg;
    struct wal_replay_stats stats;
    uint64_t total, done; /* bytes; done: of files that are read, and up to where this one is */
    uint64_t file_done, told;
};

enum { PROGRESS_BYTES = 1 << 20 };

static void report(const struct replay *rp)
{
    if (rp->cfg->progress)
        rp->cfg->progress(rp->cfg->arg, rp->done, rp->total);
}

static void file_progress(void *arg, uint64_t valid)
{
    struct replay *rp = arg;

    if (valid - rp->told < PROGRESS_BYTES)
        return;
    rp->told = valid;
    rp->done = rp->file_done + valid;
    report(rp);
}

static int replay_file(struct replay *rp, const struct wal_header *want, bool last,
                       struct scan *ret, struct err *err)
{
    bool checkpoint = want->kind == WAL_KIND_CHECKPOINT;
    struct scan s = {.want = want, .last = last, .at = rp->cfg->at, .fn = rp->cfg->fn, .arg = rp->cfg->arg,
                     .progress = file_progress, .progress_arg = rp};
    struct wal_reader r;
    char path[PATH_MAX];
    int rc = wal_path(rp->cfg->dir, want->number,
                      checkpoint ? WAL_CHECKPOINT_SUFFIX : WAL_SEGMENT_SUFFIX, path, sizeof path,
                      err),
        fd;

    if (rc < 0)
        return rc;
    if (!checkpoint && want->number == rp->cfg->from.segment)
        s.from = rp->cfg->from.offset;
    rp->told = s.from;
    rp->file_done = rp->done - s.from;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, RC_IO, "open %s", path);
    wal_reader_init(&r, fd);
    rc = scan_file(&r, &s, err);
    wal_reader_fini(&r);
    close(fd);
    if (rc < 0)
        return err_wrap(err, rc, "%s", path);
    rp->stats.head_id = s.valid ? s.header.head_id : rp->stats.head_id;
    rp->stats.records += s.records;
    rp->stats.bytes += s.valid;
    rp->done = rp->file_done + s.valid;
    *ret = s;
    return 0;
}

static int cut(const char *dir, const struct wal_segment_info *segment, uint64_t valid,
               struct err *err)
{
    char path[PATH_MAX];
    int rc = wal_path(dir, segment->number, WAL_SEGMENT_SUFFIX, path, sizeof path, err), fd;

    if (rc < 0)
        return rc;
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, RC_IO, "open %s", path);
    FAULT(FAULT_IO, rc = err_set(err, RC_IO, "fault: truncate %s", path));
    if (rc == 0 && (ftruncate(fd, (off_t)valid) != 0 || fsync(fd) != 0))
        rc = err_sys(err, RC_IO, "truncate %s", path);
    close(fd);
    return rc;
}

static int replay_segments(struct replay *rp, const struct listed *l, struct err *err)
{
    uint64_t first = MAX(l->checkpoint, MAX(rp->cfg->from.segment, 1U)), next = first, previous_bytes = 0;
    struct scan s;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < l->segments.n; i++) {
        struct wal_segment_info info = l->segments.v[i];
        struct wal_header want = {WAL_KIND_SEGMENT, rp->cfg->shard, info.number, rp->stats.head_id,
                                  0};
        bool last = i + 1 == l->segments.n;

        if (info.number < first) {
            if (rp->cfg->from.segment)
                *vec_push(&rp->stats.segments) = info;
            continue;
        }
        if (info.number != next)
            return err_set(err, RC_CORRUPT, "%s: segment %08" PRIu64 " is missing", rp->cfg->dir,
                           next);
        rc = replay_file(rp, &want, last, &s, err);
        if (rc < 0)
            return rc;
        if (s.valid && previous_bytes && s.header.previous_bytes != previous_bytes)
            return err_set(err, RC_CORRUPT,
                           "%s: segment %08" PRIu64 " has %" PRIu64 " bytes, it had %" PRIu64,
                           rp->cfg->dir, info.number - 1, previous_bytes, s.header.previous_bytes);
        if (s.valid < info.bytes) {
            rp->stats.torn_bytes += info.bytes - s.valid;
            rc = cut(rp->cfg->dir, &info, s.valid, err);
        }
        report(rp);
        *vec_push(&rp->stats.segments) =
            (struct wal_segment_info){info.number, s.valid, s.t_max_ms};
        previous_bytes = s.valid;
        next++;
    }
    if (rc == 0 && (rp->cfg->from.segment || first > 1) && next == first)
        return err_set(err, RC_CORRUPT, "%s: segment %08" PRIu64 " is missing", rp->cfg->dir, next);
    return rc;
}

int wal_replay(const struct wal_replay_cfg *cfg, struct wal_replay_stats *ret, struct err *err)
{
    struct replay rp = {.cfg = cfg};
    struct listed l = {0};
    struct scan s;
    int rc = list_dir(cfg->dir, &l, err);

    rp.stats.checkpoint = l.checkpoint;
    /* An image stands for what is before it, checkpoint included; an older image may still need that. */
    if (cfg->from.segment)
        l.checkpoint = l.checkpoint_bytes = 0;
    rp.total = l.checkpoint_bytes;
    for (size_t i = 0; i < l.segments.n; i++)
        rp.total += l.segments.v[i].number >= MAX(l.checkpoint, cfg->from.segment) ? l.segments.v[i].bytes : 0;
    rp.total -= MIN(rp.total, cfg->from.offset);
    report(&rp);
    if (rc == 0 && l.checkpoint) {
        struct wal_header want = {WAL_KIND_CHECKPOINT, cfg->shard, l.checkpoint, 0, 0};

        rc = replay_file(&rp, &want, false, &s, err);
        report(&rp);
    }
    if (rc == 0)
        rc = replay_segments(&rp, &l, err);
    /* Last, when everything that stays has been read. */
    if (rc == 0)
        rc = remove_leftovers(cfg->dir, &l, err);
    if (rc == 0)
        *ret = rp.stats;
    else
        wal_replay_stats_fini(&rp.stats);
    vec_fini(&l.segments);
    fs_names_free(&l.names);
    return rc;
}
