/* The text of format_query: parts that are longer than PROMQL_PRETTY_COLUMNS are spread over lines, two blanks a level.
 * The rules are those of Prometheus's prettier.go. */
#include "promql/print.h"
#include "promql/functions.h"

static void indent(struct buf *out, unsigned level)
{
    for (unsigned i = 0; i < level; i++)
        buf_z(out, "  ");
}

/* Prints at most a line, so that the whole costs a line per node. */
static bool needs_split(const struct node *n)
{
    struct buf line;
    bool split;

    buf_init(&line, PROMQL_PRETTY_COLUMNS);
    promql_print(&line, n);
    split = !buf_ok(&line);
    buf_fini(&line);
    return split;
}

static void pretty(struct buf *out, const struct node *n, unsigned level, bool more);

static void pretty_call(struct buf *out, const struct node *n, unsigned level)
{
    buf_z(out, n->call.fn->name);
    buf_z(out, "(\n");
    for (size_t i = 0; i < n->call.arg_count && buf_ok(out); i++) {
        if (i > 0)
            buf_z(out, ",\n");
        pretty(out, n->call.args[i], level + 1, false);
    }
    buf_char(out, '\n');
    indent(out, level);
    buf_char(out, ')');
}

static void pretty_aggregate(struct buf *out, const struct node *n, unsigned level)
{
    print_agg_head(out, n);
    buf_z(out, "(\n");
    if (n->agg.param) {
        pretty(out, n->agg.param, level + 1, false);
        buf_z(out, ",\n");
    }
    pretty(out, n->agg.expr, level + 1, false);
    buf_char(out, '\n');
    indent(out, level);
    buf_char(out, ')');
}

static void pretty_binary(struct buf *out, const struct node *n, unsigned level, bool more)
{
    pretty(out, n->binary.lhs, level + 1, binop_is_arithmetic(n->binary.op));
    buf_char(out, '\n');
    indent(out, level);
    print_binary_head(out, n);
    buf_char(out, '\n');
    pretty(out, n->binary.rhs, level + 1, more);
}

/* The operand stands directly behind the sign: its own indent goes. */
static void pretty_unary(struct buf *out, const struct node *n, unsigned level, bool more)
{
    struct buf operand;
    struct str text;

    buf_init(&operand, out->max);
    pretty(&operand, n->unary.expr, level, more);
    text = str_trim(buf_view(&operand));
    indent(out, level);
    buf_char(out, n->unary.minus ? '-' : '+');
    buf_str(out, text);
    buf_fini(&operand);
}

static void pretty(struct buf *out, const struct node *n, unsigned level, bool more)
{
    if (!buf_ok(out))
        return;
    if (n->type == NODE_UNARY) {
        pretty_unary(out, n, level, more);
        return;
    }
    if (n->type == NODE_SUBQUERY && needs_split(n)) {
        pretty(out, n->subquery.expr, level, false);
        print_subquery_tail(out, n, more);
        return;
    }
    if (n->type == NODE_BINARY && needs_split(n)) {
        pretty_binary(out, n, level, more);
        return;
    }
    if (n->type != NODE_SUBQUERY) /* a short subquery is not indented there either */
        indent(out, level);
    if ((n->type == NODE_CALL || n->type == NODE_AGGREGATE || n->type == NODE_PAREN) && needs_split(n)) {
        if (n->type == NODE_CALL) {
            pretty_call(out, n, level);
        } else if (n->type == NODE_AGGREGATE) {
            pretty_aggregate(out, n, level);
        } else {
            buf_z(out, "(\n");
            pretty(out, n->paren, level + 1, false);
            buf_char(out, '\n');
            indent(out, level);
            buf_char(out, ')');
        }
        return;
    }
    print_node(out, n, more);
}

void promql_pretty(struct buf *out, const struct node *n)
{
    pretty(out, n, 0, false);
}
