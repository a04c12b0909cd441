#include "tsdb/postings.h"
#include "common/base/rng.h"
#include "tests/test.h"

enum { LIST_MAX = 20000 };

/* The list must hold exactly want[0..n). */
static void check_list(const struct posting_list *l, const uint32_t *want, uint32_t n)
{
    struct posting_iter it = posting_iter_of(l);
    uint32_t at, i = 0;

    CHECK_INT(l->count, n);
    while (posting_next(&it, &at)) {
        CHECK(i < n);
        CHECK_INT(at, want[i]);
        i++;
    }
    CHECK_INT(i, n);
}

TEST(lists_give_back_what_was_added)
{
    static uint32_t want[LIST_MAX];
    static const uint32_t gaps[] = {1, 3, 200, 100000};
    struct rng rng;

    rng_init(&rng, test_seed());
    for (size_t g = 0; g < ARRAY_LEN(gaps); g++) {
        struct posting_list l = {0};
        uint32_t ordinal = (uint32_t)rng_below(&rng, gaps[g]);

        for (uint32_t n = 0; n < LIST_MAX; n++) {
            posting_list_add(&l, ordinal);
            want[n] = ordinal;
            ordinal += 1 + (uint32_t)rng_below(&rng, gaps[g]);
            if (n < 20)
                check_list(&l, want, n + 1);
        }
        check_list(&l, want, LIST_MAX);
        posting_list_fini(&l);
    }
}

TEST(the_largest_ordinals_fit)
{
    struct posting_list l = {0};
    uint32_t want[] = {0, UINT32_MAX - 2, UINT32_MAX - 1};

    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        posting_list_add(&l, want[i]);
    check_list(&l, want, ARRAY_LEN(want));
    posting_list_fini(&l);
}

TEST(remap_drops_and_renumbers)
{
    static const double keep[] = {0, 0.01, 0.5, 0.99, 1};
    uint32_t *map = malloc(LIST_MAX * 4 * sizeof *map),
             *want = malloc((LIST_MAX * 4 + 1) * sizeof *want);
    struct rng rng;

    rng_init(&rng, test_seed());
    for (size_t k = 0; k < ARRAY_LEN(keep); k++) {
        for (uint32_t size = 1; size <= LIST_MAX; size *= 3) {
            struct posting_list l = {0};
            uint32_t kept = 0, n = 0;

            for (uint32_t i = 0; i < size * 4; i++) {
                bool in = rng_chance(&rng, 0.4);

                map[i] = rng_chance(&rng, keep[k]) ? kept++ : ID_NONE;
                if (in)
                    posting_list_add(&l, i);
                if (in && map[i] != ID_NONE)
                    want[n++] = map[i];
            }
            posting_list_remap(&l, map);
            check_list(&l, want, n);
            if (n > 0) { /* and goes on */
                posting_list_add(&l, want[n - 1] + 1000);
                want[n] = want[n - 1] + 1000;
                n++;
                check_list(&l, want, n);
            }
            posting_list_fini(&l);
        }
    }
    free(map);
    free(want);
}

TEST(pairs_are_per_tenant)
{
    struct symbols *syms = symbols_new();
    struct postings *p = postings_new(syms);
    uint32_t a = postings_pair_make(p, 0, STR("job"), STR("x")),
             b = postings_pair_make(p, 1, STR("job"), STR("x"));

    CHECK(a != b && postings_pair_make(p, 0, STR("job"), STR("x")) == a);
    CHECK(postings_pair_find(p, 1, STR("job"), STR("x")) == b);
    CHECK(postings_pair_find(p, 1, STR("job"), STR("y")) == ID_NONE);
    CHECK(postings_pair_find(p, 2, STR("job"), STR("x")) == ID_NONE);
    CHECK(postings_pair_find(p, 0, STR("x"), STR("job")) == ID_NONE);
    CHECK(str_eqz(postings_pair_name(p, b), "job") && str_eqz(postings_pair_value(p, b), "x"));
    CHECK_INT(symbols_count(syms), 2);
    CHECK(postings_name_find(p, 0, STR("job"))->n == 1 &&
          postings_name_find(p, 2, STR("job")) == NULL);
    postings_free(p);
    symbols_free(syms);
}

TEST(rebuild_gives_symbols_and_ids_back)
{
    enum { SERIES = 1000 };
    struct symbols *syms = symbols_new();
    struct postings *p = postings_new(syms);
    uint32_t map[SERIES], job, kept = 0;
    struct posting_iter it;

    for (uint32_t i = 0; i < SERIES; i++) {
        char text[16];

        postings_add(p, postings_pair_make(p, 0, STR("job"), STR("x")), i);
        snprintf(text, sizeof text, "%u", i);
        postings_add(p, postings_pair_make(p, i % 2, STR("id"), str_of(text)), i);
        map[i] = i % 2 ? ID_NONE : kept++; /* all of tenant 1 go */
    }
    CHECK_INT(symbols_count(syms), SERIES + 3);
    postings_rebuild(p, map);
    CHECK_INT(symbols_count(syms), SERIES / 2 + 3);
    CHECK(postings_name_find(p, 1, STR("id")) == NULL);
    CHECK_INT(postings_name_find(p, 0, STR("id"))->n, SERIES / 2);
    CHECK(postings_pair_find(p, 1, STR("id"), STR("1")) == ID_NONE);
    it = posting_iter_of(&postings_pair(p, postings_pair_find(p, 0, STR("id"), STR("998")))->list);
    CHECK(posting_next(&it, &job) && job == 499 && !posting_next(&it, &job));
    job = postings_pair_find(p, 0, STR("job"), STR("x"));
    CHECK_INT(postings_pair(p, job)->list.count, SERIES / 2);
    CHECK(postings_pair_make(p, 3, STR("new"), STR("1")) < SERIES + 1); /* a used id */
    for (uint32_t i = 0; i < kept; i++)
        map[i] = ID_NONE;
    postings_add(p, postings_pair_find(p, 3, STR("new"), STR("1")), kept);
    map[kept] = 0;
    postings_rebuild(p, map);
    CHECK_INT(symbols_count(syms), 2);
    postings_free(p);
    symbols_free(syms);
}
