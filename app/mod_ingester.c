#include "app/cluster.h"
#include "common/http/confirm.h"
#include "ingester/ingester.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct ingester_options {
    int64_t shards;
    int sync;
    int64_t sync_interval_ms, flush_check_ms, flush_delay_ms, retain_ms, series_idle_ms;
    uint64_t image_log_bytes;
    uint64_t push_queue_bytes;
};

#define AT(field) offsetof(struct ingester_options, field)
static const char *const syncs[] = {"interval", "always", NULL};
static const struct option options[] = {
    {"ingester.shards", OPT_INT, AT(shards), .def = "0", .min = "0", .max = "64",
     .doc = "Head shards, each with a thread and a log; 0: one per core, at most 8. A change is taken over at the next start."},
    {"wal.sync", OPT_ENUM, AT(sync), .def = "interval", .values = syncs,
     .doc = "interval: a killed process loses nothing, a power cut at most wal.sync-interval. always: synced before each answer."},
    {"wal.sync-interval", OPT_DURATION, AT(sync_interval_ms), .def = "100ms", .min = "1ms", .max = "1m", .doc = "Time between syncs of the log."},
    {"ingester.flush-check-period", OPT_DURATION, AT(flush_check_ms), .def = "15s", .min = "10ms", .max = "10m",
     .doc = "How often the ingester looks for ranges to cut into blocks."},
    {"ingester.flush-delay", OPT_DURATION, AT(flush_delay_ms), .def = "15m", .min = "0", .max = "24h",
     .doc = "A 2 h range is cut once samples have passed its end by this."},
    {"ingester.retain-period", OPT_DURATION, AT(retain_ms), .def = "30m", .min = "0", .max = "24h",
     .doc = "Samples stay in memory this long after their block is published."},
    {"ingester.series-idle", OPT_DURATION, AT(series_idle_ms), .def = "2h", .min = "1s", .max = "48h",
     .doc = "A series without samples for this long leaves memory once its blocks are out."},
    {"ingester.image-log-bytes", OPT_BYTES, AT(image_log_bytes), .def = "256MiB", .min = "1MiB", .max = "64GiB",
     .doc = "Log that a restart has to replay at most. An image of the heads is written whenever seven eighths of it have come; less means more of them."},
    {"ingester.push-queue-bytes", OPT_BYTES, AT(push_queue_bytes), .def = "64MiB", .min = "64KiB",
     .doc = "Bytes of pushes that wait for one head shard; past it pushes are refused as overloaded, which is no vote for them."},
    {0},
};

struct ingester_module {
    struct app *app;
    struct ingester *ingester;
    struct ring_node *node;
    pthread_t joiner;
    bool joining;
    _Atomic bool stopping;
};

static int init(struct app *app, const void *cfg, void **ret_self, struct err *err)
{
    const struct ingester_options *o = cfg;
    struct ingester_module *m = xcalloc(1, sizeof *m);
    char dir[PATH_MAX];
    struct ingester_cfg c = {
        .data_dir = dir,
        .instance_id = app_instance_id(app),
        .shards = (uint32_t)o->shards,
        .wal_sync = (enum wal_sync)o->sync,
        .wal_sync_interval_ms = o->sync_interval_ms,
        .flush_check_ms = o->flush_check_ms,
        .flush_delay_ms = o->flush_delay_ms,
        .retain_ms = o->retain_ms,
        .series_idle_ms = o->series_idle_ms,
        .image_log_bytes = o->image_log_bytes,
        .push_queue_bytes = o->push_queue_bytes,
    };
    struct ingester_deps deps = {
        .clock = app->clock,
        .log = app->log,
        .metrics = app->metrics,
        .overrides = app->overrides,
        .bucket = app_bucket(app),
        .ring = app_ring,
        .ring_arg = app_ring_node(app),
    };
    int rc;

    snprintf(dir, sizeof dir, "%s/ingester", app->cfg.data_dir);
    m->app = app;
    m->node = app_ring_node(app);
    *ret_self = m;
    rc = ingester_new(&c, &deps, &m->ingester, err);
    if (rc == 0)
        ingester_handle(m->ingester, app_rpc_server(app));
    return rc;
}

/* ACTIVE once the log is replayed: then it owns its tokens. */
static void *join_ring(void *arg)
{
    struct ingester_module *m = arg;

    while (!atomic_load(&m->stopping) && ingester_ready(m->ingester, NULL) < 0)
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    if (!atomic_load(&m->stopping))
        ring_node_set_state(m->node, RING_ACTIVE);
    return NULL;
}

static void page_tenants(void *arg, struct http_req *req)
{
    struct ingester_module *m = arg;
    bool html = http_wants_html(req);
    struct buf out;

    buf_init(&out, 64 << 20);
    if (html)
        ingester_write_tenants_html(m->ingester, &out);
    else
        ingester_write_tenants_json(m->ingester, &out);
    http_reply_buf(req, buf_ok(&out) ? 200 : 500, html ? HTTP_TYPE_HTML : HTTP_TYPE_JSON, &out);
    buf_fini(&out);
}

static void page_replay(void *arg, struct http_req *req)
{
    struct ingester_module *m = arg;
    bool html = http_wants_html(req);
    struct buf out;

    buf_init(&out, 1 << 20);
    if (html)
        ingester_write_replay_html(m->ingester, &out);
    else
        ingester_write_replay_json(m->ingester, &out);
    http_reply_buf(req, buf_ok(&out) ? 200 : 500, html ? HTTP_TYPE_HTML : HTTP_TYPE_JSON, &out);
    buf_fini(&out);
}

static void page_flush(void *arg, struct http_req *req)
{
    struct ingester_module *m = arg;
    uint64_t gen, blocks;
    struct err err;
    struct buf out;

    if (ingester_flush_all(m->ingester, &gen, &blocks, &err) < 0) {
        http_reply_text(req, 500, "flush failed, the samples stay in memory and in the log: %s", err_text(&err));
        return;
    }
    buf_init(&out, 256);
    buf_printf(&out, "{\"blocks\":%llu,\"index_generation\":%llu}\n", (unsigned long long)blocks, (unsigned long long)gen);
    http_reply_buf(req, 200, HTTP_TYPE_JSON, &out);
    buf_fini(&out);
}

static void page_flush_form(UNUSED void *arg, struct http_req *req)
{
    http_reply_form(req, "Flush", "Cuts everything in this ingester's memory into blocks, publishes them in the bucket, and waits for it.", "Flush");
}

static int start(void *self, struct err *err)
{
    struct ingester_module *m = self;
    struct http_server *http = m->app->http;
    int rc = ingester_start(m->ingester, err);

    if (rc < 0)
        return rc;
    m->joiner = thread_start("join", join_ring, m);
    m->joining = true;
    http_route(http, &(struct http_route){"/ingester/tenants", HTTP_M_GET, HTTP_BLOCKING, 0, NULL, page_tenants, m});
    http_route(http, &(struct http_route){"/ingester/replay", HTTP_M_GET, 0, 0, NULL, page_replay, m});
    http_route(http, &(struct http_route){"/ingester/flush", HTTP_M_POST, HTTP_BLOCKING | HTTP_FORM | HTTP_CONFIRM, 4096, NULL, page_flush, m});
    http_route(http, &(struct http_route){"/ingester/flush", HTTP_M_GET, 0, 0, NULL, page_flush_form, m});
    app_link(m->app, "/ingester/tenants", "Tenants of this ingester", false);
    app_link(m->app, "/ingester/replay", "Replay after the last start", false);
    app_link(m->app, "/ingester/flush", "Cut everything in memory into blocks (POST)", true);
    return 0;
}

static bool ready(void *self, struct buf *why_not)
{
    struct ingester_module *m = self;
    struct err err;

    if (ingester_ready(m->ingester, &err) == 0)
        return true;
    buf_z(why_not, err_text(&err));
    return false;
}

static void stop(void *self)
{
    struct ingester_module *m = self;

    atomic_store(&m->stopping, true);
    if (m->joining)
        pthread_join(m->joiner, NULL);
    ingester_stop(m->ingester);
}

static void memory(void *self, struct memory_account *a)
{
    ingester_memory(((struct ingester_module *)self)->ingester, a);
}

static void free_module(void *self)
{
    struct ingester_module *m = self;

    ingester_free(m->ingester);
    free(m);
}

static const char *const deps[] = {"rpc", "ring", "bucket", NULL};
const struct module module_ingester = {
    .name = "ingester",
    .deps = deps,
    .target = true,
    .options = options,
    .cfg_size = sizeof(struct ingester_options),
    .init = init,
    .start = start,
    .ready = ready,
    .stop = stop,
    .free = free_module,
    .memory = memory,
};
