/* ast.h - the syntax tree of a PromQL expression, as the parser makes it and the engine reads it.
 * Everything lives in the arena given to promql_parse(); nodes are never freed one by one and never shared. Positions are byte
 * offsets into the query text. Full grammar of Prometheus 3: UTF-8 names in quotes, @, offset, duration expressions, subqueries, fill
 * modifiers, anchored and smoothed, histogram operators, limitk and limit_ratio, info(). */
#pragma once
#include "common/base/arena.h"
#include "common/base/err.h"
#include "common/model/matcher.h"

enum {
    PROMQL_TEXT_BYTES_MAX = 65536,
    PROMQL_DEPTH_MAX = 200,    /* nesting of parentheses, calls, signs, right-associative operators */
    PROMQL_HEIGHT_MAX = 1000,  /* of the tree: so long may a chain 1+1+1... be. Whoever walks a tree recursively needs no more frames */
    PROMQL_MATCHERS_MAX = 2000,
    PROMQL_REGEX_MAX = 256,    /* regular expressions of a query: each is compiled */
    PROMQL_REGEX_SIZE_MAX = 60000, /* instructions of all of them */
    PROMQL_PRETTY_COLUMNS = 100,
};

enum value_type { VALUE_NONE, VALUE_SCALAR, VALUE_VECTOR, VALUE_MATRIX, VALUE_STRING };

enum node_type {
    NODE_NUMBER,
    NODE_STRING,
    NODE_SELECTOR, /* vector selector; range_ms >= 0 makes it a matrix selector */
    NODE_SUBQUERY,
    NODE_CALL,
    NODE_AGGREGATE,
    NODE_BINARY,
    NODE_UNARY,
    NODE_PAREN,
};

enum binop {
    OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_MOD, OP_POW, OP_ATAN2,
    OP_EQ, OP_NEQ, OP_LT, OP_LTE, OP_GT, OP_GTE,
    OP_AND, OP_OR, OP_UNLESS,
    OP_TRIM_UPPER, /* </ keep histogram observations below */
    OP_TRIM_LOWER, /* >/ keep those above */
};
enum agg_op {
    AGG_SUM, AGG_AVG, AGG_MIN, AGG_MAX, AGG_COUNT, AGG_GROUP, AGG_STDDEV, AGG_STDVAR, AGG_TOPK, AGG_BOTTOMK,
    AGG_QUANTILE, AGG_COUNT_VALUES, AGG_LIMITK, AGG_LIMIT_RATIO,
};
enum vector_card { CARD_ONE_TO_ONE, CARD_MANY_TO_ONE, CARD_ONE_TO_MANY, CARD_MANY_TO_MANY };
enum at_kind { AT_NONE, AT_TIME, AT_START, AT_END };

struct pos_range {
    uint32_t start, end; /* [start, end) bytes of the query */
};

/* Duration or number expression where a duration may stand (range, step, offset): 5m, 1h+step(), min(step(), 1m), range() ... A plain
 * duration has op DUR_LITERAL. Seconds as double, as Prometheus computes. Evaluated by promql_duration_eval() once query
 * start, end, step are known. */
enum dur_op {
    DUR_LITERAL, DUR_STEP, DUR_RANGE, DUR_MIN, DUR_MAX, DUR_ADD, DUR_SUB, DUR_MUL, DUR_DIV, DUR_MOD, DUR_POW, DUR_NEG, DUR_POS, DUR_PAREN,
};
struct dur_expr {
    enum dur_op op;
    bool is_number;            /* literal written as a number, not as a duration: printed back as such */
    double seconds;            /* DUR_LITERAL */
    struct dur_expr *lhs, *rhs; /* one operand (NEG, POS, PAREN): rhs */
    uint32_t height;           /* 1 for a leaf; at most PROMQL_HEIGHT_MAX */
    struct pos_range pos;
};

struct function;               /* functions.h */

struct node {
    enum node_type type;
    enum value_type value;     /* result type, set by the parser's check */
    struct pos_range pos;
    uint32_t height;           /* 1 for a leaf; at most PROMQL_HEIGHT_MAX */
    union {
        struct {
            double value;
            bool is_duration;  /* 5m written where a number may stand */
        } number;
        struct str string;
        struct {
            struct str name;   /* metric name as written before the braces; p NULL when none. One quoted inside is only a matcher */
            struct matcher *matchers; /* name included, last, as a matcher on __name__; freed by promql_ast_fini */
            size_t matcher_count;
            int64_t range_ms;          /* -1: instant; filled from range_expr by promql_resolve() when that is set */
            struct dur_expr *range_expr;  /* NULL when a plain literal */
            int64_t offset_ms;         /* as written: positive looks back */
            struct dur_expr *offset_expr; /* NULL when a plain literal or none */
            enum at_kind at;
            int64_t at_ms;             /* AT_TIME; filled for AT_START and AT_END by promql_resolve() */
            bool anchored, smoothed;
            bool empty_ok;     /* second argument of info(): may match everything */
        } selector;
        struct {
            struct node *expr;
            int64_t range_ms, step_ms;  /* step_ms 0: the default step */
            struct dur_expr *range_expr, *step_expr;
            int64_t offset_ms;
            struct dur_expr *offset_expr;
            enum at_kind at;
            int64_t at_ms;
        } subquery;
        struct {
            const struct function *fn;
            struct node **args;
            size_t arg_count;
        } call;
        struct {
            enum agg_op op;
            bool without;
            struct str *grouping;
            size_t grouping_count;
            bool has_grouping;   /* by () or without () was written */
            struct node *param;  /* topk, bottomk, quantile, count_values, limitk, limit_ratio; else NULL */
            struct node *expr;
        } agg;
        struct {
            enum binop op;
            bool return_bool;
            enum vector_card card;
            bool on;             /* on(...) rather than ignoring(...) */
            bool has_matching;   /* on or ignoring was written, and both sides are vectors */
            struct str *match_labels;
            size_t match_label_count;
            struct str *include; /* group_left/right(labels) */
            size_t include_count;
            bool fill_lhs_set, fill_rhs_set;  /* fill(x), fill_left(x), fill_right(x) */
            double fill_lhs, fill_rhs;
            struct node *lhs, *rhs;
        } binary;
        struct {
            bool minus;
            struct node *expr;
        } unary;
        struct node *paren;
    };
};

struct promql_ast {
    struct str text;      /* borrowed */
    struct arena *arena;  /* borrowed */
    struct node *root;
    struct node **selectors; /* every NODE_SELECTOR, in text order */
    size_t selector_count;
};

/* Switches as Prometheus's feature flags; all on by default. */
struct promql_parse_opt {
    bool duration_expr, experimental_functions, extended_ranges /* anchored, smoothed */, fill_modifiers;
};
extern const struct promql_parse_opt promql_parse_all;

/* Parses and type-checks. text must outlive the tree. RC_INVALID with Prometheus's message: `<line>:<col>: parse error: <reason>`;
 * RC_LIMIT (also worded as a parse error) past the ceilings of text, depth, matchers. promql_ast_fini frees regular expressions. */
int promql_parse(struct str text, const struct promql_parse_opt *opt, struct arena *arena, struct promql_ast *ret,
                 struct err *err);
void promql_ast_fini(struct promql_ast *ast);
/* Only a vector selector, for match[]. Same errors; refuses anything else. matchers are freed by promql_ast_fini. */
int promql_parse_selector(struct str text, struct arena *arena, struct promql_ast *ret, struct err *err);

/* Fills in durations from expressions and @ start()/end(); checks ranges are > 0. RC_INVALID otherwise. */
int promql_resolve(struct promql_ast *ast, int64_t start_ms, int64_t end_ms, int64_t step_ms, struct err *err);
/* Whether the result at each step of a range query depends on that step's time alone and on nothing later: no @, no negative offset, no smoothed
 * selector, no duration that asks for range or step of the query, no sort*(). Then a range query is the union of queries over parts of its range. */
bool promql_steps_independent(const struct node *n);
/* Whether an aggregation can be evaluated apart over parts of the series, each series in one of them, and the parts then be folded as if they were series: it is over an
 * expression that makes of each series what depends on that series alone, and has no parameter that depends on series. */
bool promql_shardable(const struct node *n);
/* What is evaluated of such an aggregation over each part: itself, or its operand when all values are needed at once (quantile, stddev, stdvar). */
const struct node *promql_part(const struct node *n);
/* Parts give series of the source, and their order matters (topk and the like, and where the part is the operand); else groups, whose order does not. */
bool promql_part_keeps_series(const struct node *n);
/* Whether an aggregation needs no labels of the series it selects but those that it groups by: its groups are folded from expressions that make of each series
 * what depends on that series' samples alone. */
bool promql_needs_only_groups(const struct node *n);
int promql_duration_eval(const struct dur_expr *d, int64_t start_ms, int64_t end_ms, int64_t step_ms, double *ret_seconds,
                         struct err *err);

/* Canonical text on one line, and pretty-printed (format_query): as Prometheus's String() and Prettify(), but for the few texts of theirs
 * that would be read back as another query (see print.c). */
void promql_print(struct buf *out, const struct node *n);
void promql_pretty(struct buf *out, const struct node *n);
/* The JSON of /api/v1/parse_query. */
void promql_print_json(struct buf *out, const struct node *n);

const char *binop_text(enum binop op);
const char *agg_text(enum agg_op op);
const char *value_type_text(enum value_type t); /* "scalar", "instant vector", "range vector", "string" */
