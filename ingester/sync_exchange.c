/* sync_exchange.c - one comparison with one other ingester, and taking over what it has and this one lacks. */
#include "common/wire/pb_arena.h"
#include "common/wire/push.h"
#include "common/wire/select.h"
#include "common/wire/torc.pb-c.h"
#include "ingester/ingester_impl.h"
#include "ingester/sync.h"
#include "tsdb/head_sync.h"

#include <stdlib.h>

enum { EXCHANGE_ARENA_MAX = 256 << 20, WANT_BYTES = 24 };

/* Windows to ask for, of one tenant. */
struct wants {
    struct wants *next;
    struct str tenant; /* arena of the page */
    struct buf windows;
};
struct exchange {
    const struct exchange_deps *d;
    struct sync_result *sum;
    struct u128 *mine, *theirs;
    uint8_t differ[SELECT_BUCKETS / 8];
    struct arena page;  /* the answer with digests, and what is made of it */
    struct arena reply; /* any other answer */
    struct wants *first, *last;
    size_t wants_n;
};

static int no_memory(struct err *err)
{
    return err_set(err, RC_NOMEM, "sync: memory budget is spent");
}

/* --- messages --- */

static int ask(struct exchange *x, Torc__Wire__SyncRequest *m, struct arena *a, Torc__Wire__SyncResponse **ret, struct err *err)
{
    const struct exchange_deps *d = x->d;
    struct buf message, reply;
    int rc;

    m->version = SYNC_VERSION;
    m->ring_version = ring_epoch(d->pair.ring);
    m->instance = pb_bytes(str_of(d->in->instance_id));
    m->below_ms = d->below_ms;
    buf_init(&message, RPC_MESSAGE_BYTES_MAX);
    buf_init(&reply, RPC_MESSAGE_BYTES_MAX);
    arena_reset(a);
    rc = pb_pack(&m->base, &message) ? 0 : err_set(err, RC_LIMIT, "the question does not fit a message");
    if (rc == 0)
        rc = rpc_call_sync(d->rpc, d->address, RPC_SYNC, buf_view(&message), SYNC_CALL_MS, &reply, err);
    if (rc == 0) {
        struct str bytes = arena_str(a, buf_view(&reply));

        *ret = bytes.p || bytes.n == 0 ? torc__wire__sync_response__unpack(pb_arena_allocator(a), bytes.n, (const uint8_t *)bytes.p) : NULL;
        if (!*ret)
            rc = err_set(err, RC_CORRUPT, "the answer of %s does not decode", d->address);
    }
    x->sum->bytes += reply.n;
    if (rc == 0 && ((*ret)->ring_version != m->ring_version || ingester_ring_version(d->in) != m->ring_version))
        rc = err_set(err, RC_MOVED, "the ring has changed");
    if (rc == 0)
        x->sum->gen = MAX(x->sum->gen, (*ret)->published_gen);
    if (rc == 0 && d->pace && !d->pace(d->arg, reply.n, x->sum))
        rc = err_set(err, RC_CANCELED, "the ingester stops");
    buf_fini(&message);
    buf_fini(&reply);
    return rc;
}

int sync_ask_taken(struct ingester *in, struct rpc_client *rpc, const char *address, uint64_t *ret_version, struct err *err)
{
    Torc__Wire__SyncRequest m = TORC__WIRE__SYNC_REQUEST__INIT;
    Torc__Wire__SyncResponse *out;
    struct exchange_deps d = {.in = in, .rpc = rpc, .address = address};
    struct sync_result sum = {0};
    struct exchange x = {.d = &d, .sum = &sum};
    struct ownership own;
    int rc;

    ownership_take(in, &own);
    if (!own.ring)
        return err_set(err, RC_UNAVAILABLE, "there is no ring");
    d.pair.ring = own.ring;
    m.what = SYNC_STATE;
    arena_init(&x.reply, 1 << 20);
    rc = ask(&x, &m, &x.reply, &out, err);
    if (rc == 0)
        *ret_version = out->taken_version;
    arena_fini(&x.reply);
    ownership_drop(&own);
    return rc;
}

/* --- 1: sums --- */

static int sum_mine(void *arg, UNUSED struct str tenant, const struct stored_series *s)
{
    struct exchange *x = arg;
    struct u128 *sum = &x->mine[select_bucket(s->fp)];

    for (size_t i = 0; i < s->window_count; i++) {
        const struct stored_window *w = &s->windows[i];
        struct wire_window wire = {w->start_ms, w->mint_ms, w->maxt_ms, w->digest, w->count, 0, NULL};

        *sum = u128_add(*sum, select_series_hash(s->fp, &wire, 1));
    }
    return 0;
}

static int sums(struct exchange *x, struct err *err)
{
    const struct exchange_deps *d = x->d;
    struct head_sync q = {.below_ms = d->below_ms, .gen = UINT64_MAX, .wanted = sync_pair_shares, .wanted_arg = &d->pair};
    Torc__Wire__SyncRequest m = TORC__WIRE__SYNC_REQUEST__INIT;
    Torc__Wire__SyncResponse *out;
    int rc;

    m.what = SYNC_SUMS;
    rc = ask(x, &m, &x->reply, &out, err);
    if (rc == 0)
        rc = select_summary_read(pb_str(out->sums), x->theirs, err);
    for (uint32_t i = 0; i < d->in->shard_count && rc == 0; i++) {
        uint64_t cursor = 0;

        rc = head_sync_walk(shard_head(d->in->shards[i]), &q, SIZE_MAX, &cursor, sum_mine, x, err);
    }
    for (uint32_t b = 0; b < SELECT_BUCKETS && rc == 0; b++) {
        if (u128_eq(x->mine[b], x->theirs[b]))
            continue;
        x->differ[b / 8] |= (uint8_t)(1U << (b % 8));
        x->sum->buckets_differed++;
    }
    return rc;
}

/* --- 2: digests --- */

/* Series of one group of a page, and what this head has of each. */
struct comparing {
    struct exchange *x;
    struct str tenant;
    struct wire_series *v;
    size_t n, at; /* the next that this head may name */
    uint8_t *have; /* windows of v[at] that are here */
    struct err *err;
};

static uint64_t seen_key(fingerprint fp, const struct wire_window *w)
{
    uint64_t key = hash64(&w->digest, sizeof w->digest, fp.lo ^ (uint64_t)w->start_ms);

    return key ? key : 1;
}

static int want(struct exchange *x, struct str tenant, fingerprint fp, const struct wire_window *w, struct err *err)
{
    struct wants *l = x->last;

    if (!l || !str_eq(l->tenant, tenant)) {
        l = arena_zalloc(&x->page, sizeof *l);
        if (!l)
            return no_memory(err);
        l->tenant = tenant;
        buf_init(&l->windows, (size_t)SYNC_WANTS_MAX * WANT_BYTES * 4);
        if (x->last)
            x->last->next = l;
        else
            x->first = l;
        x->last = l;
    }
    buf_u64(&l->windows, fp.hi);
    buf_u64(&l->windows, fp.lo);
    buf_u64(&l->windows, (uint64_t)w->start_ms);
    x->wants_n++;
    return buf_ok(&l->windows) ? 0 : no_memory(err);
}

/* here: what this head has of it; NULL: nothing. */
static int compare_series(struct comparing *c, const struct wire_series *theirs, const struct stored_series *here, struct err *err)
{
    const uint64_t *seen = c->x->d->seen;
    size_t k = 0;
    bool any = false;
    int rc = 0;

    for (size_t i = 0; i < theirs->window_count && rc == 0; i++) {
        const struct wire_window *w = &theirs->windows[i];
        uint64_t key = seen_key(theirs->fp, w);

        while (here && k < here->window_count && here->windows[k].start_ms < w->start_ms)
            k++;
        if (here && k < here->window_count && here->windows[k].start_ms == w->start_ms && u128_eq(here->windows[k].digest, w->digest))
            continue;
        if (seen && seen[key % SYNC_SEEN] == key)
            continue;
        any = true;
        c->x->sum->windows_differed++;
        rc = want(c->x, c->tenant, theirs->fp, w, err);
    }
    c->x->sum->series_differed += any;
    return rc;
}

/* Those before s are not here at all. */
static int compare_here(void *arg, UNUSED struct str tenant, const struct stored_series *s)
{
    struct comparing *c = arg;
    int rc = 0;

    while (rc == 0 && c->at < c->n && !u128_eq(c->v[c->at].fp, s->fp))
        rc = compare_series(c, &c->v[c->at++], NULL, c->err);
    if (rc == 0 && c->at < c->n)
        rc = compare_series(c, &c->v[c->at++], s, c->err);
    return rc;
}

/* c->v are of one shard. */
static int compare_shard(struct comparing *c, uint32_t shard, struct err *err)
{
    const struct exchange_deps *d = c->x->d;
    struct head_sync q = {.below_ms = d->below_ms}; /* published windows too: what is here or was is not wanted */
    fingerprint *fps = arena_array(&c->x->page, c->n, sizeof *fps);
    int rc;

    if (!fps)
        return no_memory(err);
    for (size_t i = 0; i < c->n; i++)
        fps[i] = c->v[i].fp;
    c->at = 0;
    c->err = err;
    rc = head_sync_find(shard_head(d->in->shards[shard]), &q, c->tenant, fps, c->n, compare_here, c, err);
    while (rc == 0 && c->at < c->n)
        rc = compare_series(c, &c->v[c->at++], NULL, err);
    return rc;
}

static int compare_group(struct exchange *x, const Torc__Wire__SyncGroup *g, struct err *err)
{
    VEC(struct wire_series) series[SHARDS_MAX] = {0};
    struct select_reader r;
    struct wire_series ws;
    int rc = select_page_open(pb_str(g->page), NULL, &x->page, &r, err);

    while (rc == 0) {
        rc = select_page_next(&r, &ws, err);
        if (rc <= 0)
            break;
        rc = 0;
        *vec_push(&series[ingester_shard_of(x->d->in, ws.fp)]) = ws;
    }
    for (uint32_t i = 0; i < x->d->in->shard_count; i++) {
        struct comparing c = {.x = x, .tenant = pb_str(g->tenant), .v = series[i].v, .n = series[i].n};

        if (rc == 0 && c.n > 0)
            rc = compare_shard(&c, i, err);
        vec_fini(&series[i]);
    }
    return rc;
}

/* --- 3: windows --- */

/* Remembers windows that brought nothing, so that they are not asked for again: what is here only grows. */
static void note_seen(struct exchange *x, const Torc__Wire__SyncResponse *m)
{
    for (size_t i = 0; i < m->n_groups; i++) {
        struct select_reader r;
        struct wire_series ws;
        struct arena a;

        arena_init(&a, EXCHANGE_ARENA_MAX);
        if (select_page_open(pb_str(m->groups[i]->page), NULL, &a, &r, NULL) == 0)
            while (select_page_next(&r, &ws, NULL) > 0)
                for (size_t k = 0; k < ws.window_count; k++) {
                    uint64_t key = seen_key(ws.fp, &ws.windows[k]);

                    x->d->seen[key % SYNC_SEEN] = key;
                }
        arena_fini(&a);
    }
}

/* The next wants as a request; how many of the first list stand in it is cut by the caller. */
static size_t request_windows(struct exchange *x, Torc__Wire__SyncRequest *m, Torc__Wire__SyncWant *v, Torc__Wire__SyncWant **list, size_t max)
{
    size_t n = 0, windows = 0;

    for (struct wants *l = x->first; l && n < max && windows < SYNC_WANTS_MAX; l = l->next) {
        size_t take = MIN(l->windows.n / WANT_BYTES, SYNC_WANTS_MAX - windows);

        torc__wire__sync_want__init(&v[n]);
        v[n].tenant = pb_bytes(l->tenant);
        v[n].windows = pb_bytes(str_n(l->windows.p, take * WANT_BYTES));
        list[n] = &v[n];
        n++;
        windows += take;
    }
    m->what = SYNC_WINDOWS;
    m->wants = list;
    m->n_wants = n;
    return windows;
}

static void wants_done(struct exchange *x, size_t n)
{
    while (n > 0 && x->first) {
        struct wants *l = x->first;
        size_t have = l->windows.n / WANT_BYTES, take = MIN(have, n);

        n -= take;
        x->wants_n -= take;
        memmove(l->windows.p, l->windows.p + take * WANT_BYTES, l->windows.n - take * WANT_BYTES);
        l->windows.n -= take * WANT_BYTES;
        if (l->windows.n)
            continue;
        x->first = l->next;
        buf_fini(&l->windows);
    }
    if (!x->first)
        x->last = NULL;
}

static int fetch_wanted(struct exchange *x, struct err *err)
{
    enum { TENANTS_AT_ONCE = 256 };
    Torc__Wire__SyncWant v[TENANTS_AT_ONCE], *list[TENANTS_AT_ONCE];
    int rc = 0;

    while (x->wants_n > 0 && rc == 0) {
        Torc__Wire__SyncRequest m = TORC__WIRE__SYNC_REQUEST__INIT;
        uint64_t before = x->sum->samples;
        Torc__Wire__SyncResponse *out;
        size_t asked = request_windows(x, &m, v, list, TENANTS_AT_ONCE);

        rc = ask(x, &m, &x->reply, &out, err);
        if (rc < 0)
            return rc;
        CORRUPT_UNLESS(out->answered > 0 && out->answered <= asked, err);
        rc = sync_take(x->d->in, out, x->sum, err);
        if (rc == 0 && x->d->seen && x->sum->samples == before)
            note_seen(x, out);
        wants_done(x, out->answered);
    }
    return rc;
}

static int pages(struct exchange *x, struct err *err)
{
    uint64_t cursor = 0;
    int rc = 0;

    do {
        Torc__Wire__SyncRequest m = TORC__WIRE__SYNC_REQUEST__INIT;
        Torc__Wire__SyncResponse *out;

        m.what = SYNC_DIGESTS;
        m.buckets = pb_bytes(str_n(x->differ, sizeof x->differ));
        m.cursor = cursor;
        rc = ask(x, &m, &x->page, &out, err);
        if (rc < 0)
            return rc;
        CORRUPT_UNLESS(out->cursor == 0 || out->cursor > cursor, err);
        cursor = out->cursor;
        for (size_t i = 0; i < out->n_groups && rc == 0; i++)
            rc = compare_group(x, out->groups[i], err);
        if (rc == 0)
            rc = fetch_wanted(x, err);
    } while (rc == 0 && cursor);
    return rc;
}

/* --- metadata --- */

static int metadata(struct exchange *x, struct err *err)
{
    Torc__Wire__SyncRequest m = TORC__WIRE__SYNC_REQUEST__INIT;
    Torc__Wire__SyncResponse *out;
    int rc;

    m.what = SYNC_METADATA;
    rc = ask(x, &m, &x->reply, &out, err);
    return rc == 0 ? sync_take_metadata(x->d->in, out, err) : rc;
}

int sync_exchange(const struct exchange_deps *d, struct sync_result *ret, struct err *err)
{
    struct exchange x = {.d = d, .sum = ret};
    int rc;

    *ret = (struct sync_result){0};
    arena_init(&x.page, EXCHANGE_ARENA_MAX);
    arena_init(&x.reply, EXCHANGE_ARENA_MAX);
    x.mine = xcalloc(SELECT_BUCKETS, sizeof *x.mine);
    x.theirs = xcalloc(SELECT_BUCKETS, sizeof *x.theirs);
    rc = sums(&x, err);
    if (rc == 0 && ret->buckets_differed)
        rc = pages(&x, err);
    if (rc == 0 && d->metadata)
        rc = metadata(&x, err);
    wants_done(&x, SIZE_MAX);
    free(x.mine);
    free(x.theirs);
    arena_fini(&x.page);
    arena_fini(&x.reply);
    return rc;
}
