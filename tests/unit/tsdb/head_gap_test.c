/* Samples of a standby fall into holes of a series alone. */
#include "tests/unit/tsdb/head_util.h"

enum { EVERY_MS = 15000 };

static enum append_verdict offer(struct head *h, int64_t t, int64_t until_ms)
{
    struct head_gap gap = {until_ms};
    struct append_rules r = {.ooo_window_ms = 10 * MINUTE, .gap = &gap};
    enum append_verdict v;

    head_lock(h);
    v = head_append(h, series_of(h, "t", "__name__=up"), t, double_bits(2), 0, &r);
    head_unlock(h);
    return v;
}

/* Samples every 15 s from T0 to the 20th, then from the 30th to the 50th, one second late. */
static struct head *holed(void)
{
    struct head *h = head_new();

    for (int i = 0; i <= 50; i++)
        if (i <= 20 || i >= 30)
            CHECK_INT(put_ooo(h, "t", "__name__=up", T0 + i * EVERY_MS + (i >= 30) * 1000, 1, 10 * MINUTE), APPEND_ACCEPTED);
    return h;
}

TEST(only_holes_are_filled)
{
    static const struct {
        const char *name;
        int64_t at; /* ms after T0 */
        int64_t until; /* ms after T0; 0: open */
        enum append_verdict want;
    } cases[] = {
        {"between two samples", 10 * EVERY_MS + 7000, 0, APPEND_DUPLICATE},
        {"at a sample, another value", 10 * EVERY_MS, 0, APPEND_DUPLICATE},
        {"in the hole", 25 * EVERY_MS + 7000, 0, APPEND_ACCEPTED},
        {"close behind its beginning", 20 * EVERY_MS + 100, 0, APPEND_ACCEPTED},
        {"close before its end", 30 * EVERY_MS - 100, 0, APPEND_ACCEPTED},
        {"after it", 30 * EVERY_MS + 8000, 0, APPEND_DUPLICATE},
        {"newer than all, nobody followed", 50 * EVERY_MS + 8000, 0, APPEND_ACCEPTED},
        {"newer than all, the next one is not due yet", 50 * EVERY_MS + 8000, 51 * EVERY_MS, APPEND_DUPLICATE},
        {"newer than all, the next one did not come", 50 * EVERY_MS + 8000, 53 * EVERY_MS, APPEND_ACCEPTED},
        {"newer than all, and than the end", 54 * EVERY_MS, 53 * EVERY_MS, APPEND_DUPLICATE},
        {"older than all", -8000, 0, APPEND_DUPLICATE},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct head *h = holed();
        enum append_verdict v = offer(h, T0 + cases[i].at, cases[i].until ? T0 + cases[i].until : INT64_MAX);

        if (v != cases[i].want)
            fail_msg("%s: %d", cases[i].name, v);
        head_free(h);
    }
}

/* However often and in whichever order they are offered: a slot has one sample, and none is further from the next than the interval and a tenth. */
TEST(a_hole_is_filled_once_in_any_order)
{
    struct rng rng;

    rng_init(&rng, test_seed());
    for (int round = 0; round < 50; round++) {
        struct head *h = holed();
        int64_t phase = (int64_t)rng_below(&rng, EVERY_MS), accepted = 0, lo = 20, hi = 31;

        for (int k = 0; k < 400; k++)
            accepted += offer(h, T0 + (int64_t)rng_below(&rng, 52) * EVERY_MS + phase, T0 + 51 * EVERY_MS) == APPEND_ACCEPTED;
        /* The hole is 151 s long: 10 samples of the other sender fall into it, or 9 and one that comes too close to its edge. */
        if (accepted < hi - lo - 2 || accepted > hi - lo)
            fail_msg("phase %lld: %lld", (long long)phase, (long long)accepted);
        head_free(h);
    }
}

/* A series has just begun, and the other sender has been there for longer. */
TEST(a_young_series_is_not_interleaved)
{
    for (int n = 1; n <= 6; n++) {
        struct head *h = head_new();

        for (int i = 0; i < n; i++)
            CHECK_INT(put_ooo(h, "t", "__name__=up", T0 + i * EVERY_MS, 1, 10 * MINUTE), APPEND_ACCEPTED);
        for (int i = -3; i < n - 1; i++)
            CHECK_INT(offer(h, T0 + i * EVERY_MS + 6000, INT64_MAX), APPEND_DUPLICATE);
        for (int i = n - 1; i < n + 3; i++)
            CHECK_INT(offer(h, T0 + i * EVERY_MS + 6000, INT64_MAX), APPEND_ACCEPTED);
        head_free(h);
    }
}

TEST(an_unknown_series_is_all_hole_and_histograms_count_as_samples)
{
    struct head *h = head_new();
    struct head_gap gap = {INT64_MAX};
    struct append_rules r = {.ooo_window_ms = 10 * MINUTE, .gap = &gap};
    struct histogram hist;
    struct head_series *s;

    memset(&hist, 0, sizeof hist);
    hist.schema = 1;

    CHECK_INT(offer(h, T0, T0 + 1), APPEND_ACCEPTED);
    head_lock(h);
    s = series_of(h, "t", "__name__=hist");
    for (int i = 0; i < 10; i++)
        if (i != 5)
            CHECK_INT(head_append_histogram(h, s, T0 + i * EVERY_MS, &hist, 0, NULL), APPEND_ACCEPTED);
    CHECK_INT(head_append_histogram(h, s, T0 + 3 * EVERY_MS + 5000, &hist, 0, &r), APPEND_DUPLICATE);
    CHECK_INT(head_append_histogram(h, s, T0 + 5 * EVERY_MS + 5000, &hist, 0, &r), APPEND_ACCEPTED);
    CHECK_INT(head_append_histogram(h, s, T0 + 4 * EVERY_MS + 5000, &hist, 0, &r), APPEND_ACCEPTED);
    CHECK_INT(head_append_histogram(h, s, T0 + 5 * EVERY_MS, &hist, 0, &r), APPEND_DUPLICATE);
    head_unlock(h);
    head_free(h);
}
