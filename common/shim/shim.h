/* shim.h - the only door to C++ libraries: RE2 and double-conversion here, RocksDB gaps in shim_rocksdb.h.
 * No C++ exception and no C++ type crosses it. */
#pragma once
#include "common/base/str.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- RE2: Go's syntax, linear time --- */
struct shim_re2;
enum { SHIM_RE2_MEM_MAX = 4 << 20 }; /* some 40,000 instructions: that much compiles in about 50 ms */
/* Go's dialect: (?<name>x) is a group, \C an error. Not Go's: names of Unicode classes are those of RE2's tables, exactly spelled, and what needs
 * more than SHIM_RE2_MEM_MAX (\pL{1000}) is refused. pattern must match the whole text (as ^(?s:pattern)$). On failure returns NULL and writes RE2's reason, NUL-terminated,
 * into why[why_n]. Thread-safe once built. */
struct shim_re2 *shim_re2_new(struct str pattern, char *why, size_t why_n);
void shim_re2_free(struct shim_re2 *re);
int shim_re2_size(const struct shim_re2 *re); /* instructions: what it cost to compile */
bool shim_re2_match(const struct shim_re2 *re, struct str text);
/* Number of capturing groups, and capture i (0 = whole match) by index or by name for label_replace: match the whole text and fill
 * caps[0..n) with borrowed parts of text (p NULL when a group took no part). */
int shim_re2_groups(const struct shim_re2 *re);
bool shim_re2_capture(const struct shim_re2 *re, struct str text, struct str *caps, size_t n);
/* Index of the group called name, or -1. */
int shim_re2_group_named(const struct shim_re2 *re, struct str name);

/* --- double-conversion --- */
enum { SHIM_DOUBLE_MAX = 400 };
/* Shortest text that reads back to the same double, as Go prints 'f' -1 with an exponent only below 1e-6 or from 1e21
 * up when exponent is true ("1e-07", "1e+21"; at least two exponent digits), never an exponent otherwise.
 * "NaN", "+Inf", "-Inf", "-0". Returns the length; out has SHIM_DOUBLE_MAX bytes; not NUL-terminated. */
size_t shim_double_text(double v, bool exponent, char *out);

#ifdef __cplusplus
}
#endif
