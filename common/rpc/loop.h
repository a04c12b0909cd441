/* loop.h - threads that wait for sockets (epoll) and tell their owners; internal to common/rpc.
 * Edge-triggered: ready() comes when a socket becomes readable, writable or broken, and again only after it was drained (read to EAGAIN or to a
 * short count, written to EAGAIN), or after loop_again. One thread serves a source all its life, so ready() never runs twice at a time for it.
 * Threads: loop_add, loop_remove, loop_again from any; ready() on the source's thread, without locks. */
#pragma once
#include "common/base/base.h"

struct loop;

struct loop_source {
    void (*ready)(struct loop_source *s, uint32_t events); /* EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR */
    int epoll; /* the loop's */
};

/* As many threads as cores, 4 at most. name: 15 bytes at most. */
struct loop *loop_new(const char *name);
/* No source is left, no thread of the loop calls it. NULL is fine. */
void loop_free(struct loop *l);
/* ready() may come before this returns. */
void loop_add(struct loop *l, struct loop_source *s, int fd);
/* From ready() of this source, or when it can't be running. */
void loop_remove(struct loop_source *s, int fd);
/* ready() comes once more if there is something to do still: for a source that stopped early to let others go on. */
void loop_again(struct loop_source *s, int fd);
