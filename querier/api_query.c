/* api_query.c - query and query_range. */
#include "querier/api.h"
#include "querier/scatter.h"

#include "common/model/duration.h"

#include <stdio.h>
#include <stdlib.h>

/* What a request asks for. */
struct query_params {
    struct str text;
    int64_t start_ms, end_ms, step_ms; /* instant: start == end, step 0 */
    int64_t lookback_ms, timeout_ms;   /* 0: the default */
    size_t limit;
    bool stats, per_step, trace, no_cache;
    struct str stats_deprecated; /* the value, when it is neither true nor all */
    uint64_t warn_samples, fail_samples;
};

/* Everything that the answer is written from; freed by the stream. */
struct answer {
    struct arena arena;
    struct query_result res;
    struct result_json json;
    struct buf first; /* written before the answer was begun */
    struct trace *trace;
    struct buf trace_json;
};

/* --- parameters, in the order in which Prometheus finds fault with them --- */

static int common_params(const struct api_request *r, struct query_params *p, struct err *err)
{
    struct str timeout = http_param(r->http, "timeout"),
               lookback = http_param(r->http, "lookback_delta"),
               stats = http_param(r->http, "stats");
    int rc = 0;

    p->text = http_param(r->http, "query");
    if (timeout.n && duration_param_parse_ms(timeout, &p->timeout_ms, err) < 0)
        return param_invalid("timeout", err);
    if (timeout.n)
        p->timeout_ms = MAX(p->timeout_ms, 1);
    if (lookback.n && duration_param_parse_ms(lookback, &p->lookback_ms, err) < 0)
        return err_wrap(err, RC_INVALID, "error parsing lookback delta duration");
    p->stats = stats.n > 0;
    p->per_step = str_eqz(stats, "all");
    if (p->stats && !p->per_step && !str_eqz(stats, "true"))
        p->stats_deprecated = stats;
    p->no_cache = str_eqz(http_param(r->http, "nocache"), "1") ||
                  str_ieq(str_trim(http_header(r->http, "Cache-Control")), STR("no-store"));
    p->trace = r->q->cfg.tracing && str_eqz(http_param(r->http, "trace"), "1");
    rc = param_count(r, "max_samples_processed_warning_threshold", &p->warn_samples, err);
    if (rc == 0)
        rc = param_count(r, "max_samples_processed_error_threshold", &p->fail_samples, err);
    if (rc == 0 && r->limits->max_query_text && p->text.n > r->limits->max_query_text) {
        err_set(err, RC_INVALID, "the expression has %zu bytes, limit %llu (max_query_text)",
                p->text.n, (unsigned long long)r->limits->max_query_text);
        rc = param_invalid("query", err);
    }
    return rc;
}

static int instant_params(const struct api_request *r, struct query_params *p, struct err *err)
{
    int rc = param_limit(r, "limit", &p->limit, err);

    p->start_ms = clock_wall_ms(r->q->deps.clock);
    if (rc == 0)
        rc = param_time_default(r, "time", &p->start_ms, NULL, err);
    p->end_ms = p->start_ms;
    return rc == 0 ? common_params(r, p, err) : rc;
}

static int64_t floor_to_step(int64_t t, int64_t step)
{
    int64_t rest = t % step;

    return t - (rest < 0 ? rest + step : rest);
}

static int too_many_points(const struct api_request *r, struct err *err)
{
    char digits[24], text[32];
    int n = snprintf(digits, sizeof digits, "%lld", (long long)r->limits->max_points), at = 0;

    for (int i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0)
            text[at++] = ',';
        text[at++] = digits[i];
    }
    text[at] = '\0';
    return err_set(err, RC_INVALID,
                   "exceeded maximum resolution of %s points per timeseries. Try decreasing the "
                   "query resolution (?step=XX)",
                   text);
}

static int range_params(const struct api_request *r, struct query_params *p, struct err *err)
{
    int rc = param_limit(r, "limit", &p->limit, err);

    if (rc == 0)
        rc = param_time(r, "start", &p->start_ms, err);
    if (rc == 0)
        rc = param_time(r, "end", &p->end_ms, err);
    if (rc < 0)
        return rc;
    if (p->end_ms < p->start_ms) {
        err_set(err, RC_INVALID, "end timestamp must not be before start time");
        return param_invalid("end", err);
    }
    rc = param_step(r, &p->step_ms, err);
    if (rc < 0)
        return rc;
    if (r->limits->max_points &&
        ((uint64_t)p->end_ms - (uint64_t)p->start_ms) / (uint64_t)p->step_ms >
            (uint64_t)r->limits->max_points)
        return too_many_points(r, err);
    rc = common_params(r, p, err);
    if (rc == 0 && r->limits->align_queries_with_step) {
        p->start_ms = floor_to_step(p->start_ms, p->step_ms);
        p->end_ms = floor_to_step(p->end_ms, p->step_ms);
    }
    return rc == 0 ? range_check(r, p->start_ms, p->end_ms, err) : rc;
}

/* --- running --- */

/* Limits are those of an instant query, or of each 24 h of a range query. */
static uint32_t days_of(const struct query_params *p)
{
    return (uint32_t)MIN(MAX((p->end_ms - p->start_ms + FETCH_DAY_MS - 1) / FETCH_DAY_MS, 1),
                         (int64_t)FETCH_DAYS_MAX);
}

static uint64_t per_day(uint64_t limit, const struct query_params *p)
{
    uint64_t out;

    return __builtin_mul_overflow(limit, days_of(p), &out) ? UINT64_MAX : out;
}

static void source_limits(const struct api_request *r, const struct query_params *p,
                          struct fetch_day *days, struct source *s)
{
    const struct limits *l = r->limits;

    s->limits.day0_ms = p->start_ms;
    s->limits.days = days_of(p);
    s->days = days;
    s->limits.series_max = (uint64_t)l->max_query_series;
    s->limits.chunks_max = (uint64_t)l->max_query_chunks;
    s->limits.bytes_max = l->max_query_bytes;
    if (l->max_query_lookback_ms > 0)
        s->mint_floor_ms = clock_wall_ms(r->q->deps.clock) - l->max_query_lookback_ms;
}

enum { RULES_MS = 3600 * 1000 }; /* so long may results hold what a rule of retention has come to hide */
enum { SETTLE_MS = 60000 }; /* a sample that was just young enough may be on its way for so long */

/* What arrives now is younger than this; INT64_MIN: it may be of any age, or results depend on the time of the question. */
static int64_t settled_ms(const struct api_request *r)
{
    const struct limits *l = r->limits;

    if (r->tenant_count > 1 || l->max_sample_age_ms <= 0 || l->max_query_lookback_ms > 0)
        return INT64_MIN;
    return clock_wall_ms(r->q->deps.clock) - MAX(l->max_sample_age_ms, l->out_of_order_window_ms) - SETTLE_MS;
}

/* Whether the query reaches back to where retention is about to cut. */
static bool past_retention(const struct api_request *r, const struct query_opt *opt)
{
    int64_t period = r->limits->retention_period_ms;

    return period > 0 && opt->start_ms < clock_wall_ms(r->q->deps.clock) - period + 7 * FETCH_DAY_MS;
}

/* Range queries go by the results cache, unless the client wants none of it. */
static int run_cached(struct api_request *r, const struct query_params *p, struct scatter *s,
                      struct query_result *ret, struct err *err)
{
    const struct query_opt *opt = s->opt;
    struct cached_query cq = {.horizon_ms = settled_ms(r)};
    struct blocks_view *view;
    uint64_t gens[3];
    bool young;

    if (p->no_cache || opt->step_ms == 0 || cq.horizon_ms == INT64_MIN ||
        blocks_view(r->q->blocks, r->tenants[0], BLOCKS_VIEW_AGE_MS, &view, NULL) < 0)
        return scatter_run(s, opt->start_ms, opt->end_ms, ret, err);
    gens[0] = view->gen;
    gens[1] = view->tenant_gen;
    /* Others who take part may not know of the last deletion yet. */
    young = view->tombstone_seq && clock_mono_ms(r->q->deps.clock) - view->tombstones_since_ms < 3 * BLOCKS_VIEW_AGE_MS;
    /* What rules of retention hide grows with the time. */
    gens[2] = r->limits->retention_rules.n || past_retention(r, opt) ? (uint64_t)(clock_wall_ms(r->q->deps.clock) / RULES_MS) ^ r->limits->generation << 32 : 0;
    blocks_view_unref(view);
    if (young)
        return scatter_run(s, opt->start_ms, opt->end_ms, ret, err);
    cq.generation = hash64(gens, sizeof gens, 0);
    cq.key = cached_key(str_of(r->tenant_text), p->text, opt);
    return cached_run(r->q->results, &cq, s->ast->root, opt, scatter_run, s, ret, err);
}

static int run(struct api_request *r, const struct query_params *p, struct promql_ast *ast,
               struct source *src, const struct query_opt *opt, struct query_result *ret,
               struct err *err)
{
    struct scatter s;
    int rc;

    scatter_init(&s, &r->q->cfg.scatter, opt, src, ast);
    rc = run_cached(r, p, &s, ret, err);
    scatter_fini(&s);
    return rc;
}

/* Keys as Mimir's query statistics have them. */
static void log_if_slow(const struct api_request *r, const struct query_params *p, const struct fetch_used *used,
                        const struct query_result *res, int rc)
{
    int64_t ns = clock_mono_ns(r->q->deps.clock) - r->queued_ns;
    char *text;

    if (r->q->cfg.slow_query_ms <= 0 || ns < r->q->cfg.slow_query_ms * 1000000)
        return;
    text = str_dupz(p->text);
    log_info(r->q->deps.log, "slow query", "user", r->tenant_text, "status", rc_name(rc), "response_time_seconds", log_f64((double)ns / 1e9),
             "queue_time_seconds", log_f64((double)(r->begun_ns - r->queued_ns) / 1e9), "param_query", text, "param_start", log_i64(p->start_ms), "param_end",
             log_i64(p->end_ms), "param_step", log_i64(p->step_ms), "fetched_series_count", log_i64((int64_t)used->series), "fetched_chunk_bytes",
             log_i64((int64_t)used->bytes), "samples_processed", log_i64((int64_t)res->stats.samples_total), "request_id", http_request_id(r->http), "trace_id",
             http_trace_id(r->http));
    free(text);
}

static int evaluate(struct api_request *r, const struct query_params *p, struct promql_ast *ast,
                    struct answer *an, struct err *err)
{
    struct query_opt opt = {
        .start_ms = p->start_ms,
        .end_ms = p->end_ms,
        .step_ms = p->step_ms,
        .lookback_ms = p->lookback_ms > 0 ? p->lookback_ms : r->q->cfg.lookback_ms,
        .samples_max = r->limits->max_query_samples
                           ? (size_t)per_day((uint64_t)r->limits->max_query_samples, p)
                           : SIZE_MAX / 2,
        .read_max = per_day((uint64_t)r->limits->max_query_samples, p),
        .samples_rule = "max_query_samples",
        .processed_max = p->fail_samples,
        .processed_rule = "max_samples_processed_error_threshold",
        .stats_per_step = p->per_step,
        .delayed_name_removal = true,
        .cancel = http_cancel_flag(r->http),
        .arena = &an->arena,
        .helpers = &r->q->helpers,
        .trace = trace_root(an->trace),
    };
    int64_t timeout = r->limits->query_timeout_ms;
    struct fetch_day *days;
    struct source src;
    int rc;

    if (p->timeout_ms && (timeout <= 0 || p->timeout_ms < timeout))
        timeout = p->timeout_ms;
    api_deadline(r, timeout, &opt.deadline_mono_ns);
    source_init(&src, &r->q->env, r->tenants, r->tenant_count, opt.deadline_mono_ns, opt.cancel);
    days = arena_zalloc(&an->arena, days_of(p) * sizeof *days);
    if (!days)
        return err_set(err, RC_NOMEM, "select: memory budget is spent");
    source_limits(r, p, days, &src);
    rc = run(r, p, ast, &src, &opt, &an->res, err);
    api_count_fetched(r->q, &src.used);
    api_count_memory(r->q, &an->arena);
    log_if_slow(r, p, &src.used, &an->res, rc);
    if (rc == RC_INVALID)
        param_invalid("query", err);
    /* Queries that fail are not counted: whoever is refused is not billed. */
    if (rc == 0)
        metric_add(metric_with(r->q->m_processed, r->tenant_text, NULL), an->res.stats.samples_total);
    return rc;
}

/* While it runs, others see the query and can cancel it. */
static int evaluate_listed(struct api_request *r, const struct query_params *p,
                           struct promql_ast *ast, struct answer *an, struct err *err)
{
    struct querier *q = r->q;
    struct active_query active = {
        .tenant = str_of(r->tenant_text),
        .text = p->text,
        .start_ms = p->start_ms,
        .end_ms = p->end_ms,
        .step_ms = p->step_ms,
        .begun_mono_ns = r->begun_ns,
        .http = r->http,
        .arena = &an->arena,
    };
    int rc;

    active_begin(q->active, &active);
    rc = evaluate(r, p, ast, an, err);
    active_end(q->active, &active, clock_wall_ms(q->deps.clock),
               clock_mono_ns(q->deps.clock) - r->queued_ns);
    return rc;
}

static void add_notes(const struct query_params *p, struct answer *an)
{
    struct result_json *j = &an->json;
    const char *text;

    if (p->stats_deprecated.n) {
        text = arena_printf(&an->arena,
                            "value \"%.*s\" for parameter \"stats\" is deprecated and will be "
                            "rejected in the next major release, use \"true\" or \"all\"",
                            (int)MIN(p->stats_deprecated.n, (size_t)256), p->stats_deprecated.p);
        if (text)
            j->notes[j->note_count++] = text;
    }
    if (p->warn_samples && an->res.stats.samples_total >= p->warn_samples) {
        text = arena_printf(
            &an->arena,
            "the query processed %llu samples, max_samples_processed_warning_threshold is %llu",
            (unsigned long long)an->res.stats.samples_total, (unsigned long long)p->warn_samples);
        if (text)
            j->notes[j->note_count++] = text;
    }
}

/* --- answering --- */

static int by_labels(const void *a, const void *b)
{
    return labels_cmp(&((const struct result_series *)a)->labels,
                      &((const struct result_series *)b)->labels);
}

static void answer_free(void *arg)
{
    struct answer *an = arg;

    arena_fini(&an->arena);
    buf_fini(&an->first);
    buf_fini(&an->trace_json);
    trace_free(an->trace);
    free(an);
}

static int answer_pull(void *arg, struct buf *out)
{
    struct answer *an = arg;

    if (an->first.n) {
        buf_str(out, buf_view(&an->first));
        buf_clear(&an->first);
        return 1;
    }
    return result_json_next(&an->json, out, HTTP_PULL_BYTES);
}

static void send_answer(struct api_request *r, const struct query_params *p, struct answer *an)
{
    int64_t now = clock_mono_ns(r->q->deps.clock);
    struct http_resp *resp = http_resp_new(200);

    /* A vector has no order of its own: one that stays the same is easier to read and to compare.
     */
    if (an->res.type == VALUE_VECTOR && !an->res.ordered && an->res.series_count > 1)
        qsort(an->res.series, an->res.series_count, sizeof *an->res.series, by_labels);
    an->json.res = &an->res;
    an->json.limit = p->limit;
    an->json.stats = p->stats;
    an->json.per_step = p->per_step;
    an->json.start_ms = p->start_ms;
    an->json.step_ms = p->step_ms;
    an->json.seconds_queue = (double)(r->begun_ns - r->queued_ns) / 1e9;
    an->json.seconds_total = (double)(now - r->queued_ns) / 1e9;
    add_notes(p, an);
    if (an->trace) {
        trace_end(trace_root(an->trace), ": %zu series in the answer", an->res.series_count);
        trace_print(&an->trace_json, an->trace);
        if (buf_ok(&an->trace_json))
            an->json.trace = buf_view(&an->trace_json);
    }
    buf_init(&an->first, HTTP_PULL_BYTES_MAX);
    if (result_json_next(&an->json, &an->first, HTTP_PULL_BYTES)) {
        http_resp_stream(resp, HTTP_TYPE_JSON, &(struct http_stream){answer_pull, answer_free, an});
    } else {
        http_resp_body(resp, HTTP_TYPE_JSON, &an->first);
        answer_free(an);
    }
    metric_observe(r->q->m_seconds, (double)(now - r->queued_ns) / 1e9);
    http_respond(r->http, resp);
    r->http = NULL;
}

enum { TRACE_JSON_BYTES_MAX = 4 << 20 };

static void trace_start(const struct api_request *r, const struct query_params *p, struct answer *an)
{
    char text[128];

    buf_init(&an->trace_json, TRACE_JSON_BYTES_MAX);
    if (!p->trace)
        return;
    snprintf(text, sizeof text, "torc querier, request %s", http_request_id(r->http));
    an->trace = trace_new(text);
    trace_add(trace_root(an->trace), r->begun_ns - r->queued_ns, "wait in the queue");
}

static void run_query(struct api_request *r, int (*params)(const struct api_request *,
                                                           struct query_params *, struct err *))
{
    struct answer *an = xcalloc(1, sizeof *an);
    struct query_params p = {0};
    struct promql_ast ast = {0};
    struct err err;
    int rc;

    arena_init(&an->arena,
               r->limits->query_memory ? (size_t)r->limits->query_memory : SIZE_MAX / 2);
    rc = params(r, &p, &err);
    if (rc == 0) {
        struct trace_node *step;

        trace_start(r, &p, an);
        step = trace_begin(trace_root(an->trace), "parse %zu bytes", p.text.n);
        rc = promql_parse(p.text.p ? p.text : STR(""), &promql_parse_all, &an->arena, &ast, &err);
        trace_end(step, "%s", "");
        if (rc == RC_INVALID || rc == RC_LIMIT)
            rc = param_invalid("query", &err);
        if (rc == 0) {
            rc = evaluate_listed(r, &p, &ast, an, &err);
            promql_ast_fini(&ast);
        }
    }
    if (rc == 0) {
        send_answer(r, &p, an);
        return;
    }
    api_reply_error(r, &err);
    answer_free(an);
}

void api_query(struct api_request *r)
{
    run_query(r, instant_params);
}

void api_query_range(struct api_request *r)
{
    run_query(r, range_params);
}
