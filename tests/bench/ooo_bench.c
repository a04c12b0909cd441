/* Late samples into one window of one series, in random order and newest first: CPU time per sample as their number grows. */
#include "common/base/bytes.h"
#include "common/base/rng.h"
#include "tsdb/head.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void run(uint32_t n, bool shuffled)
{
    struct label l = {STR("a"), STR("b")};
    struct labels ls = {&l, 1};
    struct append_rules rules = {.ooo_window_ms = 3600 * 1000};
    struct head *h = head_new();
    struct head_series *s = NULL;
    int64_t t0 = 1700006400000LL;
    uint32_t *order = malloc(n * sizeof *order);
    struct rng r;
    double start;

    rng_init(&r, 1);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t k = shuffled ? (uint32_t)(rng_u64(&r) % (i + 1)) : i;

        order[i] = order[k];
        order[k] = shuffled ? i : n - 1 - i;
    }
    head_lock(h);
    ASSERT(head_create(h, STR("t"), labels_fingerprint(STR("t"), &ls), &ls, &s, NULL) == 0);
    ASSERT(head_append(h, s, t0 + 1000000, 0, 0, &rules) == APPEND_ACCEPTED);
    start = cpu_seconds();
    for (uint32_t i = 0; i < n; i++)
        ASSERT(head_append(h, s, t0 + order[i] * 5, double_bits(i), 0, &rules) == APPEND_ACCEPTED);
    printf("%-9s %7u samples: %6.3f s, %5.2f us each\n", shuffled ? "shuffled" : "backwards", n, cpu_seconds() - start,
           (cpu_seconds() - start) / n * 1e6);
    head_unlock(h);
    head_free(h);
    free(order);
}

int main(void)
{
    for (int shuffled = 0; shuffled < 2; shuffled++)
        for (uint32_t n = 12500; n <= 200000; n *= 2)
            run(n, shuffled);
    return 0;
}
