/* Names and values of the generator. */
#include "common/model/labels.h"
#include "common/model/sample.h"
#include "loadgen/model.h"
#include "tests/test.h"

#include <math.h>

static const int64_t T0 = 1800000000000;

static struct model_cfg cfg_of(uint32_t series)
{
    return (struct model_cfg){.seed = 7, .series = series, .tenants = 2, .labels = MODEL_LABELS, .epoch_ms = T0};
}

TEST(every_series_has_nine_sorted_labels_of_its_own)
{
    enum { N = 1200 };
    struct model m;
    fingerprint seen[N];

    model_init(&m, &(struct model_cfg){.seed = 7, .series = N, .tenants = 2, .labels = MODEL_LABELS, .epoch_ms = T0});
    for (uint32_t i = 0; i < N; i++) {
        struct label pairs[MODEL_LABELS];
        struct labels ls = {pairs, MODEL_LABELS};
        struct model_labels l;

        model_labels(&m, (struct series_id){1, i, 3}, &l);
        CHECK_INT(l.n, MODEL_LABELS);
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

TEST(a_series_has_as_many_labels_as_asked_for_and_stays_unique)
{
    static const uint32_t counts[] = {MODEL_LABELS_MIN, 6, 20, MODEL_LABELS_MAX};

    for (size_t c = 0; c < ARRAY_LEN(counts); c++) {
        enum { N = 520 };
        struct model_cfg cfg = cfg_of(N);
        fingerprint seen[N];
        struct model m;

        cfg.labels = counts[c];
        model_init(&m, &cfg);
        for (uint32_t i = 0; i < N; i++) {
            struct label pairs[LABELS_PER_SERIES_MAX];
            struct labels ls = {pairs, 0};
            struct model_labels l;

            model_labels(&m, (struct series_id){0, i, 0}, &l);
            CHECK_INT(l.n, counts[c]);
            for (; ls.n < l.n; ls.n++) {
                CHECK(l.value[ls.n].n > 0 && (ls.n == 0 || str_cmp(l.name[ls.n - 1], l.name[ls.n]) < 0));
                pairs[ls.n] = (struct label){l.name[ls.n], l.value[ls.n]};
            }
            seen[i] = labels_fingerprint(STR(""), &ls);
            for (uint32_t k = 0; k < i; k++)
                CHECK(!u128_eq(seen[i], seen[k]));
        }
    }
}

TEST(a_pair_of_replicas_has_one_cluster_per_tenant)
{
    struct model_cfg cfg = cfg_of(600);
    struct model_labels l;
    struct model m;

    cfg.ha = true;
    model_init(&m, &cfg);
    for (uint32_t i = 0; i < 600; i++) {
        model_labels(&m, (struct series_id){1, i, 0}, &l);
        CHECK_INT(l.n, MODEL_LABELS);
        CHECK(str_eqz(value_of(&l, "cluster"), "pair-2"));
    }
}

TEST(native_histograms_are_valid_and_no_bucket_ever_falls)
{
    struct model_cfg cfg = cfg_of(500);
    struct model_native now, before;
    struct err err;
    struct model m;
    uint64_t most = 0;

    cfg.natives = 35;
    model_init(&m, &cfg);
    CHECK_INT(model_series(&m), 535);
    CHECK_INT(model_targets(&m), 4); /* 35 histograms, ten to a target */
    for (uint32_t i = 500; i < 535; i++) {
        CHECK(model_is_native(&m, i) && model_target(&m, i) == (i - 500) / NATIVES_PER_TARGET);
        model_native(&m, (struct series_id){0, i, 0}, T0, &before);
        for (int64_t t = T0; t < T0 + 100000; t += 777) {
            model_native(&m, (struct series_id){0, i, 0}, t, &now);
            CHECK_INT(histogram_validate(&now.h, &err), 0);
            CHECK(now.h.sum >= before.h.sum && now.h.count.i >= before.h.count.i && now.h.zero_count.i >= before.h.zero_count.i);
            for (size_t b = 0; b < NATIVE_BUCKETS; b++)
                CHECK(now.counts[b] >= before.counts[b]);
            model_native(&m, (struct series_id){0, i, 0}, t, &before);
            most = MAX(most, now.h.count.i);
        }
    }
    CHECK(most > 1000);
}

TEST(exemplars_are_on_their_share_of_the_counters)
{
    struct model_cfg cfg = cfg_of(10000);
    uint32_t counters = 0, with = 0;
    struct model m;

    model_init(&m, &cfg);
    for (uint32_t i = 0; i < 10000; i++) {
        enum metric_type_wire type = model_type(&m, i);
        bool counter = type == TYPE_COUNTER || type == TYPE_HISTOGRAM, has = model_has_exemplar(&m, (struct series_id){0, i, 0}, 20);

        CHECK(counter || !has);
        CHECK(has <= model_has_exemplar(&m, (struct series_id){0, i, 0}, 40)); /* a larger share has the smaller one */
        CHECK(!model_has_exemplar(&m, (struct series_id){0, i, 0}, 0));
        counters += counter;
        with += has;
    }
    CHECK(counters > 5000 && with > counters / 6 && with < counters / 4);
}
