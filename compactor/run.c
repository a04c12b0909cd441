#include "common/base/fault.h"
#include "common/base/planted.h"
#include "compactor/compactor_impl.h"
#include "compactor/edit.h"
#include "tsdb/snapshot.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* meta.json first: what is left after a crash is no block. */
static int block_remove_files(struct bucket *b, const struct ulid *id, struct err *err)
{
    char name[128], prefix[64];
    bucket_list files;
    int rc;

    snprintf(prefix, sizeof prefix, "blocks/%s/", id->text);
    snprintf(name, sizeof name, "%smeta.json", prefix);
    rc = b->ops->remove(b, name, err);
    FAULT(FAULT_CRASH, _exit(99));
    if (rc == 0)
        rc = b->ops->list(b, prefix, &files, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; rc == 0 && i < files.n; i++)
        rc = b->ops->remove(b, files.v[i].name, err);
    bucket_list_free(&files);
    return rc;
}

static int run_remove(struct compactor *c, const struct plan_job *job, struct err *err)
{
    ulid_list pins = {0};
    int rc = snapshot_pins(c->deps.bucket, &pins, err);

    for (size_t i = 0; rc == 0 && i < job->block_count; i++)
        if (!ulid_list_has(&pins, &job->blocks[i]))
            rc = block_remove_files(c->deps.bucket, &job->blocks[i], err);
    vec_fini(&pins);
    FAULT(FAULT_CRASH, _exit(99));
    return rc == 0 ? edit_forget(c->deps.bucket, job->tenant, job->blocks, job->block_count, err) : rc;
}

static bool l0_all_done(void *arg, const struct index_block *b)
{
    const struct known_block *k = known_find(arg, &b->id);

    if (!k)
        return false;
    for (size_t i = 0; i < k->tenants.n; i++)
        if (!index_block_done(b, k->tenants.v[i]))
            return false;
    return true;
}

static void count_result(struct compactor *c, const struct job_result *r)
{
    for (size_t i = 0; i < r->n; i++) {
        metric_add(c->m.series, r->metas[i].series);
        metric_add(c->m.samples, r->metas[i].samples);
        metric_add(c->m.bytes, r->metas[i].bytes);
    }
}

/* The result exists in the bucket; now the indexes, in the order that readers rely on. */
static int merge_publish(struct compactor *c, const struct plan_job *job, const struct job_result *r, const struct edit_done *done, struct err *err)
{
    struct bucket *b = c->deps.bucket;
    int rc;

    if (PLANTED("sources-go-first") && job->level == 1)
        edit_mark_done(b, job->blocks, job->block_count, job->tenant, NULL);
    FAULT(FAULT_CRASH, _exit(99));
    rc = edit_publish(b, job, r->metas, r->n, done, compactor_now_ms(c), err);
    for (size_t i = 0; rc == RC_STALE && i < r->n; i++)
        block_remove_files(b, &r->metas[i].id, NULL); /* never named by an index; the sweep gets what is left */
    FAULT(FAULT_CRASH, _exit(99));
    if (rc == 0 && job->kind == PLAN_MERGE && job->level == 1)
        rc = edit_mark_done(b, job->blocks, job->block_count, job->tenant, err);
    FAULT(FAULT_CRASH, _exit(99));
    return rc;
}

/* Those of the index and those of retention, as one list that borrows from the view. */
static struct tombstone *hidden_of(const struct plan_tenant *t, size_t *ret_n)
{
    const tombstones *own = &t->index->tombstones;
    struct tombstone *v = xcalloc(own->n + t->rule_count + 1, sizeof *v);

    *ret_n = own->n + t->rule_count;
    if (own->n)
        memcpy(v, own->v, own->n * sizeof *v);
    if (t->rule_count)
        memcpy(v + own->n, t->rules, t->rule_count * sizeof *v);
    return v;
}

static int merge_run(struct compactor *c, const struct plan_job *job, const struct job_env *env, const struct edit_done *done, struct err *err)
{
    bool rewrite = job->kind == PLAN_REWRITE, touched = true;
    struct job_result r = {0};
    struct ulid bad = {{0}};
    int rc = rewrite ? job_touches(env, job, &touched, &bad, err) : 0;

    if (rc == 0 && !touched)
        return edit_applied(c->deps.bucket, job->tenant, &job->blocks[0], done, err);
    if (rc == 0)
        rc = job_merge(env, job, &r, &bad, err);
    /* Also when somebody removed the block meanwhile: then it is marked deleted, stays where it is, and only the plan is stale. */
    if (rc < 0 && bad.text[0])
        return quarantine(c, job->level == 1 && !rewrite ? NULL : job->tenant, &bad, err) == 0 ? RC_STALE : rc;
    if (rc < 0)
        return rc;
    rc = merge_publish(c, job, &r, done, err);
    if (rc == 0) {
        count_result(c, &r);
        log_info(c->deps.log, rewrite ? "block rewritten" : "blocks merged", "tenant", job->tenant, "level", log_i64(job->level), "blocks",
                 log_i64((int64_t)job->block_count), "result", r.n ? r.metas[0].id.text : "nothing", "results",
                 log_i64((int64_t)r.n));
    }
    job_result_fini(&r);
    return rc;
}

static const struct plan_tenant *tenant_in(const struct view *v, const char *tenant)
{
    for (size_t i = 0; i < v->in.tenant_count; i++)
        if (strcmp(v->in.tenants[i].name, tenant) == 0)
            return &v->in.tenants[i];
    return NULL;
}

static int run_merge(struct compactor *c, const struct view *v, const struct plan_job *job, struct err *err)
{
    const struct plan_tenant *t = tenant_in(v, job->tenant);
    int64_t now = compactor_now_ms(c);
    struct edit_done done;
    struct job_env env;
    size_t hidden_count;
    struct tombstone *hidden;
    int rc;

    ASSERT(t);
    hidden = hidden_of(t, &hidden_count);
    done = (struct edit_done){t->index->tombstone_seq, t->rules, t->rule_count};
    env = (struct job_env){
        .bucket = c->deps.bucket, .scratch = c->cfg.scratch_dir, .now_ms = now, .cutoff_ms = plan_cutoff_ms(now, t->retention_ms),
        .hidden = hidden, .hidden_count = hidden_count, .cancel = &c->cancel, .series_done = &c->series_done,
    };
    rc = merge_run(c, job, &env, &done, err);
    free(hidden);
    return rc;
}

int run_job(struct compactor *c, const struct view *v, const struct plan_job *job, struct err *err)
{
    struct bucket *b = c->deps.bucket;
    int64_t now = compactor_now_ms(c);

    if (atomic_load(&c->cancel))
        return err_set(err, RC_CANCELED, "stopping");
    switch (job->kind) {
    case PLAN_MARK_DONE:
        return edit_mark_done(b, job->blocks, job->block_count, job->tenant, err);
    case PLAN_DELETE_L0:
        return edit_delete(b, NULL, job->blocks, job->block_count, l0_all_done, c, now, err);
    case PLAN_EXPIRE:
        return edit_delete(b, job->tenant, job->blocks, job->block_count, NULL, NULL, now, err);
    case PLAN_SETTLE:
        return edit_settle(b, job, now, err);
    case PLAN_FORGET:
        return edit_forget_tombstones(b, job, err);
    case PLAN_REMOVE:
        return run_remove(c, job, err);
    case PLAN_MERGE:
    case PLAN_REWRITE:
        return run_merge(c, v, job, err);
    }
    return err_set(err, RC_INTERNAL, "no such kind of job: %d", (int)job->kind);
}

void run_trim(struct compactor *c, const struct view *v)
{
    struct err err;

    if (v->l0.gen > INDEX_KEEP && index_trim(c->deps.bucket, NULL, &err) < 0)
        log_warn(c->deps.log, "index not trimmed, will retry", "err", err_log(&err));
    for (size_t i = 0; i < v->owned.n; i++)
        if (v->owned.v[i].index.gen > INDEX_KEEP && index_trim(c->deps.bucket, v->owned.v[i].name, &err) < 0)
            log_warn(c->deps.log, "index not trimmed, will retry", "tenant", v->owned.v[i].name, "err", err_log(&err));
}

/* --- orphans --- */

/* Ids of blocks with files in the bucket that are older than before_ms. */
static int old_blocks(struct bucket *b, int64_t before_ms, ulid_list *ret, struct err *err)
{
    const size_t at = strlen("blocks/");
    bucket_list files;
    int rc = b->ops->list(b, "blocks/", &files, err);

    for (size_t i = 0; rc == 0 && i < files.n; i++) {
        struct str name = str_of(files.v[i].name);
        struct ulid id;

        if (name.n <= at + ULID_TEXT || !ulid_valid(str_sub(name, at, at + ULID_TEXT)))
            continue;
        memcpy(id.text, name.p + at, ULID_TEXT);
        id.text[ULID_TEXT] = '\0';
        if (ulid_time_ms(&id) < before_ms && !(ret->n && strcmp(ret->v[ret->n - 1].text, id.text) == 0))
            *vec_push(ret) = id;
    }
    if (rc == 0)
        bucket_list_free(&files);
    return rc;
}

static void strike_out(ulid_list *l, const index_blocks *named)
{
    for (size_t i = 0; i < named->n; i++)
        for (size_t k = 0; k < l->n; k++)
            if (strcmp(l->v[k].text, named->v[i].id.text) == 0) {
                vec_remove_swap(l, k);
                break;
            }
}

static int strike_pinned(struct bucket *b, ulid_list *l, struct err *err)
{
    ulid_list pins = {0};
    int rc = snapshot_pins(b, &pins, err);

    for (size_t i = 0; rc == 0 && i < l->n;) {
        if (ulid_list_has(&pins, &l->v[i]))
            vec_remove_swap(l, i);
        else
            i++;
    }
    vec_fini(&pins);
    return rc;
}

/* Takes out of l what any index names, level 0 or a tenant's, and what snapshots have; all of them must be readable. */
static int strike_named(struct bucket *b, ulid_list *l, struct err *err)
{
    fs_names tenants = {0};
    struct index ix;
    int rc = strike_pinned(b, l, err);

    if (rc == 0)
        rc = index_tenants(b, &tenants, err);

    for (size_t i = 0; rc == 0 && i <= tenants.n; i++) {
        rc = index_load(b, i == 0 ? NULL : tenants.v[i - 1], &ix, err);
        if (rc < 0)
            break;
        strike_out(l, &ix.blocks);
        strike_out(l, &ix.quarantined);
        index_fini(&ix);
    }
    fs_names_free(&tenants);
    return rc;
}

int run_sweep(struct compactor *c, struct err *err)
{
    int64_t now = compactor_now_ms(c);
    ulid_list l = {0};
    int rc = old_blocks(c->deps.bucket, now - c->cfg.orphan_age_ms, &l, err);

    /* After the listing: what an index takes in meanwhile is struck out too. */
    if (rc == 0 && l.n > 0)
        rc = strike_named(c->deps.bucket, &l, err);
    for (size_t i = 0; rc == 0 && i < l.n; i++) {
        rc = block_remove_files(c->deps.bucket, &l.v[i], err);
        if (rc == 0) {
            metric_inc(c->m.orphans);
            log_info(c->deps.log, "block that no index names removed", "block", l.v[i].text);
        }
    }
    vec_fini(&l);
    c->swept_ms = now;
    return rc;
}
