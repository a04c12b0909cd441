/* store.h - what every store of samples (head shard, block) hands out: series with their windows.
 * The same shape goes over the wire (common/wire/select.h) and into block writers, so that merging
 * replicas, answering a select and compacting are one piece of code: windows with equal digests are
 * the same samples; others are decoded and merged. */
#pragma once
#include "common/model/matcher.h"
#include "tsdb/chunk.h"
#include "tsdb/window.h"

#include <stdatomic.h>

struct stored_window {
    int64_t start_ms; /* window_start() of every sample in it */
    int64_t mint_ms, maxt_ms;
    struct u128 digest; /* zero: not known (merged blocks do not keep it), equal to none */
    uint32_t count;       /* samples */
    uint32_t chunk_count; /* 0 when only digests were asked for */
    const struct str *chunks;
};
static inline bool digest_known(struct u128 d)
{
    return d.hi | d.lo;
}
/* For sure the same samples. */
static inline bool stored_windows_alike(const struct stored_window *a, const struct stored_window *b)
{
    return a->start_ms == b->start_ms && digest_known(a->digest) && u128_eq(a->digest, b->digest);
}
struct stored_series {
    fingerprint fp;
    struct labels labels;
    size_t window_count;
    const struct stored_window *windows; /* ascending start_ms, each start once */
    const uint32_t *label_numbers; /* per label, or NULL: equal for equal pairs within one call of a
                                      select, and not much larger than there are pairs */
};
/* Called once per series; everything is borrowed until it returns. A negative return stops and is
 * passed on. */
typedef int stored_series_fn(void *arg, const struct stored_series *s);

/* When an answer is no longer wanted. Long work looks at it between two slices. */
struct store_stop {
    const _Atomic bool *canceled;
    int64_t deadline_mono_ns; /* of the system's clock */
};
/* RC_CANCELED, RC_TIMEOUT; 0: go on. stop: NULL is never. */
int store_stopped(const struct store_stop *stop, struct err *err);

enum store_mode { STORE_LABELS, STORE_DIGESTS, STORE_DATA };
struct store_select {
    struct str tenant;
    const struct matcher *matchers; /* none: every series of the tenant */
    size_t matcher_count;
    int64_t mint_ms, maxt_ms; /* both ends included; whole windows that touch it are returned */
    enum store_mode mode;
    uint32_t shard, shard_count; /* only series with fingerprint mod shard_count == shard;
                                    shard_count <= 1: all */
    size_t series_max;           /* 0: no limit; else RC_LIMIT past it */
    size_t enough;               /* with STORE_LABELS: so many series will do, whichever; 0: all.
                                    Stores may give more */
    bool no_labels;              /* labels are not wanted: they may be left out */
    const struct label_names *keep; /* labels that are wanted: others may be left out. NULL: all */
    const struct store_stop *stop; /* NULL: never */
};

/* Merges the windows of one series from several stores or replicas (same fp): per window, one
 * representative per distinct digest, decoded and merged only when more than one remains. Result in
 * the arena. votes[i] (NULL: 1 each) is how many replicas stand behind input i. ret windows carry
 * data if the inputs do. */
int stored_series_merge(const struct stored_series *const *in, const uint32_t *votes, size_t n,
                        struct arena *a, struct stored_series *ret, struct err *err);
/* The same samples in few chunks: windows of several chunks, or of a chunk in its open form, are
 * decoded and encoded by size. Result in the arena, the rest is borrowed from s. */
int stored_series_compact(const struct stored_series *s, struct arena *a, struct stored_series *ret,
                          struct err *err);
/* The series without the samples in the spans (tombstone.h): windows inside a span go, those that
 * touch one are decoded and encoded again, unless they carry no data. Result in the arena, the rest
 * is borrowed from s. */
struct time_spans;
int stored_series_cut(const struct stored_series *s, const struct time_spans *spans, struct arena *a,
                      struct stored_series *ret, struct err *err);
/* All samples with mint <= t <= maxt of one merged series, in time order. */
int stored_series_columns(const struct stored_series *s, int64_t mint_ms, int64_t maxt_ms,
                          struct arena *a, struct chunk_columns *ret, struct err *err);
/* A series from samples in time order, cut into windows, chunks by size. Result in the arena; labels are borrowed. RC_INVALID: a timestamp outside of window.h's range. */
int stored_series_build(fingerprint fp, const struct labels *ls, const struct chunk_columns *c, struct arena *a, struct stored_series *ret, struct err *err);
