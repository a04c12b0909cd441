/* query.c - selects over RPC: pages of series from the heads; metadata, counts, flush on request.
 * Answered as answer.h says. */
#include "common/obs/trace.h"
#include "common/wire/pb_arena.h"
#include "common/wire/select.h"
#include "common/wire/torc.pb-c.h"
#include "ingester/answer.h"

#include <stdlib.h>

enum { FETCH_MAX = 1 << 20 };
#define CURSOR_SHARD(c) ((uint32_t)((c) >> 56))
#define CURSOR_INNER(c) ((c) & ((1ULL << 56) - 1))

/* The page of a SelectResponse is written where it will be sent from: field 5 with a length of fixed width in front, the other fields behind it. */
enum { PAGE_TAG = 5 << 3 | 2, PAGE_LENGTH_BYTES = 4, PAGE_AT = 1 + PAGE_LENGTH_BYTES };
_Static_assert(RPC_MESSAGE_BYTES_MAX < 1 << (7 * PAGE_LENGTH_BYTES), "its length fits");

static void page_begin(struct buf *out)
{
    buf_clear(out);
    buf_u8(out, PAGE_TAG);
    buf_add(out, (char[PAGE_LENGTH_BYTES]){0}, PAGE_LENGTH_BYTES);
}

static void page_end(struct buf *out)
{
    size_t n = out->n - PAGE_AT;

    for (int i = 0; i < PAGE_LENGTH_BYTES && buf_ok(out); i++)
        out->p[1 + i] = (char)((n >> (7 * i) & 0x7f) | (i + 1 < PAGE_LENGTH_BYTES ? 0x80 : 0));
}

/* --- select --- */

/* What an answer is made of: a page of series, or sums of their hashes. */
struct answer {
    struct buf *page; /* of the inquiry */
    struct select_writer writer;
    struct str buckets;  /* of the request */
    struct u128 *sums;   /* NULL: a page */
    uint64_t left;       /* series until there are enough */
    uint64_t series;     /* so far */
    struct trace *trace; /* when asked for */
};

static bool bucket_wanted(const struct answer *an, fingerprint fp)
{
    uint32_t b = select_bucket(fp);

    return an->buckets.n == 0 || (an->buckets.p[b / 8] >> (b % 8) & 1);
}

static struct wire_window wire_window(const struct stored_window *w)
{
    return (struct wire_window){w->start_ms, w->mint_ms, w->maxt_ms, w->digest, w->count, w->chunk_count, w->chunks};
}

static int emit_series(void *arg, const struct stored_series *s)
{
    struct answer *an = arg;
    int64_t previous = 0;

    if (!bucket_wanted(an, s->fp))
        return 0;
    select_page_series(&an->writer, s->fp, &s->labels, s->label_numbers, s->window_count);
    for (size_t i = 0; i < s->window_count; i++) {
        struct wire_window out = wire_window(&s->windows[i]);

        select_page_window(an->page, previous, &out);
        previous = out.start_ms;
    }
    if (!buf_ok(an->page))
        return RC_LIMIT;
    an->series++;
    return --an->left == 0;
}

static int sum_series(void *arg, const struct stored_series *s)
{
    struct answer *an = arg;
    struct u128 *sum = &an->sums[select_bucket(s->fp)];

    an->series++;
    for (size_t i = 0; i < s->window_count; i++) {
        struct wire_window w = wire_window(&s->windows[i]);

        *sum = u128_add(*sum, select_series_hash(s->fp, &w, 1));
    }
    return 0;
}

/* emit_series cannot say why it stopped. */
static int page_error(const struct answer *an, int rc, struct err *err)
{
    return buf_ok(an->page) ? rc : err_set(err, RC_LIMIT, "a page of the select is larger than %d bytes", RPC_MESSAGE_BYTES_MAX);
}

static int select_shards(struct inquiry *iq, const Torc__Wire__SelectRequest *m, const struct store_select *q, struct answer *an,
                         uint64_t *cursor, struct err *err)
{
    struct ingester *in = iq->in;
    size_t bytes_max = an->sums ? SIZE_MAX : m->bytes_max ? MIN(m->bytes_max, (uint64_t)SELECT_PAGE_BYTES_MAX) : SELECT_PAGE_BYTES;
    uint32_t shard = CURSOR_SHARD(*cursor);
    uint64_t inner = CURSOR_INNER(*cursor);
    int rc = 0;

    while (rc >= 0 && shard < in->shard_count && an->page->n < bytes_max && an->left > 0) {
        struct trace_node *step = trace_begin(trace_root(an->trace), "head shard %u", shard);
        uint64_t series = an->series;

        select_page_renumber(&an->writer);
        rc = head_select(shard_head(in->shards[shard]), q, m->index_gen, bytes_max - an->page->n, &inner, an->sums ? sum_series : emit_series, an, err);
        ASSERT(inner < 1ULL << 56);
        trace_end(step, ": %llu series", (unsigned long long)(an->series - series));
        if (rc >= 0 && inquiry_shard_alive(iq, shard, err) < 0)
            rc = RC_UNAVAILABLE;
        if (rc >= 0 && inner == 0)
            shard++;
    }
    if (rc < 0)
        return page_error(an, rc, err);
    *cursor = shard < in->shard_count && an->left > 0 ? ((uint64_t)shard << 56) | inner : 0;
    return 0;
}

/* want: (fp, window start) pairs, divided by shard. */
static int fetch_shards(struct inquiry *iq, const Torc__Wire__SelectRequest *m, struct answer *an, struct err *err)
{
    struct ingester *in = iq->in;
    size_t n = m->want.len / 24;
    fingerprint *fps = arena_array(&iq->arena, n, sizeof *fps);
    int64_t *starts = arena_array(&iq->arena, n, sizeof *starts);
    int rc = 0;

    CORRUPT_UNLESS(m->want.len % 24 == 0 && n <= FETCH_MAX, err);
    if (!fps || !starts)
        return err_set(err, RC_NOMEM, "select: memory budget is spent");
    for (uint32_t s = 0; s < in->shard_count && rc >= 0; s++) {
        size_t mine = 0;

        for (size_t i = 0; i < n; i++) {
            const uint8_t *p = m->want.data + i * 24;
            fingerprint fp = push_fp(p);

            if (ingester_shard_of(in, fp) != s)
                continue;
            fps[mine] = fp;
            starts[mine++] = (int64_t)le_get64(p + 16);
        }
        if (mine)
            rc = head_fetch(shard_head(in->shards[s]), pb_str(m->tenant), fps, starts, mine, m->index_gen, &iq->stop, emit_series, an, err);
        if (mine && rc >= 0 && inquiry_shard_alive(iq, s, err) < 0)
            rc = RC_UNAVAILABLE;
    }
    return rc < 0 ? page_error(an, rc, err) : 0;
}

static int select_run(struct inquiry *iq, const Torc__Wire__SelectRequest *m, struct answer *an, uint64_t *cursor, struct err *err)
{
    struct store_select q = {
        .tenant = pb_str(m->tenant),
        .mint_ms = m->mint_ms,
        .maxt_ms = m->maxt_ms,
        .shard = m->shard,
        .shard_count = m->shard_count,
        .stop = &iq->stop,
    };
    struct label_names keep;
    int rc = inquiry_version(m->version, err);

    if (rc == 0 && m->mode > STORE_DATA)
        rc = err_set(err, RC_INVALID, "select mode %u is not known", m->mode);
    if (rc == 0 && m->keep.len) {
        rc = label_names_decode(pb_str(m->keep), &iq->arena, &keep, err);
        q.keep = &keep;
    }
    if (rc < 0)
        return rc;
    CORRUPT_UNLESS(m->buckets.len == 0 || m->buckets.len == SELECT_BUCKETS / 8, err);
    an->buckets = pb_str(m->buckets);
    if (m->enough && m->mode == STORE_LABELS)
        an->left = m->enough;
    q.mode = (enum store_mode)m->mode;
    if (m->want.len)
        return fetch_shards(iq, m, an, err);
    if (m->summary) {
        q.mode = STORE_DIGESTS;
        q.no_labels = true;
        an->sums = arena_zalloc(&iq->arena, SELECT_BUCKETS * sizeof *an->sums);
        if (!an->sums)
            return err_set(err, RC_NOMEM, "select: memory budget is spent");
    }
    rc = inquiry_matchers(iq, pb_str(m->matchers), &q, err);
    return rc < 0 ? rc : select_shards(iq, m, &q, an, cursor, err);
}

/* Empty when not asked for, or when there is more than fits. */
static struct str trace_bytes(struct answer *an, struct buf *out)
{
    if (!an->trace)
        return (struct str){0};
    trace_end(trace_root(an->trace), ": %s of %llu series, %zu bytes", an->sums ? "sums" : "a page", (unsigned long long)an->series, an->page->n);
    trace_encode(out, an->trace);
    return buf_ok(out) ? buf_view(out) : (struct str){0};
}

static int select_finish(struct inquiry *iq, struct answer *an, Torc__Wire__SelectResponse *out, struct err *err)
{
    struct buf trace;
    int rc;

    if (an->sums) {
        page_begin(an->page);
        select_summary_write(an->page, an->sums);
    }
    buf_init(&trace, RPC_MESSAGE_BYTES_MAX / 4);
    out->version = SELECT_VERSION;
    out->head_id = iq->in->head_id;
    out->ring_version = ingester_ring_version(iq->in);
    out->summary = an->sums != NULL;
    out->trace = pb_bytes(trace_bytes(an, &trace));
    page_end(an->page);
    rc = inquiry_pack(iq, &out->base, err);
    buf_fini(&trace);
    return rc < 0 ? page_error(an, rc, err) : 0;
}

static int answer_select(struct inquiry *iq, const void *request, struct err *err)
{
    const Torc__Wire__SelectRequest *m = request;
    Torc__Wire__SelectResponse out = TORC__WIRE__SELECT_RESPONSE__INIT;
    struct answer an = {.page = &iq->out, .left = UINT64_MAX};
    int rc;

    page_begin(an.page);
    select_page_begin(&an.writer, an.page);
    out.cursor = m->cursor;
    if (m->trace)
        an.trace = trace_new(iq->in->instance_id);
    rc = select_run(iq, m, &an, &out.cursor, err);
    if (rc == 0)
        rc = select_finish(iq, &an, &out, err);
    select_page_end(&an.writer);
    trace_free(an.trace);
    return rc;
}

void ingester_on_select(void *arg, struct rpc_call *call)
{
    ingester_answer(arg, call, &torc__wire__select_request__descriptor, answer_select);
}

/* --- metadata, counts, flush --- */

static int answer_metadata(struct inquiry *iq, const void *request, struct err *err)
{
    const Torc__Wire__MetadataRequest *m = request;
    Torc__Wire__MetadataResponse out = TORC__WIRE__METADATA_RESPONSE__INIT;
    struct ingester_tenant *t;
    int rc = inquiry_version(m->version, err);

    if (rc == 0)
        rc = ingester_tenant_get(iq->in, pb_str(m->tenant), &t, err);
    if (rc < 0)
        return rc;
    out.version = SELECT_VERSION;
    out.count = metadata_write(t->metadata, pb_str(m->metric), &iq->rows);
    out.rows = pb_bytes(buf_view(&iq->rows));
    return inquiry_pack(iq, &out.base, err);
}

void ingester_on_metadata(void *arg, struct rpc_call *call)
{
    ingester_answer(arg, call, &torc__wire__metadata_request__descriptor, answer_metadata);
}

static void stats_write(struct inquiry *iq, struct ingester_tenant *t, struct buf *rates)
{
    uint64_t series = 0, active = 0, samples = 0;

    for (uint32_t i = 0; i < iq->in->shard_count; i++) {
        struct head_tenant_stats st;

        if (head_tenant_stats(shard_head(iq->in->shards[i]), str_n(t->id, t->id_len), clock_wall_ms(iq->in->deps.clock), &st)) {
            series += st.series;
            active += st.active_series;
            samples += st.samples;
        }
    }
    series -= MIN(series, atomic_load(&t->strangers));
    active -= MIN(active, atomic_load(&t->strangers_active));
    buf_lstr(&iq->rows, str_n(t->id, t->id_len));
    buf_u64(&iq->rows, series);
    buf_u64(&iq->rows, active);
    buf_u64(&iq->rows, samples);
    buf_u64(&iq->rows, atomic_load(&t->ingested));
    buf_u64(rates, atomic_load(&t->rate_bits));
}

static int answer_user_stats(struct inquiry *iq, const void *request, struct err *err)
{
    const Torc__Wire__UserStatsRequest *m = request;
    Torc__Wire__UserStatsResponse out = TORC__WIRE__USER_STATS_RESPONSE__INIT;
    struct ingester_tenant *t, *tmp;
    struct str only = pb_str(m->tenant);
    struct buf rates;
    int rc = inquiry_version(m->version, err);

    if (rc < 0)
        return rc;
    buf_init(&rates, INGESTER_TENANTS_MAX * sizeof(uint64_t));
    pthread_rwlock_rdlock(&iq->in->tenants_lock);
    HASH_ITER(hh, iq->in->tenants, t, tmp)
        if (only.n == 0 || str_eq(only, str_n(t->id, t->id_len))) {
            stats_write(iq, t, &rates);
            out.count++;
        }
    pthread_rwlock_unlock(&iq->in->tenants_lock);
    out.version = SELECT_VERSION;
    out.rows = pb_bytes(buf_view(&iq->rows));
    out.rates = pb_bytes(buf_view(&rates));
    rc = inquiry_pack(iq, &out.base, err);
    buf_fini(&rates);
    return rc;
}

void ingester_on_user_stats(void *arg, struct rpc_call *call)
{
    ingester_answer(arg, call, &torc__wire__user_stats_request__descriptor, answer_user_stats);
}

static int answer_flush(struct inquiry *iq, UNUSED const void *request, struct err *err)
{
    Torc__Wire__FlushResponse out = TORC__WIRE__FLUSH_RESPONSE__INIT;
    int rc = ingester_flush_all(iq->in, &out.index_gen, &out.blocks, err);

    if (rc < 0)
        return rc;
    out.version = SELECT_VERSION;
    return inquiry_pack(iq, &out.base, err);
}

void ingester_on_flush(void *arg, struct rpc_call *call)
{
    ingester_answer(arg, call, &torc__wire__flush_request__descriptor, answer_flush);
}
