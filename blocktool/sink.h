/* sink.h - series of another system into blocks of a tenant: one block per range of time, published when all of them are whole. A range that was imported before from
 * the same source is passed over: the block says so among its sources, which compaction keeps. So an import that was broken off is simply started again. */
#pragma once
#include "tsdb/index.h"

enum { SINK_RANGES_MAX = 32 }; /* blocks written at a time */

struct sink_cfg {
    struct bucket *bucket;
    const char *scratch, *tenant;
    struct str source;                /* what makes two imports the same: the id of a block, the name of a file */
    int64_t mint_ms, maxt_ms;         /* of the source, [mint, maxt) */
};

struct sink;
/* Chooses the ranges: the smallest of a compactor's levels that takes all in one block, or days. */
int sink_new(const struct sink_cfg *cfg, struct sink **ret, struct err *err);
void sink_free(struct sink *s); /* what is not published is gone */
size_t sink_ranges(const struct sink *s);
/* Ranges still to be imported, `most` (at most SINK_RANGES_MAX) at a time: the caller sends all its series in label order, in whose samples others are passed over, and
 * finishes; again until none is left. false: none. */
bool sink_next(struct sink *s, size_t most);
bool sink_takes(const struct sink *s, int64_t t_ms); /* within what sink_next chose */
int sink_add(struct sink *s, const struct labels *ls, const struct chunk_columns *c, struct err *err);
int sink_finish(struct sink *s, struct err *err);

struct sink_totals {
    uint64_t samples, blocks, bytes, skipped; /* skipped: ranges that were there already */
};
struct sink_totals sink_totals(const struct sink *s);
