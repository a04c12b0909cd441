/* Arithmetic of native histograms against a plain table of buckets by index. */
#include "common/base/rng.h"
#include "promql/fhist.h"
#include "tests/test.h"

static struct arena arena;

enum { PLAIN_HALF = 1 << 12 };
struct plain {
    double pos[2 * PLAIN_HALF], neg[2 * PLAIN_HALF];
};

static void plain_add(struct plain *p, const struct histogram *h, int32_t schema, double sign)
{
    for (int negative = 0; negative < 2; negative++) {
        const struct hist_side *side = negative ? &h->neg : &h->pos;
        struct hist_walk w;

        hist_walk_init(&w, side);
        while (hist_walk_next(&w)) {
            int64_t index = hist_index_reduce(w.index, h->schema, schema) + PLAIN_HALF;

            (negative ? p->neg : p->pos)[index] += sign * side->f[w.at];
        }
    }
}

static struct histogram *random_histogram(struct rng *r)
{
    struct buf text;
    struct histogram *h = NULL;

    buf_init(&text, 1 << 16);
    buf_printf(&text, "schema:%d count:%d", (int)rng_below(r, 5) - 1, (int)rng_below(r, 100));
    for (int negative = 0; negative < 2; negative++) {
        const char *name = negative ? "n_" : "";

        buf_printf(&text, " %soffset:%d %sbuckets:[", name, (int)rng_below(r, 60) - 30, name);
        for (uint64_t i = 0, n = rng_below(r, 12); i < n; i++)
            buf_printf(&text, "%s%d", i ? " " : "",
                       rng_chance(r, 0.4) ? 0 : (int)rng_below(r, 1000) + 1);
        buf_z(&text, "]");
    }
    CHECK_INT(fhist_parse_text(&arena, buf_view(&text), &h, NULL), 0);
    buf_fini(&text);
    return h;
}

static void check_plain(const struct histogram *h, const double *want, const struct hist_side *side)
{
    uint32_t populated = 0;
    struct hist_walk w;

    for (size_t i = 0; i < 2 * PLAIN_HALF; i++)
        populated += want[i] != 0;
    CHECK_INT(side->bucket_count, populated);
    hist_walk_init(&w, side);
    while (hist_walk_next(&w))
        CHECK(side->f[w.at] == want[w.index + PLAIN_HALF]);
    CHECK(h->is_float);
}

TEST(arithmetic_equals_a_table_by_index)
{
    static struct plain sum, diff, total;
    struct rng r;

    arena_init(&arena, 256 << 20);
    rng_init(&r, test_seed());
    for (int round = 0; round < 300; round++) {
        struct histogram *x = random_histogram(&r), *y = random_histogram(&r), *z, *out;
        int32_t schema = MIN(x->schema, y->schema);
        struct fhist_sum many = {0};

        memset(&sum, 0, sizeof sum);
        memset(&diff, 0, sizeof diff);
        memset(&total, 0, sizeof total);
        plain_add(&sum, x, schema, 1);
        plain_add(&sum, y, schema, 1);
        plain_add(&diff, x, schema, 1);
        plain_add(&diff, y, schema, -1);
        CHECK_INT(fhist_add(&arena, x, y, &out, NULL), 0);
        check_plain(out, sum.pos, &out->pos);
        check_plain(out, sum.neg, &out->neg);
        CHECK_INT(fhist_sub(&arena, x, y, &out, NULL), 0);
        check_plain(out, diff.pos, &out->pos);
        check_plain(out, diff.neg, &out->neg);
        z = random_histogram(&r);
        schema = MIN(schema, z->schema);
        CHECK_INT(fhist_sum_add(&arena, &many, x, NULL), 0);
        CHECK_INT(fhist_sum_add(&arena, &many, y, NULL), 0);
        CHECK_INT(fhist_sum_add(&arena, &many, z, NULL), 0);
        plain_add(&total, x, schema, 1);
        plain_add(&total, y, schema, 1);
        plain_add(&total, z, schema, 1);
        out = fhist_sum_result(&arena, &many);
        CHECK_INT(out->schema, schema);
        check_plain(out, total.pos, &out->pos);
        check_plain(out, total.neg, &out->neg);
        CHECK(!fhist_detect_reset(out, z) || out->count.f < z->count.f); /* only grew */
        arena_reset(&arena);
    }
    arena_fini(&arena);
}

TEST(iteration_runs_the_same_in_both_directions)
{
    struct rng r;

    arena_init(&arena, 256 << 20);
    rng_init(&r, test_seed() + 1);
    for (int round = 0; round < 100; round++) {
        struct histogram *h = random_histogram(&r);
        struct fhist_bucket forward[64], b;
        struct fhist_iter it;
        size_t n = 0;

        h->zero_count.f = round % 2;
        h->zero_threshold = 0x1p-80; /* below every bucket */
        fhist_iter_init(&it, h);
        while (fhist_iter_next(&it, &b)) {
            CHECK(n < ARRAY_LEN(forward) && b.lower < b.upper);
            CHECK(n == 0 || forward[n - 1].upper <= b.lower);
            forward[n++] = b;
        }
        fhist_iter_init_back(&it, h);
        while (fhist_iter_next(&it, &b)) {
            CHECK(n > 0);
            n--;
            CHECK(b.lower == forward[n].lower && b.upper == forward[n].upper &&
                  b.count == forward[n].count && b.index == forward[n].index);
        }
        CHECK_INT(n, 0);
        arena_reset(&arena);
    }
    arena_fini(&arena);
}
