#include "ring/tokens.h"
#include "tests/test.h"

enum { INSTANCES = 60 };
static uint32_t tokens[INSTANCES][RING_TOKENS_MAX];

struct point {
    uint32_t token;
    int instance;
};

static int by_token(const void *a, const void *b)
{
    uint32_t x = ((const struct point *)a)->token, y = ((const struct point *)b)->token;

    return (x > y) - (x < y);
}

static struct point *ring_of(size_t instances, size_t each)
{
    struct point *v = calloc(instances * each, sizeof *v);
    size_t n        = 0;

    for (size_t i = 0; i < instances; i++) {
        for (size_t k = 0; k < each; k++)
            v[n++] = (struct point){tokens[i][k], (int)i};
    }
    qsort(v, n, sizeof *v, by_token);
    return v;
}

/* Greatest share over smallest. */
static double spread(size_t instances, size_t each)
{
    struct point *v         = ring_of(instances, each);
    double owned[INSTANCES] = {0}, most = 0, least = 0x1p32;
    size_t n                = instances * each;

    for (size_t i = 0; i < n; i++)
        owned[v[i].instance] += (double)(uint32_t)(v[i].token - v[(i + n - 1) % n].token);
    for (size_t i = 0; i < instances; i++) {
        most  = owned[i] > most ? owned[i] : most;
        least = owned[i] < least ? owned[i] : least;
    }
    free(v);
    return most / least;
}

static void fill(size_t each)
{
    for (unsigned i = 0; i < INSTANCES; i++)
        tokens_of_ordinal(i, each, tokens[i]);
}

TEST(ownership_is_even_at_every_size_up_to_sixty)
{
    static const size_t sizes[] = {128, 256, 512};

    for (size_t s = 0; s < 3; s++) {
        double worst = 0;

        fill(sizes[s]);
        for (size_t n = 2; n <= INSTANCES; n++)
            worst = spread(n, sizes[s]) > worst ? spread(n, sizes[s]) : worst;
        print_message("%zu tokens: greatest share / smallest <= %.5f for 2 to 60 instances\n", sizes[s], worst);
        CHECK(worst <= 1.02);
    }
}

TEST(a_new_instance_takes_its_share_and_nothing_else_moves)
{
    fill(RING_TOKENS);
    for (size_t n = 3; n < INSTANCES; n += 7) {
        struct point *before = ring_of(n, RING_TOKENS), *after = ring_of(n + 1, RING_TOKENS);
        size_t a = n * RING_TOKENS, b = (n + 1) * RING_TOKENS;
        double moved = 0;

        for (size_t i = 0; i < b; i++) {
            uint32_t from = after[(i + b - 1) % b].token, len = after[i].token - from;
            size_t k      = 0;

            while (k < a && before[k].token < after[i].token)
                k++;
            if (before[k % a].instance != after[i].instance) {
                CHECK(after[i].instance == (int)n); /* only to the new one */
                moved += len;
            }
        }
        CHECK(moved / 0x1p32 < 1.02 / (double)(n + 1));
        CHECK(moved / 0x1p32 > 0.98 / (double)(n + 1));
        free(before);
        free(after);
    }
}

TEST(the_greatest_ordinal_still_gets_distinct_tokens)
{
    uint32_t t[RING_TOKENS];

    tokens_of_ordinal(RING_ORDINAL_MAX, RING_TOKENS, t);
    for (size_t i = 1; i < RING_TOKENS; i++)
        CHECK(t[i - 1] < t[i]);
}

TEST(names_without_ordinals_get_tokens_too)
{
    uint32_t a[RING_TOKENS], b[RING_TOKENS];

    tokens_of_name(STR("laptop"), RING_TOKENS, a);
    tokens_of_name(STR("laptop"), RING_TOKENS, b);
    CHECK(memcmp(a, b, sizeof a) == 0);
    for (size_t i = 1; i < RING_TOKENS; i++)
        CHECK(a[i - 1] < a[i]);
    tokens_of_name(STR("laptop2"), RING_TOKENS, b);
    CHECK(memcmp(a, b, sizeof a) != 0);
}

TEST(ordinals_are_read_from_names)
{
    CHECK_INT(tokens_ordinal_of_name(STR("ingester-zone-a-12")), 12);
    CHECK_INT(tokens_ordinal_of_name(STR("ingester0")), 0);
    CHECK_INT(tokens_ordinal_of_name(STR("7")), 7);
    CHECK_INT(tokens_ordinal_of_name(STR("laptop")), -1);
    CHECK_INT(tokens_ordinal_of_name(STR("")), -1);
    CHECK_INT(tokens_ordinal_of_name(STR("i-512")), -1);
    CHECK_INT(tokens_ordinal_of_name(STR("i-99999999999999999999")), -1);
}
