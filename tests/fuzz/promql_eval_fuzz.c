/* Any query text over three fixed series (a counter, a classic histogram's bucket, a native
 * histogram): parse, run as instant and as range, and check what every result must be. Budgets are
 * small, so that a hostile query ends early. */
#include "promql/fhist.h"
#include "promql/memsource.h"
#include "promql/engine.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ARENA_BYTES = 8 << 20, TEXT_MAX = 4096, SAMPLES_MAX = 200000 };

static void add(struct memsource *m, const char *name, const char *le, int64_t t, double v,
                const struct histogram *h)
{
    struct label l[] = {
        {STR("__name__"), str_of(name)}, {STR("job"), STR("j")}, {STR("le"), str_of(le)}};
    struct labels ls = {l, le ? 3 : 2};

    if (memsource_append(m, &ls, t, v, h, t - 500, NULL) < 0)
        abort();
}

static struct memsource *source(void)
{
    static struct memsource *m;
    struct arena a;

    if (m)
        return m;
    m = memsource_new();
    arena_init(&a, 1 << 20);
    for (int i = 0; i < 40; i++) {
        struct histogram *h;
        char text[128];
        int n = snprintf(text, sizeof text,
                         "schema:%d sum:%d count:%d z_bucket:1 buckets:[1 %d 2] n_buckets:[%d]",
                         i % 4, i, i + 5, i % 7, i % 3);

        if (fhist_parse_text(&a, str_n(text, (size_t)n), &h, NULL) < 0)
            abort();
        add(m, "c_total", NULL, i * 10000, i % 13 == 5 ? bits_double(STALE_NAN_BITS) : i % 11,
            NULL);
        add(m, "b_bucket", "+Inf", i * 10000, i, NULL);
        add(m, "h", NULL, i * 10000, 0, i % 9 == 3 ? NULL : h);
    }
    arena_fini(&a);
    return m;
}

static void check(const struct query_result *r, const struct query_opt *o, bool bare)
{
    for (size_t i = 0; i < r->series_count; i++) {
        const struct result_series *s = &r->series[i];

        if (s->n == 0)
            abort();
        for (size_t k = 0; k < s->n; k++) {
            if (k > 0 && s->s[k].t <= s->s[k - 1].t)
                abort();
            if (!bare && (s->s[k].t < o->start_ms || s->s[k].t > o->end_ms))
                abort();
            if (s->s[k].h && !s->s[k].h->is_float)
                abort();
        }
    }
}

static void run(struct str text, struct query_opt opt)
{
    struct query_result r = {0};
    struct err err = {0};
    struct promql_ast ast;
    struct arena a;

    arena_init(&a, ARENA_BYTES);
    opt.arena = &a;
    opt.samples_max = SAMPLES_MAX;
    if (promql_parse(text, &promql_parse_all, &a, &ast, &err) == 0) {
        if (query_run(&ast, memsource_source(source()), &opt, &r, &err) == 0)
            check(&r, &opt, ast.root->value == VALUE_MATRIX);
        promql_ast_fini(&ast);
    }
    arena_fini(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_n(data, MIN(size, (size_t)TEXT_MAX));

    run(text,
        (struct query_opt){.start_ms = 200000, .end_ms = 200000, .delayed_name_removal = true});
    run(text, (struct query_opt){.start_ms = 0,
                                 .end_ms = 400000,
                                 .step_ms = 50000,
                                 .delayed_name_removal = true,
                                 .stats_per_step = true});
    run(text, (struct query_opt){.start_ms = 100000, .end_ms = 300000, .step_ms = 7000});
    return 0;
}
