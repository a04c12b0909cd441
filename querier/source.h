/* source.h - the series of one query: ingesters (fanout.h) and blocks (blocks.h) as one series
 * source for the PromQL engine. A selection holds everything compressed; each series is merged and
 * decoded when the engine asks for it. What a selection holds counts against the arena of the query
 * and goes when its cursor is freed, labels too. What deletions and rules of retention hide
 * (hiding.h) is left out. Several tenants (a|b) are selected one after the
 * other; their series get the label __tenant_id__, and matchers on it choose tenants. A stale index
 * or another ring version is retried with fresh ones, SOURCE_ATTEMPTS times, then RC_UNAVAILABLE.
 * Threads: one. */
#pragma once
#include "promql/source.h"
#include "querier/blocks.h"

#include "common/config/limits.h"
#include "common/model/tenant.h"

enum { SOURCE_ATTEMPTS = 8, SOURCE_PAUSE_MS = 400 };
#define LABEL_TENANT "__tenant_id__"

/* What queries of a process share. */
struct source_env {
    struct blocks *blocks;
    struct rpc_client *rpc;
    const struct clock *clock;
    struct ring *(*ring)(void *arg); /* with a reference; NULL: not joined yet */
    void *ring_arg;
    int64_t hedge_ms;
    struct overrides *overrides; /* rules of retention; NULL: none */
    struct metric_family *retries; /* by reason: stale, moved, not_found */
};

struct source {
    struct series_source base;
    const struct source_env *env;
    struct str tenants[TENANT_FEDERATION_MAX];
    size_t tenant_count;
    int64_t deadline_mono_ns;
    const atomic_bool *cancel;
    int64_t mint_floor_ms; /* earlier samples are not read */
    struct trace_node *trace; /* of the select at hand */
    uint32_t shard, shard_count; /* of the series, by fingerprint; count 0: all */
    struct fetch_limits limits;
    struct fetch_used used;
    struct fetch_day *days; /* limits.days of them; NULL: not counted by day */
};
/* Everything borrowed. */
void source_init(struct source *s, const struct source_env *env, const struct str *tenants,
                 size_t tenant_count, int64_t deadline_mono_ns, const atomic_bool *cancel);
void source_fan_cfg(const struct source *s, struct fan_cfg *ret);

/* One attempt at a question over the ring and the view given; *set was emptied before. */
typedef int source_try_fn(void *arg, const struct ring *ring, const struct blocks_view *view,
                          struct err *err);
/* Runs fn until it does not answer RC_STALE, RC_MOVED or RC_NOT_FOUND, each time with fresh ring
 * and view. */
int source_try(struct source *s, struct str tenant, source_try_fn *fn, void *arg, struct err *err);

/* All series of one tenant; mode STORE_LABELS or STORE_DATA. set is empty; its arena is reset
 * between attempts and must hold nothing else. */
int source_gather(struct source *s, const struct store_select *q, struct series_set *set,
                  struct err *err);
/* The same of the ingesters alone: what they hold and no block has yet. */
int source_gather_heads(struct source *s, const struct store_select *q, struct series_set *set,
                        struct err *err);
/* Whether the tenant is chosen by the matchers on LABEL_TENANT; the others are copied (shallow) to
 * ret, which has room for all. */
bool source_tenant_chosen(struct str tenant, const struct matcher *m, size_t n, struct matcher *ret,
                          size_t *ret_n);
/* ls with LABEL_TENANT; memory from the arena. RC_NOMEM. */
int source_label_tenant(struct str tenant, const struct labels *ls, struct arena *a,
                        struct labels *ret, struct err *err);
