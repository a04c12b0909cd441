#include "querier/blocks.h"

#include "common/model/tenant.h"
#include "common/obs/memory.h"
#include "common/sys/thread.h"

#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>
#include <utlist.h>

/* A level-0 index as it was read once. */
struct l0_index {
    atomic_int refs;
    int64_t loaded_ms;
    struct index index;
};

struct tenant_view {
    UT_hash_handle hh;
    char tenant[TENANT_ID_BYTES_MAX + 1];
    struct blocks_view *view;
    int64_t used_ms;
};

struct open_block {
    UT_hash_handle hh;
    struct open_block *prev, *next; /* most recently used first */
    struct ulid id;
    struct block_reader *reader;
};

struct blocks {
    struct blocks_cfg cfg;
    struct mutex load_lock; /* --- one read of the level-0 index at a time; before lock --- */
    struct mutex lock;      /* --- guards all below --- */
    struct l0_index *l0;
    struct tenant_view *tenants;
    struct open_block *by_id, *by_use;
    size_t open_n;
    struct cond wake;
    bool stopping, started;
    pthread_t refresher;
    struct metric *m_gen, *m_open, *m_loads, *m_load_failures;
};

static int64_t now_ms(const struct blocks *b)
{
    return clock_mono_ms(b->cfg.clock);
}

/* --- views --- */

static struct blocks_view *view_ref(struct blocks_view *v)
{
    atomic_fetch_add(&v->refs, 1);
    return v;
}

void blocks_view_unref(struct blocks_view *v)
{
    if (!v || atomic_fetch_sub(&v->refs, 1) != 1)
        return;
    tombstones_fini(&v->tombstones);
    free(v);
}

static void l0_unref(struct l0_index *l)
{
    if (!l || atomic_fetch_sub(&l->refs, 1) != 1)
        return;
    index_fini(&l->index);
    free(l);
}

/* Lock held. */
static struct l0_index *l0_fresh(struct blocks *b, int64_t not_before_ms)
{
    if (!b->l0 || b->l0->loaded_ms < not_before_ms)
        return NULL;
    atomic_fetch_add(&b->l0->refs, 1);
    return b->l0;
}

/* One that was read at not_before_ms or later. */
static int l0_get(struct blocks *b, int64_t not_before_ms, struct l0_index **ret, struct err *err)
{
    struct l0_index *l;
    int rc = 0;

    mutex_lock(&b->load_lock); /* who waited here finds what the one before has read */
    mutex_lock(&b->lock);
    l = l0_fresh(b, not_before_ms);
    mutex_unlock(&b->lock);
    if (!l) {
        l = xcalloc(1, sizeof *l);
        atomic_init(&l->refs, 2);
        l->loaded_ms = now_ms(b);
        rc = index_load(b->cfg.bucket, NULL, &l->index, err);
        if (rc < 0) {
            free(l);
        } else {
            metric_set(b->m_gen, (double)l->index.gen);
            mutex_lock(&b->lock);
            l0_unref(b->l0);
            b->l0 = l;
            mutex_unlock(&b->lock);
        }
    }
    mutex_unlock(&b->load_lock);
    if (rc == 0)
        *ret = l;
    return rc;
}

static void view_add(struct blocks_view *v, const struct index_block *b)
{
    v->v[v->n++] = (struct view_block){b->id,     b->mint_ms, b->maxt_ms, b->level, b->shard,
                                       b->series, b->samples, b->bytes};
}

/* Takes the tombstones out of the tenant's index. */
static struct blocks_view *view_build(const struct l0_index *l0, struct index *tenant,
                                      const char *id)
{
    struct blocks_view *v =
        xcalloc(1, sizeof *v + (l0->index.blocks.n + tenant->blocks.n) * sizeof v->v[0]);

    atomic_init(&v->refs, 1);
    atomic_init(&v->loaded_ms, l0->loaded_ms);
    v->gen = l0->index.gen;
    v->tenant_gen = tenant->gen;
    v->tombstone_seq = tenant->tombstone_seq;
    v->tombstones_since_ms = l0->loaded_ms;
    v->tombstones = tenant->tombstones;
    memset(&tenant->tombstones, 0, sizeof tenant->tombstones);
    for (size_t i = 0; i < l0->index.blocks.n; i++) {
        const struct index_block *b = &l0->index.blocks.v[i];

        if (!b->deleted_ms && !index_block_done(b, id) && !index_covers(tenant, &b->id))
            view_add(v, b);
    }
    for (size_t i = 0; i < tenant->blocks.n; i++)
        if (!tenant->blocks.v[i].deleted_ms)
            view_add(v, &tenant->blocks.v[i]);
    return v;
}

/* Lock held. The least recently used goes when there are too many. A view that was read before the one at hand is not kept: what has been
 * deleted stays deleted. */
static void tenant_put(struct blocks *b, const char *tenant, struct blocks_view *v)
{
    struct tenant_view *t, *tmp, *oldest = NULL;

    HASH_FIND_STR(b->tenants, tenant, t);
    if (!t) {
        if (HASH_COUNT(b->tenants) >= BLOCKS_TENANTS_MAX) {
            HASH_ITER(hh, b->tenants, t, tmp)
            if (!oldest || t->used_ms < oldest->used_ms)
                oldest = t;
            HASH_DEL(b->tenants, oldest);
            blocks_view_unref(oldest->view);
            free(oldest);
        }
        t = xcalloc(1, sizeof *t);
        snprintf(t->tenant, sizeof t->tenant, "%s", tenant);
        t->used_ms = now_ms(b);
        HASH_ADD_STR(b->tenants, tenant, t);
    }
    if (t->view && t->view->tenant_gen > v->tenant_gen)
        return;
    if (t->view && t->view->tombstone_seq == v->tombstone_seq)
        v->tombstones_since_ms = t->view->tombstones_since_ms;
    blocks_view_unref(t->view);
    t->view = view_ref(v);
}

static int view_load(struct blocks *b, const char *tenant, int64_t not_before_ms,
                     struct blocks_view **ret, struct err *err)
{
    struct index ix = {0};
    struct l0_index *l0;
    int rc = l0_get(b, not_before_ms, &l0, err);

    metric_inc(b->m_loads);
    if (rc == 0) {
        rc = index_load(b->cfg.bucket, tenant, &ix, err);
        if (rc == 0) {
            *ret = view_build(l0, &ix, tenant);
            index_fini(&ix);
            mutex_lock(&b->lock);
            tenant_put(b, tenant, *ret);
            mutex_unlock(&b->lock);
        }
        l0_unref(l0);
    }
    if (rc < 0)
        metric_inc(b->m_load_failures);
    return rc;
}

int blocks_view(struct blocks *b, struct str tenant, int64_t max_age_ms, struct blocks_view **ret,
                struct err *err)
{
    char id[TENANT_ID_BYTES_MAX + 1];
    struct blocks_view *last = NULL;
    struct tenant_view *t;
    int64_t now = now_ms(b);
    int rc;

    ASSERT(tenant.n <= TENANT_ID_BYTES_MAX);
    snprintf(id, sizeof id, "%.*s", STR_FMT(tenant));
    if (!b->cfg.bucket) {
        *ret = xcalloc(1, sizeof **ret);
        atomic_init(&(*ret)->refs, 1);
        return 0;
    }
    mutex_lock(&b->lock);
    HASH_FIND_STR(b->tenants, id, t);
    if (t) {
        t->used_ms = now;
        last = view_ref(t->view);
    }
    mutex_unlock(&b->lock);
    if (last && max_age_ms > 0 && atomic_load(&last->loaded_ms) >= now - max_age_ms) {
        *ret = last;
        return 0;
    }
    rc = view_load(b, id, now - max_age_ms, ret, err);
    if (rc < 0 && last && max_age_ms > 0 &&
        atomic_load(&last->loaded_ms) >= now - BLOCKS_VIEW_LAST_MS) {
        log_limited(b->cfg.log, LOG_WARN, "block index not read, the last one is used", "err",
                    err_log(err));
        *ret = last;
        return 0;
    }
    blocks_view_unref(last);
    return rc < 0 ? err_wrap(err, RC_UNAVAILABLE, "block index") : 0;
}

/* --- in the background --- */

static void refresh(struct blocks *b)
{
    VEC(char *) ids = {0};
    struct tenant_view *t, *tmp;
    int64_t now = now_ms(b);
    struct l0_index *l0;
    struct err err;

    if (l0_get(b, now - b->cfg.refresh_ms / 2, &l0, &err) == 0)
        l0_unref(l0);
    else
        log_limited(b->cfg.log, LOG_WARN, "block index not refreshed, will retry", "err",
                    err_log(&err));
    mutex_lock(&b->lock);
    HASH_ITER(hh, b->tenants, t, tmp)
    if (t->used_ms >= now - BLOCKS_TENANT_IDLE_MS &&
        atomic_load(&t->view->loaded_ms) < now - b->cfg.refresh_ms / 2)
        *vec_push(&ids) = xstrdup(t->tenant);
    mutex_unlock(&b->lock);
    for (size_t i = 0; i < ids.n; i++) {
        struct blocks_view *v;

        if (view_load(b, ids.v[i], now - b->cfg.refresh_ms / 2, &v, &err) == 0)
            blocks_view_unref(v);
        else
            log_limited(b->cfg.log, LOG_WARN, "block index of a tenant not refreshed, will retry",
                        "tenant", ids.v[i], "err", err_log(&err));
        free(ids.v[i]);
    }
    vec_fini(&ids);
}

static void *refresher(void *arg)
{
    struct blocks *b = arg;

    mutex_lock(&b->lock);
    while (!b->stopping) {
        mutex_unlock(&b->lock);
        refresh(b);
        mutex_lock(&b->lock);
        if (!b->stopping)
            cond_wait_ms(&b->wake, &b->lock, b->cfg.refresh_ms);
    }
    mutex_unlock(&b->lock);
    return NULL;
}

/* --- life --- */

static void collect(void *arg)
{
    struct blocks *b = arg;

    mutex_lock(&b->lock);
    metric_set(b->m_open, (double)b->open_n);
    mutex_unlock(&b->lock);
}

struct blocks *blocks_new(const struct blocks_cfg *cfg)
{
    struct blocks *b = xcalloc(1, sizeof *b);

    ASSERT(cfg->readers_max > 0 && cfg->refresh_ms > 0);
    b->cfg = *cfg;
    mutex_init(&b->load_lock);
    mutex_init(&b->lock);
    cond_init(&b->wake);
    b->m_gen = metrics_gauge(cfg->metrics, "torc_querier_index_generation",
                             "Generation of the level-0 block index that was read last.");
    b->m_open =
        metrics_gauge(cfg->metrics, "torc_querier_blocks_open", "Block readers that are open.");
    b->m_loads = metrics_counter(cfg->metrics, "torc_querier_index_loads_total",
                                 "Times that a tenant's block indexes were read.");
    b->m_load_failures = metrics_counter(cfg->metrics, "torc_querier_index_load_failures_total",
                                         "Times that they could not be read.");
    metrics_on_collect(cfg->metrics, collect, b);
    return b;
}

void blocks_start(struct blocks *b)
{
    if (!b->cfg.bucket)
        return;
    b->started = true;
    b->refresher = thread_start("blocks", refresher, b);
}

static void blocks_stop(struct blocks *b)
{
    if (!b->started)
        return;
    mutex_lock(&b->lock);
    b->stopping = true;
    cond_broadcast(&b->wake);
    mutex_unlock(&b->lock);
    pthread_join(b->refresher, NULL);
    b->started = false;
}

void blocks_free(struct blocks *b)
{
    struct tenant_view *t, *tmp;
    struct open_block *o, *otmp;

    if (!b)
        return;
    blocks_stop(b);
    HASH_ITER(hh, b->tenants, t, tmp)
    {
        HASH_DEL(b->tenants, t);
        blocks_view_unref(t->view);
        free(t);
    }
    HASH_ITER(hh, b->by_id, o, otmp)
    {
        HASH_DEL(b->by_id, o);
        block_unref(o->reader);
        free(o);
    }
    l0_unref(b->l0);
    cond_fini(&b->wake);
    mutex_fini(&b->lock);
    mutex_fini(&b->load_lock);
    free(b);
}

/* --- readers --- */

/* Lock held; takes the reference. Returns readers to close outside the lock: the one pushed out, or
 * a second one of the same block. */
static struct block_reader *open_put(struct blocks *b, const struct ulid *id,
                                     struct block_reader *r)
{
    struct block_reader *out = NULL;
    struct open_block *o;

    HASH_FIND(hh, b->by_id, id, sizeof *id, o);
    if (o)
        return r;
    o = xcalloc(1, sizeof *o);
    o->id = *id;
    o->reader = r;
    HASH_ADD(hh, b->by_id, id, sizeof o->id, o);
    DL_PREPEND(b->by_use, o);
    if (++b->open_n > (size_t)b->cfg.readers_max) {
        o = b->by_use->prev; /* the list's tail */
        DL_DELETE(b->by_use, o);
        HASH_DEL(b->by_id, o);
        b->open_n--;
        out = o->reader;
        free(o);
    }
    return out;
}

int blocks_reader(struct blocks *b, const struct ulid *id, struct block_reader **ret,
                  struct err *err)
{
    struct block_reader *r = NULL, *out;
    struct open_block *o;
    int rc;

    mutex_lock(&b->lock);
    HASH_FIND(hh, b->by_id, id, sizeof *id, o);
    if (o) {
        DL_DELETE(b->by_use, o);
        DL_PREPEND(b->by_use, o);
        r = block_ref(o->reader);
    }
    mutex_unlock(&b->lock);
    if (!r) {
        rc = block_open(b->cfg.bucket, id, &r, err);
        if (rc < 0)
            return err_wrap(err, rc, "block %s", id->text);
        mutex_lock(&b->lock);
        out = open_put(b, id, block_ref(r));
        mutex_unlock(&b->lock);
        block_unref(out);
    }
    *ret = r;
    return 0;
}

void blocks_memory(struct blocks *b, struct memory_account *a)
{
    size_t shared = heap_bytes(b);

    mutex_lock(&b->lock);
    shared += UTHASH_BYTES(hh, b->tenants) + UTHASH_BYTES(hh, b->by_id);
    for (const struct tenant_view *t = b->tenants; t; t = t->hh.next)
        memory_add(a, str_of(t->tenant), MEMORY_INDEX_CACHE, heap_bytes(t) + heap_bytes(t->view) + tombstones_memory(&t->view->tombstones));
    for (const struct open_block *o = b->by_use; o; o = o->next)
        shared += heap_bytes(o) + block_reader_memory(o->reader);
    mutex_unlock(&b->lock);
    memory_add(a, (struct str){0}, MEMORY_INDEX_CACHE, shared);
}
