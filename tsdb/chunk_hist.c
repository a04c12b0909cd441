/* Histogram chunks: runs of histograms with one layout, and in a run each bucket is a column over
 * time.
 *
 * Layout: u8 first byte (ENC_HISTOGRAMS) | uvarint count | svarint first t [ms]
 *   | uvarint last t - first t | u8 codecs | time | starts | runs
 * codecs: bits 0-1 enum time_codec, 5-6 enum start_codec, others zero; time and starts as in
 *   chunk_encode.c.
 * Run: uvarint length >= 1 | lstr canonical bytes of its first histogram | for length > 1, of the
 *   other length - 1 histograms, the columns sum | count | zero count | positive buckets in order
 *   | negative buckets in order
 * A layout is everything but those numbers: float or not, hint, schema, zero threshold, spans,
 * custom bounds. The sum, and with float histograms every column: u8 enum value_codec, values as in
 * chunk_encode.c. Columns of integers: u8 0 and nothing when all equal the first histogram's, else
 * u8 1 and ints (chunk_ints.c) of the difference to the first histogram's, mod 2^64. */
#include "tsdb/chunk_columns.h"
#include "tsdb/chunk_ints.h"

/* Buckets of a histogram as one list: count, zero count, positive, negative. */
static size_t number_count(const struct histogram *h)
{
    return 2 + (size_t)h->pos.bucket_count + h->neg.bucket_count;
}

static uint64_t number_get(const struct histogram *h, size_t k)
{
    if (k == 0)
        return h->count.i;
    if (k == 1)
        return h->zero_count.i;
    k -= 2;
    return k < h->pos.bucket_count ? h->pos.i[k] : h->neg.i[k - h->pos.bucket_count];
}

static bool side_layout_eq(const struct hist_side *a, const struct hist_side *b)
{
    return a->span_count == b->span_count && a->bucket_count == b->bucket_count &&
           (a->span_count == 0 ||
            memcmp(a->spans, b->spans, a->span_count * sizeof *a->spans) == 0);
}

static bool layout_eq(const struct histogram *a, const struct histogram *b)
{
    return a->is_float == b->is_float && a->hint == b->hint && a->schema == b->schema &&
           double_bits(a->zero_threshold) == double_bits(b->zero_threshold) &&
           side_layout_eq(&a->pos, &b->pos) && side_layout_eq(&a->neg, &b->neg) &&
           a->custom_count == b->custom_count &&
           (a->custom_count == 0 ||
            memcmp(a->custom, b->custom, a->custom_count * sizeof *a->custom) == 0);
}

/* --- writing --- */
static void put_floats(struct buf *out, const double *v, size_t n)
{
    size_t at = out->n;

    buf_u8(out, 0);
    enum value_codec codec = columns_put_values(out, v, n);
    if (buf_ok(out))
        out->p[at] = (char)codec;
}

static void put_number(struct buf *out, const struct histogram *const *h, size_t n, size_t k)
{
    union {
        int64_t i[CHUNK_SAMPLES_MAX];
        double f[CHUNK_SAMPLES_MAX];
    } x;
    uint64_t first = number_get(h[0], k), changed = 0;

    if (h[0]->is_float) {
        for (size_t i = 1; i < n; i++)
            x.f[i - 1] = bits_double(number_get(h[i], k));
        put_floats(out, x.f, n - 1);
        return;
    }
    for (size_t i = 1; i < n; i++)
        changed |= (uint64_t)(x.i[i - 1] = (int64_t)(number_get(h[i], k) - first));
    buf_u8(out, changed != 0);
    if (changed)
        ints_encode(out, x.i, n - 1);
}

static void put_run(struct buf *out, const struct histogram *const *h, size_t n)
{
    double sums[CHUNK_SAMPLES_MAX];
    struct buf first;

    buf_init(&first, CHUNK_BYTES_MAX);
    histogram_encode(&first, h[0]);
    if (!buf_ok(&first))
        out->failed = true; /* no chunk can hold it */
    buf_uvarint(out, n);
    buf_lstr(out, buf_view(&first));
    buf_fini(&first);
    if (n == 1)
        return;
    for (size_t i = 1; i < n; i++)
        sums[i - 1] = h[i]->sum;
    put_floats(out, sums, n - 1);
    for (size_t k = 0; k < number_count(h[0]) && buf_ok(out); k++)
        put_number(out, h, n, k);
}

void chunk_encode_histograms(struct buf *out, size_t n, const int64_t *t,
                             const struct histogram *const *h, const int64_t *st)
{
    enum time_codec time;
    enum start_codec start;
    size_t codecs;

    columns_put_header(out, ENC_HISTOGRAMS, t, n);
    codecs = out->n;
    buf_u8(out, 0);
    time = columns_put_time(out, t, n);
    start = columns_put_starts(out, t, st, n);
    if (buf_ok(out))
        out->p[codecs] = (char)(time | start << 5);
    for (size_t at = 0, end; at < n; at = end) {
        for (end = at + 1; end < n && layout_eq(h[at], h[end]); end++)
            ;
        put_run(out, h + at, end - at);
    }
}

/* --- reading --- */
/* Histograms of one run; buckets[i] holds all numbers of h[i] but the first two. */
struct run {
    struct histogram *h;
    uint64_t **buckets;
    size_t n;
};

static int get_number(struct rd *r, const struct run *run, size_t k, struct err *err)
{
    union {
        int64_t i[CHUNK_SAMPLES_MAX];
        double f[CHUNK_SAMPLES_MAX];
    } x;
    uint64_t first = number_get(&run->h[0], k);
    uint8_t codec = rd_u8(r);
    int rc = 0;

    CORRUPT_UNLESS(rd_ok(r) && (run->h[0].is_float || codec <= 1), err);
    if (run->h[0].is_float)
        rc = columns_get_values(r, codec, run->n - 1, x.f, err);
    else if (codec)
        rc = ints_decode(r, x.i, run->n - 1, err);
    if (rc < 0)
        return rc;
    for (size_t i = 1; i < run->n; i++) {
        struct histogram *h = &run->h[i];
        uint64_t v = h->is_float ? double_bits(x.f[i - 1])
                     : codec     ? first + (uint64_t)x.i[i - 1]
                                 : first;

        if (k == 0)
            h->count.i = v;
        else if (k == 1)
            h->zero_count.i = v;
        else
            run->buckets[i][k - 2] = v;
    }
    return 0;
}

/* Copies of the first one with buckets of their own; spans and bounds are shared. */
static int run_alloc(struct run *run, struct arena *a, struct err *err)
{
    size_t buckets = number_count(&run->h[0]) - 2;

    run->buckets = arena_array(a, run->n, sizeof *run->buckets);
    for (size_t i = 1; run->buckets && i < run->n; i++) {
        struct histogram *h = &run->h[i];

        *h = run->h[0];
        run->buckets[i] = arena_array(a, buckets, sizeof **run->buckets);
        if (!run->buckets[i])
            return err_set(err, RC_NOMEM, "memory for %zu histograms of %zu buckets", run->n,
                           buckets);
        h->pos.i = run->buckets[i];
        h->neg.i = run->buckets[i] + h->pos.bucket_count;
    }
    return run->buckets ? 0 : err_set(err, RC_NOMEM, "memory for %zu histograms", run->n);
}

static int get_run(struct rd *r, struct run *run, size_t left, struct arena *a, struct err *err)
{
    uint64_t n = rd_uvarint(r);
    struct rd first = rd_of(rd_lstr(r));
    double sums[CHUNK_SAMPLES_MAX];
    int rc;

    CORRUPT_UNLESS(rd_ok(r) && n >= 1 && n <= left, err);
    rc = histogram_decode(&first, a, &run->h[0], err);
    if (rc < 0)
        return rc;
    CORRUPT_UNLESS(rd_done(&first), err);
    run->n = (size_t)n;
    if (n == 1)
        return 0;
    /* A column is a byte at least: checked before memory is taken for it. */
    CORRUPT_UNLESS(rd_left(r) >= number_count(&run->h[0]) + 1, err);
    rc = columns_get_values(r, rd_u8(r), run->n - 1, sums, err);
    if (rc == 0)
        rc = run_alloc(run, a, err);
    for (size_t k = 0; rc == 0 && k < number_count(&run->h[0]); k++)
        rc = get_number(r, run, k, err);
    for (size_t i = 1; rc == 0 && i < run->n; i++)
        run->h[i].sum = sums[i - 1];
    return rc;
}

int chunk_hist_decode(struct str bytes, struct arena *a, struct chunk_columns *ret, struct err *err)
{
    struct rd r = rd_of(bytes);
    struct chunk_columns c = {0};
    struct histogram *all;
    struct chunk_info info;
    struct run run;
    uint8_t codecs;
    int rc = columns_get_header(&r, CHUNK_HISTOGRAMS, &info, err);

    if (rc < 0)
        return rc;
    codecs = rd_u8(&r);
    CORRUPT_UNLESS((codecs & ~(3 << 5)) <= TIME_INTS, err);
    c.n = info.count;
    c.t = arena_array(a, c.n, sizeof *c.t);
    c.v = arena_zalloc(a, c.n * sizeof *c.v);
    c.hist = arena_array(a, c.n, sizeof *c.hist);
    c.st = codecs >> 5 == START_NONE ? NULL : arena_array(a, c.n, sizeof *c.st);
    all = arena_array(a, c.n, sizeof *all);
    if (!c.t || !c.v || !c.hist || !all || (codecs >> 5 != START_NONE && !c.st))
        return err_set(err, RC_NOMEM, "memory for %zu histograms", c.n);
    rc = columns_get_time(&r, codecs & 3, &info, c.t, err);
    if (rc == 0 && c.st)
        rc = columns_get_starts(&r, codecs >> 5, c.n, c.t, c.st, err);
    for (size_t at = 0; rc == 0 && at < c.n; at += run.n) {
        run = (struct run){.h = all + at};
        rc = get_run(&r, &run, c.n - at, a, err);
        for (size_t i = 0; rc == 0 && i < run.n; i++)
            c.hist[at + i] = &all[at + i];
    }
    if (rc < 0)
        return rc;
    CORRUPT_UNLESS(rd_done(&r), err);
    *ret = c;
    return 0;
}
