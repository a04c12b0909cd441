/* ooo_index.h - the samples of a window of a series by time, to tell in constant time whether a late sample is there already.
 * Decoding a window of many samples anew for each late one costs the square of their number. A head keeps the indexes of some windows
 * that late samples came for: one is built when its window is asked about for the second time, follows what is added, and is built
 * again when more is stored than it knows of. That is seen by counting: a window only gains samples until it is dropped
 * (ooo_indexes_forget). Windows of less than OOO_INDEX_MIN samples are not worth it. Memory: 32 bytes a sample, OOO_INDEX_SLOTS_MAX
 * slots of 16 bytes in all; past that, and past OOO_INDEX_WAYS windows of a set, those that were not asked about for longest go.
 * Guarded by the head's lock. */
#pragma once
#include "tsdb/chunk.h"

enum {
    OOO_INDEX_MIN = 256,
    OOO_INDEX_SETS = 64,
    OOO_INDEX_WAYS = 4,
    OOO_INDEX_SLOTS_MAX = 4 << 20, /* 64 MB a head */
};

enum ooo_kind { OOO_ABSENT, OOO_FLOAT, OOO_HIST };
struct ooo_slot {
    uint64_t vbits;
    uint32_t off; /* ms from the window's start */
    uint32_t kind;
};
struct ooo_index {
    uint64_t seq; /* of the series: never used again; 0: free */
    int64_t start;
    uint64_t asked;     /* when, by the table's clock */
    uint32_t n, open_n; /* samples; of the open chunk */
    uint32_t cap;       /* slots, a power of two; 0: not built */
    struct ooo_slot *slots;
};
struct ooo_indexes {
    struct ooo_index (*sets)[OOO_INDEX_WAYS]; /* NULL: none yet */
    uint64_t clock;
    uint32_t slots; /* of all */
};

/* The one of this window, or NULL. */
struct ooo_index *ooo_indexes_find(struct ooo_indexes *t, uint64_t seq, int64_t start);
/* Remembers that the window was asked about. */
void ooo_indexes_note(struct ooo_indexes *t, uint64_t seq, int64_t start);
/* What is stored has changed in another way than by adding. */
void ooo_indexes_forget(struct ooo_indexes *t);
size_t ooo_indexes_memory(const struct ooo_indexes *t);
void ooo_indexes_fini(struct ooo_indexes *t);

/* Empties x, for n samples and more; false when those are too many. Others may go. */
bool ooo_index_begin(struct ooo_indexes *t, struct ooo_index *x, uint64_t n);
/* off is not there yet. Without room for it x is not built any more. */
void ooo_index_add(struct ooo_indexes *t, struct ooo_index *x, uint32_t off, enum ooo_kind kind, uint64_t vbits);
void ooo_index_add_columns(struct ooo_indexes *t, struct ooo_index *x, const struct chunk_columns *c, size_t from);
enum ooo_kind ooo_index_find(const struct ooo_index *x, uint32_t off, uint64_t *ret_vbits);
