#include "distributor/series_cache.h"
#include "common/sys/thread.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { STRIPES = 16, SLOTS_MIN = 64 };

struct slot {
    struct u128 hash; /* 0,0: empty */
    struct series_entry e;
};
struct table {
    struct slot *slots;
    size_t cap, n; /* cap: power of two */
};
struct stripe {
    struct mutex lock;
    struct table young, old;
    _Atomic(struct slot *) hint; /* young.slots, and its mask, to prefetch without the lock: may be of yesterday, is never read through */
    _Atomic size_t hint_mask;
};
struct series_cache {
    size_t slots_max; /* per generation and stripe */
    struct stripe stripes[STRIPES];
};

struct series_cache *series_cache_new(size_t bytes_max)
{
    struct series_cache *c = xcalloc(1, sizeof *c);
    size_t slots = bytes_max / STRIPES / 2 / sizeof(struct slot);

    c->slots_max = SLOTS_MIN;
    while (c->slots_max * 2 <= slots)
        c->slots_max *= 2;
    for (int i = 0; i < STRIPES; i++)
        mutex_init(&c->stripes[i].lock);
    return c;
}

void series_cache_free(struct series_cache *c)
{
    if (!c)
        return;
    for (int i = 0; i < STRIPES; i++) {
        mutex_fini(&c->stripes[i].lock);
        free(c->stripes[i].young.slots);
        free(c->stripes[i].old.slots);
    }
    free(c);
}

static struct stripe *stripe_of(struct series_cache *c, struct u128 hash)
{
    return &c->stripes[hash.hi % STRIPES];
}

/* The slot of hash, or the empty one where it belongs; NULL in an empty table. */
static struct slot *table_slot(const struct table *t, struct u128 hash)
{
    if (t->cap == 0)
        return NULL;
    for (size_t i = hash.lo & (t->cap - 1);; i = (i + 1) & (t->cap - 1)) {
        struct slot *s = &t->slots[i];

        if (u128_eq(s->hash, hash) || (s->hash.hi == 0 && s->hash.lo == 0))
            return s;
    }
}

static struct slot *table_find(const struct table *t, struct u128 hash)
{
    struct slot *s = table_slot(t, hash);

    return s && u128_eq(s->hash, hash) ? s : NULL;
}

static void hint_set(struct stripe *st)
{
    atomic_store_explicit(&st->hint, st->young.slots, memory_order_relaxed);
    atomic_store_explicit(&st->hint_mask, st->young.cap - 1, memory_order_relaxed);
}

static void hint_prefetch(struct series_cache *c, struct u128 hash)
{
    struct stripe *st = stripe_of(c, hash);
    struct slot *slots = atomic_load_explicit(&st->hint, memory_order_relaxed);
    uintptr_t at = (uintptr_t)slots + (hash.lo & atomic_load_explicit(&st->hint_mask, memory_order_relaxed)) * sizeof(struct slot);

    __builtin_prefetch((void *)at);
    __builtin_prefetch((void *)(at + sizeof(struct slot) - 1));
}

static void table_grow(struct table *t)
{
    struct table bigger = {.cap = t->cap ? t->cap * 2 : SLOTS_MIN, .n = t->n};

    bigger.slots = xcalloc(bigger.cap, sizeof *bigger.slots);
    for (size_t i = 0; i < t->cap; i++)
        if (t->slots[i].hash.hi || t->slots[i].hash.lo)
            *table_slot(&bigger, t->slots[i].hash) = t->slots[i];
    free(t->slots);
    *t = bigger;
}

static void stripe_put(struct series_cache *c, struct stripe *st, const struct slot *new)
{
    struct table *t = &st->young;
    struct slot *s = table_find(t, new->hash);

    if (s) {
        s->e = new->e;
        return;
    }
    if ((t->n + 1) * 4 > t->cap * 3) {
        if (t->cap >= c->slots_max) {
            free(st->old.slots);
            st->old = *t;
            *t = (struct table){0};
        }
        table_grow(t);
        hint_set(st);
    }
    *table_slot(t, new->hash) = *new;
    t->n++;
}

/* hash must not be the empty mark. */
static struct u128 key_of(struct u128 hash)
{
    if (hash.hi == 0 && hash.lo == 0)
        hash.lo = 1;
    return hash;
}

/* Lock held. */
static bool stripe_get(struct series_cache *c, struct stripe *st, struct u128 hash, uint32_t limits_gen, struct series_entry *ret)
{
    struct slot *s = table_find(&st->young, hash);

    if (UNLIKELY(!s)) {
        s = table_find(&st->old, hash);
        if (s) {
            struct slot copy = *s;

            stripe_put(c, st, &copy); /* may free the old table */
            s = table_find(&st->young, hash);
        }
    }
    if (!s || s->e.limits_gen != limits_gen)
        return false;
    *ret = s->e;
    return true;
}

bool series_cache_get(struct series_cache *c, struct u128 hash, uint32_t limits_gen, struct series_entry *ret)
{
    return series_cache_get_many(c, &hash, 1, limits_gen, ret);
}

uint64_t series_cache_get_many(struct series_cache *c, const struct u128 *hashes, size_t n, uint32_t limits_gen, struct series_entry *ret)
{
    uint64_t of_stripe[STRIPES] = {0}, found = 0;

    ASSERT(n <= SERIES_CACHE_GROUP);
    for (size_t i = 0; i < n; i++) {
        of_stripe[key_of(hashes[i]).hi % STRIPES] |= 1ULL << i;
    }
    for (int k = 0; k < STRIPES; k++) {
        struct stripe *st = &c->stripes[k];

        if (!of_stripe[k])
            continue;
        mutex_lock(&st->lock);
        for (uint64_t left = of_stripe[k]; left; left &= left - 1) {
            int i = __builtin_ctzll(left);

            found |= (uint64_t)stripe_get(c, st, key_of(hashes[i]), limits_gen, &ret[i]) << i;
        }
        mutex_unlock(&st->lock);
    }
    return found;
}

void series_cache_prefetch(struct series_cache *c, struct u128 hash)
{
    hint_prefetch(c, key_of(hash));
}

void series_cache_put(struct series_cache *c, struct u128 hash, const struct series_entry *e)
{
    struct slot new = {key_of(hash), *e};
    struct stripe *st = stripe_of(c, new.hash);

    mutex_lock(&st->lock);
    stripe_put(c, st, &new);
    mutex_unlock(&st->lock);
}

void series_cache_ack(struct series_cache *c, struct u128 hash, uint32_t bits, uint32_t ack_epoch)
{
    struct stripe *st;
    struct slot *s;

    hash = key_of(hash);
    st = stripe_of(c, hash);
    mutex_lock(&st->lock);
    s = table_find(&st->young, hash);
    if (!s)
        s = table_find(&st->old, hash);
    if (s && s->e.ack_epoch != ack_epoch) {
        s->e.ack_epoch = ack_epoch;
        s->e.acked = 0;
    }
    if (s)
        s->e.acked |= bits;
    mutex_unlock(&st->lock);
}

size_t series_cache_bytes(const struct series_cache *c)
{
    size_t slots = 0;

    for (int i = 0; i < STRIPES; i++)
        slots += c->stripes[i].young.cap + c->stripes[i].old.cap;
    return sizeof *c + slots * sizeof(struct slot);
}

size_t series_cache_count(const struct series_cache *c)
{
    size_t n = 0;

    for (int i = 0; i < STRIPES; i++)
        n += c->stripes[i].young.n + c->stripes[i].old.n;
    return n;
}
