#include "common/wire/select.h"

void select_page_begin(struct buf *out)
{
    buf_u8(out, SELECT_VERSION);
}

void select_page_series(struct buf *out, fingerprint fp, const struct labels *ls, size_t window_count)
{
    buf_u64(out, fp.hi);
    buf_u64(out, fp.lo);
    labels_encode(out, ls);
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

int select_page_open(struct str page, struct rd *ret, struct err *err)
{
    struct rd r = rd_of(page);
    uint8_t version = rd_u8(&r);

    CORRUPT_UNLESS(rd_ok(&r), err);
    if (version != SELECT_VERSION)
        return err_set(err, RC_VERSION, "select page version %u, this binary reads %d", version, SELECT_VERSION);
    *ret = r;
    return 0;
}

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
        return err_set(err, RC_NOMEM, "select page: memory budget is spent");
    for (uint64_t i = 0; i < chunks; i++)
        list[i] = rd_lstr(r);
    CORRUPT_UNLESS(rd_ok(r), err);
    w.count = (uint32_t)count;
    w.chunk_count = (uint32_t)chunks;
    w.chunks = list;
    *ret = w;
    return 0;
}

int select_page_next(struct rd *r, struct arena *a, struct wire_series *ret, struct err *err)
{
    struct wire_series s;
    int64_t previous = 0;
    uint64_t n;
    int rc;

    if (rd_done(r))
        return 0;
    s.fp.hi = rd_u64(r);
    s.fp.lo = rd_u64(r);
    CORRUPT_UNLESS(rd_ok(r), err);
    rc = labels_decode(r, a, &s.labels, err);
    if (rc < 0)
        return rc;
    n = rd_uvarint(r);
    /* A window takes 21 bytes at least. */
    CORRUPT_UNLESS(rd_ok(r) && n <= SELECT_WINDOWS_MAX && n * 21 <= rd_left(r), err);
    s.window_count = (size_t)n;
    s.windows = arena_array(a, s.window_count, sizeof *s.windows);
    if (!s.windows)
        return err_set(err, RC_NOMEM, "select page: memory budget is spent");
    for (size_t i = 0; i < s.window_count; i++) {
        rc = window_next(r, previous, a, &s.windows[i], err);
        if (rc < 0)
            return rc;
        CORRUPT_UNLESS(i == 0 || s.windows[i].start_ms > previous, err);
        previous = s.windows[i].start_ms;
    }
    *ret = s;
    return 1;
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
