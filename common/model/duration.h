/* duration.h - Prometheus durations and API times, and number texts. */
#pragma once
#include "common/base/buf.h"
#include "common/base/err.h"

/* "0" or <n>y<n>w<n>d<n>h<n>m<n>s<n>ms, each at most once, in this order, no sign. y = 365 d. RC_INVALID otherwise. */
int duration_parse_ms(struct str s, int64_t *ret_ms, struct err *err);
/* The shortest such text: 5400000 -> "1h30m", 0 -> "0s", negative with a leading '-'. */
void duration_print(struct buf *out, int64_t ms);
/* API parameter: float seconds or a duration. "cannot parse "x" to a valid duration". */
int duration_param_parse_ms(struct str s, int64_t *ret_ms, struct err *err);
/* API parameter: float Unix seconds (rounded to ms) or RFC 3339; "cannot parse "x" to a valid timestamp". */
int time_param_parse_ms(struct str s, int64_t *ret_ms, struct err *err);
void time_print_rfc3339(struct buf *out, int64_t unix_ms);
/* Whole text as a double, as Go's ParseFloat: Inf and NaN too, hexadecimal with an exponent of two (0x1p4), no underscores; RC_INVALID otherwise. */
int float_parse(struct str s, double *ret, struct err *err);
/* As Prometheus prints sample values (exponent below 1e-6 and from 1e21). */
void float_print(struct buf *out, double v);
/* As Go's %g: shortest digits, an exponent below 1e-4 and from 1e+06 up; "NaN", "+Inf", "-Inf". For annotations and count_values. */
void float_print_g(struct buf *out, double v);
/* Without exponent ever: scalar results. */
void float_print_plain(struct buf *out, double v);
