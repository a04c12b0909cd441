/* The walk over Remote Write bytes: what protobuf allows is read, the rest is refused in words. */
#include "distributor/write_request.h"
#include "tests/test.h"

#include <math.h>

/* --- bytes by hand --- */

static void varint_field(struct buf *b, unsigned number, uint64_t v)
{
    buf_uvarint(b, number << 3);
    buf_uvarint(b, v);
}

static void sint_field(struct buf *b, unsigned number, int64_t v)
{
    buf_uvarint(b, number << 3);
    buf_svarint(b, v);
}

static void bits_field(struct buf *b, unsigned number, uint64_t bits)
{
    buf_uvarint(b, number << 3 | 1);
    buf_u64(b, bits);
}

static void bytes_field(struct buf *b, unsigned number, struct str bytes)
{
    buf_uvarint(b, number << 3 | 2);
    buf_lstr(b, bytes);
}

static void label_field(struct buf *b, const char *name, const char *value)
{
    struct buf one;

    buf_init(&one, 1 << 16);
    bytes_field(&one, 1, str_of(name));
    bytes_field(&one, 2, str_of(value));
    bytes_field(b, 1, buf_view(&one));
    buf_fini(&one);
}

static void sample_field(struct buf *b, int64_t t, uint64_t bits)
{
    struct buf one;

    buf_init(&one, 64);
    bits_field(&one, 1, bits);
    varint_field(&one, 2, (uint64_t)t);
    bytes_field(b, 2, buf_view(&one));
    buf_fini(&one);
}

/* --- walking --- */

static int first_series(struct str bytes, struct wr_series *ret, struct err *err)
{
    struct rd r = rd_of(bytes);
    struct str metadata;

    return wr_next(&r, ret, &metadata, err);
}

TEST(series_samples_and_labels_are_read_where_they_stand)
{
    struct buf series, request;
    struct wr_series s;
    struct str metadata;
    struct label l;
    struct rd r, in;
    uint64_t bits;
    int64_t t;

    buf_init(&series, 1 << 16);
    buf_init(&request, 1 << 16);
    label_field(&series, "__name__", "up");
    label_field(&series, "a", "b");
    sample_field(&series, -5, 0x7ff0000000000002);
    sample_field(&series, INT64_MAX, 0x8000000000000000);
    bytes_field(&request, 99, STR("unknown"));
    bytes_field(&request, 1, buf_view(&series));
    bytes_field(&request, 3, STR("\x08\x01\x12\x01m"));
    varint_field(&request, 1, 7); /* right number, other wire type: skipped */
    r = rd_of(buf_view(&request));
    CHECK_INT(wr_next(&r, &s, &metadata, NULL), 1);
    CHECK(s.label_count == 2 && s.sample_count == 2 && s.histogram_count == 0 && s.exemplar_count == 0);
    CHECK(s.labels.p == s.message.p && s.labels.n < s.message.n);
    in = rd_of(s.message);
    CHECK_INT(wr_label_next(&in, &l, NULL), 1);
    CHECK(str_eqz(l.name, "__name__") && str_eqz(l.value, "up"));
    CHECK_INT(wr_label_next(&in, &l, NULL), 1);
    CHECK_INT(wr_label_next(&in, &l, NULL), 0);
    CHECK(s.points.p == s.labels.p + s.labels.n && s.points.p + s.points.n == s.message.p + s.message.n);
    in = rd_of(s.points);
    CHECK_INT(wr_sample_next(&in, &t, &bits, NULL), 1);
    CHECK(t == -5 && bits == 0x7ff0000000000002);
    CHECK_INT(wr_sample_next(&in, &t, &bits, NULL), 1);
    CHECK(t == INT64_MAX && bits == 0x8000000000000000);
    CHECK_INT(wr_sample_next(&in, &t, &bits, NULL), 0);
    CHECK_INT(wr_next(&r, &s, &metadata, NULL), 2);
    CHECK(str_eqz(metadata, "\x08\x01\x12\x01m"));
    CHECK_INT(wr_next(&r, &s, &metadata, NULL), 0);
    buf_fini(&series);
    buf_fini(&request);
}

/* What senders write is read in one way, everything else that protobuf allows in another. */
TEST(unusual_samples_and_labels_read_as_usual_ones_do)
{
    static const struct { const char *name; struct str labels, sample; int64_t t; uint64_t bits; } cases[] = {
        {"usual", STR("\x0a\x06\x0a\x01" "a\x12\x01" "b"), STR("\x12\x0c\x09\1\0\0\0\0\0\0\0\x10\xac\x02"), 300, 1},
        {"value 0 left out", STR("\x0a\x06\x0a\x01" "a\x12\x01" "b"), STR("\x12\x03\x10\xac\x02"), 300, 0},
        {"time 0 left out", STR("\x0a\x06\x0a\x01" "a\x12\x01" "b"), STR("\x12\x09\x09\1\0\0\0\0\0\0\0"), 0, 1},
        {"time first", STR("\x0a\x06\x0a\x01" "a\x12\x01" "b"), STR("\x12\x0c\x10\xac\x02\x09\1\0\0\0\0\0\0\0"), 300, 1},
        {"time twice, the last counts", STR("\x0a\x06\x0a\x01" "a\x12\x01" "b"), STR("\x12\x0d\x09\1\0\0\0\0\0\0\0\x10\x07\x10\x08"), 8, 1},
        {"long length", STR("\x0a\x06\x0a\x01" "a\x12\x01" "b"), STR("\x12\x8c\0\x09\1\0\0\0\0\0\0\0\x10\xac\x02"), 300, 1},
        {"long time", STR("\x0a\x06\x0a\x01" "a\x12\x01" "b"), STR("\x12\x0d\x09\1\0\0\0\0\0\0\0\x10\xac\x82\0"), 300, 1},
        {"label value first", STR("\x0a\x06\x12\x01" "b\x0a\x01" "a"), STR("\x12\x0c\x09\1\0\0\0\0\0\0\0\x10\xac\x02"), 300, 1},
        {"label with more in it", STR("\x0a\x08\x0a\x01" "a\x12\x01" "b\x18\1"), STR("\x12\x0c\x09\1\0\0\0\0\0\0\0\x10\xac\x02"), 300, 1},
        {"unknown field behind", STR("\x0a\x06\x0a\x01" "a\x12\x01" "b"), STR("\x12\x0c\x09\1\0\0\0\0\0\0\0\x10\xac\x02\x78\1"), 300, 1},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf series, request;
        struct wr_series s;
        struct label l;
        struct rd in;
        uint64_t bits;
        int64_t t;

        buf_init(&series, 1 << 10);
        buf_init(&request, 1 << 10);
        buf_str(&series, cases[i].labels);
        buf_str(&series, cases[i].sample);
        bytes_field(&request, 1, buf_view(&series));
        print_message("%s\n", cases[i].name);
        CHECK_INT(first_series(buf_view(&request), &s, NULL), 1);
        CHECK(s.label_count == 1 && s.sample_count == 1 && s.labels.n == cases[i].labels.n);
        in = rd_of(s.message);
        CHECK_INT(wr_label_next(&in, &l, NULL), 1);
        CHECK(str_eqz(l.name, "a") && str_eqz(l.value, "b"));
        in = rd_of(s.points);
        CHECK_INT(wr_sample_next(&in, &t, &bits, NULL), 1);
        CHECK(t == cases[i].t && bits == cases[i].bits);
        CHECK_INT(wr_sample_next(&in, &t, &bits, NULL), 0);
        buf_fini(&series);
        buf_fini(&request);
    }
}

TEST(label_fields_apart_have_no_common_span)
{
    struct buf series, request;
    struct wr_series s;

    buf_init(&series, 1 << 16);
    buf_init(&request, 1 << 16);
    label_field(&series, "__name__", "up");
    sample_field(&series, 1, 0);
    label_field(&series, "a", "b");
    bytes_field(&request, 1, buf_view(&series));
    CHECK_INT(first_series(buf_view(&request), &s, NULL), 1);
    CHECK(s.label_count == 2 && s.labels.p == NULL);
    buf_fini(&series);
    buf_fini(&request);
}

struct bad {
    struct str bytes;
    const char *text;
};

TEST(malformed_bytes_are_refused_in_words)
{
    static const struct bad rows[] = {
        {{"\x0a", 1}, "malformed protobuf: field 1 ends early"},
        {{"\x0a\x05" "abc", 5}, "malformed protobuf: field 1 ends early"},
        {{"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10}, "malformed protobuf: field 1 ends early"},
        {{"\x00\x00", 2}, "malformed protobuf: bad field tag"},
        {{"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11}, "malformed protobuf: bad field tag"},
        {{"\x80\x80\x80\x80\x10\x00", 6}, "malformed protobuf: bad field tag"}, /* field number 2^29 */
        {{"\x4b\x4c", 2}, "malformed protobuf: wire type 3 in field 9"},
        {{"\x4c", 1}, "malformed protobuf: wire type 4 in field 9"},
        {{"\x4e", 1}, "malformed protobuf: wire type 6 in field 9"},
        {{"\x4f", 1}, "malformed protobuf: wire type 7 in field 9"},
        {{"\x49" "1234567", 8}, "malformed protobuf: field 9 ends early"},
        {{"\x4d" "123", 4}, "malformed protobuf: field 9 ends early"},
        {{"\x48\xff", 2}, "malformed protobuf: field 9 ends early"},
        {{"\x0a\x02\x0a\x05", 4}, "malformed protobuf: field 1 ends early"}, /* inside the series */
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct wr_series s;
        struct err err = {0};

        CHECK_INT(first_series(rows[i].bytes, &s, &err), RC_INVALID);
        CHECK_STR(err.text, rows[i].text);
    }
}

/* --- histograms --- */

struct spans {
    int64_t v[6]; /* offset, length pairs; a length of 0 ends them */
};

static void spans_field(struct buf *b, unsigned number, const struct spans *s)
{
    for (size_t i = 0; i < 6 && s->v[i + 1]; i += 2) {
        struct buf one;

        buf_init(&one, 64);
        sint_field(&one, 1, s->v[i]);
        varint_field(&one, 2, (uint64_t)s->v[i + 1]);
        bytes_field(b, number, buf_view(&one));
        buf_fini(&one);
    }
}

struct hist_row {
    int32_t schema;
    uint64_t count;
    struct spans pos;
    int64_t deltas[6];
    size_t delta_count;
    const char *text; /* NULL: fine */
};

static void histogram_make(struct buf *series, const struct hist_row *row, bool packed)
{
    struct buf h, deltas;

    buf_init(&h, 1 << 16);
    buf_init(&deltas, 1 << 16);
    varint_field(&h, 1, row->count);
    bits_field(&h, 3, double_bits(2.5));
    sint_field(&h, 4, row->schema);
    spans_field(&h, 11, &row->pos);
    for (size_t i = 0; i < row->delta_count; i++) {
        if (packed)
            buf_svarint(&deltas, row->deltas[i]);
        else
            sint_field(&h, 12, row->deltas[i]);
    }
    if (packed)
        bytes_field(&h, 12, buf_view(&deltas));
    varint_field(&h, 14, HIST_HINT_NOT_RESET);
    varint_field(&h, 15, 1234);
    bytes_field(series, 4, buf_view(&h));
    buf_fini(&h);
    buf_fini(&deltas);
}

static int histogram_read(const struct hist_row *row, bool packed, struct arena *a, struct histogram *ret, struct err *err)
{
    struct buf series;
    struct rd r;
    int64_t t = 0;
    int rc;

    buf_init(&series, 1 << 16);
    histogram_make(&series, row, packed);
    r = rd_of(buf_view(&series));
    rc = wr_histogram_next(&r, a, &t, ret, err);
    if (rc > 0) {
        CHECK_INT(t, 1234);
        CHECK_INT(ret->hint, HIST_HINT_UNKNOWN); /* "no reset" is not believed */
        CHECK_INT(wr_histogram_next(&r, a, &t, ret, err), 0);
    }
    buf_fini(&series); /* nothing of a histogram borrows from it */
    return rc;
}

TEST(histograms_become_absolute_counts)
{
    static const struct hist_row rows[] = {
        {0, 6, {{0, 2}}, {1, 4}, 2, NULL},
        {8, 6, {{-3, 1, 0, 1}}, {1, 4}, 2, NULL},
        {0, 1, {{0, 2}}, {1, -2}, 2,
         "positive side: bucket number 2 has observation count of -1: histogram has a bucket whose observation count is negative"},
        {0, 1, {{0, 2}}, {INT64_MAX, 1}, 2, "positive side: bucket number 2"},
        {9, 1, {{0, 3}}, {1, 4}, 2, "schema 9: histogram spans specify different number of buckets than provided"},
        {52, 1, {{0, 1, -1, 1}}, {1, 4}, 2, "schema 52: histogram has a span whose offset is negative"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows) * 2; i++) {
        const struct hist_row *row = &rows[i / 2];
        struct histogram h;
        struct arena a;
        struct err err = {0};

        arena_init(&a, 1 << 20);
        CHECK_INT(histogram_read(row, i % 2, &a, &h, &err), row->text ? RC_UNSUPPORTED : 1);
        if (row->text)
            CHECK(strncmp(err.text, row->text, strlen(row->text)) == 0);
        else
            CHECK(h.schema == row->schema && h.pos.bucket_count == 2 && h.pos.i[0] == 1 && h.pos.i[1] == 5);
        arena_fini(&a);
    }
}

TEST(fine_schemas_are_reduced_to_eight)
{
    /* Buckets 1 to 4 at schema 10 are bucket 1 at schema 8, 5 is bucket 2. */
    static const struct hist_row row = {10, 15, {{1, 5}}, {1, 1, 1, 1, 1}, 5, NULL};
    struct histogram h;
    struct arena a;

    arena_init(&a, 1 << 20);
    CHECK_INT(histogram_read(&row, true, &a, &h, NULL), 1);
    CHECK(h.schema == 8 && h.pos.bucket_count == 2 && h.pos.spans[0].offset == 1 && h.pos.i[0] == 1 + 2 + 3 + 4 && h.pos.i[1] == 5);
    CHECK_INT(histogram_validate(&h, NULL), 0);
    arena_fini(&a);
}

TEST(schemas_that_are_none_are_left_to_the_judge)
{
    static const int32_t schemas[] = {-5, -9, -52, -54, 53, 127, INT32_MIN, INT32_MAX};

    for (size_t i = 0; i < ARRAY_LEN(schemas); i++) {
        struct hist_row row = {schemas[i], 6, {{0, 2}}, {1, 4}, 2, NULL};
        struct histogram h;
        struct arena a;

        arena_init(&a, 1 << 20);
        CHECK_INT(histogram_read(&row, true, &a, &h, NULL), 1);
        CHECK(h.schema == schemas[i] && histogram_validate(&h, NULL) == RC_INVALID);
        arena_fini(&a);
    }
}

TEST(numbers_of_32_bits_are_cut_before_their_sign_is_read)
{
    struct buf h, series;
    struct histogram hist;
    struct arena a;
    struct rd r;
    int64_t t;

    buf_init(&h, 1 << 10);
    buf_init(&series, 1 << 10);
    varint_field(&h, 4, 0xabcdef0100000005); /* -3 */
    bytes_field(&h, 11, STR("\x08\x85\x80\x80\x80\x10\x10\x81\x80\x80\x80\x10")); /* 2^32 + 5, 2^32 + 1 */
    varint_field(&h, 12, 2);
    bytes_field(&series, 4, buf_view(&h));
    arena_init(&a, 1 << 16);
    r = rd_of(buf_view(&series));
    CHECK_INT(wr_histogram_next(&r, &a, &t, &hist, NULL), 1);
    CHECK(hist.schema == -3 && hist.pos.spans[0].offset == -3 && hist.pos.spans[0].length == 1 && hist.pos.i[0] == 1);
    buf_fini(&h);
    buf_fini(&series);
    arena_fini(&a);
}

TEST(a_spent_budget_is_a_limit)
{
    struct buf series, deltas, h;
    struct histogram hist;
    struct arena a;
    struct err err;
    struct rd r;
    int64_t t;

    buf_init(&series, 1 << 20);
    buf_init(&deltas, 1 << 20);
    buf_init(&h, 1 << 20);
    buf_space(&deltas, 60000);
    bytes_field(&h, 12, buf_view(&deltas));
    bytes_field(&series, 4, buf_view(&h));
    arena_init(&a, 256 << 10);
    r = rd_of(buf_view(&series));
    CHECK_INT(wr_histogram_next(&r, &a, &t, &hist, &err), RC_LIMIT);
    CHECK_STR(err.text, "native histograms: the request's memory budget is spent");
    buf_clear(&series);
    buf_clear(&h);
    buf_space(&deltas, 20000); /* more than any histogram has */
    bytes_field(&h, 12, buf_view(&deltas));
    bytes_field(&series, 4, buf_view(&h));
    arena_fini(&a);
    arena_init(&a, 16 << 20);
    r = rd_of(buf_view(&series));
    CHECK_INT(wr_histogram_next(&r, &a, &t, &hist, &err), RC_UNSUPPORTED);
    CHECK_STR(err.text, "native histogram with more than 65536 buckets");
    CHECK_INT(wr_histogram_next(&r, &a, &t, &hist, &err), 0); /* behind it */
    buf_fini(&series);
    buf_fini(&deltas);
    buf_fini(&h);
    arena_fini(&a);
}

/* --- exemplars, metadata --- */

TEST(exemplars_hand_out_no_more_labels_than_one_may_have)
{
    struct buf one, series;
    struct labels ls;
    struct arena a;
    struct rd r;
    int64_t t;
    double v;

    buf_init(&one, 1 << 20);
    buf_init(&series, 1 << 20);
    bits_field(&one, 2, double_bits(0.25));
    varint_field(&one, 3, (uint64_t)-7);
    for (int i = 0; i < 1000; i++)
        label_field(&one, "a", "b");
    bytes_field(&series, 3, buf_view(&one));
    arena_init(&a, 64 << 10);
    r = rd_of(buf_view(&series));
    CHECK_INT(wr_exemplar_next(&r, &a, &t, &v, &ls, NULL), 1);
    CHECK(t == -7 && v == 0.25 && ls.n == EXEMPLAR_LABELS_MAX);
    buf_u8(&one, 0x0a); /* a label cut off */
    buf_clear(&series);
    bytes_field(&series, 3, buf_view(&one));
    r = rd_of(buf_view(&series));
    CHECK_INT(wr_exemplar_next(&r, &a, &t, &v, &ls, NULL), RC_INVALID);
    buf_fini(&one);
    buf_fini(&series);
    arena_fini(&a);
}

TEST(metadata_of_any_order_and_type_is_read)
{
    struct wr_metadata m;
    struct err err;
    struct buf b;

    buf_init(&b, 1 << 16);
    bytes_field(&b, 5, STR("s"));
    bytes_field(&b, 4, STR("help"));
    bytes_field(&b, 2, STR("up"));
    varint_field(&b, 1, 7);
    CHECK_INT(wr_metadata_decode(buf_view(&b), &m, NULL), 0);
    CHECK(m.type == 7 && str_eqz(m.metric, "up") && str_eqz(m.help, "help") && str_eqz(m.unit, "s"));
    varint_field(&b, 1, 8); /* no such type */
    CHECK_INT(wr_metadata_decode(buf_view(&b), &m, NULL), 0);
    CHECK_INT(m.type, 0);
    CHECK_INT(wr_metadata_decode(STR(""), &m, NULL), 0);
    CHECK(m.metric.n == 0 && m.help.p);
    CHECK_INT(wr_metadata_decode(STR("\x12\x05" "a"), &m, &err), RC_INVALID);
    CHECK_STR(err.text, "malformed protobuf: field 2 ends early");
    buf_fini(&b);
}
