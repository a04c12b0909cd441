/* wal.h - the write-ahead log of one head shard: segments of records, written by one thread.
 * A record is valid iff its length is in bounds and its CRC32C matches. An invalid record in the last
 * segment, past what is known to have been synced, is a torn write and ends the log there (the file
 * is cut); anywhere else it is corruption and is reported with segment and offset. A segment of
 * another shard, another head, another number or of a wrong length is refused by its header. Layout
 * in wal_format.h.
 *
 * Life: wal_replay, then wal_open with what it found, then appends; once per directory at a time (the
 * caller holds the lock of the data directory).
 * Sync: WAL_INTERVAL lets wal_sync() be called by a timer (a killed process loses nothing, a power
 * cut at most the interval); WAL_ALWAYS: the caller calls wal_sync() before it answers (group commit:
 * one sync covers every record written before it). After a failed write or sync the log is dead for
 * good: each further call answers RC_IO, nothing is acknowledged again from it. A full disk need not
 * come to that: wal_reserve.
 * Threads: one appender (wal_append, wal_reserve, wal_rotate, wal_close); wal_sync, wal_segment, wal_bytes from
 * any; wal_cut from one at a time. */
#pragma once
#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/vec.h"

enum {
    WAL_SEGMENT_BYTES = 128 << 20,
    WAL_RECORD_BYTES_MAX = 64 << 20,
    WAL_PARTS_MAX = 16,
    WAL_SEGMENTS_MAX = 1 << 16,
    WAL_RESERVE_BYTES = 1 << 20, /* allocated ahead of the end */
    WAL_UPKEEP_BYTES = 64 << 10  /* of them left to records that nobody reserves room for */
};
enum wal_sync { WAL_INTERVAL, WAL_ALWAYS };

/* Payloads: wal_payload.h */
enum wal_type {
    WAL_SERIES = 1,  /* labels of new series */
    WAL_SAMPLES = 2, /* a shard's part of a push and the bitmap of its accepted rows */
    WAL_HISTOGRAMS = 3,
    WAL_SEAL = 4,      /* head_seal(below, set) happened here */
    WAL_PUBLISHED = 5, /* set's block is in the index at this generation */
    WAL_DROPPED = 6,
    WAL_METADATA = 7,
    WAL_EXEMPLARS = 8,
    WAL_TYPE_MAX = 8, /* of callers; the log's own records are in wal_format.h */
};

/* A place between records: of a segment, so many bytes from its beginning. */
struct wal_position {
    uint64_t segment, offset;
};
static inline int wal_position_cmp(struct wal_position a, struct wal_position b)
{
    if (a.segment != b.segment)
        return a.segment < b.segment ? -1 : 1;
    return (a.offset > b.offset) - (a.offset < b.offset);
}

/* --- replay --- */
struct wal_segment_info {
    uint64_t number, bytes;
    int64_t t_max_ms; /* newest sample in it, INT64_MIN when none */
};
struct wal_replay_stats {
    uint64_t records, bytes, torn_bytes;
    uint64_t head_id;    /* 0: the log is empty, no head has written here */
    uint64_t checkpoint; /* number of the first segment behind it; 0: none */
    VEC(struct wal_segment_info) segments; /* those before cfg.from too */
};
void wal_replay_stats_fini(struct wal_replay_stats *s);
/* Gets each record once, in order. *ret_t_max_ms (preset to INT64_MIN): newest sample time in it. A
 * negative return stops and is passed on. */
typedef int wal_record_fn(void *arg, enum wal_type type, struct str payload, int64_t *ret_t_max_ms,
                          struct err *err);
struct wal_replay_cfg {
    const char *dir; /* need not exist */
    uint32_t shard;
    struct wal_position from; /* a head image has what is before it; segment 0: everything is read */
    struct wal_position *at;  /* set to the end of each record before fn gets it; may be NULL */
    wal_record_fn *fn;
    void (*progress)(void *arg, uint64_t done, uint64_t total); /* bytes; may be NULL */
    void *arg;
};
/* Replays checkpoint and segments in order, cuts a torn tail, removes what a crash left behind. One
 * record and a read buffer of memory. ret is filled on success only. RC_CORRUPT, RC_VERSION, RC_IO.
 * */
int wal_replay(const struct wal_replay_cfg *cfg, struct wal_replay_stats *ret, struct err *err);

/* --- writing --- */
struct wal;
struct wal_cfg {
    const char *dir; /* made when missing; copied */
    uint32_t shard;
    uint64_t head_id; /* not 0; as found by replay unless that was 0 (another one: RC_INVALID) */
};
/* Goes on behind what replay found; RC_INVALID when the files are not as it left them. */
int wal_open(const struct wal_cfg *cfg, const struct wal_replay_stats *found, struct wal **ret,
             struct err *err);
/* Syncs, unless dead; what fails here is only what a power cut now would lose. NULL is fine. */
void wal_close(struct wal *w);
/* Appends one record made of parts (writev; not copied), 1..WAL_PARTS_MAX of them, together
 * 1..WAL_RECORD_BYTES_MAX bytes (RC_LIMIT past it, the log stays alive). t_max_ms: newest sample
 * time in it, INT64_MIN when none. Rotates segments when full. */
int wal_append(struct wal *w, enum wal_type type, const struct str *parts, size_t n,
               int64_t t_max_ms, struct err *err);
/* Room on disk for records of that many bytes, headers included, before what they tell is done: 0, or RC_UNAVAILABLE when the disk
 * (or a quota) is full, and then the log lives on. Where the file system cannot promise room, 0 promises none. (appender) */
int wal_reserve(struct wal *w, size_t bytes, struct err *err);
/* Everything appended before the call is on disk when it returns 0. */
int wal_sync(struct wal *w, struct err *err);
int wal_rotate(struct wal *w, struct err *err);
uint64_t wal_segment(struct wal *w); /* number of the segment being written */
uint64_t wal_bytes(struct wal *w);   /* on disk, all segments and the checkpoint */
/* Behind the last record; exact while nothing is appended. */
struct wal_position wal_end(struct wal *w);
uint64_t wal_bytes_since(struct wal *w, struct wal_position p); /* appended behind p */

/* For whoever makes records: emit's failures are to be passed on. */
typedef int wal_emit_fn(void *emit_arg, enum wal_type type, struct str payload, struct err *err);
/* Removes the segments below, and a checkpoint of no more than them: a head image has what they held. Oldest first, so that
 * a missing one is always an error; a failure leaves the rest, and the log alive. */
int wal_cut(struct wal *w, uint64_t below, struct err *err);
