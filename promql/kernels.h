/* kernels.h - the inner loops of aggregations over a row without gaps: one number per step, no branches, vectorised (promql/CMakeLists.txt).
 * Each does what the loop of the same name in eval_agg.c does step by step, equal to the bit. Arrays do not overlap. tests/bench/engine_bench */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* kahan_add() of v[i] to sum[i], c[i]. */
void kernel_sum(double *restrict sum, double *restrict c, const double *restrict v, size_t n);
/* Whether some sum[i] + v[i] is infinite. */
bool kernel_overflows(const double *restrict sum, const double *restrict v, size_t n);
/* The less, the greater of both; NaN gives way to anything. */
void kernel_min(double *restrict least, const double *restrict v, size_t n);
void kernel_max(double *restrict most, const double *restrict v, size_t n);
