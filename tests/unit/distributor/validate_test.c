/* Which series and samples are refused, and what the client is told, to the letter. */
#include "distributor/validate.h"
#include "tests/test.h"

enum { LABELS = 12 };
struct pair {
    const char *name, *value;
};
struct row {
    struct pair pairs[LABELS];
    enum discard_reason why;
    const char *text; /* NULL: fine */
    const char *kept; /* when fine: the series as it is stored */
};

static const struct label_rules rules = {.names_max = 5, .name_bytes_max = 20, .value_bytes_max = 10, .total_bytes_max = 60};

#define M {"__name__", "m"}
static const struct row rows[] = {
    {{M}, DISCARD_NONE, NULL, "m"},
    {{{"b", "2"}, M, {"a", "1"}}, DISCARD_NONE, NULL, "m{a=\"1\", b=\"2\"}"},
    {{M, {"a", ""}, {"b", "2"}}, DISCARD_NONE, NULL, "m{b=\"2\"}"},
    {{{"__name__", "sp ace"}, {"d.ot", "\xc3\xa9"}}, DISCARD_NONE, NULL, "{\"sp ace\", \"d.ot\"=\"\xc3\xa9\"}"},
    {{M, {"a", "1"}, {"b", "1"}, {"c", "1"}, {"d", "1"}, {"e", ""}}, DISCARD_NONE, NULL, "m{a=\"1\", b=\"1\", c=\"1\", d=\"1\"}"},
    {{{0}}, DISCARD_MISSING_METRIC_NAME, "series has no metric name (missing_metric_name) series: '{}'", NULL},
    {{{"a", "1"}}, DISCARD_MISSING_METRIC_NAME, "series has no metric name (missing_metric_name) series: '{a=\"1\"}'", NULL},
    {{{"__name__", ""}, {"a", "1"}}, DISCARD_MISSING_METRIC_NAME, "series has no metric name (missing_metric_name) series: '{a=\"1\"}'", NULL},
    {{{"__name__", "\xff"}}, DISCARD_METRIC_NAME_INVALID, "invalid metric name: \"\\xff\" (metric_name_invalid) series: '{\"\\xff\"}'", NULL},
    {{M, {"\n\xff", "1"}}, DISCARD_LABEL_INVALID, "invalid label name: \"\\n\\xff\" (label_invalid) series: 'm{\"\\n\\xff\"=\"1\"}'", NULL},
    {{M, {"", "1"}}, DISCARD_LABEL_INVALID, "invalid label name: \"\" (label_invalid) series: 'm{\"\"=\"1\"}'", NULL},
    {{M, {"a", "\x80"}}, DISCARD_LABEL_INVALID, "invalid UTF-8 in the value of label 'a' (label_invalid) series: 'm{a=\"\\x80\"}'", NULL},
    {{M, {"123456789012345678901", "1"}}, DISCARD_LABEL_INVALID,
     "label name too long: 21 bytes, limit 20 (max_label_name_length): '123456789012345678901...' (label_invalid) series: "
     "'m{\"123456789012345678901\"=\"1\"}'", NULL},
    {{M, {"12345678901234567890", "1"}}, DISCARD_NONE, NULL, "m{\"12345678901234567890\"=\"1\"}"},
    {{M, {"a\n", "12345678901"}}, DISCARD_LABEL_VALUE_TOO_LONG,
     "value of label 'a\\n' too long: 11 bytes, limit 10 (max_label_value_length) (label_value_too_long) series: 'm{\"a\\n\"=\"12345678901\"}'", NULL},
    {{M, {"a", "1234567890"}}, DISCARD_NONE, NULL, "m{a=\"1234567890\"}"},
    {{M, {"a", "1"}, {"a", "1"}}, DISCARD_DUPLICATE_LABEL_NAMES,
     "duplicate label name 'a' (duplicate_label_names) series: 'm{a=\"1\", a=\"1\"}'", NULL},
    {{M, {"a", "1"}, {"b", "1"}, {"c", "1"}, {"d", "1"}, {"e", "1"}}, DISCARD_MAX_LABEL_NAMES_PER_SERIES,
     "series has too many labels (6, limit 5, max_label_names_per_series) (max_label_names_per_series) series: "
     "'m{a=\"1\", b=\"1\", c=\"1\", d=\"1\", e=\"1\"}'", NULL},
    {{M, {"aaaaaaaaaa", "1234567890"}, {"bbbbbbbbbb", "1234567890"}, {"cccccccccc", "1234567890"}}, DISCARD_LABEL_SIZE_EXCEEDED,
     "labels are too large: 69 bytes in all, limit 60 (max_label_size_bytes) (label_size_exceeded) series: "
     "'m{aaaaaaaaaa=\"1234567890\", bbbbbbbbbb=\"1234567890\", cccccccccc=\"1234567890\"}'", NULL},
};

static struct labels labels_of(const struct pair *pairs, struct label out[LABELS])
{
    size_t n = 0;

    for (; n < LABELS && pairs[n].name; n++)
        out[n] = (struct label){str_of(pairs[n].name), str_of(pairs[n].value)};
    return (struct labels){out, n};
}

TEST(series_are_judged_by_the_rules)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct label list[LABELS];
        struct labels ls = labels_of(rows[i].pairs, list);
        char kept[SERIES_TEXT_MAX + 4];
        struct err err = {0};

        CHECK_INT(labels_judge(&ls, &rules, &err), rows[i].why);
        series_text(&ls, kept);
        CHECK_STR(err.text, rows[i].text ? rows[i].text : "");
        if (rows[i].kept)
            CHECK_STR(kept, rows[i].kept);
    }
}

TEST(zero_switches_a_rule_off)
{
    static const struct label_rules off = {0};
    struct label list[LABELS];
    struct err err;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct labels ls = labels_of(rows[i].pairs, list);
        enum discard_reason why = labels_judge(&ls, &off, &err);
        bool by_size = strstr(rows[i].text ? rows[i].text : "", "limit") != NULL;

        CHECK_INT(why, by_size ? DISCARD_NONE : rows[i].why);
    }
}

TEST(legacy_names_are_narrower)
{
    static const struct label_rules legacy = {.legacy_names = true};
    struct label list[LABELS];
    struct err err;
    struct labels ls = labels_of((struct pair[LABELS]){{"__name__", "a.b"}}, list);

    CHECK_INT(labels_judge(&ls, &legacy, &err), DISCARD_METRIC_NAME_INVALID);
    CHECK_STR(err.text, "invalid metric name: \"a.b\" (metric_name_invalid) series: '{\"a.b\"}'");
    ls = labels_of((struct pair[LABELS]){{"__name__", "a:b"}, {"a:b", "1"}}, list);
    CHECK_INT(labels_judge(&ls, &legacy, &err), DISCARD_LABEL_INVALID);
    ls = labels_of((struct pair[LABELS]){{"__name__", "a:b"}, {"_9", "1"}}, list);
    CHECK_INT(labels_judge(&ls, &legacy, &err), DISCARD_NONE);
}

TEST(no_configuration_allows_more_labels_than_the_format)
{
    struct label *list = xcalloc(LABELS_MAX + 1, sizeof *list);
    char (*names)[8] = xcalloc(LABELS_MAX + 1, sizeof *names);
    static const struct label_rules off = {0}, wide = {.names_max = 100000};
    struct labels ls = {list, LABELS_MAX + 1};
    struct err err;

    for (size_t i = 0; i <= LABELS_MAX; i++) {
        snprintf(names[i], sizeof names[i], "l%05zu", i % 100000);
        list[i] = (struct label){str_of(names[i]), STR("v")};
    }
    list[0].name = STR("__name__");
    CHECK_INT(labels_judge(&ls, &off, &err), DISCARD_MAX_LABEL_NAMES_PER_SERIES);
    CHECK(strstr(err.text, "(4097, limit 4096, max_label_names_per_series)"));
    CHECK_INT(labels_judge(&ls, &wide, &err), DISCARD_MAX_LABEL_NAMES_PER_SERIES);
    CHECK(strstr(err.text, "(4097, limit 4096, max_label_names_per_series)"));
    ls.n = LABELS_MAX;
    CHECK_INT(labels_judge(&ls, &wide, &err), DISCARD_NONE);
    CHECK_INT(labels_too_many(&ls, 70000, &rules, &err), DISCARD_MAX_LABEL_NAMES_PER_SERIES);
    CHECK(strstr(err.text, "(70000, limit 5, "));
    free(list);
    free(names);
}

TEST(a_series_text_is_cut_between_characters)
{
    static char value[3000];
    struct label list[] = {{STR("__name__"), STR("m")}, {STR("a"), {value, sizeof value}}};
    struct labels ls = {list, 2};
    char text[SERIES_TEXT_MAX + 4];

    for (size_t i = 0; i < sizeof value; i += 2)
        memcpy(value + i, "\xc3\xa9", 2);
    for (size_t shift = 0; shift < 2; shift++) {
        list[0].value = shift ? STR("mm") : STR("m");
        series_text(&ls, text);
        CHECK(strlen(text) <= SERIES_TEXT_MAX + 3 && strlen(text) >= SERIES_TEXT_MAX);
        CHECK(utf8_valid(str_of(text)));
        CHECK(strcmp(text + strlen(text) - 3, "...") == 0);
    }
}

struct time_row {
    int64_t t;
    enum discard_reason why;
    const char *text;
};

static const int64_t now = 1700000000000;
static const struct time_row times[] = {
    {1700000000000, DISCARD_NONE, NULL},
    {1700000000000 - 3600000, DISCARD_NONE, NULL},
    {1700000000000 + 600000, DISCARD_NONE, NULL},
    {1700000000000 - 3600001, DISCARD_GREATER_THAN_MAX_SAMPLE_AGE,
     "timestamp too old: 2023-11-14T21:13:19.999Z is older than 1h (max_sample_age) (greater_than_max_sample_age) series: 'm'"},
    {1700000000000 + 600001, DISCARD_TOO_FAR_IN_FUTURE,
     "out of bounds: timestamp is too far in the future: 2023-11-14T22:23:20.001Z is more than 10m ahead (creation_grace_period) (too_far_in_future) "
     "series: 'm'"},
    {0, DISCARD_GREATER_THAN_MAX_SAMPLE_AGE,
     "timestamp too old: 1970-01-01T00:00:00Z is older than 1h (max_sample_age) (greater_than_max_sample_age) series: 'm'"},
    {INT64_MIN, DISCARD_GREATER_THAN_MAX_SAMPLE_AGE,
     "timestamp too old: -9223372036854775808 ms is older than 1h (max_sample_age) (greater_than_max_sample_age) series: 'm'"},
    {INT64_MAX, DISCARD_TOO_FAR_IN_FUTURE,
     "out of bounds: timestamp is too far in the future: 9223372036854775807 ms is more than 10m ahead (creation_grace_period) (too_far_in_future) "
     "series: 'm'"},
};

TEST(times_are_judged_by_the_rules)
{
    struct sample_rules r = {.now_ms = now, .age_max_ms = 3600000, .future_max_ms = 600000};
    struct label list[] = {{STR("__name__"), STR("m")}};
    struct labels ls = {list, 1};

    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        struct err err = {0};

        CHECK_INT(sample_judge(times[i].t, &r), times[i].why);
        if (!times[i].why)
            continue;
        sample_explain(times[i].why, times[i].t, &r, &ls, &err);
        CHECK_STR(err.text, times[i].text);
    }
}

TEST(without_rules_times_still_have_bounds)
{
    static const struct sample_rules off = {.now_ms = 1700000000000};
    struct labels ls = {NULL, 0};
    struct err err;

    CHECK_INT(sample_judge(1LL << 53, &off), DISCARD_NONE);
    CHECK_INT(sample_judge(-(1LL << 53), &off), DISCARD_NONE);
    CHECK_INT(sample_judge((1LL << 53) + 1, &off), DISCARD_OUT_OF_BOUNDS);
    CHECK_INT(sample_judge(INT64_MIN, &off), DISCARD_OUT_OF_BOUNDS);
    sample_explain(DISCARD_OUT_OF_BOUNDS, INT64_MIN, &off, &ls, &err);
    CHECK_STR(err.text, "out of bounds: timestamp -9223372036854775808 ms (out_of_bounds) series: '{}'");
}

TEST(a_refused_histogram_is_named_by_series_and_time)
{
    struct label l = {STR("__name__"), STR("h")};
    struct labels ls = {&l, 1};
    struct err err;

    histogram_explain("spans need 3 buckets, have 2", 1700000000123, &ls, &err);
    CHECK_STR(err.text, "spans need 3 buckets, have 2, in the native histogram of 2023-11-14T22:13:20.123Z (native_histogram_invalid) series: 'h'");
    histogram_explain("bad", INT64_MAX, &ls, &err);
    CHECK_STR(err.text, "bad, in the native histogram of 9223372036854775807 ms (native_histogram_invalid) series: 'h'");
}

/* Byte for byte as users have them in dashboards and alerts. */
TEST(discard_reasons_are_these_words)
{
    static const char *const words[] = {
        "none", "greater_than_max_sample_age", "new-value-for-timestamp", "per_labelset_series_limit", "per_metric_series_limit",
        "per_user_series_limit", "rate_limited", "sample-out-of-order", "label_value_too_long", "max_label_names_per_series", "missing_metric_name",
        "metric_name_invalid", "label_invalid", "duplicate_label_names", "label_size_exceeded", "too_far_in_future", "native_histogram_invalid",
        "too_many_ha_clusters", "fingerprint_collision", "out_of_bounds", "series_invalid", "otlp_temporality",
        "otlp_point_invalid",
    };

    CHECK_INT(DISCARD_COUNT, ARRAY_LEN(words));
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        CHECK_STR(discard_text((enum discard_reason)i), words[i]);
}
