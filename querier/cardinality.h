/* cardinality.h - how many series there are, without reading one: of the heads by their indexes, of blocks by their metadata.
 * Ingesters are asked until each range of the ring has been answered once; every series counts once where the ring has whole zones for its replicas, as it is meant to
 * be. Without, counts are divided by the share of replicas that was asked, and are estimates. Threads: one. */
#pragma once
#include "querier/source.h"

enum { CARDINALITY_PAIRS_MAX = 1 << 20 };
struct pair_series {
    struct str name, value;
    uint64_t series;
};
struct cardinality {
    uint64_t matched;                /* series in heads that match */
    uint64_t series, samples, chunks, chunk_bytes; /* of the tenant, in heads */
    int64_t mint_ms, maxt_ms;
    struct pair_series *pairs;       /* by name, value; each once */
    size_t pair_count, pair_cap;
    bool truncated;                  /* pairs were left out */
};
/* EXTENT: chunks, chunk_bytes, mint_ms, maxt_ms too, which looks at every series; PAIRS: pairs as well. */
enum cardinality_what { CARDINALITY_COUNTS, CARDINALITY_EXTENT, CARDINALITY_PAIRS };
/* Of one tenant. Memory from the arena. */
int cardinality_of(struct source *s, struct str tenant, const struct matcher *m, size_t n, enum cardinality_what what, struct arena *a,
                   struct cardinality *ret, struct err *err);

/* What a selector over a range would read, before it does: samples and bytes by the averages of heads and blocks. */
struct estimate {
    double series, samples, bytes;
    size_t blocks;
};
int estimate_of(struct source *s, const struct matcher *m, size_t n, int64_t mint_ms, int64_t maxt_ms, struct arena *a, struct estimate *ret, struct err *err);
