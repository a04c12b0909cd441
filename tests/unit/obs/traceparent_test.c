#include "common/obs/traceparent.h"
#include "tests/test.h"

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN  "00f067aa0ba902b7"

static const struct {
    const char *name, *text;
    bool ok, sampled;
} cases[] = {
    {"of the specification", "00-" TRACE "-" SPAN "-01", true, true},
    {"not sampled", "00-" TRACE "-" SPAN "-00", true, false},
    {"other flags", "00-" TRACE "-" SPAN "-fe", true, false},
    {"a later version", "01-" TRACE "-" SPAN "-01", true, true},
    {"a later version with more", "cc-" TRACE "-" SPAN "-01-what", true, true},
    {"version 0 with more", "00-" TRACE "-" SPAN "-01-what", false, false},
    {"a later version, glued", "01-" TRACE "-" SPAN "-01x", false, false},
    {"version ff", "ff-" TRACE "-" SPAN "-01", false, false},
    {"a trace of zeros", "00-00000000000000000000000000000000-" SPAN "-01", false, false},
    {"a span of zeros", "00-" TRACE "-0000000000000000-01", false, false},
    {"upper case", "00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01", false, false},
    {"short", "00-" TRACE "-" SPAN "-0", false, false},
    {"no hex", "00-" TRACE "-" SPAN "-0g", false, false},
    {"other separators", "00_" TRACE "_" SPAN "_01", false, false},
    {"empty", "", false, false},
};

TEST(traceparents_are_read_as_w3c_says)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct traceparent t = {.trace_id = "untouched"};
        bool ok = traceparent_parse(str_of(cases[i].text), &t);

        if (ok != cases[i].ok || (ok && (strcmp(t.trace_id, TRACE) != 0 || strcmp(t.parent_id, SPAN) != 0 || t.sampled != cases[i].sampled)) ||
            (!ok && strcmp(t.trace_id, "untouched") != 0))
            fail_msg("%s: %d %s %s", cases[i].name, ok, t.trace_id, t.parent_id);
    }
}

TEST(a_trace_that_begins_here_is_never_zero)
{
    struct traceparent t;

    traceparent_begin(0, 0, &t);
    CHECK_STR(t.trace_id, "00000000000000000000000000000001");
    CHECK_STR(t.parent_id, "");
}
