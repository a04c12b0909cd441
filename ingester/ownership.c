/* ownership.c - what this ingester owns, by its own view of the ring (design section 5, ownership epochs). */
#include "ingester/ingester_impl.h"

static struct ring_snapshot *snapshot(struct ingester *in)
{
    return in->deps.ring ? in->deps.ring(in->deps.ring_arg) : NULL;
}

uint64_t ingester_ring_version(struct ingester *in)
{
    struct ring_snapshot *snap = snapshot(in);
    uint64_t version = snap ? ring_version(snap) : 0;

    ring_snapshot_put(snap);
    return version;
}

bool ingester_owns_all(struct ingester *in)
{
    struct ring_snapshot *snap = snapshot(in);
    bool all = !snap || ring_owns_all(snap, in->instance_id);

    ring_snapshot_put(snap);
    return all;
}

bool ingester_owns(struct ingester *in, UNUSED struct str tenant, fingerprint fp)
{
    struct ring_snapshot *snap = snapshot(in);
    bool owns = !snap || ring_owns(snap, in->instance_id, fingerprint_token(fp));

    ring_snapshot_put(snap);
    return owns;
}

uint32_t ingester_ring_size(struct ingester *in, uint32_t *ret_rf)
{
    struct ring_snapshot *snap = snapshot(in);
    uint32_t live = snap ? ring_instance_count(snap) : 1;

    *ret_rf = snap ? ring_rf(snap) : 1;
    ring_snapshot_put(snap);
    return live;
}
