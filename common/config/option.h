/* option.h - options are data: one row gives the YAML key, the flag, the environment form, parsing,
 * range, default, help and docs. static const char *const syncs[] = {"interval", "always", NULL};
 *   const struct option ingester_options[] = {
 *       {"ingester.head-max-age", OPT_DURATION, offsetof(struct ingester_cfg, head_max_age_ms),
 * .def = "2h", .min = "1m", .max = "24h", .doc = "Cut a block once the head spans this."},
 *       {"wal.sync", OPT_ENUM, offsetof(struct ingester_cfg, wal_sync), .def = "interval", .values
 * = syncs, .doc = "..."}, {0},
 *   };
 * Names are lower case; dots make sections. '-' and '_' mean the same wherever a name is read. */
#pragma once
#include "common/base/buf.h"
#include "common/base/err.h"

enum opt_type {
    OPT_BOOL,     /* bool: true or false */
    OPT_INT,      /* int64_t */
    OPT_BYTES,    /* uint64_t: 1048576, 512KB (1000), 8MiB (1024) */
    OPT_DURATION, /* int64_t, milliseconds: 1h30m, 250ms, 0 */
    OPT_STRING,   /* char *: never NULL, owned by the struct's config */
    OPT_FLOAT,    /* double */
    OPT_ENUM,     /* int: index into values */
    OPT_LIST,     /* struct opt_list: "a,b" as a flag, a YAML sequence or the same text in a file */
};

enum { OPT_TEXT_BYTES_MAX = 64 << 10, OPT_LIST_MAX = 1024 };

struct opt_list {
    char **v;
    size_t n;
};

struct option {
    const char *name; /* NULL ends a table */
    enum opt_type type;
    size_t offset;
    const char *def, *min, *max; /* as one would write them; NULL: zero or empty, no bound */
    const char *const *values;   /* OPT_ENUM, NULL-terminated */
    bool reload;                 /* a change takes effect without a restart */
    bool secret;                 /* masked wherever it is shown */
    bool flag_only;              /* not in a file */
    bool repeats;                /* OPT_LIST: each time the flag is given adds one item; commas are part of it */
    const char *doc;
    const char *enforced,
        *reason; /* limits: the role that enforces it, the discard reason; else NULL */
};

/* Parses, checks the range and stores; on failure the field keeps its value. The error names
 * neither option nor place. */
int option_set(const struct option *o, void *base, struct str text, struct err *err);
int option_set_list(const struct option *o, void *base, const struct str *items, size_t n,
                    struct err *err);
/* Sets every field of a zeroed struct. A default that does not parse or is out of range is a bug
 * (assert). */
void options_default(const struct option *table, void *base);
void options_free(const struct option *table, void *base); /* strings and lists */
/* Field by field copy into a zeroed struct. */
void options_copy(const struct option *table, void *to, const void *from);
/* As option_set would read it back. */
void option_print(const struct option *o, const void *base, struct buf *out);
bool option_is_default(const struct option *o, const void *base);
const char *opt_type_name(enum opt_type type);
/* Same name, '-' and '_' being one. */
bool option_name_eq(struct str a, struct str b);
const struct option *option_find(const struct option *table, struct str name);

/* Collects the name with the smallest edit distance; for "did you mean". */
struct nearest {
    struct str want, best;
    size_t distance;
};
void nearest_init(struct nearest *n, struct str want);
void nearest_try(struct nearest *n, struct str name);
bool nearest_found(const struct nearest *n); /* close enough to be worth saying */

/* Bytes as text, exact: 8MiB, 1MB, 1234. */
void bytes_print(struct buf *out, uint64_t v);
