#include "querier/exemplars.h"

#include "querier/hiding.h"

#include "common/wire/pb_arena.h"
#include "common/wire/select.h"
#include "common/wire/torc.pb-c.h"

#include <stdlib.h>

struct asking {
    struct source *s;
    struct str tenant;
    struct buf selectors; /* encoded */
    int64_t mint_ms, maxt_ms;
    struct arena *arena;
    struct found_exemplars *found;
    struct hiding hiding;
    struct fan fan;
};

static int no_memory(struct err *err)
{
    return err_set(err, RC_NOMEM, "exemplars: memory budget is spent");
}

static int request(void *arg, struct fan_peer *p UNUSED, struct buf *out, struct err *err)
{
    struct asking *as = arg;
    Torc__Wire__ExemplarsRequest m = TORC__WIRE__EXEMPLARS_REQUEST__INIT;

    m.version = SELECT_VERSION;
    m.tenant = pb_bytes(as->tenant);
    m.selectors = pb_bytes(buf_view(&as->selectors));
    m.mint_ms = as->mint_ms;
    m.maxt_ms = as->maxt_ms;
    return pb_pack(&m.base, out) ? 0 : err_set(err, RC_LIMIT, "the selectors do not fit a message");
}

static int add(struct asking *as, const struct found_exemplar *e, struct err *err)
{
    struct found_exemplars *f = as->found;
    size_t cap = f->cap ? f->cap * 2 : 64;

    if (f->n == f->cap) {
        struct found_exemplar *v = arena_array(as->arena, cap, sizeof *v);

        if (!v)
            return no_memory(err);
        if (f->n)
            memcpy(v, f->v, f->n * sizeof *v);
        f->v = v;
        f->cap = cap;
    }
    f->v[f->n] = *e;
    if (as->s->tenant_count > 1 &&
        source_label_tenant(as->tenant, &e->series, as->arena, &f->v[f->n].series, err) < 0)
        return RC_NOMEM;
    f->n++;
    return 0;
}

static int answer(void *arg, struct fan_peer *p, struct buf *bytes, struct err *err)
{
    struct str payload = buf_view(bytes);
    struct asking *as = arg;
    Torc__Wire__ExemplarsResponse *m;
    struct rd r;
    int rc;

    if (!arena_charge(as->arena, payload.n + 4096))
        return no_memory(err);
    arena_uncharge(as->arena, payload.n + 4096);
    m = torc__wire__exemplars_response__unpack(pb_arena_allocator(as->arena), payload.n,
                                               (const uint8_t *)payload.p);
    if (!m)
        return err_set(err, RC_CORRUPT, "the answer of %s does not decode", p->in->id);
    rc = fan_ring_check(&as->fan, m->ring_version, err);
    r = rd_of(pb_str(m->rows));
    while (rc == 0 && !rd_done(&r)) {
        struct found_exemplar e;

        rc = labels_decode(&r, as->arena, &e.series, err);
        if (rc < 0)
            return rc;
        e.t = rd_svarint(&r);
        e.v = bits_double(rd_u64(&r));
        CORRUPT_UNLESS(rd_ok(&r), err);
        rc = labels_decode(&r, as->arena, &e.labels, err);
        if (rc == 0 && !hiding_has(&as->hiding, &e.series, e.t))
            rc = add(as, &e, err);
    }
    return rc;
}

static int ask_once(void *arg, const struct ring *ring, const struct blocks_view *view,
                    struct err *err)
{
    static const struct fan_ops ops = {RPC_EXEMPLARS, request, answer};
    struct asking *as = arg;
    struct fan_cfg cfg;
    int rc;

    source_fan_cfg(as->s, &cfg);
    rc = hiding_init(&as->hiding, as->s->env, as->tenant, view, (struct time_span){as->mint_ms, as->maxt_ms}, false, as->arena, err);
    if (rc < 0)
        return rc;
    rc = fan_init(&as->fan, &cfg, ring, &ops, as, as->arena, err);
    if (rc == 0) {
        rc = fan_run(&as->fan, fan_read_need(ring), err);
        fan_fini(&as->fan);
    }
    hiding_fini(&as->hiding);
    return rc;
}

/* The selectors that choose this tenant, encoded; returns how many. */
static int encode_selectors(struct asking *as, const struct promql_ast *ast, size_t *ret_n,
                            struct err *err)
{
    struct buf list, one;
    size_t n = 0;
    int rc = 0;

    buf_init(&list, RPC_MESSAGE_BYTES_MAX / 2);
    buf_init(&one, RPC_MESSAGE_BYTES_MAX / 2);
    for (size_t i = 0; i < ast->selector_count && rc == 0; i++) {
        const struct node *s = ast->selectors[i];
        size_t count = s->selector.matcher_count;
        struct matcher *m = arena_array(as->arena, count, sizeof *m);

        if (!m) {
            rc = no_memory(err);
            break;
        }
        memcpy(m, s->selector.matchers, count * sizeof *m);
        if (as->s->tenant_count > 1 &&
            !source_tenant_chosen(as->tenant, s->selector.matchers, count, m, &count))
            continue;
        buf_clear(&one);
        matchers_encode(&one, m, count);
        buf_lstr(&list, buf_view(&one));
        n++;
    }
    buf_uvarint(&as->selectors, n);
    buf_str(&as->selectors, buf_view(&list));
    if (rc == 0 && (!buf_ok(&list) || !buf_ok(&one) || !buf_ok(&as->selectors)))
        rc = err_set(err, RC_LIMIT, "the selectors do not fit a message");
    buf_fini(&list);
    buf_fini(&one);
    *ret_n = n;
    return rc;
}

static int exemplar_cmp(const void *pa, const void *pb)
{
    const struct found_exemplar *a = pa, *b = pb;
    int c = labels_cmp(&a->series, &b->series);

    if (c == 0)
        c = (a->t > b->t) - (a->t < b->t);
    if (c == 0)
        c = labels_cmp(&a->labels, &b->labels);
    return c ? c
             : (double_bits(a->v) > double_bits(b->v)) - (double_bits(a->v) < double_bits(b->v));
}

static void sort_unique(struct found_exemplars *f)
{
    size_t n = 0;

    if (f->n)
        qsort(f->v, f->n, sizeof *f->v, exemplar_cmp);
    for (size_t i = 0; i < f->n; i++)
        if (n == 0 || exemplar_cmp(&f->v[n - 1], &f->v[i]) != 0)
            f->v[n++] = f->v[i];
    f->n = n;
}

int lookup_exemplars(struct source *s, const struct promql_ast *ast, int64_t mint_ms,
                     int64_t maxt_ms, struct arena *a, struct found_exemplars *ret, struct err *err)
{
    struct found_exemplars found = {0};
    struct asking as = {
        .s = s, .mint_ms = mint_ms, .maxt_ms = maxt_ms, .arena = a, .found = &found};
    int rc = 0;

    buf_init(&as.selectors, RPC_MESSAGE_BYTES_MAX);
    for (size_t i = 0; i < s->tenant_count && rc == 0; i++) {
        size_t n;

        as.tenant = s->tenants[i];
        buf_clear(&as.selectors);
        rc = encode_selectors(&as, ast, &n, err);
        if (rc == 0 && n)
            rc = source_try(s, as.tenant, ask_once, &as, err);
    }
    buf_fini(&as.selectors);
    if (rc < 0)
        return rc;
    sort_unique(&found);
    *ret = found;
    return 0;
}
