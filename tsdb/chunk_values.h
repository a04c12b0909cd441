/* chunk_values.h - the adaptive value code: what open chunks write sample by sample, and sealed
 * chunks use where nothing packs better.
 * Per value (value bits and mantissa before the first are zero, mode 0, k 0, score 0): one 0 bit:
 * same bits as before; or one 1 bit, and in a decimal mode a unary class:
 *   0, 1, 2  zigzag(mantissa - prediction) in k, k + 3, k + 8 bits
 *   3        6 bits n - 1, and n bits of it
 *   4        64 value bits, the mantissa stays
 *   5        6 bits of a larger mode, whose scale scales the mantissa before; then as class 3
 *   6        64 value bits, XOR mode from here on
 * In XOR mode: 0 and the bits of the XOR window, or 1, 6 bits leading zeros, 6 bits length - 1, bits.
 * The prediction is the mantissa before, plus its last step while that was the better guess of late
 * (score > 0). k follows the lengths of the residuals (model_learn). XOR windows as in Pelkonen et
 * al. (Gorilla, VLDB 2015, section 4.1); the decimal part is ours. */
#pragma once
#include "tsdb/chunk_format.h"

enum { SCORE_MAX = 4, MODE_XOR = 0xff, VALUE_BITS_MAX = 76 };

/* Value model: the same in writer and reader. */
struct model {
    uint64_t bits; /* of the value before */
    int64_t m;     /* decimal mode: the last mantissa */
    int64_t step;  /* decimal mode: its last change */
    uint8_t mode;  /* decimal mode (chunk_format.h), or MODE_XOR */
    uint8_t k;     /* decimal: expected length of a residual; XOR: leading zeros of the window */
    /* decimal: > 0 when adding step predicts better; XOR: length of the window, 0 = none yet */
    int8_t score;
};

static inline int64_t model_prediction(const struct model *s)
{
    return s->score > 0 ? s->m + s->step : s->m;
}

/* length: bits of the residual just coded, in a class above the first or not. */
static inline void model_learn(struct model *s, int64_t m, unsigned length, bool first_class)
{
    int64_t step = m - s->m;
    uint64_t by_value = zigzag(step), by_step = zigzag(step - s->step);
    int score = s->score + (by_step < by_value) - (by_step > by_value);
    unsigned shorter = s->k - (length + 1 < s->k), mean = (s->k + length + 1) / 2;

    /* Without branches: neither can be foretold. */
    s->k = (uint8_t)(first_class ? shorter : mean);
    s->score = (int8_t)MAX(MIN(score, SCORE_MAX), -SCORE_MAX);
    s->step = step;
    s->m = m;
}

static inline void model_same(struct model *s)
{
    if (s->mode != MODE_XOR)
        s->step = 0;
}

/* Another mode: what is remembered is scaled too, or forgotten where that does not work out. */
static inline void model_remode(struct model *s, unsigned mode)
{
    unsigned from = decimal_scale(s->mode), to = decimal_scale(mode);
    int64_t m;

    if (to < from || to - from > 18 ||
        __builtin_mul_overflow(s->m, (int64_t)decimal_powers[to - from], &m) ||
        m > DECIMAL_MANTISSA_MAX || m < -DECIMAL_MANTISSA_MAX)
        m = 0;
    s->m = m;
    s->step = 0;
    s->mode = (uint8_t)mode;
}

/* A larger mode at which v is a decimal. */
static inline bool model_find(const struct model *s, double v, unsigned *ret_mode, int64_t *ret_m)
{
    if (s->mode < DECIMAL_TIMES &&
        decimal_find(v, s->mode + 1U, DECIMAL_SCALE_MAX, ret_mode, ret_m))
        return true;
    return decimal_find(v, MAX(s->mode + 1U, (unsigned)DECIMAL_TIMES),
                        DECIMAL_TIMES + DECIMAL_TIMES_MAX, ret_mode, ret_m);
}

/* --- writing --- */
static inline void put_explicit(struct bit_writer *w, uint64_t x)
{
    unsigned n = MAX(bit_length(x), 1U);

    bit_put(w, n - 1, 6);
    bit_put(w, x, n);
}

static inline void put_xor(struct bit_writer *w, struct model *s, uint64_t bits)
{
    uint64_t x = bits ^ s->bits;
    unsigned lead = (unsigned)__builtin_clzll(x), trail = (unsigned)__builtin_ctzll(x);
    unsigned n = 64 - lead - trail, window = (unsigned)s->score, window_trail = 64 - s->k - window;

    if (window && lead >= s->k && trail >= window_trail && window <= n + 12) {
        bit_put(w, 1, 2);
        bit_put(w, x >> window_trail, window);
        return;
    }
    bit_put(w, 3 | (uint64_t)lead << 2 | (uint64_t)(n - 1) << 8, 14);
    bit_put(w, x >> trail, n);
    s->k = (uint8_t)lead;
    s->score = (int8_t)n;
}

static inline void put_residual(struct bit_writer *w, struct model *s, int64_t m)
{
    uint64_t z = zigzag(m - model_prediction(s));
    unsigned n = bit_length(z);

    if (n <= s->k) {
        bit_put(w, 1, 2);
        bit_put(w, z, s->k);
    } else if (n <= s->k + 3U) {
        bit_put(w, 3, 3);
        bit_put(w, z, s->k + 3U);
    } else if (n <= s->k + 8U) {
        bit_put(w, 7, 4);
        bit_put(w, z, s->k + 8U);
    } else {
        bit_put(w, 15, 5);
        put_explicit(w, z);
    }
    model_learn(s, m, n, n <= s->k);
}

static inline void put_value(struct bit_writer *w, struct model *s, uint64_t bits)
{
    double v = bits_double(bits);
    unsigned mode;
    int64_t m;

    if (bits == s->bits) {
        bit_put(w, 0, 1);
        model_same(s);
        return;
    }
    if (s->mode == MODE_XOR) {
        put_xor(w, s, bits);
    } else if (LIKELY(decimal_at(v, s->mode, &m))) {
        put_residual(w, s, m);
    } else if (model_find(s, v, &mode, &m)) {
        bit_put(w, 1 | 31 << 1, 7);
        bit_put(w, mode, 6);
        model_remode(s, mode);
        put_explicit(w, zigzag(m - s->m));
        model_learn(s, m, bit_length(zigzag(m - s->m)), false);
    } else if (!__builtin_isfinite(v) || v == 0) {
        bit_put(w, 1 | 15 << 1, 6);
        bit_put(w, bits, 64);
    } else {
        bit_put(w, 1 | 63 << 1, 7);
        bit_put(w, bits, 64);
        s->mode = MODE_XOR;
        s->score = 0;
        s->k = 0;
    }
    s->bits = bits;
}

/* --- reading --- */
static inline uint64_t get_explicit(struct bit_reader *r)
{
    return bit_get(r, (unsigned)bit_get(r, 6) + 1);
}

/* False: not what put_xor writes. */
static inline bool get_xor(struct bit_reader *r, struct model *s)
{
    if (bit_get(r, 1)) {
        s->k = (uint8_t)bit_get(r, 6);
        s->score = (int8_t)(bit_get(r, 6) + 1);
        if (s->k + s->score > 64)
            return false;
    }
    if (s->score == 0)
        return false;
    s->bits ^= bit_get(r, (unsigned)s->score) << (64 - s->k - s->score);
    return true;
}

static inline bool model_take(struct model *s, uint64_t z, int64_t base, bool first_class)
{
    int64_t m = wrap_add(base, unzigzag(z));

    if (m > DECIMAL_MANTISSA_MAX || m < -DECIMAL_MANTISSA_MAX)
        return false;
    model_learn(s, m, bit_length(z), first_class);
    s->bits = double_bits(decimal_value(m, s->mode));
    return true;
}

static inline bool get_value(struct bit_reader *r, struct model *s)
{
    static const uint8_t extra[] = {0, 3, 8};
    unsigned class, mode;

    if (!bit_get(r, 1)) {
        model_same(s);
        return true;
    }
    if (s->mode == MODE_XOR)
        return get_xor(r, s);
    class = bit_unary(r, 6);
    switch (class) {
    case 0:
    case 1:
    case 2:
        return model_take(s, bit_get(r, s->k + extra[class]), model_prediction(s), class == 0);
    case 3:
        return model_take(s, get_explicit(r), model_prediction(s), false);
    case 5:
        mode = (unsigned)bit_get(r, 6);
        if (mode <= s->mode || !decimal_mode_valid(mode))
            return false;
        model_remode(s, mode);
        return model_take(s, get_explicit(r), s->m, false);
    case 6:
        s->mode = MODE_XOR;
        s->k = 0;
        s->score = 0;
        break;
    default:
        break;
    }
    s->bits = bit_get(r, 64);
    return true;
}
