/* PromQL over plain memory: 10,000 counters (or argv[1]) of 4 labels, 720 samples each at 15 s,
 * asked for the last 3 hours in steps of a minute and at the last moment. Prints ms, the arena's
 * peak and how many samples were looked at. engine_bench [series] */
#include "common/sys/clock.h"
#include "promql/engine.h"
#include "promql/memsource.h"

#include <stdio.h>
#include <stdlib.h>

enum { SERIES = 10000, SAMPLES = 720, INTERVAL_MS = 15000, WARM_MS = 300000, STEP_MS = 60000 };

static struct memsource *filled(int series)
{
    struct memsource *m = memsource_new();

    for (int s = 0; s < series; s++) {
        char host[32], cpu[32];
        struct label l[] = {
            {STR("__name__"), STR("cpu_seconds_total")},
            {STR("cpu"), str_n(cpu, (size_t)snprintf(cpu, sizeof cpu, "%d", s % 10))},
            {STR("instance"), str_n(host, (size_t)snprintf(host, sizeof host, "host-%d", s / 10))},
            {STR("job"), STR("node")}};
        struct labels ls = {l, ARRAY_LEN(l)};
        double v = s;

        for (int i = 0; i < SAMPLES; i++)
            if (memsource_append(m, &ls, (int64_t)i * INTERVAL_MS, v += 1.5, NULL, 0, NULL) < 0)
                abort();
    }
    return m;
}

static void ask(struct memsource *m, const char *text, bool instant)
{
    const int64_t end = (int64_t)SAMPLES * INTERVAL_MS;
    struct query_opt opt = {.start_ms = instant ? end : WARM_MS,
                            .end_ms = end,
                            .step_ms = instant ? 0 : STEP_MS,
                            .delayed_name_removal = true};
    struct query_result res = {0};
    struct err err = {0};
    struct promql_ast ast;
    struct arena a;
    int64_t t0 = clock_mono_ns(clock_system());
    int rc;

    arena_init(&a, (size_t)8 << 30);
    opt.arena = &a;
    rc = promql_parse(str_of(text), &promql_parse_all, &a, &ast, &err);
    if (rc == 0)
        rc = query_run(&ast, memsource_source(m), &opt, &res, &err);
    printf("%-8s %-66s %8.1f ms  %5zu MiB  %9llu samples  %6zu series %s\n",
           instant ? "instant" : "range", text, (double)(clock_mono_ns(clock_system()) - t0) / 1e6,
           a.peak >> 20, (unsigned long long)res.stats.samples_total, res.series_count,
           rc < 0 ? err_text(&err) : "");
    promql_ast_fini(&ast);
    arena_fini(&a);
}

int main(int argc, char **argv)
{
    static const char *const queries[] = {
        "sum(rate(cpu_seconds_total[5m]))",
        "sum by (instance) (rate(cpu_seconds_total[5m]))",
        "cpu_seconds_total",
        "cpu_seconds_total * 2 + 1",
        "sum by (cpu) (cpu_seconds_total) / count by (cpu) (cpu_seconds_total)",
        "cpu_seconds_total / cpu_seconds_total",
        "topk(5, rate(cpu_seconds_total[5m]))",
        "quantile by (cpu) (0.9, cpu_seconds_total)",
        "avg_over_time(cpu_seconds_total[5m])",
        "max_over_time(rate(cpu_seconds_total[5m])[30m:1m])",
    };
    struct memsource *m = filled(argc > 1 ? atoi(argv[1]) : SERIES);

    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        ask(m, queries[i], false);
        ask(m, queries[i], true);
    }
    memsource_free(m);
    return 0;
}
