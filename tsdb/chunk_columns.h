/* chunk_columns.h - the columns of sealed chunks, shared by float and histogram chunks; layouts in
 * chunk_encode.c.
 * Writers return the codec they chose; the caller writes it down. Readers take 1 <= n <=
 * CHUNK_SAMPLES_MAX numbers. */
#pragma once
#include "tsdb/chunk_format.h"

enum time_codec { TIME_REGULAR, TIME_INTS };
enum value_codec { VALUE_CONSTANT, VALUE_DECIMAL, VALUE_BITS, VALUE_ADAPTIVE, VALUE_XOR };
enum start_codec { START_NONE, START_CONSTANT, START_PREVIOUS, START_INTS };
enum {
    DECIMAL_HAS_SPECIALS = 0x80,
    DECIMAL_HAS_SHIFT = 0x40,
    DECIMAL_SHIFT_MAX = 51
}; /* beside the mode */

/* u8 first byte | uvarint count | svarint first t [ms] | uvarint last t - first t */
void columns_put_header(struct buf *out, enum chunk_encoding e, const int64_t *t, size_t n);
enum time_codec columns_put_time(struct buf *out, const int64_t *t, size_t n);
enum value_codec columns_put_values(struct buf *out, const double *v, size_t n);
enum start_codec columns_put_starts(struct buf *out, const int64_t *t,
                                    const int64_t *st /* may be NULL */, size_t n);

int columns_get_header(struct rd *r, enum chunk_kind kind, struct chunk_info *ret, struct err *err);
int columns_get_time(struct rd *r, enum time_codec codec, const struct chunk_info *info, int64_t *t,
                     struct err *err);
int columns_get_values(struct rd *r, unsigned codec, size_t n, double *v, struct err *err);
int columns_get_starts(struct rd *r, enum start_codec codec, size_t n, const int64_t *t,
                       int64_t *st, struct err *err);
