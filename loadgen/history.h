/* history.h - which batches were sent with which timestamp, and which of them were acknowledged: 16 bytes a request, however many samples it had.
 * With a file, each event is written before the request goes out and again when its fate is known, so the file of a killed generator still holds
 * all that can be in the cluster.
 *
 * File, little-endian: header 0 magic "torcload" | 8 version u32 | 12 series u32 | 16 tenants u32 | 20 batch u32 | 24 seed u64 | 32 churn f64 |
 *   40 epoch_ms i64 | 48 special u8 | 49 tenant_n u8 | 50 tenant[62] | 112 natives u32 | 116 labels u32 | 120 step_ms i64 | 128 recording u64 |
 *   136 ha u8 | 137 zero u8[7] ; then records 0 t_ms i64 | 8 batch u32 | 12 kind u8 | 13 zero u8[3].
 * A last record that is cut short is ignored. */
#pragma once
#include "common/base/err.h"
#include "common/base/vec.h"
#include "loadgen/model.h"

enum { HISTORY_RECORDS_MAX = 1 << 26, HISTORY_BATCHES_MAX = 1 << 22, HISTORY_TENANT_MAX = 62 };

enum history_kind {
    HISTORY_SENT = 1,  /* may be there */
    HISTORY_ACKED = 2, /* must be there */
};

struct history_cfg {
    struct model_cfg model;
    uint32_t batch;                      /* series of a batch; plain ones and native histograms have batches of their own */
    uint64_t recording;                  /* fingerprint of what is replayed; 0: none. A history that is opened has this, but no model.recording */
    char tenant[HISTORY_TENANT_MAX + 1]; /* see tenant_name() */
};

struct history_entry {
    int64_t t_ms;
    uint32_t batch; /* tenant * batches of a tenant + batch */
    bool acked;
};

struct history {
    struct history_cfg cfg;
    VEC(struct history_entry) sent; /* in the order of sending until history_sort() */
    size_t *batch_at;               /* after history_sort(): entries of batch b are [batch_at[b], batch_at[b + 1]) */
    int fd;
};

/* path NULL: memory only. An existing file is replaced. RC_LIMIT when the series make more than HISTORY_BATCHES_MAX batches. */
int history_new(const struct history_cfg *cfg, const char *path, struct history *ret, struct err *err);
int history_open(const char *path, struct history *ret, struct err *err);
int history_decode(struct str bytes, struct history *ret, struct err *err); /* the same from memory */
void history_fini(struct history *h);
/* *ret_at names the entry for history_acked. RC_LIMIT when it is full. */
int history_sent(struct history *h, uint32_t batch, int64_t t_ms, size_t *ret_at, struct err *err);
int history_acked(struct history *h, size_t at, struct err *err);

uint32_t history_batches(const struct history_cfg *c); /* of one tenant */
/* Of one tenant: which batch has a series; which series a batch has. */
uint32_t history_batch_of(const struct history_cfg *c, uint32_t index);
uint32_t history_batch_series(const struct history_cfg *c, uint32_t batch, uint32_t *ret_count);
/* Orders entries by batch and time; no more is added afterwards. */
void history_sort(struct history *h);
/* Of one batch; only after history_sort(). */
const struct history_entry *history_of(const struct history *h, uint32_t batch, size_t *ret_n);

/* Name in X-Scope-OrgID of tenant i: base itself ("": none) for a single tenant, else base-i from 1. */
void tenant_name(const struct history_cfg *cfg, uint32_t tenant, char ret[static HISTORY_TENANT_MAX + 12]);
