/* exemplars.c - exemplars over RPC: rows of all series that one of the selectors matches, in no order, equal ones possibly more than once. */
#include "common/wire/pb_arena.h"
#include "common/wire/select.h"
#include "common/wire/torc.pb-c.h"
#include "ingester/answer.h"

enum { SELECTORS_MAX = 1000 };

struct rows {
    struct buf *out;
    uint32_t count;
};

static int row_add(void *arg, const struct head_exemplar *e)
{
    struct rows *rows = arg;

    labels_encode(rows->out, e->series);
    buf_svarint(rows->out, e->t);
    buf_u64(rows->out, double_bits(e->v));
    labels_encode(rows->out, e->labels);
    rows->count++;
    return buf_ok(rows->out) ? 0 : RC_LIMIT;
}

static int select_one(struct inquiry *q, struct store_select *sel, struct str matchers, struct rows *rows, struct err *err)
{
    int rc = inquiry_matchers(q, matchers, sel, err);

    for (uint32_t s = 0; s < q->in->shard_count && rc == 0; s++) {
        rc = head_exemplar_select(shard_head(q->in->shards[s]), sel, row_add, rows, err);
        if (rc == 0)
            rc = inquiry_shard_alive(q, s, err);
    }
    return buf_ok(rows->out) ? rc : err_set(err, RC_LIMIT, "exemplars of more than %d bytes: narrow the query", INQUIRY_ROWS_MAX);
}

static int exemplars(struct inquiry *q, const void *request, struct err *err)
{
    const Torc__Wire__ExemplarsRequest *m = request;
    Torc__Wire__ExemplarsResponse out = TORC__WIRE__EXEMPLARS_RESPONSE__INIT;
    struct store_select sel = {.tenant = pb_str(m->tenant), .mint_ms = m->mint_ms, .maxt_ms = m->maxt_ms, .mode = STORE_LABELS, .stop = &q->stop};
    struct rows rows = {&q->rows, 0};
    struct rd r = rd_of(pb_str(m->selectors));
    uint64_t n = rd_uvarint(&r);
    int rc = inquiry_version(m->version, err);

    if (rc < 0)
        return rc;
    CORRUPT_UNLESS(rd_ok(&r) && n <= SELECTORS_MAX, err);
    for (uint64_t i = 0; i < n && rc == 0; i++) {
        struct str matchers = rd_lstr(&r);

        CORRUPT_UNLESS(rd_ok(&r), err);
        rc = select_one(q, &sel, matchers, &rows, err);
    }
    if (rc < 0)
        return rc;
    out.version = SELECT_VERSION;
    out.count = rows.count;
    out.ring_version = ingester_ring_version(q->in);
    out.rows = pb_bytes(buf_view(&q->rows));
    return inquiry_pack(q, &out.base, err);
}

void ingester_on_exemplars(void *arg, struct rpc_call *call)
{
    ingester_answer(arg, call, &torc__wire__exemplars_request__descriptor, exemplars);
}
