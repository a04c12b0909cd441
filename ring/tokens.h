/* tokens.h - which tokens an instance owns, from its ordinal alone, so that ownership is even.
 * Own algorithm; the goal (tokens that follow from the ordinal, equal shares, zones that mirror each other) is that of dskit's
 * spread-minimising generator. Instance 0 cuts the space into equal ranges. Instance i then takes 1/(i+1) of the space: from each of
 * the i before it what that one has above 1/(i+1), at the front of that one's largest ranges, in proportion to their
 * lengths. So shares are equal up to rounding after every step, a new instance takes only what it must, from all alike, and nothing
 * moves between the others.
 * Zones mirror each other: an ordinal has the same tokens in each, since zones are looked at apart (ring.h). So it owns the same
 * ranges everywhere, and replica sets are (a-i, b-i, c-i). Two instances of one zone must not share an ordinal.
 * Instances without an ordinal get pseudo-random tokens from their name: correct, less even.
 * Threads: any; nothing is shared. */
#pragma once
#include "common/base/str.h"

enum {
    RING_TOKENS      = 256, /* per instance; measured in tests/unit/ring/tokens_test.c */
    RING_TOKENS_MAX  = 512, /* read from others */
    RING_ORDINAL_MAX = 511, /* cost grows with the square: about a second here, once in an instance's life */
};

/* n distinct tokens, ascending. n <= RING_TOKENS_MAX, ordinal <= RING_ORDINAL_MAX. */
void tokens_of_ordinal(unsigned ordinal, size_t n, uint32_t *ret);
void tokens_of_name(struct str name, size_t n, uint32_t *ret);

/* "ingester-zone-a-12" -> 12; -1 when the name does not end in a number within RING_ORDINAL_MAX. */
int tokens_ordinal_of_name(struct str name);
