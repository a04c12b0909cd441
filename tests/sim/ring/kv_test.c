#include "tests/sim/ring/kv_sim.h"

static const char *value_at(const struct kv_sim *s, int i, const char *key, char ret[RING_KV_VALUE_MAX + 1])
{
    const struct ring_kv_entry *e = kv_core_get(s->nodes[i].core, str_of(key));

    if (!e)
        return "";
    snprintf(ret, RING_KV_VALUE_MAX + 1, "%.*s", STR_FMT(e->value));
    return ret;
}

TEST(a_put_is_known_everywhere_within_two_seconds_and_a_new_member_has_all_soon)
{
    struct kv_sim *s = kv_sim_new(test_seed(), 6);
    char key[32], v[RING_KV_VALUE_MAX + 1];

    kv_sim_run_ms(s, 10000);
    CHECK_INT(kv_sim_put(s, 2, "a", 0, 1, "x"), 0);
    kv_sim_run_ms(s, 2000);
    for (int i = 0; i < s->n; i++)
        CHECK_STR(value_at(s, i, "a", v), "x");
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof key, "key-%d", i);
        CHECK_INT(kv_sim_put(s, i % 6, key, 0, 1, "value"), 0);
    }
    kv_sim_until_agree(s, 20000);
    kv_sim_stop(s, 3, false);
    kv_sim_run_ms(s, 5000);
    kv_sim_start(s, 3);
    print_message("5,001 entries at a new member after %lld virtual ms, messages of %zu bytes at most\n",
                  (long long)kv_sim_until_agree(s, 20000), s->largest);
    CHECK_INT(kv_core_count(s->nodes[3].core), 5001);
    CHECK(s->largest <= KV_MSG_BYTES + 4096);
    kv_sim_free(s);
}

TEST(members_that_agree_exchange_little)
{
    struct kv_sim *s = kv_sim_new(test_seed(), 3);
    uint64_t bytes;
    char key[64];

    for (int i = 0; i < 50000; i++) {
        snprintf(key, sizeof key, "ha/tenant-%d/cluster-%d", i / 500, i % 500);
        CHECK_INT(kv_sim_put(s, 0, key, 0, 1, "replica-a of this cluster, heard at some time"), 0);
    }
    kv_sim_until_agree(s, 120000);
    kv_sim_run_ms(s, 60000); /* what is told more than once */
    bytes = s->bytes;
    kv_sim_run_ms(s, 60000);
    print_message("50,000 entries: %llu bytes a second and member when nothing changes\n", (unsigned long long)(s->bytes - bytes) / 180);
    CHECK((s->bytes - bytes) / 180 < 2000);
    kv_sim_free(s);
}

TEST(of_two_writers_of_one_version_the_larger_value_stands_everywhere)
{
    struct kv_sim *s = kv_sim_new(test_seed(), 4);
    char v[RING_KV_VALUE_MAX + 1];

    s->cut[0][3] = s->cut[3][0] = true;
    CHECK_INT(kv_sim_put(s, 0, "k", 0, 1, "prom-a"), 0);
    CHECK_INT(kv_sim_put(s, 3, "k", 0, 1, "prom-b"), 0);
    CHECK_INT(kv_sim_put(s, 0, "k", 0, 2, "late"), RC_EXISTS);
    CHECK_INT(kv_sim_put(s, 3, "k", 1, 1, "prom-aa"), RC_EXISTS);
    kv_sim_until_agree(s, 20000);
    for (int i = 0; i < s->n; i++)
        CHECK_STR(value_at(s, i, "k", v), "prom-b");
    kv_sim_free(s);
}

TEST(what_was_removed_stays_removed_and_its_tombstone_goes)
{
    struct kv_sim *s = kv_sim_new(test_seed(), 3);

    CHECK_INT(kv_sim_put(s, 0, "k", 0, 1, "x"), 0);
    kv_sim_until_agree(s, 20000);
    kv_sim_stop(s, 2, true); /* remembers it */
    CHECK_INT(kv_sim_put(s, 1, "k", 1, 2, NULL), 0);
    kv_sim_run_ms(s, 5000);
    kv_sim_start(s, 2);
    kv_sim_until_agree(s, 30000);
    CHECK(!kv_core_get(s->nodes[2].core, STR("k")) && kv_core_count(s->nodes[2].core) == 1);
    kv_sim_run_ms(s, RING_KV_TOMBSTONE_MS + 60000);
    for (int i = 0; i < s->n; i++)
        CHECK_INT(kv_core_count(s->nodes[i].core), 0);
    CHECK_INT(kv_sim_put(s, 1, "k", 0, 1, "anew"), 0);
    kv_sim_free(s);
}

TEST(after_any_storm_all_agree_on_the_greatest)
{
    enum { KEYS = 20 };
    uint64_t first = test_seed(), count = getenv("SIM_SEEDS") ? strtoull(getenv("SIM_SEEDS"), NULL, 10) : 60;
    int64_t worst = 0, took, disagreed = 0;

    for (uint64_t seed = first; seed < first + count; seed++) {
        struct kv_sim *s = kv_sim_new(seed, 3 + (int)(seed % 5));

        s->loss = 0.3;
        for (int step = 0; step < 100; step++) {
            int a = (int)rng_below(&s->rng, (uint64_t)s->n), b = (int)rng_below(&s->rng, (uint64_t)s->n);
            char key[16], value[16];

            snprintf(key, sizeof key, "k%d", (int)rng_below(&s->rng, KEYS));
            snprintf(value, sizeof value, "v%d", (int)rng_below(&s->rng, 5));
            switch (rng_below(&s->rng, 6)) {
            case 0:
                s->cut[a][b] = s->cut[b][a] = rng_chance(&s->rng, 0.6);
                break;
            case 1:
                if (s->nodes[a].core)
                    kv_sim_stop(s, a, rng_chance(&s->rng, 0.7));
                else
                    kv_sim_start(s, a);
                break;
            default:
                if (s->nodes[a].core) {
                    const struct ring_kv_entry *e = kv_core_get(s->nodes[a].core, str_of(key));
                    uint64_t version = e ? e->version : 0;

                    CHECK(kv_sim_put(s, a, key, version, version + rng_below(&s->rng, 3) + !version, rng_chance(&s->rng, 0.9) ? value : NULL) <= 0);
                }
            }
            kv_sim_run_ms(s, (int64_t)rng_below(&s->rng, 500));
        }
        disagreed += !kv_sim_agree(s);
        kv_sim_heal(s);
        took  = kv_sim_until_agree(s, 60000);
        worst = MAX(worst, took);
        kv_sim_free(s);
    }
    print_message("%llu storms, %lld ended in disagreement: agreement after %lld virtual ms at worst\n", (unsigned long long)count,
                  (long long)disagreed, (long long)worst);
    CHECK(disagreed > 0);
}

TEST(a_full_store_refuses_and_keeps_what_it_has)
{
    struct kv_sim *s = kv_sim_new(test_seed(), 1);
    struct kv_core_env env = {&s->nodes[0], kv_sim_now, kv_sim_wall, kv_sim_peers, kv_sim_send, kv_sim_changed, 1};
    struct kv_core *c = kv_core_new(&(struct kv_core_cfg){.addr = "x", .entries_max = 2, .bytes_max = 20}, &env);
    static const struct {
        const char *key, *value;
        uint64_t version;
        int rc;
    } steps[] = {
        {"a", "12345", 1, 0},          {"b", "12345", 1, 0},      {"c", "", 1, RC_LIMIT}, {"a", "123456789012345", 2, RC_LIMIT},
        {"a", "1234567890", 2, 0},     {"b", "", 0, RC_INVALID},  {"b", "", 1, RC_EXISTS}, {"b", "12345", 1, 0},
        {"", "x", 1, RC_INVALID},
    };

    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct err err = {0};
        struct ring_kv_entry e = {.key = str_of(steps[i].key), .value = str_of(steps[i].value), .version = steps[i].version};

        CHECK_INT(kv_core_put(c, RING_KV_ANY, &e, &err), steps[i].rc);
        CHECK((err.text[0] != 0) == (steps[i].rc < 0));
    }
    CHECK_INT(kv_core_count(c), 2);
    CHECK_INT(kv_core_bytes(c), 17);
    kv_core_free(c);
    kv_sim_free(s);
}
