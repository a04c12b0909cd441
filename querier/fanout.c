#include "querier/fanout.h"

#include "common/wire/pb_arena.h"
#include "common/wire/select.h"
#include "querier/fanout_impl.h"

static int no_memory(struct err *err)
{
    return err_set(err, RC_NOMEM, "select: memory budget is spent");
}

/* --- messages --- */

void select_request_common(const struct selecting *sel, Torc__Wire__SelectRequest *m)
{
    const struct store_select *q = sel->s->q;

    torc__wire__select_request__init(m);
    m->version = SELECT_VERSION;
    m->tenant = pb_bytes(q->tenant);
    m->ring_version = ring_epoch(sel->s->ring);
    m->mint_ms = q->mint_ms;
    m->maxt_ms = q->maxt_ms;
    m->index_gen = sel->s->index_gen;
    m->shard = q->shard;
    m->shard_count = q->shard_count;
    m->enough = q->enough;
    m->trace = sel->s->fan.trace != NULL;
    m->keep = pb_bytes(buf_view(&sel->keep));
}

int select_request_pack(const Torc__Wire__SelectRequest *m, struct buf *out, struct err *err)
{
    return pb_pack(&m->base, out)
               ? 0
               : err_set(err, RC_LIMIT, "the selector does not fit a message of %d bytes",
                         RPC_MESSAGE_BYTES_MAX);
}

/* Protobuf, by hand: the page is most of it and stays where it is (fields as in torc.proto, others
 * skipped). */
enum {
    FIELD_RING_VERSION = 3,
    FIELD_CURSOR = 4,
    FIELD_PAGE = 5,
    FIELD_SUMMARY = 6,
    FIELD_TRACE = 7,
    PB_VARINT = 0,
    PB_FIXED64 = 1,
    PB_BYTES = 2,
    PB_FIXED32 = 5
};

static bool response_field(struct rd *r, struct select_response *m, uint64_t *ring_version)
{
    uint64_t tag = rd_uvarint(r), v = 0;
    struct str bytes = {0};

    switch (tag & 7) {
    case PB_VARINT:
        v = rd_uvarint(r);
        break;
    case PB_BYTES:
        bytes = rd_lstr(r);
        break;
    case PB_FIXED64:
        rd_u64(r);
        break;
    case PB_FIXED32:
        rd_u32(r);
        break;
    default:
        return false;
    }
    if (tag == (FIELD_RING_VERSION << 3 | PB_VARINT))
        *ring_version = v;
    else if (tag == (FIELD_CURSOR << 3 | PB_VARINT))
        m->cursor = v;
    else if (tag == (FIELD_SUMMARY << 3 | PB_VARINT))
        m->summary = v != 0;
    else if (tag == (FIELD_PAGE << 3 | PB_BYTES))
        m->page = bytes;
    else if (tag == (FIELD_TRACE << 3 | PB_BYTES))
        m->trace = bytes;
    return rd_ok(r);
}

int select_response(struct selecting *sel, const struct fan_peer *p, struct buf *payload, bool data,
                    struct select_response *ret, struct err *err)
{
    struct arena *a = sel->set->arena;
    struct select_response m = {0};
    struct rd r = rd_of(buf_view(payload));
    uint64_t ring_version = 0;
    bool good = true;
    int rc;

    while (good && !rd_done(&r))
        good = response_field(&r, &m, &ring_version);
    if (!good)
        return err_set(err, RC_CORRUPT, "the answer of %s does not decode", p->in->id);
    rc = fan_ring_check(&sel->fan, ring_version, err);
    if (rc == 0)
        rc = trace_decode(m.trace, m.trace.n ? p->trace : NULL, err);
    if (rc == 0 && data)
        rc = fetch_count(sel->s->used, sel->s->limits, 0, m.page.n, err);
    if (rc == 0 && m.page.n && !arena_take(a, payload->p, payload->cap))
        rc = no_memory(err);
    else if (rc == 0 && m.page.n)
        buf_take(payload, &(size_t){0});
    if (rc == 0)
        *ret = m;
    return rc;
}

/* wire and tsdb do not know each other; the windows are the same and are rewritten where they
 * stand. */
static struct stored_window *windows_of(struct wire_window *w, size_t n)
{
    struct stored_window *out = (struct stored_window *)w;

    _Static_assert(sizeof(struct wire_window) == sizeof(struct stored_window),
                   "rewritten in place");
    for (size_t i = 0; i < n; i++) {
        struct wire_window from = w[i];

        out[i] = (struct stored_window){from.start_ms, from.mint_ms,     from.maxt_ms, from.digest,
                                        from.count,    from.chunk_count, from.chunks};
    }
    return out;
}

/* Order and bounds, which merging relies on. */
static int windows_check(const struct stored_window *w, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++)
        CORRUPT_UNLESS(w[i].count > 0 && w[i].start_ms <= w[i].mint_ms &&
                           w[i].mint_ms <= w[i].maxt_ms &&
                           (i == 0 || w[i - 1].start_ms < w[i].start_ms),
                       err);
    return 0;
}

int page_next(struct selecting *sel, struct select_reader *r, const struct fan_peer *p,
              struct page_series **ret, struct err *err)
{
    struct page_series *ps;
    struct wire_series ws;
    uint64_t chunks = 0;
    struct u128 sum;
    int rc = select_page_next(r, &ws, err);

    if (rc <= 0)
        return rc;
    ps = arena_alloc(sel->set->arena, sizeof *ps);
    if (!ps)
        return no_memory(err);
    for (size_t i = 0; i < ws.window_count; i++)
        chunks += ws.windows[i].chunk_count;
    sum = select_series_hash(ws.fp, ws.windows, ws.window_count); /* before they are rewritten */
    *ps = (struct page_series){
        .fp = ws.fp,
        .sum = sum,
        .labels = ws.labels,
        .input = {.windows = windows_of(ws.windows, ws.window_count),
                  .window_count = ws.window_count,
                  .votes = 1,
                  .from = p->instance},
    };
    rc = windows_check(ps->input.windows, ps->input.window_count, err);
    if (rc == 0)
        rc = fetch_count(sel->s->used, sel->s->limits, chunks, 0, err);
    *ret = ps;
    return rc < 0 ? rc : 1;
}

/* --- pages of the select --- */

/* Sums by bucket over what gave bytes and over what was asked for a summary of the same. */
struct summaries {
    struct u128 bytes[SELECT_BUCKETS], others[SELECT_BUCKETS];
    uint8_t differ[SELECT_BUCKETS / 8];
};
struct paging {
    struct selecting sel;
    struct page_series **got; /* per peer, newest first: linked when its last page is here */
    struct summaries *sums;   /* NULL: digests are asked for at once */
    bool *summed;             /* per peer: has answered with a summary */
};

static int select_next_request(void *arg, struct fan_peer *p, struct buf *out, struct err *err)
{
    struct paging *pg = arg;
    Torc__Wire__SelectRequest m;

    select_request_common(&pg->sel, &m);
    m.matchers = pb_bytes(buf_view(&pg->sel.matchers));
    m.mode = pg->sel.s->q->mode;
    if (m.mode == STORE_DATA && !p->data) {
        m.mode = STORE_DIGESTS;
        m.summary = pg->sums != NULL;
    }
    m.cursor = p->cursor;
    return select_request_pack(&m, out, err);
}

static int link_all(struct paging *pg, struct fan_peer *p, struct err *err)
{
    struct series_set *set = pg->sel.set;
    bool labels_only = pg->sel.s->q->mode == STORE_LABELS;
    struct series_entry *e;
    int rc = 0;

    for (struct page_series *ps = pg->got[p->instance]; ps && rc == 0; ps = ps->next) {
        if (pg->sums && p->data) {
            struct u128 *sum = &pg->sums->bytes[select_bucket(ps->fp)];

            *sum = u128_add(*sum, ps->sum);
        }
        rc = labels_only ? series_set_entry(set, ps->fp, &ps->labels, &e, err)
                         : series_set_add(set, ps->fp, &ps->labels, &ps->input, err);
    }
    return rc;
}

static int take_page(struct paging *pg, struct fan_peer *p, struct str page, uint64_t *ret_seen,
                     struct err *err)
{
    struct select_reader r;
    struct page_series *ps;
    int rc = select_page_open(page, pg->sel.s->q->keep, pg->sel.set->arena, &r, err);

    *ret_seen = 0;
    while (rc == 0) {
        rc = page_next(&pg->sel, &r, p, &ps, err);
        if (rc <= 0)
            break;
        ps->next = pg->got[p->instance];
        pg->got[p->instance] = ps;
        ++*ret_seen;
        rc = 0;
    }
    return rc;
}

static int select_answer(void *arg, struct fan_peer *p, struct buf *payload, struct err *err)
{
    struct paging *pg = arg;
    struct select_response m;
    uint64_t seen = 0;
    int rc = select_response(&pg->sel, p, payload, p->data, &m, err);

    if (rc < 0)
        return rc;
    if (m.summary) {
        CORRUPT_UNLESS(pg->sums && !p->data && m.cursor == 0, err);
        pg->summed[p->instance] = true;
        return select_summary_read(m.page, pg->sums->others, err);
    }
    CORRUPT_UNLESS(m.cursor == 0 || m.cursor > p->cursor, err);
    p->cursor = m.cursor;
    if (m.cursor)
        rc = fan_ask_next(&pg->sel.fan, p, err);
    if (rc == 0)
        rc = take_page(pg, p, m.page, &seen, err);
    /* A data peer's series are those of the query, but for what only others have: enough to stop
     * early. */
    if (rc == 0 && p->data && pg->sel.s->limits->series_max &&
        (p->at += seen) > pg->sel.s->limits->series_max)
        rc = fetch_count_series(pg->sel.s->used, pg->sel.s->limits, p->at, err);
    if (rc < 0)
        return rc;
    return m.cursor ? FAN_NEXT_ASKED : link_all(pg, p, err);
}

/* --- summaries ---
 * Sums that are equal say that every window that was summed up elsewhere is here with bytes, so it
 * has the votes of both. They can only be equal when the data peers and the summed ones each hold
 * every series once, that is with two owners in two whole zones; else digests come at once. */

static int want_summaries(struct paging *pg, struct err *err)
{
    const struct ring *ring = pg->sel.s->ring;
    struct arena *a = pg->sel.set->arena;

    if (pg->sel.s->q->mode != STORE_DATA || fan_read_need(ring) != 2 ||
        ring_zones_n(ring) != (size_t)ring_rf(ring))
        return 0;
    pg->sums = arena_zalloc(a, sizeof *pg->sums);
    pg->summed = arena_zalloc(a, pg->sel.fan.n * sizeof *pg->summed);
    return pg->sums && pg->summed ? 0 : no_memory(err);
}

static bool bucket_differs(const struct summaries *s, fingerprint fp)
{
    uint32_t b = select_bucket(fp);

    return s->differ[b / 8] >> (b % 8) & 1;
}

static int digest_request(void *arg, struct fan_peer *p, struct buf *out, struct err *err)
{
    struct paging *pg = arg;
    Torc__Wire__SelectRequest m;

    select_request_common(&pg->sel, &m);
    m.matchers = pb_bytes(buf_view(&pg->sel.matchers));
    m.mode = STORE_DIGESTS;
    m.buckets = pb_bytes(str_n(pg->sums->differ, sizeof pg->sums->differ));
    m.cursor = p->cursor;
    return select_request_pack(&m, out, err);
}

/* Digests of the buckets that differ, from who has summed them up. */
static int ask_digests(struct paging *pg, struct err *err)
{
    static const struct fan_ops ops = {RPC_SELECT, digest_request, select_answer};
    struct fan *f = &pg->sel.fan;
    uint16_t *peers = arena_array(pg->sel.set->arena, f->n, sizeof *peers);
    size_t n = 0;

    if (!peers)
        return no_memory(err);
    for (size_t i = 0; i < f->n; i++)
        if (pg->summed[i] && f->peers[i].state == FAN_DONE)
            peers[n++] = (uint16_t)i;
    return fan_ask(f, &ops, pg, peers, n, false, err);
}

static int compare_summaries(struct paging *pg, struct err *err)
{
    struct series_set *set = pg->sel.set;
    struct summaries *s = pg->sums;
    bool any = false;

    for (uint32_t b = 0; b < SELECT_BUCKETS; b++) {
        if (u128_eq(s->bytes[b], s->others[b]))
            continue;
        s->differ[b / 8] |= (uint8_t)(1U << (b % 8));
        any = true;
    }
    for (size_t i = 0; i < set->n; i++)
        if (!bucket_differs(s, set->v[i].fp))
            for (struct series_input *in = set->v[i].inputs; in; in = in->next)
                in->votes = 2;
    return any ? ask_digests(pg, err) : 0;
}

int fanout_select(const struct fanout_select *s, struct series_set *set, struct err *err)
{
    static const struct fan_ops ops = {RPC_SELECT, select_next_request, select_answer};
    struct paging pg = {.sel = {.s = s, .set = set}};
    size_t before = set->n;
    int rc = fan_init(&pg.sel.fan, &s->fan, s->ring, &ops, &pg, set->arena, err);

    if (rc < 0)
        return rc;
    buf_init(&pg.sel.matchers, RPC_MESSAGE_BYTES_MAX / 2);
    matchers_encode(&pg.sel.matchers, s->q->matchers, s->q->matcher_count);
    buf_init(&pg.sel.keep, RPC_MESSAGE_BYTES_MAX / 4);
    if (s->q->keep)
        label_names_encode(&pg.sel.keep, s->q->keep);
    pg.got = arena_zalloc(set->arena, pg.sel.fan.n * sizeof *pg.got);
    if (!buf_ok(&pg.sel.matchers) || !buf_ok(&pg.sel.keep))
        rc = err_set(err, RC_LIMIT, "the selector does not fit a message");
    else if (!pg.got)
        rc = no_memory(err);
    if (rc == 0)
        rc = want_summaries(&pg, err);
    if (rc == 0)
        rc = fan_run(&pg.sel.fan, fan_read_need(s->ring), err);
    if (rc == 0 && pg.sums)
        rc = compare_summaries(&pg, err);
    if (rc == 0)
        rc = fetch_count_series(s->used, s->limits, set->n - before, err);
    if (rc == 0 && s->q->mode == STORE_DATA) {
        struct trace_node *step = trace_begin(s->fan.trace, "compare the replicas' digests");
        uint64_t fetched = s->used->windows_fetched;

        rc = reconcile(&pg.sel, err);
        trace_end(step, ": %llu windows differed or were missing and were fetched", (unsigned long long)(s->used->windows_fetched - fetched));
    }
    fan_fini(&pg.sel.fan);
    buf_fini(&pg.sel.matchers);
    buf_fini(&pg.sel.keep);
    return rc;
}
