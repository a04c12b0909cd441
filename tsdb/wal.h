/* wal.h - the write-ahead log of one head shard: segments of records, written by one thread.
 * A record is valid iff its length is in bounds and its CRC32C matches. An invalid record at the end of the last segment is a torn write and ends the
 * log there (the file is cut); anywhere else it is corruption and is reported with segment and offset. Layout in wal.c.
 * Sync: WAL_INTERVAL lets wal_sync() be called by a timer (a killed process loses nothing, a power cut at most the interval); WAL_ALWAYS: the caller calls
 * wal_sync() before it answers (group commit: one sync covers every record written before it). After a failed write or sync the log is dead for
 * good: each further call answers RC_IO, nothing is acknowledged again from it. */
#pragma once
#include "common/base/buf.h"
#include "common/base/err.h"

enum { WAL_SEGMENT_BYTES = 128 << 20, WAL_RECORD_BYTES_MAX = 64 << 20 };
enum wal_sync { WAL_INTERVAL, WAL_ALWAYS };

enum wal_type {
    WAL_SERIES = 1,   /* labels of new series */
    WAL_SAMPLES = 2,  /* a shard's part of a push and the bitmap of its accepted rows */
    WAL_HISTOGRAMS = 3,
    WAL_SEAL = 4,     /* head_seal(below, set) happened here */
    WAL_PUBLISHED = 5,/* set's block is in the index at this generation */
    WAL_DROPPED = 6,
    WAL_METADATA = 7,
    WAL_EXEMPLARS = 8,
    WAL_HEAD = 9,     /* head id; first record of every segment */
};

struct wal;
/* Opens dir for appending behind what replay found valid (wal_replay must have run). max_t_ms bookkeeping of old segments is kept by the caller's fn results. */
int wal_open(const char *dir, struct wal **ret, struct err *err);
void wal_close(struct wal *w);
/* Appends one record made of parts (writev; not copied). t_max_ms: newest sample time in it, INT64_MIN when none. Rotates segments when full. */
int wal_append(struct wal *w, enum wal_type type, const struct str *parts, size_t n, int64_t t_max_ms, struct err *err);
int wal_sync(struct wal *w, struct err *err);       /* fdatasync; any thread */
int wal_rotate(struct wal *w, struct err *err);
uint64_t wal_segment(const struct wal *w);           /* number of the segment being written */
uint64_t wal_bytes(const struct wal *w);             /* on disk, all segments */
/* Writes a checkpoint (labels of live series, and whatever fn emits) that replaces all segments < below whose newest sample is older than t_ms, then deletes
 * those. emit is called with a function to add records. Crash-safe: temporary name, sync, rename, then delete. */
typedef int wal_emit_fn(void *emit_arg, enum wal_type type, struct str payload);
int wal_checkpoint(struct wal *w, uint64_t below, int64_t t_ms, int (*fill)(void *arg, wal_emit_fn *emit, void *emit_arg), void *arg, struct err *err);

/* Replays checkpoint and segments in order. fn's negative return stops. progress may be NULL. Cuts a torn tail. */
struct wal_replay_stats {
    uint64_t records, bytes, segments, torn_bytes;
};
int wal_replay(const char *dir, int (*fn)(void *arg, enum wal_type type, struct str payload), void (*progress)(void *arg, uint64_t done, uint64_t total),
               void *arg, struct wal_replay_stats *ret, struct err *err);

/* --- payloads (all begin with a u8 version) --- */
/* SERIES: lstr tenant, uvarint n, n x { fp (hi, lo u64), labels_encode }.
 * SAMPLES: lstr tenant, u32 n, fps 16n, i64 base, u32 offsets 4n, values 8n, u8 has_st [, i64 8n], bitmap (n+7)/8 of accepted rows. */
struct wal_samples {
    struct str tenant;
    uint32_t n;
    const uint8_t *fps, *offsets, *values, *starts /* or NULL */, *accepted;
    int64_t base_ms;
};
/* Fills head[] (a small scratch buffer owned by the caller) and parts for wal_append without copying the columns. Returns the number of parts. */
enum { WAL_SAMPLES_PARTS = 10, WAL_SAMPLES_HEAD = 512 };
size_t wal_samples_parts(const struct wal_samples *s, uint8_t head[WAL_SAMPLES_HEAD], struct str parts[WAL_SAMPLES_PARTS]);
int wal_samples_decode(struct str payload, struct wal_samples *ret, struct err *err);
