/* labels.c - label names and values over RPC, in pages: the smallest values behind `after` that fit. However many there are, a
 * request holds two pages of them at most. Each page asks the heads anew, so that nothing is kept between two. */
#include "common/wire/pb_arena.h"
#include "common/wire/select.h"
#include "common/wire/torc.pb-c.h"
#include "ingester/answer.h"

#include <stdlib.h>

enum { PAGE_BYTES = 8 << 20, VALUE_BYTES_EXTRA = 8 };
_Static_assert(PAGE_BYTES < RPC_MESSAGE_BYTES_MAX - (2 << 20), "a page and one value more fit a message");

typedef VEC(struct str) text_list;

/* Each list is sorted, holds a value once and owns it. A head gives its values in order: what the list lacks is collected in
 * `fresh` and merged when the head is done. */
struct values {
    text_list list, fresh;
    size_t at;        /* of the list: what is before it sorts before the head's next value */
    struct str after; /* only what sorts behind it; .n 0: all */
    uint64_t limit;   /* 0: none */
    size_t fresh_bytes;
    bool more, truncated; /* by the page, by the limit */
};

static size_t value_bytes(struct str v)
{
    return v.n + VALUE_BYTES_EXTRA;
}

static int values_add(void *arg, struct str value)
{
    struct values *v = arg;
    int order = -1;

    if ((v->after.n && str_cmp(value, v->after) <= 0) || v->fresh_bytes > PAGE_BYTES)
        return 0; /* on an earlier page; or on a later one, as all that follows */
    while (v->at < v->list.n && (order = str_cmp(v->list.v[v->at], value)) < 0)
        v->at++;
    if (v->at < v->list.n && order == 0)
        return 0;
    *vec_push(&v->fresh) = (struct str){str_dupz(value), value.n};
    v->fresh_bytes += value_bytes(value);
    return 0;
}

/* The next of both lists, in order. */
static struct str next_of(const struct values *v, size_t *old, size_t *fresh)
{
    if (*old < v->list.n && (*fresh == v->fresh.n || str_cmp(v->list.v[*old], v->fresh.v[*fresh]) < 0))
        return v->list.v[(*old)++];
    return v->fresh.v[(*fresh)++];
}

/* After a head: one list again, of no more than a page. */
static void values_merge(struct values *v)
{
    text_list all = {0};
    size_t bytes = 0, all_n = v->list.n + v->fresh.n;
    bool full = false;

    v->more |= v->fresh_bytes > PAGE_BYTES;
    for (size_t i = 0, old = 0, fresh = 0; i < all_n; i++) {
        struct str value = next_of(v, &old, &fresh);

        if (!full && v->limit && all.n == v->limit)
            full = v->truncated = true;
        if (!full && all.n > 0 && bytes + value_bytes(value) > PAGE_BYTES)
            full = v->more = true;
        if (full) {
            free((char *)value.p);
            continue;
        }
        bytes += value_bytes(value);
        *vec_push(&all) = value;
    }
    vec_fini(&v->list);
    vec_fini(&v->fresh);
    v->list = all;
    v->fresh = (text_list){0};
    v->fresh_bytes = v->at = 0;
}

static void values_write(const struct values *v, struct buf *out)
{
    buf_uvarint(out, v->list.n);
    for (size_t i = 0; i < v->list.n; i++)
        buf_lstr(out, v->list.v[i]);
}

static void list_fini(text_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free((char *)l->v[i].p);
    vec_fini(l);
}

static void values_fini(struct values *v)
{
    list_fini(&v->list);
    list_fini(&v->fresh);
}

static int list_values(struct inquiry *q, const Torc__Wire__LabelsRequest *m, struct values *v, struct err *err)
{
    struct store_select sel = {.tenant = pb_str(m->tenant), .mint_ms = m->mint_ms, .maxt_ms = m->maxt_ms, .mode = STORE_LABELS, .stop = &q->stop};
    int rc = inquiry_version(m->version, err);

    if (rc == 0)
        rc = inquiry_matchers(q, pb_str(m->matchers), &sel, err);
    for (uint32_t s = 0; s < q->in->shard_count && rc == 0; s++) {
        rc = head_label_values(shard_head(q->in->shards[s]), &sel, pb_str(m->name), values_add, v, err);
        if (rc == 0)
            rc = inquiry_shard_alive(q, s, err);
        values_merge(v);
    }
    return rc;
}

static int labels(struct inquiry *q, const void *request, struct err *err)
{
    const Torc__Wire__LabelsRequest *m = request;
    Torc__Wire__LabelsResponse out = TORC__WIRE__LABELS_RESPONSE__INIT;
    struct values v = {.after = pb_str(m->after), .limit = m->limit};
    int rc = list_values(q, m, &v, err);

    if (rc == 0) {
        values_write(&v, &q->rows);
        out.version = SELECT_VERSION;
        out.truncated = v.truncated;
        out.more = v.more;
        out.ring_version = ingester_ring_version(q->in);
        out.values = pb_bytes(buf_view(&q->rows));
        rc = inquiry_pack(q, &out.base, err);
    }
    values_fini(&v);
    return rc;
}

void ingester_on_labels(void *arg, struct rpc_call *call)
{
    ingester_answer(arg, call, &torc__wire__labels_request__descriptor, labels);
}
