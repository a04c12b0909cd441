/* clock.h - time as a dependency. Production passes clock_system(); tests and the simulator pass their own.
 * wall_ms: Unix time in ms, may jump. mono_ns: never goes back; timeouts and leases use only this one. */
#pragma once
#include "common/base/base.h"

struct clock {
    int64_t (*wall_ms)(const struct clock *c);
    int64_t (*mono_ns)(const struct clock *c);
};

const struct clock *clock_system(void);
static inline int64_t clock_wall_ms(const struct clock *c)
{
    return c->wall_ms(c);
}
static inline int64_t clock_mono_ns(const struct clock *c)
{
    return c->mono_ns(c);
}
static inline int64_t clock_mono_ms(const struct clock *c)
{
    return c->mono_ns(c) / 1000000;
}

/* A clock that moves only when told. Not for threads. */
struct clock_manual {
    struct clock clock;
    int64_t wall, mono;
};
void clock_manual_init(struct clock_manual *m, int64_t wall_ms);
void clock_manual_advance_ms(struct clock_manual *m, int64_t ms);
