/* series_cache.h - the known-series cache of one tenant: hash of the raw label bytes -> identity, so that a series seen before costs one lookup
 * instead of parsing, sorting, validating and SHA-256.
 * Key: XXH3-128 of the label bytes as they stand, under a secret of this process; 96 bits of it are compared. Striped open addressing,
 * 40 bytes a slot, tables grow by a fifth or so (53 to 67 bytes a series); a cache of few series is one stripe. Bounded: in a stripe that reached its
 * share, half of those go that were not asked for of late. Series that nobody sends any more go too: series_cache_age(). Rejections are never cached.
 * An entry of another limits generation is a miss.
 * Any thread. */
#pragma once
#include "common/model/labels.h"
#include "common/sys/clock.h"

enum { SERIES_CACHE_AGE_MS = 60 * 60 * 1000 };

struct series_cache;
struct series_entry {
    fingerprint fp;
    uint32_t acked;     /* bit i: owner i of the replica set has acknowledged the labels, at this ack_epoch */
    uint32_t ack_epoch; /* of the ring and of all head ids; another epoch: nothing is acknowledged */
    uint32_t limits_gen; /* 15 bits are compared */
    uint16_t ha;         /* ha_core_pair, 0: none */
};
struct series_cache *series_cache_new(size_t bytes_max, const struct clock *clock);
void series_cache_free(struct series_cache *c);
bool series_cache_get(struct series_cache *c, struct u128 hash, uint32_t limits_gen, struct series_entry *ret);
/* Looks up to SERIES_CACHE_GROUP hashes up together, so that their cache misses overlap. Bit i of the answer: hashes[i] is known, ret[i] is filled. */
enum { SERIES_CACHE_GROUP = 64 };
uint64_t series_cache_get_many(struct series_cache *c, const struct u128 *hashes, size_t n, uint32_t limits_gen, struct series_entry *ret);
/* What is known of hash will be asked for or changed soon. */
void series_cache_prefetch(struct series_cache *c, struct u128 hash);
void series_cache_put(struct series_cache *c, struct u128 hash, const struct series_entry *e);
/* Adds ack bits if the entry is still there; bits of an older epoch are replaced. */
void series_cache_ack(struct series_cache *c, struct u128 hash, uint32_t bits, uint32_t ack_epoch);
/* When SERIES_CACHE_AGE_MS have passed since the last time: drops what nobody asked for since. Cheap else. */
void series_cache_age(struct series_cache *c);
size_t series_cache_bytes(struct series_cache *c);
size_t series_cache_count(struct series_cache *c);
