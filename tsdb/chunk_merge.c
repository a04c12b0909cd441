/* Merging decoded chunks, and their digests. */
#include "tsdb/chunk.h"

#include "common/base/planted.h"

#include <stdlib.h>

uint64_t chunk_value_word(const struct chunk_columns *c, size_t i)
{
    return c->hist && c->hist[i] ? histogram_hash(c->hist[i]).hi : double_bits(c->v[i]);
}

struct u128 chunk_digest(const struct chunk_columns *c)
{
    struct u128 sum = {0};

    for (size_t i = 0; i < c->n; i++)
        sum = u128_add(sum, sample_hash(c->t[i], chunk_value_word(c, i), c->st ? c->st[i] : 0));
    return sum;
}

/* One input and how far it is read. */
struct cursor {
    const struct chunk_columns *c;
    size_t at;
    uint32_t votes;
};

static int64_t cursor_t(const struct cursor *k)
{
    return k->c->t[k->at];
}
static const struct histogram *cursor_hist(const struct cursor *k)
{
    return k->c->hist ? k->c->hist[k->at] : NULL;
}
static int64_t cursor_st(const struct cursor *k)
{
    return k->c->st ? k->c->st[k->at] : 0;
}

static int by_first_t(const void *a, const void *b)
{
    int64_t x = cursor_t(a), y = cursor_t(b);

    return (x > y) - (x < y);
}

/* Order of two samples with one timestamp: floats before histograms, smaller bits (hash of a
 * histogram), smaller start. 0: the same sample. */
static int sample_cmp(const struct cursor *a, const struct cursor *b)
{
    const struct histogram *ha = cursor_hist(a), *hb = cursor_hist(b);
    int64_t sa = cursor_st(a), sb = cursor_st(b);
    int order = 0;

    if (!ha != !hb)
        return ha ? 1 : -1;
    if (ha && !histogram_eq(ha, hb)) {
        order = u128_cmp(histogram_hash(ha), histogram_hash(hb));
    } else if (!ha) {
        uint64_t x = double_bits(a->c->v[a->at]), y = double_bits(b->c->v[b->at]);

        order = (x > y) - (x < y);
    }
    return order ? order : (sa > sb) - (sa < sb);
}

struct merger {
    struct cursor *inputs; /* by first t; those from next on have not begun */
    size_t n, next;
    struct cursor *active; /* begun, not finished; in no order */
    size_t active_n;
    struct chunk_columns out;
    bool any_st, any_hist;
};

static void emit(struct merger *m, const struct cursor *k, size_t n)
{
    struct chunk_columns *o = &m->out;
    const struct chunk_columns *c = k->c;

    memcpy(o->t + o->n, c->t + k->at, n * sizeof *o->t);
    memcpy(o->v + o->n, c->v + k->at, n * sizeof *o->v);
    for (size_t i = 0; o->st && i < n; i++)
        m->any_st |= (o->st[o->n + i] = c->st ? c->st[k->at + i] : 0) != 0;
    for (size_t i = 0; o->hist && i < n; i++)
        m->any_hist |= (o->hist[o->n + i] = c->hist ? c->hist[k->at + i] : NULL) != NULL;
    o->n += n;
}

static void advance(struct merger *m, size_t i, size_t n)
{
    m->active[i].at += n;
    if (m->active[i].at == m->active[i].c->n)
        m->active[i] = m->active[--m->active_n];
}

/* The sample most votes stand behind among those at t. */
static const struct cursor *winner(const struct merger *m, int64_t t)
{
    const struct cursor *best = NULL;
    uint64_t best_votes = 0;

    for (size_t i = 0; i < m->active_n; i++) {
        const struct cursor *k = &m->active[i];
        uint64_t votes = 0;

        if (cursor_t(k) != t || (best && sample_cmp(best, k) == 0))
            continue;
        for (size_t j = 0; j < m->active_n; j++)
            if (cursor_t(&m->active[j]) == t && sample_cmp(&m->active[j], k) == 0)
                votes += m->active[j].votes;
        if (!best || votes > best_votes || (votes == best_votes && sample_cmp(k, best) < 0)) {
            best = k;
            best_votes = votes;
        }
    }
    return best;
}

/* One sample where inputs meet, or as many of one input as come before any other's. */
static void merge_step(struct merger *m)
{
    int64_t least = INT64_MAX, bound = INT64_MAX;
    size_t first = 0, ties = 0, run = 1;

    if (m->active_n == 0)
        m->active[m->active_n++] = m->inputs[m->next++];
    for (size_t i = 0; i < m->active_n; i++)
        least = MIN(least, cursor_t(&m->active[i]));
    for (; m->next < m->n && cursor_t(&m->inputs[m->next]) <= least; m->next++) {
        least = cursor_t(&m->inputs[m->next]);
        m->active[m->active_n++] = m->inputs[m->next];
    }
    for (size_t i = 0; i < m->active_n; i++) {
        if (cursor_t(&m->active[i]) > least) {
            bound = MIN(bound, cursor_t(&m->active[i]));
        } else {
            first = i;
            ties++;
        }
    }
    if (m->next < m->n)
        bound = MIN(bound, cursor_t(&m->inputs[m->next]));
    if (ties > 1) {
        emit(m, winner(m, least), 1);
        if (PLANTED("replicas-not-merged"))
            emit(m, winner(m, least), 1);
        for (size_t i = m->active_n; i-- > 0;)
            if (cursor_t(&m->active[i]) == least)
                advance(m, i, 1);
        return;
    }
    for (const struct cursor *k = &m->active[first];
         k->at + run < k->c->n && k->c->t[k->at + run] < bound;)
        run++;
    emit(m, &m->active[first], run);
    advance(m, first, run);
}

static int merge_alloc(struct merger *m, const struct chunk_columns *in, const uint32_t *votes,
                       size_t n, struct arena *a, struct err *err)
{
    struct chunk_columns *o = &m->out;
    size_t total = 0;
    bool st = false, hist = false;

    m->inputs = arena_array(a, n, sizeof *m->inputs);
    m->active = arena_array(a, n, sizeof *m->active);
    for (size_t i = 0; m->inputs && i < n; i++) {
        if (in[i].n == 0)
            continue;
        m->inputs[m->n++] = (struct cursor){&in[i], 0, votes ? votes[i] : 1};
        total += in[i].n;
        st |= in[i].st != NULL;
        hist |= in[i].hist != NULL;
    }
    o->t = arena_array(a, total, sizeof *o->t);
    o->v = arena_array(a, total, sizeof *o->v);
    o->st = st ? arena_array(a, total, sizeof *o->st) : NULL;
    o->hist = hist ? arena_array(a, total, sizeof *o->hist) : NULL;
    if (!m->inputs || !m->active || !o->t || !o->v || (st && !o->st) || (hist && !o->hist))
        return err_set(err, RC_NOMEM, "memory to merge %zu samples", total);
    return 0;
}

int chunk_merge_votes(const struct chunk_columns *in, const uint32_t *votes, size_t n,
                      struct arena *a, struct chunk_columns *ret, struct err *err)
{
    struct merger m = {0};
    int rc = merge_alloc(&m, in, votes, n, a, err);

    if (rc < 0)
        return rc;
    if (m.n)
        qsort(m.inputs, m.n, sizeof *m.inputs, by_first_t);
    while (m.active_n || m.next < m.n)
        merge_step(&m);
    if (!m.any_st)
        m.out.st = NULL;
    if (!m.any_hist)
        m.out.hist = NULL;
    *ret = m.out;
    return 0;
}

int chunk_merge(const struct chunk_columns *in, size_t n, struct arena *a,
                struct chunk_columns *ret, struct err *err)
{
    return chunk_merge_votes(in, NULL, n, a, ret, err);
}
