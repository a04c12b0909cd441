/* symbols.h - the symbol table of a Remote Write 2.0 request: each text once; the first is empty. */
#pragma once
#include "common/base/buf.h"
#include "common/base/vec.h"

enum { SYMBOLS_BYTES_MAX = 256 << 20, SYMBOLS_MAX = 1 << 24 };

struct symbol {
    uint32_t at, n; /* in text */
};
struct symbols {
    struct buf text;
    VEC(struct symbol) v;
    uint32_t *slots; /* open addressing: reference + 1, or 0 */
    size_t slot_n;   /* a power of two, at most half full */
};

void symbols_init(struct symbols *s);
void symbols_fini(struct symbols *s);
/* The reference of a text; a new one is copied. */
uint32_t symbols_ref(struct symbols *s, struct str text);
static inline struct str symbols_text(const struct symbols *s, uint32_t ref)
{
    return str_n(s->text.p + s->v.v[ref].at, s->v.v[ref].n);
}
