#include "tsdb/head_priv.h"

#include <sched.h>
#include <stdlib.h>

struct head *head_new(void)
{
    struct head *h = xcalloc(1, sizeof *h);

    mutex_init(&h->lock);
    h->syms = symbols_new();
    h->postings = postings_new(h->syms);
    h->next_seq = 1;
    h->max_ms = INT64_MIN;
    random_bytes(&h->fp_secret, sizeof h->fp_secret);
    arena_init(&h->scratch, SCRATCH_BYTES_MAX);
    buf_init(&h->encoded, CHUNK_BYTES_MAX);
    buf_init(&h->hist_bytes, CHUNK_BYTES_MAX);
    return h;
}

static void tenant_free(struct tenant *tn)
{
    if (!tn)
        return;
    free((char *)tn->name.p);
    posting_list_fini(&tn->all);
    vec_fini(&tn->active);
    exemplar_ring_free(tn->exemplars);
    free(tn);
}

void head_free(struct head *h)
{
    if (!h)
        return;
    for (uint32_t i = 0; i < h->ordinals; i++)
        series_fini(series_at(h, h->by_ordinal[i]));
    for (size_t i = 0; i < h->pages.n; i++)
        free(h->pages.v[i]);
    for (size_t i = 0; i < h->tenants.n; i++)
        tenant_free(h->tenants.v[i]);
    vec_fini(&h->pages);
    vec_fini(&h->tenants);
    vec_fini(&h->sets);
    free(h->by_ordinal);
    idtab_fini(&h->by_fp);
    idtab_fini(&h->tenant_tab);
    postings_free(h->postings);
    symbols_free(h->syms);
    ooo_indexes_fini(&h->late);
    arena_fini(&h->scratch);
    buf_fini(&h->encoded);
    buf_fini(&h->hist_bytes);
    mutex_fini(&h->lock);
    free(h);
}

/* --- lock --- */
void head_lock(struct head *h)
{
    atomic_fetch_add(&h->owner_waits, 1);
    mutex_lock(&h->lock);
    atomic_fetch_sub(&h->owner_waits, 1);
    h->locked = true;
}

void head_unlock(struct head *h)
{
    ASSERT(h->locked);
    h->locked = false;
    mutex_unlock(&h->lock);
}

/* A mutex is not fair: readers that go from slice to slice would keep the appending thread out. */
void lock_slice(struct head *h)
{
    enum { YIELDS_MAX = 1000 };

    for (int i = 0;
         i < YIELDS_MAX && atomic_load_explicit(&h->owner_waits, memory_order_relaxed) > 0; i++)
        sched_yield();
    mutex_lock(&h->lock);
}

/* --- tenants --- */
static uint32_t tenant_tag(struct str name)
{
    return (uint32_t)hash128_secret(name.p, name.n).lo;
}

uint32_t tenant_find(const struct head *h, struct str name)
{
    uint32_t tag = tenant_tag(name), pos, id;

    for (id = idtab_first(&h->tenant_tab, tag, &pos); id != ID_NONE;
         id = idtab_next(&h->tenant_tab, tag, &pos))
        if (str_eq(h->tenants.v[id]->name, name))
            break;
    return id;
}

uint32_t tenant_make(struct head *h, struct str name)
{
    uint32_t id = tenant_find(h, name);
    struct tenant *tn;

    if (id != ID_NONE)
        return id;
    for (id = 0; id < h->tenants.n && h->tenants.v[id]; id++)
        ;
    if (id == h->tenants.n)
        (void)vec_push(&h->tenants);
    tn = xcalloc(1, sizeof *tn);
    tn->name = (struct str){str_dupz(name), name.n};
    h->tenants.v[id] = tn;
    idtab_add(&h->tenant_tab, tenant_tag(name), id);
    return id;
}

void tenant_trim(struct head *h, uint32_t id)
{
    struct tenant *tn = h->tenants.v[id];

    if (!tn || tn->series > 0)
        return;
    idtab_remove(&h->tenant_tab, tenant_tag(tn->name), id);
    tenant_free(tn);
    h->tenants.v[id] = NULL;
}

/* From the end: a series moves from one of the newest buckets to the newest. */
static struct active_bucket *bucket_of(struct tenant *tn, int64_t ms, bool make)
{
    int64_t start = floor_to(ms, ACTIVE_BUCKET_MS);
    size_t i = tn->active.n;

    while (i > 0 && tn->active.v[i - 1].start_ms > start)
        i--;
    if (i > 0 && tn->active.v[i - 1].start_ms == start)
        return &tn->active.v[i - 1];
    ASSERT(make);
    (void)vec_push(&tn->active);
    memmove(&tn->active.v[i + 1], &tn->active.v[i],
            (tn->active.n - 1 - i) * sizeof tn->active.v[0]);
    tn->active.v[i] = (struct active_bucket){.start_ms = start};
    return &tn->active.v[i];
}

void active_move(struct tenant *tn, int64_t from_ms, int64_t to_ms)
{
    struct active_bucket *b;

    if (from_ms != INT64_MIN) {
        b = bucket_of(tn, from_ms, false);
        if (--b->series == 0) {
            tn->active.n--;
            memmove(b, b + 1, (size_t)(&tn->active.v[tn->active.n] - b) * sizeof *b);
        }
    }
    if (to_ms != INT64_MIN)
        bucket_of(tn, to_ms, true)->series++;
}

/* --- series --- */
static uint32_t fp_tag(const struct head *h, fingerprint fp)
{
    return (uint32_t)(mix64(fp.lo ^ h->fp_secret) >> 32);
}

static bool series_is(const struct head *h, const struct head_series *s, struct str tenant,
                      fingerprint fp)
{
    return LIKELY(u128_eq(s->fp, fp) && str_eq(h->tenants.v[s->tenant]->name, tenant));
}

struct head_series *series_find(const struct head *h, struct str tenant, fingerprint fp)
{
    uint32_t tag = fp_tag(h, fp), pos;

    for (uint32_t id = idtab_first(&h->by_fp, tag, &pos); id != ID_NONE;
         id = idtab_next(&h->by_fp, tag, &pos)) {
        struct head_series *s = series_at(h, id);

        if (series_is(h, s, tenant, fp))
            return s;
    }
    return NULL;
}

struct head_series *head_find(struct head *h, struct str tenant, fingerprint fp)
{
    ASSERT(h->locked);
    return series_find(h, tenant, fp);
}

enum { CHUNK_OPEN_LAST = 40 }; /* in its last cache line, if it has two */

/* The first with this tag is nearly always the right one, so its memory can be asked for before it
 * is compared. */
static struct head_series *series_guess(const struct head *h, fingerprint fp)
{
    uint32_t pos, id = idtab_first(&h->by_fp, fp_tag(h, fp), &pos);

    return id == ID_NONE ? NULL : series_at(h, id);
}

static void find_verify(const struct head *h, struct str tenant, fingerprint fp, struct head_series **s)
{
    if (*s && !series_is(h, *s, tenant, fp))
        *s = series_find(h, tenant, fp);
    if (*s) {
        __builtin_prefetch((*s)->open);
        __builtin_prefetch((char *)(*s)->open + CHUNK_OPEN_LAST);
    }
}

/* A pipeline: each step asks for the memory that the step of the same series FIND_AHEAD series later needs, so that the cache misses of all steps overlap. */
void head_find_many(struct head *h, struct str tenant, const fingerprint *fps, size_t n,
                    struct head_series **ret)
{
    enum { FIND_AHEAD = 8 };

    ASSERT(h->locked);
    for (size_t i = 0; i < n + 3 * FIND_AHEAD; i++) {
        size_t guess = i - FIND_AHEAD, verify = guess - FIND_AHEAD, bytes = verify - FIND_AHEAD; /* those before the first are past n */

        if (i < n)
            idtab_prefetch(&h->by_fp, fp_tag(h, fps[i]));
        if (guess < n) {
            ret[guess] = series_guess(h, fps[guess]);
            __builtin_prefetch(ret[guess]);
            __builtin_prefetch((char *)ret[guess] + 64);
            __builtin_prefetch((char *)(ret[guess] + 1) - 1);
        }
        if (verify < n)
            find_verify(h, tenant, fps[verify], &ret[verify]);
        if (bytes < n && ret[bytes] && ret[bytes]->open)
            chunk_open_prefetch(ret[bytes]->open);
    }
}

bool head_labels_equal(const struct head *h, const struct head_series *s, const struct labels *ls)
{
    if (s->label_count != ls->n)
        return false;
    for (size_t i = 0; i < ls->n; i++)
        if (!str_eq(postings_pair_name(h->postings, s->pairs[i]), ls->v[i].name) ||
            !str_eq(postings_pair_value(h->postings, s->pairs[i]), ls->v[i].value))
            return false;
    return true;
}

static struct series_page *page_new(void)
{
    struct series_page *p = xcalloc(1, sizeof *p);

    for (int i = 0; i < SERIES_PAGE; i++)
        p->free_slots[i] = (uint16_t)(SERIES_PAGE - 1 - i);
    return p;
}

static bool page_has_room(const struct head *h, uint32_t page)
{
    return page < h->pages.n && h->pages.v[page] && h->pages.v[page]->live < SERIES_PAGE;
}

static uint32_t series_id_new(struct head *h)
{
    uint32_t page = h->open_page;
    struct series_page *p;

    if (!page_has_room(h, page))
        for (page = 0; page < h->pages.n && !page_has_room(h, page); page++)
            ;
    if (page == h->pages.n) {
        for (page = 0; page < h->pages.n && h->pages.v[page]; page++)
            ;
        if (page == h->pages.n)
            (void)vec_push(&h->pages);
        h->pages.v[page] = page_new();
    }
    h->open_page = page;
    p = h->pages.v[page];
    p->live++;
    return page * SERIES_PAGE + p->free_slots[SERIES_PAGE - p->live];
}

static void ordinal_add(struct head *h, uint32_t id)
{
    if (h->ordinals == h->ordinal_cap) {
        h->ordinal_cap = h->ordinal_cap ? h->ordinal_cap + h->ordinal_cap / 4 : ORDINALS_MIN;
        h->by_ordinal = xrealloc(h->by_ordinal, h->ordinal_cap * sizeof *h->by_ordinal);
    }
    h->by_ordinal[h->ordinals++] = id;
}

static int create_check(const struct head *h, const struct labels *ls, struct err *err)
{
    if (ls->n > LABELS_MAX)
        return err_set(err, RC_LIMIT, "series of %zu labels: more than %d", ls->n, LABELS_MAX);
    for (size_t i = 0; i < ls->n; i++)
        if (MAX(ls->v[i].name.n, ls->v[i].value.n) > HEAD_SYMBOL_BYTES_MAX)
            return err_set(err, RC_LIMIT, "label longer than %d bytes", HEAD_SYMBOL_BYTES_MAX);
    if (h->ordinals >= HEAD_SERIES_MAX)
        return err_set(err, RC_LIMIT, "head has %u series: no room for more", h->ordinals);
    return 0;
}

struct head_series *series_add(struct head *h, uint32_t tenant, fingerprint fp, uint16_t label_count)
{
    uint32_t id = series_id_new(h);
    struct head_series *s = series_at(h, id);
    struct tenant *tn = h->tenants.v[tenant];

    *s = (struct head_series){.fp = fp, .newest = INT64_MIN, .tenant = tenant, .seq = h->next_seq++ & SEQ_MASK};
    s->label_count = label_count;
    s->pairs = xmalloc(label_count * sizeof *s->pairs);
    tn->series++;
    posting_list_add(&tn->all, h->ordinals);
    ordinal_add(h, id);
    idtab_add(&h->by_fp, fp_tag(h, fp), id);
    return s;
}

/* Series that come together share most labels with the one before, which is in the cache still. */
static uint32_t pair_for(struct head *h, const struct head_series *before, uint32_t tenant, size_t i, const struct label *l)
{
    if (before && before->tenant == tenant && i < before->label_count && postings_pair_is(h->postings, before->pairs[i], l->name, l->value))
        return before->pairs[i];
    return postings_pair_make(h->postings, tenant, l->name, l->value);
}

int head_create(struct head *h, struct str tenant, fingerprint fp, const struct labels *ls,
                struct head_series **ret, struct err *err)
{
    struct head_series *s = head_find(h, tenant, fp);
    const struct head_series *before;
    int rc;

    if (s && !head_labels_equal(h, s, ls))
        return err_set(err, RC_INVALID, "fingerprint %016lx%016lx belongs to other labels",
                       (unsigned long)fp.hi, (unsigned long)fp.lo);
    if (s) {
        *ret = s;
        return 0;
    }
    rc = create_check(h, ls, err);
    if (rc < 0)
        return rc;
    before = h->ordinals ? series_at(h, h->by_ordinal[h->ordinals - 1]) : NULL;
    s = series_add(h, tenant_make(h, tenant), fp, (uint16_t)ls->n);
    for (size_t i = 0; i < ls->n; i++) {
        s->pairs[i] = pair_for(h, before, s->tenant, i, &ls->v[i]);
        postings_add(h->postings, s->pairs[i], h->ordinals - 1);
    }
    *ret = s;
    return 0;
}

void series_remove(struct head *h, uint32_t id)
{
    struct head_series *s = series_at(h, id);
    struct series_page *p = h->pages.v[id / SERIES_PAGE];
    struct tenant *tn = h->tenants.v[s->tenant];

    idtab_remove(&h->by_fp, fp_tag(h, s->fp), id);
    tn->series--;
    active_move(tn, s->newest, INT64_MIN);
    series_fini(s);
    *s = (struct head_series){0};
    p->free_slots[SERIES_PAGE - p->live] = (uint16_t)(id % SERIES_PAGE);
    if (--p->live == 0) {
        free(p);
        h->pages.v[id / SERIES_PAGE] = NULL;
    }
}

uint32_t ordinal_of_seq(const struct head *h, uint64_t seq)
{
    uint32_t lo = 0, hi = h->ordinals;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (series_at(h, h->by_ordinal[mid])->seq < seq)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

bool series_labels(const struct head *h, const struct head_series *s, struct arena *a,
                   struct labels *ret)
{
    struct labels ls = {arena_array(a, s->label_count, sizeof *ls.v), s->label_count};

    if (!ls.v)
        return false;
    for (size_t i = 0; i < ls.n; i++) {
        ls.v[i].name = arena_str(a, postings_pair_name(h->postings, s->pairs[i]));
        ls.v[i].value = arena_str(a, postings_pair_value(h->postings, s->pairs[i]));
        if (!ls.v[i].name.p || !ls.v[i].value.p)
            return false;
    }
    *ret = ls;
    return true;
}
