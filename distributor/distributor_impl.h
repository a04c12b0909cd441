/* distributor_impl.h - the fields of a distributor and of a push, and what its files say to each other. */
#pragma once
#include "common/sys/pool.h"
#include "common/sys/thread.h"
#include "common/wire/push.h"
#include "distributor/distributor.h"
#include "distributor/otlp_push.h"
#include "distributor/quorum.h"
#include "common/base/rate.h"
#include "distributor/content.h"
#include "distributor/ha_tracker.h"
#include "distributor/metadata_seen.h"
#include "distributor/admission.h"
#include "distributor/series_cache.h"
#include "distributor/validate.h"
#include "distributor/write2_request.h"

#include <stdatomic.h>
#include <uthash.h>

struct dist_tenant {
    UT_hash_handle hh;
    char *id;
    size_t id_len;
    struct series_cache *cache;
    struct metric *m_non_ha;
    _Atomic(struct ha_tenant *) ha; /* the tracker's; NULL: no HA pair was seen */
    struct mutex rate_lock;         /* --- guards the buckets --- */
    struct rate_bucket samples, requests;
};

/* What we know of an instance's head, by instance id. */
struct dist_head {
    UT_hash_handle hh;
    char *instance;
    uint64_t head_id;
    uint64_t lingering;     /* bytes of answered pushes that wait for it */
};

/* The edge of admission.h: lock, clock, metrics, answers. */
struct dist_admit {
    struct mutex lock;              /* --- guards admission and rng --- */
    struct admission admission;
    struct rng rng;
    struct metric *m_taken, *m_window, *m_in_flight, *m_wait, *m_service;
    struct metric_family *m_refused;
};

struct distributor {
    struct distributor_cfg cfg;     /* --- read-only after start --- */
    struct distributor_deps deps;
    pthread_rwlock_t tenants_lock;  /* --- guards the table --- */
    struct dist_tenant *tenants;
    struct mutex heads_lock;        /* --- guards heads, ring_version --- */
    struct dist_head *heads;
    uint64_t ring_version;
    _Atomic uint32_t ack_epoch;     /* changes when the ring or any head id changes: acknowledged labels are void */
    _Atomic uint64_t in_flight_bytes, in_flight_requests;
    struct metadata_seen *metadata_seen; /* any thread */
    struct dist_admit admit;
    struct pool *workers;           /* for pushes alone */
    struct ha_tracker *ha;
    struct metric *m_received, *m_requests_rejected, *m_labels_sent, *m_series_cache_bytes, *m_in_flight, *m_unknown;
    struct metric_family *m_non_ha;
    struct metric_family *m_discarded, *m_acks, *m_lingering;
};

/* --- one push --- */
struct push_series {
    struct str message;    /* TimeSeries bytes, in body */
    struct u128 hash;
    fingerprint fp;
    uint32_t acked;        /* owner bits (instance index mod 32) */
    uint16_t ha;           /* ha_core_pair, 0: none; its replica label is not among the labels */
    struct labels labels;  /* judged; v NULL: not parsed, as the cache knew it */
};
struct push_row {
    int64_t t;
    uint64_t vbits;
    uint32_t series;
};
struct push_hist {
    int64_t t, st;
    struct histogram h;
    uint32_t series;
};
struct push_exemplar {
    int64_t t;
    double v;
    struct labels labels;
    uint32_t series;
};

/* What a push has to do with HA pairs: the verdict on each pair that it carries, asked for once. */
enum { PUSH_HA_PAIRS = 8 };
struct push_ha {
    uint16_t last;               /* pair of the series before; 0: none */
    bool last_taken;             /* series of that pair are */
    struct push_ha_pair {
        uint16_t pair;           /* 0: free */
        uint8_t verdict;         /* enum ha_verdict */
        uint32_t left_out;       /* samples of a standby */
    } pairs[PUSH_HA_PAIRS];      /* by pair mod PUSH_HA_PAIRS */
    uint32_t samples, histograms; /* left out of all pairs: success for the client */
    uint16_t fill;               /* not a client's push but a standby's again, for holes: only this pair is taken; 0: no */
    int64_t fill_until_ms;
};

enum { PUSH_ERRORS_TEXT_MAX = 4096, PUSH_ERROR_LINES_MAX = 10 };

struct push;
struct push_target {
    struct push *push;
    char *address, *instance;
    uint32_t index;          /* in the ring snapshot */
    uint64_t head_id;        /* labels were left out for this head */
    struct push_batch *batch; /* own, or the push's shared one */
    uint32_t *row_map;       /* NULL: identity */
    uint32_t rows;           /* rows in it: floats, histograms, metadata */
    uint8_t *series_sent;    /* bit per series: labels are in the batch */
    bool has_resent;
    uint32_t calls;          /* sent and not answered */
    uint64_t lingering;      /* counted in its dist_head: the client was answered, this target has not answered */
};

struct push {
    struct distributor *d;
    struct dist_tenant *tenant;
    const struct limits *limits;
    struct http_req *http;       /* NULL once answered */
    struct push_content content;
    int64_t taken_ns;            /* by admission; of a part of OTLP its otlp_push knows */
    int success_status;
    struct otlp_push *otlp;      /* what this is a part of, until it is decided; NULL: remote write */
    bool started;                /* 1.0 with start timestamps, as OTLP becomes */
    struct push_ha ha;
    struct otlp_point *points;   /* of the body, with otlp */
    size_t point_count;
    struct mutex lock;           /* --- guards all below once targets are sent --- */
    _Atomic uint32_t refs;
    struct arena arena;          /* parse results, quorum, texts */
    struct buf body;             /* inflated */
    struct push_series *series;
    struct push_row *rows;
    int64_t *starts;             /* by row; NULL: none has a start timestamp */
    struct push_hist *hists;
    struct push_exemplar *exemplars;
    struct wr_metadata *metadata;
    uint32_t series_count, row_count, hist_count, exemplar_count, metadata_count;
    uint32_t series_cap, row_cap, start_cap, hist_cap, exemplar_cap, metadata_cap;
    struct w2_symbols symbols;   /* 2.0 */
    int64_t oldest_ms;           /* of the rows */
    size_t charged;              /* bytes counted in d->in_flight_bytes */
    uint32_t ack_epoch;
    uint32_t acked_all;          /* owners that have the labels of every series of this push */
    struct ring *ring;
    struct push_batch shared;
    struct push_target *targets; /* by instance of the ring; push NULL: not a target */
    uint32_t target_count;
    bool moving;                 /* something moves in the ring: rows stand twice in the quorum, for owners of today and of tomorrow */
    struct quorum quorum;
    uint32_t refused;            /* samples refused by us, before replication */
    uint32_t faults;             /* 2.0: what was refused without being a sample: series without samples, exemplars with wrong references */
    uint32_t error_lines;
    struct buf errors;           /* texts for the client */
};

/* receive.c: HTTP side */
/* Of the path, or of the header when tenancy is on; not checked. */
struct str dist_request_tenant(const struct distributor *d, const struct http_req *req);
void push_handle(void *distributor, struct http_req *req);
void push_handle_otlp(void *distributor, struct http_req *req);
void push_answer(struct push *p); /* lock held; answers when the state allows and it was not answered yet */
/* Memory of the request, against distributor.max-inflight-bytes. */
int push_charge(void *push, size_t bytes, struct err *err);
void push_uncharge(struct push *p, size_t bytes);
struct push *push_new(struct distributor *d, struct dist_tenant *tenant, struct http_req *req); /* req NULL: nobody waits for an answer */
/* From the message in p->body on. */
int push_store(struct push *p, struct err *err);
/* ha_push.c: what a push has to do with HA pairs (ha_tracker.h) */
void push_ha_begin(struct push *p);
bool push_ha_judge(struct push *p, uint16_t pair, uint32_t samples, uint32_t histograms);
/* False: these samples of a series of this pair are not to be stored; they are counted, as refused or as left out. Once per series of a push, and nothing but a
 * comparison while the pair is that of the series before. */
static inline bool push_ha_takes(struct push *p, uint16_t pair, uint32_t samples, uint32_t histograms)
{
    return LIKELY(pair == p->ha.last && p->ha.last_taken) || push_ha_judge(p, pair, samples, histograms);
}
/* The labels of a new series, unsorted: takes the replica's label out when both are there. 1: *ret_pair is the pair or 0; 0: refused with so many samples. */
int push_ha_split(struct push *p, struct labels *ls, uint32_t samples, uint16_t *ret_pair);
/* All series were read: holds the request when some were a standby's, counts. */
void push_ha_end(struct push *p);
/* ha_tracker_deps.fill */
void push_ha_fill(void *distributor, const struct ha_fill *f);
/* admit.c */
void dist_admit_init(struct distributor *d);
void dist_admit_fini(struct distributor *d);
void dist_admit_collect(struct distributor *d);
/* The answer that refuses a push whose body nobody has read yet, or NULL. otlp: in its form. */
struct http_resp *dist_admit_refuse(struct distributor *d, const struct http_req *req, bool otlp);
/* False: refused and answered. Else dist_admit_answered is due, with *ret_taken_ns. */
bool dist_admit_take(struct distributor *d, struct http_req *req, bool otlp, int64_t *ret_taken_ns);
void dist_admit_answered(struct distributor *d, int64_t taken_ns, bool failed);
/* Sets Retry-After. */
void dist_retry_after(struct distributor *d, struct http_resp *r);
/* parse.c: 1.0, and what both have in common */
int push_parse(struct push *p, struct err *err);
int push_series_labels(struct push *p, const struct push_series *s, struct arena *a, struct labels *ret, struct err *err);
void push_refuse(struct push *p, enum discard_reason why, uint32_t samples, const char *text);
struct sample_rules push_sample_rules(const struct push *p);
/* A series that the cache does not know: its labels, in the arena of p, are sorted, judged and kept. 1: s has its fingerprint; 0: refused with so many samples. */
int push_series_judge(struct push *p, struct labels *ls, size_t label_count, uint32_t samples, struct push_series *s);
/* One sample or histogram of the series being read (p->series[p->series_count]): its time refused by rules (text NULL), or the histogram, as text says. */
void push_row_refuse(struct push *p, enum discard_reason why, int64_t t, const struct sample_rules *rules, const char *text);
/* rc and text are what decoding it gave. 0, negative: the request is malformed. */
int push_histogram_add(struct push *p, int rc, const struct err *text, int64_t t, int64_t st, const struct histogram *h, const struct sample_rules *rules,
                       struct err *err);
/* Sorts the labels; whether an exemplar breaks a rule. */
bool push_exemplar_ok(struct labels *ls);
int push_metadata_add(struct push *p, const struct wr_metadata *m, struct err *err);
/* Lists on the heap, counted against the request's in-flight bytes by their growth. first: how many there may well be. */
int push_list_grow(void **list, uint32_t *cap, uint32_t first, size_t size, struct err *err);
uint32_t push_list_first(const struct push *p);
#define LIST_ADD(p, list, count, cap, err)                                                         \
    ({                                                                                             \
        int rc_ = 0;                                                                               \
        if (UNLIKELY((p)->count == (p)->cap)) {                                                    \
            void *list_ = (p)->list;                                                               \
            rc_ = push_list_grow(&list_, &(p)->cap, push_list_first(p), sizeof *(p)->list, err);   \
            (p)->list = list_;                                                                     \
        }                                                                                          \
        rc_;                                                                                       \
    })
/* parse2.c: 2.0 */
int push2_parse(struct push *p, struct err *err);
/* A row of the series being read; st 0: no start timestamp is known. */
int push_row_add(struct push *p, int64_t t, uint64_t vbits, int64_t st, struct err *err);
/* A quorum has this metadata already. */
bool push2_metadata_known(const struct push *p, const struct wr_metadata *m, int64_t now_ms);
/* A quorum has what push2_parse let through: the same metadata is left out of requests to come. */
void push2_metadata_acked(struct push *p);
int push2_series_labels(struct push *p, const struct push_series *s, struct arena *a, struct labels *ret, struct err *err);
/* written.c: what a quorum has of a push by now */
struct push_written {
    uint64_t samples, histograms, exemplars;
};
void push_written(struct push *p, struct push_written *ret);
/* In every answer to a 2.0 request: a sender takes their absence for a receiver that knows 1.0 alone. */
void push_written_headers(const struct push_written *w, struct http_resp *r);
/* replicate.c */
int push_replicate(struct push *p, struct err *err);
/* tenants.c */
int dist_tenant_get(struct distributor *d, struct str id, struct dist_tenant **ret, struct err *err);
void dist_tenants_free(struct distributor *d);
/* heads.c */
uint64_t dist_head_id(struct distributor *d, const char *instance);
void dist_head_seen(struct distributor *d, const char *instance, uint64_t head_id);
void dist_ring_seen(struct distributor *d, uint64_t ring_version);
/* More bytes of answered pushes wait for this instance. False from dist_linger_fits: too many do, leave it out. */
void dist_linger_add(struct distributor *d, const char *instance, int64_t bytes);
bool dist_linger_fits(struct distributor *d, const char *instance);
void dist_linger_collect(struct distributor *d);
void dist_heads_free(struct distributor *d);

/* user_stats.c: /distributor/all_user_stats, /api/v1/user_stats */
void dist_page_all_user_stats(void *distributor, struct http_req *req);
void dist_page_user_stats(void *distributor, struct http_req *req);

struct push *push_ref(struct push *p);
void push_unref(struct push *p);
