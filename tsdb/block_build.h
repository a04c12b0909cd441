/* block_build.h - what a block writer holds in memory while one tenant passes: its symbols and its postings.
 * Ordinals arrive in ascending order, so a posting list is kept as varint gaps: about 20 bytes for a label pair plus 1 or 2 bytes a series.
 * One owner. */
#pragma once
#include "common/base/err.h"
#include "common/base/str.h"

struct block_build;
struct block_list {
    uint32_t name, value; /* symbols */
    uint32_t count, last;
    char *gaps; /* count uvarints: the first ordinal, then differences */
    uint32_t n, cap;
};

struct block_build *block_build_new(size_t bytes_max);
void block_build_free(struct block_build *b);
/* Number of the text, given out in order of arrival. RC_LIMIT past bytes_max. */
int block_build_symbol(struct block_build *b, struct str text, uint32_t *ret, struct err *err);
struct str block_build_text(const struct block_build *b, uint32_t symbol);
uint32_t block_build_symbol_count(const struct block_build *b);
int block_build_post(struct block_build *b, uint32_t name, uint32_t value, uint32_t ordinal, struct err *err);
/* Lists in (name, value) order of their texts; borrowed. Nothing may be added afterwards. */
const struct block_list *block_build_sorted(struct block_build *b, size_t *ret_n);
/* ret has room for l->count. */
void block_list_ordinals(const struct block_list *l, uint32_t *ret);
