/* head_image_format.h - bytes of a head image on disk, shared by its writer and reader; nobody else includes it.
 *
 * An image is the state of one head as its log had made it. It is a set of files in the shard's directory, all with
 * an 8 digit (or longer) number, the image they were written with, in front:
 *   <n>.series  new series of that image: the table of series is all series files of the manifest, ascending
 *   <n>.chunks  windows that were not current any more and had changed since the image before
 *   <n>.state   what changes all the time, of every series: current window, open chunk, late samples; and the list
 *               of its other windows, which are found in the newest chunks file that has them
 *   <n>.image   the manifest: names all of these. Written last, by rename: without it the others are rubbish.
 * Chunks and series files stay until nothing in them is needed or too much of them is not, so that an image writes
 * what is new and what is open, not everything.
 *
 * All little-endian. File: header, frames, the last one of type END.
 * Header: 0 magic "torcIMG\n" | 8 version u16 | 10 kind u16 (enum image_kind) | 12 shard u32 | 16 number u64
 *   | 24 head id u64 | 32 zero u8[12] | 44 crc32c u32 of bytes [0, 44)
 * Frame: 0 crc32c u32 | 4 length u32 | 8 type u8 | 9 zero u8[3] | 12 payload[length]
 *   Valid iff 0 < length <= IMAGE_FRAME_MAX, the type is of this kind of file, zeros are zero and crc32c matches
 *   bytes [4, 12 + length).
 * Payloads. A seq is a series' number in its head, never used again; "seq+" is a uvarint: its distance from the seq
 * before it in the file (from 0 for the first). Entries of one series stand together in one frame. A time in a state
 * is a svarint.
 *   SERIES   uvarint tenants n | n x lstr | uvarint pairs n | n x { uvarint tenant | lstr name | lstr value }
 *            | to the end: { seq+ | fp (hi, lo u64) | uvarint tenant | uvarint labels n | n x uvarint pair }
 *            Tenants and pairs are numbered in the order they come in the file, over all frames.
 *   CHUNKS   to the end: { seq+ | u32 bytes of the windows | 1 or more x window }
 *   STATE    position (segment u64, offset u64): the log's end when these series were looked at; all records before
 *            it are in their state, none behind it
 *            | to the end: { seq+ | u8 flags | newest time, with STATE_NEWEST | with STATE_CURRENT: window
 *              | with STATE_OPEN: chunk_open_save() | with STATE_HISTS: uvarint n | n x { time | start time | lstr }
 *              | with STATE_LATE: uvarint n | n x { time | start time | u64 value bits | u8 is histogram [| lstr] }
 *              | uvarint other windows n | n x { svarint start before - start | uvarint set id } }
 *            The first "start before" is 0.
 *   RECORD   u8 wal type | payload of that type: exemplars and metadata, to be replayed as from the log
 *   MANIFEST position of the log before the first series was looked at | position behind the last | u64 next seq
 *            | i64 newest time | u64 dropped generation | u64 greatest set id
 *            | uvarint sets n | n x { u64 id | u64 generation | i64 below | u8 published }
 *            | uvarint series files n | n x file | uvarint chunks files n | n x file | state file
 *   END      u64 entries in all frames before it
 *   window:  svarint start | uvarint set id (0: in none) | digest (hi, lo u64) | uvarint first time - start
 *            | uvarint last - first | uvarint samples | uvarint chunks n | n x lstr
 *   file:    u64 number | u64 bytes | u64 entries | i64 greatest window start (0 in all but chunks files) */
#pragma once
#include "common/base/buf.h"
#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/vec.h"
#include "tsdb/wal.h"

enum {
    IMAGE_VERSION = 1,
    IMAGE_HEADER_BYTES = 48,
    IMAGE_FRAME_HEADER_BYTES = 12,
    IMAGE_FRAME_MAX = 256 << 20,
    IMAGE_FRAME_USUAL = 128 << 10, /* a frame is written once it has so much */
    IMAGE_FILES_MAX = 512,         /* of one kind in a manifest */
    IMAGE_SETS_MAX = 4096,
    IMAGE_MANIFEST_MAX = 1 << 20,
    IMAGE_FILE_BYTES = 32,
    IMAGE_SET_BYTES = 25,
};
enum image_kind { IMAGE_SERIES = 1, IMAGE_CHUNKS = 2, IMAGE_STATE = 3, IMAGE_MANIFEST = 4 };
enum image_frame {
    FRAME_SERIES = 1,
    FRAME_CHUNKS = 2,
    FRAME_STATE = 3,
    FRAME_RECORD = 4,
    FRAME_MANIFEST = 5,
    FRAME_END = 6
};
enum {
    STATE_NEWEST = 1 << 0,
    STATE_CURRENT = 1 << 1,
    STATE_OPEN = 1 << 2,
    STATE_HISTS = 1 << 3,
    STATE_LATE = 1 << 4,
    STATE_FLAGS = (1 << 5) - 1
};
extern const char *const image_suffix[]; /* by kind */

struct image_header {
    enum image_kind kind;
    uint32_t shard;
    uint64_t number, head_id;
};

struct image_file {
    uint64_t number, bytes, entries;
    int64_t max_start;
};
typedef VEC(struct image_file) image_files;
struct image_set {
    uint64_t id, gen;
    int64_t below_ms;
    bool published;
};
struct image_manifest {
    uint64_t number, head_id; /* of the header */
    struct wal_position from, to;
    uint64_t next_seq, dropped_gen, set_max;
    int64_t max_ms;
    VEC(struct image_set) sets;
    image_files series, chunks;
    struct image_file state;
};
void image_manifest_fini(struct image_manifest *m);
/* The whole manifest file. */
void image_manifest_encode(const struct image_manifest *m, uint32_t shard, struct buf *out);
int image_manifest_decode(struct str bytes, uint32_t shard, struct image_manifest *ret, struct err *err);

/* dir/<number><suffix of kind>; RC_INVALID when too long. */
int image_path(const char *dir, uint64_t number, enum image_kind kind, char *out, size_t cap, struct err *err);

/* "00000012.image" -> 12; 0 when it is no such name. */
uint64_t image_name_number(const char *name, enum image_kind kind);

/* --- writing: header, frames, END; whole on disk after finish --- */
struct image_writer {
    int fd; /* -1: not begun */
    char *path;
    struct buf frame; /* the payload being made */
    uint64_t bytes, entries, number;
};
/* frame_front: fresh bytes of a payload may be put into w->frame at any time; image_writer_frame() closes it. */
int image_writer_open(struct image_writer *w, const char *dir, uint32_t shard, uint64_t head_id, uint64_t number,
                      enum image_kind kind, struct err *err);
/* Nothing happens when the frame is empty. */
int image_writer_frame(struct image_writer *w, enum image_frame type, struct err *err);
int image_writer_finish(struct image_writer *w, struct err *err);
/* Closes; a file that was not finished is removed. NULL path is fine. */
void image_writer_fini(struct image_writer *w);

/* --- reading --- */
struct image_reader {
    int fd; /* -1: memory */
    struct str memory;
    char *buf;
    size_t cap;
    uint64_t at, size, entries;
    enum image_kind kind;
};
/* The file must be as long as the manifest says. RC_CORRUPT, RC_VERSION, RC_IO. */
int image_reader_open(struct image_reader *r, const char *dir, uint32_t shard, uint64_t head_id,
                      const struct image_file *file, enum image_kind kind, struct err *err);
/* bytes: a whole file, borrowed. */
int image_reader_memory(struct image_reader *r, struct str bytes, const struct image_header *want, struct err *err);
void image_reader_fini(struct image_reader *r);
/* 1: a frame, borrowed until the next call; 0: END, which counted r->entries right; the caller adds to them. */
int image_reader_next(struct image_reader *r, enum image_frame *ret_type, struct str *ret, struct err *err);
