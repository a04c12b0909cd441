/* labels.h - label sets and the identity of a series.
 * A struct labels is a sorted array of (name, value) pairs, borrowed strings, names unique, no empty value.
 * The *fingerprint* of (tenant, labels) is SHA-256 of the canonical form, cut to 128 bits, big-endian words:
 *   uvarint len(tenant), tenant, uvarint count, then per label in name order: uvarint len(name), name, uvarint len(value), value
 * Ring token: upper 32 bits. Head shard: from the low bits. Query shard of n: fingerprint mod n. */
#pragma once
#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/hash.h"

struct label {
    struct str name, value;
};
struct labels {
    struct label *v;
    size_t n;
};

#define LABEL_METRIC_NAME "__name__"

typedef struct u128 fingerprint;

fingerprint labels_fingerprint(struct str tenant, const struct labels *ls);
static inline uint32_t fingerprint_token(fingerprint fp)
{
    return (uint32_t)(fp.hi >> 32);
}
static inline uint32_t fingerprint_mod(fingerprint fp, uint32_t n)
{
    return (uint32_t)((((__uint128_t)fp.hi << 64) | fp.lo) % n);
}
static inline uint64_t fingerprint_hash(fingerprint fp)
{
    return fp.lo;
}

/* Sorts by name in place. Returns false when a name occurs twice (ret_dup, if not NULL, is that name). */
bool labels_sort(struct labels *ls, struct str *ret_dup);
int labels_cmp(const struct labels *a, const struct labels *b); /* Prometheus's order: pair by pair, then length */
bool labels_eq(const struct labels *a, const struct labels *b);
/* Value of name, or p == NULL when absent. */
struct str labels_get(const struct labels *ls, struct str name);
/* Copies array and strings into the arena; v NULL over budget. */
struct labels labels_dup(struct arena *a, const struct labels *ls);

/* Which labels of a series are wanted: those whose names are listed, and always those that begin with "__". */
struct label_names {
    const struct str *v;
    size_t n;
};
/* k NULL: all. */
bool label_names_have(const struct label_names *k, struct str name);
/* Those that k has, strings borrowed from ls; v NULL over budget. */
struct labels labels_only(struct arena *a, const struct labels *ls, const struct label_names *k);

/* Encoded form between processes, in the WAL and in blocks: uvarint count, then lstr name, lstr value each (names sorted). */
void labels_encode(struct buf *out, const struct labels *ls);
/* Strings borrow from the input; the array comes from the arena. Refuses unsorted, repeated or empty names, empty
 * values, more than LABELS_MAX labels. */
int labels_decode(struct rd *r, struct arena *a, struct labels *ret, struct err *err);
enum { LABELS_MAX = 4096 };

/* {a="b", c="d"} with the metric name in front, as Prometheus prints a series; values escaped as Go's %q. For messages the
 * text is cut at max bytes, with "..." */
void labels_print(struct buf *out, const struct labels *ls);
void labels_quote(struct buf *out, struct str s);  /* Go's strconv.Quote */
void labels_escape(struct buf *out, struct str s); /* the same without the quotes */
bool rune_printable(uint32_t rune);               /* Go's strconv.IsPrint: letters, marks, numbers, punctuation, symbols, space */

/* [a-zA-Z_:][a-zA-Z0-9_:]* and [a-zA-Z_][a-zA-Z0-9_]* */
bool metric_name_legacy_valid(struct str s);
bool label_name_legacy_valid(struct str s);
bool utf8_valid(struct str s);
