/* Canonical bytes of a histogram, the form that is hashed, stored and sent between our own
 * processes: u8 version (1) | u8 flags: 0 float, 1-2 hint, 3 custom bounds present | svarint schema
 * | u64 bits of zero threshold | u64 bits of sum count, zero count, then the sides positive,
 * negative, then if flag 3: uvarint bound count (> 0), u64 bits each side: uvarint span count, per
 * span svarint offset, uvarint length; then its buckets, as many as the lengths sum up to counts:
 * integer as uvarint, buckets as svarint difference mod 2^64 to the bucket before; float as uvarint
 * of its bits in reversed byte order, which is short for the small whole numbers that counts mostly
 * are Varints are minimal, so that equal histograms have equal bytes and only those. */
#include "common/model/histogram.h"

enum { HIST_ENCODE_VERSION = 1 };
enum { FLAG_FLOAT = 1, FLAG_HINT_SHIFT = 1, FLAG_HINT_MASK = 3, FLAG_CUSTOM = 8, FLAGS_ALL = 15 };

static void put_float(struct buf *out, double v)
{
    buf_uvarint(out, __builtin_bswap64(double_bits(v)));
}

static void put_side(struct buf *out, const struct hist_side *side, bool is_float)
{
    uint64_t prev = 0;

    ASSERT(side->span_count <= HIST_SPANS_MAX && side->bucket_count <= HIST_BUCKETS_MAX);
    buf_uvarint(out, side->span_count);
    for (uint32_t i = 0; i < side->span_count; i++) {
        buf_svarint(out, side->spans[i].offset);
        buf_uvarint(out, side->spans[i].length);
    }
    for (uint32_t i = 0; i < side->bucket_count; i++) {
        if (is_float) {
            put_float(out, side->f[i]);
            continue;
        }
        buf_svarint(out, (int64_t)(side->i[i] - prev));
        prev = side->i[i];
    }
}

void histogram_encode(struct buf *out, const struct histogram *h)
{
    bool custom = h->custom_count > 0;

    ASSERT(h->hint <= FLAG_HINT_MASK && h->custom_count <= HIST_CUSTOM_MAX);
    buf_u8(out, HIST_ENCODE_VERSION);
    buf_u8(out, (uint8_t)((h->is_float ? FLAG_FLOAT : 0) | h->hint << FLAG_HINT_SHIFT |
                          (custom ? FLAG_CUSTOM : 0)));
    buf_svarint(out, h->schema);
    buf_u64(out, double_bits(h->zero_threshold));
    buf_u64(out, double_bits(h->sum));
    if (h->is_float) {
        put_float(out, h->count.f);
        put_float(out, h->zero_count.f);
    } else {
        buf_uvarint(out, h->count.i);
        buf_uvarint(out, h->zero_count.i);
    }
    put_side(out, &h->pos, h->is_float);
    put_side(out, &h->neg, h->is_float);
    if (custom) {
        buf_uvarint(out, h->custom_count);
        for (uint32_t i = 0; i < h->custom_count; i++)
            buf_u64(out, double_bits(h->custom[i]));
    }
}

static uint64_t get_uvarint(struct rd *r)
{
    const uint8_t *from = r->p;
    uint64_t v = rd_uvarint(r);

    if (!r->failed && r->p - from > 1 && r->p[-1] == 0)
        r->failed = true; /* longer than it need be */
    return r->failed ? 0 : v;
}

static double get_float(struct rd *r)
{
    return bits_double(__builtin_bswap64(get_uvarint(r)));
}

/* The spans, and the number of buckets that they need. */
static int get_spans(struct rd *r, struct arena *a, struct hist_side *ret, struct err *err)
{
    uint64_t count = get_uvarint(r), buckets = 0;
    int64_t index = 0;
    struct hist_span *spans;

    CORRUPT_UNLESS(rd_ok(r) && count <= HIST_SPANS_MAX && count <= rd_left(r) / 2, err);
    spans = arena_array(a, count, sizeof *spans);
    if (!spans)
        return err_set(err, RC_NOMEM, "histogram: no memory for %u spans", (unsigned)count);
    for (uint64_t i = 0; i < count; i++) {
        int64_t offset = unzigzag(get_uvarint(r));
        uint64_t length = get_uvarint(r);

        CORRUPT_UNLESS(rd_ok(r) && length <= HIST_BUCKETS_MAX &&
                           offset >= (i == 0 ? -HIST_INDEX_MAX : 0),
                       err);
        CORRUPT_UNLESS(offset <= HIST_INDEX_MAX, err);
        index += offset + (int64_t)length;
        buckets += length;
        CORRUPT_UNLESS(index <= HIST_INDEX_MAX && buckets <= HIST_BUCKETS_MAX, err);
        spans[i] = (struct hist_span){(int32_t)offset, (uint32_t)length};
    }
    *ret = (struct hist_side){
        .spans = spans, .span_count = (uint32_t)count, .bucket_count = (uint32_t)buckets};
    return 0;
}

static int get_side(struct rd *r, struct arena *a, bool is_float, struct hist_side *ret,
                    struct err *err)
{
    uint64_t *counts, prev = 0;
    int rc = get_spans(r, a, ret, err);

    if (rc < 0)
        return rc;
    CORRUPT_UNLESS(ret->bucket_count <= rd_left(r), err);
    counts = arena_array(a, ret->bucket_count, sizeof *counts);
    if (!counts)
        return err_set(err, RC_NOMEM, "histogram: no memory for %u buckets",
                       (unsigned)ret->bucket_count);
    for (uint32_t i = 0; i < ret->bucket_count; i++) {
        if (is_float)
            counts[i] = double_bits(get_float(r));
        else
            counts[i] = prev += (uint64_t)unzigzag(get_uvarint(r));
    }
    CORRUPT_UNLESS(rd_ok(r), err);
    if (is_float)
        ret->f = (const double *)counts;
    else
        ret->i = counts;
    return 0;
}

static int get_custom(struct rd *r, struct arena *a, struct histogram *h, struct err *err)
{
    uint64_t count = get_uvarint(r);
    double *bounds;

    CORRUPT_UNLESS(rd_ok(r) && count > 0 && count <= HIST_CUSTOM_MAX && count <= rd_left(r) / 8,
                   err);
    bounds = arena_array(a, count, sizeof *bounds);
    if (!bounds)
        return err_set(err, RC_NOMEM, "histogram: no memory for %u bounds", (unsigned)count);
    for (uint64_t i = 0; i < count; i++)
        bounds[i] = bits_double(rd_u64(r));
    h->custom = bounds;
    h->custom_count = (uint32_t)count;
    return 0;
}

int histogram_decode(struct rd *r, struct arena *a, struct histogram *ret, struct err *err)
{
    struct histogram h = {0};
    uint8_t version = rd_u8(r), flags = rd_u8(r);
    int64_t schema = unzigzag(get_uvarint(r));
    int rc;

    CORRUPT_UNLESS(rd_ok(r) && version == HIST_ENCODE_VERSION && (flags & ~FLAGS_ALL) == 0, err);
    CORRUPT_UNLESS(schema == HIST_CUSTOM_SCHEMA ||
                       (schema >= HIST_SCHEMA_MIN && schema <= HIST_SCHEMA_MAX),
                   err);
    h.is_float = flags & FLAG_FLOAT;
    h.hint = flags >> FLAG_HINT_SHIFT & FLAG_HINT_MASK;
    h.schema = (int32_t)schema;
    h.zero_threshold = bits_double(rd_u64(r));
    h.sum = bits_double(rd_u64(r));
    if (h.is_float) {
        h.count.f = get_float(r);
        h.zero_count.f = get_float(r);
    } else {
        h.count.i = get_uvarint(r);
        h.zero_count.i = get_uvarint(r);
    }
    CORRUPT_UNLESS(rd_ok(r), err);
    rc = get_side(r, a, h.is_float, &h.pos, err);
    if (rc == 0)
        rc = get_side(r, a, h.is_float, &h.neg, err);
    if (rc == 0 && (flags & FLAG_CUSTOM))
        rc = get_custom(r, a, &h, err);
    if (rc == 0)
        *ret = h;
    return rc;
}

static bool words_eq(const void *a, const void *b, size_t n)
{
    return n == 0 || memcmp(a, b, n) == 0;
}

static bool side_eq(const struct hist_side *a, const struct hist_side *b)
{
    return a->span_count == b->span_count && a->bucket_count == b->bucket_count &&
           words_eq(a->spans, b->spans, a->span_count * sizeof *a->spans) &&
           words_eq(a->i, b->i, a->bucket_count * sizeof *a->i);
}

bool histogram_eq(const struct histogram *a, const struct histogram *b)
{
    return a->is_float == b->is_float && a->hint == b->hint && a->schema == b->schema &&
           a->custom_count == b->custom_count &&
           double_bits(a->zero_threshold) == double_bits(b->zero_threshold) &&
           double_bits(a->sum) == double_bits(b->sum) && a->count.i == b->count.i &&
           a->zero_count.i == b->zero_count.i && side_eq(&a->pos, &b->pos) &&
           side_eq(&a->neg, &b->neg) &&
           words_eq(a->custom, b->custom, a->custom_count * sizeof *a->custom);
}

struct u128 histogram_hash(const struct histogram *h)
{
    struct buf bytes;
    struct u128 hash;

    buf_init(&bytes, SIZE_MAX);
    histogram_encode(&bytes, h);
    ASSERT(buf_ok(&bytes)); /* bounded by HIST_*_MAX to a few MiB */
    hash = hash128(bytes.p, bytes.n, 0);
    buf_fini(&bytes);
    return hash;
}

static bool side_dup(struct arena *a, struct hist_side *side)
{
    side->spans = arena_dup(a, side->spans, side->span_count * sizeof *side->spans);
    side->i = arena_dup(a, side->i, side->bucket_count * sizeof *side->i);
    return side->spans && side->i;
}

bool histogram_dup(struct arena *a, const struct histogram *h, struct histogram *ret)
{
    struct histogram copy = *h;

    if (!side_dup(a, &copy.pos) || !side_dup(a, &copy.neg))
        return false;
    copy.custom = arena_dup(a, copy.custom, copy.custom_count * sizeof *copy.custom);
    if (!copy.custom)
        return false;
    *ret = copy;
    return true;
}
