/* buf.h - a growing byte buffer that is born with its maximum.
 * Appends past max, or when memory is out, set failed and change nothing more; check once at the end with
 * buf_ok(). One owner at a time. */
#pragma once
#include "common/base/str.h"

struct buf {
    char *p;
    size_t n, cap, max;
    bool failed;
};

static inline void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}
void buf_fini(struct buf *b);
static inline void buf_clear(struct buf *b)
{
    b->n = 0;
    b->failed = false;
}
static inline bool buf_ok(const struct buf *b)
{
    return !b->failed;
}
bool buf_grow(struct buf *b, size_t extra); /* room for extra more bytes; false sets failed */
static inline bool buf_reserve(struct buf *b, size_t extra)
{
    return LIKELY(b->cap - b->n >= extra && !b->failed) ? true : buf_grow(b, extra);
}
static inline void buf_add(struct buf *b, const void *p, size_t n)
{
    if (LIKELY(buf_reserve(b, n)) && n) {
        memcpy(b->p + b->n, p, n);
        b->n += n;
    }
}
static inline void buf_str(struct buf *b, struct str s)
{
    buf_add(b, s.p, s.n);
}
static inline void buf_z(struct buf *b, const char *z)
{
    buf_add(b, z, strlen(z));
}
static inline void buf_char(struct buf *b, char c)
{
    if (LIKELY(buf_reserve(b, 1)))
        b->p[b->n++] = c;
}
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF(2, 3);
/* n zero bytes to be filled in by the caller; NULL when failed. Valid until the next append. */
void *buf_space(struct buf *b, size_t n);
/* Little-endian integers and varints (LEB128; zigzag for signed). */
void buf_u8(struct buf *b, uint8_t v);
void buf_u16(struct buf *b, uint16_t v);
void buf_u32(struct buf *b, uint32_t v);
void buf_u64(struct buf *b, uint64_t v);
void buf_uvarint(struct buf *b, uint64_t v);
void buf_svarint(struct buf *b, int64_t v);
/* uvarint length, then the bytes. */
void buf_lstr(struct buf *b, struct str s);
static inline struct str buf_view(const struct buf *b)
{
    return (struct str){b->p, b->n};
}
/* Takes the bytes out (free() them); the buffer is empty afterwards. */
char *buf_take(struct buf *b, size_t *ret_n);
