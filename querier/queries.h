/* queries.h - the queries of one tenant that run, or ran of late, in this querier and in its peers of the ring; and cancelling one wherever it runs.
 * All peers are asked at once. One that fails, or does not answer within QUERIES_WAIT_MS, is named in the warnings and left out.
 * An answer always fits a message: a querier lists as many as it may run at once, and remembers ACTIVE_DONE_MAX that ended.
 * Memory: of a struct queries, in its arena, at most QUERIES_BYTES_MAX.
 * Threads: one per struct queries; queries_ask_peers blocks. */
#pragma once
#include "common/base/vec.h"
#include "common/rpc/rpc.h"
#include "common/sys/clock.h"
#include "querier/active.h"
#include "ring/ring.h"

enum { QUERIES_VERSION = 1, QUERIES_WAIT_MS = 1000, QUERIES_PEERS_MAX = 256, QUERIES_BYTES_MAX = 256 << 20 };
enum queries_what { QUERIES_RUNNING, QUERIES_ENDED, QUERIES_CANCEL };

struct queries_ask {
    enum queries_what what;
    struct str tenant; /* "a" or "a|b" */
    uint64_t id;       /* to be cancelled */
    int64_t age_ms;    /* ended ones: so long ago at most */
};
struct running_query {
    uint64_t id;
    uint16_t querier; /* index into queries.names */
    struct str remote, text;
    int64_t start_ms, end_ms, step_ms, took_ms;
};
/* All that are equal. */
struct ended_query {
    struct str text;
    int64_t range_ms, took_ns;
    uint64_t count;
    uint64_t queriers[QUERIES_PEERS_MAX / 64]; /* a bit for each of queries.names that ran it */
};
struct queries {
    struct arena arena;
    VEC(const char *) names; /* queriers; the first is this one */
    VEC(struct running_query) running;
    VEC(struct ended_query) ended;
    VEC(const char *) warnings;
    uint16_t canceled_by; /* index into names, when canceled */
    bool canceled, full;  /* full: some did not fit */
};

void queries_init(struct queries *qs, const char *self);
void queries_fini(struct queries *qs);
/* What this process has, as its first querier; ended ones are folded. */
void queries_here(struct queries *qs, struct active *a, const struct queries_ask *ask, const struct clock *clock);
/* ring: may be NULL. */
void queries_ask_peers(struct queries *qs, struct rpc_client *rpc, const struct ring *ring, const struct queries_ask *ask);
/* Equal ended ones become one. */
void queries_fold(struct queries *qs);

/* --- messages --- */
/* request: a QueriesRequest; out: a packed QueriesResponse. */
int queries_answer(struct active *a, const struct clock *clock, struct str request, struct buf *out, struct err *err);
/* A QueriesResponse of the querier that is names[querier]. RC_CORRUPT, RC_VERSION, RC_NOMEM. */
int queries_take(struct queries *qs, uint16_t querier, struct str response, struct err *err);
