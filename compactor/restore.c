/* restore.c - a snapshot's samples back into its tenant, as new blocks: one for each day, made by the code that merges. */
#include "compactor/compactor_impl.h"
#include "compactor/edit.h"
#include "tsdb/snapshot.h"

#include <stdlib.h>

/* A day's blocks of the snapshot, as a job without an index. */
static void day_job(const struct index *snap, const char *tenant, int64_t start, int64_t span, struct plan_job *j)
{
    *j = (struct plan_job){.kind = PLAN_MERGE, .tenant = tenant, .level = 1};
    j->blocks = xcalloc(snap->blocks.n, sizeof *j->blocks);
    for (size_t i = 0; i < snap->blocks.n; i++) {
        const struct index_block *b = &snap->blocks.v[i];

        if (floor_to(b->range_start_ms, span) != start)
            continue;
        j->range_start_ms = j->block_count ? MIN(j->range_start_ms, b->range_start_ms) : b->range_start_ms;
        j->range_end_ms = j->block_count ? MAX(j->range_end_ms, b->range_end_ms) : b->range_end_ms;
        j->level = MAX(j->level, b->level);
        j->blocks[j->block_count++] = b->id;
    }
}

struct restoring {
    const struct index *snap;
    const struct block_meta *metas;
    size_t n;
};

/* Deletions since the snapshot would hide what comes back. */
static bool hides(const struct restoring *r, const struct tombstone *t)
{
    if (t->seq <= r->snap->tombstone_seq)
        return false;
    for (size_t i = 0; i < r->snap->blocks.n; i++)
        if (time_spans_meet(t->span, (struct time_span){r->snap->blocks.v[i].mint_ms, r->snap->blocks.v[i].maxt_ms}))
            return true;
    return false;
}

static int check_tombstones(const struct restoring *r, const struct index *ix, struct err *err)
{
    for (size_t i = 0; i < ix->tombstones.n; i++)
        if (hides(r, &ix->tombstones.v[i]) && !ix->tombstones.v[i].applied_ms)
            return err_set(err, RC_UNAVAILABLE, "deletion %llu is younger than the snapshot and not applied yet: its samples would come back from elsewhere too",
                           (unsigned long long)ix->tombstones.v[i].seq);
    return 0;
}

static int restore_edit(void *arg, struct index *ix, struct err *err)
{
    const struct restoring *r = arg;
    size_t kept = 0;
    int rc = check_tombstones(r, ix, err);

    if (rc < 0)
        return rc;
    if (r->n == 0 || index_find(ix, &r->metas[0].id))
        return 1;
    for (size_t i = 0; i < ix->tombstones.n; i++) {
        if (hides(r, &ix->tombstones.v[i]))
            tombstone_fini(&ix->tombstones.v[i]);
        else
            ix->tombstones.v[kept++] = ix->tombstones.v[i];
    }
    ix->tombstones.n = kept;
    for (size_t i = 0; i < r->n; i++) {
        index_put_meta(ix, &r->metas[i]);
        ix->blocks.v[ix->blocks.n - 1].applied = r->snap->tombstone_seq;
    }
    return 0;
}

static bool day_seen(const struct index *snap, size_t i, int64_t span)
{
    for (size_t k = 0; k < i; k++)
        if (floor_to(snap->blocks.v[k].range_start_ms, span) == floor_to(snap->blocks.v[i].range_start_ms, span))
            return true;
    return false;
}

typedef VEC(struct block_meta) meta_list;

/* Blocks of a day into one; what the tombstones of the snapshot hide stays away. */
static int days_merge(struct compactor *c, const char *tenant, const struct index *snap, meta_list *ret, struct err *err)
{
    int64_t span = c->plan.level_ms[PLAN_LEVELS - 1];
    struct job_env env = {.bucket = c->deps.bucket, .scratch = c->cfg.scratch_dir, .now_ms = compactor_now_ms(c), .cutoff_ms = INT64_MIN,
                          .hidden = snap->tombstones.v, .hidden_count = snap->tombstones.n, .cancel = &c->cancel, .series_done = &c->series_done};
    int rc = 0;

    for (size_t i = 0; i < snap->blocks.n && rc == 0; i++) {
        struct job_result r = {0};
        struct plan_job j;
        struct ulid bad;

        if (day_seen(snap, i, span))
            continue;
        day_job(snap, tenant, floor_to(snap->blocks.v[i].range_start_ms, span), span, &j);
        rc = job_merge(&env, &j, &r, &bad, err);
        for (size_t k = 0; k < r.n; k++)
            *vec_push(ret) = r.metas[k]; /* with what it owns */
        free(r.metas);
        free(j.blocks);
    }
    return rc;
}

int compactor_restore(struct compactor *c, const char *tenant, const char *name, uint64_t *ret_samples, struct err *err)
{
    struct index snap, now;
    meta_list metas = {0};
    struct restoring r = {.snap = &snap};
    uint64_t samples = 0;
    int rc = snapshot_load(c->deps.bucket, tenant, name, &snap, err);

    if (rc < 0)
        return rc;
    mutex_lock(&c->run_lock);
    rc = index_load(c->deps.bucket, tenant, &now, err);
    if (rc == 0) {
        rc = check_tombstones(&r, &now, err);
        index_fini(&now);
    }
    if (rc == 0)
        rc = days_merge(c, tenant, &snap, &metas, err);
    r.metas = metas.v;
    r.n = metas.n;
    if (rc == 0)
        rc = index_update(c->deps.bucket, tenant, restore_edit, &r, NULL, err);
    mutex_unlock(&c->run_lock);
    for (size_t i = 0; i < metas.n; i++) {
        samples += metas.v[i].samples;
        block_meta_fini(&metas.v[i]);
    }
    vec_fini(&metas);
    index_fini(&snap);
    if (rc == 0)
        *ret_samples = samples;
    return rc;
}
