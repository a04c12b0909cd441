#include "app/cluster.h"
#include "distributor/distributor.h"

#include <stdlib.h>

struct distributor_options {
    int64_t push_timeout_ms, in_flight_requests, target_delay_ms, workers, ha_update_ms, ha_jitter_ms;
    uint64_t series_cache_bytes, in_flight_bytes, lingering_bytes;
};

#define AT(field) offsetof(struct distributor_options, field)
static const struct option options[] = {
    {"distributor.push-timeout", OPT_DURATION, AT(push_timeout_ms), .def = "5s", .min = "10ms", .max = "5m",
     .doc = "Time for one ingester to answer a push; a request is answered as soon as a quorum has."},
    {"distributor.series-cache-bytes", OPT_BYTES, AT(series_cache_bytes), .def = "256MiB", .min = "64KiB",
     .doc = "Known-series cache of one tenant; 53 to 67 bytes a series."},
    {"distributor.max-inflight-bytes", OPT_BYTES, AT(in_flight_bytes), .def = "512MiB", .min = "16MiB",
     .doc = "Bytes of requests in flight, inflated; past it 503."},
    {"distributor.max-inflight-requests", OPT_INT, AT(in_flight_requests), .def = "2000", .min = "16", .max = "1000000",
     .doc = "Pushes that are taken and not answered yet; past it 503."},
    {"distributor.target-delay", OPT_DURATION, AT(target_delay_ms), .def = "100ms", .max = "1m",
     .doc = "Delay that a queue of pushes may cause, before work or at the ingesters; what is more than can be done in time is answered 503 at once. 0: off."},
    {"distributor.workers", OPT_INT, AT(workers), .def = "0", .min = "0", .max = "256",
     .doc = "Threads that inflate, check and divide pushes; 0: one per core, at least 2."},
    {"distributor.max-lingering-bytes", OPT_BYTES, AT(lingering_bytes), .def = "64MiB", .min = "1MiB",
     .doc = "Bytes of pushes that are answered, by a quorum of others, and that wait for one slow ingester; past it pushes leave that ingester out."},
    {"ha-tracker.update-timeout", OPT_DURATION, AT(ha_update_ms), .def = "15s", .min = "100ms", .max = "10m",
     .doc = "How often a distributor that hears the followed replica of an HA cluster says so to the others; at most two thirds of ha_failover_timeout."},
    {"ha-tracker.update-timeout-jitter-max", OPT_DURATION, AT(ha_jitter_ms), .def = "5s", .max = "1m",
     .doc = "Up to so much is added to each ha-tracker.update-timeout, so that clusters are not all told of at once."},
    {0},
};

struct distributor_module {
    struct app *app;
    struct distributor *distributor;
};

static int init(struct app *app, const void *cfg, void **ret_self, struct err *err)
{
    const struct distributor_options *o = cfg;
    struct distributor_module *m = xcalloc(1, sizeof *m);
    struct distributor_cfg c = {
        .push_timeout_ms = o->push_timeout_ms,
        .series_cache_bytes = o->series_cache_bytes,
        .in_flight_bytes = o->in_flight_bytes,
        .lingering_bytes = o->lingering_bytes,
        .in_flight_requests = (uint32_t)o->in_flight_requests,
        .target_delay_ms = o->target_delay_ms,
        .workers = (uint32_t)o->workers,
        .ha_update_ms = o->ha_update_ms,
        .ha_jitter_ms = o->ha_jitter_ms,
        .tenancy = app->cfg.tenancy,
    };
    struct distributor_deps deps = {
        .clock = app->clock,
        .log = app->log,
        .metrics = app->metrics,
        .overrides = app->overrides,
        .rpc = app_rpc_client(app),
        .ring = app_ring,
        .distributors = app_ring_distributors,
        .ring_arg = app_ring_node(app),
        .kv = app_ring_kv(app),
    };

    m->app = app;
    *ret_self = m;
    return distributor_new(&c, &deps, &m->distributor, err);
}

static int start(void *self, UNUSED struct err *err)
{
    struct distributor_module *m = self;

    distributor_routes(m->distributor, m->app->http);
    app_link(m->app, "/distributor/all_user_stats", "tenants, their series and rates", false);
    app_link(m->app, "/distributor/ha_tracker", "HA pairs, and which replica of each is followed", false);
    return 0;
}

static void drain(void *self)
{
    struct distributor_module *m = self;

    distributor_drain(m->distributor, m->app->cfg.drain_timeout_ms);
}

static bool ready(void *self, struct buf *why_not)
{
    struct distributor_module *m = self;
    struct ring *r = app_ring(app_ring_node(m->app));
    bool known = r && ring_replicas(r, 0);

    ring_unref(r);
    if (!known)
        buf_z(why_not, "no ingester is in the ring yet");
    return known;
}

static void memory(void *self, struct memory_account *a)
{
    distributor_memory(((struct distributor_module *)self)->distributor, a);
}

static void free_module(void *self)
{
    struct distributor_module *m = self;

    if (m->distributor)
        distributor_drain(m->distributor, m->app->cfg.drain_timeout_ms);
    distributor_free(m->distributor);
    free(m);
}

static const char *const deps[] = {"rpc", "ring", NULL};
const struct module module_distributor = {
    .name = "distributor",
    .deps = deps,
    .target = true,
    .options = options,
    .cfg_size = sizeof(struct distributor_options),
    .init = init,
    .start = start,
    .ready = ready,
    .drain = drain,
    .free = free_module,
    .memory = memory,
};
