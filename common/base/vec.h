/* vec.h - a typed growing array on the heap, for bounded control-plane lists (not for hot paths, not for what a
 * client can grow without limit).
 *   VEC(struct label) v = {0};  *vec_push(&v) = x;  for (i < v.n) v.v[i];  vec_fini(&v); */
#pragma once
#include "common/base/base.h"

#include <stdlib.h>
#include <string.h>

#define VEC(type)                                                                                  \
    struct {                                                                                       \
        type *v;                                                                                   \
        size_t n, cap;                                                                             \
    }

static inline void *vec_grow_(void *v, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return v;
    *cap = *cap ? *cap * 2 : 8;
    return xrealloc(v, *cap * size);
}
/* Pointer to a new, zeroed last element. */
#define vec_push(vec)                                                                              \
    ((vec)->v = vec_grow_((vec)->v, (vec)->n, &(vec)->cap, sizeof *(vec)->v),                      \
     memset(&(vec)->v[(vec)->n], 0, sizeof *(vec)->v), &(vec)->v[(vec)->n++])
#define vec_clear(vec) ((void)((vec)->n = 0))
#define vec_fini(vec)  (free((vec)->v), (vec)->v = NULL, (vec)->n = (vec)->cap = 0)
/* Removes element i by moving the last one into its place. */
#define vec_remove_swap(vec, i) ((vec)->v[i] = (vec)->v[--(vec)->n])
