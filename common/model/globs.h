/* globs.h - regular expressions that need no automaton: literals, .* and .+, alternation, groups, in any nesting. Such an expression is spelled out as a list of
 * globs ((a|b)c.*|d gives ac.*, bc.*, d) and each is matched with memory searches. Everything else (classes, repetition, flags, anchors) is left to RE2.
 * Texts are UTF-8, whole texts are matched, and the dot matches a newline, as in Prometheus. Read-only once made.
 * Checked against RE2: tests/fuzz/matcher_fuzz.c. */
#pragma once
#include "common/base/buf.h"

enum {
    GLOBS_MAX = 1024,             /* spelled out */
    GLOBS_SEARCHED_MAX = 32,      /* with .* or .+ among them: more are faster as an automaton */
    GLOBS_BYTES_MAX = 256 << 10,  /* of all of them */
    GLOBS_DEPTH_MAX = 16,
};

/* In a glob, beside literal bytes; neither occurs in UTF-8. */
enum { GLOB_ANY = 0xff, GLOB_SOME = 0xfe };

struct globs {
    struct str *v; /* owned, sorted, unique */
    size_t n;
    bool literal;  /* none has .* or .+ */
};

/* false: the expression (valid UTF-8) is not of that kind, or too large; RE2 may accept it or not. */
bool globs_parse(struct str regex, struct globs *ret);
void globs_fini(struct globs *g);
/* Not for literal ones: those are looked up. */
bool globs_match(const struct globs *g, struct str text);
/* The literal text that all begin with. Borrowed. */
struct str globs_prefix(const struct globs *g);
