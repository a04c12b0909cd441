#include "querier/mailbox.h"

#include "common/sys/thread.h"

#include <stdlib.h>
#include <utlist.h>

struct mailbox {
    struct mutex lock; /* --- guards all below --- */
    struct cond arrived;
    unsigned refs;
    bool closed;
    struct mail *list, *sent; /* answers; calls in flight */
};

struct mailbox *mailbox_new(void)
{
    struct mailbox *b = xcalloc(1, sizeof *b);

    b->refs = 1;
    mutex_init(&b->lock);
    cond_init(&b->arrived);
    return b;
}

void mail_free(struct mail *m)
{
    buf_fini(&m->payload);
    free(m);
}

/* Lock held; releases it. */
static void unref(struct mailbox *b)
{
    bool last = --b->refs == 0;

    mutex_unlock(&b->lock);
    if (!last)
        return;
    mutex_fini(&b->lock);
    cond_fini(&b->arrived);
    free(b);
}

static void free_list(struct mail *list)
{
    while (list) {
        struct mail *next = list->next;

        mail_free(list);
        list = next;
    }
}

static size_t sent_count(const struct mailbox *b)
{
    const struct mail *m;
    size_t n;

    DL_COUNT2(b->sent, m, n, next_sent);
    return n;
}

static void on_reply(void *arg, int rc, struct buf *payload, const struct err *err);

/* Mail stays until the box is closed, so that no other call takes its address before it was canceled. */
static void cancel_sent(struct mailbox *b)
{
    struct mail **v, *m;
    size_t n = 0;

    mutex_lock(&b->lock);
    v = xcalloc(sent_count(b) + 1, sizeof *v);
    DL_FOREACH2(b->sent, m, next_sent)
    v[n++] = m;
    mutex_unlock(&b->lock);
    for (size_t i = 0; i < n; i++)
        rpc_cancel(v[i]->client, v[i]->addr, on_reply, v[i]);
    free(v);
}

void mailbox_close(struct mailbox *b)
{
    struct mail *list;

    if (!b)
        return;
    cancel_sent(b);
    mutex_lock(&b->lock);
    b->closed = true;
    list = b->list;
    b->list = NULL;
    unref(b);
    free_list(list);
}

static void on_reply(void *arg, int rc, struct buf *payload, const struct err *err)
{
    struct mail *m = arg;
    struct mailbox *b = m->box;

    mutex_lock(&b->lock);
    DL_DELETE2(b->sent, m, prev_sent, next_sent);
    if (b->closed) {
        unref(b);
        mail_free(m);
        return;
    }
    m->rc = rc;
    if (rc == RC_OK) {
        m->payload = *payload;
        *payload = (struct buf){0};
    } else if (err) {
        m->err = *err;
    }
    m->next = b->list;
    b->list = m;
    mutex_unlock(&b->lock);
    cond_signal(&b->arrived); /* without the lock, which the owner would only wait for */
    mutex_lock(&b->lock);
    unref(b);
}

void mailbox_send(struct mailbox *b, struct rpc_client *c, const char *addr, enum rpc_method method, struct buf *payload, int64_t timeout_ms, uint32_t tag,
                  uint32_t round)
{
    struct mail *m = xcalloc(1, sizeof *m);

    m->box = b;
    m->tag = tag;
    m->round = round;
    m->client = c;
    m->addr = addr;
    mutex_lock(&b->lock);
    DL_APPEND2(b->sent, m, prev_sent, next_sent);
    b->refs++;
    mutex_unlock(&b->lock);
    rpc_send_buf(c, addr, method, payload, timeout_ms, on_reply, m);
}

struct mail *mailbox_take(struct mailbox *b, int64_t wait_ms)
{
    struct mail *list;

    mutex_lock(&b->lock);
    if (!b->list && wait_ms > 0)
        cond_wait_ms(&b->arrived, &b->lock, wait_ms);
    list = b->list;
    b->list = NULL;
    mutex_unlock(&b->lock);
    return list;
}
