/* tombstone.h - what is deleted: the samples of matching series in a span of time. A tombstone stands in the tenant's index (index.h) from the moment of the
 * deletion until long after the last byte has been rewritten; readers hide what it covers, merges leave it out. Rules of retention per selector are
 * tombstones too: made from the limits and the time of day, never stored.
 * Threads: a tombstone never changes once it is made. */
#pragma once
#include "common/model/matcher.h"
#include "tsdb/store.h"

#include "common/base/vec.h"

enum { TOMBSTONES_MAX = 1000 /* of one tenant */, TOMBSTONE_MATCHERS_MAX = 100 };

/* Both ends included. */
struct time_span {
    int64_t mint_ms, maxt_ms;
};
struct tombstone {
    uint64_t seq;             /* 1, 2, ... in the order of deletions of the tenant; of a rule: a hash of its text */
    struct matcher *matchers; /* owned; none: every series */
    size_t matcher_count;
    struct time_span span;
    int64_t created_ms;
    int64_t applied_ms;       /* 0; else when no block had anything left to be rewritten for it */
    bool tenant;              /* the tenant was deleted as a whole */
    bool hurry;               /* blocks are rewritten at the next opportunity */
};
typedef VEC(struct tombstone) tombstones;

/* Copies the matchers. RC_LIMIT past TOMBSTONE_MATCHERS_MAX; RC_INVALID when a regular expression does not compile (it did before). */
int tombstone_init(struct tombstone *t, const struct matcher *m, size_t n, struct time_span span, struct err *err);
void tombstone_fini(struct tombstone *t);
int tombstone_dup(const struct tombstone *from, struct tombstone *ret, struct err *err);
void tombstones_fini(tombstones *list);
size_t tombstones_memory(const tombstones *list); /* bytes, without compiled expressions */
bool tombstone_same_series(const struct tombstone *a, const struct tombstone *b); /* equal matchers in equal order */
bool tombstone_matches(const struct tombstone *t, const struct labels *ls);
static inline bool time_spans_meet(struct time_span a, struct time_span b)
{
    return a.mint_ms <= b.maxt_ms && a.maxt_ms >= b.mint_ms;
}

/* What the tombstones hide of one series within a range: spans in order, apart from each other, in the arena. 0 spans: nothing. RC_NOMEM. */
struct time_spans {
    const struct time_span *v;
    size_t n;
};
int tombstones_spans(const struct tombstone *list, size_t n, const struct labels *ls, struct time_span within, struct arena *a, struct time_spans *ret,
                     struct err *err);
bool time_spans_cover(const struct time_spans *s, struct time_span all);
bool time_spans_have(const struct time_spans *s, int64_t t);
