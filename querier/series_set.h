/* series_set.h - the series of one select, by fingerprint, each with what every store gave for it.
 * An input is one replica's (or one block's) windows of the series; merging happens later, per
 * series, when samples are wanted. Inputs without bytes (digests only) count as votes and must have
 * been given bytes wherever their digest stands alone (reconcile.h). Memory: everything in the
 * arena given; strings and windows that are added are borrowed and must live as long. Not for
 * threads. */
#pragma once
#include "tsdb/tombstone.h"

enum { SERIES_FROM_BLOCK = UINT16_MAX };
#define SERIES_SET_MAX (1U << 31)

struct series_input {
    struct series_input *next;
    struct stored_window *windows; /* ascending start_ms */
    size_t window_count;
    uint32_t votes;
    uint16_t from; /* ring instance, or SERIES_FROM_BLOCK */
};
struct series_entry {
    fingerprint fp;
    struct labels labels;
    struct series_input *inputs; /* in no order; NULL when only labels were asked for */
    size_t input_count;
    struct time_spans hidden; /* samples that are left out on merging (hiding.h) */
    bool dropped;             /* goes with series_set_drop */
};
struct series_set {
    struct arena *arena;
    struct series_entry *v;
    size_t n, cap;
    uint32_t *slots; /* index + 1 by fingerprint; 0: free */
    size_t slot_cap;
};

void series_set_init(struct series_set *s, struct arena *a);
/* NULL when absent. */
struct series_entry *series_set_find(const struct series_set *s, fingerprint fp);
/* Finds or makes the entry. RC_CORRUPT when another label set has this fingerprint; RC_NOMEM.
 * Entries move when others are added. */
int series_set_entry(struct series_set *s, fingerprint fp, const struct labels *ls,
                     struct series_entry **ret, struct err *err);
/* The same, and links an input, which lives in the arena. */
int series_set_add(struct series_set *s, fingerprint fp, const struct labels *ls,
                   struct series_input *in, struct err *err);
/* Takes the dropped entries out. */
void series_set_drop(struct series_set *s);
/* The window that starts there; NULL when there is none. */
struct stored_window *series_input_window(const struct series_input *in, int64_t start_ms);
/* Whether some input has the bytes of a window with this start and digest. */
bool series_entry_has_bytes(const struct series_entry *e, const struct stored_window *w);
/* All inputs of one entry, merged, without what is hidden. */
int series_entry_merge(const struct series_entry *e, struct arena *a, struct stored_series *ret,
                       struct err *err);
