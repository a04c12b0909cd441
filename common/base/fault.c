#include "common/base/fault.h"

#include <stdatomic.h>

static atomic_uint fault_mask;
static atomic_long fault_left;
static atomic_bool fault_did;

void fault_at(unsigned mask, long n)
{
    atomic_store(&fault_did, false);
    atomic_store(&fault_left, n);
    atomic_store(&fault_mask, n > 0 ? mask : 0);
}

bool fault_fired(void)
{
    return atomic_load(&fault_did);
}

#ifdef TORC_DEBUG
bool fault_hit(unsigned kind)
{
    if (LIKELY(!(atomic_load_explicit(&fault_mask, memory_order_relaxed) & kind)))
        return false;
    if (atomic_fetch_sub(&fault_left, 1) != 1)
        return false;
    atomic_store(&fault_did, true);
    return true;
}
#endif
