#include "ingester/sync_impl.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    IDLE_MS         = 500,  /* between looks at the ring, besides being woken */
    READERS_MS      = 5000, /* within this, readers have an index that names what was flushed */
    PACE_MS         = 10,
};

static int64_t now_ms(const struct sync *s)
{
    return clock_mono_ms(s->in->deps.clock);
}

static struct ring *ring_now(const struct sync *s)
{
    return s->in->deps.ring ? s->in->deps.ring(s->in->deps.ring_arg) : NULL;
}

/* --- life --- */

static void metrics_make(struct sync *s)
{
    struct metrics *m = s->in->deps.metrics;

    s->m_samples = metrics_counter(m, "torc_ingester_sync_samples_total", "Samples taken over from other ingesters.");
    s->m_series = metrics_counter(m, "torc_ingester_sync_series_total", "Series taken over from other ingesters.");
    s->m_bytes = metrics_counter(m, "torc_ingester_sync_received_bytes_total", "Bytes received from other ingesters to compare and to take over.");
    s->m_windows = metrics_counter(m, "torc_ingester_sync_windows_differed_total", "Windows that another ingester had otherwise, or alone.");
    s->m_conflicts = metrics_counter(m, "torc_ingester_sync_conflicts_total", "Timestamps for which another ingester has another value; they stay, readers decide.");
    s->m_exchanges = metrics_counter(m, "torc_ingester_sync_comparisons_total", "Comparisons with another ingester that came to their end.");
    s->m_failures = metrics_counter(m, "torc_ingester_sync_failures_total", "Comparisons that failed and will be tried again.");
    s->m_behind = metrics_gauge(m, "torc_ingester_sync_pending_peers", "Other owners that are still to be compared since the start, a change of the ring, or the last period.");
}

static void collect(void *arg)
{
    struct sync *s = arg;
    double n = 0;

    mutex_lock(&s->lock);
    for (size_t i = 0; i < sync_core_peers_n(s->core) && !sync_core_quiet(s->core); i++)
        n += sync_core_due(s->core, i);
    mutex_unlock(&s->lock);
    metric_set(s->m_behind, n);
}

struct sync *sync_new(struct ingester *in)
{
    struct sync *s = xcalloc(1, sizeof *s);
    const struct sync_core_cfg cfg = {
        .id = in->instance_id,
        .period_ms = in->cfg.sync_period_ms,
        .settle_ms = in->cfg.settle_ms,
        .greet_ms = in->cfg.greet_ms,
        .contact_ms = in->cfg.contact_ms,
        .retry_ms = IDLE_MS,
        .leave_ms = in->cfg.leave_ms,
        .slack_ms = in->cfg.sync_slack_ms,
        .alone = in->cfg.alone,
        .new_head = in->new_head,
    };

    s->in = in;
    mutex_init(&s->lock);
    cond_init(&s->wake);
    cond_init(&s->changed);
    s->seen = xcalloc(SYNC_SEEN, sizeof *s->seen);
    s->core = sync_core_new(&cfg, now_ms(s));
    metrics_make(s);
    metrics_on_collect(in->deps.metrics, collect, s);
    return s;
}

void sync_free(struct sync *s)
{
    if (!s)
        return;
    sync_stop(s);
    sync_core_free(s->core);
    vec_fini(&s->status);
    cond_fini(&s->wake);
    cond_fini(&s->changed);
    mutex_fini(&s->lock);
    free(s->seen);
    free(s);
}

static bool stopping(struct sync *s)
{
    bool yes;

    mutex_lock(&s->lock);
    yes = s->stopping;
    mutex_unlock(&s->lock);
    return yes;
}

static void rest(struct sync *s, int64_t ms)
{
    mutex_lock(&s->lock);
    if (!s->woken && !s->stopping)
        cond_wait_ms(&s->wake, &s->lock, ms);
    s->woken = false;
    mutex_unlock(&s->lock);
}

void sync_wake(struct sync *s)
{
    mutex_lock(&s->lock);
    s->woken = true;
    cond_signal(&s->wake);
    mutex_unlock(&s->lock);
}

/* --- what the core wants done --- */

/* Lock held. */
static struct sync_status *status_of(struct sync *s, const char *id)
{
    struct sync_status *st;

    for (size_t i = 0; i < s->status.n; i++)
        if (strcmp(s->status.v[i].id, id) == 0)
            return &s->status.v[i];
    st = vec_push(&s->status);
    *st = (struct sync_status){0};
    snprintf(st->id, sizeof st->id, "%s", id);
    return st;
}

struct pacing {
    struct sync *s;
    const char *peer;
};

static bool pace(void *arg, uint64_t bytes, const struct sync_result *so_far)
{
    struct pacing *p = arg;
    struct sync *s = p->s;
    double rate = (double)s->in->cfg.sync_bytes_per_s;

    mutex_lock(&s->lock);
    status_of(s, p->peer)->result = *so_far;
    mutex_unlock(&s->lock);
    while (rate > 0 && !rate_take(&s->bandwidth, rate, MAX(rate, (double)bytes), clock_mono_ns(s->in->deps.clock), (double)bytes)) {
        if (stopping(s))
            return false;
        mutex_lock(&s->lock);
        cond_wait_ms(&s->changed, &s->lock, PACE_MS);
        mutex_unlock(&s->lock);
    }
    return !stopping(s);
}

static void count(struct sync *s, int rc, const struct sync_result *r)
{
    metric_inc(rc == 0 ? s->m_exchanges : s->m_failures);
    metric_add(s->m_samples, r->samples);
    metric_add(s->m_series, r->series);
    metric_add(s->m_bytes, r->bytes);
    metric_add(s->m_windows, r->windows_differed);
    metric_add(s->m_conflicts, r->conflicts);
}

static void compared(struct sync *s, const char *peer, uint64_t version, int rc, const struct sync_result *r, int64_t began, const struct err *err)
{
    struct sync_status *st;

    count(s, rc, r);
    mutex_lock(&s->lock);
    sync_core_compared(s->core, peer, version, rc == 0, r->gen, now_ms(s));
    st = status_of(s, peer);
    st->running = false;
    st->ok = rc == 0;
    st->version = version;
    st->result = *r;
    st->samples_total += r->samples;
    st->ended_ms = clock_wall_ms(s->in->deps.clock);
    st->took_ms = now_ms(s) - began;
    snprintf(st->error, sizeof st->error, "%.*s", (int)sizeof st->error - 1, rc < 0 ? err_text(err) : "");
    cond_broadcast(&s->changed);
    mutex_unlock(&s->lock);
    if (rc == 0 && r->samples)
        log_info(s->in->deps.log, "samples taken over", "from", peer, "samples", log_i64((int64_t)r->samples), "series", log_i64((int64_t)r->series), "windows",
                 log_i64((int64_t)r->windows_differed), "bytes", log_i64((int64_t)r->bytes), "ms", log_i64(now_ms(s) - began));
    else if (rc < 0 && rc != RC_MOVED && rc != RC_CANCELED)
        log_limited(s->in->deps.log, LOG_WARN, "comparison with another ingester failed, will retry", "ingester", peer, "err", err_log(err));
}

static void compare(struct sync *s, struct ring *r, const char *peer, bool whole)
{
    uint16_t giver = ring_find(r, peer), self = ring_self(r);
    struct pacing p = {s, peer};
    int64_t began = now_ms(s);
    struct sync_result result = {0};
    struct err err = {0};
    struct exchange_deps d;
    int rc;

    if (giver == RING_NOBODY || self == RING_NOBODY)
        return;
    d = (struct exchange_deps){
        .in = s->in,
        .rpc = s->in->deps.rpc,
        .pace = pace,
        .arg = &p,
        .seen = s->seen,
        .pair = {r, giver, self},
        .address = ring_instance(r, giver)->addr,
        .below_ms = whole ? INT64_MAX : clock_wall_ms(s->in->deps.clock) - s->in->cfg.sync_slack_ms,
        .metadata = whole,
    };
    mutex_lock(&s->lock);
    status_of(s, peer)->running = true;
    mutex_unlock(&s->lock);
    rc = sync_exchange(&d, &result, &err);
    compared(s, peer, ring_epoch(r), rc, &result, began, &err);
}

static void ask_taken(struct sync *s, struct ring *r, const char *peer)
{
    uint16_t at = ring_find(r, peer);
    uint64_t taken = 0;

    if (at != RING_NOBODY && sync_ask_taken(s->in, s->in->deps.rpc, ring_instance(r, at)->addr, &taken, NULL) < 0)
        taken = 0;
    mutex_lock(&s->lock);
    sync_core_asked(s->core, peer, taken, now_ms(s));
    mutex_unlock(&s->lock);
}

static void know(struct sync *s, uint64_t gen)
{
    struct err err;
    int rc = ingester_know_generation(s->in, gen, &err);

    if (rc < 0) {
        log_limited(s->in->deps.log, LOG_WARN, "index generation not noted, will retry", "err", err_log(&err));
        rest(s, IDLE_MS);
        return;
    }
    mutex_lock(&s->lock);
    sync_core_known(s->core, gen);
    mutex_unlock(&s->lock);
}

static void flush(struct sync *s)
{
    struct err err;
    int rc = ingester_flush_all(s->in, NULL, NULL, &err);
    int64_t until = now_ms(s) + READERS_MS;

    if (rc < 0)
        log_warn(s->in->deps.log, "flush before leaving failed, will retry", "err", err_log(&err));
    while (now_ms(s) < until && !stopping(s))
        rest(s, until - now_ms(s));
    mutex_lock(&s->lock);
    sync_core_flushed(s->core, rc == 0);
    mutex_unlock(&s->lock);
}

static void gone(struct sync *s)
{
    s->in->deps.member->leave(s->in->deps.member->arg);
    log_info(s->in->deps.log, "left the ring");
    mutex_lock(&s->lock);
    s->gone = true;
    cond_broadcast(&s->changed);
    mutex_unlock(&s->lock);
}

static void act(struct sync *s, struct ring *r, const struct sync_action *a)
{
    const struct ingester_member *m = s->in->deps.member;

    switch (a->what) {
    case SYNC_WAIT:
        rest(s, MAX(1, MIN(a->until_ms - now_ms(s), (int64_t)IDLE_MS)));
        return;
    case SYNC_COMPARE:
        compare(s, r, a->peer, a->whole);
        return;
    case SYNC_ASK:
        ask_taken(s, r, a->peer);
        return;
    case SYNC_SET_STATE:
        log_info(s->in->deps.log, "state in the ring", "state", ring_state_name(a->state));
        m->set_state(m->arg, a->state);
        return;
    case SYNC_SET_FLAGS:
        log_info(s->in->deps.log, "flags in the ring", "rebuilding", a->flags & RING_REBUILDING ? "true" : "false");
        m->set_flags(m->arg, a->flags);
        return;
    case SYNC_KNOW:
        know(s, a->gen);
        return;
    case SYNC_FLUSH:
        flush(s);
        return;
    case SYNC_GONE:
        gone(s);
        return;
    }
}

/* One look at the ring, one thing done. */
static void turn(struct sync *s)
{
    struct ring *r = ring_now(s);
    struct sync_action a;

    if (!r) {
        rest(s, IDLE_MS);
        return;
    }
    if (ring_epoch(r) != s->recounted) {
        s->recounted = ring_epoch(r);
        ingester_recount_strangers(s->in);
    }
    mutex_lock(&s->lock);
    sync_core_ring(s->core, r, now_ms(s));
    a = sync_core_next(s->core, now_ms(s));
    atomic_store(&s->in->taken_version, sync_core_taken(s->core));
    mutex_unlock(&s->lock);
    act(s, r, &a);
    ring_unref(r);
}

static void *sync_main(void *arg)
{
    struct sync *s = arg;

    while (!stopping(s) && ingester_ready(s->in, NULL) < 0)
        rest(s, 20);
    while (!stopping(s)) {
        bool over;

        mutex_lock(&s->lock);
        over = s->gone;
        mutex_unlock(&s->lock);
        if (over)
            rest(s, IDLE_MS);
        else
            turn(s);
    }
    return NULL;
}

void sync_start(struct sync *s)
{
    s->started = true;
    s->thread = thread_start("sync", sync_main, s);
}

void sync_stop(struct sync *s)
{
    if (!s || !s->started)
        return;
    mutex_lock(&s->lock);
    s->stopping = true;
    cond_broadcast(&s->wake);
    cond_broadcast(&s->changed);
    mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    s->started = false;
}

/* --- wishes --- */

void ingester_ring_changed(struct ingester *in)
{
    if (in->sync)
        sync_wake(in->sync);
}

void ingester_leave(struct ingester *in, bool leave)
{
    if (!in->sync)
        return;
    mutex_lock(&in->sync->lock);
    sync_core_leave(in->sync->core, leave);
    mutex_unlock(&in->sync->lock);
    sync_wake(in->sync);
}

bool ingester_left(struct ingester *in, int64_t timeout_ms)
{
    struct sync *s = in->sync;
    int64_t until = clock_mono_ms(in->deps.clock) + timeout_ms, left;
    bool yes;

    if (!s)
        return false;
    mutex_lock(&s->lock);
    while (!s->gone && !s->stopping && (left = until - now_ms(s)) > 0)
        cond_wait_ms(&s->changed, &s->lock, left);
    yes = s->gone;
    mutex_unlock(&s->lock);
    return yes;
}

void ingester_sync_now(struct ingester *in)
{
    if (!in->sync)
        return;
    mutex_lock(&in->sync->lock);
    sync_core_kick(in->sync->core, now_ms(in->sync));
    mutex_unlock(&in->sync->lock);
    sync_wake(in->sync);
}

static uint32_t flags_now(struct ingester *in)
{
    struct ring *r = in->deps.ring ? in->deps.ring(in->deps.ring_arg) : NULL;
    uint16_t self = r ? ring_self(r) : RING_NOBODY;
    uint32_t flags = self == RING_NOBODY ? 0 : ring_instance(r, self)->flags;

    ring_unref(r);
    return flags;
}

bool ingester_read_only(struct ingester *in)
{
    return flags_now(in) & RING_READ_ONLY;
}

int ingester_set_read_only(struct ingester *in, bool on, struct err *err)
{
    const struct ring_instance *mover;
    uint32_t flags = flags_now(in);
    int rc = 0;

    if (!in->sync)
        return err_set(err, RC_UNAVAILABLE, "this ingester is in no ring");
    mutex_lock(&in->sync->lock);
    mover = sync_core_mover(in->sync->core);
    if (on && !(flags & RING_READ_ONLY) && mover)
        rc = err_set(err, RC_EXISTS, "%s is %s: one ingester moves at a time, try again when it has done", mover->id,
                     mover->flags & RING_READ_ONLY ? "READ_ONLY" : ring_state_name(mover->state));
    mutex_unlock(&in->sync->lock);
    if (rc < 0)
        return rc;
    in->deps.member->set_flags(in->deps.member->arg, on ? flags | RING_READ_ONLY : flags & ~(uint32_t)RING_READ_ONLY);
    sync_wake(in->sync);
    return 0;
}
