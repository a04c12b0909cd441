#include "common/wire/select.h"

void select_page_begin(struct select_writer *w, struct buf *out)
{
    *w = (struct select_writer){.out = out};
    buf_u8(out, SELECT_VERSION);
}

void select_page_end(struct select_writer *w)
{
    vec_fini(&w->refs);
}

void select_page_renumber(struct select_writer *w)
{
    vec_clear(&w->refs);
}

/* Where the reference of a number is kept; NULL: nowhere. */
static uint32_t *ref_of(struct select_writer *w, uint32_t number)
{
    while (w->refs.n <= number)
        *vec_push(&w->refs) = 0;
    return &w->refs.v[number];
}

void select_page_series(struct select_writer *w, fingerprint fp, const struct labels *ls, const uint32_t *numbers, size_t window_count)
{
    struct buf *out = w->out;

    buf_u64(out, fp.hi);
    buf_u64(out, fp.lo);
    buf_uvarint(out, ls->n);
    for (size_t i = 0; i < ls->n; i++) {
        uint32_t *ref = numbers ? ref_of(w, numbers[i]) : NULL;

        buf_uvarint(out, ref ? *ref : 0);
        if (ref && *ref)
            continue;
        buf_lstr(out, ls->v[i].name);
        buf_lstr(out, ls->v[i].value);
        w->pairs++;
        if (ref)
            *ref = w->pairs;
    }
    buf_uvarint(out, window_count);
}

void select_page_window(struct buf *out, int64_t previous_start_ms, const struct wire_window *w)
{
    buf_svarint(out, w->start_ms - previous_start_ms);
    buf_svarint(out, w->mint_ms - w->start_ms);
    buf_svarint(out, w->maxt_ms - w->mint_ms);
    buf_u64(out, w->digest.hi);
    buf_u64(out, w->digest.lo);
    buf_uvarint(out, w->count);
    buf_uvarint(out, w->chunk_count);
    for (uint32_t i = 0; i < w->chunk_count; i++)
        buf_lstr(out, w->chunks[i]);
}

static int no_memory(struct err *err)
{
    return err_set(err, RC_NOMEM, "select page: memory budget is spent");
}

static int open_version(struct str page, struct rd *ret, struct err *err)
{
    struct rd r = rd_of(page);
    uint8_t version = rd_u8(&r);

    CORRUPT_UNLESS(rd_ok(&r), err);
    if (version != SELECT_VERSION)
        return err_set(err, RC_VERSION, "select page version %u, this binary reads %d", version, SELECT_VERSION);
    *ret = r;
    return 0;
}

int select_page_open(struct str page, const struct label_names *keep, struct arena *a, struct select_reader *ret, struct err *err)
{
    *ret = (struct select_reader){.a = a, .keep = keep};
    return open_version(page, &ret->r, err);
}

/* --- labels --- */

/* follows: the name that was last seen to sort before this one, as its number + 1. So most series need no comparison of texts. */
struct select_name {
    struct str text;
    uint32_t follows;
    bool keep;
};
struct select_pair {
    struct label label;
    uint32_t name;
};
enum { NAMES_SEARCHED = 32 };

static void *doubled(struct arena *a, void *v, uint32_t n, uint32_t *cap, size_t size)
{
    uint32_t want = *cap ? *cap * 2 : 16;
    void *out = n < *cap ? v : arena_array(a, want, size);

    if (!out || out == v)
        return out;
    if (n)
        memcpy(out, v, n * size);
    *cap = want;
    return out;
}

/* A name that is not among the first ones gets another number: that costs comparisons later, no more. */
static int name_number(struct select_reader *r, struct str text, uint32_t *ret, struct err *err)
{
    struct select_name *names;

    for (uint32_t i = 0; i < MIN(r->name_count, (uint32_t)NAMES_SEARCHED); i++) {
        if (str_eq(r->names[i].text, text)) {
            *ret = i;
            return 0;
        }
    }
    names = doubled(r->a, r->names, r->name_count, &r->name_cap, sizeof *names);
    if (!names)
        return no_memory(err);
    r->names = names;
    r->names[r->name_count] = (struct select_name){text, 0, label_names_have(r->keep, text)};
    *ret = r->name_count++;
    return 0;
}

static int pair_new(struct select_reader *r, struct err *err)
{
    struct select_pair *pairs = doubled(r->a, r->pairs, r->pair_count, &r->pair_cap, sizeof *pairs), p;
    int rc;

    if (!pairs)
        return no_memory(err);
    r->pairs = pairs;
    p.label.name = rd_lstr(&r->r);
    p.label.value = rd_lstr(&r->r);
    CORRUPT_UNLESS(rd_ok(&r->r) && p.label.name.n > 0 && p.label.value.n > 0, err);
    rc = name_number(r, p.label.name, &p.name, err);
    if (rc == 0)
        r->pairs[r->pair_count++] = p;
    return rc;
}

static int page_labels(struct select_reader *r, struct labels *ret, struct err *err)
{
    uint64_t n = rd_uvarint(&r->r);
    uint32_t before = 0;
    struct str last = {0};
    struct labels ls;

    CORRUPT_UNLESS(rd_ok(&r->r) && n <= LABELS_MAX && n <= rd_left(&r->r), err);
    ls = (struct labels){arena_array(r->a, n, sizeof *ls.v), 0};
    if (!ls.v)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        uint64_t ref = rd_uvarint(&r->r);
        const struct select_pair *p;
        struct select_name *name;
        int rc;

        if (ref == 0) {
            rc = pair_new(r, err);
            if (rc < 0)
                return rc;
            ref = r->pair_count;
        }
        CORRUPT_UNLESS(ref <= r->pair_count, err);
        p = &r->pairs[ref - 1];
        name = &r->names[p->name];
        if (i > 0 && name->follows != before) {
            CORRUPT_UNLESS(str_cmp(last, name->text) < 0, err);
            name->follows = before;
        }
        before = p->name + 1;
        last = name->text;
        if (name->keep)
            ls.v[ls.n++] = p->label;
    }
    *ret = ls;
    return 0;
}

/* --- series --- */

static int window_next(struct rd *r, int64_t previous, struct arena *a, struct wire_window *ret, struct err *err)
{
    struct wire_window w = {0};
    uint64_t count, chunks;
    struct str *list;

    w.start_ms = (int64_t)((uint64_t)previous + (uint64_t)rd_svarint(r));
    w.mint_ms = (int64_t)((uint64_t)w.start_ms + (uint64_t)rd_svarint(r));
    w.maxt_ms = (int64_t)((uint64_t)w.mint_ms + (uint64_t)rd_svarint(r));
    w.digest.hi = rd_u64(r);
    w.digest.lo = rd_u64(r);
    count = rd_uvarint(r);
    chunks = rd_uvarint(r);
    CORRUPT_UNLESS(rd_ok(r) && count <= UINT32_MAX && chunks <= rd_left(r), err);
    list = arena_array(a, chunks, sizeof *list);
    if (!list)
        return no_memory(err);
    for (uint64_t i = 0; i < chunks; i++)
        list[i] = rd_lstr(r);
    CORRUPT_UNLESS(rd_ok(r), err);
    w.count = (uint32_t)count;
    w.chunk_count = (uint32_t)chunks;
    w.chunks = list;
    *ret = w;
    return 0;
}

int select_page_next(struct select_reader *r, struct wire_series *ret, struct err *err)
{
    struct wire_series s;
    int64_t previous = 0;
    uint64_t n;
    int rc;

    if (rd_done(&r->r))
        return 0;
    s.fp.hi = rd_u64(&r->r);
    s.fp.lo = rd_u64(&r->r);
    CORRUPT_UNLESS(rd_ok(&r->r), err);
    rc = page_labels(r, &s.labels, err);
    if (rc < 0)
        return rc;
    n = rd_uvarint(&r->r);
    /* A window takes 21 bytes at least. */
    CORRUPT_UNLESS(rd_ok(&r->r) && n <= SELECT_WINDOWS_MAX && n * 21 <= rd_left(&r->r), err);
    s.window_count = (size_t)n;
    s.windows = arena_array(r->a, s.window_count, sizeof *s.windows);
    if (!s.windows)
        return no_memory(err);
    for (size_t i = 0; i < s.window_count; i++) {
        rc = window_next(&r->r, previous, r->a, &s.windows[i], err);
        if (rc < 0)
            return rc;
        CORRUPT_UNLESS(i == 0 || s.windows[i].start_ms > previous, err);
        previous = s.windows[i].start_ms;
    }
    *ret = s;
    return 1;
}

/* --- summaries --- */

struct u128 select_series_hash(fingerprint fp, const struct wire_window *w, size_t n)
{
    struct u128 sum = {0};

    for (size_t i = 0; i < n; i++) {
        uint64_t words[] = {fp.hi, fp.lo, (uint64_t)w[i].start_ms, w[i].digest.hi, w[i].digest.lo, w[i].count};

        sum = u128_add(sum, hash128(words, sizeof words, 0));
    }
    return sum;
}

void select_summary_write(struct buf *out, const struct u128 sums[SELECT_BUCKETS])
{
    uint32_t previous = 0;

    buf_u8(out, SELECT_VERSION);
    for (uint32_t i = 0; i < SELECT_BUCKETS; i++) {
        if (sums[i].hi == 0 && sums[i].lo == 0)
            continue;
        buf_uvarint(out, i - previous);
        buf_u64(out, sums[i].hi);
        buf_u64(out, sums[i].lo);
        previous = i;
    }
}

int select_summary_read(struct str page, struct u128 sums[SELECT_BUCKETS], struct err *err)
{
    uint64_t bucket = 0;
    struct rd r;
    int rc = open_version(page, &r, err);

    while (rc == 0 && !rd_done(&r)) {
        uint64_t skip = rd_uvarint(&r);
        struct u128 sum;

        sum.hi = rd_u64(&r);
        sum.lo = rd_u64(&r);
        CORRUPT_UNLESS(rd_ok(&r) && skip < SELECT_BUCKETS && bucket + skip < SELECT_BUCKETS, err);
        bucket += skip;
        sums[bucket] = u128_add(sums[bucket], sum);
    }
    return rc;
}

void label_names_encode(struct buf *out, const struct label_names *k)
{
    buf_uvarint(out, k->n);
    for (size_t i = 0; i < k->n; i++)
        buf_lstr(out, k->v[i]);
}

int label_names_decode(struct str bytes, struct arena *a, struct label_names *ret, struct err *err)
{
    struct rd r = rd_of(bytes);
    uint64_t n = rd_uvarint(&r);
    struct str *v;

    CORRUPT_UNLESS(rd_ok(&r) && n <= rd_left(&r), err);
    v = arena_array(a, n, sizeof *v);
    if (!v)
        return err_set(err, RC_NOMEM, "labels to keep: memory budget is spent");
    for (uint64_t i = 0; i < n; i++)
        v[i] = rd_lstr(&r);
    CORRUPT_UNLESS(rd_done(&r) && rd_ok(&r), err);
    *ret = (struct label_names){v, (size_t)n};
    return 0;
}

void matchers_encode(struct buf *out, const struct matcher *m, size_t n)
{
    buf_uvarint(out, n);
    for (size_t i = 0; i < n; i++)
        matcher_encode(out, &m[i]);
}

int matchers_decode(struct str bytes, struct arena *a, struct matcher **ret, size_t *ret_n, struct err *err)
{
    struct rd r = rd_of(bytes);
    uint64_t n = rd_uvarint(&r), done = 0;
    struct matcher *list;
    int rc = 0;

    CORRUPT_UNLESS(rd_ok(&r) && n <= MATCHERS_MAX, err);
    list = arena_array(a, n, sizeof *list);
    if (!list)
        return err_set(err, RC_NOMEM, "matchers: memory budget is spent");
    while (rc == 0 && done < n) {
        rc = matcher_decode(&r, &list[done], err);
        if (rc == 0)
            done++;
    }
    if (rc == 0 && !rd_done(&r))
        rc = err_set(err, RC_CORRUPT, "bytes after the last matcher");
    if (rc < 0) {
        while (done > 0)
            matcher_fini(&list[--done]);
        return rc;
    }
    *ret = list;
    *ret_n = (size_t)n;
    return 0;
}
