#include "querier/active.h"

#include "common/base/hash.h"
#include "common/obs/memory.h"
#include "common/sys/thread.h"

#include <stdlib.h>
#include <utlist.h>

/* A query that ended; text is tenant and query, one behind the other. */
struct done {
    char *text;
    uint32_t tenant_n, query_n;
    int64_t range_ms, ended_wall_ms, took_ns;
};
struct active {
    struct mutex lock; /* --- guards all below --- */
    struct active_query *running;
    uint64_t next_id;
    struct done done[ACTIVE_DONE_MAX]; /* a ring: done[ended % MAX] is the next to be written */
    uint64_t ended;
};

struct active *active_new(void)
{
    struct active *a = xcalloc(1, sizeof *a);

    mutex_init(&a->lock);
    random_bytes(&a->next_id, sizeof a->next_id);
    return a;
}

void active_free(struct active *a)
{
    if (!a)
        return;
    ASSERT(!a->running);
    for (size_t i = 0; i < ACTIVE_DONE_MAX; i++)
        free(a->done[i].text);
    mutex_fini(&a->lock);
    free(a);
}

void active_begin(struct active *a, struct active_query *q)
{
    mutex_lock(&a->lock);
    q->id = a->next_id++;
    DL_APPEND(a->running, q);
    mutex_unlock(&a->lock);
}

void active_end(struct active *a, struct active_query *q, int64_t now_wall_ms, int64_t took_ns)
{
    size_t n = MIN(q->text.n, (size_t)ACTIVE_TEXT_MAX);
    char *text = xmalloc(q->tenant.n + n + 1), *old;
    struct done *d;

    memcpy(text, q->tenant.p, q->tenant.n);
    if (n)
        memcpy(text + q->tenant.n, q->text.p, n);
    mutex_lock(&a->lock);
    DL_DELETE(a->running, q);
    d = &a->done[a->ended++ % ACTIVE_DONE_MAX];
    old = d->text;
    *d = (struct done){text, (uint32_t)q->tenant.n, (uint32_t)n, q->end_ms - q->start_ms, now_wall_ms, took_ns};
    mutex_unlock(&a->lock);
    free(old);
}

bool active_cancel(struct active *a, struct str tenant, uint64_t id)
{
    struct active_query *q;
    bool found = false;

    mutex_lock(&a->lock);
    DL_FOREACH(a->running, q)
    if (q->id == id && str_eq(q->tenant, tenant)) {
        http_cancel(q->http);
        found = true;
        break;
    }
    mutex_unlock(&a->lock);
    return found;
}

void active_each(struct active *a, struct str tenant, void (*fn)(void *arg, const struct active_query *q), void *arg)
{
    struct active_query *q;

    mutex_lock(&a->lock);
    DL_FOREACH(a->running, q)
    if (str_eq(q->tenant, tenant))
        fn(arg, q);
    mutex_unlock(&a->lock);
}

void active_each_ended(struct active *a, struct str tenant, int64_t since_wall_ms, void (*fn)(void *arg, const struct active_ended *e), void *arg)
{
    mutex_lock(&a->lock);
    for (size_t i = 0; i < ACTIVE_DONE_MAX && a->done[i].text; i++) {
        const struct done *d = &a->done[i];

        if (d->ended_wall_ms >= since_wall_ms && str_eq(str_n(d->text, d->tenant_n), tenant))
            fn(arg, &(struct active_ended){str_n(d->text + d->tenant_n, d->query_n), d->range_ms, d->took_ns});
    }
    mutex_unlock(&a->lock);
}

void active_memory(struct active *a, struct memory_account *account)
{
    size_t done = heap_bytes(a);

    mutex_lock(&a->lock);
    for (const struct active_query *q = a->running; q; q = q->next)
        memory_add(account, q->tenant, MEMORY_ARENAS, arena_used(q->arena));
    for (size_t i = 0; i < ACTIVE_DONE_MAX && a->done[i].text; i++)
        done += heap_bytes(a->done[i].text);
    mutex_unlock(&a->lock);
    memory_add(account, (struct str){0}, MEMORY_QUERY_LOG, done);
}
