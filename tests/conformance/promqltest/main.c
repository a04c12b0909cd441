/* promqltest - runs promqltest scripts against a backend and compares.
 * Exit status 0: nothing failed; 1: something did; 2: bad usage. --must-fail turns it around, to
 * test the runner itself: 0 only if in each file nothing passed. */
#include "compare.h"
#include "load.h"

#include "common/sys/fs.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { QUERY_ARENA_BYTES = 1 << 30, SCRIPT_ARENA_BYTES = 1 << 30, SAMPLES_MAX = 10000 };

struct tally {
    size_t passed, failed;
};
struct runner {
    struct backend *backend;
    const char *file;
    bool verbose, must_fail;
    size_t good_files; /* with must_fail: those in which nothing passed and something failed */
    size_t files;
    struct tally file_tally, total;
    struct load_tails tails;
    struct buf why;
};

/* --- one run of a query --- */
struct run {
    int64_t start_ms, end_ms, step_ms;
    struct compare_opt compare;
    bool pin; /* gives every selector without @ the time pin_ms */
    int64_t pin_ms;
    const char *name;
};

static void pin(struct node *n, int64_t at);

static void pin_children(struct node *n, int64_t at)
{
    switch (n->type) {
    case NODE_CALL:
        for (size_t i = 0; i < n->call.arg_count; i++)
            pin(n->call.args[i], at);
        break;
    case NODE_AGGREGATE:
        if (n->agg.param)
            pin(n->agg.param, at);
        pin(n->agg.expr, at);
        break;
    case NODE_BINARY:
        pin(n->binary.lhs, at);
        pin(n->binary.rhs, at);
        break;
    case NODE_UNARY:
        pin(n->unary.expr, at);
        break;
    case NODE_PAREN:
        pin(n->paren, at);
        break;
    default:
        break;
    }
}

static void pin(struct node *n, int64_t at)
{
    if (n->type == NODE_SELECTOR && n->selector.at == AT_NONE) {
        n->selector.at = AT_TIME;
        n->selector.at_ms = at;
    } else if (n->type == NODE_SUBQUERY && n->subquery.at == AT_NONE) {
        n->subquery.at = AT_TIME;
        n->subquery.at_ms = at;
    } else {
        pin_children(n, at);
    }
}

static void judge(const struct eval *e, const struct run *run, int rc, const struct query_result *r,
                  const struct err *err, struct buf *why)
{
    if (rc < 0)
        compare_error(e, err_text(err), why);
    else if (e->expect[EXPECT_FAIL])
        buf_z(why, "    expected a failure, got none\n");
    else
        compare_result(e, r, &run->compare, why);
}

static bool run_query(struct runner *rn, const struct eval *e, const struct run *run)
{
    struct query_result r = {0};
    struct err err = {0};
    struct promql_ast ast;
    struct arena a;
    size_t before = rn->why.n;
    struct query_opt opt = {.start_ms = run->start_ms,
                            .end_ms = run->end_ms,
                            .step_ms = run->step_ms,
                            .samples_max = SAMPLES_MAX,
                            .delayed_name_removal = true,
                            .arena = &a};
    int rc;

    arena_init(&a, QUERY_ARENA_BYTES);
    rc = promql_parse(e->query, &promql_parse_all, &a, &ast, &err);
    if (rc < 0) {
        /* A query that does not parse is an error of the script, even where failure is expected. */
        buf_printf(&rn->why, "    does not parse: %s\n", err_text(&err));
    } else {
        if (run->pin)
            pin(ast.root, run->pin_ms);
        rc = rn->backend->query(rn->backend, &ast, e->query, &opt, &r, &err);
        judge(e, run, rc, &r, &err, &rn->why);
        promql_ast_fini(&ast);
    }
    arena_fini(&a);
    if (rn->why.n != before && run->name)
        buf_printf(&rn->why, "    (in the %s re-run at %lld ms)\n", run->name,
                   (long long)run->start_ms);
    return rn->why.n == before;
}

static bool mentions(struct str query, const char *word)
{
    return memmem(query.p, query.n, word, strlen(word)) != NULL;
}

static bool range_rerun_fits(const struct eval *e)
{
    return !e->expect[EXPECT_FAIL] && !e->ordered && !e->has_string && !e->has_matrix &&
           !mentions(e->query, "start()") && !mentions(e->query, "end()") &&
           !mentions(e->query, "range()") && !mentions(e->query, "step()");
}

/* The instant query as the middle step of a range query. */
static bool run_as_range(struct runner *rn, const struct eval *e, int64_t at,
                         const struct run *model)
{
    struct run run = *model;

    if (!range_rerun_fits(e))
        return true;
    run.start_ms = at - 60000;
    run.end_ms = at + 60000;
    run.step_ms = 60000;
    run.compare = (struct compare_opt){
        .at_ms = at, .api = rn->backend->api, .scalar = e->has_scalar};
    return run_query(rn, e, &run);
}

static bool depends_on_time(struct str query)
{
    static const char *const calls[] = {
        "days_in_month", "day_of_month", "day_of_week", "day_of_year",    "hour",
        "minute",        "month",        "year",        "predict_linear", "time",
        "timestamp",     "start",        "end",         "range",          "step"};

    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        char word[32];

        snprintf(word, sizeof word, "%s(", calls[i]);
        if (mentions(query, word))
            return true;
    }
    return false;
}

/* With everything pinned to the evaluation time, other times must give the same. */
static bool run_pinned(struct runner *rn, const struct eval *e)
{
    int64_t at = e->start_ms, times[] = {-10 * at, 0, at / 5, at, 10 * at};
    bool ok = true;

    if (rn->backend->api || depends_on_time(e->query))
        return true;
    if (at == 0) {
        times[0] = -1000;
        times[2] = times[3] = times[4] = 1000;
    }
    for (size_t i = 0; ok && i < ARRAY_LEN(times); i++) {
        struct run run = {.start_ms = times[i],
                          .end_ms = times[i],
                          .compare = {.order = true, .at_ms = INT64_MIN},
                          .pin = true,
                          .pin_ms = at,
                          .name = "@"};

        ok = run_query(rn, e, &run);
        run.name = "@ range";
        ok = ok && run_as_range(rn, e, times[i], &run);
    }
    return ok;
}

static bool run_eval(struct runner *rn, const struct eval *e)
{
    struct run run = {.start_ms = e->start_ms,
                      .end_ms = e->end_ms,
                      .step_ms = e->step_ms,
                      .compare = {.order = true, .at_ms = INT64_MIN, .api = rn->backend->api}};
    bool ok = run_query(rn, e, &run);

    if (!e->instant || !ok)
        return ok;
    run.name = "range";
    return run_as_range(rn, e, e->start_ms, &run) && run_pinned(rn, e);
}

/* --- scripts --- */
static void report(struct runner *rn, const struct command *c)
{
    const struct eval *e = &c->eval;

    printf("%s:%zu: ", rn->file, c->line);
    if (e->instant)
        printf("instant at %lld ms: ", (long long)e->start_ms);
    else
        printf("range %lld..%lld step %lld ms: ", (long long)e->start_ms, (long long)e->end_ms,
               (long long)e->step_ms);
    printf("%.*s\n%.*s", STR_FMT(e->query), STR_FMT(buf_view(&rn->why)));
}

static int run_load(struct runner *rn, const struct command *c, struct arena *a, struct err *err)
{
    struct load_series *series;
    size_t n;
    int rc = load_expand(c, a, &series, &n, err);

    if (rc == 0) {
        load_mark_stale(&rn->tails, series, n, a);
        rc = rn->backend->load(rn->backend, series, n, err);
    }
    return rc < 0 ? err_wrap(err, rc, "line %zu: load", c->line) : 0;
}

static void run_judged(struct runner *rn, const struct command *c)
{
    buf_clear(&rn->why);
    if (run_eval(rn, &c->eval)) {
        rn->file_tally.passed++;
    } else {
        rn->file_tally.failed++;
        report(rn, c);
    }
}

static int run_command(struct runner *rn, const struct command *c, struct arena *a, struct err *err)
{
    switch (c->kind) {
    case COMMAND_CLEAR:
        vec_clear(&rn->tails.v);
        return rn->backend->clear(rn->backend, err);
    case COMMAND_LOAD:
        return run_load(rn, c, a, err);
    default:
        run_judged(rn, c);
        return 0;
    }
}

static int run_text(struct runner *rn, struct str text, struct arena *a, struct err *err)
{
    struct command *list = NULL;
    int rc = script_parse(text, a, &list, err);

    vec_clear(&rn->tails.v);
    if (rc == 0)
        rc = rn->backend->clear(rn->backend, err);
    for (const struct command *c = list; rc == 0 && c; c = c->next)
        rc = run_command(rn, c, a, err);
    return rc;
}

static void run_file(struct runner *rn, const char *path)
{
    const char *slash = strrchr(path, '/');
    struct err err = {0};
    struct arena a;
    struct buf text;
    int rc;

    rn->file = slash ? slash + 1 : path;
    rn->file_tally = (struct tally){0};
    arena_init(&a, SCRIPT_ARENA_BYTES);
    buf_init(&text, SCRIPT_BYTES_MAX);
    rc = fs_read(path, &text, &err);
    if (rc == 0)
        rc = run_text(rn, buf_view(&text), &a, &err);
    if (rc < 0) {
        printf("%s: %s\n", rn->file, err_text(&err));
        rn->file_tally.failed++;
    }
    if (rn->verbose || rn->file_tally.failed || rn->file_tally.passed)
        printf("%-28s passed %4zu failed %4zu\n", rn->file, rn->file_tally.passed,
               rn->file_tally.failed);
    rn->files++;
    rn->good_files += rn->file_tally.failed > 0 && rn->file_tally.passed == 0;
    rn->total.passed += rn->file_tally.passed;
    rn->total.failed += rn->file_tally.failed;
    buf_fini(&text);
    arena_fini(&a);
}

static void run_path(struct runner *rn, const char *path)
{
    fs_names names = {0};
    struct stat st;
    struct err err = {0};

    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
        run_file(rn, path);
        return;
    }
    if (fs_list(path, &names, &err) < 0)
        printf("%s: %s\n", path, err_text(&err));
    for (size_t i = 0; i < names.n; i++) {
        char file[4096];

        if (!str_has_suffix(str_of(names.v[i]), STR(".test")))
            continue;
        snprintf(file, sizeof file, "%s/%s", path, names.v[i]);
        run_file(rn, file);
    }
    fs_names_free(&names);
}

static const struct {
    const char *name;
    struct backend *(*make)(const struct backend_opt *opt);
} backends[] = {
    {"memory", backend_memory_new},
    {"head", backend_head_new},
    {"cluster", backend_cluster_new},
};

static struct backend *backend_named(const char *name, const struct backend_opt *opt)
{
    for (size_t i = 0; i < ARRAY_LEN(backends); i++)
        if (strcmp(backends[i].name, name) == 0)
            return backends[i].make(opt);
    return NULL;
}

enum { FLUSH_MAX = 16 };
struct args {
    const char *via;
    const char *flush[FLUSH_MAX + 1];
    struct backend_opt backend;
    bool verbose, must_fail;
};

static int usage(void)
{
    fprintf(stderr,
            "usage: promqltest [--via memory|head] [--must-fail] [-v] FILE|DIR...\n"
            "       promqltest --via cluster --url URL [--query-url URL] [--warm] [--flush INGESTER-URL]... FILE|DIR...\n");
    return 2;
}

/* The value of an option, or NULL: not this option. */
static const char *option(char **argv, int *i, const char *name)
{
    return strcmp(argv[*i], name) == 0 && argv[*i + 1] ? argv[++*i] : NULL;
}

/* Index of the first path; 0: bad usage. */
static int args_read(char **argv, struct args *ret)
{
    size_t flushes = 0;
    const char *v;
    int i;

    *ret = (struct args){.via = "memory", .backend.flush = ret->flush};
    for (i = 1; argv[i] && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "-v") == 0)
            ret->verbose = true;
        else if (strcmp(argv[i], "--must-fail") == 0)
            ret->must_fail = true;
        else if ((v = option(argv, &i, "--via")))
            ret->via = v;
        else if ((v = option(argv, &i, "--url")))
            ret->backend.url = v;
        else if ((v = option(argv, &i, "--query-url")))
            ret->backend.query_url = v;
        else if (strcmp(argv[i], "--warm") == 0)
            ret->backend.warm = true;
        else if (flushes < FLUSH_MAX && (v = option(argv, &i, "--flush")))
            ret->flush[flushes++] = v;
        else
            return 0;
    }
    return argv[i] ? i : 0;
}

int main(int argc UNUSED, char **argv)
{
    struct args args;
    struct runner rn = {0};
    int i = args_read(argv, &args);

    if (i == 0 || !(rn.backend = backend_named(args.via, &args.backend)))
        return usage();
    rn.verbose = args.verbose;
    rn.must_fail = args.must_fail;
    buf_init(&rn.why, VERDICT_BYTES_MAX);
    setlinebuf(stdout);
    for (; argv[i]; i++)
        run_path(&rn, argv[i]);
    printf("%zu passed, %zu failed\n", rn.total.passed, rn.total.failed);
    buf_fini(&rn.why);
    vec_fini(&rn.tails.v);
    rn.backend->free(rn.backend);
    if (rn.must_fail)
        return rn.files > 0 && rn.good_files == rn.files ? 0 : 1;
    return rn.total.failed ? 1 : 0;
}
