#include "distributor/metadata_seen.h"
#include "common/base/hash.h"
#include "common/obs/memory.h"

#include <stdatomic.h>
#include <stdlib.h>

_Static_assert((METADATA_SEEN_SLOTS & (METADATA_SEEN_SLOTS - 1)) == 0, "two places of a row differ in one bit");

struct metadata_seen {
    _Atomic uint64_t words[METADATA_SEEN_SLOTS]; /* 0: empty */
};

struct metadata_seen *metadata_seen_new(void)
{
    return xcalloc(1, sizeof(struct metadata_seen));
}

void metadata_seen_free(struct metadata_seen *s)
{
    free(s);
}

size_t metadata_seen_memory(const struct metadata_seen *s)
{
    return heap_bytes(s);
}

struct metadata_key metadata_key_of(const struct metadata_row *row, uint32_t epoch, int64_t now_ms)
{
    const struct str parts[] = {row->tenant, row->metric, row->help, row->unit};
    uint64_t place = row->type, period;

    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        place = mix64(place ^ hash128_secret(parts[i].p, parts[i].n).lo);
    /* Each row at a time of its own, not all at once. */
    period = ((uint64_t)now_ms + place % METADATA_RESEND_MS) / METADATA_RESEND_MS;
    return (struct metadata_key){place, mix64(place ^ (uint64_t)epoch << 32 ^ period) | 1};
}

static const _Atomic uint64_t *slot_of(const struct metadata_seen *s, uint64_t place, unsigned way)
{
    return &s->words[(place % METADATA_SEEN_SLOTS) ^ way];
}

bool metadata_seen_has(const struct metadata_seen *s, struct metadata_key k)
{
    return atomic_load_explicit(slot_of(s, k.place, 0), memory_order_relaxed) == k.word ||
           atomic_load_explicit(slot_of(s, k.place, 1), memory_order_relaxed) == k.word;
}

void metadata_seen_put(struct metadata_seen *s, struct metadata_key k)
{
    bool first_empty = atomic_load_explicit(slot_of(s, k.place, 0), memory_order_relaxed) == 0;
    unsigned way = first_empty ? 0 : (unsigned)(k.word >> 63);

    atomic_store_explicit(&s->words[(k.place % METADATA_SEEN_SLOTS) ^ way], k.word, memory_order_relaxed);
}
