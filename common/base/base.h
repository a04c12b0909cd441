/* base.h - words every file needs: assertions, limits, small arithmetic.
 * ASSERT checks our own logic and stays on in release; bytes from outside are never asserted (see err.h). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define LIKELY(x)    __builtin_expect(!!(x), 1)
#define UNLIKELY(x)  __builtin_expect(!!(x), 0)
#define MIN(a, b)    ((a) < (b) ? (a) : (b))
#define MAX(a, b)    ((a) > (b) ? (a) : (b))
#define UNUSED       __attribute__((unused))
#define PRINTF(f, a) __attribute__((format(printf, f, a)))

#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#ifdef __cplusplus
extern "C" {
#endif
/* Prints the condition and aborts: a broken invariant of ours must never be written to disk. */
void assert_failed(const char *cond, const char *file, int line) __attribute__((noreturn));
#ifdef __cplusplus
}
#endif
#define ASSERT(cond) (LIKELY(cond) ? (void)0 : assert_failed(#cond, __FILE__, __LINE__))

#ifdef TORC_DEBUG
#define DEBUG_ONLY(stmt)                                                                           \
    do {                                                                                           \
        stmt;                                                                                      \
    } while (0)
#else
#define DEBUG_ONLY(stmt) ((void)0)
#endif

#ifdef __cplusplus
extern "C" {
#endif
/* malloc and kin that abort with a message when memory is out: for small, bounded allocations. Large or
 * client-driven ones go through arena.h or buf.h, which have budgets and return errors. */
void *xmalloc(size_t n);
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s);
void *xmemdup(const void *p, size_t n);
#ifdef __cplusplus
}
#endif

/* The least size of at least n (16 or more) of those that allocators have, four to each doubling: arrays of such a size waste nothing. */
static inline size_t size_class(size_t n)
{
    size_t step = (size_t)1 << (61 - __builtin_clzl(n - 1));

    return (n + step - 1) & ~(step - 1);
}
static inline bool size_add_overflows(size_t a, size_t b, size_t *ret)
{
    return __builtin_add_overflow(a, b, ret);
}
static inline bool size_mul_overflows(size_t a, size_t b, size_t *ret)
{
    return __builtin_mul_overflow(a, b, ret);
}
