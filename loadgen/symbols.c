#include "loadgen/symbols.h"

#include "common/base/hash.h"

enum { SLOTS_FIRST = 1024 };

void symbols_init(struct symbols *s)
{
    *s = (struct symbols){.slot_n = SLOTS_FIRST};
    buf_init(&s->text, SYMBOLS_BYTES_MAX);
    s->slots = xcalloc(s->slot_n, sizeof *s->slots);
    symbols_ref(s, STR(""));
}

void symbols_fini(struct symbols *s)
{
    buf_fini(&s->text);
    vec_fini(&s->v);
    free(s->slots);
}

/* The slot of a text, or the empty one where it belongs. */
static uint32_t *slot_of(const struct symbols *s, struct str text)
{
    size_t at = hash64(text.p, text.n, 0) & (s->slot_n - 1);

    while (s->slots[at] && !str_eq(symbols_text(s, s->slots[at] - 1), text))
        at = (at + 1) & (s->slot_n - 1);
    return &s->slots[at];
}

static void grow(struct symbols *s)
{
    free(s->slots);
    s->slot_n *= 2;
    s->slots = xcalloc(s->slot_n, sizeof *s->slots);
    for (uint32_t i = 0; i < s->v.n; i++)
        *slot_of(s, symbols_text(s, i)) = i + 1;
}

uint32_t symbols_ref(struct symbols *s, struct str text)
{
    uint32_t *slot = slot_of(s, text);

    if (*slot)
        return *slot - 1;
    ASSERT(s->v.n < SYMBOLS_MAX);
    *vec_push(&s->v) = (struct symbol){(uint32_t)s->text.n, (uint32_t)text.n};
    buf_str(&s->text, text);
    ASSERT(buf_ok(&s->text));
    *slot = (uint32_t)s->v.n;
    if (s->v.n * 2 > s->slot_n)
        grow(s);
    return (uint32_t)s->v.n - 1;
}
