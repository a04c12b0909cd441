/* eval_range.c - functions over ranges: one series at a time, two pointers that walk its samples
 * while the window moves from step to step. The functions themselves are in window_*.c. */
#include "promql/eval.h"

struct range_stream {
    struct stream base;
    struct range_call call;
    window_fn *fn;
    struct series_cursor *cursor; /* of a selector ... */
    size_t at, count;
    struct stream *sub; /* ... or of a subquery, over sub_ev's steps */
    struct ev sub_ev;
    struct selector_ref ref;
    int64_t range_ms;
    double **args;
    size_t arg_count;
    bool stats; /* of histograms only count, sum and resets matter */
    bool bare;  /* not below a function: a subquery's own samples are counted, not its points */
    bool keeps_name,
        moves; /* moves: the result depends on the step even when the window does not */
    struct row row;
    struct arena *scratch;
    bool plain; /* series of plain floats are computed for all steps at once */
    struct plans plans;
    int64_t *sub_times;  /* of sub_ev's steps */
    struct ahead *ahead; /* NULL: none */
    struct range_call ahead_calls[AHEAD_THREADS_MAX];
};

/* --- samples of one series --- */
static int split_alloc(struct query *q, struct arena *a, size_t nf, size_t nh, struct samples *s,
                       bool st)
{
    int64_t *ft = arena_array(a, nf, sizeof *ft), *ht = arena_array(a, nh, sizeof *ht);
    double *fv = arena_array(a, nf, sizeof *fv);
    const struct histogram **hh = arena_array(a, nh, sizeof *hh);
    int64_t *fst = st ? arena_array(a, nf, sizeof *fst) : NULL,
            *hst = st ? arena_array(a, nh, sizeof *hst) : NULL;

    if (!ft || !ht || !fv || !hh || (st && (!fst || !hst)))
        return query_nomem(q);
    s->ft = ft;
    s->fv = fv;
    s->fst = fst;
    s->ht = ht;
    s->hh = hh;
    s->hst = hst;
    return 0;
}

static bool stale_at(const struct columns *c, size_t i)
{
    return c->hist && c->hist[i] ? histogram_is_stale(c->hist[i]) : is_stale_nan(c->v[i]);
}

/* The slow path: types apart, stale markers out, integer histograms made float. */
static int split_columns(struct query *q, struct arena *a, const struct columns *c,
                         struct samples *s)
{
    size_t nh = 0;
    int rc;

    for (size_t i = 0; c->hist && i < c->n; i++)
        nh += c->hist[i] != NULL;
    rc = split_alloc(q, a, c->n - nh, nh, s, c->st != NULL);
    for (size_t i = 0; rc == 0 && i < c->n; i++) {
        if (stale_at(c, i))
            continue;
        if (c->hist && c->hist[i]) {
            ((int64_t *)s->ht)[s->nh] = c->t[i];
            if (c->st)
                ((int64_t *)s->hst)[s->nh] = c->st[i];
            ((const struct histogram **)s->hh)[s->nh] = fhist_of(a, c->hist[i]);
            if (!s->hh[s->nh++])
                return query_nomem(q);
        } else {
            ((int64_t *)s->ft)[s->nf] = c->t[i];
            ((double *)s->fv)[s->nf] = c->v[i];
            if (c->st)
                ((int64_t *)s->fst)[s->nf] = c->st[i];
            s->nf++;
        }
    }
    return rc;
}

static bool values_fall(const double *v, size_t n)
{
    bool falls = false;

    for (size_t i = 1; i < n; i++)
        falls |= v[i] < v[i - 1];
    return falls;
}

static bool any_stale(const double *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (is_stale_nan(v[i]))
            return true;
    return false;
}

static int load_cursor(struct range_stream *rs, struct samples *s)
{
    struct query *q = rs->base.ev->q;
    struct columns c;
    size_t i = rs->at++;
    int rc = rs->cursor->ops->samples(rs->cursor, i, &c, q->err);

    if (rc == 0)
        rc = query_poll(q, c.n);
    if (rc == 0 && rs->stats && c.hist)
        rc = columns_to_stats(q, rs->scratch, &c);
    if (rc < 0)
        return rc;
    *s = (struct samples){.labels = *rs->cursor->ops->labels(rs->cursor, i)};
    if (!c.hist && !any_stale(c.v, c.n)) {
        s->nf = c.n;
        s->ft = c.t;
        s->fv = c.v;
        s->fst = c.st;
    } else {
        rc = split_columns(q, rs->scratch, &c, s);
    }
    s->falls = values_fall(s->fv, s->nf);
    return rc;
}

/* Reset hints of a subquery's points say nothing about the points between: they become unknown. */
static const struct histogram *without_hint(struct arena *a, const struct histogram *h)
{
    struct histogram *copy;

    if (h->hint != HIST_HINT_RESET && h->hint != HIST_HINT_NOT_RESET)
        return h;
    copy = arena_dup(a, h, sizeof *h);
    if (copy)
        copy->hint = HIST_HINT_UNKNOWN;
    return copy;
}

/* 1: a series; 0: no more. */
static int load_row(struct range_stream *rs, struct samples *s)
{
    struct query *q = rs->base.ev->q;
    struct row r;
    size_t nh = 0;
    int rc = stream_next(rs->sub, &r);

    if (rc <= 0)
        return rc;
    *s = (struct samples){.labels = r.labels, .drop_name = r.drop_name};
    if (!memchr(r.kind, POINT_NONE, rs->sub_ev.steps) && !(r.h && memchr(r.kind, POINT_HIST, rs->sub_ev.steps))) {
        s->nf = rs->sub_ev.steps;
        s->ft = rs->sub_times;
        s->fv = r.v;
        s->falls = values_fall(s->fv, s->nf);
        return 1;
    }
    for (size_t i = 0; r.h && i < rs->sub_ev.steps; i++)
        nh += r.kind[i] == POINT_HIST;
    rc = split_alloc(q, rs->scratch, rs->sub_ev.steps - nh, nh, s, false);
    for (size_t i = 0; rc == 0 && i < rs->sub_ev.steps; i++) {
        if (r.kind[i] == POINT_FLOAT) {
            ((int64_t *)s->ft)[s->nf] = ev_time(&rs->sub_ev, i);
            ((double *)s->fv)[s->nf++] = r.v[i];
        } else if (r.kind[i] == POINT_HIST) {
            ((int64_t *)s->ht)[s->nh] = ev_time(&rs->sub_ev, i);
            ((const struct histogram **)s->hh)[s->nh] = without_hint(rs->scratch, r.h[i]);
            if (!s->hh[s->nh++])
                return query_nomem(q);
        }
    }
    s->falls = values_fall(s->fv, s->nf);
    return rc < 0 ? rc : 1;
}

/* 1: a series; 0: no more. */
static int load(struct range_stream *rs, struct samples *s)
{
    int rc;

    arena_reset(rs->scratch);
    if (rs->sub)
        return load_row(rs, s);
    if (rs->at == rs->count)
        return 0;
    rc = load_cursor(rs, s);
    return rc < 0 ? rc : 1;
}

/* --- windows --- */
static size_t hists_size(const struct samples *s, size_t from, size_t to)
{
    size_t n = 0;

    for (size_t i = from; i < to; i++)
        n += hist_samples(s->hh[i]);
    return n;
}

/* As seek_time; mostly it is the next one or the one after that. */
static inline size_t seek_near(const int64_t *times, size_t n, size_t i, int64_t t)
{
    for (int k = 0; k < 3; k++, i++)
        if (i >= n || times[i] >= t)
            return i;
    return seek_time(times, n, i, t);
}

static void window_move(const struct range_stream *rs, struct window *w, int64_t ts)
{
    const struct samples *s = w->s;
    int64_t lookback = rs->call.q->lookback_ms, lo, hi;

    w->end = hi = ref_time(rs->ref.at, rs->ref.at_ms, rs->ref.offset_ms, ts);
    w->start = lo = w->end - rs->range_ms;
    if (rs->call.anchored || rs->call.smoothed)
        lo -= lookback;
    if (rs->call.smoothed)
        hi += lookback;
    w->f0 = seek_near(s->ft, s->nf, w->f0, lo + 1);
    w->f1 = seek_near(s->ft, s->nf, MAX(w->f0, w->f1), hi + 1);
    if (s->nh == 0)
        return;
    w->h0 = seek_time(s->ht, s->nh, w->h0, lo + 1);
    w->h1 = seek_time(s->ht, s->nh, MAX(w->h0, w->h1), hi + 1);
}

/* Moves the window to step i; returns how many samples are in it. */
static inline size_t window_to(const struct range_stream *rs, struct window *w, size_t i, size_t *ret_fresh)
{
    size_t f1 = w->f1, h1 = w->h1;

    *ret_fresh = 0;
    w->ts = ev_time(rs->base.ev, i);
    if (i == 0 || rs->ref.at == AT_NONE) {
        window_move(rs, w, w->ts);
        *ret_fresh = w->f1 - MAX(w->f0, f1) + hists_size(w->s, MAX(w->h0, h1), w->h1);
    }
    return w->f1 - w->f0 + hists_size(w->s, w->h0, w->h1);
}

/* The same, counted. */
static int window_step(struct range_stream *rs, struct window *w, size_t i, size_t *ret_samples)
{
    struct ev *ev = rs->base.ev;
    size_t fresh, total = window_to(rs, w, i, &fresh);

    if (!rs->bare || !rs->sub)
        ev_count(ev, i, total, fresh);
    *ret_samples = total;
    return query_poll(ev->q, total);
}

static int run_windows(struct range_stream *rs, const struct samples *s, bool *ret_any,
                       bool *ret_floats)
{
    struct ev *ev = rs->base.ev;
    struct window w = {.s = s, .range_s = (double)rs->range_ms / 1000};
    double args[FUNCTION_ARGS_MAX];
    struct point p = {0};
    size_t most = 0;
    int rc = s->nh ? row_need_hist(ev, &rs->row) : 0;

    w.args = args;
    for (size_t i = 0; rc == 0 && i < ev->steps; i++) {
        size_t samples;

        rc = window_step(rs, &w, i, &samples);
        most = MAX(most, samples);
        if (rc == 0 && (i == 0 || rs->ref.at == AT_NONE || rs->moves)) {
            for (size_t k = 0; k < rs->arg_count; k++)
                args[k] = rs->args[k][i];
            p = (struct point){0};
            if (samples > 0)
                rc = rs->fn(&rs->call, &w, &p);
        }
        row_set(&rs->row, i, &p);
        *ret_any |= p.kind != POINT_NONE;
        *ret_floats |= p.kind == POINT_FLOAT;
    }
    return rc < 0 ? rc : query_peak(ev->q, most);
}

/* --- plain series: all steps at once --- */
static void step_by_step(const struct range_stream *rs, struct range_call *call, const struct samples *s, const struct plan *p, size_t steps, struct ahead_row *ret,
                         bool *ret_ok)
{
    double args[FUNCTION_ARGS_MAX];
    struct window w = {.s = s, .range_s = (double)rs->range_ms / 1000, .args = args};

    for (size_t k = 0; k < steps && *ret_ok; k++) {
        struct point out = {0};

        w.ts = ev_time(rs->base.ev, k);
        w.end = rs->plans.spec.start_ms + (int64_t)k * rs->plans.spec.step_ms;
        w.start = w.end - rs->range_ms;
        w.f0 = p->first[k];
        w.f1 = p->end[k];
        for (size_t n = 0; n < rs->arg_count; n++)
            args[n] = rs->args[n][k];
        if (w.f1 > w.f0)
            *ret_ok = rs->fn(call, &w, &out) >= 0;
        ret->kind[k] = out.kind;
        ret->v[k] = out.v;
    }
}

/* Nobody looks at the clock or the cancel flag while all steps of a series are computed at once: windows that hold more samples than this, all together, go step by step. rate() looks at two
 * samples of a window, whatever is in it. */
enum { PLAIN_TOTAL_MAX = 1 << 22 };

/* The series has floats only, and the function has nothing to say about those: see window_*.c. false: to be computed as usual. */
static bool plain_steps(const struct range_stream *rs, struct range_call *call, struct plans *plans, struct arena *scratch, const struct samples *s,
                        struct ahead_row *ret)
{
    size_t all = rs->base.ev->steps, steps = rs->ref.at != AT_NONE && !rs->moves ? 1 : all;
    struct plan *p = plan_of(plans, s->ft, s->nf);
    bool ok = p != NULL && (p->total <= PLAIN_TOTAL_MAX || rs->fn == window_rate);

    if (!ok)
        return false;
    ret->total = p->total;
    ret->fresh = p->fresh;
    ret->most = p->most;
    if (rs->fn == window_rate) {
        ok = window_rate_steps(call, s, plans, p, ret);
        steps = all;
    } else if (!window_over_steps(call, s, p, steps, ret)) {
        call->sorted0 = call->sorted1 = 0;
        call->sort = arena_array(scratch, s->nf, sizeof *call->sort);
        ok = call->sort != NULL;
        step_by_step(rs, call, s, p, steps, ret, &ok);
    }
    for (size_t k = steps; ok && k < all; k++) {
        ret->kind[k] = ret->kind[0];
        ret->v[k] = ret->v[0];
    }
    ret->floats = ret->any = ok && memchr(ret->kind, POINT_FLOAT, all);
    return ok;
}

static bool range_ahead(void *arg, struct ahead_lane *lane, size_t i, struct ahead_row *ret)
{
    struct range_stream *rs = arg;
    struct samples s = {0};
    struct columns c;
    struct err err;

    if (rs->cursor->ops->samples_in(rs->cursor, i, lane->scratch, &c, &err) < 0 || c.hist || c.st || any_stale(c.v, c.n))
        return false;
    s.nf = c.n;
    s.ft = c.t;
    s.fv = c.v;
    s.falls = values_fall(c.v, c.n);
    return plain_steps(rs, &rs->ahead_calls[lane->index], &lane->plans, lane->scratch, &s, ret);
}

static bool args_in_unit(const struct range_stream *rs)
{
    for (size_t n = 0; n < rs->arg_count; n++)
        for (size_t i = 0; i < rs->base.ev->steps; i++)
            if (!(rs->args[n][i] >= 0 && rs->args[n][i] <= 1))
                return false;
    return true;
}

/* Functions that touch nothing but their window when it has plain floats only. */
static bool may_run_plain(const struct range_stream *rs)
{
    if (rs->call.anchored || rs->call.smoothed || rs->call.q->opt->stats_per_step)
        return false;
    if (rs->fn == window_quantile)
        return args_in_unit(rs); /* others are annotated */
    return rs->fn == window_rate || rs->fn == window_instant || rs->fn == window_aggregate || rs->fn == window_over_time;
}

static int open_plain(struct range_stream *rs)
{
    const struct ev *ev = rs->base.ev;
    struct plan_spec spec = {.start_ms = ref_time(rs->ref.at, rs->ref.at_ms, rs->ref.offset_ms, ev->start),
                             .step_ms = rs->ref.at == AT_NONE ? ev->step : 0,
                             .range_ms = rs->range_ms,
                             .steps = ev->steps};
    struct arena *a;
    int rc = query_scratch(ev->q, &a);

    if (rc < 0)
        return rc;
    plans_init(&rs->plans, &spec, a);
    rs->plain = may_run_plain(rs);
    if (!rs->plain || !rs->cursor || !rs->cursor->ops->samples_in)
        return 0;
    for (unsigned i = 0; i < AHEAD_THREADS_MAX; i++)
        rs->ahead_calls[i] = rs->call;
    return ahead_open(ev->q, &spec, rs->count, range_ahead, rs, &rs->ahead);
}

/* 1: computed; 0: not a plain series. */
static int run_plain(struct range_stream *rs, const struct samples *s, bool *ret_any, bool *ret_floats)
{
    struct query *q = rs->call.q;
    struct ahead_row r = {.kind = rs->row.kind, .v = rs->row.v};
    int rc;

    if (!rs->plain || s->nh > 0 || s->fst || !plain_steps(rs, &rs->call, &rs->plans, rs->scratch, s, &r))
        return 0;
    ev_count(rs->base.ev, 0, r.total, r.fresh);
    *ret_any = r.any;
    *ret_floats = r.floats;
    rc = query_poll(q, r.total);
    if (rc == 0)
        rc = query_peak(q, r.most);
    if (rc == 0)
        rc = query_scratch_settle(q, rs->plans.arena, rs->plans.arena->used);
    return rc < 0 ? rc : 1;
}

/* 1: the next row was ready; 0: it must be computed here. */
static int take_ahead(struct range_stream *rs, struct samples *s, struct row *ret, bool *ret_any, bool *ret_floats)
{
    struct ev *ev = rs->base.ev;
    const struct ahead_row *r;
    int rc = ahead_row(rs->ahead, rs->at, &r);

    if (rc < 0 || !r->ready)
        return rc;
    ev_count(ev, 0, r->total, r->fresh);
    rc = query_poll(ev->q, r->total);
    if (rc == 0)
        rc = query_peak(ev->q, r->most);
    *s = (struct samples){.labels = *rs->cursor->ops->labels(rs->cursor, rs->at++)};
    *ret = (struct row){.kind = r->kind, .v = r->v, .scratch = rs->scratch};
    *ret_any = r->any;
    *ret_floats = r->floats;
    return rc < 0 ? rc : 1;
}

/* rate() of something that does not look like a counter. */
static void hint_counter(struct range_stream *rs, const struct labels *ls)
{
    struct query *q = rs->call.q;
    struct str name = metric_name(ls), type;
    struct buf b;

    if (name.n == 0)
        return;
    if (!q->opt->type_and_unit_labels) {
        if (!str_has_suffix(name, STR("_total")) && !str_has_suffix(name, STR("_sum")) &&
            !str_has_suffix(name, STR("_count")) && !str_has_suffix(name, STR("_bucket")))
            annotate_name(q, rs->call.pos,
                          "PromQL info: metric might not be a counter, name does not end in "
                          "_total/_sum/_count/_bucket: ",
                          name);
        return;
    }
    type = labels_get(ls, STR("__type__"));
    if (str_eqz(type, "counter") || str_eqz(type, "histogram"))
        return;
    buf_init(&b, PROMQL_TEXT_BYTES_MAX);
    buf_z(&b, "PromQL info: metric might not be a counter, __type__ label is not set to "
              "\"counter\" or \"histogram\", got ");
    labels_quote(&b, type);
    buf_z(&b, ": ");
    buf_char(&b, '\0');
    if (buf_ok(&b))
        annotate_name(q, rs->call.pos, b.p, name);
    buf_fini(&b);
}

/* 1: a series, all steps; 0: no more. */
static int run_series(struct range_stream *rs, struct samples *s, struct row *ret, bool *ret_any, bool *ret_floats)
{
    int rc = rs->ahead && rs->at < rs->count ? take_ahead(rs, s, ret, ret_any, ret_floats) : 0;

    if (rc != 0)
        return rc;
    rc = load(rs, s);
    if (rc <= 0)
        return rc;
    rc = run_plain(rs, s, ret_any, ret_floats);
    if (rc == 0) {
        rs->call.sort = arena_array(rs->scratch, s->nf, sizeof *rs->call.sort);
        if (!rs->call.sort)
            return query_nomem(rs->call.q);
        rs->call.sorted0 = rs->call.sorted1 = 0;
        rc = run_windows(rs, s, ret_any, ret_floats);
    }
    if (rc >= 0)
        rc = query_scratch_settle(rs->call.q, rs->scratch, rs->scratch->used);
    *ret = rs->row;
    return rc < 0 ? rc : 1;
}

static int range_next(struct stream *st, struct row *ret)
{
    struct range_stream *rs = CONTAINER_OF(st, struct range_stream, base);
    enum function_id id = rs->call.fn->id;
    struct samples samples;

    for (;;) {
        bool any = false, floats = false;
        int rc = run_series(rs, &samples, ret, &any, &floats);

        if (rc <= 0)
            return rc;
        if (floats && (id == FN_RATE || id == FN_INCREASE))
            hint_counter(rs, &samples.labels);
        if (!any)
            continue;
        ret->labels = samples.labels;
        ret->drop_name = samples.drop_name;
        if (!rs->keeps_name)
            rc = row_drop_name(st->ev, ret);
        return rc < 0 ? rc : 1;
    }
}

static void range_free(struct stream *s)
{
    struct range_stream *rs = CONTAINER_OF(s, struct range_stream, base);

    ahead_stop(rs->ahead);
    stream_free(rs->sub);
    query_scratch_free(s->ev->q, rs->plans.arena);
    query_scratch_free(s->ev->q, rs->scratch);
}

/* --- setting up --- */
static window_fn *window_of(enum function_id id)
{
    switch (id) {
    case FN_RATE:
    case FN_INCREASE:
    case FN_DELTA:
        return window_rate;
    case FN_IRATE:
    case FN_IDELTA:
        return window_instant;
    case FN_SUM_OVER_TIME:
    case FN_AVG_OVER_TIME:
        return window_aggregate;
    case FN_QUANTILE_OVER_TIME:
    case FN_MAD_OVER_TIME:
        return window_quantile;
    case FN_CHANGES:
        return window_changes;
    case FN_RESETS:
        return window_resets;
    case FN_DOUBLE_EXPONENTIAL_SMOOTHING:
    case FN_HOLT_WINTERS:
        return window_smoothing;
    case FN_DERIV:
    case FN_PREDICT_LINEAR:
        return window_regression;
    default:
        return window_over_time;
    }
}

static int check_modifiers(struct query *q, const struct range_call *c)
{
    enum function_id id = c->fn->id;
    bool rates = id == FN_RATE || id == FN_INCREASE || id == FN_DELTA;

    if (c->anchored && !rates && id != FN_CHANGES && id != FN_RESETS)
        return query_fail(q,
                          "anchored modifier can only be used with: changes, delta, increase, "
                          "rate, resets - not with %s",
                          c->fn->name);
    if (c->smoothed && !rates)
        return query_fail(
            q, "smoothed modifier can only be used with: delta, increase, rate - not with %s",
            c->fn->name);
    return 0;
}

/* The steps inside of a subquery: multiples of its step in (start - range, end], both ends moved by
 * offset and @. */
static int sub_ev_init(struct ev *ev, const struct node *n, struct ev *ret)
{
    struct query *q = ev->q;
    int64_t step = n->subquery.step_ms, from, first, last;

    if (step == 0)
        step = q->opt->subquery_step_ms ? q->opt->subquery_step_ms : SUBQUERY_STEP_MS_DEFAULT;
    last = ref_time(n->subquery.at, n->subquery.at_ms, n->subquery.offset_ms,
                    ev_time(ev, ev->steps - 1));
    from = ref_time(n->subquery.at, n->subquery.at_ms, n->subquery.offset_ms, ev->start) -
           n->subquery.range_ms;
    first = step * (from / step);
    if (first <= from)
        first += step;
    *ret = (struct ev){.q = q, .start = first, .end = last, .step = step, .outer = ev};
    if (first > last)
        return 0;
    if ((uint64_t)(last - first) / (uint64_t)step + 1 > EVAL_STEPS_MAX)
        return err_set(q->err, RC_LIMIT, "subquery has more than %d steps", EVAL_STEPS_MAX);
    ret->steps = (size_t)((last - first) / step) + 1;
    return 0;
}

static int open_subquery(struct range_stream *rs, struct ev *ev, const struct node *n)
{
    enum hist_scope scope;
    int rc = sub_ev_init(ev, n, &rs->sub_ev);

    rs->ref = (struct selector_ref){n->subquery.at, n->subquery.at_ms, n->subquery.offset_ms};
    rs->range_ms = n->subquery.range_ms;
    if (rc < 0 || rs->sub_ev.steps == 0)
        return rc;
    rs->sub_times = arena_array(ev->q->arena, rs->sub_ev.steps, sizeof *rs->sub_times);
    if (!rs->sub_times)
        return query_nomem(ev->q);
    for (size_t i = 0; i < rs->sub_ev.steps; i++)
        rs->sub_times[i] = ev_time(&rs->sub_ev, i);
    rs->sub_ev.count = rs->bare && ev->count;
    scope = query_hist_scope(ev->q, HIST_WHOLE);
    rc = eval_stream(&rs->sub_ev, n->subquery.expr, &rs->sub);
    ev->q->hist_scope = scope;
    return rc;
}

static int open_range(struct range_stream *rs, struct ev *ev, const struct node *n)
{
    struct query *q = ev->q;
    int64_t lookback = q->lookback_ms;
    struct select_hints h = {.step_ms = ev->step, .range_ms = n->selector.range_ms};
    int rc;

    hints_above(q, &h);
    rs->ref = (struct selector_ref){n->selector.at, n->selector.at_ms, n->selector.offset_ms};
    rs->range_ms = n->selector.range_ms;
    rs->call.pos = n->pos;
    rs->call.anchored = n->selector.anchored;
    rs->call.smoothed = n->selector.smoothed;
    h.mint_ms =
        ref_time(rs->ref.at, rs->ref.at_ms, rs->ref.offset_ms, ev->start) - rs->range_ms + 1;
    h.maxt_ms = ref_time(rs->ref.at, rs->ref.at_ms, rs->ref.offset_ms, ev_time(ev, ev->steps - 1));
    if (rs->call.anchored || rs->call.smoothed)
        h.mint_ms -= lookback;
    if (rs->call.smoothed)
        h.maxt_ms += lookback;
    rc = rs->call.fn ? check_modifiers(q, &rs->call) : 0;
    if (rc == 0)
        rc = select_open(q, n->selector.matchers, n->selector.matcher_count, &h, &rs->cursor);
    if (rc == 0)
        rs->count = rs->cursor->ops->count(rs->cursor);
    return rc;
}

static int open_args(struct range_stream *rs, struct ev *ev, const struct node *call)
{
    struct query *q = ev->q;

    rs->args = arena_array(q->arena, call->call.arg_count, sizeof *rs->args);
    if (!rs->args)
        return query_nomem(q);
    for (size_t i = 0; i < call->call.arg_count; i++) {
        int rc;

        if (call->call.args[i]->value == VALUE_MATRIX)
            continue;
        ASSERT(rs->arg_count < FUNCTION_ARGS_MAX);
        rc = eval_scalar(ev, call->call.args[i], &rs->args[rs->arg_count++]);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static const struct node *range_arg(const struct node *call)
{
    for (size_t i = 0; i < call->call.arg_count; i++)
        if (call->call.args[i]->value == VALUE_MATRIX)
            return node_unwrap(call->call.args[i]);
    return NULL;
}

static int range_open(struct range_stream *rs, struct ev *ev, const struct node *arg)
{
    int rc = query_scratch(ev->q, &rs->scratch);

    rs->call.q = ev->q;
    rs->stats = ev->q->hist_scope == HIST_STATS;
    rs->call.scratch = rs->scratch;
    if (rc < 0)
        return rc;
    return arg->type == NODE_SUBQUERY ? open_subquery(rs, ev, arg) : open_range(rs, ev, arg);
}

int eval_range_call(struct ev *ev, const struct node *call, struct stream **ret)
{
    static const struct stream_ops ops = {range_next, range_free};
    const struct function *fn = call->call.fn;
    struct range_stream *rs = arena_zalloc(ev->q->arena, sizeof *rs);
    int rc;

    if (!rs)
        return query_nomem(ev->q);
    rs->base = (struct stream){&ops, ev};
    rs->call.fn = fn;
    rs->call.call = call;
    rs->fn = window_of(fn->id);
    rs->keeps_name = fn->id == FN_LAST_OVER_TIME || fn->id == FN_FIRST_OVER_TIME;
    rc = open_args(rs, ev, call);
    rs->moves = rs->arg_count > 0;
    if (rc == 0)
        rc = row_init(ev, &rs->row, false);
    if (rc == 0)
        rc = range_open(rs, ev, range_arg(call));
    rs->row.scratch = rs->scratch;
    if (rc == 0)
        rc = open_plain(rs);
    if (rc == 0)
        *ret = &rs->base;
    return rc;
}

/* --- a bare range selector or subquery: its samples are the result --- */
static int copy_samples(struct query *q, const struct window *w, struct result_series *ret)
{
    const struct samples *s = w->s;
    size_t f = w->f0, h = w->h0;

    ret->s = arena_array(q->arena, w->f1 - f + w->h1 - h, sizeof *ret->s);
    ret->labels = labels_dup(q->arena, &s->labels);
    if (!ret->s || !ret->labels.v)
        return query_nomem(q);
    while (f < w->f1 || h < w->h1) {
        struct result_sample *out = &ret->s[ret->n++];

        if (h == w->h1 || (f < w->f1 && s->ft[f] < s->ht[h])) {
            *out = (struct result_sample){.t = s->ft[f], .v = s->fv[f]};
            f++;
        } else {
            *out = (struct result_sample){.t = s->ht[h], .h = fhist_dup(q->arena, s->hh[h])};
            if (!out->h)
                return query_nomem(q);
            h++;
        }
    }
    return 0;
}

static int add_series(struct query *q, struct query_result *res, size_t *cap,
                      const struct result_series *one)
{
    if (res->series_count == *cap) {
        size_t want = *cap ? *cap * 2 : 8;
        struct result_series *v = arena_array(q->arena, want, sizeof *v);

        if (!v)
            return query_nomem(q);
        if (*cap)
            memcpy(v, res->series, *cap * sizeof *v);
        res->series = v;
        *cap = want;
    }
    res->series[res->series_count++] = *one;
    return 0;
}

static int matrix_series(struct range_stream *rs, struct samples *s, struct query_result *res,
                         size_t *cap)
{
    struct query *q = rs->call.q;
    struct window w = {.s = s};
    struct samples extended;
    struct result_series one = {0};
    size_t samples = 0;
    int rc = 0;

    if (s->drop_name)
        rc = labels_drop_meta(q, &s->labels, &s->labels);
    if (rc == 0)
        rc = window_step(rs, &w, 0, &samples);
    if (rc == 0 && samples > 0 && (rs->call.anchored || rs->call.smoothed))
        rc = window_extend(&rs->call, &w, &extended, &samples);
    if (rc < 0 || samples == 0)
        return rc;
    rc = query_hold(q, samples);
    if (rc == 0)
        rc = copy_samples(q, &w, &one);
    return rc < 0 ? rc : add_series(q, res, cap, &one);
}

int eval_range_matrix(struct ev *ev, const struct node *n, struct query_result *ret)
{
    struct range_stream rs = {.base = {.ev = ev}, .bare = true};
    struct samples s;
    size_t cap = 0;
    int rc = range_open(&rs, ev, n);

    while (rc == 0 && (rc = load(&rs, &s)) > 0)
        rc = matrix_series(&rs, &s, ret, &cap);
    stream_free(rs.sub);
    return rc;
}
