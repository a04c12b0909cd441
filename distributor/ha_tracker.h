/* ha_tracker.h - the edge of ha_core.h: one core per tenant with its lock, the shared state (ring/ring_kv.h), metrics, the page, and a thread that writes elections
 * and heartbeats, sweeps what is held of standbys (ha_hold.h), and hands over what is to fill gaps.
 * Keys of the shared state: ha/TENANT/CLUSTER.
 *
 * Filling. What standbys send is held by the distributor that got it, for the failover timeout and HA_HOLD_MORE_MS. When its replica is elected, every distributor
 * hands what it holds of it to `fill`; when the followed replica is back after a gap, what standbys sent about that time. Whoever fills sends these samples marked
 * (PUSH_STANDBY), and ingesters take those alone that fall where the series has a hole (head_gap, tsdb/head.h).
 * Threads: any, for functions of tenants. fill runs on a thread of its own, one at a time, and may wait: at most HA_FILL_BYTES_MAX wait for it. */
#pragma once
#include "common/config/limits.h"
#include "common/obs/log.h"
#include "common/obs/metrics.h"
#include "common/sys/clock.h"
#include "distributor/ha_core.h"
#include "distributor/ha_hold.h"
#include "ring/ring_kv.h"

enum { HA_HOLD_MORE_MS = 30000, HA_TICK_MS = 1000, HA_FILL_BYTES_MAX = 256 << 20, HA_KEY_MAX = RING_KV_KEY_MAX };
#define HA_GAP_OPEN INT64_MAX /* ha_fill.until_ms: the followed replica is not heard any more */

struct ha_tracker;
struct ha_tenant;

struct ha_fill {
    struct str tenant;
    uint16_t pair;
    int64_t until_ms; /* where a gap without a later sample ends: wall clock, or HA_GAP_OPEN */
    const struct ha_body *body; /* borrowed */
};
struct ha_tracker_cfg {
    int64_t update_ms; /* between heartbeats in the shared state: 15 s */
    int64_t jitter_ms; /* and up to so much more: 5 s */
};
struct ha_tracker_deps {
    const struct clock *clock;
    struct log *log;
    struct metrics *metrics;
    struct overrides *overrides;
    struct ring_kv kv; /* ops NULL: none, what is decided here is for this process alone */
    void (*fill)(void *arg, const struct ha_fill *f);
    void *arg;
};

/* Watches the shared state from here on: before the store starts. */
struct ha_tracker *ha_tracker_new(const struct ha_tracker_cfg *cfg, const struct ha_tracker_deps *deps);
void ha_tracker_free(struct ha_tracker *t);
size_t ha_tracker_memory(struct ha_tracker *t);

/* Made when there is none; lives as long as the tracker. */
struct ha_tenant *ha_tracker_tenant(struct ha_tracker *t, struct str id);
/* ha_core_pair. */
uint16_t ha_tenant_pair(struct ha_tenant *t, struct str cluster, struct str replica);
/* ha_core_heard. */
enum ha_verdict ha_tenant_heard(struct ha_tenant *t, uint16_t pair, const struct limits *limits);
/* So many samples of a standby were answered with success and left out. */
void ha_tenant_deduped(struct ha_tenant *t, uint16_t pair, uint64_t samples);
void ha_tenant_hold(struct ha_tenant *t, uint16_t pair, struct ha_body *body, const struct limits *limits);

/* Of all tenants: a JSON object, or an HTML page. */
void ha_tracker_write_json(struct ha_tracker *t, struct buf *out);
void ha_tracker_write_html(struct ha_tracker *t, struct buf *out);
