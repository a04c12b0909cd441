/* arena.h - memory of one request: many allocations, one free, a budget that cannot be passed.
 * Chunks grow geometrically up to 1 MiB; larger requests get a chunk of their own. Under ASan the gaps are
 * poisoned. Not for threads: one owner at a time. arena_alloc returns NULL over budget: the caller answers
 * RC_NOMEM. Zero bytes give a valid pointer. */
#pragma once
#include "common/base/str.h"

struct arena_chunk;
struct arena_taken;
struct arena {
    struct arena_chunk *head;
    struct arena_taken *taken;
    size_t used;   /* bytes handed to the arena by malloc, against budget */
    size_t budget;
    size_t peak;
    struct arena *parent; /* NULL: none */
};

void arena_init(struct arena *a, size_t budget);
/* One that lives within another's budget: its memory counts in both. The parent outlives it; both belong to one thread. */
void arena_init_in(struct arena *a, struct arena *parent);
void arena_fini(struct arena *a);
/* Frees all but one chunk and starts again. */
void arena_reset(struct arena *a);

void *arena_alloc(struct arena *a, size_t n); /* 16-byte aligned, not zeroed; NULL over budget */
void *arena_zalloc(struct arena *a, size_t n);
void *arena_dup(struct arena *a, const void *p, size_t n);
/* count * size with overflow check. */
void *arena_array(struct arena *a, size_t count, size_t size);
struct str arena_str(struct arena *a, struct str s); /* .p NULL over budget (and s.n > 0) */
char *arena_strz(struct arena *a, struct str s);
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF(2, 3);
/* Takes over memory from malloc, to be freed with the arena; false (and not taken) over budget. */
bool arena_take(struct arena *a, void *p, size_t n);
/* Takes n bytes from the budget without allocating (memory held elsewhere for this request); false when over. */
bool arena_charge(struct arena *a, size_t n);
void arena_uncharge(struct arena *a, size_t n);
/* Memory of all arenas of the process, without what is only charged. Any thread. */
size_t arena_bytes_live(void);
/* What an arena of another thread holds right now. */
static inline size_t arena_used(const struct arena *a)
{
    return __atomic_load_n(&a->used, __ATOMIC_RELAXED);
}
