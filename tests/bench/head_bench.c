/* Memory per series and time per append of a head: 100,000 series of 9 labels (or argv[1] series),
 * as one agent per host sends them. Prints the growth of resident memory after 20 samples each, how
 * the head accounts for it, and ns per append of known series in an order that changes each round,
 * so that every series is a cache miss. The second half hour crosses the end of every window. */
#include "common/base/rng.h"
#include "common/obs/memory.h"
#include "tsdb/head.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#ifdef TORC_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif

enum { BATCH = 2000, INTERVAL_MS = 15000, WARM_ROUNDS = 20, PER_HOST = 500, LABELS = 9 };
#define T0 1700006400000LL

struct bench {
    struct head *h;
    size_t n;
    fingerprint *fps;
    uint32_t *order;
    double *value;
    int64_t now;
    struct rng rng;
};

/* Of this thread, so that a busy machine disturbs less. */
static int64_t cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* jemalloc returns freed pages after ten seconds, in which real samples would not even be one
 * round: done at once here. */
static void give_back(void)
{
#ifdef TORC_JEMALLOC
    char purge[64];

    snprintf(purge, sizeof purge, "arena.%d.purge", MALLCTL_ARENAS_ALL);
    if (mallctl(purge, NULL, NULL, NULL, 0) != 0)
        abort();
#endif
}

static size_t rss(void)
{
    unsigned long total, resident;
    FILE *f;

    give_back();
    f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%lu %lu", &total, &resident) != 2)
        abort();
    fclose(f);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void labels_make(size_t i, char text[LABELS][64], struct label v[LABELS], struct labels *ls)
{
    static const char *const names[LABELS] = {"__name__", "cluster", "device",    "env", "instance",
                                              "job",      "mode",    "namespace", "zone"};
    size_t host = i / PER_HOST, k = i % PER_HOST;

    snprintf(text[0], 64, "node_metric_%zu_total", k / 10);
    snprintf(text[1], 64, "eu-west-1-prod-%zu", host % 4);
    snprintf(text[2], 64, "eth%zu", k % 10);
    snprintf(text[3], 64, "production");
    snprintf(text[4], 64, "10.1.%zu.%zu:9100", host / 250, host % 250);
    snprintf(text[5], 64, "node-exporter");
    snprintf(text[6], 64, "mode-%zu", k % 7);
    snprintf(text[7], 64, "team-%zu", host % 17);
    snprintf(text[8], 64, "eu-west-1%c", (char)('a' + host % 3));
    for (int l = 0; l < LABELS; l++)
        v[l] = (struct label){str_of(names[l]), str_of(text[l])};
    *ls = (struct labels){v, LABELS};
}

/* Two fifths constant, two fifths counters, one fifth gauges with three decimals. */
static double next_value(struct bench *b, size_t i)
{
    if (i % 5 < 2)
        return b->value[i];
    if (i % 5 < 4)
        return b->value[i] += (double)rng_below(&b->rng, 1000);
    return (double)rng_below(&b->rng, 1000000) / 1000;
}

static void shuffle(struct bench *b)
{
    for (size_t i = b->n - 1; i > 0; i--) {
        size_t k = rng_below(&b->rng, i + 1);
        uint32_t x = b->order[i];

        b->order[i] = b->order[k];
        b->order[k] = x;
    }
}

static void create_all(struct bench *b)
{
    for (size_t i = 0; i < b->n; i++) {
        char text[LABELS][64];
        struct label v[LABELS];
        struct labels ls;
        struct head_series *s;

        labels_make(i, text, v, &ls);
        if (i % BATCH == 0)
            head_lock(b->h);
        if (head_create(b->h, STR("tenant-1"), b->fps[i], &ls, &s, NULL) < 0)
            abort();
        if (i % BATCH == BATCH - 1 || i + 1 == b->n)
            head_unlock(b->h);
    }
}

static void append_one(struct bench *b, struct head_series *s, double v)
{
    static const struct append_rules rules = {.ooo_window_ms = 600000};

    if (head_append(b->h, s, b->now, double_bits(v), 0, &rules) != APPEND_ACCEPTED)
        abort();
}

static void append_group(struct bench *b, const uint32_t *order, const double *values, size_t n)
{
    fingerprint fps[HEAD_FIND_GROUP];
    struct head_series *found[HEAD_FIND_GROUP];

    for (size_t i = 0; i < n; i++)
        fps[i] = b->fps[order[i]];
    head_find_many(b->h, STR("tenant-1"), fps, n, found);
    for (size_t i = 0; i < n; i++)
        append_one(b, found[i], values[i]);
}

/* One sample for each series. many: look them up in groups. */
static void append_round(struct bench *b, bool many, const double *values)
{
    size_t step = many ? HEAD_FIND_GROUP : 1;

    for (size_t from = 0; from < b->n; from += BATCH) {
        size_t end = MIN(b->n, from + BATCH);

        head_lock(b->h);
        for (size_t i = from; i < end; i += step) {
            if (many)
                append_group(b, b->order + i, values + i, MIN(step, end - i));
            else
                append_one(b, head_find(b->h, STR("tenant-1"), b->fps[b->order[i]]), values[i]);
        }
        head_unlock(b->h);
    }
    b->now += INTERVAL_MS;
}

/* ns per append over the rounds; making values and order is not counted. */
static double rounds(struct bench *b, int n, bool many, double *values)
{
    int64_t spent = 0;

    for (int r = 0; r < n; r++) {
        int64_t start;

        shuffle(b);
        for (size_t i = 0; i < b->n; i++)
            values[i] = next_value(b, b->order[i]);
        start = cpu_ns();
        append_round(b, many, values);
        spent += cpu_ns() - start;
    }
    return (double)spent / ((double)b->n * n);
}

static void print_memory(const struct bench *b, size_t grown)
{
    struct memory_account *a = memory_account_new();
    size_t all = 0;

    head_memory(b->h, a);
    printf("resident %zu B/series:", grown / b->n);
    for (int k = 0; k < MEMORY_KINDS; k++) {
        size_t bytes = memory_total(a, (enum memory_kind)k);

        all += bytes;
        if (bytes > b->n / 2)
            printf(" %s %.1f", memory_kind_name((enum memory_kind)k), (double)bytes / (double)b->n);
    }
    printf(", together %zu\n", all / b->n);
    memory_account_free(a);
}

static int count_series(void *arg, const struct stored_series *s)
{
    (void)s;
    ++*(size_t *)arg;
    return 0;
}

static void time_select(struct bench *b, const char *what, enum store_mode mode, struct matcher *m,
                        size_t n)
{
    struct store_select q = {.tenant = STR("tenant-1"),
                             .matchers = m,
                             .matcher_count = n,
                             .mint_ms = T0,
                             .maxt_ms = b->now,
                             .mode = mode};
    uint64_t cursor = 0;
    size_t count = 0;
    int64_t start = cpu_ns();

    if (head_select(b->h, &q, 0, SIZE_MAX, &cursor, count_series, &count, NULL) < 0)
        abort();
    printf("select %-28s %8zu series %8.2f ms\n", what, count, (double)(cpu_ns() - start) / 1e6);
}

static void selects(struct bench *b)
{
    struct matcher m[3];

    matcher_init(&m[0], MATCH_EQ, STR("__name__"), STR("node_metric_7_total"), NULL);
    matcher_init(&m[1], MATCH_EQ, STR("instance"), STR("10.1.0.7:9100"), NULL);
    matcher_init(&m[2], MATCH_RE, STR("instance"), STR("10\\.1\\.0\\.1.*"), NULL);
    time_select(b, "everything, labels", STORE_LABELS, NULL, 0);
    time_select(b, "everything, digests", STORE_DIGESTS, NULL, 0);
    time_select(b, "everything, data", STORE_DATA, NULL, 0);
    time_select(b, "name and instance, data", STORE_DATA, m, 2);
    m[1] = (matcher_fini(&m[1]), m[2]);
    time_select(b, "name and regex, data", STORE_DATA, m, 2);
    matcher_fini(&m[0]);
    matcher_fini(&m[1]);
}

int main(int argc, char **argv)
{
    struct bench b = {.n = argc > 1 ? strtoul(argv[1], NULL, 10) : 100000, .now = T0};
    double *values = xcalloc(b.n, sizeof *values);
    size_t before, grown;
    int64_t start;

    rng_init(&b.rng, 1);
    b.fps = xcalloc(b.n, sizeof *b.fps);
    b.order = xcalloc(b.n, sizeof *b.order);
    b.value = xcalloc(b.n, sizeof *b.value);
    for (size_t i = 0; i < b.n; i++) {
        b.fps[i] = (fingerprint){rng_u64(&b.rng), rng_u64(&b.rng)};
        b.order[i] = (uint32_t)i;
        b.value[i] = (double)rng_below(&b.rng, 100000);
        values[i] = 1;
    }
    before = rss();
    b.h = head_new();
    start = cpu_ns();
    create_all(&b);
    printf("create %.0f ns/series\n", (double)(cpu_ns() - start) / (double)b.n);
    rounds(&b, WARM_ROUNDS, false, values);
    grown = rss() - before;
    print_memory(&b, grown);
    printf("append, one lookup each   %6.1f ns\n", rounds(&b, 10, false, values));
    printf("append, lookups in groups %6.1f ns\n", rounds(&b, 10, true, values));
    printf("append over window ends   %6.1f ns\n", rounds(&b, 120, true, values));
    grown = rss() - before;
    print_memory(&b, grown);
    selects(&b);
    start = cpu_ns();
    head_lock(b.h);
    head_seal(b.h, b.now, 1);
    head_unlock(b.h);
    printf("seal %.2f ms\n", (double)(cpu_ns() - start) / 1e6);
    start = cpu_ns();
    head_drop(b.h, 1, b.now + 1);
    printf("drop all %.2f ms\n", (double)(cpu_ns() - start) / 1e6);
    head_free(b.h);
    return 0;
}
