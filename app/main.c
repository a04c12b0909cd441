/* torc: commands, or - without one - a process that runs the targets. */
#include "app/app.h"
#include "blocktool/blocktool.h"
#include "loadgen/loadgen.h"
#include "promql/retention.h"

#include <stdio.h>

#ifdef TORC_JEMALLOC
/* An arena a core, whatever thread runs there: with arenas bound to threads each of the query workers kept freed pages of its own, and met fresh ones in each query
 * (100,000 series, two cores: a fifth of the CPU time of a query, 250 MB instead of 141). */
extern const char *malloc_conf;
/* Huge pages: a look-up of one of a million series misses the TLB with each line that it touches otherwise (a million series, 5 rounds: 15 % of the CPU time of a sample;
 * 5 % more memory). */
const char *malloc_conf = "percpu_arena:percpu,thp:always";
#endif

static int command_version(UNUSED int argc, UNUSED char **argv)
{
    printf("torc %s (revision %s)\n", TORC_VERSION, app_revision());
    return 0;
}

static const struct {
    const char *name, *doc;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"version", "print version and revision", command_version},
    {"config", "check, print or document the configuration", app_command_config},
    {"loadgen", "send a load by remote write or OTLP, ask queries, report and verify", loadgen_main},
    {"blocks", "look into blocks, check them, import and export", blocktool_main},
};

static int help(struct app *app)
{
    struct buf out;

    buf_init(&out, 16 << 20);
    buf_z(&out, "usage: torc [--target=all] [--config.file=FILE] [flags]\n       torc COMMAND "
                "...\n\ncommands\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        buf_printf(&out, "  %-10s %s\n", commands[i].name, commands[i].doc);
    buf_z(&out, "\ntargets\n  all");
    for (size_t i = 0; i < app->module_count; i++)
        if (app->modules[i].module->target)
            buf_printf(&out, ", %s", app->modules[i].module->name);
    buf_z(&out, "\n\n");
    config_print_help(app->config, &out);
    fwrite(out.p, 1, out.n, stdout);
    buf_fini(&out);
    return 0;
}

static bool is_help(const char *arg)
{
    return strcmp(arg, "--help") == 0 || strcmp(arg, "-help") == 0 || strcmp(arg, "-h") == 0 ||
           strcmp(arg, "help") == 0;
}

static int run(int argc, char **argv)
{
    struct app app = {0};
    struct err err = {0};
    int code, rc;

    app_config_compose(&app);
    app.limits_check = retention_limits_check;
    if (argc > 0 && is_help(argv[0])) {
        code = help(&app);
    } else {
        rc = app_config_load(&app, argc, argv, &err);
        if (rc == 0)
            rc = app_plan(&app, &err);
        if (rc < 0)
            fprintf(stderr, "torc: %s\n", err_text(&err));
        code = rc < 0 ? 1 : app_run(&app);
    }
    app_config_free(&app);
    return code;
}

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < ARRAY_LEN(commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 2, argv + 2);
    return run(argc - 1, argv + 1);
}
