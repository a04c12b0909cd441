/* write_histogram.c - the Histogram message of Remote Write (fields 1 to 16, and 17 in 2.0): deltas become absolute counts. */
#include "distributor/pb_scan.h"
#include "distributor/write_request.h"

struct side_fields {
    struct hist_span *spans;
    size_t span_count, span_cap;
    uint64_t *deltas;  /* zigzag varints as they stand, then absolute counts */
    size_t delta_count, delta_cap;
    uint64_t *counts;  /* float bits */
    size_t count_count, count_cap;
};
struct hist_fields {
    struct side_fields pos, neg;
    uint64_t *custom;
    size_t custom_count, custom_cap;
    bool count_float, zero_float;
    int64_t t, st;
};

static int grow(struct arena *a, void **list, size_t n, size_t *cap, size_t size, struct err *err)
{
    void *more;
    size_t want = *cap ? *cap * 2 : 8;

    if (n < *cap)
        return 0;
    if (n >= HIST_BUCKETS_MAX)
        return err_set(err, RC_UNSUPPORTED, "native histogram with more than %d buckets", HIST_BUCKETS_MAX);
    more = arena_array(a, want, size);
    if (!more)
        return err_set(err, RC_LIMIT, "native histograms: the request's memory budget is spent");
    if (n)
        memcpy(more, *list, n * size);
    *list = more;
    *cap = want;
    return 0;
}

static int push_u64(struct arena *a, uint64_t **list, size_t *n, size_t *cap, uint64_t v, struct err *err)
{
    void *p = *list;
    int rc = grow(a, &p, *n, cap, sizeof **list, err);

    *list = p;
    if (rc == 0)
        (*list)[(*n)++] = v;
    return rc;
}

/* A repeated number, packed or not. */
static int numbers(struct arena *a, const struct pb_field *f, enum pb_wire wire, uint64_t **list, size_t *n, size_t *cap, struct err *err)
{
    struct rd r;
    int rc = 0;

    if (f->wire == wire)
        return push_u64(a, list, n, cap, f->value, err);
    if (f->wire != PB_BYTES)
        return 0;
    r = rd_of(f->bytes);
    while (rc == 0 && r.p < r.end && !r.failed)
        rc = push_u64(a, list, n, cap, wire == PB_VARINT ? rd_uvarint(&r) : rd_u64(&r), err);
    if (rc == 0 && r.failed)
        rc = err_set(err, RC_INVALID, "malformed protobuf: packed field %u ends early", f->number);
    return rc;
}

/* A longer varint is cut to 32 bits before the zigzag is undone, as protobuf has it. */
static int32_t sint32(uint64_t varint)
{
    return (int32_t)unzigzag((uint32_t)varint);
}

static int span_add(struct arena *a, struct str message, struct side_fields *side, struct err *err)
{
    struct rd r = rd_of(message);
    struct hist_span span = {0, 0};
    struct pb_field f;
    void *p = side->spans;
    int rc;

    while ((rc = pb_next(&r, &f, err)) > 0) {
        if (pb_is(&f, 1, PB_VARINT))
            span.offset = sint32(f.value);
        else if (pb_is(&f, 2, PB_VARINT))
            span.length = (uint32_t)f.value;
    }
    if (rc == 0)
        rc = grow(a, &p, side->span_count, &side->span_cap, sizeof span, err);
    side->spans = p;
    if (rc == 0)
        side->spans[side->span_count++] = span;
    return rc;
}

/* Deltas (zigzag) to absolute counts; a sum that leaves uint64's positive range is refused, not wrapped. */
static int undelta(struct side_fields *s, const char *name, struct err *err)
{
    int64_t at = 0;

    for (size_t i = 0; i < s->delta_count; i++) {
        if (__builtin_add_overflow(at, unzigzag(s->deltas[i]), &at) || at < 0)
            return err_set(err, RC_UNSUPPORTED, "%s side: bucket number %zu has observation count of %lld: "
                           "histogram has a bucket whose observation count is negative", name, i + 1, (long long)at);
        s->deltas[i] = (uint64_t)at;
    }
    return 0;
}

static int side_finish(struct side_fields *s, bool is_float, const char *name, struct hist_side *ret, struct err *err)
{
    int rc = 0;

    if ((is_float && s->delta_count) || (!is_float && s->count_count))
        return err_set(err, RC_UNSUPPORTED, "%s side: a %s histogram carries bucket %s", name, is_float ? "float" : "integer",
                       is_float ? "deltas" : "counts");
    if (!is_float)
        rc = undelta(s, name, err);
    if (rc < 0)
        return rc;
    ret->spans = s->spans;
    ret->span_count = (uint32_t)s->span_count;
    if (is_float) {
        ret->f = (const double *)s->counts;
        ret->bucket_count = (uint32_t)s->count_count;
    } else {
        ret->i = s->deltas;
        ret->bucket_count = (uint32_t)s->delta_count;
    }
    return 0;
}

static int field_take(struct arena *a, const struct pb_field *f, struct hist_fields *x, struct histogram *h, struct err *err)
{
    switch (f->number) {
    case 1: case 2:
        if (f->wire == (f->number == 1 ? PB_VARINT : PB_FIXED64)) {
            x->count_float = f->number == 2;
            h->count.i = f->value;
        }
        return 0;
    case 3:
        if (f->wire == PB_FIXED64)
            h->sum = bits_double(f->value);
        return 0;
    case 4:
        if (f->wire == PB_VARINT)
            h->schema = sint32(f->value);
        return 0;
    case 5:
        if (f->wire == PB_FIXED64)
            h->zero_threshold = bits_double(f->value);
        return 0;
    case 6: case 7:
        if (f->wire == (f->number == 6 ? PB_VARINT : PB_FIXED64)) {
            x->zero_float = f->number == 7;
            h->zero_count.i = f->value;
        }
        return 0;
    case 8: case 11:
        return f->wire == PB_BYTES ? span_add(a, f->bytes, f->number == 8 ? &x->neg : &x->pos, err) : 0;
    case 9:
        return numbers(a, f, PB_VARINT, &x->neg.deltas, &x->neg.delta_count, &x->neg.delta_cap, err);
    case 10:
        return numbers(a, f, PB_FIXED64, &x->neg.counts, &x->neg.count_count, &x->neg.count_cap, err);
    case 12:
        return numbers(a, f, PB_VARINT, &x->pos.deltas, &x->pos.delta_count, &x->pos.delta_cap, err);
    case 13:
        return numbers(a, f, PB_FIXED64, &x->pos.counts, &x->pos.count_count, &x->pos.count_cap, err);
    case 14:
        if (f->wire == PB_VARINT)
            h->hint = f->value <= HIST_HINT_GAUGE ? (uint8_t)f->value : HIST_HINT_UNKNOWN;
        return 0;
    case 15:
        if (f->wire == PB_VARINT)
            x->t = (int64_t)f->value;
        return 0;
    case 16:
        return numbers(a, f, PB_FIXED64, &x->custom, &x->custom_count, &x->custom_cap, err);
    case 17:
        if (f->wire == PB_VARINT)
            x->st = (int64_t)f->value;
        return 0;
    default:
        return 0;
    }
}

static int64_t time_of(struct str message)
{
    struct rd r = rd_of(message);
    struct pb_field f;
    int64_t t = 0;

    while (pb_next(&r, &f, NULL) > 0)
        if (pb_is(&f, 15, PB_VARINT))
            t = (int64_t)f.value;
    return t;
}

static int decode(struct str message, struct arena *a, int64_t *ret_t, int64_t *ret_st, struct histogram *ret, struct err *err)
{
    struct hist_fields x = {0};
    struct histogram h = {0};
    struct rd r = rd_of(message);
    struct pb_field f;
    int rc;

    while ((rc = pb_next(&r, &f, err)) > 0) {
        rc = field_take(a, &f, &x, &h, err);
        if (rc < 0)
            return rc;
    }
    h.is_float = x.count_float;
    if (rc == 0 && x.zero_float != x.count_float && h.zero_count.i != 0)
        rc = err_set(err, RC_UNSUPPORTED, "native histogram mixes integer and float counts");
    if (rc == 0)
        rc = side_finish(&x.pos, h.is_float, "positive", &h.pos, err);
    if (rc == 0)
        rc = side_finish(&x.neg, h.is_float, "negative", &h.neg, err);
    if (rc < 0)
        return rc;
    h.custom = (const double *)x.custom;
    h.custom_count = (uint32_t)x.custom_count;
    /* "No reset" is not trusted from outside, it is derived after merging (design section 6). */
    if (h.hint == HIST_HINT_NOT_RESET)
        h.hint = HIST_HINT_UNKNOWN;
    if (h.schema > HIST_SCHEMA_MAX && h.schema <= HIST_SCHEMA_WIRE_MAX) {
        rc = histogram_reduce(a, &h, HIST_SCHEMA_MAX, &h, err);
        if (rc < 0)
            return rc == RC_NOMEM ? err_set(err, RC_LIMIT, "native histograms: the request's memory budget is spent")
                                  : err_wrap(err, RC_UNSUPPORTED, "schema %d", (int)h.schema);
    }
    *ret_t = x.t;
    *ret_st = x.st;
    *ret = h;
    return 1;
}

int wr_histogram_decode(struct str message, struct arena *a, int64_t *ret_t, int64_t *ret_st, struct histogram *ret, struct err *err)
{
    int rc = decode(message, a, ret_t, ret_st, ret, err);

    if (rc == RC_UNSUPPORTED)
        *ret_t = time_of(message); /* the text about it names it */
    return rc;
}

int wr_started_histogram_next(struct rd *r, struct arena *a, int64_t *ret_t, int64_t *ret_st, struct histogram *ret, struct err *err)
{
    struct pb_field f;
    int rc;

    while ((rc = pb_next(r, &f, err)) > 0)
        if (pb_is(&f, 4, PB_BYTES))
            return wr_histogram_decode(f.bytes, a, ret_t, ret_st, ret, err);
    return rc;
}

int wr_histogram_next(struct rd *r, struct arena *a, int64_t *ret_t, struct histogram *ret, struct err *err)
{
    int64_t st; /* 1.0 has none */

    return wr_started_histogram_next(r, a, ret_t, &st, ret, err);
}
