/* shim_rocksdb.h - what RocksDB's C API lacks: reading a single table file (SstFileReader) through our own read function, checking its
 * checksums, one block cache for all open tables. Writing tables needs no shim: the C API has it.
 * Functions that can fail return an enum shim_rc and write RocksDB's words, NUL-terminated, into why[SHIM_WHY_MAX].
 * A table may be used by many threads, an iterator by one. */
#pragma once
#include "common/base/str.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SHIM_WHY_MAX = 512 };
enum shim_rc {
    SHIM_OK = 0,
    SHIM_IO = -1,      /* the read function failed, or memory is out; *ret_read_rc (where given) is what it returned */
    SHIM_CORRUPT = -2, /* the bytes are no table, or break a checksum */
};

/* Reads exactly n bytes at offset into out: 0, or negative with words in why. Called from the threads that use the table. */
typedef int shim_read_fn(void *arg, uint64_t offset, size_t n, char *out, char why[SHIM_WHY_MAX]);

/* The cache all tables opened with it share: data, index and meta blocks count against bytes (LRU). */
struct shim_cache;
struct shim_cache *shim_cache_new(size_t bytes);
void shim_cache_free(struct shim_cache *c); /* tables opened with it must be closed before */
void shim_cache_resize(struct shim_cache *c, size_t bytes);
size_t shim_cache_used(const struct shim_cache *c);

struct shim_table;
int shim_table_open(struct shim_cache *c, shim_read_fn *read, void *arg, uint64_t size, struct shim_table **ret,
                    char why[SHIM_WHY_MAX]);
void shim_table_close(struct shim_table *t);
/* Reads every block of the file and checks its checksum. */
int shim_table_verify(struct shim_table *t, char why[SHIM_WHY_MAX]);
struct shim_table_info {
    uint64_t entries, data_bytes, raw_key_bytes, raw_value_bytes;
};
void shim_table_info(const struct shim_table *t, struct shim_table_info *ret);
/* What the read function returned when the last call on this thread gave SHIM_IO, else 0. */
int shim_read_rc(void);

struct shim_iter;
/* readahead 0: RocksDB's own, which grows with sequential use; fill_cache false for one pass over everything. */
int shim_iter_new(struct shim_table *t, size_t readahead, bool fill_cache, struct shim_iter **ret, char why[SHIM_WHY_MAX]);
void shim_iter_free(struct shim_iter *it);
/* To the first key >= key. 1: on a key; 0: past the end; negative: shim_rc. */
int shim_iter_seek(struct shim_iter *it, struct str key, char why[SHIM_WHY_MAX]);
int shim_iter_next(struct shim_iter *it, char why[SHIM_WHY_MAX]); /* the same; only when on a key */
struct str shim_iter_key(const struct shim_iter *it);               /* borrowed until it moves */
struct str shim_iter_value(const struct shim_iter *it);

#ifdef __cplusplus
}
#endif
