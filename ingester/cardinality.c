/* cardinality.c - how much of a tenant the heads hold, from their indexes. */
#include "common/wire/pb_arena.h"
#include "common/wire/select.h"
#include "common/wire/torc.pb-c.h"
#include "ingester/answer.h"

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

static int add_extent(struct inquiry *q, struct head *h, struct str tenant, Torc__Wire__CardinalityResponse *out, struct err *err)
{
    struct head_extent e;
    int rc = head_extent(h, tenant, &q->stop, &e, err);

    out->chunks += e.chunks;
    out->chunk_bytes += e.chunk_bytes;
    out->mint_ms = MIN(out->mint_ms, e.mint_ms);
    out->maxt_ms = MAX(out->maxt_ms, e.maxt_ms);
    return rc;
}

static int add_pairs(struct inquiry *q, struct head *h, struct str tenant, Torc__Wire__CardinalityResponse *out, struct err *err)
{
    int rc = head_each_pair(h, tenant, &q->stop, pair_add, &q->rows, err);

    if (rc != RC_LIMIT && rc != RC_NOMEM)
        return rc;
    out->truncated = true; /* what did not fit is left out */
    return 0;
}

static int add_shard(struct inquiry *q, uint32_t shard, const Torc__Wire__CardinalityRequest *m, const struct store_select *sel,
                     Torc__Wire__CardinalityResponse *out, struct err *err)
{
    struct head *h = shard_head(q->in->shards[shard]);
    struct head_tenant_stats st = {0};
    uint64_t matched = 0;
    int rc = head_count(h, sel, &matched, err);

    head_tenant_stats(h, sel->tenant, 0, &st);
    out->matched += matched;
    out->series += st.series;
    out->samples += st.samples;
    if (rc == 0 && m->extent)
        rc = add_extent(q, h, sel->tenant, out, err);
    if (rc == 0 && m->pairs)
        rc = add_pairs(q, h, sel->tenant, out, err);
    return rc == 0 ? inquiry_shard_alive(q, shard, err) : rc;
}

static int cardinality(struct inquiry *q, const void *request, struct err *err)
{
    const Torc__Wire__CardinalityRequest *m = request;
    Torc__Wire__CardinalityResponse out = TORC__WIRE__CARDINALITY_RESPONSE__INIT;
    struct store_select sel = {.tenant = pb_str(m->tenant), .mint_ms = INT64_MIN, .maxt_ms = INT64_MAX, .mode = STORE_LABELS, .stop = &q->stop};
    int rc = inquiry_version(m->version, err);

    if (rc == 0)
        rc = inquiry_matchers(q, pb_str(m->matchers), &sel, err);
    out.mint_ms = INT64_MAX;
    out.maxt_ms = INT64_MIN;
    for (uint32_t s = 0; s < q->in->shard_count && rc == 0; s++)
        rc = add_shard(q, s, m, &sel, &out, err);
    if (rc < 0)
        return rc;
    out.version = SELECT_VERSION;
    out.ring_version = ingester_ring_version(q->in);
    out.pair_rows = pb_bytes(buf_view(&q->rows));
    return inquiry_pack(q, &out.base, err);
}

void ingester_on_cardinality(void *arg, struct rpc_call *call)
{
    ingester_answer(arg, call, &torc__wire__cardinality_request__descriptor, cardinality);
}
