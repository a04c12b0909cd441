#include "common/obs/trace.h"
#include "tests/test.h"

#include <jansson.h>

static json_t *printed(const struct trace *t)
{
    struct buf b;
    json_t *j;

    buf_init(&b, 1 << 20);
    trace_print(&b, t);
    CHECK(buf_ok(&b));
    j = json_loadb(b.p, b.n, 0, NULL);
    buf_fini(&b);
    CHECK(j != NULL);
    return j;
}

static const json_t *child(const json_t *n, size_t i)
{
    return json_array_get(json_object_get(n, "children"), i);
}

static const char *text(const json_t *n)
{
    return json_string_value(json_object_get(n, "message"));
}

TEST(steps_become_a_tree)
{
    struct trace *t = trace_new("root");
    struct trace_node *a = trace_begin(trace_root(t), "a %d", 1), *b;
    json_t *j;

    b = trace_begin(a, "b");
    trace_end(b, ": \"%s\"", "quoted");
    trace_end(a, "%s", "");
    trace_add(trace_root(t), 1500000, "c");
    j = printed(t);
    CHECK_STR(text(j), "root");
    CHECK_STR(text(child(j, 0)), "a 1");
    CHECK_STR(text(child(child(j, 0), 0)), "b: \"quoted\"");
    CHECK_STR(text(child(j, 1)), "c");
    CHECK(json_real_value(json_object_get(child(j, 1), "duration_msec")) == 1.5);
    CHECK(json_array_size(json_object_get(j, "children")) == 2);
    json_decref(j);
    trace_free(t);
}

TEST(nothing_is_traced_below_null)
{
    CHECK(trace_begin(NULL, "x") == NULL);
    CHECK(trace_root(NULL) == NULL);
    trace_end(NULL, "x");
    trace_set(NULL, 1);
    trace_free(NULL);
}

TEST(a_trace_is_bounded)
{
    struct trace *t = trace_new("root");
    struct trace_node *n = trace_root(t);
    json_t *j;

    for (int i = 0; i < TRACE_NODES_MAX * 2; i++)
        trace_add(trace_root(t), 1, "step");
    for (int i = 0; n && i < TRACE_DEPTH_MAX * 2; i++)
        n = trace_begin(n, "deep");
    CHECK(n == NULL);
    j = printed(t);
    CHECK(json_array_size(json_object_get(j, "children")) == TRACE_NODES_MAX);
    CHECK(strstr(text(child(j, TRACE_NODES_MAX - 1)), "further steps are not shown") != NULL);
    json_decref(j);
    trace_free(t);
}

TEST(another_process_s_trace_goes_below_a_step)
{
    struct trace *theirs = trace_new("their root"), *ours = trace_new("ours");
    struct trace_node *deep = trace_begin(trace_root(theirs), "x"), *step = trace_begin(trace_root(ours), "ask");
    struct err err;
    struct buf b;
    json_t *j;

    trace_end(trace_begin(deep, "y"), "%s", "");
    trace_end(trace_begin(trace_root(theirs), "z"), "%s", "");
    buf_init(&b, 1 << 20);
    trace_encode(&b, theirs);
    CHECK(trace_decode(buf_view(&b), step, &err) == 0);
    j = printed(ours);
    CHECK_STR(text(child(child(j, 0), 0)), "their root");
    CHECK_STR(text(child(child(child(j, 0), 0), 0)), "x");
    CHECK_STR(text(child(child(child(child(j, 0), 0), 0), 0)), "y");
    CHECK_STR(text(child(child(child(j, 0), 0), 1)), "z");
    json_decref(j);
    for (size_t n = 0; n < b.n; n++) { /* cut anywhere: an error or fewer steps, never a crash */
        int rc = trace_decode(str_n(b.p, n), step, &err);

        CHECK(rc == 0 || rc == RC_CORRUPT);
    }
    b.p[0] = 9;
    CHECK_INT(trace_decode(buf_view(&b), step, &err), RC_VERSION);
    buf_fini(&b);
    trace_free(theirs);
    trace_free(ours);
}
