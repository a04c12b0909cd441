#include "promql/kernels.h"

#include <float.h>
#include <math.h>
#include <stdint.h>

/* For wider registers where the machine has them. Without fused multiply-add: results are the same to the bit. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define VECTORS __attribute__((target_clones("avx2", "default")))
#else
#define VECTORS
#endif

VECTORS void kernel_sum(double *restrict sum, double *restrict c, const double *restrict v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double s = sum[i], x = v[i], t = s + x, a = (s - t) + x, b = (x - t) + s, low = fabs(s) >= fabs(x) ? a : b, k = c[i] + low;

        c[i] = fabs(t) > DBL_MAX ? 0 : k;
        sum[i] = t;
    }
}

VECTORS bool kernel_overflows(const double *restrict sum, const double *restrict v, size_t n)
{
    int64_t over = 0;

    for (size_t i = 0; i < n; i++)
        over |= fabs(sum[i] + v[i]) > DBL_MAX;
    return over;
}

VECTORS void kernel_min(double *restrict least, const double *restrict v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double m = least[i], x = v[i];

        least[i] = ((m > x) | (m != m)) ? x : m;
    }
}

VECTORS void kernel_max(double *restrict most, const double *restrict v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double m = most[i], x = v[i];

        most[i] = ((m < x) | (m != m)) ? x : m;
    }
}
