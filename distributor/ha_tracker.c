#include "distributor/ha_tracker.h"
#include "common/base/json.h"
#include "common/http/html.h"
#include "common/sys/thread.h"

#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>

#define PREFIX "ha/"

struct ha_tenant {
    UT_hash_handle hh;
    struct ha_tracker *tracker;
    char *id;
    size_t id_len;
    struct mutex lock; /* --- guards all below; the tracker's locks may be taken within --- */
    struct ha_core *core;
    struct ha_hold hold;
};
struct ha_tracker {
    struct ha_tracker_cfg cfg; /* --- read-only after start --- */
    struct ha_tracker_deps deps;
    pthread_t thread, fill_thread;
    struct metric_family *m_changes, *m_timestamp, *m_deduped, *m_cas, *m_groups, *m_held, *m_fills, *m_dropped;
    pthread_rwlock_t tenants_lock; /* --- guards the table --- */
    struct ha_tenant *tenants;
    struct mutex lock; /* --- guards all below --- */
    struct cond wake, fill_wake;
    bool stop, woken;
    struct ha_held *fill, **fill_last; /* in order; owner is the tenant */
    size_t fill_bytes;
};

static int64_t now_of(const struct ha_tracker *t)
{
    return clock_mono_ms(t->deps.clock);
}

static struct str tenant_id(const struct ha_tenant *t)
{
    return str_n(t->id, t->id_len);
}

static struct ha_rules rules_of(const struct ha_tracker *t, const struct limits *l)
{
    return (struct ha_rules){l->ha_failover_timeout_ms, t->cfg.update_ms, t->cfg.jitter_ms, l->ha_max_clusters};
}

static void wake(struct ha_tracker *t)
{
    mutex_lock(&t->lock);
    t->woken = true;
    cond_signal(&t->wake);
    mutex_unlock(&t->lock);
}

/* --- tenants --- */

static void on_elected(void *self, struct str cluster, const struct ha_elected *e)
{
    struct ha_tenant *tn = self;
    struct ha_tracker *t = tn->tracker;
    const struct str values[] = {tenant_id(tn), cluster};
    char name[HA_NAME_MAX + 1], replica[HA_NAME_MAX + 1];

    metric_inc(metric_with_str(t->m_changes, values, 2));
    metric_set(metric_with_str(t->m_timestamp, values, 2), (double)e->elected_ms / 1000);
    snprintf(name, sizeof name, "%.*s", STR_FMT(cluster));
    snprintf(replica, sizeof replica, "%.*s", STR_FMT(e->replica));
    log_limited(t->deps.log, LOG_INFO, "HA replica elected", "tenant", tn->id, "cluster", name, "replica", replica, "epoch", log_i64((int64_t)e->epoch));
    wake(t);
}

static struct ha_tenant *tenant_new(struct ha_tracker *t, struct str id)
{
    struct ha_tenant *tn = xcalloc(1, sizeof *tn);
    uint64_t seed;

    random_bytes(&seed, sizeof seed);
    tn->tracker = t;
    tn->id = str_dupz(id);
    tn->id_len = id.n;
    tn->core = ha_core_new(on_elected, tn, seed);
    mutex_init(&tn->lock);
    ha_hold_init(&tn->hold);
    return tn;
}

struct ha_tenant *ha_tracker_tenant(struct ha_tracker *t, struct str id)
{
    struct ha_tenant *tn;

    pthread_rwlock_rdlock(&t->tenants_lock);
    HASH_FIND(hh, t->tenants, id.p, id.n, tn);
    pthread_rwlock_unlock(&t->tenants_lock);
    if (tn)
        return tn;
    pthread_rwlock_wrlock(&t->tenants_lock);
    HASH_FIND(hh, t->tenants, id.p, id.n, tn);
    if (!tn) {
        tn = tenant_new(t, id);
        HASH_ADD_KEYPTR(hh, t->tenants, tn->id, tn->id_len, tn);
    }
    pthread_rwlock_unlock(&t->tenants_lock);
    return tn;
}

uint16_t ha_tenant_pair(struct ha_tenant *t, struct str cluster, struct str replica)
{
    uint16_t pair;

    mutex_lock(&t->lock);
    pair = ha_core_pair(t->core, cluster, replica);
    mutex_unlock(&t->lock);
    return pair;
}

enum ha_verdict ha_tenant_heard(struct ha_tenant *t, uint16_t pair, const struct limits *limits)
{
    struct ha_rules rules = rules_of(t->tracker, limits);
    enum ha_verdict v;

    mutex_lock(&t->lock);
    v = ha_core_heard(t->core, pair, &rules, now_of(t->tracker), clock_wall_ms(t->tracker->deps.clock));
    mutex_unlock(&t->lock);
    return v;
}

void ha_tenant_deduped(struct ha_tenant *t, uint16_t pair, uint64_t samples)
{
    struct str values[2] = {tenant_id(t)};

    mutex_lock(&t->lock);
    values[1] = ha_core_cluster_of(t->core, pair);
    metric_add(metric_with_str(t->tracker->m_deduped, values, 2), samples);
    mutex_unlock(&t->lock);
}

void ha_tenant_hold(struct ha_tenant *t, uint16_t pair, struct ha_body *body, const struct limits *limits)
{
    bool all;

    mutex_lock(&t->lock);
    all = ha_hold_add(&t->hold, body, pair, now_of(t->tracker), limits->ha_standby_bytes);
    mutex_unlock(&t->lock);
    if (!all)
        metric_inc(metric_with(t->tracker->m_dropped, t->id, NULL));
}

/* --- the shared state --- */

/* tenant, cluster of a key. */
static bool key_split(struct str key, struct str *ret_tenant, struct str *ret_cluster)
{
    size_t slash;

    if (!str_has_prefix(key, STR(PREFIX)))
        return false;
    key = str_skip(key, strlen(PREFIX));
    slash = str_find(key, '/');
    if (slash == 0 || slash == key.n || key.n - slash - 1 > HA_NAME_MAX)
        return false;
    *ret_tenant = str_sub(key, 0, slash);
    *ret_cluster = str_skip(key, slash + 1);
    return true;
}

static void on_change(void *arg, const struct ring_kv_entry *entry)
{
    struct ha_tracker *t = arg;
    struct str tenant, cluster;
    struct ha_elected e;
    struct ha_tenant *tn;
    struct err err;

    if (!key_split(entry->key, &tenant, &cluster))
        return;
    if (!entry->deleted && ha_elected_decode(entry->version, entry->value, &e, &err) < 0) {
        log_limited(t->deps.log, LOG_WARN, "HA state of another distributor not read, ignored", "err", err_text(&err));
        return;
    }
    tn = ha_tracker_tenant(t, tenant);
    mutex_lock(&tn->lock);
    ha_core_learn(tn->core, cluster, entry->version, entry->deleted ? NULL : &e, now_of(t), clock_wall_ms(t->deps.clock));
    mutex_unlock(&tn->lock);
}

/* What is greater stands already, and will be heard of: nothing to do then. */
static void write_one(struct ha_tenant *tn, const struct ha_write *w, struct str cluster)
{
    struct ha_tracker *t = tn->tracker;
    const struct str values[] = {tenant_id(tn), cluster};
    struct buf key, value;
    struct err err = {0};
    int rc;

    buf_init(&key, HA_KEY_MAX);
    buf_init(&value, RING_KV_VALUE_MAX);
    buf_printf(&key, PREFIX "%.*s/", STR_FMT(tenant_id(tn)));
    buf_str(&key, cluster);
    ha_elected_encode(&w->e, &value);
    if (w->remove)
        rc = ring_kv_remove(&t->deps.kv, buf_view(&key), RING_KV_ANY, w->e.epoch, &err);
    else
        rc = ring_kv_put(&t->deps.kv, buf_view(&key), RING_KV_ANY, w->e.epoch, buf_view(&value), &err);
    metric_inc(metric_with_str(t->m_cas, values, 2));
    buf_fini(&key);
    buf_fini(&value);
    if (rc == 0 || rc == RC_EXISTS)
        return;
    log_limited(t->deps.log, LOG_WARN, "HA state not written, will retry", "tenant", tn->id, "err", err_log(&err));
    mutex_lock(&tn->lock);
    ha_core_write_failed(tn->core, cluster);
    mutex_unlock(&tn->lock);
}

static bool take_write(struct ha_tenant *tn, struct ha_write *w, char cluster[HA_NAME_MAX], char replica[HA_NAME_MAX])
{
    bool more;

    mutex_lock(&tn->lock);
    more = ha_core_next_write(tn->core, now_of(tn->tracker), w);
    if (more) {
        memcpy(cluster, w->cluster.p, w->cluster.n);
        w->cluster.p = cluster;
        if (w->e.replica.n)
            memcpy(replica, w->e.replica.p, w->e.replica.n);
        w->e.replica.p = replica;
    }
    mutex_unlock(&tn->lock);
    return more;
}

static void write_all(struct ha_tenant *tn)
{
    enum { AT_ONCE_MAX = 10000 }; /* what failed is due again: with the next tick */
    char cluster[HA_NAME_MAX], replica[HA_NAME_MAX];
    struct ha_write w;

    if (!tn->tracker->deps.kv.ops)
        return;
    for (int i = 0; i < AT_ONCE_MAX && take_write(tn, &w, cluster, replica); i++)
        write_one(tn, &w, w.cluster);
}

/* --- what is held --- */

struct sweep {
    struct ha_tenant *tn;
    int64_t now_ms, hold_ms;
};

static enum ha_fate fate_of(void *arg, struct ha_held *held)
{
    struct sweep *s = arg;
    bool followed = ha_core_follows(s->tn->core, held->pair);

    if (ha_core_in_gap(s->tn->core, held->pair, held->came_ms, s->now_ms)) {
        held->owner = s->tn;
        held->until_ms = followed ? HA_GAP_OPEN : clock_wall_ms(s->tn->tracker->deps.clock);
        return HA_FILL;
    }
    return followed || s->now_ms - held->came_ms > s->hold_ms ? HA_DROP : HA_KEEP;
}

/* More than fit are dropped: a gap stays. */
static void fill_later(struct ha_tracker *t, struct ha_held *list)
{
    uint64_t dropped = 0;

    mutex_lock(&t->lock);
    while (list) {
        struct ha_held *held = list;

        list = held->next;
        held->next = NULL;
        if (t->fill_bytes + ha_held_bytes(held) > HA_FILL_BYTES_MAX) {
            ha_held_free(held);
            dropped++;
            continue;
        }
        t->fill_bytes += ha_held_bytes(held);
        *t->fill_last = held;
        t->fill_last = &held->next;
    }
    cond_signal(&t->fill_wake);
    mutex_unlock(&t->lock);
    if (dropped)
        log_limited(t->deps.log, LOG_WARN, "too many standbys' requests wait to fill gaps, some are dropped", "requests", log_i64((int64_t)dropped));
}

/* Lock held. */
static struct ha_held *fill_take(struct ha_tracker *t)
{
    struct ha_held *held = t->fill;

    if (!held)
        return NULL;
    t->fill = held->next;
    if (!t->fill)
        t->fill_last = &t->fill;
    t->fill_bytes -= ha_held_bytes(held);
    return held;
}

static void fill_one(struct ha_tracker *t, struct ha_held *held)
{
    const struct ha_tenant *tn = held->owner;

    metric_inc(metric_with(t->m_fills, tn->id, NULL));
    t->deps.fill(t->deps.arg, &(struct ha_fill){tenant_id(tn), held->pair, held->until_ms, held->body});
    ha_held_free(held);
}

static void *fill_main(void *arg)
{
    struct ha_tracker *t = arg;
    struct ha_held *held;

    mutex_lock(&t->lock);
    while (!t->stop) {
        held = fill_take(t);
        if (!held) {
            cond_wait(&t->fill_wake, &t->lock);
            continue;
        }
        mutex_unlock(&t->lock);
        fill_one(t, held);
        mutex_lock(&t->lock);
    }
    while ((held = fill_take(t)))
        ha_held_free(held);
    mutex_unlock(&t->lock);
    return NULL;
}

static void sweep(struct ha_tenant *tn)
{
    struct sweep s = {tn, now_of(tn->tracker), 0};
    struct ha_held *fill = NULL;

    mutex_lock(&tn->lock);
    ha_core_tick(tn->core, s.now_ms);
    if (tn->hold.first) {
        s.hold_ms = limits_of(tn->tracker->deps.overrides, tenant_id(tn))->ha_failover_timeout_ms + HA_HOLD_MORE_MS;
        fill = ha_hold_sweep(&tn->hold, fate_of, &s);
    }
    ha_core_gaps_done(tn->core, s.now_ms);
    mutex_unlock(&tn->lock);
    if (fill)
        fill_later(tn->tracker, fill);
}

/* --- thread --- */

/* Tenants are only ever added. */
static struct ha_tenant **tenants_list(struct ha_tracker *t, size_t *ret_n)
{
    struct ha_tenant **list, *tn, *tmp;
    size_t n = 0;

    pthread_rwlock_rdlock(&t->tenants_lock);
    list = xcalloc(HASH_COUNT(t->tenants) + 1, sizeof *list);
    HASH_ITER(hh, t->tenants, tn, tmp)
        list[n++] = tn;
    pthread_rwlock_unlock(&t->tenants_lock);
    *ret_n = n;
    return list;
}

static void each_tenant(struct ha_tracker *t, void (*fn)(struct ha_tenant *tn))
{
    size_t n;
    struct ha_tenant **list = tenants_list(t, &n);

    for (size_t i = 0; i < n; i++)
        fn(list[i]);
    free(list);
}

static void work_on(struct ha_tenant *tn)
{
    write_all(tn);
    sweep(tn);
}

static void *tracker_main(void *arg)
{
    struct ha_tracker *t = arg;

    mutex_lock(&t->lock);
    while (!t->stop) {
        if (!t->woken)
            cond_wait_ms(&t->wake, &t->lock, HA_TICK_MS);
        t->woken = false;
        mutex_unlock(&t->lock);
        each_tenant(t, work_on);
        mutex_lock(&t->lock);
    }
    mutex_unlock(&t->lock);
    return NULL;
}

static void set_gauges(struct ha_tenant *tn)
{
    struct ha_tracker *t = tn->tracker;
    size_t clusters, held;

    mutex_lock(&tn->lock);
    clusters = ha_core_clusters(tn->core);
    held = tn->hold.bytes;
    mutex_unlock(&tn->lock);
    if (clusters + held == 0)
        return;
    metric_set(metric_with(t->m_groups, tn->id, NULL), (double)clusters);
    metric_set(metric_with(t->m_held, tn->id, NULL), (double)held);
}

static void collect(void *arg)
{
    each_tenant(arg, set_gauges);
}

static void metrics_make(struct ha_tracker *t)
{
    static const char *const cluster[] = {"user", "cluster", NULL}, *const user[] = {"user", NULL};
    struct metrics *m = t->deps.metrics;

    t->m_changes = metrics_family(m, METRIC_COUNTER, "torc_ha_tracker_elected_replica_changes_total", "How often another replica of an HA cluster was followed.", cluster);
    t->m_timestamp = metrics_family(m, METRIC_GAUGE, "torc_ha_tracker_elected_replica_timestamp_seconds", "When the replica that is followed was elected.", cluster);
    t->m_cas = metrics_family(m, METRIC_COUNTER, "torc_ha_tracker_kv_store_cas_total", "Elections and heartbeats written into the shared state.", cluster);
    t->m_deduped = metrics_family(m, METRIC_COUNTER, "torc_distributor_deduped_samples_total", "Samples of replicas that are not followed, answered with success and left out.", cluster);
    t->m_groups = metrics_family(m, METRIC_GAUGE, "torc_ha_tracker_user_replica_group_count", "HA clusters that are tracked.", user);
    t->m_held = metrics_family(m, METRIC_GAUGE, "torc_ha_tracker_held_bytes", "Bytes of standbys' requests held to fill gaps.", user);
    t->m_fills = metrics_family(m, METRIC_COUNTER, "torc_ha_tracker_fill_requests_total", "Standbys' requests offered to the ingesters to fill gaps.", user);
    t->m_dropped = metrics_family(m, METRIC_COUNTER, "torc_ha_tracker_held_overflows_total", "Standbys' requests for which older ones went before their time (ha_standby_bytes).", user);
    metrics_on_collect(m, collect, t);
}

struct ha_tracker *ha_tracker_new(const struct ha_tracker_cfg *cfg, const struct ha_tracker_deps *deps)
{
    struct ha_tracker *t = xcalloc(1, sizeof *t);

    t->cfg = *cfg;
    t->deps = *deps;
    pthread_rwlock_init(&t->tenants_lock, NULL);
    mutex_init(&t->lock);
    cond_init(&t->wake);
    cond_init(&t->fill_wake);
    t->fill_last = &t->fill;
    metrics_make(t);
    if (t->deps.kv.ops)
        ring_kv_watch(&t->deps.kv, STR(PREFIX), on_change, t);
    t->thread = thread_start("ha", tracker_main, t);
    t->fill_thread = thread_start("ha-fill", fill_main, t);
    return t;
}

void ha_tracker_free(struct ha_tracker *t)
{
    struct ha_tenant *tn, *tmp;

    if (!t)
        return;
    if (t->deps.kv.ops)
        ring_kv_unwatch(&t->deps.kv, on_change, t);
    mutex_lock(&t->lock);
    t->stop = true;
    cond_signal(&t->wake);
    cond_signal(&t->fill_wake);
    mutex_unlock(&t->lock);
    pthread_join(t->thread, NULL);
    pthread_join(t->fill_thread, NULL);
    HASH_ITER(hh, t->tenants, tn, tmp) {
        HASH_DEL(t->tenants, tn);
        ha_core_free(tn->core);
        ha_hold_fini(&tn->hold);
        mutex_fini(&tn->lock);
        free(tn->id);
        free(tn);
    }
    cond_fini(&t->wake);
    cond_fini(&t->fill_wake);
    mutex_fini(&t->lock);
    pthread_rwlock_destroy(&t->tenants_lock);
    free(t);
}

size_t ha_tracker_memory(struct ha_tracker *t)
{
    size_t n, bytes = 0;
    struct ha_tenant **list = tenants_list(t, &n);

    for (size_t i = 0; i < n; i++) {
        mutex_lock(&list[i]->lock);
        bytes += sizeof *list[i] + list[i]->hold.bytes + ha_core_memory(list[i]->core);
        mutex_unlock(&list[i]->lock);
    }
    free(list);
    return bytes;
}

/* --- the page --- */

struct page {
    struct buf *out;
    struct ha_tenant *tn;
    int64_t failover_ms;
    bool any;
};

static int64_t left_ms(const struct page *p, const struct ha_view *v)
{
    return MAX(p->failover_ms - v->silent_ms, (int64_t)0);
}

static void json_time(struct buf *out, const char *key, int64_t ms)
{
    buf_char(out, ',');
    json_key(out, key);
    buf_printf(out, "%lld", (long long)ms);
}

static void cluster_json(void *arg, const struct ha_view *v)
{
    struct page *p = arg;

    buf_z(p->out, p->any ? ",{\"tenant\":" : "{\"tenant\":");
    p->any = true;
    json_str(p->out, tenant_id(p->tn));
    buf_z(p->out, ",\"cluster\":");
    json_str(p->out, v->cluster);
    buf_z(p->out, ",\"replica\":");
    json_str(p->out, v->e.replica);
    json_time(p->out, "epoch", (int64_t)v->e.epoch);
    json_time(p->out, "elections", (int64_t)v->e.elections);
    json_time(p->out, "elected_at_ms", v->e.elected_ms);
    json_time(p->out, "received_at_ms", v->e.received_ms);
    json_time(p->out, "silent_ms", v->silent_ms);
    json_time(p->out, "failover_in_ms", left_ms(p, v));
    buf_char(p->out, '}');
}

static void utc(int64_t ms, char ret[32])
{
    time_t s = (time_t)(ms / 1000);
    struct tm tm;

    gmtime_r(&s, &tm);
    strftime(ret, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static void cluster_html(void *arg, const struct ha_view *v)
{
    struct page *p = arg;
    char cluster[HA_NAME_MAX + 1], replica[HA_NAME_MAX + 1], elected[32], received[32], left[32], numbers[2][24];
    const char *const cells[] = {p->tn->id, cluster, replica, elected, received, left, numbers[0], numbers[1]};

    snprintf(cluster, sizeof cluster, "%.*s", STR_FMT(v->cluster));
    snprintf(replica, sizeof replica, "%.*s", STR_FMT(v->e.replica));
    utc(v->e.elected_ms, elected);
    utc(v->e.received_ms, received);
    snprintf(left, sizeof left, "%.1f s", (double)left_ms(p, v) / 1000);
    snprintf(numbers[0], sizeof numbers[0], "%llu", (unsigned long long)v->e.elections);
    snprintf(numbers[1], sizeof numbers[1], "%llu", (unsigned long long)v->e.epoch);
    html_row(p->out, false, cells, ARRAY_LEN(cells));
}

static void each_cluster(struct ha_tracker *t, struct buf *out, void (*fn)(void *arg, const struct ha_view *v))
{
    struct page p = {.out = out};
    size_t n;
    struct ha_tenant **list = tenants_list(t, &n);

    for (size_t i = 0; i < n; i++) {
        p.tn = list[i];
        p.failover_ms = limits_of(t->deps.overrides, tenant_id(p.tn))->ha_failover_timeout_ms;
        mutex_lock(&p.tn->lock);
        ha_core_each(p.tn->core, now_of(t), fn, &p);
        mutex_unlock(&p.tn->lock);
    }
    free(list);
}

void ha_tracker_write_json(struct ha_tracker *t, struct buf *out)
{
    buf_printf(out, "{\"now_ms\":%lld,\"clusters\":[", (long long)clock_wall_ms(t->deps.clock));
    each_cluster(t, out, cluster_json);
    buf_z(out, "]}\n");
}

void ha_tracker_write_html(struct ha_tracker *t, struct buf *out)
{
    static const char *const head[] = {"Tenant", "Cluster", "Replica", "Elected", "Last heard", "Fails over in", "Elections", "Epoch"};

    html_begin(out, "HA tracker");
    html_table_begin(out);
    html_row(out, true, head, ARRAY_LEN(head));
    each_cluster(t, out, cluster_html);
    html_table_end(out);
    html_end(out);
}
