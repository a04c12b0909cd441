/* distributor.h - takes writes: validates, limits, replicates to the owners of each series, answers when a quorum of owners has it (design D4).
 * HTTP: OTLP metrics at POST /otlp/v1/metrics, /api/v1/otlp/v1/metrics (otlp_push.h); remote write at POST /api/v1/push, /api/v1/write, /workspaces/{id}/api/v1/remote_write. Success is 204 (200 under /workspaces/); 400 names series, reason and limit of
 * what can never succeed (the rest of the request is stored); 429 for rates; 503 (with Retry-After) when no quorum could be had: retrying is harmless. */
#pragma once
#include "common/config/limits.h"
#include "common/http/http.h"
#include "common/obs/log.h"
#include "common/obs/metrics.h"
#include "common/rpc/rpc.h"
#include "common/sys/clock.h"
#include "ring/ring.h"
#include "ring/ring_kv.h"

enum { DISTRIBUTOR_TENANTS_MAX = 200000 };

struct distributor_cfg {
    int64_t push_timeout_ms;     /* for one ingester's answer: 5 s */
    uint64_t series_cache_bytes; /* per tenant: 256 MiB, five million series */
    uint64_t in_flight_bytes;    /* of all requests together: 512 MiB; past it 503 */
    uint64_t lingering_bytes;    /* of answered pushes that one ingester has not answered: 64 MiB; past it pushes leave that ingester out */
    uint32_t in_flight_requests; /* taken and not answered: 2,000; past it 503 */
    uint32_t workers;            /* threads that work on pushes until their batches are sent; 0: one per core, at least 2 */
    int64_t target_delay_ms;     /* of a queue, admission.h: 100 ms; 0: off */
    int64_t ha_update_ms, ha_jitter_ms; /* ha_tracker.h: 15 s, 5 s */
    bool tenancy;                /* false: X-Scope-OrgID is not read, every sample is TENANT_DEFAULT's (paths still name a workspace) */
};
extern const struct distributor_cfg distributor_cfg_default;

struct distributor_deps {
    const struct clock *clock;
    struct log *log;
    struct metrics *metrics;
    struct overrides *overrides;
    struct rpc_client *rpc;
    struct ring *(*ring)(void *arg); /* referenced for the caller */
    uint32_t (*distributors)(void *arg);      /* live distributors, for rates; at least 1 */
    void *ring_arg;
    struct ring_kv kv;                        /* for HA elections; ops NULL: none */
};

struct distributor;
int distributor_new(const struct distributor_cfg *cfg, const struct distributor_deps *deps, struct distributor **ret, struct err *err);
void distributor_routes(struct distributor *d, struct http_server *http);
/* Waits until requests in flight (their third copies too) have ended, up to timeout_ms. */
void distributor_drain(struct distributor *d, int64_t timeout_ms);
void distributor_free(struct distributor *d);
struct memory_account;
void distributor_memory(struct distributor *d, struct memory_account *a);
