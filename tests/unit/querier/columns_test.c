#include "querier/columns.h"

#include "promql/fhist.h"
#include "tests/test.h"

#define T0 1700006400000LL

/* One window with a histogram of each count, a minute apart; 0: a float. */
struct made {
    struct arena a;
    struct str chunks[2];
    struct stored_window windows[2];
    struct stored_series s;
};

static struct histogram *hist_of(struct made *m, uint64_t n)
{
    static const struct hist_span span = {0, 1};
    struct histogram *h = arena_zalloc(&m->a, sizeof *h);

    *h = (struct histogram){.schema = 1,
                            .sum = 5,
                            .count.i = n,
                            .pos = {.spans = &span,
                                    .span_count = 1,
                                    .bucket_count = 1,
                                    .i = arena_dup(&m->a, &n, sizeof n)}};
    return h;
}

static void made_window(struct made *m, int64_t t0, const uint64_t *counts, size_t n)
{
    size_t w = m->s.window_count++;
    const struct histogram *h[8];
    int64_t t[8];
    struct buf b;

    buf_init(&b, CHUNK_BYTES_MAX);
    for (size_t i = 0; i < n; i++) {
        t[i] = t0 + (int64_t)i * 60000;
        h[i] = hist_of(m, counts[i]);
    }
    chunk_encode_histograms(&b, n, t, h, NULL);
    m->chunks[w] = arena_str(&m->a, buf_view(&b));
    m->windows[w] = (struct stored_window){
        window_start(m->s.fp, t[0], NULL), t[0], t[n - 1], {0, 0}, (uint32_t)n, 1, &m->chunks[w]};
    m->s.windows = m->windows;
    buf_fini(&b);
}

static void made_init(struct made *m, size_t budget)
{
    *m = (struct made){.s.window_count = 0};
    arena_init(&m->a, budget);
    made_window(m, T0, (uint64_t[]){5, 7, 3, 4}, 4);
    made_window(m, T0 + WINDOW_MS, (uint64_t[]){6, 8}, 2);
}

static void hints_from(int64_t mint, const char *want)
{
    struct columns c;
    struct made m;
    char got[16] = "";

    made_init(&m, 1 << 20);
    CHECK(stored_to_columns(&m.s, mint, INT64_MAX, &m.a, &c, NULL) == 0);
    for (size_t i = 0; i < c.n; i++) {
        CHECK(c.t[i] >= mint && c.hist[i]->is_float);
        strcat(got, c.hist[i]->hint == HIST_HINT_NOT_RESET ? "n" : "u");
    }
    CHECK_STR(got, want);
    arena_fini(&m.a);
}

TEST(hints_say_whether_a_histogram_goes_on)
{
    hints_from(INT64_MIN, "ununnn");
}

TEST(the_sample_before_the_range_counts_within_its_window)
{
    hints_from(T0 + 1, "nunnn");
    hints_from(T0 + 120000, "unnn");
    hints_from(T0 + 180000, "nnn");
    hints_from(T0 + 180001, "un"); /* the first of a window: nothing before it was read */
    hints_from(T0 + WINDOW_MS + 1, "n");
    hints_from(T0 + WINDOW_MS + 60001, "");
}

TEST(a_window_without_data_is_refused)
{
    struct columns c;
    struct err err;
    struct made m;

    made_init(&m, 1 << 20);
    m.windows[1].chunk_count = 0;
    CHECK_INT(stored_to_columns(&m.s, 0, INT64_MAX, &m.a, &c, &err), RC_INTERNAL);
    arena_fini(&m.a);
}
