/* head_util.h - short words for tests of the head. */
#pragma once
#include "common/base/rng.h"
#include "common/obs/memory.h"
#include "tests/test.h"
#include "tsdb/head.h"

enum { LABELS_TEXT_MAX = 16 };
#define MINUTE 60000LL
#define HOUR   (60 * MINUTE)
#define T0     (1700006400000LL) /* a multiple of 2 h */

/* "a=1,b=2" (sorted) as labels that borrow from the text. */
struct labels_text {
    struct label v[LABELS_TEXT_MAX];
    struct labels ls;
};
static inline void labels_of(struct labels_text *out, const char *text)
{
    out->ls = (struct labels){out->v, 0};
    while (*text) {
        const char *eq = strchr(text, '='), *end = strchrnul(text, ',');

        out->v[out->ls.n++] = (struct label){str_n(text, eq - text), str_n(eq + 1, end - eq - 1)};
        text = *end ? end + 1 : end;
    }
}

static inline fingerprint fp_of(const char *tenant, const char *labels)
{
    struct labels_text lt;

    labels_of(&lt, labels);
    return labels_fingerprint(str_of(tenant), &lt.ls);
}

/* Under the lock. */
static inline struct head_series *series_of(struct head *h, const char *tenant, const char *labels)
{
    struct labels_text lt;
    struct head_series *s = NULL;

    labels_of(&lt, labels);
    CHECK(head_create(h, str_of(tenant), labels_fingerprint(str_of(tenant), &lt.ls), &lt.ls, &s,
                      NULL) == 0);
    return s;
}

static inline enum append_verdict put_ooo(struct head *h, const char *tenant, const char *labels,
                                          int64_t t, double v, int64_t ooo_ms)
{
    struct append_rules rules = {.ooo_window_ms = ooo_ms};
    enum append_verdict verdict;

    head_lock(h);
    verdict = head_append(h, series_of(h, tenant, labels), t, double_bits(v), 0, &rules);
    head_unlock(h);
    return verdict;
}
static inline enum append_verdict put(struct head *h, const char *tenant, const char *labels,
                                      int64_t t, double v)
{
    return put_ooo(h, tenant, labels, t, v, 0);
}
static inline uint64_t seal(struct head *h, int64_t below_ms, uint64_t set)
{
    uint64_t n;

    head_lock(h);
    n = head_seal(h, below_ms, set);
    head_unlock(h);
    return n;
}

/* "name", op, "value" triples up to NULL. */
struct matchers {
    struct matcher v[8];
    size_t n;
};
static inline void matchers_of(struct matchers *out, const char *const *text)
{
    static const char *const ops[] = {"=", "!=", "=~", "!~"};

    out->n = 0;
    for (; *text; text += 3) {
        unsigned type = 0;

        while (strcmp(ops[type], text[1]) != 0)
            type++;
        CHECK(matcher_init(&out->v[out->n++], type, str_of(text[0]), str_of(text[2]), NULL) == 0);
    }
}
static inline void matchers_fini(struct matchers *m)
{
    for (size_t i = 0; i < m->n; i++)
        matcher_fini(&m->v[i]);
}
static inline struct store_select query_of(const char *tenant, const struct matchers *m,
                                           int64_t mint, int64_t maxt, enum store_mode mode)
{
    return (struct store_select){.tenant = str_of(tenant),
                                 .matchers = m ? m->v : NULL,
                                 .matcher_count = m ? m->n : 0,
                                 .mint_ms = mint,
                                 .maxt_ms = maxt,
                                 .mode = mode};
}

/* All that a select gives, as text: per series "{labels}" and, with data, " t:v" for each sample;
 * one line each, in order of labels. Checks what must hold of every stored series on the way. */
struct dump {
    char *lines[4096];
    size_t n;
    bool samples;
    size_t stop_after; /* > 0: fn answers "enough" after so many series */
};
static inline void stored_check(const struct stored_series *s)
{
    struct arena a;
    struct chunk_columns cols;

    arena_init(&a, 1 << 28);
    for (size_t i = 0; i < s->window_count; i++) {
        const struct stored_window *w = &s->windows[i];
        struct stored_series one = *s;

        CHECK(i == 0 || s->windows[i - 1].start_ms < w->start_ms);
        CHECK(w->count > 0 && w->mint_ms <= w->maxt_ms);
        CHECK(window_start(s->fp, w->mint_ms, NULL) == w->start_ms &&
              window_start(s->fp, w->maxt_ms, NULL) == w->start_ms);
        if (w->chunk_count == 0)
            continue;
        one.windows = w;
        one.window_count = 1;
        CHECK(stored_series_columns(&one, INT64_MIN, INT64_MAX, &a, &cols, NULL) == 0);
        CHECK_INT(cols.n, w->count);
        CHECK(cols.t[0] == w->mint_ms && cols.t[cols.n - 1] == w->maxt_ms);
        CHECK(u128_eq(chunk_digest(&cols), w->digest));
    }
    arena_fini(&a);
}
static inline int dump_series(void *arg, const struct stored_series *s)
{
    struct dump *d = arg;
    struct chunk_columns cols;
    struct arena a;
    struct buf b;
    size_t size;

    stored_check(s);
    buf_init(&b, 1 << 24);
    arena_init(&a, 1 << 28);
    labels_print(&b, &s->labels);
    if (d->samples) {
        CHECK(stored_series_columns(s, INT64_MIN, INT64_MAX, &a, &cols, NULL) == 0);
        for (size_t i = 0; i < cols.n; i++) {
            if (cols.hist && cols.hist[i])
                buf_printf(&b, " %lld:h%g", (long long)(cols.t[i] - T0), cols.hist[i]->sum);
            else
                buf_printf(&b, " %lld:%g", (long long)(cols.t[i] - T0), cols.v[i]);
        }
    }
    buf_char(&b, '\0');
    CHECK(d->n < ARRAY_LEN(d->lines));
    d->lines[d->n++] = buf_take(&b, &size);
    arena_fini(&a);
    return d->stop_after && d->n % d->stop_after == 0 ? 1 : 0;
}
static inline int by_line(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}
/* Lines joined by newlines; free() it. */
static inline char *dump_take(struct dump *d)
{
    struct buf b;
    size_t size;

    qsort(d->lines, d->n, sizeof d->lines[0], by_line);
    buf_init(&b, SIZE_MAX);
    for (size_t i = 0; i < d->n; i++) {
        buf_printf(&b, "%s%s", i ? "\n" : "", d->lines[i]);
        free(d->lines[i]);
    }
    buf_char(&b, '\0');
    d->n = 0;
    return buf_take(&b, &size);
}
static inline char *select_text(struct head *h, const struct store_select *q, uint64_t gen)
{
    struct dump *d = calloc(1, sizeof *d);
    uint64_t cursor = 0;
    char *text;

    d->samples = q->mode == STORE_DATA;
    CHECK(head_select(h, q, gen, SIZE_MAX, &cursor, dump_series, d, NULL) == 0);
    CHECK_INT(cursor, 0);
    text = dump_take(d);
    free(d);
    return text;
}
#define CHECK_SELECT(h, q, gen, want)                                                              \
    do {                                                                                           \
        char *got_ = select_text((h), (q), (gen));                                                 \
        CHECK_STR(got_, (want));                                                                   \
        free(got_);                                                                                \
    } while (0)
/* Everything of a tenant, with samples. */
#define CHECK_ALL(h, tenant, gen, want)                                                            \
    do {                                                                                           \
        struct store_select q_ = query_of((tenant), NULL, INT64_MIN, INT64_MAX, STORE_DATA);       \
        CHECK_SELECT((h), &q_, (gen), (want));                                                     \
    } while (0)

/* A small valid integer histogram whose sum tells it apart. */
static inline struct histogram hist_of(double sum, const struct hist_span *span,
                                       const uint64_t *counts)
{
    return (struct histogram){
        .schema = 2,
        .zero_threshold = 1e-128,
        .sum = sum,
        .count.i = counts[0] + counts[1],
        .pos = {.spans = span, .span_count = 1, .bucket_count = 2, .i = counts},
    };
}
