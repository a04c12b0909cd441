/* head_sync.h - what replicas of a head tell each other about their series, of all tenants at once, and taking over what another
 * one has and this one lacks.
 *
 * Comparing: windows with their digests, of samples before a time only (`below_ms`): what is newer may be on its way to either
 * still. The digest of a window that the time cuts is worked out from its chunks.
 * Taking over: head_absorb adds the samples that are not there. It knows no limit and no window for late samples, and changes
 * nothing that is there: the same sample again is nothing, another value for a timestamp is a conflict that stays for readers. */
#pragma once
#include "tsdb/head.h"

struct head_sync {
    int64_t below_ms;
    uint64_t gen; /* windows in flush sets published at or before it are left out; UINT64_MAX: in any published set */
    bool (*wanted)(const void *arg, fingerprint fp); /* NULL: all. Runs under the lock */
    const void *wanted_arg;
    const struct store_stop *stop;
};
typedef int head_sync_fn(void *arg, struct str tenant, const struct stored_series *s);

/* Series with their digests, without labels. Cursor and fn as in head_select; stops after about bytes_max bytes on the wire. */
int head_sync_walk(struct head *h, const struct head_sync *q, size_t bytes_max, uint64_t *cursor,
                   head_sync_fn *fn, void *arg, struct err *err);
/* The same of these series of one tenant; those that are not there are left out. */
int head_sync_find(struct head *h, const struct head_sync *q, struct str tenant, const fingerprint *fps,
                   size_t n, head_sync_fn *fn, void *arg, struct err *err);

struct head_absorbed {
    uint32_t accepted, same, conflicts;
};
/* Owner thread, between head_lock and head_unlock. Samples in time order, all timestamps legal. accepted: c->n bits, lowest first,
 * cleared before: set for those that were added and are to be logged. The arena holds what is decoded. RC_NOMEM: nothing of the
 * window at hand was added, ret and accepted say what was. */
int head_absorb(struct head *h, struct head_series *s, const struct chunk_columns *c, struct arena *a,
                uint8_t *accepted, struct head_absorbed *ret, struct err *err);

/* The newest index generation that has windows of this head. */
uint64_t head_published_gen(struct head *h);
/* Series by owner: fn under the lock. newest_ms: INT64_MIN without samples. */
void head_each_fingerprint(struct head *h, void (*fn)(void *arg, struct str tenant, fingerprint fp, int64_t newest_ms), void *arg);
