#include "querier/read_answer.h"

#include "common/base/hash.h"
#include "tsdb/prom_chunk.h"
#include "tsdb/window.h"

/* --- protobuf --- */

enum { PB_VARINT = 0, PB_64 = 1, PB_BYTES = 2, LENGTH_BYTES = 4 };

static void put_tag(struct buf *out, unsigned field, unsigned type)
{
    buf_uvarint(out, field << 3 | type);
}

static void put_int(struct buf *out, unsigned field, int64_t v)
{
    if (v == 0)
        return;
    put_tag(out, field, PB_VARINT);
    buf_uvarint(out, (uint64_t)v);
}

static void put_sint(struct buf *out, unsigned field, int64_t v)
{
    if (v == 0)
        return;
    put_tag(out, field, PB_VARINT);
    buf_svarint(out, v);
}

static void put_double(struct buf *out, unsigned field, double v)
{
    put_tag(out, field, PB_64);
    buf_u64(out, double_bits(v));
}

static void put_bytes(struct buf *out, unsigned field, struct str v)
{
    put_tag(out, field, PB_BYTES);
    buf_lstr(out, v);
}

/* A message whose length is known at its end: room for it is left in front, as a varint of fixed width. */
static size_t nested_begin(struct buf *out, unsigned field)
{
    put_tag(out, field, PB_BYTES);
    buf_add(out, (char[LENGTH_BYTES]){0}, LENGTH_BYTES);
    return out->n;
}

static void nested_end(struct buf *out, size_t at)
{
    size_t n = out->n - at;

    if (n >= 1U << (7 * LENGTH_BYTES))
        out->failed = true;
    for (size_t i = 0; i < LENGTH_BYTES && buf_ok(out); i++)
        out->p[at - LENGTH_BYTES + i] = (char)((n >> (7 * i) & 0x7f) | (i + 1 < LENGTH_BYTES ? 0x80 : 0));
}

static void put_labels(struct buf *out, unsigned field, const struct labels *ls)
{
    for (size_t i = 0; i < ls->n; i++) {
        size_t at = nested_begin(out, field);

        put_bytes(out, 1, ls->v[i].name);
        put_bytes(out, 2, ls->v[i].value);
        nested_end(out, at);
    }
}

/* --- samples --- */

static void put_sample(struct buf *out, int64_t t, double v)
{
    size_t at = nested_begin(out, 2);

    put_double(out, 1, v);
    put_int(out, 2, t);
    nested_end(out, at);
}

static void put_doubles(struct buf *out, unsigned field, const double *v, size_t n)
{
    if (n == 0)
        return;
    put_tag(out, field, PB_BYTES);
    buf_uvarint(out, n * 8);
    for (size_t i = 0; i < n; i++)
        buf_u64(out, double_bits(v[i]));
}

static void put_side(struct buf *out, unsigned spans_field, const struct hist_side *s)
{
    for (uint32_t i = 0; i < s->span_count; i++) {
        size_t at = nested_begin(out, spans_field);

        put_sint(out, 1, s->spans[i].offset);
        put_int(out, 2, s->spans[i].length);
        nested_end(out, at);
    }
    put_doubles(out, spans_field + 2, s->f, s->bucket_count);
}

static void put_histogram(struct buf *out, int64_t t, const struct histogram *h)
{
    size_t at = nested_begin(out, 4);

    ASSERT(h->is_float);
    put_double(out, 2, h->count.f);
    put_double(out, 3, h->sum);
    put_sint(out, 4, h->schema);
    put_double(out, 5, h->zero_threshold);
    put_double(out, 7, h->zero_count.f);
    put_side(out, 8, &h->neg);
    put_side(out, 11, &h->pos);
    put_int(out, 14, h->hint);
    put_int(out, 15, t);
    put_doubles(out, 16, h->custom, h->custom_count);
    nested_end(out, at);
}

void read_put_series(struct buf *out, const struct labels *ls, const struct columns *c)
{
    size_t at = nested_begin(out, 1);

    put_labels(out, 1, ls);
    for (size_t i = 0; i < c->n && buf_ok(out); i++)
        if (!c->hist || !c->hist[i])
            put_sample(out, c->t[i], c->v[i]);
    for (size_t i = 0; c->hist && i < c->n && buf_ok(out); i++)
        if (c->hist[i])
            put_histogram(out, c->t[i], c->hist[i]);
    nested_end(out, at);
}

/* --- chunks --- */

/* How many samples from i on go into one chunk: as in a Prometheus, none crosses a block bound. */
static size_t chunk_run(const struct columns *c, size_t i)
{
    int64_t end = floor_to(c->t[i], BLOCK_RANGE_MS) + BLOCK_RANGE_MS;
    size_t n = 1;

    while (i + n < c->n && n < PROM_CHUNK_SAMPLES_MAX && c->t[i + n] < end && (c->hist && c->hist[i + n]) == (c->hist && c->hist[i]))
        n++;
    return c->hist && c->hist[i] ? prom_chunk_run(c->hist + i, n) : n;
}

/* Field 2 of a ChunkedSeries: samples [i, i + n). */
static void put_chunk(struct buf *out, const struct columns *c, size_t i, size_t n)
{
    bool hist = c->hist && c->hist[i];
    size_t at = nested_begin(out, 2), data;

    put_int(out, 1, c->t[i]);
    put_int(out, 2, c->t[i + n - 1]);
    put_int(out, 3, hist ? PROM_FLOAT_HISTOGRAM : PROM_XOR);
    data = nested_begin(out, 4);
    if (hist)
        prom_chunk_histograms(out, c->t + i, c->hist + i, n);
    else
        prom_chunk_floats(out, c->t + i, c->v + i, n);
    nested_end(out, data);
    nested_end(out, at);
}

static void put_frame(struct buf *out, struct str message)
{
    uint32_t crc = crc32c(0, message.p, message.n);

    buf_uvarint(out, message.n);
    for (int shift = 24; shift >= 0; shift -= 8)
        buf_u8(out, (uint8_t)(crc >> shift));
    buf_str(out, message);
}

void read_put_frames(struct buf *out, struct buf *scratch, const struct labels *ls, const struct columns *c, size_t query)
{
    size_t i = 0;

    while (i < c->n && buf_ok(out)) {
        size_t at, first;

        buf_clear(scratch);
        at = nested_begin(scratch, 1);
        put_labels(scratch, 1, ls);
        first = scratch->n;
        while (i < c->n && scratch->n - first < READ_FRAME_BYTES && buf_ok(scratch)) {
            size_t n = chunk_run(c, i);

            put_chunk(scratch, c, i, n);
            i += n;
        }
        nested_end(scratch, at);
        put_int(scratch, 2, (int64_t)query);
        out->failed |= !buf_ok(scratch);
        put_frame(out, buf_view(scratch));
    }
}
