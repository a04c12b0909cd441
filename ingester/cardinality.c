/* cardinality.c - how much of a tenant the heads hold, from their indexes. Runs on the RPC server's worker threads. */
#include "common/wire/pb_arena.h"
#include "common/wire/select.h"
#include "common/wire/torc.pb-c.h"
#include "ingester/ingester_impl.h"

enum { PAIRS_BYTES_MAX = 12 << 20 };

static int pair_add(void *arg, struct str name, struct str value, uint64_t series)
{
    struct buf *rows = arg;

    if (rows->n + name.n + value.n + 32 > PAIRS_BYTES_MAX)
        return RC_LIMIT;
    buf_lstr(rows, name);
    buf_lstr(rows, value);
    buf_uvarint(rows, series);
    return 0;
}

static void add_extent(struct head *h, struct str tenant, Torc__Wire__CardinalityResponse *out)
{
    struct head_extent e;

    head_extent(h, tenant, &e);
    out->chunks += e.chunks;
    out->chunk_bytes += e.chunk_bytes;
    out->mint_ms = MIN(out->mint_ms, e.mint_ms);
    out->maxt_ms = MAX(out->maxt_ms, e.maxt_ms);
}

static int cardinality_run(struct ingester *in, const Torc__Wire__CardinalityRequest *m, struct arena *a, struct buf *rows,
                           Torc__Wire__CardinalityResponse *out, struct err *err)
{
    struct store_select q = {.tenant = pb_str(m->tenant), .mint_ms = INT64_MIN, .maxt_ms = INT64_MAX, .mode = STORE_LABELS};
    struct matcher *matchers = NULL;
    int rc = ingester_request_version(m->version, err);

    if (rc == 0)
        rc = matchers_decode(pb_str(m->matchers), a, &matchers, &q.matcher_count, err);
    if (rc < 0)
        return rc;
    q.matchers = matchers;
    out->mint_ms = INT64_MAX;
    out->maxt_ms = INT64_MIN;
    for (uint32_t s = 0; s < in->shard_count && rc == 0; s++) {
        struct head *h = shard_head(in->shards[s]);
        struct head_tenant_stats st = {0};
        uint64_t matched = 0;

        rc = head_count(h, &q, &matched, err);
        head_tenant_stats(h, q.tenant, 0, &st);
        out->matched += matched;
        out->series += st.series;
        out->samples += st.samples;
        if (rc == 0 && m->extent)
            add_extent(h, q.tenant, out);
        if (rc == 0 && m->pairs && head_each_pair(h, q.tenant, pair_add, rows) < 0)
            out->truncated = true; /* what did not fit is left out */
    }
    for (size_t i = 0; i < q.matcher_count; i++)
        matcher_fini(&matchers[i]);
    return rc;
}

void ingester_on_cardinality(void *arg, struct rpc_call *call)
{
    struct ingester *in = arg;
    struct str payload = rpc_call_payload(call);
    Torc__Wire__CardinalityResponse out = TORC__WIRE__CARDINALITY_RESPONSE__INIT;
    Torc__Wire__CardinalityRequest *m;
    struct arena a;
    struct buf rows;
    struct err err;
    int rc = ingester_ready(in, &err);

    arena_init(&a, QUERY_ARENA_MAX);
    buf_init(&rows, PAIRS_BYTES_MAX + 4096);
    m = rc == 0 ? torc__wire__cardinality_request__unpack(pb_arena_allocator(&a), payload.n, (const uint8_t *)payload.p) : NULL;
    if (rc == 0 && !m)
        rc = ingester_bad_message(&err, "cardinality");
    if (rc == 0)
        rc = cardinality_run(in, m, &a, &rows, &out, &err);
    if (rc == 0) {
        out.version = SELECT_VERSION;
        out.ring_version = ingester_ring_version(in);
        out.pair_rows = pb_bytes(buf_view(&rows));
        ingester_reply_message(call, &out.base);
    } else {
        rpc_reply_err(call, &err);
    }
    buf_fini(&rows);
    arena_fini(&a);
}
