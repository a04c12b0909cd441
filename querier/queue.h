/* queue.h - requests wait here for a worker, fairly by tenant.
 * Workers go round the tenants that have work and run one request of each in turn, never more than
 * running_max of one tenant at a time. So a tenant with a thousand requests delays another's by one
 * request per worker at most. Threads: any; jobs run on the workers. */
#pragma once
#include "common/base/err.h"
#include "common/base/str.h"
#include "common/obs/metrics.h"

struct queue_job {
    struct queue_job *next;
    void (*run)(struct queue_job *job); /* ends it; the queue does not touch it afterwards */
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
