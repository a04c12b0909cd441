#include "querier/fragment.h"
#include "tests/test.h"

#include <math.h>

static struct arena a;

static void write_example(struct buf *out)
{
    static struct label lv[] = {{STR("job"), STR("x")}};
    static struct result_sample s[] = {{.t = -5, .v = 1.5}, {.t = 15000, .v = INFINITY}};
    static struct result_series series[] = {{{lv, 1}, 2, s}, {{NULL, 0}, 1, s}};
    static const char *infos[] = {"PromQL info: x"};
    struct query_result res = {.type = VALUE_MATRIX,
                               .series = series,
                               .series_count = 2,
                               .infos = infos,
                               .info_count = 1,
                               .stats = {.samples_total = 7, .samples_read = 8, .series = 2}};

    fragment_write(out, &res, &(struct fetch_used){.series = 2, .chunks = 3, .bytes = 400});
}

TEST(an_answer_arrives_as_it_left)
{
    struct fetch_used used = {.series = 10, .chunks = 10, .bytes = 10};
    struct query_result got;
    struct buf out;

    arena_init(&a, 1 << 20);
    buf_init(&out, 1 << 20);
    write_example(&out);
    CHECK(buf_ok(&out));
    CHECK_INT(fragment_read(buf_view(&out), &a, &got, &used, NULL), 0);
    CHECK_INT(got.type, VALUE_MATRIX);
    CHECK_INT(got.series_count, 2);
    CHECK(str_eqz(labels_get(&got.series[0].labels, STR("job")), "x"));
    CHECK_INT(got.series[1].labels.n, 0);
    CHECK_INT(got.series[0].n, 2);
    CHECK_INT(got.series[0].s[0].t, -5);
    CHECK(isinf(got.series[0].s[1].v));
    CHECK_INT(got.info_count, 1);
    CHECK(strcmp(got.infos[0], "PromQL info: x") == 0);
    CHECK_INT(got.stats.samples_total, 7);
    CHECK_INT(used.series, 12);
    CHECK_INT(used.chunks, 13);
    CHECK_INT(used.bytes, 410);
    buf_fini(&out);
    arena_fini(&a);
}

TEST(an_answer_that_is_cut_is_refused)
{
    struct fetch_used used = {0};
    struct query_result got;
    struct buf out;

    arena_init(&a, 8 << 20);
    buf_init(&out, 1 << 20);
    write_example(&out);
    for (size_t n = 0; n < 60; n++)
        CHECK(fragment_read(str_n(out.p, n), &a, &got, &used, NULL) < 0);
    buf_fini(&out);
    arena_fini(&a);
}

TEST(an_answer_over_the_ceiling_fails)
{
    struct buf out;

    buf_init(&out, 40);
    write_example(&out);
    CHECK(!buf_ok(&out));
    buf_fini(&out);
}
