/* cluster.h - what roles share to reach each other: the RPC server and client, membership, the bucket. */
#pragma once
#include "app/app.h"
#include "common/rpc/rpc.h"
#include "ring/ring.h"
#include "ring/ring_kv.h"
#include "ring/ring_node.h"
#include "tsdb/bucket.h"

/* Module "rpc". */
struct rpc_server *app_rpc_server(struct app *app);
struct rpc_client *app_rpc_client(struct app *app);
const char *app_rpc_listen_address(struct app *app);
const char *app_cluster_name(struct app *app);

/* Module "ring". */
struct ring_node *app_ring_node(struct app *app);
int64_t app_ring_period_ms(struct app *app);
bool app_ring_alone(struct app *app); /* no seeds are configured */
/* Callbacks for roles' deps; arg is the ring node. */
struct ring *app_ring(void *node);             /* referenced for the caller */
uint32_t app_ring_distributors(void *node);    /* live ones, at least 1 */
/* The state that distributors share; of a process that is one. Watch it before modules start. */
struct ring_kv app_ring_kv(struct app *app);

/* Module "bucket". */
struct bucket *app_bucket(struct app *app);

const char *app_instance_id(struct app *app);
