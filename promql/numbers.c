/* numbers.c - sums and quantiles as Prometheus computes them. */
#include "promql/eval.h"

#include <stdlib.h>

enum { INSERTION_MAX = 48 };

uint64_t value_order(double v)
{
    uint64_t bits = double_bits(v);

    bits = bits >> 63 ? ~bits : bits | 1ULL << 63;
    return bits + (1ULL << 52) - 1; /* NaNs with a plus sign wrap around to the front; +Inf just does not */
}

static int value_cmp(const void *a, const void *b)
{
    uint64_t x = value_order(*(const double *)a), y = value_order(*(const double *)b);

    return (x > y) - (x < y);
}

void sort_values(double *v, size_t n)
{
    if (n > INSERTION_MAX) {
        qsort(v, n, sizeof *v, value_cmp);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        double x = v[i];
        uint64_t order = value_order(x);
        size_t k = i;

        for (; k > 0 && value_order(v[k - 1]) > order; k--)
            v[k] = v[k - 1];
        v[k] = x;
    }
}

/* Index of the first value that is not before x. */
static size_t value_lower(const double *v, size_t n, double x)
{
    uint64_t order = value_order(x);
    size_t lo = 0;

    while (n > 0) {
        size_t half = n / 2;

        if (value_order(v[lo + half]) < order) {
            lo += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return lo;
}

void sorted_add(double *v, size_t n, double x)
{
    size_t at = value_lower(v, n, x);

    memmove(v + at + 1, v + at, (n - at) * sizeof *v);
    v[at] = x;
}

void sorted_remove(double *v, size_t n, double x)
{
    size_t at = value_lower(v, n, x);

    ASSERT(at < n && double_bits(v[at]) == double_bits(x));
    memmove(v + at, v + at + 1, (n - at - 1) * sizeof *v);
}

/* Linear between the two values around rank q (n - 1). */
double quantile_sorted(double q, const double *v, size_t n)
{
    double rank, low, high, weight;

    if (n == 0 || isnan(q))
        return NAN;
    if (q < 0)
        return -INFINITY;
    if (q > 1)
        return INFINITY;
    rank = q * (double)(n - 1);
    low = fmax(0, floor(rank));
    high = fmin((double)(n - 1), low + 1);
    weight = rank - floor(rank);
    return v[(size_t)low] * (1 - weight) + v[(size_t)high] * weight;
}

/* Days since 1970 to year, month, day. Source: Howard Hinnant, chrono-compatible low-level date
 * algorithms. */
static void civil(int64_t days, int64_t *ret_y, int64_t *ret_m, int64_t *ret_d)
{
    int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;

    *ret_d = doy - (153 * mp + 2) / 5 + 1;
    *ret_m = mp < 10 ? mp + 3 : mp - 9;
    *ret_y = yoe + era * 400 + (*ret_m <= 2);
}

static bool leap(int64_t y)
{
    return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

static int64_t month_days(int64_t y, int64_t m)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return days[m - 1] + (m == 2 && leap(y));
}

static int64_t year_day(int64_t y, int64_t m, int64_t d)
{
    for (int64_t i = 1; i < m; i++)
        d += month_days(y, i);
    return d;
}

double date_part(enum function_id fn, int64_t unix_s)
{
    int64_t days = unix_s / 86400, second = unix_s % 86400, y, m, d;

    if (second < 0) {
        second += 86400;
        days--;
    }
    civil(days, &y, &m, &d);
    switch (fn) {
    case FN_MINUTE:
        return (double)(second / 60 % 60);
    case FN_HOUR:
        return (double)(second / 3600);
    case FN_DAY_OF_WEEK:
        return (double)(((days % 7) + 11) % 7); /* day 0 was a Thursday */
    case FN_DAY_OF_MONTH:
        return (double)d;
    case FN_DAY_OF_YEAR:
        return (double)year_day(y, m, d);
    case FN_DAYS_IN_MONTH:
        return (double)month_days(y, m);
    case FN_MONTH:
        return (double)m;
    default:
        ASSERT(fn == FN_YEAR);
        return (double)y;
    }
}
