/* memory.h - what the memory of a process is for: every part adds what it holds to an *account*, by tenant and kind; the operating system and the
 * allocator say what is there in all, so that the sum can be held against it. Bytes are what the allocator gave (heap_bytes), not what was asked for.
 * What tenants share counts for each by its part, or for no tenant (name of length 0).
 * Figures are read while work goes on: they agree to within what happens meanwhile. An account belongs to one thread. */
#pragma once
#include "common/base/buf.h"

enum memory_kind {
    MEMORY_SERIES,       /* of heads: structs, and the order they came in */
    MEMORY_LABELS,       /* of heads: texts, pairs, and the lists of a series' pairs */
    MEMORY_POSTINGS,     /* of heads: lists of series by label */
    MEMORY_FINGERPRINTS, /* tables of heads: fingerprint -> series */
    MEMORY_OPEN_CHUNKS,
    MEMORY_SEALED_CHUNKS,
    MEMORY_DIGESTS,      /* windows with their digests; that of the newest samples is in the series */
    MEMORY_OUT_OF_ORDER,
    MEMORY_EXEMPLARS,
    MEMORY_METADATA,
    MEMORY_TENANTS,      /* what a tenant takes by being there */
    MEMORY_SERIES_CACHE, /* known series of distributors */
    MEMORY_INDEX_CACHE,  /* blocks: indexes, readers, cached parts of tables */
    MEMORY_RESULT_CACHE,
    MEMORY_LOG_BUFFERS,  /* write-ahead log, and jobs that wait for it */
    MEMORY_RPC_BUFFERS,
    MEMORY_HTTP_BUFFERS,
    MEMORY_PUSHES,       /* requests to write, until their last copy is answered */
    MEMORY_ARENAS,       /* of requests and queries that run */
    MEMORY_QUERY_LOG,    /* queries that ended of late */
    MEMORY_METRICS,
    MEMORY_KINDS
};
const char *memory_kind_name(enum memory_kind kind);

struct memory_account;
struct memory_account *memory_account_new(void);
void memory_account_free(struct memory_account *a); /* NULL is fine */
void memory_add(struct memory_account *a, struct str tenant, enum memory_kind kind, size_t bytes);

struct memory_tenant {
    struct str name; /* n 0: of no tenant */
    size_t bytes[MEMORY_KINDS], total;
};
/* All, the largest first; borrowed until the account changes. */
const struct memory_tenant *const *memory_tenants(struct memory_account *a, size_t *ret_n);
size_t memory_total(const struct memory_account *a, enum memory_kind kind);

/* What an allocation takes, as the allocator rounds it; 0 for NULL. */
size_t heap_bytes(const void *p);

/* Of a uthash table, without its elements (which hold their handles). */
#define UTHASH_BYTES(hh, head) ((head) ? HASH_OVERHEAD(hh, head) - HASH_COUNT(head) * sizeof(UT_hash_handle) : 0)

/* The process as a whole. */
struct memory_process {
    size_t rss;
    size_t files;  /* of rss: program, libraries and their data */
    size_t stacks; /* of rss */
    const char *allocator; /* "jemalloc", "glibc", "sanitizer" */
    size_t allocated;      /* in allocations that live */
    size_t cached;         /* given back, and kept by the thread that did so for its next allocation */
    size_t slack;          /* in pages that hold some, and not in them */
    size_t unused;         /* pages kept for allocations to come */
    size_t metadata;       /* of the allocator itself */
    size_t untouched;      /* of all these: was never written to, so it is not in rss */
    size_t retained;       /* addresses without memory: not of rss */
};
void memory_process(struct memory_process *ret);
