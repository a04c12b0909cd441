/* lookup.h - questions about labels and metadata: the same owners, quorum and blocks as for
 * samples, but only texts come back. Memory: everything in the arena given. */
#pragma once
#include "querier/source.h"

/* A sorted set of texts, once value_set_finish was called. */
struct value_set {
    struct arena *arena;
    struct str *v;
    size_t n, cap;
    bool truncated;
};
int value_set_add(struct value_set *s, struct str value, struct err *err); /* copies */
/* Sorts, drops repetitions, cuts at limit (0: none). */
void value_set_finish(struct value_set *s, size_t limit);

/* Adds names (name.n == 0) or values of name over the series of all tenants of s that match. limit:
 * more of one answer are not needed. */
int lookup_labels(struct source *s, const struct store_select *q, struct str name, size_t limit,
                  struct value_set *values, struct err *err);

struct metadata_row {
    struct str metric, help, unit;
    uint8_t type;
};
struct metadata_rows {
    struct metadata_row *v;
    size_t n, cap;
};
/* Rows of all tenants of s, sorted by metric, each once. metric empty: all. */
int lookup_metadata(struct source *s, struct str metric, struct arena *a, struct metadata_rows *ret,
                    struct err *err);
const char *metadata_type_name(uint8_t type);
