#include "write.h"

#include <snappy-c.h>
#include <stdlib.h>
#include <uthash.h>

/* Protobuf wire types. */
enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2 };

static void tag(struct buf *b, uint32_t field, uint32_t wire)
{
    buf_uvarint(b, (uint64_t)field << 3 | wire);
}

static void put_varint(struct buf *b, uint32_t field, uint64_t v)
{
    tag(b, field, WIRE_VARINT);
    buf_uvarint(b, v);
}

static void put_double(struct buf *b, uint32_t field, double v)
{
    tag(b, field, WIRE_FIXED64);
    buf_u64(b, double_bits(v));
}

static void put_bytes(struct buf *b, uint32_t field, struct str s)
{
    tag(b, field, WIRE_BYTES);
    buf_uvarint(b, s.n);
    buf_str(b, s);
}

/* Moves a finished inner message into field of b. */
static void put_message(struct buf *b, uint32_t field, struct buf *inner)
{
    ASSERT(buf_ok(inner));
    put_bytes(b, field, buf_view(inner));
    buf_fini(inner);
}

static void put_doubles(struct buf *b, uint32_t field, const double *v, size_t n)
{
    if (n)
        put_bytes(b, field, (struct str){(const char *)v, n * sizeof *v});
}

static void put_side(struct buf *b, uint32_t spans, uint32_t counts, const struct hist_side *side)
{
    for (uint32_t i = 0; i < side->span_count; i++) {
        struct buf span;

        buf_init(&span, 64);
        put_varint(&span, 1, zigzag(side->spans[i].offset));
        put_varint(&span, 2, side->spans[i].length);
        put_message(b, spans, &span);
    }
    put_doubles(b, counts, side->f, side->bucket_count);
}

static void put_histogram(struct buf *b, int64_t t, int64_t st, const struct histogram *h)
{
    ASSERT(h->is_float);
    put_double(b, 2, h->count.f);
    put_double(b, 3, h->sum);
    put_varint(b, 4, zigzag(h->schema));
    put_double(b, 5, h->zero_threshold);
    put_double(b, 7, h->zero_count.f);
    put_side(b, 8, 10, &h->neg);
    put_side(b, 11, 13, &h->pos);
    put_varint(b, 14, h->hint);
    put_varint(b, 15, (uint64_t)t);
    put_doubles(b, 16, h->custom, h->custom_count);
    put_varint(b, 17, (uint64_t)st);
}

/* --- symbols --- */

struct symbol {
    UT_hash_handle hh; /* by its bytes, which the load owns */
    uint32_t ref;
};
struct symbols {
    struct symbol *table;
    struct buf *out; /* the request */
    uint32_t n;
};

static uint32_t symbol_ref(struct symbols *sy, struct str s)
{
    struct symbol *one;

    HASH_FIND(hh, sy->table, s.p, s.n, one);
    if (!one) {
        one = xcalloc(1, sizeof *one);
        one->ref = sy->n++;
        HASH_ADD_KEYPTR(hh, sy->table, s.p, s.n, one);
        put_bytes(sy->out, 4, s);
    }
    return one->ref;
}

static void symbols_fini(struct symbols *sy)
{
    struct symbol *one, *tmp;

    HASH_ITER(hh, sy->table, one, tmp) {
        HASH_DEL(sy->table, one);
        free(one);
    }
}

/* --- series --- */

static void put_refs(struct buf *b, struct symbols *sy, const struct labels *ls)
{
    struct buf refs;

    buf_init(&refs, WRITE_BYTES_MAX);
    for (size_t i = 0; i < ls->n; i++) {
        buf_uvarint(&refs, symbol_ref(sy, ls->v[i].name));
        buf_uvarint(&refs, symbol_ref(sy, ls->v[i].value));
    }
    put_message(b, 1, &refs);
}

static void put_sample(struct buf *b, const struct load_sample *s)
{
    struct buf inner;

    buf_init(&inner, WRITE_BYTES_MAX);
    if (s->h) {
        put_histogram(&inner, s->t, s->st, s->h);
        put_message(b, 3, &inner);
    } else {
        put_double(&inner, 1, s->v);
        put_varint(&inner, 2, (uint64_t)s->t);
        put_varint(&inner, 3, (uint64_t)s->st);
        put_message(b, 2, &inner);
    }
}

/* Its floats or its histograms; nothing when it has none of them. */
static void put_series(struct buf *b, struct symbols *sy, const struct load_series *s, bool histograms)
{
    struct buf inner;
    size_t n = 0;

    buf_init(&inner, WRITE_BYTES_MAX);
    put_refs(&inner, sy, &s->labels);
    for (size_t i = 0; i < s->n; i++) {
        if ((s->s[i].h != NULL) == histograms) {
            put_sample(&inner, &s->s[i]);
            n++;
        }
    }
    if (n)
        put_message(b, 5, &inner);
    else
        buf_fini(&inner);
}

void write_request(struct buf *out, const struct load_series *series, size_t n)
{
    struct buf plain;
    struct symbols sy = {.out = &plain};
    size_t size;
    char *space;

    buf_init(&plain, WRITE_BYTES_MAX);
    symbol_ref(&sy, STR(""));
    for (size_t i = 0; i < n; i++) {
        put_series(&plain, &sy, &series[i], false);
        put_series(&plain, &sy, &series[i], true);
    }
    symbols_fini(&sy);
    ASSERT(buf_ok(&plain));
    size = snappy_max_compressed_length(plain.n);
    space = buf_space(out, size);
    ASSERT(space);
    ASSERT(snappy_compress(plain.p ? plain.p : "", plain.n, space, &size) == SNAPPY_OK);
    out->n = (size_t)(space - out->p) + size;
    buf_fini(&plain);
}
