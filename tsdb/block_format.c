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
    const struct block_window *w = s->windows;
    int64_t last = 0;

    buf_u64(out, s->fp.hi);
    buf_u64(out, s->fp.lo);
    buf_uvarint(out, s->label_count);
    for (size_t i = 0; i < s->label_count; i++) {
        buf_uvarint(out, s->symbols[i][0]);
        buf_uvarint(out, s->symbols[i][1]);
    }
    buf_uvarint(out, (uint64_t)s->window_count * 2 + s->digests);
    for (size_t i = 0; i < s->window_count; i++) {
        buf_svarint(out, w[i].mint_ms - last);
        last = w[i].maxt_ms;
    }
    for (size_t i = 0; i < s->window_count; i++)
        buf_uvarint(out, (uint64_t)(w[i].maxt_ms - w[i].mint_ms));
    for (size_t i = 0; i < s->window_count; i++)
        buf_uvarint(out, w[i].count - 1);
    for (size_t i = 0; i < s->window_count; i++)
        buf_uvarint(out, (uint64_t)w[i].chunk_count * 2 + w[i].first);
    for (size_t i = 0; s->digests && i < s->window_count; i++) {
        buf_u64(out, w[i].digest.hi);
        buf_u64(out, w[i].digest.lo);
    }
}

/* Times are bounded (window.h), so sums of two of them cannot overflow once each is checked. */
static bool time_ok(int64_t t)
{
    return t >= 2 * TIMESTAMP_MIN_MS && t <= 2 * TIMESTAMP_MAX_MS;
}

static int counts_decode(uint64_t count, uint64_t chunks, bool is_first, struct block_window *w, struct err *err)
{
    CORRUPT_UNLESS(count < UINT32_MAX && chunks / 2 > 0 && chunks / 2 <= UINT32_MAX, err);
    w->count = (uint32_t)count + 1;
    w->chunk_count = (uint32_t)(chunks / 2);
    w->first = chunks & 1;
    CORRUPT_UNLESS(w->first || !is_first, err);
    return 0;
}

/* Version 1. */
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
    CORRUPT_UNLESS(rd_ok(r), err);
    return counts_decode(count, chunks, is_first, w, err);
}

/* Times are checked before anything is made of them. */
static int times_decode(struct rd *r, fingerprint fp, struct block_window *w, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++)
        w[i].mint_ms = rd_svarint(r);
    for (size_t i = 0; i < n; i++) {
        int64_t gap = w[i].mint_ms;
        uint64_t length = rd_uvarint(r);

        CORRUPT_UNLESS(rd_ok(r) && time_ok(gap) && length < WINDOW_MS, err);
        w[i].mint_ms = i ? w[i - 1].maxt_ms + gap : gap;
        w[i].maxt_ms = w[i].mint_ms + (int64_t)length;
        CORRUPT_UNLESS(time_ok(w[i].mint_ms) && time_ok(w[i].maxt_ms), err);
        w[i].start_ms = window_start(fp, w[i].mint_ms, NULL);
        CORRUPT_UNLESS(i == 0 || w[i].start_ms > w[i - 1].start_ms, err);
    }
    return 0;
}

static int columns_decode(struct rd *r, const struct block_series *s, struct err *err)
{
    struct block_window *w = s->windows;
    int rc = times_decode(r, s->fp, w, s->window_count, err);

    for (size_t i = 0; rc == 0 && i < s->window_count; i++) {
        uint64_t count = rd_uvarint(r);

        CORRUPT_UNLESS(count < UINT32_MAX, err);
        w[i].count = (uint32_t)count;
    }
    for (size_t i = 0; rc == 0 && i < s->window_count; i++)
        rc = counts_decode(w[i].count, rd_uvarint(r), i == 0, &w[i], err);
    for (size_t i = 0; rc == 0 && i < s->window_count; i++) {
        w[i].digest.hi = s->digests ? rd_u64(r) : 0;
        w[i].digest.lo = s->digests ? rd_u64(r) : 0;
    }
    return rc;
}

fingerprint block_series_fp(struct str payload)
{
    struct rd r = rd_of(payload);
    fingerprint fp = {.hi = rd_u64(&r)};

    fp.lo = rd_u64(&r);
    return fp;
}

int block_series_decode(uint32_t version, struct str payload, struct arena *a, struct block_series *ret, struct err *err)
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
    s.digests = version == 1 || (n & 1);
    n = version == 1 ? n : n / 2;
    CORRUPT_UNLESS(rd_ok(&r) && n > 0 && n <= BLOCK_WINDOWS_MAX && n * (s.digests ? 20 : 4) <= rd_left(&r), err);
    s.window_count = (size_t)n;
    s.windows = arena_array(a, s.window_count, sizeof *s.windows);
    if (!s.windows)
        return err_set(err, RC_NOMEM, "series: memory budget is spent");
    if (version > 1)
        rc = columns_decode(&r, &s, err);
    for (size_t i = 0; version == 1 && rc == 0 && i < s.window_count; i++)
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

/* How many bytes of the window's only chunk are its front, behind the first byte; 0: it has another, or there are more chunks. */
static size_t front_of(const struct block_window *w, const struct block_chunks *c)
{
    char front[CHUNK_FRONT_MAX];
    size_t n = chunk_front(front, w->count, w->mint_ms, w->maxt_ms);

    return c->n == 1 && c->chunks[0].n > n && memcmp(c->chunks[0].p + 1, front, n) == 0 ? n : 0;
}

void block_group_encode(struct buf *out, const struct block_window *windows, const struct block_chunks *chunks, size_t n)
{
    buf_uvarint(out, n);
    for (size_t i = 0; i < n; i++) {
        size_t front = front_of(&windows[i], &chunks[i]);

        for (uint32_t k = 0; k < chunks[i].n; k++)
            buf_uvarint(out, (chunks[i].chunks[k].n - front) * 2 + (front > 0));
    }
    for (size_t i = 0; i < n; i++) {
        size_t front = front_of(&windows[i], &chunks[i]);

        for (uint32_t k = 0; k < chunks[i].n; k++) {
            struct str c = chunks[i].chunks[k];

            if (front) {
                buf_char(out, c.p[0]);
                c = str_skip(c, 1 + front);
            }
            buf_str(out, c);
        }
    }
}

int block_group_open(uint32_t version, struct str payload, const struct block_window *windows, size_t n, struct block_group *ret, struct err *err)
{
    struct block_group g = {.version = version, .rd = rd_of(payload), .start_ms = windows[0].start_ms};

    g.left = rd_uvarint(&g.rd);
    CORRUPT_UNLESS(rd_ok(&g.rd) && g.left == n, err);
    g.bytes = g.rd;
    for (size_t i = 0; version > 1 && i < n; i++)
        for (uint32_t k = 0; k < windows[i].chunk_count && rd_ok(&g.bytes); k++)
            rd_uvarint(&g.bytes);
    CORRUPT_UNLESS(rd_ok(&g.bytes), err);
    *ret = g;
    return 0;
}

static int no_memory(struct err *err)
{
    return err_set(err, RC_NOMEM, "chunks: memory budget is spent");
}

/* bytes: a chunk without its front. */
static int front_put_back(const struct block_window *w, struct str bytes, struct arena *a, struct str *ret, struct err *err)
{
    char front[CHUNK_FRONT_MAX], *p;
    size_t n = chunk_front(front, w->count, w->mint_ms, w->maxt_ms);

    CORRUPT_UNLESS(w->chunk_count == 1 && bytes.n > 0, err);
    p = arena_alloc(a, bytes.n + n);
    if (!p)
        return no_memory(err);
    p[0] = bytes.p[0];
    memcpy(p + 1, front, n);
    memcpy(p + 1 + n, bytes.p + 1, bytes.n - 1);
    *ret = str_n(p, bytes.n + n);
    return 0;
}

static int window_v1(struct block_group *g, const struct block_window *w, struct err *err)
{
    uint64_t gap = rd_uvarint(&g->rd), n = rd_uvarint(&g->rd);

    CORRUPT_UNLESS(rd_ok(&g->rd) && gap == (uint64_t)(w->start_ms - g->start_ms) && n == w->chunk_count && n <= rd_left(&g->rd), err);
    return 0;
}

int block_group_next(struct block_group *g, const struct block_window *w, struct arena *a, struct block_chunks *ret, struct err *err)
{
    struct str *chunks;
    int rc = 0;

    CORRUPT_UNLESS(g->left-- > 0, err);
    if (g->version == 1)
        rc = window_v1(g, w, err);
    if (rc < 0)
        return rc;
    CORRUPT_UNLESS(w->chunk_count <= rd_left(&g->rd), err);
    chunks = ret ? arena_array(a, w->chunk_count, sizeof *chunks) : NULL;
    if (ret && !chunks)
        return no_memory(err);
    for (uint32_t i = 0; rc == 0 && i < w->chunk_count; i++) {
        uint64_t size = rd_uvarint(&g->rd);
        struct rd *from = g->version == 1 ? &g->rd : &g->bytes;
        bool bare = g->version > 1 && (size & 1);
        struct str bytes;

        size = g->version == 1 ? size : size / 2;
        CORRUPT_UNLESS(rd_ok(&g->rd) && size > 0 && size <= rd_left(from), err);
        bytes = rd_str(from, (size_t)size);
        if (ret && bare)
            rc = front_put_back(w, bytes, a, &chunks[i], err);
        else if (ret)
            chunks[i] = bytes;
    }
    if (ret)
        *ret = (struct block_chunks){chunks, w->chunk_count};
    return rc;
}

int block_group_end(const struct block_group *g, struct err *err)
{
    CORRUPT_UNLESS(g->left == 0 && rd_done(g->version == 1 ? &g->rd : &g->bytes), err);
    return 0;
}
