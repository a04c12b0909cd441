#include "querier/read_request.h"

#include "common/wire/pb_arena.h"
#include "common/wire/remote.pb-c.h"

static int no_memory(struct err *err)
{
    return err_set(err, RC_NOMEM, "remote read: memory budget is spent");
}

static int query_of(const Torc__Remote__Query *m, struct arena *a, struct read_query *q, struct err *err)
{
    *q = (struct read_query){
        .start_ms = m->start_timestamp_ms,
        .end_ms = m->end_timestamp_ms,
        .matchers = arena_array(a, m->n_matchers, sizeof *q->matchers),
    };
    if (!q->matchers)
        return no_memory(err);
    for (size_t i = 0; i < m->n_matchers; i++) {
        const Torc__Remote__LabelMatcher *lm = m->matchers[i];
        int rc;

        if (lm->type < MATCH_EQ || lm->type > MATCH_NRE)
            return err_set(err, RC_INVALID, "matcher %zu has the unknown type %d", i, lm->type);
        if (!*lm->name)
            return err_set(err, RC_INVALID, "matcher %zu has no label name", i);
        rc = matcher_init(&q->matchers[i], (enum matcher_type)lm->type, str_of(lm->name), str_of(lm->value), err);
        if (rc < 0)
            return rc;
        q->matcher_count++;
    }
    return 0;
}

/* An empty list means samples. */
static int type_of(const Torc__Remote__ReadRequest *m, enum read_type *ret, struct err *err)
{
    *ret = READ_SAMPLES;
    for (size_t i = 0; i < m->n_accepted_response_types; i++) {
        int32_t type = m->accepted_response_types[i];

        if (type == READ_SAMPLES || type == READ_STREAMED_CHUNKS) {
            *ret = (enum read_type)type;
            return 0;
        }
    }
    return m->n_accepted_response_types == 0
               ? 0
               : err_set(err, RC_INVALID, "server does not support any of the requested response types; supported: SAMPLES (0), STREAMED_XOR_CHUNKS (1)");
}

int read_request_decode(struct str bytes, struct arena *a, struct read_request *ret, struct err *err)
{
    ProtobufCAllocator *alloc = pb_arena_allocator(a);
    struct read_request out = {0};
    Torc__Remote__ReadRequest *m;
    int rc;

    if (!alloc)
        return no_memory(err);
    m = torc__remote__read_request__unpack(alloc, bytes.n, (const uint8_t *)bytes.p);
    if (!m)
        return err_set(err, RC_INVALID, "the body does not decode as prometheus.ReadRequest");
    if (m->n_queries > READ_QUERIES_MAX)
        return err_set(err, RC_INVALID, "%zu queries in one request, limit %d", m->n_queries, READ_QUERIES_MAX);
    rc = type_of(m, &out.type, err);
    out.queries = arena_array(a, m->n_queries, sizeof *out.queries);
    if (rc == 0 && !out.queries)
        rc = no_memory(err);
    for (size_t i = 0; i < m->n_queries && rc == 0; i++) {
        out.n++;
        rc = query_of(m->queries[i], a, &out.queries[i], err);
    }
    if (rc < 0)
        read_request_fini(&out);
    else
        *ret = out;
    return rc;
}

void read_request_fini(struct read_request *r)
{
    for (size_t i = 0; i < r->n; i++)
        for (size_t k = 0; k < r->queries[i].matcher_count; k++)
            matcher_fini(&r->queries[i].matchers[k]);
    r->n = 0;
}
