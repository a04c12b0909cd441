#include "ingester/answer.h"

#include "common/wire/pb_arena.h"
#include "common/wire/select.h"

struct inquiry_matchers {
    struct inquiry_matchers *next;
    struct matcher *v;
    size_t n;
};

int inquiry_version(uint32_t version, struct err *err)
{
    return version == SELECT_VERSION ? 0 : err_set(err, RC_VERSION, "request version %u, this binary reads %d", version, SELECT_VERSION);
}

int inquiry_matchers(struct inquiry *q, struct str bytes, struct store_select *sel, struct err *err)
{
    struct inquiry_matchers *ms = arena_zalloc(&q->arena, sizeof *ms);
    int rc;

    if (!ms)
        return err_set(err, RC_NOMEM, "select: memory budget is spent");
    rc = matchers_decode(bytes, &q->arena, &ms->v, &ms->n, err);
    if (rc < 0)
        return rc;
    ms->next = q->matchers;
    q->matchers = ms;
    sel->matchers = ms->v;
    sel->matcher_count = ms->n;
    return 0;
}

int inquiry_shard_alive(const struct inquiry *q, uint32_t shard, struct err *err)
{
    return shard_dead(q->in->shards[shard]) ? err_set(err, RC_UNAVAILABLE, "the log of shard %u has failed", shard) : 0;
}

int inquiry_pack(struct inquiry *q, const ProtobufCMessage *m, struct err *err)
{
    return pb_pack(m, &q->out) ? 0 : err_set(err, RC_LIMIT, "the answer is larger than %d bytes", RPC_MESSAGE_BYTES_MAX);
}

static int run_request(struct inquiry *q, struct rpc_call *call, const ProtobufCMessageDescriptor *request, inquiry_fn *run, struct err *err)
{
    struct str payload = rpc_call_payload(call);
    const ProtobufCMessage *m;
    int rc = ingester_ready(q->in, err);

    if (rc < 0)
        return rc;
    m = protobuf_c_message_unpack(request, pb_arena_allocator(&q->arena), payload.n, (const uint8_t *)payload.p);
    return m ? run(q, m, err) : err_set(err, RC_CORRUPT, "%s does not decode", request->short_name);
}

void ingester_answer(struct ingester *in, struct rpc_call *call, const ProtobufCMessageDescriptor *request, inquiry_fn *run)
{
    struct inquiry q = {.in = in, .stop = {rpc_call_canceled(call), clock_mono_ns(clock_system()) + rpc_call_left_ms(call) * 1000000}};
    struct err err;

    arena_init(&q.arena, INQUIRY_ARENA_MAX);
    buf_init(&q.rows, INQUIRY_ROWS_MAX);
    buf_init(&q.out, RPC_MESSAGE_BYTES_MAX);
    if (run_request(&q, call, request, run, &err) == 0)
        rpc_reply_buf(call, RC_OK, &q.out);
    else
        rpc_reply_err(call, &err);
    for (const struct inquiry_matchers *ms = q.matchers; ms; ms = ms->next)
        for (size_t i = 0; i < ms->n; i++)
            matcher_fini(&ms->v[i]);
    buf_fini(&q.rows);
    buf_fini(&q.out);
    arena_fini(&q.arena);
}
