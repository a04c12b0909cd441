#include "loadgen/loadgen.h"

#include "common/sys/clock.h"
#include "loadgen/options.h"
#include "loadgen/report.h"
#include "loadgen/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { EXIT_RAN = 0, EXIT_COULD_NOT = 1, EXIT_JUDGED = 2, OUTPUT_BYTES_MAX = 16 << 20 };

struct loadgen {
    struct load_options o;
    struct history history;
    struct model model;
    struct send_stats stats;
    struct verdict verdict;
    struct judge_log log;
    double verify_seconds;
};

static double cpu_seconds(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

static int write_all(struct loadgen *g, struct err *err)
{
    const struct load_options *o = &g->o;
    struct history_cfg h = {
        .model = {.seed = (uint64_t)o->seed,
                  .series = (uint32_t)o->series,
                  .tenants = (uint32_t)o->tenants,
                  .churn = o->churn,
                  .special = o->special,
                  .epoch_ms = clock_wall_ms(clock_system()) - o->backfill_ms},
        .batch = (uint32_t)o->batch,
    };
    struct progress progress = {.total_ns = o->duration_ms * 1000000};
    struct http_peer peer;
    struct send_cfg send = {
        .peer = &peer,
        .model = &g->model,
        .history = &g->history,
        .connections = (uint32_t)o->connections,
        .max = o->max,
        .interval_ns = o->interval_ms * 1000000,
        .out_of_order = o->out_of_order,
        .backfill_ms = o->backfill_ms,
        .step_ms = o->interval_ms,
        .rounds = (uint64_t)o->rounds,
        .duration_ms = o->duration_ms,
        .timeout_ms = o->timeout_ms,
        .give_up_ms = o->give_up_ms,
        .drain_ms = o->drain_ms,
        .tick = progress_tick,
        .tick_arg = &progress,
    };
    int rc;

    snprintf(h.tenant, sizeof h.tenant, "%s", o->tenant);
    if (o->rate > 0)
        send.interval_ns = MAX((int64_t)((double)o->series * (double)o->tenants / o->rate * 1e9), 1);
    rc = http_peer_of(o->url, &peer, err);
    if (rc == 0)
        rc = history_new(&h, *o->history ? o->history : NULL, &g->history, err);
    if (rc < 0)
        return rc;
    model_init(&g->model, &h.model);
    rc = send_run(&send, &g->stats, err);
    fputc('\n', stderr);
    return rc;
}

static int read_back(struct loadgen *g, struct err *err)
{
    struct verify_cfg cfg = {.query_url = g->o.query_url, .history = &g->history, .wait_ms = g->o.verify_wait_ms, .progress = true};
    int64_t start = clock_mono_ns(clock_system());
    int rc;

    history_sort(&g->history);
    rc = verify_run(&cfg, &g->verdict, &g->log, err);
    g->verify_seconds = (double)(clock_mono_ns(clock_system()) - start) * 1e-9;
    return rc;
}

/* The exit code: what was asked for is judged, and something must have been written or read. */
static int judge(const struct loadgen *g, const struct report *r)
{
    int code = EXIT_RAN;

    for (size_t i = 0; i < g->o.thresholds.n; i++) {
        struct err err;
        int rc = report_threshold(r, str_of(g->o.thresholds.v[i]), &err);

        if (rc < 0)
            fprintf(stderr, "torc loadgen: %s\n", err_text(&err));
        if (rc < 0 && code != EXIT_COULD_NOT)
            code = rc == RC_LIMIT ? EXIT_JUDGED : EXIT_COULD_NOT;
    }
    if (r->verified && !verdict_clean(r->verified))
        code = MAX(code, EXIT_JUDGED);
    if (r->verified && r->verified->right == 0 && code == EXIT_RAN) {
        fprintf(stderr, "torc loadgen: there was nothing to verify\n");
        code = EXIT_JUDGED;
    }
    if (code == EXIT_RAN && r->sent && r->sent->acked_samples == 0) {
        fprintf(stderr, "torc loadgen: nothing was acknowledged: %s\n", r->sent->last_error);
        code = EXIT_COULD_NOT;
    }
    return code;
}

static int report(const struct loadgen *g, bool verified)
{
    struct report r = {
        .sent = g->o.verify_only ? NULL : &g->stats,
        .verified = verified ? &g->verdict : NULL,
        .verify_seconds = g->verify_seconds,
        .differences = buf_view(&g->log.text),
        .cpu_seconds = cpu_seconds(),
    };
    struct buf out;

    buf_init(&out, OUTPUT_BYTES_MAX);
    if (g->o.json)
        report_json(&r, &out);
    else
        report_text(&r, &out);
    fwrite(out.p, 1, out.n, stdout);
    fflush(stdout);
    buf_fini(&out);
    return judge(g, &r);
}

static int run(struct loadgen *g)
{
    struct err err = {0};
    bool verify = g->o.verify || g->o.verify_only;
    int rc = load_options_settle(&g->o, &err), read = 0, code;

    if (rc == 0)
        rc = g->o.verify_only ? history_open(g->o.history, &g->history, &err) : write_all(g, &err);
    if (rc == 0 && verify)
        read = read_back(g, &err);
    if (rc < 0) {
        fprintf(stderr, "torc loadgen: %s\n", err_text(&err));
        return EXIT_COULD_NOT;
    }
    code = report(g, verify && read == 0);
    if (read < 0) {
        fprintf(stderr, "torc loadgen: not verified: %s\n", err_text(&err));
        code = EXIT_COULD_NOT;
    }
    return code;
}

static void help(const struct config *c)
{
    struct buf out;

    buf_init(&out, OUTPUT_BYTES_MAX);
    buf_z(&out, "usage: torc loadgen [flags]\n\nWrites generated series to a remote-write endpoint, reports, and can read everything back.\n"
                "Exit code: 0 fine, 1 could not run, 2 a threshold or the verification failed.\n\n");
    config_print_help(c, &out);
    fwrite(out.p, 1, out.n, stdout);
    buf_fini(&out);
}

int loadgen_main(int argc, char **argv)
{
    struct loadgen *g = xcalloc(1, sizeof *g);
    struct config *c = config_new();
    struct err err;
    int code;

    g->history.fd = -1;
    buf_init(&g->log.text, 1 << 20);
    config_add(c, "", load_options_table, &g->o);
    if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
        help(c);
        code = EXIT_RAN;
    } else if (config_load_flags(c, argc, argv, NULL, &err) < 0) {
        fprintf(stderr, "torc loadgen: %s\n", err_text(&err));
        code = EXIT_COULD_NOT;
    } else {
        code = run(g);
    }
    history_fini(&g->history);
    buf_fini(&g->log.text);
    config_free(c);
    free(g);
    return code;
}
