#include "distributor/quorum.h"
#include "common/base/rate.h"
#include "tests/test.h"

static struct quorum start(struct arena *a, uint32_t rows)
{
    struct quorum q;

    arena_init(a, 1 << 20);
    CHECK(quorum_init(&q, a, rows, 3, 2));
    CHECK(quorum_state(&q) == QUORUM_OPEN);
    return q;
}

TEST(two_of_three_full_answers_acknowledge)
{
    struct arena a;
    struct quorum q = start(&a, 5);

    quorum_answer(&q, NULL, 5, NULL);
    CHECK(quorum_state(&q) == QUORUM_OPEN);
    quorum_answer(&q, NULL, 5, NULL);
    CHECK(quorum_state(&q) == QUORUM_WRITTEN);
    arena_fini(&a);
}

TEST(one_dead_owner_does_not_matter_two_do)
{
    struct arena a;
    struct quorum q = start(&a, 2);

    quorum_lost(&q, NULL, 2);
    CHECK(quorum_state(&q) == QUORUM_OPEN);
    quorum_answer(&q, NULL, 2, NULL);
    CHECK(quorum_state(&q) == QUORUM_OPEN);
    quorum_lost(&q, NULL, 2);
    CHECK(quorum_state(&q) == QUORUM_FAILED);
    arena_fini(&a);
}

TEST(unknown_and_moved_are_no_votes)
{
    struct arena a;
    struct quorum q = start(&a, 2);
    uint8_t v[2] = {PUSH_UNKNOWN, PUSH_MOVED};

    quorum_answer(&q, NULL, 2, v);
    quorum_answer(&q, NULL, 2, NULL);
    CHECK(quorum_state(&q) == QUORUM_OPEN);
    quorum_answer(&q, NULL, 2, NULL);
    CHECK(quorum_state(&q) == QUORUM_WRITTEN);
    arena_fini(&a);
}

TEST(refusals_need_a_quorum_and_mixtures_are_retried)
{
    struct arena a;
    struct quorum q = start(&a, 2);
    uint8_t refuse[2] = {PUSH_ACCEPTED, PUSH_REFUSED + DISCARD_SAMPLE_OUT_OF_ORDER};

    quorum_answer(&q, NULL, 2, refuse);
    quorum_answer(&q, NULL, 2, refuse);
    CHECK(quorum_state(&q) == QUORUM_REFUSED);
    CHECK(q.reason[1] == DISCARD_SAMPLE_OUT_OF_ORDER);
    arena_fini(&a);

    /* One vote, one refusal, one lost: neither 2xx nor 400. */
    q = start(&a, 2);
    quorum_answer(&q, NULL, 2, refuse);
    quorum_answer(&q, NULL, 2, NULL);
    CHECK(quorum_state(&q) == QUORUM_OPEN);
    quorum_lost(&q, NULL, 2);
    CHECK(quorum_state(&q) == QUORUM_FAILED);
    arena_fini(&a);
}

TEST(rows_of_different_owners_are_counted_apart)
{
    struct arena a;
    struct quorum q = start(&a, 3);
    uint32_t first[] = {0, 1}, second[] = {1, 2}, third[] = {0, 2};

    for (int i = 0; i < 3; i++)
        quorum_row(&q, (uint32_t)i, 2, 2);
    quorum_answer(&q, first, 2, NULL);
    quorum_answer(&q, second, 2, NULL);
    CHECK(quorum_state(&q) == QUORUM_OPEN && q.written == 1);
    quorum_answer(&q, third, 2, NULL);
    CHECK(quorum_state(&q) == QUORUM_WRITTEN);
    arena_fini(&a);
}

TEST(a_row_with_too_few_owners_fails_at_once)
{
    struct arena a;
    struct quorum q = start(&a, 1);

    quorum_row(&q, 0, 1, 2);
    CHECK(quorum_state(&q) == QUORUM_FAILED);
    arena_fini(&a);
}

/* IN-041: bucket 1,000,000, refill 170,000/s: a million empties it, full again after 6 s, 170,000 a second in between. */
TEST(token_bucket_follows_the_worked_example)
{
    struct rate_bucket b = {0};
    int64_t s = 1000000000;

    CHECK(rate_take(&b, 170000, 1000000, s, 1000000));
    CHECK(!rate_take(&b, 170000, 1000000, s, 1));
    CHECK(rate_take(&b, 170000, 1000000, 2 * s, 170000));
    CHECK(!rate_take(&b, 170000, 1000000, 2 * s, 1));
    CHECK(rate_take(&b, 170000, 1000000, 8 * s, 1000000));
    /* IN-013: 100 tokens, 101 samples: refused whole, nothing is taken. */
    b = (struct rate_bucket){0};
    CHECK(!rate_take(&b, 1, 100, s, 101));
    CHECK(rate_take(&b, 1, 100, s, 100));
}
