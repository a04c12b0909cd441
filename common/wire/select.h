/* select.h - pages of series between ingester (or block owner) and querier.
 * Page: u8 version, then per series: fp (hi, lo u64), labels_encode, uvarint windows, and per window: svarint start - previous start, svarint mint - start, svarint
 * maxt - mint, digest (hi, lo u64), uvarint count, uvarint chunks, lstr each chunk.
 * The shapes are those of tsdb/store.h, repeated here as plain parameters because wire lies below tsdb. */
#pragma once
#include "common/base/arena.h"
#include "common/model/labels.h"
#include "common/model/matcher.h"

enum { SELECT_VERSION = 1, SELECT_PAGE_BYTES = 4 << 20, SELECT_PAGE_BYTES_MAX = 12 << 20, SELECT_WINDOWS_MAX = 1 << 20 };

struct wire_window {
    int64_t start_ms, mint_ms, maxt_ms;
    struct u128 digest;
    uint32_t count, chunk_count;
    const struct str *chunks;
};
void select_page_begin(struct buf *out);
void select_page_series(struct buf *out, fingerprint fp, const struct labels *ls, size_t window_count);
void select_page_window(struct buf *out, int64_t previous_start_ms, const struct wire_window *w);

struct wire_series {
    fingerprint fp;
    struct labels labels;
    size_t window_count;
    struct wire_window *windows;
};
/* r after the version byte was checked by select_page_open. 1: a series (strings and chunks borrow from the page, arrays from the arena); 0: end. */
int select_page_open(struct str page, struct rd *ret, struct err *err);
int select_page_next(struct rd *r, struct arena *a, struct wire_series *ret, struct err *err);

void matchers_encode(struct buf *out, const struct matcher *m, size_t n);
enum { MATCHERS_MAX = 1000 };
/* Array from the arena; free each with matcher_fini. On failure none is left. */
int matchers_decode(struct str bytes, struct arena *a, struct matcher **ret, size_t *ret_n, struct err *err);
