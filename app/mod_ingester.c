#include "app/cluster.h"
#include "common/http/confirm.h"
#include "common/http/html.h"
#include "common/sys/fs.h"
#include "ingester/ingester.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct ingester_options {
    int64_t shards;
    int sync;
    int64_t sync_interval_ms, flush_check_ms, flush_delay_ms, retain_ms, series_idle_ms;
    uint64_t image_log_bytes;
    uint64_t push_queue_bytes;
    int64_t sync_period_ms, sync_slack_ms, leave_ms;
    uint64_t sync_bytes;
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
    {"ingester.sync-period", OPT_DURATION, AT(sync_period_ms), .def = "10m", .min = "0", .max = "24h",
     .doc = "How often an ingester compares what it has with the other owners and takes over what it lacks, besides after a start and after each change of the ring. 0: never."},
    {"ingester.sync-slack", OPT_DURATION, AT(sync_slack_ms), .def = "30s", .min = "0", .max = "1h",
     .doc = "Samples younger than this are left out of such a comparison: they may be on their way still."},
    {"ingester.sync-bytes-per-second", OPT_BYTES, AT(sync_bytes), .def = "64MiB", .min = "0",
     .doc = "What an ingester receives at most from others to compare and to take over. 0: no limit."},
    {"ingester.leave-timeout", OPT_DURATION, AT(leave_ms), .def = "10m", .min = "1s", .max = "24h",
     .doc = "Whoever leaves the ring waits so long for others to take over; then it writes all it has into blocks and goes."},
    {0},
};

struct ingester_module {
    struct app *app;
    struct ingester *ingester;
    struct ring_node *node;
    struct ingester_member member;
    int64_t leave_ms;
    char marker[PATH_MAX]; /* this file: leave the ring at the next stop */
};

static void member_set_state(void *arg, enum ring_state state)
{
    ring_node_set_state(arg, state);
}

static void member_set_flags(void *arg, uint32_t flags)
{
    ring_node_set_flags(arg, flags);
}

static void member_leave(void *arg)
{
    ring_node_leave(arg);
}

static void ring_changed(void *arg, UNUSED struct ring *ring)
{
    struct ingester_module *m = arg;

    if (m->ingester)
        ingester_ring_changed(m->ingester);
}

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
        .sync_period_ms = o->sync_period_ms,
        .sync_slack_ms = o->sync_slack_ms,
        .sync_bytes_per_s = o->sync_bytes,
        .settle_ms = 3 * app_ring_period_ms(app),
        .greet_ms = app_ring_period_ms(app),
        .contact_ms = 10 * app_ring_period_ms(app),
        .leave_ms = o->leave_ms,
        .alone = app_ring_alone(app),
    };
    struct ingester_deps deps = {
        .clock = app->clock,
        .log = app->log,
        .metrics = app->metrics,
        .overrides = app->overrides,
        .bucket = app_bucket(app),
        .ring = app_ring,
        .ring_arg = app_ring_node(app),
        .rpc = app_rpc_client(app),
        .member = &m->member,
    };
    int rc;

    snprintf(dir, sizeof dir, "%s/ingester", app->cfg.data_dir);
    m->app = app;
    m->node = app_ring_node(app);
    m->member = (struct ingester_member){member_set_state, member_set_flags, member_leave, m->node};
    m->leave_ms = o->leave_ms;
    snprintf(m->marker, sizeof m->marker, "%s/ingester/prepare-shutdown", app->cfg.data_dir);
    *ret_self = m;
    rc = ingester_new(&c, &deps, &m->ingester, err);
    if (rc == 0) {
        ingester_handle(m->ingester, app_rpc_server(app));
        ring_node_on_change(m->node, ring_changed, m);
    }
    return rc;
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

static void page_sync(void *arg, struct http_req *req)
{
    struct ingester_module *m = arg;
    bool html = http_wants_html(req);
    struct buf out;

    if (http_method(req) == HTTP_POST)
        ingester_sync_now(m->ingester);
    buf_init(&out, 4 << 20);
    if (html) {
        html_begin(&out, "Sync");
        ingester_write_sync_html(m->ingester, &out);
        html_form_begin(&out, req, "/ingester/sync");
        html_form_end(&out, "Compare now");
        html_end(&out);
    } else {
        ingester_write_sync_json(m->ingester, &out);
    }
    http_reply_buf(req, buf_ok(&out) ? 200 : 500, html ? HTTP_TYPE_HTML : HTTP_TYPE_JSON, &out);
    buf_fini(&out);
}

/* --- leaving --- */

static bool prepared(const struct ingester_module *m)
{
    return access(m->marker, F_OK) == 0;
}

/* What is so now, and a button that changes it. */
static void reply_switch(struct http_req *req, const char *title, const char *now, const char *param, const char *value, const char *button)
{
    struct buf out;

    buf_init(&out, 1 << 16);
    html_begin(&out, title);
    buf_printf(&out, "<p>%s.", now);
    if (button) {
        html_form_begin(&out, req, http_route_pattern(req));
        if (param)
            html_form_hidden(&out, param, value);
        html_form_end(&out, button);
    }
    html_end(&out);
    http_reply_buf(req, buf_ok(&out) ? 200 : 500, HTTP_TYPE_HTML, &out);
    buf_fini(&out);
}

static void reply_prepared(struct http_req *req, bool set)
{
    if (http_accepts(req, "application/json"))
        http_reply(req, 200, HTTP_TYPE_JSON, set ? STR("{\"state\":\"set\"}\n") : STR("{\"state\":\"unset\"}\n"));
    else
        http_reply_text(req, 200, "%s", set ? "set" : "unset");
}

/* As Mimir and rollout-operator have it: GET says "set" or "unset", POST sets, DELETE unsets; it survives a restart. */
static void page_prepare(void *arg, struct http_req *req)
{
    struct ingester_module *m = arg;
    struct err err = {0};
    int rc = 0;

    if (http_method(req) == HTTP_POST)
        rc = fs_write_atomic(m->marker, STR("leave the ring at the next stop\n"), &err);
    else if (http_method(req) == HTTP_DELETE && unlink(m->marker) < 0 && errno != ENOENT)
        rc = err_sys(&err, RC_IO, "remove %s", m->marker);
    if (rc < 0)
        http_reply_text(req, 500, "%s", err_text(&err));
    else if (http_wants_html(req))
        reply_switch(req, "Prepare shutdown", prepared(m) ? "At its next stop this ingester hands over and leaves the ring (DELETE takes it back)" : "A stop of this ingester is a restart: it stays in the ring",
                     NULL, NULL, prepared(m) ? NULL : "Leave the ring at the next stop");
    else if (http_method(req) == HTTP_GET || http_method(req) == HTTP_HEAD)
        reply_prepared(req, prepared(m));
    else
        http_respond(req, http_resp_new(204));
}

static bool leave(struct ingester_module *m)
{
    enum { FLUSH_MS = 120000 };
    bool left;

    ingester_leave(m->ingester, true);
    left = ingester_left(m->ingester, m->leave_ms + FLUSH_MS);
    if (left)
        unlink(m->marker);
    else
        log_error(m->app->log, "the ring was not left: other ingesters count this one as an owner that is away", "waited_ms", log_i64(m->leave_ms + FLUSH_MS));
    return left;
}

static void page_shutdown_form(UNUSED void *arg, struct http_req *req)
{
    http_reply_form(req, "Shutdown", "Hands over what this ingester has, leaves the ring, and ends the process.", "Shut down");
}

/* Answers when the ring has been left, then ends the process. */
static void page_shutdown(void *arg, struct http_req *req)
{
    struct ingester_module *m = arg;

    if (!leave(m)) {
        http_reply_text(req, 500, "the ring was not left, see /ingester/sync");
        return;
    }
    http_respond(req, http_resp_new(204));
    kill(getpid(), SIGTERM);
}

static void page_mode(void *arg, struct http_req *req)
{
    struct ingester_module *m = arg;
    struct str mode = http_param(req, "mode");
    struct err err = {0};
    int rc = 0;

    if (http_method(req) == HTTP_POST) {
        if (str_eqz(mode, "READ_ONLY"))
            rc = ingester_set_read_only(m->ingester, true, &err);
        else if (str_eqz(mode, "READ_WRITE"))
            rc = ingester_set_read_only(m->ingester, false, &err);
        else
            rc = err_set(&err, RC_INVALID, "give mode=READ_ONLY or mode=READ_WRITE");
    }
    if (rc < 0)
        http_reply_text(req, rc == RC_INVALID ? 400 : rc == RC_EXISTS ? 409 : 503, "%s", err_text(&err));
    else if (http_wants_html(req))
        reply_switch(req, "Mode", ingester_read_only(m->ingester) ? "READ_ONLY: it takes no writes" : "READ_WRITE", "mode", ingester_read_only(m->ingester) ? "READ_WRITE" : "READ_ONLY",
                     ingester_read_only(m->ingester) ? "Turn READ_WRITE" : "Turn READ_ONLY");
    else
        http_reply(req, 200, HTTP_TYPE_JSON, ingester_read_only(m->ingester) ? STR("{\"mode\":\"READ_ONLY\"}\n") : STR("{\"mode\":\"READ_WRITE\"}\n"));
}

static int start(void *self, struct err *err)
{
    struct ingester_module *m = self;
    struct http_server *http = m->app->http;
    int rc = ingester_start(m->ingester, err);

    if (rc < 0)
        return rc;
    http_route(http, &(struct http_route){"/ingester/sync", HTTP_M_GET, 0, 0, NULL, page_sync, m});
    http_route(http, &(struct http_route){"/ingester/sync", HTTP_M_POST, HTTP_FORM | HTTP_CONFIRM, 4096, NULL, page_sync, m});
    http_route(http, &(struct http_route){"/ingester/prepare-shutdown", HTTP_M_GET, HTTP_BLOCKING, 0, NULL, page_prepare, m});
    http_route(http, &(struct http_route){"/ingester/prepare-shutdown", HTTP_M_POST | HTTP_M_DELETE, HTTP_BLOCKING | HTTP_FORM | HTTP_CONFIRM, 4096, NULL, page_prepare, m});
    http_route(http, &(struct http_route){"/ingester/shutdown", HTTP_M_GET, 0, 0, NULL, page_shutdown_form, m});
    http_route(http, &(struct http_route){"/ingester/shutdown", HTTP_M_POST, HTTP_BLOCKING | HTTP_FORM | HTTP_CONFIRM, 4096, NULL, page_shutdown, m});
    http_route(http, &(struct http_route){"/ingester/mode", HTTP_M_GET, HTTP_BLOCKING, 0, NULL, page_mode, m});
    http_route(http, &(struct http_route){"/ingester/mode", HTTP_M_POST, HTTP_BLOCKING | HTTP_FORM | HTTP_CONFIRM, 4096, NULL, page_mode, m});
    http_route(http, &(struct http_route){"/ingester/tenants", HTTP_M_GET, HTTP_BLOCKING, 0, NULL, page_tenants, m});
    http_route(http, &(struct http_route){"/ingester/replay", HTTP_M_GET, 0, 0, NULL, page_replay, m});
    http_route(http, &(struct http_route){"/ingester/flush", HTTP_M_POST, HTTP_BLOCKING | HTTP_FORM | HTTP_CONFIRM, 4096, NULL, page_flush, m});
    http_route(http, &(struct http_route){"/ingester/flush", HTTP_M_GET, 0, 0, NULL, page_flush_form, m});
    app_link(m->app, "/ingester/tenants", "Tenants of this ingester", false);
    app_link(m->app, "/ingester/replay", "Replay after the last start", false);
    app_link(m->app, "/ingester/sync", "What was compared with the other owners", false);
    app_link(m->app, "/ingester/mode", "READ_WRITE or READ_ONLY", false);
    app_link(m->app, "/ingester/prepare-shutdown", "Leave the ring at the next stop?", false);
    app_link(m->app, "/ingester/shutdown", "Hand over, leave the ring, end (POST)", true);
    app_link(m->app, "/ingester/flush", "Cut everything in memory into blocks (POST)", true);
    return 0;
}

static bool ready(void *self, struct buf *why_not)
{
    struct ingester_module *m = self;
    struct err err;

    enum ring_state state = ring_node_state(m->node);

    if (ingester_ready(m->ingester, &err) < 0)
        buf_z(why_not, err_text(&err));
    else if (state == RING_PENDING || state == RING_JOINING)
        buf_printf(why_not, "%s in the ring, see /ingester/sync", ring_state_name(state));
    else
        return true;
    return false;
}

/* While everything still serves. */
static void drain(void *self)
{
    struct ingester_module *m = self;

    if (prepared(m))
        leave(m);
}

static void stop(void *self)
{
    ingester_stop(((struct ingester_module *)self)->ingester);
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
    .drain = drain,
    .stop = stop,
    .free = free_module,
    .memory = memory,
};
