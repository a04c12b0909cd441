#include "common/base/buf.h"
#include "common/base/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_fini(struct buf *b)
{
    free(b->p);
    *b = (struct buf){.max = b->max};
}

bool buf_grow(struct buf *b, size_t extra)
{
    size_t want, cap;
    char *p;

    if (b->failed || size_add_overflows(b->n, extra, &want) || want > b->max) {
        b->failed = true;
        return false;
    }
    if (want <= b->cap)
        return true;
    cap = MAX(b->cap * 2, (size_t)64);
    cap = MIN(MAX(cap, want), b->max);
    p = realloc(b->p, cap);
    if (!p) {
        b->failed = true;
        return false;
    }
    b->p = p;
    b->cap = cap;
    return true;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    int n;

    if (!buf_reserve(b, 1))
        return;
    va_start(ap, fmt);
    n = vsnprintf(b->p + b->n, b->cap - b->n, fmt, ap);
    va_end(ap);
    if (n < 0) {
        b->failed = true;
        return;
    }
    if ((size_t)n >= b->cap - b->n) {
        char *text = xmalloc((size_t)n + 1);

        va_start(ap, fmt);
        vsnprintf(text, (size_t)n + 1, fmt, ap);
        va_end(ap);
        buf_add(b, text, (size_t)n);
        free(text);
        return;
    }
    b->n += (size_t)n;
}

void *buf_space(struct buf *b, size_t n)
{
    void *p;

    if (!buf_reserve(b, n))
        return NULL;
    if (!b->p && !buf_reserve(b, 1)) /* nothing of nothing is a place all the same */
        return NULL;
    p = b->p + b->n;
    memset(p, 0, n);
    b->n += n;
    return p;
}

void buf_u8(struct buf *b, uint8_t v)
{
    buf_char(b, (char)v);
}

void buf_u16(struct buf *b, uint16_t v)
{
    char t[2];

    le_put16(t, v);
    buf_add(b, t, sizeof t);
}

void buf_u32(struct buf *b, uint32_t v)
{
    char t[4];

    le_put32(t, v);
    buf_add(b, t, sizeof t);
}

void buf_u64(struct buf *b, uint64_t v)
{
    char t[8];

    le_put64(t, v);
    buf_add(b, t, sizeof t);
}

void buf_uvarint(struct buf *b, uint64_t v)
{
    char t[UVARINT_MAX];

    buf_add(b, t, uvarint_put(t, v));
}

void buf_svarint(struct buf *b, int64_t v)
{
    buf_uvarint(b, zigzag(v));
}

void buf_lstr(struct buf *b, struct str s)
{
    buf_uvarint(b, s.n);
    buf_str(b, s);
}

char *buf_take(struct buf *b, size_t *ret_n)
{
    char *p = b->p;

    *ret_n = b->n;
    *b = (struct buf){.max = b->max};
    return p;
}
