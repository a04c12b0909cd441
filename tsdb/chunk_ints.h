/* chunk_ints.h - a column of 64-bit integers, bit packed against a frame of reference with
 * exceptions; arithmetic is mod 2^64.
 * The column is first made small by one of the orders below, then cut into blocks of INTS_BLOCK
 * numbers, each with its own base and width; the few numbers that do not fit their block's width
 * have the rest of their bits in a list behind it. Layout in chunk_ints.c.
 * Frames and exceptions as in Zukowski et al. (Super-scalar RAM-CPU cache compression, ICDE 2006). */
#pragma once
#include "common/base/err.h"
#include "tsdb/chunk_format.h"

enum { INTS_BLOCK = 256 };
enum ints_order {
    INTS_PLAIN = 0,
    INTS_DELTA = 1,
    INTS_DELTA2 = 2, /* delta of deltas */
    INTS_LINE = 3,   /* distance from a line through the first and the last number */
};
/* x: 1 <= n <= CHUNK_SAMPLES_MAX numbers, written with the order that needs the fewest bytes. */
void ints_encode(struct buf *out, const int64_t *x, size_t n);
int ints_decode(struct rd *r, int64_t *x, size_t n, struct err *err);
