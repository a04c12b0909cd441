#include "tsdb/block_build.h"
#include "common/base/arena.h"
#include "common/base/bytes.h"
#include "common/base/hash.h"
#include "common/base/vec.h"

/* Open addressing with linear probing; a slot holds index + 1, 0 is empty; at most 2/3 full. */
struct table {
    uint32_t *slots;
    size_t mask, used;
};

struct block_build {
    struct arena texts;
    size_t bytes_max, list_bytes;
    VEC(struct str) symbols;
    VEC(struct block_list) lists;
    struct table by_text, by_pair;
};

struct block_build *block_build_new(size_t bytes_max)
{
    struct block_build *b = xcalloc(1, sizeof *b);

    arena_init(&b->texts, bytes_max);
    b->bytes_max = bytes_max;
    return b;
}

void block_build_free(struct block_build *b)
{
    if (!b)
        return;
    for (size_t i = 0; i < b->lists.n; i++)
        free(b->lists.v[i].gaps);
    vec_fini(&b->lists);
    vec_fini(&b->symbols);
    free(b->by_text.slots);
    free(b->by_pair.slots);
    arena_fini(&b->texts);
    free(b);
}

static uint64_t text_hash(struct str s)
{
    return hash128_secret(s.p, s.n).lo; /* clients choose the bytes */
}

static uint64_t pair_hash(uint32_t name, uint32_t value)
{
    return mix64((uint64_t)name << 32 | value);
}

static uint64_t symbol_hash_at(const struct block_build *b, uint32_t i)
{
    return text_hash(b->symbols.v[i]);
}

static uint64_t list_hash_at(const struct block_build *b, uint32_t i)
{
    return pair_hash(b->lists.v[i].name, b->lists.v[i].value);
}

static void table_put(struct table *t, uint64_t hash, uint32_t index)
{
    size_t i = hash & t->mask;

    while (t->slots[i])
        i = (i + 1) & t->mask;
    t->slots[i] = index + 1;
    t->used++;
}

static void table_make_room(struct block_build *b, struct table *t, uint64_t (*hash_at)(const struct block_build *, uint32_t))
{
    struct table bigger = {.mask = t->slots ? t->mask * 2 + 1 : 1023};

    if (t->slots && t->used * 3 < (t->mask + 1) * 2)
        return;
    bigger.slots = xcalloc(bigger.mask + 1, sizeof *bigger.slots);
    for (uint32_t i = 0; i < t->used; i++)
        table_put(&bigger, hash_at(b, i), i);
    free(t->slots);
    *t = bigger;
}

static int charge(const struct block_build *b, struct err *err)
{
    size_t used = b->texts.used + b->list_bytes + b->symbols.cap * sizeof *b->symbols.v +
                  b->lists.cap * sizeof *b->lists.v + (b->by_text.mask + b->by_pair.mask) * sizeof(uint32_t);

    if (used > b->bytes_max)
        return err_set(err, RC_LIMIT, "symbols and postings of one tenant need more than %zu bytes", b->bytes_max);
    return 0;
}

int block_build_symbol(struct block_build *b, struct str text, uint32_t *ret, struct err *err)
{
    uint64_t hash = text_hash(text);
    struct str own;
    int rc;

    table_make_room(b, &b->by_text, symbol_hash_at);
    for (size_t i = hash & b->by_text.mask; b->by_text.slots[i]; i = (i + 1) & b->by_text.mask) {
        uint32_t at = b->by_text.slots[i] - 1;

        if (str_eq(b->symbols.v[at], text)) {
            *ret = at;
            return 0;
        }
    }
    own = arena_str(&b->texts, text);
    rc = own.p && b->symbols.n < UINT32_MAX - 1 ? charge(b, err) : err_set(err, RC_LIMIT, "too many symbols in one tenant");
    if (rc < 0)
        return rc;
    *ret = (uint32_t)b->symbols.n;
    *vec_push(&b->symbols) = own;
    table_put(&b->by_text, hash, *ret);
    return 0;
}

struct str block_build_text(const struct block_build *b, uint32_t symbol)
{
    ASSERT(symbol < b->symbols.n);
    return b->symbols.v[symbol];
}

uint32_t block_build_symbol_count(const struct block_build *b)
{
    return (uint32_t)b->symbols.n;
}

static struct block_list *list_of(struct block_build *b, uint32_t name, uint32_t value)
{
    struct block_list *l;

    table_make_room(b, &b->by_pair, list_hash_at);
    for (size_t i = pair_hash(name, value) & b->by_pair.mask; b->by_pair.slots[i]; i = (i + 1) & b->by_pair.mask) {
        l = &b->lists.v[b->by_pair.slots[i] - 1];
        if (l->name == name && l->value == value)
            return l;
    }
    table_put(&b->by_pair, pair_hash(name, value), (uint32_t)b->lists.n);
    l = vec_push(&b->lists);
    l->name = name;
    l->value = value;
    return l;
}

int block_build_post(struct block_build *b, uint32_t name, uint32_t value, uint32_t ordinal, struct err *err)
{
    struct block_list *l = list_of(b, name, value);

    ASSERT(l->count == 0 || ordinal > l->last);
    if (l->cap - l->n < UVARINT_MAX) {
        uint32_t cap = l->cap ? l->cap * 2 : UVARINT_MAX;

        l->gaps = xrealloc(l->gaps, cap);
        b->list_bytes += cap - l->cap;
        l->cap = cap;
    }
    l->n += (uint32_t)uvarint_put(l->gaps + l->n, ordinal - (l->count ? l->last : 0));
    l->last = ordinal;
    l->count++;
    return charge(b, err);
}

static int by_texts(const void *pa, const void *pb, void *arg)
{
    const struct block_list *a = pa, *b = pb;
    const struct block_build *build = arg;
    int c = a->name == b->name ? 0 : str_cmp(build->symbols.v[a->name], build->symbols.v[b->name]);

    return c ? c : str_cmp(build->symbols.v[a->value], build->symbols.v[b->value]);
}

const struct block_list *block_build_sorted(struct block_build *b, size_t *ret_n)
{
    qsort_r(b->lists.v, b->lists.n, sizeof *b->lists.v, by_texts, b);
    *ret_n = b->lists.n;
    return b->lists.v;
}

void block_list_ordinals(const struct block_list *l, uint32_t *ret)
{
    struct rd r = rd_of(str_n(l->gaps, l->n));
    uint32_t at = 0;

    for (uint32_t i = 0; i < l->count; i++)
        ret[i] = at += (uint32_t)rd_uvarint(&r);
    ASSERT(rd_done(&r));
}
