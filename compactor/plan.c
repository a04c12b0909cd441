#include "compactor/plan.h"

#include <stdlib.h>

enum { HOUR_MS = 60 * 60 * 1000, MINUTE_MS = 60 * 1000 };

const struct plan_cfg plan_cfg_default = {
    .level_ms = {2 * HOUR_MS, 12 * HOUR_MS, 24 * HOUR_MS},
    .settle_ms = 25 * MINUTE_MS,
    .delete_delay_ms = 30 * MINUTE_MS,
};

struct plan {
    const struct plan_cfg *cfg;
    const struct plan_input *in;
    plan_jobs *jobs;
};

int64_t plan_cutoff_ms(int64_t now_ms, int64_t retention_ms)
{
    return retention_ms > 0 ? now_ms - retention_ms : INT64_MIN;
}

const char *plan_kind_name(enum plan_kind k)
{
    static const char *const names[] = {"mark_done", "delete_l0", "expire", "remove", "merge"};

    return names[k];
}

void plan_jobs_free(plan_jobs *jobs)
{
    for (size_t i = 0; i < jobs->n; i++) {
        free(jobs->v[i].blocks);
        free(jobs->v[i].sources);
    }
    vec_fini(jobs);
}

static void append_id(struct ulid **v, size_t *n, const struct ulid *id)
{
    *v = xrealloc(*v, (*n + 1) * sizeof **v);
    (*v)[(*n)++] = *id;
}

static void job_block(struct plan_job *j, const struct ulid *id)
{
    append_id(&j->blocks, &j->block_count, id);
}

static void job_source(struct plan_job *j, const struct ulid *id)
{
    append_id(&j->sources, &j->source_count, id);
}

/* Adds the job when it is about anything. */
static void plan_add(struct plan *p, const struct plan_job *j)
{
    if (j->block_count > 0)
        *vec_push(p->jobs) = *j;
}

static int by_text(const void *name, const void *member)
{
    return strcmp(name, *(const char *const *)member);
}

static bool l0_has(const struct plan_l0 *l, const char *tenant)
{
    return l->tenant_count && bsearch(tenant, l->tenants, l->tenant_count, sizeof *l->tenants, by_text);
}

/* A level-0 block with samples of the tenant that nobody has dealt with yet. */
static bool l0_waits(const struct plan_l0 *l, const struct plan_tenant *t)
{
    return l->readable && !l->block->deleted_ms && l0_has(l, t->name) && !index_block_done(l->block, t->name);
}

static bool l0_settled(const struct plan_cfg *cfg, const struct plan_input *in, const struct index_block *b)
{
    return in->forced || b->range_end_ms + cfg->settle_ms <= in->now_ms;
}

static bool l0_needs_no_merge(const struct plan *p, const struct plan_l0 *l, const struct plan_tenant *t)
{
    return index_covers(t->index, &l->block->id) || l->block->maxt_ms < plan_cutoff_ms(p->in->now_ms, t->retention_ms);
}

static void widen(struct plan_job *j, const struct index_block *b)
{
    j->range_start_ms = j->block_count ? MIN(j->range_start_ms, b->range_start_ms) : b->range_start_ms;
    j->range_end_ms = j->block_count ? MAX(j->range_end_ms, b->range_end_ms) : b->range_end_ms;
}

static void plan_done(struct plan *p, const struct plan_tenant *t)
{
    struct plan_job j = {.kind = PLAN_MARK_DONE, .tenant = t->name};

    for (size_t i = 0; i < p->in->l0_count; i++)
        if (l0_waits(&p->in->l0[i], t) && l0_needs_no_merge(p, &p->in->l0[i], t))
            job_block(&j, &p->in->l0[i].block->id);
    plan_add(p, &j);
}

/* One job per 2 h range, begun by the first block of it, joined by the later ones. */
static void plan_level1(struct plan *p, const struct plan_tenant *t)
{
    int64_t span = p->cfg->level_ms[0];
    bool *used = xcalloc(p->in->l0_count, sizeof *used);

    for (size_t i = 0; i < p->in->l0_count; i++) {
        const struct index_block *first = p->in->l0[i].block;
        struct plan_job j = {.kind = PLAN_MERGE, .tenant = t->name, .level = 1};

        for (size_t k = i; k < p->in->l0_count && j.block_count < PLAN_SOURCES_MAX; k++) {
            const struct plan_l0 *l = &p->in->l0[k];

            if (used[k] || !l0_waits(l, t) || l0_needs_no_merge(p, l, t) || !l0_settled(p->cfg, p->in, l->block) ||
                floor_to(l->block->range_start_ms, span) != floor_to(first->range_start_ms, span)) {
                if (k == i)
                    break;
                continue;
            }
            used[k] = true;
            widen(&j, l->block);
            job_block(&j, &l->block->id);
            job_source(&j, &l->block->id);
        }
        plan_add(p, &j);
    }
    free(used);
}

static void plan_expire(struct plan *p, const struct plan_tenant *t)
{
    struct plan_job j = {.kind = PLAN_EXPIRE, .tenant = t->name};

    for (size_t i = 0; i < t->index->blocks.n; i++) {
        const struct index_block *b = &t->index->blocks.v[i];

        if (!b->deleted_ms && b->maxt_ms < plan_cutoff_ms(p->in->now_ms, t->retention_ms))
            job_block(&j, &b->id);
    }
    plan_add(p, &j);
}

static void plan_removal(const struct plan *p, const struct index_block *b, struct plan_job *j)
{
    if (b->deleted_ms && b->deleted_ms + p->cfg->delete_delay_ms <= p->in->now_ms)
        job_block(j, &b->id);
}

static bool range_waits_for_l0(const struct plan *p, const struct plan_tenant *t, int64_t start_ms, int64_t end_ms)
{
    for (size_t i = 0; i < p->in->l0_count; i++) {
        const struct plan_l0 *l = &p->in->l0[i];

        if (l->block->range_start_ms < end_ms && l->block->range_end_ms > start_ms &&
            (l0_waits(l, t) || (!l->readable && !l->block->deleted_ms)))
            return true;
    }
    return false;
}

static void add_sources(struct plan_job *j, const struct index_block *b)
{
    for (size_t i = 0; i < b->source_count; i++) {
        bool there = false;

        for (size_t k = 0; k < j->source_count && !there; k++)
            there = strcmp(j->sources[k].text, b->sources[i].text) == 0;
        if (!there)
            job_source(j, &b->sources[i]);
    }
}

/* Blocks of the tenant that begin in [start, start + span) and are in no larger job yet; left empty when they are fewer than two. */
static void group_collect(const struct plan_tenant *t, uint32_t level, int64_t start, int64_t span, bool *used,
                          struct plan_job *j)
{
    size_t n = 0;

    for (size_t pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < t->index->blocks.n && j->block_count < PLAN_SOURCES_MAX; i++) {
            const struct index_block *b = &t->index->blocks.v[i];

            if (used[i] || b->deleted_ms || b->level > level || floor_to(b->range_start_ms, span) != start)
                continue;
            if (pass == 0) {
                n++;
                continue;
            }
            used[i] = true;
            widen(j, b);
            job_block(j, &b->id);
            add_sources(j, b);
        }
        if (n < 2)
            return;
    }
}

static void plan_level(struct plan *p, const struct plan_tenant *t, uint32_t level, bool *used)
{
    int64_t span = p->cfg->level_ms[level - 1];

    for (size_t i = 0; i < t->index->blocks.n; i++) {
        const struct index_block *b = &t->index->blocks.v[i];
        int64_t start = floor_to(b->range_start_ms, span);
        struct plan_job j = {.kind = PLAN_MERGE, .tenant = t->name, .level = level};

        if (used[i] || b->deleted_ms || b->level > level || start + span + p->cfg->settle_ms > p->in->now_ms ||
            range_waits_for_l0(p, t, start, start + span))
            continue;
        group_collect(t, level, start, span, used, &j);
        plan_add(p, &j);
    }
}

/* Largest level first. Blocks about to expire are not worth merging. */
static void plan_levels(struct plan *p, const struct plan_tenant *t)
{
    bool *used = xcalloc(t->index->blocks.n, sizeof *used);

    for (size_t i = 0; i < t->index->blocks.n; i++)
        used[i] = t->index->blocks.v[i].maxt_ms < plan_cutoff_ms(p->in->now_ms, t->retention_ms);
    for (uint32_t level = PLAN_LEVELS; level >= 2; level--)
        plan_level(p, t, level, used);
    free(used);
}

static void plan_l0_ends(struct plan *p)
{
    struct plan_job deletes = {.kind = PLAN_DELETE_L0}, removes = {.kind = PLAN_REMOVE};

    for (size_t i = 0; i < p->in->l0_count; i++) {
        const struct plan_l0 *l = &p->in->l0[i];
        bool all = l->readable && !l->block->deleted_ms;

        for (size_t k = 0; k < l->tenant_count && all; k++)
            all = index_block_done(l->block, l->tenants[k]);
        if (all)
            job_block(&deletes, &l->block->id);
        plan_removal(p, l->block, &removes);
    }
    plan_add(p, &deletes);
    plan_add(p, &removes);
}

static int by_cost_then_age(const void *pa, const void *pb)
{
    const struct plan_job *a = pa, *b = pb;

    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    if (a->range_start_ms != b->range_start_ms)
        return a->range_start_ms < b->range_start_ms ? -1 : 1;
    return strcmp(a->tenant ? a->tenant : "", b->tenant ? b->tenant : "");
}

void plan_make(const struct plan_cfg *cfg, const struct plan_input *in, plan_jobs *ret)
{
    plan_jobs jobs = {0};
    struct plan p = {cfg, in, &jobs};

    for (size_t i = 0; i < in->tenant_count; i++) {
        const struct plan_tenant *t = &in->tenants[i];
        struct plan_job removes = {.kind = PLAN_REMOVE, .tenant = t->name};

        plan_done(&p, t);
        plan_expire(&p, t);
        for (size_t k = 0; k < t->index->blocks.n; k++)
            plan_removal(&p, &t->index->blocks.v[k], &removes);
        plan_add(&p, &removes);
        plan_level1(&p, t);
        plan_levels(&p, t);
    }
    plan_l0_ends(&p);
    if (jobs.n)
        qsort(jobs.v, jobs.n, sizeof *jobs.v, by_cost_then_age);
    *ret = jobs;
}

int64_t plan_lag_ms(const struct plan_cfg *cfg, const struct plan_input *in, const struct plan_tenant *t)
{
    int64_t oldest = INT64_MAX, newest = INT64_MIN;

    for (size_t i = 0; i < in->l0_count; i++) {
        const struct plan_l0 *l = &in->l0[i];

        if (l->block->range_end_ms + cfg->settle_ms > in->now_ms || !l0_waits(l, t) || index_covers(t->index, &l->block->id))
            continue;
        oldest = MIN(oldest, l->block->range_start_ms);
        newest = MAX(newest, l->block->range_end_ms);
    }
    return newest > oldest ? newest - oldest : 0;
}
