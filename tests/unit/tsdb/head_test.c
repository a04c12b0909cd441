#include "tests/unit/tsdb/head_util.h"

#define SERIES "__name__=up,job=a"

TEST(head_gives_back_what_was_appended)
{
    struct head *h = head_new();

    CHECK(put(h, "t", SERIES, T0 + 1, 1.5) == APPEND_ACCEPTED);
    CHECK(put(h, "t", SERIES, T0 + 2, -3) == APPEND_ACCEPTED);
    CHECK(put(h, "t", "__name__=up,job=b", T0 + 2, 7) == APPEND_ACCEPTED);
    CHECK(put(h, "u", SERIES, T0 + 9, 9) == APPEND_ACCEPTED);
    CHECK_ALL(h, "t", 0, "up{job=\"a\"} 1:1.5 2:-3\nup{job=\"b\"} 2:7");
    CHECK_ALL(h, "u", 0, "up{job=\"a\"} 9:9");
    CHECK_ALL(h, "none", 0, "");
    CHECK(head_max_ms(h) == T0 + 9 && head_min_ms(h) == T0 + 1);
    head_free(h);
}

TEST(judging_names_the_verdict)
{
    static const struct {
        const char *name;
        int64_t t, ooo_ms;
        double v;
        enum append_verdict want;
    } cases[] = {
        {"first", 100000, 0, 1, APPEND_ACCEPTED},
        {"newer", 200000, 0, 2, APPEND_ACCEPTED},
        {"newest again", 200000, 0, 2, APPEND_DUPLICATE},
        {"newest, other value", 200000, 0, 3, APPEND_NEW_VALUE},
        {"older, there", 100000, 0, 1, APPEND_DUPLICATE},
        {"older, there, other value", 100000, 0, -1, APPEND_NEW_VALUE},
        {"older, window off", 199999, 0, 2, APPEND_TOO_OLD},
        {"older, at the edge of the window", 150000, 50000, 2, APPEND_ACCEPTED},
        {"older, past the window", 149999, 50000, 2, APPEND_TOO_OLD},
        {"out of order again", 150000, 50000, 2, APPEND_DUPLICATE},
        {"out of order, other value", 150000, 50000, 2.5, APPEND_NEW_VALUE},
        {"there, although past the window", 100000, 50000, 1, APPEND_DUPLICATE},
        {"before everything", 50, 1000000, 4, APPEND_ACCEPTED},
        {"another window", -3600000, 10000000, 5, APPEND_ACCEPTED},
        {"another window again", -3600000, 10000000, 5, APPEND_DUPLICATE},
    };
    struct head *h = head_new();

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        enum append_verdict got =
            put_ooo(h, "t", SERIES, T0 + cases[i].t, cases[i].v, cases[i].ooo_ms);

        if (got != cases[i].want)
            fail_msg("%s: verdict %d, want %d", cases[i].name, got, cases[i].want);
    }
    CHECK_ALL(h, "t", 0, "up{job=\"a\"} -3600000:5 50:4 100000:1 150000:2 200000:2");
    head_free(h);
}

TEST(equality_is_by_bits)
{
    struct head *h = head_new();
    struct head_series *s;
    struct append_rules rules = {.ooo_window_ms = HOUR};
    uint64_t other_nan = NORMAL_NAN_BITS + 1;

    head_lock(h);
    s = series_of(h, "t", SERIES);
    CHECK(head_append(h, s, T0, STALE_NAN_BITS, 0, &rules) == APPEND_ACCEPTED);
    CHECK(head_append(h, s, T0, STALE_NAN_BITS, 0, &rules) == APPEND_DUPLICATE);
    CHECK(head_append(h, s, T0, NORMAL_NAN_BITS, 0, &rules) == APPEND_NEW_VALUE);
    CHECK(head_append(h, s, T0 + 1, double_bits(0.0), 0, &rules) == APPEND_ACCEPTED);
    CHECK(head_append(h, s, T0 + 1, double_bits(-0.0), 0, &rules) == APPEND_NEW_VALUE);
    CHECK(head_append(h, s, T0 + 3, 1, 0, &rules) == APPEND_ACCEPTED);
    CHECK(head_append(h, s, T0 + 2, other_nan, 0, &rules) == APPEND_ACCEPTED);
    CHECK(head_append(h, s, T0 + 2, NORMAL_NAN_BITS, 0, &rules) == APPEND_NEW_VALUE);
    CHECK(head_append(h, s, T0 + 2, other_nan, 0, &rules) == APPEND_DUPLICATE);
    head_unlock(h);
    head_free(h);
}

struct sums {
    size_t windows, samples, chunks;
    struct u128 digest;
};
static int sum_series(void *arg, const struct stored_series *s)
{
    struct sums *sums = arg;

    stored_check(s);
    for (size_t i = 0; i < s->window_count; i++) {
        sums->windows++;
        sums->samples += s->windows[i].count;
        sums->chunks += s->windows[i].chunk_count;
        sums->digest = u128_add(sums->digest, s->windows[i].digest);
    }
    return 0;
}

TEST(start_timestamps_are_kept)
{
    struct head *h = head_new();
    struct head_series *s;
    struct append_rules rules = {.ooo_window_ms = HOUR};
    struct sums sums = {0};
    struct store_select q = query_of("t", NULL, INT64_MIN, INT64_MAX, STORE_DIGESTS);
    uint64_t cursor = 0;

    head_lock(h);
    s = series_of(h, "t", SERIES);
    CHECK(head_append(h, s, T0 + 10, 1, 5, &rules) == APPEND_ACCEPTED);
    CHECK(head_append(h, s, T0 + 5, 2, 4, &rules) == APPEND_ACCEPTED);
    /* The same value is the same sample: a sender that only now tells the start changes nothing. */
    CHECK(head_append(h, s, T0 + 10, 1, 6, &rules) == APPEND_DUPLICATE);
    CHECK(head_append(h, s, T0 + 5, 2, 0, &rules) == APPEND_DUPLICATE);
    head_unlock(h);
    CHECK(head_select(h, &q, 0, SIZE_MAX, &cursor, sum_series, &sums, NULL) == 0);
    CHECK(u128_eq(sums.digest, u128_add(sample_hash(T0 + 10, 1, 5), sample_hash(T0 + 5, 2, 4))));
    CHECK_ALL(h, "t", 0, "up{job=\"a\"} 5:9.88131e-324 10:4.94066e-324");
    head_free(h);
}

TEST(one_fingerprint_for_other_labels_is_refused)
{
    struct head *h = head_new();
    struct labels_text a, b, longer;
    struct head_series *s = NULL, *again = NULL;
    struct err err = {0};
    fingerprint fp = {1, 2};

    labels_of(&a, "a=1,b=2");
    labels_of(&b, "a=1,b=3");
    labels_of(&longer, "a=1,b=2,c=3");
    head_lock(h);
    CHECK(head_create(h, STR("t"), fp, &a.ls, &s, &err) == 0);
    CHECK(head_create(h, STR("t"), fp, &a.ls, &again, &err) == 0);
    CHECK(again == s && head_labels_equal(h, s, &a.ls));
    again = NULL;
    CHECK_INT(head_create(h, STR("t"), fp, &b.ls, &again, &err), RC_INVALID);
    CHECK_INT(head_create(h, STR("t"), fp, &longer.ls, &again, &err), RC_INVALID);
    CHECK(again == NULL && !head_labels_equal(h, s, &b.ls) && !head_labels_equal(h, s, &longer.ls));
    /* The same fingerprint of another tenant is another series. */
    CHECK(head_find(h, STR("u"), fp) == NULL && head_find(h, STR("t"), fp) == s);
    CHECK(head_create(h, STR("u"), fp, &b.ls, &again, &err) == 0);
    CHECK(again != s && head_find(h, STR("u"), fp) == again && head_find(h, STR("t"), fp) == s);
    head_unlock(h);
    head_free(h);
}

TEST(label_ceilings_are_errors)
{
    struct head *h = head_new();
    char *big = malloc(HEAD_SYMBOL_BYTES_MAX + 1);
    struct label one = {STR("a"), {big, HEAD_SYMBOL_BYTES_MAX + 1}};
    struct labels ls = {&one, 1};
    struct head_series *s = NULL;

    memset(big, 'x', HEAD_SYMBOL_BYTES_MAX + 1);
    head_lock(h);
    CHECK_INT(head_create(h, STR("t"), (fingerprint){1, 1}, &ls, &s, NULL), RC_LIMIT);
    CHECK(s == NULL);
    one.value.n--;
    CHECK_INT(head_create(h, STR("t"), (fingerprint){1, 1}, &ls, &s, NULL), 0);
    head_unlock(h);
    head_free(h);
    free(big);
}

TEST(find_many_agrees_with_find)
{
    enum { N = 5000 };
    struct head *h = head_new();
    fingerprint *fps = malloc(N * sizeof *fps);
    struct head_series **many = malloc(N * sizeof *many);
    struct rng rng;

    rng_init(&rng, test_seed());
    head_lock(h);
    for (int i = 0; i < N; i++) {
        char text[64];

        snprintf(text, sizeof text, "a=%d", i);
        fps[i] = fp_of("t", text);
        if (i % 3)
            series_of(h, rng_below(&rng, 8) ? "t" : "u",
                      text); /* of u: under its own fingerprint */
    }
    head_find_many(h, STR("t"), fps, N, many);
    for (int i = 0; i < N; i++)
        CHECK(many[i] == head_find(h, STR("t"), fps[i]));
    CHECK(many[0] == NULL);
    head_unlock(h);
    head_free(h);
    free(fps);
    free(many);
}

TEST(windows_end_where_the_fingerprint_says)
{
    struct head *h = head_new();
    char want[8192] = "up{job=\"a\"}";
    struct dump d = {0};
    struct store_select q = query_of("t", NULL, T0 + HOUR, T0 + HOUR, STORE_DATA);
    uint64_t cursor = 0;
    int64_t end, start = window_start(fp_of("t", SERIES), T0 + HOUR, &end);

    for (int64_t t = 0; t < 3 * HOUR; t += 30000)
        CHECK(put(h, "t", SERIES, T0 + t, (double)t) == APPEND_ACCEPTED);
    /* One instant gives its whole window and nothing else. */
    for (int64_t t = 0; t < 3 * HOUR; t += 30000)
        if (T0 + t >= start && T0 + t < end)
            sprintf(want + strlen(want), " %lld:%g", (long long)t, (double)t);
    d.samples = true;
    CHECK(head_select(h, &q, 0, SIZE_MAX, &cursor, dump_series, &d, NULL) == 0);
    CHECK_INT(d.n, 1);
    CHECK_STR(d.lines[0], want);
    free(d.lines[0]);
    head_free(h);
}

TEST(a_full_chunk_starts_another)
{
    struct head *h = head_new();
    struct store_select q = query_of("t", NULL, INT64_MIN, INT64_MAX, STORE_DATA);
    uint64_t cursor = 0;
    struct sums sums = {0};

    for (int i = 0; i < 3 * CHUNK_SAMPLES_MAX + 10; i++)
        CHECK(put(h, "t", SERIES, T0 + i, i) == APPEND_ACCEPTED);
    CHECK(put(h, "t", SERIES, T0 + 5000, 5000) == APPEND_DUPLICATE);
    CHECK(put(h, "t", SERIES, T0 + 5000, 5001) == APPEND_NEW_VALUE);
    CHECK(head_select(h, &q, 0, SIZE_MAX, &cursor, sum_series, &sums, NULL) == 0);
    CHECK_INT(sums.samples, 3 * CHUNK_SAMPLES_MAX + 10);
    CHECK(sums.chunks >= 4);
    head_free(h);
}

TEST(out_of_order_samples_are_folded_and_found)
{
    enum { N = 2000 };
    struct head *h = head_new();
    struct rng rng;
    int order[N];
    char *want = malloc(N * 32), *at = want;

    rng_init(&rng, test_seed());
    CHECK(put(h, "t", SERIES, T0 + N * 1000, -1) == APPEND_ACCEPTED);
    for (int i = 0; i < N; i++)
        order[i] = i;
    for (int i = N - 1; i > 0; i--) {
        int k = (int)rng_below(&rng, (uint64_t)i + 1), x = order[i];

        order[i] = order[k];
        order[k] = x;
    }
    for (int i = 0; i < N; i++)
        CHECK(put_ooo(h, "t", SERIES, T0 + order[i] * 1000LL, order[i], HOUR) == APPEND_ACCEPTED);
    for (int i = 0; i < N; i += 7) {
        CHECK(put_ooo(h, "t", SERIES, T0 + i * 1000LL, i, HOUR) == APPEND_DUPLICATE);
        CHECK(put_ooo(h, "t", SERIES, T0 + i * 1000LL, i + 1, HOUR) == APPEND_NEW_VALUE);
    }
    at += sprintf(at, "up{job=\"a\"}");
    for (int i = 0; i < N; i++)
        at += sprintf(at, " %lld:%g", i * 1000LL, (double)i);
    sprintf(at, " %lld:-1", N * 1000LL);
    CHECK_ALL(h, "t", 0, want);
    free(want);
    head_free(h);
}

/* A late sample opens a window after a seal; then the series goes on in that window. */
TEST(a_window_opened_by_a_late_sample_becomes_the_current_one)
{
    struct head *h = head_new();
    fingerprint fp = fp_of("t", SERIES);
    int64_t start = window_start(fp, T0 + 30 * MINUTE, NULL);

    CHECK(put(h, "t", SERIES, start + 100, 1) == APPEND_ACCEPTED);
    CHECK_INT(seal(h, INT64_MAX, 1), 1);
    CHECK(put_ooo(h, "t", SERIES, start + 50, 2, HOUR) == APPEND_ACCEPTED);
    CHECK(put(h, "t", SERIES, start + 200, 3) == APPEND_ACCEPTED);
    for (int i = 0; i < 40; i++)
        CHECK(put_ooo(h, "t", SERIES, start + 110 + i, 4, HOUR) == APPEND_ACCEPTED);
    CHECK(put_ooo(h, "t", SERIES, start + 50, 2, HOUR) == APPEND_DUPLICATE);
    CHECK(put_ooo(h, "t", SERIES, start + 50, 5, HOUR) == APPEND_NEW_VALUE);
    CHECK_INT(seal(h, INT64_MAX, 2), 1);
    CHECK(put_ooo(h, "t", SERIES, start + 50, 2, HOUR) == APPEND_DUPLICATE);
    head_free(h);
}

TEST(histograms_and_floats_share_a_series)
{
    static const struct hist_span span = {0, 2};
    static const uint64_t counts[] = {1, 2}, more[] = {2, 2};
    struct histogram a = hist_of(10, &span, counts), b = hist_of(20, &span, more);
    struct append_rules rules = {.ooo_window_ms = HOUR};
    struct head *h = head_new();
    struct head_series *s;
    double v = 0;

    head_lock(h);
    s = series_of(h, "t", SERIES);
    CHECK(head_append_histogram(h, s, T0 + 1, &a, 0, &rules) == APPEND_ACCEPTED);
    CHECK(head_append_histogram(h, s, T0 + 1, &a, 0, &rules) == APPEND_DUPLICATE);
    CHECK(head_append_histogram(h, s, T0 + 1, &b, 0, &rules) == APPEND_NEW_VALUE);
    CHECK(head_append(h, s, T0 + 1, double_bits(10), 0, &rules) == APPEND_NEW_VALUE);
    CHECK(!head_value_at(h, s, T0 + 1, &v));
    CHECK(head_append(h, s, T0 + 5, double_bits(7), 0, &rules) == APPEND_ACCEPTED);
    CHECK(head_append_histogram(h, s, T0 + 5, &a, 0, &rules) == APPEND_NEW_VALUE);
    CHECK(head_value_at(h, s, T0 + 5, &v) && v == 7);
    CHECK(head_append_histogram(h, s, T0 + 3, &b, 0, &rules) == APPEND_ACCEPTED);
    CHECK(head_append_histogram(h, s, T0 + 3, &b, 0, &rules) == APPEND_DUPLICATE);
    CHECK(head_append_histogram(h, s, T0 + 3, &a, 0, &rules) == APPEND_NEW_VALUE);
    CHECK(head_append(h, s, T0 + 4, double_bits(4), 0, &rules) == APPEND_ACCEPTED);
    CHECK(head_append_histogram(h, s, T0 + 4, &a, 0, &rules) == APPEND_NEW_VALUE);
    CHECK(head_append_histogram(h, s, T0 + 9, &b, 0, &rules) == APPEND_ACCEPTED);
    /* That a counter was not reset is not stored: the same histogram either way. */
    b.hint = HIST_HINT_NOT_RESET;
    CHECK(head_append_histogram(h, s, T0 + 9, &b, 0, &rules) == APPEND_DUPLICATE);
    CHECK(head_append_histogram(h, s, T0 + 2 * HOUR, &b, 0, &rules) == APPEND_ACCEPTED);
    head_unlock(h);
    CHECK_ALL(h, "t", 0, "up{job=\"a\"} 1:h10 3:h20 4:4 5:7 9:h20 7200000:h20");
    CHECK_INT(seal(h, INT64_MAX, 1), 2);
    CHECK_ALL(h, "t", 0, "up{job=\"a\"} 1:h10 3:h20 4:4 5:7 9:h20 7200000:h20");
    head_lock(h);
    CHECK(head_append_histogram(h, s, T0 + 3, &b, 0, &rules) == APPEND_DUPLICATE);
    CHECK(head_append_histogram(h, s, T0 + 3, &a, 0, &rules) == APPEND_NEW_VALUE);
    head_unlock(h);
    head_free(h);
}

TEST(replay_applies_without_rules_and_once)
{
    static const struct hist_span span = {0, 2};
    static const uint64_t counts[] = {1, 2};
    struct histogram a = hist_of(10, &span, counts);
    struct head *h = head_new();
    struct head_series *s;

    head_lock(h);
    s = series_of(h, "t", SERIES);
    for (int round = 0; round < 2; round++) {
        head_replay(h, s, T0 + 100 * HOUR, double_bits(2), 0);
        head_replay(h, s, T0, double_bits(1), 0);
        head_replay_histogram(h, s, T0 + 1, &a, 0);
    }
    head_unlock(h);
    CHECK_ALL(h, "t", 0, "up{job=\"a\"} 0:1 1:h10 360000000:2");
    head_free(h);
}

TEST(stats_count_series_samples_and_activity)
{
    struct head *h = head_new();
    struct head_tenant_stats st = {77, 77, 77};

    CHECK(!head_tenant_stats(h, STR("t"), T0, &st) && st.series == 77);
    for (int i = 0; i < 10; i++) {
        char text[64];

        snprintf(text, sizeof text, "__name__=m%d,i=%d", i % 2, i);
        CHECK(put(h, "t", text, T0 + i * HOUR, 1) == APPEND_ACCEPTED);
        CHECK(put(h, "t", text, T0 + i * HOUR, 1) == APPEND_DUPLICATE);
    }
    CHECK(put(h, "t", "__name__=m0,i=0", T0 + 9 * HOUR, 1) == APPEND_ACCEPTED);
    CHECK(head_tenant_stats(h, STR("t"), T0 + 9 * HOUR, &st));
    CHECK_INT(st.series, 10);
    CHECK_INT(st.samples, 11);
    CHECK_INT(st.active_series, 4); /* hours 7, 8, 9 and series 0 at 9 */
    CHECK(head_tenant_stats(h, STR("t"), T0 + 100 * HOUR, &st) && st.active_series == 0);
    CHECK_INT(head_metric_series(h, STR("t"), STR("m0")), 5);
    CHECK_INT(head_metric_series(h, STR("t"), STR("m2")), 0);
    CHECK_INT(head_metric_series(h, STR("u"), STR("m0")), 0);
    head_free(h);
}

static int exemplar_text(void *arg, const struct head_exemplar *e)
{
    struct buf *b = arg;

    labels_print(b, e->series);
    labels_print(b, e->labels);
    buf_printf(b, "%lld:%g ", (long long)(e->t - T0), e->v);
    return 0;
}

static void check_exemplars(struct head *h, const char *const *matchers, int64_t mint, int64_t maxt,
                            const char *want)
{
    struct matchers m;
    struct store_select q;
    struct buf b;

    matchers_of(&m, matchers);
    q = query_of("t", &m, mint, maxt, STORE_DATA);
    buf_init(&b, 1 << 20);
    CHECK(head_exemplar_select(h, &q, exemplar_text, &b, NULL) == 0);
    buf_char(&b, '\0');
    CHECK_STR(b.p, want);
    buf_fini(&b);
    matchers_fini(&m);
}

TEST(exemplars_are_a_ring_without_repeats)
{
    static const char *const all[] = {NULL}, *const just_b[] = {"job", "=", "b", NULL};
    struct head *h = head_new();
    struct labels_text trace;
    struct memory_account *m = memory_account_new();

    put(h, "t", "job=a", T0, 1);
    put(h, "t", "job=b", T0, 1);
    labels_of(&trace, "id=x");
    head_lock(h);
    for (int i = 0; i < 5; i++)
        for (int again = 0; again < 2; again++)
            head_exemplar_add(h, STR("t"), fp_of("t", i % 2 ? "job=b" : "job=a"), T0 + i, i,
                              &trace.ls, 3);
    head_exemplar_add(h, STR("u"), fp_of("u", "job=a"), T0, 1, &trace.ls, 3);
    head_unlock(h);
    check_exemplars(h, all, T0, T0 + 9,
                    "{job=\"a\"}{id=\"x\"}2:2 {job=\"b\"}{id=\"x\"}3:3 {job=\"a\"}{id=\"x\"}4:4 ");
    check_exemplars(h, just_b, T0, T0 + 9, "{job=\"b\"}{id=\"x\"}3:3 ");
    check_exemplars(h, all, T0 + 4, T0 + 9, "{job=\"a\"}{id=\"x\"}4:4 ");
    head_memory(h, m);
    CHECK(memory_total(m, MEMORY_EXEMPLARS) > 0);
    memory_account_free(m);
    head_lock(h); /* a smaller, then a larger limit */
    head_exemplar_add(h, STR("t"), fp_of("t", "job=a"), T0 + 5, 5, &trace.ls, 2);
    for (int i = 6; i < 9; i++)
        head_exemplar_add(h, STR("t"), fp_of("t", "job=a"), T0 + i, i, &trace.ls, 4);
    head_unlock(h);
    check_exemplars(h, all, T0, T0 + 9,
                    "{job=\"a\"}{id=\"x\"}5:5 {job=\"a\"}{id=\"x\"}6:6 {job=\"a\"}{id=\"x\"}7:7 "
                    "{job=\"a\"}{id=\"x\"}8:8 ");
    head_lock(h); /* off */
    head_exemplar_add(h, STR("t"), fp_of("t", "job=a"), T0 + 5, 5, &trace.ls, 0);
    head_unlock(h);
    check_exemplars(h, all, T0, T0 + 9, "");
    head_free(h);
}

/* Against an array by time: floats and histograms, in order and late, mixed as chance has it, so that the index of a window is built, followed,
 * caught up with and thrown away. */
TEST(late_samples_in_any_order_are_judged_by_what_is_stored)
{
    enum { SPAN = 6000, ROUNDS = 24000, NONE = 0, FLOAT, HIST };
    static uint8_t kinds[SPAN];
    static double values[SPAN];
    struct append_rules rules = {.ooo_window_ms = HOUR};
    struct histogram hists[2] = {{.sum = 1, .count.f = 1, .is_float = true}, {.sum = 2, .count.f = 2, .is_float = true}};
    struct head *h = head_new();
    struct rng r;
    int newest = 0;
    size_t stored = 0;

    memset(kinds, NONE, sizeof kinds);
    rng_init(&r, 42);
    head_lock(h);
    for (int i = 0; i < ROUNDS; i++) {
        bool late = newest > 0 && rng_u64(&r) % 100 < 80, hist = rng_u64(&r) % 100 < 5;
        int at = late ? (int)(rng_u64(&r) % (uint64_t)newest) : MIN(newest + 1, SPAN - 1), v = (int)(rng_u64(&r) % 2);
        /* Now and then another series, and what decides is asked of both. */
        struct head_series *s = series_of(h, "t", rng_u64(&r) % 50 == 0 ? "a=2" : "a=1");
        bool mine = s == series_of(h, "t", "a=1");
        enum append_verdict want = kinds[at] == NONE ? APPEND_ACCEPTED
                                   : kinds[at] == (hist ? HIST : FLOAT) && values[at] == v ? APPEND_DUPLICATE : APPEND_NEW_VALUE;
        enum append_verdict got = hist ? head_append_histogram(h, s, T0 + at, &hists[v], 0, &rules)
                                       : head_append(h, s, T0 + at, double_bits(v), 0, &rules);

        if (!mine)
            continue;
        CHECK_INT(got, want);
        if (got != APPEND_ACCEPTED)
            continue;
        kinds[at] = hist ? HIST : FLOAT;
        values[at] = v;
        newest = MAX(newest, at);
        stored++;
    }
    for (int i = 0; i < SPAN; i++) {
        double v;
        bool have = head_value_at(h, series_of(h, "t", "a=1"), T0 + i, &v);

        CHECK(have == (kinds[i] == FLOAT) && (!have || v == values[i]));
    }
    head_unlock(h);
    CHECK(newest > SPAN / 2 && stored > SPAN / 2);
    CHECK(seal(h, T0 + 4 * HOUR, 1) > 0);
    head_lock(h); /* what is sealed is still there */
    for (int i = 0; i < 200; i++)
        if (kinds[i] == FLOAT)
            CHECK(head_append(h, series_of(h, "t", "a=1"), T0 + i, double_bits(values[i]), 0, &rules) == APPEND_DUPLICATE);
    head_unlock(h);
    head_free(h);
}
