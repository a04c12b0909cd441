/* Names, values and request bytes of the generator. */
#include "common/base/bytes.h"
#include "common/model/labels.h"
#include "common/model/sample.h"
#include "distributor/write_request.h"
#include "loadgen/image.h"
#include "tests/test.h"

#include <math.h>
#include <snappy-c.h>

static const int64_t T0 = 1800000000000;

static struct model_cfg cfg_of(uint32_t series)
{
    return (struct model_cfg){.seed = 7, .series = series, .tenants = 2, .epoch_ms = T0};
}

TEST(every_series_has_nine_sorted_labels_of_its_own)
{
    enum { N = 1200 };
    struct model m;
    fingerprint seen[N];

    model_init(&m, &(struct model_cfg){.seed = 7, .series = N, .tenants = 2, .epoch_ms = T0});
    for (uint32_t i = 0; i < N; i++) {
        struct label pairs[MODEL_LABELS];
        struct labels ls = {pairs, MODEL_LABELS};
        struct model_labels l;

        model_labels(&m, (struct series_id){1, i, 3}, &l);
        for (size_t k = 0; k < MODEL_LABELS; k++) {
            CHECK(l.value[k].n > 0);
            CHECK(k == 0 || str_cmp(l.name[k - 1], l.name[k]) < 0);
            pairs[k] = (struct label){l.name[k], l.value[k]};
        }
        CHECK(str_eqz(labels_get(&ls, STR("instance")), "10.0.0.0:9103") == (i < TARGET_SERIES));
        seen[i] = labels_fingerprint(STR(""), &ls);
        for (uint32_t k = 0; k < i; k++)
            CHECK(!u128_eq(seen[i], seen[k]));
    }
}

static struct str value_of(const struct model_labels *l, const char *name)
{
    for (size_t i = 0; i < MODEL_LABELS; i++)
        if (str_eqz(l->name[i], name))
            return l->value[i];
    return (struct str){0};
}

TEST(a_generation_changes_the_pod_the_instance_and_the_values)
{
    struct model m;
    struct model_labels a, b;
    struct model_cfg cfg = cfg_of(500);

    model_init(&m, &cfg);
    model_labels(&m, (struct series_id){0, 10, 0}, &a);
    model_labels(&m, (struct series_id){0, 10, 1}, &b);
    CHECK(!str_eq(value_of(&a, "instance"), value_of(&b, "instance")));
    CHECK(!str_eq(value_of(&a, "pod"), value_of(&b, "pod")));
    CHECK(str_eq(value_of(&a, "job"), value_of(&b, "job")));
    CHECK(str_eq(value_of(&a, "__name__"), value_of(&b, "__name__")));
    CHECK(model_value(&m, (struct series_id){0, 10, 0}, T0) != model_value(&m, (struct series_id){0, 10, 1}, T0));
}

TEST(churn_replaces_its_share_of_the_targets)
{
    struct model m;
    struct model_cfg cfg = cfg_of(100000);
    uint32_t changed = 0, targets;

    cfg.churn = 10;
    model_init(&m, &cfg);
    targets = model_targets(&m);
    CHECK_INT(targets, 400);
    for (uint32_t t = 0; t < targets; t++) {
        uint32_t g = model_generation(&m, 0, t, T0), last = g;

        for (int64_t ms = T0; ms < T0 + 600000; ms += 7000) {
            CHECK(model_generation(&m, 0, t, ms) >= last);
            last = model_generation(&m, 0, t, ms);
        }
        changed += model_generation(&m, 0, t, T0 + 60000) != g;
        /* Ten minutes are exactly one life. */
        CHECK_INT(model_generation(&m, 0, t, T0 + 600000), g + 1);
    }
    CHECK(changed > 20 && changed < 60);
    CHECK_INT(model_generation(&m, 0, 3, T0 - 10000000), 0);
}

TEST(counters_never_fall_and_buckets_grow_with_le)
{
    struct model m;
    struct model_cfg cfg = cfg_of(TARGET_SERIES);

    model_init(&m, &cfg);
    for (uint32_t i = 0; i < 96 + 16 + 20; i++) {
        double last = -1;

        for (int64_t t = T0; t < T0 + 100000; t += 333) {
            double v = bits_double(model_value(&m, (struct series_id){0, i, 0}, t));

            CHECK(v >= last);
            last = v;
            if (i < 96 && i % 12 > 0)
                CHECK(v >= bits_double(model_value(&m, (struct series_id){0, i - 1, 0}, t)));
            if (i < 96 && i % 12 == 11)
                CHECK(v == bits_double(model_value(&m, (struct series_id){0, 96 + i / 12, 0}, t)));
        }
    }
}

TEST(values_follow_from_seed_tenant_series_and_time)
{
    struct model a, b;
    struct model_cfg cfg = cfg_of(1000), other = cfg;
    uint32_t differ = 0;

    other.seed = 8;
    model_init(&a, &cfg);
    model_init(&b, &other);
    for (uint32_t i = 0; i < 1000; i++) {
        uint64_t v = model_value(&a, (struct series_id){0, i, 0}, T0);

        CHECK(v == model_value(&a, (struct series_id){0, i, 0}, T0));
        CHECK(isfinite(bits_double(v)));
        differ += v != model_value(&b, (struct series_id){0, i, 0}, T0) && v != model_value(&a, (struct series_id){1, i, 0}, T0);
    }
    CHECK(differ > 700);
}

TEST(special_series_send_every_odd_value)
{
    struct model m;
    struct model_cfg cfg = cfg_of(SPECIAL_EVERY * 4);
    bool stale = false, nan = false, payload = false, inf = false, minus_zero = false, denormal = false;

    cfg.special = true;
    model_init(&m, &cfg);
    CHECK(!model_is_special(&m, 0) && model_is_special(&m, SPECIAL_EVERY - 1));
    for (int64_t t = T0; t < T0 + 1000; t++) {
        uint64_t v = model_value(&m, (struct series_id){0, SPECIAL_EVERY - 1, 0}, t);

        stale |= v == STALE_NAN_BITS;
        nan |= v == NORMAL_NAN_BITS;
        payload |= isnan(bits_double(v)) && v != STALE_NAN_BITS && v != NORMAL_NAN_BITS;
        inf |= isinf(bits_double(v));
        minus_zero |= v == 1ULL << 63;
        denormal |= v == 1;
    }
    CHECK(stale && nan && payload && inf && minus_zero && denormal);
}

/* --- request bytes, read by the distributor's own decoder --- */

static void check_image(struct image *im, const struct model *m, int64_t t_ms)
{
    struct buf out, body;
    size_t raw, n;
    struct wr_series s;
    struct str metadata;
    struct err err;
    struct rd r;

    buf_init(&out, IMAGE_BYTES_MAX);
    buf_init(&body, IMAGE_BYTES_MAX);
    image_at(im, t_ms, &out, &raw);
    CHECK(snappy_uncompressed_length(out.p, out.n, &n) == SNAPPY_OK && n == raw);
    CHECK(buf_space(&body, n) && snappy_uncompress(out.p, out.n, body.p, &n) == SNAPPY_OK);
    r = rd_of(buf_view(&body));
    for (uint32_t i = 0; i < im->count; i++) {
        struct series_id id = {im->tenant, im->first + i, model_generation(m, im->tenant, model_target(im->first + i), t_ms)};
        struct model_labels want;
        struct label label;
        struct rd in;
        uint64_t bits;
        int64_t t;

        CHECK_INT(wr_next(&r, &s, &metadata, &err), 1);
        CHECK_INT(s.label_count, MODEL_LABELS);
        CHECK_INT(s.sample_count, 1);
        model_labels(m, id, &want);
        in = rd_of(s.message);
        for (size_t k = 0; k < MODEL_LABELS; k++) {
            CHECK_INT(wr_label_next(&in, &label, &err), 1);
            CHECK(str_eq(label.name, want.name[k]) && str_eq(label.value, want.value[k]));
        }
        in = rd_of(s.message);
        CHECK_INT(wr_sample_next(&in, &t, &bits, &err), 1);
        CHECK(t == t_ms && bits == model_value(m, id, t_ms));
    }
    CHECK_INT(wr_next(&r, &s, &metadata, &err), 0);
    buf_fini(&out);
    buf_fini(&body);
}

TEST(an_image_is_the_write_request_of_its_time)
{
    struct model m;
    struct image im;
    struct model_cfg cfg = cfg_of(1000);

    cfg.churn = 100; /* a generation each minute */
    cfg.special = true;
    model_init(&m, &cfg);
    image_init(&im, &m, 1, 200, 613); /* begins and ends inside a target */
    for (int64_t t = T0; t < T0 + 120000; t += 29999)
        check_image(&im, &m, t);
    image_fini(&im);
}

TEST(the_same_time_gives_the_same_bytes)
{
    struct model m;
    struct image im;
    struct model_cfg cfg = cfg_of(300);
    struct buf a, b;
    size_t raw;

    model_init(&m, &cfg);
    image_init(&im, &m, 0, 0, 300);
    buf_init(&a, IMAGE_BYTES_MAX);
    buf_init(&b, IMAGE_BYTES_MAX);
    image_at(&im, T0, &a, &raw);
    image_at(&im, T0 + 1, &b, &raw);
    CHECK(!str_eq(buf_view(&a), buf_view(&b)));
    image_at(&im, T0, &b, &raw);
    CHECK(str_eq(buf_view(&a), buf_view(&b)));
    image_fini(&im);
    buf_fini(&a);
    buf_fini(&b);
}
