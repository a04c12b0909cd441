/* block.h - an immutable block: samples of a time range as RocksDB table files plus meta.json, in a bucket under blocks/<ULID>/.
 * Key families, each its own sorted table file (layout in block_format.h): symbols; series (tenant, ordinal -> labels, chunk list with digests); postings (tenant, name,
 * value -> compressed ordinals); chunks (tenant, ordinal, window -> bytes). Keys begin with the tenant. Ordinals follow label order per tenant.
 * A block without meta.json does not exist; a block that no index names does not exist for readers. */
#pragma once
#include "tsdb/bucket.h"
#include "tsdb/store.h"

enum { ULID_TEXT = 26, ULID_TAIL = 16 };
struct ulid {
    char text[ULID_TEXT + 1];
};
void ulid_new(struct ulid *ret, int64_t now_ms); /* sortable by time, random tail */
void ulid_of(struct ulid *ret, int64_t time_ms, const uint8_t tail[ULID_TAIL]); /* five bits of each byte */
bool ulid_valid(struct str s);
int64_t ulid_time_ms(const struct ulid *u);

enum { BLOCK_SYMBOLS, BLOCK_SERIES, BLOCK_POSTINGS, BLOCK_CHUNKS, BLOCK_FILES };
struct block_file {
    uint64_t size;
    uint32_t crc32c; /* of the whole file */
    uint32_t tail;   /* CRC32C of its last BLOCK_TAIL_BYTES: the table's footer, which RocksDB does not checksum */
};

/* Which series of its tenant a block has: those with fingerprint mod n == i. n 0: all. */
struct block_shard {
    uint32_t i, n;
    uint64_t empty; /* bits of those of the n for which there is no block, because there are no such series */
};
enum { BLOCK_SHARDS_MAX = 64 };
/* Whether a block may have series with fingerprint mod count == shard. */
bool block_shard_may_have(struct block_shard b, uint32_t shard, uint32_t count);

struct block_meta {
    uint32_t version;
    struct ulid id;
    int64_t mint_ms, maxt_ms;    /* of the samples in it, both included */
    int64_t range_start_ms, range_end_ms; /* the time range it was cut for, [start, end) */
    uint32_t level;              /* 0: from an ingester, all tenants; >= 1: one tenant, merged */
    char tenant[160];            /* level >= 1; "" for level 0 */
    char ingester[128];          /* level 0: who wrote it */
    struct ulid *sources;        /* level >= 1: every level-0 block that went in, directly or not */
    size_t source_count;
    struct block_shard shard;    /* level >= 1 */
    uint64_t series, samples, chunks, bytes, tenants;
    struct block_file files[BLOCK_FILES];
};
int block_meta_encode(const struct block_meta *m, struct buf *out, struct err *err); /* JSON */
int block_meta_decode(struct str json, struct block_meta *ret, struct err *err); /* RC_CORRUPT, RC_VERSION */
void block_meta_fini(struct block_meta *m);

/* --- writing: one pass, series in (tenant, labels) order --- */
struct block_writer;
/* scratch: a local directory for the table files until they are shipped. meta: id, range, level, tenant, ingester, sources are the caller's; counts are filled in. */
int block_writer_new(const char *scratch, const struct block_meta *meta, struct block_writer **ret, struct err *err);
/* Refuses (RC_INVALID) a series out of order, without labels or windows, or a window without chunks. After a failure only free is allowed.
 * Memory: symbols and postings of one tenant at a time, at most BLOCK_TENANT_BYTES_MAX (RC_LIMIT). */
int block_writer_add(struct block_writer *w, struct str tenant, const struct stored_series *s, struct err *err);
/* Finishes the tables (RC_NOT_FOUND when nothing was added), uploads them, meta.json last. ret_meta is filled (block_meta_fini); may be NULL.
 * After a failure the bucket may hold files without meta.json, which is no block. */
int block_writer_ship(struct block_writer *w, struct bucket *b, struct block_meta *ret_meta, struct err *err);
void block_writer_free(struct block_writer *w); /* removes what is left in scratch */

/* --- reading: lazy, ranges from the bucket, bounded memory; any thread --- */
/* Data, index and meta blocks of all open readers share one cache (LRU) for the process, BLOCK_CACHE_BYTES until changed. */
enum { BLOCK_CACHE_BYTES = 64 << 20 };
void block_cache_resize(size_t bytes);
size_t block_cache_used(void);

struct block_reader;
/* Reads meta.json only; RC_NOT_FOUND without it. The bucket is borrowed for the reader's life. */
int block_open(struct bucket *b, const struct ulid *id, struct block_reader **ret, struct err *err);
struct block_reader *block_ref(struct block_reader *r);
void block_unref(struct block_reader *r);
const struct block_meta *block_meta(const struct block_reader *r);
size_t block_reader_memory(const struct block_reader *r); /* bytes, without the cached parts of its tables */
/* Series of the tenant that match (not time, not shard), from the posting lists alone. */
int block_count(struct block_reader *r, const struct store_select *q, uint64_t *ret, struct arena *a, struct err *err);
/* Series in label order. Errors: RC_CORRUPT names block, file and key; RC_LIMIT past series_max; RC_NOMEM past the arena's budget, against which symbols,
 * postings and the series at hand count. In mode DATA each chunk's bytes have passed their checksum. A series without a window in the time range is left out. */
int block_select(struct block_reader *r, const struct store_select *q, stored_series_fn *fn, void *arg, struct arena *a, struct err *err);
enum { BLOCK_LABEL_QUERY_BYTES_MAX = 256 << 20 };
/* Label names (name.n == 0) or values of name, sorted, over the series that match; from the index alone, and without matchers and shards from postings keys alone. Time
 * is judged for the block as a whole. Postings may take BLOCK_LABEL_QUERY_BYTES_MAX (RC_NOMEM). */
int block_label_values(struct block_reader *r, const struct store_select *q, struct str name, int (*fn)(void *arg, struct str value), void *arg, struct err *err);
/* Tenants in it, sorted. */
int block_each_tenant(struct block_reader *r, int (*fn)(void *arg, struct str tenant), void *arg, struct err *err);
/* Every checksum (whole files against meta.json too), every fingerprint, every posting, every digest. Reads all, caches nothing. */
int block_verify(struct block_reader *r, struct err *err);
/* One series with data: every window decodes to the samples of its record and its digest, inside its time. Memory from the arena. */
int block_series_check(const struct stored_series *s, struct arena *a, struct err *err);

/* Streams all series of one tenant in label order, with data, for compaction. */
struct block_iter;
enum { BLOCK_SERIES_BYTES_MAX = 256 << 20 }; /* memory of one series at hand */
int block_iter_new(struct block_reader *r, struct str tenant, struct block_iter **ret, struct err *err);
/* 1: *ret is the next series (valid until the next call); 0: done; negative: error. */
int block_iter_next(struct block_iter *it, const struct stored_series **ret, struct err *err);
void block_iter_free(struct block_iter *it);
