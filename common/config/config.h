/* config.h - the options of a process, composed from the tables of its rooms.
 * Later sources win: defaults, the YAML file, the environment (TORC_SERVER_HTTP_LISTEN_PORT), flags
 * (--a.b-c=v, -a.b-c v). In the file ${VAR} and ${VAR:default} are replaced before parsing ($${
 * stays ${; lines that are comments are left alone); a variable that is not set and has no default
 * is an error. Unknown names are errors with line and nearest name. */
#pragma once
#include "common/config/option.h"

enum {
    CONFIG_FILE_BYTES_MAX = 1 << 20,
    CONFIG_TABLES_MAX = 32,
    CONFIG_EXPANDED_BYTES_MAX = 4 << 20
};

struct config;

struct config *config_new(void);
/* Frees the strings of every struct that was added. */
void config_free(struct config *c);
/* Sets base (zeroed) to the defaults. prefix is put before each name ("limits."), or "". All
 * borrowed for c's life. A name that is there already is a bug. */
void config_add(struct config *c, const char *prefix, const struct option *table, void *base);

/* name is for messages. On failure some options may be set already. */
int config_load_yaml(struct config *c, const char *name, struct str text, struct err *err);
int config_load_file(struct config *c, const char *path, struct err *err);
int config_load_environment(struct config *c, struct err *err);
/* Flags from argv[0..argc); arguments that are no flags are an error. only: when not NULL just this
 * option is set, so that the file's name can be read before the file. */
int config_load_flags(struct config *c, int argc, char *const *argv, const char *only,
                      struct err *err);

/* Expands ${...}; for config_load_file and for tests. */
int config_expand(const char *name, struct str in, struct buf *out, struct err *err);

/* The effective configuration; diff: only what differs from the defaults. */
void config_print_yaml(const struct config *c, bool diff, struct buf *out);
void config_print_json(const struct config *c, bool diff,
                       struct buf *out); /* flat: {"server.log-level":"info",...} */
/* The same with every value as text, as Prometheus's status/flags. */
void config_print_flags(const struct config *c, struct buf *out);
void config_print_help(const struct config *c,
                       struct buf *out); /* grouped by section, for a terminal */
void config_print_docs(const struct config *c, struct buf *out); /* Markdown */
void config_print_schema(const struct config *c,
                         struct buf *out); /* JSON schema of the YAML file */
