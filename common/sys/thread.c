#include "common/sys/thread.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

void mutex_init(struct mutex *m)
{
    ASSERT(pthread_mutex_init(&m->m, NULL) == 0);
}

void mutex_fini(struct mutex *m)
{
    pthread_mutex_destroy(&m->m);
}

void cond_init(struct cond *c)
{
    pthread_condattr_t attr;

    ASSERT(pthread_condattr_init(&attr) == 0);
    ASSERT(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    ASSERT(pthread_cond_init(&c->c, &attr) == 0);
    pthread_condattr_destroy(&attr);
}

void cond_fini(struct cond *c)
{
    pthread_cond_destroy(&c->c);
}

void cond_wait(struct cond *c, struct mutex *m)
{
    ASSERT(pthread_cond_wait(&c->c, &m->m) == 0);
}

bool cond_wait_ms(struct cond *c, struct mutex *m, int64_t ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    return pthread_cond_timedwait(&c->c, &m->m, &until) != ETIMEDOUT;
}

void thread_nice(int nice)
{
    ASSERT(nice >= 0);
    setpriority(PRIO_PROCESS, (id_t)gettid(), nice); /* on Linux of the thread; where it is refused all threads stay equal */
}

pthread_t thread_start(const char *name, void *(*fn)(void *arg), void *arg)
{
    sigset_t all, old;
    pthread_t t;

    sigfillset(&all);
    sigdelset(&all, SIGPROF); /* goes to the thread that ran when the timer fired: common/obs/profile.h */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    ASSERT(pthread_create(&t, NULL, fn, arg) == 0);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_setname_np(t, name);
    return t;
}
