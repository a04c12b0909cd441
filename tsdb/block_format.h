/* block_format.h - the keys and values of a block's four table files, written by block_write.c, read by block_read.c.
 * A block lies in the bucket under blocks/<ULID>/: symbols.sst, series.sst, postings.sst, chunks.sst (RocksDB block-based tables, bytewise order, XXH3 per table
 * block) and meta.json (sealed_json.h). Version BLOCK_VERSION stands in meta.json; BLOCK_VERSION_OLDEST and later are read.
 *
 * Every key begins with the tenant and a zero byte (tenant ids have none). Integers in keys are big-endian. Every value ends in a CRC32C (u32, little-endian)
 * over key and payload; a value under another key is thereby corrupt too. Payloads (uv = uvarint, sv = svarint, lstr = uvarint length and bytes):
 *   symbols   tenant 0, page u32                -> uv n, n lstr: symbols page * BLOCK_PAGE_SYMBOLS ...; only the last page may have fewer
 *   series    tenant 0, ordinal u32             -> fp hi u64, lo u64; uv labels, (uv name symbol, uv value symbol) each; uv windows * 2 + (1 with digests);
 *                                                 then columns over the windows: sv mint - maxt of the one before (0); uv maxt - mint; uv samples - 1;
 *                                                 uv chunks * 2 + (1 when it is the first of its group); with digests: hi u64, lo u64.
 *                                                 A window's start is window_start(fp, mint). Digests are kept at level 0, where replicas are compared.
 *   postings  tenant 0, esc(name), value        -> u8 kind; SMALL: uv n, uv first ordinal, uv gap - 1 each; ROARING: portable format of CRoaring
 *             esc(name): each zero byte as 00 FF, then 00 01 as the end. The empty name (no label has it) holds all ordinals of the tenant.
 *   chunks    tenant 0, ordinal u32, start u64  -> uv windows, then per window and chunk: uv bytes * 2 + (1 without its front); then the bytes of all.
 *             A chunk that is alone in its window and whose front (chunk.h) says what the series' record says goes without it.
 *             A group is a run of windows of one series, at least BLOCK_GROUP_BYTES long unless it is the last; start is that of its first
 *             window with the sign bit flipped, so that keys sort by time.
 * Ordinals count the series of a tenant from 0 in label order.
 * Version 1: series: uv windows; then per window: sv start - previous start, sv mint - start, uv maxt - mint, digest hi u64, lo u64, uv samples - 1, uv chunks * 2 + first.
 *   chunks: uv windows, then per window: uv start - group's start, uv chunks, lstr each. */
#pragma once
#include "common/base/arena.h"
#include "common/base/buf.h"
#include "tsdb/block.h"

#include <roaring/roaring.h>

enum {
    BLOCK_VERSION = 2,
    BLOCK_VERSION_OLDEST = 1,
    BLOCK_PAGE_SYMBOLS = 64,
    BLOCK_GROUP_BYTES = 4096,
    BLOCK_TAIL_BYTES = 64, /* at least a footer (53 bytes) */
    BLOCK_KEY_BYTES_MAX = 4 << 20,
    BLOCK_META_BYTES_MAX = 16 << 20,
    BLOCK_SOURCES_MAX = 100000,
    BLOCK_WINDOWS_MAX = 1 << 20, /* of one series: a day has 60 */
    BLOCK_SMALL_POSTINGS = 16,
};
#define BLOCK_TENANT_BYTES_MAX ((size_t)4 << 30)
enum { POSTINGS_SMALL = 0, POSTINGS_ROARING = 1 };

extern const char *const block_file_names[BLOCK_FILES];
/* blocks/<ULID>/<leaf> */
void block_object_name(char out[128], const struct ulid *id, const char *leaf);

/* --- keys: appended to an emptied buffer --- */
void block_key_number(struct buf *out, struct str tenant, uint32_t number); /* symbol page or ordinal */
void block_key_chunks(struct buf *out, struct str tenant, uint32_t ordinal, int64_t start_ms);
void block_key_name(struct buf *out, struct str tenant, struct str name); /* prefix of all postings of name */
void block_key_posting(struct buf *out, struct str tenant, struct str name, struct str value);
/* First key after all postings of name: 00 02 sorts after the end mark 00 01. */
void block_key_after_name(struct buf *out, struct str tenant, struct str name);
int block_key_tenant(struct str key, struct str *ret, struct err *err);
/* name is appended to an emptied buffer without its escapes; value borrows. key is one of tenant's. */
int block_key_split(struct str key, struct str tenant, struct buf *name, struct str *ret_value, struct err *err);
int block_key_ordinal(struct str key, struct str tenant, uint32_t *ret, struct err *err);

/* --- values --- */
void block_value_seal(struct buf *payload, struct str key);
int block_value_open(struct str key, struct str value, struct str *ret_payload, struct err *err);

/* Fills page[0..BLOCK_PAGE_SYMBOLS), borrowing from payload. */
int block_symbols_decode(struct str payload, struct str *page, size_t *ret_n, struct err *err);

struct block_window {
    int64_t start_ms, mint_ms, maxt_ms;
    struct u128 digest; /* zero: not kept */
    uint32_t count, chunk_count;
    bool first; /* of its group */
};
struct block_series {
    fingerprint fp;
    bool digests;
    size_t label_count, window_count;
    uint32_t (*symbols)[2]; /* name, value */
    struct block_window *windows;
};
void block_series_encode(struct buf *out, const struct block_series *s);
/* The fingerprint of an encoded series of 16 bytes or more. */
fingerprint block_series_fp(struct str payload);
int block_series_decode(uint32_t version, struct str payload, struct arena *a, struct block_series *ret, struct err *err);

/* ordinals ascending, n > 0 */
void block_postings_encode(struct buf *out, const uint32_t *ordinals, size_t n);
/* Free with roaring_bitmap_free. Never empty; the shape of the roaring bytes is checked before CRoaring sees them. */
int block_postings_decode(struct str payload, roaring_bitmap_t **ret, struct err *err);

/* The same, added to a set the caller has. */
int block_postings_or(struct str payload, roaring_bitmap_t *into, struct err *err);

/* Chunks of the n windows of a group, as the series' record has them. */
struct block_chunks {
    const struct str *chunks; /* of one window */
    uint32_t n;
};
void block_group_encode(struct buf *out, const struct block_window *windows, const struct block_chunks *chunks, size_t n);
/* Walks them: each window must be asked for, in order. */
struct block_group {
    uint32_t version;
    struct rd rd, bytes; /* sizes; bytes (version 1: both in rd) */
    uint64_t left;
    int64_t start_ms;
};
int block_group_open(uint32_t version, struct str payload, const struct block_window *windows, size_t n, struct block_group *ret, struct err *err);
/* Chunks of window w in the arena, borrowing from the payload where they can. ret NULL: passed over. */
int block_group_next(struct block_group *g, const struct block_window *w, struct arena *a, struct block_chunks *ret, struct err *err);
int block_group_end(const struct block_group *g, struct err *err); /* nothing is left */
