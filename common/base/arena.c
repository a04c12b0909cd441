#include "common/base/arena.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif
#endif
#ifndef ASAN_POISON_MEMORY_REGION
#define ASAN_POISON_MEMORY_REGION(p, n)   ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ARENA_GAP 0
#else
#define ARENA_GAP 16
#endif

enum { CHUNK_MIN = 4096, CHUNK_MAX = 1 << 20, ALIGN = 16 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t size, at; /* of data */
    _Alignas(ALIGN) char data[];
};

/* Only counted: nothing depends on it. */
static _Atomic size_t bytes_live;

size_t arena_bytes_live(void)
{
    return atomic_load_explicit(&bytes_live, memory_order_relaxed);
}

static void live_add(size_t n)
{
    atomic_fetch_add_explicit(&bytes_live, n, memory_order_relaxed);
}

static void live_sub(size_t n)
{
    atomic_fetch_sub_explicit(&bytes_live, n, memory_order_relaxed);
}

void arena_init(struct arena *a, size_t budget)
{
    *a = (struct arena){.budget = budget};
}

void arena_init_in(struct arena *a, struct arena *parent)
{
    *a = (struct arena){.budget = parent->budget, .parent = parent};
}

static void chunk_free(struct arena *a, struct arena_chunk *c)
{
    ASAN_UNPOISON_MEMORY_REGION(c->data, c->size);
    arena_uncharge(a, sizeof *c + c->size);
    live_sub(sizeof *c + c->size);
    free(c);
}

/* Memory from elsewhere; the list is in the arena. */
struct arena_taken {
    struct arena_taken *next;
    void *p;
    size_t n;
};

static void taken_free(struct arena *a)
{
    for (; a->taken; a->taken = a->taken->next) {
        arena_uncharge(a, a->taken->n);
        live_sub(a->taken->n);
        free(a->taken->p);
    }
}

bool arena_take(struct arena *a, void *p, size_t n)
{
    struct arena_taken *t = arena_alloc(a, sizeof *t);

    if (!t || !arena_charge(a, n))
        return false;
    *t = (struct arena_taken){a->taken, p, n};
    live_add(n);
    a->taken = t;
    return true;
}

void arena_fini(struct arena *a)
{
    taken_free(a);
    while (a->head) {
        struct arena_chunk *c = a->head;

        a->head = c->next;
        chunk_free(a, c);
    }
    arena_uncharge(a, a->used); /* what was charged */
}

void arena_reset(struct arena *a)
{
    taken_free(a);
    while (a->head && a->head->next) {
        struct arena_chunk *c = a->head;

        a->head = c->next;
        chunk_free(a, c);
    }
    arena_uncharge(a, a->used - (a->head ? sizeof *a->head + a->head->size : 0));
    if (a->head) {
        a->head->at = 0;
        ASAN_POISON_MEMORY_REGION(a->head->data, a->head->size);
    }
}

/* arena_used reads it from other threads. */
static void used_set(struct arena *a, size_t n)
{
    __atomic_store_n(&a->used, n, __ATOMIC_RELAXED);
}

bool arena_charge(struct arena *a, size_t n)
{
    for (const struct arena *p = a; p; p = p->parent)
        if (n > p->budget || p->used > p->budget - n)
            return false;
    for (struct arena *p = a; p; p = p->parent) {
        used_set(p, p->used + n);
        p->peak = MAX(p->peak, p->used);
    }
    return true;
}

void arena_uncharge(struct arena *a, size_t n)
{
    for (struct arena *p = a; p; p = p->parent) {
        ASSERT(n <= p->used);
        used_set(p, p->used - n);
    }
}

static struct arena_chunk *chunk_new(struct arena *a, size_t need)
{
    size_t size = a->head ? MIN(a->head->size * 2, (size_t)CHUNK_MAX) : CHUNK_MIN - sizeof *a->head;
    struct arena_chunk *c;

    if (size < need)
        size = need;
    if (!arena_charge(a, sizeof *c + size)) {
        /* The geometric step may be what is over budget, not the need itself. */
        size = need;
        if (!arena_charge(a, sizeof *c + size))
            return NULL;
    }
    c = malloc(sizeof *c + size);
    if (!c) {
        arena_uncharge(a, sizeof *c + size);
        return NULL;
    }
    live_add(sizeof *c + size);
    c->size = size;
    c->at = 0;
    ASAN_POISON_MEMORY_REGION(c->data, c->size);
    /* A chunk for one large object goes behind the current one, which still has room. */
    if (a->head && need >= CHUNK_MAX / 2) {
        c->next = a->head->next;
        a->head->next = c;
    } else {
        c->next = a->head;
        a->head = c;
    }
    return c;
}

void *arena_alloc(struct arena *a, size_t n)
{
    struct arena_chunk *c = a->head;
    size_t need;
    void *p;

    if (n > SIZE_MAX / 4)
        return NULL;
    need = ((n + ALIGN - 1) & ~(size_t)(ALIGN - 1)) + ARENA_GAP;
    if (!c || c->size - c->at < need)
        c = chunk_new(a, need);
    if (!c)
        return NULL;
    p = c->data + c->at;
    c->at += need;
    ASAN_UNPOISON_MEMORY_REGION(p, n);
    return p;
}

void *arena_zalloc(struct arena *a, size_t n)
{
    void *p = arena_alloc(a, n);

    return p ? memset(p, 0, n) : NULL;
}

void *arena_dup(struct arena *a, const void *src, size_t n)
{
    void *p = arena_alloc(a, n);

    return p && n ? memcpy(p, src, n) : p;
}

void *arena_array(struct arena *a, size_t count, size_t size)
{
    size_t n;

    return size_mul_overflows(count, size, &n) ? NULL : arena_alloc(a, n);
}

struct str arena_str(struct arena *a, struct str s)
{
    return (struct str){arena_dup(a, s.p, s.n), s.n};
}

char *arena_strz(struct arena *a, struct str s)
{
    char *z = arena_alloc(a, s.n + 1);

    if (!z)
        return NULL;
    if (s.n)
        memcpy(z, s.p, s.n);
    z[s.n] = '\0';
    return z;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    char *z;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    z = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (!z)
        return NULL;
    va_start(ap, fmt);
    vsnprintf(z, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return z;
}
