/* peer.h - one address of a client: its connection, its calls in flight; internal to common/rpc.
 * A peer is kept by the client's table, by its connection and by an outstanding dial; the client's thread frees it.
 * Threads: any. Lock order: client, peer, connection. Callbacks run without locks. */
#pragma once
#include "common/rpc/loop.h"
#include "common/rpc/rpc.h"
#include "common/rpc/rpc_metrics.h"

struct peer;

/* What a peer needs of its client. */
struct peer_env {
    uint32_t cluster;
    struct log *log;
    struct rpc_metrics *metrics;
    struct loop *loop;
    /* The last reference is gone: the client's thread shall call peer_free. */
    void (*unused)(void *self, struct peer *p);
    void *self;
};

/* A call as given to rpc_send. */
struct peer_request {
    unsigned method;
    int64_t start_ns, deadline_ns;
    rpc_done_fn *done;
    void *arg;
};

/* RC_INVALID when addr is not host:port. One reference for the caller. */
int peer_new(const char *addr, const struct peer_env *env, struct peer **ret, struct err *err);
struct peer *peer_ref(struct peer *p);
void peer_unref(struct peer *p);
void peer_free(struct peer *p); /* from the client's thread, after env.unused */
const char *peer_addr(const struct peer *p);
size_t peer_memory(struct peer *p); /* with its connection */
struct peer **peer_link(struct peer *p); /* for the client's lists */

/* Takes body (free()) when body is not NULL, else copies payload. 0: done will be called, unless *ret_lost: the connection did not take it, and the
 * caller reports that. Else the call was not taken and the caller reports the failure; RC_STALE: this peer was retired, look the address up again. */
int peer_send(struct peer *p, const struct peer_request *req, char *body, struct str payload, bool *ret_lost, struct err *err);
/* Ends the call with this done and arg with RC_CANCELED, if it is in flight, and tells the server. */
void peer_cancel(struct peer *p, rpc_done_fn *done, void *arg);
/* Ends overdue calls, probes or drops a silent connection, closes an idle one. Returns when it wants to be called again
 * (monotonic ns). *ret_retired: idle for so long that it takes no more calls; to be forgotten. */
int64_t peer_tick(struct peer *p, int64_t now_ns, bool *ret_retired);
/* No more calls are taken; those in flight end with rc. */
void peer_shut(struct peer *p, int rc, const char *why);

/* Ends a call: metrics, then the callback. err is NULL when rc is RC_OK. */
void peer_request_end(const struct peer_env *env, const struct peer_request *req, int rc, struct buf *reply,
                      const struct err *err);
