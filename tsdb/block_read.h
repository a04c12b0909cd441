/* block_read.h - the inside of an open block, shared by block_read.c (tables, series), block_select.c (matchers) and block_verify.c.
 * A reader may be used by many threads; a cursor, a symbol cache and a scan by one. All errors that leave here name the block; RC_CORRUPT also names
 * file and key. */
#pragma once
#include "common/shim/shim_rocksdb.h"
#include "common/sys/thread.h"
#include "tsdb/block_format.h"

#include <stdatomic.h>

struct block_source {
    struct block_reader *reader;
    int file;
};
struct block_reader {
    atomic_uint refs;
    struct bucket *bucket; /* --- read-only after open --- */
    struct block_meta meta;
    struct block_source sources[BLOCK_FILES];
    struct mutex lock;
    struct shim_table *tables[BLOCK_FILES]; /* opened on first use; guarded by lock, never closed before the reader */
};

int block_table(struct block_reader *r, int file, struct shim_table **ret, struct err *err);
int block_shim_error(const struct block_reader *r, int file, int shim_rc, const char *why, struct err *err);

/* --- a position in one table --- */
struct block_cursor {
    struct block_reader *reader;
    int file;
    struct shim_iter *it;
};
/* stream: one pass over much: reads ahead, leaves the cache alone. */
int block_cursor_init(struct block_cursor *c, struct block_reader *r, int file, bool stream, struct err *err);
void block_cursor_fini(struct block_cursor *c);
/* 1: on the first key >= key (next: on the next key); 0: past the end. */
int block_cursor_seek(struct block_cursor *c, struct str key, struct err *err);
int block_cursor_next(struct block_cursor *c, struct err *err);
struct str block_cursor_key(const struct block_cursor *c);
/* Payload at the position, its checksum checked; borrowed until the cursor moves. */
int block_cursor_payload(struct block_cursor *c, struct str *ret, struct err *err);
/* 1: *ret is the payload of exactly this key; 0: there is no such key. */
int block_cursor_get(struct block_cursor *c, struct str key, struct str *ret, struct err *err);
/* Puts block, file and key in front of the error text. */
int block_cursor_wrap(const struct block_cursor *c, struct str key, int rc, struct err *err);

/* --- the symbols of one tenant, page by page as they are needed, kept in an arena --- */
struct block_symbols {
    struct block_cursor cursor;
    struct str tenant;
    struct arena *arena;
    struct buf key;
    struct str **pages; /* [page][BLOCK_PAGE_SYMBOLS]; p NULL past the last symbol */
    size_t page_cap;
};
int block_symbols_init(struct block_symbols *s, struct block_reader *r, struct str tenant, struct arena *a, struct err *err);
void block_symbols_fini(struct block_symbols *s);
int block_symbols_get(struct block_symbols *s, uint32_t symbol, struct str *ret, struct err *err);

/* --- the series of one tenant --- */
struct block_scan {
    struct block_reader *reader;
    struct str tenant; /* borrowed */
    struct block_cursor series, chunks;
    struct block_symbols symbols;
    struct arena *arena;  /* symbols; its budget bounds the scan as a whole */
    struct arena scratch; /* the series at hand */
    struct buf key;
    uint32_t shard, shard_count; /* records of other shards are not decoded: see block_scan_record; count 0: all are */
    uint32_t next;        /* ordinal the series cursor would come to with one step; UINT32_MAX: unknown */
};
int block_scan_init(struct block_scan *s, struct block_reader *r, struct str tenant, struct arena *a, bool stream, struct err *err);
void block_scan_fini(struct block_scan *s);
/* The record of a series, in scratch (which is emptied first). Of one of another shard than the scan's only fp is set. 1; 0 when past the tenant's last ordinal and may_end, else RC_CORRUPT. */
int block_scan_record(struct block_scan *s, uint32_t ordinal, bool may_end, struct block_series *ret, struct err *err);
/* Makes *ret, in scratch, from the record: its windows that touch [mint, maxt], with chunks in mode STORE_DATA, none in mode STORE_LABELS. 1; 0 when no window does. */
int block_scan_series(struct block_scan *s, uint32_t ordinal, const struct block_series *rec, enum store_mode mode,
                      int64_t mint_ms, int64_t maxt_ms, struct stored_series *ret, struct err *err);
