/* metrics_impl.h - what metrics.c, expose.c and process.c share: the registry's insides. */
#pragma once
#include "common/base/vec.h"
#include "common/obs/metrics.h"
#include "common/sys/thread.h"

#include <uthash.h>

enum { METRIC_BUCKETS = 16 };
extern const double metric_bounds[METRIC_BUCKETS];

struct metric {
    struct metric_family *family; /* --- fixed --- */
    char *key;                    /* label set as printed: a="b",c="d" */
    size_t key_n;
    _Atomic uint64_t count; /* --- any thread, relaxed --- counter: whole part */
    _Atomic double value;   /* counter: fractional part; gauge: value; histogram: sum */
    _Atomic uint64_t buckets[METRIC_BUCKETS + 1]; /* histogram, not cumulative */
    UT_hash_handle hh; /* --- guarded by the registry's lock --- in order of creation */
};

struct metric_family {
    struct metrics *owner;
    struct metric_family *next; /* guarded by the registry's lock, like children */
    enum metric_type type;
    const char *name, *help;
    const char *labels[METRIC_LABELS_MAX];
    size_t label_count;
    struct metric *children;
    size_t child_count;
};

struct metrics_hook {
    void (*fn)(void *arg);
    void *arg;
};

struct metrics {
    struct mutex lock;
    struct metric_family *families, **families_end;
    VEC(struct metrics_hook) hooks;
    struct process_metrics {
        struct metric *cpu, *resident, *virtual, *fds, *fds_max, *start, *threads;
    } process;
};
