/* matcher.h - label matchers: = != =~ !~ with RE2 (fully anchored). Regular expressions of literals, .*, .+,
 * alternation and groups are spelled out (globs.h): as a set, or as texts to search for. RE2 runs for the others, where a literal prefix fits.
 * Built once, then read-only and safe for many threads. */
#pragma once
#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/model/globs.h"

enum matcher_type { MATCH_EQ = 0, MATCH_NEQ = 1, MATCH_RE = 2, MATCH_NRE = 3 };
enum { MATCHER_REGEX_BYTES_MAX = 65536 };

struct shim_re2;
struct matcher {
    enum matcher_type type;
    struct str name, value;       /* owned */
    /* --- of a regular expression (type RE, NRE) --- */
    struct globs globs;           /* n 0: RE2 decides */
    struct str *set;              /* != NULL: exactly these literals match (sorted, unique; those of globs) */
    size_t set_count;
    struct str prefix;            /* every match starts with this */
    bool any, any_nonempty;       /* .* and .+ */
    struct shim_re2 *re;          /* NULL when globs decide */
};

/* Copies name and value. RC_INVALID names the pattern and RE2's reason. */
int matcher_init(struct matcher *m, enum matcher_type type, struct str name, struct str value, struct err *err);
void matcher_fini(struct matcher *m);
bool matcher_matches(const struct matcher *m, struct str value); /* absent label: empty value */
/* The regular expression alone, without the negation of !~ ; for = and != the equality. */
bool matcher_accepts(const struct matcher *m, struct str value);
static inline bool matcher_negative(const struct matcher *m)
{
    return m->type == MATCH_NEQ || m->type == MATCH_NRE;
}
/* name="value" with Go quoting. */
void matcher_print(struct buf *out, const struct matcher *m);
/* Wire: u8 type, lstr name, lstr value. */
void matcher_encode(struct buf *out, const struct matcher *m);
int matcher_decode(struct rd *r, struct matcher *m, struct err *err);
