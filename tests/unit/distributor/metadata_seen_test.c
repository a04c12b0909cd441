/* Metadata that a quorum has is not sent again: until something changed, or ten minutes are over. */
#include "distributor/metadata_seen.h"
#include "tests/test.h"

static const struct metadata_row row = {{"acme", 4}, {"m", 1}, {"helps", 5}, {"s", 1}, 1};

TEST(metadata_is_seen_once_it_was_put)
{
    struct metadata_seen *s = metadata_seen_new();
    struct metadata_key k = metadata_key_of(&row, 7, 1000);

    CHECK(!metadata_seen_has(s, k));
    metadata_seen_put(s, k);
    CHECK(metadata_seen_has(s, k));
    CHECK(!metadata_seen_has(s, metadata_key_of(&row, 8, 1000))); /* the ring or a head changed */
    CHECK(!metadata_seen_has(s, metadata_key_of(&row, 7, 1000 + METADATA_RESEND_MS)));
    metadata_seen_free(s);
}

TEST(metadata_that_differs_in_any_part_is_another_row)
{
    struct metadata_seen *s = metadata_seen_new();
    struct metadata_row others[5] = {row, row, row, row, row};

    others[0].tenant = STR("other");
    others[1].metric = STR("n");
    others[2].help = STR("helpz");
    others[3].unit = STR("");
    others[4].type = 2;
    metadata_seen_put(s, metadata_key_of(&row, 7, 1000));
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        CHECK(!metadata_seen_has(s, metadata_key_of(&others[i], 7, 1000)));
    metadata_seen_free(s);
}

TEST(metadata_sent_again_comes_at_a_time_of_its_own)
{
    unsigned changed = 0;

    for (int i = 0; i < 1000; i++) {
        char name[32];
        struct metadata_row r = row;

        snprintf(name, sizeof name, "m%d", i);
        r.metric = str_of(name);
        changed += metadata_key_of(&r, 7, 1000).word != metadata_key_of(&r, 7, 1000 + METADATA_RESEND_MS / 2).word;
    }
    CHECK(changed > 400 && changed < 600);
}

TEST(metadata_table_keeps_what_fits)
{
    enum { ROWS = 50000 };
    struct metadata_seen *s = metadata_seen_new();
    unsigned kept = 0;

    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < ROWS; i++) {
            char name[32];
            struct metadata_row r = row;

            snprintf(name, sizeof name, "metric_%d", i);
            r.metric = str_of(name);
            if (pass == 0)
                metadata_seen_put(s, metadata_key_of(&r, 1, 0));
            else
                kept += metadata_seen_has(s, metadata_key_of(&r, 1, 0));
        }
    }
    CHECK(kept > ROWS * 98 / 100);
    metadata_seen_free(s);
}
