#include "tsdb/store.h"

#include "common/sys/clock.h"

int store_stopped(const struct store_stop *stop, struct err *err)
{
    if (!stop)
        return 0;
    if (stop->canceled && atomic_load_explicit(stop->canceled, memory_order_relaxed))
        return err_set(err, RC_CANCELED, "canceled");
    if (stop->deadline_mono_ns && clock_mono_ns(clock_system()) > stop->deadline_mono_ns)
        return err_set(err, RC_TIMEOUT, "the deadline has passed");
    return 0;
}
