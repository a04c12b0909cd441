/* chunk_format.h - what the chunk codecs share among themselves; nobody else includes it.
 * First byte of a chunk: format version in the upper half, encoding in the lower. Then uvarint count; the rest is told in the file that
 * writes it: chunk_open.c (streams), chunk_encode.c (columns), chunk_hist.c (histograms).
 * Decimals: a double that equals m / 10^e, with m an integer of at most 51 bits and e <= DECIMAL_SCALE_MAX (both exact in a double, so the
 * division is rounded once, as a decimal text is). decimal_at proves it bit by bit, hence -0, NaN and infinities are never decimals. */
#pragma once
#include "tsdb/chunk.h"

enum { CHUNK_VERSION = 1 };
enum chunk_encoding {
    ENC_STREAM = 0,    /* open chunk */
    ENC_STREAM_ST = 1, /* open chunk with start timestamps */
    ENC_COLUMNS = 2,   /* sealed floats */
    ENC_HISTOGRAMS = 3,
};
static inline uint8_t chunk_first_byte(enum chunk_encoding e)
{
    return (uint8_t)(CHUNK_VERSION << 4 | e);
}

/* Each gets the whole chunk; front checks of chunk_decode (version, encoding) are done. */
int chunk_stream_info(struct str bytes, struct chunk_info *ret, struct err *err);
int chunk_stream_decode(struct str bytes, struct arena *a, struct chunk_columns *ret, struct err *err);
int chunk_hist_decode(struct str bytes, struct arena *a, struct chunk_columns *ret, struct err *err);

/* --- decimals --- */
enum { DECIMAL_SCALE_MAX = 22 };
#define DECIMAL_MANTISSA_MAX (1LL << 51)
extern const double decimal_powers[DECIMAL_SCALE_MAX + 1];

/* v is finite and small enough that v * 10^e rounds to *ret_m with m / 10^e == v, bit for bit. */
static inline bool decimal_at(double v, unsigned e, int64_t *ret_m)
{
    const double magic = 0x1.8p52; /* adding it rounds to an integer, which is then the low mantissa bits */
    double scaled = v * decimal_powers[e], limit = (double)DECIMAL_MANTISSA_MAX;
    int64_t m;

    if (!(scaled <= limit && scaled >= -limit))
        return false;
    m = (int64_t)(double_bits(scaled + magic) - double_bits(magic));
    if (double_bits((double)m / decimal_powers[e]) != double_bits(v))
        return false;
    *ret_m = m;
    return true;
}
/* Smallest scale in [from, DECIMAL_SCALE_MAX] at which v is a decimal. */
static inline bool decimal_find(double v, unsigned from, unsigned *ret_e, int64_t *ret_m)
{
    for (unsigned e = from; e <= DECIMAL_SCALE_MAX; e++) {
        if (decimal_at(v, e, ret_m)) {
            *ret_e = e;
            return true;
        }
        if (!(v * decimal_powers[e] <= (double)DECIMAL_MANTISSA_MAX &&
              v * decimal_powers[e] >= -(double)DECIMAL_MANTISSA_MAX))
            return false;
    }
    return false;
}
static inline double decimal_value(int64_t m, unsigned e)
{
    return (double)m / decimal_powers[e];
}

/* Wrapping, because bytes from outside choose the terms. */
static inline int64_t wrap_add(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}
static inline int64_t wrap_sub(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a - (uint64_t)b);
}

/* --- bits, first bit lowest --- */
struct bit_writer {
    uint8_t *p;    /* where the next 8 bytes go: the caller has made room */
    uint64_t acc;
    unsigned n;    /* bits in acc, < 64 */
};
/* v < 2^n, n <= 64 */
static inline void bit_put(struct bit_writer *w, uint64_t v, unsigned n)
{
    unsigned had = w->n;

    w->acc |= v << had;
    if (had + n < 64) {
        w->n = had + n;
        return;
    }
    le_put64(w->p, w->acc);
    w->p += 8;
    w->acc = had ? v >> (64 - had) : 0;
    w->n = had + n - 64;
}
/* Ones, then a zero unless there are max of them. */
static inline void put_unary(struct bit_writer *w, unsigned ones, unsigned max)
{
    bit_put(w, (1ULL << ones) - 1, ones < max ? ones + 1 : max);
}
/* Writes what is left, zero bits behind it; returns one past the last byte. */
static inline uint8_t *bit_finish(struct bit_writer *w)
{
    for (; w->n > 0; w->n -= MIN(w->n, 8U)) {
        *w->p++ = (uint8_t)w->acc;
        w->acc >>= 8;
    }
    return w->p;
}

/* Never reads past its end: a short read sets failed and returns 0. */
struct bit_reader {
    const uint8_t *p;
    size_t at, end; /* bits */
    bool failed;
};
static inline struct bit_reader bit_reader_of(const uint8_t *p, size_t bytes)
{
    return (struct bit_reader){p, 0, bytes * 8, false};
}
static inline uint64_t low_bits(uint64_t v, unsigned n)
{
    return n >= 64 ? v : v & ((1ULL << n) - 1);
}
/* Up to 8 bytes from the current place on, zeros behind the end: at least 57 good bits. */
static inline uint64_t bit_peek(const struct bit_reader *r)
{
    size_t byte = r->at >> 3, left = (r->end >> 3) - byte;
    uint64_t v = 0;

    if (LIKELY(left >= 8))
        v = le_get64(r->p + byte);
    else if (left)
        memcpy(&v, r->p + byte, left);
    return v >> (r->at & 7);
}
static inline bool bit_skip(struct bit_reader *r, unsigned n)
{
    if (UNLIKELY(r->end - r->at < n)) {
        r->failed = true;
        r->at = r->end;
        return false;
    }
    r->at += n;
    return true;
}
static inline uint64_t bit_get(struct bit_reader *r, unsigned n)
{
    uint64_t v;

    if (n > 32) {
        v = bit_get(r, 32);
        return v | bit_get(r, n - 32) << 32;
    }
    v = low_bits(bit_peek(r), n);
    return bit_skip(r, n) ? v : 0;
}
/* Number of one bits before a zero, at most max; the zero is consumed when there are fewer. max < 57 */
static inline unsigned bit_unary(struct bit_reader *r, unsigned max)
{
    uint64_t stop = ~bit_peek(r) | 1ULL << max;
    unsigned ones = (unsigned)__builtin_ctzll(stop);

    return bit_skip(r, ones < max ? ones + 1 : max) ? ones : 0;
}
/* All is read; only zero bits to fill the last byte are left. */
static inline bool bit_done(const struct bit_reader *r)
{
    return !r->failed && r->end - r->at < 8 && bit_peek(r) == 0;
}
static inline unsigned bit_length(uint64_t v)
{
    return v ? 64 - (unsigned)__builtin_clzll(v) : 0;
}
