#include "app/cluster.h"
#include "common/obs/memory.h"

#include <stdlib.h>

struct rpc_cfg {
    char *listen, *cluster;
    int64_t calls, workers;
    uint64_t calls_bytes;
};

static const struct option options[] = {
    {"server.rpc-listen-address", OPT_STRING, offsetof(struct rpc_cfg, listen), .def = "127.0.0.1:9095",
     .doc = "host:port where other torc processes reach this one; they use it as it stands here unless ring.advertise-address says otherwise."},
    {"cluster.name", OPT_STRING, offsetof(struct rpc_cfg, cluster), .def = "torc",
     .doc = "Name of the cluster. Frames and gossip of another cluster are refused."},
    {"server.rpc-calls", OPT_INT, offsetof(struct rpc_cfg, calls), .def = "1024", .min = "16", .max = "65536",
     .doc = "Calls in progress, of writes and of reads each; further ones are refused and may be tried again."},
    {"server.rpc-calls-bytes", OPT_BYTES, offsetof(struct rpc_cfg, calls_bytes), .def = "512MiB", .min = "16MiB",
     .doc = "Bytes in calls in progress; further ones are refused and may be tried again."},
    {"server.rpc-workers", OPT_INT, offsetof(struct rpc_cfg, workers), .def = "4", .min = "1", .max = "256",
     .doc = "Threads that answer queries of other processes."},
    {0},
};

struct rpc_module {
    struct rpc_server *server;
    struct rpc_client *client;
    struct app *app;
    const char *listen, *cluster;
};

static void rpc_free(void *self)
{
    struct rpc_module *m = self;

    rpc_server_free(m->server);
    rpc_client_free(m->client);
    free(m);
}

static int rpc_init(struct app *app, const void *cfg, void **ret_self, struct err *err)
{
    const struct rpc_cfg *c = cfg;
    struct rpc_module *m = xcalloc(1, sizeof *m);
    struct rpc_server_cfg server = {
        .listen = c->listen,
        .cluster = str_of(c->cluster),
        .calls_max = (int)c->calls,
        .bytes_max = (size_t)c->calls_bytes,
        .workers = (int)c->workers,
        .metrics = app->metrics,
        .log = app->log,
    };
    struct rpc_client_cfg client = {.cluster = str_of(c->cluster), .metrics = app->metrics, .log = app->log};
    int rc;

    m->app = app;
    m->listen = c->listen;
    m->cluster = c->cluster;
    *ret_self = m;
    rc = rpc_server_new(&server, &m->server, err);
    return rc == 0 ? rpc_client_new(&client, &m->client, err) : rc;
}

static int rpc_start(void *self, struct err *err)
{
    struct rpc_module *m = self;
    int rc = rpc_server_start(m->server, err);

    if (rc == 0)
        log_info(m->app->log, "rpc listening", "address", m->listen);
    return rc;
}

static void rpc_stop(void *self)
{
    struct rpc_module *m = self;

    /* Gone before any module that answers calls is freed. */
    rpc_server_drain(m->server, m->app->cfg.drain_timeout_ms);
    rpc_server_free(m->server);
    m->server = NULL;
}

static void rpc_memory(void *self, struct memory_account *a)
{
    struct rpc_module *m = self;

    memory_add(a, (struct str){0}, MEMORY_RPC_BUFFERS, rpc_server_memory(m->server) + rpc_client_memory(m->client));
}

struct rpc_server *app_rpc_server(struct app *app)
{
    return ((struct rpc_module *)app_module_self(app, "rpc"))->server;
}

struct rpc_client *app_rpc_client(struct app *app)
{
    return ((struct rpc_module *)app_module_self(app, "rpc"))->client;
}

const char *app_cluster_name(struct app *app)
{
    return ((struct rpc_module *)app_module_self(app, "rpc"))->cluster;
}

const char *app_rpc_listen_address(struct app *app)
{
    return ((struct rpc_module *)app_module_self(app, "rpc"))->listen;
}

const struct module module_rpc = {
    .name = "rpc",
    .options = options,
    .cfg_size = sizeof(struct rpc_cfg),
    .init = rpc_init,
    .start = rpc_start,
    .stop = rpc_stop,
    .free = rpc_free,
    .memory = rpc_memory,
};
