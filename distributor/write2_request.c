#include "distributor/write2_request.h"
#include "distributor/pb_scan.h"

enum {
    REQUEST_SYMBOLS = 4, REQUEST_TIMESERIES = 5,
    SERIES_REFS = 1, SERIES_SAMPLES = 2, SERIES_HISTOGRAMS = 3, SERIES_EXEMPLARS = 4, SERIES_METADATA = 5, SERIES_CREATED = 6,
    EXEMPLAR_REFS = 1,
};

/* --- symbols --- */

static int symbols_count(struct str request, uint32_t *ret, struct err *err)
{
    struct rd r = rd_of(request);
    struct pb_field f;
    uint32_t n = 0;
    int rc;

    while ((rc = pb_next(&r, &f, err)) > 0)
        n += pb_is(&f, REQUEST_SYMBOLS, PB_BYTES);
    if (rc == 0 && n > W2_SYMBOLS_MAX)
        rc = err_set(err, RC_LIMIT, "%u symbols in one request, at most %d: send smaller requests", n, W2_SYMBOLS_MAX);
    *ret = n;
    return rc;
}

int w2_symbols_scan(struct str request, struct arena *a, struct w2_symbols *ret, struct err *err)
{
    struct rd r = rd_of(request);
    struct pb_field f;
    struct str *v;
    uint32_t n = 0, all;
    int rc = symbols_count(request, &all, err);

    if (rc < 0)
        return rc;
    v = arena_array(a, all, sizeof *v);
    if (!v)
        return err_set(err, RC_LIMIT, "symbols: the request's memory budget is spent");
    while (n < all && pb_next(&r, &f, NULL) > 0)
        if (pb_is(&f, REQUEST_SYMBOLS, PB_BYTES))
            v[n++] = f.bytes;
    ASSERT(n == all);
    *ret = (struct w2_symbols){v, n};
    return 0;
}

/* --- references --- */

static void ref_add(struct w2_refs *refs, uint64_t varint)
{
    if (LIKELY(refs->n < W2_REFS_MAX))
        refs->v[refs->n] = (uint32_t)varint;
    refs->n++;
}

/* One or two bytes as nearly always; any number of them. */
static uint64_t ref_read(struct rd *r)
{
    const uint8_t *p = r->p;

    if (LIKELY(p[0] < 0x80)) {
        r->p = p + 1;
        return p[0];
    }
    if (LIKELY(rd_left(r) >= 2 && p[1] < 0x80)) {
        r->p = p + 2;
        return (uint64_t)(p[0] & 0x7f) | (uint64_t)p[1] << 7;
    }
    return rd_uvarint(r);
}

/* A repeated uint32, packed or not. */
static int refs_add(struct w2_refs *refs, const struct pb_field *f, struct err *err)
{
    struct rd r;

    if (f->wire == PB_VARINT)
        ref_add(refs, f->value);
    if (f->wire != PB_BYTES)
        return 0;
    r = rd_of(f->bytes);
    while (r.p < r.end && !r.failed)
        ref_add(refs, ref_read(&r));
    return r.failed ? err_set(err, RC_INVALID, "malformed protobuf: packed field %u ends early", f->number) : 0;
}

void w2_series_refs(struct str message, struct w2_refs *ret)
{
    struct rd r = rd_of(message);
    struct pb_field f;

    ret->n = 0;
    while (pb_next(&r, &f, NULL) > 0)
        if (f.number == SERIES_REFS)
            refs_add(ret, &f, NULL);
}

uint32_t w2_refs_outside(const struct w2_refs *refs, const struct w2_symbols *symbols)
{
    uint32_t kept = MIN(refs->n, (uint32_t)W2_REFS_MAX);

    for (uint32_t i = 0; i < kept; i++)
        if (UNLIKELY(refs->v[i] >= symbols->n))
            return i;
    return W2_REFS_MAX;
}

struct labels w2_labels(const struct w2_refs *refs, const struct w2_symbols *symbols, struct arena *a)
{
    uint32_t pairs = MIN(MIN(refs->n, (uint32_t)W2_REFS_MAX), w2_refs_outside(refs, symbols)) / 2;
    struct labels ls = {arena_array(a, pairs, sizeof *ls.v), 0};

    for (; ls.v && ls.n < pairs; ls.n++)
        ls.v[ls.n] = (struct label){symbols->v[refs->v[ls.n * 2]], symbols->v[refs->v[ls.n * 2 + 1]]};
    return ls;
}

/* --- series --- */

static int metadata_merge(struct str message, struct w2_metadata *m, struct err *err)
{
    struct rd r = rd_of(message);
    struct pb_field f;
    int rc;

    while ((rc = pb_next(&r, &f, err)) > 0) {
        if (f.wire != PB_VARINT)
            continue;
        if (f.number == 1)
            m->type = (uint32_t)f.value <= 7 ? (uint8_t)f.value : 0;
        else if (f.number == 3)
            m->help_ref = (uint32_t)f.value;
        else if (f.number == 4)
            m->unit_ref = (uint32_t)f.value;
    }
    return rc;
}

static int field_take(const struct pb_field *f, struct w2_series *s, struct w2_refs *refs, struct err *err)
{
    switch (f->number) {
    case SERIES_REFS:
        return refs_add(refs, f, err);
    case SERIES_SAMPLES:
        s->sample_count += f->wire == PB_BYTES;
        return 0;
    case SERIES_HISTOGRAMS:
        s->histogram_count += f->wire == PB_BYTES;
        return 0;
    case SERIES_EXEMPLARS:
        s->exemplar_count += f->wire == PB_BYTES;
        return 0;
    case SERIES_METADATA:
        return f->wire == PB_BYTES ? metadata_merge(f->bytes, &s->metadata, err) : 0;
    case SERIES_CREATED:
        if (f->wire == PB_VARINT)
            s->start = (int64_t)f->value;
        return 0;
    default:
        return 0;
    }
}

static int series_scan(struct str message, struct w2_series *ret, struct w2_refs *refs, struct err *err)
{
    struct w2_series s = {.message = message};
    struct rd r = rd_of(message);
    struct pb_field f;
    int rc;

    refs->n = 0;
    while ((rc = pb_next(&r, &f, err)) > 0) {
        rc = field_take(&f, &s, refs, err);
        if (rc < 0)
            return rc;
    }
    if (rc == 0)
        *ret = s;
    return rc;
}

int w2_next(struct rd *r, struct w2_series *ret, struct w2_refs *ret_refs, struct err *err)
{
    struct str message;
    int rc = pb_next_bytes(r, REQUEST_TIMESERIES, &message, err);

    if (rc <= 0)
        return rc;
    rc = series_scan(message, ret, ret_refs, err);
    return rc < 0 ? rc : 1;
}

int w2_sample_next(struct rd *r, int64_t *ret_t, uint64_t *ret_vbits, int64_t *ret_st, struct err *err)
{
    struct str message;
    struct pb_field f;
    struct rd in;
    int rc = pb_next_bytes(r, SERIES_SAMPLES, &message, err);

    if (rc <= 0)
        return rc;
    *ret_t = *ret_st = 0;
    *ret_vbits = 0;
    in = rd_of(message);
    while ((rc = pb_next(&in, &f, err)) > 0) {
        if (pb_is(&f, 1, PB_FIXED64))
            *ret_vbits = f.value;
        else if (pb_is(&f, 2, PB_VARINT))
            *ret_t = (int64_t)f.value;
        else if (pb_is(&f, 3, PB_VARINT))
            *ret_st = (int64_t)f.value;
    }
    return rc < 0 ? rc : 1;
}

int w2_histogram_next(struct rd *r, struct arena *a, int64_t *ret_t, int64_t *ret_st, struct histogram *ret, struct err *err)
{
    struct str message;
    int rc = pb_next_bytes(r, SERIES_HISTOGRAMS, &message, err);

    return rc <= 0 ? rc : wr_histogram_decode(message, a, ret_t, ret_st, ret, err);
}

int w2_exemplar_next(struct rd *r, int64_t *ret_t, double *ret_v, struct w2_refs *ret_refs, struct err *err)
{
    struct str message;
    struct pb_field f;
    struct rd in;
    int rc = pb_next_bytes(r, SERIES_EXEMPLARS, &message, err);

    if (rc <= 0)
        return rc;
    *ret_t = 0;
    *ret_v = 0;
    ret_refs->n = 0;
    in = rd_of(message);
    while ((rc = pb_next(&in, &f, err)) > 0) {
        if (f.number == EXEMPLAR_REFS)
            rc = refs_add(ret_refs, &f, err);
        else if (pb_is(&f, 2, PB_FIXED64))
            *ret_v = bits_double(f.value);
        else if (pb_is(&f, 3, PB_VARINT))
            *ret_t = (int64_t)f.value;
        if (rc < 0)
            return rc;
    }
    return rc < 0 ? rc : 1;
}
