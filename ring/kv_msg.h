/* kv_msg.h - what members tell each other of the shared state (payload of RPC_KV). One-way: an answer is another message.
 *   0 version u8 | type u8 | sender address (length-prefixed)
 *   SUMS   KV_BUCKETS u64: sums of the entries' marks, by bucket
 *   KEYS   count, buckets u8 (ascending) | count, items: key hash u64, version, mark u64     every entry of those buckets
 *   NEWS   count, entries: key, version, flags u8 (1: tombstone), expiry, value
 *   DELTA  as NEWS, then count, wants: key hash u64
 * A bucket is the top byte of the key's hash; a mark is a hash of the whole entry. Counts, versions, expiry are varints.
 * The same entries make the file kv.state (kv_gossip.h).   Reads versions KV_MSG_VERSION_MIN..KV_MSG_VERSION. */
#pragma once
#include "common/base/bytes.h"
#include "common/base/hash.h"
#include "common/base/vec.h"
#include "ring/ring_kv.h"

enum {
    KV_MSG_VERSION     = 1,
    KV_MSG_VERSION_MIN = 1,
    KV_MSG_BYTES_MAX   = 1 << 20,
    KV_MSG_BYTES       = 16 << 10, /* lists end when a message has become so long; what is left comes with the next */
    KV_BUCKETS         = 256,
    KV_ADDR_MAX        = 255,
};
enum kv_msg_type { KV_MSG_SUMS = 1, KV_MSG_KEYS, KV_MSG_NEWS, KV_MSG_DELTA, KV_MSG_TYPES };

struct kv_item {
    uint64_t key_hash, version, mark;
};
/* Strings are borrowed: from the payload when decoded. */
struct kv_msg {
    enum kv_msg_type type;
    struct str sender_addr;
    uint64_t sums[KV_BUCKETS];
    VEC(uint8_t) buckets;
    VEC(struct kv_item) items;
    VEC(struct ring_kv_entry) entries;
    VEC(uint64_t) wants;
};

static inline uint64_t kv_key_hash(struct str key)
{
    return hash64(key.p, key.n, 0);
}
static inline unsigned kv_bucket(uint64_t key_hash)
{
    return (unsigned)(key_hash >> 56);
}
uint64_t kv_mark(const struct ring_kv_entry *e);

void kv_msg_fini(struct kv_msg *m);
void kv_msg_encode(const struct kv_msg *m, struct buf *out);
/* RC_VERSION, RC_CORRUPT, RC_LIMIT; ret is untouched then. */
int kv_msg_decode(struct str payload, struct kv_msg *ret, struct err *err);

void kv_entry_encode(const struct ring_kv_entry *e, struct buf *out);
/* Borrows from r. */
int kv_entry_decode(struct rd *r, struct ring_kv_entry *ret, struct err *err);
/* Bytes of an entry in a message, about. */
static inline size_t kv_entry_bytes(const struct ring_kv_entry *e)
{
    return e->key.n + e->value.n + 24;
}
