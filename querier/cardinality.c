#include "querier/cardinality.h"

#include "common/wire/pb_arena.h"
#include "common/wire/select.h"
#include "common/wire/torc.pb-c.h"
#include "tsdb/block.h"

#include <stdlib.h>

static int no_memory(struct err *err)
{
    return err_set(err, RC_NOMEM, "cardinality: memory budget is spent");
}

struct counting {
    struct source *s;
    struct str tenant;
    struct buf matchers;
    enum cardinality_what what;
    struct arena *a;
    struct cardinality *c;
    double replicas; /* that were asked: 1 when every series counted once */
    struct fan fan;
};

static int request(void *arg, UNUSED struct fan_peer *p, struct buf *out, struct err *err)
{
    struct counting *cn = arg;
    Torc__Wire__CardinalityRequest m = TORC__WIRE__CARDINALITY_REQUEST__INIT;

    m.version = SELECT_VERSION;
    m.tenant = pb_bytes(cn->tenant);
    m.ring_version = ring_epoch(cn->fan.ring);
    m.matchers = pb_bytes(buf_view(&cn->matchers));
    m.extent = cn->what >= CARDINALITY_EXTENT;
    m.pairs = cn->what >= CARDINALITY_PAIRS;
    return pb_pack(&m.base, out) ? 0 : err_set(err, RC_LIMIT, "the selector does not fit a message");
}

static int pair_add(struct counting *cn, struct str name, struct str value, uint64_t series, struct err *err)
{
    struct cardinality *c = cn->c;

    if (c->pair_count == c->pair_cap) {
        size_t cap = c->pair_cap ? c->pair_cap * 2 : 1024;
        struct pair_series *v = arena_array(cn->a, cap, sizeof *v);

        if (!v)
            return no_memory(err);
        if (c->pair_count)
            memcpy(v, c->pairs, c->pair_count * sizeof *v);
        c->pairs = v;
        c->pair_cap = cap;
    }
    c->pairs[c->pair_count] = (struct pair_series){arena_str(cn->a, name), arena_str(cn->a, value), series};
    if (!c->pairs[c->pair_count].name.p || !c->pairs[c->pair_count].value.p)
        return no_memory(err);
    c->pair_count++;
    return 0;
}

static int pairs_take(struct counting *cn, struct str rows, struct err *err)
{
    struct rd r = rd_of(rows);
    int rc = 0;

    while (rc == 0 && !rd_done(&r)) {
        struct str name = rd_lstr(&r), value = rd_lstr(&r);
        uint64_t series = rd_uvarint(&r);

        CORRUPT_UNLESS(rd_ok(&r) && name.n > 0 && value.n > 0, err);
        if (cn->c->pair_count >= CARDINALITY_PAIRS_MAX) {
            cn->c->truncated = true;
            return 0;
        }
        rc = pair_add(cn, name, value, series, err);
    }
    return rc;
}

static int answer(void *arg, struct fan_peer *p, struct buf *bytes, struct err *err)
{
    struct counting *cn = arg;
    struct cardinality *c = cn->c;
    struct str payload = buf_view(bytes);
    Torc__Wire__CardinalityResponse *m;
    struct arena scratch;
    int rc;

    arena_init(&scratch, payload.n * 2 + (64 << 10));
    m = torc__wire__cardinality_response__unpack(pb_arena_allocator(&scratch), payload.n, (const uint8_t *)payload.p);
    rc = m ? fan_ring_check(&cn->fan, m->ring_version, err) : err_set(err, RC_CORRUPT, "the answer of %s does not decode", p->in->id);
    if (rc == 0)
        rc = pairs_take(cn, pb_str(m->pair_rows), err);
    if (rc == 0) {
        c->matched += m->matched;
        c->series += m->series;
        c->samples += m->samples;
        c->chunks += m->chunks;
        c->chunk_bytes += m->chunk_bytes;
        c->mint_ms = MIN(c->mint_ms, m->mint_ms);
        c->maxt_ms = MAX(c->maxt_ms, m->maxt_ms);
        c->truncated |= m->truncated;
        cn->replicas += p->in->ownership;
    }
    arena_fini(&scratch);
    return rc;
}

static int by_pair(const void *a, const void *b)
{
    const struct pair_series *x = a, *y = b;
    int c = str_cmp(x->name, y->name);

    return c ? c : str_cmp(x->value, y->value);
}

/* A pair comes from every shard and ingester that has it. */
static void pairs_fold(struct cardinality *c)
{
    size_t n = 0;

    if (c->pair_count == 0)
        return;
    qsort(c->pairs, c->pair_count, sizeof *c->pairs, by_pair);
    for (size_t i = 1; i < c->pair_count; i++) {
        if (by_pair(&c->pairs[n], &c->pairs[i]) == 0)
            c->pairs[n].series += c->pairs[i].series;
        else
            c->pairs[++n] = c->pairs[i];
    }
    c->pair_count = n + 1;
}

static void scale(uint64_t *v, double by)
{
    *v = (uint64_t)((double)*v / by + 0.5);
}

/* Whole zones were asked: then the shares add up to one, but for rounding. */
static void unreplicate(struct counting *cn)
{
    struct cardinality *c = cn->c;
    double by = cn->replicas;

    if (by < 1.001)
        return;
    scale(&c->matched, by);
    scale(&c->series, by);
    scale(&c->samples, by);
    scale(&c->chunks, by);
    scale(&c->chunk_bytes, by);
    for (size_t i = 0; i < c->pair_count; i++)
        scale(&c->pairs[i].series, by);
}

static int count_once(void *arg, const struct ring *ring, UNUSED const struct blocks_view *view, struct err *err)
{
    static const struct fan_ops ops = {RPC_CARDINALITY, request, answer};
    struct counting *cn = arg;
    struct fan_cfg cfg;
    int rc;

    source_fan_cfg(cn->s, &cfg);
    *cn->c = (struct cardinality){.mint_ms = INT64_MAX, .maxt_ms = INT64_MIN};
    cn->replicas = 0;
    rc = fan_init(&cn->fan, &cfg, ring, &ops, cn, cn->a, err);
    if (rc < 0)
        return rc;
    rc = fan_run(&cn->fan, 1, err);
    fan_fini(&cn->fan);
    return rc;
}

int cardinality_of(struct source *s, struct str tenant, const struct matcher *m, size_t n, enum cardinality_what what, struct arena *a,
                   struct cardinality *ret, struct err *err)
{
    struct counting cn = {.s = s, .tenant = tenant, .what = what, .a = a, .c = ret};
    int rc;

    buf_init(&cn.matchers, RPC_MESSAGE_BYTES_MAX / 2);
    matchers_encode(&cn.matchers, m, n);
    rc = buf_ok(&cn.matchers) ? source_try(s, tenant, count_once, &cn, err) : err_set(err, RC_LIMIT, "the selector does not fit a message");
    buf_fini(&cn.matchers);
    if (rc == 0) {
        pairs_fold(ret);
        unreplicate(&cn);
    }
    return rc;
}

/* --- estimates --- */

static double share_of(int64_t mint, int64_t maxt, int64_t from, int64_t to)
{
    double length = (double)(maxt - mint) + 1, inside = (double)(MIN(maxt, to) - MAX(mint, from)) + 1;

    return inside <= 0 ? 0 : MIN(inside / length, 1.0);
}

static void add_head(const struct cardinality *c, int64_t mint_ms, int64_t maxt_ms, struct estimate *e)
{
    double per_series = c->series ? (double)c->samples / (double)c->series : 0;
    double bytes = c->samples ? (double)c->chunk_bytes / (double)c->samples : 0;
    double share = c->maxt_ms >= c->mint_ms ? share_of(c->mint_ms, c->maxt_ms, mint_ms, maxt_ms) : 0;

    e->series = MAX(e->series, (double)c->matched);
    e->samples += (double)c->matched * per_series * share;
    e->bytes += (double)c->matched * per_series * share * bytes;
}

/* Blocks of replicas that are not merged yet hold the same: they count for their part. */
static int add_blocks(struct source *s, const struct store_select *q, int rf, struct arena *a, struct estimate *e, struct err *err)
{
    struct blocks_view *v;
    int rc = blocks_view(s->env->blocks, q->tenant, BLOCKS_VIEW_AGE_MS, &v, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < v->n && rc == 0; i++) {
        const struct view_block *b = &v->v[i];
        double share = share_of(b->mint_ms, b->maxt_ms, q->mint_ms, q->maxt_ms), part;
        struct block_reader *r;
        uint64_t matched = 0;

        if (share == 0 || b->series == 0)
            continue;
        rc = blocks_reader(s->env->blocks, &b->id, &r, err);
        if (rc == 0)
            rc = block_count(r, q, &matched, a, err);
        if (rc == 0)
            block_unref(r);
        part = (double)matched / (double)b->series * share / (b->level ? 1 : rf);
        e->series = MAX(e->series, (double)matched);
        e->samples += part * (double)b->samples;
        e->bytes += part * (double)b->bytes;
        e->blocks++;
    }
    blocks_view_unref(v);
    return rc == RC_NOT_FOUND ? 0 : rc; /* one that has just gone is no matter for an estimate */
}

int estimate_of(struct source *s, const struct matcher *m, size_t n, int64_t mint_ms, int64_t maxt_ms, struct arena *a, struct estimate *ret, struct err *err)
{
    struct ring *ring = s->env->ring(s->env->ring_arg);
    int rf = ring ? ring_rf(ring) : 1, rc = 0;

    ring_unref(ring);
    *ret = (struct estimate){0};
    for (size_t t = 0; t < s->tenant_count && rc == 0; t++) {
        struct store_select q = {.tenant = s->tenants[t], .matchers = m, .matcher_count = n, .mint_ms = mint_ms, .maxt_ms = maxt_ms, .mode = STORE_LABELS};
        struct matcher *mine = arena_array(a, n, sizeof *mine);
        struct estimate e = {0};
        struct cardinality c;

        if (!mine)
            return no_memory(err);
        if (s->tenant_count > 1) {
            if (!source_tenant_chosen(s->tenants[t], m, n, mine, &q.matcher_count))
                continue;
            q.matchers = mine;
        }
        rc = cardinality_of(s, s->tenants[t], q.matchers, q.matcher_count, CARDINALITY_EXTENT, a, &c, err);
        if (rc == 0)
            add_head(&c, mint_ms, maxt_ms, &e);
        if (rc == 0)
            rc = add_blocks(s, &q, MAX(rf, 1), a, &e, err);
        ret->series += e.series;
        ret->samples += e.samples;
        ret->bytes += e.bytes;
        ret->blocks += e.blocks;
    }
    return rc;
}
