/* tenants.c - tenants of this ingester: the table, their limits, judging new series. */
#include "common/model/duration.h"
#include "common/model/tenant.h"
#include "ingester/ingester_impl.h"
#include "tsdb/head_sync.h"

#include <math.h>
#include <stdlib.h>

#define STRANGER_ACTIVE_MS (2LL * 60 * 60 * 1000) /* as head.h's active series */

struct stranger_count {
    struct ingester_tenant *tenant;
    uint64_t series, active;
};

int ingester_tenant_get(struct ingester *in, struct str id, struct ingester_tenant **ret, struct err *err)
{
    struct ingester_tenant *t;
    int rc;

    pthread_rwlock_rdlock(&in->tenants_lock);
    HASH_FIND(hh, in->tenants, id.p, id.n, t);
    pthread_rwlock_unlock(&in->tenants_lock);
    if (t) {
        *ret = t;
        return 0;
    }
    rc = tenant_id_check(id, err);
    if (rc < 0)
        return rc;
    pthread_rwlock_wrlock(&in->tenants_lock);
    HASH_FIND(hh, in->tenants, id.p, id.n, t);
    if (!t && HASH_COUNT(in->tenants) >= INGESTER_TENANTS_MAX) {
        rc = err_set(err, RC_LIMIT, "more than %d tenants on one ingester", INGESTER_TENANTS_MAX);
    } else if (!t) {
        t = xcalloc(1, sizeof *t);
        t->id = str_dupz(id);
        t->id_len = id.n;
        t->metadata = metadata_new();
        mutex_init(&t->late_lock);
        HASH_ADD_KEYPTR(hh, in->tenants, t->id, t->id_len, t);
    }
    pthread_rwlock_unlock(&in->tenants_lock);
    if (rc == 0)
        *ret = t;
    return rc;
}

void ingester_tenants_free(struct ingester *in)
{
    struct ingester_tenant *t, *tmp;

    HASH_ITER(hh, in->tenants, t, tmp) {
        HASH_DEL(in->tenants, t);
        metadata_free(t->metadata);
        mutex_fini(&t->late_lock);
        free(t->id);
        free(t);
    }
}

/* Of a cluster-wide limit this ingester has so large a share: each series is on rf of the live ingesters. */
static double share_of(struct ingester *in)
{
    uint32_t rf, live = ingester_ring_size(in, &rf);

    return live ? (double)MIN(rf, live) / (double)live : 1;
}

static uint64_t share(struct ingester *in, uint64_t limit)
{
    uint32_t rf, live = ingester_ring_size(in, &rf);

    if (limit == 0 || live == 0)
        return limit;
    return limit * MIN(rf, live) / live;
}

void ingester_limits_of(struct ingester *in, struct str tenant, struct ingester_limits *ret)
{
    const struct limits *l = limits_of(in->deps.overrides, tenant);

    *ret = (struct ingester_limits){
        .ooo_window_ms = l->out_of_order_window_ms,
        .late_limit = l->out_of_order_rate,
        .late_rate = l->out_of_order_rate > 0 ? l->out_of_order_rate * share_of(in) : 0,
        .series_limit = (uint64_t)l->max_active_series,
        .metric_series_limit = (uint64_t)l->max_series_per_metric,
        .series_max = share(in, (uint64_t)l->max_active_series),
        .metric_series_max = share(in, (uint64_t)l->max_series_per_metric),
        .exemplars_max = (size_t)l->max_exemplars,
        .metadata_metrics_max = (size_t)l->max_metrics_with_metadata,
        .metadata_per_metric_max = (size_t)l->max_metadata_per_metric,
    };
}

uint64_t ingester_metric_series(struct ingester *in, const struct ingester_tenant *t, const struct labels *ls)
{
    struct str name = labels_get(ls, STR(LABEL_METRIC_NAME));
    uint64_t n = 0;

    for (uint32_t i = 0; i < in->shard_count && name.p; i++)
        n += head_metric_series(shard_head(in->shards[i]), str_n(t->id, t->id_len), name);
    return n;
}

uint8_t ingester_judge_series(struct ingester_tenant *t, const struct ingester_limits *l, const struct labels *ls, uint64_t metric_series, struct err *err)
{
    struct str name = labels_get(ls, STR(LABEL_METRIC_NAME));
    uint64_t now = atomic_fetch_add(&t->series, 1) + 1;

    /* Those that others own by now are counted there. */
    if (l->series_max && now > l->series_max + atomic_load_explicit(&t->strangers, memory_order_relaxed)) {
        ingester_series_undo(t);
        err_set(err, RC_LIMIT, "user=%s: per-user series limit of %llu exceeded (per_user_series_limit, max_active_series)", t->id,
                (unsigned long long)l->series_limit);
        return PUSH_REFUSED + DISCARD_PER_USER_SERIES_LIMIT;
    }
    if (l->metric_series_max && metric_series >= l->metric_series_max) {
        struct buf text;

        ingester_series_undo(t);
        buf_init(&text, 800);
        labels_escape(&text, str_n(name.p, MIN(name.n, (size_t)200)));
        err_set(err, RC_LIMIT, "per-metric series limit of %llu exceeded, please contact administrator to raise it "
                "(per_metric_series_limit, max_series_per_metric) metric: '%.*s'", (unsigned long long)l->metric_series_limit, STR_FMT(text));
        buf_fini(&text);
        return PUSH_REFUSED + DISCARD_PER_METRIC_SERIES_LIMIT;
    }
    return PUSH_ACCEPTED;
}

/* The burst is that of a second. */
bool ingester_late_take(struct ingester *in, struct ingester_tenant *t, const struct ingester_limits *l)
{
    bool ok;

    if (l->late_rate <= 0)
        return true;
    mutex_lock(&t->late_lock);
    ok = rate_take(&t->late, l->late_rate, MAX(l->late_rate, 1), clock_mono_ns(in->deps.clock), 1);
    mutex_unlock(&t->late_lock);
    return ok;
}

void ingester_series_undo(struct ingester_tenant *t)
{
    atomic_fetch_sub(&t->series, 1);
}

void ingester_explain_sample(struct head *h, const struct head_series *hs, int64_t t, uint64_t vbits, enum append_verdict v,
                             const struct ingester_limits *l, char *out, size_t out_n)
{
    struct buf text;
    double existing;

    buf_init(&text, out_n - 1);
    if (v == APPEND_NEW_VALUE) {
        buf_printf(&text, "duplicate sample for timestamp %lld; overrides not allowed: existing ", (long long)t);
        if (head_value_at(h, hs, t, &existing))
            float_print(&text, existing);
        else
            buf_z(&text, "a histogram");
        buf_z(&text, ", new value ");
        float_print(&text, bits_double(vbits));
        buf_z(&text, " (new-value-for-timestamp)");
    } else if (v == APPEND_TOO_MANY_LATE) {
        buf_z(&text, "out-of-order ingestion rate limit (");
        float_print(&text, l->late_limit);
        buf_z(&text, " samples/s) exceeded (rate_limited, out_of_order_rate)");
    } else {
        buf_printf(&text, "out-of-order samples: timestamp %lld is older than the newest sample of its series by more than ", (long long)t);
        duration_print(&text, l->ooo_window_ms);
        buf_z(&text, " (sample-out-of-order, out_of_order_window)");
    }
    memcpy(out, text.p ? text.p : "", text.n);
    out[text.n] = '\0';
    buf_fini(&text);
}

void ingester_count_push(struct ingester *in, struct ingester_tenant *t, uint64_t accepted, const uint8_t *verdicts, size_t n)
{
    uint64_t refused[DISCARD_COUNT] = {0};

    atomic_fetch_add(&t->ingested, accepted);
    metric_add(in->m_appended, accepted);
    if (accepted == n)
        return;
    for (size_t i = 0; i < n; i++)
        if (verdicts[i] >= PUSH_REFUSED)
            refused[push_reason(verdicts[i])]++;
    for (int r = 1; r < DISCARD_COUNT; r++)
        if (refused[r])
            metric_add(metric_with(in->m_refused, discard_text((enum discard_reason)r), NULL), refused[r]);
}

void ingester_metadata_add(UNUSED struct ingester *in, struct ingester_tenant *t, struct str rows, const struct ingester_limits *l)
{
    struct rd r = rd_of(rows);
    struct push_metadata md;

    while (push_metadata_next(&r, &md, NULL) > 0)
        metadata_add(t->metadata, &md, l->metadata_metrics_max, l->metadata_per_metric_max);
}

/* The newest part weighs as much as its share of a minute. */
void ingester_rates_tick(struct ingester *in, int64_t elapsed_ms)
{
    double seconds = (double)MAX(elapsed_ms, (int64_t)1) / 1000, weight = 1 - exp(-seconds / 60);
    struct ingester_tenant *t, *tmp;

    pthread_rwlock_rdlock(&in->tenants_lock);
    HASH_ITER(hh, in->tenants, t, tmp) {
        uint64_t ingested = atomic_load(&t->ingested);
        double now = (double)(ingested - t->rate_ingested) / seconds, before = bits_double(atomic_load(&t->rate_bits));

        t->rate_ingested = ingested;
        atomic_store(&t->rate_bits, double_bits(before + (now - before) * weight));
    }
    pthread_rwlock_unlock(&in->tenants_lock);
}

static void recount_one(void *arg, struct str tenant, const struct head_tenant_stats *st)
{
    struct ingester_tenant *t;

    if (ingester_tenant_get(arg, tenant, &t, NULL) == 0)
        atomic_fetch_add(&t->series, st->series);
}

/* After replay and after series left memory: the counters are the heads'. Pushes are not running (start) or may miscount by what they create
 * meanwhile, which the next recount mends. */
void ingester_recount_series(struct ingester *in)
{
    struct ingester_tenant *t, *tmp;

    pthread_rwlock_rdlock(&in->tenants_lock);
    HASH_ITER(hh, in->tenants, t, tmp)
        atomic_store(&t->series, 0);
    pthread_rwlock_unlock(&in->tenants_lock);
    for (uint32_t i = 0; i < in->shard_count; i++)
        head_each_tenant(shard_head(in->shards[i]), recount_one, in);
    ingester_recount_strangers(in);
}

struct recounting {
    struct ingester *in;
    struct ownership own;
    int64_t active_since_ms;
    struct ingester_tenant *tenant; /* of the series before */
    VEC(struct stranger_count) counts;
};

static struct stranger_count *count_of(struct recounting *rc, struct str tenant)
{
    struct stranger_count *c;

    for (size_t i = rc->counts.n; i-- > 0;)
        if (str_eq(str_n(rc->counts.v[i].tenant->id, rc->counts.v[i].tenant->id_len), tenant))
            return &rc->counts.v[i];
    c = vec_push(&rc->counts);
    *c = (struct stranger_count){0};
    if (ingester_tenant_get(rc->in, tenant, &c->tenant, NULL) < 0) {
        rc->counts.n--;
        return NULL;
    }
    return c;
}

static void recount_stranger(void *arg, struct str tenant, fingerprint fp, int64_t newest_ms)
{
    struct recounting *rc = arg;
    struct stranger_count *c = ownership_has(&rc->own, fp) ? NULL : count_of(rc, tenant);

    if (!c)
        return;
    c->series++;
    c->active += newest_ms >= rc->active_since_ms;
}

void ingester_recount_strangers(struct ingester *in)
{
    struct recounting rc = {.in = in, .active_since_ms = clock_wall_ms(in->deps.clock) - STRANGER_ACTIVE_MS};
    struct ingester_tenant *t, *tmp;

    ownership_take(in, &rc.own);
    for (uint32_t i = 0; i < in->shard_count && !rc.own.all; i++)
        head_each_fingerprint(shard_head(in->shards[i]), recount_stranger, &rc);
    ownership_drop(&rc.own);
    pthread_rwlock_rdlock(&in->tenants_lock);
    HASH_ITER(hh, in->tenants, t, tmp) {
        struct stranger_count none = {0}, *c = &none;

        for (size_t i = 0; i < rc.counts.n; i++)
            c = rc.counts.v[i].tenant == t ? &rc.counts.v[i] : c;
        atomic_store(&t->strangers, c->series);
        atomic_store(&t->strangers_active, c->active);
    }
    pthread_rwlock_unlock(&in->tenants_lock);
    vec_fini(&rc.counts);
}
