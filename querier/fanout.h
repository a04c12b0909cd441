/* fanout.h - one select over the ingesters that own a tenant's series (design D8).
 * Digest first: the instances of one zone give bytes, those of others fingerprints with window
 * digests. Where a digest is without bytes (the replicas differ, or one lacks a window) that
 * window's bytes are fetched from who has it; where two replicas hold different values for a
 * timestamp the remaining owners are asked for that window, so that the majority decides when the
 * inputs are merged (series_set.h). Complete means: of every range at least RF - quorum + 1 owners
 * answered all their pages at our ring version and index generation. */
#pragma once
#include "querier/fan.h"
#include "querier/fetch.h"
#include "querier/series_set.h"

struct fanout_select {
    struct fan_cfg fan;
    const struct ring *ring;
    const struct store_select *q; /* mode STORE_LABELS or STORE_DATA */
    uint64_t index_gen;           /* of the level-0 index that the caller reads blocks by */
    const struct fetch_limits *limits;
    struct fetch_used *used;
};
/* Adds what the ingesters have to the set, in its arena. RC_STALE: with a newer index; RC_MOVED:
 * again, with the ring as it is then. */
int fanout_select(const struct fanout_select *s, struct series_set *set, struct err *err);
