/* Exemplars: a ring per tenant, newest kept; an equal one that is still there is not stored again.
 */
#include "common/obs/memory.h"
#include "tsdb/head_priv.h"

#include <stdlib.h>

struct exemplar {
    fingerprint fp;
    int64_t t;
    uint64_t vbits;
    char *labels; /* labels_encode form, owned */
    uint32_t n, tag;
};
struct exemplar_ring {
    struct exemplar *v; /* number no stands at no % max */
    size_t max, cap;
    uint64_t added; /* numbers [added - count, added) are there */
    size_t count;
    struct idtab tab; /* -> place in v */
};

void exemplar_ring_free(struct exemplar_ring *r)
{
    if (!r)
        return;
    for (uint64_t no = r->added - r->count; no < r->added; no++)
        free(r->v[no % r->max].labels);
    free(r->v);
    idtab_fini(&r->tab);
    free(r);
}

size_t exemplar_ring_memory(const struct exemplar_ring *r)
{
    size_t n = r ? heap_bytes(r) + heap_bytes(r->v) + heap_bytes(r->tab.slots) : 0;

    for (uint64_t no = r ? r->added - r->count : 0; r && no < r->added; no++)
        n += heap_bytes(r->v[no % r->max].labels);
    return n;
}

uint64_t exemplar_ring_added(const struct exemplar_ring *r)
{
    return r ? r->added : 0;
}

uint64_t exemplar_ring_rows(const struct exemplar_ring *r, uint64_t from, uint64_t below, size_t bytes_max, struct buf *out, size_t *ret_n)
{
    uint64_t no = r ? MAX(from, r->added - r->count) : below;
    size_t n = 0;

    for (; no < below && out->n < bytes_max; no++, n++) {
        const struct exemplar *e = &r->v[no % r->max];

        buf_u64(out, e->fp.hi); /* as wal_exemplar_add() */
        buf_u64(out, e->fp.lo);
        buf_u64(out, (uint64_t)e->t);
        buf_u64(out, e->vbits);
        buf_add(out, e->labels, e->n);
    }
    *ret_n = n;
    return MAX(no, from);
}

static struct exemplar_ring *ring_new(size_t max)
{
    struct exemplar_ring *r = xcalloc(1, sizeof *r);

    r->max = max;
    return r;
}

static void evict_oldest(struct exemplar_ring *r)
{
    uint32_t at = (uint32_t)((r->added - r->count) % r->max);

    idtab_remove(&r->tab, r->v[at].tag, at);
    free(r->v[at].labels);
    r->v[at] = (struct exemplar){0};
    r->count--;
}

/* Takes e.labels. */
static void ring_put(struct exemplar_ring *r, struct exemplar e)
{
    uint32_t at = (uint32_t)(r->added % r->max);

    if (r->count == r->max)
        evict_oldest(r);
    if (at >= r->cap) {
        r->cap = MIN(MAX(r->cap * 2, (size_t)at + 16), r->max);
        r->v = xrealloc(r->v, r->cap * sizeof *r->v);
    }
    r->v[at] = e;
    r->added++;
    r->count++;
    idtab_add(&r->tab, e.tag, at);
}

/* The limit was changed: the newest move to a ring of the new size. */
static struct exemplar_ring *ring_resize(struct exemplar_ring *old, size_t max)
{
    struct exemplar_ring *r = ring_new(max);

    r->added = old->added - old->count;
    r->added += (max - r->added % max) % max; /* the array starts at 0 */
    for (uint64_t no = old->added - old->count; no < old->added; no++)
        ring_put(r, old->v[no % old->max]);
    old->count = 0;
    exemplar_ring_free(old);
    return r;
}

static bool exemplar_there(const struct exemplar_ring *r, const struct exemplar *e,
                           struct str labels)
{
    uint32_t pos;

    for (uint32_t at = idtab_first(&r->tab, e->tag, &pos); at != ID_NONE;
         at = idtab_next(&r->tab, e->tag, &pos)) {
        const struct exemplar *x = &r->v[at];

        if (u128_eq(x->fp, e->fp) && x->t == e->t && x->vbits == e->vbits &&
            str_eq(str_n(x->labels, x->n), labels))
            return true;
    }
    return false;
}

static struct exemplar_ring *ring_of(struct head *h, struct str tenant, size_t max)
{
    uint32_t id = tenant_find(h, tenant);
    struct tenant *tn = id == ID_NONE ? NULL : h->tenants.v[id];

    if (!tn)
        return NULL;
    if (max == 0) {
        exemplar_ring_free(tn->exemplars);
        tn->exemplars = NULL;
    } else if (!tn->exemplars) {
        tn->exemplars = ring_new(max);
    } else if (tn->exemplars->max != max) {
        tn->exemplars = ring_resize(tn->exemplars, max);
    }
    return tn->exemplars;
}

void head_exemplar_add(struct head *h, struct str tenant, fingerprint fp, int64_t t, double v,
                       const struct labels *ls, size_t tenant_max)
{
    struct exemplar_ring *r = ring_of(h, tenant, MIN(tenant_max, (size_t)HEAD_EXEMPLARS_MAX));
    struct exemplar e = {.fp = fp, .t = t, .vbits = double_bits(v)};
    struct buf labels;

    ASSERT(h->locked);
    if (!r)
        return;
    buf_init(&labels, HEAD_SYMBOL_BYTES_MAX);
    labels_encode(&labels, ls);
    e.tag = (uint32_t)mix64(hash128_secret(labels.p, labels.n).lo ^ fp.lo ^ (uint64_t)t ^ e.vbits);
    if (buf_ok(&labels) && !exemplar_there(r, &e, buf_view(&labels))) {
        e.n = (uint32_t)labels.n;
        e.labels = xmemdup(labels.p, labels.n);
        ring_put(r, e);
    }
    buf_fini(&labels);
}

/* --- reading --- */
enum { RING_SLICE = 512 };
struct exemplar_copy {
    struct head_exemplar e;
    struct labels series, labels;
};
struct reading {
    struct head *h;
    const struct store_select *q;
    struct match match;
    uint64_t no;
    bool more;
    struct arena a;
    struct exemplar_copy *v;
    size_t n;
};

/* 1: copied to r->v; 0: not wanted. */
static int read_one(struct reading *r, const struct exemplar *x, struct err *err)
{
    struct head *h = r->h;
    struct head_series *s;
    struct exemplar_copy *out = &r->v[r->n];
    struct rd rd = rd_of(arena_str(&r->a, str_n(x->labels, x->n)));
    uint32_t ordinal;
    int rc;

    if (x->t < r->q->mint_ms || x->t > r->q->maxt_ms || !shard_has(r->q, x->fp))
        return 0;
    s = series_find(h, r->q->tenant, x->fp);
    ordinal = s ? ordinal_of_seq(h, s->seq) : ID_NONE;
    if (!s || match_next(&r->match, ordinal) != ordinal)
        return 0;
    if (!rd.p || !series_labels(h, s, &r->a, &out->series))
        return err_set(err, RC_NOMEM, "exemplars: memory budget is spent");
    rc = labels_decode(&rd, &r->a, &out->labels, err);
    if (rc < 0)
        return rc;
    out->e = (struct head_exemplar){x->fp, &out->series, &out->labels, x->t, bits_double(x->vbits)};
    return 1;
}

static int read_slice(struct reading *r, struct err *err)
{
    struct head *h = r->h;
    uint32_t id = tenant_find(h, r->q->tenant);
    const struct exemplar_ring *ring = id == ID_NONE ? NULL : h->tenants.v[id]->exemplars;
    int rc = 0;

    r->n = 0;
    r->more = false;
    if (!ring)
        return 0;
    if (h->epoch != r->match.epoch)
        return err_set(err, RC_UNAVAILABLE, "exemplars: series are being removed, try again");
    r->no = MAX(r->no, ring->added - ring->count);
    for (size_t i = 0; i < RING_SLICE && r->no < ring->added && rc >= 0; i++, r->no++) {
        rc = read_one(r, &ring->v[r->no % ring->max], err);
        r->n += rc > 0;
    }
    r->more = r->no < ring->added;
    return MIN(rc, 0);
}

int head_exemplar_select(struct head *h, const struct store_select *q,
                         int (*fn)(void *arg, const struct head_exemplar *e), void *arg,
                         struct err *err)
{
    struct reading r = {.h = h, .q = q, .more = true, .v = xmalloc(RING_SLICE * sizeof *r.v)};
    int rc = head_match(h, q, &r.match, err);

    arena_init(&r.a, SCRATCH_BYTES_MAX);
    while (rc >= 0 && r.more && (rc = store_stopped(q->stop, err)) == 0) {
        arena_reset(&r.a);
        lock_slice(h);
        rc = read_slice(&r, err);
        unlock_slice(h);
        for (size_t i = 0; i < r.n && rc >= 0; i++)
            rc = fn(arg, &r.v[i].e);
    }
    arena_fini(&r.a);
    free(r.match.bits);
    free(r.v);
    return MIN(rc, 0);
}
