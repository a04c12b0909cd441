#include "common/model/tenant.h"
#include "compactor/compactor_impl.h"
#include "compactor/edit.h"

#include <stdlib.h>

/* --- tenants of level-0 blocks --- */

const struct known_block *known_find(const struct compactor *c, const struct ulid *id)
{
    for (size_t i = 0; i < c->known.n; i++)
        if (strcmp(c->known.v[i].id.text, id->text) == 0)
            return &c->known.v[i];
    return NULL;
}

void known_free(struct compactor *c)
{
    for (size_t i = 0; i < c->known.n; i++)
        fs_names_free(&c->known.v[i].tenants);
    vec_fini(&c->known);
}

struct tenant_reader {
    fs_names *to;
    struct err *err;
};

static int take_tenant(void *arg, struct str tenant)
{
    struct tenant_reader *t = arg;

    if (tenant_id_check(tenant, NULL) < 0)
        return err_set(t->err, RC_CORRUPT, "the block has a key of a tenant that cannot be");
    *vec_push(t->to) = str_dupz(tenant);
    return 0;
}

static int tenants_read(struct compactor *c, const struct ulid *id, fs_names *ret, struct err *err)
{
    struct tenant_reader t = {ret, err};
    struct block_reader *r = NULL;
    int rc = block_open(c->deps.bucket, id, &r, err);

    if (rc == 0)
        rc = block_each_tenant(r, take_tenant, &t, err);
    block_unref(r);
    return rc;
}

int quarantine(struct compactor *c, const char *tenant, const struct ulid *id, const struct err *why)
{
    int64_t now = compactor_now_ms(c);
    struct err err = {0};
    bool moved = false;
    int rc = edit_quarantine(c->deps.bucket, tenant, id, err_text(why), now, now - c->plan.delete_delay_ms / 2, &moved, &err);

    if (rc < 0)
        log_warn(c->deps.log, "damaged block not moved aside, will retry", "block", id->text, "err", err_log(&err));
    if (moved) {
        metric_inc(c->m.quarantined);
        log_error(c->deps.log, "damaged block moved aside", "tenant", tenant ? tenant : "", "block", id->text, "why",
                  err_log(why));
    }
    return rc;
}

/* False when the block was found damaged and is no longer in the index. */
static bool block_know(struct compactor *c, const struct ulid *id)
{
    struct known_block k = {.id = *id, .readable = true, .seen = true};
    struct err err = {0};
    int rc = tenants_read(c, id, &k.tenants, &err);

    if (rc < 0) {
        fs_names_free(&k.tenants);
        if ((rc == RC_CORRUPT || rc == RC_NOT_FOUND) && quarantine(c, NULL, id, &err) == 0)
            return false;
        log_warn(c->deps.log, "block not readable, will retry", "block", id->text, "err", err_log(&err));
        return true;
    }
    *vec_push(&c->known) = k;
    return true;
}

static void known_forget_unseen(struct compactor *c)
{
    for (size_t i = 0; i < c->known.n;) {
        if (c->known.v[i].seen) {
            c->known.v[i++].seen = false;
            continue;
        }
        fs_names_free(&c->known.v[i].tenants);
        vec_remove_swap(&c->known, i);
    }
}

static void l0_look(struct compactor *c, struct view *v)
{
    for (size_t i = 0; i < v->l0.blocks.n; i++) {
        struct index_block *b = &v->l0.blocks.v[i];
        struct known_block *k = (struct known_block *)known_find(c, &b->id);

        if (k)
            k->seen = true;
        else if (!b->deleted_ms && !block_know(c, &b->id))
            v->damaged++;
    }
    known_forget_unseen(c);
    for (size_t i = 0; i < v->l0.blocks.n; i++) {
        const struct known_block *k = known_find(c, &v->l0.blocks.v[i].id);

        *vec_push(&v->l0s) = (struct plan_l0){
            .block = &v->l0.blocks.v[i],
            .tenants = k ? (const char *const *)k->tenants.v : NULL,
            .tenant_count = k ? k->tenants.n : 0,
            .readable = k != NULL,
        };
    }
}

/* --- tenants --- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_unique(fs_names *names)
{
    size_t kept = 0;

    if (names->n)
        qsort(names->v, names->n, sizeof *names->v, by_text);
    for (size_t i = 0; i < names->n; i++) {
        if (kept > 0 && strcmp(names->v[kept - 1], names->v[i]) == 0)
            free(names->v[i]);
        else
            names->v[kept++] = names->v[i];
    }
    names->n = kept;
}

/* All tenants there are: those with an index and those in level-0 blocks. */
static int names_collect(struct compactor *c, const struct view *v, fs_names *ret, struct err *err)
{
    int rc = index_tenants(c->deps.bucket, ret, err);

    for (size_t i = 0; rc == 0 && i < v->l0s.n; i++)
        for (size_t k = 0; k < v->l0s.v[i].tenant_count; k++)
            *vec_push(ret) = xstrdup(v->l0s.v[i].tenants[k]);
    sort_unique(ret);
    return rc;
}

/* Without its rules a tenant is merged all the same; what they hide goes later. */
static void rules_look(struct compactor *c, struct view_tenant *t)
{
    struct err err;

    if (c->deps.rules && c->deps.rules(c->deps.arg, t->name, compactor_now_ms(c), &t->rules, &err) < 0)
        log_limited(c->deps.log, LOG_WARN, "rules of retention not applied", "tenant", t->name, "err", err_log(&err));
}

static void tenant_look(struct compactor *c, struct view *v, const char *name)
{
    struct err err = {0};
    struct index ix = {0};
    int rc;

    if (c->deps.owns && !c->deps.owns(c->deps.arg, name, 0))
        return;
    rc = index_load(c->deps.bucket, name, &ix, &err);
    if (rc == 0 && ix.gen == 0) {
        index_fini(&ix);
        rc = edit_create(c->deps.bucket, name, &err);
        if (rc == 0)
            rc = index_load(c->deps.bucket, name, &ix, &err);
    }
    if (rc < 0) {
        log_warn(c->deps.log, "tenant's index not readable, tenant left out", "tenant", name, "err", err_log(&err));
        v->complete = false;
        return;
    }
    *vec_push(&v->owned) = (struct view_tenant){.name = xstrdup(name), .index = ix};
    rules_look(c, &v->owned.v[v->owned.n - 1]);
}

static int64_t retention_of(const struct compactor *c, const char *tenant)
{
    return c->deps.retention_ms ? c->deps.retention_ms(c->deps.arg, tenant) : RETENTION_DEFAULT_MS;
}

int view_load(struct compactor *c, bool forced, struct view *ret, struct err *err)
{
    struct view v = {.complete = true};
    fs_names names = {0};
    int rc = index_load(c->deps.bucket, NULL, &v.l0, err); /* level 0 first, as every reader */

    if (rc < 0)
        return rc;
    l0_look(c, &v);
    rc = names_collect(c, &v, &names, err);
    for (size_t i = 0; rc == 0 && i < names.n; i++)
        tenant_look(c, &v, names.v[i]);
    fs_names_free(&names);
    if (rc < 0) {
        view_fini(&v);
        return rc;
    }
    for (size_t i = 0; i < v.owned.n; i++)
        *vec_push(&v.plan_tenants) = (struct plan_tenant){
            .name = v.owned.v[i].name, .index = &v.owned.v[i].index, .retention_ms = retention_of(c, v.owned.v[i].name),
            .rules = v.owned.v[i].rules.v, .rule_count = v.owned.v[i].rules.n,
            .split = c->deps.split ? c->deps.split(c->deps.arg, v.owned.v[i].name) : 1,
        };
    v.in = (struct plan_input){
        .now_ms = compactor_now_ms(c), .forced = forced, .l0 = v.l0s.v, .l0_count = v.l0s.n,
        .tenants = v.plan_tenants.v, .tenant_count = v.plan_tenants.n,
    };
    status_refresh(c, &v);
    *ret = v;
    return 0;
}

void view_fini(struct view *v)
{
    for (size_t i = 0; i < v->owned.n; i++) {
        free(v->owned.v[i].name);
        index_fini(&v->owned.v[i].index);
        tombstones_fini(&v->owned.v[i].rules);
    }
    vec_fini(&v->owned);
    vec_fini(&v->plan_tenants);
    vec_fini(&v->l0s);
    index_fini(&v->l0);
}
