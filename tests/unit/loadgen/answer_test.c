/* What an answer means, in each protocol; and the one answer that has a body to decode. */
#include "loadgen/answer.h"
#include "tests/test.h"

static struct answer judge(enum protocol protocol, bool ha, int status, int64_t written, struct str body)
{
    struct http_client c = {.status = status, .written_said = written >= 0, .written = written >= 0 ? (uint64_t)written : 0, .body = {.p = (char *)(uintptr_t)body.p, .n = body.n}};
    struct answer a;

    answer_judge(&c, protocol, ha, 100, &a);
    return a;
}

TEST(each_status_has_its_fate)
{
    static const struct {
        const char *name;
        enum protocol protocol;
        bool ha;
        int status;
        int64_t written; /* -1: header missing */
        enum answer_fate fate;
        uint32_t taken;
    } cases[] = {
        {"written", PROTOCOL_RW1, false, 204, -1, ANSWER_TAKEN, 100},
        {"any 2xx", PROTOCOL_RW1, false, 202, -1, ANSWER_TAKEN, 100},
        {"the other replica is elected", PROTOCOL_RW1, true, 202, -1, ANSWER_DEDUPLICATED, 0},
        {"the elected replica", PROTOCOL_RW1, true, 204, -1, ANSWER_TAKEN, 100},
        {"bad data", PROTOCOL_RW1, false, 400, -1, ANSWER_REFUSED, 0},
        {"too much", PROTOCOL_RW1, false, 429, -1, ANSWER_REPEAT, 0},
        {"trouble", PROTOCOL_RW1, false, 500, -1, ANSWER_REPEAT, 0},
        {"all counted", PROTOCOL_RW2, false, 204, 100, ANSWER_TAKEN, 100},
        {"a server without 2.0", PROTOCOL_RW2, false, 204, -1, ANSWER_REFUSED, 0},
        {"silently dropped", PROTOCOL_RW2, false, 204, 60, ANSWER_PARTIAL, 60},
        {"counts more than there were", PROTOCOL_RW2, false, 204, 1000, ANSWER_TAKEN, 100},
        {"partial write", PROTOCOL_RW2, false, 400, 60, ANSWER_REFUSED, 60},
        {"unsupported", PROTOCOL_RW2, false, 415, -1, ANSWER_REFUSED, 0},
        {"rolled back", PROTOCOL_RW2, false, 503, 0, ANSWER_REPEAT, 0},
        {"OTLP", PROTOCOL_OTLP, false, 200, -1, ANSWER_TAKEN, 100},
        {"OTLP may not repeat 500", PROTOCOL_OTLP, false, 500, -1, ANSWER_REFUSED, 0},
        {"OTLP may repeat 503", PROTOCOL_OTLP, false, 503, -1, ANSWER_REPEAT, 0},
        {"OTLP may repeat 429", PROTOCOL_OTLP, false, 429, -1, ANSWER_REPEAT, 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct answer a = judge(cases[i].protocol, cases[i].ha, cases[i].status, cases[i].written, STR(""));

        print_message("%s\n", cases[i].name);
        CHECK_INT(a.fate, cases[i].fate);
        CHECK_INT(a.written, cases[i].taken);
        CHECK((a.text[0] != '\0') == (a.fate != ANSWER_TAKEN && a.fate != ANSWER_DEDUPLICATED));
    }
}

TEST(a_reason_is_one_line)
{
    struct answer a = judge(PROTOCOL_RW1, false, 400, -1, STR("out of order sample\nand more"));

    CHECK_STR(a.text, "out of order sample");
}

TEST(a_partial_success_is_read)
{
    static const char some[] = "\x0a\x0a\x08\x07\x12\x06" "limits", all[] = "\x0a\x03\x08\xac\x02", warning[] = "\x0a\x06\x12\x04" "slow";
    struct answer a = judge(PROTOCOL_OTLP, false, 200, -1, str_n(some, sizeof some - 1));

    CHECK(a.fate == ANSWER_PARTIAL && a.written == 93);
    CHECK_STR(a.text, "limits");
    a = judge(PROTOCOL_OTLP, false, 200, -1, str_n(all, sizeof all - 1)); /* 300 of 100 */
    CHECK(a.fate == ANSWER_PARTIAL && a.written == 0 && strstr(a.text, "without a reason"));
    a = judge(PROTOCOL_OTLP, false, 200, -1, str_n(warning, sizeof warning - 1)); /* nothing rejected */
    CHECK(a.fate == ANSWER_TAKEN && a.written == 100);
    a = judge(PROTOCOL_OTLP, false, 200, -1, STR("<html>"));
    CHECK(a.fate == ANSWER_REFUSED && strstr(a.text, "ExportMetricsServiceResponse"));
}

TEST(a_cut_answer_is_corrupt)
{
    static const char some[] = "\x0a\x0a\x08\x07\x12\x06" "limits";
    struct str message;
    uint64_t rejected;
    struct err err;

    for (size_t n = 1; n < sizeof some - 1; n++)
        CHECK_INT(answer_otlp_decode(str_n(some, n), &rejected, &message, &err), RC_CORRUPT);
    CHECK_INT(answer_otlp_decode(STR(""), &rejected, &message, &err), 0);
    CHECK_INT(rejected, 0);
}
