#include "loadgen/signals.h"

#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

void signals_catch(struct signals *s)
{
    sigset_t ends;

    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ends, &s->before);
    s->fd = signalfd(-1, &ends, SFD_NONBLOCK | SFD_CLOEXEC);
    ASSERT(s->fd >= 0);
}

bool signals_take(struct signals *s)
{
    struct signalfd_siginfo info;
    bool came = false;

    while (read(s->fd, &info, sizeof info) == sizeof info)
        came = true;
    return came;
}

void signals_release(struct signals *s)
{
    signals_take(s); /* pending ones would kill us once they are no longer blocked */
    close(s->fd);
    pthread_sigmask(SIG_SETMASK, &s->before, NULL);
}
