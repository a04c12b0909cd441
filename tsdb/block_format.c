#include "tsdb/block_format.h"

#include <stdio.h>
#include <stdlib.h>

const char *const block_file_names[BLOCK_FILES] = {"symbols.sst", "series.sst", "postings.sst", "chunks.sst"};

void block_object_name(char out[128], const struct ulid *id, const char *leaf)
{
    snprintf(out, 128, "blocks/%s/%s", id->text, leaf);
}

/* --- keys --- */

static void key_tenant(struct buf *out, struct str tenant)
{
    buf_clear(out);
    buf_str(out, tenant);
    buf_u8(out, 0);
}

static void key_u32(struct buf *out, uint32_t v)
{
    char b[4];

    be_put32(b, v);
    buf_add(out, b, sizeof b);
}

void block_key_number(struct buf *out, struct str tenant, uint32_t number)
{
    key_tenant(out, tenant);
    key_u32(out, number);
}

void block_key_chunks(struct buf *out, struct str tenant, uint32_t ordinal, int64_t start_ms)
{
    char b[8];

    block_key_number(out, tenant, ordinal);
    be_put64(b, (uint64_t)start_ms ^ (1ULL << 63));
    buf_add(out, b, sizeof b);
}

static void key_name(struct buf *out, struct str tenant, struct str name, uint8_t end)
{
    key_tenant(out, tenant);
    for (size_t i = 0; i < name.n; i++) {
        buf_char(out, name.p[i]);
        if (name.p[i] == '\0')
            buf_u8(out, 0xff);
    }
    buf_u8(out, 0);
    buf_u8(out, end);
}

void block_key_name(struct buf *out, struct str tenant, struct str name)
{
    key_name(out, tenant, name, 1);
}

void block_key_after_name(struct buf *out, struct str tenant, struct str name)
{
    key_name(out, tenant, name, 2);
}

void block_key_posting(struct buf *out, struct str tenant, struct str name, struct str value)
{
    key_name(out, tenant, name, 1);
    buf_str(out, value);
}

int block_key_tenant(struct str key, struct str *ret, struct err *err)
{
    size_t n = str_find(key, '\0');

    CORRUPT_UNLESS(n > 0 && n < key.n, err);
    *ret = str_sub(key, 0, n);
    return 0;
}

int block_key_split(struct str key, struct str tenant, struct buf *name, struct str *ret_value, struct err *err)
{
    size_t i = tenant.n + 1;

    buf_clear(name);
    CORRUPT_UNLESS(key.n > tenant.n && str_has_prefix(key, tenant) && key.p[tenant.n] == '\0', err);
    for (;; i++) {
        CORRUPT_UNLESS(i < key.n, err);
        if (key.p[i] != '\0') {
            buf_char(name, key.p[i]);
            continue;
        }
        CORRUPT_UNLESS(++i < key.n, err);
        if (key.p[i] == 1)
            break;
        CORRUPT_UNLESS((uint8_t)key.p[i] == 0xff, err);
        buf_u8(name, 0);
    }
    if (!buf_ok(name))
        return err_set(err, RC_CORRUPT, "a label name is longer than %zu bytes", name->max);
    *ret_value = str_skip(key, i + 1);
    return 0;
}

int block_key_ordinal(struct str key, struct str tenant, uint32_t *ret, struct err *err)
{
    CORRUPT_UNLESS(key.n >= tenant.n + 5 && str_has_prefix(key, tenant) && key.p[tenant.n] == '\0', err);
    *ret = be_get32(key.p + tenant.n + 1);
    return 0;
}

/* --- values --- */

void block_value_seal(struct buf *payload, struct str key)
{
    buf_u32(payload, crc32c(crc32c(0, key.p, key.n), payload->p, payload->n));
}

int block_value_open(struct str key, struct str value, struct str *ret_payload, struct err *err)
{
    struct str payload;

    CORRUPT_UNLESS(value.n >= 4, err);
    payload = str_sub(value, 0, value.n - 4);
    if (le_get32(payload.p + payload.n) != crc32c(crc32c(0, key.p, key.n), payload.p, payload.n))
        return err_set(err, RC_CORRUPT, "the checksum of the value does not match");
    *ret_payload = payload;
    return 0;
}

int block_symbols_decode(struct str payload, struct str *page, size_t *ret_n, struct err *err)
{
    struct rd r = rd_of(payload);
    uint64_t n = rd_uvarint(&r);

    CORRUPT_UNLESS(rd_ok(&r) && n > 0 && n <= BLOCK_PAGE_SYMBOLS, err);
    for (uint64_t i = 0; i < n; i++) {
        page[i] = rd_lstr(&r);
        CORRUPT_UNLESS(rd_ok(&r) && page[i].n > 0, err);
    }
    CORRUPT_UNLESS(rd_done(&r), err);
    *ret_n = (size_t)n;
    return 0;
}

void block_series_encode(struct buf *out, const struct block_series *s)
{
    int64_t last = 0;

    buf_u64(out, s->fp.hi);
    buf_u64(out, s->fp.lo);
    buf_uvarint(out, s->label_count);
    for (size_t i = 0; i < s->label_count; i++) {
        buf_uvarint(out, s->symbols[i][0]);
        buf_uvarint(out, s->symbols[i][1]);
    }
    buf_uvarint(out, s->window_count);
    for (size_t i = 0; i < s->window_count; i++) {
        const struct block_window *w = &s->windows[i];

        buf_svarint(out, w->start_ms - last);
        buf_svarint(out, w->mint_ms - w->start_ms);
        buf_uvarint(out, (uint64_t)(w->maxt_ms - w->mint_ms));
        buf_u64(out, w->digest.hi);
        buf_u64(out, w->digest.lo);
        buf_uvarint(out, w->count - 1);
        buf_uvarint(out, (uint64_t)w->chunk_count * 2 + w->first);
        last = w->start_ms;
    }
}

/* Times are bounded (window.h), so sums of two of them cannot overflow once each is checked. */
static bool time_ok(int64_t t)
{
    return t >= 2 * TIMESTAMP_MIN_MS && t <= 2 * TIMESTAMP_MAX_MS;
}

static int window_decode(struct rd *r, int64_t last, bool is_first, struct block_window *w, struct err *err)
{
    int64_t gap = rd_svarint(r), lead = rd_svarint(r);
    uint64_t length = rd_uvarint(r), count, chunks;

    CORRUPT_UNLESS(rd_ok(r) && time_ok(gap) && time_ok(lead) && length <= 2 * (uint64_t)TIMESTAMP_MAX_MS, err);
    w->start_ms = last + gap;
    CORRUPT_UNLESS(time_ok(w->start_ms) && (is_first || gap > 0), err);
    w->mint_ms = w->start_ms + lead;
    w->maxt_ms = w->mint_ms + (int64_t)length;
    w->digest.hi = rd_u64(r);
    w->digest.lo = rd_u64(r);
    count = rd_uvarint(r);
    chunks = rd_uvarint(r);
    CORRUPT_UNLESS(rd_ok(r) && count < UINT32_MAX && chunks / 2 > 0 && chunks / 2 <= UINT32_MAX, err);
    w->count = (uint32_t)count + 1;
    w->chunk_count = (uint32_t)(chunks / 2);
    w->first = chunks & 1;
    CORRUPT_UNLESS(w->first || !is_first, err);
    return 0;
}

fingerprint block_series_fp(struct str payload)
{
    struct rd r = rd_of(payload);
    fingerprint fp = {.hi = rd_u64(&r)};

    fp.lo = rd_u64(&r);
    return fp;
}

int block_series_decode(struct str payload, struct arena *a, struct block_series *ret, struct err *err)
{
    struct rd r = rd_of(payload);
    struct block_series s = {.fp.hi = rd_u64(&r)};
    uint64_t n;
    int rc = 0;

    s.fp.lo = rd_u64(&r);
    n = rd_uvarint(&r);
    CORRUPT_UNLESS(rd_ok(&r) && n > 0 && n <= LABELS_MAX && n * 2 <= rd_left(&r), err);
    s.label_count = (size_t)n;
    s.symbols = arena_array(a, s.label_count, sizeof *s.symbols);
    if (!s.symbols)
        return err_set(err, RC_NOMEM, "series: memory budget is spent");
    for (size_t i = 0; i < s.label_count * 2; i++) {
        n = rd_uvarint(&r);
        CORRUPT_UNLESS(n <= UINT32_MAX, err);
        s.symbols[i / 2][i % 2] = (uint32_t)n;
    }
    n = rd_uvarint(&r);
    CORRUPT_UNLESS(rd_ok(&r) && n > 0 && n <= BLOCK_WINDOWS_MAX && n * 21 <= rd_left(&r), err);
    s.window_count = (size_t)n;
    s.windows = arena_array(a, s.window_count, sizeof *s.windows);
    if (!s.windows)
        return err_set(err, RC_NOMEM, "series: memory budget is spent");
    for (size_t i = 0; rc == 0 && i < s.window_count; i++)
        rc = window_decode(&r, i ? s.windows[i - 1].start_ms : 0, i == 0, &s.windows[i], err);
    if (rc < 0)
        return rc;
    CORRUPT_UNLESS(rd_done(&r), err);
    *ret = s;
    return 0;
}

/* --- postings --- */

static void roaring_encode(struct buf *out, const uint32_t *ordinals, size_t n)
{
    roaring_bitmap_t *set = roaring_bitmap_of_ptr(n, ordinals);
    size_t bytes;
    char *p;

    ASSERT(set);
    roaring_bitmap_run_optimize(set);
    bytes = roaring_bitmap_portable_size_in_bytes(set);
    p = buf_space(out, bytes);
    if (p)
        ASSERT(roaring_bitmap_portable_serialize(set, p) == bytes);
    roaring_bitmap_free(set);
}

void block_postings_encode(struct buf *out, const uint32_t *ordinals, size_t n)
{
    ASSERT(n > 0);
    if (n > BLOCK_SMALL_POSTINGS) {
        buf_u8(out, POSTINGS_ROARING);
        roaring_encode(out, ordinals, n);
        return;
    }
    buf_u8(out, POSTINGS_SMALL);
    buf_uvarint(out, n);
    buf_uvarint(out, ordinals[0]);
    for (size_t i = 1; i < n; i++)
        buf_uvarint(out, ordinals[i] - ordinals[i - 1] - 1);
}

static int small_decode(struct rd *r, uint32_t ordinals[BLOCK_SMALL_POSTINGS], size_t *ret_n, struct err *err)
{
    uint64_t n = rd_uvarint(r), at = 0;

    CORRUPT_UNLESS(rd_ok(r) && n > 0 && n <= BLOCK_SMALL_POSTINGS, err);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t gap = rd_uvarint(r);

        CORRUPT_UNLESS(rd_ok(r) && gap <= UINT32_MAX, err);
        at = i ? at + gap + 1 : gap;
        CORRUPT_UNLESS(at <= UINT32_MAX, err);
        ordinals[i] = (uint32_t)at;
    }
    CORRUPT_UNLESS(rd_done(r), err);
    *ret_n = (size_t)n;
    return 0;
}

enum { ROARING_COOKIE = 12346, ROARING_COOKIE_RUNS = 12347, ROARING_OFFSETS_FROM = 4, ROARING_ARRAY_MAX = 4096, ROARING_BITSET_BYTES = 8192 };

static int runs_check(struct rd *r, uint32_t card, struct err *err)
{
    uint32_t runs = rd_u16(r), sum = 0;
    int64_t last = -1;

    CORRUPT_UNLESS(rd_ok(r) && runs > 0, err);
    for (uint32_t i = 0; i < runs; i++) {
        uint32_t from = rd_u16(r), more = rd_u16(r);

        CORRUPT_UNLESS(rd_ok(r) && from > last && from + more <= UINT16_MAX, err);
        last = (int64_t)from + more;
        sum += more + 1;
    }
    CORRUPT_UNLESS(sum == card, err);
    return 0;
}

static int container_check(struct rd *r, uint32_t card, bool is_runs, struct err *err)
{
    const uint8_t *p;
    int64_t last = -1;
    uint32_t sum = 0;

    if (is_runs)
        return runs_check(r, card, err);
    if (card <= ROARING_ARRAY_MAX) {
        for (uint32_t i = 0; i < card; i++) {
            uint16_t v = rd_u16(r);

            CORRUPT_UNLESS(rd_ok(r) && v > last, err);
            last = v;
        }
        return 0;
    }
    p = rd_take(r, ROARING_BITSET_BYTES);
    CORRUPT_UNLESS(p != NULL, err);
    for (size_t i = 0; i < ROARING_BITSET_BYTES; i += 8)
        sum += (uint32_t)__builtin_popcountll(le_get64(p + i));
    CORRUPT_UNLESS(sum == card, err);
    return 0;
}

/* The portable format (github.com/RoaringBitmap/RoaringFormatSpec) checked in full: CRoaring 0.2.66 checks lengths only, and later operations trust
 * cardinalities and order. */
static int roaring_check(struct str bytes, struct err *err)
{
    struct rd r = rd_of(bytes);
    uint32_t cookie = rd_u32(&r), n;
    const uint8_t *run_flags = NULL, *heads;
    int rc = 0;

    if ((cookie & 0xffff) == ROARING_COOKIE_RUNS) {
        n = (cookie >> 16) + 1;
        run_flags = rd_take(&r, (n + 7) / 8);
    } else {
        CORRUPT_UNLESS(cookie == ROARING_COOKIE, err);
        n = rd_u32(&r);
    }
    CORRUPT_UNLESS(rd_ok(&r) && n > 0 && n <= 65536, err);
    heads = rd_take(&r, n * 4);
    if (!run_flags || n >= ROARING_OFFSETS_FROM)
        rd_take(&r, n * 4);
    CORRUPT_UNLESS(rd_ok(&r), err);
    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        CORRUPT_UNLESS(i == 0 || le_get16(heads + 4 * i) > le_get16(heads + 4 * (i - 1)), err);
        rc = container_check(&r, le_get16(heads + 4 * i + 2) + 1U, run_flags && (run_flags[i / 8] >> (i % 8) & 1), err);
    }
    if (rc < 0)
        return rc;
    CORRUPT_UNLESS(rd_done(&r), err);
    return 0;
}

static int roaring_decode(struct str payload, roaring_bitmap_t **ret, struct err *err)
{
    roaring_bitmap_t *set;
    int rc = roaring_check(payload, err);

    if (rc < 0)
        return rc;
    set = roaring_bitmap_portable_deserialize_safe(payload.p, payload.n);
    if (!set)
        return err_set(err, RC_CORRUPT, "roaring bitmap of %zu bytes does not deserialize", payload.n);
    *ret = set;
    return 0;
}

int block_postings_or(struct str payload, roaring_bitmap_t *into, struct err *err)
{
    struct rd r = rd_of(payload);
    uint8_t kind = rd_u8(&r);
    uint32_t ordinals[BLOCK_SMALL_POSTINGS];
    roaring_bitmap_t *set;
    size_t n = 0;
    int rc;

    CORRUPT_UNLESS(rd_ok(&r) && kind <= POSTINGS_ROARING, err);
    if (kind == POSTINGS_SMALL) {
        rc = small_decode(&r, ordinals, &n, err);
        if (rc == 0)
            roaring_bitmap_add_many(into, n, ordinals);
        return rc;
    }
    rc = roaring_decode(str_skip(payload, 1), &set, err);
    if (rc == 0) {
        roaring_bitmap_or_inplace(into, set);
        roaring_bitmap_free(set);
    }
    return rc;
}

int block_postings_decode(struct str payload, roaring_bitmap_t **ret, struct err *err)
{
    roaring_bitmap_t *set;
    int rc;

    if (payload.n > 0 && payload.p[0] == POSTINGS_ROARING)
        return roaring_decode(str_skip(payload, 1), ret, err);
    set = roaring_bitmap_create();
    if (!set)
        return err_set(err, RC_NOMEM, "postings: memory is out");
    rc = block_postings_or(payload, set, err);
    if (rc < 0)
        roaring_bitmap_free(set);
    else
        *ret = set;
    return rc;
}

/* --- chunk groups --- */

int block_group_open(struct str payload, int64_t start_ms, struct block_group *ret, struct err *err)
{
    struct block_group g = {.rd = rd_of(payload), .start_ms = start_ms};

    g.left = rd_uvarint(&g.rd);
    CORRUPT_UNLESS(rd_ok(&g.rd) && time_ok(start_ms) && g.left > 0 && g.left <= BLOCK_WINDOWS_MAX, err);
    *ret = g;
    return 0;
}

int block_group_next(struct block_group *g, struct arena *a, int64_t *ret_start_ms, const struct str **ret_chunks,
                     uint32_t *ret_n, struct err *err)
{
    uint64_t gap, n;
    struct str *chunks;

    if (g->left == 0) {
        CORRUPT_UNLESS(rd_done(&g->rd), err);
        return 0;
    }
    gap = rd_uvarint(&g->rd);
    n = rd_uvarint(&g->rd);
    CORRUPT_UNLESS(rd_ok(&g->rd) && gap <= 2 * (uint64_t)TIMESTAMP_MAX_MS && n > 0 && n <= rd_left(&g->rd), err);
    chunks = arena_array(a, (size_t)n, sizeof *chunks);
    if (!chunks)
        return err_set(err, RC_NOMEM, "chunks: memory budget is spent");
    for (uint64_t i = 0; i < n; i++) {
        chunks[i] = rd_lstr(&g->rd);
        CORRUPT_UNLESS(rd_ok(&g->rd) && chunks[i].n > 0, err);
    }
    g->left--;
    *ret_start_ms = g->start_ms + (int64_t)gap;
    *ret_chunks = chunks;
    *ret_n = (uint32_t)n;
    return 1;
}
