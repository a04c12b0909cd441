/* The JSON of /api/v1/parse_query. Keys are sorted, as Go writes maps. */
#include "common/base/json.h"
#include "common/model/duration.h"
#include "common/model/labels.h"
#include "promql/functions.h"
#include "promql/print.h"

#include <math.h>

/* --- scalars --- */

static void json_bool(struct buf *out, bool v)
{
    buf_z(out, v ? "true" : "false");
}

static void json_strs(struct buf *out, const struct str *v, size_t n)
{
    buf_char(out, '[');
    for (size_t i = 0; i < n && buf_ok(out); i++) {
        if (i > 0)
            buf_char(out, ',');
        json_str_html(out, v[i]);
    }
    buf_char(out, ']');
}

static void json_number_text(struct buf *out, double v)
{
    buf_char(out, '"');
    float_print_plain(out, v);
    buf_char(out, '"');
}

/* JSON has no NaN and no infinity. */
static void json_fill(struct buf *out, bool set, double v)
{
    if (set && isfinite(v))
        float_print(out, v);
    else
        buf_z(out, "null");
}

/* --- durations --- */

static void json_duration(struct buf *out, const struct dur_expr *d)
{
    bool wrapped;

    if (!d || !buf_ok(out)) {
        buf_z(out, "null");
        return;
    }
    if (d->op == DUR_POS && d->rhs->op == DUR_PAREN)
        d = d->rhs;
    wrapped = d->op == DUR_PAREN;
    d = wrapped ? d->rhs : d;
    if (d->op == DUR_LITERAL) {
        buf_printf(out, "{\"duration\":%s,\"type\":\"numberLiteral\",\"val\":", d->is_number ? "false" : "true");
        json_number_text(out, d->seconds);
        buf_char(out, '}');
        return;
    }
    buf_z(out, "{\"lhs\":");
    json_duration(out, d->lhs);
    buf_printf(out, ",\"op\":\"%s\",\"rhs\":", dur_op_text(d->op));
    json_duration(out, d->rhs);
    buf_printf(out, ",\"type\":\"durationExpr\",\"wrapped\":%s}", wrapped ? "true" : "false");
}

/* "startOrEnd":..,"timestamp":.. with what stands between them. */
static void json_start_or_end(struct buf *out, enum at_kind at)
{
    buf_z(out, ",\"startOrEnd\":");
    buf_z(out, at == AT_START ? "\"start\"" : at == AT_END ? "\"end\"" : "null");
}

static void json_timestamp(struct buf *out, enum at_kind at, int64_t ms)
{
    if (at == AT_TIME)
        buf_printf(out, ",\"timestamp\":%lld", (long long)ms);
    else
        buf_z(out, ",\"timestamp\":null");
}

/* --- nodes --- */

static const char *type_name(char c)
{
    return c == 's' ? "scalar" : c == 'v' ? "vector" : c == 'm' ? "matrix" : "string";
}

static void json_call(struct buf *out, const struct node *n)
{
    const struct function *fn = n->call.fn;

    buf_z(out, "{\"args\":[");
    for (size_t i = 0; i < n->call.arg_count && buf_ok(out); i++) {
        if (i > 0)
            buf_char(out, ',');
        promql_print_json(out, n->call.args[i]);
    }
    buf_z(out, "],\"func\":{\"argTypes\":[");
    for (const char *c = fn->args; *c; c++)
        buf_printf(out, "%s\"%s\"", c == fn->args ? "" : ",", type_name(*c));
    buf_printf(out, "],\"name\":\"%s\",\"returnType\":\"%s\",\"variadic\":%d},\"type\":\"call\"}", fn->name,
               fn->ret == VALUE_SCALAR ? "scalar" : "vector", fn->variadic);
}

static void json_aggregate(struct buf *out, const struct node *n)
{
    buf_z(out, "{\"expr\":");
    promql_print_json(out, n->agg.expr);
    buf_z(out, ",\"grouping\":");
    json_strs(out, n->agg.grouping, n->agg.grouping_count);
    buf_printf(out, ",\"op\":\"%s\",\"param\":", agg_text(n->agg.op));
    if (n->agg.param)
        promql_print_json(out, n->agg.param);
    else
        buf_z(out, "null");
    buf_z(out, ",\"type\":\"aggregation\",\"without\":");
    json_bool(out, n->agg.without);
    buf_char(out, '}');
}

static void json_matching(struct buf *out, const struct node *n)
{
    static const char *const cards[] = {"one-to-one", "many-to-one", "one-to-many", "many-to-many"};

    if (n->binary.lhs->value != VALUE_VECTOR || n->binary.rhs->value != VALUE_VECTOR) {
        buf_z(out, "null");
        return;
    }
    buf_printf(out, "{\"card\":\"%s\",\"fillValues\":{\"lhs\":", cards[n->binary.card]);
    json_fill(out, n->binary.fill_lhs_set, n->binary.fill_lhs);
    buf_z(out, ",\"rhs\":");
    json_fill(out, n->binary.fill_rhs_set, n->binary.fill_rhs);
    buf_z(out, "},\"include\":");
    json_strs(out, n->binary.include, n->binary.include_count);
    buf_z(out, ",\"labels\":");
    json_strs(out, n->binary.match_labels, n->binary.match_label_count);
    buf_z(out, ",\"on\":");
    json_bool(out, n->binary.on);
    buf_char(out, '}');
}

static void json_binary(struct buf *out, const struct node *n)
{
    buf_z(out, "{\"bool\":");
    json_bool(out, n->binary.return_bool);
    buf_z(out, ",\"lhs\":");
    promql_print_json(out, n->binary.lhs);
    buf_z(out, ",\"matching\":");
    json_matching(out, n);
    buf_z(out, ",\"op\":");
    json_str_html(out, str_of(binop_text(n->binary.op)));
    buf_z(out, ",\"rhs\":");
    promql_print_json(out, n->binary.rhs);
    buf_z(out, ",\"type\":\"binaryExpr\"}");
}

static void json_matchers(struct buf *out, const struct node *n)
{
    static const char *const ops[] = {"=", "!=", "=~", "!~"};

    buf_char(out, '[');
    for (size_t i = 0; i < n->selector.matcher_count && buf_ok(out); i++) {
        const struct matcher *m = &n->selector.matchers[i];

        buf_z(out, i > 0 ? ",{\"name\":" : "{\"name\":");
        json_str_html(out, m->name);
        buf_printf(out, ",\"type\":\"%s\",\"value\":", ops[m->type]);
        json_str_html(out, m->value);
        buf_char(out, '}');
    }
    buf_char(out, ']');
}

static void json_selector(struct buf *out, const struct node *n)
{
    bool matrix = n->selector.range_ms >= 0;

    buf_z(out, "{\"anchored\":");
    json_bool(out, n->selector.anchored);
    buf_z(out, ",\"matchers\":");
    json_matchers(out, n);
    buf_z(out, ",\"name\":");
    json_str_html(out, n->selector.name);
    buf_printf(out, ",\"offset\":%lld,\"offsetExpr\":", (long long)n->selector.offset_ms);
    json_duration(out, n->selector.offset_expr);
    if (matrix) {
        buf_printf(out, ",\"range\":%lld,\"rangeExpr\":", (long long)n->selector.range_ms);
        json_duration(out, n->selector.range_expr);
    }
    buf_z(out, ",\"smoothed\":");
    json_bool(out, n->selector.smoothed);
    json_start_or_end(out, n->selector.at);
    json_timestamp(out, n->selector.at, n->selector.at_ms);
    buf_printf(out, ",\"type\":\"%s\"}", matrix ? "matrixSelector" : "vectorSelector");
}

static void json_subquery(struct buf *out, const struct node *n)
{
    buf_z(out, "{\"expr\":");
    promql_print_json(out, n->subquery.expr);
    buf_printf(out, ",\"offset\":%lld,\"offsetExpr\":", (long long)n->subquery.offset_ms);
    json_duration(out, n->subquery.offset_expr);
    buf_printf(out, ",\"range\":%lld,\"rangeExpr\":", (long long)n->subquery.range_ms);
    json_duration(out, n->subquery.range_expr);
    json_start_or_end(out, n->subquery.at);
    buf_printf(out, ",\"step\":%lld,\"stepExpr\":", (long long)n->subquery.step_ms);
    json_duration(out, n->subquery.step_expr);
    json_timestamp(out, n->subquery.at, n->subquery.at_ms);
    buf_z(out, ",\"type\":\"subquery\"}");
}

void promql_print_json(struct buf *out, const struct node *n)
{
    if (!buf_ok(out))
        return;
    switch (n->type) {
    case NODE_NUMBER:
        buf_z(out, "{\"type\":\"numberLiteral\",\"val\":");
        json_number_text(out, n->number.value);
        break;
    case NODE_STRING:
        buf_z(out, "{\"type\":\"stringLiteral\",\"val\":");
        json_str_html(out, n->string);
        break;
    case NODE_UNARY:
        buf_z(out, "{\"expr\":");
        promql_print_json(out, n->unary.expr);
        buf_printf(out, ",\"op\":\"%c\",\"type\":\"unaryExpr\"", n->unary.minus ? '-' : '+');
        break;
    case NODE_PAREN:
        buf_z(out, "{\"expr\":");
        promql_print_json(out, n->paren);
        buf_z(out, ",\"type\":\"parenExpr\"");
        break;
    case NODE_SELECTOR: json_selector(out, n); return;
    case NODE_SUBQUERY: json_subquery(out, n); return;
    case NODE_CALL: json_call(out, n); return;
    case NODE_AGGREGATE: json_aggregate(out, n); return;
    case NODE_BINARY: json_binary(out, n); return;
    }
    buf_char(out, '}');
}
