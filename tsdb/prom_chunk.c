#include "tsdb/prom_chunk.h"

#include <math.h>
#include <stdlib.h>

/* --- bits, highest first --- */

struct bits {
    struct buf *out;
    uint8_t partial;
    unsigned n; /* bits in partial, < 8 */
};

static void put(struct bits *b, uint64_t v, unsigned n)
{
    while (n > 0) {
        unsigned take = MIN(8 - b->n, n);
        uint8_t piece = (uint8_t)(v >> (n - take) & ((1U << take) - 1));

        b->partial = (uint8_t)(b->partial | piece << (8 - b->n - take));
        b->n += take;
        n -= take;
        if (b->n == 8) {
            buf_u8(b->out, b->partial);
            b->partial = 0;
            b->n = 0;
        }
    }
}

static void bits_end(struct bits *b)
{
    if (b->n)
        buf_u8(b->out, b->partial);
}

static void put_uvarint(struct bits *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        put(b, (v & 0x7f) | 0x80, 8);
    put(b, v, 8);
}

/* As the signed range of n bits that Prometheus uses: one more above than below. */
static bool fits(int64_t v, unsigned n)
{
    return -((1LL << (n - 1)) - 1) <= v && v <= 1LL << (n - 1);
}

/* --- numbers of histograms: a run of ones says how many bits follow --- */

static const uint8_t varbit_sizes[] = {3, 6, 9, 12, 18, 25, 56};

static void put_varbit_class(struct bits *b, size_t class, uint64_t v)
{
    bool last = class == ARRAY_LEN(varbit_sizes);
    unsigned ones = (unsigned)class + 1;

    put(b, last ? 0xff : ((1U << ones) - 1) << 1, last ? 8 : ones + 1);
    put(b, v, last ? 64 : varbit_sizes[class]);
}

static void put_varbit_int(struct bits *b, int64_t v)
{
    size_t class = 0;

    if (v == 0) {
        put(b, 0, 1);
        return;
    }
    while (class < ARRAY_LEN(varbit_sizes) && !fits(v, varbit_sizes[class]))
        class++;
    put_varbit_class(b, class, (uint64_t)v);
}

static void put_varbit_uint(struct bits *b, uint64_t v)
{
    size_t class = 0;

    if (v == 0) {
        put(b, 0, 1);
        return;
    }
    while (class < ARRAY_LEN(varbit_sizes) && v >> varbit_sizes[class])
        class++;
    put_varbit_class(b, class, v);
}

/* --- XOR of values --- */

struct xor_state {
    uint64_t bits;
    uint8_t leading, trailing;
    bool window;
};

static void put_xor(struct bits *b, struct xor_state *s, double v)
{
    uint64_t bits = double_bits(v), x = bits ^ s->bits;
    unsigned leading, trailing, n;

    s->bits = bits;
    if (x == 0) {
        put(b, 0, 1);
        return;
    }
    leading = MIN((unsigned)__builtin_clzll(x), 31U);
    trailing = (unsigned)__builtin_ctzll(x);
    if (s->window && leading >= s->leading && trailing >= s->trailing) {
        put(b, 2, 2);
        put(b, x >> s->trailing, 64U - s->leading - s->trailing);
        return;
    }
    s->window = true;
    s->leading = (uint8_t)leading;
    s->trailing = (uint8_t)trailing;
    n = 64 - leading - trailing;
    put(b, 3, 2);
    put(b, leading, 5);
    put(b, n & 63, 6); /* 64 is written as 0 */
    put(b, x >> trailing, n);
}

/* --- floats --- */

static void put_delta_of_delta(struct bits *b, int64_t d)
{
    if (d == 0) {
        put(b, 0, 1);
    } else if (fits(d, 14)) {
        put(b, 2, 2);
        put(b, (uint64_t)d, 14);
    } else if (fits(d, 17)) {
        put(b, 6, 3);
        put(b, (uint64_t)d, 17);
    } else if (fits(d, 20)) {
        put(b, 14, 4);
        put(b, (uint64_t)d, 20);
    } else {
        put(b, 15, 4);
        put(b, (uint64_t)d, 64);
    }
}

static void put_count(struct buf *out, size_t n)
{
    buf_u8(out, (uint8_t)(n >> 8));
    buf_u8(out, (uint8_t)n);
}

void prom_chunk_floats(struct buf *out, const int64_t *t, const double *v, size_t n)
{
    struct xor_state x = {.bits = double_bits(v[0])};
    struct bits b = {.out = out};
    int64_t delta = 0;

    ASSERT(n > 0 && n <= PROM_CHUNK_SAMPLES_MAX);
    put_count(out, n);
    put_uvarint(&b, ((uint64_t)t[0] << 1) ^ (uint64_t)(t[0] >> 63));
    put(&b, x.bits, 64);
    for (size_t i = 1; i < n; i++) {
        int64_t d = t[i] - t[i - 1];

        if (i == 1)
            put_uvarint(&b, (uint64_t)d);
        else
            put_delta_of_delta(&b, d - delta);
        delta = d;
        put_xor(&b, &x, v[i]);
    }
    bits_end(&b);
}

/* --- histograms --- */

static bool sides_alike(const struct hist_side *a, const struct hist_side *b)
{
    return a->span_count == b->span_count && a->bucket_count == b->bucket_count &&
           (a->span_count == 0 || memcmp(a->spans, b->spans, a->span_count * sizeof *a->spans) == 0);
}

static bool layouts_alike(const struct histogram *a, const struct histogram *b)
{
    return a->schema == b->schema && double_bits(a->zero_threshold) == double_bits(b->zero_threshold) &&
           sides_alike(&a->pos, &b->pos) && sides_alike(&a->neg, &b->neg) && a->custom_count == b->custom_count &&
           (a->custom_count == 0 || memcmp(a->custom, b->custom, a->custom_count * sizeof *a->custom) == 0);
}

size_t prom_chunk_run(const struct histogram *const *h, size_t n)
{
    uint8_t wanted = h[0]->hint == HIST_HINT_GAUGE ? HIST_HINT_GAUGE : HIST_HINT_NOT_RESET;
    size_t run = 1;

    n = MIN(n, (size_t)PROM_CHUNK_SAMPLES_MAX);
    while (run < n && h[run]->hint == wanted && layouts_alike(h[0], h[run]) && !histogram_is_stale(h[run - 1]))
        run++;
    return run;
}

/* One byte for zero and for powers of two from 2^-243 to 2^10. */
static void put_zero_threshold(struct bits *b, double v)
{
    int exp;

    if (v == 0) {
        put(b, 0, 8);
    } else if (frexp(v, &exp) == 0.5 && exp >= -242 && exp <= 11) {
        put(b, (uint64_t)(exp + 243), 8);
    } else {
        put(b, 255, 8);
        put(b, double_bits(v), 64);
    }
}

static void put_spans(struct bits *b, const struct hist_side *side)
{
    put_varbit_uint(b, side->span_count);
    for (uint32_t i = 0; i < side->span_count; i++) {
        put_varbit_uint(b, side->spans[i].length);
        put_varbit_int(b, side->spans[i].offset);
    }
}

/* A bound of whole thousandths in 25 bits takes a varbit of them plus one, others a zero bit and all of their own. */
static void put_bound(struct bits *b, double v)
{
    double thousandths = round(v * 1000);

    if (thousandths >= 0 && thousandths <= 33554430 && thousandths / 1000 == v) {
        put_varbit_uint(b, (uint64_t)thousandths + 1);
    } else {
        put(b, 0, 1);
        put(b, double_bits(v), 64);
    }
}

static void put_layout(struct bits *b, const struct histogram *h)
{
    put_zero_threshold(b, h->zero_threshold);
    put_varbit_int(b, h->schema);
    put_spans(b, &h->pos);
    put_spans(b, &h->neg);
    if (h->schema != HIST_CUSTOM_SCHEMA)
        return;
    put_varbit_uint(b, h->custom_count);
    for (uint32_t i = 0; i < h->custom_count; i++)
        put_bound(b, h->custom[i]);
}

/* Count, zero count, sum, positive and negative buckets. */
static double field(const struct histogram *h, size_t i)
{
    if (i < 3)
        return i == 0 ? h->count.f : i == 1 ? h->zero_count.f : h->sum;
    return i - 3 < h->pos.bucket_count ? h->pos.f[i - 3] : h->neg.f[i - 3 - h->pos.bucket_count];
}

static void put_sample(struct bits *b, const struct histogram *h, struct xor_state *x, size_t fields, bool first)
{
    for (size_t i = 0; i < fields; i++) {
        double v = field(h, i);

        if (first) {
            x[i].bits = double_bits(v);
            put(b, x[i].bits, 64);
        } else {
            put_xor(b, &x[i], v);
        }
    }
}

void prom_chunk_histograms(struct buf *out, const int64_t *t, const struct histogram *const *h, size_t n)
{
    static const uint8_t headers[] = {[HIST_HINT_UNKNOWN] = 0, [HIST_HINT_RESET] = 0x80, [HIST_HINT_NOT_RESET] = 0x40, [HIST_HINT_GAUGE] = 0xc0};
    size_t fields = 3 + (size_t)h[0]->pos.bucket_count + h[0]->neg.bucket_count;
    struct xor_state *x = xcalloc(fields, sizeof *x);
    struct bits b = {.out = out};
    int64_t delta = 0;

    ASSERT(n > 0 && n <= PROM_CHUNK_SAMPLES_MAX && h[0]->is_float && h[0]->hint < ARRAY_LEN(headers));
    put_count(out, n);
    buf_u8(out, headers[h[0]->hint]);
    put_layout(&b, h[0]);
    for (size_t i = 0; i < n; i++) {
        int64_t d = i ? t[i] - t[i - 1] : 0;

        put_varbit_int(&b, i ? d - delta : t[0]);
        delta = d;
        put_sample(&b, h[i], x, fields, i == 0);
    }
    bits_end(&b);
    free(x);
}
