/* rpc_metrics.h - the counters of one side (client or server), children cached so that a call costs no lookup.
 * Internal to common/rpc. All functions take an instance without a registry (metrics NULL) and then do nothing. */
#pragma once
#include "common/base/err.h"
#include "common/obs/metrics.h"
#include "common/rpc/frame.h"
#include "common/wire/methods.h"

#include <stdatomic.h>

enum { RPC_STATUS_SLOTS = 32 }; /* -rc, the rest shares the last */

struct rpc_metrics {
    struct metric_family *requests, *duration; /* NULL: no metrics */
    struct metric *sent_bytes, *received_bytes, *connections;
    struct metric *refused[FRAME_REFUSALS];
    _Atomic(struct metric *) count[RPC_METHODS_MAX][RPC_STATUS_SLOTS];
    _Atomic(struct metric *) seconds[RPC_METHODS_MAX];
};

/* side: "client" or "server". */
void rpc_metrics_init(struct rpc_metrics *rm, struct metrics *m, bool server);
void rpc_metrics_done(struct rpc_metrics *rm, unsigned method, int rc, int64_t ns);
void rpc_metrics_bytes(struct rpc_metrics *rm, size_t sent, size_t received);
void rpc_metrics_connections(struct rpc_metrics *rm, int delta);
void rpc_metrics_refused(struct rpc_metrics *rm, enum frame_refusal why);
