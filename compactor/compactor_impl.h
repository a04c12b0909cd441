/* compactor_impl.h - the inside of the compactor: compactor.c (life, metrics), view.c (what there is), run.c (doing it), status.c (telling). */
#pragma once
#include "common/sys/thread.h"
#include "compactor/compactor.h"
#include "compactor/job.h"

enum {
    RUN_PASSES_MAX = 200,   /* plans in one run; work left over is done by the next one */
    SWEEP_INTERVAL_MS = 60 * 60 * 1000,
    TENANT_ROOM = 160,
};

/* Tenants of one level-0 block: immutable, so they are read once. */
struct known_block {
    struct ulid id;
    fs_names tenants;
    bool readable, seen;
};

struct tenant_status {
    char name[TENANT_ROOM];
    uint64_t gen, blocks, bytes, series, samples, deleted, quarantined, tombstones; /* those that wait */
    uint64_t level_blocks[PLAN_LEVELS + 1];
    int64_t lag_ms, retention_ms, mint_ms, maxt_ms;
};

struct compactor_metrics {
    struct metric *runs, *run_failures, *quarantined, *series, *samples, *bytes, *orphans, *last_success;
    struct metric_family *jobs, *lag, *tombstones;
};

struct compactor {
    struct compactor_cfg cfg; /* --- read-only after new --- */
    struct compactor_deps deps;
    struct plan_cfg plan;
    struct compactor_metrics m;
    int64_t wall0_ms, mono0_ms; /* both clocks at new */
    struct mutex run_lock;    /* --- one run at a time; before lock --- */
    VEC(struct known_block) known;
    int64_t swept_ms;
    atomic_bool cancel;       /* --- any thread --- */
    atomic_uint_fast64_t series_done;
    struct mutex lock;        /* --- guards the rest --- */
    struct cond wake;
    pthread_t thread;
    bool started, stopping, woken, forced;
    VEC(struct tenant_status) tenants;
    uint64_t l0_blocks, l0_bytes, l0_quarantined;
    char job[256];            /* at hand; "" when idle */
    uint64_t job_series;      /* of its inputs together */
    char last_error[ERR_TEXT_MAX];
    int64_t last_run_ms;
};

/* --- view.c: indexes and what the plan needs beside them --- */
struct view_tenant {
    char *name;
    struct index index;
    tombstones rules;
};
struct view {
    struct index l0;
    VEC(struct plan_l0) l0s;
    VEC(struct view_tenant) owned;
    VEC(struct plan_tenant) plan_tenants;
    struct plan_input in;
    size_t damaged;  /* level-0 blocks that were moved aside while looking: look again */
    bool complete;   /* every index there is was read */
};
/* Also creates the index of each tenant seen and refreshes status and lag. RC only when level 0 cannot be read. */
int view_load(struct compactor *c, bool forced, struct view *ret, struct err *err);
void view_fini(struct view *v);
const struct known_block *known_find(const struct compactor *c, const struct ulid *id);
void known_free(struct compactor *c);
/* Moves a block aside, counts and logs it. 0 also when it was not there to be moved, being deleted or moved already: look again. */
int quarantine(struct compactor *c, const char *tenant, const struct ulid *id, const struct err *why);

/* Wall time that never runs ahead of the monotonic clock: a host whose clock jumps to next year must not expire anything. */
int64_t compactor_now_ms(const struct compactor *c);

/* --- run.c --- */
int run_job(struct compactor *c, const struct view *v, const struct plan_job *job, struct err *err);
void run_trim(struct compactor *c, const struct view *v);
/* Removes the files of blocks that no index names. */
int run_sweep(struct compactor *c, struct err *err);

/* --- status.c --- */
void status_refresh(struct compactor *c, const struct view *v);
