#include "common/base/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void assert_failed(const char *cond, const char *file, int line)
{
    fprintf(stderr, "torc: assertion failed: %s (%s:%d)\n", cond, file, line);
    fflush(stderr);
    abort();
}

static void *out_of_memory(size_t n)
{
    fprintf(stderr, "torc: out of memory allocating %zu bytes\n", n);
    abort();
}

void *xmalloc(size_t n)
{
    void *p = malloc(n ? n : 1);

    return p ? p : out_of_memory(n);
}

void *xcalloc(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size ? size : 1);

    return p ? p : out_of_memory(count * size);
}

void *xrealloc(void *p, size_t n)
{
    void *q = realloc(p, n ? n : 1);

    return q ? q : out_of_memory(n);
}

char *xstrdup(const char *s)
{
    return xmemdup(s, strlen(s) + 1);
}

void *xmemdup(const void *p, size_t n)
{
    void *q = xmalloc(n);

    if (n)
        memcpy(q, p, n);
    return q;
}
