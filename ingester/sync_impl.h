/* sync_impl.h - the edge of sync: its thread's state, for sync.c and sync_page.c. */
#pragma once
#include "common/base/rate.h"
#include "common/sys/thread.h"
#include "ingester/ingester_impl.h"
#include "ingester/sync.h"

enum { SYNC_ERROR_TEXT = 200 };

/* The last comparison with a peer. */
struct sync_status {
    char id[RING_ID_MAX + 1];
    uint64_t version;
    int64_t ended_ms, took_ms; /* wall time; ended 0: none yet */
    bool ok, running;
    struct sync_result result;
    uint64_t samples_total;
    char error[SYNC_ERROR_TEXT];
};

struct sync {
    struct ingester *in;  /* --- read-only --- */
    struct metric *m_samples, *m_series, *m_bytes, *m_windows, *m_conflicts, *m_exchanges, *m_failures, *m_behind;
    pthread_t thread;
    bool started;
    uint64_t *seen;       /* --- the thread's --- */
    struct rate_bucket bandwidth;
    uint64_t recounted;   /* ring version of the last count of strangers */

    struct mutex lock;    /* --- guards the rest --- */
    struct cond wake, changed;
    struct sync_core *core;
    VEC(struct sync_status) status;
    bool woken, stopping, gone;
};
