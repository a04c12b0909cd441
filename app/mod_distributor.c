#include "app/cluster.h"
#include "distributor/distributor.h"

#include <stdlib.h>

struct distributor_options {
    int64_t push_timeout_ms;
    uint64_t series_cache_bytes, in_flight_bytes;
};

#define AT(field) offsetof(struct distributor_options, field)
static const struct option options[] = {
    {"distributor.push-timeout", OPT_DURATION, AT(push_timeout_ms), .def = "5s", .min = "10ms", .max = "5m",
     .doc = "Time for one ingester to answer a push; a request is answered as soon as a quorum has."},
    {"distributor.series-cache-bytes", OPT_BYTES, AT(series_cache_bytes), .def = "256MiB", .min = "64KiB",
     .doc = "Known-series cache of one tenant; 53 to 67 bytes a series."},
    {"distributor.max-inflight-bytes", OPT_BYTES, AT(in_flight_bytes), .def = "512MiB", .min = "16MiB",
     .doc = "Bytes of requests in flight, inflated; past it 503."},
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
    };

    m->app = app;
    *ret_self = m;
    return distributor_new(&c, &deps, &m->distributor, err);
}

static int start(void *self, UNUSED struct err *err)
{
    struct distributor_module *m = self;

    distributor_routes(m->distributor, m->app->http);
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
