#include "blocktool/import_progress.h"
#include "common/sys/clock.h"

#include <stdio.h>

enum { NS_PER_S = 1000000000 };

void import_progress_init(struct import_progress *p, const char *what, uint64_t all, bool quiet)
{
    int64_t now = clock_mono_ns(clock_system());

    *p = (struct import_progress){what, quiet, all, now, now};
}

static void line(const struct import_progress *p, uint64_t done, int64_t now_ns, const char *end)
{
    double s = (double)MAX(now_ns - p->began_ns, 1) / NS_PER_S;

    fprintf(stderr, "%s: %.1f million samples", p->what, (double)done / 1e6);
    if (p->all)
        fprintf(stderr, " (%.0f %%)", 100.0 * (double)done / (double)p->all);
    fprintf(stderr, ", %.1f million/s%s\n", (double)done / s / 1e6, end);
}

void import_progress_tick(struct import_progress *p, uint64_t done)
{
    int64_t now;

    if (p->quiet)
        return;
    now = clock_mono_ns(clock_system());
    if (now - p->last_ns < NS_PER_S)
        return;
    p->last_ns = now;
    line(p, done, now, " ...");
}

void import_progress_end(struct import_progress *p, uint64_t done)
{
    if (!p->quiet)
        line(p, done, clock_mono_ns(clock_system()), "");
}
