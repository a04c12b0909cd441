/* skeleton.h - a protobuf message under construction, with marks where bytes change from round to round while all else stays.
 * What changes has a fixed size, so that a round can patch it in place: values are doubles, times in milliseconds between 1971 and 2109 are varints of six bytes. */
#pragma once
#include "common/base/buf.h"
#include "common/base/vec.h"

enum mark_kind {
    MARK_VALUE,          /* of a series: 8 bytes; its own */
    MARK_TRACE_HEX,      /* of its exemplar: 32 hex digits */
    MARK_TRACE_RAW,      /* the same as 16 bytes */
    MARK_EXEMPLAR_VALUE, /* 8 bytes */
    MARK_TIME_MS,        /* the round's time, the same everywhere: varint */
    MARK_TIME_NS,        /* fixed64 */
};

enum { SKELETON_BYTES_MAX = 512 << 20, TIME_MS_BYTES = 6, MARK_BYTES_MAX = 32 };

struct mark {
    uint32_t at;     /* in body */
    uint32_t series; /* of the batch */
    uint8_t kind;
};

struct skeleton {
    struct buf body;
    VEC(struct mark) marks; /* by position */
};

void skeleton_init(struct skeleton *s);
void skeleton_fini(struct skeleton *s);
void skeleton_clear(struct skeleton *s);
size_t mark_size(enum mark_kind kind);
/* Bytes that a mark leaves open, without a tag. */
void skeleton_mark(struct skeleton *s, enum mark_kind kind, uint32_t series);

enum { PB_VARINT = 0, PB_FIXED64 = 1, PB_BYTES = 2 };
void pb_tag(struct skeleton *s, uint32_t field, uint32_t wire);
void pb_uint(struct skeleton *s, uint32_t field, uint64_t v);
void pb_sint(struct skeleton *s, uint32_t field, int64_t v); /* zigzag */
void pb_fixed64(struct skeleton *s, uint32_t field, uint64_t v);
void pb_str(struct skeleton *s, uint32_t field, struct str v);
/* A message, or packed numbers, between the two. Nested as one likes. */
size_t pb_begin(struct skeleton *s, uint32_t field);
void pb_end(struct skeleton *s, size_t begin);
