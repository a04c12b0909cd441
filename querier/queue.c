#include "querier/queue.h"

#include "common/sys/thread.h"

#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>
#include <utlist.h>

/* A tenant is here while it has jobs, waiting or running. */
struct queue_tenant {
    UT_hash_handle hh;
    struct queue_tenant *prev, *next; /* in turn: the first is served next */
    char *id;
    size_t id_len;
    struct queue_job *first, **end;
    size_t waiting, running, running_max;
};

struct queue {
    struct queue_cfg cfg;
    struct mutex lock; /* --- guards all below --- */
    struct cond work, tick;
    struct queue_tenant *by_id, *turns;
    size_t waiting;
    bool stopping;
    pthread_t *workers, look_out;
    struct metric *m_waiting, *m_dropped;
};

/* Lock held. */
static struct queue_tenant *tenant_get(struct queue *q, struct str id)
{
    struct queue_tenant *t;

    HASH_FIND(hh, q->by_id, id.p, id.n, t);
    if (t)
        return t;
    t = xcalloc(1, sizeof *t);
    t->id = str_dupz(id);
    t->id_len = id.n;
    t->end = &t->first;
    HASH_ADD_KEYPTR(hh, q->by_id, t->id, t->id_len, t);
    DL_APPEND(q->turns, t);
    return t;
}

/* Lock held. */
static void tenant_drop_idle(struct queue *q, struct queue_tenant *t)
{
    if (t->waiting || t->running)
        return;
    HASH_DEL(q->by_id, t);
    DL_DELETE(q->turns, t);
    free(t->id);
    free(t);
}

/* Lock held. The next tenant in turn that may run a job, which goes to the end of the turns. */
static struct queue_tenant *tenant_next(struct queue *q)
{
    struct queue_tenant *t;

    DL_FOREACH(q->turns, t)
    if (t->waiting && (t->running_max == 0 || t->running < t->running_max))
        break;
    if (t) {
        DL_DELETE(q->turns, t);
        DL_APPEND(q->turns, t);
    }
    return t;
}

static void run_next(struct queue *q, struct queue_tenant *t)
{
    struct queue_job *job = t->first;

    t->first = job->next;
    if (!t->first)
        t->end = &t->first;
    t->waiting--;
    t->running++;
    q->waiting--;
    metric_set(q->m_waiting, (double)q->waiting);
    mutex_unlock(&q->lock);
    job->run(job);
    mutex_lock(&q->lock);
    t->running--;
    if (t->waiting)
        cond_signal(&q->work); /* one that this tenant's ceiling held back */
    tenant_drop_idle(q, t);
}

static void *worker(void *arg)
{
    struct queue *q = arg;

    thread_nice(NICE_READS);
    mutex_lock(&q->lock);
    for (;;) {
        struct queue_tenant *t = tenant_next(q);

        if (t)
            run_next(q, t);
        else if (q->stopping && q->waiting == 0)
            break;
        else
            cond_wait(&q->work, &q->lock);
    }
    cond_broadcast(&q->work);
    mutex_unlock(&q->lock);
    return NULL;
}

/* --- those that wait in vain --- */

/* Lock held. Takes the jobs that are over out of one tenant's list, and puts them before list. */
static struct queue_job *tenant_take_over(struct queue *q, struct queue_tenant *t, struct queue_job *list)
{
    struct queue_job **at = &t->first;

    while (*at) {
        struct queue_job *job = *at;

        if (!job->over || !job->over(job)) {
            at = &job->next;
            continue;
        }
        *at = job->next;
        job->next = list;
        list = job;
        t->waiting--;
        q->waiting--;
    }
    t->end = at;
    return list;
}

/* Lock held, and released while jobs are dropped. */
static void drop_over(struct queue *q)
{
    struct queue_job *list = NULL;
    struct queue_tenant *t, *next;

    DL_FOREACH_SAFE(q->turns, t, next)
    {
        list = tenant_take_over(q, t, list);
        tenant_drop_idle(q, t);
    }
    if (!list)
        return;
    metric_set(q->m_waiting, (double)q->waiting);
    mutex_unlock(&q->lock);
    while (list) {
        struct queue_job *job = list;

        list = job->next;
        metric_inc(q->m_dropped);
        job->drop(job);
    }
    mutex_lock(&q->lock);
}

static void *look_out(void *arg)
{
    struct queue *q = arg;

    mutex_lock(&q->lock);
    while (!q->stopping || q->waiting > 0) {
        if (q->waiting > 0)
            drop_over(q);
        cond_wait_ms(&q->tick, &q->lock, QUEUE_TICK_MS);
    }
    cond_broadcast(&q->work); /* a worker may wait for the last job, which was dropped */
    mutex_unlock(&q->lock);
    return NULL;
}

struct queue *queue_new(const struct queue_cfg *cfg)
{
    struct queue *q = xcalloc(1, sizeof *q);

    ASSERT(cfg->workers > 0);
    q->cfg = *cfg;
    mutex_init(&q->lock);
    cond_init(&q->work);
    cond_init(&q->tick);
    q->m_waiting = metrics_gauge(cfg->metrics, "torc_querier_queue_length",
                                 "Requests that wait for a worker.");
    q->m_dropped = metrics_counter(cfg->metrics, "torc_querier_queue_dropped_total",
                                   "Requests that left the queue unserved: their client had gone, or they had waited for too long.");
    q->workers = xcalloc((size_t)cfg->workers, sizeof *q->workers);
    for (int i = 0; i < cfg->workers; i++) {
        char name[16];

        snprintf(name, sizeof name, "query-%d", i);
        q->workers[i] = thread_start(name, worker, q);
    }
    q->look_out = thread_start("query-queue", look_out, q);
    return q;
}

int queue_submit(struct queue *q, struct str tenant, size_t running_max, struct queue_job *job,
                 struct err *err)
{
    struct queue_tenant *t;
    int rc = 0;

    job->next = NULL;
    mutex_lock(&q->lock);
    t = tenant_get(q, tenant);
    t->running_max = running_max;
    if (q->stopping)
        rc = err_set(err, RC_UNAVAILABLE, "shutting down");
    else if (t->waiting >= q->cfg.tenant_waiting_max)
        rc = err_set(err, RC_RATE, "too many outstanding requests: %zu of this tenant are waiting (limit: %zu, "
                     "querier.max-waiting-per-tenant)",
                     t->waiting, q->cfg.tenant_waiting_max);
    else if (q->waiting >= q->cfg.waiting_max)
        rc = err_set(err, RC_UNAVAILABLE, "too many outstanding requests: %zu are waiting (limit: %zu, querier.max-waiting)",
                     q->waiting, q->cfg.waiting_max);
    if (rc == 0) {
        *t->end = job;
        t->end = &job->next;
        t->waiting++;
        q->waiting++;
        metric_set(q->m_waiting, (double)q->waiting);
    }
    tenant_drop_idle(q, t);
    mutex_unlock(&q->lock);
    if (rc == 0)
        cond_signal(&q->work); /* without the lock, which the worker would only wait for */
    return rc;
}

void queue_free(struct queue *q)
{
    if (!q)
        return;
    mutex_lock(&q->lock);
    q->stopping = true;
    cond_broadcast(&q->work);
    cond_signal(&q->tick);
    mutex_unlock(&q->lock);
    pthread_join(q->look_out, NULL);
    for (int i = 0; i < q->cfg.workers; i++)
        pthread_join(q->workers[i], NULL);
    ASSERT(!q->turns);
    free(q->workers);
    cond_fini(&q->work);
    cond_fini(&q->tick);
    mutex_fini(&q->lock);
    free(q);
}
