/* eval_selector.c - instant selectors: for every step the newest sample within the lookback, or one
 * interpolated between neighbours (smoothed). */
#include "promql/eval.h"

void hints_above(const struct query *q, struct select_hints *h)
{
    const struct node *n = q->above;

    h->keep = q->keep.v ? &q->keep : NULL;
    h->func = STR("");
    if (n && n->type == NODE_CALL)
        h->func = str_of(n->call.fn->name);
    else if (n && n->type == NODE_AGGREGATE)
        h->func = str_of(agg_text(n->agg.op));
}

int select_open(struct query *q, const struct matcher *m, size_t n,
                const struct select_hints *hints, struct series_cursor **ret)
{
    struct open_cursor *o = arena_alloc(q->arena, sizeof *o);
    struct select_hints traced = *hints;
    struct series_cursor *c;
    size_t count;
    int rc;

    if (!o)
        return query_nomem(q);
    traced.trace = trace_begin(q->trace, "select from %lld to %lld ms", (long long)hints->mint_ms, (long long)hints->maxt_ms);
    rc = q->src->select(q->src, m, n, &traced, q->arena, &c, q->err);
    if (rc == 0)
        trace_end(traced.trace, ": %zu series", c->ops->count(c));
    else
        trace_end(traced.trace, ": failed");
    if (rc == RC_NOMEM)
        return query_nomem(q);
    if (rc < 0)
        return err_wrap(q->err, rc, "expanding series");
    *o = (struct open_cursor){c, q->cursors};
    q->cursors = o;
    count = c->ops->count(c);
    q->series += count;
    if (q->opt->series_max && q->series > q->opt->series_max)
        return err_set(q->err, RC_LIMIT,
                       "the query hit the max number of series limit (limit: %zu series)",
                       q->opt->series_max);
    *ret = c;
    return 0;
}

int columns_to_stats(struct query *q, struct arena *a, struct columns *c)
{
    const struct histogram **out = arena_array(a, c->n, sizeof *out), *prev = NULL;

    if (!out)
        return query_nomem(q);
    for (size_t i = 0; i < c->n; i++) {
        const struct histogram *full = c->hist[i] ? fhist_of(a, c->hist[i]) : NULL;
        struct histogram *h = c->hist[i] ? arena_zalloc(a, sizeof *h) : NULL;

        out[i] = h;
        if (!c->hist[i])
            continue;
        if (!full || !h)
            return query_nomem(q);
        /* The schema stays: a mix of exponential and custom buckets must still be seen. */
        *h = (struct histogram){.is_float = true,
                                .hint = full->hint,
                                .schema = full->schema,
                                .count = full->count,
                                .sum = full->sum};
        if (histogram_is_stale(full))
            continue;
        if (full->hint == HIST_HINT_UNKNOWN && prev)
            h->hint = fhist_detect_reset(full, prev) ? HIST_HINT_RESET : HIST_HINT_NOT_RESET;
        prev = full;
    }
    c->hist = out;
    return 0;
}

struct selector_stream {
    struct stream base;
    struct series_cursor *cursor;
    size_t at, count;
    struct selector_ref ref;
    enum selector_value what;
    bool smoothed, stats;
    struct pos_range pos;
    struct row row;
    struct arena *scratch;
    bool plain; /* series of floats are looked up for all steps at once */
    struct plans plans;
    struct ahead *ahead; /* NULL: none */
};

size_t seek_time(const int64_t *times, size_t n, size_t i, int64_t t)
{
    size_t step = 1, lo = i, hi;

    while (i < n && times[i] < t) {
        lo = i + 1;
        i += step;
        step *= 2;
    }
    hi = MIN(i, n);
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (times[mid] < t)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool sample_stale(const struct columns *c, size_t i)
{
    return c->hist && c->hist[i] ? histogram_is_stale(c->hist[i]) : is_stale_nan(c->v[i]);
}

static int not_info(struct selector_stream *ss)
{
    struct buf b;
    int rc;

    buf_init(&b, ERR_TEXT_MAX);
    labels_print_braces(&b, &ss->row.labels);
    rc = query_fail(ss->base.ev->q, "this should be an info metric, with float samples: %.*s",
                    STR_FMT(buf_view(&b)));
    buf_fini(&b);
    return rc;
}

static int point_of(struct selector_stream *ss, const struct columns *c, size_t i,
                    struct point *ret)
{
    struct query *q = ss->base.ev->q;

    *ret = (struct point){.kind = POINT_FLOAT};
    switch (ss->what) {
    case SELECT_TIMESTAMP:
        ret->v = (double)c->t[i] / 1000;
        return 0;
    case SELECT_START_TIMESTAMP:
        ret->v = c->st ? (double)c->st[i] / 1000 : 0;
        return 0;
    case SELECT_TIME_MS:
        if (c->hist && c->hist[i])
            return not_info(ss);
        ret->v = (double)c->t[i];
        return 0;
    default:
        break;
    }
    if (!c->hist || !c->hist[i]) {
        ret->v = c->v[i];
        return 0;
    }
    ret->kind = POINT_HIST;
    ret->h = fhist_of(ss->scratch, c->hist[i]);
    return ret->h ? 0 : query_nomem(q);
}

/* The plain selector: newest sample in (t - lookback, t], unless it is a staleness marker. */
static int lookup_point(struct selector_stream *ss, const struct columns *c, size_t *at, int64_t t,
                        struct point *ret)
{
    *at = seek_time(c->t, c->n, *at, t + 1);
    ret->kind = POINT_NONE;
    if (*at == 0 || c->t[*at - 1] <= t - ss->base.ev->q->lookback_ms || sample_stale(c, *at - 1))
        return 0;
    return point_of(ss, c, *at - 1, ret);
}

static int interpolate_hist(struct selector_stream *ss, const struct columns *c, size_t i, size_t k,
                            int64_t t, struct point *ret)
{
    struct query *q = ss->base.ev->q;
    struct str name = metric_name(&ss->row.labels);
    struct point a, b;
    struct histogram *h;
    int rc = point_of(ss, c, i, &a);

    if (rc == 0)
        rc = point_of(ss, c, k, &b);
    if (rc < 0)
        return rc;
    ret->kind = POINT_NONE;
    if ((a.h->schema == HIST_CUSTOM_SCHEMA) != (b.h->schema == HIST_CUSTOM_SCHEMA)) {
        annotate_mixed_schemas(q, ss->pos, name);
        return 0;
    }
    rc = hist_interpolate(q, ss->scratch, a.h, c->t[i], b.h, c->t[k], t,
                          b.h->hint != HIST_HINT_GAUGE, ss->pos, &h);
    if (rc == 0)
        *ret = (struct point){.kind = POINT_HIST, .h = h};
    return rc;
}

/* smoothed: linear between the neighbours within the lookback on both sides; the last one is
 * carried forward. */
static int smooth_point(struct selector_stream *ss, const struct columns *c, size_t *at, int64_t t,
                        struct point *ret)
{
    int64_t lookback = ss->base.ev->q->lookback_ms;
    size_t first, end, prev = SIZE_MAX, next = SIZE_MAX;
    bool floats = false, hists = false;

    ret->kind = POINT_NONE;
    first = *at = seek_time(c->t, c->n, *at, t - lookback + 1);
    end = seek_time(c->t, c->n, first, t + lookback + 1);
    for (size_t i = first; i < end; i++) {
        if (sample_stale(c, i))
            continue;
        *(c->hist && c->hist[i] ? &hists : &floats) = true;
        if (c->t[i] <= t)
            prev = i;
        else if (next == SIZE_MAX)
            next = i;
    }
    if (floats && hists) {
        annotate_mixed(ss->base.ev->q, ss->pos, metric_name(&ss->row.labels));
        return 0;
    }
    if (prev == SIZE_MAX)
        return 0;
    if (next == SIZE_MAX || c->t[prev] == t)
        return point_of(ss, c, prev, ret);
    if (hists)
        return interpolate_hist(ss, c, prev, next, t, ret);
    *ret = (struct point){.kind = POINT_FLOAT,
                          .v = c->v[prev] + (c->v[next] - c->v[prev]) * (double)(t - c->t[prev]) /
                                                (double)(c->t[next] - c->t[prev])};
    return 0;
}

/* --- plain floats: all steps at once --- */
static bool plain_lookup(const struct selector_stream *ss, struct plans *plans, const struct columns *c, struct ahead_row *ret)
{
    const struct plan *p = plan_of(plans, c->t, c->n);
    size_t steps = ss->base.ev->steps;

    if (!p)
        return false;
    for (size_t k = 0; k < steps; k++) {
        bool there = p->end[k] > p->first[k];
        double v = there ? c->v[p->end[k] - 1] : 0;

        ret->v[k] = v;
        ret->kind[k] = there && !is_stale_nan(v) ? POINT_FLOAT : POINT_NONE;
        ret->total += ret->kind[k];
    }
    ret->fresh = ss->ref.at == AT_NONE ? ret->total : ret->kind[0];
    ret->any = ret->total > 0;
    return true;
}
_Static_assert(POINT_NONE == 0 && POINT_FLOAT == 1, "kinds are added up");

static int fill_plain(struct selector_stream *ss, const struct columns *c, size_t *ret_points)
{
    struct query *q = ss->base.ev->q;
    struct ahead_row r = {.kind = ss->row.kind, .v = ss->row.v};
    int rc;

    if (!plain_lookup(ss, &ss->plans, c, &r))
        return query_nomem(q);
    ev_count(ss->base.ev, 0, r.total, r.fresh);
    *ret_points = r.total;
    rc = query_scratch_settle(q, ss->plans.arena, ss->plans.arena->used);
    return rc < 0 ? rc : query_peak(q, r.total);
}

static int fill_row(struct selector_stream *ss, const struct columns *c, size_t *ret_points)
{
    struct ev *ev = ss->base.ev;
    struct point p = {0};
    size_t at = 0, n = 0;
    int rc = 0;

    if (ss->plain && !c->hist)
        return fill_plain(ss, c, ret_points);
    if (c->hist)
        rc = row_need_hist(ev, &ss->row);
    for (size_t i = 0; rc == 0 && i < ev->steps; i++) {
        if (i == 0 || ss->ref.at == AT_NONE) {
            int64_t t = ref_time(ss->ref.at, ss->ref.at_ms, ss->ref.offset_ms, ev_time(ev, i));

            rc = ss->smoothed ? smooth_point(ss, c, &at, t, &p) : lookup_point(ss, c, &at, t, &p);
        }
        row_set(&ss->row, i, &p);
        if (rc == 0 && p.kind != POINT_NONE) {
            size_t samples = point_samples(&p);

            ev_count(ev, i, samples, ss->ref.at == AT_NONE || i == 0 ? samples : 0);
            n += samples;
        }
    }
    *ret_points = n;
    return rc < 0 ? rc : query_peak(ev->q, n);
}

/* --- ahead of time --- */
static bool selector_ahead(void *arg, struct ahead_lane *lane, size_t i, struct ahead_row *ret)
{
    const struct selector_stream *ss = arg;
    struct columns c;
    struct err err;

    return ss->cursor->ops->samples_in(ss->cursor, i, lane->scratch, &c, &err) >= 0 && !c.hist && plain_lookup(ss, &lane->plans, &c, ret);
}

static int open_plain(struct selector_stream *ss)
{
    const struct ev *ev = ss->base.ev;
    struct plan_spec spec = {.start_ms = ref_time(ss->ref.at, ss->ref.at_ms, ss->ref.offset_ms, ev->start),
                             .step_ms = ss->ref.at == AT_NONE ? ev->step : 0,
                             .range_ms = ev->q->lookback_ms,
                             .steps = ev->steps};
    struct arena *a;
    int rc = query_scratch(ev->q, &a);

    if (rc < 0)
        return rc;
    plans_init(&ss->plans, &spec, a);
    ss->plain = ss->what == SELECT_VALUE && !ss->smoothed && !ev->q->opt->stats_per_step;
    return ss->plain && ss->cursor->ops->samples_in ? ahead_open(ev->q, &spec, ss->count, selector_ahead, ss, &ss->ahead) : 0;
}

/* 1: a row; 0: the next one must be computed here. */
static int take_ahead(struct selector_stream *ss, struct row *ret)
{
    struct ev *ev = ss->base.ev;
    const struct ahead_row *r;

    while (ss->at < ss->count) {
        int rc = ahead_row(ss->ahead, ss->at, &r);

        if (rc < 0 || !r->ready)
            return rc;
        ev_count(ev, 0, r->total, r->fresh);
        rc = query_poll(ev->q, ev->steps);
        if (rc == 0)
            rc = query_peak(ev->q, r->total);
        if (rc < 0)
            return rc;
        if (!r->any) {
            ss->at++;
            continue;
        }
        *ret = (struct row){.labels = *ss->cursor->ops->labels(ss->cursor, ss->at++), .kind = r->kind, .v = r->v, .scratch = ss->scratch};
        return 1;
    }
    return 0;
}

static int selector_next(struct stream *s, struct row *ret)
{
    struct selector_stream *ss = CONTAINER_OF(s, struct selector_stream, base);
    struct query *q = s->ev->q;
    struct columns c;
    size_t points = 0;
    int rc;

    while (ss->at < ss->count) {
        size_t i;

        rc = ss->ahead ? take_ahead(ss, ret) : 0;
        if (rc != 0)
            return rc;
        if (ss->at == ss->count)
            break;
        i = ss->at++;
        arena_reset(ss->scratch);
        rc = ss->cursor->ops->samples(ss->cursor, i, &c, q->err);
        if (rc < 0)
            return rc;
        rc = query_poll(q, c.n + s->ev->steps);
        if (rc < 0)
            return rc;
        if (ss->stats && c.hist)
            rc = columns_to_stats(q, ss->scratch, &c);
        if (rc < 0)
            return rc;
        ss->row.labels = *ss->cursor->ops->labels(ss->cursor, i);
        rc = fill_row(ss, &c, &points);
        if (rc == 0)
            rc = query_scratch_settle(q, ss->scratch, ss->scratch->used);
        if (rc < 0)
            return rc;
        if (points == 0)
            continue;
        *ret = ss->row;
        return 1;
    }
    return 0;
}

static void selector_free(struct stream *s)
{
    struct selector_stream *ss = CONTAINER_OF(s, struct selector_stream, base);

    ahead_stop(ss->ahead);
    query_scratch_free(s->ev->q, ss->plans.arena);
    query_scratch_free(s->ev->q, ss->scratch);
}

/* Times that are looked at: steps, moved by @ and offset, and the lookback before them. */
static struct select_hints hints_of(const struct ev *ev, struct selector_ref ref, bool smoothed)
{
    int64_t lookback = ev->q->lookback_ms;
    int64_t last = ref_time(ref.at, ref.at_ms, ref.offset_ms, ev_time(ev, ev->steps - 1));
    struct select_hints h = {
        .mint_ms = ref_time(ref.at, ref.at_ms, ref.offset_ms, ev->start) - lookback + 1,
        .maxt_ms = smoothed ? last + lookback : last,
        .step_ms = ev->step,
    };

    hints_above(ev->q, &h);
    return h;
}

static int open_selector(struct ev *ev, const struct matcher *m, size_t n,
                         const struct selector_stream *model, struct stream **ret)
{
    static const struct stream_ops ops = {selector_next, selector_free};
    struct query *q = ev->q;
    struct select_hints hints = hints_of(ev, model->ref, model->smoothed);
    struct selector_stream *ss = arena_alloc(q->arena, sizeof *ss);
    int rc;

    if (!ss)
        return query_nomem(q);
    *ss = *model;
    ss->base = (struct stream){&ops, ev};
    ss->stats = q->hist_scope == HIST_STATS;
    rc = select_open(q, m, n, &hints, &ss->cursor);
    if (rc == 0)
        rc = row_init(ev, &ss->row, false);
    if (rc == 0)
        rc = query_scratch(q, &ss->scratch);
    if (rc < 0)
        return rc;
    ss->count = ss->cursor->ops->count(ss->cursor);
    ss->row.scratch = ss->scratch;
    rc = open_plain(ss);
    if (rc == 0)
        *ret = &ss->base;
    return rc;
}

int eval_selector(struct ev *ev, const struct node *n, enum selector_value what,
                  struct stream **ret)
{
    struct selector_stream model = {
        .ref = {n->selector.at, n->selector.at_ms, n->selector.offset_ms},
        .what = what,
        .smoothed = n->selector.smoothed && what == SELECT_VALUE,
        .pos = n->pos};

    return open_selector(ev, n->selector.matchers, n->selector.matcher_count, &model, ret);
}

int eval_select(struct ev *ev, const struct matcher *m, size_t n, struct selector_ref ref,
                enum selector_value what, struct stream **ret)
{
    struct selector_stream model = {.ref = ref, .what = what};

    return open_selector(ev, m, n, &model, ret);
}
