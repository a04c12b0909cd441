/* pb_scan.h - the protobuf wire format, field by field, without allocation. For hot or hand-shaped messages only; envelopes use protobuf-c. */
#pragma once
#include "common/base/bytes.h"
#include "common/base/err.h"

enum pb_wire { PB_VARINT = 0, PB_FIXED64 = 1, PB_BYTES = 2, PB_FIXED32 = 5 };

struct pb_field {
    uint32_t number;
    enum pb_wire wire;
    uint64_t value;     /* VARINT, FIXED64, FIXED32 */
    struct str bytes;   /* BYTES */
    struct str raw;     /* tag included */
};
/* 1: a field; 0: end; RC_INVALID: malformed (groups included). */
static inline int pb_next(struct rd *r, struct pb_field *f, struct err *err)
{
    const uint8_t *start = r->p;
    uint64_t tag;

    if (r->p == r->end && !r->failed)
        return 0;
    tag = rd_uvarint(r);
    f->number = (uint32_t)(tag >> 3);
    f->wire = (enum pb_wire)(tag & 7);
    if (UNLIKELY(r->failed || tag >> 32 || f->number == 0))
        return err_set(err, RC_INVALID, "malformed protobuf: bad field tag");
    switch (f->wire) {
    case PB_VARINT:
        f->value = rd_uvarint(r);
        break;
    case PB_FIXED64:
        f->value = rd_u64(r);
        break;
    case PB_BYTES:
        f->bytes = rd_lstr(r);
        break;
    case PB_FIXED32:
        f->value = rd_u32(r);
        break;
    default:
        return err_set(err, RC_INVALID, "malformed protobuf: wire type %d in field %u", (int)(tag & 7), f->number);
    }
    if (UNLIKELY(r->failed))
        return err_set(err, RC_INVALID, "malformed protobuf: field %u ends early", f->number);
    f->raw = str_n(start, (size_t)(r->p - start));
    return 1;
}
/* A known field with another wire type than the schema's is skipped, as unknown fields are. */
static inline bool pb_is(const struct pb_field *f, uint32_t number, enum pb_wire wire)
{
    return f->number == number && f->wire == wire;
}
/* Skips to the next BYTES field with this number; 1, 0 and errors as pb_next. */
static inline int pb_next_bytes(struct rd *r, uint32_t number, struct str *ret, struct err *err)
{
    struct pb_field f;
    int rc;

    while ((rc = pb_next(r, &f, err)) > 0) {
        if (pb_is(&f, number, PB_BYTES)) {
            *ret = f.bytes;
            return 1;
        }
    }
    return rc;
}
