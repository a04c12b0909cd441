#include "ring/ring.h"
#include "common/base/hash.h"
#include "common/sys/clock.h"
#include "tests/test.h"

enum { MEMBERS_MAX = 256 };

/* A membership under construction. */
struct set {
    struct member m[MEMBERS_MAX];
    const struct member *p[MEMBERS_MAX];
    size_t n;
};

static struct member *add(struct set *s, char zone, unsigned ordinal, enum ring_state state)
{
    struct member *m = &s->m[s->n];

    *m = (struct member){.roles = RING_INGESTER, .state = state, .incarnation = 1};
    snprintf(m->id, sizeof m->id, "ingester-%c-%u", zone, ordinal);
    snprintf(m->zone, sizeof m->zone, "zone-%c", zone);
    snprintf(m->addr, sizeof m->addr, "%c%u:1", zone, ordinal);
    m->tokens   = calloc(RING_TOKENS, sizeof *m->tokens);
    m->tokens_n = RING_TOKENS;
    tokens_of_ordinal(ordinal, RING_TOKENS, m->tokens);
    s->p[s->n++] = m;
    return m;
}

static void set_free(struct set *s)
{
    for (size_t i = 0; i < s->n; i++)
        member_fini(&s->m[i]);
    s->n = 0;
}

static struct set set;
static const char zones[] = "abc";

static void add_zones(unsigned per_zone)
{
    CHECK(set.n == 0);
    for (unsigned z = 0; z < 3; z++) {
        for (unsigned i = 0; i < per_zone; i++)
            add(&set, zones[z], i, RING_ACTIVE);
    }
}

static struct ring *make(int rf)
{
    return ring_new(set.p, set.n, rf, 1, "ingester-a-0");
}

/* By the definition: the zone's instance with the nearest token at or after the key. */
static const char *nearest(const char *zone, uint32_t key)
{
    uint32_t best   = UINT32_MAX;
    const char *who = NULL;

    for (size_t i = 0; i < set.n; i++) {
        for (size_t k = 0; k < set.m[i].tokens_n && strcmp(set.m[i].zone, zone) == 0; k++) {
            if ((uint32_t)(set.m[i].tokens[k] - key) <= best) {
                best = set.m[i].tokens[k] - key;
                who  = set.m[i].id;
            }
        }
    }
    return who;
}

TEST(replica_sets_are_what_the_definition_says)
{
    struct ring *r;

    add_zones(4);
    r = make(3);
    for (uint64_t i = 0; i < 200; i++) {
        uint32_t key                    = (uint32_t)mix64(i + 1);
        const struct ring_replicas *got = ring_replicas(r, key);

        CHECK(got->owners_n == 3 && !got->moving);
        CHECK_STR(ring_instance(r, got->owners[0])->id, nearest("zone-a", key));
        CHECK_STR(ring_instance(r, got->owners[1])->id, nearest("zone-b", key));
        CHECK_STR(ring_instance(r, got->owners[2])->id, nearest("zone-c", key));
    }
    ring_unref(r);
    set_free(&set);
}

TEST(a_key_belongs_to_the_first_token_not_below_it)
{
    struct ring *r;
    uint32_t first, last;
    uint16_t self;

    add(&set, 'a', 0, RING_ACTIVE);
    add(&set, 'a', 1, RING_ACTIVE);
    r     = make(1);
    self  = ring_self(r);
    first = set.m[0].tokens[0];
    last  = set.m[0].tokens[RING_TOKENS - 1];
    CHECK(ring_owner_index(r, first, self) == 0);
    CHECK(ring_owner_index(r, last, self) == 0);
    for (size_t k = 0; k < RING_TOKENS; k++) {
        CHECK(ring_owner_index(r, set.m[0].tokens[k], self) == 0);
        CHECK(ring_owner_index(r, set.m[0].tokens[k] + 1, self) == -1); /* instance 1 stands at the front of each range */
    }
    ring_unref(r);
    set_free(&set);
    tokens_of_name(STR("laptop"), RING_TOKENS, add(&set, 'a', 0, RING_ACTIVE)->tokens);
    add(&set, 'a', 1, RING_PENDING);
    set.m[1].state = RING_ACTIVE;
    tokens_of_name(STR("other"), RING_TOKENS, set.m[1].tokens);
    r = make(1);
    CHECK(ring_replicas(r, UINT32_MAX)->owners[0] == ring_replicas(r, 0)->owners[0]); /* past the last: the first */
    ring_unref(r);
    set_free(&set);
}

TEST(replicas_are_in_distinct_zones_and_ownership_is_even)
{
    static const unsigned sizes[] = {1, 2, 3, 7, 20, 60};

    for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
        double most = 0, least = 9;
        struct ring *r;

        add_zones(sizes[s]);
        r = make(3);
        for (uint64_t i = 0; i < 2000; i++) {
            const struct ring_replicas *set3 = ring_replicas(r, (uint32_t)mix64(i));

            CHECK(set3->owners_n == 3);
            for (int a = 0; a < 3; a++) {
                for (int b = a + 1; b < 3; b++)
                    CHECK(strcmp(ring_instance(r, set3->owners[a])->zone, ring_instance(r, set3->owners[b])->zone) != 0);
            }
        }
        for (uint16_t i = 0; i < ring_instances_n(r); i++) {
            most  = ring_instance(r, i)->ownership > most ? ring_instance(r, i)->ownership : most;
            least = ring_instance(r, i)->ownership < least ? ring_instance(r, i)->ownership : least;
        }
        CHECK(most / least < 1.1);
        ring_unref(r);
        set_free(&set);
    }
}

TEST(one_or_two_zones_still_give_three_replicas)
{
    struct ring *r;
    double most = 0, least = 9;

    for (unsigned i = 0; i < 6; i++)
        add(&set, 'a', i, RING_ACTIVE);
    r = make(3);
    for (uint64_t i = 0; i < 1000; i++)
        CHECK_INT(ring_replicas(r, (uint32_t)mix64(i))->owners_n, 3);
    for (uint16_t i = 0; i < 6; i++) {
        most  = ring_instance(r, i)->ownership > most ? ring_instance(r, i)->ownership : most;
        least = ring_instance(r, i)->ownership < least ? ring_instance(r, i)->ownership : least;
    }
    print_message("6 instances, one zone, RF 3: greatest / smallest share of replicas %.3f\n", most / least);
    CHECK(most / least < 1.15);
    ring_unref(r);
    for (unsigned i = 0; i < 2; i++)
        add(&set, 'b', i, RING_ACTIVE);
    r = make(3);
    for (uint64_t i = 0; i < 1000; i++) {
        const struct ring_replicas *three = ring_replicas(r, (uint32_t)mix64(i));
        int in_a                          = 0;

        CHECK_INT(three->owners_n, 3);
        for (int k = 0; k < 3; k++)
            in_a += strcmp(ring_instance(r, three->owners[k])->zone, "zone-a") == 0;
        CHECK(in_a == 1 || in_a == 2);
    }
    ring_unref(r);
    set_free(&set);
}

TEST(more_zones_than_replicas_share_the_load)
{
    double most = 0, least = 9;
    struct ring *r;

    for (char z = 'a'; z < 'f'; z++) {
        for (unsigned i = 0; i < 4; i++)
            add(&set, z, i, RING_ACTIVE);
    }
    r = make(3);
    for (uint16_t i = 0; i < 20; i++) {
        most  = ring_instance(r, i)->ownership > most ? ring_instance(r, i)->ownership : most;
        least = ring_instance(r, i)->ownership < least ? ring_instance(r, i)->ownership : least;
    }
    print_message("5 zones of 4, RF 3: greatest / smallest share of replicas %.3f\n", most / least);
    CHECK(most / least < 1.5);
    CHECK(ring_only(r) == NULL);
    ring_unref(r);
    set_free(&set);
}

TEST(fewer_instances_than_replicas_all_own_everything)
{
    struct ring *r;

    r = ring_new(NULL, 0, 3, 0, NULL);
    CHECK(ring_replicas(r, 5) == NULL && ring_self(r) == RING_NOBODY && ring_only(r) == NULL);
    CHECK(ring_covered(r, NULL, 2));
    ring_unref(r);
    add(&set, 'a', 0, RING_ACTIVE);
    add(&set, 'a', 1, RING_ACTIVE);
    r = make(3);
    CHECK_INT(ring_replicas(r, 77)->owners_n, 2);
    CHECK(ring_replicas(r, 77)->hints[0] == RING_NOBODY);
    ring_unref(r);
    set_free(&set);
}

TEST(one_owner_in_each_of_as_many_zones_as_replicas_is_the_only_set)
{
    struct ring *r;

    for (char z = 'a'; z < 'd'; z++)
        add(&set, z, 0, RING_ACTIVE);
    r = make(3);
    CHECK(ring_only(r) && ring_only(r)->owners_n == 3 && ring_only(r) == ring_replicas(r, 77));
    ring_unref(r);
    add(&set, 'a', 1, RING_ACTIVE);
    r = make(3);
    CHECK(ring_only(r) == NULL);
    ring_unref(r);
    set_free(&set);
}

TEST(joining_and_leaving_change_next_but_not_owners)
{
    struct ring *before, *r;
    size_t moving = 0;
    uint16_t joining;

    add_zones(3);
    before  = make(3);
    add(&set, 'b', 3, RING_JOINING);
    r       = make(3);
    joining = ring_find(r, "ingester-b-3");
    for (uint64_t i = 0; i < 4000; i++) {
        uint32_t key = (uint32_t)mix64(i);
        const struct ring_replicas *old = ring_replicas(before, key), *now = ring_replicas(r, key);

        for (int k = 0; k < 3; k++)
            CHECK_STR(ring_instance(before, old->owners[k])->id, ring_instance(r, now->owners[k])->id);
        CHECK(ring_owner_index(r, key, joining) == -1);
        CHECK((ring_next_index(r, key, joining) >= 0) == now->moving);
        moving += now->moving;
    }
    CHECK(moving > 900 && moving < 1100);
    CHECK(ring_instance(r, joining)->ownership == 0);
    ring_unref(r);
    set.m[set.n - 1].state = RING_ACTIVE;
    set.m[0].state         = RING_LEAVING;
    r                      = make(3);
    for (uint64_t i = 0; i < 1000; i++) {
        uint32_t key = (uint32_t)mix64(i);

        CHECK(!ring_replicas(r, key)->moving || ring_owner_index(r, key, ring_self(r)) >= 0);
        CHECK(ring_next_index(r, key, ring_self(r)) == -1);
    }
    ring_unref(r);
    ring_unref(before);
    set_free(&set);
}

TEST(a_dead_owner_stays_an_owner_and_its_zone_keeps_the_hint)
{
    struct ring *r, *again;
    uint16_t dead;

    add_zones(2);
    set.m[0].health = RING_DEAD;
    r               = make(3);
    dead            = ring_find(r, "ingester-a-0");
    CHECK(!ring_instance(r, dead)->healthy && ring_instance(r, dead)->ownership > 0.4);
    CHECK_INT(ring_count(r, RING_INGESTER), 5);
    for (uint64_t i = 0; i < 500; i++) {
        const struct ring_replicas *set3 = ring_replicas(r, (uint32_t)mix64(i));

        for (int k = 0; k < 3; k++) {
            const struct ring_instance *owner = ring_instance(r, set3->owners[k]);
            const struct ring_instance *hint  = ring_instance(r, set3->hints[k]);

            CHECK(strcmp(owner->zone, hint->zone) == 0 && owner != hint);
        }
    }
    set.m[0].health = RING_ALIVE; /* health changes share the ranges */
    again           = ring_new_after(r, set.p, set.n, 3, 1, NULL);
    CHECK(ring_instance(again, dead)->healthy);
    CHECK(ring_replicas(again, 9) == ring_replicas(r, 9));
    ring_unref(r);
    CHECK_INT(ring_replicas(again, 9)->owners_n, 3);
    ring_unref(again);
    set_free(&set);
}

TEST(coverage_needs_enough_owners_of_every_range)
{
    bool answered[MEMBERS_MAX] = {0};
    struct ring *r;

    add_zones(3);
    r = make(3);
    for (size_t i = 0; i < ring_instances_n(r); i++)
        answered[i] = strcmp(ring_instance(r, (uint16_t)i)->zone, "zone-c") != 0;
    CHECK(ring_covered(r, answered, 2)); /* a whole zone may miss */
    CHECK(!ring_covered(r, answered, 3));
    answered[ring_find(r, "ingester-a-1")] = false;
    CHECK(!ring_covered(r, answered, 2));
    CHECK(ring_covered(r, answered, 1));
    answered[ring_find(r, "ingester-c-1")] = true; /* its mirror covers the same ranges */
    CHECK(ring_covered(r, answered, 2));
    ring_unref(r);
    set_free(&set);
}

TEST(shuffle_shards_are_small_stable_and_of_all_zones)
{
    struct ring *r, *bigger;
    size_t changed = 0;

    add_zones(10);
    r = make(3);
    add(&set, 'a', 10, RING_ACTIVE);
    bigger = make(3);
    for (int t = 0; t < 100; t++) {
        char tenant[16];
        struct ring *shard, *same, *later;
        size_t lost = 0;

        snprintf(tenant, sizeof tenant, "tenant%d", t);
        shard = ring_shuffle_shard(r, str_of(tenant), 6);
        same  = ring_shuffle_shard(r, str_of(tenant), 6);
        later = ring_shuffle_shard(bigger, str_of(tenant), 6);
        CHECK(shard == same);
        CHECK_INT(ring_instances_n(shard), 6);
        CHECK_INT(ring_zones_n(shard), 3);
        CHECK_INT(ring_replicas(shard, 12345)->owners_n, 3);
        for (uint16_t i = 0; i < 6; i++)
            lost += ring_find(later, ring_instance(shard, i)->id) == RING_NOBODY;
        CHECK(lost <= 1);
        changed += lost;
        ring_unref(shard);
        ring_unref(same);
        ring_unref(later);
    }
    CHECK(changed > 5 && changed < 40); /* 2 of 11 expected: about 18 of 100 */
    bigger = (ring_unref(bigger), ring_shuffle_shard(r, STR("t"), 0));
    CHECK(bigger == r);
    ring_unref(bigger);
    bigger = ring_shuffle_shard(r, STR("t"), 30);
    CHECK(bigger == r);
    ring_unref(bigger);
    ring_unref(r);
    set_free(&set);
}

TEST(a_shard_moves_like_the_ring_when_an_instance_leaves)
{
    struct ring *r, *shard;

    add_zones(5);
    for (size_t i = 0; i < set.n; i++) {
        enum ring_state was = set.m[i].state;

        set.m[i].state = RING_LEAVING;
        r              = make(3);
        shard          = ring_shuffle_shard(r, STR("tenant"), 3);
        for (uint64_t k = 0; k < 50; k++) {
            const struct ring_replicas *set3 = ring_replicas(shard, (uint32_t)mix64(k));
            bool leaver_owns                 = false;

            CHECK(set3->owners_n == 3 && set3->next_n == 3);
            for (int o = 0; o < 3; o++) {
                leaver_owns = leaver_owns || strcmp(ring_instance(shard, set3->owners[o])->id, set.m[i].id) == 0;
                CHECK(strcmp(ring_instance(shard, set3->next[o])->id, set.m[i].id) != 0);
            }
            CHECK(leaver_owns == set3->moving);
        }
        ring_unref(shard);
        ring_unref(r);
        set.m[i].state = was;
    }
    set_free(&set);
}

TEST(rendezvous_moves_only_what_the_lost_instance_had)
{
    uint16_t before[200], after;
    struct ring *r;

    for (unsigned i = 0; i < 5; i++)
        add(&set, 'a', i, RING_ACTIVE)->roles = RING_QUERIER;
    r = make(3);
    for (uint64_t k = 0; k < 200; k++)
        CHECK_INT(ring_pick(r, RING_QUERIER, k, &before[k], 1), 1);
    CHECK_INT(ring_pick(r, RING_INGESTER, 0, &after, 1), 0);
    ring_unref(r);
    set.m[2].health = RING_DEAD;
    r               = make(3);
    for (uint64_t k = 0; k < 200; k++) {
        CHECK_INT(ring_pick(r, RING_QUERIER, k, &after, 1), 1);
        CHECK(before[k] == 2 ? after != 2 : after == before[k]);
    }
    ring_unref(r);
    set_free(&set);
}

TEST(look_ups_and_building_are_quick)
{
    int64_t began = clock_mono_ns(clock_system()), took;
    struct ring *r;
    uint64_t sum = 0;

    add_zones(60);
    began = clock_mono_ns(clock_system());
    r     = make(3);
    took  = clock_mono_ns(clock_system()) - began;
    began = clock_mono_ns(clock_system());
    for (uint64_t i = 0; i < 1000000; i++)
        sum += ring_replicas(r, (uint32_t)mix64(i))->owners[0];
    print_message("180 instances: built in %.1f ms, look-up %.0f ns (%llu)\n", (double)took / 1e6,
                  (double)(clock_mono_ns(clock_system()) - began) / 1e6, (unsigned long long)sum);
    CHECK(took < 5000000000);
    ring_unref(r);
    set_free(&set);
}
