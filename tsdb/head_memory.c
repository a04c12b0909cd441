/* What a head holds, by tenant and kind. */
#include "common/obs/memory.h"
#include "tsdb/head_priv.h"

#include <stdlib.h>

enum { PAIRS_SLICE = 1024 };

/* By tenant id: one that goes while this is counted may lend its id to another, which then gets its bytes. */
struct tenant_bytes {
    size_t bytes[MEMORY_KINDS];
    uint64_t series, pairs;
};
struct counting {
    VEC(struct tenant_bytes) tenants;
    struct tenant_bytes shared;
};

static struct tenant_bytes *bytes_of(struct counting *c, uint32_t tenant)
{
    while (c->tenants.n <= tenant)
        *vec_push(&c->tenants) = (struct tenant_bytes){0};
    return &c->tenants.v[tenant];
}

/* --- series --- */
static void count_window(size_t *bytes, const struct window *w)
{
    for (const struct blob *b = w->blobs; b; b = b->next)
        bytes[MEMORY_SEALED_CHUNKS] += heap_bytes(b);
}

static void count_extra(size_t *bytes, const struct series_extra *x)
{
    bytes[MEMORY_OPEN_CHUNKS] += heap_bytes(x->hists.v) + heap_bytes(x->hists.bytes.p);
    bytes[MEMORY_OUT_OF_ORDER] += heap_bytes(x) + heap_bytes(x->ooo);
    for (uint32_t i = 0; i < x->ooo_n; i++)
        bytes[MEMORY_OUT_OF_ORDER] += heap_bytes(x->ooo[i].hist);
}

static void count_series(UNUSED struct head *h, const struct head_series *s, void *arg)
{
    struct tenant_bytes *t = bytes_of(arg, s->tenant);

    t->series++;
    t->bytes[MEMORY_SERIES] += sizeof *s;
    t->bytes[MEMORY_LABELS] += heap_bytes(s->pairs);
    t->bytes[MEMORY_OPEN_CHUNKS] += s->open ? chunk_open_memory(s->open) : 0;
    count_window(t->bytes, &s->cur);
    for (const struct window *w = s->cur.next; w; w = w->next) {
        t->bytes[MEMORY_DIGESTS] += heap_bytes(w);
        count_window(t->bytes, w);
    }
    if (s->extra)
        count_extra(t->bytes, s->extra);
}

/* --- labels --- */
static void count_pairs(struct head *h, struct counting *c)
{
    struct postings_memory m;
    bool more = true;

    for (uint32_t at = 0; more;) {
        uint32_t bound;

        lock_slice(h);
        bound = postings_pair_bound(h->postings);
        for (uint32_t end = MIN(bound, at + PAIRS_SLICE); at < end; at++) {
            struct tenant_bytes *t;

            if (!postings_pair_memory(h->postings, at, &m))
                continue;
            t = bytes_of(c, m.tenant);
            t->pairs++;
            t->bytes[MEMORY_POSTINGS] += m.list;
            t->bytes[MEMORY_LABELS] += m.texts;
        }
        more = at < bound;
        unlock_slice(h);
    }
}

/* --- what they share --- */
/* Pages are of one size, so that the places that are free in them are nobody's. */
static size_t vacant_series(const struct head *h)
{
    size_t n = heap_bytes(h->pages.v);

    for (size_t i = 0; i < h->pages.n; i++)
        if (h->pages.v[i])
            n += heap_bytes(h->pages.v[i]) - h->pages.v[i]->live * sizeof(struct head_series);
    return n;
}

static size_t part(size_t bytes, uint64_t n, uint64_t all)
{
    return all ? (size_t)((double)bytes * (double)n / (double)all) : 0;
}

static void share_by_count(const struct head *h, struct counting *c)
{
    struct postings_memory shared = postings_shared_memory(h->postings);
    size_t fingerprints = heap_bytes(h->by_fp.slots), series = heap_bytes(h->by_ordinal) + vacant_series(h);
    uint64_t pairs = 0, all = 0;

    for (size_t i = 0; i < c->tenants.n; i++) {
        pairs += c->tenants.v[i].pairs;
        all += c->tenants.v[i].series;
    }
    for (size_t i = 0; i < c->tenants.n; i++) {
        struct tenant_bytes *t = &c->tenants.v[i];

        t->bytes[MEMORY_SERIES] += part(series, t->series, all);
        t->bytes[MEMORY_FINGERPRINTS] += part(fingerprints, t->series, all);
        t->bytes[MEMORY_POSTINGS] += part(shared.list, t->pairs, pairs);
        t->bytes[MEMORY_LABELS] += part(shared.texts, t->pairs, pairs);
    }
    c->shared.bytes[MEMORY_SERIES] += heap_bytes(h) + heap_bytes(h->sets.v) + (all ? 0 : series);
    c->shared.bytes[MEMORY_FINGERPRINTS] += all ? 0 : fingerprints;
    c->shared.bytes[MEMORY_POSTINGS] += pairs ? 0 : shared.list;
    c->shared.bytes[MEMORY_LABELS] += pairs ? 0 : shared.texts;
    c->shared.bytes[MEMORY_OUT_OF_ORDER] += ooo_indexes_memory(&h->late);
    c->shared.bytes[MEMORY_OPEN_CHUNKS] += heap_bytes(h->encoded.p) + heap_bytes(h->hist_bytes.p);
    c->shared.bytes[MEMORY_TENANTS] += heap_bytes(h->tenants.v) + heap_bytes(h->tenant_tab.slots);
}

static void add_all(struct memory_account *a, struct str tenant, const struct tenant_bytes *t)
{
    for (int k = 0; k < MEMORY_KINDS; k++)
        memory_add(a, tenant, (enum memory_kind)k, t->bytes[k]);
}

static void add_tenant(struct memory_account *a, struct tenant *tn, struct tenant_bytes *t)
{
    t->bytes[MEMORY_POSTINGS] += tn->all.cap ? heap_bytes(tn->all.p) : 0;
    t->bytes[MEMORY_EXEMPLARS] += exemplar_ring_memory(tn->exemplars);
    t->bytes[MEMORY_TENANTS] += heap_bytes(tn) + heap_bytes(tn->name.p) + heap_bytes(tn->active.v);
    add_all(a, tn->name, t);
}

void head_memory(struct head *h, struct memory_account *a)
{
    struct counting c = {0};

    head_walk_locked(h, count_series, &c);
    count_pairs(h, &c);
    lock_slice(h);
    share_by_count(h, &c);
    for (size_t i = 0; i < h->tenants.n; i++)
        if (h->tenants.v[i])
            add_tenant(a, h->tenants.v[i], bytes_of(&c, (uint32_t)i));
    unlock_slice(h);
    add_all(a, (struct str){0}, &c.shared);
    vec_fini(&c.tenants);
}
