#include "tsdb/idtab.h"

#include <stdlib.h>

void idtab_fini(struct idtab *t)
{
    free(t->slots);
    *t = (struct idtab){0};
}

static void slot_put(struct idtab *t, uint64_t slot)
{
    uint32_t pos = (uint32_t)(slot >> 32) & (t->cap - 1);

    while (t->slots[pos])
        pos = (pos + 1) & (t->cap - 1);
    t->slots[pos] = slot;
}

static void grow_to(struct idtab *t, uint32_t cap)
{
    struct idtab wide = {.n = t->n, .cap = cap};

    wide.slots = xcalloc(wide.cap, sizeof *wide.slots);
    for (uint32_t i = 0; i < t->cap; i++)
        if (t->slots[i])
            slot_put(&wide, t->slots[i]);
    free(t->slots);
    *t = wide;
}

void idtab_reserve(struct idtab *t, uint32_t n)
{
    uint32_t cap = MAX(t->cap, 8U);

    while ((uint64_t)n * 5 > (uint64_t)cap * 4) {
        ASSERT(cap < 1U << 31);
        cap *= 2;
    }
    if (cap > t->cap)
        grow_to(t, cap);
}

void idtab_add(struct idtab *t, uint32_t tag, uint32_t id)
{
    ASSERT(id < ID_NONE);
    idtab_reserve(t, t->n + 1);
    slot_put(t, (uint64_t)tag << 32 | (id + 1));
    t->n++;
}

void idtab_remove(struct idtab *t, uint32_t tag, uint32_t id)
{
    uint64_t slot = (uint64_t)tag << 32 | (id + 1);
    uint32_t mask = t->cap - 1, hole = tag & mask, at;

    while (t->slots[hole] != slot) {
        ASSERT(t->slots[hole] != 0);
        hole = (hole + 1) & mask;
    }
    /* Whatever stands behind the hole and may stand in it moves up. */
    for (at = (hole + 1) & mask; t->slots[at]; at = (at + 1) & mask) {
        uint32_t home = (uint32_t)(t->slots[at] >> 32) & mask;

        if (((at - home) & mask) >= ((at - hole) & mask)) {
            t->slots[hole] = t->slots[at];
            hole = at;
        }
    }
    t->slots[hole] = 0;
    t->n--;
}
