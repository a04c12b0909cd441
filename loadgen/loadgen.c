#include "loadgen/loadgen.h"

#include "common/sys/clock.h"
#include "loadgen/exporter.h"
#include "loadgen/options.h"
#include "loadgen/report.h"
#include "loadgen/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { EXIT_RAN = 0, EXIT_COULD_NOT = 1, EXIT_JUDGED = 2, OUTPUT_BYTES_MAX = 16 << 20 };

struct loadgen {
    struct load_options o;
    struct recording recording;
    struct ask_queries queries;
    struct ask *ask; /* NULL: no queries */
    struct history history;
    struct model model;
    struct exporter *exporter; /* NULL: none */
    struct request_log *requests; /* NULL: none */
    struct progress progress;
    struct send_stats stats;
    struct verdict verdict;
    bool verified;
    struct judge_log log;
    double verify_seconds;
};

static double cpu_seconds(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

static struct report report_of(const struct loadgen *g)
{
    return (struct report){
        .sent = g->o.verify_only ? NULL : &g->stats,
        .asked = g->ask ? ask_stats(g->ask) : NULL,
        .queries = &g->queries,
        .verified = g->verified ? &g->verdict : NULL,
        .verify_seconds = g->verify_seconds,
        .differences = buf_view(&g->log.text),
        .cpu_seconds = cpu_seconds(),
    };
}

/* --- thresholds --- */

/* Calls fn for each: the flag may be given several times, with several in each. */
static int each_threshold(const struct loadgen *g, int (*fn)(const struct report *r, struct str text, void *arg), const struct report *r, void *arg)
{
    int rc = 0;

    for (size_t i = 0; rc >= 0 && i < g->o.thresholds.n; i++)
        for (struct str rest = str_of(g->o.thresholds.v[i]); rc >= 0 && rest.n;) {
            size_t end = str_find(rest, ',');

            rc = fn(r, str_trim(str_sub(rest, 0, end)), arg);
            rest = str_skip(rest, MIN(end + 1, rest.n));
        }
    return rc;
}

static int check_threshold(const struct report *r, struct str text, void *err)
{
    int rc = report_threshold(r, text, err);

    return rc == RC_LIMIT ? 0 : rc;
}

/* A mistyped threshold is known before anything is sent, not after an hour. */
static int check_thresholds(struct loadgen *g, struct err *err)
{
    struct report r;
    int rc;

    g->verified = g->o.verify || g->o.verify_only;
    r = report_of(g);
    rc = each_threshold(g, check_threshold, &r, err);
    g->verified = false;
    return rc;
}

static int judge_threshold(const struct report *r, struct str text, void *arg)
{
    struct err err;
    int rc = report_threshold(r, text, &err), *code = arg;

    if (rc < 0)
        fprintf(stderr, "torc loadgen: %s\n", err_text(&err));
    if (rc < 0 && *code != EXIT_COULD_NOT)
        *code = rc == RC_LIMIT ? EXIT_JUDGED : EXIT_COULD_NOT;
    return 0;
}

/* --- the run --- */

static void tick(void *arg, const struct send_stats *st)
{
    struct loadgen *g = arg;
    struct report r = report_of(g);
    struct figures f;

    if (!g->o.quiet)
        progress_tick(&g->progress, st, r.asked);
    if (g->exporter) {
        report_figures(&r, &f);
        exporter_update(g->exporter, &f);
    }
}

static struct plan plan_of(const struct load_options *o)
{
    struct plan p = {
        .max = o->max,
        .ha = o->ha,
        .interval_ns = o->interval_ms * 1000000,
        .out_of_order = o->out_of_order,
        .backfill_ms = o->backfill_ms,
        .step_ms = o->interval_ms,
        .rounds = (uint64_t)o->rounds,
        .outage_ns = o->ha_outage_ms * 1000000,
        .seed = (uint64_t)o->seed,
    };

    if (o->rate > 0)
        p.interval_ns = MAX((int64_t)((double)(o->series + o->natives) * (double)o->tenants * plan_replicas(&p) / o->rate * 1e9), 1);
    return p;
}

static struct history_cfg history_cfg_of(const struct loadgen *g)
{
    const struct load_options *o = &g->o;
    struct plan plan = plan_of(o);
    struct history_cfg h = {
        .model = {.seed = (uint64_t)o->seed,
                  .series = (uint32_t)o->series,
                  .natives = (uint32_t)o->natives,
                  .tenants = (uint32_t)o->tenants,
                  .labels = (uint32_t)o->labels,
                  .churn = o->churn,
                  .special = o->special,
                  .ha = o->ha,
                  .epoch_ms = clock_wall_ms(clock_system()) - o->backfill_ms,
                  .step_ms = plan.backfill_ms || plan.max ? plan.step_ms : MAX(plan.interval_ns / 1000000, 1),
                  .recording = *o->replay ? &g->recording : NULL},
        .batch = (uint32_t)o->batch,
        .recording = g->recording.fingerprint,
    };

    snprintf(h.tenant, sizeof h.tenant, "%s", o->tenant);
    return h;
}

static int write_all(struct loadgen *g, struct err *err)
{
    const struct load_options *o = &g->o;
    struct history_cfg h = history_cfg_of(g);
    struct http_peer peer;
    struct send_cfg send = {
        .peer = &peer,
        .image = {.model = &g->model, .protocol = (enum protocol)o->protocol, .codec = o->codec, .exemplars = o->exemplars},
        .history = &g->history,
        .connections = (uint32_t)o->connections,
        .plan = plan_of(o),
        .ask = g->ask,
        .duration_ms = o->duration_ms,
        .timeout_ms = o->timeout_ms,
        .give_up_ms = o->give_up_ms,
        .drain_ms = o->drain_ms,
        .tick = tick,
        .tick_arg = g,
    };
    int rc;

    g->progress.total_ns = o->duration_ms * 1000000;
    rc = http_peer_of(o->url, &peer, err);
    if (rc == 0)
        rc = history_new(&h, *o->history ? o->history : NULL, &g->history, err);
    if (rc == 0 && *o->request_log)
        rc = request_log_new(o->request_log, &g->requests, err);
    send.requests = g->requests;
    if (rc < 0)
        return rc;
    model_init(&g->model, &h.model);
    rc = send_run(&send, &g->stats, err);
    if (!o->quiet)
        fputc('\n', stderr);
    return rc;
}

static int open_history(struct loadgen *g, struct err *err)
{
    int rc = history_open(g->o.history, &g->history, err);

    if (rc < 0)
        return rc;
    if (g->history.cfg.recording != g->recording.fingerprint)
        return err_set(err, RC_INVALID, "history %s: it is of another recording: --replay must name the file that was sent", g->o.history);
    if (g->history.cfg.recording && g->history.cfg.model.series % g->recording.series_n)
        return err_set(err, RC_INVALID, "history %s: its series are no multiple of those of the recording", g->o.history);
    g->history.cfg.model.recording = g->history.cfg.recording ? &g->recording : NULL;
    return 0;
}

static int read_back(struct loadgen *g, struct err *err)
{
    struct verify_cfg cfg = {.query_url = g->o.query_url, .history = &g->history, .path = (enum verify_path)g->o.verify_path, .wait_ms = g->o.verify_wait_ms, .progress = !g->o.quiet};
    int64_t start = clock_mono_ns(clock_system());
    int rc;

    if (*g->o.differences && !(g->log.all = fopen(g->o.differences, "we")))
        return err_sys(err, RC_IO, "open %s", g->o.differences);
    history_sort(&g->history);
    rc = verify_run(&cfg, &g->verdict, &g->log, err);
    g->verify_seconds = (double)(clock_mono_ns(clock_system()) - start) * 1e-9;
    g->verified = rc == 0;
    return rc;
}

/* The exit code: what was asked for is judged, and something must have been written or read. */
static int judge(const struct loadgen *g, const struct report *r)
{
    int code = EXIT_RAN;

    each_threshold(g, judge_threshold, r, &code);
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

static int report(const struct loadgen *g)
{
    struct report r = report_of(g);
    struct figures f;
    struct buf out;

    buf_init(&out, OUTPUT_BYTES_MAX);
    if (g->o.json)
        report_json(&r, &out);
    else
        report_text(&r, &out);
    fwrite(out.p, 1, out.n, stdout);
    fflush(stdout);
    buf_fini(&out);
    if (g->exporter) {
        report_figures(&r, &f);
        exporter_update(g->exporter, &f);
    }
    return judge(g, &r);
}

static int load_queries(struct loadgen *g, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < g->o.query.n; i++) {
        rc = ask_queries_add(&g->queries, str_of(g->o.query.v[i]), err);
        if (rc < 0)
            err_wrap(err, rc, "--query \"%s\"", g->o.query.v[i]);
    }
    if (rc == 0 && *g->o.queries)
        rc = ask_queries_open(&g->queries, g->o.queries, err);
    if (rc == 0 && g->queries.v.n && g->o.verify_only)
        rc = err_set(err, RC_INVALID, "--query goes along with writing: --verify-only writes nothing");
    return rc;
}

/* All that can be wrong before the first request. */
static int prepare(struct loadgen *g, struct ask_cfg *ask, struct http_peer *query_peer, struct history_cfg *tenants, struct err *err)
{
    const struct load_options *o = &g->o;
    int rc = *o->replay ? recording_open(o->replay, &g->recording, err) : 0;

    if (rc == 0)
        rc = load_options_settle(&g->o, *o->replay ? &g->recording : NULL, err);
    if (rc == 0)
        rc = load_queries(g, err);
    if (rc == 0 && g->queries.v.n)
        rc = http_peer_of(o->query_url, query_peer, err);
    if (rc == 0 && g->queries.v.n) {
        *tenants = history_cfg_of(g);
        *ask = (struct ask_cfg){query_peer, &g->queries, tenants, o->query_rate, (uint32_t)o->query_connections, o->query_timeout_ms};
        g->ask = ask_new(ask);
    }
    if (rc == 0)
        rc = check_thresholds(g, err);
    if (rc == 0 && (*o->metrics_listen || *o->metrics_file))
        rc = exporter_new(o->metrics_listen, o->metrics_file, &g->exporter, err);
    if (rc == 0 && g->exporter && exporter_port(g->exporter) && !o->quiet)
        fprintf(stderr, "metrics at port %u\n", exporter_port(g->exporter));
    return rc;
}

static int run(struct loadgen *g)
{
    struct err err = {0};
    struct http_peer query_peer;
    struct history_cfg tenants;
    struct ask_cfg ask;
    int rc = prepare(g, &ask, &query_peer, &tenants, &err), read = 0, code;

    if (rc == 0)
        rc = g->o.verify_only ? open_history(g, &err) : write_all(g, &err);
    if (rc == 0 && (g->o.verify || g->o.verify_only))
        read = read_back(g, &err);
    if (rc < 0) {
        fprintf(stderr, "torc loadgen: %s\n", err_text(&err));
        code = EXIT_COULD_NOT;
    } else {
        code = report(g);
    }
    if (read < 0) {
        fprintf(stderr, "torc loadgen: not verified: %s\n", err_text(&err));
        code = EXIT_COULD_NOT;
    }
    ask_free(g->ask);
    return code;
}

static void help(const struct config *c)
{
    struct buf out;

    buf_init(&out, OUTPUT_BYTES_MAX);
    buf_z(&out, "usage: torc loadgen [flags]\n\n"
                "Writes generated or recorded series to a remote-write or OTLP endpoint, asks queries meanwhile, reports, and can read everything back.\n"
                "Exit code: 0 fine, 1 could not run or nothing was acknowledged, 2 a threshold or the verification failed. docs/loadgen.md has examples.\n\n");
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
    exporter_free(g->exporter);
    request_log_free(g->requests);
    if (g->log.all)
        fclose(g->log.all);
    history_fini(&g->history);
    ask_queries_fini(&g->queries);
    recording_free(&g->recording);
    buf_fini(&g->log.text);
    config_free(c);
    free(g);
    return code;
}
