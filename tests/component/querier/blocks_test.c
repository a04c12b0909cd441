/* Samples move from heads to blocks while they are read. */
#include "tests/component/querier/cluster_util.h"

#define T0  1599998400000LL /* a multiple of 2 h */
#define ALL 7u

static void flush(size_t i)
{
    struct err err = {0};
    uint64_t gen = 0;

    CHECK(ingester_flush_all(cl.nodes[i].in, &gen, NULL, &err) == 0);
    CHECK(gen > 0);
}

static char *body_of(const char *path, const char *params)
{
    struct raw_reply r = ask(path, params);
    char *out;

    if (r.status != 200)
        fprintf(stderr, "%s?%s: %d %s\n", path, params, r.status, r.body ? r.body : "");
    CHECK_INT(r.status, 200);
    out = strdup(r.body);
    raw_free(&r);
    return out;
}

static void push_histogram(const char *series, int64_t t, uint64_t count, unsigned mask)
{
    struct hist_span span = {1, 2};
    uint64_t buckets[2] = {count / 2, count - count / 2};
    struct histogram h = {
        .schema = 0,
        .zero_threshold = 0.001,
        .sum = (double)count,
        .count.i = count,
        .pos = {.spans = &span, .span_count = 1, .bucket_count = 2, .i = buckets}};
    struct label lv[8];
    struct labels ls = labels_of(series, lv);
    fingerprint fp = labels_fingerprint(STR("anonymous"), &ls);
    struct push_batch b;

    push_batch_init(&b, 1 << 20);
    push_batch_series(&b, fp, &ls);
    push_batch_histogram(&b, fp, t, 0, &h);
    push_batch_to("anonymous", &b, mask);
    push_batch_fini(&b);
}

static const char *const questions[][2] = {
    {"/api/v1/query", "query=m[2h]&time=1600002000"},
    {"/api/v1/query_range", "query=sum(rate(m[5m]))&start=1599998400&end=1600002000&step=30"},
    {"/api/v1/query_range", "query=m&start=1599998400&end=1600002000&step=60"},
    {"/api/v1/query", "query=h[2h]&time=1600002000"},
    {"/api/v1/query", "query=rate(h[1h])&time=1600000000"},
    {"/api/v1/series", "match[]={__name__=~\"m|h\"}"},
    {"/api/v1/labels", ""},
    {"/api/v1/label/i/values", ""},
    {"/api/v1/label/i/values", "match[]=m{i=~\"[01]\"}"},
};

static void fill(void)
{
    char name[64];

    for (int s = 0; s < 20; s++) {
        snprintf(name, sizeof name, "__name__=m,i=%d", s);
        push_series_to("anonymous", name, T0 + s * 100, 15000, 200, 0.1 * s, 0.7,
                       s % 4 == 0 ? 3 : ALL);
        push_series_to("anonymous", name, T0 + s * 100 + 200 * 15000, 15000, 20, s, 0.3,
                       s % 3 == 0 ? 5 : 6);
    }
    for (int i = 0; i < 30; i++)
        push_histogram("__name__=h,job=x", T0 + i * 60000, (uint64_t)(i < 20 ? 10 * i : i),
                       i % 2 ? 3 : 6);
}

/* One ingester after the other ships what it has: every answer stays the same, bit for bit, whoever
 * is asked. */
TEST(answers_stay_the_same_while_samples_move_to_blocks)
{
    char *want[ARRAY_LEN(questions)];

    cluster_up(&(struct cluster_opt){.blocks = true});
    fill();
    for (size_t q = 0; q < ARRAY_LEN(questions); q++) {
        want[q] = body_of(questions[q][0], questions[q][1]);
        CHECK(!strstr(want[q], "[]"));
    }
    for (size_t flushed = 0; flushed <= 3; flushed++) {
        char *blocks =
            body_of("/querier/blocks",
                    ""); /* the index is read: from now on queries see what was shipped */
        char generation[64];

        snprintf(generation, sizeof generation, "{\"indexGeneration\":%zu,", flushed);
        CHECK(strstr(blocks, generation));
        free(blocks);
        for (size_t q = 0; q < ARRAY_LEN(questions); q++) {
            for (int i = 0; i < 4; i++) {
                char *got = body_of(questions[q][0], questions[q][1]);

                if (strcmp(got, want[q]) != 0)
                    fprintf(stderr, "after %zu flushes %s?%s\n  got  %s\n  want %s\n", flushed,
                            questions[q][0], questions[q][1], got, want[q]);
                CHECK_STR(got, want[q]);
                free(got);
            }
        }
        if (flushed < 3)
            flush(flushed);
    }
    for (size_t q = 0; q < ARRAY_LEN(questions); q++)
        free(want[q]);
    cluster_down();
}

/* What leaves the heads at once after it was shipped is refused to a reader with the index of a
 * moment ago, who then reads a fresh one. */
TEST(a_stale_index_is_refused_and_read_again)
{
    struct ingester_cfg cfg = ingester_cfg_default;
    char *before, *after;

    cfg.flush_check_ms = 10;
    cfg.retain_ms = 1;
    cluster_up(&(struct cluster_opt){.blocks = true, .ingester = &cfg});
    fill();
    for (int round = 0; round < 3; round++) {
        push_series_to("anonymous", "__name__=m,i=0", T0 + 3600000 + round * 600000, 15000, 30, 1,
                       1, ALL);
        before = body_of("/api/v1/query", "query=sum(count_over_time(m[3h]))&time=1600006400");
        for (size_t i = 0; i < 3; i++)
            flush(i);
        usleep(50000); /* the heads drop what was published */
        after = body_of("/api/v1/query", "query=sum(count_over_time(m[3h]))&time=1600006400");
        CHECK_STR(after, before);
        free(before);
        free(after);
    }
    CHECK(querier_metric("torc_querier_retries_total", "reason", rc_name(RC_STALE)) >= 1);
    cluster_down();
}

/* Samples that were shipped by a quorum are read when their ingester has gone for ever. */
TEST(blocks_outlive_their_ingester)
{
    char *want, *got;

    cluster_up(&(struct cluster_opt){.blocks = true});
    fill();
    want = body_of("/api/v1/query", "query=m[2h]&time=1600002000");
    for (size_t i = 0; i < 3; i++)
        flush(i);
    node_down(&cl, 2);
    got = body_of("/querier/blocks", ""); /* and queries go by this index from now on */
    CHECK(strstr(got, "\"indexGeneration\":3") && strstr(got, "\"level\":0"));
    free(got);
    got = body_of("/api/v1/query", "query=m[2h]&time=1600002000");
    CHECK_STR(got, want);
    free(want);
    free(got);
    cluster_down();
}
