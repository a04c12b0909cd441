#include "tsdb/idtab.h"

#include <stdlib.h>

void idtab_fini(struct idtab *t)
{
    free(t->slots);
    *t = (struct idtab){0};
}

enum { SLOTS_MIN = 8 };

static void slot_put(struct idtab *t, uint64_t slot)
{
    uint32_t pos = idtab_home_(t, (uint32_t)(slot >> 32));

    while (t->slots[pos])
        pos = idtab_after_(t, pos);
    t->slots[pos] = slot;
}

/* Makes it the smallest table with room for more than n slots. */
static void resize(struct idtab *t, uint32_t n)
{
    size_t cap = size_class((MAX(n, (uint32_t)SLOTS_MIN - 1) + 1) * sizeof *t->slots) / sizeof *t->slots;
    struct idtab other = {.n = t->n, .cap = (uint32_t)cap};

    ASSERT(cap <= UINT32_MAX && t->n < cap);
    other.slots = xcalloc(cap, sizeof *other.slots);
    for (uint32_t i = 0; i < t->cap; i++)
        if (t->slots[i])
            slot_put(&other, t->slots[i]);
    free(t->slots);
    *t = other;
}

void idtab_reserve(struct idtab *t, uint32_t n)
{
    if ((uint64_t)n * 5 > (uint64_t)t->cap * 4)
        resize(t, MAX(t->cap, n + n / 4));
}

void idtab_add(struct idtab *t, uint32_t tag, uint32_t id)
{
    ASSERT(id < ID_NONE);
    idtab_reserve(t, t->n + 1);
    slot_put(t, (uint64_t)tag << 32 | (id + 1));
    t->n++;
}

/* Slots one passes from one place to another, around the end. */
static uint32_t distance(const struct idtab *t, uint32_t from, uint32_t to)
{
    return to >= from ? to - from : to + t->cap - from;
}

void idtab_remove(struct idtab *t, uint32_t tag, uint32_t id)
{
    uint64_t slot = (uint64_t)tag << 32 | (id + 1);
    uint32_t hole = idtab_home_(t, tag), at;

    while (t->slots[hole] != slot) {
        ASSERT(t->slots[hole] != 0);
        hole = idtab_after_(t, hole);
    }
    /* Whatever stands behind the hole and may stand in it moves up. */
    for (at = idtab_after_(t, hole); t->slots[at]; at = idtab_after_(t, at)) {
        uint32_t home = idtab_home_(t, (uint32_t)(t->slots[at] >> 32));

        if (distance(t, home, at) >= distance(t, hole, at)) {
            t->slots[hole] = t->slots[at];
            hole = at;
        }
    }
    t->slots[hole] = 0;
    t->n--;
    if (t->cap > SLOTS_MIN && t->n < t->cap / 4)
        resize(t, t->n + t->n / 2);
}
