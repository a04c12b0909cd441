/* Sealed float chunks: columns of time, values and start timestamps, each with the codec that is
 * smallest for it.
 *
 * Layout: u8 first byte (ENC_COLUMNS) | uvarint count n | svarint first t [ms]
 *   | uvarint last t - first t | u8 codecs | time | values | starts
 * codecs: bits 0-1 enum time_codec, 2-4 enum value_codec, 5-6 enum start_codec, 7 zero.
 * "ints" is a column as in chunk_ints.c.
 *   TIME_REGULAR    nothing: t[i] = first + i * (last - first) / (n - 1), without remainder
 *   TIME_INTS       ints of t[i] - first
 *   VALUE_CONSTANT  u64 value bits
 *   VALUE_DECIMAL   u8 decimal mode (chunk_format.h); bit 7: there are specials, bit 6: a shift
 *                   follows | u8 shift, if any | ints of mantissas >> shift | specials, if any:
 *                   uvarint count >= 1, per special uvarint places skipped since the last one and
 *                   u64 value bits (its mantissa means nothing)
 *   VALUE_BITS      ints of value bits
 *   VALUE_ADAPTIVE  uvarint length, the adaptive value code (chunk_values.h)
 *   VALUE_XOR       the same, in XOR mode from the start
 *   START_NONE      all are 0
 *   START_CONSTANT  svarint start of all
 *   START_PREVIOUS  svarint start of the first; others: t of the sample before (delta temporality)
 *   START_INTS      ints of starts */
#include "tsdb/chunk_columns.h"
#include "tsdb/chunk_ints.h"
#include "tsdb/chunk_values.h"

#include <stdlib.h>

/* VALUE_ADAPTIVE is read a few times slower than packed columns: it must save an eighth at
 * least. */
enum { ADAPTIVE_GAIN = 8 };

enum time_codec columns_put_time(struct buf *out, const int64_t *t, size_t n)
{
    int64_t x[CHUNK_SAMPLES_MAX], step = n > 1 ? wrap_sub(t[1], t[0]) : 0;
    bool regular = true;

    for (size_t i = 0; i < n; i++) {
        x[i] = wrap_sub(t[i], t[0]);
        regular &= (uint64_t)x[i] == i * (uint64_t)step;
    }
    if (regular)
        return TIME_REGULAR;
    ints_encode(out, x, n);
    return TIME_INTS;
}

/* Mantissas in one mode that fits most values; what does not fit is special. */
struct decimals {
    unsigned mode;
    size_t specials;
    uint16_t *special; /* their places; behind m */
    int64_t m[];
};

/* Of n values. */
static struct decimals *decimals_new(size_t n)
{
    struct decimals *d = xmalloc(sizeof *d + n * (sizeof *d->m + sizeof *d->special));

    d->special = (uint16_t *)(d->m + n);
    return d;
}

/* The mode in [from, to] that the first value which needs the largest one needs; false when too
 * much is no decimal. */
static bool decimals_mode(const double *v, size_t n, unsigned from, unsigned to, unsigned *ret)
{
    unsigned mode = from;
    size_t misses = 0;
    int64_t m;

    for (size_t i = 0; i < n; i++)
        if (!decimal_at(v[i], mode, &m) && !decimal_find(v[i], mode + 1, to, &mode, &m) &&
            ++misses > n / 8 + 1)
            return false;
    *ret = mode;
    return true;
}

/* False when there is no mode worth trying. */
static bool decimals_fill(const double *v, size_t n, unsigned from, unsigned to, struct decimals *d)
{
    int64_t last = 0;

    d->specials = 0;
    if (!decimals_mode(v, n, from, to, &d->mode))
        return false;
    for (size_t i = 0; i < n && !decimal_at(v[i], d->mode, &last); i++)
        ;
    for (size_t i = 0; i < n; i++) {
        if (!decimal_at(v[i], d->mode, &d->m[i])) {
            d->special[d->specials++] = (uint16_t)i;
            d->m[i] = last; /* no jump is paid for it */
        }
        last = d->m[i];
    }
    return d->specials <= n / 4 + 1;
}

static bool decimals_of(const double *v, size_t n, struct decimals *d)
{
    return decimals_fill(v, n, 0, DECIMAL_SCALE_MAX, d) ||
           decimals_fill(v, n, DECIMAL_TIMES, DECIMAL_TIMES + DECIMAL_TIMES_MAX, d);
}

/* Zero bits below all mantissas: sizes of memory and disks are multiples of pages. */
static unsigned decimals_shift(const struct decimals *d, size_t n)
{
    uint64_t any = 0;

    for (size_t i = 0; i < n; i++)
        any |= (uint64_t)d->m[i];
    return any ? (unsigned)__builtin_ctzll(any) : 0;
}

static void encode_decimals(struct buf *out, const double *v, size_t n, struct decimals *d)
{
    size_t next = 0;
    unsigned shift = decimals_shift(d, n);

    for (size_t i = 0; i < n; i++)
        d->m[i] >>= shift;
    buf_u8(out, (uint8_t)(d->mode | (d->specials ? DECIMAL_HAS_SPECIALS : 0) |
                          (shift ? DECIMAL_HAS_SHIFT : 0)));
    if (shift)
        buf_u8(out, (uint8_t)shift);
    ints_encode(out, d->m, n);
    if (!d->specials)
        return;
    buf_uvarint(out, d->specials);
    for (size_t i = 0; i < d->specials; i++) {
        buf_uvarint(out, d->special[i] - next);
        buf_u64(out, double_bits(v[d->special[i]]));
        next = d->special[i] + 1U;
    }
}

static void encode_adaptive(struct buf *out, const double *v, size_t n, uint8_t mode)
{
    uint8_t *bytes = xmalloc(n * ((VALUE_BITS_MAX + 7) / 8) + 8);
    struct bit_writer w = {bytes, 0, 0};
    struct model s = {.mode = mode};
    size_t used;

    for (size_t i = 0; i < n; i++)
        put_value(&w, &s, double_bits(v[i]));
    used = (size_t)(bit_finish(&w) - bytes);
    buf_uvarint(out, used);
    buf_add(out, bytes, used);
    free(bytes);
}

static void encode_bits(struct buf *out, const double *v, size_t n)
{
    int64_t x[CHUNK_SAMPLES_MAX];

    memcpy(x, v, n * sizeof *x);
    ints_encode(out, x, n);
}

static bool all_same(const double *v, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (double_bits(v[i]) != double_bits(v[0]))
            return false;
    return true;
}

/* A candidate stands at out->p + at; it stays when it is better than the best so far, which ends at
 * `at`. */
struct contest {
    size_t from, best; /* offset and size of the best */
    enum value_codec codec;
};

static void judge(struct buf *out, struct contest *c, enum value_codec codec)
{
    size_t at = c->from + c->best, n = out->n - at;
    size_t gain = codec >= VALUE_ADAPTIVE ? c->best / ADAPTIVE_GAIN : 0;

    if (c->best == 0 || n + gain < c->best) {
        if (n)
            memmove(out->p + c->from, out->p + at, n);
        c->best = n;
        c->codec = codec;
    }
    out->n = c->from + c->best;
}

enum value_codec columns_put_values(struct buf *out, const double *v, size_t n)
{
    struct contest c = {.from = out->n};
    struct decimals *d;
    bool decimal;

    if (all_same(v, n)) {
        buf_u64(out, double_bits(v[0]));
        judge(out, &c, VALUE_CONSTANT);
    }
    d = decimals_new(n);
    decimal = decimals_of(v, n, d);
    if (decimal) {
        encode_decimals(out, v, n, d);
        judge(out, &c, VALUE_DECIMAL);
    }
    free(d);
    if (c.codec == VALUE_CONSTANT && c.best)
        return c.codec;
    if (!decimal) {
        encode_bits(out, v, n);
        judge(out, &c, VALUE_BITS);
        encode_adaptive(out, v, n, MODE_XOR);
        judge(out, &c, VALUE_XOR);
    }
    encode_adaptive(out, v, n, 0);
    judge(out, &c, VALUE_ADAPTIVE);
    return c.codec;
}

enum start_codec columns_put_starts(struct buf *out, const int64_t *t, const int64_t *st, size_t n)
{
    bool none = true, constant = true, previous = true;

    for (size_t i = 0; st && i < n; i++) {
        none &= st[i] == 0;
        constant &= st[i] == st[0];
        previous &= i == 0 || st[i] == t[i - 1];
    }
    if (none)
        return START_NONE;
    if (constant || previous) {
        buf_svarint(out, st[0]);
        return constant ? START_CONSTANT : START_PREVIOUS;
    }
    ints_encode(out, st, n);
    return START_INTS;
}

size_t chunk_front(char out[CHUNK_FRONT_MAX], uint32_t count, int64_t mint_ms, int64_t maxt_ms)
{
    size_t n = uvarint_put(out, count);

    n += uvarint_put(out + n, zigzag(mint_ms));
    return n + uvarint_put(out + n, (uint64_t)maxt_ms - (uint64_t)mint_ms);
}

void columns_put_header(struct buf *out, enum chunk_encoding e, const int64_t *t, size_t n)
{
    char front[CHUNK_FRONT_MAX];

    ASSERT(n >= 1 && n <= CHUNK_SAMPLES_MAX);
    buf_u8(out, chunk_first_byte(e));
    buf_add(out, front, chunk_front(front, (uint32_t)n, t[0], t[n - 1]));
}

void chunk_encode_floats(struct buf *out, size_t n, const int64_t *t, const double *v,
                         const int64_t *st)
{
    enum time_codec time;
    enum value_codec value;
    enum start_codec start;
    size_t codecs;

    columns_put_header(out, ENC_COLUMNS, t, n);
    codecs = out->n;
    buf_u8(out, 0);
    time = columns_put_time(out, t, n);
    value = columns_put_values(out, v, n);
    start = columns_put_starts(out, t, st, n);
    if (buf_ok(out))
        out->p[codecs] = (char)(time | value << 2 | start << 5);
}
