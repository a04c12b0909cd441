#include "common/wire/push.h"
#include "common/wire/pb_arena.h"
#include "common/wire/torc.pb-c.h"

/* --- building --- */

#define EACH_COLUMN(b, do)                                                                         \
    do(&(b)->fps) do(&(b)->offsets) do(&(b)->values) do(&(b)->starts) do(&(b)->series)             \
        do(&(b)->histograms) do(&(b)->exemplars) do(&(b)->metadata)

void push_batch_init(struct push_batch *b, size_t bytes_max)
{
    *b = (struct push_batch){0};
#define INIT(col) buf_init(col, bytes_max);
    EACH_COLUMN(b, INIT)
#undef INIT
}

void push_batch_fini(struct push_batch *b)
{
#define FINI(col) buf_fini(col);
    EACH_COLUMN(b, FINI)
#undef FINI
}

void push_batch_clear(struct push_batch *b)
{
#define CLEAR(col) buf_clear(col);
    EACH_COLUMN(b, CLEAR)
#undef CLEAR
    b->rows = b->histogram_rows = b->exemplar_rows = b->metadata_rows = b->series_rows = 0;
    b->has_base = b->has_starts = false;
}

/* The first row sits in the middle of the range, so that slightly older ones fit too. */
enum { BASE_SLACK_MS = 1 << 30 };

bool push_batch_fits(const struct push_batch *b, int64_t t)
{
    return !b->has_base || (t >= b->base_ms && t - b->base_ms <= (int64_t)UINT32_MAX);
}

void push_batch_oldest(struct push_batch *b, int64_t t)
{
    ASSERT(!b->has_base);
    b->base_ms = t;
    b->has_base = true;
}

size_t push_batch_bytes(const struct push_batch *b)
{
    size_t n = 0;

#define ADD(col) n = buf_ok(col) && n < SIZE_MAX ? n + (col)->n : SIZE_MAX;
    EACH_COLUMN(b, ADD)
#undef ADD
    return n;
}

void push_batch_reserve(struct push_batch *b, uint32_t rows)
{
    buf_reserve(&b->fps, (size_t)rows * 16);
    buf_reserve(&b->offsets, (size_t)rows * 4);
    buf_reserve(&b->values, (size_t)rows * 8);
}

static void put_fp(struct buf *out, fingerprint fp)
{
    if (LIKELY(buf_reserve(out, 16))) {
        le_put64(out->p + out->n, fp.hi);
        le_put64(out->p + out->n + 8, fp.lo);
        out->n += 16;
    }
}

static void put_u32(struct buf *out, uint32_t v)
{
    if (LIKELY(buf_reserve(out, 4))) {
        le_put32(out->p + out->n, v);
        out->n += 4;
    }
}

static void put_u64(struct buf *out, uint64_t v)
{
    if (LIKELY(buf_reserve(out, 8))) {
        le_put64(out->p + out->n, v);
        out->n += 8;
    }
}

void push_batch_float(struct push_batch *b, fingerprint fp, int64_t t, uint64_t vbits, int64_t st)
{
    if (UNLIKELY(!b->has_base)) {
        b->base_ms = t > INT64_MIN + BASE_SLACK_MS ? t - BASE_SLACK_MS : INT64_MIN;
        b->has_base = true;
    }
    ASSERT(push_batch_fits(b, t));
    if (UNLIKELY(st != 0 && !b->has_starts)) {
        /* Rows so far had none. */
        buf_space(&b->starts, (size_t)b->rows * 8);
        b->has_starts = true;
    }
    put_fp(&b->fps, fp);
    put_u32(&b->offsets, (uint32_t)(t - b->base_ms));
    put_u64(&b->values, vbits);
    if (UNLIKELY(b->has_starts))
        buf_u64(&b->starts, (uint64_t)st);
    b->rows++;
}

void push_batch_histogram(struct push_batch *b, fingerprint fp, int64_t t, int64_t st, const struct histogram *h)
{
    struct buf one;

    put_fp(&b->histograms, fp);
    buf_svarint(&b->histograms, t);
    buf_svarint(&b->histograms, st);
    buf_init(&one, b->histograms.max);
    histogram_encode(&one, h);
    buf_lstr(&b->histograms, buf_view(&one));
    b->histograms.failed |= one.failed;
    buf_fini(&one);
    b->histogram_rows++;
}

void push_batch_exemplar(struct push_batch *b, fingerprint fp, int64_t t, double v, const struct labels *ls)
{
    put_fp(&b->exemplars, fp);
    buf_svarint(&b->exemplars, t);
    buf_u64(&b->exemplars, double_bits(v));
    labels_encode(&b->exemplars, ls);
    b->exemplar_rows++;
}

void push_batch_metadata(struct push_batch *b, struct str metric, uint8_t type, struct str help, struct str unit)
{
    buf_lstr(&b->metadata, metric);
    buf_u8(&b->metadata, type);
    buf_lstr(&b->metadata, help);
    buf_lstr(&b->metadata, unit);
    b->metadata_rows++;
}

void push_batch_series(struct push_batch *b, fingerprint fp, const struct labels *ls)
{
    put_fp(&b->series, fp);
    labels_encode(&b->series, ls);
    b->series_rows++;
}

void push_batch_series_encoded(struct push_batch *b, fingerprint fp, struct str labels_encoded)
{
    put_fp(&b->series, fp);
    buf_str(&b->series, labels_encoded);
    b->series_rows++;
}

static ProtobufCBinaryData column(const struct buf *b)
{
    return pb_bytes(buf_view(b));
}

int push_batch_encode(const struct push_batch *b, const struct push_header *h, struct buf *out, struct err *err)
{
    Torc__Wire__PushRequest m = TORC__WIRE__PUSH_REQUEST__INIT;
    bool ok = true;

#define OK(col) ok &= buf_ok(col);
    EACH_COLUMN(b, OK)
#undef OK
    if (!ok)
        return err_set(err, RC_LIMIT, "push batch of %u rows is larger than %zu bytes", b->rows, b->fps.max);
    m.version = PUSH_VERSION;
    m.tenant = pb_bytes(h->tenant);
    m.ring_version = h->ring_version;
    m.head_id = h->head_id;
    m.flags = h->flags;
    m.gap_until_ms = h->gap_until_ms;
    m.rows = b->rows;
    m.fingerprints = column(&b->fps);
    m.base_ms = b->base_ms;
    m.offsets = column(&b->offsets);
    m.values = column(&b->values);
    m.starts = column(&b->starts);
    m.series = column(&b->series);
    m.series_rows = b->series_rows;
    m.histograms = column(&b->histograms);
    m.histogram_rows = b->histogram_rows;
    m.exemplars = column(&b->exemplars);
    m.exemplar_rows = b->exemplar_rows;
    m.metadata = column(&b->metadata);
    m.metadata_rows = b->metadata_rows;
    if (!pb_pack(&m.base, out))
        return err_set(err, RC_LIMIT, "push message is larger than %zu bytes", out->max);
    return 0;
}

/* --- reading --- */

int push_view_decode(struct str payload, struct arena *a, struct push_view *ret, struct err *err)
{
    ProtobufCAllocator *al = pb_arena_allocator(a);
    Torc__Wire__PushRequest *m = al ? torc__wire__push_request__unpack(al, payload.n, (const uint8_t *)payload.p) : NULL;

    if (!m)
        return err_set(err, RC_CORRUPT, "push message of %zu bytes does not decode", payload.n);
    if (m->version != PUSH_VERSION)
        return err_set(err, RC_VERSION, "push message version %u, this binary reads %d", m->version, PUSH_VERSION);
    CORRUPT_UNLESS(m->rows <= PUSH_ROWS_MAX && m->histogram_rows <= PUSH_ROWS_MAX, err);
    CORRUPT_UNLESS(m->fingerprints.len == (size_t)m->rows * 16 && m->offsets.len == (size_t)m->rows * 4, err);
    CORRUPT_UNLESS(m->values.len == (size_t)m->rows * 8, err);
    CORRUPT_UNLESS(m->starts.len == 0 || m->starts.len == (size_t)m->rows * 8, err);
    CORRUPT_UNLESS(m->base_ms <= INT64_MAX - (int64_t)UINT32_MAX, err);
    CORRUPT_UNLESS(!(m->flags & PUSH_STANDBY) || m->gap_until_ms != 0, err);
    *ret = (struct push_view){
        .header = {pb_str(m->tenant), m->ring_version, m->head_id, m->flags, m->gap_until_ms},
        .rows = m->rows,
        .histogram_rows = m->histogram_rows,
        .exemplar_rows = m->exemplar_rows,
        .metadata_rows = m->metadata_rows,
        .series_rows = m->series_rows,
        .base_ms = m->base_ms,
        .fps = m->fingerprints.data,
        .offsets = m->offsets.data,
        .values = m->values.data,
        .starts = m->starts.len ? m->starts.data : NULL,
        .series = pb_str(m->series),
        .histograms = pb_str(m->histograms),
        .exemplars = pb_str(m->exemplars),
        .metadata = pb_str(m->metadata),
    };
    return 0;
}

static bool take_fp(struct rd *r, fingerprint *ret)
{
    const uint8_t *p = rd_take(r, 16);

    if (p)
        *ret = push_fp(p);
    return p != NULL;
}

int push_series_next(struct rd *r, struct arena *a, fingerprint *ret_fp, struct labels *ret, struct err *err)
{
    int rc;

    if (rd_done(r))
        return 0;
    CORRUPT_UNLESS(take_fp(r, ret_fp), err);
    rc = labels_decode(r, a, ret, err);
    return rc < 0 ? rc : 1;
}

int push_histogram_next(struct rd *r, struct arena *a, fingerprint *ret_fp, int64_t *ret_t, int64_t *ret_st,
                        struct histogram *ret, struct err *err)
{
    struct str bytes;
    struct rd one;
    int rc;

    if (rd_done(r))
        return 0;
    CORRUPT_UNLESS(take_fp(r, ret_fp), err);
    *ret_t = rd_svarint(r);
    *ret_st = rd_svarint(r);
    bytes = rd_lstr(r);
    CORRUPT_UNLESS(rd_ok(r), err);
    one = rd_of(bytes);
    rc = histogram_decode(&one, a, ret, err);
    if (rc < 0)
        return rc;
    CORRUPT_UNLESS(rd_done(&one), err);
    return 1;
}

int push_exemplar_next(struct rd *r, struct arena *a, fingerprint *ret_fp, int64_t *ret_t, double *ret_v,
                       struct labels *ret, struct err *err)
{
    int rc;

    if (rd_done(r))
        return 0;
    CORRUPT_UNLESS(take_fp(r, ret_fp), err);
    *ret_t = rd_svarint(r);
    *ret_v = bits_double(rd_u64(r));
    CORRUPT_UNLESS(rd_ok(r), err);
    rc = labels_decode(r, a, ret, err);
    return rc < 0 ? rc : 1;
}

int push_metadata_next(struct rd *r, struct push_metadata *ret, struct err *err)
{
    if (rd_done(r))
        return 0;
    ret->metric = rd_lstr(r);
    ret->type = rd_u8(r);
    ret->help = rd_lstr(r);
    ret->unit = rd_lstr(r);
    CORRUPT_UNLESS(rd_ok(r), err);
    return 1;
}

/* --- answer --- */

int push_answer_encode(const struct push_answer *an, struct buf *out, struct err *err)
{
    Torc__Wire__PushResponse m = TORC__WIRE__PUSH_RESPONSE__INIT;
    Torc__Wire__PushRefusal rows[PUSH_REFUSALS_MAX], *list[PUSH_REFUSALS_MAX];

    ASSERT(an->refusal_count <= PUSH_REFUSALS_MAX);
    for (size_t i = 0; i < an->refusal_count; i++) {
        torc__wire__push_refusal__init(&rows[i]);
        rows[i].row = an->refusals[i].row;
        rows[i].text = pb_bytes(an->refusals[i].text);
        list[i] = &rows[i];
    }
    m.version = PUSH_VERSION;
    m.head_id = an->head_id;
    m.ring_version = an->ring_version;
    m.verdicts = (ProtobufCBinaryData){an->verdicts ? an->verdict_count : 0, (uint8_t *)(uintptr_t)an->verdicts};
    m.n_refusals = an->refusal_count;
    m.refusals = list;
    if (!pb_pack(&m.base, out))
        return err_set(err, RC_LIMIT, "push answer is larger than %zu bytes", out->max);
    return 0;
}

int push_answer_decode(struct str payload, struct arena *a, struct push_answer *ret, struct err *err)
{
    ProtobufCAllocator *al = pb_arena_allocator(a);
    Torc__Wire__PushResponse *m = al ? torc__wire__push_response__unpack(al, payload.n, (const uint8_t *)payload.p) : NULL;
    struct push_refusal *refusals;

    if (!m)
        return err_set(err, RC_CORRUPT, "push answer of %zu bytes does not decode", payload.n);
    if (m->version != PUSH_VERSION)
        return err_set(err, RC_VERSION, "push answer version %u, this binary reads %d", m->version, PUSH_VERSION);
    CORRUPT_UNLESS(m->n_refusals <= PUSH_REFUSALS_MAX, err);
    refusals = arena_array(a, m->n_refusals, sizeof *refusals);
    if (!refusals)
        return err_set(err, RC_NOMEM, "push answer: memory budget is spent");
    for (size_t i = 0; i < m->n_refusals; i++)
        refusals[i] = (struct push_refusal){m->refusals[i]->row, pb_str(m->refusals[i]->text)};
    *ret = (struct push_answer){
        .head_id = m->head_id,
        .ring_version = m->ring_version,
        .verdicts = m->verdicts.len ? m->verdicts.data : NULL,
        .verdict_count = m->verdicts.len,
        .refusals = refusals,
        .refusal_count = m->n_refusals,
    };
    return 0;
}
