#include "ring/ring_dns.h"

#include "common/obs/log.h"
#include "common/obs/metrics.h"
#include "common/sys/thread.h"

#include <stdio.h>
#include <stdlib.h>

struct ring_dns {
    struct ring_dns_cfg cfg;  /* --- read-only --- */
    struct metric *failures, *addresses; /* used with the lock, while not stopped: they may be gone afterwards */

    struct seeds seeds; /* --- the thread's own --- */

    struct mutex lock; /* --- guards the rest, and calls of changed --- */
    struct cond stopping;
    bool stopped;
    int refs; /* who holds it: the owner and the thread */
};

static void unref(struct ring_dns *d)
{
    bool last;

    mutex_lock(&d->lock);
    last = --d->refs == 0;
    mutex_unlock(&d->lock);
    if (!last)
        return;
    seeds_fini(&d->seeds);
    cond_fini(&d->stopping);
    mutex_fini(&d->lock);
    free(d);
}

/* Called with the lock, while not stopped. */
static void tell(struct ring_dns *d)
{
    seed_addrs all = {0};

    seeds_addrs(&d->seeds, &all);
    if (d->addresses)
        metric_set(d->addresses, (double)all.n);
    if (d->cfg.log)
        log_info(d->cfg.log, "addresses of the seeds have changed", "addresses", log_i64((int64_t)all.n));
    d->cfg.changed(d->cfg.arg, &all);
    vec_fini(&all);
}

static void report(struct ring_dns *d, const struct seed *seed, const struct err *err)
{
    if (d->failures)
        metric_add(d->failures, 1);
    if (d->cfg.log)
        log_limited(d->cfg.log, LOG_WARN, seed->addrs.n ? "seed not found, its last addresses stay" : "seed not found, will retry", "err",
                    err_text(err));
}

/* False: stopped. */
static bool look_up(struct ring_dns *d, size_t i, bool *ret_changed)
{
    seed_addrs found = {0};
    struct err err   = {0};
    int rc           = seed_lookup(&d->seeds.list.v[i], &found, &err);
    bool go_on;

    mutex_lock(&d->lock);
    go_on = !d->stopped;
    if (go_on && rc < 0)
        report(d, &d->seeds.list.v[i], &err);
    else if (go_on)
        *ret_changed = seeds_answer(&d->seeds, i, found.v, found.n) || *ret_changed;
    mutex_unlock(&d->lock);
    vec_fini(&found);
    return go_on;
}

static bool all_found(const struct ring_dns *d)
{
    for (size_t i = 0; i < d->seeds.list.n; i++) {
        if (d->seeds.list.v[i].kind != SEED_FIXED && d->seeds.list.v[i].addrs.n == 0)
            return false;
    }
    return true;
}

static void *dns_main(void *arg)
{
    struct ring_dns *d = arg;
    bool go_on         = true;

    while (go_on) {
        bool changed = false;

        for (size_t i = 0; i < d->seeds.list.n && go_on; i++) {
            if (d->seeds.list.v[i].kind != SEED_FIXED)
                go_on = look_up(d, i, &changed);
        }
        mutex_lock(&d->lock);
        if (changed && !d->stopped)
            tell(d);
        if (!d->stopped)
            cond_wait_ms(&d->stopping, &d->lock, all_found(d) ? d->cfg.period_ms : MIN(d->cfg.period_ms, (int64_t)RING_DNS_RETRY_MS));
        go_on = !d->stopped;
        mutex_unlock(&d->lock);
    }
    unref(d);
    return NULL;
}

struct ring_dns *ring_dns_new(const struct ring_dns_cfg *cfg, struct seeds *seeds)
{
    struct ring_dns *d = xcalloc(1, sizeof *d);

    d->cfg           = *cfg;
    d->cfg.period_ms = cfg->period_ms ? cfg->period_ms : RING_DNS_PERIOD_MS;
    d->seeds         = *seeds;
    *seeds           = (struct seeds){0};
    d->refs          = 2;
    mutex_init(&d->lock);
    cond_init(&d->stopping);
    if (cfg->metrics) {
        d->failures  = metrics_counter(cfg->metrics, "torc_ring_seed_lookup_failures_total", "Seeds whose name was not found.");
        d->addresses = metrics_gauge(cfg->metrics, "torc_ring_seed_addresses", "Addresses that the seeds stand for.");
    }
    pthread_detach(thread_start("ring-dns", dns_main, d));
    return d;
}

void ring_dns_free(struct ring_dns *d)
{
    if (!d)
        return;
    mutex_lock(&d->lock);
    d->stopped = true;
    cond_broadcast(&d->stopping);
    mutex_unlock(&d->lock);
    unref(d);
}
