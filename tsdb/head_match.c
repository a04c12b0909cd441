/* Matchers to series: each matcher becomes a set of pair ids that a series must have one of
 * (include) or none of (exclude); the smallest include is read from its posting lists into a bit
 * set of ordinals, the others cut it down, either by their own lists or, where those are much
 * longer than what is left, by looking at the pairs of the series that are left. */
#include "tsdb/head_priv.h"

#include "common/base/planted.h"

#include <stdlib.h>

enum {
    VALUES_SLICE = 1024,  /* values of a name judged under one lock */
    LIST_PER_SERIES = 16, /* entries of a list cost as much as looking at one series */
    ATTEMPTS_MAX = 8,
};

struct term {
    const struct matcher *m;
    bool exclude;
    VEC(uint32_t) pairs;
    uint64_t total; /* entries in their lists */
};
struct matching {
    struct head *h;
    const struct store_select *q;
    struct term *terms;
    uint32_t tenant, bound;
    uint64_t epoch;
};
enum { AGAIN = 1 }; /* the epoch changed */

/* --- pairs of a matcher --- */
static void take_value(struct matching *mt, struct term *t, struct str value)
{
    uint32_t pair = postings_pair_find(mt->h->postings, mt->tenant, t->m->name, value);

    if (pair != ID_NONE)
        *vec_push(&t->pairs) = pair;
}

static bool set_has_empty(const struct matcher *m)
{
    return m->set_count > 0 && m->set[0].n == 0; /* sorted */
}

/* True when the values that decide are known without looking at what the head has. */
static bool has_literals(const struct matcher *m)
{
    return m->type == MATCH_EQ || m->type == MATCH_NEQ ? m->value.n > 0
                                                       : m->set && !set_has_empty(m);
}

static int take_literals(struct matching *mt, struct term *t)
{
    struct head *h = mt->h;
    int rc = 0;

    lock_slice(h);
    if (h->epoch != mt->epoch)
        rc = AGAIN;
    else if (!t->m->set)
        take_value(mt, t, t->m->value);
    else
        for (size_t i = 0; i < t->m->set_count; i++)
            take_value(mt, t, t->m->set[i]);
    unlock_slice(h);
    return rc;
}

static int scan_values(struct matching *mt, struct term *t, struct err *err)
{
    struct head *h = mt->h;
    bool more = true;
    int rc = 0;

    for (uint32_t i = 0; more && rc == 0 && (rc = store_stopped(mt->q->stop, err)) == 0;) {
        const struct postings_name *name;
        uint32_t end = i + VALUES_SLICE;

        lock_slice(h);
        name = postings_name_find(h->postings, mt->tenant, t->m->name);
        if (h->epoch != mt->epoch)
            rc = AGAIN;
        for (; rc == 0 && name && i < MIN(name->n, end); i++)
            if (matcher_matches(t->m, postings_pair_value(h->postings, name->pairs[i])) !=
                t->exclude)
                *vec_push(&t->pairs) = name->pairs[i];
        more = rc == 0 && name && i < name->n;
        unlock_slice(h);
    }
    return rc;
}

static int term_resolve(struct matching *mt, struct term *t, struct err *err)
{
    t->exclude = matcher_matches(t->m, (struct str){0});
    if (t->m->any && t->m->type == MATCH_RE)
        return 0; /* excludes nothing */
    return has_literals(t->m) ? take_literals(mt, t) : scan_values(mt, t, err);
}

/* --- bit sets --- */
static inline bool bit_at(const uint64_t *bits, uint32_t i)
{
    return bits[i / 64] >> (i % 64) & 1;
}

static size_t words_for(uint32_t n)
{
    return (size_t)n / 64 + 1;
}

static void list_set(uint64_t *bits, const struct posting_list *l, uint32_t bound)
{
    struct posting_iter it = posting_iter_of(l);
    uint32_t at;

    while (posting_next(&it, &at) && at < bound)
        bits[at / 64] |= 1ULL << (at % 64);
}

static void list_clear(uint64_t *bits, const struct posting_list *l, uint32_t bound)
{
    struct posting_iter it = posting_iter_of(l);
    uint32_t at;

    while (posting_next(&it, &at) && at < bound)
        bits[at / 64] &= ~(1ULL << (at % 64));
}

static const struct posting_list *term_list(const struct matching *mt, const struct term *t,
                                            size_t i)
{
    return &postings_pair(mt->h->postings, t->pairs.v[i])->list;
}

static uint64_t bits_count(const uint64_t *bits, uint32_t bound)
{
    uint64_t n = 0;

    for (size_t i = 0; i < words_for(bound); i++)
        n += (uint64_t)__builtin_popcountll(bits[i]);
    return n;
}

/* --- cutting down --- */
static void cut_by_lists(const struct matching *mt, const struct term *t, uint64_t *bits)
{
    uint64_t *own;

    if (t->exclude) {
        for (size_t i = 0; i < t->pairs.n; i++)
            list_clear(bits, term_list(mt, t, i), mt->bound);
        return;
    }
    own = xcalloc(words_for(mt->bound), sizeof *own);
    for (size_t i = 0; i < t->pairs.n; i++)
        list_set(own, term_list(mt, t, i), mt->bound);
    for (size_t i = 0; i < words_for(mt->bound); i++)
        bits[i] &= own[i];
    free(own);
}

static bool series_has_any(const struct head_series *s, const uint64_t *pairs)
{
    for (uint32_t i = 0; i < s->label_count; i++)
        if (bit_at(pairs, s->pairs[i]))
            return true;
    return false;
}

static void cut_by_series(const struct matching *mt, const struct term *t, uint64_t *bits)
{
    const struct head *h = mt->h;
    uint64_t *pairs = xcalloc(words_for(postings_pair_bound(h->postings)), sizeof *pairs);
    struct match m = {.bits = bits, .bound = mt->bound};

    for (size_t i = 0; i < t->pairs.n; i++)
        pairs[t->pairs.v[i] / 64] |= 1ULL << (t->pairs.v[i] % 64);
    for (uint32_t at = match_next(&m, 0); at != ID_NONE; at = match_next(&m, at + 1))
        if (series_has_any(series_at(h, h->by_ordinal[at]), pairs) == t->exclude)
            bits[at / 64] &= ~(1ULL << (at % 64));
    free(pairs);
}

static int by_total(const void *a, const void *b)
{
    const struct term *x = a, *y = b;

    return (x->total > y->total) - (x->total < y->total);
}

/* Under the lock, epoch checked. */
static void intersect(struct matching *mt, uint64_t *bits)
{
    size_t n = mt->q->matcher_count;
    struct term *base = NULL;

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < mt->terms[i].pairs.n; k++)
            mt->terms[i].total += term_list(mt, &mt->terms[i], k)->count;
    if (n > 1)
        qsort(mt->terms, n, sizeof *mt->terms, by_total);
    for (size_t i = 0; i < n && !base; i++)
        if (!mt->terms[i].exclude)
            base = &mt->terms[i];
    if (!base)
        list_set(bits, &mt->h->tenants.v[mt->tenant]->all, mt->bound);
    for (size_t i = 0; base && i < base->pairs.n; i++)
        list_set(bits, term_list(mt, base, i), mt->bound);
    for (size_t i = 0; i < n; i++) {
        const struct term *t = &mt->terms[i];

        if (t == base || (t->exclude && t->pairs.n == 0))
            continue;
        if (t->total <= bits_count(bits, mt->bound) * LIST_PER_SERIES)
            cut_by_lists(mt, t, bits);
        else
            cut_by_series(mt, t, bits);
    }
}

/* 0, AGAIN, or an error. */
static int match_once(struct matching *mt, struct match *ret, struct err *err)
{
    struct head *h = mt->h;
    struct match m = {0};
    int rc = 0;

    lock_slice(h);
    mt->epoch = h->epoch;
    mt->tenant = PLANTED("tenant-missing-from-key") ? 0 : tenant_find(h, mt->q->tenant);
    /* Series that come later are not looked at: their pairs may have been missed. */
    mt->bound = mt->tenant == ID_NONE ? 0 : h->ordinals;
    unlock_slice(h);
    for (size_t i = 0; i < mt->q->matcher_count && mt->bound > 0 && rc == 0; i++)
        rc = term_resolve(mt, &mt->terms[i], err);
    if (rc != 0)
        return rc;
    m = (struct match){calloc(words_for(mt->bound), sizeof *m.bits), mt->bound, mt->epoch};
    if (!m.bits)
        return err_set(err, RC_NOMEM, "select: no memory for a set of %u series", mt->bound);
    lock_slice(h);
    if (h->epoch != mt->epoch)
        rc = AGAIN;
    else if (mt->bound > 0)
        intersect(mt, m.bits);
    unlock_slice(h);
    if (rc == 0)
        *ret = m;
    else
        free(m.bits);
    return rc;
}

int head_match(struct head *h, const struct store_select *q, struct match *ret, struct err *err)
{
    int rc = AGAIN;

    for (int attempt = 0; attempt < ATTEMPTS_MAX && rc == AGAIN; attempt++) {
        struct matching mt = {.h = h, .q = q, .terms = xcalloc(q->matcher_count, sizeof *mt.terms)};

        for (size_t i = 0; i < q->matcher_count; i++)
            mt.terms[i].m = &q->matchers[i];
        rc = match_once(&mt, ret, err);
        for (size_t i = 0; i < q->matcher_count; i++)
            vec_fini(&mt.terms[i].pairs);
        free(mt.terms);
    }
    return rc == AGAIN ? err_set(err, RC_UNAVAILABLE, "select: series are being removed, try again")
                       : rc;
}

uint32_t match_next(const struct match *m, uint32_t at)
{
    while (at < m->bound) {
        uint64_t word = m->bits[at / 64] >> (at % 64);

        if (word) {
            at += (uint32_t)__builtin_ctzll(word);
            return at < m->bound ? at : ID_NONE;
        }
        at = (at / 64 + 1) * 64;
    }
    return ID_NONE;
}
