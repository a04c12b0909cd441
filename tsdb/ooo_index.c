#include "tsdb/ooo_index.h"

#include "common/base/bytes.h"

#include <stdlib.h>

/* --- windows --- */

/* Windows of one series that follow each other do not meet. */
static struct ooo_index *set_of(const struct ooo_indexes *t, uint64_t seq, int64_t start)
{
    uint64_t h = (seq * 0x9e3779b97f4a7c15ULL >> 32) + (uint64_t)start / (30 * 60 * 1000);

    return t->sets[h % OOO_INDEX_SETS];
}

static void slots_free(struct ooo_indexes *t, struct ooo_index *x)
{
    t->slots -= x->cap;
    free(x->slots);
    x->slots = NULL;
    x->cap = x->n = x->open_n = 0;
}

struct ooo_index *ooo_indexes_find(struct ooo_indexes *t, uint64_t seq, int64_t start)
{
    struct ooo_index *set = t->sets ? set_of(t, seq, start) : NULL;

    for (int i = 0; set && i < OOO_INDEX_WAYS; i++)
        if (set[i].seq == seq && set[i].start == start) {
            set[i].asked = ++t->clock;
            return &set[i];
        }
    return NULL;
}

void ooo_indexes_note(struct ooo_indexes *t, uint64_t seq, int64_t start)
{
    struct ooo_index *set, *oldest;

    ASSERT(seq != 0);
    if (!t->sets)
        t->sets = xcalloc(OOO_INDEX_SETS, sizeof *t->sets);
    set = oldest = set_of(t, seq, start);
    for (int i = 1; i < OOO_INDEX_WAYS; i++)
        if (set[i].asked < oldest->asked)
            oldest = &set[i];
    slots_free(t, oldest);
    *oldest = (struct ooo_index){.seq = seq, .start = start, .asked = ++t->clock};
}

void ooo_indexes_forget(struct ooo_indexes *t)
{
    for (int s = 0; t->slots > 0 && s < OOO_INDEX_SETS; s++)
        for (int i = 0; i < OOO_INDEX_WAYS; i++)
            slots_free(t, &t->sets[s][i]);
}

size_t ooo_indexes_memory(const struct ooo_indexes *t)
{
    return (t->sets ? OOO_INDEX_SETS * sizeof *t->sets : 0) + t->slots * sizeof(struct ooo_slot);
}

void ooo_indexes_fini(struct ooo_indexes *t)
{
    ooo_indexes_forget(t);
    free(t->sets);
    *t = (struct ooo_indexes){0};
}

/* Frees what was not asked about for longest until there is room for so many slots more; x stays. */
static bool make_room(struct ooo_indexes *t, const struct ooo_index *x, uint64_t slots)
{
    while (t->slots + slots > OOO_INDEX_SLOTS_MAX) {
        struct ooo_index *oldest = NULL;

        for (int s = 0; s < OOO_INDEX_SETS; s++)
            for (int i = 0; i < OOO_INDEX_WAYS; i++) {
                struct ooo_index *y = &t->sets[s][i];

                if (y != x && y->cap > 0 && (!oldest || y->asked < oldest->asked))
                    oldest = y;
            }
        if (!oldest)
            return false;
        slots_free(t, oldest);
    }
    return true;
}

/* --- samples --- */

/* The slot of off, or the free one where it would go. */
static struct ooo_slot *slot_of(const struct ooo_index *x, uint32_t off)
{
    uint32_t i = (uint32_t)(off * 0x9e3779b97f4a7c15ULL >> 32) & (x->cap - 1);

    while (x->slots[i].kind != OOO_ABSENT && x->slots[i].off != off)
        i = (i + 1) & (x->cap - 1);
    return &x->slots[i];
}

static bool grow(struct ooo_indexes *t, struct ooo_index *x)
{
    struct ooo_slot *old = x->slots;
    uint32_t old_cap = x->cap;

    if (!make_room(t, x, old_cap))
        return false;
    t->slots += old_cap;
    x->cap *= 2;
    x->slots = xcalloc(x->cap, sizeof *x->slots);
    for (uint32_t i = 0; i < old_cap; i++)
        if (old[i].kind != OOO_ABSENT)
            *slot_of(x, old[i].off) = old[i];
    free(old);
    return true;
}

bool ooo_index_begin(struct ooo_indexes *t, struct ooo_index *x, uint64_t n)
{
    uint64_t cap = 2 * OOO_INDEX_MIN;

    slots_free(t, x);
    while (cap < 2 * n)
        cap *= 2;
    if (!make_room(t, x, cap))
        return false;
    x->cap = (uint32_t)cap;
    x->slots = xcalloc(x->cap, sizeof *x->slots);
    t->slots += x->cap;
    return true;
}

void ooo_index_add(struct ooo_indexes *t, struct ooo_index *x, uint32_t off, enum ooo_kind kind, uint64_t vbits)
{
    struct ooo_slot *slot;

    if ((x->n + 1) * 2 > x->cap && !grow(t, x)) {
        slots_free(t, x);
        return;
    }
    slot = slot_of(x, off);
    ASSERT(slot->kind == OOO_ABSENT && kind != OOO_ABSENT);
    *slot = (struct ooo_slot){vbits, off, kind};
    x->n++;
}

void ooo_index_add_columns(struct ooo_indexes *t, struct ooo_index *x, const struct chunk_columns *c, size_t from)
{
    for (size_t i = from; i < c->n && x->cap > 0; i++) {
        bool hist = c->hist && c->hist[i];

        ooo_index_add(t, x, (uint32_t)(c->t[i] - x->start), hist ? OOO_HIST : OOO_FLOAT, hist ? 0 : double_bits(c->v[i]));
    }
}

enum ooo_kind ooo_index_find(const struct ooo_index *x, uint32_t off, uint64_t *ret_vbits)
{
    const struct ooo_slot *slot = slot_of(x, off);

    *ret_vbits = slot->vbits;
    return (enum ooo_kind)slot->kind;
}
