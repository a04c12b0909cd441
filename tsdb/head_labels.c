/* Label names and label values over series that match. */
#include "tsdb/head_priv.h"

#include <stdlib.h>

enum { RESTARTS_MAX = 8, AGAIN = 1, PAIRS_SLICE = 256 };

/* Marks of pairs (values asked for) or of name entries (names asked for), by id, for one epoch. */
struct marks {
    struct head *h;
    const struct store_select *q;
    struct str name;
    uint64_t *bits;
    uint32_t bound;
    uint64_t epoch;
    uint32_t tenant, name_entry;
};

static bool mark_get(const struct marks *m, uint32_t id)
{
    return id < m->bound && (m->bits[id / 64] >> (id % 64) & 1);
}

/* Ids may have been added since; bits grow with them. */
static void mark_set(struct marks *m, uint32_t id)
{
    if (id >= m->bound) {
        uint32_t bound = (id + id / 4 + 64) & ~63U;

        m->bits = xrealloc(m->bits, bound / 8);
        memset(m->bits + m->bound / 64, 0, (bound - m->bound) / 8);
        m->bound = bound;
    }
    m->bits[id / 64] |= 1ULL << (id % 64);
}

static bool wanted(const struct marks *m, const struct head_series *s)
{
    return shard_has(m->q, s->fp) && series_touches(s, m->q->mint_ms, m->q->maxt_ms);
}

/* --- with matchers: from series to their pairs --- */
static void mark_series(struct marks *m, const struct head_series *s)
{
    const struct postings *p = m->h->postings;

    for (uint32_t i = 0; i < s->label_count; i++) {
        uint32_t name = postings_pair(p, s->pairs[i])->name;

        if (m->name.n == 0)
            mark_set(m, name);
        else if (name == m->name_entry)
            mark_set(m, s->pairs[i]);
    }
}

static int mark_matching(struct marks *m, struct err *err)
{
    struct match match;
    int rc = head_match(m->h, m->q, &match, err);

    if (rc < 0)
        return rc;
    if (match.epoch != m->epoch)
        rc = AGAIN;
    for (uint32_t at = 0; rc == 0 && at != ID_NONE && (rc = store_stopped(m->q->stop, err)) == 0;) {
        lock_slice(m->h);
        if (m->h->epoch != m->epoch)
            rc = AGAIN;
        at = match_next(&match, at);
        for (int i = 0; i < HEAD_SELECT_SLICE && rc == 0 && at != ID_NONE;
             i++, at = match_next(&match, at + 1)) {
            const struct head_series *s = series_at(m->h, m->h->by_ordinal[at]);

            if (wanted(m, s))
                mark_series(m, s);
        }
        unlock_slice(m->h);
    }
    free(match.bits);
    return rc;
}

/* --- without: from pairs to the first series that is wanted --- */
static bool pair_wanted(const struct marks *m, uint32_t pair)
{
    struct posting_iter it = posting_iter_of(&postings_pair(m->h->postings, pair)->list);
    uint32_t at;

    while (posting_next(&it, &at))
        if (wanted(m, series_at(m->h, m->h->by_ordinal[at])))
            return true;
    return false;
}

/* The first series of each pair, with the memory that wanted() reads on its way. */
static void first_series(const struct marks *m, const uint32_t *pairs, uint32_t n, const struct head_series **ret)
{
    uint32_t at[PAIRS_SLICE];

    for (uint32_t i = 0; i < n; i++) {
        struct posting_iter it = posting_iter_of(&postings_pair(m->h->postings, pairs[i])->list);

        at[i] = posting_next(&it, &at[i]) ? at[i] : ID_NONE;
        if (at[i] != ID_NONE)
            __builtin_prefetch(&m->h->by_ordinal[at[i]]);
    }
    for (uint32_t i = 0; i < n; i++) {
        ret[i] = at[i] == ID_NONE ? NULL : series_at(m->h, m->h->by_ordinal[at[i]]);
        if (ret[i])
            __builtin_prefetch(ret[i]);
    }
}

/* Marks what is wanted of n pairs of one name entry; for names the first is enough. */
static void mark_pairs(struct marks *m, uint32_t entry, const uint32_t *pairs, uint32_t n)
{
    const struct head_series *first[PAIRS_SLICE];

    first_series(m, pairs, n, first);
    for (uint32_t i = 0; i < n; i++) {
        if (!first[i] || !(wanted(m, first[i]) || pair_wanted(m, pairs[i])))
            continue;
        mark_set(m, m->name.n ? pairs[i] : entry);
        if (m->name.n == 0)
            return;
    }
}

/* All pairs of one name entry, in slices. */
static int mark_name(struct marks *m, uint32_t entry, struct err *err)
{
    bool more = true;
    int rc = 0;

    for (uint32_t i = 0; more && rc == 0 && (rc = store_stopped(m->q->stop, err)) == 0; i += PAIRS_SLICE) {
        const struct postings_name *name;

        lock_slice(m->h);
        if (m->h->epoch != m->epoch)
            rc = AGAIN;
        name = postings_name_at(m->h->postings, entry);
        if (rc == 0 && i < name->n)
            mark_pairs(m, entry, name->pairs + i, MIN(name->n - i, (uint32_t)PAIRS_SLICE));
        more = rc == 0 && i + PAIRS_SLICE < name->n && !(m->name.n == 0 && mark_get(m, entry));
        unlock_slice(m->h);
    }
    return rc;
}

static int mark_all(struct marks *m, struct err *err)
{
    int rc = 0;

    if (m->name.n > 0)
        return m->name_entry == ID_NONE ? 0 : mark_name(m, m->name_entry, err);
    for (uint32_t entry = 0; rc == 0; entry++) {
        bool mine, end;

        lock_slice(m->h);
        end = entry >= postings_name_bound(m->h->postings);
        mine = !end && postings_name_at(m->h->postings, entry)->symbol != ID_NONE &&
               postings_name_at(m->h->postings, entry)->tenant == m->tenant;
        unlock_slice(m->h);
        if (end)
            break;
        if (mine)
            rc = mark_name(m, entry, err);
    }
    return rc;
}

/* --- out --- */
static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* Copies the marked strings; AGAIN when ids have changed. */
static int marks_texts(const struct marks *m, struct arena *a, struct str **ret, size_t *ret_n)
{
    struct head *h = m->h;
    size_t n = 0, cap = 0;
    struct str *v;
    int rc = 0;

    for (uint32_t i = 0; i < m->bound / 64; i++)
        cap += (size_t)__builtin_popcountll(m->bits[i]);
    v = arena_array(a, cap, sizeof *v);
    if (!v)
        return RC_NOMEM;
    lock_slice(h);
    if (h->epoch != m->epoch)
        rc = AGAIN;
    for (uint32_t id = 0; rc == 0 && id < m->bound; id++) {
        if (!mark_get(m, id))
            continue;
        v[n] = arena_str(a, m->name.n
                                ? postings_pair_value(h->postings, id)
                                : symbols_text(h->syms, postings_name_at(h->postings, id)->symbol));
        rc = v[n++].p ? 0 : RC_NOMEM;
    }
    unlock_slice(h);
    *ret = v;
    *ret_n = n;
    return rc;
}

static int collect(struct marks *m, struct arena *a, struct str **ret, size_t *ret_n,
                   struct err *err)
{
    const struct postings_name *name;
    int rc;

    lock_slice(m->h);
    m->epoch = m->h->epoch;
    m->tenant = tenant_find(m->h, m->q->tenant);
    name = m->name.n && m->tenant != ID_NONE
               ? postings_name_find(m->h->postings, m->tenant, m->name)
               : NULL;
    m->name_entry = name ? (uint32_t)(name - postings_name_at(m->h->postings, 0)) : ID_NONE;
    unlock_slice(m->h);
    *ret_n = 0;
    if (m->tenant == ID_NONE)
        return 0;
    rc = m->q->matcher_count > 0 ? mark_matching(m, err) : mark_all(m, err);
    return rc == 0 ? marks_texts(m, a, ret, ret_n) : rc;
}

int head_label_values(struct head *h, const struct store_select *q, struct str name,
                      int (*fn)(void *arg, struct str value), void *arg, struct err *err)
{
    struct str *v = NULL;
    struct arena a;
    size_t n = 0;
    int rc = AGAIN;

    arena_init(&a, SCRATCH_BYTES_MAX);
    for (int i = 0; i < RESTARTS_MAX && rc == AGAIN; i++) {
        struct marks m = {.h = h, .q = q, .name = name};

        arena_reset(&a);
        rc = collect(&m, &a, &v, &n, err);
        free(m.bits);
    }
    if (rc == AGAIN)
        rc = err_set(err, RC_UNAVAILABLE, "label values: series are being removed, try again");
    if (rc == RC_NOMEM)
        err_set(err, rc, "label values: memory budget is spent");
    if (rc == 0 && n > 0)
        qsort(v, n, sizeof *v, by_text);
    for (size_t i = 0; i < n && rc >= 0; i++)
        rc = fn(arg, v[i]);
    arena_fini(&a);
    return MIN(rc, 0);
}
