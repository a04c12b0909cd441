/* What a head image costs: 300,000 series (or argv[1]) of 9 labels with 20 samples (or argv[2]) each, four windows at most. CPU nanoseconds of a series for the first
 * image, for later ones, and for loading; bytes of a series on disk; the longest slice under the lock. */
#include "common/base/rng.h"
#include "common/sys/fs.h"
#include "tsdb/head_image.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { INTERVAL_MS = 15000, LABELS = 9, PER_HOST = 500 };
#define T0 1700006400000LL

static int64_t cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void series_make(struct head *h, uint32_t i, fingerprint *ret)
{
    static const char *const names[LABELS] = {"__name__", "cluster", "container", "instance", "job", "namespace", "node", "pod", "zone"};
    char values[LABELS][48];
    struct label v[LABELS];
    struct labels ls = {v, LABELS};
    struct head_series *s;

    snprintf(values[0], sizeof values[0], "bench_metric_with_a_long_name_%u_total", i % PER_HOST);
    snprintf(values[1], sizeof values[1], "cluster-%u", i / PER_HOST % 3);
    snprintf(values[2], sizeof values[2], "container-%u", i % 7);
    snprintf(values[3], sizeof values[3], "10.0.%u.%u:9100", i / PER_HOST / 250, i / PER_HOST % 250);
    snprintf(values[4], sizeof values[4], "job-%u", i / PER_HOST % 20);
    snprintf(values[5], sizeof values[5], "namespace-%u", i % 11);
    snprintf(values[6], sizeof values[6], "node-%u", i / PER_HOST);
    snprintf(values[7], sizeof values[7], "pod-%u", i);
    snprintf(values[8], sizeof values[8], "zone-%u", i % 3);
    for (int k = 0; k < LABELS; k++)
        v[k] = (struct label){str_of(names[k]), str_of(values[k])};
    *ret = labels_fingerprint(STR("bench"), &ls);
    if (head_create(h, STR("bench"), *ret, &ls, &s, NULL) < 0)
        abort();
}

static bool log_end(void *arg, struct wal_position *ret)
{
    (void)arg;
    *ret = (struct wal_position){1, 48};
    return true;
}

static int log_sync(void *arg, struct err *err)
{
    (void)arg;
    (void)err;
    return 0;
}

static int record(void *arg, enum wal_type type, struct str payload, int64_t *t, struct err *err)
{
    (void)arg;
    (void)type;
    (void)payload;
    (void)t;
    (void)err;
    return 0;
}

static void image(struct head_imager *im, struct head *h, const char *name)
{
    struct head_image_stats st;
    struct err err;
    int64_t begin = cpu_ns();

    if (head_image_write(im, h, &(struct head_image_source){log_end, log_sync, NULL, NULL}, &st, &err) < 0) {
        fprintf(stderr, "%s\n", err_log(&err));
        exit(1);
    }
    printf("%-12s %6.0f ns and %5.0f B a series, longest slice %6.0f us\n", name, (double)(cpu_ns() - begin) / (double)st.series, (double)st.bytes / (double)st.series,
           (double)st.lock_ns_max / 1000);
}

static void load(const char *dir, uint64_t number, uint32_t n)
{
    struct head *h = head_new();
    struct head_imager *im;
    struct head_image ret;
    struct err err;
    int64_t begin = cpu_ns();

    if (head_image_load(&(struct head_image_load_cfg){dir, 0, record, NULL, NULL}, number, h, &ret, &im, &err) < 0) {
        fprintf(stderr, "%s\n", err_log(&err));
        exit(1);
    }
    printf("%-12s %6.0f ns a series\n", "load", (double)(cpu_ns() - begin) / n);
    head_image_fini(&ret);
    head_imager_free(im);
    head_free(h);
}

int main(int argc, char **argv)
{
    uint32_t n = argc > 1 ? (uint32_t)atol(argv[1]) : 300000, rounds = argc > 2 ? (uint32_t)atol(argv[2]) : 20;
    fingerprint *fps = malloc(n * sizeof *fps);
    struct head *h = head_new();
    struct head_imager *im;
    char dir[] = "/tmp/image-bench-XXXXXX";
    struct rng rng;

    if (!mkdtemp(dir) || !fps)
        abort();
    rng_init(&rng, 1);
    head_lock(h);
    for (uint32_t i = 0; i < n; i++)
        series_make(h, i, &fps[i]);
    im = head_imager_new(&(struct head_imager_cfg){dir, 0, 1});
    for (uint32_t r = 0; r < rounds; r++) {
        for (uint32_t i = 0; i < n; i++)
            head_replay(h, head_find(h, STR("bench"), fps[i]), T0 + (int64_t)r * INTERVAL_MS, double_bits((double)(r * 10 + rng_below(&rng, 5))), 0);
        if (r == rounds / 2) {
            head_unlock(h);
            image(im, h, "first image");
            head_lock(h);
        }
    }
    head_unlock(h);
    image(im, h, "next image");
    image(im, h, "another");
    load(dir, 3, n);
    head_imager_free(im);
    head_free(h);
    free(fps);
    return fs_remove_tree(dir, NULL) < 0;
}
