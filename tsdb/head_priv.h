/* head_priv.h - what the files of the head share. Everything is guarded by head.lock unless it says
 * otherwise.
 *
 * A series has one *current* window, that of its newest sample, with at most one open float chunk
 * and one open histogram chunk; all its other windows are a list, newest start first. A window in a
 * flush set never changes. Samples behind the newest one wait in the series' out-of-order buffer
 * until 32 of them, or the seal of their window, turn them into chunks; digest, count and bounds of
 * their window have them from the start. Several windows of one series may have the same start
 * (instances), at most one of them not in a flush set: readers add them up, their samples are
 * disjoint. */
#pragma once
#include "common/base/vec.h"
#include "common/sys/thread.h"
#include "tsdb/head.h"
#include "tsdb/ooo_index.h"
#include "tsdb/postings.h"
#include "tsdb/store_encode.h"

#include <stdatomic.h>

enum {
    OOO_SAMPLES = 32,            /* of a series, before they are folded into chunks */
    WINDOW_SMALL_CHUNKS_MAX = 8, /* of a window, before the small ones are merged */
    HIST_OPEN_BYTES_MAX = 256 << 10,
    SERIES_PAGE = 268, /* the allocator has 32 kB in one piece, which is what a page then takes */
    ORDINALS_MIN = 64,
    ACTIVE_BUCKET_MS = 5 * 60 * 1000,
    ACTIVE_MS = 2 * 60 * 60 * 1000,
    SCRATCH_BYTES_MAX = 1 << 30,
};

/* A sealed chunk. */
struct blob {
    struct blob *next;
    uint32_t n;
    char bytes[];
};
static inline struct str blob_str(const struct blob *b)
{
    return (struct str){b->bytes, b->n};
}

struct window {
    struct window *next;
    struct blob *blobs;
    struct u128 digest;
    int64_t start;
    uint32_t mint_off, maxt_off; /* ms from start */
    uint32_t count;              /* samples; 0: no window (only ever the current one) */
    uint32_t set : 31;           /* flush set as index + 1; 0: not sealed */
    uint32_t imaged : 1;         /* as it is, it stands in a file of the last head image (head_image.h) */
};

/* An out-of-order sample; sorted by t in the buffer, each t once. */
struct ooo_sample {
    int64_t t, st;
    uint64_t vbits;
    char *hist; /* canonical bytes of a histogram, owned; NULL: a float */
    uint32_t hist_n;
};
/* Histograms of the current window, in order. */
struct hist_entry {
    int64_t t, st;
    uint32_t at, n; /* canonical bytes in hist_open.bytes */
};
struct hist_open {
    uint32_t n, cap;
    struct hist_entry *v;
    struct buf bytes;
};
/* What most series do not have. */
struct series_extra {
    struct hist_open hists;
    uint32_t ooo_n, ooo_cap;
    struct ooo_sample *ooo;
};

struct head_series {
    fingerprint fp;
    int64_t newest;          /* INT64_MIN: none yet; survives the drop of its window */
    struct chunk_open *open; /* of the current window; NULL: none */
    struct window cur;       /* cur.next: all other windows */
    uint32_t cur_ms;         /* length of the current window */
    uint32_t tenant;
    uint32_t *pairs; /* labels, in name order; fixed while the series lives */
    struct series_extra *extra;
    uint64_t seq : 48; /* order of creation, never used again; 0: the slot is free */
    uint64_t label_count : 16;
};
#define SEQ_MASK ((1ULL << 48) - 1)
_Static_assert(LABELS_MAX < 1 << 16, "label_count holds it");

/* Series in pages, so that an id finds its series without a cache miss and pointers never move;
 * empty pages are freed. */
struct series_page {
    uint32_t live;
    uint16_t free_slots[SERIES_PAGE]; /* a stack: the first SERIES_PAGE - live */
    struct head_series v[SERIES_PAGE];
};
_Static_assert(sizeof(struct series_page) <= 32 << 10 && sizeof(struct series_page) + sizeof(struct head_series) > 32 << 10, "nothing is wasted");

struct active_bucket {
    int64_t start_ms;
    uint64_t series;
};
struct exemplar_ring;
struct tenant {
    struct str name; /* owned */
    uint64_t series, samples;
    struct posting_list all;          /* its series */
    VEC(struct active_bucket) active; /* by the time of the newest sample; ascending */
    struct exemplar_ring *exemplars;  /* or NULL */
};
struct flush_set {
    uint64_t id;
    uint64_t gen; /* 0: not published */
    uint64_t windows;
    int64_t below_ms; /* as sealed */
    bool published;
    bool used; /* false: the slot is free */
};

struct head {
    struct mutex lock;
    atomic_int owner_waits; /* readers let the appending thread go first */
    bool locked;            /* by head_lock */

    struct symbols *syms;
    struct postings *postings;
    VEC(struct series_page *) pages; /* NULL: freed */
    uint32_t open_page;              /* where to look for a free slot first */
    struct idtab by_fp;              /* -> id */
    uint32_t *by_ordinal;            /* -> id, ascending seq */
    uint32_t ordinals, ordinal_cap;
    uint64_t next_seq;
    uint64_t epoch; /* changes when ordinals and pair ids do */
    uint64_t fp_secret;

    VEC(struct tenant *) tenants; /* NULL: free id */
    struct idtab tenant_tab;
    VEC(struct flush_set) sets;
    uint64_t dropped_gen; /* newest generation of a dropped set */
    uint64_t set_max;     /* greatest id of a set ever */
    int64_t max_ms;

    /* --- owner thread, or any holder of the lock: contents do not outlive it --- */
    struct arena scratch;
    struct buf encoded, hist_bytes;
    struct ooo_indexes late; /* of windows that late samples came for */
};

/* --- head.c --- */
void lock_slice(struct head *h); /* as a reader: waits while the owner wants the lock */
static inline void unlock_slice(struct head *h)
{
    mutex_unlock(&h->lock);
}
static inline struct head_series *series_at(const struct head *h, uint32_t id)
{
    return &h->pages.v[id / SERIES_PAGE]->v[id % SERIES_PAGE];
}
/* As head_find, for any holder of the lock. */
struct head_series *series_find(const struct head *h, struct str tenant, fingerprint fp);
uint32_t tenant_find(const struct head *h, struct str name); /* or ID_NONE */
/* A new series of that tenant at the end, its pairs allocated: the caller fills them in and the posting lists (ordinal
 * h->ordinals - 1). */
struct head_series *series_add(struct head *h, uint32_t tenant, fingerprint fp, uint16_t label_count);
uint32_t tenant_make(struct head *h, struct str name); /* finds or makes */
void series_remove(struct head *h, uint32_t id);
void tenant_trim(struct head *h, uint32_t id); /* frees it when nothing is left of it */
/* The newest sample of a series of the tenant was at from_ms and is at to_ms; INT64_MIN: nowhere. */
void active_move(struct tenant *tn, int64_t from_ms, int64_t to_ms);
/* First ordinal whose series has at least this seq. */
uint32_t ordinal_of_seq(const struct head *h, uint64_t seq);
/* Copies the labels into the arena; false when it is full. */
bool series_labels(const struct head *h, const struct head_series *s, struct arena *a,
                   struct labels *ret);

/* --- head_series.c --- */
static inline bool window_has(const struct window *w, int64_t t)
{
    return t >= w->start + w->mint_off && t <= w->start + w->maxt_off;
}
void window_count(struct window *w, int64_t t, struct u128 hash);
void window_free(struct window *w); /* of the list */
void window_add_blob(struct window *w, struct str bytes);
/* Encodes columns (any length, floats and histograms) as chunks of the window. */
void window_add_columns(struct head *h, struct window *w, const struct chunk_columns *c);
/* Merges the chunks of fewer than limit samples into as few as possible. */
void window_merge(struct head *h, struct window *w, uint32_t limit);
/* The unsealed window with this start, made when there is none. */
struct window *series_window(struct head_series *s, int64_t start);
/* Moves the current window into the list. smallest: its floats are encoded by size, which takes
 * some microseconds. */
void series_close_current(struct head *h, struct head_series *s, bool smallest);
struct series_extra *series_extra(struct head_series *s);
/* All samples of open histograms as columns; scratch arena. */
void hist_open_columns(const struct hist_open *o, struct arena *a, struct chunk_columns *ret);
void series_fini(struct head_series *s); /* what it points to */

/* --- head_gap.c --- */
/* As head_gap says. */
bool series_in_gap(struct head *h, const struct head_series *s, int64_t t, int64_t until_ms);

/* --- head_ooo.c --- */
/* What is stored at t: in arena a when it is a histogram. */
struct found {
    bool is_hist;
    uint64_t vbits;
    struct histogram hist;
};
bool series_find_sample(struct head *h, const struct head_series *s, int64_t t, struct arena *a,
                        struct found *ret);
/* t is not stored yet. hist: canonical bytes (copied), or p NULL for a float. */
void ooo_add(struct head *h, struct head_series *s, int64_t t, uint64_t vbits, int64_t st,
             struct str hist);
/* Merges small chunks when there are many. */
void window_tidy(struct head *h, struct window *w);
/* Turns the buffered samples with from <= t < to into chunks of their windows. */
void ooo_fold(struct head *h, struct head_series *s, int64_t from, int64_t to);
/* Buffered samples with from <= t < to as columns; n may be 0. */
void ooo_columns(const struct head_series *s, int64_t from, int64_t to, struct arena *a,
                 struct chunk_columns *ret);
void ooo_fini(struct series_extra *x);

/* --- head_match.c --- */
/* Ordinals of one tenant's series that match, as a bit set; valid for one epoch. */
struct match {
    uint64_t *bits;
    uint32_t bound; /* ordinals [0, bound) */
    uint64_t epoch;
};
/* Takes and releases the lock in slices; RC_NOMEM, RC_UNAVAILABLE. The caller frees bits. */
int head_match(struct head *h, const struct store_select *q, struct match *ret, struct err *err);
/* Next matching ordinal >= at, or ID_NONE. */
uint32_t match_next(const struct match *m, uint32_t at);
static inline bool shard_has(const struct store_select *q, fingerprint fp)
{
    return q->shard_count <= 1 || fingerprint_mod(fp, q->shard_count) == q->shard;
}

/* --- head_select.c --- */
/* Which windows a reader wants. */
struct window_filter {
    int64_t mint_ms, maxt_ms;
    uint64_t gen;
    uint32_t set; /* 0: by gen; else only this set (index + 1) */
    enum store_mode mode;
    bool no_labels;
    const struct label_names *keep; /* as in store_select */
    const int64_t *starts; /* NULL: any; else only these */
    size_t start_count;
};
/* Labels of one select: each pair's texts are copied once and numbered. */
struct label_slot {
    uint32_t pair, number; /* number + 1; 0: free */
};
struct label_cache {
    struct arena a;
    struct label_slot *slots;
    uint32_t cap, live;  /* of slots */
    uint32_t n, labels_cap;
    struct label *labels; /* by number */
};
void label_cache_init(struct label_cache *c);
void label_cache_fini(struct label_cache *c);
/* Pair ids mean something else from here on; numbers go on. */
void label_cache_forget(struct label_cache *c);
/* Copies what the filter lets through into the arena; labels by way of the cache when there is one. 1: there is something; 0: nothing; RC_NOMEM.
 */
int series_copy(struct head *h, const struct head_series *s, const struct window_filter *f,
                struct arena *a, struct label_cache *labels, struct stored_series *ret,
                size_t *ret_bytes, struct err *err);
bool series_touches(const struct head_series *s, int64_t mint_ms, int64_t maxt_ms);

/* --- head_stats.c --- */
/* Calls fn for every series under the lock, a slice at a time. */
void head_walk_locked(struct head *h, void (*fn)(struct head *h, const struct head_series *s, void *arg), void *arg);

/* --- head_exemplar.c --- */
/* WAL_EXEMPLARS rows of [from, below) that are still there, as many as fit in bytes_max; returns where to go on, and
 * how many rows. */
uint64_t exemplar_ring_rows(const struct exemplar_ring *r, uint64_t from, uint64_t below, size_t bytes_max, struct buf *out, size_t *ret_n);
uint64_t exemplar_ring_added(const struct exemplar_ring *r); /* 0 for NULL */
void exemplar_ring_free(struct exemplar_ring *r);
size_t exemplar_ring_memory(const struct exemplar_ring *r);
