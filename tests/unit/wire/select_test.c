/* Pages of series and matchers: what is written is read, a piece of it is refused. */
#include "common/wire/select.h"
#include "tests/test.h"

static const struct str chunks[] = {{"chunk one", 9}, {"", 0}, {"\0\xff", 2}};

static void page_make(struct buf *out)
{
    struct label v[] = {{STR("__name__"), STR("up")}, {STR("job"), STR("x")}};
    struct labels two = {v, 2}, one = {v, 1};
    struct select_writer pw;
    struct wire_window w[] = {
        {.start_ms = -7200000, .mint_ms = -7199999, .maxt_ms = -1, .digest = {1, 2}, .count = 3, .chunk_count = 3, .chunks = chunks},
        {.start_ms = 1700000000000, .mint_ms = 1700000000000, .maxt_ms = 1700000000000, .digest = {UINT64_MAX, 0}, .count = UINT32_MAX},
    };

    buf_init(out, 1 << 16);
    select_page_begin(&pw, out);
    select_page_series(&pw, (fingerprint){5, 6}, &two, (uint32_t[]){3, 0}, 2);
    select_page_window(out, 0, &w[0]);
    select_page_window(out, w[0].start_ms, &w[1]);
    select_page_series(&pw, (fingerprint){7, 8}, &one, (uint32_t[]){3}, 0);
    select_page_end(&pw);
}

TEST(a_page_is_read_as_written)
{
    struct wire_series s;
    struct arena a;
    struct buf out;
    struct select_reader r;

    page_make(&out);
    arena_init(&a, 1 << 20);
    CHECK_INT(select_page_open(buf_view(&out), NULL, &a, &r, NULL), 0);
    CHECK_INT(select_page_next(&r, &s, NULL), 1);
    CHECK(s.fp.hi == 5 && s.fp.lo == 6 && s.labels.n == 2 && s.window_count == 2);
    CHECK(s.windows[0].start_ms == -7200000 && s.windows[0].mint_ms == -7199999 && s.windows[0].maxt_ms == -1);
    CHECK(s.windows[0].digest.hi == 1 && s.windows[0].digest.lo == 2 && s.windows[0].count == 3 && s.windows[0].chunk_count == 3);
    for (size_t i = 0; i < ARRAY_LEN(chunks); i++)
        CHECK(str_eq(s.windows[0].chunks[i], chunks[i]));
    CHECK(s.windows[1].start_ms == 1700000000000 && s.windows[1].count == UINT32_MAX && s.windows[1].chunk_count == 0);
    CHECK_INT(select_page_next(&r, &s, NULL), 1);
    CHECK(s.fp.hi == 7 && s.labels.n == 1 && s.window_count == 0);
    CHECK(str_eqz(s.labels.v[0].name, "__name__") && str_eqz(s.labels.v[0].value, "up"));
    CHECK_INT(select_page_next(&r, &s, NULL), 0);
    buf_fini(&out);
    arena_fini(&a);
}

/* Series read, or a negative rc. */
static int page_read(struct str page, struct arena *a)
{
    struct wire_series s;
    struct select_reader r;
    int rc = select_page_open(page, NULL, a, &r, NULL), n = 0;

    while (rc >= 0 && (rc = select_page_next(&r, &s, NULL)) > 0)
        n++;
    return rc < 0 ? rc : n;
}

TEST(every_truncation_of_a_page_is_refused_but_between_series)
{
    struct buf out, first;
    struct arena a;
    int whole = 0;

    page_make(&out);
    arena_init(&a, 1 << 20);
    for (size_t n = 0; n < out.n; n++) {
        char *exact = xmalloc(n + 1);
        int got;

        memcpy(exact, out.p, n);
        got = page_read(str_n(exact, n), &a);
        CHECK(got < 0 || got < 2); /* never more than is there */
        whole += got >= 0;
        free(exact);
    }
    CHECK_INT(whole, 2); /* behind the version, behind the first series */
    CHECK_INT(page_read(buf_view(&out), &a), 2);
    for (size_t i = 0; i < out.n * 8; i++) {
        out.p[i / 8] = (char)(out.p[i / 8] ^ 1 << i % 8);
        page_read(buf_view(&out), &a);
        out.p[i / 8] = (char)(out.p[i / 8] ^ 1 << i % 8);
        arena_reset(&a);
    }
    buf_init(&first, 16);
    buf_u8(&first, SELECT_VERSION + 1);
    CHECK_INT(page_read(buf_view(&first), &a), RC_VERSION);
    buf_fini(&first);
    buf_fini(&out);
    arena_fini(&a);
}

TEST(windows_out_of_order_are_refused)
{
    struct label v[] = {{STR("__name__"), STR("up")}};
    struct labels ls = {v, 1};
    struct wire_window w = {.start_ms = 100, .mint_ms = 100, .maxt_ms = 100, .count = 1};
    struct select_writer pw;
    struct arena a;
    struct buf out;

    arena_init(&a, 1 << 20);
    buf_init(&out, 1 << 16);
    select_page_begin(&pw, &out);
    select_page_series(&pw, (fingerprint){1, 1}, &ls, NULL, 2);
    select_page_window(&out, 0, &w);
    select_page_window(&out, 100, &w); /* the same start again */
    CHECK_INT(page_read(buf_view(&out), &a), RC_CORRUPT);
    buf_fini(&out);
    arena_fini(&a);
}

TEST(a_count_that_the_bytes_cannot_hold_allocates_nothing)
{
    struct label v[] = {{STR("__name__"), STR("up")}};
    struct labels ls = {v, 1};
    struct wire_series s;
    struct select_writer pw;
    struct arena a;
    struct buf out;
    struct select_reader r;

    arena_init(&a, 1 << 20);
    buf_init(&out, 1 << 16);
    select_page_begin(&pw, &out);
    select_page_series(&pw, (fingerprint){1, 1}, &ls, NULL, SELECT_WINDOWS_MAX);
    CHECK_INT(select_page_open(buf_view(&out), NULL, &a, &r, NULL), 0);
    CHECK_INT(select_page_next(&r, &s, NULL), RC_CORRUPT);
    CHECK(a.used <= 64 << 10);
    buf_fini(&out);
    arena_fini(&a);
}

/* Three pairs, named b, a and c in this order, then series that refer to them. */
static int referring(const char *refs, size_t n, struct arena *a)
{
    struct buf out;
    int rc;

    buf_init(&out, 1 << 16);
    buf_u8(&out, SELECT_VERSION);
    for (size_t i = 0; i < 3; i++) {
        buf_add(&out, (char[16]){0}, 16);
        buf_uvarint(&out, 1);
        buf_uvarint(&out, 0);
        buf_lstr(&out, str_n(&"bac"[i], 1));
        buf_lstr(&out, STR("x"));
        buf_uvarint(&out, 0);
    }
    buf_add(&out, (char[16]){0}, 16);
    buf_uvarint(&out, n);
    buf_add(&out, refs, n);
    buf_uvarint(&out, 0);
    rc = page_read(buf_view(&out), a);
    buf_fini(&out);
    return rc;
}

TEST(labels_that_refer_to_pairs_must_be_there_and_in_order)
{
    struct arena a;

    arena_init(&a, 1 << 20);
    CHECK_INT(referring("\2\1\3", 3, &a), 4);
    CHECK_INT(referring("\2\3", 2, &a), 4);
    CHECK_INT(referring("\1\2", 2, &a), RC_CORRUPT);
    CHECK_INT(referring("\1\1", 2, &a), RC_CORRUPT);
    CHECK_INT(referring("\4", 1, &a), RC_CORRUPT);
    arena_fini(&a);
}

TEST(summaries_are_read_as_written_and_add_up)
{
    static struct u128 sums[SELECT_BUCKETS], got[SELECT_BUCKETS];
    struct buf out;

    sums[0] = (struct u128){1, 2};
    sums[17] = (struct u128){0, UINT64_MAX};
    sums[SELECT_BUCKETS - 1] = (struct u128){3, 0};
    buf_init(&out, 1 << 16);
    select_summary_write(&out, sums);
    CHECK_INT(select_summary_read(buf_view(&out), got, NULL), 0);
    CHECK(memcmp(sums, got, sizeof sums) == 0);
    CHECK_INT(select_summary_read(buf_view(&out), got, NULL), 0);
    CHECK(got[0].hi == 2 && got[0].lo == 4 && got[17].hi == 1 && got[17].lo == UINT64_MAX - 1);
    for (size_t n = 2; n < out.n; n++)
        CHECK(n == 18 || n == 35 || select_summary_read(str_n(out.p, n), got, NULL) == RC_CORRUPT);
    buf_uvarint(&out, 1); /* behind the last bucket */
    buf_u64(&out, 1);
    buf_u64(&out, 1);
    CHECK_INT(select_summary_read(buf_view(&out), got, NULL), RC_CORRUPT);
    buf_fini(&out);
}

static void matchers_make(struct buf *out)
{
    struct matcher m[4];

    CHECK_INT(matcher_init(&m[0], MATCH_EQ, STR("__name__"), STR("up"), NULL), 0);
    CHECK_INT(matcher_init(&m[1], MATCH_NEQ, STR("a"), STR(""), NULL), 0);
    CHECK_INT(matcher_init(&m[2], MATCH_RE, STR("job"), STR("a|b.*"), NULL), 0);
    CHECK_INT(matcher_init(&m[3], MATCH_NRE, STR("job"), STR("[0-9]+"), NULL), 0);
    buf_init(out, 1 << 16);
    matchers_encode(out, m, 4);
    for (int i = 0; i < 4; i++)
        matcher_fini(&m[i]);
}

TEST(matchers_are_read_as_written_and_no_piece_of_them_is)
{
    struct matcher *list;
    struct arena a;
    struct buf out;
    size_t n;

    matchers_make(&out);
    arena_init(&a, 1 << 20);
    CHECK_INT(matchers_decode(buf_view(&out), &a, &list, &n, NULL), 0);
    CHECK(n == 4 && list[0].type == MATCH_EQ && str_eqz(list[2].value, "a|b.*"));
    CHECK(matcher_matches(&list[2], STR("bcd")) && !matcher_matches(&list[2], STR("cb")) && !matcher_matches(&list[3], STR("17")));
    for (size_t i = 0; i < n; i++)
        matcher_fini(&list[i]);
    for (size_t cut = 0; cut < out.n; cut++)
        CHECK(matchers_decode(str_n(out.p, cut), &a, &list, &n, NULL) < 0);
    buf_char(&out, 'x');
    CHECK_INT(matchers_decode(buf_view(&out), &a, &list, &n, NULL), RC_CORRUPT);
    buf_fini(&out);
    arena_fini(&a);
}

TEST(matchers_that_no_querier_sends_are_refused)
{
    static const struct str bad[] = {
        {"\xe9\x07", 2},               /* 1001 of them */
        {"\x01\x04\x01" "a\x01" "b", 6},  /* type 4 */
        {"\x01\x02\x01" "a\x01" "(", 6},  /* a broken pattern */
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11},
    };
    struct matcher *list;
    struct arena a;
    size_t n;

    arena_init(&a, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK(matchers_decode(bad[i], &a, &list, &n, NULL) < 0);
    CHECK_INT(matchers_decode(STR(""), &a, &list, &n, NULL), RC_CORRUPT);
    CHECK_INT(matchers_decode(STR("\0"), &a, &list, &n, NULL), 0);
    CHECK_INT(n, 0);
    arena_fini(&a);
}

TEST(series_come_with_the_labels_that_are_wanted)
{
    struct label v[] = {{STR("__name__"), STR("m")}, {STR("a"), STR("1")}, {STR("b"), STR("2")}, {STR("c"), STR("3")}};
    const struct labels ls = {v, ARRAY_LEN(v)};
    static const struct str wanted[] = {STR("c"), STR("zz"), STR("a")};
    static const struct {
        size_t n;
        const char *text;
    } cases[] = {{3, "m{a=\"1\", c=\"3\"}"}, {1, "m{c=\"3\"}"}, {0, "m"}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct label_names keep = {wanted, cases[i].n}, decoded;
        struct select_writer w;
        struct select_reader r;
        struct wire_series s;
        struct buf out, bytes, text;
        struct arena a;

        buf_init(&out, 1 << 16);
        buf_init(&bytes, 1 << 10);
        buf_init(&text, 1 << 10);
        arena_init(&a, 1 << 20);
        label_names_encode(&bytes, &keep);
        CHECK_INT(label_names_decode(buf_view(&bytes), &a, &decoded, NULL), 0);
        CHECK_INT(decoded.n, cases[i].n);
        select_page_begin(&w, &out);
        for (uint64_t k = 0; k < 3; k++)
            select_page_series(&w, (fingerprint){k, 1}, &ls, NULL, 0);
        select_page_end(&w);
        CHECK_INT(select_page_open(buf_view(&out), &decoded, &a, &r, NULL), 0);
        for (uint64_t k = 0; k < 3; k++) {
            CHECK_INT(select_page_next(&r, &s, NULL), 1);
            buf_clear(&text);
            labels_print(&text, &s.labels);
            CHECK(str_eqz(buf_view(&text), cases[i].text));
        }
        CHECK_INT(select_page_next(&r, &s, NULL), 0);
        bytes.n--; /* cut short */
        CHECK_INT(label_names_decode(buf_view(&bytes), &a, &decoded, NULL), RC_CORRUPT);
        buf_fini(&out);
        buf_fini(&bytes);
        buf_fini(&text);
        arena_fini(&a);
    }
}
