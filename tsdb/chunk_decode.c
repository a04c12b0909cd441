/* Reads chunks. Layouts: chunk_encode.c (columns), chunk_open.c (streams), chunk_hist.c
 * (histograms). */
#include "tsdb/chunk_columns.h"
#include "tsdb/chunk_ints.h"
#include "tsdb/chunk_values.h"

static int front_check(struct str bytes, enum chunk_encoding *ret, struct err *err)
{
    uint8_t first;

    CORRUPT_UNLESS(bytes.n >= 2 && bytes.n <= CHUNK_BYTES_MAX, err);
    first = (uint8_t)bytes.p[0];
    if (first >> 4 != CHUNK_VERSION)
        return err_set(err, RC_VERSION, "chunk of version %d, this program reads %d", first >> 4,
                       CHUNK_VERSION);
    CORRUPT_UNLESS((first & 15) <= ENC_HISTOGRAMS, err);
    *ret = first & 15;
    return 0;
}

bool chunk_is_stream(struct str bytes)
{
    enum chunk_encoding e;

    return front_check(bytes, &e, NULL) == 0 && (e == ENC_STREAM || e == ENC_STREAM_ST);
}

int columns_get_header(struct rd *r, enum chunk_kind kind, struct chunk_info *ret, struct err *err)
{
    uint64_t count, span;
    int64_t mint;

    rd_u8(r);
    count = rd_uvarint(r);
    mint = rd_svarint(r);
    span = rd_uvarint(r);
    CORRUPT_UNLESS(rd_ok(r) && count >= 1 && count <= CHUNK_SAMPLES_MAX, err);
    CORRUPT_UNLESS(span <= (uint64_t)INT64_MAX - (uint64_t)mint, err);
    CORRUPT_UNLESS(span >= count - 1, err);
    *ret = (struct chunk_info){kind, (uint32_t)count, mint, (int64_t)((uint64_t)mint + span)};
    return 0;
}

int columns_get_time(struct rd *r, enum time_codec codec, const struct chunk_info *info, int64_t *t,
                     struct err *err)
{
    uint64_t span = (uint64_t)info->maxt_ms - (uint64_t)info->mint_ms;
    size_t n = info->count;
    bool rising = true;
    int rc;

    if (codec == TIME_REGULAR) {
        uint64_t step = n > 1 ? span / (n - 1) : 0;

        CORRUPT_UNLESS(step * (n - 1) == span, err);
        for (size_t i = 0; i < n; i++)
            t[i] = (int64_t)((uint64_t)info->mint_ms + i * step);
        return 0;
    }
    rc = ints_decode(r, t, n, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n; i++)
        t[i] = wrap_add(t[i], info->mint_ms);
    for (size_t i = 1; i < n; i++)
        rising &= t[i] > t[i - 1];
    CORRUPT_UNLESS(rising && t[0] == info->mint_ms && t[n - 1] == info->maxt_ms, err);
    return 0;
}

/* Once per chunk; tests/bench/chunk_bench. The same arithmetic as decimal_value(). */
static void decimals_undo(const int64_t *restrict m, size_t n, unsigned mode, double *restrict v)
{
    double power = decimal_powers[decimal_scale(mode)];

    if (mode == 0) {
        for (size_t i = 0; i < n; i++)
            v[i] = (double)m[i];
    } else if (mode & DECIMAL_TIMES) {
        power = decimal_inverses[decimal_scale(mode)];
        for (size_t i = 0; i < n; i++)
            v[i] = (double)m[i] * power;
    } else {
        for (size_t i = 0; i < n; i++)
            v[i] = (double)m[i] / power;
    }
}

static int decode_decimals(struct rd *r, size_t n, double *v, struct err *err)
{
    int64_t m[CHUNK_SAMPLES_MAX];
    uint8_t head = rd_u8(r);
    unsigned mode = head & ~(DECIMAL_HAS_SPECIALS | DECIMAL_HAS_SHIFT);
    unsigned shift = head & DECIMAL_HAS_SHIFT ? rd_u8(r) : 0;
    uint64_t specials, at = 0;
    int rc = ints_decode(r, m, n, err);

    if (rc < 0)
        return rc;
    CORRUPT_UNLESS(decimal_mode_valid(mode) && shift <= DECIMAL_SHIFT_MAX, err);
    for (size_t i = 0; shift && i < n; i++)
        m[i] = (int64_t)((uint64_t)m[i] << shift);
    decimals_undo(m, n, mode, v);
    if (!(head & DECIMAL_HAS_SPECIALS))
        return 0;
    specials = rd_uvarint(r);
    CORRUPT_UNLESS(specials >= 1 && specials <= n, err);
    for (uint64_t i = 0; i < specials; i++, at++) {
        uint64_t skip = rd_uvarint(r), bits = rd_u64(r);

        CORRUPT_UNLESS(rd_ok(r) && skip < n && at + skip < n, err);
        at += skip;
        v[at] = bits_double(bits);
    }
    return 0;
}

static int decode_adaptive(struct rd *r, uint8_t mode, size_t n, double *v, struct err *err)
{
    struct str bytes = rd_lstr(r);
    struct model s = {.mode = mode};
    struct bit_reader b;

    CORRUPT_UNLESS(rd_ok(r) && bytes.n >= (n + 7) / 8, err); /* a value has a bit at least */
    b = bit_reader_of((const uint8_t *)bytes.p, bytes.n);
    for (size_t i = 0; i < n; i++) {
        CORRUPT_UNLESS(get_value(&b, &s), err);
        v[i] = bits_double(s.bits);
    }
    CORRUPT_UNLESS(bit_done(&b), err);
    return 0;
}

int columns_get_values(struct rd *r, unsigned codec, size_t n, double *v, struct err *err)
{
    int64_t x[CHUNK_SAMPLES_MAX];
    double constant;
    int rc;

    switch (codec) {
    case VALUE_CONSTANT:
        constant = bits_double(rd_u64(r));
        for (size_t i = 0; i < n; i++)
            v[i] = constant;
        return 0;
    case VALUE_DECIMAL:
        return decode_decimals(r, n, v, err);
    case VALUE_BITS:
        rc = ints_decode(r, x, n, err);
        if (rc == 0)
            memcpy(v, x, n * sizeof *v);
        return rc;
    case VALUE_ADAPTIVE:
        return decode_adaptive(r, 0, n, v, err);
    case VALUE_XOR:
        return decode_adaptive(r, MODE_XOR, n, v, err);
    default:
        return err_set(err, RC_CORRUPT, "corrupt: value codec %u", codec);
    }
}

int columns_get_starts(struct rd *r, enum start_codec codec, size_t n, const int64_t *t,
                       int64_t *st, struct err *err)
{
    int64_t first;

    if (codec == START_INTS)
        return ints_decode(r, st, n, err);
    first = rd_svarint(r);
    for (size_t i = 0; i < n; i++)
        st[i] = i == 0 || codec == START_CONSTANT ? first : t[i - 1];
    return 0;
}

static int columns_decode(struct str bytes, struct arena *a, struct chunk_columns *ret,
                          struct err *err)
{
    struct rd r = rd_of(bytes);
    struct chunk_columns c = {0};
    struct chunk_info info;
    unsigned codecs;
    int rc = columns_get_header(&r, CHUNK_FLOATS, &info, err);

    if (rc < 0)
        return rc;
    codecs = rd_u8(&r);
    CORRUPT_UNLESS((codecs & 3) <= TIME_INTS && codecs < 0x80, err);
    c.n = info.count;
    c.t = arena_array(a, c.n, sizeof *c.t);
    c.v = arena_array(a, c.n, sizeof *c.v);
    c.st = codecs >> 5 == START_NONE ? NULL : arena_array(a, c.n, sizeof *c.st);
    if (!c.t || !c.v || (codecs >> 5 != START_NONE && !c.st))
        return err_set(err, RC_NOMEM, "memory for %zu samples", c.n);
    rc = columns_get_time(&r, codecs & 3, &info, c.t, err);
    if (rc == 0)
        rc = columns_get_values(&r, codecs >> 2 & 7, c.n, c.v, err);
    if (rc == 0 && c.st)
        rc = columns_get_starts(&r, codecs >> 5, c.n, c.t, c.st, err);
    if (rc < 0)
        return rc;
    CORRUPT_UNLESS(rd_done(&r), err);
    *ret = c;
    return 0;
}

int chunk_info(struct str bytes, struct chunk_info *ret, struct err *err)
{
    struct rd r = rd_of(bytes);
    enum chunk_encoding e;
    int rc = front_check(bytes, &e, err);

    if (rc < 0)
        return rc;
    if (e == ENC_STREAM || e == ENC_STREAM_ST)
        return chunk_stream_info(bytes, ret, err);
    return columns_get_header(&r, e == ENC_COLUMNS ? CHUNK_FLOATS : CHUNK_HISTOGRAMS, ret, err);
}

int chunk_decode(struct str bytes, struct arena *a, struct chunk_columns *ret, struct err *err)
{
    enum chunk_encoding e;
    int rc = front_check(bytes, &e, err);

    if (rc < 0)
        return rc;
    switch (e) {
    case ENC_COLUMNS:
        return columns_decode(bytes, a, ret, err);
    case ENC_HISTOGRAMS:
        return chunk_hist_decode(bytes, a, ret, err);
    default:
        return chunk_stream_decode(bytes, a, ret, err);
    }
}
