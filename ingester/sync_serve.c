/* sync_serve.c - the side of sync that is asked. */
#include "common/wire/pb_arena.h"
#include "common/wire/push.h"
#include "common/wire/select.h"
#include "common/wire/torc.pb-c.h"
#include "ingester/answer.h"
#include "ingester/sync.h"
#include "tsdb/head_sync.h"

#include <stdlib.h>

#define CURSOR_SHARD(c) ((uint32_t)((c) >> 56))
#define CURSOR_INNER(c) ((c) & ((1ULL << 56) - 1))

bool sync_pair_shares(const void *pair, fingerprint fp)
{
    const struct sync_pair *p = pair;
    uint32_t token = fingerprint_token(fp);

    return ring_owner_index(p->ring, token, p->giver) >= 0 &&
           (ring_owner_index(p->ring, token, p->taker) >= 0 || ring_next_index(p->ring, token, p->taker) >= 0);
}

/* Pages by tenant: heads give their series in the order they came, and tenants take turns there. */
struct group {
    struct group *next;
    struct str tenant;
    struct buf page;
    Torc__Wire__SyncGroup message;
};
struct giving {
    struct inquiry *iq;
    struct sync_pair pair;
    struct str buckets;
    struct group *first, *last;
    struct select_writer writer;
    uint32_t groups;
    size_t bytes, bytes_max;
    struct u128 *sums;
};

static void group_end(struct giving *g)
{
    if (g->last)
        select_page_end(&g->writer);
}

static struct group *group_of(struct giving *g, struct str tenant)
{
    struct group *gr = g->last;

    if (gr && str_eq(gr->tenant, tenant))
        return gr;
    group_end(g);
    gr = arena_zalloc(&g->iq->arena, sizeof *gr);
    if (gr)
        gr->tenant = arena_str(&g->iq->arena, tenant);
    if (!gr || !gr->tenant.p) {
        g->last = NULL;
        return NULL;
    }
    if (g->last)
        g->last->next = gr;
    else
        g->first = gr;
    g->last = gr;
    g->groups++;
    buf_init(&gr->page, INQUIRY_ROWS_MAX);
    select_page_begin(&g->writer, &gr->page);
    return gr;
}

static void groups_free(struct giving *g)
{
    group_end(g);
    for (struct group *gr = g->first; gr; gr = gr->next)
        buf_fini(&gr->page);
}

static struct wire_window wire_window(const struct stored_window *w)
{
    return (struct wire_window){w->start_ms, w->mint_ms, w->maxt_ms, w->digest, w->count, w->chunk_count, w->chunks};
}

static int give_series(struct giving *g, struct str tenant, const struct stored_series *s)
{
    struct group *gr = group_of(g, tenant);
    size_t before = gr ? gr->page.n : 0;
    int64_t previous = 0;

    if (!gr)
        return RC_NOMEM;
    select_page_series(&g->writer, s->fp, &s->labels, s->label_numbers, s->window_count);
    for (size_t i = 0; i < s->window_count; i++) {
        struct wire_window out = wire_window(&s->windows[i]);

        select_page_window(&gr->page, previous, &out);
        previous = out.start_ms;
    }
    if (!buf_ok(&gr->page))
        return RC_LIMIT;
    g->bytes += gr->page.n - before;
    return g->bytes >= g->bytes_max;
}

static bool bucket_wanted(const struct giving *g, fingerprint fp)
{
    uint32_t b = select_bucket(fp);

    return g->buckets.n == 0 || (g->buckets.p[b / 8] >> (b % 8) & 1);
}

static bool wanted(const void *arg, fingerprint fp)
{
    const struct giving *g = arg;

    return bucket_wanted(g, fp) && sync_pair_shares(&g->pair, fp);
}

static int give_walked(void *arg, struct str tenant, const struct stored_series *s)
{
    return give_series(arg, tenant, s);
}

static int sum_walked(void *arg, UNUSED struct str tenant, const struct stored_series *s)
{
    struct giving *g = arg;
    struct u128 *sum = &g->sums[select_bucket(s->fp)];

    for (size_t i = 0; i < s->window_count; i++) {
        struct wire_window w = wire_window(&s->windows[i]);

        *sum = u128_add(*sum, select_series_hash(s->fp, &w, 1));
    }
    return 0;
}

/* Functions for a series cannot say why they stopped. */
static int failed(int rc, struct err *err)
{
    if (rc == RC_NOMEM)
        return err_set(err, rc, "sync: memory budget is spent");
    return rc == RC_LIMIT ? err_set(err, rc, "a page of the sync is larger than %d bytes", RPC_MESSAGE_BYTES_MAX) : rc;
}

static int walk(struct giving *g, int64_t below_ms, uint64_t *cursor, struct err *err)
{
    struct head_sync q = {.below_ms = below_ms, .gen = UINT64_MAX, .wanted = wanted, .wanted_arg = g, .stop = &g->iq->stop};
    struct ingester *in = g->iq->in;
    uint32_t shard = CURSOR_SHARD(*cursor);
    uint64_t inner = CURSOR_INNER(*cursor);
    int rc = 0;

    while (rc == 0 && shard < in->shard_count && g->bytes < g->bytes_max) {
        rc = head_sync_walk(shard_head(in->shards[shard]), &q, g->sums ? SIZE_MAX : g->bytes_max, &inner, g->sums ? sum_walked : give_walked, g, err);
        if (rc == 0)
            rc = inquiry_shard_alive(g->iq, shard, err);
        if (rc == 0 && inner == 0)
            shard++;
    }
    if (rc < 0)
        return failed(rc, err);
    *cursor = shard < in->shard_count ? (uint64_t)shard << 56 | inner : 0;
    return 0;
}

/* --- windows with data --- */

struct fetching {
    struct giving *g;
    struct str tenant;
};

static int give_fetched(void *arg, const struct stored_series *s)
{
    struct fetching *f = arg;

    return MIN(give_series(f->g, f->tenant, s), 0);
}

/* One series after the other, so that the answer can stop when it is large enough. */
static int fetch_tenant(struct giving *g, const Torc__Wire__SyncWant *want, uint64_t *answered, struct err *err)
{
    size_t n = want->windows.len / 24;
    struct fetching f = {g, pb_str(want->tenant)};
    int64_t *starts = arena_array(&g->iq->arena, n, sizeof *starts);
    fingerprint *fps = arena_array(&g->iq->arena, n, sizeof *fps);
    int rc = starts && fps ? 0 : failed(RC_NOMEM, err);

    CORRUPT_UNLESS(want->windows.len % 24 == 0 && n <= SYNC_WANTS_MAX, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        fps[i] = push_fp(want->windows.data + i * 24);
        starts[i] = (int64_t)le_get64(want->windows.data + i * 24 + 16);
    }
    for (size_t i = 0, end; i < n && rc == 0 && g->bytes < g->bytes_max; i = end) {
        uint32_t shard = ingester_shard_of(g->iq->in, fps[i]);

        for (end = i + 1; end < n && u128_eq(fps[end], fps[i]); end++)
            ;
        if (sync_pair_shares(&g->pair, fps[i]))
            rc = head_fetch(shard_head(g->iq->in->shards[shard]), f.tenant, fps + i, starts + i, end - i, UINT64_MAX, &g->iq->stop, give_fetched, &f, err);
        if (rc == 0)
            rc = inquiry_shard_alive(g->iq, shard, err);
        *answered += end - i;
    }
    return rc < 0 ? failed(rc, err) : 0;
}

static int fetch(struct giving *g, const Torc__Wire__SyncRequest *m, uint64_t *answered, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < m->n_wants && rc == 0 && g->bytes < g->bytes_max; i++)
        rc = fetch_tenant(g, m->wants[i], answered, err);
    return rc;
}

/* --- metadata: as much as fits --- */

static int give_metadata(struct giving *g)
{
    struct ingester_tenant *t, *tmp;
    int rc = 0;

    pthread_rwlock_rdlock(&g->iq->in->tenants_lock);
    HASH_ITER(hh, g->iq->in->tenants, t, tmp) {
        struct group *gr = g->bytes < g->bytes_max ? arena_zalloc(&g->iq->arena, sizeof *gr) : NULL;

        if (!gr)
            break;
        gr->tenant = arena_str(&g->iq->arena, str_n(t->id, t->id_len));
        buf_init(&gr->page, INQUIRY_ROWS_MAX);
        gr->next = g->first;
        g->first = gr;
        g->groups++;
        metadata_write(t->metadata, (struct str){0}, &gr->page);
        g->bytes += gr->page.n;
        if (!buf_ok(&gr->page) || !gr->tenant.p)
            rc = RC_LIMIT;
    }
    pthread_rwlock_unlock(&g->iq->in->tenants_lock);
    return rc;
}

/* --- the answer --- */

static int pair_of(struct inquiry *iq, const Torc__Wire__SyncRequest *m, struct sync_pair *ret, struct err *err)
{
    struct ownership own;
    char id[RING_ID_MAX + 1];

    ownership_take(iq->in, &own);
    ret->ring = own.ring;
    ret->giver = own.self;
    if (!own.ring)
        return err_set(err, RC_UNAVAILABLE, "this ingester has no ring");
    if (ring_epoch(own.ring) != m->ring_version)
        return err_set(err, RC_MOVED, "at ring version %llu here, not %llu", (unsigned long long)ring_epoch(own.ring), (unsigned long long)m->ring_version);
    CORRUPT_UNLESS(m->instance.len > 0 && m->instance.len <= RING_ID_MAX, err);
    snprintf(id, sizeof id, "%.*s", (int)m->instance.len, (const char *)m->instance.data);
    ret->taker = ring_find(own.ring, id);
    if (ret->taker == RING_NOBODY || ret->giver == RING_NOBODY)
        return err_set(err, RC_MOVED, "%s is not in the ring here", ret->taker == RING_NOBODY ? id : iq->in->instance_id);
    return 0;
}

static int give(struct giving *g, const Torc__Wire__SyncRequest *m, Torc__Wire__SyncResponse *out, struct err *err)
{
    struct buf sums;
    int rc;

    CORRUPT_UNLESS(m->buckets.len == 0 || m->buckets.len == SELECT_BUCKETS / 8, err);
    g->buckets = pb_str(m->buckets);
    out->cursor = m->cursor;
    switch (m->what) {
    case SYNC_SUMS:
        g->sums = arena_zalloc(&g->iq->arena, SELECT_BUCKETS * sizeof *g->sums);
        if (!g->sums)
            return failed(RC_NOMEM, err);
        rc = walk(g, m->below_ms, &out->cursor, err);
        buf_init(&sums, INQUIRY_ROWS_MAX);
        select_summary_write(&sums, g->sums);
        out->sums = pb_bytes(arena_str(&g->iq->arena, buf_view(&sums)));
        buf_fini(&sums);
        return rc;
    case SYNC_DIGESTS:
        g->bytes_max = SYNC_PAGE_BYTES;
        return walk(g, m->below_ms, &out->cursor, err);
    case SYNC_WINDOWS:
        g->bytes_max = SYNC_WINDOWS_BYTES;
        return fetch(g, m, &out->answered, err);
    case SYNC_METADATA:
        g->bytes_max = SYNC_WINDOWS_BYTES;
        return failed(give_metadata(g), err);
    case SYNC_STATE:
        return 0;
    }
    return err_set(err, RC_INVALID, "sync of kind %u is not known", m->what);
}

static int pack(struct giving *g, Torc__Wire__SyncResponse *out, struct err *err)
{
    Torc__Wire__SyncGroup **list = arena_array(&g->iq->arena, g->groups + 1, sizeof *list);
    uint32_t n = 0;

    if (!list)
        return failed(RC_NOMEM, err);
    for (struct group *gr = g->first; gr; gr = gr->next) {
        torc__wire__sync_group__init(&gr->message);
        gr->message.tenant = pb_bytes(gr->tenant);
        gr->message.page = pb_bytes(buf_view(&gr->page));
        list[n++] = &gr->message;
    }
    out->groups = list;
    out->n_groups = n;
    return inquiry_pack(g->iq, &out->base, err);
}

static int answer_sync(struct inquiry *iq, const void *request, struct err *err)
{
    const Torc__Wire__SyncRequest *m = request;
    Torc__Wire__SyncResponse out = TORC__WIRE__SYNC_RESPONSE__INIT;
    struct giving g = {.iq = iq, .bytes_max = SIZE_MAX};
    int rc = inquiry_version(m->version, err);

    if (rc == 0)
        rc = pair_of(iq, m, &g.pair, err);
    if (rc == 0)
        rc = give(&g, m, &out, err);
    if (rc == 0) {
        out.version = SYNC_VERSION;
        out.ring_version = ingester_ring_version(iq->in); /* after: whoever changed meanwhile is seen */
        out.taken_version = atomic_load(&iq->in->taken_version);
        for (uint32_t i = 0; i < iq->in->shard_count; i++)
            out.published_gen = MAX(out.published_gen, head_published_gen(shard_head(iq->in->shards[i])));
        rc = pack(&g, &out, err);
    }
    groups_free(&g);
    ring_unref(g.pair.ring);
    return rc;
}

static void on_sync(void *arg, struct rpc_call *call)
{
    ingester_answer(arg, call, &torc__wire__sync_request__descriptor, answer_sync);
}

void sync_handle(struct ingester *in, struct rpc_server *srv)
{
    rpc_server_handle_slow(srv, RPC_SYNC, on_sync, in);
}
