/* index_delete.c - tombstones in a tenant's index. */
#include "tsdb/index.h"

#include <stdlib.h>

struct deletion {
    const struct tombstone *list;
    size_t n;
    int64_t now_ms;
};

static void drop_at(tombstones *list, size_t i)
{
    tombstone_fini(&list->v[i]);
    memmove(&list->v[i], &list->v[i + 1], (list->n - i - 1) * sizeof *list->v);
    list->n--;
}

static bool covered(const struct tombstone *old, const struct tombstone *t)
{
    return old->span.mint_ms <= t->span.mint_ms && old->span.maxt_ms >= t->span.maxt_ms && tombstone_same_series(old, t);
}

/* Takes the older ones of the same series that t touches into its span. */
static void absorb(tombstones *list, struct tombstone *t)
{
    for (size_t i = 0; i < list->n;) {
        const struct tombstone *old = &list->v[i];

        if (!time_spans_meet(old->span, t->span) || !tombstone_same_series(old, t)) {
            i++;
            continue;
        }
        t->span.mint_ms = MIN(t->span.mint_ms, old->span.mint_ms);
        t->span.maxt_ms = MAX(t->span.maxt_ms, old->span.maxt_ms);
        t->tenant |= old->tenant;
        t->hurry |= old->hurry;
        drop_at(list, i);
    }
}

/* 1 when nothing changed. */
static int add_one(struct index *ix, const struct tombstone *from, int64_t now_ms, struct err *err)
{
    struct tombstone t;
    int rc;

    for (size_t i = 0; i < ix->tombstones.n; i++)
        if (covered(&ix->tombstones.v[i], from))
            return 1;
    rc = tombstone_dup(from, &t, err);
    if (rc < 0)
        return rc;
    absorb(&ix->tombstones, &t);
    if (ix->tombstones.n == TOMBSTONES_MAX) {
        tombstone_fini(&t);
        return err_set(err, RC_LIMIT, "the tenant has %d deletions that are not done yet: delete by fewer, wider selectors, or later", TOMBSTONES_MAX);
    }
    t.seq = ++ix->tombstone_seq;
    t.created_ms = now_ms;
    t.applied_ms = 0;
    *vec_push(&ix->tombstones) = t;
    return 0;
}

static int delete_edit(void *arg, struct index *ix, struct err *err)
{
    const struct deletion *d = arg;
    int changed = 1;

    for (size_t i = 0; i < d->n; i++) {
        int rc = add_one(ix, &d->list[i], d->now_ms, err);

        if (rc < 0)
            return rc;
        changed &= rc;
    }
    return changed;
}

int index_delete_series(struct bucket *b, const char *tenant, const struct tombstone *list, size_t n, int64_t now_ms, uint64_t *ret_gen, struct err *err)
{
    struct deletion d = {list, n, now_ms};
    struct index ix;
    int rc = index_update(b, tenant, delete_edit, &d, &ix, err);

    if (rc < 0)
        return rc;
    if (ret_gen)
        *ret_gen = ix.gen;
    index_fini(&ix);
    return 0;
}

int index_delete_tenant(struct bucket *b, const char *tenant, int64_t now_ms, struct err *err)
{
    struct tombstone all = {.span = {TIMESTAMP_MIN_MS, now_ms}, .tenant = true, .hurry = true};

    return index_delete_series(b, tenant, &all, 1, now_ms, NULL, err);
}

static int hurry_edit(UNUSED void *arg, struct index *ix, UNUSED struct err *err)
{
    bool changed = false;

    for (size_t i = 0; i < ix->tombstones.n; i++) {
        changed |= !ix->tombstones.v[i].hurry;
        ix->tombstones.v[i].hurry = true;
    }
    return changed ? 0 : 1;
}

int index_hurry(struct bucket *b, const char *tenant, struct err *err)
{
    return index_update(b, tenant, hurry_edit, NULL, NULL, err);
}

const struct tombstone *index_tenant_deleted(const struct index *ix)
{
    for (size_t i = ix->tombstones.n; i-- > 0;)
        if (ix->tombstones.v[i].tenant)
            return &ix->tombstones.v[i];
    return NULL;
}

bool index_block_pending(const struct index_block *b, const struct tombstone *t)
{
    return !b->deleted_ms && b->applied < t->seq && time_spans_meet(t->span, (struct time_span){b->mint_ms, b->maxt_ms});
}
