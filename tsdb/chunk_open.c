/* Open float chunks, and the stream encoding they are written in.
 *
 * Layout (little-endian): 0 u8 first byte | 1 count, uvarint padded to 2 bytes | 3 i64 first t [ms]
 *   | 11 u32 last t - first t | 15 i64 last start timestamp, only with ENC_STREAM_ST
 *   | bits, first bit lowest, zero bits to the end of the last byte
 * Per sample, the first included (before it step, start, mantissa and value bits are zero, the mode
 * is 0, and t is the first t):
 *   time    x = zigzag(step - step before); unary class, then the bits of x:
 *           0: none, x = 0 | 1: 7 | 2: 14 | 3: STEP_BITS
 *   start   (ENC_STREAM_ST) unary class: 0: as before | 1: t of the sample before
 *           | 2: 32 bits, zigzag of the difference | 3: 64 bits
 *   value   as in chunk_values.h
 * Saved (chunk_open_save): u8 has starts | u8 mode | u8 k | u8 score | uvarint last step | u64 bits of the last value
 *   | svarint mantissa | svarint step of it | u8 bits used in the last byte, 0: all | lstr the chunk's bytes
 * Delta-of-delta time as in Pelkonen et al. (Gorilla, VLDB 2015, section 4.1). */
#include "tsdb/chunk_values.h"

#include <stdlib.h>

enum {
    HEADER_BYTES = 15,
    HEADER_ST_BYTES = 8,
    SAMPLE_BYTES_MAX =
        40, /* worst case: 37 bits time, 67 start, 8 + 64 value, and 8 of slack for bit_put */
    STEP_BITS = 34,
    OPEN_BYTES_FIRST = 64,
};

struct chunk_open {
    uint8_t *p; /* header and stream; cap bytes */
    uint64_t last_bits;
    int64_t m, mstep;
    uint32_t step; /* of t */
    uint32_t bits; /* used in p */
    uint16_t count;
    uint16_t cap16; /* capacity in units of 16 bytes */
    uint8_t mode, k;
    int8_t score;
    bool has_st;
};
_Static_assert(sizeof(struct chunk_open) <= 48, "one per active series");
_Static_assert((CHUNK_SAMPLES_MAX * (size_t)SAMPLE_BYTES_MAX) / 16 <= UINT16_MAX,
               "cap16 holds the largest chunk");

const double decimal_powers[DECIMAL_SCALE_MAX + 1] = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
const double decimal_inverses[DECIMAL_TIMES_MAX + 1] = {1e0,  1e-1, 1e-2, 1e-3, 1e-4,
                                                        1e-5, 1e-6, 1e-7, 1e-8, 1e-9};

/* --- writing --- */
static void put_time(struct bit_writer *w, int64_t x)
{
    uint64_t z = zigzag(x);

    if (LIKELY(z == 0)) {
        bit_put(w, 0, 1);
    } else if (z < 1 << 7) {
        bit_put(w, 1 | z << 2, 2 + 7);
    } else if (z < 1 << 14) {
        bit_put(w, 3 | z << 3, 3 + 14);
    } else {
        bit_put(w, 7 | z << 3, 3 + STEP_BITS);
    }
}

static void put_start(struct bit_writer *w, int64_t st, int64_t last_st, int64_t previous_t)
{
    uint64_t z = zigzag(wrap_sub(st, last_st));

    if (z == 0) {
        put_unary(w, 0, 3);
    } else if (st == previous_t) {
        put_unary(w, 1, 3);
    } else if (z <= UINT32_MAX) {
        put_unary(w, 2, 3);
        bit_put(w, z, 32);
    } else {
        put_unary(w, 3, 3);
        bit_put(w, (uint64_t)st, 64);
    }
}

/* --- the open chunk --- */
struct chunk_open *chunk_open_new(void)
{
    return xcalloc(1, sizeof(struct chunk_open));
}

void chunk_open_free(struct chunk_open *c)
{
    if (!c)
        return;
    free(c->p);
    free(c);
}

uint32_t chunk_open_count(const struct chunk_open *c)
{
    return c->count;
}

int64_t chunk_open_first_ms(const struct chunk_open *c)
{
    return c->count ? (int64_t)le_get64(c->p + 3) : 0;
}

int64_t chunk_open_last_ms(const struct chunk_open *c)
{
    return c->count ? (int64_t)le_get64(c->p + 3) + le_get32(c->p + 11) : 0;
}

uint64_t chunk_open_last_bits(const struct chunk_open *c)
{
    return c->last_bits;
}

void chunk_open_prefetch(const struct chunk_open *c)
{
    __builtin_prefetch(c->p);
    __builtin_prefetch(c->p + (c->bits >> 3));
}

size_t chunk_open_memory(const struct chunk_open *c)
{
    return sizeof *c + c->cap16 * (size_t)16;
}

/* Few sizes: chunks that grow through many leave holes in every size class of the allocator (steps of
 * 16 bytes: 30 B per series more, head_bench). The first is what most need: all series of a new agent leave a smaller one at the same time (32 bytes first:
 * 5 B per series more after 20 samples, 24 B after 160). */
static void open_reserve(struct chunk_open *c, size_t need)
{
    size_t cap = c->cap16 * (size_t)16;

    if (LIKELY(need <= cap))
        return;
    while (cap < need)
        cap += cap < 128 ? 32 : (size_t)1 << (bit_length(cap) - 2);
    c->p = xrealloc(c->p, cap);
    c->cap16 = (uint16_t)(cap / 16);
}

static void open_start(struct chunk_open *c, int64_t t)
{
    size_t n = HEADER_BYTES + (c->has_st ? HEADER_ST_BYTES : 0);

    open_reserve(c, OPEN_BYTES_FIRST);
    memset(c->p, 0, n);
    c->p[0] = chunk_first_byte(c->has_st ? ENC_STREAM_ST : ENC_STREAM);
    le_put64(c->p + 3, (uint64_t)t);
    c->bits = (uint32_t)n * 8;
}

/* The first start timestamp in a chunk that has none: its samples are written again with room for
 * it. */
static void open_add_starts(struct chunk_open *c)
{
    struct chunk_columns cols;
    struct arena a;

    arena_init(&a, SIZE_MAX / 2);
    ASSERT(chunk_stream_decode(chunk_open_view(c), &a, &cols, NULL) == 0);
    *c = (struct chunk_open){.p = c->p, .cap16 = c->cap16, .has_st = true};
    for (size_t i = 0; i < cols.n; i++)
        ASSERT(chunk_open_append(c, cols.t[i], double_bits(cols.v[i]), 0));
    arena_fini(&a);
}

/* The partial last byte is written again, in front of the new bits. */
static void open_store(struct chunk_open *c, const uint8_t *from, size_t n, size_t bits)
{
    size_t at = c->bits >> 3;

    open_reserve(c, at + n);
    /* One store where there is room for it: bytes behind the end are nobody's yet. */
    if (LIKELY(n <= 8 && at + 8 <= c->cap16 * (size_t)16))
        memcpy(c->p + at, from, 8);
    else
        memcpy(c->p + at, from, n);
    c->bits += (uint32_t)bits;
}

bool chunk_open_append(struct chunk_open *c, int64_t t, uint64_t vbits, int64_t st)
{
    uint8_t scratch[SAMPLE_BYTES_MAX], *end;
    struct bit_writer w = {scratch, 0, c->bits & 7};
    struct model s;
    uint64_t step;

    if (c->count == CHUNK_SAMPLES_MAX)
        return false;
    if (UNLIKELY(st && !c->has_st)) {
        if (c->count)
            open_add_starts(c);
        c->has_st = true;
    }
    if (c->count == 0)
        open_start(c, t);
    ASSERT(c->count == 0 || t > chunk_open_last_ms(c));
    if ((uint64_t)t - le_get64(c->p + 3) > UINT32_MAX)
        return false;
    step = (uint64_t)t - le_get64(c->p + 3) - le_get32(c->p + 11);
    w.n = c->bits & 7;
    w.acc = w.n ? c->p[c->bits >> 3] : 0;
    put_time(&w, (int64_t)(step - c->step));
    if (c->has_st) {
        put_start(&w, st, (int64_t)le_get64(c->p + HEADER_BYTES),
                  (int64_t)(le_get64(c->p + 3) + le_get32(c->p + 11)));
        le_put64(c->p + HEADER_BYTES, (uint64_t)st);
    }
    s = (struct model){c->last_bits, c->m, c->mstep, c->mode, c->k, c->score};
    put_value(&w, &s, vbits);
    c->step = (uint32_t)step;
    le_put32(c->p + 11, le_get32(c->p + 11) + (uint32_t)step);
    c->last_bits = s.bits;
    c->m = s.m;
    c->mstep = s.step;
    c->mode = s.mode;
    c->k = s.k;
    c->score = s.score;
    c->count++;
    step = (uint64_t)(w.p - scratch) * 8 + w.n - (c->bits & 7); /* bits written */
    end = bit_finish(&w);
    open_store(c, scratch, (size_t)(end - scratch), (size_t)step);
    return true;
}

struct str chunk_open_view(struct chunk_open *c)
{
    if (c->count == 0)
        return (struct str){0};
    c->p[1] = (uint8_t)(c->count | 0x80);
    c->p[2] = (uint8_t)(c->count >> 7);
    return str_n(c->p, (c->bits + 7) / 8);
}

/* --- saving --- */
void chunk_open_save(struct chunk_open *c, struct buf *out)
{
    struct str bytes = chunk_open_view(c);
    char *p;

    ASSERT(c->count > 0);
    if (!buf_reserve(out, 4 + 4 * UVARINT_MAX + 8 + 1 + bytes.n))
        return;
    p = out->p + out->n;
    *p++ = c->has_st;
    *p++ = (char)c->mode;
    *p++ = (char)c->k;
    *p++ = (char)c->score;
    p += uvarint_put(p, c->step);
    le_put64(p, c->last_bits);
    p += 8;
    p += uvarint_put(p, zigzag(c->m));
    p += uvarint_put(p, zigzag(c->mstep));
    *p++ = (char)(c->bits & 7);
    p += uvarint_put(p, bytes.n);
    memcpy(p, bytes.p, bytes.n);
    out->n = (size_t)(p - out->p) + bytes.n;
}

/* As the model of chunk_values.h leaves it. */
static bool model_plausible(const struct chunk_open *c)
{
    if (c->mode == MODE_XOR)
        return c->k < 64 && c->score >= 0 && c->k + c->score <= 64;
    return decimal_mode_valid(c->mode) && c->k <= 64 && c->score >= -SCORE_MAX && c->score <= SCORE_MAX &&
           c->m <= DECIMAL_MANTISSA_MAX && c->m >= -DECIMAL_MANTISSA_MAX && c->mstep <= 2 * DECIMAL_MANTISSA_MAX &&
           c->mstep >= -2 * DECIMAL_MANTISSA_MAX;
}

int chunk_open_load(struct rd *r, struct chunk_open **ret, struct err *err)
{
    struct chunk_open c = {.has_st = rd_u8(r)}, *made;
    struct chunk_info info;
    struct str bytes;
    uint64_t step;
    uint8_t used;

    c.mode = rd_u8(r);
    c.k = rd_u8(r);
    c.score = (int8_t)rd_u8(r);
    step = rd_uvarint(r);
    c.last_bits = rd_u64(r);
    c.m = rd_svarint(r);
    c.mstep = rd_svarint(r);
    used = rd_u8(r);
    bytes = rd_lstr(r);
    CORRUPT_UNLESS(rd_ok(r) && used < 8 && step <= UINT32_MAX && model_plausible(&c), err);
    CORRUPT_UNLESS(bytes.n > HEADER_BYTES + (c.has_st ? HEADER_ST_BYTES : 0) && bytes.n <= CHUNK_SAMPLES_MAX * (size_t)SAMPLE_BYTES_MAX, err);
    CORRUPT_UNLESS((uint8_t)bytes.p[0] == chunk_first_byte(c.has_st ? ENC_STREAM_ST : ENC_STREAM), err);
    CORRUPT_UNLESS(used == 0 || (uint8_t)bytes.p[bytes.n - 1] >> used == 0, err);
    if (chunk_stream_info(bytes, &info, err) < 0)
        return RC_CORRUPT;
    made = xmemdup(&c, sizeof c);
    open_reserve(made, bytes.n);
    memcpy(made->p, bytes.p, bytes.n);
    made->step = (uint32_t)step;
    made->count = (uint16_t)info.count;
    made->bits = (uint32_t)bytes.n * 8 - (used ? 8U - used : 0);
    *ret = made;
    return 0;
}

/* --- reading --- */
static int64_t get_time(struct bit_reader *r)
{
    static const uint8_t widths[] = {0, 7, 14, STEP_BITS};

    return unzigzag(bit_get(r, widths[bit_unary(r, 3)]));
}

/* A sample without a change of step whose value is the one before or a short residual, all in one look at the reader. False: nothing was read. */
static inline bool get_short(struct bit_reader *r, struct model *s)
{
    static const uint8_t extra[] = {0, 3, 8};
    unsigned class, bits;
    uint64_t acc;

    bit_refill(r);
    acc = r->acc;
    if (r->have < 2 || (acc & 1) || s->mode == MODE_XOR)
        return false;
    if (!(acc & 2)) {
        model_same(s);
        r->acc >>= 2;
        r->have -= 2;
        return true;
    }
    class = (unsigned)__builtin_ctzll(~(acc >> 2));
    if (class > 2)
        return false;
    bits = s->k + extra[class];
    if (3 + class + bits > MIN(r->have, 56U))
        return false;
    acc >>= 3 + class;
    if (!model_take(s, low_bits(acc, bits), model_prediction(s), class == 0))
        return false; /* the long way finds the same */
    r->acc >>= 3 + class + bits;
    r->have -= 3 + class + bits;
    return true;
}

/* Usual samples from i on, as many as there are; returns the first that is not. Reader and model are worked on in copies, which stay in registers. */
static size_t short_run(struct bit_reader *reader, struct model *model, struct chunk_columns *c, size_t i, int64_t step, int64_t maxt, int64_t *t)
{
    struct bit_reader r = *reader;
    struct model s = *model;
    int64_t at = *t;

    for (; i < c->n && step <= maxt - at && get_short(&r, &s); i++) {
        at += step;
        c->t[i] = at;
        c->v[i] = bits_double(s.bits);
    }
    *reader = r;
    *model = s;
    *t = at;
    return i;
}

static int64_t get_start(struct bit_reader *r, int64_t last_st, int64_t previous_t)
{
    switch (bit_unary(r, 3)) {
    case 0:
        return last_st;
    case 1:
        return previous_t;
    case 2:
        return wrap_add(last_st, unzigzag(bit_get(r, 32)));
    default:
        return (int64_t)bit_get(r, 64);
    }
}

static int stream_header(struct rd *r, struct chunk_info *ret, struct err *err)
{
    struct chunk_info info = {.kind = CHUNK_FLOATS};
    uint64_t count;
    uint32_t span;

    rd_u8(r);
    count = rd_uvarint(r);
    info.mint_ms = (int64_t)rd_u64(r);
    span = rd_u32(r);
    CORRUPT_UNLESS(rd_ok(r) && count >= 1 && count <= CHUNK_SAMPLES_MAX, err);
    CORRUPT_UNLESS(!__builtin_add_overflow(info.mint_ms, (int64_t)span, &info.maxt_ms), err);
    info.count = (uint32_t)count;
    *ret = info;
    return 0;
}

int chunk_stream_info(struct str bytes, struct chunk_info *ret, struct err *err)
{
    struct rd r = rd_of(bytes);

    return stream_header(&r, ret, err);
}

int chunk_stream_decode(struct str bytes, struct arena *a, struct chunk_columns *ret,
                        struct err *err)
{
    bool has_st = (bytes.p[0] & 15) == ENC_STREAM_ST;
    struct rd front = rd_of(bytes);
    struct model s = {0};
    struct chunk_columns c = {0};
    struct bit_reader r;
    struct chunk_info info;
    int64_t t, step = 0, st = 0, last_st = 0;
    int rc = stream_header(&front, &info, err);

    if (rc < 0)
        return rc;
    if (has_st)
        last_st = (int64_t)rd_u64(&front);
    CORRUPT_UNLESS(rd_ok(&front), err);
    r = bit_reader_of(front.p, rd_left(&front));
    CORRUPT_UNLESS(rd_left(&front) * 4 >= info.count, err); /* a sample has two bits at least */
    c.n = info.count;
    c.t = arena_array(a, c.n, sizeof *c.t);
    c.v = arena_array(a, c.n, sizeof *c.v);
    c.st = has_st ? arena_array(a, c.n, sizeof *c.st) : NULL;
    if (!c.t || !c.v || (has_st && !c.st))
        return err_set(err, RC_NOMEM, "memory for %zu samples", c.n);
    t = info.mint_ms;
    for (size_t i = 0; i < c.n; i++) {
        int64_t before;

        if (!has_st && i > 1)
            i = short_run(&r, &s, &c, i, step, info.maxt_ms, &t);
        if (i == c.n)
            break;
        before = t;
        step = wrap_add(step, get_time(&r));
        CORRUPT_UNLESS(i ? step > 0 : step == 0, err);
        CORRUPT_UNLESS(step <= info.maxt_ms - t, err);
        t += step;
        c.t[i] = t;
        if (has_st)
            c.st[i] = st = get_start(&r, st, before);
        CORRUPT_UNLESS(get_value(&r, &s) && !r.failed, err);
        c.v[i] = bits_double(s.bits);
    }
    CORRUPT_UNLESS(bit_done(&r) && t == info.maxt_ms && st == last_st, err);
    *ret = c;
    return 0;
}
