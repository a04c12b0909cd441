/* snappy_pack.h - a skeleton as a snappy block whose structure never changes: labels are compressed once, a round only writes values and times into
 * the literals that hold them. Compressing the body anew in each round would be nearly all of the generator's work.
 *
 * Any snappy decoder reads it: what differs from a usual encoder is which matches are taken. Bytes of a series' own (values, traces) are always
 * literals and never the source of a copy. The round's time is the same wherever it stands, so the first one is a literal and later ones are
 * copies of it, whatever it will be.
 * Format: github.com/google/snappy/blob/main/format_description.txt: uvarint length, then literals (tag 00) and copies with an offset of one (01) or two (10) bytes. */
#pragma once
#include "loadgen/skeleton.h"

/* Where bytes that change stand in the block: n bytes of the mark's value, from byte from of it. */
struct patch {
    uint32_t at, series;
    uint8_t kind, from, n;
};
struct patches {
    VEC(struct patch) v;
};

/* Appends to the cleared out and patches. Patches of MARK_VALUE are whole and in the order of the marks. */
void snappy_pack(const struct skeleton *s, struct buf *out, struct patches *patches);
