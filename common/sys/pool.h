/* pool.h - a fixed number of threads and a bounded queue of jobs, first in, first out. */
#pragma once
#include "common/base/base.h"

struct pool;

struct pool *pool_new(const char *name, int threads, int queue_max);
/* False when the queue is full or the pool stops: the job will not run. */
bool pool_submit(struct pool *p, void (*fn)(void *arg), void *arg);
/* Runs what is queued, then joins. NULL is fine. */
void pool_free(struct pool *p);
