/* chunk_format.h - what the chunk codecs share among themselves; nobody else includes it. First
 * byte of a chunk: format version in the upper half, encoding in the lower. Then uvarint count; the
 * rest is told in the file that writes it: chunk_open.c (streams), chunk_encode.c (columns),
 * chunk_hist.c (histograms). Decimals: doubles that equal m / 10^e, with m an integer of at most 51
 * bits and e <= DECIMAL_SCALE_MAX (both exact in a double, so the division is rounded once, as a
 * decimal text is); or m * 10^-e, rounded twice, as programs do that count in ms or us and multiply
 * by 0.001. A decimal *mode* is e, or DECIMAL_TIMES + e for the second kind. decimal_at proves it
 * bit by bit, hence -0, NaN and infinities are never decimals. */
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
int chunk_stream_decode(struct str bytes, struct arena *a, struct chunk_columns *ret,
                        struct err *err);
int chunk_hist_decode(struct str bytes, struct arena *a, struct chunk_columns *ret,
                      struct err *err);

/* --- decimals --- */
enum { DECIMAL_SCALE_MAX = 22, DECIMAL_TIMES = 32, DECIMAL_TIMES_MAX = 9 };
#define DECIMAL_MANTISSA_MAX (1LL << 51)
extern const double decimal_powers[DECIMAL_SCALE_MAX + 1];   /* 10^e */
extern const double decimal_inverses[DECIMAL_TIMES_MAX + 1]; /* 10^-e, rounded */

static inline bool decimal_mode_valid(unsigned mode)
{
    return mode <= DECIMAL_SCALE_MAX ||
           (mode >= DECIMAL_TIMES && mode <= DECIMAL_TIMES + DECIMAL_TIMES_MAX);
}
static inline unsigned decimal_scale(unsigned mode)
{
    return mode & (DECIMAL_TIMES - 1);
}
static inline double decimal_value(int64_t m, unsigned mode)
{
    if (mode == 0) /* a division by 1 is as slow as any */
        return (double)m;
    return mode & DECIMAL_TIMES ? (double)m * decimal_inverses[decimal_scale(mode)]
                                : (double)m / decimal_powers[mode];
}
/* v is finite and small enough that v * 10^e rounds to *ret_m, and the decimal of that is v, bit
 * for bit. */
static inline bool decimal_at(double v, unsigned mode, int64_t *ret_m)
{
    /* Adding it rounds to an integer, which is then the low mantissa bits. */
    const double magic = 0x1.8p52;
    double scaled = v * decimal_powers[decimal_scale(mode)], limit = (double)DECIMAL_MANTISSA_MAX;
    int64_t m;

    if (!(scaled <= limit && scaled >= -limit))
        return false;
    m = (int64_t)(double_bits(scaled + magic) - double_bits(magic));
    if (double_bits(decimal_value(m, mode)) != double_bits(v))
        return false;
    *ret_m = m;
    return true;
}
/* The first mode in [from, to] at which v is a decimal; both of one kind. */
static inline bool decimal_find(double v, unsigned from, unsigned to, unsigned *ret_mode,
                                int64_t *ret_m)
{
    for (unsigned mode = from; mode <= to; mode++) {
        if (decimal_at(v, mode, ret_m)) {
            *ret_mode = mode;
            return true;
        }
        if (!(__builtin_fabs(v * decimal_powers[decimal_scale(mode)]) <=
              (double)DECIMAL_MANTISSA_MAX))
            return false;
    }
    return false;
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
    uint8_t *p; /* where the next 8 bytes go: the caller has made room */
    uint64_t acc;
    unsigned n; /* bits in acc, < 64 */
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
/* Writes what is left, zero bits behind it (8 bytes, whatever is needed of them); returns one past
 * the last byte in use. */
static inline uint8_t *bit_finish(struct bit_writer *w)
{
    le_put64(w->p, w->acc);
    return w->p + (w->n + 7) / 8;
}

/* Never reads past its end: a short read sets failed and returns 0. acc holds `have` bits to come,
 * lowest first; bits above them are those that follow, or zero. */
struct bit_reader {
    const uint8_t *p, *end;
    uint64_t acc;
    unsigned have;
    bool failed;
};
static inline struct bit_reader bit_reader_of(const uint8_t *p, size_t bytes)
{
    return (struct bit_reader){p, p + bytes, 0, 0, false};
}
static inline uint64_t low_bits(uint64_t v, unsigned n)
{
    return n >= 64 ? v : v & ((1ULL << n) - 1);
}
/* At least 56 bits, or all there are. */
static inline void bit_refill(struct bit_reader *r)
{
    if (LIKELY(r->end - r->p >= 8)) {
        r->acc |= le_get64(r->p) << r->have;
        r->p += (63 - r->have) >> 3;
        r->have |= 56;
        return;
    }
    for (; r->have < 56 && r->p < r->end; r->have += 8)
        r->acc |= (uint64_t)*r->p++ << r->have;
}
static inline bool bit_skip(struct bit_reader *r, unsigned n)
{
    if (UNLIKELY(r->have < n)) {
        r->failed = true;
        r->have = 0;
        r->p = r->end;
        r->acc = 0;
        return false;
    }
    r->acc >>= n;
    r->have -= n;
    return true;
}
/* n <= 64 */
static inline uint64_t bit_get(struct bit_reader *r, unsigned n)
{
    uint64_t v;

    if (UNLIKELY(n > 56)) {
        v = bit_get(r, 32);
        return v | bit_get(r, n - 32) << 32;
    }
    if (r->have < n)
        bit_refill(r);
    v = low_bits(r->acc, n);
    return bit_skip(r, n) ? v : 0;
}
/* Number of one bits before a zero, at most max; the zero is consumed when there are fewer. max <
 * 56 */
static inline unsigned bit_unary(struct bit_reader *r, unsigned max)
{
    unsigned ones;

    if (r->have < max)
        bit_refill(r);
    ones = (unsigned)__builtin_ctzll(~r->acc | 1ULL << max);
    return bit_skip(r, ones < max ? ones + 1 : max) ? ones : 0;
}
/* All is read; only zero bits to fill the last byte are left. */
static inline bool bit_done(struct bit_reader *r)
{
    if (r->have < 8)
        bit_refill(r);
    return !r->failed && r->p == r->end && r->have < 8 && low_bits(r->acc, r->have) == 0;
}
static inline unsigned bit_length(uint64_t v)
{
    return v ? 64 - (unsigned)__builtin_clzll(v) : 0;
}
