/* idtab.h - an open-addressed index from a 32-bit tag (part of a hash) to small ids. The keys stay
 * with the caller: for (id = idtab_first(&t, tag, &pos); id != ID_NONE; id = idtab_next(&t, tag,
 * &pos)) if (key of id equals) found; 8 bytes a slot, linear probing, at most four fifths full and
 * grown by a fifth or so, removal without tombstones and with its memory. One owner at a time. */
#pragma once
#include "common/base/base.h"

#define ID_NONE UINT32_MAX

struct idtab {
    uint64_t *slots; /* tag << 32 | id + 1; 0: empty */
    uint32_t n, cap;
};

void idtab_fini(struct idtab *t);
void idtab_add(struct idtab *t, uint32_t tag, uint32_t id);
/* Room for so many, as adding them one by one would make. */
void idtab_reserve(struct idtab *t, uint32_t n);
void idtab_remove(struct idtab *t, uint32_t tag, uint32_t id); /* it must be there */
static inline uint32_t idtab_home_(const struct idtab *t, uint32_t tag)
{
    return (uint32_t)((uint64_t)tag * t->cap >> 32);
}
static inline uint32_t idtab_after_(const struct idtab *t, uint32_t pos)
{
    return pos + 1 == t->cap ? 0 : pos + 1;
}
static inline uint32_t idtab_scan_(const struct idtab *t, uint32_t tag, uint32_t *pos)
{
    for (;;) {
        uint64_t slot = t->slots[*pos];

        if (slot == 0)
            return ID_NONE;
        if ((uint32_t)(slot >> 32) == tag)
            return (uint32_t)slot - 1;
        *pos = idtab_after_(t, *pos);
    }
}
static inline uint32_t idtab_first(const struct idtab *t, uint32_t tag, uint32_t *pos)
{
    if (t->cap == 0)
        return ID_NONE;
    *pos = idtab_home_(t, tag);
    return idtab_scan_(t, tag, pos);
}
static inline uint32_t idtab_next(const struct idtab *t, uint32_t tag, uint32_t *pos)
{
    *pos = idtab_after_(t, *pos);
    return idtab_scan_(t, tag, pos);
}
/* Brings the slot a lookup starts at into the cache. */
static inline void idtab_prefetch(const struct idtab *t, uint32_t tag)
{
    if (t->cap)
        __builtin_prefetch(&t->slots[idtab_home_(t, tag)]);
}
