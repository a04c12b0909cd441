/* mailbox.h - answers of calls in flight, for one thread that waits for many of them. They arrive on RPC threads and wait in the box until its owner takes
 * them. Closing it cancels the calls that are still in flight, so that nobody works on what nobody will read. The calls hold the box, the last one out frees it.
 * Threads: one owner. */
#pragma once
#include "common/rpc/rpc.h"

struct mailbox;
struct mail {
    struct mail *next;
    struct mailbox *box;
    struct mail *prev_sent, *next_sent; /* in flight */
    struct rpc_client *client;
    const char *addr;
    uint32_t tag, round; /* as given to mailbox_send */
    int rc;              /* of the call */
    struct err err;      /* why it failed */
    struct buf payload;  /* when rc is RC_OK */
};

struct mailbox *mailbox_new(void);
/* NULL is no box. What is in it goes, calls in flight are canceled. */
void mailbox_close(struct mailbox *b);
/* Takes the payload's bytes, as rpc_send_buf. addr: borrowed until the box is closed. */
void mailbox_send(struct mailbox *b, struct rpc_client *c, const char *addr, enum rpc_method method, struct buf *payload, int64_t timeout_ms, uint32_t tag,
                  uint32_t round);
/* All that has arrived, the last first, to be freed one by one; waits for the first so long. NULL: nothing came. */
struct mail *mailbox_take(struct mailbox *b, int64_t wait_ms);
void mail_free(struct mail *m);
