/* print.h - what print.c and pretty.c share; nobody else includes it. */
#pragma once
#include "promql/ast.h"

/* sum by (a) , with the blank after the labels. */
void print_agg_head(struct buf *out, const struct node *n);
/* == bool on (a) group_left (b) fill (0): all between the operands but the blanks. */
void print_binary_head(struct buf *out, const struct node *n);
/* [5m:1m] @ 1.000 offset 1m */
void print_subquery_tail(struct buf *out, const struct node *n);
void print_duration(struct buf *out, const struct dur_expr *d);
const char *dur_op_text(enum dur_op op);
