/* rpc.h - calls between processes: a server that answers methods, a client that sends to "host:port".
 * Transport: TCP with the frames of frame.h; one connection per client and address, many calls in flight on it, answers in any order. A message goes
 * out on the thread that sends it, and comes in on one of a few epoll threads (loop.h), which runs handlers and callbacks itself.
 * Cost (tests/bench/rpc_bench, CPU of both sides, checksums and the kernel's loopback copies included; in brackets the same over nng 1.5.2's streams, which
 * pass every completion to another thread; alternating runs on two shared cores): 100 bytes, one call at a time 32 us (104 to 110), eight in flight
 * 22 us (26); 60 kB, eight in flight 48 to 58 us (72 to 74). nng's req/rep contexts were slower than its streams, and neither tell a refused
 * connection nor pipeline on one socket.
 *
 * Callbacks and handlers run on those threads: they must not block, and must not call rpc_call_sync. A handler that
 * needs time is registered with rpc_server_handle_slow and then runs on the server's worker threads, or it keeps the call,
 * hands it to its own thread and answers there.
 *
 * Ceilings: calls in progress per server, of control (methods below RPC_PUSH), of slow handlers and of others each, so that none keeps another out, and
 * bytes in them (more: RC_UNAVAILABLE), connections per server, in-flight calls and unsent bytes per peer (more: RC_UNAVAILABLE at once),
 * RPC_MESSAGE_BYTES_MAX per message in both directions (longer answers are paged by the caller with a cursor in its own payload).
 *
 * Failure: a peer that refuses the connection fails its waiting calls with RC_UNAVAILABLE at once; calls within the next
 * RPC_BACKOFF_MS fail without a dial, the first after that dials again, so a restarted peer is reached within about that time.
 * A peer that is silent while calls wait is probed; after RPC_SILENCE_MS without one byte its connection is dropped and its
 * calls fail with RC_UNAVAILABLE. A call that failed so, or timed out, may have been executed. There are no retries here.
 *
 * Cancelling: a client that no longer wants an answer says so (rpc_cancel). The server's handler of a slow method then finds its call canceled, as it
 * does when the connection is lost; one that still waits for a worker is not begun. On the wire this is a call of the method RPC_CANCEL with the id of
 * the call meant, to which there is no answer; a server that does not know the method refuses it, and works on for nobody as before.
 *
 * Every damaged, foreign, or skewed frame closes its connection and is counted.
 *
 * Threads: everything here may be called from any thread, except the _free functions: once, when nobody calls any more. */
#pragma once
#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/rpc/frame.h"
#include "common/wire/methods.h"

#include <stdatomic.h>

struct log;
struct metrics;

enum {
    RPC_CALLS_MAX       = 1024,     /* default of rpc_server_cfg.calls_max */
    RPC_CALLS_BYTES_MAX = 512 << 20, /* default of rpc_server_cfg.bytes_max */
    RPC_WORKERS         = 4,        /* default of rpc_server_cfg.workers */
    RPC_SERVER_CONNS    = 4096,     /* connections per server */
    RPC_IN_FLIGHT_MAX   = 1024,     /* per peer */
    RPC_QUEUE_BYTES_MAX = 64 << 20, /* not yet sent, per connection and direction */
    RPC_PEERS_MAX       = 4096,     /* addresses per client */
    RPC_ADDR_BYTES_MAX  = 256,      /* "host:port" */
    RPC_DIAL_MS         = 1000,     /* a connection that is not there by then is not there */
    RPC_BACKOFF_MS      = 100,
    RPC_PROBE_MS        = 2000, /* silence while calls wait: send a ping */
    RPC_SILENCE_MS      = 5000, /* longer silence: drop the connection */
    RPC_IDLE_MS         = 60000, /* a connection without calls is closed */
};

/* --- server --- */
struct rpc_server;
struct rpc_call;

struct rpc_server_cfg {
    const char *listen;  /* "0.0.0.0:9095", "[::]:9095"; port 0: any (rpc_server_port) */
    struct str cluster;  /* name; copied */
    int calls_max;       /* of each kind; 0: RPC_CALLS_MAX */
    size_t bytes_max;    /* payloads of all calls in progress; 0: RPC_CALLS_BYTES_MAX */
    int workers;         /* threads for slow handlers; 0: RPC_WORKERS */
    struct metrics *metrics; /* NULL: none */
    struct log *log;         /* NULL: none */
};

/* Owns the call until it answers, exactly once, from any thread. */
typedef void rpc_handler_fn(void *arg, struct rpc_call *call);

int rpc_server_new(const struct rpc_server_cfg *cfg, struct rpc_server **ret, struct err *err);
/* Before rpc_server_start. fn runs on an I/O thread and must not block. */
void rpc_server_handle(struct rpc_server *srv, enum rpc_method method, rpc_handler_fn *fn, void *arg);
/* The same, on a worker thread; a call whose deadline has passed while it waited is answered RC_TIMEOUT without fn. */
void rpc_server_handle_slow(struct rpc_server *srv, enum rpc_method method, rpc_handler_fn *fn, void *arg);
int rpc_server_start(struct rpc_server *srv, struct err *err);
int rpc_server_port(const struct rpc_server *srv); /* after start */
/* Refuses new calls (RC_UNAVAILABLE) and waits until those in progress are answered and sent; false on timeout. */
bool rpc_server_drain(struct rpc_server *srv, int64_t timeout_ms);
/* Closes all connections; waits for handlers that have not answered yet. NULL is fine. */
void rpc_server_free(struct rpc_server *srv);

struct str rpc_call_payload(const struct rpc_call *call);        /* borrowed until the answer */
int64_t rpc_call_left_ms(const struct rpc_call *call);           /* the caller waits this long still; 0 when over */
unsigned rpc_call_method(const struct rpc_call *call);
/* Of a slow method: set when nobody waits for the answer any more (which is still to be given). Borrowed until the answer. */
const _Atomic bool *rpc_call_canceled(const struct rpc_call *call);
/* Answers and ends the call. status: RC_OK or an enum rc; payload copied, for errors the text. Over RPC_MESSAGE_BYTES_MAX
 * the answer becomes RC_LIMIT. */
void rpc_reply(struct rpc_call *call, int status, struct str payload);
/* The same, takes the bytes of payload (which is empty afterwards): no copy. */
void rpc_reply_buf(struct rpc_call *call, int status, struct buf *payload);
/* Answers with err's rc and text. */
void rpc_reply_err(struct rpc_call *call, const struct err *err);

/* Connections and calls in progress. */
size_t rpc_server_memory(struct rpc_server *srv);

/* --- client --- */
struct rpc_client;

struct rpc_client_cfg {
    struct str cluster;      /* copied */
    struct metrics *metrics; /* NULL: none */
    struct log *log;         /* NULL: none */
};

/* Exactly once per rpc_send, never from within it. rc: RC_OK, what the server answered, RC_TIMEOUT, RC_UNAVAILABLE (no
 * connection, lost, overloaded), RC_LIMIT (payload too long), RC_CANCELED (rpc_client_free). reply: the answer's payload,
 * also for errors that the server answered; borrowed during the callback, which may take it (buf_take). err is NULL when rc is RC_OK. */
typedef void rpc_done_fn(void *arg, int rc, struct buf *reply, const struct err *err);

int rpc_client_new(const struct rpc_client_cfg *cfg, struct rpc_client **ret, struct err *err);
/* Calls that still wait end with RC_CANCELED; returns after the last callback. NULL is fine. */
void rpc_client_free(struct rpc_client *c);

/* payload: copied. */
void rpc_send(struct rpc_client *c, const char *addr, enum rpc_method method, struct str payload, int64_t timeout_ms,
              rpc_done_fn *done, void *arg);
/* The same, takes the bytes of payload (which is empty afterwards): no copy. */
void rpc_send_buf(struct rpc_client *c, const char *addr, enum rpc_method method, struct buf *payload,
                  int64_t timeout_ms, rpc_done_fn *done, void *arg);
/* Ends the call to addr that has this done and arg, if it is still in flight: done runs, with RC_CANCELED, before this returns; and tells the server. */
void rpc_cancel(struct rpc_client *c, const char *addr, rpc_done_fn *done, void *arg);
/* Blocks; ret_reply (may be NULL): the answer's payload is appended (RC_LIMIT past its max). Not from a callback. */
int rpc_call_sync(struct rpc_client *c, const char *addr, enum rpc_method method, struct str payload,
                  int64_t timeout_ms, struct buf *ret_reply, struct err *err);
/* Drops the connection and all memory of this address; its waiting calls end with RC_UNAVAILABLE. */
void rpc_client_forget(struct rpc_client *c, const char *addr);
/* Connections and what waits for them. */
size_t rpc_client_memory(struct rpc_client *c);
