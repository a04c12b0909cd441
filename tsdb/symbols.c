#include "tsdb/symbols.h"
#include "common/base/hash.h"
#include "common/obs/memory.h"
#include "tsdb/idtab.h"

#include <stdlib.h>

enum { SYMBOLS_MIN = 16 };

struct symbol {
    char *p; /* NULL: free, and n is the next free id */
    uint32_t n;
    uint32_t refs;
};
struct symbols {
    struct symbol *v;
    uint32_t n, cap, free_id, live;
    struct idtab tab;
};

struct symbols *symbols_new(void)
{
    struct symbols *s = xcalloc(1, sizeof *s);

    s->free_id = ID_NONE;
    return s;
}

void symbols_free(struct symbols *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < s->n; i++)
        free(s->v[i].p);
    free(s->v);
    idtab_fini(&s->tab);
    free(s);
}

static uint32_t text_tag(struct str text)
{
    return (uint32_t)hash128_secret(text.p, text.n).lo;
}

static uint32_t lookup(const struct symbols *s, struct str text, uint32_t tag)
{
    uint32_t pos, id;

    for (id = idtab_first(&s->tab, tag, &pos); id != ID_NONE; id = idtab_next(&s->tab, tag, &pos))
        if (str_eq(symbols_text(s, id), text))
            break;
    return id;
}

uint32_t symbols_find(const struct symbols *s, struct str text)
{
    return lookup(s, text, text_tag(text));
}

static uint32_t id_new(struct symbols *s)
{
    uint32_t id = s->free_id;

    if (id != ID_NONE) {
        s->free_id = s->v[id].n;
        return id;
    }
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap + s->cap / 4 : SYMBOLS_MIN;
        s->v = xrealloc(s->v, s->cap * sizeof *s->v);
    }
    return s->n++;
}

uint32_t symbols_take(struct symbols *s, struct str text)
{
    uint32_t tag = text_tag(text), id = lookup(s, text, tag);

    if (id != ID_NONE) {
        ASSERT(s->v[id].refs < UINT32_MAX);
        s->v[id].refs++;
        return id;
    }
    ASSERT(text.n < UINT32_MAX);
    id = id_new(s);
    s->v[id] = (struct symbol){.p = xmalloc(text.n + 1), .n = (uint32_t)text.n, .refs = 1};
    memcpy(s->v[id].p, text.n ? text.p : "", text.n);
    s->v[id].p[text.n] = '\0';
    s->live++;
    idtab_add(&s->tab, tag, id);
    return id;
}

void symbols_drop(struct symbols *s, uint32_t id)
{
    struct str text = symbols_text(s, id);

    if (--s->v[id].refs > 0)
        return;
    idtab_remove(&s->tab, text_tag(text), id);
    s->live--;
    free(s->v[id].p);
    s->v[id] = (struct symbol){.n = s->free_id};
    s->free_id = id;
}

void symbols_trim(struct symbols *s)
{
    while (s->n > 0 && !s->v[s->n - 1].p)
        s->n--;
    s->free_id = ID_NONE;
    for (uint32_t i = s->n; i-- > 0;)
        if (!s->v[i].p) {
            s->v[i].n = s->free_id;
            s->free_id = i;
        }
    if (s->n < s->cap / 2) {
        s->cap = MAX(s->n, (uint32_t)SYMBOLS_MIN);
        s->v = xrealloc(s->v, s->cap * sizeof *s->v);
    }
}

struct str symbols_text(const struct symbols *s, uint32_t id)
{
    ASSERT(id < s->n && s->v[id].p);
    return (struct str){s->v[id].p, s->v[id].n};
}

size_t symbols_count(const struct symbols *s)
{
    return s->live;
}

size_t symbols_share(const struct symbols *s, uint32_t id)
{
    ASSERT(id < s->n && s->v[id].refs > 0);
    return heap_bytes(s->v[id].p) / s->v[id].refs;
}

size_t symbols_shared_memory(const struct symbols *s)
{
    return heap_bytes(s) + heap_bytes(s->v) + heap_bytes(s->tab.slots);
}
