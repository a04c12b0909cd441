/* The walk over Remote Write 2.0 bytes: symbols wherever they stand, references packed or not, and everything that hangs on a series. */
#include "distributor/write2_request.h"
#include "tests/test.h"

enum { ROOM = 4 << 20 };

/* --- bytes by hand --- */

static void varint_field(struct buf *b, unsigned number, uint64_t v)
{
    buf_uvarint(b, number << 3);
    buf_uvarint(b, v);
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

static void refs_field(struct buf *b, const uint64_t *refs, size_t n)
{
    struct buf packed;

    buf_init(&packed, ROOM);
    for (size_t i = 0; i < n; i++)
        buf_uvarint(&packed, refs[i]);
    bytes_field(b, 1, buf_view(&packed));
    buf_fini(&packed);
}

static void sample_field(struct buf *b, double v, int64_t t, int64_t st)
{
    struct buf one;

    buf_init(&one, 64);
    bits_field(&one, 1, double_bits(v));
    varint_field(&one, 2, (uint64_t)t);
    if (st)
        varint_field(&one, 3, (uint64_t)st);
    bytes_field(b, 2, buf_view(&one));
    buf_fini(&one);
}

/* --- a request to walk --- */

struct walk {
    struct buf series, request;
    struct arena arena;
    struct w2_symbols symbols;
    struct w2_series s;
    struct w2_refs refs;
};

static void walk_init(struct walk *w)
{
    memset(w, 0, sizeof *w);
    buf_init(&w->series, ROOM);
    buf_init(&w->request, ROOM);
    arena_init(&w->arena, ROOM * 8);
}

static void walk_fini(struct walk *w)
{
    buf_fini(&w->series);
    buf_fini(&w->request);
    arena_fini(&w->arena);
}

static void symbols_add(struct walk *w, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        bytes_field(&w->request, 4, str_of(list[i]));
}

/* The series made so far becomes the request's, and is read. */
static int walk_series(struct walk *w, struct err *err)
{
    struct rd r;

    bytes_field(&w->request, 5, buf_view(&w->series));
    CHECK_INT(w2_symbols_scan(buf_view(&w->request), &w->arena, &w->symbols, err), 0);
    r = rd_of(buf_view(&w->request));
    return w2_next(&r, &w->s, &w->refs, err);
}

static const char *const table[] = {"", "__name__", "up", "job", "a"};

TEST(w2_series_are_read_where_they_stand)
{
    struct walk w;
    struct labels ls;
    uint64_t bits;
    int64_t t, st;
    struct rd in;

    walk_init(&w);
    symbols_add(&w, table, ARRAY_LEN(table));
    refs_field(&w.series, (const uint64_t[]){1, 2, 3, 4}, 4);
    sample_field(&w.series, 1.5, -5, 0);
    sample_field(&w.series, -0.0, INT64_MAX, 77);
    varint_field(&w.series, 6, 55);
    bytes_field(&w.series, 99, STR("unknown"));
    CHECK_INT(walk_series(&w, NULL), 1);
    CHECK(w.symbols.n == 5 && w.s.sample_count == 2 && w.s.histogram_count == 0 && w.s.exemplar_count == 0 && w.s.start == 55);
    CHECK(w.refs.n == 4 && w2_refs_outside(&w.refs, &w.symbols) == W2_REFS_MAX);
    ls = w2_labels(&w.refs, &w.symbols, &w.arena);
    CHECK(ls.n == 2 && str_eqz(ls.v[0].name, "__name__") && str_eqz(ls.v[0].value, "up") && str_eqz(ls.v[1].value, "a"));
    in = rd_of(w.s.message);
    CHECK_INT(w2_sample_next(&in, &t, &bits, &st, NULL), 1);
    CHECK(t == -5 && st == 0 && bits == double_bits(1.5));
    CHECK_INT(w2_sample_next(&in, &t, &bits, &st, NULL), 1);
    CHECK(t == INT64_MAX && st == 77 && bits == double_bits(-0.0));
    CHECK_INT(w2_sample_next(&in, &t, &bits, &st, NULL), 0);
    walk_fini(&w);
}

TEST(w2_symbols_may_stand_behind_the_series_that_use_them)
{
    struct walk w;
    struct labels ls;

    walk_init(&w);
    bytes_field(&w.request, 4, STR(""));
    refs_field(&w.series, (const uint64_t[]){1, 2}, 2);
    bytes_field(&w.request, 5, buf_view(&w.series));
    symbols_add(&w, table + 1, 2);
    buf_clear(&w.series);
    refs_field(&w.series, (const uint64_t[]){1, 2}, 2);
    CHECK_INT(walk_series(&w, NULL), 1);
    ls = w2_labels(&w.refs, &w.symbols, &w.arena);
    CHECK(w.symbols.n == 3 && ls.n == 1 && str_eqz(ls.v[0].value, "up"));
    walk_fini(&w);
}

TEST(w2_references_may_be_packed_or_not_and_of_any_length)
{
    struct walk w;
    struct w2_refs again;

    walk_init(&w);
    refs_field(&w.series, (const uint64_t[]){0, 127, 128, 16383}, 4);
    varint_field(&w.series, 1, 16384);
    refs_field(&w.series, NULL, 0);
    refs_field(&w.series, (const uint64_t[]){UINT32_MAX, (1ULL << 32) + 3}, 2); /* cut to 32 bits, as protobuf has it */
    CHECK_INT(walk_series(&w, NULL), 1);
    CHECK(w.refs.n == 7);
    CHECK(w.refs.v[0] == 0 && w.refs.v[1] == 127 && w.refs.v[2] == 128 && w.refs.v[3] == 16383 && w.refs.v[4] == 16384);
    CHECK(w.refs.v[5] == UINT32_MAX && w.refs.v[6] == 3);
    w2_series_refs(w.s.message, &again);
    CHECK(again.n == 7 && memcmp(again.v, w.refs.v, 7 * sizeof again.v[0]) == 0);
    walk_fini(&w);
}

TEST(w2_references_outside_the_table_give_the_labels_before_them)
{
    static const struct {
        uint64_t refs[6];
        size_t n, outside, labels;
    } cases[] = {
        {{1, 2, 3, 4}, 4, W2_REFS_MAX, 2},
        {{1, 2, 3}, 3, W2_REFS_MAX, 1},
        {{1, 2, 3, 5}, 4, 3, 1},
        {{5, 2, 3, 4}, 4, 0, 0},
        {{1, UINT32_MAX, 3, 4}, 4, 1, 0},
        {{0}, 0, W2_REFS_MAX, 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct walk w;

        walk_init(&w);
        symbols_add(&w, table, ARRAY_LEN(table));
        refs_field(&w.series, cases[i].refs, cases[i].n);
        CHECK_INT(walk_series(&w, NULL), 1);
        CHECK_INT(w2_refs_outside(&w.refs, &w.symbols), cases[i].outside);
        CHECK_INT(w2_labels(&w.refs, &w.symbols, &w.arena).n, cases[i].labels);
        walk_fini(&w);
    }
}

TEST(w2_with_no_table_every_reference_is_outside)
{
    struct walk w;

    walk_init(&w);
    refs_field(&w.series, (const uint64_t[]){0, 0}, 2);
    CHECK_INT(walk_series(&w, NULL), 1);
    CHECK(w.symbols.n == 0 && w2_refs_outside(&w.refs, &w.symbols) == 0);
    walk_fini(&w);
}

TEST(w2_more_references_than_labels_may_be_are_counted_not_kept)
{
    uint64_t *many = xcalloc(W2_REFS_MAX + 10, sizeof *many);
    struct walk w;

    walk_init(&w);
    symbols_add(&w, table, 1);
    refs_field(&w.series, many, W2_REFS_MAX + 10);
    CHECK_INT(walk_series(&w, NULL), 1);
    CHECK_INT(w.refs.n, W2_REFS_MAX + 10);
    CHECK_INT(w2_labels(&w.refs, &w.symbols, &w.arena).n, LABELS_MAX);
    walk_fini(&w);
    free(many);
}

TEST(w2_metadata_messages_are_merged)
{
    struct walk w;

    walk_init(&w);
    bytes_field(&w.series, 5, STR("\x08\x01\x18\x02\x20\x03"));
    bytes_field(&w.series, 5, STR("\x08\x63\x20\x04")); /* type 99 is none that we know */
    CHECK_INT(walk_series(&w, NULL), 1);
    CHECK(w.s.metadata.type == 0 && w.s.metadata.help_ref == 2 && w.s.metadata.unit_ref == 4);
    walk_fini(&w);
}

TEST(w2_exemplars_have_references_of_their_own)
{
    struct walk w;
    struct buf one;
    struct w2_refs refs;
    struct rd in;
    int64_t t;
    double v;

    walk_init(&w);
    buf_init(&one, 1 << 10);
    refs_field(&one, (const uint64_t[]){3, 4}, 2);
    bits_field(&one, 2, double_bits(0.5));
    varint_field(&one, 3, 1234);
    bytes_field(&w.series, 4, buf_view(&one));
    bytes_field(&w.series, 4, STR(""));
    CHECK_INT(walk_series(&w, NULL), 1);
    CHECK_INT(w.s.exemplar_count, 2);
    in = rd_of(w.s.message);
    CHECK_INT(w2_exemplar_next(&in, &t, &v, &refs, NULL), 1);
    CHECK(t == 1234 && v == 0.5 && refs.n == 2 && refs.v[0] == 3 && refs.v[1] == 4);
    CHECK_INT(w2_exemplar_next(&in, &t, &v, &refs, NULL), 1);
    CHECK(t == 0 && v == 0 && refs.n == 0);
    CHECK_INT(w2_exemplar_next(&in, &t, &v, &refs, NULL), 0);
    buf_fini(&one);
    walk_fini(&w);
}

TEST(w2_histograms_carry_their_start)
{
    struct walk w;
    struct buf one;
    struct histogram h;
    int64_t t, st;
    struct rd in;

    walk_init(&w);
    buf_init(&one, 1 << 10);
    varint_field(&one, 1, 0);
    varint_field(&one, 15, 2000);
    varint_field(&one, 17, 1500);
    bytes_field(&w.series, 3, buf_view(&one));
    CHECK_INT(walk_series(&w, NULL), 1);
    CHECK_INT(w.s.histogram_count, 1);
    in = rd_of(w.s.message);
    CHECK_INT(w2_histogram_next(&in, &w.arena, &t, &st, &h, NULL), 1);
    CHECK(t == 2000 && st == 1500 && !h.is_float);
    CHECK_INT(w2_histogram_next(&in, &w.arena, &t, &st, &h, NULL), 0);
    buf_fini(&one);
    walk_fini(&w);
}

TEST(w2_fields_of_a_1_0_request_are_unknown)
{
    struct arena a;
    struct w2_symbols symbols;
    struct w2_series s;
    struct w2_refs refs;
    struct str request = STR("\x0a\x04\x0a\x02\x0a\x00\x1a\x00");
    struct rd r = rd_of(request);

    arena_init(&a, 1 << 16);
    CHECK_INT(w2_symbols_scan(request, &a, &symbols, NULL), 0);
    CHECK(symbols.n == 0 && w2_next(&r, &s, &refs, NULL) == 0);
    arena_fini(&a);
}

TEST(w2_malformed_bytes_are_refused_in_words)
{
    static const struct {
        struct str bytes;
        const char *text;
    } rows[] = {
        {{"\x22", 1}, "malformed protobuf: field 4 ends early"},
        {{"\x22\x05" "abc", 5}, "malformed protobuf: field 4 ends early"},
        {{"\x2a\x05" "abc", 5}, "malformed protobuf: field 5 ends early"},
        {{"\x00\x00", 2}, "malformed protobuf: bad field tag"},
        {{"\x2b\x2c", 2}, "malformed protobuf: wire type 3 in field 5"},
        {{"\x2a\x03\x0a\x01\xff", 5}, "malformed protobuf: packed field 1 ends early"},
        {{"\x2a\x02\x0a\x05", 4}, "malformed protobuf: field 1 ends early"},
        {{"\x2a\x03\x2a\x01\xff", 5}, "malformed protobuf: bad field tag"}, /* in the metadata */
        {{"\x2a\x02\x12\x7f", 4}, "malformed protobuf: field 2 ends early"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct w2_symbols symbols;
        struct w2_series s;
        struct w2_refs refs;
        struct rd r = rd_of(rows[i].bytes);
        struct err err = {0};
        struct arena a;
        int rc;

        arena_init(&a, 1 << 16);
        rc = w2_symbols_scan(rows[i].bytes, &a, &symbols, &err);
        if (rc == 0)
            rc = w2_next(&r, &s, &refs, &err);
        CHECK_INT(rc, RC_INVALID);
        CHECK_STR(err.text, rows[i].text);
        arena_fini(&a);
    }
}

TEST(w2_symbols_have_ceilings)
{
    struct w2_symbols symbols;
    struct buf request;
    struct arena a;
    struct err err;

    buf_init(&request, 8 << 20);
    for (uint32_t i = 0; i < W2_SYMBOLS_MAX; i++)
        buf_str(&request, STR("\x22\x00"));
    arena_init(&a, 64 << 20);
    CHECK_INT(w2_symbols_scan(buf_view(&request), &a, &symbols, &err), 0);
    CHECK_INT(symbols.n, W2_SYMBOLS_MAX);
    arena_fini(&a);
    arena_init(&a, 1 << 20);
    CHECK_INT(w2_symbols_scan(buf_view(&request), &a, &symbols, &err), RC_LIMIT);
    CHECK(strstr(err.text, "memory budget"));
    arena_fini(&a);
    buf_str(&request, STR("\x22\x00"));
    arena_init(&a, 64 << 20);
    CHECK_INT(w2_symbols_scan(buf_view(&request), &a, &symbols, &err), RC_LIMIT);
    CHECK(strstr(err.text, "1048577 symbols"));
    arena_fini(&a);
    buf_fini(&request);
}
