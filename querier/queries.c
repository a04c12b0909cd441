#include "querier/queries.h"

#include "common/wire/pb_arena.h"
#include "common/wire/torc.pb-c.h"
#include "querier/mailbox.h"

#include <stdlib.h>

void queries_init(struct queries *qs, const char *self)
{
    *qs = (struct queries){0};
    arena_init(&qs->arena, QUERIES_BYTES_MAX);
    *vec_push(&qs->names) = self;
}

void queries_fini(struct queries *qs)
{
    vec_fini(&qs->names);
    vec_fini(&qs->running);
    vec_fini(&qs->ended);
    vec_fini(&qs->warnings);
    arena_fini(&qs->arena);
}

/* --- rows --- */

static void running_add(struct queries *qs, struct running_query q)
{
    q.text = arena_str(&qs->arena, str_sub(q.text, 0, MIN(q.text.n, (size_t)ACTIVE_TEXT_MAX)));
    q.remote = arena_str(&qs->arena, q.remote);
    if (q.text.p && q.remote.p)
        *vec_push(&qs->running) = q;
    else
        qs->full = true;
}

static void ended_add(struct queries *qs, struct ended_query e, uint16_t querier)
{
    e.text = arena_str(&qs->arena, str_sub(e.text, 0, MIN(e.text.n, (size_t)ACTIVE_TEXT_MAX)));
    e.queriers[querier / 64] |= 1ull << (querier % 64);
    if (e.text.p)
        *vec_push(&qs->ended) = e;
    else
        qs->full = true;
}

static int by_query(const void *x, const void *y)
{
    const struct ended_query *a = x, *b = y;
    int c = str_cmp(a->text, b->text);

    return c ? c : (a->range_ms > b->range_ms) - (a->range_ms < b->range_ms);
}

void queries_fold(struct queries *qs)
{
    size_t n = 0;

    if (qs->ended.n == 0)
        return;
    qsort(qs->ended.v, qs->ended.n, sizeof *qs->ended.v, by_query);
    for (size_t i = 1; i < qs->ended.n; i++) {
        struct ended_query *to = &qs->ended.v[n];
        const struct ended_query *e = &qs->ended.v[i];

        if (by_query(to, e) != 0) {
            qs->ended.v[++n] = *e;
            continue;
        }
        to->took_ns += e->took_ns;
        to->count += e->count;
        for (size_t k = 0; k < ARRAY_LEN(to->queriers); k++)
            to->queriers[k] |= e->queriers[k];
    }
    qs->ended.n = n + 1;
}

/* --- of this process --- */

struct here {
    struct queries *qs;
    int64_t now_mono_ns;
};

static void on_running(void *arg, const struct active_query *q)
{
    struct here *h = arg;

    running_add(h->qs, (struct running_query){.id = q->id,
                                              .remote = str_of(http_client_address(q->http)),
                                              .text = q->text,
                                              .start_ms = q->start_ms,
                                              .end_ms = q->end_ms,
                                              .step_ms = q->step_ms,
                                              .took_ms = MAX(h->now_mono_ns - q->begun_mono_ns, 0) / 1000000});
}

static void on_ended(void *arg, const struct active_ended *e)
{
    struct here *h = arg;

    ended_add(h->qs, (struct ended_query){.text = e->text, .range_ms = e->range_ms, .took_ns = e->took_ns, .count = 1}, 0);
}

void queries_here(struct queries *qs, struct active *a, const struct queries_ask *ask, const struct clock *clock)
{
    struct here h = {qs, clock_mono_ns(clock)};

    switch (ask->what) {
    case QUERIES_RUNNING:
        active_each(a, ask->tenant, on_running, &h);
        break;
    case QUERIES_ENDED:
        active_each_ended(a, ask->tenant, clock_wall_ms(clock) - ask->age_ms, on_ended, &h);
        queries_fold(qs);
        break;
    case QUERIES_CANCEL:
        qs->canceled = active_cancel(a, ask->tenant, ask->id);
        break;
    }
}

/* --- messages --- */

static bool request_pack(const struct queries_ask *ask, struct buf *out)
{
    Torc__Wire__QueriesRequest m = TORC__WIRE__QUERIES_REQUEST__INIT;

    m.version = QUERIES_VERSION;
    m.tenant = pb_bytes(ask->tenant);
    m.what = ask->what;
    m.id = ask->id;
    m.age_ms = (uint64_t)MAX(ask->age_ms, 0);
    return pb_pack(&m.base, out);
}

static int version_check(uint32_t version, struct err *err)
{
    return version == QUERIES_VERSION ? 0 : err_set(err, RC_VERSION, "queries version %u, this binary reads %d", version, QUERIES_VERSION);
}

static bool response_pack(struct queries *qs, struct buf *out)
{
    Torc__Wire__QueriesResponse m = TORC__WIRE__QUERIES_RESPONSE__INIT;
    struct arena *a = &qs->arena;
    Torc__Wire__RunningQuery *running = arena_array(a, qs->running.n, sizeof *running);
    Torc__Wire__EndedQuery *ended = arena_array(a, qs->ended.n, sizeof *ended);

    m.running = arena_array(a, qs->running.n, sizeof *m.running);
    m.ended = arena_array(a, qs->ended.n, sizeof *m.ended);
    if (!running || !ended || !m.running || !m.ended)
        return false;
    for (size_t i = 0; i < qs->running.n; i++) {
        const struct running_query *q = &qs->running.v[i];

        torc__wire__running_query__init(&running[i]);
        running[i].id = q->id;
        running[i].remote = pb_bytes(q->remote);
        running[i].text = pb_bytes(q->text);
        running[i].start_ms = q->start_ms;
        running[i].end_ms = q->end_ms;
        running[i].step_ms = q->step_ms;
        running[i].took_ms = (uint64_t)q->took_ms;
        m.running[m.n_running++] = &running[i];
    }
    for (size_t i = 0; i < qs->ended.n; i++) {
        const struct ended_query *e = &qs->ended.v[i];

        torc__wire__ended_query__init(&ended[i]);
        ended[i].text = pb_bytes(e->text);
        ended[i].range_ms = e->range_ms;
        ended[i].took_ns = (uint64_t)e->took_ns;
        ended[i].count = e->count;
        m.ended[m.n_ended++] = &ended[i];
    }
    m.version = QUERIES_VERSION;
    m.canceled = qs->canceled;
    return pb_pack(&m.base, out);
}

int queries_answer(struct active *a, const struct clock *clock, struct str request, struct buf *out, struct err *err)
{
    Torc__Wire__QueriesRequest *m;
    struct queries qs;
    int rc;

    queries_init(&qs, "");
    m = torc__wire__queries_request__unpack(pb_arena_allocator(&qs.arena), request.n, (const uint8_t *)request.p);
    rc = m ? version_check(m->version, err) : err_set(err, RC_CORRUPT, "the request for queries does not decode");
    if (rc == 0 && m->what > QUERIES_CANCEL)
        rc = err_set(err, RC_UNSUPPORTED, "a request for queries of kind %u", m->what);
    if (rc == 0) {
        queries_here(&qs, a, &(struct queries_ask){(enum queries_what)m->what, pb_str(m->tenant), m->id, (int64_t)MIN(m->age_ms, (uint64_t)INT64_MAX / 4)}, clock);
        if (!response_pack(&qs, out))
            rc = err_set(err, RC_LIMIT, "the list of queries is larger than %d bytes", RPC_MESSAGE_BYTES_MAX);
    }
    queries_fini(&qs);
    return rc;
}

int queries_take(struct queries *qs, uint16_t querier, struct str response, struct err *err)
{
    Torc__Wire__QueriesResponse *m;
    struct arena a;
    int rc;

    ASSERT(querier < QUERIES_PEERS_MAX);
    arena_init(&a, RPC_MESSAGE_BYTES_MAX * 4UL);
    m = torc__wire__queries_response__unpack(pb_arena_allocator(&a), response.n, (const uint8_t *)response.p);
    rc = m ? version_check(m->version, err) : err_set(err, RC_CORRUPT, "the list of queries does not decode");
    for (size_t i = 0; rc == 0 && i < m->n_running; i++) {
        const Torc__Wire__RunningQuery *q = m->running[i];

        running_add(qs, (struct running_query){q->id, querier, pb_str(q->remote), pb_str(q->text), q->start_ms, q->end_ms, q->step_ms,
                                               (int64_t)MIN(q->took_ms, (uint64_t)INT64_MAX)});
    }
    for (size_t i = 0; rc == 0 && i < m->n_ended; i++) {
        const Torc__Wire__EndedQuery *e = m->ended[i];

        if (e->count == 0 || e->took_ns > INT64_MAX / QUERIES_PEERS_MAX || e->count > INT64_MAX / QUERIES_PEERS_MAX)
            rc = err_set(err, RC_CORRUPT, "a query that ended %llu times and took %llu ns", (unsigned long long)e->count, (unsigned long long)e->took_ns);
        else
            ended_add(qs, (struct ended_query){.text = pb_str(e->text), .range_ms = e->range_ms, .took_ns = (int64_t)e->took_ns, .count = e->count}, querier);
    }
    if (rc == 0 && m->canceled) {
        qs->canceled = true;
        qs->canceled_by = querier;
    }
    if (rc == 0 && qs->full)
        rc = err_set(err, RC_NOMEM, "its list does not fit %d bytes", QUERIES_BYTES_MAX);
    arena_fini(&a);
    return rc;
}

/* --- peers --- */

static void warn(struct queries *qs, const char *name, const char *why)
{
    const char *text = arena_printf(&qs->arena, "querier %s is left out: %.300s", name, why);

    if (text)
        *vec_push(&qs->warnings) = text;
}

/* Those of the ring but this one, as names; the calls are tagged with the index of the name. */
static size_t peers_ask(struct queries *qs, struct mailbox *box, struct rpc_client *rpc, const struct ring *ring, const struct queries_ask *ask)
{
    size_t asked = 0;

    for (size_t i = 0; i < ring_instances_n(ring); i++) {
        const struct ring_instance *in = ring_instance(ring, (uint16_t)i);
        struct buf out;

        if (i == ring_self(ring) || !(in->roles & RING_QUERIER))
            continue;
        if (qs->names.n == QUERIES_PEERS_MAX) {
            warn(qs, in->id, "there are too many queriers to ask");
            break;
        }
        buf_init(&out, RPC_MESSAGE_BYTES_MAX);
        request_pack(ask, &out); /* false: the client says that it does not fit */
        mailbox_send(box, rpc, in->addr, RPC_QUERIES, &out, QUERIES_WAIT_MS, (uint32_t)qs->names.n, 0);
        buf_fini(&out);
        *vec_push(&qs->names) = in->id;
        asked++;
    }
    return asked;
}

void queries_ask_peers(struct queries *qs, struct rpc_client *rpc, const struct ring *ring, const struct queries_ask *ask)
{
    struct mailbox *box;
    size_t left;

    if (!ring)
        return;
    box = mailbox_new();
    left = peers_ask(qs, box, rpc, ring, ask);
    /* Every call ends, with its deadline at the latest. */
    while (left > 0)
        for (struct mail *m = mailbox_take(box, QUERIES_WAIT_MS), *next; m; m = next, left--) {
            struct err err = m->err;
            int rc = m->rc;

            if (rc == RC_OK)
                rc = queries_take(qs, (uint16_t)m->tag, buf_view(&m->payload), &err);
            if (rc < 0)
                warn(qs, qs->names.v[m->tag], err_text(&err));
            next = m->next;
            mail_free(m);
        }
    mailbox_close(box);
    queries_fold(qs);
}
