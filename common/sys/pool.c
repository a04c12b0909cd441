#include "common/sys/pool.h"
#include "common/sys/thread.h"

#include <stdlib.h>

struct job {
    void (*fn)(void *arg);
    void *arg;
};

struct pool {
    int threads, queue_max; /* --- fixed --- */
    pthread_t *ids;
    struct mutex lock;
    struct cond wake;
    struct job *queue; /* --- guarded by lock --- a ring of queue_max */
    int head, count;
    bool stopping;
};

static void *worker(void *arg)
{
    struct pool *p = arg;

    mutex_lock(&p->lock);
    for (;;) {
        struct job job;

        while (p->count == 0 && !p->stopping)
            cond_wait(&p->wake, &p->lock);
        if (p->count == 0)
            break;
        job = p->queue[p->head];
        p->head = (p->head + 1) % p->queue_max;
        p->count--;
        mutex_unlock(&p->lock);
        job.fn(job.arg);
        mutex_lock(&p->lock);
    }
    mutex_unlock(&p->lock);
    return NULL;
}

struct pool *pool_new(const char *name, int threads, int queue_max)
{
    struct pool *p = xcalloc(1, sizeof *p);

    ASSERT(threads > 0 && queue_max > 0);
    p->threads = threads;
    p->queue_max = queue_max;
    p->queue = xcalloc((size_t)queue_max, sizeof *p->queue);
    p->ids = xcalloc((size_t)threads, sizeof *p->ids);
    mutex_init(&p->lock);
    cond_init(&p->wake);
    for (int i = 0; i < threads; i++)
        p->ids[i] = thread_start(name, worker, p);
    return p;
}

bool pool_submit(struct pool *p, void (*fn)(void *arg), void *arg)
{
    bool ok;

    mutex_lock(&p->lock);
    ok = !p->stopping && p->count < p->queue_max;
    if (ok) {
        p->queue[(p->head + p->count++) % p->queue_max] = (struct job){fn, arg};
        cond_signal(&p->wake);
    }
    mutex_unlock(&p->lock);
    return ok;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    mutex_lock(&p->lock);
    p->stopping = true;
    cond_broadcast(&p->wake);
    mutex_unlock(&p->lock);
    for (int i = 0; i < p->threads; i++)
        pthread_join(p->ids[i], NULL);
    cond_fini(&p->wake);
    mutex_fini(&p->lock);
    free(p->queue);
    free(p->ids);
    free(p);
}
