/* tool.h - what the commands of `torc blocks` share. */
#pragma once
#include "promql/ast.h"
#include "tsdb/bucket_s3.h"
#include "tsdb/index.h"

#include <stdio.h>

enum { EXIT_WRONG = 1, EXIT_COULD_NOT = 2 };

struct tool_options {
    char *bucket, *tenant, *scratch, *match, *start, *end;
    uint64_t memory;
    bool json, quiet;
};

struct tool {
    struct tool_options o;
    struct bucket_cfg s3; /* --bucket.s3.*, and --bucket as its url */
    struct bucket *bucket;
    struct str args[2]; /* what stands before the flags: blocks, a directory, a file */
    size_t arg_count;
    int64_t mint_ms, maxt_ms; /* of --start and --end, both included */
    bool wrong;               /* EXIT_WRONG */
};

/* Each prints to stdout; progress and remarks go to stderr. */
int tool_list(struct tool *t, struct err *err);
int tool_inspect(struct tool *t, struct err *err);
int tool_verify(struct tool *t, struct err *err);
int tool_dump(struct tool *t, struct err *err);
int tool_diff(struct tool *t, struct err *err);
int tool_export(struct tool *t, struct err *err);
int tool_import(struct tool *t, struct err *err);
int tool_import_text(struct tool *t, struct err *err);

/* The argument as a block. */
int tool_block(const struct tool *t, size_t arg, struct ulid *ret, struct err *err);
/* --tenant, which the command needs; with a block of one tenant, that one. */
int tool_tenant(struct tool *t, const struct block_meta *m, struct err *err);
/* --match in the arena; none: ret->selector_count is 0. promql_ast_fini. */
int tool_match(const struct tool *t, struct arena *a, struct promql_ast *ret, struct err *err);
bool tool_matches(const struct promql_ast *match, const struct labels *ls);
