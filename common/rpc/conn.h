/* conn.h - one framed TCP connection, used by both the server and the client; internal to common/rpc.
 * Receives on its loop's thread: small frames are cut from a staging buffer (one read, many frames), a large payload is read straight into its own
 * allocation. Sends on the caller's thread as much as the socket takes at once; the rest waits in a queue and goes on the loop's thread.
 * Life: conn_new gives one reference to the owner; the connection keeps itself alive from conn_start to events.closed, which
 * comes exactly once, after the last events.frame. events.freed comes when the last reference is gone.
 * Threads: conn_send, conn_close, conn_ref, conn_unref from any; events on the loop's threads, without locks held. */
#pragma once
#include "common/base/err.h"
#include "common/rpc/frame.h"
#include "common/rpc/loop.h"

struct conn;
struct conn_msg;

struct conn_events {
    /* Takes body (free()), NULL when the payload is empty. Checked already. */
    void (*frame)(void *owner, struct conn *c, const struct frame *f, char *body);
    void (*refused)(void *owner, enum frame_refusal why);
    void (*closed)(void *owner, struct conn *c, const struct err *why);
    void (*freed)(void *owner);
};

/* A message to be sent: header and a copy of the payload, or the payload itself (taken, free()). */
struct conn_msg *conn_msg_copy(const struct frame *f, struct str payload);
struct conn_msg *conn_msg_take(const struct frame *f, char *payload, size_t n);
void conn_msg_free(struct conn_msg *m);

/* Takes fd, a connected non-blocking socket. */
struct conn *conn_new(int fd, struct loop *loop, uint32_t cluster, const struct conn_events *ev, void *owner);
/* Begins to receive; events may come before this returns. */
void conn_start(struct conn *c);
struct conn *conn_ref(struct conn *c);
void conn_unref(struct conn *c);
/* Takes m. False (m freed) when the connection is closed or RPC_QUEUE_BYTES_MAX are queued. */
bool conn_send(struct conn *c, struct conn_msg *m);
void conn_close(struct conn *c); /* idempotent; events.closed follows */
size_t conn_unsent(struct conn *c); /* bytes queued or being sent */
size_t conn_memory(struct conn *c); /* with what is queued, and what is being received */
int64_t conn_heard_ms(const struct conn *c); /* monotonic time of the last received byte */
