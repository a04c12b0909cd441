/* The canonical text of a tree: what Prometheus's String() gives, but for the few that would be read back as something
 * else or not at all (print_offset, print_duration, print_matchers, print_left). Recursion is bounded by
 * PROMQL_HEIGHT_MAX, which the parser keeps. A buffer that is full stops the walk: pretty.c asks in this way whether a
 * part fits into a line. */
#include "promql/print.h"
#include "common/model/duration.h"
#include "common/model/labels.h"
#include "common/shim/shim.h"
#include "promql/functions.h"

#include <math.h>
#include <stdlib.h>

enum { GO_EXPONENT_FROM = 6 };

/* --- small parts --- */

static void print_labels(struct buf *out, const struct str *v, size_t n)
{
    buf_char(out, '(');
    for (size_t i = 0; i < n && buf_ok(out); i++) {
        if (i > 0)
            buf_z(out, ", ");
        if (label_name_legacy_valid(v[i]))
            buf_str(out, v[i]);
        else
            labels_quote(out, v[i]);
    }
    buf_char(out, ')');
}

/* Seconds as a duration, cut to milliseconds by way of nanoseconds. */
static void print_seconds(struct buf *out, double seconds)
{
    double ns = seconds * 1e9;

    duration_print(out, fabs(ns) >= 0x1p63 ? (ns < 0 ? INT64_MIN : INT64_MAX) / 1000000 : (int64_t)ns / 1000000);
}

static void print_number(struct buf *out, double v, bool is_duration)
{
    if (is_duration)
        print_seconds(out, v);
    else
        float_print_plain(out, v);
}

/* Go's %v: the shortest digits, with an exponent below 1e-4 and from 1e6 up; fill values are printed so. */
static void print_go_float(struct buf *out, double v)
{
    char plain[SHIM_DOUBLE_MAX], digits[SHIM_DOUBLE_MAX];
    size_t n, count = 0, point, zeros = 0;
    int exponent;

    n = shim_double_text(fabs(v), false, plain);
    point = str_find(str_n(plain, n), '.');
    for (size_t i = 0; i < n; i++) {
        if (plain[i] == '.' || (count == 0 && plain[i] == '0'))
            zeros += i > point;
        else
            digits[count++] = plain[i];
    }
    exponent = plain[0] == '0' ? -(int)zeros - 1 : (int)point - 1;
    if (!isfinite(v) || v == 0 || (exponent >= -4 && exponent < GO_EXPONENT_FROM)) {
        float_print_plain(out, v);
        return;
    }
    while (count > 1 && digits[count - 1] == '0')
        count--;
    buf_printf(out, "%s%c%s%.*s", v < 0 ? "-" : "", digits[0], count > 1 ? "." : "", (int)count - 1, digits + 1);
    buf_printf(out, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
}

/* --- durations --- */

const char *dur_op_text(enum dur_op op)
{
    static const char *const texts[] = {
        [DUR_LITERAL] = "", [DUR_STEP] = "step", [DUR_RANGE] = "range", [DUR_MIN] = "min_of", [DUR_MAX] = "max_of",
        [DUR_ADD] = "+",    [DUR_SUB] = "-",     [DUR_MUL] = "*",       [DUR_DIV] = "/",      [DUR_MOD] = "%",
        [DUR_POW] = "^",    [DUR_NEG] = "-",     [DUR_POS] = "+",       [DUR_PAREN] = "(",
    };

    ASSERT((size_t)op < ARRAY_LEN(texts));
    return texts[op];
}

void print_duration(struct buf *out, const struct dur_expr *d)
{
    bool parens;

    if (!buf_ok(out))
        return;
    switch (d->op) {
    case DUR_LITERAL: print_number(out, d->seconds, !d->is_number); break;
    case DUR_STEP:
    case DUR_RANGE: buf_printf(out, "%s()", dur_op_text(d->op)); break;
    case DUR_MIN:
    case DUR_MAX:
        buf_printf(out, "%s(", dur_op_text(d->op));
        print_duration(out, d->lhs);
        buf_z(out, ", ");
        print_duration(out, d->rhs);
        buf_char(out, ')');
        break;
    case DUR_NEG:
        buf_char(out, '-');
        print_duration(out, d->rhs);
        break;
    case DUR_POS: print_duration(out, d->rhs); break; /* the sign is not kept */
    case DUR_PAREN:
        buf_char(out, '(');
        print_duration(out, d->rhs);
        buf_char(out, ')');
        break;
    default:
        /* (-2) ^ 2 has lost its parentheses in the tree, and is not -(2 ^ 2). */
        parens = d->op == DUR_POW && d->lhs->op == DUR_LITERAL && signbit(d->lhs->seconds);
        buf_z(out, parens ? "(" : "");
        print_duration(out, d->lhs);
        buf_printf(out, "%s %s ", parens ? ")" : "", dur_op_text(d->op));
        print_duration(out, d->rhs);
        break;
    }
}

static void print_range(struct buf *out, int64_t ms, const struct dur_expr *expr)
{
    if (expr)
        print_duration(out, expr);
    else
        duration_print(out, ms);
}

static void print_at(struct buf *out, enum at_kind at, int64_t ms)
{
    switch (at) {
    case AT_NONE: break;
    case AT_TIME: buf_printf(out, " @ %.3f", (double)ms / 1000); break;
    case AT_START: buf_z(out, " @ start()"); break;
    case AT_END: buf_z(out, " @ end()"); break;
    }
}

/* Whether offset would take only the first part of d: offset 5m * 2 is (offset 5m) * 2. The parentheses that the tree
 * does not keep, as in offset (5m) * 2, lead there. */
static bool stops_early(const struct dur_expr *d)
{
    if (d->op < DUR_ADD || d->op > DUR_POW)
        return false;
    while (d->op >= DUR_ADD && d->op <= DUR_POW)
        d = d->lhs;
    return d->op != DUR_PAREN && !(d->op == DUR_NEG && d->rhs->op == DUR_NEG);
}

/* The other way round: offset (5m) + 1 goes on, offset +(5m) + 1 does not; so the plus counts where more follows. */
static void print_offset(struct buf *out, int64_t ms, const struct dur_expr *expr, bool more)
{
    bool parens = expr && stops_early(expr);
    bool plus = more && expr && expr->op == DUR_POS && expr->rhs->op == DUR_PAREN;

    if (!expr && ms == 0)
        return;
    buf_z(out, parens ? " offset (" : plus ? " offset +" : " offset ");
    print_range(out, ms, expr);
    buf_z(out, parens ? ")" : "");
}

/* --- selectors --- */

struct span {
    struct str text;
};

static int by_text(const void *a, const void *b)
{
    return str_cmp(((const struct span *)a)->text, ((const struct span *)b)->text);
}

/* The name in front needs no matcher. */
static bool is_name_matcher(const struct node *n, const struct matcher *m)
{
    return m->type == MATCH_EQ && n->selector.name.p && str_eqz(m->name, LABEL_METRIC_NAME) &&
           str_eq(m->value, n->selector.name);
}

/* Sorted by their texts. */
static void print_matchers(struct buf *out, const struct node *n)
{
    size_t count = 0, *ends = xcalloc(n->selector.matcher_count + 1, sizeof *ends);
    struct span *spans = xcalloc(n->selector.matcher_count + 1, sizeof *spans);
    struct buf texts;

    buf_init(&texts, SIZE_MAX);
    for (size_t i = 0; i < n->selector.matcher_count; i++) {
        if (is_name_matcher(n, &n->selector.matchers[i]))
            continue;
        matcher_print(&texts, &n->selector.matchers[i]);
        ends[++count] = texts.n;
    }
    for (size_t i = 0; i < count; i++)
        spans[i].text = str_sub(buf_view(&texts), ends[i], ends[i + 1]);
    qsort(spans, count, sizeof *spans, by_text);
    for (size_t i = 0; i < count && buf_ok(out); i++) {
        buf_char(out, i == 0 ? '{' : ',');
        buf_str(out, spans[i].text);
    }
    if (count > 0)
        buf_char(out, '}');
    else if (!n->selector.name.p)
        buf_z(out, "{}"); /* in info() */
    buf_fini(&texts);
    free(spans);
    free(ends);
}

static void print_selector(struct buf *out, const struct node *n, bool more)
{
    const char *extended = n->selector.anchored ? " anchored" : n->selector.smoothed ? " smoothed" : "";
    bool matrix = n->value == VALUE_MATRIX || n->selector.range_ms >= 0;

    buf_str(out, n->selector.name);
    print_matchers(out, n);
    if (matrix) {
        buf_char(out, '[');
        print_range(out, n->selector.range_ms, n->selector.range_expr);
        buf_char(out, ']');
        buf_z(out, extended);
    }
    print_at(out, n->selector.at, n->selector.at_ms);
    if (!matrix)
        buf_z(out, extended);
    print_offset(out, n->selector.offset_ms, n->selector.offset_expr, more);
}

void print_subquery_tail(struct buf *out, const struct node *n, bool more)
{
    buf_char(out, '[');
    print_range(out, n->subquery.range_ms, n->subquery.range_expr);
    buf_char(out, ':');
    if (n->subquery.step_expr || n->subquery.step_ms != 0)
        print_range(out, n->subquery.step_ms, n->subquery.step_expr);
    buf_char(out, ']');
    print_at(out, n->subquery.at, n->subquery.at_ms);
    print_offset(out, n->subquery.offset_ms, n->subquery.offset_expr, more);
}

/* --- operators --- */

void print_agg_head(struct buf *out, const struct node *n)
{
    buf_z(out, agg_text(n->agg.op));
    if (!n->agg.without && n->agg.grouping_count == 0)
        return;
    buf_z(out, n->agg.without ? " without " : " by ");
    print_labels(out, n->agg.grouping, n->agg.grouping_count);
    buf_char(out, ' ');
}

static void print_fill(struct buf *out, const char *name, double v)
{
    buf_printf(out, " %s (", name);
    print_go_float(out, v);
    buf_char(out, ')');
}

void print_binary_head(struct buf *out, const struct node *n)
{
    enum vector_card card = n->binary.card;
    bool grouped = card == CARD_MANY_TO_ONE || card == CARD_ONE_TO_MANY;
    bool lhs = n->binary.fill_lhs_set, rhs = n->binary.fill_rhs_set;

    buf_z(out, binop_text(n->binary.op));
    if (n->binary.return_bool)
        buf_z(out, " bool");
    if (n->binary.match_label_count > 0 || n->binary.on || grouped) {
        buf_z(out, n->binary.on ? " on " : " ignoring ");
        print_labels(out, n->binary.match_labels, n->binary.match_label_count);
    }
    if (grouped) {
        buf_z(out, card == CARD_MANY_TO_ONE ? " group_left " : " group_right ");
        print_labels(out, n->binary.include, n->binary.include_count);
    }
    if (lhs && rhs && n->binary.fill_lhs == n->binary.fill_rhs) {
        print_fill(out, "fill", n->binary.fill_lhs);
        return;
    }
    if (lhs)
        print_fill(out, "fill_left", n->binary.fill_lhs);
    if (rhs)
        print_fill(out, "fill_right", n->binary.fill_rhs);
}

static void print_call(struct buf *out, const struct node *n)
{
    buf_z(out, n->call.fn->name);
    buf_char(out, '(');
    for (size_t i = 0; i < n->call.arg_count && buf_ok(out); i++) {
        if (i > 0)
            buf_z(out, ", ");
        promql_print(out, n->call.args[i]);
    }
    buf_char(out, ')');
}

static void print_aggregate(struct buf *out, const struct node *n)
{
    print_agg_head(out, n);
    buf_char(out, '(');
    if (n->agg.param) {
        promql_print(out, n->agg.param);
        buf_z(out, ", ");
    }
    promql_print(out, n->agg.expr);
    buf_char(out, ')');
}

/* +Inf ^ 2 would be read as +(Inf ^ 2). */
static void print_left(struct buf *out, const struct node *n)
{
    const struct node *lhs = n->binary.lhs;

    if (n->binary.op == OP_POW && lhs->type == NODE_NUMBER && isinf(lhs->number.value))
        buf_z(out, "Inf");
    else
        print_node(out, lhs, binop_is_arithmetic(n->binary.op));
}

bool binop_is_arithmetic(enum binop op)
{
    return op <= OP_POW;
}

void print_node(struct buf *out, const struct node *n, bool more)
{
    if (!buf_ok(out))
        return;
    switch (n->type) {
    case NODE_NUMBER: print_number(out, n->number.value, n->number.is_duration); break;
    case NODE_STRING: labels_quote(out, n->string); break;
    case NODE_SELECTOR: print_selector(out, n, more); break;
    case NODE_SUBQUERY:
        promql_print(out, n->subquery.expr);
        print_subquery_tail(out, n, more);
        break;
    case NODE_CALL: print_call(out, n); break;
    case NODE_AGGREGATE: print_aggregate(out, n); break;
    case NODE_BINARY:
        print_left(out, n);
        buf_char(out, ' ');
        print_binary_head(out, n);
        buf_char(out, ' ');
        print_node(out, n->binary.rhs, more);
        break;
    case NODE_UNARY:
        buf_char(out, n->unary.minus ? '-' : '+');
        print_node(out, n->unary.expr, more);
        break;
    case NODE_PAREN:
        buf_char(out, '(');
        promql_print(out, n->paren);
        buf_char(out, ')');
        break;
    }
}

void promql_print(struct buf *out, const struct node *n)
{
    print_node(out, n, false);
}
