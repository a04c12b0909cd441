/* metadata_seen.h - which metadata the ingesters have. Remote Write 2.0 repeats a family's metadata with each series of each request; what a quorum has
 * already is left out. A table of one word per row, two places each, no locks: what falls out of it is sent again, which is harmless. A row is also sent
 * again when the ring or a head changed (epoch), and every METADATA_RESEND_MS, so that a replica that missed it gets it.
 * Any thread. 8 MiB of address space, of which only touched pages are memory. */
#pragma once
#include "common/base/str.h"

enum { METADATA_SEEN_SLOTS = 1 << 20, METADATA_RESEND_MS = 10 * 60 * 1000 };

struct metadata_seen;
struct metadata_seen *metadata_seen_new(void);
void metadata_seen_free(struct metadata_seen *s);
size_t metadata_seen_memory(const struct metadata_seen *s); /* bytes of address space */

struct metadata_row {
    struct str tenant, metric, help, unit;
    uint8_t type;
};
struct metadata_key {
    uint64_t place, word;
};
struct metadata_key metadata_key_of(const struct metadata_row *row, uint32_t epoch, int64_t now_ms);
bool metadata_seen_has(const struct metadata_seen *s, struct metadata_key k);
void metadata_seen_put(struct metadata_seen *s, struct metadata_key k);
