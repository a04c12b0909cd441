/* signals.h - SIGINT and SIGTERM as something to poll, while one of these is alive: what they end, ends in order. */
#pragma once
#include "common/base/base.h"

#include <signal.h>

struct signals {
    int fd; /* readable once one has come */
    sigset_t before;
};
void signals_catch(struct signals *s);
/* One has come since; asked often, takes it. */
bool signals_take(struct signals *s);
/* A further one may kill the process again. */
void signals_release(struct signals *s);
