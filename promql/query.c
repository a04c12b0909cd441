/* query.c - what a running query owns: its limits and its rows. */
#include "promql/eval.h"

#include "common/sys/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int query_nomem(struct query *q)
{
    return err_set(q->err, RC_NOMEM,
                   "query processing would load too many bytes into memory in query execution");
}

int query_fail(struct query *q, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_set(q->err, RC_EXECUTION, "%s", text);
}

int query_processed(struct query *q)
{
    if (q->stats->samples_read > q->read_max)
        return err_set(q->err, RC_EXECUTION,
                       "the query hit the max number of samples limit (limit: %llu samples, %s)",
                       (unsigned long long)q->read_max,
                       q->opt->samples_rule ? q->opt->samples_rule : "unnamed");
    if (q->stats->samples_total <= q->processed_max)
        return 0;
    return err_set(q->err, RC_EXECUTION,
                   "the query processed %llu samples, more than %s allows (%llu)",
                   (unsigned long long)q->stats->samples_total,
                   q->opt->processed_rule ? q->opt->processed_rule : "its limit",
                   (unsigned long long)q->processed_max);
}

int query_poll_slow(struct query *q)
{
    const struct query_opt *o = q->opt;

    q->poll_left = POLL_SAMPLES;
    if (o->cancel && atomic_load_explicit(o->cancel, memory_order_relaxed))
        return err_set(q->err, RC_CANCELED, "query was canceled in expression evaluation");
    if (o->deadline_mono_ns && clock_mono_ns(clock_system()) >= o->deadline_mono_ns)
        return err_set(q->err, RC_TIMEOUT, "query timed out in expression evaluation");
    return query_processed(q);
}

int query_scratch(struct query *q, struct arena **ret)
{
    struct scratch *s = arena_alloc(q->arena, sizeof *s);

    if (!s)
        return query_nomem(q);
    arena_init(&s->arena, q->arena->budget - MIN(q->arena->budget, q->arena->used));
    s->charged = 0;
    s->next = q->scratches;
    q->scratches = s;
    *ret = &s->arena;
    return 0;
}

int query_scratch_settle(struct query *q, struct arena *scratch, size_t used)
{
    struct scratch *s = CONTAINER_OF(scratch, struct scratch, arena);

    if (used > s->charged && !arena_charge(q->arena, used - s->charged))
        return query_nomem(q);
    if (used < s->charged)
        arena_uncharge(q->arena, s->charged - used);
    s->charged = used;
    scratch->budget = used + (q->arena->budget - MIN(q->arena->budget, q->arena->used));
    return 0;
}

void query_scratch_free(struct query *q, struct arena *scratch)
{
    struct scratch *s = CONTAINER_OF(scratch, struct scratch, arena);

    arena_fini(scratch);
    arena_uncharge(q->arena, s->charged);
    s->charged = 0;
}

static int too_many(struct query *q)
{
    if (!q->opt->samples_rule)
        return err_set(q->err, RC_EXECUTION,
                       "query processing would load too many samples into memory in query execution");
    return err_set(q->err, RC_EXECUTION,
                   "query processing would load too many samples into memory in query execution "
                   "(limit: %zu samples, %s)",
                   q->samples_max, q->opt->samples_rule);
}

int query_peak(struct query *q, size_t samples)
{
    if (samples > q->samples_max || q->held > q->samples_max - samples)
        return too_many(q);
    q->stats->peak_samples = MAX(q->stats->peak_samples, (uint64_t)(q->held + samples));
    return 0;
}

int query_hold(struct query *q, size_t samples)
{
    int rc = query_peak(q, samples);

    if (rc == 0)
        q->held += samples;
    return rc;
}

void query_unhold(struct query *q, size_t samples)
{
    ASSERT(samples <= q->held);
    q->held -= samples;
}

/* As Prometheus counts: bytes of a histogram in units of a float sample (16 bytes). */
size_t hist_samples(const struct histogram *h)
{
    enum { STRUCT_BYTES = 168, TIME_BYTES = 8, SAMPLE_BYTES = 16 };
    size_t words = (size_t)h->pos.span_count + h->neg.span_count + h->pos.bucket_count +
                   h->neg.bucket_count + h->custom_count;

    return (STRUCT_BYTES + 8 * words + TIME_BYTES) / SAMPLE_BYTES;
}

void ev_count_step(struct ev *ev, size_t step, uint64_t total, uint64_t read)
{
    struct query_stats *st = ev->q->stats;
    size_t at = ev->outer ? st->step_count - 1 : step;

    st->per_step[at] += total;
    st->per_step_read[at] += read;
}

/* --- rows --- */
int row_init(struct ev *ev, struct row *row, bool with_hist)
{
    size_t each = sizeof(double) + 1 + (with_hist ? sizeof(void *) : 0);
    char *p = arena_array(ev->q->arena, ev->steps, each);

    if (!p)
        return query_nomem(ev->q);
    *row = (struct row){.v = (double *)p, .scratch = ev->q->arena};
    p += ev->steps * sizeof(double);
    if (with_hist) {
        row->h = (const struct histogram **)p;
        p += ev->steps * sizeof(void *);
    }
    row->kind = (uint8_t *)p;
    row_clear(ev, row);
    return 0;
}

int row_need_hist(struct ev *ev, struct row *row)
{
    if (row->h)
        return 0;
    row->h = arena_array(ev->q->arena, ev->steps, sizeof *row->h);
    return row->h ? 0 : query_nomem(ev->q);
}

void row_clear(const struct ev *ev, struct row *row)
{
    memset(row->kind, POINT_NONE, ev->steps);
}

size_t row_points(const struct ev *ev, const struct row *r)
{
    size_t n = 0;

    for (size_t i = 0; i < ev->steps; i++)
        n += r->kind[i] != POINT_NONE;
    return n;
}

bool row_empty(const struct ev *ev, const struct row *r)
{
    for (size_t i = 0; i < ev->steps; i++)
        if (r->kind[i] != POINT_NONE)
            return false;
    return true;
}

int row_drop_name(struct ev *ev, struct row *r)
{
    r->drop_name = true;
    return ev->q->opt->delayed_name_removal ? 0 : labels_drop_meta(ev->q, &r->labels, &r->labels);
}

/* --- matrices --- */
static size_t row_samples(const struct ev *ev, const struct row *r)
{
    size_t n = 0;

    for (size_t i = 0; i < ev->steps; i++)
        n += r->kind[i] == POINT_HIST ? hist_samples(r->h[i]) : r->kind[i];
    return n;
}

static bool row_has_hist(const struct ev *ev, const struct row *r)
{
    return r->h && memchr(r->kind, POINT_HIST, ev->steps);
}

static int row_copy(struct ev *ev, const struct row *r, struct row *ret)
{
    struct query *q = ev->q;
    bool hist = row_has_hist(ev, r);
    struct row out;
    int rc = row_init(ev, &out, hist);

    if (rc < 0)
        return rc;
    memcpy(out.kind, r->kind, ev->steps);
    memcpy(out.v, r->v, ev->steps * sizeof *out.v);
    for (size_t i = 0; hist && i < ev->steps; i++) {
        if (r->kind[i] == POINT_HIST && !(out.h[i] = fhist_dup(q->arena, r->h[i])))
            return query_nomem(q);
    }
    out.labels = r->labels;
    out.drop_name = r->drop_name;
    out.stable = true;
    *ret = out;
    return 0;
}

int matrix_add(struct ev *ev, struct matrix *m, const struct row *r)
{
    struct query *q = ev->q;
    size_t held = row_samples(ev, r);
    int rc = query_hold(q, held);

    if (rc < 0)
        return rc;
    m->held += held;
    if (m->n == m->cap) {
        size_t cap = m->cap ? m->cap * 2 : 8;
        struct row *rows = arena_array(q->arena, cap, sizeof *rows);

        if (!rows)
            return query_nomem(q);
        if (m->n)
            memcpy(rows, m->rows, m->n * sizeof *rows);
        m->rows = rows;
        m->cap = cap;
    }
    if (r->stable)
        m->rows[m->n] = *r;
    else if ((rc = row_copy(ev, r, &m->rows[m->n])) < 0)
        return rc;
    m->n++;
    return query_poll(q, held);
}

int matrix_gather(struct ev *ev, struct stream *s, struct matrix *m)
{
    struct row r;
    int rc;

    while ((rc = stream_next(s, &r)) > 0) {
        rc = matrix_add(ev, m, &r);
        if (rc < 0)
            break;
    }
    stream_free(s);
    return rc;
}

void matrix_release(struct query *q, struct matrix *m)
{
    query_unhold(q, m->held);
    *m = (struct matrix){0};
}

static int row_unite(struct ev *ev, struct row *into, const struct row *from)
{
    int rc = 0;

    if (from->h)
        rc = row_need_hist(ev, into);
    for (size_t i = 0; rc == 0 && i < ev->steps; i++) {
        struct point p = row_get(from, i);

        if (p.kind == POINT_NONE)
            continue;
        if (into->kind[i] != POINT_NONE)
            return query_fail(ev->q, "vector cannot contain metrics with the same labelset");
        row_set(into, i, &p);
    }
    return rc;
}

int matrix_merge(struct ev *ev, struct matrix *m)
{
    struct query *q = ev->q;
    struct keymap map = {0};
    size_t n = 0;
    int rc = 0;

    if (m->n <= 1)
        return 0;
    for (size_t i = 0; i < m->n; i++) {
        size_t *at;
        bool fresh;

        rc = keymap_put(q, &map, labels_key(q, &m->rows[i].labels), &at, &fresh);
        if (rc == 0)
            rc = query_poll(q, 8);
        if (rc == 0 && !fresh)
            rc = row_unite(ev, &m->rows[*at], &m->rows[i]);
        if (rc < 0)
            return rc;
        if (!fresh)
            continue;
        *at = n;
        m->rows[n++] = m->rows[i];
    }
    m->n = n;
    return 0;
}

int matrix_merge_result(struct ev *ev, struct matrix *m)
{
    if (ev->steps == 1 && ev->q->opt->delayed_name_removal)
        return 0;
    return matrix_merge(ev, m);
}

/* --- streams over matrices and maps --- */
struct matrix_stream {
    struct stream base;
    struct matrix m;
    size_t at;
};

static int matrix_stream_next(struct stream *s, struct row *ret)
{
    struct matrix_stream *ms = CONTAINER_OF(s, struct matrix_stream, base);

    if (ms->at == ms->m.n)
        return 0;
    *ret = ms->m.rows[ms->at++];
    return 1;
}

static void matrix_stream_free(struct stream *s)
{
    struct matrix_stream *ms = CONTAINER_OF(s, struct matrix_stream, base);

    matrix_release(s->ev->q, &ms->m);
}

int stream_of_matrix(struct ev *ev, struct matrix *m, struct stream **ret)
{
    static const struct stream_ops ops = {matrix_stream_next, matrix_stream_free};
    struct matrix_stream *ms = arena_zalloc(ev->q->arena, sizeof *ms);

    if (!ms)
        return query_nomem(ev->q);
    ms->base = (struct stream){&ops, ev};
    ms->m = *m;
    *m = (struct matrix){0};
    *ret = &ms->base;
    return 0;
}

struct map_stream {
    struct stream base;
    struct stream *in;
    row_fn *fn;
    void *arg;
};

static int map_next(struct stream *s, struct row *ret)
{
    struct map_stream *ms = CONTAINER_OF(s, struct map_stream, base);
    int rc;

    while ((rc = stream_next(ms->in, ret)) > 0) {
        rc = ms->fn(s->ev, ret, ms->arg);
        if (rc != 0)
            return rc;
    }
    return rc;
}

static void map_free(struct stream *s)
{
    stream_free(CONTAINER_OF(s, struct map_stream, base)->in);
}

int stream_map(struct ev *ev, struct stream *in, row_fn *fn, void *arg, struct stream **ret)
{
    static const struct stream_ops ops = {map_next, map_free};
    struct map_stream *ms = arena_zalloc(ev->q->arena, sizeof *ms);
    struct matrix m = {0};
    int rc;

    if (!ms) {
        stream_free(in);
        return query_nomem(ev->q);
    }
    ms->base = (struct stream){&ops, ev};
    ms->in = in;
    ms->fn = fn;
    ms->arg = arg;
    *ret = &ms->base;
    if (ev->q->opt->delayed_name_removal)
        return 0;
    /* Names may have gone: equal label sets must meet here, not later. */
    rc = matrix_gather(ev, &ms->base, &m);
    if (rc == 0)
        rc = matrix_merge(ev, &m);
    return rc < 0 ? rc : stream_of_matrix(ev, &m, ret);
}

/* --- keys --- */
struct keymap_slot {
    struct u128 key;
    size_t number;
    bool used;
};

static struct keymap_slot *keymap_find(struct keymap *m, struct u128 key)
{
    size_t i = (size_t)key.lo & (m->cap - 1);

    while (m->slots[i].used && !u128_eq(m->slots[i].key, key))
        i = (i + 1) & (m->cap - 1);
    return &m->slots[i];
}

static int keymap_grow(struct query *q, struct keymap *m)
{
    struct keymap old = *m;

    m->cap = old.cap ? old.cap * 2 : 16;
    m->slots = arena_array(q->arena, m->cap, sizeof *m->slots);
    if (!m->slots)
        return query_nomem(q);
    memset(m->slots, 0, m->cap * sizeof *m->slots);
    for (size_t i = 0; i < old.cap; i++)
        if (old.slots[i].used)
            *keymap_find(m, old.slots[i].key) = old.slots[i];
    return 0;
}

int keymap_put(struct query *q, struct keymap *m, struct u128 key, size_t **ret_at, bool *ret_new)
{
    struct keymap_slot *slot;
    int rc = 0;

    if (m->n * 4 >= m->cap * 3)
        rc = keymap_grow(q, m);
    if (rc < 0)
        return rc;
    slot = keymap_find(m, key);
    *ret_new = !slot->used;
    if (!slot->used) {
        *slot = (struct keymap_slot){key, 0, true};
        m->n++;
    }
    *ret_at = &slot->number;
    return 0;
}
