/* queue.h - requests wait here for a worker, fairly by tenant.
 * Workers go round the tenants that have work and run one request of each in turn, never more than
 * running_max of one tenant at a time. So a tenant with a thousand requests delays another's by one
 * request per worker at most. Nobody waits in vain: jobs that are over (their client left, they have waited for too
 * long) are looked for every QUEUE_TICK_MS and dropped. Threads: any; jobs run on the workers, over and drop on the
 * queue's own thread. */
#pragma once
#include "common/base/err.h"
#include "common/base/str.h"
#include "common/obs/metrics.h"

enum { QUEUE_TICK_MS = 200 };

struct queue_job {
    struct queue_job *next;
    void (*run)(struct queue_job *job); /* ends it; the queue does not touch it afterwards */
    bool (*over)(const struct queue_job *job); /* no use to run it any more; must be quick; NULL: never */
    void (*drop)(struct queue_job *job);       /* ends one that is over; must not block */
};
struct queue_cfg {
    int workers;
    size_t waiting_max;        /* of all tenants; more: RC_UNAVAILABLE */
    size_t tenant_waiting_max; /* of one; more: RC_RATE */
    struct metrics *metrics;
};
struct queue;
struct queue *queue_new(const struct queue_cfg *cfg);
/* running_max 0: no ceiling for the tenant. */
int queue_submit(struct queue *q, struct str tenant, size_t running_max, struct queue_job *job,
                 struct err *err);
/* Runs what waits, then joins the workers. NULL is fine. */
void queue_free(struct queue *q);
