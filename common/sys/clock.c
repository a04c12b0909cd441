#include "common/sys/clock.h"

#include <time.h>

static int64_t system_wall_ms(UNUSED const struct clock *c)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int64_t system_mono_ns(UNUSED const struct clock *c)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

const struct clock *clock_system(void)
{
    static const struct clock system = {system_wall_ms, system_mono_ns};

    return &system;
}

static int64_t manual_wall_ms(const struct clock *c)
{
    return CONTAINER_OF(c, const struct clock_manual, clock)->wall;
}

static int64_t manual_mono_ns(const struct clock *c)
{
    return CONTAINER_OF(c, const struct clock_manual, clock)->mono;
}

void clock_manual_init(struct clock_manual *m, int64_t wall_ms)
{
    *m = (struct clock_manual){{manual_wall_ms, manual_mono_ns}, wall_ms, 1000000000};
}

void clock_manual_advance_ms(struct clock_manual *m, int64_t ms)
{
    m->wall += ms;
    m->mono += ms * 1000000;
}
