#include "common/base/json.h"
#include "common/base/utf8.h"
#include "tests/test.h"

static const struct {
    const char *name, *in;
    size_t steps[4]; /* until 0 */
} steps[] = {
    {"ascii", "a", {1}},
    {"two", "\xc3\xa4", {2}},
    {"three", "\xe2\x82\xac", {3}},
    {"four", "\xf0\x9f\x98\x80", {4}},
    {"last code point", "\xf4\x8f\xbf\xbf", {4}},
    {"past the last", "\xf4\x90\x80\x80", {0}},
    {"overlong two", "\xc0\xaf", {0}},
    {"overlong three", "\xe0\x9f\xbf", {0}},
    {"overlong four", "\xf0\x8f\xbf\xbf", {0}},
    {"surrogate", "\xed\xa0\x80", {0}},
    {"cut", "\xe2\x82", {0}},
    {"lone continuation", "\x80", {0}},
    {"second good, third bad", "a\xc3\xa4\xff", {1, 2, 0}},
};

TEST(utf8_steps_over_whole_characters_only)
{
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct str s = str_of(steps[i].in);
        size_t at = 0;

        for (size_t j = 0; at < s.n; j++) {
            size_t n = utf8_step(s, at);

            if (n != steps[i].steps[j])
                fail_msg("%s: step %zu is %zu", steps[i].name, j, n);
            if (n == 0)
                break;
            at += n;
        }
        CHECK(utf8_valid(s) == (at == s.n));
    }
    CHECK(utf8_valid(STR("")));
}

TEST(json_strings_are_escaped_and_always_utf8)
{
    struct buf out;

    buf_init(&out, 1000);
    json_key(&out, "k");
    json_str(&out, str_n("\"\\/\b\f\n\r\t\x01\x7f\0\xc3\xa4\xc3", 14));
    CHECK(str_eqz(buf_view(&out),
                  "\"k\":\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u007f\\u0000\xc3\xa4\xef\xbf\xbd\""));
    buf_fini(&out);
}
