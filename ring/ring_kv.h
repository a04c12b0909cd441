/* ring_kv.h - a small shared state beside the membership: keys with versioned values that every member holds whole, for decisions that must outlive a process and
 * be the same everywhere (HA elections). Two stores offer it: gossip (kv_gossip.h: mergeable, always writable, agrees after a moment) and etcd.
 *
 * The order. Of two entries of a key the *greater* stands: the higher version; of equal versions the larger bytes of the value (str_cmp; a removal counts as no
 * bytes). Writers choose versions, so that what must win wins in both stores, whoever hears what in which order. An entry is replaced by a greater one only.
 * Removal leaves a tombstone of its version for RING_KV_TOMBSTONE_MS; who was cut off for longer may bring the key back.
 *
 * Not for large or fast things: everything is held in memory by each member and written down.
 * Threads: any; put and remove may take as long as the store's answer (etcd), so not on threads that serve requests. */
#pragma once
#include "common/base/buf.h"
#include "common/base/err.h"

enum {
    RING_KV_KEY_MAX      = 512,  /* bytes; 1 at least */
    RING_KV_VALUE_MAX    = 1024, /* bytes */
    RING_KV_ENTRIES_MAX  = 131072,
    RING_KV_BYTES_MAX    = 64 << 20, /* keys and values */
    RING_KV_WATCHERS_MAX = 8,
    RING_KV_TOMBSTONE_MS = 600000,
};
#define RING_KV_ANY UINT64_MAX /* if_version: whatever stands */

struct ring_kv_entry {
    struct str key, value;
    uint64_t version;   /* 1 at least */
    bool deleted;       /* a tombstone: no value */
    int64_t expires_ms; /* of a tombstone: wall clock of who removed it; else 0 */
};
/* Everything borrowed during the call. */
typedef void ring_kv_fn(void *arg, const struct ring_kv_entry *e);

struct ring_kv_ops {
    int (*get)(void *self, struct str key, struct buf *ret_value, uint64_t *ret_version, struct err *err);
    int (*put)(void *self, struct str key, uint64_t if_version, uint64_t version, struct str value, struct err *err);
    int (*remove)(void *self, struct str key, uint64_t if_version, uint64_t version, struct err *err);
    void (*list)(void *self, struct str prefix, ring_kv_fn *fn, void *arg);
    void (*watch)(void *self, struct str prefix, ring_kv_fn *fn, void *arg);
    void (*unwatch)(void *self, ring_kv_fn *fn, void *arg);
};
struct ring_kv {
    const struct ring_kv_ops *ops;
    void *self;
};

/* <0, 0, >0: which of two entries of a key is the greater. */
int ring_kv_cmp(const struct ring_kv_entry *a, const struct ring_kv_entry *b);
/* RC_INVALID: key, value or version break their bounds. */
int ring_kv_check(const struct ring_kv_entry *e, struct err *err);

/* Appends the value. RC_NOT_FOUND; ret_version may be NULL. */
static inline int ring_kv_get(const struct ring_kv *kv, struct str key, struct buf *ret_value, uint64_t *ret_version, struct err *err)
{
    return kv->ops->get(kv->self, key, ret_value, ret_version, err);
}
/* Compare and set: if_version is the version that must stand (0: none, RING_KV_ANY), and the new entry must be greater than the one that stands (equal: success).
 * RC_EXISTS: another one stands, look again; RC_LIMIT: the store is full; RC_UNAVAILABLE, RC_TIMEOUT: perhaps later. */
static inline int ring_kv_put(const struct ring_kv *kv, struct str key, uint64_t if_version, uint64_t version, struct str value, struct err *err)
{
    return kv->ops->put(kv->self, key, if_version, version, value, err);
}
/* As put; version must be above that of the entry. */
static inline int ring_kv_remove(const struct ring_kv *kv, struct str key, uint64_t if_version, uint64_t version, struct err *err)
{
    return kv->ops->remove(kv->self, key, if_version, version, err);
}
/* All entries that begin so, tombstones left out, in no order. fn must not call the store. */
static inline void ring_kv_list(const struct ring_kv *kv, struct str prefix, ring_kv_fn *fn, void *arg)
{
    kv->ops->list(kv->self, prefix, fn, arg);
}
/* fn hears of every entry that changes from now on, own puts and tombstones too, from whichever thread brought it: watch before the store starts, and all that
 * stands is heard of. Two calls for one key may overtake each other: take the greater. fn must not call the store. */
static inline void ring_kv_watch(const struct ring_kv *kv, struct str prefix, ring_kv_fn *fn, void *arg)
{
    kv->ops->watch(kv->self, prefix, fn, arg);
}
/* fn is not called any more once this has returned. */
static inline void ring_kv_unwatch(const struct ring_kv *kv, ring_kv_fn *fn, void *arg)
{
    kv->ops->unwatch(kv->self, fn, arg);
}
