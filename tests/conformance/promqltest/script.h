/* script.h - a promqltest script as data: what the file says, parsed whole before anything runs.
 * Format: conformance/promqltest-format.md (sections cited as F3 = section 3). Everything lives in
 * the arena given to script_parse(). */
#pragma once
#include "promql/fhist.h"
#include "common/model/labels.h"

enum { SCRIPT_BYTES_MAX = 64 << 20, SERIES_VALUES_MAX = 10000000 };

struct value {
    bool omitted; /* "_" */
    double v;
    const struct histogram *h; /* not NULL: a histogram */
    bool hint_given;           /* counter_reset_hint stood in the text */
    int64_t st;                /* offset to the sample's time; see st_known */
    bool st_known;
};
struct series_line {
    struct labels labels;
    struct value *v;
    size_t n;
    size_t line;
};

enum expect_kind {
    EXPECT_FAIL,
    EXPECT_WARN,
    EXPECT_INFO,
    EXPECT_NO_WARN,
    EXPECT_NO_INFO,
    EXPECT_KINDS
};
struct expect_text {
    struct expect_text *next;
    bool any, regex; /* any: no text was given */
    struct str text;
};

struct eval {
    bool instant, ordered;
    int64_t start_ms, end_ms, step_ms;
    struct str query;
    struct expect_text *expect[EXPECT_KINDS]; /* NULL: nothing said */
    bool has_scalar, has_string, has_matrix;  /* the result must be of that type */
    double scalar;
    struct str string;
    int64_t matrix_start_ms, matrix_step_ms;
    struct series_line *series;
    size_t series_count;
};

enum command_kind { COMMAND_CLEAR, COMMAND_LOAD, COMMAND_EVAL };
struct command {
    enum command_kind kind;
    size_t line;
    struct command *next;
    struct {
        int64_t step_ms;
        bool with_nhcb;
        struct series_line *series;
        size_t series_count;
    } load;
    struct eval eval;
};

/* RC_INVALID names the line. */
int script_parse(struct str text, struct arena *a, struct command **ret, struct err *err);

/* series_line.c: F4. Values on the line up to its end; for = true: an expectation (same syntax). */
int series_line_parse(struct str line, struct arena *a, struct series_line *ret, struct err *err);
/* The @st line (F3): offsets into v[i].st of a value list as long as the samples'. */
int st_line_parse(struct str items, struct arena *a, struct value **ret, size_t *ret_n,
                  struct err *err);
int description_parse(struct str s, struct arena *a, struct labels *ret, struct str *ret_rest,
                      struct err *err);
/* A quoted Go string, whole. */
int string_parse(struct str s, struct arena *a, struct str *ret, struct err *err);
/* A number as Go's ParseFloat, hexadecimal and underscores included. */
bool number_parse(struct str s, double *ret);
/* A pattern that matches somewhere in text, in RE2 syntax; RC_INVALID when it is no pattern. */
int pattern_matches(struct str pattern, struct str text, bool *ret, struct err *err);
