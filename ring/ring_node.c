#include "ring/ring_node.h"

#include "common/base/hash.h"
#include "common/obs/log.h"
#include "common/obs/metrics.h"
#include "common/sys/clock.h"
#include "common/sys/fs.h"
#include "common/sys/thread.h"
#include "ring/auto_forget.h"
#include "ring/ring_file.h"
#include "ring/ring_page.h"

#include <stdio.h>
#include <stdlib.h>

enum { LEAVE_WAIT_MS = 500, AUTO_FORGET_PERIODS = 5 };

struct watcher {
    ring_change_fn *fn;
    void *arg;
};

struct gauges {
    struct metric *members[RING_STATES], *unhealthy, *changes, *malformed, *conflicts;
};

struct ring_node {
    const struct clock *clock; /* --- read-only after start --- */
    struct log *log;
    char *id, *zone, *addr, *http_addr, *data_dir;
    struct str cluster;
    uint32_t roles;
    int rf;
    int64_t period_ms, auto_forget_ms;
    struct metrics *metrics;
    struct gauges gauges;
    struct ring_store store;
    struct watcher watchers[RING_WATCHERS_MAX];
    size_t watchers_n;
    pthread_t thread;
    bool started;

    struct mutex publish_lock; /* --- one publisher at a time; before lock --- */

    struct mutex lock; /* --- guards the rest --- */
    struct cond changed;
    struct ring_core *core; /* NULL before start */
    struct member saved;    /* what the file shall hold */
    uint64_t saved_version; /* grows with each change of saved */
    uint64_t written_version;
    bool dirty, wake, stop;

    struct mutex ring_lock; /* --- guards ring; last in order --- */
    struct ring *ring;
};

/* --- environment of the core; all called with the lock --- */

static int64_t env_now_ms(void *self)
{
    return clock_mono_ms(((struct ring_node *)self)->clock);
}

static int64_t env_wall_ms(void *self)
{
    return clock_wall_ms(((struct ring_node *)self)->clock);
}

static void env_send(void *self, const char *addr, struct str msg)
{
    struct ring_node *n = self;

    n->store.ops->send(n->store.self, addr, msg);
}

/* Of the store: somebody may wait for what just happened. */
static void stir(void *self)
{
    struct ring_node *n = self;

    n->wake = true;
    cond_broadcast(&n->changed);
}

static void env_persist(void *self, const struct member *m)
{
    struct ring_node *n = self;

    member_fini(&n->saved);
    member_copy(&n->saved, m);
    n->saved_version++;
    stir(n);
    n->store.ops->wake(n->store.self);
}

static void env_changed(void *self)
{
    struct ring_node *n = self;

    n->dirty = true;
    stir(n);
    n->store.ops->wake(n->store.self);
}

/* --- publishing --- */

static void set_gauges(struct ring_node *n, const struct ring *r, const struct ring_core_stats *stats)
{
    size_t states[RING_STATES] = {0}, unhealthy = 0;

    if (!n->metrics)
        return;
    for (size_t i = 0; i < ring_instances_n(r); i++) {
        states[ring_instance(r, (uint16_t)i)->state]++;
        unhealthy += !ring_instance(r, (uint16_t)i)->healthy;
    }
    for (size_t s = 0; s < RING_LEFT; s++)
        metric_set(n->gauges.members[s], (double)states[s]);
    metric_set(n->gauges.unhealthy, (double)unhealthy);
    metric_set(n->gauges.changes, (double)(ring_epoch(r) >> 24));
    metric_set(n->gauges.malformed, (double)stats->malformed);
    metric_set(n->gauges.conflicts, (double)stats->conflicts);
}

static void warn_shared_tokens(struct ring_node *n, const struct ring *r)
{
    uint16_t self = ring_self(r);
    const struct ring_instance *me = self == RING_NOBODY ? NULL : ring_instance(r, self);

    if (me && me->tokens_n && me->state == RING_ACTIVE && me->ownership == 0 && n->log)
        log_limited(n->log, LOG_ERROR, "this member owns nothing: another one of its zone has the same tokens (same ordinal)",
                    "id", n->id, "zone", n->zone);
}

/* Copies the table under the lock and builds outside it: building takes milliseconds, handlers must not wait for it. */
static void publish(struct ring_node *n)
{
    struct member *copies;
    const struct member **list;
    struct ring *before, *after;
    struct ring_core_stats stats;
    uint64_t epoch;
    size_t count;

    mutex_lock(&n->publish_lock);
    mutex_lock(&n->lock);
    count  = ring_core_members_n(n->core);
    copies = xcalloc(count + 1, sizeof *copies);
    list   = xcalloc(count + 1, sizeof *list);
    for (size_t i = 0; i < count; i++) {
        member_copy(&copies[i], ring_core_member(n->core, i));
        list[i] = &copies[i];
    }
    epoch    = ring_core_epoch(n->core);
    stats    = ring_core_stats(n->core);
    stats.conflicts += n->store.ops->conflicts(n->store.self);
    n->dirty = false;
    mutex_unlock(&n->lock);
    before = n->ring; /* replaced under publish_lock only */
    after  = ring_new_after(before, list, count, n->rf, epoch, n->id);
    mutex_lock(&n->ring_lock);
    n->ring = after;
    mutex_unlock(&n->ring_lock);
    ring_unref(before);
    set_gauges(n, after, &stats);
    warn_shared_tokens(n, after);
    for (size_t i = 0; i < n->watchers_n; i++)
        n->watchers[i].fn(n->watchers[i].arg, after);
    mutex_unlock(&n->publish_lock);
    for (size_t i = 0; i < count; i++)
        member_fini(&copies[i]);
    free(copies);
    free(list);
    mutex_lock(&n->lock);
    cond_broadcast(&n->changed); /* ring_node_wait */
    mutex_unlock(&n->lock);
}

struct ring *ring_node_ring(struct ring_node *n)
{
    struct ring *r;

    mutex_lock(&n->ring_lock);
    r = ring_ref(n->ring);
    mutex_unlock(&n->ring_lock);
    return r;
}

/* --- identity --- */

/* From the node's thread only, and from start before it. */
static void save(struct ring_node *n)
{
    struct member m;
    struct err err = {0};
    uint64_t version;

    mutex_lock(&n->lock);
    version = n->saved_version;
    if (!n->data_dir || version == n->written_version) {
        mutex_unlock(&n->lock);
        return;
    }
    member_copy(&m, &n->saved);
    mutex_unlock(&n->lock);
    if (ring_file_write(n->data_dir, &m, &err) == 0) {
        n->written_version = version; /* this thread's alone */
    } else if (n->log) {
        log_limited(n->log, LOG_ERROR, "ring identity not written, will retry", "err", err_log(&err));
    }
    member_fini(&m);
}

/* --- forgetting --- */

/* Copies, freed by the caller; *ret_due: some member is dead for long enough. */
static struct member *copy_table(struct ring_node *n, int64_t **ret_dead_ms, size_t *ret_n, bool *ret_due)
{
    struct member *copies;

    mutex_lock(&n->lock);
    *ret_n       = ring_core_members_n(n->core);
    copies       = xcalloc(*ret_n + 1, sizeof *copies);
    *ret_dead_ms = xcalloc(*ret_n + 1, sizeof **ret_dead_ms);
    *ret_due     = false;
    for (size_t i = 0; i < *ret_n; i++) {
        member_copy(&copies[i], ring_core_member(n->core, i));
        (*ret_dead_ms)[i] = ring_core_dead_ms(n->core, i);
        *ret_due          = *ret_due || (*ret_dead_ms)[i] >= n->auto_forget_ms;
    }
    mutex_unlock(&n->lock);
    return copies;
}

/* From the node's thread, without the lock: it builds a ring to see what would be. */
static void forget_dead(struct ring_node *n)
{
    size_t count;
    bool due;
    int64_t *dead_ms;
    struct member *copies      = copy_table(n, &dead_ms, &count, &due);
    const struct member **list = xcalloc(count + 1, sizeof *list);
    struct err err             = {0};
    int pick;

    for (size_t i = 0; i < count; i++)
        list[i] = &copies[i];
    pick = due ? auto_forget_pick(list, dead_ms, count, n->rf, n->auto_forget_ms) : -1;
    if (pick >= 0 && ring_node_forget(n, copies[pick].id, &err) == 0 && n->log)
        log_warn(n->log, "dead member forgotten", "member", copies[pick].id, "dead_ms", log_i64(dead_ms[pick]));
    for (size_t i = 0; i < count; i++)
        member_fini(&copies[i]);
    free(list);
    free(copies);
    free(dead_ms);
}

/* --- thread --- */

static void *node_main(void *arg)
{
    struct ring_node *n = arg;
    int64_t forget_ms   = 0;

    mutex_lock(&n->lock);
    while (!n->stop) {
        int64_t next = ring_core_tick(n->core), left;
        bool dirty   = n->dirty;

        n->wake = false;
        mutex_unlock(&n->lock);
        save(n);
        if (dirty)
            publish(n);
        if (n->auto_forget_ms && clock_mono_ms(n->clock) >= forget_ms) {
            forget_dead(n);
            forget_ms = clock_mono_ms(n->clock) + AUTO_FORGET_PERIODS * n->period_ms;
        }
        mutex_lock(&n->lock);
        left = next - clock_mono_ms(n->clock);
        if (!n->wake && !n->stop && left > 0)
            cond_wait_ms(&n->changed, &n->lock, left);
    }
    mutex_unlock(&n->lock);
    return NULL;
}

/* --- life --- */

static char *dup_or_empty(const char *s)
{
    return xstrdup(s ? s : "");
}

static void make_gauges(struct ring_node *n, struct metrics *m)
{
    static const char *const by_state[] = {"state", NULL};
    struct metric_family *members;

    n->metrics = m;
    if (!m)
        return;
    members = metrics_family(m, METRIC_GAUGE, "torc_ring_members", "Members of the cluster by state.", by_state);
    for (size_t s = 0; s < RING_LEFT; s++)
        n->gauges.members[s] = metric_with(members, ring_state_name((enum ring_state)s), NULL);
    n->gauges.unhealthy = metrics_gauge(m, "torc_ring_unhealthy_members", "Members whose heartbeat is lost.");
    n->gauges.changes   = metrics_gauge(m, "torc_ring_ownership_changes", "Changes of ownership so far, the same at all members.");
    n->gauges.malformed = metrics_gauge(m, "torc_ring_malformed_messages", "Ring messages that could not be read.");
    n->gauges.conflicts = metrics_gauge(m, "torc_ring_id_conflicts", "Messages of another process with this member's id.");
}

static int make_store(struct ring_node *n, const struct ring_node_cfg *cfg, const struct ring_node_deps *deps, struct err *err)
{
    struct ring_store_env env = {n, &n->lock, stir, n->clock, deps->metrics, n->log};
    struct ring_gossip_cfg gossip = {.server          = deps->server,
                                     .cluster         = cfg->cluster,
                                     .period_ms       = n->period_ms,
                                     .seeds           = cfg->seeds,
                                     .seeds_n         = cfg->seeds_n,
                                     .seeds_period_ms = cfg->seeds_period_ms};
    struct ring_etcd_cfg etcd;

    if (!cfg->etcd)
        return ring_gossip_new(&gossip, &env, &n->store, err);
    etcd         = *cfg->etcd;
    etcd.cluster = cfg->cluster;
    return ring_etcd_new(&etcd, &env, &n->store, err);
}

int ring_node_new(const struct ring_node_cfg *cfg, const struct ring_node_deps *deps, struct ring_node **ret, struct err *err)
{
    struct ring_node *n;
    int rc;

    if (cfg->rf < 1 || cfg->rf > RING_RF_MAX)
        return err_set(err, RC_INVALID, "ring: replication factor %d, must be 1 to %d", cfg->rf, RING_RF_MAX);
    n            = xcalloc(1, sizeof *n);
    n->clock     = deps->clock ? deps->clock : clock_system();
    n->log       = deps->log;
    n->id        = dup_or_empty(cfg->id);
    n->zone      = dup_or_empty(cfg->zone);
    n->addr      = cfg->addr ? xstrdup(cfg->addr) : NULL;
    n->http_addr = dup_or_empty(cfg->http_addr);
    n->data_dir  = cfg->data_dir ? xstrdup(cfg->data_dir) : NULL;
    n->roles     = cfg->roles;
    n->rf        = cfg->rf;
    n->auto_forget_ms = cfg->auto_forget_ms;
    n->period_ms = cfg->period_ms ? cfg->period_ms : RING_PERIOD_MS;
    mutex_init(&n->publish_lock);
    mutex_init(&n->lock);
    mutex_init(&n->ring_lock);
    cond_init(&n->changed);
    make_gauges(n, deps->metrics);
    rc = make_store(n, cfg, deps, err);
    if (rc < 0) {
        ring_node_free(n);
        return rc;
    }
    *ret = n;
    return 0;
}

void ring_node_on_change(struct ring_node *n, ring_change_fn *fn, void *arg)
{
    ASSERT(!n->started && n->watchers_n < RING_WATCHERS_MAX);
    n->watchers[n->watchers_n++] = (struct watcher){fn, arg};
}

static void make_tokens(const struct ring_node *n, uint32_t ret[RING_TOKENS])
{
    int ordinal = tokens_ordinal_of_name(str_of(n->id));

    if (ordinal >= 0)
        tokens_of_ordinal((unsigned)ordinal, RING_TOKENS, ret);
    else
        tokens_of_name(str_of(n->id), RING_TOKENS, ret);
}

static int make_core(struct ring_node *n, const struct member *restored, struct err *err)
{
    bool owner               = (n->roles & RING_INGESTER) != 0;
    uint32_t tokens[RING_TOKENS];
    struct ring_core_env env = {n, env_now_ms, env_wall_ms, env_send, env_persist, env_changed, 0};
    struct ring_core_cfg cfg = {
        .id        = n->id,
        .zone      = n->zone,
        .addr      = n->addr,
        .http_addr = n->http_addr,
        .roles     = n->roles,
        .period_ms = n->period_ms,
        .tokens    = tokens,
        .tokens_n  = owner ? RING_TOKENS : 0,
        .state     = owner ? RING_PENDING : RING_ACTIVE,
        .restored  = restored,
        .stored    = n->store.ops->stored,
    };
    int rc;

    random_bytes(&env.random_seed, sizeof env.random_seed);
    if (owner && !(restored && restored->tokens_n))
        make_tokens(n, tokens);
    mutex_lock(&n->lock);
    rc = ring_core_new(&cfg, &env, &n->core, err);
    mutex_unlock(&n->lock);
    return rc;
}

int ring_node_start(struct ring_node *n, const char *addr, struct err *err)
{
    struct member restored = {0};
    bool found             = false;
    int rc                 = 0;

    ASSERT(!n->started);
    if (addr) {
        free(n->addr);
        n->addr = xstrdup(addr);
    }
    if (!n->addr)
        return err_set(err, RC_INVALID, "ring: no address to be reached at");
    if (n->data_dir) {
        rc    = fs_mkdirs(n->data_dir, err);
        found = rc == 0 && (rc = ring_file_read(n->data_dir, &restored, err)) == 0;
        rc    = rc == RC_NOT_FOUND ? 0 : rc;
    }
    if (rc == 0)
        rc = make_core(n, found ? &restored : NULL, err);
    member_fini(&restored);
    if (rc < 0)
        return rc;
    save(n);
    publish(n);
    n->started = true;
    n->thread  = thread_start("ring", node_main, n);
    return n->store.ops->start(n->store.self, n->core, err);
}

void ring_node_free(struct ring_node *n)
{
    if (!n)
        return;
    mutex_lock(&n->lock);
    n->stop = true;
    cond_broadcast(&n->changed);
    mutex_unlock(&n->lock);
    if (n->started)
        pthread_join(n->thread, NULL);
    if (n->store.ops)
        n->store.ops->free(n->store.self);
    if (n->core)
        save(n);
    ring_core_free(n->core);
    ring_unref(n->ring);
    member_fini(&n->saved);
    free(n->id);
    free(n->zone);
    free(n->addr);
    free(n->http_addr);
    free(n->data_dir);
    cond_fini(&n->changed);
    mutex_fini(&n->publish_lock);
    mutex_fini(&n->lock);
    mutex_fini(&n->ring_lock);
    free(n);
}

/* --- verbs --- */

void ring_node_set_state(struct ring_node *n, enum ring_state state)
{
    mutex_lock(&n->lock);
    ring_core_set_state(n->core, state);
    mutex_unlock(&n->lock);
    publish(n);
}

void ring_node_set_flags(struct ring_node *n, uint32_t flags)
{
    mutex_lock(&n->lock);
    ring_core_set_flags(n->core, flags);
    mutex_unlock(&n->lock);
    publish(n);
}

enum ring_state ring_node_state(struct ring_node *n)
{
    enum ring_state s;

    mutex_lock(&n->lock);
    s = ring_core_self(n->core)->state;
    mutex_unlock(&n->lock);
    return s;
}

uint32_t ring_node_flags(struct ring_node *n)
{
    uint32_t flags;

    mutex_lock(&n->lock);
    flags = ring_core_self(n->core)->flags;
    mutex_unlock(&n->lock);
    return flags;
}

void ring_node_leave(struct ring_node *n)
{
    int64_t until = clock_mono_ms(n->clock) + LEAVE_WAIT_MS;

    mutex_lock(&n->lock);
    ring_core_leave(n->core);
    while (!n->store.ops->told(n->store.self) && clock_mono_ms(n->clock) < until)
        cond_wait_ms(&n->changed, &n->lock, LEAVE_WAIT_MS / 10);
    mutex_unlock(&n->lock);
    publish(n);
}

int ring_node_forget(struct ring_node *n, const char *id, struct err *err)
{
    int rc;

    mutex_lock(&n->lock);
    rc = ring_core_forget(n->core, id, err);
    mutex_unlock(&n->lock);
    if (rc == 0)
        publish(n);
    return rc;
}

bool ring_node_wait(struct ring_node *n, uint32_t roles, size_t count, int64_t timeout_ms)
{
    int64_t until = clock_mono_ms(n->clock) + timeout_ms;

    for (;;) {
        struct ring *r = ring_node_ring(n);
        bool enough    = ring_count(r, roles) >= count;
        int64_t left   = until - clock_mono_ms(n->clock);

        ring_unref(r);
        if (enough || left <= 0)
            return enough;
        mutex_lock(&n->lock);
        cond_wait_ms(&n->changed, &n->lock, MIN(left, 50));
        mutex_unlock(&n->lock);
    }
}

/* --- pages --- */

void ring_node_store_status(struct ring_node *n, struct ring_store_status *ret)
{
    mutex_lock(&n->lock);
    n->store.ops->status(n->store.self, ret);
    mutex_unlock(&n->lock);
}

/* Ages of the last message per instance of r, ms; -1: never. Freed by the caller. */
static int64_t *ages_of(struct ring_node *n, const struct ring *r)
{
    int64_t *ages = xcalloc(ring_instances_n(r) + 1, sizeof *ages), now = clock_mono_ms(n->clock);

    mutex_lock(&n->lock);
    for (size_t i = 0; i < ring_instances_n(r); i++)
        ages[i] = -1;
    for (size_t i = 0; i < ring_core_members_n(n->core); i++) {
        uint16_t at   = ring_find(r, ring_core_member(n->core, i)->id);
        int64_t heard = ring_core_heard_ms(n->core, i);

        if (at != RING_NOBODY && heard)
            ages[at] = MAX(now - heard, 0);
    }
    mutex_unlock(&n->lock);
    return ages;
}

/* Members that are LEFT; freed by the caller with the array. */
static struct member *departed_of(struct ring_node *n, size_t *ret_n)
{
    struct member *list;

    *ret_n = 0;
    mutex_lock(&n->lock);
    list = xcalloc(ring_core_members_n(n->core) + 1, sizeof *list);
    for (size_t i = 0; i < ring_core_members_n(n->core); i++) {
        if (ring_core_member(n->core, i)->state == RING_LEFT)
            member_copy(&list[(*ret_n)++], ring_core_member(n->core, i));
    }
    mutex_unlock(&n->lock);
    return list;
}

typedef void page_fn(const struct ring_page *p, struct buf *out);

static void write_page(struct ring_node *n, const struct ring_view *view, page_fn *write, struct buf *out)
{
    struct ring *r        = ring_node_ring(n);
    int64_t *ages         = ages_of(n, r);
    struct ring_page page = {.ring = r, .ages_ms = ages, .roles = view->roles, .tokens = view->tokens, .path = view->path, .req = view->req};
    struct member *departed;
    struct ring_store_status store;

    departed = departed_of(n, &page.departed_n);
    ring_node_store_status(n, &store);
    page.departed = departed;
    page.store    = view->roles ? NULL : &store;
    write(&page, out);
    for (size_t i = 0; i < page.departed_n; i++)
        member_fini(&departed[i]);
    free(departed);
    free(ages);
    ring_unref(r);
}

void ring_node_write_json(struct ring_node *n, const struct ring_view *view, struct buf *out)
{
    write_page(n, view, ring_page_json, out);
}

void ring_node_write_html(struct ring_node *n, const struct ring_view *view, struct buf *out)
{
    write_page(n, view, ring_page_html, out);
}
