#include "promql/fhist.h"
#include "tests/test.h"

#include <float.h>
#include <math.h>

/* Literals and expected values: conformance/promql (native_histograms, histograms, functions), or
 * worked out by hand where marked. */
static struct arena arena;

static struct histogram *parse(const char *text)
{
    struct histogram *h = NULL;
    struct err err = {0};
    struct str s = str_of(text);

    if (!arena.budget)
        arena_init(&arena, 256 << 20);
    CHECK(s.n >= 4);
    if (fhist_parse_text(&arena, str_sub(s, 2, s.n - 2), &h, &err) < 0)
        fail_msg("%s: %s", text, err_text(&err));
    return h;
}

/* The comparison of the test scripts. */
static bool almost(double a, double b)
{
    double sum = fabs(a) + fabs(b), diff = fabs(a - b);

    if (isnan(a) || isnan(b))
        return isnan(a) && isnan(b);
    if (a == b)
        return true;
    if (a == 0 || b == 0 || sum < DBL_MIN)
        return diff < 1e-6 * DBL_MIN;
    return diff / fmin(sum, DBL_MAX) < 1e-6;
}

static bool side_almost(const struct hist_side *a, const struct hist_side *b)
{
    struct hist_walk x, y;

    hist_walk_init(&x, a);
    hist_walk_init(&y, b);
    for (;;) {
        bool more = hist_walk_next(&x);

        if (hist_walk_next(&y) != more)
            return false;
        if (!more)
            return true;
        if (x.index != y.index || !almost(a->f[x.at], b->f[y.at]))
            return false;
    }
}

static void check_hist(const struct histogram *got, const char *want_text)
{
    struct histogram *want = fhist_compact(&arena, parse(want_text), 0);
    bool same;
    struct buf text;

    CHECK(got != NULL);
    got = fhist_compact(&arena, got, 0);
    same = got->schema == want->schema && got->zero_threshold == want->zero_threshold &&
           almost(got->count.f, want->count.f) && almost(got->sum, want->sum) &&
           almost(got->zero_count.f, want->zero_count.f) &&
           got->custom_count == want->custom_count && side_almost(&got->pos, &want->pos) &&
           side_almost(&got->neg, &want->neg);
    for (uint32_t i = 0; same && i < want->custom_count; i++)
        same = got->custom[i] == want->custom[i];
    if (fhist_text_gives_hint(str_of(want_text)))
        same = same && got->hint == want->hint;
    if (same)
        return;
    buf_init(&text, 1 << 20);
    fhist_print_text(&text, got);
    fail_msg("want %s\n got %.*s", want_text, STR_FMT(buf_view(&text)));
}

static void check_number(const char *what, double arg, double got, double want)
{
    if (!almost(got, want))
        fail_msg("%s at %g: want %.17g, got %.17g", what, arg, want, got);
}

#define SINGLE   "{{schema:0 sum:5 count:4 buckets:[1 2 1]}}"
#define POSITIVE "{{schema:0 count:12 sum:100 z_bucket:2 z_bucket_w:0.001 buckets:[2 3 0 1 4]}}"
#define NEGATIVE "{{schema:0 count:12 sum:100 z_bucket:2 z_bucket_w:0.001 n_buckets:[2 3 0 1 4]}}"
#define BOTH                                                                                       \
    "{{schema:0 count:24 sum:100 z_bucket:4 z_bucket_w:0.001 buckets:[2 3 0 1 4] n_buckets:[2 3 "  \
    "0 1 4]}}"
#define BALANCED "{{schema:0 sum:0 count:8 buckets:[1 2 1] n_buckets:[1 2 1]}}"
#define CUSTOM3P                                                                                   \
    "{{schema:-53 count:110 sum:330 custom_values:[0 0.1 0.2 1] buckets:[0 50 20 40 0]}}"
#define CUSTOM3N                                                                                   \
    "{{schema:-53 count:20 sum:80 custom_values:[-0.25 -0.2 -0.1 0.3] buckets:[0 10 10 0 0]}}"
#define ALL_NAN  "{{schema:0 count:3 sum:NaN}}"
#define SOME_NAN "{{schema:0 count:15 sum:NaN buckets:[12]}}"

static const struct {
    const char *h;
    double q, want;
    unsigned notes;
} quantiles[] = {
    {"{{}}", 0.5, NAN, 0},
    {SINGLE, 0.5, 1.414213562373095, 0},
    {SINGLE, -0.1, -INFINITY, 0},
    {SINGLE, 1.1, INFINITY, 0},
    {SINGLE, NAN, NAN, 0},
    {"{{schema:0 sum:-5 count:4 n_buckets:[1 2 1]}}", 0.5, -1.414213562373095, 0},
    {"{{schema:0 z_bucket:1 z_bucket_w:0.5 sum:0.25 count:1}}", 0.5, 0, 0},
    {BALANCED, 0.5, 0.5, 0},
    {POSITIVE, 1, 16, 0},
    {POSITIVE, 0.9, 12.99603834169977, 0},
    {POSITIVE, 0.6, 4.594793419988138, 0},
    {POSITIVE, 0.1, 0.0006, 0},
    {POSITIVE, 0, 0, 0},
    {NEGATIVE, 1, 0, 0},
    {NEGATIVE, 0.9, -0.0006, 0},
    {NEGATIVE, 0.5, -1.5874010519681996, 0},
    {NEGATIVE, 0, -16, 0},
    {BOTH, 0.99, 15.34822590920423, 0},
    {BOTH, 0.7, 1.2030250360821164, 0},
    {BOTH, 0.55, 0.0006, 0},
    {BOTH, 0.45, -0.0006, 0},
    {BOTH, 0.3, -1.2030250360821169, 0},
    {BOTH, 0.01, -15.34822590920423, 0},
    {"{{schema:-1 sum:6 count:5 buckets:[0 5]}}", 0.5, 2, 0},
    {"{{schema:1 sum:4 count:5 buckets:[0 0 5]}}", 0.5, 1.6817928305074292, 0},
    {"{{schema:-1 sum:6 count:5 n_buckets:[0 0 5]}}", 0.5, -8, 0},
    {POSITIVE, 0.6320802083934297, 6, 0},
    {CUSTOM3P, 0, 0, 0},
    {CUSTOM3P, 0.25, 0.055, 0},
    {CUSTOM3P, 0.5, 0.125, 0},
    {CUSTOM3P, 1, 1, 0},
    {CUSTOM3N, 0, -0.25, 0},
    {CUSTOM3N, 0.25, -0.225, 0},
    {CUSTOM3N, 1, -0.1, 0},
    {"{{schema:-53 count:30 custom_values:[-0.2 -0.1 0.3] buckets:[10 10 0 10]}}", 0, -0.2, 0},
    {"{{schema:-53 count:30 custom_values:[-0.2 -0.1 0.3] buckets:[10 10 0 10]}}", 1, 0.3, 0},
    {ALL_NAN, 0.8, NAN, FHIST_NOTE_QUANTILE_NAN},
    {SOME_NAN, 0.81, NAN, FHIST_NOTE_QUANTILE_NAN},
    {SOME_NAN, 0.8, 1, FHIST_NOTE_QUANTILE_SKEWED},
    {SOME_NAN, 0.4, 0.7071067811865475, FHIST_NOTE_QUANTILE_SKEWED},
    /* By hand: -Inf and +Inf were observed, nothing was NaN. */
    {"{{schema:0 count:12 sum:NaN buckets:[12]}}", 0.5, 0.7071067811865475, 0},
    /* By hand: counts that do not add up, without NaN, give the end of the last bucket reached. */
    {"{{schema:0 count:15 sum:1 buckets:[12]}}", 0.49, 0.7644531537515054, 0},
    {"{{schema:0 count:30 sum:1 buckets:[1 1]}}", 0.4, 2, 0},
};

TEST(quantile_interpolates_as_prometheus)
{
    for (size_t i = 0; i < ARRAY_LEN(quantiles); i++) {
        unsigned notes = 0;

        check_number(quantiles[i].h, quantiles[i].q,
                     fhist_quantile(parse(quantiles[i].h), quantiles[i].q, &notes),
                     quantiles[i].want);
        CHECK_INT(notes, quantiles[i].notes);
    }
}

#define LE3    "{{schema:-53 count:100 custom_values:[1 2 3] buckets:[1 2 3 94]}}"
#define LE3NEG "{{schema:-53 count:100 custom_values:[-3 -2 -1] buckets:[10 2 3 85]}}"
static const struct {
    const char *h;
    double lower, upper, want;
    unsigned notes;
} fractions[] = {
    {"{{}}", 3.1415, 42, NAN, 0},
    {SINGLE, 1, 2, 0.5, 0},
    {SINGLE, 0, 8, 1, 0},
    {POSITIVE, -INFINITY, 0, 0, 0},
    {POSITIVE, 0.001, INFINITY, 0.8333333333333334, 0},
    {POSITIVE, 0, 0.0005, 0.08333333333333333, 0},
    {POSITIVE, 1.5, 2, 0.10375937481971091, 0},
    {POSITIVE, 1, 6, 0.29874687506009634, 0},
    {POSITIVE, -6, -1.5, 0, 0},
    {POSITIVE, -3.1, -3.1, 0, 0},
    {POSITIVE, NAN, 1, NAN, 0},
    {POSITIVE, -INFINITY, INFINITY, 1, 0},
    {NEGATIVE, -INFINITY, 0, 1, 0},
    {NEGATIVE, -0.0005, 0, 0.08333333333333333, 0},
    {NEGATIVE, -INFINITY, -6, 0.36791979160657035, 0},
    {NEGATIVE, -6, -1.5, 0.15250624987980724, 0},
    {NEGATIVE, 1.5, 2, 0, 0},
    {BOTH, -INFINITY, 0, 0.5, 0},
    {BOTH, -0.0005, 0.0005, 0.08333333333333333, 0},
    {BOTH, -INFINITY, 0.0005, 0.5416666666666666, 0},
    {BOTH, -6, -1.5, 0.07625312493990362, 0},
    {"{{schema:-53 sum:5 count:4 custom_values:[5 10] buckets:[1 2 1]}}", 5, 10, 0.5, 0},
    {"{{schema:-53 count:30 custom_values:[0 2 4 6] buckets:[0 10 10 10 0]}}", 0, 3.5,
     0.5833333333333334, 0},
    {CUSTOM3P, 0, 0.2, 0.6363636363636364, 0},
    {CUSTOM3N, 0, 0.2, 0, 0},
    {LE3, 0, 1.5, 0.02, 0},
    {LE3, 4, 5, 0, 0},
    {LE3, 2, 5, 0.03, 0},
    {LE3, 0.5, 2, 0.025, 0},
    {LE3, 400, INFINITY, 0.94, 0},
    {LE3, 3, 2, 0, 0},
    {LE3NEG, -4, -2, 0.02, 0},
    {LE3NEG, -INFINITY, -1.5, 0.135, 0},
    {LE3NEG, 0, 1, 0, 0},
    {"{{schema:-53 count:100 buckets:[100]}}", 0, 1, 0, 0},
    {"{{schema:-53 count:10 custom_values:[1 2] buckets:[1 2 7]}}", -10, -5, 0, 0},
    {SOME_NAN, -INFINITY, 0.7071067811865475, 0.4, FHIST_NOTE_FRACTION_NAN},
    {ALL_NAN, -INFINITY, 0.7071067811865475, 0, FHIST_NOTE_FRACTION_NAN},
    {SOME_NAN, -INFINITY, INFINITY, 0.8, FHIST_NOTE_FRACTION_NAN}, /* by hand */
};

TEST(fraction_is_the_inverse_of_quantile)
{
    for (size_t i = 0; i < ARRAY_LEN(fractions); i++) {
        unsigned notes = 0;
        double got =
            fhist_fraction(parse(fractions[i].h), fractions[i].lower, fractions[i].upper, &notes);

        check_number(fractions[i].h, fractions[i].lower, got, fractions[i].want);
        CHECK_INT(notes, fractions[i].notes);
    }
}

static const struct {
    const char *h;
    double want;
} variances[] = {
    {"{{schema:2 count:4 sum:10 buckets:[1 0 0 0 1 0 0 1 1]}}",
     1.163807968526718 /* stddev squared */},
    {"{{schema:8 count:10 sum:10 buckets:[1 2 3 4]}}", 2.3971123370139447e-05},
    {"{{schema:3 count:7 sum:62 z_bucket:1 buckets:[0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0 0 0 "
     "0 1 0 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 "
     "0 0 0 0 0 0 1 ] n_buckets:[0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0 0 "
     "0 0 0 0 0 0 0 0 0 0 0 0 0 1 ]}}",
     1844.4651144196398},
    {"{{schema:0 count:10 sum:-112946 z_bucket:0 n_buckets:[0 0 1 1 1 0 1 1 0 0 3 0 0 0 1 0 0 1]}}",
     27556.344499842 * 27556.344499842},
    {"{{schema:0 count:10 sum:-100 z_bucket:0 n_buckets:[0 0 0 0 10]}}", 1.725830020304794},
    {"{{schema:3 count:7 sum:NaN z_bucket:1 buckets:[1]}}", NAN},
    {"{{schema:3 count:7 sum:Inf z_bucket:1 buckets:[1]}}", INFINITY},
    {CUSTOM3P, 7.527045454545455},
    {CUSTOM3N, 17.5365625},
    {"{{}}", NAN},
};

TEST(stdvar_places_observations_at_bucket_means)
{
    for (size_t i = 0; i < ARRAY_LEN(variances); i++)
        check_number(variances[i].h, 0, fhist_stdvar(parse(variances[i].h)), variances[i].want);
}

#define H_TEST                                                                                     \
    "{{schema:0 sum:123.75 count:34 z_bucket:1 z_bucket_w:0.001 buckets:[2 4 8 16] n_buckets:[1 "  \
    "2]}}"
#define H_TEST_2                                                                                   \
    "{{schema:2 sum:12.8286080906 count:28 z_bucket:1 z_bucket_w:0.001 buckets:[1 2 4 7 3] "       \
    "n_buckets:[1 5 3 1]}}"
#define H_POS "{{schema:0 sum:8.0210678118654755 count:12 z_bucket:2 z_bucket_w:0.5 buckets:[10]}}"
#define H_NEG                                                                                      \
    "{{schema:0 sum:-8.0210678118654755 count:12 z_bucket:2 z_bucket_w:0.5 n_buckets:[10]}}"
#define H_ZERO "{{schema:0 count:5 sum:0 z_bucket:5 z_bucket_w:0.1}}"
#define CBH    "{{schema:-53 sum:172.5 count:15 custom_values:[5 10 15 20] buckets:[1 6 4 3 1]}}"
#define CBH_NEG                                                                                    \
    "{{schema:-53 sum:172.5 count:15 custom_values:[-10 5 10 15 20] buckets:[2 1 6 4 3 1]}}"
#define CBH_ONE    "{{schema:-53 sum:100.0 count:100 buckets:[100]}}"
#define SPLIT_ZERO "{{schema:-53 sum:33.0 count:100 custom_values:[0] buckets:[1 100]}}"
#define SPLIT_POS  "{{schema:-53 sum:33 count:101 custom_values:[5] buckets:[1 100]}}"
#define SPLIT_NEG  "{{schema:-53 sum:33 count:101 custom_values:[-5] buckets:[1 100]}}"
enum { ABOVE = 0, BELOW = 1 };
static const struct {
    const char *h;
    bool keep_below;
    double bound;
    const char *want;
} trims[] = {
    {H_TEST, BELOW, INFINITY, H_TEST},
    {H_TEST, ABOVE, INFINITY, "{{schema:0 z_bucket_w:0.001}}"},
    {H_TEST, ABOVE, -INFINITY, H_TEST},
    {H_TEST, ABOVE, 0,
     "{{schema:0 sum:120.20840280171308 count:30.5 z_bucket:0.5 z_bucket_w:0.001 buckets:[2 4 8 "
     "16]}}"},
    {H_TEST, BELOW, 0,
     "{{schema:0 sum:-3.53578390593273768 count:3.5 z_bucket:0.5 z_bucket_w:0.001 n_buckets:[1 "
     "2]}}"},
    {H_TEST, ABOVE, 1.4142135624,
     "{{count:26 sum:116.50067065070982 z_bucket_w:0.001 buckets:[0 2 8 16]}}"},
    {H_TEST, ABOVE, 2,
     "{{count:24 sum:113.13708498984761 z_bucket_w:0.001 offset:2 buckets:[8 16]}}"},
    {H_TEST, ABOVE, -1,
     "{{count:32 sum:119.50104602052653 z_bucket:1 z_bucket_w:0.001 buckets:[2 4 8 16] "
     "n_buckets:[1]}}"},
    {H_TEST_2, BELOW, 1.13,
     "{{schema:2 count:13.410582181123704 sum:-9.385798726068233 z_bucket:1 z_bucket_w:0.001 "
     "buckets:[1 1.410582181123704] n_buckets:[1 5 3 1]}}"},
    {H_TEST_2, ABOVE, -1.3,
     "{{schema:2 count:25.54213947904476 sum:16.29588491217537 z_bucket:1 z_bucket_w:0.001 "
     "buckets:[1 2 4 7 3] n_buckets:[1 5 1.54213947904476]}}"},
    {H_TEST_2, BELOW, -1.3,
     "{{schema:2 count:2.45786052095524 sum:-3.5189307983595066 z_bucket_w:0.001 n_offset:2 "
     "n_buckets:[1.45786052095524 1]}}"},
    {H_POS, ABOVE, 0.5,
     "{{schema:0 count:10 sum:7.0710678118654755 z_bucket:0 z_bucket_w:0.5 buckets:[10]}}"},
    {H_POS, ABOVE, 0.1,
     "{{schema:0 count:11.6 sum:7.551067811865476 z_bucket:1.6 z_bucket_w:0.5 buckets:[10]}}"},
    {H_POS, BELOW, 0.5, "{{schema:0 count:2 sum:0.5 z_bucket:2 z_bucket_w:0.5}}"},
    {H_POS, BELOW, 0.1, "{{schema:0 count:0.4 sum:0.02 z_bucket:0.4 z_bucket_w:0.5}}"},
    {H_NEG, BELOW, -0.5,
     "{{schema:0 count:10 sum:-7.0710678118654755 z_bucket:0 z_bucket_w:0.5 n_buckets:[10]}}"},
    {H_NEG, BELOW, -0.1,
     "{{schema:0 count:11.6 sum:-7.551067811865476 z_bucket:1.6 z_bucket_w:0.5 n_buckets:[10]}}"},
    {H_NEG, ABOVE, -0.5, "{{schema:0 count:2 sum:-0.5 z_bucket:2 z_bucket_w:0.5}}"},
    {H_NEG, ABOVE, -0.1, "{{schema:0 count:0.4 sum:-0.02 z_bucket:0.4 z_bucket_w:0.5}}"},
    {H_ZERO, ABOVE, 0.1, "{{schema:0 count:0 sum:0 z_bucket:0 z_bucket_w:0.1}}"},
    {H_ZERO, BELOW, 0.1, H_ZERO},
    {H_ZERO, BELOW, 0.05, "{{schema:0 count:3.75 sum:-0.09375 z_bucket:3.75 z_bucket_w:0.1}}"},
    {H_ZERO, ABOVE, 0, "{{schema:0 count:2.5 sum:0.125 z_bucket:2.5 z_bucket_w:0.1}}"},
    {H_ZERO, BELOW, -0.05, "{{schema:0 count:1.25 sum:-0.09375 z_bucket:1.25 z_bucket_w:0.1}}"},
    {H_ZERO, ABOVE, -0.1, H_ZERO},
    {"{{schema:0 sum:-6.75 z_bucket:5 z_bucket_w:0.01 buckets:[2 3] n_buckets:[1 2 3]}}", BELOW,
     -0.005,
     "{{count:7.25 sum:-12.03019028017131 z_bucket:1.25 z_bucket_w:0.01 n_buckets:[1 2 3]}}"},
    {CBH, BELOW, 15, "{{schema:-53 count:11 sum:97.5 custom_values:[5 10 15 20] buckets:[1 6 4]}}"},
    {CBH, BELOW, 13,
     "{{schema:-53 count:9.4 sum:75.1 custom_values:[5 10 15 20] buckets:[1 6 2.4]}}"},
    {CBH, ABOVE, 13,
     "{{schema:-53 count:5.6 sum:94.9 custom_values:[5 10 15 20] offset:2 buckets:[1.6 3 1]}}"},
    {CBH, BELOW, 50,
     "{{schema:-53 count:14 sum:150.0 custom_values:[5 10 15 20] buckets:[1 6 4 3]}}"},
    {CBH, BELOW, -INFINITY, "{{schema:-53 custom_values:[5 10 15 20]}}"},
    {CBH, BELOW, INFINITY, CBH},
    {CBH, ABOVE, -INFINITY, CBH},
    {CBH, BELOW, 0, "{{schema:-53 custom_values:[5 10 15 20]}}"},
    {CBH_NEG, BELOW, 2,
     "{{schema:-53 count:2.8 sum:-23.2 custom_values:[-10 5 10 15 20] buckets:[2 0.8]}}"},
    {CBH_NEG, BELOW, -15,
     "{{schema:-53 count:2 sum:-30 custom_values:[-10 5 10 15 20] buckets:[2]}}"},
    {CBH_ONE, BELOW, 10, "{{schema:-53}}"},
    {CBH_ONE, ABOVE, 10, "{{schema:-53}}"},
    {CBH_ONE, ABOVE, INFINITY, "{{schema:-53}}"},
    {CBH_ONE, ABOVE, -INFINITY, CBH_ONE},
    {SPLIT_ZERO, BELOW, 10, "{{schema:-53 sum:0 count:1 custom_values:[0] buckets:[1 0]}}"},
    {SPLIT_ZERO, ABOVE, -10, "{{schema:-53 sum:0 count:100 custom_values:[0] buckets:[0 100]}}"},
    {SPLIT_ZERO, ABOVE, 0, "{{schema:-53 sum:0 count:100 custom_values:[0] buckets:[0 100]}}"},
    {SPLIT_POS, BELOW, 10, "{{schema:-53 sum:2.5 count:1 custom_values:[5] buckets:[1 0]}}"},
    {SPLIT_POS, BELOW, 2, "{{schema:-53 sum:0.4 count:0.4 custom_values:[5] buckets:[0.4 0]}}"},
    {SPLIT_POS, BELOW, -10, "{{schema:-53 custom_values:[5]}}"},
    {SPLIT_POS, ABOVE, -10, "{{schema:-53 sum:500 count:100 custom_values:[5] buckets:[0 100]}}"},
    {SPLIT_POS, ABOVE, 2,
     "{{schema:-53 sum:502.1 count:100.6 custom_values:[5] buckets:[0.6 100]}}"},
    {SPLIT_POS, ABOVE, 10, "{{schema:-53 sum:1000 count:100 custom_values:[5] buckets:[0 100]}}"},
    {SPLIT_NEG, BELOW, 0, "{{schema:-53 sum:-5 count:1 custom_values:[-5] buckets:[1 0]}}"},
    {SPLIT_NEG, ABOVE, -10, "{{schema:-53 sum:-500 count:100 custom_values:[-5] buckets:[0 100]}}"},
    {SPLIT_NEG, ABOVE, -2, "{{schema:-53 sum:-200 count:100 custom_values:[-5] buckets:[0 100]}}"},
    {SPLIT_NEG, ABOVE, 10, "{{schema:-53 sum:1000 count:100 custom_values:[-5] buckets:[0 100]}}"},
    {"{{}}", BELOW, 0, "{{}}"},
    {"{{schema:-53 custom_values:[-3 2]}}", ABOVE, 5, "{{schema:-53 custom_values:[-3 2]}}"},
};

TEST(trim_keeps_one_side_of_a_bound)
{
    for (size_t i = 0; i < ARRAY_LEN(trims); i++)
        check_hist(fhist_trim(&arena, parse(trims[i].h), trims[i].bound, trims[i].keep_below),
                   trims[i].want);
}

TEST(trim_count_is_fraction_times_count)
{
    for (size_t i = 0; i < ARRAY_LEN(trims); i++) {
        struct histogram *h = parse(trims[i].h);
        double bound = trims[i].bound, want;

        if (h->schema == HIST_CUSTOM_SCHEMA || h->sum == -6.75 || isinf(bound))
            continue; /* infinite buckets are treated on purpose otherwise; the second has no count
                       */
        want = h->count.f == 0
                   ? 0
                   : h->count.f * (trims[i].keep_below ? fhist_fraction(h, -INFINITY, bound, NULL)
                                                       : fhist_fraction(h, bound, INFINITY, NULL));
        check_number(trims[i].h, bound, fhist_trim(&arena, h, bound, trims[i].keep_below)->count.f,
                     want);
    }
}

enum op { PLUS, MINUS };
static const struct {
    const char *x;
    enum op op;
    const char *y, *want; /* want NULL: RC_EXECUTION */
    unsigned notes;
} sums[] = {
    {SINGLE, PLUS, "{{}}", SINGLE, 0},
    {"{{schema:0 sum:4 count:4 buckets:[1 2 1]}}", PLUS, "{{sum:2 count:1 buckets:[1] offset:1}}",
     "{{count:5 sum:6 buckets:[1 3 1]}}", 0},
    {"{{schema:-1 sum:4 count:1 buckets:[1] offset:1}}", PLUS,
     "{{schema:0 sum:4 count:4 buckets:[2 2] offset:1}}",
     "{{schema:-1 count:5 sum:8 offset:1 buckets:[5]}}", 0},
    {"{{schema:0 sum:4 count:4 buckets:[2 2] offset:1}}", PLUS,
     "{{schema:-1 sum:4 count:1 buckets:[1] offset:1}}",
     "{{schema:-1 count:5 sum:8 offset:1 buckets:[5]}}", 0},
    {"{{schema:0 sum:4 count:4 buckets:[1 2 1]}}", PLUS,
     "{{schema:0 sum:-4 count:4 n_buckets:[1 2 1]}}", BALANCED, 0},
    {"{{schema:0 count:41 sum:2345.6 z_bucket:5 z_bucket_w:0.001 buckets:[1 3 1 2 1 1 1] "
     "n_buckets:[0 1 4 2 7 0 0 0 0 5 5 2]}}",
     MINUS,
     "{{schema:1 count:11 sum:1234.5 z_bucket:3 z_bucket_w:0.001 buckets:[0 2 1] n_buckets:[0 0 3 "
     "2]}}",
     "{{schema:0 count:30 sum:1111.1 z_bucket:2 z_bucket_w:0.001 buckets:[1 0 1 2 1 1 1] "
     "n_buckets:[0 -2 2 2 7 0 0 0 0 5 5 2]}}",
     0},
    {"{{schema:1 count:11 sum:1234.5 z_bucket:3 z_bucket_w:0.001 buckets:[0 2 1] n_buckets:[0 0 3 "
     "2]}}",
     MINUS,
     "{{schema:0 count:41 sum:2345.6 z_bucket:5 z_bucket_w:0.001 buckets:[1 3 1 2 1 1 1] "
     "n_buckets:[0 1 4 2 7 0 0 0 0 5 5 2]}}",
     "{{schema:0 count:-30 sum:-1111.1 z_bucket:-2 z_bucket_w:0.001 buckets:[-1 0 -1 -2 -1 -1 -1] "
     "n_buckets:[0 2 -2 -2 -7 0 0 0 0 -5 -5 -2]}}",
     0},
    {"{{sum:1 count:1 buckets:[1]}}", PLUS,
     "{{schema:-53 sum:1 count:1 custom_values:[5] buckets:[1]}}", NULL, 0},
    {"{{schema:-53 sum:1 count:1 custom_values:[5] buckets:[1]}}", MINUS,
     "{{sum:1 count:1 buckets:[1]}}", NULL, 0},
    {"{{schema:-53 sum:1 count:1 custom_values:[10] buckets:[1]}}", PLUS,
     "{{schema:-53 sum:1 count:1 custom_values:[2 10] buckets:[1]}}",
     "{{schema:-53 count:2 sum:2 custom_values:[10] buckets:[2]}}", FHIST_NOTE_BOUNDS_RECONCILED},
    {"{{schema:-53 sum:5560 count:1000 custom_values:[3 5 7] buckets:[100 200 300 400]}}", MINUS,
     "{{schema:-53 sum:55 count:45 custom_values:[1 2 3 4 5 6 7 8] buckets:[1 2 3 4 5 6 7 8 9]}}",
     "{{schema:-53 sum:5505 count:955 custom_values:[3 5 7] buckets:[94 191 287 383]}}",
     FHIST_NOTE_BOUNDS_RECONCILED},
    {"{{schema:-53 sum:1 count:1 custom_values:[1 10] buckets:[1]}}", MINUS,
     "{{schema:-53 sum:1 count:1 custom_values:[1] buckets:[2]}}",
     "{{schema:-53 custom_values:[1] buckets:[-1]}}", FHIST_NOTE_BOUNDS_RECONCILED},
    /* By hand: no common bound leaves the one infinite bucket. */
    {"{{schema:-53 count:3 custom_values:[1 2] buckets:[1 1 1]}}", PLUS,
     "{{schema:-53 count:2 custom_values:[3] buckets:[1 1]}}", "{{schema:-53 count:5 buckets:[5]}}",
     FHIST_NOTE_BOUNDS_RECONCILED},
    /* By hand: the wider zero bucket 0.75 cuts (0.5,1] of the other, so it grows to 1 and takes
       that bucket in. */
    {"{{count:6 z_bucket:1 z_bucket_w:0.01 offset:-1 buckets:[1 2 3]}}", PLUS,
     "{{count:5 z_bucket:5 z_bucket_w:0.75}}",
     "{{count:11 z_bucket:9 z_bucket_w:1 offset:1 buckets:[3]}}", 0},
    {"{{count:5 z_bucket:5 z_bucket_w:0.75}}", PLUS,
     "{{count:6 z_bucket:1 z_bucket_w:0.01 offset:-1 buckets:[1 2 3]}}",
     "{{count:11 z_bucket:9 z_bucket_w:1 offset:1 buckets:[3]}}", 0},
    /* By hand: the negative side raises it to 2, which then takes the positive (1,2] in. */
    {"{{count:9 z_bucket:1 z_bucket_w:0.5 buckets:[1 1 4] n_offset:1 n_buckets:[2]}}", PLUS,
     "{{count:1 z_bucket:1 z_bucket_w:1.5}}",
     "{{count:10 z_bucket:6 z_bucket_w:2 offset:2 buckets:[4]}}", 0},
    /* By hand: an empty bucket does not raise it. */
    {"{{count:3 z_bucket_w:0.01 buckets:[0 3]}}", PLUS, "{{count:5 z_bucket:5 z_bucket_w:0.75}}",
     "{{count:8 z_bucket:5 z_bucket_w:0.75 offset:1 buckets:[3]}}", 0},
    {"{{counter_reset_hint:not_reset}}", PLUS, "{{counter_reset_hint:not_reset}}",
     "{{counter_reset_hint:not_reset}}", 0},
    {"{{counter_reset_hint:not_reset}}", PLUS, "{{counter_reset_hint:gauge}}",
     "{{counter_reset_hint:gauge}}", 0},
    {"{{counter_reset_hint:gauge}}", PLUS, "{{counter_reset_hint:reset}}",
     "{{counter_reset_hint:gauge}}", 0},
    {"{{counter_reset_hint:unknown}}", PLUS, "{{counter_reset_hint:reset}}",
     "{{counter_reset_hint:unknown}}", 0},
    {"{{counter_reset_hint:not_reset}}", PLUS, "{{counter_reset_hint:unknown}}",
     "{{counter_reset_hint:unknown}}", 0},
    {"{{counter_reset_hint:not_reset}}", MINUS, "{{counter_reset_hint:reset}}",
     "{{counter_reset_hint:unknown}}", FHIST_NOTE_RESET_COLLISION},
};

TEST(add_and_sub_reconcile_layouts)
{
    for (size_t i = 0; i < ARRAY_LEN(sums); i++) {
        struct histogram *x = parse(sums[i].x), *y = parse(sums[i].y), *got = NULL;
        unsigned notes = 0;
        int rc = sums[i].op == PLUS ? fhist_add(&arena, x, y, &got, &notes)
                                    : fhist_sub(&arena, x, y, &got, &notes);

        CHECK_INT(rc, sums[i].want ? 0 : RC_EXECUTION);
        CHECK_INT(notes, sums[i].notes);
        if (sums[i].want)
            check_hist(got, sums[i].want);
        else
            CHECK(got == NULL);
        check_hist(x, sums[i].x); /* inputs stay as they were */
        check_hist(y, sums[i].y);
    }
}

TEST(mul_and_div_scale_every_count)
{
#define MUL_DIV                                                                                    \
    "{{schema:0 count:30 sum:33 z_bucket:3 z_bucket_w:0.001 buckets:[3 3 3] n_buckets:[6 6 6]}}"
    struct histogram *h = parse(MUL_DIV);

    check_hist(fhist_mul(&arena, h, 3), "{{schema:0 count:90 sum:99 z_bucket:9 z_bucket_w:0.001 "
                                        "buckets:[9 9 9] n_buckets:[18 18 18]}}");
    check_hist(fhist_mul(&arena, h, -1), "{{schema:0 count:-30 sum:-33 z_bucket:-3 "
                                         "z_bucket_w:0.001 buckets:[-3 -3 -3] n_buckets:[-6 -6 -6] "
                                         "counter_reset_hint:gauge}}");
    check_hist(fhist_mul(&arena, h, 0), "{{schema:0 z_bucket_w:0.001}}");
    check_hist(fhist_div(&arena, h, 3), "{{schema:0 count:10 sum:11 z_bucket:1 z_bucket_w:0.001 "
                                        "buckets:[1 1 1] n_buckets:[2 2 2]}}");
    check_hist(fhist_div(&arena, h, 0),
               "{{schema:0 count:Inf sum:Inf z_bucket_w:0.001 z_bucket:Inf}}");
    check_hist(fhist_div(&arena, fhist_mul(&arena, h, 0), 0),
               "{{schema:0 count:NaN sum:NaN z_bucket_w:0.001 z_bucket:NaN}}");
    check_hist(h, MUL_DIV);
}

enum { SERIES_MAX = 8 };
static const struct {
    const char *in[SERIES_MAX];
    const char *sum, *mean;
    unsigned notes;
} series[] = {
    {{"{{schema:0 count:25 sum:3.1 z_bucket:4 z_bucket_w:0.001 buckets:[1 2 0 1 1] n_buckets:[2 4 "
      "0 0 1 9]}}",
      "{{schema:0 count:41 sum:1e100 z_bucket:5 z_bucket_w:0.001 buckets:[1 3 1 2 1 1 1] "
      "n_buckets:[0 1 4 2 7 0 0 0 0 5 5 2]}}",
      "{{schema:0 count:41 sum:-1e100 z_bucket:5 z_bucket_w:0.001 buckets:[1 3 1 2 1 1 1] "
      "n_buckets:[0 1 4 2 7 0 0 0 0 5 5 2]}}",
      "{{schema:1 count:0 sum:1.3 z_bucket:3 z_bucket_w:0.001 buckets:[2 4 2 3 2 2] n_buckets:[1 2 "
      "5 3 8 1 1 1 1 6 3]}}"},
     "{{schema:0 count:107 sum:4.4 z_bucket:17 z_bucket_w:0.001 buckets:[5 14 7 7 3 2 2] "
     "n_buckets:[3 13 19 6 17 18 0 0 0 10 10 4]}}",
     "{{schema:0 count:26.75 sum:1.1 z_bucket:4.25 z_bucket_w:0.001 buckets:[1.25 3.5 1.75 1.75 "
     "0.75 0.5 0.5] n_buckets:[0.75 3.25 4.75 1.5 "
     "4.25 4.5 0 0 0 2.5 2.5 1]}}",
     0},
    {{"{{schema:0 count:25 sum:1234.5 z_bucket:4 z_bucket_w:0.001 buckets:[1 2 0 1 1] n_buckets:[2 "
      "4 0 0 1 9]}}",
      "{{schema:0 count:41 sum:2345.6 z_bucket:5 z_bucket_w:0.001 buckets:[1 3 1 2 1 1 1] "
      "n_buckets:[0 1 4 2 7 0 0 0 0 5 5 2]}}",
      "{{schema:0 count:41 sum:1111.1 z_bucket:5 z_bucket_w:0.001 buckets:[1 3 1 2 1 1 1] "
      "n_buckets:[0 1 4 2 7 0 0 0 0 5 5 2]}}",
      "{{schema:1 count:0}}"},
     "{{schema:0 count:107 sum:4691.2 z_bucket:14 z_bucket_w:0.001 buckets:[3 8 2 5 3 2 2] "
     "n_buckets:[2 6 8 4 15 9 0 0 0 10 10 4]}}",
     "{{schema:0 count:26.75 sum:1172.8 z_bucket:3.5 z_bucket_w:0.001 buckets:[0.75 2 0.5 1.25 "
     "0.75 0.5 0.5] n_buckets:[0.5 1.5 2 1 3.75 2.25 0 "
     "0 0 2.5 2.5 1]}}",
     0},
    {{"{{count:1 sum:5.3}}", "{{count:2 sum:1e100}}", "{{count:3 sum:1}}", "{{count:4 sum:-1e100}}",
      "{{count:5 sum:2}}", "{{count:6 sum:1e50}}", "{{count:7 sum:-1e50}}"},
     "{{count:28 sum:8.3}}",
     "{{count:4 sum:1.1857142857142857}}",
     0},
    {{"{{count:1.7976931348623157e+308 sum:5.3}}", "{{count:1e308 sum:1e100}}",
      "{{count:1e-6 sum:-1e100}}", "{{count:1e-6 sum:1}}", "{{count:1e-6 sum:1e100}}",
      "{{count:1e-6 sum:-1e100}}", "{{count:1e-6 sum:0}}"},
     "{{count:Inf sum:6.3}}",
     "{{count:3.9967044783747367e+307 sum:0.9}}",
     0},
    {{"{{schema:0 count:1.7976931348623157e+308 sum:5.30921651659898 z_bucket:1.78264e50 "
      "z_bucket_w:0.001 buckets:[1.78264E+50 1.78264E+215 "
      "1.78264E+219 3363.5121756487] n_buckets:[1178.20696291113 731.697776280323 715.201503759399 "
      "1386.11378876781 855.572553278132]}}",
      "{{schema:0 count:1e308 sum:0.961118537914768 z_bucket:0.76342771 z_bucket_w:0.001 "
      "buckets:[0.76342771 0.76342771 0.76342771 "
      "195.70084087969] n_buckets:[421.30382970055 0 450441.779]}}",
      "{{schema:0 count:1e-6 sum:1.62091361305318 z_bucket:1.9592258 z_bucket_w:0.001 "
      "buckets:[1.9592258 1.9592258 1.9592258 1135.74692279] "
      "n_buckets:[0 4504.41779 588.599358265103 40.3760942760943]}}",
      "{{schema:0 count:1e-6 sum:0.865089463758091 z_bucket:7.69805412 z_bucket_w:0.001 "
      "buckets:[2.258E+220 2.258E+220 2.3757689E+217 "
      "1078.68071312804] n_buckets:[349.905284031261 0 0 0.161173466838949 588.599358]}}",
      "{{schema:0 count:1e-6 sum:0.323055185914577 z_bucket:458.90154 z_bucket_w:0.001 "
      "buckets:[7.69805412 7.69805412 2.258E+220 "
      "3173.28218135701]}}",
      "{{schema:0 count:1e-6 sum:0.951811357687154 z_bucket:1.78264e50 z_bucket_w:0.001 "
      "buckets:[458.90154 458.90154 7.69805412 2178.35] "
      "n_buckets:[2054.92644438789 844.560108898123]}}",
      "{{schema:0 count:1e-6 sum:0 z_bucket:5 z_bucket_w:0.001 buckets:[0 0 1.78264E+219 "
      "376.770478890989]}}",
      "{{schema:0 count:1e-6 sum:0 z_bucket:0 z_bucket_w:0.001 buckets:[0 0 458.90154 250325.5] "
      "n_buckets:[0 0.0000000011353 0 608.697257]}}"},
     NULL,
     "{{schema:0 count:3.497116418577895e+307 sum:1.2539005843658437 z_bucket:4.4566e49 "
     "z_bucket_w:0.001 buckets:[2.8225e+219 2.822522283e+219 "
     "3.271129711125e+219 32728.442914086805] n_buckets:[500.5428151288539 760.0844593974477 "
     "56468.19748275306 254.4185391888429 "
     "180.5214889097665]}}",
     0},
    {{"{{schema:3 sum:5 count:4 buckets:[1 2 1]}}"},
     "{{schema:3 sum:5 count:4 buckets:[1 2 1]}}",
     "{{schema:3 sum:5 count:4 buckets:[1 2 1]}}",
     0},
    {{"{{schema:-53 sum:1 count:1 custom_values:[5] buckets:[1]}}",
      "{{schema:-53 sum:1 count:1 custom_values:[5] buckets:[1]}}",
      "{{schema:-53 sum:1 count:1 custom_values:[5 10] buckets:[1]}}"},
     "{{schema:-53 count:3 sum:3 custom_values:[5] buckets:[3]}}",
     "{{schema:-53 count:1 sum:1 custom_values:[5] buckets:[1]}}",
     FHIST_NOTE_BOUNDS_RECONCILED},
    {{"{{schema:-53 sum:1 count:1 custom_values:[5 10] buckets:[1]}}",
      "{{schema:-53 sum:15 count:2 custom_values:[5 10] buckets:[0 2]}}"},
     "{{schema:-53 sum:16 count:3 custom_values:[5 10] buckets:[1 2]}}",
     "{{schema:-53 sum:8 count:1.5 custom_values:[5 10] buckets:[0.5 1]}}",
     0},
    {{"{{count:4 counter_reset_hint:not_reset}}", "{{count:4 counter_reset_hint:gauge}}"},
     "{{count:8 counter_reset_hint:gauge}}",
     "{{count:4 counter_reset_hint:gauge}}",
     0},
    {{"{{count:4 counter_reset_hint:unknown}}", "{{count:4 counter_reset_hint:reset}}",
      "{{count:4 counter_reset_hint:not_reset}}"},
     "{{count:12 counter_reset_hint:unknown}}",
     "{{count:4 counter_reset_hint:unknown}}",
     FHIST_NOTE_RESET_COLLISION},
};

TEST(sums_and_means_are_compensated)
{
    for (size_t i = 0; i < ARRAY_LEN(series); i++) {
        struct fhist_sum sum = {0};
        struct fhist_mean mean = {0};
        unsigned notes = 0, mean_notes = 0;

        for (size_t j = 0; j < SERIES_MAX && series[i].in[j]; j++) {
            CHECK_INT(fhist_sum_add(&arena, &sum, parse(series[i].in[j]), &notes), 0);
            CHECK_INT(fhist_mean_add(&arena, &mean, parse(series[i].in[j]), &mean_notes), 0);
        }
        if (series[i].sum)
            check_hist(fhist_sum_result(&arena, &sum), series[i].sum);
        check_hist(fhist_mean_result(&arena, &mean), series[i].mean);
        CHECK_INT(notes, series[i].notes);
        CHECK_INT(mean_notes, series[i].notes);
    }
}

TEST(a_sum_refuses_a_mix_and_stays_as_it_was)
{
    struct fhist_sum sum = {0};
    struct fhist_mean mean = {0};
    struct histogram *exponential = parse(SINGLE), *custom = parse(CBH);

    CHECK(fhist_sum_result(&arena, &sum) == NULL);
    CHECK_INT(fhist_sum_add(&arena, &sum, exponential, NULL), 0);
    CHECK_INT(fhist_sum_add(&arena, &sum, custom, NULL), RC_EXECUTION);
    check_hist(fhist_sum_result(&arena, &sum), SINGLE);
    CHECK_INT(fhist_mean_add(&arena, &mean, custom, NULL), 0);
    CHECK_INT(fhist_mean_add(&arena, &mean, exponential, NULL), RC_EXECUTION);
    check_hist(fhist_mean_result(&arena, &mean), CBH);
}

TEST(a_sum_over_many_samples_needs_no_more_memory)
{
    struct fhist_sum sum = {0};
    struct arena small;
    struct histogram *out;

    arena_init(&small, 64 << 10);
    for (int i = 0; i < 100000; i++)
        CHECK_INT(fhist_sum_add(&small, &sum, parse(i == 0 ? SINGLE : BOTH), NULL), 0),
            arena_reset(&arena);
    out = fhist_sum_result(&small, &sum);
    CHECK(out && out->count.f == 4 + 24 * 99999.0);
    arena_fini(&small);
}

TEST(results_report_a_spent_budget)
{
    struct histogram *x = parse(BOTH), *out = NULL;
    struct arena tiny;

    arena_init(&tiny, 64);
    CHECK_INT(fhist_add(&tiny, x, x, &out, NULL), RC_NOMEM);
    CHECK(out == NULL);
    CHECK(fhist_mul(&tiny, x, 2) == NULL);
    CHECK(fhist_trim(&tiny, x, 1, true) == NULL);
    CHECK(fhist_compact(&tiny, x, 0) == NULL);
    arena_fini(&tiny);
}

static const struct {
    const char *prev, *h;
    bool want;
} resets[] = {
    {SINGLE, SINGLE, false},
    {"{{count:4 buckets:[1 2 1]}}", "{{count:5 buckets:[1 1 3]}}", true},
    {"{{count:4 buckets:[1 2 1]}}", "{{count:5 buckets:[1 2 2]}}", false},
    {"{{count:5}}", "{{count:4}}", true},
    {"{{count:5}}", "{{count:4 counter_reset_hint:not_reset}}", false},
    {"{{count:4}}", "{{count:5 counter_reset_hint:reset}}", true},
    {"{{count:4}}", "{{count:5 counter_reset_hint:gauge}}", false},
    {"{{count:1 buckets:[1]}}", "{{count:2 offset:1 buckets:[2]}}", true}, /* a bucket is gone */
    {"{{count:1 buckets:[1 0]}}", "{{count:2 buckets:[2]}}",
     false}, /* an empty one is not missed */
    {"{{count:1 buckets:[0]}}", "{{count:2}}", false},
    {"{{schema:0 count:1 buckets:[1]}}", "{{schema:1 count:2 buckets:[2]}}", true},
    {"{{schema:1 count:2 offset:1 buckets:[1 1]}}", "{{schema:0 count:3 offset:1 buckets:[2]}}",
     false},
    {"{{schema:1 count:2 offset:1 buckets:[1 1]}}", "{{schema:0 count:3 offset:1 buckets:[1]}}",
     true},
    {"{{count:1 z_bucket:1 z_bucket_w:1}}", "{{count:2 z_bucket:2 z_bucket_w:0.5}}", true},
    {"{{count:2 z_bucket:1 z_bucket_w:0.25 offset:-1 buckets:[1]}}",
     "{{count:2 z_bucket:2 z_bucket_w:0.5}}", false},
    {"{{count:2 z_bucket:1 z_bucket_w:0.25 offset:-1 buckets:[1]}}",
     "{{count:2 z_bucket:1 z_bucket_w:0.5}}", true},
    {"{{count:2 z_bucket:1 z_bucket_w:0.25 buckets:[1]}}", "{{count:3 z_bucket:3 z_bucket_w:0.75}}",
     true}, /* cuts (0.5,1] */
    {"{{count:1 n_buckets:[1]}}", "{{count:1 buckets:[1]}}", true},
    {"{{count:1 buckets:[1]}}", "{{schema:-53 count:1 custom_values:[5] buckets:[1]}}", true},
    {"{{schema:-53 count:1 custom_values:[5] buckets:[1]}}", "{{count:1 buckets:[1]}}", true},
    {"{{schema:-53 count:15 custom_values:[2 4 6] buckets:[1 2 5 7]}}",
     "{{schema:-53 count:15 custom_values:[2 3 4 6] buckets:[1 0 1 5 8]}}", true},
    {"{{schema:-53 count:15 custom_values:[2 4 6] buckets:[1 2 5 7]}}",
     "{{schema:-53 count:16 custom_values:[2 3 4 6] buckets:[1 1 1 5 8]}}", false},
    {"{{schema:-53 count:1 custom_values:[5] buckets:[1]}}",
     "{{schema:-53 count:1 custom_values:[5 10] buckets:[1]}}", false},
};

TEST(reset_detection_looks_at_every_bucket)
{
    for (size_t i = 0; i < ARRAY_LEN(resets); i++)
        if (fhist_detect_reset(parse(resets[i].h), parse(resets[i].prev)) != resets[i].want)
            fail_msg("from %s to %s: want %d", resets[i].prev, resets[i].h, resets[i].want);
}

static const struct {
    const char *a, *b;
    bool eq, exact;
} equals[] = {
    {SINGLE, SINGLE, true, true},
    {"{{buckets:[1 0 2]}}", "{{buckets:[1 0 2 0]}}", true, false},
    {"{{buckets:[0 1]}}", "{{offset:1 buckets:[1]}}", true, false},
    {"{{sum:NaN}}", "{{sum:NaN}}", true, true},
    {"{{sum:0}}", "{{sum:-0}}", false, false},
    {"{{buckets:[1]}}", "{{n_buckets:[1]}}", false, false},
    {"{{z_bucket_w:0.5}}", "{{z_bucket_w:0.25}}", false, false},
    {"{{counter_reset_hint:gauge}}", "{{}}", true, true},
    {"{{schema:-53 custom_values:[2] buckets:[1]}}",
     "{{schema:-53 custom_values:[5 10] buckets:[1]}}", false, false},
    {"{{schema:1 buckets:[1]}}", "{{schema:0 buckets:[1]}}", false, false},
};

TEST(equality_ignores_hints_and_optionally_empty_buckets)
{
    for (size_t i = 0; i < ARRAY_LEN(equals); i++) {
        CHECK_INT(fhist_eq(parse(equals[i].a), parse(equals[i].b)), equals[i].eq);
        CHECK_INT(fhist_eq_exact(parse(equals[i].a), parse(equals[i].b)), equals[i].exact);
    }
}

/* As Prometheus shows them, to the last bit. */
static const struct {
    int32_t schema, index;
    double want;
} bounds[] = {
    {0, 0, 1},
    {0, 1, 2},
    {0, -1, 0.5},
    {-1, 1, 4},
    {-4, 1, 65536},
    {-4, -1, 0x1p-16},
    {1, 1, 2 * 0.7071067811865475},
    {1, -1, 0.7071067811865475},
    {2, -1, 0.8408964152537144},
    {3, -1, 0.9170040432046711},
    {3, -6, 0.5946035575013605},
    {4, -1, 0.9576032806985735},
    {5, -1, 0.9785720620876999},
    {6, -10, 0.8973545375015533},
    {7, -2, 0.9892280131939752},
    {8, -1, 0.9972960560854698},
    {8, -255, 0.5013556375251013},
    {8, -127, 0.7090239421602076},
    {8, 256, 2},
    {8, 1 - 256, 0.5013556375251013},
    {0, 1024, DBL_MAX},
    {0, 1025, INFINITY},
    {-1, 512, DBL_MAX},
    {-1, 513, INFINITY},
    {8, 1024 * 256, DBL_MAX},
    {8, 1024 * 256 + 1, INFINITY},
    {0, -1074, 0x1p-1074},
    {0, -1080, 0},
    {-4, HIST_INDEX_MAX, INFINITY},
    {-4, -HIST_INDEX_MAX, 0},
    {8, HIST_INDEX_MAX, INFINITY},
};

TEST(bounds_have_the_bits_of_prometheus)
{
    for (size_t i = 0; i < ARRAY_LEN(bounds); i++)
        if (fhist_bound(bounds[i].schema, bounds[i].index) != bounds[i].want)
            fail_msg("schema %d index %d: want %.17g got %.17g", bounds[i].schema, bounds[i].index,
                     bounds[i].want, fhist_bound(bounds[i].schema, bounds[i].index));
}

TEST(bounds_of_coarse_schemas_are_bounds_of_fine_ones)
{
    for (int32_t schema = HIST_SCHEMA_MIN; schema < HIST_SCHEMA_MAX; schema++)
        for (int32_t i = -300; i < 300; i++) {
            CHECK(fhist_bound(schema, i) == fhist_bound(schema + 1, 2 * i));
            CHECK(fhist_bound(schema, i) < fhist_bound(schema, i + 1) ||
                  isinf(fhist_bound(schema, i)) || fhist_bound(schema, i + 1) == 0);
        }
}

static void check_text(void (*print)(struct buf *, const struct histogram *),
                       const struct histogram *h, const char *want)
{
    struct buf out;

    buf_init(&out, 1 << 20);
    print(&out, h);
    buf_char(&out, '\0');
    CHECK(buf_ok(&out));
    CHECK_STR(out.p, want);
    buf_fini(&out);
}

TEST(printing_follows_prometheus)
{
    struct histogram *h =
        parse("{{count:9 sum:-1.5e9 z_bucket:1 z_bucket_w:0.001 buckets:[1 0 2] n_buckets:[3 2]}}");

    check_text(
        fhist_print, h,
        "{count:9, sum:-1.5e+09, [-2,-1):2, [-1,-0.5):3, [-0.001,0.001]:1, (0.5,1]:1, (2,4]:2}");
    check_text(fhist_print_json, h,
               "{\"count\":\"9\",\"sum\":\"-1500000000\",\"buckets\":[[1,\"-2\",\"-1\",\"2\"],[1,"
               "\"-1\",\"-0.5\",\"3\"],"
               "[3,\"-0.001\",\"0.001\",\"1\"],[0,\"0.5\",\"1\",\"1\"],[0,\"2\",\"4\",\"2\"]]}");
    check_text(
        fhist_print_text, h,
        "{{count:9 sum:-1.5e+09 z_bucket:1 z_bucket_w:0.001 buckets:[1 0 2] n_buckets:[3 2]}}");
    h = parse("{{schema:-53 sum:NaN count:3 custom_values:[-5 10] buckets:[1 1 1] "
              "counter_reset_hint:gauge}}");
    check_text(fhist_print, h, "{count:3, sum:NaN, [-Inf,-5]:1, (-5,10]:1, (10,+Inf]:1}");
    check_text(fhist_print_json, h,
               "{\"count\":\"3\",\"sum\":\"NaN\",\"buckets\":[[3,\"-Inf\",\"-5\",\"1\"],[0,\"-5\","
               "\"10\",\"1\"],[0,\"10\",\"+Inf\",\"1\"]]}");
    check_text(fhist_print_text, h,
               "{{schema:-53 count:3 sum:NaN custom_values:[-5 10] counter_reset_hint:gauge "
               "buckets:[1 1 1]}}");
    check_text(fhist_print, parse("{{}}"), "{count:0, sum:0}");
    check_text(fhist_print_json, parse("{{}}"), "{\"count\":\"0\",\"sum\":\"0\"}");
    check_text(fhist_print_text, parse("{{ }}"), "{{}}");
    check_text(fhist_print_text, parse("{{schema:-53}}"), "{{schema:-53 custom_values:[]}}");
    /* A bucket that reaches into the zero bucket is cut in JSON only. */
    h = parse("{{count:2 z_bucket:1 z_bucket_w:0.75 buckets:[1]}}");
    check_text(fhist_print, h, "{count:2, sum:0, [-0.75,0.75]:1, (0.5,1]:1}");
    check_text(fhist_print_json, h,
               "{\"count\":\"2\",\"sum\":\"0\",\"buckets\":[[3,\"-0.75\",\"0.75\",\"1\"],[0,\"0."
               "75\",\"1\",\"1\"]]}");
}

TEST(a_text_of_far_buckets_fails_instead_of_growing)
{
    struct histogram *x = parse("{{offset:-10000000 buckets:[1]}}"),
                     *y = parse("{{offset:10000000 buckets:[1]}}"), *sum = NULL;
    struct buf out;

    CHECK_INT(fhist_add(&arena, x, y, &sum, NULL), 0);
    buf_init(&out, 1 << 20);
    fhist_print_text(&out, sum);
    CHECK(!buf_ok(&out));
    buf_fini(&out);
}

static const char *const bad_texts[] = {
    "foo:1",
    "schema:1 schema:1",
    "count :1",
    "count: 1",
    "count:",
    "count:x",
    "count:1 2",
    "buckets:[ 1",
    "buckets:1",
    "buckets:[1 0x2]",
    "schema:9",
    "schema:-5",
    "schema:1.5",
    "schema:-53 n_buckets:[1]",
    "count:1sum:2",
    "offset:99999999",
    "counter_reset_hint:no",
    "z_bucket_w:-1",
    "z_bucket_w:NaN",
    "buckets:[1]x",
    "count:1__0",
    "schema:-53 buckets:[1 2]",
    "schema:-53 custom_values:[1] offset:-1 buckets:[1 2]",
    "count:--1",
    "count:_1",
    "schema:-53 custom_values:[2 1]",
    "schema:-53 custom_values:[1 NaN]",
    "schema:-53 custom_values:[1 Inf]",
    "custom_values:[1]",
};

TEST(bad_texts_are_refused_with_a_reason)
{
    for (size_t i = 0; i < ARRAY_LEN(bad_texts); i++) {
        struct histogram *h = NULL;
        struct err err = {0};

        if (fhist_parse_text(&arena, str_of(bad_texts[i]), &h, &err) != RC_INVALID)
            fail_msg("accepted: %s", bad_texts[i]);
        CHECK(h == NULL);
        CHECK(err_text(&err)[0] != '\0');
    }
}

TEST(texts_take_every_number_form)
{
    struct histogram *h =
        parse("{{count:+1_000 sum:-.5e1 buckets:[Inf -iNf nan 5.]\tn_offset:-5  n_buckets:[4.1]}}");

    CHECK(h->count.f == 1000 && h->sum == -5 && isinf(h->pos.f[0]) && h->pos.f[1] == -INFINITY &&
          isnan(h->pos.f[2]) && h->pos.f[3] == 5);
    CHECK_INT(h->neg.spans[0].offset, -5);
    CHECK(fhist_text_gives_hint(STR("count:1 counter_reset_hint:unknown")) &&
          !fhist_text_gives_hint(STR("count:1")));
}

TEST(integers_become_floats)
{
    static const struct hist_span span = {2, 2};
    static const uint64_t counts[] = {1, 3};
    struct histogram i = {.hint = HIST_HINT_RESET,
                          .schema = 1,
                          .zero_threshold = 0.5,
                          .sum = 7,
                          .count.i = 5,
                          .zero_count.i = 1,
                          .pos = {.spans = &span, .span_count = 1, .bucket_count = 2, .i = counts}};
    const struct histogram *f;

    (void)parse("{{}}");
    f = fhist_of(&arena, &i);
    check_hist(f, "{{schema:1 z_bucket_w:0.5 z_bucket:1 sum:7 count:5 offset:2 buckets:[1 3] "
                  "counter_reset_hint:reset}}");
    CHECK(fhist_of(&arena, f) == f);
    check_hist(fhist_reduce(&arena, f, 0),
               "{{schema:0 z_bucket_w:0.5 z_bucket:1 sum:7 count:5 offset:1 buckets:[1 3]}}");
    check_hist(fhist_dup(&arena, f),
               "{{schema:1 z_bucket_w:0.5 z_bucket:1 sum:7 count:5 offset:2 buckets:[1 3]}}");
}
