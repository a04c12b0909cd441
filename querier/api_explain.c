/* api_explain.c - GET|POST explain: what a query would do, and about how much it would read, without reading a sample.
 * {"query":..,"type":..,"start":..,"end":..,"step":..,"stepsIndependent":..,"estimate":{..},"plan":NODE}; NODE is {"expr":..,"op":..,"type":..} with "shardable" for
 * aggregations, "estimate" and the range of time read for selectors, and "children". */
#include "querier/api.h"

#include "promql/functions.h"
#include "querier/cardinality.h"

#include <math.h>

enum { EXPLAIN_DEPTH_MAX = 1000, EXPLAIN_TEXT_MAX = 400 };

struct explaining {
    struct source src;
    struct arena arena;
    struct buf *out;
    int64_t start_ms, end_ms, lookback_ms;
    struct estimate total;
    struct err *err;
    int depth;
};

static void put_estimate(struct buf *out, const struct estimate *e)
{
    buf_printf(out, "{\"series\":%.0f,\"samples\":%.0f,\"bytes\":%.0f,\"blocks\":%zu}", e->series, e->samples, e->bytes, e->blocks);
}

/* Times and durations of a query may be as large as they can be written. */
static int64_t minus(int64_t a, int64_t b)
{
    int64_t out;

    return __builtin_sub_overflow(a, b, &out) ? (b > 0 ? INT64_MIN : INT64_MAX) : out;
}

static int64_t plus(int64_t a, int64_t b)
{
    int64_t out;

    return __builtin_add_overflow(a, b, &out) ? (b > 0 ? INT64_MAX : INT64_MIN) : out;
}

/* The samples that a selector may read: as long before the query's range as its own range or the lookback says. */
static int put_selector(struct explaining *x, const struct node *n, int64_t extra_ms)
{
    int64_t back = plus(n->selector.range_ms >= 0 ? n->selector.range_ms : x->lookback_ms, extra_ms);
    int64_t to = minus(n->selector.at == AT_NONE ? x->end_ms : n->selector.at_ms, n->selector.offset_ms);
    int64_t from = plus(minus(minus(n->selector.at == AT_NONE ? x->start_ms : n->selector.at_ms, n->selector.offset_ms), back), 1);
    struct estimate e;
    int rc = estimate_of(&x->src, n->selector.matchers, n->selector.matcher_count, from, to, &x->arena, &e, x->err);

    if (rc < 0)
        return rc;
    buf_printf(x->out, ",\"readsFrom\":%lld,\"readsTo\":%lld,\"estimate\":", (long long)from, (long long)to);
    put_estimate(x->out, &e);
    x->total.series += e.series;
    x->total.samples += e.samples;
    x->total.bytes += e.bytes;
    x->total.blocks = MAX(x->total.blocks, e.blocks);
    return 0;
}

static const char *op_of(const struct node *n)
{
    switch (n->type) {
    case NODE_SELECTOR:
        return n->selector.range_ms >= 0 ? "matrixSelector" : "vectorSelector";
    case NODE_SUBQUERY:
        return "subquery";
    case NODE_CALL:
        return n->call.fn->name;
    case NODE_AGGREGATE:
        return agg_text(n->agg.op);
    case NODE_BINARY:
        return binop_text(n->binary.op);
    case NODE_UNARY:
        return n->unary.minus ? "-" : "+";
    default:
        return "literal";
    }
}

static const struct node *child_of(const struct node *n, size_t i)
{
    switch (n->type) {
    case NODE_SUBQUERY:
        return i == 0 ? n->subquery.expr : NULL;
    case NODE_CALL:
        return i < n->call.arg_count ? n->call.args[i] : NULL;
    case NODE_AGGREGATE:
        return i == 0 ? n->agg.expr : i == 1 ? n->agg.param : NULL;
    case NODE_BINARY:
        return i == 0 ? n->binary.lhs : i == 1 ? n->binary.rhs : NULL;
    case NODE_UNARY:
        return i == 0 ? n->unary.expr : NULL;
    default:
        return NULL;
    }
}

static int put_node(struct explaining *x, const struct node *n, int64_t extra_ms)
{
    const struct node *child;
    struct buf text;
    int rc = 0;

    while (n->type == NODE_PAREN)
        n = n->paren;
    if (++x->depth > EXPLAIN_DEPTH_MAX)
        return err_set(x->err, RC_EXECUTION, "expression is nested too deep");
    buf_init(&text, PROMQL_TEXT_BYTES_MAX * 4);
    promql_print(&text, n);
    buf_z(x->out, "{\"expr\":");
    json_str(x->out, str_sub(buf_view(&text), 0, MIN(text.n, (size_t)EXPLAIN_TEXT_MAX)));
    buf_fini(&text);
    buf_z(x->out, ",\"op\":");
    json_z(x->out, op_of(n));
    buf_printf(x->out, ",\"type\":\"%s\"", value_type_text(n->value));
    if (n->type == NODE_AGGREGATE)
        buf_printf(x->out, ",\"shardable\":%s", promql_shardable(n) ? "true" : "false");
    if (n->type == NODE_SELECTOR)
        rc = put_selector(x, n, extra_ms);
    if (n->type == NODE_SUBQUERY)
        extra_ms = plus(extra_ms, plus(n->subquery.range_ms, n->subquery.offset_ms));
    for (size_t i = 0; rc == 0 && (child = child_of(n, i)); i++) {
        buf_z(x->out, i ? "," : ",\"children\":[");
        rc = put_node(x, child, extra_ms);
    }
    if (rc == 0)
        buf_z(x->out, child_of(n, 0) ? "]}" : "}");
    x->depth--;
    return rc;
}

static int explain(struct api_request *r, struct explaining *x, struct promql_ast *ast, int64_t step_ms)
{
    struct buf plan;
    int rc = promql_resolve(ast, x->start_ms, x->end_ms, step_ms, x->err);

    if (rc < 0)
        return param_invalid("query", x->err);
    buf_init(&plan, API_ANSWER_BYTES_MAX / 4);
    x->out = &plan;
    rc = put_node(x, ast->root, 0);
    if (rc == 0) {
        struct buf out;

        api_begin(&out);
        buf_z(&out, "{\"query\":");
        json_str(&out, ast->text);
        buf_printf(&out, ",\"type\":\"%s\",\"start\":%lld,\"end\":%lld,\"step\":%lld,\"stepsIndependent\":%s,\"estimate\":", value_type_text(ast->root->value),
                   (long long)x->start_ms, (long long)x->end_ms, (long long)step_ms, promql_steps_independent(ast->root) ? "true" : "false");
        put_estimate(&out, &x->total);
        buf_z(&out, ",\"plan\":");
        buf_str(&out, buf_view(&plan));
        out.failed |= !buf_ok(&plan);
        buf_char(&out, '}');
        api_end(r, &out, false);
    }
    buf_fini(&plan);
    return rc;
}

/* With start, end and step as query_range, else with time as query. */
static int range_of(struct api_request *r, struct explaining *x, int64_t *step_ms)
{
    struct str step = http_param(r->http, "step");
    int rc;

    if (!step.n) {
        x->start_ms = clock_wall_ms(r->q->deps.clock);
        rc = param_time_default(r, "time", &x->start_ms, NULL, x->err);
        x->end_ms = x->start_ms;
        return rc;
    }
    rc = param_time(r, "start", &x->start_ms, x->err);
    if (rc == 0)
        rc = param_time(r, "end", &x->end_ms, x->err);
    if (rc == 0 && x->end_ms < x->start_ms) {
        err_set(x->err, RC_INVALID, "end timestamp must not be before start time");
        rc = param_invalid("end", x->err);
    }
    if (rc == 0)
        rc = param_step(r, step_ms, x->err);
    return rc;
}

void api_explain(struct api_request *r)
{
    struct str text = http_param(r->http, "query");
    struct promql_ast ast = {0};
    int64_t step_ms = 0, deadline;
    struct err err;
    struct explaining x = {.err = &err, .lookback_ms = r->q->cfg.lookback_ms};
    int rc = range_of(r, &x, &step_ms);

    arena_init(&x.arena, r->limits->query_memory ? (size_t)r->limits->query_memory : SIZE_MAX / 2);
    if (rc == 0) {
        rc = promql_parse(text.p ? text : STR(""), &promql_parse_all, &x.arena, &ast, &err);
        if (rc == RC_INVALID || rc == RC_LIMIT)
            rc = param_invalid("query", &err);
    }
    if (rc == 0) {
        api_deadline(r, r->limits->query_timeout_ms, &deadline);
        source_init(&x.src, &r->q->env, r->tenants, r->tenant_count, deadline, http_cancel_flag(r->http));
        rc = explain(r, &x, &ast, step_ms);
    }
    if (rc < 0)
        api_reply_error(r, &err);
    promql_ast_fini(&ast);
    arena_fini(&x.arena);
}
