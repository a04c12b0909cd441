#include "tsdb/prom_chunk.h"

#include <math.h>

/* --- bits, highest first --- */

/* acc holds `have` bits to come, from its top down; bits below them are those that follow, or zero. */
struct bits {
    const uint8_t *p, *end;
    uint64_t acc;
    unsigned have;
    bool failed;
};

static void refill(struct bits *b)
{
    if (LIKELY(b->end - b->p >= 8)) {
        b->acc |= be_get64(b->p) >> b->have;
        b->p += (63 - b->have) >> 3;
        b->have |= 56;
        return;
    }
    for (; b->have <= 56 && b->p < b->end; b->have += 8)
        b->acc |= (uint64_t)*b->p++ << (56 - b->have);
}

/* n <= 56 */
static uint64_t take_some(struct bits *b, unsigned n)
{
    uint64_t v;

    if (n == 0)
        return 0;
    if (b->have < n)
        refill(b);
    if (UNLIKELY(b->have < n)) {
        b->failed = true;
        return 0;
    }
    v = b->acc >> (64 - n);
    b->acc <<= n;
    b->have -= n;
    return v;
}

static uint64_t take(struct bits *b, unsigned n)
{
    uint64_t high;

    if (n <= 56)
        return take_some(b, n);
    high = take_some(b, n - 32);
    return high << 32 | take_some(b, 32);
}

static uint64_t take_uvarint(struct bits *b)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint64_t byte = take(b, 8);

        v |= (byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return v;
    }
    b->failed = true;
    return 0;
}

/* Ones before a zero, at most max; the zero is taken when there are fewer. */
static unsigned take_ones(struct bits *b, unsigned max)
{
    unsigned ones = 0;

    while (ones < max && take(b, 1))
        ones++;
    return ones;
}

/* n bits whose range has one more above zero than below. */
static int64_t take_signed(struct bits *b, unsigned n)
{
    uint64_t v = take(b, n);

    return n > 0 && n < 64 && v > 1ULL << (n - 1) ? (int64_t)(v - (1ULL << n)) : (int64_t)v;
}

static const uint8_t varbit_sizes[] = {0, 3, 6, 9, 12, 18, 25, 56, 64};

static int64_t take_varbit_int(struct bits *b)
{
    return take_signed(b, varbit_sizes[take_ones(b, 8)]);
}

static uint64_t take_varbit_uint(struct bits *b)
{
    return take(b, varbit_sizes[take_ones(b, 8)]);
}

static int64_t take_delta_of_delta(struct bits *b)
{
    static const uint8_t sizes[] = {0, 14, 17, 20, 64};

    return take_signed(b, sizes[take_ones(b, 4)]);
}

struct xor_state {
    uint64_t bits;
    uint8_t leading, trailing;
};

static void take_xor(struct bits *b, struct xor_state *s)
{
    unsigned n;

    if (take(b, 1) == 0)
        return;
    if (take(b, 1) == 0) {
        n = 64U - s->leading - s->trailing;
    } else {
        s->leading = (uint8_t)take(b, 5);
        n = (unsigned)take(b, 6);
        n = n ? n : 64;
        if (s->leading + n > 64) {
            b->failed = true;
            return;
        }
        s->trailing = (uint8_t)(64 - s->leading - n);
    }
    s->bits ^= take(b, n) << s->trailing;
}

/* Wrapping, because bytes from outside choose the terms. */
static int64_t add(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

static int no_memory(struct err *err)
{
    return err_set(err, RC_NOMEM, "a Prometheus chunk: memory budget is spent");
}

/* --- floats --- */

static void decode_floats(struct bits *b, size_t n, const struct chunk_columns *c)
{
    struct xor_state x = {0};
    int64_t t = 0, delta = 0;

    for (size_t i = 0; i < n && !b->failed; i++) {
        if (i == 0) {
            t = unzigzag(take_uvarint(b));
            x.bits = take(b, 64);
        } else {
            delta = i == 1 ? (int64_t)take_uvarint(b) : add(delta, take_delta_of_delta(b));
            t = add(t, delta);
            take_xor(b, &x);
        }
        c->t[i] = t;
        c->v[i] = bits_double(x.bits);
    }
}

/* --- histograms --- */

static double take_zero_threshold(struct bits *b)
{
    unsigned code = (unsigned)take(b, 8);

    if (code == 0)
        return 0;
    return code == 255 ? bits_double(take(b, 64)) : ldexp(0.5, (int)code - 243);
}

static double take_bound(struct bits *b)
{
    uint64_t thousandths = take_varbit_uint(b);

    return thousandths ? (double)(thousandths - 1) / 1000 : bits_double(take(b, 64));
}

static int take_spans(struct bits *b, struct arena *a, struct hist_side *side, struct err *err)
{
    uint64_t n = take_varbit_uint(b), buckets = 0;
    struct hist_span *spans;

    CORRUPT_UNLESS(!b->failed && n <= HIST_SPANS_MAX, err);
    spans = arena_array(a, (size_t)n, sizeof *spans);
    if (!spans)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        uint64_t length = take_varbit_uint(b);
        int64_t offset = take_varbit_int(b);

        CORRUPT_UNLESS(!b->failed && length <= HIST_BUCKETS_MAX && offset >= INT32_MIN && offset <= INT32_MAX, err);
        buckets += length;
        CORRUPT_UNLESS(buckets <= HIST_BUCKETS_MAX, err);
        spans[i] = (struct hist_span){(int32_t)offset, (uint32_t)length};
    }
    side->spans = spans;
    side->span_count = (uint32_t)n;
    side->bucket_count = (uint32_t)buckets;
    return 0;
}

static int take_layout(struct bits *b, struct arena *a, struct histogram *h, struct err *err)
{
    uint64_t bounds;
    int64_t schema;
    double *custom;
    int rc;

    h->zero_threshold = take_zero_threshold(b);
    schema = take_varbit_int(b);
    CORRUPT_UNLESS(schema == HIST_CUSTOM_SCHEMA || (schema >= HIST_SCHEMA_MIN && schema <= HIST_SCHEMA_WIRE_MAX), err);
    h->schema = (int32_t)schema;
    rc = take_spans(b, a, &h->pos, err);
    if (rc == 0)
        rc = take_spans(b, a, &h->neg, err);
    if (rc < 0 || schema != HIST_CUSTOM_SCHEMA)
        return rc;
    bounds = take_varbit_uint(b);
    CORRUPT_UNLESS(!b->failed && bounds <= HIST_CUSTOM_MAX, err);
    custom = arena_array(a, (size_t)bounds, sizeof *custom);
    if (!custom)
        return no_memory(err);
    for (size_t i = 0; i < bounds; i++)
        custom[i] = take_bound(b);
    h->custom = custom;
    h->custom_count = (uint32_t)bounds;
    return 0;
}

/* Count, zero count and the buckets of both sides: the numbers of integer histograms. */
struct int_state {
    int64_t *number, *delta;
    size_t n;
    struct xor_state sum;
};

static void take_ints(struct bits *b, struct int_state *s, bool first, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        if (first) {
            s->number[i] = i < 2 ? (int64_t)take_varbit_uint(b) : take_varbit_int(b);
            continue;
        }
        s->delta[i] = add(s->delta[i], take_varbit_int(b));
        s->number[i] = add(s->number[i], s->delta[i]);
    }
}

/* Absolute counts from each bucket's difference to the one before. */
static bool int_side(const int64_t *differences, struct hist_side *side, struct arena *a)
{
    uint64_t *counts = arena_array(a, side->bucket_count, sizeof *counts), sum = 0;

    for (size_t i = 0; counts && i < side->bucket_count; i++) {
        sum += (uint64_t)differences[i];
        counts[i] = sum;
    }
    side->i = counts;
    return counts != NULL;
}

static int next_ints(struct bits *b, struct int_state *s, bool first, struct arena *a, struct histogram *h, struct err *err)
{
    take_ints(b, s, first, 0, 2);
    if (first)
        s->sum.bits = take(b, 64);
    else
        take_xor(b, &s->sum);
    h->sum = bits_double(s->sum.bits);
    if (!first && histogram_is_stale(h))
        return 0;
    take_ints(b, s, first, 2, s->n);
    h->count.i = (uint64_t)s->number[0];
    h->zero_count.i = (uint64_t)s->number[1];
    if (!int_side(s->number + 2, &h->pos, a) || !int_side(s->number + 2 + h->pos.bucket_count, &h->neg, a))
        return no_memory(err);
    return 0;
}

static int next_floats(struct bits *b, struct xor_state *x, bool first, struct arena *a, struct histogram *h, struct err *err)
{
    size_t n = 3 + (size_t)h->pos.bucket_count + h->neg.bucket_count;
    double *v = arena_array(a, n, sizeof *v);

    if (!v)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        if (i == 3 && !first && is_stale_nan(v[2]))
            break;
        if (first)
            x[i].bits = take(b, 64);
        else
            take_xor(b, &x[i]);
        v[i] = bits_double(x[i].bits);
    }
    h->count.f = v[0];
    h->zero_count.f = v[1];
    h->sum = v[2];
    h->pos.f = v + 3;
    h->neg.f = v + 3 + h->pos.bucket_count;
    return 0;
}

/* As Prometheus hands it out: a stale one has nothing but its sum; resolutions above ours are reduced. */
static int finish(struct histogram *h, struct arena *a, struct err *err)
{
    int rc = 0;

    if (histogram_is_stale(h)) {
        *h = (struct histogram){.is_float = h->is_float, .sum = h->sum};
        return 0;
    }
    if (h->schema > HIST_SCHEMA_MAX)
        rc = histogram_reduce(a, h, HIST_SCHEMA_MAX, h, err);
    if (rc == 0)
        rc = histogram_validate(h, err);
    return rc == RC_INVALID ? err_wrap(err, RC_CORRUPT, "histogram of a Prometheus chunk") : rc;
}

static uint8_t hint_of(uint8_t header, bool first)
{
    switch (header & 0xc0) {
    case 0xc0:
        return HIST_HINT_GAUGE;
    case 0x80:
        return first ? HIST_HINT_RESET : HIST_HINT_UNKNOWN;
    default:
        return HIST_HINT_UNKNOWN;
    }
}

static int decode_histograms(struct bits *b, size_t n, bool is_float, uint8_t header, struct arena *a, struct chunk_columns *c, struct err *err)
{
    struct histogram layout = {.is_float = is_float}, *all = arena_array(a, n, sizeof *all);
    struct int_state ints = {0};
    struct xor_state *floats;
    int64_t delta = 0;
    size_t numbers;
    int rc = all ? take_layout(b, a, &layout, err) : no_memory(err);

    if (rc < 0)
        return rc;
    numbers = 3 + (size_t)layout.pos.bucket_count + layout.neg.bucket_count;
    ints.n = numbers - 1;
    ints.number = arena_array(a, numbers, sizeof *ints.number);
    ints.delta = arena_zalloc(a, numbers * sizeof *ints.delta);
    floats = arena_zalloc(a, numbers * sizeof *floats);
    if (!ints.number || !ints.delta || !floats)
        return no_memory(err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        int64_t word = take_varbit_int(b);

        delta = i ? add(delta, word) : 0;
        c->t[i] = i ? add(c->t[i - 1], delta) : word;
        c->v[i] = 0;
        c->hist[i] = &all[i];
        all[i] = layout;
        all[i].hint = hint_of(header, i == 0);
        rc = is_float ? next_floats(b, floats, i == 0, a, &all[i], err) : next_ints(b, &ints, i == 0, a, &all[i], err);
        CORRUPT_UNLESS(!b->failed, err);
        if (rc == 0)
            rc = finish(&all[i], a, err);
    }
    return rc;
}

static bool rising(const struct chunk_columns *c)
{
    for (size_t i = 1; i < c->n; i++)
        if (c->t[i] <= c->t[i - 1])
            return false;
    return true;
}

int prom_chunk_decode(unsigned encoding, struct str bytes, struct arena *a, struct chunk_columns *ret, struct err *err)
{
    const uint8_t *p = (const uint8_t *)bytes.p;
    size_t front = encoding == PROM_XOR ? 2 : 3;
    struct chunk_columns c = {0};
    struct bits b;
    int rc = 0;

    if (encoding != PROM_XOR && encoding != PROM_HISTOGRAM && encoding != PROM_FLOAT_HISTOGRAM)
        return err_set(err, RC_VERSION, "a Prometheus chunk of encoding %u; known are 1 (XOR), 2 (histogram) and 3 (float histogram)", encoding);
    CORRUPT_UNLESS(bytes.n >= front, err);
    c.n = (size_t)p[0] << 8 | p[1];
    CORRUPT_UNLESS(c.n > 0 && c.n <= bytes.n * 8, err); /* a sample has a bit at least */
    c.t = arena_array(a, c.n, sizeof *c.t);
    c.v = arena_array(a, c.n, sizeof *c.v);
    c.hist = encoding == PROM_XOR ? NULL : arena_array(a, c.n, sizeof *c.hist);
    if (!c.t || !c.v || (encoding != PROM_XOR && !c.hist))
        return no_memory(err);
    b = (struct bits){.p = p + front, .end = p + bytes.n};
    if (encoding == PROM_XOR)
        decode_floats(&b, c.n, &c);
    else
        rc = decode_histograms(&b, c.n, encoding == PROM_FLOAT_HISTOGRAM, p[2], a, &c, err);
    if (rc < 0)
        return rc;
    CORRUPT_UNLESS(!b.failed && rising(&c), err);
    *ret = c;
    return 0;
}
