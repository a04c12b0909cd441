#include "common/model/duration.h"
#include "common/model/labels.h"
#include "common/model/matcher.h"
#include "common/model/tenant.h"
#include "tests/test.h"

static const struct {
    const char *in;
    int rc;
    int64_t want_ms;
} durations[] = {
    {"1h30m", 0, 5400000},       {"0", 0, 0},          {"1y2w3d4h5m6s7ms", 0, 31536000000 + 1209600000 + 259200000 + 14400000 + 300000 + 6007},
    {"15", RC_INVALID, -1},      {"", RC_INVALID, -1}, {"1m1h", RC_INVALID, -1},
    {"1.5m", RC_INVALID, -1},    {"1m5", RC_INVALID, -1},
    {"99999999y", RC_INVALID, -1}, {"1h1h", RC_INVALID, -1},
};

TEST(duration_parse_accepts_prometheus_forms)
{
    for (size_t i = 0; i < ARRAY_LEN(durations); i++) {
        int64_t ms = -1;

        CHECK_INT(duration_parse_ms(str_of(durations[i].in), &ms, NULL), durations[i].rc);
        CHECK(ms == durations[i].want_ms);
    }
}

TEST(duration_print_writes_what_prometheus_writes)
{
    static const struct {
        int64_t ms;
        const char *want;
    } cases[] = {
        {0, "0s"}, {5400000, "1h30m"}, {-90000, "-1m30s"}, {90 * 86400000LL, "90d"}, {14 * 86400000LL, "2w"},
        {86400000LL * 8 + 3600000, "8d1h"}, {36 * 3600000LL, "1d12h"}, {31536000000LL, "1y"}, {1001, "1s1ms"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b;

        buf_init(&b, 100);
        duration_print(&b, cases[i].ms);
        buf_char(&b, '\0');
        CHECK_STR(b.p, cases[i].want);
        buf_fini(&b);
    }
}

TEST(labels_quote_escapes_what_go_escapes)
{
    struct buf b;

    buf_init(&b, 100);
    labels_quote(&b, STR("a\"\\\n\x01\xff\xc3\xa9\xc2\xad\xf3\xa0\x80\x81 "));
    buf_char(&b, '\0');
    CHECK_STR(b.p, "\"a\\\"\\\\\\n\\x01\\xff\xc3\xa9\\u00ad\\U000e0001 \"");
    buf_fini(&b);
}

static void check_float(double v, const char *want)
{
    struct buf b;

    buf_init(&b, 1000);
    float_print(&b, v);
    buf_char(&b, '\0');
    CHECK_STR(b.p, want);
    buf_fini(&b);
}

TEST(float_print_writes_what_prometheus_writes)
{
    check_float(1e-7, "1e-07");
    check_float(1e21, "1e+21");
    check_float(123456789012345680000.0, "123456789012345680000");
    check_float(-0.0, "-0");
    check_float(0.1, "0.1");
    check_float(1e-6, "0.000001");
    check_float(252590622.81000024, "252590622.81000024");
    check_float(1.5e300, "1.5e+300");
    check_float(1.0 / 0.0, "+Inf");
    check_float(100, "100");
}

TEST(time_param_parses_floats_and_rfc3339)
{
    int64_t ms;

    CHECK_INT(time_param_parse_ms(STR("1634937046.322"), &ms, NULL), 0);
    CHECK(ms == 1634937046322);
    CHECK_INT(time_param_parse_ms(STR("2015-06-03T13:21:58.555Z"), &ms, NULL), 0);
    CHECK(ms == 1433337718555);
    CHECK_INT(time_param_parse_ms(STR("2015-06-03T14:21:58.555+01:00"), &ms, NULL), 0);
    CHECK(ms == 1433337718555);
    CHECK_INT(time_param_parse_ms(STR("2015-02-30T14:21:58Z"), &ms, NULL), RC_INVALID);
}

static bool accepts(const char *pattern, const char *text)
{
    struct matcher m;
    bool yes;

    CHECK_INT(matcher_init(&m, MATCH_RE, STR("x"), str_of(pattern), NULL), 0);
    yes = matcher_matches(&m, str_of(text));
    matcher_fini(&m);
    return yes;
}

TEST(matchers_are_anchored_and_sets_mean_the_same_as_re2)
{
    CHECK(accepts("2..", "200") && !accepts("2..", "2000"));
    CHECK(accepts("a|b|c", "b") && !accepts("a|b|c", "ab"));
    CHECK(accepts("(a|b)", "b") && !accepts("(a|b)", "(a"));
    CHECK(accepts("a\\.b|c", "a.b") && !accepts("a\\.b|c", "axb"));
    CHECK(accepts("", "") && !accepts("", "x"));
    CHECK(accepts("a|", "") && accepts("a|", "a"));
    CHECK(accepts("abc*", "ab") && accepts("foo.*bar", "foo\nbar"));
    CHECK(accepts(".*", "") && !accepts(".+", ""));
}

/* How the expression is matched: set, globs, re2. */
static const char *way_of(const char *pattern)
{
    struct matcher m;
    const char *way;

    CHECK_INT(matcher_init(&m, MATCH_RE, STR("x"), str_of(pattern), NULL), 0);
    way = m.set ? "set" : m.re ? "re2" : "globs";
    matcher_fini(&m);
    return way;
}

TEST(matchers_without_classes_need_no_automaton)
{
    CHECK_STR(way_of("svc_(ops|errors)_total"), "set");
    CHECK_STR(way_of("foo|bar|baz.*"), "globs");
    CHECK_STR(way_of("(?:(a|b)c)?"), "re2");
    CHECK_STR(way_of("(?i)foo"), "re2");
    CHECK_STR(way_of("[ab].*"), "re2");
    CHECK_STR(way_of(".+.+"), "re2");
    CHECK(accepts("foo|bar|baz.*", "bar") && accepts("foo|bar|baz.*", "bazar") && !accepts("foo|bar|baz.*", "barz"));
    CHECK(accepts("a(b|c(d|))", "ac") && accepts("a(b|c(d|))", "acd") && !accepts("a(b|c(d|))", "ad"));
    CHECK(accepts(".*foo.*", "foo") && accepts(".*foo.*", "a\nfoob") && !accepts(".*foo.*", "fo"));
    CHECK(accepts(".+foo.+", "afoob") && !accepts(".+foo.+", "foob") && !accepts(".+foo.+", "afoo"));
    CHECK(accepts("a.*ab", "aab") && !accepts("a.*ab", "ab") && accepts("a.+b.*b", "axbb") && !accepts("a.+b.*b", "abb"));
    CHECK(accepts("(x.*|y).*(.+|z)", "xz") && accepts("(x.*|y).*(.+|z)", "yq") && !accepts("(x.*|y).*(.+|z)", "y"));
}

TEST(matcher_refuses_bad_patterns_and_names_them)
{
    struct matcher m;
    struct err err;

    CHECK_INT(matcher_init(&m, MATCH_RE, STR("x"), STR("a)(b"), &err), RC_INVALID);
    CHECK(strstr(err.text, "a)(b") != NULL);
    CHECK_INT(matcher_init(&m, MATCH_RE, STR("x"), STR("(?=a)"), &err), RC_INVALID);
}

TEST(fingerprint_is_the_same_for_ever)
{
    struct label ls[] = {{STR("__name__"), STR("up")}, {STR("job"), STR("node")}};
    fingerprint fp = labels_fingerprint(STR("anonymous"), &(struct labels){ls, 2});

    /* printf '\x09anonymous\x02\x08__name__\x02up\x03job\x04node' | sha256sum */
    CHECK(fp.hi == 0xc5306379aa91010dULL && fp.lo == 0xa846438b4a3aac56ULL);
}

TEST(tenant_ids_follow_the_rule)
{
    CHECK_INT(tenant_id_check(STR("team-a_1!.*'()"), NULL), 0);
    CHECK_INT(tenant_id_check(STR(".."), NULL), RC_INVALID);
    CHECK_INT(tenant_id_check(STR("a/b"), NULL), RC_INVALID);
    CHECK_INT(tenant_id_check(STR(""), NULL), RC_INVALID);
}

TEST(numbers_are_what_go_takes_for_numbers)
{
    static const char *const good[] = {"1", "-1.5e3", "+2", ".5", "5.", "Inf", "-inf", "+Infinity", "NaN", "1e400", "0x1p4", "0X.8P1"};
    static const char *const bad[] = {"", " 1", "\v1", "\f1", "\r1", "1 ", "0x10", "0x1.8", "1_000", "nan(1)", "1e", "one", "0x", "--1"};
    double v;

    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        CHECK_INT(float_parse(str_of(good[i]), &v, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK_INT(float_parse(str_of(bad[i]), &v, NULL), RC_INVALID);
    CHECK(float_parse(STR("0x1p4"), &v, NULL) == 0 && v == 16);
    CHECK_INT(float_parse(STR("1\0"), &v, NULL), RC_INVALID);
}
