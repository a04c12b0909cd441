/* kahan.h - compensated summation, as Prometheus sums. */
#pragma once
#include <math.h>

/* Neumaier's improved Kahan-Babuska summation: *c collects what *sum lost; an infinite sum has lost nothing. */
static inline void kahan_add(double x, double *sum, double *c)
{
    double t = *sum + x;

    if (isinf(t))
        *c = 0;
    else if (fabs(*sum) >= fabs(x))
        *c += (*sum - t) + x;
    else
        *c += (x - t) + *sum;
    *sum = t;
}
