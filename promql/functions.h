/* functions.h - the table of PromQL functions: names, signatures, and who computes them.
 * The parser reads names and types; the engine finds its kernels by id. */
#pragma once
#include "promql/ast.h"

enum { FUNCTION_ARGS_MAX = 8 };

/* One id per function, FN_ABS ... in alphabetical order; X-macro so that table and enum cannot part.
 * Columns: id, name, arg types (s scalar, v vector, m matrix, S string), variadic (0 exact; n > 0: up to n of the last args optional; -1: last may
 * repeat without limit), return type, experimental. */
#define PROMQL_FUNCTIONS(X)                                                                        \
    X(ABS, "abs", "v", 0, VECTOR, false)                                                           \
    X(ABSENT, "absent", "v", 0, VECTOR, false)                                                     \
    X(ABSENT_OVER_TIME, "absent_over_time", "m", 0, VECTOR, false)                                 \
    X(ACOS, "acos", "v", 0, VECTOR, false)                                                         \
    X(ACOSH, "acosh", "v", 0, VECTOR, false)                                                       \
    X(ASIN, "asin", "v", 0, VECTOR, false)                                                         \
    X(ASINH, "asinh", "v", 0, VECTOR, false)                                                       \
    X(ATAN, "atan", "v", 0, VECTOR, false)                                                         \
    X(ATANH, "atanh", "v", 0, VECTOR, false)                                                       \
    X(AVG_OVER_TIME, "avg_over_time", "m", 0, VECTOR, false)                                       \
    X(CEIL, "ceil", "v", 0, VECTOR, false)                                                         \
    X(CHANGES, "changes", "m", 0, VECTOR, false)                                                   \
    X(CLAMP, "clamp", "vss", 0, VECTOR, false)                                                     \
    X(CLAMP_MAX, "clamp_max", "vs", 0, VECTOR, false)                                              \
    X(CLAMP_MIN, "clamp_min", "vs", 0, VECTOR, false)                                              \
    X(COS, "cos", "v", 0, VECTOR, false)                                                           \
    X(COSH, "cosh", "v", 0, VECTOR, false)                                                         \
    X(COUNT_OVER_TIME, "count_over_time", "m", 0, VECTOR, false)                                   \
    X(DAY_OF_MONTH, "day_of_month", "v", 1, VECTOR, false)                                         \
    X(DAY_OF_WEEK, "day_of_week", "v", 1, VECTOR, false)                                           \
    X(DAY_OF_YEAR, "day_of_year", "v", 1, VECTOR, false)                                           \
    X(DAYS_IN_MONTH, "days_in_month", "v", 1, VECTOR, false)                                       \
    X(DEG, "deg", "v", 0, VECTOR, false)                                                           \
    X(DELTA, "delta", "m", 0, VECTOR, false)                                                       \
    X(DERIV, "deriv", "m", 0, VECTOR, false)                                                       \
    X(DOUBLE_EXPONENTIAL_SMOOTHING, "double_exponential_smoothing", "mss", 0, VECTOR, true)        \
    X(END, "end", "", 0, SCALAR, true)                                                             \
    X(EXP, "exp", "v", 0, VECTOR, false)                                                           \
    X(FIRST_OVER_TIME, "first_over_time", "m", 0, VECTOR, false)                                   \
    X(FLOOR, "floor", "v", 0, VECTOR, false)                                                       \
    X(HISTOGRAM_AVG, "histogram_avg", "v", 0, VECTOR, false)                                       \
    X(HISTOGRAM_COUNT, "histogram_count", "v", 0, VECTOR, false)                                   \
    X(HISTOGRAM_FRACTION, "histogram_fraction", "ssv", 0, VECTOR, false)                           \
    X(HISTOGRAM_QUANTILE, "histogram_quantile", "sv", 0, VECTOR, false)                            \
    X(HISTOGRAM_QUANTILES, "histogram_quantiles", "vSss", 9, VECTOR, true)                         \
    X(HISTOGRAM_STDDEV, "histogram_stddev", "v", 0, VECTOR, false)                                 \
    X(HISTOGRAM_STDVAR, "histogram_stdvar", "v", 0, VECTOR, false)                                 \
    X(HISTOGRAM_SUM, "histogram_sum", "v", 0, VECTOR, false)                                       \
    X(HOLT_WINTERS, "holt_winters", "mss", 0, VECTOR, true)                                        \
    X(HOUR, "hour", "v", 1, VECTOR, false)                                                         \
    X(IDELTA, "idelta", "m", 0, VECTOR, false)                                                     \
    X(INCREASE, "increase", "m", 0, VECTOR, false)                                                 \
    X(INFO, "info", "vv", 1, VECTOR, true)                                                         \
    X(IRATE, "irate", "m", 0, VECTOR, false)                                                       \
    X(LABEL_JOIN, "label_join", "vSSS", -1, VECTOR, false)                                         \
    X(LABEL_REPLACE, "label_replace", "vSSSS", 0, VECTOR, false)                                   \
    X(LAST_OVER_TIME, "last_over_time", "m", 0, VECTOR, false)                                     \
    X(LN, "ln", "v", 0, VECTOR, false)                                                             \
    X(LOG10, "log10", "v", 0, VECTOR, false)                                                       \
    X(LOG2, "log2", "v", 0, VECTOR, false)                                                         \
    X(MAD_OVER_TIME, "mad_over_time", "m", 0, VECTOR, true)                                        \
    X(MAX_OF, "max_of", "ss", 0, SCALAR, true)                                                     \
    X(MAX_OVER_TIME, "max_over_time", "m", 0, VECTOR, false)                                       \
    X(MIN_OF, "min_of", "ss", 0, SCALAR, true)                                                     \
    X(MIN_OVER_TIME, "min_over_time", "m", 0, VECTOR, false)                                       \
    X(MINUTE, "minute", "v", 1, VECTOR, false)                                                     \
    X(MONTH, "month", "v", 1, VECTOR, false)                                                       \
    X(PI, "pi", "", 0, SCALAR, false)                                                              \
    X(PREDICT_LINEAR, "predict_linear", "ms", 0, VECTOR, false)                                    \
    X(PRESENT_OVER_TIME, "present_over_time", "m", 0, VECTOR, false)                               \
    X(QUANTILE_OVER_TIME, "quantile_over_time", "sm", 0, VECTOR, false)                            \
    X(RAD, "rad", "v", 0, VECTOR, false)                                                           \
    X(RANGE, "range", "", 0, SCALAR, true)                                                         \
    X(RATE, "rate", "m", 0, VECTOR, false)                                                         \
    X(RESETS, "resets", "m", 0, VECTOR, false)                                                     \
    X(ROUND, "round", "vs", 1, VECTOR, false)                                                      \
    X(SCALAR, "scalar", "v", 0, SCALAR, false)                                                     \
    X(SGN, "sgn", "v", 0, VECTOR, false)                                                           \
    X(SIN, "sin", "v", 0, VECTOR, false)                                                           \
    X(SINH, "sinh", "v", 0, VECTOR, false)                                                         \
    X(SORT, "sort", "v", 0, VECTOR, false)                                                         \
    X(SORT_BY_LABEL, "sort_by_label", "vS", -1, VECTOR, true)                                      \
    X(SORT_BY_LABEL_DESC, "sort_by_label_desc", "vS", -1, VECTOR, true)                            \
    X(SORT_DESC, "sort_desc", "v", 0, VECTOR, false)                                               \
    X(SQRT, "sqrt", "v", 0, VECTOR, false)                                                         \
    X(START, "start", "", 0, SCALAR, true)                                                         \
    X(START_TIMESTAMP, "start_timestamp", "v", 0, VECTOR, true)                                    \
    X(STDDEV_OVER_TIME, "stddev_over_time", "m", 0, VECTOR, false)                                 \
    X(STDVAR_OVER_TIME, "stdvar_over_time", "m", 0, VECTOR, false)                                 \
    X(STEP, "step", "", 0, SCALAR, true)                                                           \
    X(SUM_OVER_TIME, "sum_over_time", "m", 0, VECTOR, false)                                       \
    X(TAN, "tan", "v", 0, VECTOR, false)                                                           \
    X(TANH, "tanh", "v", 0, VECTOR, false)                                                         \
    X(TIME, "time", "", 0, SCALAR, false)                                                          \
    X(TIMESTAMP, "timestamp", "v", 0, VECTOR, false)                                               \
    X(TS_OF_FIRST_OVER_TIME, "ts_of_first_over_time", "m", 0, VECTOR, true)                        \
    X(TS_OF_LAST_OVER_TIME, "ts_of_last_over_time", "m", 0, VECTOR, true)                          \
    X(TS_OF_MAX_OVER_TIME, "ts_of_max_over_time", "m", 0, VECTOR, true)                            \
    X(TS_OF_MIN_OVER_TIME, "ts_of_min_over_time", "m", 0, VECTOR, true)                            \
    X(VECTOR, "vector", "s", 0, VECTOR, false)                                                     \
    X(YEAR, "year", "v", 1, VECTOR, false)

enum function_id {
#define X(id, name, args, variadic, ret, exp) FN_##id,
    PROMQL_FUNCTIONS(X)
#undef X
        FN_COUNT
};

struct function {
    enum function_id id;
    const char *name, *args;
    int variadic;
    enum value_type ret;
    bool experimental;
};
/* NULL when there is none. */
const struct function *function_find(struct str name);
const struct function *function_get(enum function_id id);
