#include "compactor/edit.h"

#include <stdio.h>

/* --- a merge's result --- */

struct publish {
    const struct plan_job *job;
    const struct block_meta *results;
    size_t n;
    const struct edit_done *done;
    int64_t now_ms;
};

static int stale(struct err *err, const struct ulid *id)
{
    return err_set(err, RC_STALE, "block %s was dealt with by another compactor", id->text);
}

/* Level-0 sources stay where they are; nobody else may have taken them into a block of this tenant. */
static int check_l0_sources(const struct plan_job *job, const struct index *ix, struct err *err)
{
    for (size_t i = 0; i < job->block_count; i++)
        if (index_covers(ix, &job->blocks[i]))
            return stale(err, &job->blocks[i]);
    return 0;
}

static int delete_sources(const struct publish *p, struct index *ix, struct err *err)
{
    for (size_t i = 0; i < p->job->block_count; i++) {
        struct index_block *b = index_find(ix, &p->job->blocks[i]);

        if (!b || b->deleted_ms)
            return stale(err, &p->job->blocks[i]);
        b->deleted_ms = p->now_ms;
    }
    return 0;
}

static bool from_level0(const struct plan_job *job)
{
    return job->kind == PLAN_MERGE && job->level == 1;
}

static void block_applied(struct index_block *b, const struct edit_done *done)
{
    b->applied = MAX(b->applied, done->applied);
    b->retained = plan_retained(done->rules, done->rule_count, b->maxt_ms);
}

static int publish_edit(void *arg, struct index *ix, struct err *err)
{
    const struct publish *p = arg;
    int rc;

    if (p->n && index_find(ix, &p->results[0].id))
        return 1;
    rc = from_level0(p->job) ? check_l0_sources(p->job, ix, err) : delete_sources(p, ix, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < p->n; i++) {
        index_put_meta(ix, &p->results[i]);
        block_applied(&ix->blocks.v[ix->blocks.n - 1], p->done);
    }
    return p->n || !from_level0(p->job) ? 0 : 1;
}

int edit_publish(struct bucket *b, const struct plan_job *job, const struct block_meta *results, size_t n, const struct edit_done *done, int64_t now_ms, struct err *err)
{
    struct publish p = {job, results, n, done, now_ms};

    return index_update(b, job->tenant, publish_edit, &p, NULL, err);
}

/* --- tombstones --- */

struct applied {
    const struct ulid *block;
    const struct edit_done *done;
};

static int applied_edit(void *arg, struct index *ix, UNUSED struct err *err)
{
    const struct applied *a = arg;
    struct index_block *b = index_find(ix, a->block);
    struct index_block before;

    if (!b)
        return 1;
    before = *b;
    block_applied(b, a->done);
    return b->applied == before.applied && b->retained == before.retained;
}

int edit_applied(struct bucket *b, const char *tenant, const struct ulid *block, const struct edit_done *done, struct err *err)
{
    struct applied a = {block, done};

    return index_update(b, tenant, applied_edit, &a, NULL, err);
}

struct settling {
    const struct plan_job *job;
    int64_t now_ms;
};

static bool has_seq(const struct plan_job *job, uint64_t seq)
{
    for (size_t i = 0; i < job->seq_count; i++)
        if (job->seqs[i] == seq)
            return true;
    return false;
}

static int settle_edit(void *arg, struct index *ix, UNUSED struct err *err)
{
    const struct settling *s = arg;
    bool changed = false;

    for (size_t i = 0; i < ix->tombstones.n; i++) {
        struct tombstone *t = &ix->tombstones.v[i];

        if (!has_seq(s->job, t->seq) || t->applied_ms)
            continue;
        t->applied_ms = s->now_ms;
        changed = true;
    }
    return changed ? 0 : 1;
}

int edit_settle(struct bucket *b, const struct plan_job *job, int64_t now_ms, struct err *err)
{
    struct settling s = {job, now_ms};

    return index_update(b, job->tenant, settle_edit, &s, NULL, err);
}

static int forget_tombstones_edit(void *arg, struct index *ix, UNUSED struct err *err)
{
    const struct plan_job *job = arg;
    size_t kept = 0, before = ix->tombstones.n;

    for (size_t i = 0; i < before; i++) {
        if (has_seq(job, ix->tombstones.v[i].seq))
            tombstone_fini(&ix->tombstones.v[i]);
        else
            ix->tombstones.v[kept++] = ix->tombstones.v[i];
    }
    ix->tombstones.n = kept;
    return kept < before ? 0 : 1;
}

int edit_forget_tombstones(struct bucket *b, const struct plan_job *job, struct err *err)
{
    return index_update(b, job->tenant, forget_tombstones_edit, (void *)job, NULL, err);
}

/* --- marks --- */

struct marks {
    const struct ulid *blocks;
    size_t n;
    const char *tenant;
    bool (*all_done)(void *arg, const struct index_block *b);
    void *arg;
    int64_t now_ms;
};

static int done_edit(void *arg, struct index *ix, UNUSED struct err *err)
{
    const struct marks *m = arg;
    bool changed = false;

    for (size_t i = 0; i < m->n; i++) {
        struct index_block *b = index_find(ix, &m->blocks[i]);

        changed |= b && index_block_mark_done(b, m->tenant);
    }
    return changed ? 0 : 1;
}

int edit_mark_done(struct bucket *b, const struct ulid *blocks, size_t n, const char *tenant, struct err *err)
{
    struct marks m = {.blocks = blocks, .n = n, .tenant = tenant};

    return index_update(b, NULL, done_edit, &m, NULL, err);
}

static int delete_edit(void *arg, struct index *ix, UNUSED struct err *err)
{
    const struct marks *m = arg;
    bool changed = false;

    for (size_t i = 0; i < m->n; i++) {
        struct index_block *b = index_find(ix, &m->blocks[i]);

        if (!b || b->deleted_ms || (m->all_done && !m->all_done(m->arg, b)))
            continue;
        b->deleted_ms = m->now_ms;
        changed = true;
    }
    return changed ? 0 : 1;
}

int edit_delete(struct bucket *b, const char *tenant, const struct ulid *blocks, size_t n,
                bool (*all_done)(void *arg, const struct index_block *b), void *arg, int64_t now_ms, struct err *err)
{
    struct marks m = {.blocks = blocks, .n = n, .all_done = all_done, .arg = arg, .now_ms = now_ms};

    return index_update(b, tenant, delete_edit, &m, NULL, err);
}

static int forget_edit(void *arg, struct index *ix, UNUSED struct err *err)
{
    const struct marks *m = arg;
    size_t before = ix->blocks.n;

    for (size_t i = 0; i < m->n; i++) {
        const struct index_block *b = index_find(ix, &m->blocks[i]);

        if (b && b->deleted_ms)
            index_drop(ix, &m->blocks[i]);
    }
    return ix->blocks.n < before ? 0 : 1;
}

int edit_forget(struct bucket *b, const char *tenant, const struct ulid *blocks, size_t n, struct err *err)
{
    struct marks m = {.blocks = blocks, .n = n};

    return index_update(b, tenant, forget_edit, &m, NULL, err);
}

/* --- quarantine --- */

struct quarantine {
    const char *tenant;
    const struct ulid *block;
    const char *reason;
    int64_t now_ms, young_ms;
    const struct index_block *bad; /* as the tenant's index has it */
    bool moved;
};

static int revive_edit(void *arg, struct index *ix, UNUSED struct err *err)
{
    const struct quarantine *q = arg;
    bool changed = false;

    for (size_t i = 0; i < q->bad->source_count; i++) {
        struct index_block *b = index_find(ix, &q->bad->sources[i]);

        if (!b || (b->deleted_ms && b->deleted_ms < q->young_ms) || !index_block_unmark_done(b, q->tenant))
            continue;
        b->deleted_ms = 0;
        changed = true;
    }
    return changed ? 0 : 1;
}

static int quarantine_edit(void *arg, struct index *ix, UNUSED struct err *err)
{
    struct quarantine *q = arg;
    const struct index_block *b = index_find(ix, q->block);

    q->moved = b && !b->deleted_ms && index_quarantine(ix, q->block, q->reason, q->now_ms);
    return q->moved ? 0 : 1;
}

static int revive_sources(struct bucket *b, struct quarantine *q, struct err *err)
{
    struct index ix;
    int rc = index_load(b, q->tenant, &ix, err);

    if (rc < 0)
        return rc;
    q->bad = index_find(&ix, q->block);
    if (q->bad && !q->bad->deleted_ms)
        rc = index_update(b, NULL, revive_edit, q, NULL, err);
    index_fini(&ix);
    return rc;
}

int edit_quarantine(struct bucket *b, const char *tenant, const struct ulid *block, const char *reason, int64_t now_ms,
                    int64_t young_ms, bool *ret_moved, struct err *err)
{
    char text[512];
    struct quarantine q = {.tenant = tenant, .block = block, .reason = text, .now_ms = now_ms, .young_ms = young_ms};
    int rc;

    snprintf(text, sizeof text, "%s", reason);
    for (char *p = text; *p; p++) /* error texts may quote bytes of the damage; JSON wants UTF-8 */
        if ((uint8_t)*p < 0x20 || (uint8_t)*p >= 0x7f)
            *p = '?';
    rc = tenant ? revive_sources(b, &q, err) : 0;
    if (rc == 0)
        rc = index_update(b, tenant, quarantine_edit, &q, NULL, err);
    if (rc == 0)
        *ret_moved = q.moved;
    return rc;
}

static int create_edit(UNUSED void *arg, struct index *ix, UNUSED struct err *err)
{
    return ix->gen > 0;
}

int edit_create(struct bucket *b, const char *tenant, struct err *err)
{
    return index_update(b, tenant, create_edit, NULL, NULL, err);
}
