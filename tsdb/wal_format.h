/* wal_format.h - bytes of the log on disk, shared by its writer and reader; nobody else includes it.
 *
 * Files of a shard's directory: <number, 8 digits or more>.wal segments, counting up from 1 without
 * gaps; in directories of older versions <number>.checkpoint, which stands for all segments below that
 * number (head images do now: it is read, and removed behind the first image). Both begin with a
 * header and go on with records; all little-endian.
 *
 * Header: 0 magic "torcWAL\n" | 8 version u16 | 10 kind u16 (enum wal_kind) | 12 shard u32
 *   | 16 number u64 | 24 head id u64 | 32 bytes of the segment before u64 (0: there was none)
 *   | 40 zero u32 | 44 crc32c u32 of bytes [0, 44)
 * Record: 0 crc32c u32 | 4 length u32 | 8 type u8 | 9 zero u8[3] | 12 payload[length]
 *   Valid iff 0 < length <= WAL_RECORD_BYTES_MAX, the type is known, zeros are zero and crc32c
 *   matches bytes [4, 12 + length).
 * Records of the log itself:
 *   SYNCED  u64 offset, u64 ~offset: bytes of this segment below offset are on disk. An invalid
 *           record below the offset of a SYNCED record that stands anywhere behind it is damage,
 *           not a torn write.
 *   END     u64 records before it: the last record of a checkpoint, which is never torn because it
 *           is renamed into place.
 * A last segment shorter than its header was cut by force: it counts as torn from its first byte. */
#pragma once
#include "common/base/bytes.h"
#include "common/base/hash.h"
#include "tsdb/wal.h"

enum { WAL_VERSION = 1, WAL_HEADER_BYTES = 48, WAL_RECORD_HEADER_BYTES = 12, WAL_NOTE_BYTES = 16 };
enum wal_kind { WAL_KIND_SEGMENT = 1, WAL_KIND_CHECKPOINT = 2 };
enum { WAL_SYNCED = 0x40, WAL_END = 0x41 };

struct wal_header {
    enum wal_kind kind;
    uint32_t shard;
    uint64_t number, head_id, previous_bytes;
};
void wal_header_encode(const struct wal_header *h, uint8_t out[WAL_HEADER_BYTES]);
/* RC_CORRUPT, RC_VERSION. */
int wal_header_decode(const uint8_t p[WAL_HEADER_BYTES], struct wal_header *ret, struct err *err);

/* Fills out for a payload made of parts. */
void wal_record_header(uint8_t type, const struct str *parts, size_t n, size_t length,
                       uint8_t out[WAL_RECORD_HEADER_BYTES]);
void wal_note_encode(uint64_t offset, uint8_t out[WAL_NOTE_BYTES]);

/* Reads records from a file, or from memory (fd -1). */
struct wal_reader {
    int fd;
    char *buf; /* memory: borrowed; file: owned, grows to the largest record */
    size_t at, end, cap;
    uint64_t offset; /* in the file, of the record to come */
    bool eof;
};
void wal_reader_init(struct wal_reader *r, int fd);
void wal_reader_init_memory(struct wal_reader *r, struct str bytes);
void wal_reader_fini(struct wal_reader *r);
/* Goes on at this offset of the file, before anything behind the header was read. RC_CORRUPT: the file is shorter. */
int wal_reader_seek(struct wal_reader *r, uint64_t offset, struct err *err);
enum wal_read { WAL_READ_RECORD, WAL_READ_END, WAL_READ_INVALID };
/* Next n bytes, or NULL when there are fewer. RC_IO, RC_NOMEM. */
int wal_reader_take(struct wal_reader *r, size_t n, const uint8_t **ret, struct err *err);
/* Next record (borrowed until the next call). After INVALID the reader stays at the record, and
 * *ret_why says what is wrong. */
int wal_reader_next(struct wal_reader *r, enum wal_read *ret, uint8_t *ret_type,
                    struct str *ret_payload, const char **ret_why, struct err *err);
/* From the reader's place on: the largest offset a valid SYNCED record tells, 0 when there is none.
 * Reads to the end. */
int wal_reader_synced(struct wal_reader *r, uint64_t *ret, struct err *err);

/* Records of one segment in memory, as replay sees them: for the fuzz target. last: it is the last
 * segment. *ret_valid: bytes up to the torn tail. */
int wal_segment_scan(struct str bytes, const struct wal_header *want, bool last, wal_record_fn *fn,
                     void *arg, uint64_t *ret_valid, struct err *err);

/* "00000012.wal" -> 12; 0 when it is no such name. */
uint64_t wal_name_number(const char *name, const char *suffix);
/* dir/<number><suffix> into out; RC_INVALID when too long. */
int wal_path(const char *dir, uint64_t number, const char *suffix, char *out, size_t cap,
             struct err *err);
#define WAL_SEGMENT_SUFFIX    ".wal"
#define WAL_CHECKPOINT_SUFFIX ".checkpoint"
