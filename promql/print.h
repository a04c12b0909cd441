/* print.h - what print.c and pretty.c share; nobody else includes it. */
#pragma once
#include "promql/ast.h"

/* sum by (a) , with the blank after the labels. */
void print_agg_head(struct buf *out, const struct node *n);
/* == bool on (a) group_left (b) fill (0): all between the operands but the blanks. */
void print_binary_head(struct buf *out, const struct node *n);
/* The text of n; more: an operator follows which an offset at the end of n could take for its own. */
void print_node(struct buf *out, const struct node *n, bool more);
bool binop_is_arithmetic(enum binop op); /* one that durations know */
/* [5m:1m] @ 1.000 offset 1m */
void print_subquery_tail(struct buf *out, const struct node *n, bool more);
void print_duration(struct buf *out, const struct dur_expr *d);
const char *dur_op_text(enum dur_op op);
