/* How queries are written. How they are asked is in tests/component/loadgen. */
#include "common/sys/fs.h"
#include "loadgen/ask.h"
#include "tests/test.h"

TEST(queries_have_a_range_and_a_step_in_front)
{
    static const struct {
        const char *text, *expr;
        int64_t range_ms, step_ms;
        int rc;
    } cases[] = {
        {"sum(rate(up[5m]))", "sum(rate(up[5m]))", 0, 0, 0},
        {"  up  ", "up", 0, 0, 0},
        {"range=1h step=15s sum by (a, b) (up)", "sum by (a, b) (up)", 3600000, 15000, 0},
        {"range=250s up", "up", 250000, 1000, 0},
        {"range=1h", NULL, 0, 0, RC_INVALID},
        {"", NULL, 0, 0, RC_INVALID},
        {"step=15s up", NULL, 0, 0, RC_INVALID},
        {"range=0s up", NULL, 0, 0, RC_INVALID},
        {"range=soon up", NULL, 0, 0, RC_INVALID},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct ask_queries q = {0};
        struct err err;

        CHECK_INT(ask_queries_add(&q, str_of(cases[i].text), &err), cases[i].rc);
        CHECK_INT(q.v.n, cases[i].rc == 0);
        if (q.v.n) {
            CHECK_STR(q.v.v[0].expr, cases[i].expr);
            CHECK(q.v.v[0].range_ms == cases[i].range_ms && q.v.v[0].step_ms == cases[i].step_ms);
        }
        ask_queries_fini(&q);
    }
}

TEST(a_file_has_one_query_a_line)
{
    struct ask_queries q = {0};
    char path[512];
    struct err err;

    snprintf(path, sizeof path, "%s/queries", test_tmpdir());
    CHECK(fs_write_atomic(path, STR("# dashboard\nup\n\nrange=1h topk(5, up)\n"), &err) == 0);
    CHECK_INT(ask_queries_open(&q, path, &err), 0);
    CHECK(q.v.n == 2 && q.v.v[1].range_ms == 3600000);
    CHECK(fs_write_atomic(path, STR("up\nrange=1h\n"), &err) == 0);
    CHECK_INT(ask_queries_open(&q, path, &err), RC_INVALID);
    CHECK(strstr(err_text(&err), "line 2"));
    ask_queries_fini(&q);
}
