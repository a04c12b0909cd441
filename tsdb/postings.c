#include "tsdb/postings.h"
#include "common/base/hash.h"
#include "common/obs/memory.h"

#include <stdlib.h>

enum { ORDINAL_VARINT_MAX = 5, PAIRS_MIN = 16 };

struct postings {
    struct symbols *syms;
    struct pair *v;
    uint32_t n, cap, free_pair; /* free pairs are chained by value, name == ID_NONE */
    struct postings_name *names;
    uint32_t name_n, name_cap, free_name; /* free names are chained by tenant */
    struct idtab pair_tab, name_tab;
};

/* --- lists --- */
static uint8_t *list_bytes(struct posting_list *l)
{
    return l->cap ? l->p : l->inl;
}

static size_t varint32_put(uint8_t *p, uint32_t v)
{
    size_t n = 0;

    while (v >= 0x80) {
        p[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    p[n++] = (uint8_t)v;
    return n;
}

static void list_grow(struct posting_list *l, uint32_t need)
{
    uint32_t cap = need <= 16 ? 16 : (need + need / 4 + 15) & ~15U;
    uint8_t *p;

    ASSERT(need < UINT32_MAX / 2);
    if (l->cap) {
        p = xrealloc(l->p, cap);
    } else {
        p = xmalloc(cap);
        memcpy(p, l->inl, l->n);
    }
    l->p = p;
    l->cap = cap;
}

void posting_list_add(struct posting_list *l, uint32_t ordinal)
{
    uint8_t bytes[ORDINAL_VARINT_MAX];
    size_t n = varint32_put(bytes, ordinal - l->last);

    ASSERT(l->count == 0 || ordinal > l->last);
    if (l->n + n > (l->cap ? l->cap : POSTINGS_INLINE))
        list_grow(l, l->n + (uint32_t)n);
    memcpy(list_bytes(l) + l->n, bytes, n);
    l->n += (uint32_t)n;
    l->last = ordinal;
    l->count++;
}

void posting_list_fini(struct posting_list *l)
{
    if (l->cap)
        free(l->p);
    *l = (struct posting_list){0};
}

/* In place: a kept delta is at most the sum of the deltas it replaces, and the varint of a sum is
 * no longer than its parts. */
void posting_list_remap(struct posting_list *l, const uint32_t *map)
{
    struct posting_iter it = posting_iter_of(l);
    uint8_t *to = list_bytes(l);
    uint32_t ordinal, last = 0, count = 0;

    while (posting_next(&it, &ordinal)) {
        uint32_t mapped = map[ordinal];

        if (mapped == ID_NONE)
            continue;
        ASSERT(mapped <= ordinal);
        to += varint32_put(to, mapped - last);
        last = mapped;
        count++;
    }
    l->n = (uint32_t)(to - list_bytes(l));
    l->last = last;
    l->count = count;
    if (count == 0) {
        posting_list_fini(l);
    } else if (l->cap > 64 && l->n < l->cap / 2) {
        l->cap = (l->n + 15) & ~15U;
        l->p = xrealloc(l->p, l->cap);
    }
}

/* --- the index --- */
struct postings *postings_new(struct symbols *syms)
{
    struct postings *p = xcalloc(1, sizeof *p);

    p->syms = syms;
    p->free_pair = p->free_name = ID_NONE;
    return p;
}

void postings_free(struct postings *p)
{
    if (!p)
        return;
    for (uint32_t i = 0; i < p->n; i++)
        posting_list_fini(&p->v[i].list);
    for (uint32_t i = 0; i < p->name_n; i++)
        free(p->names[i].pairs);
    free(p->v);
    free(p->names);
    idtab_fini(&p->pair_tab);
    idtab_fini(&p->name_tab);
    free(p);
}

/* Ids are dense and chosen by us, so no secret is needed. */
static uint32_t id_tag(uint32_t a, uint32_t b)
{
    return (uint32_t)(mix64((uint64_t)a << 32 | b) >> 32);
}

static uint32_t name_lookup(const struct postings *p, uint32_t tenant, uint32_t symbol)
{
    uint32_t tag = id_tag(tenant, symbol), pos, id;

    for (id = idtab_first(&p->name_tab, tag, &pos); id != ID_NONE;
         id = idtab_next(&p->name_tab, tag, &pos))
        if (p->names[id].tenant == tenant && p->names[id].symbol == symbol)
            break;
    return id;
}

static uint32_t pair_lookup(const struct postings *p, uint32_t name, uint32_t value)
{
    uint32_t tag = id_tag(name, value), pos, id;

    for (id = idtab_first(&p->pair_tab, tag, &pos); id != ID_NONE;
         id = idtab_next(&p->pair_tab, tag, &pos))
        if (p->v[id].name == name && p->v[id].value == value)
            break;
    return id;
}

/* Takes the reference on symbol. */
static uint32_t name_new(struct postings *p, uint32_t tenant, uint32_t symbol)
{
    uint32_t id = p->free_name;

    if (id != ID_NONE) {
        p->free_name = p->names[id].tenant;
    } else {
        if (p->name_n == p->name_cap) {
            p->name_cap = p->name_cap ? p->name_cap + p->name_cap / 2 : 16;
            p->names = xrealloc(p->names, p->name_cap * sizeof *p->names);
        }
        id = p->name_n++;
    }
    p->names[id] = (struct postings_name){.tenant = tenant, .symbol = symbol};
    idtab_add(&p->name_tab, id_tag(tenant, symbol), id);
    return id;
}

static void name_add_pair(struct postings_name *name, uint32_t pair)
{
    if (name->n == name->cap) {
        name->cap = name->cap ? name->cap + name->cap / 4 + 4 : 4;
        name->pairs = xrealloc(name->pairs, name->cap * sizeof *name->pairs);
    }
    name->pairs[name->n++] = pair;
}

/* Takes the reference on value. */
static uint32_t pair_new(struct postings *p, uint32_t name, uint32_t value)
{
    uint32_t id = p->free_pair;

    if (id != ID_NONE) {
        p->free_pair = p->v[id].value;
    } else {
        if (p->n == p->cap) {
            p->cap = p->cap ? p->cap + p->cap / 4 : PAIRS_MIN;
            p->v = xrealloc(p->v, p->cap * sizeof *p->v);
        }
        id = p->n++;
    }
    p->v[id] = (struct pair){.name = name, .value = value};
    idtab_add(&p->pair_tab, id_tag(name, value), id);
    name_add_pair(&p->names[name], id);
    return id;
}

uint32_t postings_pair_make(struct postings *p, uint32_t tenant, struct str name, struct str value)
{
    uint32_t name_symbol = symbols_take(p->syms, name), value_symbol = symbols_take(p->syms, value);
    uint32_t entry = name_lookup(p, tenant, name_symbol), pair;

    if (entry == ID_NONE)
        entry = name_new(p, tenant, name_symbol);
    else
        symbols_drop(p->syms, name_symbol);
    pair = pair_lookup(p, entry, value_symbol);
    if (pair == ID_NONE)
        pair = pair_new(p, entry, value_symbol);
    else
        symbols_drop(p->syms, value_symbol);
    return pair;
}

uint32_t postings_pair_find(const struct postings *p, uint32_t tenant, struct str name,
                            struct str value)
{
    uint32_t name_symbol = symbols_find(p->syms, name), value_symbol, entry;

    if (name_symbol == ID_NONE)
        return ID_NONE;
    value_symbol = symbols_find(p->syms, value);
    entry = name_lookup(p, tenant, name_symbol);
    return value_symbol == ID_NONE || entry == ID_NONE ? ID_NONE
                                                       : pair_lookup(p, entry, value_symbol);
}

void postings_add(struct postings *p, uint32_t pair, uint32_t ordinal)
{
    posting_list_add(&p->v[pair].list, ordinal);
}

const struct pair *postings_pair(const struct postings *p, uint32_t pair)
{
    ASSERT(pair < p->n && p->v[pair].name != ID_NONE);
    return &p->v[pair];
}

uint32_t postings_pair_bound(const struct postings *p)
{
    return p->n;
}

struct str postings_pair_name(const struct postings *p, uint32_t pair)
{
    return symbols_text(p->syms, p->names[postings_pair(p, pair)->name].symbol);
}

struct str postings_pair_value(const struct postings *p, uint32_t pair)
{
    return symbols_text(p->syms, postings_pair(p, pair)->value);
}

bool postings_pair_is(const struct postings *p, uint32_t pair, struct str name, struct str value)
{
    return str_eq(postings_pair_value(p, pair), value) && str_eq(postings_pair_name(p, pair), name);
}

const struct postings_name *postings_name_find(const struct postings *p, uint32_t tenant,
                                               struct str name)
{
    uint32_t symbol = symbols_find(p->syms, name);
    uint32_t entry = symbol == ID_NONE ? ID_NONE : name_lookup(p, tenant, symbol);

    return entry == ID_NONE ? NULL : &p->names[entry];
}

const struct postings_name *postings_name_at(const struct postings *p, uint32_t i)
{
    ASSERT(i < p->name_n);
    return &p->names[i];
}

uint32_t postings_name_bound(const struct postings *p)
{
    return p->name_n;
}

/* --- removal --- */
static void pair_remove(struct postings *p, uint32_t id)
{
    struct pair *pair = &p->v[id];

    idtab_remove(&p->pair_tab, id_tag(pair->name, pair->value), id);
    symbols_drop(p->syms, pair->value);
    *pair = (struct pair){.name = ID_NONE, .value = p->free_pair};
    p->free_pair = id;
}

static void name_trim(struct postings *p, uint32_t id)
{
    struct postings_name *name = &p->names[id];
    uint32_t kept = 0;

    for (uint32_t i = 0; i < name->n; i++)
        if (p->v[name->pairs[i]].list.count > 0)
            name->pairs[kept++] = name->pairs[i];
        else
            pair_remove(p, name->pairs[i]);
    name->n = kept;
    if (kept > 0 && kept >= name->cap / 2)
        return;
    if (kept > 0) {
        name->cap = kept;
        name->pairs = xrealloc(name->pairs, kept * sizeof *name->pairs);
        return;
    }
    free(name->pairs);
    idtab_remove(&p->name_tab, id_tag(name->tenant, name->symbol), id);
    symbols_drop(p->syms, name->symbol);
    *name = (struct postings_name){.tenant = p->free_name, .symbol = ID_NONE};
    p->free_name = id;
}

/* Free pairs at the end go, the others are used again from the lowest. */
static void pairs_trim(struct postings *p)
{
    while (p->n > 0 && p->v[p->n - 1].name == ID_NONE)
        p->n--;
    p->free_pair = ID_NONE;
    for (uint32_t i = p->n; i-- > 0;)
        if (p->v[i].name == ID_NONE) {
            p->v[i].value = p->free_pair;
            p->free_pair = i;
        }
    if (p->n < p->cap / 2) {
        p->cap = MAX(p->n, (uint32_t)PAIRS_MIN);
        p->v = xrealloc(p->v, p->cap * sizeof *p->v);
    }
}

void postings_rebuild(struct postings *p, const uint32_t *map)
{
    for (uint32_t i = 0; i < p->n; i++) {
        if (p->v[i].name == ID_NONE)
            continue;
        posting_list_remap(&p->v[i].list, map);
    }
    for (uint32_t i = 0; i < p->name_n; i++)
        if (p->names[i].symbol != ID_NONE)
            name_trim(p, i);
    pairs_trim(p);
    symbols_trim(p->syms);
}

/* --- memory --- */
bool postings_pair_memory(const struct postings *p, uint32_t id, struct postings_memory *ret)
{
    const struct pair *pair = &p->v[id];
    const struct postings_name *name;

    if (pair->name == ID_NONE)
        return false;
    name = &p->names[pair->name];
    *ret = (struct postings_memory){name->tenant, pair->list.cap ? heap_bytes(pair->list.p) : 0, symbols_share(p->syms, pair->value)};
    if (name->pairs[0] == id) {
        ret->list += heap_bytes(name->pairs);
        ret->texts += symbols_share(p->syms, name->symbol);
    }
    return true;
}

struct postings_memory postings_shared_memory(const struct postings *p)
{
    return (struct postings_memory){
        .list = heap_bytes(p) + heap_bytes(p->v) + heap_bytes(p->names) + heap_bytes(p->pair_tab.slots) + heap_bytes(p->name_tab.slots),
        .texts = symbols_shared_memory(p->syms),
    };
}
