#include "blocktool/blocktool.h"
#include "blocktool/tool.h"
#include "common/config/config.h"
#include "common/model/duration.h"
#include "common/model/tenant.h"
#include "tsdb/window.h"

#include <stdlib.h>

#define AT(field) offsetof(struct tool_options, field)

static const struct option options[] = {
    {"bucket", OPT_STRING, AT(bucket), .doc = "The bucket, as bucket.url: filesystem:///path, a path, or s3://bucket/prefix with the flags bucket.s3 of the server."},
    {"tenant", OPT_STRING, AT(tenant), .doc = "Tenant; empty: all, where a command can."},
    {"match", OPT_STRING, AT(match), .doc = "dump, export: only series of this selector, as {job=\"api\"}."},
    {"start", OPT_STRING, AT(start), .doc = "dump, export: samples from here on; Unix seconds or RFC 3339."},
    {"end", OPT_STRING, AT(end), .doc = "dump, export: samples up to here."},
    {"scratch", OPT_STRING, AT(scratch), .def = "/tmp", .doc = "import: directory for the files of blocks that are being written."},
    {"memory", OPT_BYTES, AT(memory), .def = "2GiB", .min = "64MiB", .max = "1TiB", .doc = "import-text: samples held at a time; a larger file is read several times."},
    {"json", OPT_BOOL, AT(json), .doc = "list, inspect: as JSON."},
    {"quiet", OPT_BOOL, AT(quiet), .doc = "No line of progress."},
    {0},
};

static const struct command {
    const char *name, *args, *doc;
    size_t arg_min, arg_max;
    int (*run)(struct tool *t, struct err *err);
} commands[] = {
    {"list", "", "the blocks that the indexes name", 0, 0, tool_list},
    {"inspect", "BLOCK", "what a block holds, and what that takes", 1, 1, tool_inspect},
    {"verify", "[BLOCK]", "every checksum, posting, fingerprint and digest of one block or of all", 0, 1, tool_verify},
    {"dump", "BLOCK", "series, windows and samples of a block", 1, 1, tool_dump},
    {"diff", "BLOCK BLOCK", "what one of two blocks of a tenant has and the other has not", 2, 2, tool_diff},
    {"export", "", "samples of a tenant as OpenMetrics text", 0, 0, tool_export},
    {"import", "DIR", "blocks of a Prometheus: DIR is its data directory, or one block", 1, 1, tool_import},
    {"import-text", "FILE", "samples of an OpenMetrics or Prometheus text with timestamps", 1, 1, tool_import_text},
};

static void help(const struct config *c)
{
    struct buf out;

    buf_init(&out, 1 << 20);
    buf_z(&out, "usage: torc blocks COMMAND [ARGUMENT...] --bucket=URL [flags]\n\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        buf_printf(&out, "  %-11s %-11s %s\n", commands[i].name, commands[i].args, commands[i].doc);
    buf_z(&out, "\n");
    config_print_help(c, &out);
    fwrite(out.p, 1, out.n, stdout);
    buf_fini(&out);
}

/* --- what the commands share --- */

int tool_block(const struct tool *t, size_t arg, struct ulid *ret, struct err *err)
{
    if (!ulid_valid(t->args[arg]))
        return err_set(err, RC_INVALID, "\"%.*s\" is no block: want 26 characters, as `torc blocks list` prints them", STR_FMT(t->args[arg]));
    memcpy(ret->text, t->args[arg].p, ULID_TEXT);
    ret->text[ULID_TEXT] = '\0';
    return 0;
}

int tool_tenant(struct tool *t, const struct block_meta *m, struct err *err)
{
    if (!*t->o.tenant && m && *m->tenant) {
        free(t->o.tenant);
        t->o.tenant = xstrdup(m->tenant);
    }
    if (!*t->o.tenant)
        return err_set(err, RC_INVALID, "which tenant? Say --tenant=NAME");
    return tenant_id_check(str_of(t->o.tenant), err);
}

int tool_match(const struct tool *t, struct arena *a, struct promql_ast *ret, struct err *err)
{
    *ret = (struct promql_ast){0};
    return *t->o.match ? promql_parse_selector(str_of(t->o.match), a, ret, err) : 0;
}

bool tool_matches(const struct promql_ast *match, const struct labels *ls)
{
    const struct node *n = match->selector_count ? match->selectors[0] : NULL;

    for (size_t i = 0; n && i < n->selector.matcher_count; i++) {
        const struct matcher *m = &n->selector.matchers[i];

        if (!matcher_matches(m, labels_get(ls, m->name)))
            return false;
    }
    return true;
}

/* --- the command line --- */

static int times(struct tool *t, struct err *err)
{
    int rc = 0;

    t->mint_ms = TIMESTAMP_MIN_MS;
    t->maxt_ms = TIMESTAMP_MAX_MS;
    if (*t->o.start)
        rc = time_param_parse_ms(str_of(t->o.start), &t->mint_ms, err);
    if (rc == 0 && *t->o.end)
        rc = time_param_parse_ms(str_of(t->o.end), &t->maxt_ms, err);
    return rc;
}

static const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int run(struct tool *t, const struct command *c, struct err *err)
{
    int rc = times(t, err);

    if (rc == 0 && (t->arg_count < c->arg_min || t->arg_count > c->arg_max))
        rc = err_set(err, RC_INVALID, "usage: torc blocks %s %s --bucket=URL", c->name, c->args);
    if (rc == 0 && !*t->o.bucket)
        rc = err_set(err, RC_INVALID, "which bucket? Say --bucket=URL");
    if (rc == 0) {
        free(t->s3.url);
        t->s3.url = xstrdup(t->o.bucket);
        rc = bucket_open_configured(&t->s3, NULL, &t->bucket, err);
    }
    if (rc == 0)
        rc = c->run(t, err);
    bucket_free(t->bucket);
    return rc;
}

int blocktool_main(int argc, char **argv)
{
    const struct command *command = argc > 0 ? command_find(argv[0]) : NULL;
    struct config *c = config_new();
    struct tool t = {0};
    struct err err = {0};
    int rc = 0, at = 1;

    config_add(c, "", options, &t.o);
    config_add(c, "", bucket_options, &t.s3);
    for (; at < argc && argv[at][0] != '-' && t.arg_count < ARRAY_LEN(t.args); at++)
        t.args[t.arg_count++] = str_of(argv[at]);
    if (!command || (at < argc && (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0))) {
        help(c);
    } else {
        rc = config_load_flags(c, argc - at, argv + at, NULL, &err);
        if (rc == 0)
            rc = run(&t, command, &err);
        if (rc < 0)
            fprintf(stderr, "torc blocks %s: %s\n", command->name, err_text(&err));
    }
    config_free(c);
    return rc < 0 ? EXIT_COULD_NOT : t.wrong ? EXIT_WRONG : 0;
}
