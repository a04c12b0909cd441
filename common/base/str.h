/* str.h - a borrowed run of bytes: pointer and length, never assumed to end in NUL.
 * The bytes belong to somebody else; each function that returns a str says to whom. */
#pragma once
#include "common/base/base.h"

#include <string.h>

struct str {
    const char *p;
    size_t n;
};

#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})
/* For printf's "%.*s". */
#define STR_FMT(s) (int)(s).n, (s).p

static inline struct str str_of(const char *z)
{
    return (struct str){z, z ? strlen(z) : 0};
}
static inline struct str str_n(const void *p, size_t n)
{
    return (struct str){(const char *)p, n};
}
static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
static inline bool str_eqz(struct str a, const char *z)
{
    return str_eq(a, str_of(z));
}
/* Byte order, shorter first: the order of labels everywhere. */
static inline int str_cmp(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;

    return c ? c : (a.n > b.n) - (a.n < b.n);
}
static inline bool str_has_prefix(struct str s, struct str prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}
static inline bool str_has_suffix(struct str s, struct str suffix)
{
    return s.n >= suffix.n &&
           (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}
static inline struct str str_sub(struct str s, size_t from, size_t to)
{
    ASSERT(from <= to && to <= s.n);
    return (struct str){s.p + from, to - from};
}
static inline struct str str_skip(struct str s, size_t n)
{
    return str_sub(s, n, s.n);
}
/* Index of the first c, or s.n. */
static inline size_t str_find(struct str s, char c)
{
    const char *q = s.n ? (const char *)memchr(s.p, c, s.n) : NULL;

    return q ? (size_t)(q - s.p) : s.n;
}
#ifdef __cplusplus
extern "C" {
#endif
/* Without ASCII white space at both ends. */
struct str str_trim(struct str s);
bool str_ieq(struct str a, struct str b); /* ASCII case folded */
/* NUL-terminated copy on the heap, freed with free(). */
char *str_dupz(struct str s);
#ifdef __cplusplus
}
#endif
