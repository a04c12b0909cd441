/* bytes.h - little-endian numbers, varints and a bounded reader over bytes from outside.
 * A struct rd never reads past its end: a short or malformed read sets failed, returns 0, and stays failed, so a
 * decoder checks once per record. */
#pragma once
#include "common/base/str.h"

enum { UVARINT_MAX = 10 };

static inline uint16_t le_get16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}
static inline uint32_t le_get32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}
static inline uint64_t le_get64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}
static inline void le_put16(void *p, uint16_t v)
{
    memcpy(p, &v, 2);
}
static inline void le_put32(void *p, uint32_t v)
{
    memcpy(p, &v, 4);
}
static inline void le_put64(void *p, uint64_t v)
{
    memcpy(p, &v, 8);
}
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "formats are copied as they stand");

/* Big-endian, for keys that sort by bytes. */
static inline void be_put32(void *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, 4);
}
static inline void be_put64(void *p, uint64_t v)
{
    v = __builtin_bswap64(v);
    memcpy(p, &v, 8);
}
static inline uint32_t be_get32(const void *p)
{
    return __builtin_bswap32(le_get32(p));
}
static inline uint64_t be_get64(const void *p)
{
    return __builtin_bswap64(le_get64(p));
}

static inline uint64_t zigzag(int64_t v)
{
    return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}
static inline int64_t unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}
static inline uint64_t double_bits(double d)
{
    uint64_t v;
    memcpy(&v, &d, 8);
    return v;
}
static inline double bits_double(uint64_t v)
{
    double d;
    memcpy(&d, &v, 8);
    return d;
}

/* Writes at most UVARINT_MAX bytes, returns how many. */
static inline size_t uvarint_put(char *p, uint64_t v)
{
    size_t n = 0;

    while (v >= 0x80) {
        p[n++] = (char)(v | 0x80);
        v >>= 7;
    }
    p[n++] = (char)v;
    return n;
}

struct rd {
    const uint8_t *p, *end;
    bool failed;
};

static inline struct rd rd_of(struct str s)
{
    const uint8_t *p = (const uint8_t *)s.p;

    return (struct rd){p, s.n ? p + s.n : p, false}; /* p may be NULL, which even + 0 is not for */
}
static inline size_t rd_left(const struct rd *r)
{
    return (size_t)(r->end - r->p);
}
static inline bool rd_ok(const struct rd *r)
{
    return !r->failed;
}
static inline bool rd_done(const struct rd *r)
{
    return !r->failed && r->p == r->end;
}
static inline const uint8_t *rd_take(struct rd *r, size_t n)
{
    const uint8_t *p = r->p;

    if (UNLIKELY(r->failed || rd_left(r) < n)) {
        r->failed = true;
        return NULL;
    }
    r->p += n;
    return p;
}
static inline uint8_t rd_u8(struct rd *r)
{
    const uint8_t *p = rd_take(r, 1);
    return p ? *p : 0;
}
static inline uint16_t rd_u16(struct rd *r)
{
    const uint8_t *p = rd_take(r, 2);
    return p ? le_get16(p) : 0;
}
static inline uint32_t rd_u32(struct rd *r)
{
    const uint8_t *p = rd_take(r, 4);
    return p ? le_get32(p) : 0;
}
static inline uint64_t rd_u64(struct rd *r)
{
    const uint8_t *p = rd_take(r, 8);
    return p ? le_get64(p) : 0;
}
/* At most 10 bytes; bits past 64 fail. */
static inline uint64_t rd_uvarint(struct rd *r)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t b = rd_u8(r);

        if (r->failed)
            return 0;
        if (shift == 63 && b > 1)
            break;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80))
            return v;
    }
    r->failed = true;
    return 0;
}
static inline int64_t rd_svarint(struct rd *r)
{
    return unzigzag(rd_uvarint(r));
}
static inline struct str rd_str(struct rd *r, size_t n)
{
    const uint8_t *p = rd_take(r, n);
    return p ? str_n(p, n) : (struct str){0};
}
/* uvarint length, then the bytes (borrowed from the input). */
static inline struct str rd_lstr(struct rd *r)
{
    uint64_t n = rd_uvarint(r);

    if (n > rd_left(r)) {
        r->failed = true;
        return (struct str){0};
    }
    return rd_str(r, (size_t)n);
}
