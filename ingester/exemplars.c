/* exemplars.c - exemplars over RPC: rows of all series that one of the selectors matches, in no order, equal ones
 * possibly more than once. Runs on the RPC server's worker threads. */
#include "common/wire/pb_arena.h"
#include "common/wire/select.h"
#include "common/wire/torc.pb-c.h"
#include "ingester/ingester_impl.h"

enum { REQUEST_ARENA_MAX = 64 << 20, SELECTORS_MAX = 1000 };

struct rows {
    struct buf out;
    uint32_t count;
};

static int row_add(void *arg, const struct head_exemplar *e)
{
    struct rows *rows = arg;

    labels_encode(&rows->out, e->series);
    buf_svarint(&rows->out, e->t);
    buf_u64(&rows->out, double_bits(e->v));
    labels_encode(&rows->out, e->labels);
    rows->count++;
    return buf_ok(&rows->out) ? 0 : RC_LIMIT;
}

static int select_one(struct ingester *in, struct store_select *q, struct str matchers,
                      struct arena *a, struct rows *rows, struct err *err)
{
    struct matcher *m;
    int rc = matchers_decode(matchers, a, &m, &q->matcher_count, err);

    if (rc < 0)
        return rc;
    q->matchers = m;
    for (uint32_t s = 0; s < in->shard_count && rc == 0; s++)
        rc = head_exemplar_select(shard_head(in->shards[s]), q, row_add, rows, err);
    if (!buf_ok(&rows->out))
        rc = err_set(err, RC_LIMIT, "exemplars of more than %d bytes: narrow the query",
                     RPC_MESSAGE_BYTES_MAX);
    for (size_t i = 0; i < q->matcher_count; i++)
        matcher_fini(&m[i]);
    return rc;
}

static int run(struct ingester *in, const Torc__Wire__ExemplarsRequest *m, struct arena *a,
               struct rows *rows, struct err *err)
{
    struct store_select q = {.tenant = pb_str(m->tenant),
                             .mint_ms = m->mint_ms,
                             .maxt_ms = m->maxt_ms,
                             .mode = STORE_LABELS};
    struct rd r = rd_of(pb_str(m->selectors));
    uint64_t n = rd_uvarint(&r);
    int rc = 0;

    if (m->version != SELECT_VERSION)
        return err_set(err, RC_VERSION, "request version %u, this binary reads %d", m->version,
                       SELECT_VERSION);
    CORRUPT_UNLESS(rd_ok(&r) && n <= SELECTORS_MAX, err);
    for (uint64_t i = 0; i < n && rc == 0; i++) {
        struct str matchers = rd_lstr(&r);

        CORRUPT_UNLESS(rd_ok(&r), err);
        rc = select_one(in, &q, matchers, a, rows, err);
    }
    return rc;
}

void ingester_on_exemplars(void *arg, struct rpc_call *call)
{
    struct ingester *in = arg;
    struct str payload = rpc_call_payload(call);
    Torc__Wire__ExemplarsResponse out = TORC__WIRE__EXEMPLARS_RESPONSE__INIT;
    Torc__Wire__ExemplarsRequest *m;
    struct rows rows = {0};
    struct arena a;
    struct buf reply;
    struct err err;
    int rc = ingester_ready(in, &err);

    arena_init(&a, REQUEST_ARENA_MAX);
    buf_init(&rows.out, RPC_MESSAGE_BYTES_MAX - 4096);
    buf_init(&reply, RPC_MESSAGE_BYTES_MAX);
    m = rc == 0 ? torc__wire__exemplars_request__unpack(pb_arena_allocator(&a), payload.n,
                                                        (const uint8_t *)payload.p)
                : NULL;
    if (rc == 0 && !m)
        rc = err_set(&err, RC_CORRUPT, "exemplars request does not decode");
    if (rc == 0)
        rc = run(in, m, &a, &rows, &err);
    if (rc == 0) {
        out.version = SELECT_VERSION;
        out.count = rows.count;
        out.ring_version = ingester_ring_version(in);
        out.rows = pb_bytes(buf_view(&rows.out));
        if (!pb_pack(&out.base, &reply))
            rc = err_set(&err, RC_LIMIT, "the answer is larger than %d bytes",
                         RPC_MESSAGE_BYTES_MAX);
    }
    if (rc == 0)
        rpc_reply_buf(call, RC_OK, &reply);
    else
        rpc_reply_err(call, &err);
    buf_fini(&rows.out);
    buf_fini(&reply);
    arena_fini(&a);
}
