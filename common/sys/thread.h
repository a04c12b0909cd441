/* thread.h - pthreads with our error habit: a failing lock is a bug and aborts. */
#pragma once
#include "common/base/base.h"

#include <pthread.h>

struct mutex {
    pthread_mutex_t m;
};
struct cond {
    pthread_cond_t c; /* on CLOCK_MONOTONIC */
};
void mutex_init(struct mutex *m);
void mutex_fini(struct mutex *m);
static inline void mutex_lock(struct mutex *m)
{
    ASSERT(pthread_mutex_lock(&m->m) == 0);
}
static inline void mutex_unlock(struct mutex *m)
{
    ASSERT(pthread_mutex_unlock(&m->m) == 0);
}
void cond_init(struct cond *c);
void cond_fini(struct cond *c);
void cond_wait(struct cond *c, struct mutex *m);
/* False when the time ran out; a spurious wake-up returns true. */
bool cond_wait_ms(struct cond *c, struct mutex *m, int64_t ms);
static inline void cond_signal(struct cond *c)
{
    pthread_cond_signal(&c->c);
}
static inline void cond_broadcast(struct cond *c)
{
    pthread_cond_broadcast(&c->c);
}
/* Of threads that answer queries, and of those that they start: where cores are short a thread of the write path gets about three times as much, so that
 * dozens of heavy queries do not delay pushes, which take little. */
enum { NICE_READS = 5 };
/* The calling thread's; not below 0, which would need a privilege. */
void thread_nice(int nice);
/* Starts a named, joinable thread with all signals but SIGPROF blocked; aborts when the system has no more. name: 15 bytes at most. */
pthread_t thread_start(const char *name, void *(*fn)(void *arg), void *arg);
