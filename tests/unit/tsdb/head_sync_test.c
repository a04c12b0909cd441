/* Two heads compare what they have and take over from each other what they lack. */
#include "tests/unit/tsdb/head_util.h"
#include "tsdb/head_sync.h"

enum { SERIES_N = 5, TIMES_N = 400 };

static const uint64_t bucket_counts[] = {3, 4};
static const struct hist_span bucket_span = {.offset = 1, .length = 2};

static const char *series_text(int i)
{
    static const char *const texts[SERIES_N] = {"__name__=a", "__name__=b,x=1", "__name__=c", "__name__=hist", "__name__=e"};

    return texts[i];
}

/* The sample that all heads that have one for this time have; histograms in the fourth series. */
static void put_sample(struct head *h, int series, int64_t t, bool wrong)
{
    struct head_series *s;

    head_lock(h);
    s = series_of(h, "t", series_text(series));
    if (series == 3) {
        struct histogram hist = hist_of((double)(t % 97) + wrong, &bucket_span, bucket_counts);

        head_append_histogram(h, s, t, &hist, series == 3 ? t - 1000 : 0, NULL);
    } else {
        head_append(h, s, t, double_bits((double)(t % 89) + wrong), series == 1 ? t - 500 : 0, NULL);
    }
    head_unlock(h);
}

struct absorbing {
    struct head *to;
    struct head_absorbed sum;
};

static int absorb_series(void *arg, const struct stored_series *s)
{
    struct absorbing *ab = arg;
    struct head_absorbed one;
    struct chunk_columns c;
    struct head_series *hs;
    uint8_t *accepted;
    struct arena a, scratch;
    uint32_t bits = 0;

    arena_init(&a, 1 << 28);
    arena_init(&scratch, 1 << 28);
    CHECK(stored_series_columns(s, INT64_MIN, INT64_MAX, &a, &c, NULL) == 0);
    accepted = arena_zalloc(&a, c.n / 8 + 1);
    head_lock(ab->to);
    CHECK(head_create(ab->to, STR("t"), s->fp, &s->labels, &hs, NULL) == 0);
    CHECK(head_absorb(ab->to, hs, &c, &scratch, accepted, &one, NULL) == 0);
    head_unlock(ab->to);
    for (size_t i = 0; i < c.n; i++)
        bits += accepted[i / 8] >> (i % 8) & 1;
    CHECK_INT(bits, one.accepted);
    CHECK_INT(one.accepted + one.same + one.conflicts, c.n);
    ab->sum.accepted += one.accepted;
    ab->sum.same += one.same;
    ab->sum.conflicts += one.conflicts;
    arena_fini(&a);
    arena_fini(&scratch);
    return 0;
}

static struct head_absorbed absorb_all(struct head *to, struct head *from)
{
    struct store_select q = query_of("t", NULL, INT64_MIN, INT64_MAX, STORE_DATA);
    struct absorbing ab = {.to = to};
    uint64_t cursor = 0;

    CHECK(head_select(from, &q, 0, SIZE_MAX, &cursor, absorb_series, &ab, NULL) == 0);
    return ab.sum;
}

static char *all_text(struct head *h)
{
    struct store_select q = query_of("t", NULL, INT64_MIN, INT64_MAX, STORE_DATA);

    return select_text(h, &q, 0);
}

struct digests {
    struct u128 sum;
    uint64_t samples, windows;
    uint64_t stop_after;
};

static int sum_series(void *arg, struct str tenant, const struct stored_series *s)
{
    struct digests *d = arg;

    CHECK(str_eqz(tenant, "t"));
    CHECK(s->labels.n == 0 && s->window_count > 0);
    for (size_t i = 0; i < s->window_count; i++) {
        CHECK(s->windows[i].count > 0 && s->windows[i].chunk_count == 0);
        d->sum = u128_add(d->sum, hash128(&s->windows[i].digest, sizeof s->windows[i].digest, s->fp.lo ^ (uint64_t)s->windows[i].start_ms));
        d->samples += s->windows[i].count;
        d->windows++;
    }
    return d->stop_after && --d->stop_after == 0;
}

static struct digests digests_of(struct head *h, int64_t below_ms, uint64_t gen)
{
    struct head_sync q = {.below_ms = below_ms, .gen = gen};
    struct digests d = {0};
    uint64_t cursor = 0;

    do { /* some pages */
        CHECK(head_sync_walk(h, &q, 150, &cursor, sum_series, &d, NULL) == 0);
    } while (cursor);
    return d;
}

TEST(heads_that_absorb_each_other_are_equal)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct head *h[2] = {head_new(), head_new()}, *whole = head_new();
        struct head_absorbed got;
        struct digests d[2];
        char *text[2], *want;
        struct rng r;

        rng_init(&r, seed);
        for (int i = 0; i < TIMES_N; i++) {
            int series = (int)rng_below(&r, SERIES_N), which = (int)rng_below(&r, 5);
            int64_t t = T0 - HOUR + (int64_t)rng_below(&r, (uint64_t)(3 * HOUR / 7919)) * 7919;

            if (rng_below(&r, 3)) /* mostly in order */
                t = T0 - HOUR + i * (3 * HOUR / TIMES_N);
            if (which < 4)
                put_sample(h[which & 1], series, t, false);
            if (which >= 3)
                put_sample(h[1 - (which & 1)], series, t, false);
            put_sample(whole, series, t, false);
            if (i == TIMES_N / 2 && seed % 3 == 0)
                seal(h[seed % 2], T0 + HOUR, 1);
            if (i == TIMES_N / 2 + 20 && seed % 6 == 0)
                absorb_all(h[0], h[1]);
        }
        got = absorb_all(h[0], h[1]);
        CHECK_INT(got.conflicts, 0);
        got = absorb_all(h[1], h[0]);
        CHECK_INT(got.conflicts, 0);
        got = absorb_all(h[0], h[1]); /* again: nothing */
        CHECK_INT(got.accepted, 0);
        for (int i = 0; i < 2; i++) {
            text[i] = all_text(h[i]);
            d[i] = digests_of(h[i], INT64_MAX, 0);
        }
        want = all_text(whole);
        CHECK_STR(text[0], want);
        CHECK_STR(text[1], want);
        CHECK(u128_eq(d[0].sum, d[1].sum) && d[0].samples == d[1].samples);
        free(text[0]);
        free(text[1]);
        free(want);
        for (int i = 0; i < 2; i++)
            head_free(h[i]);
        head_free(whole);
    }
}

TEST(appending_goes_on_after_absorbing)
{
    struct head *a = head_new(), *b = head_new();

    for (int i = 0; i < 100; i++)
        put(a, "t", "__name__=a", T0 + i * 10000, i);
    put(b, "t", "__name__=a", T0 + 300000, 30);
    put(b, "t", "__name__=a", T0 + 990000, 99);
    absorb_all(b, a);
    CHECK(put_ooo(b, "t", "__name__=a", T0 + 450000, 45, HOUR) == APPEND_DUPLICATE);
    CHECK(put_ooo(b, "t", "__name__=a", T0 + 450000, 46, HOUR) == APPEND_NEW_VALUE);
    CHECK(put_ooo(b, "t", "__name__=a", T0 + 450001, 7, HOUR) == APPEND_ACCEPTED);
    CHECK(put(b, "t", "__name__=a", T0 + 1000000, 100) == APPEND_ACCEPTED);
    CHECK_INT(absorb_all(a, b).accepted, 2);
    CHECK(u128_eq(digests_of(a, INT64_MAX, 0).sum, digests_of(b, INT64_MAX, 0).sum));
    head_free(a);
    head_free(b);
}

TEST(another_value_is_a_conflict_and_changes_nothing)
{
    struct head *a = head_new(), *b = head_new();
    struct head_absorbed got;

    put_sample(a, 0, T0, false);
    put_sample(b, 0, T0, true);
    put_sample(a, 3, T0, false);
    put_sample(b, 3, T0, true);
    put_sample(b, 3, T0 + 5, false);
    got = absorb_all(a, b);
    CHECK_INT(got.conflicts, 2);
    CHECK_INT(got.accepted, 1);
    got = absorb_all(a, b);
    CHECK_INT(got.conflicts, 2);
    CHECK_INT(got.accepted, 0);
    head_free(a);
    head_free(b);
}

TEST(samples_from_a_time_on_are_left_out_of_the_digests)
{
    struct head *a = head_new(), *b = head_new();

    for (int i = 0; i < 500; i++) {
        put_sample(a, i % SERIES_N, T0 - HOUR + i * 10000, false);
        if (i < 200)
            put_sample(b, i % SERIES_N, T0 - HOUR + i * 10000, false);
    }
    CHECK(u128_eq(digests_of(a, T0 - HOUR + 200 * 10000, 0).sum, digests_of(b, INT64_MAX, 0).sum));
    CHECK(u128_eq(digests_of(a, T0 - HOUR + 123 * 10000, 0).sum, digests_of(b, T0 - HOUR + 123 * 10000, 0).sum));
    CHECK(!u128_eq(digests_of(a, T0 - HOUR + 200 * 10000 + 1, 0).sum, digests_of(b, INT64_MAX, 0).sum));
    CHECK_INT(digests_of(a, T0 - HOUR, 0).windows, 0);
    head_free(a);
    head_free(b);
}

TEST(published_windows_are_left_out_and_named)
{
    struct head *a = head_new();

    put_sample(a, 0, T0 - HOUR, false);
    put_sample(a, 0, T0 + HOUR, false);
    seal(a, T0, 1);
    CHECK_INT(head_published_gen(a), 0);
    CHECK_INT(digests_of(a, INT64_MAX, UINT64_MAX).samples, 2);
    head_published(a, 1, 7);
    CHECK_INT(head_published_gen(a), 7);
    CHECK_INT(digests_of(a, INT64_MAX, UINT64_MAX).samples, 1);
    CHECK_INT(digests_of(a, INT64_MAX, 0).samples, 2);
    head_drop(a, 1, INT64_MIN);
    CHECK_INT(head_published_gen(a), 7);
    CHECK_INT(digests_of(a, INT64_MAX, UINT64_MAX).samples, 1);
    head_free(a);
}

static bool odd(UNUSED const void *arg, fingerprint fp)
{
    return fp.lo & 1;
}

TEST(walks_stop_go_on_and_choose)
{
    struct head *h = head_new();
    struct digests d = {.stop_after = 2};
    struct head_sync q = {.below_ms = INT64_MAX};
    uint64_t cursor = 0;
    fingerprint fps[SERIES_N + 1];
    int odds = 0;

    for (int i = 0; i < SERIES_N; i++) {
        put_sample(h, i, T0, false);
        fps[i] = fp_of("t", series_text(i));
        odds += fps[i].lo & 1;
    }
    fps[SERIES_N] = (fingerprint){1, 2};
    CHECK(head_sync_walk(h, &q, SIZE_MAX, &cursor, sum_series, &d, NULL) == 0);
    CHECK(cursor > 0 && d.samples == 2);
    CHECK(head_sync_walk(h, &q, SIZE_MAX, &cursor, sum_series, &d, NULL) == 0);
    CHECK(cursor == 0 && d.samples == SERIES_N);
    d = (struct digests){0};
    CHECK(head_sync_find(h, &q, STR("t"), fps, SERIES_N + 1, sum_series, &d, NULL) == 0);
    CHECK_INT(d.samples, SERIES_N);
    d = (struct digests){0};
    CHECK(head_sync_find(h, &q, STR("other"), fps, SERIES_N + 1, sum_series, &d, NULL) == 0);
    CHECK_INT(d.samples, 0);
    q.wanted = odd;
    CHECK(head_sync_walk(h, &q, SIZE_MAX, &cursor, sum_series, &d, NULL) == 0);
    CHECK_INT(d.samples, odds);
    head_free(h);
}
