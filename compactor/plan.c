#include "compactor/plan.h"

#include "common/base/hash.h"

#include <stdlib.h>

enum { HOUR_MS = 60 * 60 * 1000, MINUTE_MS = 60 * 1000 };

const struct plan_cfg plan_cfg_default = {
    .level_ms = {2 * HOUR_MS, 12 * HOUR_MS, 24 * HOUR_MS},
    .settle_ms = 25 * MINUTE_MS,
    .delete_delay_ms = 30 * MINUTE_MS,
    .rewrite_after_ms = 15 * MINUTE_MS,
    .tombstone_keep_ms = 24 * HOUR_MS,
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
    static const char *const names[] = {"mark_done", "delete_l0", "expire", "settle", "forget", "remove", "merge", "rewrite"};

    return names[k];
}

void plan_jobs_free(plan_jobs *jobs)
{
    for (size_t i = 0; i < jobs->n; i++) {
        free(jobs->v[i].blocks);
        free(jobs->v[i].sources);
        free(jobs->v[i].seqs);
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
    if (j->block_count > 0 || j->seq_count > 0)
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

/* Some tombstone or rule for all series. */
static bool all_deleted(const struct tombstone *list, size_t n, const struct index_block *b)
{
    for (size_t i = 0; i < n; i++)
        if (list[i].matcher_count == 0 && list[i].span.mint_ms <= b->mint_ms && list[i].span.maxt_ms >= b->maxt_ms)
            return true;
    return false;
}

/* Nothing in the block is to be seen any more. */
static bool all_hidden(const struct plan *p, const struct plan_tenant *t, const struct index_block *b)
{
    return b->maxt_ms < plan_cutoff_ms(p->in->now_ms, t->retention_ms) ||
           all_deleted(t->index->tombstones.v, t->index->tombstones.n, b) || all_deleted(t->rules, t->rule_count, b);
}

static bool l0_needs_no_merge(const struct plan *p, const struct plan_l0 *l, const struct plan_tenant *t)
{
    return index_covers(t->index, &l->block->id) || all_hidden(p, t, l->block);
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
    uint32_t split = t->split > 1 ? t->split : 0;

    for (size_t i = 0; i < p->in->l0_count; i++) {
        const struct index_block *first = p->in->l0[i].block;
        struct plan_job j = {.kind = PLAN_MERGE, .tenant = t->name, .level = 1, .split = split};

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
            j.series += l->block->series;
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

        if (!b->deleted_ms && all_hidden(p, t, b))
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

/* Blocks of one range that may go into one of level. */
struct group {
    const struct plan_tenant *t;
    uint32_t level;
    int64_t start, span;
};

static bool group_has(const struct group *g, const bool *used, size_t i)
{
    const struct index_block *b = &g->t->index->blocks.v[i];

    return !used[i] && !b->deleted_ms && b->level <= g->level && floor_to(b->range_start_ms, g->span) == g->start;
}

/* Whether all blocks of the group are divided as the tenant wants it. */
static bool group_uniform(const struct group *g, const bool *used)
{
    uint32_t want = g->t->split > 1 ? g->t->split : 0;

    for (size_t i = 0; i < g->t->index->blocks.n; i++)
        if (group_has(g, used, i) && g->t->index->blocks.v[i].shard.n != want)
            return false;
    return true;
}

/* A shard has the sources of all shards: where one of them had no series, that is known too. */
static void group_shard(const struct group *g, struct plan_job *j)
{
    for (size_t i = 0; i < g->t->index->blocks.n; i++) {
        const struct index_block *b = &g->t->index->blocks.v[i];

        if (b->deleted_ms || b->level > g->level || floor_to(b->range_start_ms, g->span) != g->start || b->shard.n != j->shard.n)
            continue;
        add_sources(j, b);
        j->shard.empty &= b->shard.empty;
    }
}

/* Those of the group that belong together with block first; left empty when they are fewer than two. */
static void group_collect(const struct group *g, size_t first, bool uniform, bool *used, struct plan_job *j)
{
    const struct plan_tenant *t = g->t;
    size_t n = 0;

    for (size_t pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < t->index->blocks.n && j->block_count < PLAN_SOURCES_MAX; i++) {
            const struct index_block *b = &t->index->blocks.v[i];

            if (!group_has(g, used, i) || (uniform && b->shard.i != t->index->blocks.v[first].shard.i))
                continue;
            if (pass == 0) {
                n++;
                continue;
            }
            used[i] = true;
            widen(j, b);
            job_block(j, &b->id);
            add_sources(j, b);
            j->series += b->series;
        }
        if (n < 2)
            return;
    }
    if (!uniform) {
        j->split = t->split > 1 ? t->split : 0;
    } else if (t->index->blocks.v[first].shard.n) {
        j->shard = t->index->blocks.v[first].shard;
        group_shard(g, j);
    }
}

static void plan_level(struct plan *p, const struct plan_tenant *t, uint32_t level, bool *used)
{
    int64_t span = p->cfg->level_ms[level - 1];
    struct group g;

    for (size_t i = 0; i < t->index->blocks.n; i++) {
        const struct index_block *b = &t->index->blocks.v[i];
        int64_t start = floor_to(b->range_start_ms, span);
        struct plan_job j = {.kind = PLAN_MERGE, .tenant = t->name, .level = level};

        if (used[i] || b->deleted_ms || b->level > level || start + span + p->cfg->settle_ms > p->in->now_ms ||
            range_waits_for_l0(p, t, start, start + span))
            continue;
        g = (struct group){t, level, start, span};
        group_collect(&g, i, group_uniform(&g, used), used, &j);
        plan_add(p, &j);
    }
}

/* --- tombstones and rules of retention --- */

uint64_t plan_retained(const struct tombstone *rules, size_t n, int64_t maxt_ms)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i++)
        if (rules[i].span.maxt_ms >= maxt_ms)
            sum += rules[i].seq;
    return sum & INT64_MAX;
}

static bool rewrite_due(const struct plan *p, const struct plan_tenant *t, const struct index_block *b)
{
    uint64_t retained = plan_retained(t->rules, t->rule_count, b->maxt_ms);

    if (retained && retained != b->retained)
        return true;
    for (size_t i = 0; i < t->index->tombstones.n; i++) {
        const struct tombstone *s = &t->index->tombstones.v[i];

        if (index_block_pending(b, s) && (s->hurry || p->in->forced || s->created_ms + p->cfg->rewrite_after_ms <= p->in->now_ms))
            return true;
    }
    return false;
}

static void plan_rewrites(struct plan *p, const struct plan_tenant *t, const bool *used)
{
    for (size_t i = 0; i < t->index->blocks.n; i++) {
        const struct index_block *b = &t->index->blocks.v[i];
        struct plan_job j = {.kind = PLAN_REWRITE, .tenant = t->name, .level = b->level, .shard = b->shard, .series = b->series};

        if (used[i] || b->deleted_ms || !rewrite_due(p, t, b))
            continue;
        widen(&j, b);
        job_block(&j, &b->id);
        for (size_t k = 0; k < b->source_count; k++)
            job_source(&j, &b->sources[k]);
        plan_add(p, &j);
    }
}

/* Whether level 0 has samples of the tenant in the span: that wait; or, with gone, at all. */
static bool l0_touches(const struct plan *p, const struct plan_tenant *t, struct time_span span, bool gone)
{
    for (size_t i = 0; i < p->in->l0_count; i++) {
        const struct plan_l0 *l = &p->in->l0[i];

        if (!time_spans_meet(span, (struct time_span){l->block->mint_ms, l->block->maxt_ms}) || (l->readable && !l0_has(l, t->name)))
            continue;
        if (gone || l0_waits(l, t) || (!l->readable && !l->block->deleted_ms))
            return true;
    }
    return false;
}

static bool blocks_pending(const struct plan_tenant *t, const struct tombstone *s)
{
    for (size_t i = 0; i < t->index->blocks.n; i++)
        if (index_block_pending(&t->index->blocks.v[i], s))
            return true;
    return false;
}

/* When heads have given away all that they had at the deletion. */
static int64_t heads_flushed_ms(const struct plan *p, const struct tombstone *s)
{
    return floor_to(MIN(s->span.maxt_ms, s->created_ms), BLOCK_RANGE_MS) + BLOCK_RANGE_MS + p->cfg->settle_ms;
}

static void plan_tombstones(struct plan *p, const struct plan_tenant *t)
{
    struct plan_job settle = {.kind = PLAN_SETTLE, .tenant = t->name}, forget = {.kind = PLAN_FORGET, .tenant = t->name};

    for (size_t i = 0; i < t->index->tombstones.n; i++) {
        const struct tombstone *s = &t->index->tombstones.v[i];
        bool old = s->applied_ms && s->applied_ms + p->cfg->tombstone_keep_ms <= p->in->now_ms;
        struct plan_job *j = old ? &forget : &settle;

        if ((s->applied_ms && !old) || blocks_pending(t, s) || l0_touches(p, t, s->span, old) || heads_flushed_ms(p, s) > p->in->now_ms)
            continue;
        j->seqs = xrealloc(j->seqs, (j->seq_count + 1) * sizeof *j->seqs);
        j->seqs[j->seq_count++] = s->seq;
    }
    plan_add(p, &settle);
    plan_add(p, &forget);
}

/* Largest level first. Blocks about to expire are not worth merging. */
static void plan_levels(struct plan *p, const struct plan_tenant *t)
{
    bool *used = xcalloc(t->index->blocks.n, sizeof *used);

    for (size_t i = 0; i < t->index->blocks.n; i++)
        used[i] = all_hidden(p, t, &t->index->blocks.v[i]);
    for (uint32_t level = PLAN_LEVELS; level >= 2; level--)
        plan_level(p, t, level, used);
    plan_rewrites(p, t, used);
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
    if (a->turn != b->turn)
        return a->turn < b->turn ? -1 : 1;
    if (a->range_start_ms != b->range_start_ms)
        return a->range_start_ms < b->range_start_ms ? -1 : 1;
    return strcmp(a->tenant ? a->tenant : "", b->tenant ? b->tenant : "");
}

static int by_tenant_then_age(const void *pa, const void *pb)
{
    const struct plan_job *a = pa, *b = pb;
    int c = strcmp(a->tenant ? a->tenant : "", b->tenant ? b->tenant : "");

    if (c)
        return c;
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    return (a->range_start_ms > b->range_start_ms) - (a->range_start_ms < b->range_start_ms);
}

/* Gives merges their turn, then sorts. */
static void jobs_order(plan_jobs *jobs)
{
    if (jobs->n == 0)
        return;
    qsort(jobs->v, jobs->n, sizeof *jobs->v, by_tenant_then_age);
    for (size_t i = 1; i < jobs->n; i++)
        if (jobs->v[i].kind >= PLAN_MERGE && jobs->v[i - 1].kind == jobs->v[i].kind && strcmp(jobs->v[i - 1].tenant, jobs->v[i].tenant) == 0)
            jobs->v[i].turn = jobs->v[i - 1].turn + 1;
    qsort(jobs->v, jobs->n, sizeof *jobs->v, by_cost_then_age);
}

uint64_t plan_job_key(const struct plan_job *j)
{
    int64_t words[] = {j->level, j->range_start_ms, j->shard.i};

    /* One compactor leads: all but merges, of which none is the other's affair. */
    return j->kind >= PLAN_MERGE ? hash64(words, sizeof words, 0) | 2 : 1;
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
        plan_tombstones(&p, t);
        for (size_t k = 0; k < t->index->blocks.n; k++)
            plan_removal(&p, &t->index->blocks.v[k], &removes);
        plan_add(&p, &removes);
        plan_level1(&p, t);
        plan_levels(&p, t);
    }
    plan_l0_ends(&p);
    jobs_order(&jobs);
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
