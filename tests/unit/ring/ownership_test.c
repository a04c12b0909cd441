/* How evenly keys are owned: 3 to 60 instances, 1 to 4 zones, whatever the order of joining. With as many zones as copies tokens alone decide, and shares are
 * equal. Otherwise some copies are chosen per slice of the space (ring.h), and an instance of many has few slices: shares differ by chance. */
#include "common/base/rng.h"
#include "ring/ring.h"
#include "tests/test.h"

enum { INSTANCES = 60, ZONES = 4, JOINERS = 12 };

#define BOUND(zones) ((zones) == 3 ? 1.01 : 1.2)

static uint32_t tokens[INSTANCES][RING_TOKENS];

static void make_tokens(void)
{
    for (unsigned i = 0; i < INSTANCES && !tokens[INSTANCES - 1][0]; i++)
        tokens_of_ordinal(i, RING_TOKENS, tokens[i]);
}

/* Tokens are borrowed. */
static struct member member_of(unsigned zone, unsigned ordinal, enum ring_state state)
{
    struct member m = {.roles = RING_INGESTER, .state = state, .incarnation = 1, .tokens = tokens[ordinal], .tokens_n = RING_TOKENS};

    snprintf(m.id, sizeof m.id, "ingester-%c-%u", 'a' + zone, ordinal);
    snprintf(m.zone, sizeof m.zone, "zone-%c", 'a' + zone);
    snprintf(m.addr, sizeof m.addr, "%c%u:1", 'a' + zone, ordinal);
    return m;
}

static struct ring *ring_of(const struct member *members, size_t n)
{
    const struct member **list = calloc(n, sizeof *list);
    struct ring *r;

    for (size_t i = 0; i < n; i++)
        list[i] = &members[i];
    r = ring_new(list, n, 3, 1, NULL);
    free(list);
    return r;
}

/* Greatest share over smallest, of ACTIVE instances of one zone; of all zones the worst. */
static double spread(const struct ring *r)
{
    double most[ZONES] = {0}, least[ZONES] = {9, 9, 9, 9}, worst = 1;

    for (uint16_t i = 0; i < ring_instances_n(r); i++) {
        const struct ring_instance *in = ring_instance(r, i);
        int z                          = in->zone[5] - 'a';

        if (in->state != RING_ACTIVE)
            continue;
        most[z]  = MAX(most[z], in->ownership);
        least[z] = MIN(least[z], in->ownership);
    }
    for (int z = 0; z < ZONES; z++)
        worst = most[z] > 0 ? MAX(worst, most[z] / least[z]) : worst;
    return worst;
}

TEST(ownership_within_a_zone_is_even_for_3_to_60_instances_in_1_to_4_zones)
{
    make_tokens();
    for (unsigned zones = 1; zones <= ZONES; zones++) {
        double worst   = 1;
        size_t worst_n = 0;

        for (size_t n = 3; n <= INSTANCES; n += n < 20 ? 1 : 4) {
            struct member members[INSTANCES];
            struct ring *r;

            for (size_t i = 0; i < n; i++)
                members[i] = member_of((unsigned)i % zones, (unsigned)i / zones, RING_ACTIVE);
            r = ring_of(members, n);
            if (spread(r) > worst) {
                worst   = spread(r);
                worst_n = n;
            }
            ring_unref(r);
        }
        print_message("%u zones: greatest share / smallest within a zone <= %.3f (at %zu instances)\n", zones, worst, worst_n);
        CHECK(worst <= BOUND(zones));
    }
}

TEST(sixty_instances_in_each_zone_are_nearly_even)
{
    static struct member members[ZONES * INSTANCES];

    make_tokens();
    for (unsigned zones = 2; zones <= ZONES; zones++) {
        struct ring *r;
        size_t n = 0;

        for (unsigned i = 0; i < zones * INSTANCES; i++)
            members[n++] = member_of(i % zones, i / zones, RING_ACTIVE);
        r = ring_of(members, n);
        print_message("%u zones of 60: greatest share / smallest within a zone %.3f\n", zones, spread(r));
        CHECK(spread(r) <= BOUND(zones));
        ring_unref(r);
    }
}

TEST(the_order_of_joining_does_not_matter)
{
    struct rng rng;

    make_tokens();
    rng_init(&rng, test_seed());
    for (unsigned zones = 1; zones <= ZONES; zones++) {
        struct member members[INSTANCES];
        struct ring *ordered, *r = NULL;
        double worst = 1;

        for (unsigned i = 0; i < JOINERS; i++)
            members[i] = member_of(i % zones, i / zones, RING_ACTIVE);
        ordered = ring_of(members, JOINERS);
        for (size_t i = JOINERS; i > 1; i--) {
            size_t k        = rng_below(&rng, i);
            struct member x = members[i - 1];

            members[i - 1] = members[k];
            members[k]     = x;
        }
        for (size_t joined = 1; joined <= JOINERS; joined++) {
            ring_unref(r);
            r     = ring_of(members, joined);
            worst = MAX(worst, spread(r));
        }
        print_message("%u zones, 12 joined by chance: %.3f at the end, %.3f at worst on the way (lower ordinals still missing)\n", zones,
                      spread(r), worst);
        CHECK(spread(r) == spread(ordered) && spread(r) <= BOUND(zones));
        for (uint64_t i = 0; i < 2000; i++) {
            const struct ring_replicas *a = ring_replicas(r, (uint32_t)mix64(i)), *b = ring_replicas(ordered, (uint32_t)mix64(i));

            CHECK(a->owners_n == b->owners_n && memcmp(a->owners, b->owners, sizeof a->owners) == 0 && !a->moving);
        }
        ring_unref(r);
        ring_unref(ordered);
    }
}
