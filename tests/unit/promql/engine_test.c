/* Limits, cancellation, statistics and switches of the engine. What queries mean is pinned by the
 * promqltest scripts. */
#include "tests/test.h"

#include "common/sys/clock.h"
#include "promql/memsource.h"
#include "promql/engine.h"

#include <math.h>

enum { ARENA_BYTES = 64 << 20 };

struct run {
    struct arena arena;
    struct promql_ast ast;
    struct query_result res;
    struct err err;
    int rc;
};

static const struct query_opt instant_60s = {
    .start_ms = 60000, .end_ms = 60000, .delayed_name_removal = true};
static const struct query_opt range_0_60s = {
    .end_ms = 60000, .step_ms = 10000, .delayed_name_removal = true};

static void run_open(struct run *r, struct series_source *src, const char *text,
                     struct query_opt opt, size_t budget)
{
    *r = (struct run){0};
    arena_init(&r->arena, budget);
    opt.arena = &r->arena;
    r->rc = promql_parse(str_of(text), &promql_parse_all, &r->arena, &r->ast, &r->err);
    assert_int_equal(r->rc, 0);
    r->rc = query_run(&r->ast, src, &opt, &r->res, &r->err);
}

static void run_close(struct run *r)
{
    promql_ast_fini(&r->ast);
    arena_fini(&r->arena);
}

static void add(struct memsource *m, const char *name, const char *label, int64_t t, double v)
{
    struct label l[] = {{STR("__name__"), str_of(name)}, {STR("x"), str_of(label)}};
    struct labels ls = {l, 2};

    assert_int_equal(memsource_append(m, &ls, t, v, NULL, 0, NULL), 0);
}

/* Three series of 13 samples, 0 to 120 s in steps of 10 s. */
static struct memsource *filled(void)
{
    static const char *const labels[] = {"a", "b", "c"};
    struct memsource *m = memsource_new();

    for (size_t i = 0; i < ARRAY_LEN(labels); i++)
        for (int64_t t = 0; t <= 120000; t += 10000)
            add(m, "up_total", labels[i], t, (double)t / 1000);
    return m;
}

TEST(too_many_samples_is_an_execution_error)
{
    static const char *const queries[] = {"up_total",
                                          "rate(up_total[1m])",
                                          "sum(up_total) + sum(up_total)",
                                          "sum_over_time(up_total[50s:1s])",
                                          "topk(3, up_total)",
                                          "sum by (x) (up_total)"};
    struct memsource *m = filled();

    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        struct query_opt opt = range_0_60s;
        struct run r;

        opt.samples_max = 3;
        run_open(&r, memsource_source(m), queries[i], opt, ARENA_BYTES);
        CHECK_INT(r.rc, RC_EXECUTION);
        CHECK_STR(err_text(&r.err),
                  "query processing would load too many samples into memory in query execution");
        run_close(&r);
    }
    memsource_free(m);
}

TEST(a_query_that_processes_or_reads_too_much_is_stopped_and_told_by_which_rule)
{
    static const struct {
        const char *query;
        uint64_t processed_max, read_max;
        const char *want; /* NULL: it is answered */
    } cases[] = {
        /* Series of 7 steps; it is stopped at the end of the series that goes too far. */
        {"up_total", 14, 0, "the query processed 21 samples, more than the_threshold allows (14)"},
        {"sum(rate(up_total[1m]))", 30, 0, "more than the_threshold allows (30)"},
        {"sum(rate(up_total[1m]))", 100000, 0, NULL},
        {"sum(rate(up_total[1m]))", 0, 8,
         "the query hit the max number of samples limit (limit: 8 samples, max_query_samples)"},
        {"sum(rate(up_total[1m]))", 0, 100000, NULL},
        {"sum_over_time(up_total[50s:1s])", 50, 0, "more than the_threshold allows (50)"},
        {"1 + 1", 1, 1, NULL},
    };
    struct memsource *m = filled();

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct query_opt opt = range_0_60s;
        struct run r;

        opt.processed_max = cases[i].processed_max;
        opt.processed_rule = "the_threshold";
        opt.read_max = cases[i].read_max;
        opt.samples_rule = "max_query_samples";
        run_open(&r, memsource_source(m), cases[i].query, opt, ARENA_BYTES);
        CHECK_INT(r.rc, cases[i].want ? RC_EXECUTION : 0);
        if (cases[i].want && !strstr(err_text(&r.err), cases[i].want))
            fail_msg("%zu: %s", i, err_text(&r.err));
        run_close(&r);
    }
    memsource_free(m);
}

TEST(an_aggregation_holds_its_groups_not_its_series)
{
    struct memsource *m = filled();
    struct query_opt opt = range_0_60s;
    struct run r;

    opt.samples_max = 2 * 7 + 7; /* one group and one series of 7 steps, and the window */
    run_open(&r, memsource_source(m), "sum(up_total)", opt, ARENA_BYTES);
    CHECK_INT(r.rc, 0);
    CHECK_INT(r.res.series_count, 1);
    CHECK(r.res.series[0].s[6].v == 180);
    run_close(&r);
    memsource_free(m);
}

/* Every budget up to the one that is enough: an error, never a crash, and the result untouched. */
TEST(any_arena_budget_is_survived)
{
    static const char *const queries[] = {"sum by (x) (rate(up_total[1m]))",
                                          "up_total * on (x) group_left up_total",
                                          "topk(2, up_total)",
                                          "label_replace(up_total, \"y\", \"$1\", \"x\", \"(.*)\")",
                                          "histogram_quantile(0.5, up_total)",
                                          "info(up_total)",
                                          "count_values(\"v\", up_total)",
                                          "quantile_over_time(0.5, up_total[1m])"};
    struct memsource *m = filled();

    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        size_t budget = 16384;

        for (;; budget += 1024) {
            struct run r;
            int rc;

            run_open(&r, memsource_source(m), queries[i], range_0_60s, budget);
            rc = r.rc;
            CHECK(rc == 0 || rc == RC_NOMEM);
            CHECK(rc == 0 || r.res.series == NULL);
            run_close(&r);
            if (rc == 0)
                break;
            CHECK(budget < 4 << 20);
        }
    }
    memsource_free(m);
}

TEST(a_set_flag_cancels)
{
    struct memsource *m = filled();
    struct query_opt opt = {.end_ms = 1000000000, .step_ms = 1000, .delayed_name_removal = true};
    atomic_bool cancel = true;
    struct run r;

    opt.cancel = &cancel;
    run_open(&r, memsource_source(m), "sum(up_total)", opt, 1 << 30);
    CHECK_INT(r.rc, RC_CANCELED);
    CHECK_STR(err_text(&r.err), "query was canceled in expression evaluation");
    run_close(&r);
    memsource_free(m);
}

TEST(a_deadline_ends_a_query)
{
    struct memsource *m = filled();
    struct query_opt opt = {.end_ms = 1000000000, .step_ms = 1000, .delayed_name_removal = true};
    struct run r;

    opt.deadline_mono_ns = 1;
    run_open(&r, memsource_source(m), "sum(up_total)", opt, 1 << 30);
    CHECK_INT(r.rc, RC_TIMEOUT);
    CHECK_STR(err_text(&r.err), "query timed out in expression evaluation");
    run_close(&r);
    memsource_free(m);
}

TEST(more_series_than_allowed_is_a_limit)
{
    struct memsource *m = filled();
    struct query_opt opt = instant_60s;
    struct run r;

    opt.series_max = 2;
    run_open(&r, memsource_source(m), "up_total", opt, ARENA_BYTES);
    CHECK_INT(r.rc, RC_LIMIT);
    run_close(&r);
    memsource_free(m);
}

/* Window functions count the whole window at each step as queryable, only what is new as read. */
TEST(statistics_count_as_the_api_says)
{
    static const struct {
        const char *query;
        uint64_t total, read, first, last;
    } cases[] = {
        {"up_total", 21, 21, 3, 3},
        {"sum(up_total)", 21, 21, 3, 3},
        {"sum_over_time(up_total[30s])", 3 * (1 + 2 + 3 * 5), 3 * 7, 3, 9},
        {"sum_over_time(up_total[30s] @ 60)", 3 * 3 * 7, 3 * 3, 9, 9},
        {"up_total @ 60", 21, 3, 3, 3},
        {"count_over_time(up_total[20s:10s])", 3 * (1 + 2 * 6), 3 * 7, 3, 6},
        {"1 + 1", 0, 0, 0, 0},
    };
    struct memsource *m = filled();

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct query_opt opt = range_0_60s;
        struct run r;

        opt.stats_per_step = true;
        run_open(&r, memsource_source(m), cases[i].query, opt, ARENA_BYTES);
        CHECK_INT(r.rc, 0);
        CHECK_INT(r.res.stats.samples_total, cases[i].total);
        CHECK_INT(r.res.stats.samples_read, cases[i].read);
        CHECK_INT(r.res.stats.step_count, 7);
        CHECK_INT(r.res.stats.per_step[0], cases[i].first);
        CHECK_INT(r.res.stats.per_step[6], cases[i].last);
        run_close(&r);
    }
    memsource_free(m);
}

TEST(instant_statistics_of_a_selector)
{
    struct memsource *m = filled();
    struct run r;

    run_open(&r, memsource_source(m), "up_total{x=\"a\"}", instant_60s, ARENA_BYTES);
    CHECK_INT(r.rc, 0);
    CHECK_INT(r.res.stats.samples_total, 1);
    CHECK_INT(r.res.stats.peak_samples, 1);
    CHECK_INT(r.res.stats.series, 1);
    CHECK(r.res.stats.per_step == NULL);
    run_close(&r);
    memsource_free(m);
}

TEST(only_scalars_and_vectors_make_range_queries)
{
    static const struct {
        const char *query, *text;
    } cases[] = {
        {"up_total[1m]", "invalid expression type \"range vector\" for range query, must be Scalar "
                         "or instant Vector"},
        {"\"x\"",
         "invalid expression type \"string\" for range query, must be Scalar or instant Vector"},
    };
    struct memsource *m = filled();

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct run r;

        run_open(&r, memsource_source(m), cases[i].query, range_0_60s, ARENA_BYTES);
        CHECK_INT(r.rc, RC_INVALID);
        CHECK_STR(err_text(&r.err), cases[i].text);
        run_close(&r);
    }
    memsource_free(m);
}

TEST(bad_times_are_refused)
{
    static const struct query_opt bad[] = {
        {.start_ms = 10, .end_ms = 5, .step_ms = 1},
        {.start_ms = 5, .end_ms = 10, .step_ms = 0},
        {.start_ms = 5, .end_ms = 10, .step_ms = -1},
        {.start_ms = INT64_MIN, .end_ms = INT64_MAX, .step_ms = 1},
    };
    struct memsource *m = filled();

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct run r;

        run_open(&r, memsource_source(m), "up_total", bad[i], ARENA_BYTES);
        CHECK_INT(r.rc, RC_INVALID);
        run_close(&r);
    }
    memsource_free(m);
}

TEST(order_is_reported_where_it_means_something)
{
    static const struct {
        const char *query;
        bool ordered;
    } cases[] = {
        {"sort(up_total)", true},
        {"(sort_desc(up_total))", true},
        {"topk(2, up_total)", true},
        {"up_total", false},
        {"sort(up_total) + up_total", false},
        {"sort_by_label(up_total, \"x\")", true},
    };
    struct memsource *m = filled();

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct run r;

        run_open(&r, memsource_source(m), cases[i].query, instant_60s, ARENA_BYTES);
        CHECK_INT(r.rc, 0);
        CHECK(r.res.ordered == cases[i].ordered);
        run_close(&r);
    }
    memsource_free(m);
}

/* Two metrics that differ in name alone. With the switch off the name goes at once, so equal sets
 * clash where they arise. */
TEST(names_go_at_once_when_removal_is_not_delayed)
{
    struct memsource *m = memsource_new();
    struct query_opt opt = instant_60s;
    struct run r;

    add(m, "one_total", "a", 50000, 1);
    add(m, "two_total", "a", 50000, 2);
    run_open(&r, memsource_source(m), "sum(abs({x=\"a\"}))", opt, ARENA_BYTES);
    CHECK_INT(r.rc, 0);
    CHECK(r.res.series[0].s[0].v == 3);
    run_close(&r);
    opt.delayed_name_removal = false;
    run_open(&r, memsource_source(m), "sum(abs({x=\"a\"}))", opt, ARENA_BYTES);
    CHECK_INT(r.rc, RC_EXECUTION);
    CHECK_STR(err_text(&r.err), "vector cannot contain metrics with the same labelset");
    run_close(&r);
    run_open(&r, memsource_source(m), "abs(one_total)", opt, ARENA_BYTES);
    CHECK_INT(r.rc, 0);
    CHECK_INT(r.res.series[0].labels.n, 1);
    run_close(&r);
    memsource_free(m);
}

TEST(type_labels_decide_what_is_a_counter_when_switched_on)
{
    struct label l[] = {{STR("__name__"), STR("requests")}, {STR("__type__"), STR("gauge")}};
    struct labels ls = {l, 2};
    struct memsource *m = memsource_new();
    struct query_opt opt = instant_60s;
    struct run r;

    opt.type_and_unit_labels = true;
    for (int64_t t = 0; t <= 60000; t += 10000)
        CHECK_INT(memsource_append(m, &ls, t, 1, NULL, 0, NULL), 0);
    run_open(&r, memsource_source(m), "rate(requests[1m])", opt, ARENA_BYTES);
    CHECK_INT(r.rc, 0);
    CHECK_INT(r.res.info_count, 1);
    CHECK_STR(r.res.infos[0], "PromQL info: metric might not be a counter, __type__ label is not "
                              "set to \"counter\" or \"histogram\", got "
                              "\"gauge\": \"requests\" (1:6)");
    run_close(&r);
    memsource_free(m);
}

TEST(annotations_are_said_once_and_counted_past_ten)
{
    struct memsource *m = memsource_new();
    struct run r;

    for (int i = 0; i < 13; i++) {
        char name[16];

        snprintf(name, sizeof name, "gauge_%d", i);
        for (int64_t t = 0; t <= 60000; t += 10000)
            add(m, name, "a", t, 1);
    }
    run_open(&r, memsource_source(m),
             "rate({x=\"a\", __name__=~\"gauge.*\"}[1m]) or\n rate(gauge_1[1m])", range_0_60s,
             ARENA_BYTES);
    CHECK_INT(r.rc, RC_EXECUTION); /* 13 names gone, one label set left */
    run_close(&r);
    run_open(&r, memsource_source(m), "count(rate({x=\"a\"}[1m])) +\n count(rate(gauge_1[1m]))",
             range_0_60s, ARENA_BYTES);
    CHECK_INT(r.rc, 0);
    CHECK_INT(r.res.info_count, ANNOTATIONS_MAX + 1);
    CHECK_STR(r.res.infos[1], "PromQL info: metric might not be a counter, name does not end in "
                              "_total/_sum/_count/_bucket: \"gauge_1\" (2:13)");
    CHECK_STR(r.res.infos[ANNOTATIONS_MAX], "3 more info annotations omitted");
    run_close(&r);
    memsource_free(m);
}

/* --- sources that fail --- */
struct failing {
    struct series_source base;
    struct series_cursor cursor;
    struct labels labels;
    int select_rc, samples_rc, opened;
    int keep; /* labels that it was asked for, -1: all */
    struct select_hints hints; /* of the last select */
};

static size_t failing_count(const struct series_cursor *c)
{
    (void)c;
    return 1;
}

static const struct labels *failing_labels(const struct series_cursor *c, size_t i)
{
    (void)i;
    return &CONTAINER_OF(c, struct failing, cursor)->labels;
}

static int failing_samples(struct series_cursor *c, size_t i, struct columns *ret, struct err *err)
{
    (void)i;
    *ret = (struct columns){0};
    return err_set(err, CONTAINER_OF(c, struct failing, cursor)->samples_rc, "disk is gone");
}

static void failing_free(struct series_cursor *c)
{
    CONTAINER_OF(c, struct failing, cursor)->opened--;
}

static int failing_select(struct series_source *src, const struct matcher *m, size_t n,
                          const struct select_hints *hints, struct arena *arena,
                          struct series_cursor **ret, struct err *err)
{
    static const struct series_cursor_ops ops = {failing_count, failing_labels, failing_samples,
                                                 NULL, failing_free};
    struct failing *f = CONTAINER_OF(src, struct failing, base);

    (void)m, (void)n, (void)arena;
    f->hints = *hints;
    f->keep = hints->keep ? (int)hints->keep->n : -1;
    if (f->select_rc)
        return err_set(err, f->select_rc, "no quorum");
    f->opened++;
    f->cursor.ops = &ops;
    *ret = &f->cursor;
    return 0;
}

TEST(errors_of_the_source_come_through_and_cursors_are_closed)
{
    static const char *const queries[] = {"up", "rate(up[1m])", "sum(up) + sum(up)",
                                          "max_over_time(rate(up[1m])[5m:1m])", "up[1m]"};

    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        struct failing f = {.base = {failing_select}, .select_rc = RC_UNAVAILABLE};
        struct run r;

        run_open(&r, &f.base, queries[i], instant_60s, ARENA_BYTES);
        CHECK_INT(r.rc, RC_UNAVAILABLE);
        CHECK_STR(err_text(&r.err), "expanding series: no quorum");
        run_close(&r);
        f = (struct failing){.base = {failing_select}, .samples_rc = RC_IO};
        run_open(&r, &f.base, queries[i], instant_60s, ARENA_BYTES);
        CHECK_INT(r.rc, RC_IO);
        CHECK_INT(f.opened, 0);
        run_close(&r);
    }
}

TEST(the_source_is_told_what_is_needed)
{
    static const struct {
        const char *query, *func;
        int64_t mint, maxt;
        int keep; /* -1: all labels */
    } cases[] = {
        {"up", "", -239999, 60000, -1},
        {"up offset 1m", "", -299999, 0, -1},
        {"up @ 30", "", -269999, 30000, -1},
        {"up smoothed", "", -239999, 360000, -1},
        {"rate(up[1m])", "rate", 1, 60000, -1},
        {"sum by (x, y) (rate(up[1m]))", "rate", 1, 60000, 2},
        {"sum by (x, y) (up)", "sum", -239999, 60000, 2},
        {"max without (x) (up)", "max", -239999, 60000, -1},
        {"sum(up + 1)", "", -239999, 60000, 0},
        {"sum(-abs(up) > 3)", "abs", -239999, 60000, 0},
        {"sum(up + up)", "", -239999, 60000, -1},
        {"sum(label_replace(up, \"a\", \"$1\", \"b\", \"(.*)\"))", "label_replace", -239999, 60000, -1},
        {"sum by (x) (topk(2, up))", "topk", -239999, 60000, -1},
        {"topk by (x) (2, up)", "topk", -239999, 60000, -1},
        {"topk(2, sum by (x) (up))", "sum", -239999, 60000, 1},
        {"sum by (x) (max without (y) (up))", "max", -239999, 60000, -1},
        {"rate(up[1m] anchored)", "rate", -299999, 60000, -1},
        {"rate(up[1m] smoothed)", "rate", -299999, 360000, -1},
        {"max_over_time(up[1m:7s])", "max_over_time", -292999, 56000, -1},
        {"max_over_time(up[1m:7s] @ 10 offset 2s)", "max_over_time", -348999, 7000, -1},
        {"sum(max_over_time(up[1m:7s]))", "max_over_time", -292999, 56000, -1},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct failing f = {.base = {failing_select}, .samples_rc = RC_IO};
        struct run r;

        run_open(&r, &f.base, cases[i].query, instant_60s, ARENA_BYTES);
        CHECK_INT(f.hints.mint_ms, cases[i].mint);
        CHECK_INT(f.hints.maxt_ms, cases[i].maxt);
        CHECK(str_eqz(f.hints.func, cases[i].func));
        CHECK_INT(f.keep, cases[i].keep);
        run_close(&r);
    }
}

TEST(memory_source_refuses_what_is_out_of_order)
{
    struct label l[] = {{STR("__name__"), STR("m")}};
    struct labels ls = {l, 1};
    struct memsource *m = memsource_new();

    CHECK_INT(memsource_append(m, &ls, 1000, 1, NULL, 0, NULL), 0);
    CHECK_INT(memsource_append(m, &ls, 1000, 1, NULL, 0, NULL), 0);
    CHECK_INT(memsource_append(m, &ls, 1000, 2, NULL, 0, NULL), RC_INVALID);
    CHECK_INT(memsource_append(m, &ls, 999, 1, NULL, 0, NULL), RC_INVALID);
    memsource_free(m);
}

/* --- common sub-expressions --- */

struct counting_source {
    struct series_source base;
    struct series_source *inner;
    int selects;
};

static int count_select(struct series_source *src, const struct matcher *m, size_t n, const struct select_hints *hints, struct arena *arena,
                        struct series_cursor **ret, struct err *err)
{
    struct counting_source *c = CONTAINER_OF(src, struct counting_source, base);

    c->selects++;
    return c->inner->select(c->inner, m, n, hints, arena, ret, err);
}

TEST(an_aggregation_that_stands_there_twice_is_evaluated_once)
{
    static const struct {
        const char *text;
        int selects;
        double value; /* of the first series at the last step */
    } cases[] = {
        {"sum(up_total) / sum(up_total)", 1, 1},
        {"sum(up_total) / (sum(up_total) + sum(up_total))", 1, 0.5},
        {"sum by (x) (up_total) > bool sum by (x) (up_total) or sum by (x) (up_total)", 1, 0},
        {"sum(up_total) / sum(up_total{x=\"a\"})", 2, 3},
        {"-sum(up_total) + sum(up_total)", 1, 0},
        {"sum(sum by (x) (up_total)) / sum(sum by (x) (up_total))", 1, 1},
        {"max_over_time(sum(up_total)[20s:10s]) - sum(up_total)", 2, 0}, /* other steps */
        {"sum(rate(up_total[30s])) / sum(rate(up_total[30s]))", 1, 1},
        /* what has something to say may say something else at each place */
        {"sum(rate(up[30s])) / sum(rate(up[30s]))", 2, NAN},
    };
    struct memsource *m = filled();

    for (int64_t t = 0; t <= 60000; t += 10000)
        add(m, "up", "a", t, 1);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct counting_source c = {.base.select = count_select, .inner = memsource_source(m)};
        struct run r;

        run_open(&r, &c.base, cases[i].text, range_0_60s, ARENA_BYTES);
        CHECK_INT(r.rc, 0);
        if (c.selects != cases[i].selects)
            fail_msg("%s: %d selects", cases[i].text, c.selects);
        if (!isnan(cases[i].value))
            CHECK(r.res.series[0].s[r.res.series[0].n - 1].v == cases[i].value);
        if (isnan(cases[i].value))
            CHECK_INT(r.res.info_count, 1);
        run_close(&r);
    }
    memsource_free(m);
}
