#include "tests/unit/tsdb/head_util.h"

struct flushed {
    struct buf text;
    int refuse_at;
};

static int flush_text(void *arg, struct str tenant, const struct stored_series *s)
{
    struct flushed *f = arg;
    struct dump d = {.samples = true};
    char *line;

    if (f->refuse_at && --f->refuse_at == 0)
        return RC_IO;
    CHECK(dump_series(&d, s) == 0);
    line = dump_take(&d);
    buf_printf(&f->text, "%.*s %s\n", STR_FMT(tenant), line);
    free(line);
    return 0;
}

static void check_flush(struct head *h, uint64_t set, const char *want)
{
    struct flushed f = {0};

    buf_init(&f.text, 1 << 20);
    CHECK(head_flush_each(h, set, flush_text, &f, NULL) == 0);
    buf_char(&f.text, '\0');
    CHECK_STR(f.text.p, want);
    buf_fini(&f.text);
}

TEST(a_set_has_every_window_below_in_order_of_tenant_and_labels)
{
    struct head *h = head_new();
    struct flushed f = {.refuse_at = 2};

    put(h, "z", "a=1", T0, 1);
    put(h, "b", "a=2,b=1", T0, 2);
    put(h, "b", "a=10", T0, 3);
    put(h, "b", "a=2", T0 + 1, 4);
    put(h, "b", "__name__=x,a=2", T0, 5);
    put(h, "b", "a=2", T0 + 2 * HOUR, 6);
    put_ooo(h, "b", "a=2", T0, 7, 9 * HOUR);
    put(h, "b", "later=1", T0 + 2 * HOUR, 8);
    CHECK_INT(seal(h, T0 + 2 * HOUR, 5), 5);
    check_flush(h, 5,
                "b x{a=\"2\"} 0:5\nb {a=\"10\"} 0:3\nb {a=\"2\"} 0:7 1:4\nb {a=\"2\", b=\"1\"} "
                "0:2\nz {a=\"1\"} 0:1\n");
    CHECK_INT(seal(h, T0 + 2 * HOUR, 6), 0);
    check_flush(h, 6, "");
    CHECK_INT(head_flush_each(h, 99, flush_text, &f, NULL), RC_NOT_FOUND);
    CHECK_INT(head_flush_each(h, 5, flush_text, &f, NULL), RC_IO);
    buf_fini(&f.text);
    head_free(h);
}

TEST(published_windows_are_left_out_for_readers_of_their_generation)
{
    struct head *h = head_new();
    struct store_select q = query_of("t", NULL, INT64_MIN, INT64_MAX, STORE_DATA);
    uint64_t cursor = 0;
    struct dump d = {0};
    fingerprint fp = fp_of("t", "a=1");
    int64_t start = window_start(fp, T0, NULL);

    put(h, "t", "a=1", T0, 1);
    put(h, "t", "a=1", T0 + 2 * HOUR, 2);
    seal(h, T0 + 2 * HOUR, 1);
    CHECK_ALL(h, "t", 0, "{a=\"1\"} 0:1 7200000:2");
    CHECK(head_min_ms(h) == T0);
    head_published(h, 1, 10);
    CHECK(head_min_ms(h) == T0 + 2 * HOUR);
    CHECK_ALL(h, "t", 9, "{a=\"1\"} 0:1 7200000:2");
    CHECK_ALL(h, "t", 10, "{a=\"1\"} 7200000:2");
    CHECK_ALL(h, "t", 11, "{a=\"1\"} 7200000:2");
    CHECK(head_fetch(h, STR("t"), &fp, &start, 1, 10, NULL, dump_series, &d, NULL) == 0 && d.n == 0);
    /* Late samples for the published window are in another instance, whose digest is theirs alone.
     */
    CHECK(put_ooo(h, "t", "a=1", T0 + 5, 3, 9 * HOUR) == APPEND_ACCEPTED);
    CHECK(put_ooo(h, "t", "a=1", T0, 1, 9 * HOUR) == APPEND_DUPLICATE);
    CHECK(put_ooo(h, "t", "a=1", T0, 4, 9 * HOUR) == APPEND_NEW_VALUE);
    CHECK_ALL(h, "t", 9, "{a=\"1\"} 0:1 5:3 7200000:2");
    CHECK_ALL(h, "t", 10, "{a=\"1\"} 5:3 7200000:2");
    CHECK_INT(seal(h, T0 + 2 * HOUR, 2), 1);
    head_published(h, 2, 12);
    CHECK_ALL(h, "t", 11, "{a=\"1\"} 5:3 7200000:2");
    CHECK_ALL(h, "t", 12, "{a=\"1\"} 7200000:2");
    CHECK_ALL(h, "t", 9, "{a=\"1\"} 0:1 5:3 7200000:2");
    head_drop(h, 1, INT64_MIN);
    CHECK_INT(head_select(h, &q, 9, SIZE_MAX, &cursor, dump_series, &d, NULL), RC_STALE);
    CHECK_INT(head_fetch(h, STR("t"), &fp, &start, 1, 9, NULL, dump_series, &d, NULL), RC_STALE);
    CHECK_ALL(h, "t", 10, "{a=\"1\"} 5:3 7200000:2");
    head_free(h);
}

TEST(newest_survives_the_drop_of_its_window)
{
    struct head *h = head_new();
    struct head_tenant_stats st;

    put(h, "t", "a=1", T0, 1);
    seal(h, INT64_MAX, 1);
    head_published(h, 1, 1);
    head_drop(h, 1, INT64_MIN);
    CHECK(head_tenant_stats(h, STR("t"), T0, &st) && st.series == 1 && st.samples == 0);
    CHECK_ALL(h, "t", 1, "");
    CHECK(head_min_ms(h) == INT64_MAX);
    CHECK(put(h, "t", "a=1", T0 - 1, 1) == APPEND_TOO_OLD);
    CHECK(put(h, "t", "a=1", T0 + 1, 1) == APPEND_ACCEPTED);
    head_free(h);
}

static int list_series(void *arg, struct str tenant, fingerprint fp, const struct labels *ls)
{
    struct buf *b = arg;

    CHECK(u128_eq(fp, labels_fingerprint(tenant, ls)));
    buf_printf(b, "%.*s", STR_FMT(tenant));
    labels_print(b, ls);
    buf_char(b, ' ');
    return 0;
}

static void check_series(struct head *h, const char *want)
{
    struct buf b;

    buf_init(&b, 1 << 20);
    CHECK(head_each_series(h, list_series, &b) == 0);
    buf_char(&b, '\0');
    CHECK_STR(b.p, want);
    buf_fini(&b);
}

TEST(idle_series_go_with_their_labels_and_others_are_still_found)
{
    struct head *h = head_new();
    struct matchers m;
    struct store_select q;
    struct memory_account *before = memory_account_new(), *after = memory_account_new();
    struct head_tenant_stats st;

    for (int i = 0; i < 3000; i++) {
        char text[64];

        snprintf(text, sizeof text, "job=%s,unique=value-%d", i % 2 ? "x" : "y", i);
        put(h, i % 5 == 0 ? "gone" : "t", text, i % 1000 == 1 ? T0 + 9 * HOUR : T0, i);
    }
    head_memory(h, before);
    seal(h, T0 + 2 * HOUR, 1);
    head_published(h, 1, 1);
    head_drop(h, 1, T0 + 3 * HOUR);
    head_memory(h, after);
    CHECK(memory_total(after, MEMORY_POSTINGS) < memory_total(before, MEMORY_POSTINGS));
    CHECK(memory_total(after, MEMORY_SERIES) < memory_total(before, MEMORY_SERIES));
    CHECK(memory_total(after, MEMORY_LABELS) < memory_total(before, MEMORY_LABELS));
    memory_account_free(before);
    memory_account_free(after);
    check_series(h, "t{job=\"x\", unique=\"value-1\"} t{job=\"x\", unique=\"value-1001\"} "
                    "t{job=\"x\", unique=\"value-2001\"} ");
    CHECK(!head_tenant_stats(h, STR("gone"), T0, &st));
    matchers_of(&m, (const char *const[]){"job", "=", "x", "unique", "!=", "value-1", NULL});
    q = query_of("t", &m, INT64_MIN, INT64_MAX, STORE_LABELS);
    CHECK_SELECT(h, &q, 1,
                 "{job=\"x\", unique=\"value-1001\"}\n{job=\"x\", unique=\"value-2001\"}");
    put(h, "t", "job=x,unique=value-7", T0 + 9 * HOUR, 1);
    CHECK_SELECT(h, &q, 1,
                 "{job=\"x\", unique=\"value-1001\"}\n{job=\"x\", "
                 "unique=\"value-2001\"}\n{job=\"x\", unique=\"value-7\"}");
    matchers_fini(&m);
    head_free(h);
}

TEST(a_page_goes_on_after_series_were_removed)
{
    struct head *h = head_new();
    struct store_select q = query_of("t", NULL, INT64_MIN, INT64_MAX, STORE_DATA);
    struct dump *d = calloc(1, sizeof *d);
    uint64_t cursor = 0;
    char *got;

    for (int i = 0; i < 10; i++) {
        char text[16];

        snprintf(text, sizeof text, "i=%d", i);
        put(h, "t", text, i < 4 ? T0 : T0 + 9 * HOUR, i);
    }
    d->stop_after = 6;
    CHECK(head_select(h, &q, 1, SIZE_MAX, &cursor, dump_series, d, NULL) == 0);
    CHECK(cursor > 0 && d->n == 6);
    seal(h, T0 + 2 * HOUR, 1);
    head_published(h, 1, 1);
    head_drop(h, 1, T0 + 3 * HOUR); /* the first four */
    CHECK(head_select(h, &q, 1, SIZE_MAX, &cursor, dump_series, d, NULL) == 0);
    CHECK(cursor == 0);
    got = dump_take(d);
    CHECK_STR(got, "{i=\"0\"}\n{i=\"1\"}\n{i=\"2\"}\n{i=\"3\"}\n{i=\"4\"}\n{i=\"5\"}\n{i=\"6\"}\n{"
                   "i=\"7\"}\n{i=\"8\"}\n{i=\"9\"}");
    free(got);
    free(d);
    head_free(h);
}

static size_t series_bytes(struct head *h)
{
    static const enum memory_kind kinds[] = {MEMORY_SERIES,      MEMORY_LABELS,        MEMORY_POSTINGS, MEMORY_FINGERPRINTS,
                                             MEMORY_OPEN_CHUNKS, MEMORY_SEALED_CHUNKS, MEMORY_DIGESTS};
    struct memory_account *a = memory_account_new();
    size_t n = 0;

    head_memory(h, a);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        n += memory_total(a, kinds[i]);
    memory_account_free(a);
    return n;
}

/* Each generation of series lives for one flush; a tenth of the names stays. */
TEST(generations_of_series_take_no_more_than_the_first)
{
    enum { GENERATIONS = 8, SERIES = 4000 };
    struct head *h = head_new();
    size_t full[GENERATIONS], left[GENERATIONS];
    struct head_tenant_stats st;

    for (int g = 0; g < GENERATIONS; g++) {
        int64_t at = T0 + g * 2 * HOUR;

        for (int i = 0; i < SERIES; i++) {
            char text[96];

            snprintf(text, sizeof text, "job=job-%d,instance=host-%d.%d", i % 20, i, i % 10 ? g : 0);
            put(h, "t", text, at + i, i);
        }
        full[g] = series_bytes(h);
        seal(h, at + 2 * HOUR, (uint64_t)g + 1);
        head_published(h, (uint64_t)g + 1, (uint64_t)g + 1);
        head_drop(h, (uint64_t)g + 1, INT64_MIN);
        CHECK(head_tenant_stats(h, STR("t"), at, &st) && st.series == SERIES);
        head_forget_idle(h, at + (g + 1 < GENERATIONS ? SERIES / 2 : 2 * HOUR));
        left[g] = series_bytes(h);
        if (g + 1 < GENERATIONS)
            head_forget_idle(h, at + SERIES);
        CHECK(left[g] < full[g]);
    }
    CHECK(!head_tenant_stats(h, STR("t"), T0, &st));
    CHECK(full[GENERATIONS - 1] < full[0] + full[0] / 10);
    CHECK(left[GENERATIONS - 1] < full[0] / 4);
    head_free(h);
}
