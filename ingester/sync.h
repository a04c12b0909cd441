/* sync.h - an ingester takes over from other owners what it lacks: when it joins, when another leaves, after it was away, after its disk was lost,
 * and now and then to be sure. When and with whom: sync_core.h. How, with one other ingester (sync_exchange.c):
 *   1. sums of both sides' window digests, by 1,024 buckets of the fingerprint, of all tenants, over the series that the other one owns and this one
 *      owns or is to own; samples of the last slack_ms are left out, they are on their way still. Equal sums: done.
 *   2. of the buckets that differ, the digests, page by page;
 *   3. of the windows that differ, the samples, in messages of some megabytes; each window is checked against its digest, then a shard adds what is not
 *      there (tsdb/head_sync.h) and logs it as if it had been pushed. Limits on series and ages do not apply: the samples were accepted once.
 * The one asked gives nothing that is in a published block, and names the newest index generation it left something out for.
 *
 * Memory: a page of digests, one message of samples and what it decodes to. Bandwidth: bytes_per_s.
 * Threads: one of its own; the answers run on the RPC server's workers. */
#pragma once
#include "common/model/labels.h"
#include "ingester/ingester.h"
#include "ingester/sync_core.h"

struct sync;
struct inquiry;

enum sync_what {
    SYNC_SUMS,     /* sums by bucket */
    SYNC_DIGESTS,  /* series of buckets with their digests */
    SYNC_WINDOWS,  /* windows with data */
    SYNC_METADATA, /* of all tenants, as much as fits */
    SYNC_STATE,    /* taken_version alone */
};

enum {
    SYNC_VERSION         = 1,
    SYNC_PAGE_BYTES      = 1 << 20, /* of digests */
    SYNC_WINDOWS_BYTES   = 4 << 20, /* of samples: an answer stops behind the window that passes it */
    SYNC_WANTS_MAX       = 1 << 16, /* windows asked for at once */
    SYNC_JOB_SAMPLES     = 1 << 13, /* added by a shard in one go: pushes wait meanwhile */
    SYNC_CALL_MS         = 60000,
};

/* What two instances share, at one version of the ring: for both sides of a comparison. */
struct sync_pair {
    struct ring *ring;
    uint16_t giver, taker;
};
bool sync_pair_shares(const void *pair, fingerprint fp);

/* How one comparison went. */
struct sync_result {
    uint64_t buckets_differed;
    uint64_t series_differed, windows_differed; /* that the other one had otherwise, or alone */
    uint64_t samples, series;                   /* new here */
    uint64_t conflicts;                         /* timestamps with another value: they stay as they are */
    uint64_t collisions;                        /* series with the fingerprint of others: left out */
    uint64_t bytes;
    uint64_t gen;
};

struct sync *sync_new(struct ingester *in);
void sync_handle(struct ingester *in, struct rpc_server *srv);
void sync_start(struct sync *s);
void sync_stop(struct sync *s); /* NULL is fine */
void sync_free(struct sync *s); /* NULL is fine */
/* The ring or a wish has changed. */
void sync_wake(struct sync *s);
/* Published windows up to gen are not here: refuse readers with an older index. In the log. */
int ingester_know_generation(struct ingester *in, uint64_t gen, struct err *err);

/* --- sync_exchange.c --- */
struct exchange_deps {
    struct ingester *in;
    struct rpc_client *rpc;
    /* False: stop. Called between messages with the bytes of the last one; may wait. */
    bool (*pace)(void *arg, uint64_t bytes, const struct sync_result *so_far);
    void *arg;
    uint64_t *seen; /* SYNC_SEEN hashes of windows that brought nothing */
    struct sync_pair pair;
    const char *address;
    int64_t below_ms;
    bool metadata;
};
enum { SYNC_SEEN = 1 << 18 };
/* RC_MOVED: the ring has changed on either side. */
int sync_exchange(const struct exchange_deps *d, struct sync_result *ret, struct err *err);
int sync_ask_taken(struct ingester *in, struct rpc_client *rpc, const char *address, uint64_t *ret_version, struct err *err);

/* --- sync_take.c --- */
struct Torc__Wire__SyncResponse;
/* Metadata rows, logged. */
int sync_take_metadata(struct ingester *in, const struct Torc__Wire__SyncResponse *m, struct err *err);
struct chunk_columns;
struct labels;
/* Samples of one window of one series; everything is of the message or the arena. */
typedef int sync_window_fn(void *arg, struct str tenant, fingerprint fp, const struct labels *ls, const struct chunk_columns *c);
/* Every window of the message, checked: its samples have its digest, and lie in it. RC_CORRUPT, RC_NOMEM. */
int sync_decode(const struct Torc__Wire__SyncResponse *m, struct arena *a, sync_window_fn *fn, void *arg, struct err *err);
/* Windows from another process: checked, added, logged. Blocks until the shards have done it. RC_CORRUPT: nothing of the message was added. */
int sync_take(struct ingester *in, const struct Torc__Wire__SyncResponse *m, struct sync_result *sum, struct err *err);
