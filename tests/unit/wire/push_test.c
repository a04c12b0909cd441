/* The columnar push: what is built is read, a piece of it is refused. */
#include "common/wire/push.h"
#include "tests/test.h"

#include <math.h>

enum { ROWS = 5 };
static const int64_t times[ROWS] = {1700000000000, 1700000000001, 1699999999000, 1700003600000, 1700000000000};
static const uint64_t values[ROWS] = {0, 0x7ff0000000000002, 0x8000000000000000, 1, 0xffffffffffffffff};

static struct labels labels_a(void)
{
    static struct label v[] = {{{"__name__", 8}, {"up", 2}}, {{"job", 3}, {"x\0y", 3}}};

    return (struct labels){v, ARRAY_LEN(v)};
}

static struct histogram histogram_a(void)
{
    static const struct hist_span spans[] = {{-3, 2}, {4, 1}};
    static const uint64_t counts[] = {1, 0, UINT64_MAX >> 1};

    return (struct histogram){.schema = 2, .sum = -0.5, .zero_threshold = 1e-128, .count.i = 7, .zero_count.i = 3,
                              .pos = {.spans = spans, .span_count = 2, .bucket_count = 3, .i = counts}};
}

static fingerprint fp_of(uint64_t i)
{
    return (fingerprint){~i, i * 0x9e3779b97f4a7c15};
}

static void fill(struct push_batch *b, bool starts)
{
    struct labels ls = labels_a();
    struct histogram h = histogram_a();

    push_batch_init(b, 1 << 20);
    for (uint64_t i = 0; i < ROWS; i++)
        push_batch_float(b, fp_of(i), times[i], values[i], starts && i == 3 ? 12345 : 0);
    push_batch_series(b, fp_of(0), &ls);
    push_batch_histogram(b, fp_of(9), -5, 77, &h);
    push_batch_histogram(b, fp_of(9), INT64_MAX, INT64_MIN, &h);
    push_batch_exemplar(b, fp_of(0), times[0], NAN, &ls);
    push_batch_metadata(b, STR("up"), 2, STR("help"), STR(""));
    push_batch_metadata(b, STR("down"), 7, STR(""), STR("s"));
}

static void encode(const struct push_batch *b, struct buf *out)
{
    struct push_header h = {STR("tenant"), 7, 0xdeadbeefcafef00d, PUSH_STANDBY, -5};

    buf_init(out, 1 << 20);
    CHECK_INT(push_batch_encode(b, &h, out, NULL), 0);
}

static void check_lists(const struct push_view *v, struct arena *a)
{
    struct rd series = rd_of(v->series), hists = rd_of(v->histograms), exemplars = rd_of(v->exemplars), metadata = rd_of(v->metadata);
    struct labels want = labels_a(), ls;
    struct histogram want_h = histogram_a(), h;
    struct push_metadata md;
    fingerprint fp;
    int64_t t, st;
    double value;

    CHECK_INT(push_series_next(&series, a, &fp, &ls, NULL), 1);
    CHECK(u128_eq(fp, fp_of(0)) && labels_eq(&ls, &want));
    CHECK_INT(push_series_next(&series, a, &fp, &ls, NULL), 0);
    CHECK_INT(push_histogram_next(&hists, a, &fp, &t, &st, &h, NULL), 1);
    CHECK(u128_eq(fp, fp_of(9)) && t == -5 && st == 77 && histogram_eq(&h, &want_h));
    CHECK_INT(push_histogram_next(&hists, a, &fp, &t, &st, &h, NULL), 1);
    CHECK(t == INT64_MAX && st == INT64_MIN);
    CHECK_INT(push_histogram_next(&hists, a, &fp, &t, &st, &h, NULL), 0);
    CHECK_INT(push_exemplar_next(&exemplars, a, &fp, &t, &value, &ls, NULL), 1);
    CHECK(t == times[0] && isnan(value) && labels_eq(&ls, &want));
    CHECK_INT(push_exemplar_next(&exemplars, a, &fp, &t, &value, &ls, NULL), 0);
    CHECK_INT(push_metadata_next(&metadata, &md, NULL), 1);
    CHECK(str_eqz(md.metric, "up") && md.type == 2 && str_eqz(md.help, "help") && md.unit.n == 0);
    CHECK_INT(push_metadata_next(&metadata, &md, NULL), 1);
    CHECK(str_eqz(md.metric, "down") && str_eqz(md.unit, "s"));
    CHECK_INT(push_metadata_next(&metadata, &md, NULL), 0);
}

static void round_trip(bool starts)
{
    struct push_batch b;
    struct push_view v;
    struct arena a;
    struct buf out;

    fill(&b, starts);
    encode(&b, &out);
    arena_init(&a, 1 << 20);
    CHECK_INT(push_view_decode(buf_view(&out), &a, &v, NULL), 0);
    CHECK(str_eqz(v.header.tenant, "tenant") && v.header.ring_version == 7 && v.header.head_id == 0xdeadbeefcafef00d && v.header.flags == PUSH_STANDBY && v.header.gap_until_ms == -5);
    CHECK(v.rows == ROWS && v.series_rows == 1 && v.histogram_rows == 2 && v.exemplar_rows == 1 && v.metadata_rows == 2);
    CHECK(starts == (v.starts != NULL));
    for (size_t i = 0; i < ROWS; i++) {
        CHECK(u128_eq(push_fp(v.fps + i * 16), fp_of(i)));
        CHECK(v.base_ms + le_get32(v.offsets + i * 4) == times[i]);
        CHECK(le_get64(v.values + i * 8) == values[i]);
        CHECK(!starts || (int64_t)le_get64(v.starts + i * 8) == (i == 3 ? 12345 : 0));
    }
    check_lists(&v, &a);
    push_batch_fini(&b);
    buf_fini(&out);
    arena_fini(&a);
}

TEST(what_is_built_is_read)
{
    round_trip(false);
    round_trip(true);
}

/* An empty protobuf field is none: cut where a field ends, a message still decodes as an envelope, and then its counts betray it. */
static int read_all(struct str bytes)
{
    struct push_view v;
    struct labels ls;
    struct histogram h;
    struct push_metadata md;
    struct arena a;
    fingerprint fp;
    int64_t t, st;
    double value;
    uint32_t got = 0;
    int rc;

    arena_init(&a, 1 << 20);
    rc = push_view_decode(bytes, &a, &v, NULL);
    if (rc == 0) {
        struct rd r = rd_of(v.series);

        while ((rc = push_series_next(&r, &a, &fp, &ls, NULL)) > 0)
            got++;
        r = rd_of(v.histograms);
        while (rc == 0 && (rc = push_histogram_next(&r, &a, &fp, &t, &st, &h, NULL)) > 0)
            got++, rc = 0;
        r = rd_of(v.exemplars);
        while (rc == 0 && (rc = push_exemplar_next(&r, &a, &fp, &t, &value, &ls, NULL)) > 0)
            got++, rc = 0;
        r = rd_of(v.metadata);
        while (rc == 0 && (rc = push_metadata_next(&r, &md, NULL)) > 0)
            got++, rc = 0;
        if (rc == 0 && (v.rows + got != ROWS + 6 || v.series_rows + v.histogram_rows + v.exemplar_rows + v.metadata_rows != got))
            rc = RC_CORRUPT;
    }
    arena_fini(&a);
    return rc;
}

TEST(every_truncation_is_refused)
{
    struct push_batch b;
    struct buf out;

    fill(&b, true);
    encode(&b, &out);
    CHECK_INT(read_all(buf_view(&out)), 0);
    for (size_t n = 0; n < out.n; n++) {
        char *exact = xmalloc(n + 1); /* so that a read past the end is seen */

        memcpy(exact, out.p, n);
        CHECK(read_all(str_n(exact, n)) < 0);
        free(exact);
    }
    push_batch_fini(&b);
    buf_fini(&out);
}

TEST(every_bit_flip_is_refused_or_read_without_harm)
{
    struct push_batch b;
    struct buf out;

    fill(&b, true);
    encode(&b, &out);
    for (size_t i = 0; i < out.n * 8; i++) {
        out.p[i / 8] = (char)(out.p[i / 8] ^ 1 << i % 8);
        read_all(buf_view(&out));
        out.p[i / 8] = (char)(out.p[i / 8] ^ 1 << i % 8);
    }
    CHECK_INT(read_all(buf_view(&out)), 0);
    push_batch_fini(&b);
    buf_fini(&out);
}

TEST(a_known_oldest_time_makes_room_for_49_days)
{
    const int64_t day = 24 * 3600 * 1000LL;
    struct push_batch b;

    push_batch_init(&b, 1 << 20);
    CHECK(push_batch_fits(&b, INT64_MAX));
    push_batch_oldest(&b, 100 * day);
    CHECK(push_batch_fits(&b, 100 * day) && push_batch_fits(&b, 149 * day));
    CHECK(!push_batch_fits(&b, 100 * day - 1) && !push_batch_fits(&b, 150 * day));
    push_batch_float(&b, fp_of(1), 149 * day, 0, 0);
    push_batch_float(&b, fp_of(1), 100 * day, 0, 0);
    push_batch_clear(&b);
    push_batch_float(&b, fp_of(1), 100 * day, 0, 0);
    CHECK(push_batch_fits(&b, 88 * day) && push_batch_fits(&b, 137 * day) && !push_batch_fits(&b, 87 * day));
    push_batch_fini(&b);
}

TEST(a_batch_that_passed_its_maximum_says_so)
{
    struct push_header h = {.tenant = STR("t")};
    struct push_batch b;
    struct err err;
    struct buf out;

    push_batch_init(&b, 64);
    CHECK_INT(push_batch_bytes(&b), 0);
    push_batch_float(&b, fp_of(1), 0, 0, 0);
    CHECK_INT(push_batch_bytes(&b), 28);
    for (int i = 0; i < 10; i++)
        push_batch_float(&b, fp_of(1), 0, 0, 0);
    CHECK(push_batch_bytes(&b) == SIZE_MAX);
    buf_init(&out, 1 << 20);
    CHECK_INT(push_batch_encode(&b, &h, &out, &err), RC_LIMIT);
    CHECK(strstr(err.text, "11 rows") && strstr(err.text, "64 bytes"));
    push_batch_fini(&b);
    buf_fini(&out);
}

TEST(a_version_from_the_future_is_named)
{
    struct push_view v;
    struct push_answer an;
    struct arena a;
    struct err err;

    arena_init(&a, 1 << 16);
    CHECK_INT(push_view_decode(STR("\x08\x02"), &a, &v, &err), RC_VERSION);
    CHECK_STR(err.text, "push message version 2, this binary reads 1");
    CHECK_INT(push_answer_decode(STR("\x08\x63"), &a, &an, &err), RC_VERSION);
    CHECK_STR(err.text, "push answer version 99, this binary reads 1");
    CHECK_INT(push_view_decode(STR(""), &a, &v, &err), RC_VERSION);
    arena_fini(&a);
}

static void answer_make(struct buf *out)
{
    static const uint8_t verdicts[] = {PUSH_ACCEPTED, PUSH_UNKNOWN, PUSH_REFUSED + DISCARD_SAMPLE_OUT_OF_ORDER};
    struct push_refusal refusals[] = {{2, STR("too old")}, {1, STR("")}};
    struct push_answer an = {11, 12, verdicts, 3, refusals, 2};

    buf_init(out, 1 << 16);
    CHECK_INT(push_answer_encode(&an, out, NULL), 0);
}

TEST(answers_are_read_as_written)
{
    struct push_answer an, none = {.head_id = 5};
    struct arena a;
    struct buf out;

    answer_make(&out);
    arena_init(&a, 1 << 16);
    CHECK_INT(push_answer_decode(buf_view(&out), &a, &an, NULL), 0);
    CHECK(an.head_id == 11 && an.ring_version == 12 && an.verdict_count == 3 && an.refusal_count == 2);
    CHECK(push_is_vote(an.verdicts[0]) && !push_is_vote(an.verdicts[1]) && push_reason(an.verdicts[2]) == DISCARD_SAMPLE_OUT_OF_ORDER);
    CHECK(an.refusals[0].row == 2 && str_eqz(an.refusals[0].text, "too old") && an.refusals[1].text.n == 0);
    /* A piece is refused, or an answer with less in it; its counts are then not those of the request. */
    for (size_t n = 0; n < out.n; n++)
        CHECK(push_answer_decode(str_n(out.p, n), &a, &an, NULL) < 0 || an.verdict_count == 0 || an.refusal_count < 2);
    buf_clear(&out);
    CHECK_INT(push_answer_encode(&none, &out, NULL), 0);
    CHECK_INT(push_answer_decode(buf_view(&out), &a, &an, NULL), 0);
    CHECK(an.verdicts == NULL && an.head_id == 5);
    buf_fini(&out);
    arena_fini(&a);
}
