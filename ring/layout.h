/* layout.h - ranges and replica sets, computed once per ownership; internal to ring.c. Shared by snapshots that differ in health only.
 * Owners are numbered 0..owners_n-1 in the order given; the snapshot maps them to instances. */
#pragma once
#include "ring/ring.h"

struct layout_owner {
    const uint32_t *tokens; /* borrowed during layout_new */
    uint32_t tokens_n;
    uint64_t id_hash;
    uint16_t zone;     /* number of the zone, by name */
    uint16_t instance; /* what goes into the replica sets */
    bool now, next;    /* part of the owners, part of the owners to be */
};

struct layout;
/* zone_hashes[zones_n]: hashes of the zones' names. */
struct layout *layout_new(const struct layout_owner *owners, size_t n, const uint64_t *zone_hashes, size_t zones_n, int rf,
                          uint64_t instances_hash);
struct layout *layout_ref(struct layout *l);
void layout_unref(struct layout *l);
/* Hash of the mapping from numbers to ids: a layout fits a snapshot only if it is the same. */
uint64_t layout_instances_hash(const struct layout *l);

const struct ring_replicas *layout_find(const struct layout *l, uint32_t token);
/* Distinct replica sets that own at least one key, and the share of the key space of each. */
size_t layout_sets_n(const struct layout *l);
const struct ring_replicas *layout_set(const struct layout *l, size_t i, double *ret_share);
