/* sock.h - TCP sockets by "host:port" ("[v6]:port"): listening ones, and connecting in the background; internal to common/rpc.
 * All sockets are non-blocking, closed on exec, without Nagle's delay. */
#pragma once
#include "common/base/err.h"

/* The port stands for itself, "host" without brackets is at most SOCK_HOST_BYTES - 1 long: RC_INVALID otherwise. */
enum { SOCK_HOST_BYTES = 256, SOCK_PORT_BYTES = 8 };
struct sock_addr {
    char host[SOCK_HOST_BYTES], port[SOCK_PORT_BYTES];
};
int sock_addr_parse(const char *addr, struct sock_addr *ret);

/* *ret_port: the one bound, which matters for port 0. */
int sock_listen(const struct sock_addr *a, int *ret_fd, int *ret_port, struct err *err);
/* Of an accepted or connected socket. */
void sock_no_delay(int fd);
/* Of an accepted socket: a peer that is gone without a word (its machine, its half of the connection) is noticed within SOCK_DEAD_S of silence. */
enum { SOCK_IDLE_S = 10, SOCK_PROBE_S = 3, SOCK_PROBES = 3, SOCK_DEAD_S = SOCK_IDLE_S + SOCK_PROBE_S * SOCK_PROBES };
void sock_keep_alive(int fd);

/* A connection being made, names looked up included, on a thread of its own. done comes exactly once, on that thread or in dial_cancel:
 * with fd >= 0, which it takes, or with -1 and why not. Addresses are tried in turn until timeout_ms are over (a slow name service may take longer: cancel). */
struct dial;
typedef void dial_done_fn(void *arg, int fd, const char *why);
struct dial *dial_start(const struct sock_addr *a, int64_t timeout_ms, dial_done_fn *done, void *arg);
struct dial *dial_ref(struct dial *d);
void dial_unref(struct dial *d); /* NULL is fine */
void dial_cancel(struct dial *d);
