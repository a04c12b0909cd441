#include "compactor/compactor_impl.h"

#include "common/base/planted.h"

#include <stdio.h>
#include <stdlib.h>

#define AT(field) offsetof(struct compactor_cfg, field)
const struct option compactor_options[] = {
    {"compactor.scratch-dir", OPT_STRING, AT(scratch_dir),
     .doc = "Local directory for blocks that are being written; emptied at start. Empty: compactor/ below data-dir."},
    {"compactor.interval", OPT_DURATION, AT(interval_ms), .def = "1m", .min = "1s", .max = "1h", .doc = "Time between two runs."},
    {"compactor.settle", OPT_DURATION, AT(settle_ms), .def = "25m", .max = "24h",
     .doc = "A time range is merged once its end is this long ago: every replica's block should be there by then."},
    {"compactor.delete-delay", OPT_DURATION, AT(delete_delay_ms), .def = "30m", .max = "7d",
     .doc = "Merged and expired blocks are removed this long after they were marked, so that readers can let go of them."},
    {"compactor.rewrite-after", OPT_DURATION, AT(rewrite_after_ms), .def = "15m", .max = "30d",
     .doc = "A block that no merge is about to take is rewritten without deleted samples this long after the deletion; several deletions then cost one rewrite."},
    {"compactor.tombstone-keep", OPT_DURATION, AT(tombstone_keep_ms), .def = "24h", .min = "1h", .max = "90d",
     .doc = "How long a deletion is remembered after the last block was rewritten: what an ingester that was away ships in that time is hidden and removed too."},
    {"compactor.orphan-age", OPT_DURATION, AT(orphan_age_ms), .def = "3d", .max = "30d",
     .doc = "Files of a block that no index names are removed at this age; 0 keeps them."},
    {0},
};

static void metrics_make(struct compactor *c)
{
    static const char *const job_labels[] = {"kind", "result", NULL}, *const lag_labels[] = {"tenant", NULL};
    struct metrics *m = c->deps.metrics;

    c->m = (struct compactor_metrics){
        .runs = metrics_counter(m, "torc_compactor_runs_total", "Runs of the compactor."),
        .run_failures = metrics_counter(m, "torc_compactor_runs_failed_total", "Runs in which something failed."),
        .quarantined = metrics_counter(m, "torc_compactor_blocks_quarantined_total", "Damaged blocks moved aside."),
        .series = metrics_counter(m, "torc_compactor_series_written_total", "Series written into merged blocks."),
        .samples = metrics_counter(m, "torc_compactor_samples_written_total", "Samples written into merged blocks."),
        .bytes = metrics_counter(m, "torc_compactor_bytes_written_total", "Bytes of merged blocks."),
        .orphans = metrics_counter(m, "torc_compactor_orphans_removed_total", "Blocks removed because no index names them."),
        .last_success = metrics_gauge(m, "torc_compactor_last_successful_run_timestamp_seconds",
                                      "Unix time of the last run in which nothing failed."),
        .jobs = metrics_family(m, METRIC_COUNTER, "torc_compactor_jobs_total", "Jobs by kind and result.", job_labels),
        .tombstones = metrics_family(m, METRIC_GAUGE, "torc_compactor_tombstones_waiting",
                                     "Deletions of a tenant whose samples are hidden but may still be stored.", lag_labels),
        .lag = metrics_family(m, METRIC_GAUGE, "torc_compactor_lag_seconds",
                              "Span of a tenant's data that waits to be merged from level 0.", lag_labels),
    };
}

int compactor_new(const struct compactor_cfg *cfg, const struct compactor_deps *deps, struct compactor **ret, struct err *err)
{
    struct compactor *c;
    int rc = fs_remove_tree(cfg->scratch_dir, err);

    if (rc == 0)
        rc = fs_mkdirs(cfg->scratch_dir, err);
    if (rc < 0)
        return err_wrap(err, rc, "compactor");
    c = xcalloc(1, sizeof *c);
    c->cfg = *cfg;
    c->cfg.scratch_dir = xstrdup(cfg->scratch_dir);
    c->deps = *deps;
    c->wall0_ms = clock_wall_ms(deps->clock);
    c->mono0_ms = clock_mono_ms(deps->clock);
    c->plan = plan_cfg_default;
    c->plan.settle_ms = cfg->settle_ms;
    c->plan.delete_delay_ms = cfg->delete_delay_ms;
    c->plan.rewrite_after_ms = cfg->rewrite_after_ms;
    c->plan.tombstone_keep_ms = cfg->tombstone_keep_ms;
    mutex_init(&c->run_lock);
    mutex_init(&c->lock);
    cond_init(&c->wake);
    metrics_make(c);
    *ret = c;
    return 0;
}

void compactor_free(struct compactor *c)
{
    if (!c)
        return;
    compactor_stop(c);
    known_free(c);
    vec_fini(&c->tenants);
    cond_fini(&c->wake);
    mutex_fini(&c->lock);
    mutex_fini(&c->run_lock);
    free(c->cfg.scratch_dir);
    free(c);
}

int64_t compactor_now_ms(const struct compactor *c)
{
    int64_t steady = c->wall0_ms + clock_mono_ms(c->deps.clock) - c->mono0_ms;

    if (PLANTED("retention-by-wall-clock"))
        return clock_wall_ms(c->deps.clock);
    return MIN(steady, clock_wall_ms(c->deps.clock));
}

/* A job that failed in this run is not tried again in it. */
struct failed {
    char tenant[TENANT_ROOM];
    enum plan_kind kind;
    uint32_t level;
    int64_t range_start_ms;
    uint32_t shard;
};
typedef VEC(struct failed) failed_list;

static struct failed failed_of(const struct plan_job *j)
{
    struct failed f = {.kind = j->kind, .level = j->level, .range_start_ms = j->range_start_ms, .shard = j->shard.i};

    snprintf(f.tenant, sizeof f.tenant, "%s", j->tenant ? j->tenant : "");
    return f;
}

static bool failed_before(const failed_list *l, const struct plan_job *j)
{
    struct failed f = failed_of(j);

    for (size_t i = 0; i < l->n; i++)
        if (l->v[i].kind == f.kind && l->v[i].level == f.level && l->v[i].range_start_ms == f.range_start_ms && l->v[i].shard == f.shard &&
            strcmp(l->v[i].tenant, f.tenant) == 0)
            return true;
    return false;
}

static void job_note(struct compactor *c, const struct plan_job *j)
{
    mutex_lock(&c->lock);
    if (j)
        snprintf(c->job, sizeof c->job, "%s %s level %u: %zu blocks", plan_kind_name(j->kind), j->tenant ? j->tenant : "level 0",
                 j->level, j->block_count);
    else
        c->job[0] = '\0';
    c->job_series = j ? j->series : 0;
    mutex_unlock(&c->lock);
    atomic_store(&c->series_done, 0);
}

static const char *result_name(int rc)
{
    return rc == 0 ? "success" : rc == RC_STALE ? "stale" : rc == RC_CANCELED ? "canceled" : "failure";
}

static bool mine(const struct compactor *c, const struct plan_job *j)
{
    return !c->deps.owns || !j->tenant || c->deps.owns(c->deps.arg, j->tenant, plan_job_key(j));
}

/* Runs what the plan says. Returns how many jobs had an effect; RC_CANCELED. The first failure goes into *ret_first and err. */
static int jobs_run(struct compactor *c, const struct view *v, const plan_jobs *jobs, failed_list *failed, int *ret_first,
                    struct err *err)
{
    int effective = 0;

    for (size_t i = 0; i < jobs->n; i++) {
        const struct plan_job *j = &jobs->v[i];
        struct err why = {0};
        int rc;

        if (failed_before(failed, j) || !mine(c, j))
            continue;
        job_note(c, j);
        rc = run_job(c, v, j, &why);
        job_note(c, NULL);
        metric_inc(metric_with(c->m.jobs, plan_kind_name(j->kind), result_name(rc), NULL));
        if (rc == RC_CANCELED)
            return rc;
        if (rc == 0 || rc == RC_STALE) {
            effective++;
            continue;
        }
        log_warn(c->deps.log, "compaction job failed, will retry", "kind", plan_kind_name(j->kind), "tenant",
                 j->tenant ? j->tenant : "", "err", err_log(&why));
        *vec_push(failed) = failed_of(j);
        if (*ret_first == 0) {
            *ret_first = rc;
            *err = why;
        }
    }
    return effective;
}

/* One look and what follows from it: positive when there may be more. */
static int pass(struct compactor *c, bool forced, failed_list *failed, int *ret_first, struct err *err)
{
    struct err why = {0};
    struct view v;
    plan_jobs jobs;
    int rc = view_load(c, forced, &v, &why);

    if (rc < 0) {
        *err = why;
        return rc;
    }
    plan_make(&c->plan, &v.in, &jobs);
    rc = jobs_run(c, &v, &jobs, failed, ret_first, err);
    if (rc == 0)
        run_trim(c, &v);
    if (v.damaged > 0 && rc == 0)
        rc = 1;
    plan_jobs_free(&jobs);
    view_fini(&v);
    return rc;
}

static void run_note(struct compactor *c, int rc, const struct err *err)
{
    int64_t now = clock_wall_ms(c->deps.clock);

    metric_inc(c->m.runs);
    if (rc == 0)
        metric_set(c->m.last_success, (double)now / 1000);
    else
        metric_inc(c->m.run_failures);
    mutex_lock(&c->lock);
    c->last_run_ms = now;
    snprintf(c->last_error, sizeof c->last_error, "%s", rc == 0 ? "" : err_text(err));
    mutex_unlock(&c->lock);
}

int compactor_run_once(struct compactor *c, bool forced, struct err *err)
{
    failed_list failed = {0};
    struct err why = {0};
    int rc = 1, first = 0;

    mutex_lock(&c->run_lock);
    for (int i = 0; rc > 0 && i < RUN_PASSES_MAX; i++)
        rc = pass(c, forced, &failed, &first, &why);
    if (rc >= 0)
        rc = first;
    if (rc == 0 && c->cfg.orphan_age_ms > 0 && compactor_now_ms(c) - c->swept_ms >= SWEEP_INTERVAL_MS)
        rc = run_sweep(c, &why);
    vec_fini(&failed);
    run_note(c, rc, &why);
    mutex_unlock(&c->run_lock);
    if (rc < 0 && err)
        *err = why;
    return rc;
}

/* --- the thread --- */

/* False when it is time to stop. */
static bool wait_for_work(struct compactor *c, bool *ret_forced)
{
    int64_t until = clock_mono_ms(clock_system()) + c->cfg.interval_ms;
    bool go;

    mutex_lock(&c->lock);
    while (!c->stopping && !c->woken) {
        int64_t left = until - clock_mono_ms(clock_system());

        if (left <= 0)
            break;
        cond_wait_ms(&c->wake, &c->lock, left);
    }
    go = !c->stopping;
    *ret_forced = c->forced;
    c->woken = c->forced = false;
    mutex_unlock(&c->lock);
    return go;
}

static void *compactor_main(void *arg)
{
    struct compactor *c = arg;
    bool forced;

    while (wait_for_work(c, &forced)) {
        struct err err = {0};
        int rc = compactor_run_once(c, forced, &err);

        if (rc < 0 && rc != RC_CANCELED)
            log_warn(c->deps.log, "compactor run failed, will retry", "err", err_log(&err));
    }
    return NULL;
}

void compactor_start(struct compactor *c)
{
    ASSERT(!c->started);
    c->started = true;
    c->woken = true; /* look at once */
    c->thread = thread_start("compactor", compactor_main, c);
}

void compactor_stop(struct compactor *c)
{
    if (!c->started)
        return;
    atomic_store(&c->cancel, true);
    mutex_lock(&c->lock);
    c->stopping = true;
    cond_broadcast(&c->wake);
    mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    c->started = c->stopping = false;
    atomic_store(&c->cancel, false);
}

void compactor_wake(struct compactor *c, bool forced)
{
    mutex_lock(&c->lock);
    c->woken = true;
    c->forced |= forced;
    cond_broadcast(&c->wake);
    mutex_unlock(&c->lock);
}
