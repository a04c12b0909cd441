/* ingester_impl.h - the fields of an ingester and what its files say to each other. */
#pragma once
#include "ingester/ingester.h"
#include "ingester/metadata.h"
#include "ingester/shard.h"
#include "tsdb/wal_payload.h"

#include <protobuf-c/protobuf-c.h>

#include "common/base/rate.h"
#include "common/sys/fs.h"
#include "common/sys/thread.h"

#include <stdio.h>
#include <uthash.h>

struct ingester_limits {
    int64_t ooo_window_ms;
    double late_rate, late_limit; /* out-of-order samples/s: this ingester's share (0: off), and as configured */
    uint64_t series_max, metric_series_max; /* this ingester's share; 0: off */
    uint64_t series_limit, metric_series_limit; /* as configured, for texts */
    size_t exemplars_max, metadata_metrics_max, metadata_per_metric_max;
};

struct ingester_tenant {
    UT_hash_handle hh;
    char *id;
    size_t id_len;
    _Atomic uint64_t series, ingested;
    _Atomic uint64_t rate_bits; /* of a double: samples per second, lately; ingester_rates_tick */
    uint64_t rate_ingested;     /* maintenance thread: of ingested, in the rate already */
    _Atomic uint64_t strangers, strangers_active; /* of the series: those of ranges that others own by now */
    struct metadata *metadata; /* own lock */
    struct mutex late_lock;    /* --- innermost: guards late --- */
    struct rate_bucket late;   /* of out-of-order samples */
};

/* A flush set on its way: sealed -> published -> dropped. */
struct flush_set {
    uint64_t id, gen;
    int64_t below_ms, oldest_ms;
    int64_t published_mono_ms; /* 0: not yet */
};

/* DIR/wal/GGGG-NN/SSSS: generation of the layout, its shard count, the shard. A changed shard count starts a new generation; logs of the old one are
 * *foreign*: replayed by routing each series to its shard of today, then flushed to blocks, then removed. */
struct wal_dir {
    char *path;
    uint32_t shard;
    bool foreign;
    _Atomic uint64_t image_done, image_total, log_done, log_total; /* bytes of its replay */
};

/* Of a shard; guarded by marks_lock once the ingester serves. */
struct ingester_image {
    struct head_imager *imager; /* NULL: no image yet */
    int64_t retry_mono_ms;      /* after a failure: not before */
    uint64_t grown;             /* bytes that came into the log while the last one was written */
};

struct ingester {
    struct ingester_cfg cfg;             /* --- read-only after start --- */
    struct ingester_deps deps;
    char *data_dir, *instance_id;
    int lock_fd;
    uint64_t head_id;
    bool new_head;                       /* its id was made at this start */
    uint32_t shard_count;
    struct shard *shards[SHARDS_MAX];
    VEC(struct wal_dir) wal_dirs;
    bool foreign;                        /* some wal_dirs are of another shard count */
    pthread_rwlock_t tenants_lock;       /* --- guards tenants (the table, not the members) --- */
    struct ingester_tenant *tenants;
    _Atomic int state;                   /* enum ingester_state */
    _Atomic int64_t replay_begin_ms, replay_end_ms; /* monotonic; 0: not yet */
    _Atomic int64_t last_push_ms;        /* wall time of the newest push */
    struct mutex marks_lock;             /* --- held while flush marks are made in the shards, and while a head image is written; inside flush_lock --- */
    struct ingester_image images[SHARDS_MAX];
    struct mutex flush_lock;             /* --- one flush at a time; guards the sets --- */
    VEC(struct flush_set) sets;
    uint64_t next_set;
    int64_t forgot_mono_ms;              /* when idle series last left the heads */
    struct mutex wake_lock;              /* --- maintenance thread's sleep --- */
    struct cond wake;
    bool stopping;
    bool threads;
    pthread_t maintenance, imaging;
    struct err failed;                   /* why state is FAILED */
    struct sync *sync;                   /* NULL: none */
    _Atomic uint64_t taken_version;      /* all that comes here at this version of the ring is here */
    struct metric *m_series, *m_wal_bytes, *m_flushes, *m_flush_failures, *m_appended, *m_replay_seconds, *m_queue, *m_queue_bytes, *m_push_wait, *m_dead;
    struct metric *m_images, *m_image_failures, *m_image_bytes, *m_image_seconds, *m_image_lock_seconds, *m_image_tail;
    struct metric_family *m_refused, *m_push_refused;
};
enum ingester_state { INGESTER_NEW, INGESTER_REPLAYING, INGESTER_SERVING, INGESTER_STOPPED, INGESTER_FAILED };

static inline uint32_t ingester_shard_of(const struct ingester *in, fingerprint fp)
{
    return (uint32_t)fp.lo % in->shard_count;
}
static inline struct shard *ingester_shard(const struct ingester *in, uint32_t i)
{
    return in->shards[i];
}

/* ownership.c */
uint64_t ingester_ring_version(struct ingester *in);
struct ownership {
    struct ring *ring; /* NULL: no ring, everything is ours */
    uint16_t self;
    bool all;          /* everything is ours */
    bool read_only;    /* and nothing is taken */
};
void ownership_take(struct ingester *in, struct ownership *ret);
void ownership_drop(struct ownership *o);
/* Owner now, or as soon as what moves has moved (writes go to both meanwhile). */
bool ownership_has(const struct ownership *o, fingerprint fp);
/* May a row be taken that was sent by who knows the ring at this version (0: none)? Whose range goes to others takes it only from senders that know the
 * move too: theirs has a quorum of the owners to be. Without this, one that froze before the move could be acknowledged by owners that have handed over. */
bool ownership_takes(const struct ownership *o, fingerprint fp, uint64_t ring_version);
uint32_t ingester_ring_size(struct ingester *in, uint32_t *ret_rf); /* live ingesters; 1 without a ring */

/* tenants.c */
int ingester_tenant_get(struct ingester *in, struct str id, struct ingester_tenant **ret, struct err *err);
void ingester_limits_of(struct ingester *in, struct str tenant, struct ingester_limits *ret);
/* PUSH_ACCEPTED (and counted: ingester_series_undo takes it back) or a refusal with its text. */
uint8_t ingester_judge_series(struct ingester_tenant *t, const struct ingester_limits *l, const struct labels *ls, uint64_t metric_series, struct err *err);
/* Series with this metric name in all heads (their locks are taken). */
uint64_t ingester_metric_series(struct ingester *in, const struct ingester_tenant *t, const struct labels *ls);
void ingester_series_undo(struct ingester_tenant *t);
/* The ring has changed: which series count. */
void ingester_recount_strangers(struct ingester *in);
/* One more out-of-order sample is within the rate. */
bool ingester_late_take(struct ingester *in, struct ingester_tenant *t, const struct ingester_limits *l);
void ingester_explain_sample(struct head *h, const struct head_series *hs, int64_t t, uint64_t vbits, enum append_verdict v,
                             const struct ingester_limits *l, char *out, size_t out_n);
void ingester_count_push(struct ingester *in, struct ingester_tenant *t, uint64_t accepted, const uint8_t *verdicts, size_t n);
void ingester_metadata_add(struct ingester *in, struct ingester_tenant *t, struct str rows, const struct ingester_limits *l);
/* Every flush_check_ms or so, by the maintenance thread: what each tenant has ingested since becomes part of its rate. */
void ingester_rates_tick(struct ingester *in, int64_t elapsed_ms);
void ingester_recount_series(struct ingester *in);
void ingester_tenants_free(struct ingester *in);

/* wal_dirs.c */
int ingester_wal_dirs(struct ingester *in, struct err *err);
int ingester_wal_dirs_remove_foreign(struct ingester *in, struct err *err);
void ingester_wal_dirs_free(struct ingester *in);

/* replay.c */
int ingester_replay(struct ingester *in, struct err *err);

/* flush.c */
void *ingester_maintain(void *ingester);
int ingester_flush_due(struct ingester *in, struct err *err);
void ingester_drop_due(struct ingester *in);

/* push.c, query.c */
void ingester_on_push(void *ingester, struct rpc_call *call);
void ingester_on_select(void *ingester, struct rpc_call *call);
void ingester_on_metadata(void *ingester, struct rpc_call *call);
void ingester_on_user_stats(void *ingester, struct rpc_call *call);
void ingester_on_flush(void *ingester, struct rpc_call *call);

/* labels.c */
void ingester_on_labels(void *ingester, struct rpc_call *call);

/* cardinality.c */
void ingester_on_cardinality(void *ingester, struct rpc_call *call);

/* exemplars.c */
void ingester_on_exemplars(void *ingester, struct rpc_call *call);
