/* labels.c - label names and values over RPC, in pages: the smallest values behind `after` that fit. However many there are, a
 * request holds twice a page of them (values_add). Each page asks the heads anew, so that nothing is kept between two.
 * Runs on the RPC server's worker threads. */
#include "common/wire/pb_arena.h"
#include "common/wire/select.h"
#include "common/wire/torc.pb-c.h"
#include "ingester/ingester_impl.h"

#include <stdlib.h>

enum { PAGE_BYTES = 8 << 20, VALUE_BYTES_EXTRA = 8 };
_Static_assert(PAGE_BYTES < RPC_MESSAGE_BYTES_MAX - (2 << 20), "a page and one value more fit a message");

struct values {
    VEC(struct str) list;
    struct str after; /* only what sorts behind it; .n 0: all */
    uint64_t limit;   /* 0: none */
    size_t bytes;
    bool more, truncated; /* by the page, by the limit */
};

static size_t value_bytes(struct str v)
{
    return v.n + VALUE_BYTES_EXTRA;
}

static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* Sorted, each once, and no more than a page. */
static void values_settle(struct values *v)
{
    size_t n = 0;
    bool full = false;

    if (v->list.n)
        qsort(v->list.v, v->list.n, sizeof *v->list.v, by_text);
    v->bytes = 0;
    for (size_t i = 0; i < v->list.n; i++) {
        struct str value = v->list.v[i];
        bool again = n > 0 && str_eq(v->list.v[n - 1], value);

        if (!again && !full && v->limit && n == v->limit)
            full = v->truncated = true;
        if (!again && !full && n > 0 && v->bytes + value_bytes(value) > PAGE_BYTES)
            full = v->more = true;
        if (again || full) {
            free((char *)value.p);
            continue;
        }
        v->bytes += value_bytes(value);
        v->list.v[n++] = value;
    }
    v->list.n = n;
}

static int values_add(void *arg, struct str value)
{
    struct values *v = arg;

    if (v->after.n && str_cmp(value, v->after) <= 0)
        return 0;
    *vec_push(&v->list) = (struct str){str_dupz(value), value.n};
    v->bytes += value_bytes(value);
    if (v->bytes > 2 * PAGE_BYTES)
        values_settle(v);
    return 0;
}

static void values_write(const struct values *v, struct buf *out)
{
    buf_uvarint(out, v->list.n);
    for (size_t i = 0; i < v->list.n; i++)
        buf_lstr(out, v->list.v[i]);
}

static void values_fini(struct values *v)
{
    for (size_t i = 0; i < v->list.n; i++)
        free((char *)v->list.v[i].p);
    vec_fini(&v->list);
}

static int labels_run(struct ingester *in, const Torc__Wire__LabelsRequest *m, struct arena *a, struct values *v, struct err *err)
{
    struct store_select q = {.tenant = pb_str(m->tenant), .mint_ms = m->mint_ms, .maxt_ms = m->maxt_ms, .mode = STORE_LABELS};
    struct matcher *matchers = NULL;
    int rc = ingester_request_version(m->version, err);

    if (rc == 0)
        rc = matchers_decode(pb_str(m->matchers), a, &matchers, &q.matcher_count, err);
    if (rc < 0)
        return rc;
    q.matchers = matchers;
    v->after = pb_str(m->after);
    v->limit = m->limit;
    for (uint32_t s = 0; s < in->shard_count && rc >= 0; s++) {
        rc = head_label_values(shard_head(in->shards[s]), &q, pb_str(m->name), values_add, v, err);
        if (rc >= 0 && ingester_shard_alive(in, s, err) < 0)
            rc = RC_UNAVAILABLE;
    }
    values_settle(v);
    for (size_t i = 0; i < q.matcher_count; i++)
        matcher_fini(&matchers[i]);
    return rc < 0 ? rc : 0;
}

void ingester_on_labels(void *arg, struct rpc_call *call)
{
    struct ingester *in = arg;
    struct str payload = rpc_call_payload(call);
    Torc__Wire__LabelsResponse out = TORC__WIRE__LABELS_RESPONSE__INIT;
    Torc__Wire__LabelsRequest *m;
    struct values v = {0};
    struct arena a;
    struct buf list;
    struct err err;
    int rc = ingester_ready(in, &err);

    arena_init(&a, QUERY_ARENA_MAX);
    buf_init(&list, RPC_MESSAGE_BYTES_MAX - 4096);
    m = rc == 0 ? torc__wire__labels_request__unpack(pb_arena_allocator(&a), payload.n, (const uint8_t *)payload.p) : NULL;
    if (rc == 0 && !m)
        rc = ingester_bad_message(&err, "labels");
    if (rc == 0)
        rc = labels_run(in, m, &a, &v, &err);
    if (rc == 0) {
        values_write(&v, &list);
        out.version = SELECT_VERSION;
        out.truncated = v.truncated;
        out.more = v.more;
        out.ring_version = ingester_ring_version(in);
        out.values = pb_bytes(buf_view(&list));
        ingester_reply_message(call, &out.base);
    } else {
        rpc_reply_err(call, &err);
    }
    values_fini(&v);
    buf_fini(&list);
    arena_fini(&a);
}
