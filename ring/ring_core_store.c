/* What a store tells a member (etcd_core.h). */
#include "ring/ring_core_impl.h"

void ring_core_hear(struct ring_core *c, struct member *m)
{
    ASSERT(c->stored);
    core_hear_record(c, m);
    member_fini(m);
    core_flush(c);
}

void ring_core_set_alive(struct ring_core *c, const char *id, bool alive)
{
    struct entry *e         = core_find(c, str_of(id));
    enum ring_health health = alive ? RING_ALIVE : RING_DEAD;

    ASSERT(c->stored);
    if (!e || entry_is_self(c, e) || e->m.state == RING_LEFT)
        return;
    if (alive)
        e->heard_ms = core_now(c);
    if (e->m.health == health)
        return;
    e->m.health  = health;
    e->health_ms = core_now(c);
    c->dirty     = true;
    core_flush(c);
}

void ring_core_synced(struct ring_core *c)
{
    ASSERT(c->stored);
    core_settle(c);
    core_flush(c);
}
