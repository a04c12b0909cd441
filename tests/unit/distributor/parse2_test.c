/* From a Remote Write 2.0 body to rows: the same series, rules and rows as by 1.0, and what 2.0 brings besides. */
#include "common/sys/clock.h"
#include "distributor/distributor_impl.h"
#include "tests/test.h"

enum { NOW = 1700000000 };
#define NOW_MS ((int64_t)NOW * 1000)

/* --- a distributor without a network --- */

static struct clock_manual the_clock;
static struct limits limits;
static struct metrics *metrics;
static struct distributor *dist;

static void dist_up(void)
{
    struct distributor_deps deps = {.clock = &the_clock.clock};

    clock_manual_init(&the_clock, NOW_MS);
    metrics = deps.metrics = metrics_new();
    limits = (struct limits){.max_label_names_per_series = 30, .max_sample_age_ms = 3600000, .max_exemplars = 100};
    CHECK(distributor_new(&distributor_cfg_default, &deps, &dist, NULL) == 0);
}

static void dist_down(void)
{
    distributor_free(dist);
    metrics_free(metrics);
}

/* The push that read body; drop it with push_unref(). */
static struct push *read_body(bool v2, struct str body)
{
    struct push *p = xcalloc(1, sizeof *p);
    struct err err;

    p->d = dist;
    CHECK(dist_tenant_get(dist, STR("acme"), &p->tenant, NULL) == 0);
    p->limits = &limits;
    p->content.v2 = v2;
    buf_init(&p->body, body.n + 1);
    buf_str(&p->body, body);
    atomic_store(&p->refs, 1);
    mutex_init(&p->lock);
    arena_init(&p->arena, 16 << 20);
    buf_init(&p->errors, PUSH_ERRORS_TEXT_MAX);
    atomic_fetch_add(&dist->in_flight_requests, 1);
    if ((v2 ? push2_parse(p, &err) : push_parse(p, &err)) < 0)
        fail_msg("%s", err_text(&err));
    return p;
}

static const char *errors_of(struct push *p)
{
    buf_char(&p->errors, '\0');
    return p->errors.p;
}

/* Symbols 0 to 9: "", __name__, m_count, job, x, help, other help, s, a, m_total */
#define SYMBOLS "\x22\x00\x22\x08__name__\x22\x07m_count\x22\x03job\x22\x01x\x22\x04help\x22\x0aother help\x22\x01s\x22\x01""a\x22\x07m_total"
/* 17 bytes: a sample of value 1.5 at NOW_MS; 24 with the start of NOW_MS - 1000 */
#define VALUE "\x09\0\0\0\0\0\0\xf8\x3f"
#define AT_NOW "\x10\x80\xd0\x95\xff\xbc\x31"
#define START "\x18\x98\xc8\x95\xff\xbc\x31"
#define SAMPLE "\x12\x10" VALUE AT_NOW
#define SAMPLE_START "\x12\x17" VALUE AT_NOW START
#define BODY(...) ((struct str){__VA_ARGS__, sizeof(__VA_ARGS__) - 1})
#define SERIES(n, ...) "\x2a" n __VA_ARGS__

TEST(parse2_series_is_the_one_of_1_0)
{
    struct push *one, *two, *reversed;

    dist_up();
    two = read_body(true, BODY(SYMBOLS SERIES("\x18", "\x0a\x04\x01\x02\x03\x04" SAMPLE)));
    reversed = read_body(true, BODY(SYMBOLS SERIES("\x18", "\x0a\x04\x03\x04\x01\x02" SAMPLE)));
    CHECK(two->series_count == 1 && two->row_count == 1 && reversed->series_count == 1);
    CHECK(two->rows[0].t == NOW_MS && two->rows[0].vbits == double_bits(1.5) && !two->starts);
    CHECK(u128_eq(two->series[0].fp, reversed->series[0].fp) && !u128_eq(two->series[0].hash, reversed->series[0].hash));
    CHECK_INT(series_cache_count(two->tenant->cache), 2);
    push_unref(reversed);
    one = read_body(false, BODY("\x0a\x31" "\x0a\x13\x0a\x08__name__\x12\x07m_count" "\x0a\x08\x0a\x03job\x12\x01x" SAMPLE));
    CHECK_INT(one->series_count, 1);
    CHECK(u128_eq(one->series[0].fp, two->series[0].fp));
    push_unref(one);
    push_unref(two);
    dist_down();
}

TEST(parse2_known_series_is_not_judged_again)
{
    struct push *p;
    fingerprint fp;

    dist_up();
    p = read_body(true, BODY(SYMBOLS SERIES("\x18", "\x0a\x04\x01\x02\x03\x04" SAMPLE)));
    fp = p->series[0].fp;
    push_unref(p);
    limits.max_label_names_per_series = 1; /* would refuse it; a reload has another generation */
    p = read_body(true, BODY(SYMBOLS SERIES("\x18", "\x0a\x04\x01\x02\x03\x04" SAMPLE)));
    CHECK(p->series_count == 1 && p->refused == 0 && u128_eq(p->series[0].fp, fp));
    push_unref(p);
    limits.generation++;
    p = read_body(true, BODY(SYMBOLS SERIES("\x18", "\x0a\x04\x01\x02\x03\x04" SAMPLE)));
    CHECK(p->series_count == 0 && p->refused == 1 && strstr(errors_of(p), "max_label_names_per_series"));
    push_unref(p);
    dist_down();
}

TEST(parse2_starts_stand_beside_their_rows)
{
    struct push *p;

    dist_up();
    p = read_body(true, BODY(SYMBOLS SERIES("\x43", "\x0a\x04\x01\x02\x03\x04" SAMPLE SAMPLE_START SAMPLE)));
    CHECK(p->row_count == 3 && p->starts);
    CHECK(p->starts[0] == 0 && p->starts[1] == NOW_MS - 1000 && p->starts[2] == 0);
    push_unref(p);
    /* created_timestamp of the series: of samples that have none. */
    p = read_body(true, BODY(SYMBOLS SERIES("\x33", "\x0a\x04\x01\x02\x03\x04" SAMPLE SAMPLE_START "\x30\x05")));
    CHECK(p->row_count == 2 && p->starts[0] == 5 && p->starts[1] == NOW_MS - 1000);
    push_unref(p);
    dist_down();
}

TEST(parse2_refuses_series_by_series)
{
    static const struct {
        const char *name;
        struct str body;
        uint32_t rows, refused, faults;
        const char *text;
    } cases[] = {
        {"odd", BODY(SYMBOLS SERIES("\x17", "\x0a\x03\x01\x02\x03" SAMPLE)), 0, 1, 0, "3 label references: the last name has no value (label_invalid) series: 'm_count'"},
        {"outside", BODY(SYMBOLS SERIES("\x18", "\x0a\x04\x01\x02\x03\x0a" SAMPLE)), 0, 1, 0, "label reference 10 is outside the table of 10 symbols (label_invalid)"},
        {"neither", BODY(SYMBOLS SERIES("\x06", "\x0a\x04\x01\x02\x03\x04")), 0, 0, 1, "at least one sample or histogram (series_invalid) series: 'm_count{job=\"x\"}'"},
        {"both", BODY(SYMBOLS SERIES("\x1a", "\x0a\x04\x01\x02\x03\x04" SAMPLE "\x1a\x00")), 0, 2, 0, "either samples or histograms, it has 1 and 1 (series_invalid)"},
        {"metadata outside", BODY(SYMBOLS SERIES("\x1c", "\x0a\x04\x01\x02\x03\x04" SAMPLE "\x2a\x02\x18\x0b")), 0, 1, 0, "metadata reference 11 is outside"},
        {"exemplar outside", BODY(SYMBOLS SERIES("\x1e", "\x0a\x04\x01\x02\x03\x04" SAMPLE "\x22\x04\x0a\x02\x08\x0c")), 1, 0, 1, "exemplar: label reference 12 is outside"},
        {"exemplar odd", BODY(SYMBOLS SERIES("\x1d", "\x0a\x04\x01\x02\x03\x04" SAMPLE "\x22\x03\x0a\x01\x08")), 1, 0, 1, "exemplar: 1 label references"},
        {"no name", BODY(SYMBOLS SERIES("\x16", "\x0a\x02\x03\x04" SAMPLE)), 0, 1, 0, "missing_metric_name"},
        {"too old", BODY(SYMBOLS SERIES("\x0d", "\x0a\x04\x01\x02\x03\x04\x12\x05\x10\x80\xd0\x95\x3f")), 0, 1, 0, "max_sample_age"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct push *p;

        dist_up();
        p = read_body(true, cases[i].body);
        if (p->row_count != cases[i].rows || p->refused != cases[i].refused || p->faults != cases[i].faults || !strstr(errors_of(p), cases[i].text))
            fail_msg("%s: %u rows, %u refused, %u faults: %s", cases[i].name, p->row_count, p->refused, p->faults, errors_of(p));
        push_unref(p);
        dist_down();
    }
}

/* type, help, unit of a series named m_count or m_total */
#define WITH_METADATA(name, type, help) BODY(SYMBOLS SERIES("\x1e", "\x0a\x02\x01" name SAMPLE "\x2a\x06\x08" type "\x18" help "\x20\x07"))

TEST(parse2_metadata_is_its_family_s)
{
    static const struct {
        struct str body;
        uint8_t type;
        const char *family;
    } cases[] = {
        {WITH_METADATA("\x02", "\x03", "\x05"), 3, "m"},
        {WITH_METADATA("\x02", "\x04", "\x05"), 4, "m"},
        {WITH_METADATA("\x02", "\x05", "\x05"), 5, "m"},
        {WITH_METADATA("\x02", "\x02", "\x05"), 2, "m_count"},
        {WITH_METADATA("\x09", "\x01", "\x05"), 1, "m_total"},
        {WITH_METADATA("\x02", "\x63", "\x05"), 0, "m_count"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct push *p;

        dist_up();
        p = read_body(true, cases[i].body);
        CHECK_INT(p->metadata_count, 1);
        CHECK(p->metadata[0].type == cases[i].type && str_eqz(p->metadata[0].metric, cases[i].family));
        CHECK(str_eqz(p->metadata[0].help, "help") && str_eqz(p->metadata[0].unit, "s"));
        push_unref(p);
        dist_down();
    }
}

TEST(parse2_metadata_goes_until_it_is_acknowledged)
{
    static const struct str body = WITH_METADATA("\x02", "\x03", "\x05"), other = WITH_METADATA("\x02", "\x03", "\x06");
    struct push *p;

    dist_up();
    p = read_body(true, body);
    CHECK_INT(p->metadata_count, 1);
    push_unref(p);
    p = read_body(true, body); /* no quorum had it yet */
    CHECK_INT(p->metadata_count, 1);
    push2_metadata_acked(p);
    push_unref(p);
    p = read_body(true, body);
    CHECK_INT(p->metadata_count, 0);
    push_unref(p);
    p = read_body(true, other);
    CHECK_INT(p->metadata_count, 1);
    push_unref(p);
    dist_down();
}
