#include "common/rpc/loop.h"

#include "common/sys/thread.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { LOOP_THREADS_MAX = 4, LOOP_EVENTS = 64 };

struct loop_thread {
    pthread_t id;
    int epoll, stop; /* stop: an eventfd, which is the one source without a pointer */
};

struct loop {
    struct loop_thread threads[LOOP_THREADS_MAX]; /* --- read-only after new --- */
    unsigned count;
    atomic_uint next; /* --- any thread: who takes the next source --- */
};

static const uint32_t INTEREST = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

static void *loop_main(void *arg)
{
    struct loop_thread *t = arg;
    struct epoll_event events[LOOP_EVENTS];
    bool stop = false;

    while (!stop) {
        int n = epoll_wait(t->epoll, events, LOOP_EVENTS, -1);

        ASSERT(n >= 0 || errno == EINTR);
        for (int i = 0; i < n; i++) {
            struct loop_source *s = events[i].data.ptr;

            if (s)
                s->ready(s, events[i].events);
            else
                stop = true;
        }
    }
    return NULL;
}

static void loop_thread_init(struct loop_thread *t, const char *name)
{
    struct epoll_event e = {.events = EPOLLIN};

    t->epoll = epoll_create1(EPOLL_CLOEXEC);
    t->stop  = eventfd(0, EFD_CLOEXEC);
    ASSERT(t->epoll >= 0 && t->stop >= 0 && epoll_ctl(t->epoll, EPOLL_CTL_ADD, t->stop, &e) == 0);
    t->id = thread_start(name, loop_main, t);
}

struct loop *loop_new(const char *name)
{
    struct loop *l = xcalloc(1, sizeof *l);
    long cores     = sysconf(_SC_NPROCESSORS_ONLN);

    l->count = (unsigned)MIN(MAX(cores, 1), (long)LOOP_THREADS_MAX);
    for (unsigned i = 0; i < l->count; i++)
        loop_thread_init(&l->threads[i], name);
    return l;
}

void loop_free(struct loop *l)
{
    for (unsigned i = 0; l && i < l->count; i++) {
        ASSERT(write(l->threads[i].stop, &(uint64_t){1}, sizeof(uint64_t)) == sizeof(uint64_t));
        pthread_join(l->threads[i].id, NULL);
        close(l->threads[i].stop);
        close(l->threads[i].epoll);
    }
    free(l);
}

void loop_add(struct loop *l, struct loop_source *s, int fd)
{
    struct epoll_event e = {.events = INTEREST, .data.ptr = s};

    s->epoll = l->threads[atomic_fetch_add(&l->next, 1) % l->count].epoll;
    ASSERT(epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &e) == 0);
}

void loop_remove(struct loop_source *s, int fd)
{
    ASSERT(epoll_ctl(s->epoll, EPOLL_CTL_DEL, fd, NULL) == 0);
}

void loop_again(struct loop_source *s, int fd)
{
    struct epoll_event e = {.events = INTEREST, .data.ptr = s};

    ASSERT(epoll_ctl(s->epoll, EPOLL_CTL_MOD, fd, &e) == 0);
}
