/* format_query and parse_query: texts are those of Prometheus 3.14. */
#include "tests/unit/promql/promql_test.h"

static const struct {
    const char *query, *want;
} pretty[] = {
    {"foo/bar",
     "foo / bar"},
    {"sum by (job) (rate(http_requests_total{job=\"api\", instance=~\".+\"}[5m])) / on (job) group_left (team) avg by (job) (limits)",
     "  sum by (job) (rate(http_requests_total{instance=~\".+\",job=\"api\"}[5m]))\n"
     "/ on (job) group_left (team)\n"
     "  avg by (job) (limits)"},
    {"histogram_quantile(0.99, sum by (le, route) (rate(http_request_duration_seconds_bucket{job=\"api-server\", code!~\"5..\"}[5m])))",
     "histogram_quantile(\n"
     "  0.99,\n"
     "  sum by (le, route) (rate(http_request_duration_seconds_bucket{code!~\"5..\",job=\"api-server\"}[5m]))\n"
     ")"},
    {"topk(10, sum without (instance, pod) (rate(container_cpu_usage_seconds_total{namespace=\"production\", container!=\"\"}[5m])))",
     "topk(\n"
     "  10,\n"
     "  sum without (instance, pod) (\n"
     "    rate(container_cpu_usage_seconds_total{container!=\"\",namespace=\"production\"}[5m])\n"
     "  )\n"
     ")"},
    {"-(sum(rate(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa[5m])) + sum(rate(bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb[5m])))",
     "-(\n"
     "    sum(rate(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa[5m]))\n"
     "  +\n"
     "    sum(rate(bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb[5m]))\n"
     ")"},
    {"max_over_time(sum by (job) (rate(http_requests_total{job=\"some-really-long-job-name\", env=\"production\"}[5m] offset 1h))[1d:5m] @ end())",
     "max_over_time(\n"
     "  sum by (job) (\n"
     "    rate(http_requests_total{env=\"production\",job=\"some-really-long-job-name\"}[5m] offset 1h)\n"
     "  )[1d:5m] @ end()\n"
     ")"},
    {"label_replace(up{job=\"some-really-long-job-name-to-force-a-split\"}, \"destination\", \"$1-suffix\", \"source\", \"(.*)-(.*)\")",
     "label_replace(\n"
     "  up{job=\"some-really-long-job-name-to-force-a-split\"},\n"
     "  \"destination\",\n"
     "  \"$1-suffix\",\n"
     "  \"source\",\n"
     "  \"(.*)-(.*)\"\n"
     ")"},
    {"(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa and bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb) or ccccccccccccccccccccccccc == bool on (x) ddddddd",
     "  (aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa and bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb)\n"
     "or\n"
     "  ccccccccccccccccccccccccc == bool on (x) ddddddd"},
    {"sum(1 + a) # gone",
     "sum(1 + a)"},
    {"a[5m:1m]",
     "a[5m:1m]"},
    {"f{label_0=\"value_0\",label_1=\"value_1\",label_2=\"value_2\",label_3=\"value_3\",label_4=\"value_4\",label_5=\"value_5\",label_6=\"value_6\",label_7=\"value_7\"}",
     "f{label_0=\"value_0\",label_1=\"value_1\",label_2=\"value_2\",label_3=\"value_3\",label_4=\"value_4\",label_5=\"value_5\",label_6=\"value_6\",label_7=\"value_7\"}"},
    {"-1 * -sum(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa)",
     "  -1\n"
     "*\n"
     "  -sum(\n"
     "    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"
     "  )"},
};

TEST(long_parts_are_spread_over_lines_with_two_blanks_a_level)
{
    for (size_t i = 0; i < ARRAY_LEN(pretty); i++) {
        struct parsed p;
        char *text;

        parse_n(&p, str_of(pretty[i].query));
        CHECK_INT(p.rc, 0);
        text = text_of(p.ast.root, promql_pretty);
        CHECK_STR(text, pretty[i].want);
        free(text);
        parsed_fini(&p);
    }
}

static const struct {
    const char *query, *want;
} json[] = {
    {"1",
     "{\"type\":\"numberLiteral\",\"val\":\"1\"}"},
    {"-5m",
     "{\"type\":\"numberLiteral\",\"val\":\"-300\"}"},
    {"\"a<b\"",
     "{\"type\":\"stringLiteral\",\"val\":\"a\\u003cb\"}"},
    {"(foo)",
     "{\"expr\":{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"foo\"}],"
     "\"name\":\"foo\",\"offset\":0,\"offsetExpr\":null,\"smoothed\":false,\"startOrEnd\":null,"
     "\"timestamp\":null,\"type\":\"vectorSelector\"},\"type\":\"parenExpr\"}"},
    {"-foo",
     "{\"expr\":{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"foo\"}],"
     "\"name\":\"foo\",\"offset\":0,\"offsetExpr\":null,\"smoothed\":false,\"startOrEnd\":null,"
     "\"timestamp\":null,\"type\":\"vectorSelector\"},\"op\":\"-\",\"type\":\"unaryExpr\"}"},
    {"foo{a=\"b\",c=~\"d.*\"} offset -5m @ start()",
     "{\"anchored\":false,\"matchers\":[{\"name\":\"a\",\"type\":\"=\",\"value\":\"b\"},{\"name\":\"c\","
     "\"type\":\"=~\",\"value\":\"d.*\"},{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"foo\"}],"
     "\"name\":\"foo\",\"offset\":-300000,\"offsetExpr\":null,\"smoothed\":false,"
     "\"startOrEnd\":\"start\",\"timestamp\":null,\"type\":\"vectorSelector\"}"},
    {"{\"my.metric\"}",
     "{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"my.metric\"}],"
     "\"name\":\"\",\"offset\":0,\"offsetExpr\":null,\"smoothed\":false,\"startOrEnd\":null,"
     "\"timestamp\":null,\"type\":\"vectorSelector\"}"},
    {"foo[5m] smoothed @ 1.5",
     "{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"foo\"}],"
     "\"name\":\"foo\",\"offset\":0,\"offsetExpr\":null,\"range\":300000,\"rangeExpr\":null,"
     "\"smoothed\":true,\"startOrEnd\":null,\"timestamp\":1500,\"type\":\"matrixSelector\"}"},
    {"foo[step() + (1m * 2)] offset -(5m + 1)",
     "{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"foo\"}],"
     "\"name\":\"foo\",\"offset\":0,\"offsetExpr\":{\"lhs\":null,\"op\":\"-\","
     "\"rhs\":{\"lhs\":{\"duration\":true,\"type\":\"numberLiteral\",\"val\":\"300\"},\"op\":\"+\","
     "\"rhs\":{\"duration\":false,\"type\":\"numberLiteral\",\"val\":\"1\"},\"type\":\"durationExpr\","
     "\"wrapped\":true},\"type\":\"durationExpr\",\"wrapped\":false},\"range\":0,"
     "\"rangeExpr\":{\"lhs\":{\"lhs\":null,\"op\":\"step\",\"rhs\":null,\"type\":\"durationExpr\","
     "\"wrapped\":false},\"op\":\"+\",\"rhs\":{\"lhs\":{\"duration\":true,\"type\":\"numberLiteral\","
     "\"val\":\"60\"},\"op\":\"*\",\"rhs\":{\"duration\":false,\"type\":\"numberLiteral\",\"val\":\"2\"},"
     "\"type\":\"durationExpr\",\"wrapped\":true},\"type\":\"durationExpr\",\"wrapped\":false},"
     "\"smoothed\":false,\"startOrEnd\":null,\"timestamp\":null,\"type\":\"matrixSelector\"}"},
    {"rate(foo[1h:5m] offset 1m @ end())[10m:(1m+1s)]",
     "{\"expr\":{\"args\":[{\"expr\":{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\","
     "\"type\":\"=\",\"value\":\"foo\"}],\"name\":\"foo\",\"offset\":0,\"offsetExpr\":null,"
     "\"smoothed\":false,\"startOrEnd\":null,\"timestamp\":null,\"type\":\"vectorSelector\"},"
     "\"offset\":60000,\"offsetExpr\":null,\"range\":3600000,\"rangeExpr\":null,"
     "\"startOrEnd\":\"end\",\"step\":300000,\"stepExpr\":null,\"timestamp\":null,"
     "\"type\":\"subquery\"}],\"func\":{\"argTypes\":[\"matrix\"],\"name\":\"rate\","
     "\"returnType\":\"vector\",\"variadic\":0},\"type\":\"call\"},\"offset\":0,\"offsetExpr\":null,"
     "\"range\":600000,\"rangeExpr\":null,\"startOrEnd\":null,\"step\":0,"
     "\"stepExpr\":{\"lhs\":{\"duration\":true,\"type\":\"numberLiteral\",\"val\":\"60\"},\"op\":\"+\","
     "\"rhs\":{\"duration\":true,\"type\":\"numberLiteral\",\"val\":\"1\"},\"type\":\"durationExpr\","
     "\"wrapped\":true},\"timestamp\":null,\"type\":\"subquery\"}"},
    {"sum by (a, b) (foo)",
     "{\"expr\":{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"foo\"}],"
     "\"name\":\"foo\",\"offset\":0,\"offsetExpr\":null,\"smoothed\":false,\"startOrEnd\":null,"
     "\"timestamp\":null,\"type\":\"vectorSelector\"},\"grouping\":[\"a\",\"b\"],\"op\":\"sum\","
     "\"param\":null,\"type\":\"aggregation\",\"without\":false}"},
    {"topk without () (3, foo)",
     "{\"expr\":{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"foo\"}],"
     "\"name\":\"foo\",\"offset\":0,\"offsetExpr\":null,\"smoothed\":false,\"startOrEnd\":null,"
     "\"timestamp\":null,\"type\":\"vectorSelector\"},\"grouping\":[],\"op\":\"topk\","
     "\"param\":{\"type\":\"numberLiteral\",\"val\":\"3\"},\"type\":\"aggregation\",\"without\":true}"},
    {"1 + foo",
     "{\"bool\":false,\"lhs\":{\"type\":\"numberLiteral\",\"val\":\"1\"},\"matching\":null,\"op\":\"+\","
     "\"rhs\":{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"foo\"}],"
     "\"name\":\"foo\",\"offset\":0,\"offsetExpr\":null,\"smoothed\":false,\"startOrEnd\":null,"
     "\"timestamp\":null,\"type\":\"vectorSelector\"},\"type\":\"binaryExpr\"}"},
    {"foo / on (a) group_left (b) bar",
     "{\"bool\":false,\"lhs\":{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\","
     "\"value\":\"foo\"}],\"name\":\"foo\",\"offset\":0,\"offsetExpr\":null,\"smoothed\":false,"
     "\"startOrEnd\":null,\"timestamp\":null,\"type\":\"vectorSelector\"},"
     "\"matching\":{\"card\":\"many-to-one\",\"fillValues\":{\"lhs\":null,\"rhs\":null},"
     "\"include\":[\"b\"],\"labels\":[\"a\"],\"on\":true},\"op\":\"/\",\"rhs\":{\"anchored\":false,"
     "\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"bar\"}],\"name\":\"bar\",\"offset\":0,"
     "\"offsetExpr\":null,\"smoothed\":false,\"startOrEnd\":null,\"timestamp\":null,"
     "\"type\":\"vectorSelector\"},\"type\":\"binaryExpr\"}"},
    {"foo and bar",
     "{\"bool\":false,\"lhs\":{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\","
     "\"value\":\"foo\"}],\"name\":\"foo\",\"offset\":0,\"offsetExpr\":null,\"smoothed\":false,"
     "\"startOrEnd\":null,\"timestamp\":null,\"type\":\"vectorSelector\"},"
     "\"matching\":{\"card\":\"many-to-many\",\"fillValues\":{\"lhs\":null,\"rhs\":null},\"include\":[],"
     "\"labels\":[],\"on\":false},\"op\":\"and\",\"rhs\":{\"anchored\":false,"
     "\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"bar\"}],\"name\":\"bar\",\"offset\":0,"
     "\"offsetExpr\":null,\"smoothed\":false,\"startOrEnd\":null,\"timestamp\":null,"
     "\"type\":\"vectorSelector\"},\"type\":\"binaryExpr\"}"},
    {"foo > bool ignoring (x) fill_left (1.5) bar",
     "{\"bool\":true,\"lhs\":{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\","
     "\"value\":\"foo\"}],\"name\":\"foo\",\"offset\":0,\"offsetExpr\":null,\"smoothed\":false,"
     "\"startOrEnd\":null,\"timestamp\":null,\"type\":\"vectorSelector\"},"
     "\"matching\":{\"card\":\"one-to-one\",\"fillValues\":{\"lhs\":1.5,\"rhs\":null},\"include\":[],"
     "\"labels\":[\"x\"],\"on\":false},\"op\":\"\\u003e\",\"rhs\":{\"anchored\":false,"
     "\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"bar\"}],\"name\":\"bar\",\"offset\":0,"
     "\"offsetExpr\":null,\"smoothed\":false,\"startOrEnd\":null,\"timestamp\":null,"
     "\"type\":\"vectorSelector\"},\"type\":\"binaryExpr\"}"},
    {"round(foo)",
     "{\"args\":[{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\","
     "\"value\":\"foo\"}],\"name\":\"foo\",\"offset\":0,\"offsetExpr\":null,\"smoothed\":false,"
     "\"startOrEnd\":null,\"timestamp\":null,\"type\":\"vectorSelector\"}],"
     "\"func\":{\"argTypes\":[\"vector\",\"scalar\"],\"name\":\"round\",\"returnType\":\"vector\","
     "\"variadic\":1},\"type\":\"call\"}"},
    {"label_join(foo, \"a\", \",\", \"b\")",
     "{\"args\":[{\"anchored\":false,\"matchers\":[{\"name\":\"__name__\",\"type\":\"=\","
     "\"value\":\"foo\"}],\"name\":\"foo\",\"offset\":0,\"offsetExpr\":null,\"smoothed\":false,"
     "\"startOrEnd\":null,\"timestamp\":null,\"type\":\"vectorSelector\"},{\"type\":\"stringLiteral\","
     "\"val\":\"a\"},{\"type\":\"stringLiteral\",\"val\":\",\"},{\"type\":\"stringLiteral\",\"val\":\"b\"}],"
     "\"func\":{\"argTypes\":[\"vector\",\"string\",\"string\",\"string\"],\"name\":\"label_join\","
     "\"returnType\":\"vector\",\"variadic\":-1},\"type\":\"call\"}"},
    {"time()",
     "{\"args\":[],\"func\":{\"argTypes\":[],\"name\":\"time\",\"returnType\":\"scalar\",\"variadic\":0},"
     "\"type\":\"call\"}"},
};

TEST(the_tree_as_json_has_the_shape_of_parse_query)
{
    for (size_t i = 0; i < ARRAY_LEN(json); i++) {
        struct parsed p;
        char *text;

        parse_n(&p, str_of(json[i].query));
        CHECK_INT(p.rc, 0);
        text = text_of(p.ast.root, promql_print_json);
        CHECK_STR(text, json[i].want);
        free(text);
        parsed_fini(&p);
    }
}

TEST(a_full_buffer_stops_the_printers_and_nothing_more)
{
    static void (*const printers[])(struct buf *, const struct node *) = {promql_print, promql_pretty, promql_print_json};
    struct parsed p;

    parse_n(&p, STR("sum by (a) (rate(foo{a=\"b\"}[5m:1m] offset 1m)) / on (a) group_left (b) -count_values(\"v\", bar)"));
    CHECK_INT(p.rc, 0);
    for (size_t i = 0; i < ARRAY_LEN(printers); i++) {
        char *whole = text_of(p.ast.root, printers[i]);

        for (size_t max = 0; max < strlen(whole); max++) {
            struct buf b;

            buf_init(&b, max);
            printers[i](&b, p.ast.root);
            CHECK(!buf_ok(&b) && b.n <= max);
            buf_fini(&b);
        }
        free(whole);
    }
    parsed_fini(&p);
}
