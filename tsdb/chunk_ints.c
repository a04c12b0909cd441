/* Layout: u8 order (enum ints_order) | heads | blocks of INTS_BLOCK residuals, the last one shorter;
 *   none when nothing is left.
 * Heads: DELTA svarint x[0]; DELTA2 svarint x[0] and, if n > 1, x[1] - x[0]; LINE svarint slope.
 * Residuals: PLAIN x[i]; DELTA x[i] - x[i-1], i >= 1; DELTA2 x[i] - 2 x[i-1] + x[i-2], i >= 2;
 *   LINE x[i] - i * slope.
 * Block: u8 width 0..64, upper bit set when there are exceptions | svarint base
 *   | residual - base, low width bits each, first bit lowest, zero bits to a whole byte
 *   | exceptions, if any: uvarint count >= 1, per exception uvarint places skipped since the last one
 *     and uvarint the bits above width. */
#include "tsdb/chunk_ints.h"

enum { HAS_EXCEPTIONS = 0x80, LEAST = 3 };

/* --- writing --- */
struct block_fit {
    uint64_t base;
    unsigned width;
    size_t bytes; /* estimate: exact but for the gaps of exceptions */
};

/* Bytes for n numbers of given lengths at this width. */
static size_t block_cost(const uint32_t counts[65], const uint8_t *present, size_t present_count,
                         size_t n, unsigned width)
{
    size_t bytes = (n * width + 7) / 8;

    for (size_t i = 0; i < present_count; i++)
        if (present[i] > width)
            bytes += counts[present[i]] * (1 + (present[i] - width + 6) / 7);
    return bytes;
}

static void block_try_base(const uint64_t *r, size_t n, uint64_t base, struct block_fit *best)
{
    uint32_t counts[65] = {0};
    uint8_t present[65] = {0};
    size_t present_count = 0;
    uint64_t seen = 0; /* lengths below 64, a bit each */

    for (size_t i = 0; i < n; i++) {
        unsigned length = bit_length(r[i] - base);

        counts[length]++;
        seen |= (uint64_t)(length < 64) << (length & 63);
    }
    for (; seen; seen &= seen - 1)
        present[present_count++] = (uint8_t)__builtin_ctzll(seen);
    if (counts[64])
        present[present_count++] = 64;
    for (size_t i = 0; i < present_count + (present[0] > 0); i++) {
        unsigned width =
            i < present_count ? present[i] : 0; /* 0 besides: all but none may be exceptions */
        bool last = width == present[present_count - 1];
        size_t bytes = block_cost(counts, present, present_count, n, width) + !last +
                       (bit_length(zigzag((int64_t)base)) + 6) / 7;

        if (bytes < best->bytes)
            *best = (struct block_fit){base, width, bytes};
    }
}

/* The base is the least number, or the next least where that one is an outlier (a counter
 * reset). */
static struct block_fit block_fit(const uint64_t *r, size_t n)
{
    struct block_fit best = {.bytes = SIZE_MAX};
    int64_t least[LEAST] = {INT64_MAX, INT64_MAX, INT64_MAX}, most = INT64_MIN;

    for (size_t i = 0; i < n; i++) {
        int64_t v = (int64_t)r[i];

        most = MAX(most, v);
        for (size_t k = 0; k < LEAST && v < least[LEAST - 1]; k++)
            if (v < least[k]) {
                int64_t moved = least[k];

                least[k] = v;
                v = moved;
            }
    }
    block_try_base(r, n, (uint64_t)least[0], &best);
    for (size_t k = 1; k < MIN(n, (size_t)LEAST); k++)
        if (bit_length((uint64_t)most - (uint64_t)least[k]) <
            bit_length((uint64_t)most - (uint64_t)least[k - 1]))
            block_try_base(r, n, (uint64_t)least[k], &best);
    best.bytes += 2;
    return best;
}

static void block_put(struct buf *out, const uint64_t *r, size_t n, const struct block_fit *f)
{
    uint8_t packed[INTS_BLOCK * 8 + 8];
    struct bit_writer w = {packed, 0, 0};
    size_t exceptions = 0, next = 0;

    for (size_t i = 0; i < n; i++) {
        bit_put(&w, low_bits(r[i] - f->base, f->width), f->width);
        exceptions += bit_length(r[i] - f->base) > f->width;
    }
    buf_u8(out, (uint8_t)(f->width | (exceptions ? HAS_EXCEPTIONS : 0)));
    buf_svarint(out, (int64_t)f->base);
    buf_add(out, packed, (size_t)(bit_finish(&w) - packed));
    if (!exceptions)
        return;
    buf_uvarint(out, exceptions);
    for (size_t i = 0; i < n; i++)
        if (bit_length(r[i] - f->base) > f->width) {
            buf_uvarint(out, i - next);
            buf_uvarint(out, (r[i] - f->base) >> f->width);
            next = i + 1;
        }
}

/* How many numbers the order keeps in front of the residuals. */
static size_t order_heads(enum ints_order order, size_t n)
{
    size_t heads = order == INTS_DELTA ? 1 : order == INTS_DELTA2 ? 2 : 0;

    return MIN(heads, n);
}

static int64_t line_slope(const int64_t *x, size_t n)
{
    return n > 1 ? wrap_sub(x[n - 1], x[0]) / (int64_t)(n - 1) : 0;
}

/* Fills r with n - order_heads() residuals. */
static void residuals(const int64_t *x, size_t n, enum ints_order order, uint64_t *r)
{
    uint64_t slope = (uint64_t)line_slope(x, n);
    const uint64_t *u = (const uint64_t *)x;

    switch (order) {
    case INTS_PLAIN:
        memcpy(r, x, n * sizeof *r);
        break;
    case INTS_DELTA:
        for (size_t i = 1; i < n; i++)
            r[i - 1] = u[i] - u[i - 1];
        break;
    case INTS_DELTA2:
        for (size_t i = 2; i < n; i++)
            r[i - 2] = u[i] - 2 * u[i - 1] + u[i - 2];
        break;
    case INTS_LINE:
        for (size_t i = 0; i < n; i++)
            r[i] = u[i] - i * slope;
        break;
    }
}

static size_t order_cost(const int64_t *x, size_t n, enum ints_order order, uint64_t *r)
{
    size_t left = n - order_heads(order, n), bytes = 0;

    residuals(x, n, order, r);
    if (order == INTS_LINE)
        bytes += (bit_length(zigzag(line_slope(x, n))) + 6) / 7;
    else if (order != INTS_PLAIN)
        bytes += (bit_length(zigzag(x[0])) + 6) / 7 + order;
    for (size_t at = 0; at < left; at += INTS_BLOCK)
        bytes += block_fit(r + at, MIN(left - at, (size_t)INTS_BLOCK)).bytes;
    return bytes;
}

void ints_encode(struct buf *out, const int64_t *x, size_t n)
{
    uint64_t r[CHUNK_SAMPLES_MAX];
    enum ints_order best = INTS_DELTA;
    size_t best_bytes = SIZE_MAX, left;

    ASSERT(n >= 1 && n <= CHUNK_SAMPLES_MAX);
    for (enum ints_order order = INTS_PLAIN; order <= INTS_LINE; order++) {
        size_t bytes = order_cost(x, n, order, r);

        if (bytes < best_bytes) {
            best_bytes = bytes;
            best = order;
        }
    }
    buf_u8(out, (uint8_t)best);
    if (best == INTS_LINE) {
        buf_svarint(out, line_slope(x, n));
    } else {
        for (size_t i = 0; i < order_heads(best, n); i++)
            buf_svarint(out, i ? wrap_sub(x[1], x[0]) : x[0]);
    }
    residuals(x, n, best, r);
    left = n - order_heads(best, n);
    for (size_t at = 0; at < left; at += INTS_BLOCK) {
        size_t some = MIN(left - at, (size_t)INTS_BLOCK);
        struct block_fit f = block_fit(r + at, some);

        block_put(out, r + at, some, &f);
    }
}

/* --- reading --- */
/* Once per block; tests/bench/chunk_bench. Reads 8 bytes at a time, so the caller handles the last
 * ones: see unpack. 1 <= width <= 57 */
static void unpack_fast(const uint8_t *p, size_t n, unsigned width, uint64_t base,
                        uint64_t *restrict x)
{
    uint64_t mask = low_bits(UINT64_MAX, width);
    size_t at = 0;

    for (size_t i = 0; i < n; i++, at += width)
        x[i] = base + (le_get64(p + (at >> 3)) >> (at & 7) & mask);
}

/* readable: bytes from p on that may be read, at least those that are packed. */
static void unpack(const uint8_t *p, size_t readable, size_t n, unsigned width, uint64_t base,
                   uint64_t *x)
{
    struct bit_reader r;
    size_t fast = 0;

    if (width == 0) {
        for (size_t i = 0; i < n; i++)
            x[i] = base;
        return;
    }
    if (width <= 57 && readable >= 8)
        fast = MIN(n, ((readable - 8) * 8 + 7) / width + 1);
    unpack_fast(p, fast, width, base, x);
    r = bit_reader_of(p + fast * width / 8, (n * width + 7) / 8 - fast * width / 8);
    bit_get(&r, fast * width % 8);
    for (size_t i = fast; i < n; i++)
        x[i] = base + bit_get(&r, width);
}

static int block_get(struct rd *r, uint64_t *x, size_t n, struct err *err)
{
    uint8_t head = rd_u8(r);
    unsigned width = head & ~HAS_EXCEPTIONS;
    uint64_t base = (uint64_t)rd_svarint(r), exceptions, at = 0;
    const uint8_t *packed;

    CORRUPT_UNLESS(width <= 64, err);
    packed = rd_take(r, (n * width + 7) / 8);
    CORRUPT_UNLESS(packed, err);
    unpack(packed, (size_t)(r->end - packed), n, width, base, x);
    if (!(head & HAS_EXCEPTIONS))
        return 0;
    exceptions = rd_uvarint(r);
    CORRUPT_UNLESS(width < 64 && exceptions >= 1 && exceptions <= n, err);
    for (uint64_t i = 0; i < exceptions; i++, at++) {
        uint64_t skip = rd_uvarint(r), above = rd_uvarint(r);

        CORRUPT_UNLESS(rd_ok(r) && skip < n && at + skip < n && above <= UINT64_MAX >> width, err);
        at += skip;
        x[at] += above << width;
    }
    return 0;
}

static void undo(enum ints_order order, uint64_t slope, uint64_t *x, size_t n)
{
    uint64_t step;

    switch (order) {
    case INTS_PLAIN:
        break;
    case INTS_DELTA:
        for (size_t i = 1; i < n; i++)
            x[i] += x[i - 1];
        break;
    case INTS_DELTA2:
        step = n > 1 ? x[1] : 0;
        if (n > 1)
            x[1] += x[0];
        for (size_t i = 2; i < n; i++) {
            step += x[i];
            x[i] = x[i - 1] + step;
        }
        break;
    case INTS_LINE:
        for (size_t i = 0; i < n; i++)
            x[i] += i * slope;
        break;
    }
}

int ints_decode(struct rd *r, int64_t *x, size_t n, struct err *err)
{
    uint64_t *u = (uint64_t *)x, slope = 0;
    uint8_t order = rd_u8(r);
    size_t heads;

    CORRUPT_UNLESS(order <= INTS_LINE && n >= 1 && n <= CHUNK_SAMPLES_MAX, err);
    if (order == INTS_LINE)
        slope = (uint64_t)rd_svarint(r);
    heads = order_heads(order, n);
    for (size_t i = 0; i < heads; i++)
        x[i] = rd_svarint(r);
    for (size_t at = heads; at < n; at += INTS_BLOCK) {
        int rc = block_get(r, u + at, MIN(n - at, (size_t)INTS_BLOCK), err);

        if (rc < 0)
            return rc;
    }
    CORRUPT_UNLESS(rd_ok(r), err);
    undo(order, slope, u, n);
    return 0;
}
