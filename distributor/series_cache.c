#include "distributor/series_cache.h"
#include "common/obs/memory.h"
#include "common/sys/thread.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { STRIPES = 16, SLOTS_MIN = 8, SPLIT_AT = 1024 };

struct slot {
    uint64_t lo; /* of the hash; 0: empty */
    uint32_t hi; /* its upper 32 bits */
    uint32_t acked;
    fingerprint fp;
    uint32_t ack_epoch;
    uint16_t limits_gen : 15;
    uint16_t used : 1; /* asked for since the last sweep */
    uint16_t ha;
};
_Static_assert(sizeof(struct slot) == 40, "one per known series");
struct table {
    struct slot *slots;
    size_t cap, n;
};
struct stripe {
    struct mutex lock;
    struct table table; /* at most three quarters full */
    /* table.slots and .cap, to prefetch without the lock: may be of yesterday, are never read through */
    _Atomic(struct slot *) hint;
    _Atomic size_t hint_cap;
};
struct series_cache {
    size_t slots_max; /* per stripe */
    const struct clock *clock;
    _Atomic int64_t aged_ms;
    struct stripe small;
    _Atomic(struct stripe *) stripes; /* STRIPES of them once small had SPLIT_AT entries, and small is empty from then on */
};

struct series_cache *series_cache_new(size_t bytes_max, const struct clock *clock)
{
    struct series_cache *c = xcalloc(1, sizeof *c);

    c->slots_max = MAX(bytes_max / STRIPES / sizeof(struct slot), (size_t)SPLIT_AT / STRIPES);
    c->slots_max = MIN(c->slots_max, (size_t)UINT16_MAX);
    c->clock = clock;
    c->aged_ms = clock_mono_ms(clock);
    mutex_init(&c->small.lock);
    return c;
}

void series_cache_free(struct series_cache *c)
{
    struct stripe *stripes = c ? c->stripes : NULL;

    if (!c)
        return;
    for (int i = 0; stripes && i < STRIPES; i++) {
        mutex_fini(&stripes[i].lock);
        free(stripes[i].table.slots);
    }
    free(stripes);
    mutex_fini(&c->small.lock);
    free(c->small.table.slots);
    free(c);
}

/* lo must not be the empty mark. */
static struct u128 key_of(struct u128 hash)
{
    hash.lo += hash.lo == 0;
    return hash;
}

/* --- tables --- */
static size_t home_of(size_t cap, uint64_t lo)
{
    return (size_t)((lo >> 32) * cap >> 32);
}

/* The slot of the hash, or the empty one where it belongs; NULL in an empty table. */
static struct slot *table_slot(const struct table *t, uint64_t lo, uint32_t hi)
{
    if (t->cap == 0)
        return NULL;
    for (size_t i = home_of(t->cap, lo);; i = i + 1 == t->cap ? 0 : i + 1) {
        struct slot *s = &t->slots[i];

        if ((s->lo == lo && s->hi == hi) || s->lo == 0)
            return s;
    }
}

static struct slot *table_find(const struct table *t, struct u128 hash)
{
    struct slot *s = table_slot(t, hash.lo, (uint32_t)(hash.hi >> 32));

    return s && s->lo ? s : NULL;
}

static void table_add(struct table *t, const struct slot *s)
{
    *table_slot(t, s->lo, s->hi) = *s;
    t->n++;
}

static bool table_full(const struct table *t)
{
    return (t->n + 1) * 4 > t->cap * 3;
}

/* Slots of the smallest table with more than n. */
static size_t slots_above(size_t n)
{
    return size_class(MAX(n + 1, (size_t)SLOTS_MIN) * sizeof(struct slot)) / sizeof(struct slot);
}

static void table_make(struct table *t, size_t cap)
{
    *t = (struct table){.slots = xcalloc(cap, sizeof(struct slot)), .cap = cap};
}

/* --- stripes --- */
static void stripe_set(struct stripe *st, struct table t)
{
    free(st->table.slots);
    st->table = t;
    atomic_store_explicit(&st->hint, t.slots, memory_order_relaxed);
    atomic_store_explicit(&st->hint_cap, t.cap, memory_order_relaxed);
}

static void stripe_grow(struct stripe *st, size_t slots_max)
{
    size_t cap = st->table.cap;
    struct table bigger;

    table_make(&bigger, MIN(slots_above(cap), slots_max));
    for (size_t i = 0; i < cap; i++)
        if (st->table.slots[i].lo)
            table_add(&bigger, &st->table.slots[i]);
    stripe_set(st, bigger);
}

/* Of those that were not asked for since the last sweep each idle_th stays, of the others each used_th; 0: none, 1: all. */
static void stripe_sweep(struct stripe *st, unsigned idle_th, unsigned used_th)
{
    struct table *old = &st->table, kept;
    size_t n[2] = {0}, seen[2] = {0};
    const unsigned th[2] = {idle_th, used_th};

    for (size_t i = 0; i < old->cap; i++)
        n[old->slots[i].used] += old->slots[i].lo != 0;
    for (int k = 0; k < 2; k++)
        n[k] = th[k] ? n[k] / th[k] : 0;
    table_make(&kept, MIN(slots_above((n[0] + n[1]) * 3 / 2), old->cap));
    for (size_t i = 0; i < old->cap; i++) {
        struct slot *s = &old->slots[i];
        unsigned used = s->used;

        if (s->lo == 0 || th[used] == 0 || ++seen[used] % th[used] != 0)
            continue;
        s->used = 0;
        table_add(&kept, s);
    }
    stripe_set(st, kept);
}

/* At its largest: half of what is idle goes; when hardly anything is, half of everything. */
static void stripe_make_room(struct stripe *st)
{
    size_t idle = 0;

    for (size_t i = 0; i < st->table.cap; i++)
        idle += st->table.slots[i].lo && !st->table.slots[i].used;
    stripe_sweep(st, 2, idle * 4 > st->table.n ? 1 : 2);
}

static void stripe_put(struct series_cache *c, struct stripe *st, const struct slot *new)
{
    struct slot *s = table_slot(&st->table, new->lo, new->hi);

    if (s && s->lo) {
        *s = *new;
        return;
    }
    if (table_full(&st->table) && st->table.cap >= c->slots_max)
        stripe_make_room(st);
    if (table_full(&st->table))
        stripe_grow(st, c->slots_max);
    table_add(&st->table, new);
}

/* Which stripe of STRIPES, from what a slot has of the hash. */
static unsigned stripe_number(struct u128 hash)
{
    return (unsigned)(hash.hi >> 32) % STRIPES;
}

static struct stripe *stripe_lock(struct series_cache *c, struct u128 hash)
{
    struct stripe *stripes = atomic_load(&c->stripes);

    if (!stripes) {
        mutex_lock(&c->small.lock);
        stripes = atomic_load(&c->stripes);
        if (!stripes)
            return &c->small;
        mutex_unlock(&c->small.lock);
    }
    stripes += stripe_number(hash);
    mutex_lock(&stripes->lock);
    return stripes;
}

/* small is locked. */
static void split(struct series_cache *c)
{
    struct stripe *stripes = xcalloc(STRIPES, sizeof *stripes);

    for (int i = 0; i < STRIPES; i++)
        mutex_init(&stripes[i].lock);
    for (size_t i = 0; i < c->small.table.cap; i++)
        if (c->small.table.slots[i].lo)
            stripe_put(c, &stripes[c->small.table.slots[i].hi % STRIPES], &c->small.table.slots[i]);
    stripe_set(&c->small, (struct table){0});
    atomic_store(&c->stripes, stripes);
}

static void hint_prefetch(const struct stripe *st, struct u128 hash)
{
    uintptr_t at = (uintptr_t)atomic_load_explicit(&st->hint, memory_order_relaxed);

    at += home_of(atomic_load_explicit(&st->hint_cap, memory_order_relaxed), hash.lo) * sizeof(struct slot);
    __builtin_prefetch((void *)at);
    __builtin_prefetch((void *)(at + sizeof(struct slot) - 1));
}

void series_cache_prefetch(struct series_cache *c, struct u128 hash)
{
    const struct stripe *stripes = atomic_load(&c->stripes);

    hash = key_of(hash);
    hint_prefetch(stripes ? &stripes[stripe_number(hash)] : &c->small, hash);
}

/* --- asking --- */
/* Lock held. */
static bool stripe_get(struct stripe *st, struct u128 hash, uint32_t limits_gen, struct series_entry *ret)
{
    struct slot *s = table_find(&st->table, hash);

    if (!s || s->limits_gen != (limits_gen & INT16_MAX))
        return false;
    if (!s->used)
        s->used = 1;
    *ret = (struct series_entry){s->fp, s->acked, s->ack_epoch, limits_gen, s->ha};
    return true;
}

bool series_cache_get(struct series_cache *c, struct u128 hash, uint32_t limits_gen, struct series_entry *ret)
{
    return series_cache_get_many(c, &hash, 1, limits_gen, ret);
}

/* Of those whose bit is set in which; the stripe is locked. */
static uint64_t get_of_stripe(struct stripe *st, const struct u128 *hashes, uint64_t which, uint32_t limits_gen, struct series_entry *ret)
{
    uint64_t found = 0;

    for (; which; which &= which - 1) {
        int i = __builtin_ctzll(which);

        found |= (uint64_t)stripe_get(st, key_of(hashes[i]), limits_gen, &ret[i]) << i;
    }
    return found;
}

uint64_t series_cache_get_many(struct series_cache *c, const struct u128 *hashes, size_t n, uint32_t limits_gen, struct series_entry *ret)
{
    uint64_t of_stripe[STRIPES] = {0}, found = 0;

    ASSERT(n <= SERIES_CACHE_GROUP);
    if (n == 0)
        return 0;
    for (size_t i = 0; i < n; i++) {
        series_cache_prefetch(c, hashes[i]);
        of_stripe[stripe_number(hashes[i])] |= 1ULL << i;
    }
    if (!atomic_load(&c->stripes)) {
        struct stripe *st = stripe_lock(c, hashes[0]);

        if (st == &c->small)
            found = get_of_stripe(st, hashes, ~0ULL >> (64 - n), limits_gen, ret);
        mutex_unlock(&st->lock);
        if (st == &c->small)
            return found;
    }
    for (int k = 0; k < STRIPES; k++) {
        struct stripe *st = &atomic_load_explicit(&c->stripes, memory_order_relaxed)[k];

        if (!of_stripe[k])
            continue;
        mutex_lock(&st->lock);
        found |= get_of_stripe(st, hashes, of_stripe[k], limits_gen, ret);
        mutex_unlock(&st->lock);
    }
    return found;
}

/* --- changing --- */
void series_cache_put(struct series_cache *c, struct u128 hash, const struct series_entry *e)
{
    struct stripe *st;

    hash = key_of(hash);
    st = stripe_lock(c, hash);
    stripe_put(c, st, &(struct slot){hash.lo, (uint32_t)(hash.hi >> 32), e->acked, e->fp, e->ack_epoch, e->limits_gen & INT16_MAX, 0, e->ha});
    if (st == &c->small && st->table.n >= SPLIT_AT)
        split(c);
    mutex_unlock(&st->lock);
}

void series_cache_ack(struct series_cache *c, struct u128 hash, uint32_t bits, uint32_t ack_epoch)
{
    struct stripe *st;
    struct slot *s;

    hash = key_of(hash);
    st = stripe_lock(c, hash);
    s = table_find(&st->table, hash);
    if (s && s->ack_epoch != ack_epoch) {
        s->ack_epoch = ack_epoch;
        s->acked = 0;
    }
    if (s)
        s->acked |= bits;
    mutex_unlock(&st->lock);
}

/* --- all stripes --- */
static void each_stripe(struct series_cache *c, void (*fn)(struct stripe *st, size_t *sum), size_t *sum)
{
    struct stripe *stripes = atomic_load(&c->stripes);

    for (int i = -1; i < (stripes ? STRIPES : 0); i++) {
        struct stripe *st = i < 0 ? &c->small : &stripes[i];

        mutex_lock(&st->lock);
        fn(st, sum);
        mutex_unlock(&st->lock);
    }
}

static void sweep_idle(struct stripe *st, UNUSED size_t *sum)
{
    if (st->table.n)
        stripe_sweep(st, 0, 1);
}

void series_cache_age(struct series_cache *c)
{
    int64_t aged = atomic_load(&c->aged_ms), now = clock_mono_ms(c->clock);

    if (now - aged >= SERIES_CACHE_AGE_MS && atomic_compare_exchange_strong(&c->aged_ms, &aged, now))
        each_stripe(c, sweep_idle, NULL);
}

static void add_bytes(struct stripe *st, size_t *sum)
{
    *sum += heap_bytes(st->table.slots);
}

size_t series_cache_bytes(struct series_cache *c)
{
    size_t n = heap_bytes(c) + heap_bytes(atomic_load(&c->stripes));

    each_stripe(c, add_bytes, &n);
    return n;
}

static void add_count(struct stripe *st, size_t *sum)
{
    *sum += st->table.n;
}

size_t series_cache_count(struct series_cache *c)
{
    size_t n = 0;

    each_stripe(c, add_count, &n);
    return n;
}
