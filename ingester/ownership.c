/* ownership.c - what this ingester owns, by its own view of the ring (design section 5, ownership epochs). */
#include "ingester/ingester_impl.h"

static struct ring *current(struct ingester *in)
{
    return in->deps.ring ? in->deps.ring(in->deps.ring_arg) : NULL;
}

uint64_t ingester_ring_version(struct ingester *in)
{
    struct ring *r = current(in);
    uint64_t version = r ? ring_epoch(r) : 0;

    ring_unref(r);
    return version;
}

static bool set_has(const struct ring_replicas *set, uint16_t self)
{
    for (uint32_t i = 0; i < set->owners_n; i++)
        if (set->owners[i] == self)
            return true;
    for (uint32_t i = 0; i < set->next_n; i++)
        if (set->next[i] == self)
            return true;
    return false;
}

void ownership_take(struct ingester *in, struct ownership *ret)
{
    struct ring *r = current(in);
    const struct ring_replicas *only = r ? ring_only(r) : NULL;

    *ret = (struct ownership){.ring = r, .self = r ? ring_find(r, in->instance_id) : RING_NOBODY, .all = !r};
    if (ret->self == RING_NOBODY)
        return;
    ret->read_only = ring_instance(r, ret->self)->flags & RING_READ_ONLY;
    if (only)
        ret->all = set_has(only, ret->self) && !only->moving && !ret->read_only;
}

void ownership_drop(struct ownership *o)
{
    ring_unref(o->ring);
}

bool ownership_has(const struct ownership *o, fingerprint fp)
{
    uint32_t token = fingerprint_token(fp);

    if (o->all)
        return true;
    if (o->self == RING_NOBODY)
        return false;
    return ring_owner_index(o->ring, token, o->self) >= 0 || ring_next_index(o->ring, token, o->self) >= 0;
}

bool ownership_takes(const struct ownership *o, fingerprint fp, uint64_t ring_version)
{
    uint32_t token = fingerprint_token(fp);

    if (o->all)
        return true;
    if (o->self == RING_NOBODY || o->read_only)
        return false;
    if (ring_next_index(o->ring, token, o->self) >= 0)
        return true;
    return ring_owner_index(o->ring, token, o->self) >= 0 && (ring_version == 0 || ring_version == ring_epoch(o->ring));
}

uint32_t ingester_ring_size(struct ingester *in, uint32_t *ret_rf)
{
    struct ring *r = current(in);
    uint32_t live = r ? (uint32_t)ring_count(r, RING_INGESTER) : 1;

    *ret_rf = r ? (uint32_t)ring_rf(r) : 1;
    ring_unref(r);
    return live;
}
