/* Reading a push in the distributor, from the inflated body to rows: CPU ns a sample of Remote Write 1.0 and 2.0, series known and new. Nine labels,
 * about 250 bytes a series, one sample each.
 *   push_bench [series, default 100000] [series a request, default 2000] */
#include "common/base/rng.h"
#include "distributor/distributor_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { LABELS = 9, BODY_MAX = 64 << 20 };

struct world {
    struct distributor *d;
    struct dist_tenant *tenant;
    const struct limits *limits;
    int64_t now_ms;
};

/* --- bodies --- */

struct sender {
    char values[LABELS][64];
};
static const char *const names[LABELS] = {"__name__", "cluster", "container", "instance", "job", "namespace", "pod", "service", "zone"};

static void series_of(uint32_t i, struct sender *s)
{
    uint32_t target = i / 500;

    snprintf(s->values[0], 64, "container_network_receive_packets_dropped_%u_total", i % 500);
    snprintf(s->values[1], 64, "production-eu-central-1");
    snprintf(s->values[2], 64, "application");
    snprintf(s->values[3], 64, "10.%u.%u.%u:9100", target / 65536, target / 256 % 256, target % 256);
    snprintf(s->values[4], 64, "kubernetes-pods");
    snprintf(s->values[5], 64, "namespace-%u", target % 40);
    snprintf(s->values[6], 64, "deployment-%08x-%05u", target * 2654435761u, target);
    snprintf(s->values[7], 64, "service-%u", target % 100);
    snprintf(s->values[8], 64, "eu-central-1%c", (char)('a' + target % 3));
}

static void bytes_field(struct buf *b, uint32_t number, struct str s)
{
    buf_uvarint(b, number << 3 | 2);
    buf_lstr(b, s);
}

static void sample_add(struct buf *b, int64_t t, double v)
{
    struct buf one;

    buf_init(&one, 64);
    buf_uvarint(&one, 1 << 3 | 1);
    buf_u64(&one, double_bits(v));
    buf_uvarint(&one, 2 << 3);
    buf_uvarint(&one, (uint64_t)t);
    bytes_field(b, 2, buf_view(&one));
    buf_fini(&one);
}

static void body_v1(struct buf *out, uint32_t from, uint32_t n, int64_t t)
{
    struct sender s;

    for (uint32_t i = from; i < from + n; i++) {
        struct buf series, label;

        buf_init(&series, BODY_MAX);
        buf_init(&label, BODY_MAX);
        series_of(i, &s);
        for (int k = 0; k < LABELS; k++) {
            buf_clear(&label);
            bytes_field(&label, 1, str_of(names[k]));
            bytes_field(&label, 2, str_of(s.values[k]));
            bytes_field(&series, 1, buf_view(&label));
        }
        sample_add(&series, t, i);
        bytes_field(out, 1, buf_view(&series));
        buf_fini(&series);
        buf_fini(&label);
    }
}

struct symbol {
    UT_hash_handle hh;
    uint32_t ref;
    char text[];
};

static uint32_t symbol_ref(struct symbol **table, struct buf *out, const char *text)
{
    struct symbol *one;

    HASH_FIND_STR(*table, text, one);
    if (!one) {
        one = xcalloc(1, sizeof *one + strlen(text) + 1);
        memcpy(one->text, text, strlen(text));
        one->ref = HASH_COUNT(*table);
        HASH_ADD_STR(*table, text, one);
        bytes_field(out, 4, str_of(text));
    }
    return one->ref;
}

static void body_v2(struct buf *out, uint32_t from, uint32_t n, int64_t t)
{
    struct symbol *table = NULL, *one, *tmp;
    struct buf all;
    struct sender s;

    buf_init(&all, BODY_MAX);
    symbol_ref(&table, out, "");
    for (uint32_t i = from; i < from + n; i++) {
        struct buf series, refs;

        buf_init(&series, BODY_MAX);
        buf_init(&refs, BODY_MAX);
        series_of(i, &s);
        for (int k = 0; k < LABELS; k++) {
            buf_uvarint(&refs, symbol_ref(&table, out, names[k]));
            buf_uvarint(&refs, symbol_ref(&table, out, s.values[k]));
        }
        bytes_field(&series, 1, buf_view(&refs));
        sample_add(&series, t, i);
        bytes_field(&all, 5, buf_view(&series));
        buf_fini(&series);
        buf_fini(&refs);
    }
    buf_str(out, buf_view(&all));
    buf_fini(&all);
    HASH_ITER(hh, table, one, tmp) {
        HASH_DEL(table, one);
        free(one);
    }
}

/* --- reading them --- */

static double cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* Takes the body. */
static void read_one(struct world *w, bool v2, struct buf *body, uint32_t want)
{
    struct push *p = xcalloc(1, sizeof *p);
    struct err err;

    p->d = w->d;
    p->tenant = w->tenant;
    p->limits = w->limits;
    p->content.v2 = v2;
    p->body = *body;
    atomic_store(&p->refs, 1);
    mutex_init(&p->lock);
    arena_init(&p->arena, 1 << 30);
    buf_init(&p->errors, PUSH_ERRORS_TEXT_MAX);
    atomic_fetch_add(&w->d->in_flight_requests, 1);
    if ((v2 ? push2_parse(p, &err) : push_parse(p, &err)) < 0 || p->row_count != want || p->series_count != want) {
        fprintf(stderr, "%u rows of %u\n", p->row_count, want);
        exit(1);
    }
    push_unref(p);
}

/* ns a sample over all series once. */
static double round_of(struct world *w, bool v2, uint32_t series, uint32_t a_request, double *ret_bytes)
{
    double ns = 0, bytes = 0, begin;

    for (uint32_t from = 0; from < series; from += a_request) {
        uint32_t n = MIN(a_request, series - from);
        struct buf body;

        buf_init(&body, BODY_MAX);
        v2 ? body_v2(&body, from, n, w->now_ms) : body_v1(&body, from, n, w->now_ms);
        bytes += (double)body.n;
        begin = cpu_ns();
        read_one(w, v2, &body, n);
        ns += cpu_ns() - begin;
    }
    *ret_bytes = bytes / series;
    return ns / series;
}

int main(int argc, char **argv)
{
    enum { ROUNDS = 7 };
    uint32_t series = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 100000, a_request = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 2000;
    struct distributor_deps deps = {.clock = clock_system(), .metrics = metrics_new()};
    struct limits limits = {.max_label_names_per_series = 150, .max_label_value_length = 2048, .max_exemplars = 1};
    struct world w = {.limits = &limits, .now_ms = 1700000000000};
    double bytes[2], fresh[2], best[2] = {1e18, 1e18};

    if (series == 0 || a_request == 0 || distributor_new(&distributor_cfg_default, &deps, &w.d, NULL) < 0 || dist_tenant_get(w.d, STR("bench"), &w.tenant, NULL) < 0)
        return 2;
    for (int v2 = 0; v2 < 2; v2++)
        fresh[v2] = round_of(&w, v2, series, a_request, &bytes[v2]);
    for (int round = 0; round < ROUNDS; round++)
        for (int v2 = 0; v2 < 2; v2++)
            best[v2] = MIN(best[v2], round_of(&w, v2, series, a_request, &bytes[v2]));
    for (int v2 = 0; v2 < 2; v2++)
        printf("Remote Write %d.0: %.0f bytes a series, known %.0f ns a sample (best of %d), new %.0f ns\n", v2 + 1, bytes[v2], best[v2], ROUNDS, fresh[v2]);
    printf("2.0 over 1.0: %.2f\n", best[1] / best[0]);
    distributor_free(w.d);
    metrics_free(deps.metrics);
    return 0;
}
