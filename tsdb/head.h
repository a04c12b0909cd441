/* head.h - recent samples of all tenants in memory: one shard.
 * An ingester has several heads (shards); a series lives in one, by its fingerprint. One thread
 * appends to a head (its owner); any number of threads may select at the same time: a select takes
 * the head's lock for a slice of series at a time, never for a whole query.
 *
 * Series: labels as symbol pairs, an open chunk, sealed chunks per window, a sorted out-of-order
 * buffer. Each window keeps its digest incrementally (open and out-of-order samples included).
 * Windows live in *instances*: head_seal() closes all windows below a time into an immutable flush
 * set (to be written into a block); samples for such a window that come later open a new instance.
 * A flush set is dropped by head_drop() when readers no longer need it. Equal resends are
 * recognised across instances.
 *
 * Memory target: 400 B per active series with 20 samples, 9 labels; measured 366
 * (tests/bench/head_bench). head_memory() says how it splits. */
#pragma once
#include "common/sys/clock.h"
#include "tsdb/store.h"

enum { HEAD_SELECT_SLICE = 256, HEAD_SYMBOL_BYTES_MAX = 1 << 20 };
#define HEAD_SERIES_MAX (1U << 31)
enum { HEAD_EXEMPLARS_MAX = 1 << 24 };

struct head;
struct head_series;

struct head *head_new(void);
void head_free(struct head *h);

/* --- append: owner thread, between head_lock and head_unlock (per batch, not per sample) --- */
void head_lock(struct head *h);
void head_unlock(struct head *h);
/* NULL when unknown. */
struct head_series *head_find(struct head *h, struct str tenant, fingerprint fp);
/* The same for many, with their memory on its way into the cache: append to them right after. More
 * than HEAD_FIND_GROUP at a time push each other out again. Measured (100,000 series in random
 * order, head_bench): 115 ns per append instead of 320. */
enum { HEAD_FIND_GROUP = 64 };
void head_find_many(struct head *h, struct str tenant, const fingerprint *fps, size_t n,
                    struct head_series **ret);
/* Labels are interned (copied). The caller has checked limits. RC_EXISTS never: same fp returns the
 * existing one; RC_INVALID when its labels differ (two label sets with one fingerprint: refused,
 * never merged). */
int head_create(struct head *h, struct str tenant, fingerprint fp, const struct labels *ls,
                struct head_series **ret, struct err *err);
bool head_labels_equal(const struct head *h, const struct head_series *s, const struct labels *ls);

enum append_verdict {
    APPEND_ACCEPTED,
    APPEND_DUPLICATE, /* the same value is there already, whatever its start timestamp: success,
                         nothing changes, not logged */
    APPEND_NEW_VALUE, /* other value (or type) for a timestamp that is there */
    APPEND_TOO_OLD,   /* older than the out-of-order window allows */
    APPEND_TOO_MANY_LATE, /* rules.late said no: may be accepted later */
};
/* Samples that are taken only where the series has a hole, for whoever resends what another sender may have missed: between two neighbours that are further apart
 * than the usual interval and a tenth of it, or after the newest sample. What is left out is APPEND_DUPLICATE: success, and nothing changes.
 * The usual interval is what the samples on both sides say, so replicas that hold the same decide alike. */
struct head_gap {
    int64_t until_ms; /* where a hole without a later neighbour ends; INT64_MAX: it does not, everything newer is taken */
};
struct append_rules {
    int64_t ooo_window_ms; /* accepted when t >= newest t of the series - this; 0: in order only */
    /* Asked before a sample behind the newest one of its series is accepted, under the head's lock; NULL: all are. */
    bool (*late)(void *arg);
    void *late_arg;
    const struct head_gap *gap; /* NULL: all samples are taken */
};
/* Judges and, when accepted, applies. */
enum append_verdict head_append(struct head *h, struct head_series *s, int64_t t, uint64_t vbits,
                                int64_t st, const struct append_rules *rules);
enum append_verdict head_append_histogram(struct head *h, struct head_series *s, int64_t t,
                                          const struct histogram *hist, int64_t st,
                                          const struct append_rules *rules);
/* For conflict messages: the value stored at t, when APPEND_NEW_VALUE was answered (false when it
 * is a histogram). */
bool head_value_at(struct head *h, const struct head_series *s, int64_t t, double *ret);
/* Replay: applies without judging (equal samples are still stored once). */
void head_replay(struct head *h, struct head_series *s, int64_t t, uint64_t vbits, int64_t st);
void head_replay_histogram(struct head *h, struct head_series *s, int64_t t,
                           const struct histogram *hist, int64_t st);

/* Exemplars: a ring per tenant of at most tenant_max (0: off), equal ones once, the oldest go
 * first. Of a tenant without series: ignored. Metadata is not kept here: it belongs to metric
 * families, not to series. */
void head_exemplar_add(struct head *h, struct str tenant, fingerprint fp, int64_t t, double v,
                       const struct labels *ls, size_t tenant_max);
struct head_exemplar {
    fingerprint fp;
    const struct labels *series, *labels;
    int64_t t;
    double v;
};
/* In the order they came; only of series that are still in the head. Lock taken inside; fn runs
 * without it, everything is borrowed. */
int head_exemplar_select(struct head *h, const struct store_select *q,
                         int (*fn)(void *arg, const struct head_exemplar *e), void *arg,
                         struct err *err);

/* --- counts, for limits and pages; lock taken inside --- */
struct head_tenant_stats {
    uint64_t series, active_series /* sample within the last 2 h of wall time given */, samples;
};
bool head_tenant_stats(struct head *h, struct str tenant, int64_t now_ms,
                       struct head_tenant_stats *ret);
uint64_t head_metric_series(struct head *h, struct str tenant, struct str metric_name);
/* Calls fn for every tenant, without the lock; active is counted back from the newest sample of the
 * head. */
void head_each_tenant(struct head *h,
                      void (*fn)(void *arg, struct str tenant, const struct head_tenant_stats *st),
                      void *arg);

/* --- how much there is; lock taken inside in slices; stop: RC_CANCELED, RC_TIMEOUT --- */
/* Series that match q (matchers and tenant; not time, not shard), from the index alone. */
int head_count(struct head *h, const struct store_select *q, uint64_t *ret, struct err *err);
/* Every label pair of the tenant with the number of its series. fn runs without the lock; a negative return stops and is passed on. */
int head_each_pair(struct head *h, struct str tenant, const struct store_stop *stop, int (*fn)(void *arg, struct str name, struct str value, uint64_t series), void *arg,
                   struct err *err);
/* What a tenant holds here, looking at every series of the head. */
struct head_extent {
    uint64_t series, samples, chunks, chunk_bytes;
    int64_t mint_ms, maxt_ms; /* INT64_MAX, INT64_MIN when there is nothing */
};
int head_extent(struct head *h, struct str tenant, const struct store_stop *stop, struct head_extent *ret, struct err *err);

/* --- select; lock taken inside in slices, and the query's stop looked at between them: RC_CANCELED, RC_TIMEOUT --- */
/* cursor: 0 starts; on return where to go on, 0 when done. Stops after bytes_max bytes of chunk and
 * label data or when fn returns > 0 (go on later); a series that fn has seen is done. A cursor
 * stays good while series come and go. series_max counts one call. gen: index generation the reader
 * has: windows in flush sets published at or before gen are left out; RC_STALE when a set that was
 * already dropped was published after gen. fn runs without the lock and may take its time. */
int head_select(struct head *h, const struct store_select *q, uint64_t gen, size_t bytes_max,
                uint64_t *cursor, stored_series_fn *fn, void *arg, struct err *err);
/* Fetches just these (fp, window start) pairs with data; pairs of one fp must follow each other.
 * What is not there is left out. */
int head_fetch(struct head *h, struct str tenant, const fingerprint *fps, const int64_t *starts,
               size_t n, uint64_t gen, const struct store_stop *stop, stored_series_fn *fn, void *arg,
               struct err *err);
/* Sorted unique label names, or values of name when name.n > 0, over series that match. fn gets
 * each; the caller merges shards. */
int head_label_values(struct head *h, const struct store_select *q, struct str name,
                      int (*fn)(void *arg, struct str value), void *arg, struct err *err);

/* --- flush --- */
/* Seals every window with start < below_ms that is not in a flush set yet into set id (owner
 * thread, lock held by caller); returns the number of windows. */
uint64_t head_seal(struct head *h, int64_t below_ms, uint64_t set_id);
/* Series of a flush set in (tenant, labels) order, with data; any thread; takes the lock in slices.
 * RC_NOT_FOUND: no such set. next: 1 with a series, borrowed until the next call; 0 at the end. The
 * set must not be dropped meanwhile. */
struct head_flush_iter;
int head_flush_iter_new(struct head *h, uint64_t set_id, struct head_flush_iter **ret,
                        struct err *err);
int head_flush_iter_next(struct head_flush_iter *it, struct str *ret_tenant,
                         const struct stored_series **ret, struct err *err);
void head_flush_iter_free(struct head_flush_iter *it);
/* The same as a loop; a negative return of fn stops and is passed on. */
int head_flush_each(struct head *h, uint64_t set_id,
                    int (*fn)(void *arg, struct str tenant, const struct stored_series *s),
                    void *arg, struct err *err);
/* The set's block is named by index generation gen from now on. Lock taken inside, as in head_drop.
 */
void head_published(struct head *h, uint64_t set_id, uint64_t gen);
/* Frees the set's windows and remembers gen for RC_STALE; series without any window left and idle
 * since idle_before_ms are removed with their postings and symbols (their pointers are dead then).
 * During replay pass INT64_MIN: samples of series that look idle may still come. */
void head_drop(struct head *h, uint64_t set_id, int64_t idle_before_ms);
/* The second half of head_drop alone: idle series leave also when nothing has been flushed for long. */
void head_forget_idle(struct head *h, int64_t idle_before_ms);
/* Live series with labels, for logs that start anew. */
int head_each_series(struct head *h,
                     int (*fn)(void *arg, struct str tenant, fingerprint fp,
                               const struct labels *ls),
                     void *arg);
int64_t head_min_ms(struct head *h); /* oldest sample not in a published set; INT64_MAX when none;
                                        looks at every series */
int64_t head_max_ms(struct head *h); /* newest sample ever taken; INT64_MIN when none */

/* What the head holds, by tenant and kind. Takes the lock in slices, looks at every series. */
struct memory_account;
void head_memory(struct head *h, struct memory_account *a);
