/* select.h - pages of series between ingester (or block owner) and querier.
 * Page: u8 version, then per series: fp (hi, lo u64), uvarint labels, per label uvarint reference: 0 is a pair that is new on this page (lstr name, lstr
 * value), k the k-th new pair of the page; then uvarint windows, and per window: svarint start - previous start, svarint mint - start, svarint
 * maxt - mint, digest (hi, lo u64), uvarint count, uvarint chunks, lstr each chunk.
 * Summary: u8 version, then per bucket that has series: uvarint bucket - previous bucket (the first: bucket), sum (hi, lo u64) of select_series_hash over its
 * series. Replicas with the same sums hold the same windows, so that most digests need not travel.
 * The shapes are those of tsdb/store.h, repeated here as plain parameters because wire lies below tsdb. */
#pragma once
#include "common/base/arena.h"
#include "common/base/vec.h"
#include "common/model/labels.h"
#include "common/model/matcher.h"

enum {
    SELECT_VERSION = 1,
    SELECT_PAGE_BYTES = 1 << 20, /* small enough that the next one is made while this one is read */
    SELECT_PAGE_BYTES_MAX = 12 << 20,
    SELECT_WINDOWS_MAX = 1 << 20,
    SELECT_BUCKET_BITS = 10, /* by the upper bits of the fingerprint */
    SELECT_BUCKETS = 1 << SELECT_BUCKET_BITS,
};

struct wire_window {
    int64_t start_ms, mint_ms, maxt_ms;
    struct u128 digest;
    uint32_t count, chunk_count;
    const struct str *chunks;
};

/* --- writing --- */
struct select_writer {
    struct buf *out;
    uint32_t pairs;     /* on this page */
    VEC(uint32_t) refs; /* by label number; 0: not on this page */
};
/* out: borrowed; what fails is its to say. */
void select_page_begin(struct select_writer *w, struct buf *out);
void select_page_end(struct select_writer *w);
/* The numbers of labels given so far mean nothing any more. */
void select_page_renumber(struct select_writer *w);
/* numbers: small ones, equal for equal pairs; NULL: not known. */
void select_page_series(struct select_writer *w, fingerprint fp, const struct labels *ls, const uint32_t *numbers, size_t window_count);
void select_page_window(struct buf *out, int64_t previous_start_ms, const struct wire_window *w);

/* --- reading --- */
struct wire_series {
    fingerprint fp;
    struct labels labels;
    size_t window_count;
    struct wire_window *windows;
};
struct select_pair;
struct select_name;
struct select_reader {
    struct rd r;
    struct arena *a;
    struct select_pair *pairs;
    struct select_name *names;
    uint32_t pair_count, pair_cap, name_count, name_cap;
    const struct label_names *keep;
};
/* Strings and chunks borrow from the page, arrays are from the arena. Series come with the labels that keep has; NULL: with all. */
int select_page_open(struct str page, const struct label_names *keep, struct arena *a, struct select_reader *ret, struct err *err);
/* 1: a series; 0: end. */
int select_page_next(struct select_reader *r, struct wire_series *ret, struct err *err);

/* --- summaries --- */
static inline uint32_t select_bucket(fingerprint fp)
{
    return (uint32_t)(fp.hi >> (64 - SELECT_BUCKET_BITS));
}
/* Of fingerprint, starts, digests and counts; the same for ever. */
struct u128 select_series_hash(fingerprint fp, const struct wire_window *w, size_t n);
void select_summary_write(struct buf *out, const struct u128 sums[SELECT_BUCKETS]);
/* Adds to sums. */
int select_summary_read(struct str page, struct u128 sums[SELECT_BUCKETS], struct err *err);

/* uvarint n, lstr each: never empty. */
void label_names_encode(struct buf *out, const struct label_names *k);
/* Strings borrow from bytes, the array is from the arena. */
int label_names_decode(struct str bytes, struct arena *a, struct label_names *ret, struct err *err);
void matchers_encode(struct buf *out, const struct matcher *m, size_t n);
enum { MATCHERS_MAX = 1000 };
/* Array from the arena; free each with matcher_fini. On failure none is left. */
int matchers_decode(struct str bytes, struct arena *a, struct matcher **ret, size_t *ret_n, struct err *err);
