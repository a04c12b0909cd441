#include "tsdb/symbols.h"
#include "common/base/rng.h"
#include "tests/test.h"
#include "tsdb/idtab.h"

TEST(equal_texts_share_an_id_until_all_references_are_gone)
{
    struct symbols *s = symbols_new();
    uint32_t a = symbols_take(s, STR("job")), b = symbols_take(s, STR("instance")),
             e = symbols_take(s, STR(""));

    CHECK(symbols_take(s, STR("job")) == a && a != b && b != e);
    CHECK(symbols_find(s, STR("job")) == a && symbols_find(s, STR("")) == e &&
          symbols_find(s, STR("jo")) == ID_NONE);
    CHECK(symbols_count(s) == 3);
    symbols_drop(s, a);
    CHECK(str_eqz(symbols_text(s, a), "job"));
    symbols_drop(s, a);
    CHECK(symbols_find(s, STR("job")) == ID_NONE && symbols_count(s) == 2);
    CHECK(symbols_take(s, STR("job again")) == a); /* the id is used again */
    CHECK(str_eqz(symbols_text(s, b), "instance"));
    symbols_free(s);
}

TEST(bytes_do_not_move_while_they_are_held)
{
    struct symbols *s = symbols_new();
    uint32_t id = symbols_take(s, STR("fixed"));
    const char *p = symbols_text(s, id).p;

    for (int i = 0; i < 10000; i++) {
        char text[16];

        symbols_take(s, str_n(text, (size_t)snprintf(text, sizeof text, "%d", i)));
    }
    CHECK(symbols_text(s, id).p == p && str_eqz(symbols_text(s, id), "fixed"));
    symbols_free(s);
}

TEST(random_takes_and_drops_agree_with_counts)
{
    enum { TEXTS = 300, STEPS = 50000 };
    struct symbols *s = symbols_new();
    uint32_t refs[TEXTS] = {0}, id[TEXTS], live = 0;
    size_t empty = symbols_shared_memory(s);
    struct rng rng;

    rng_init(&rng, test_seed());
    for (int step = 0; step < STEPS; step++) {
        uint32_t i = (uint32_t)rng_below(&rng, TEXTS);
        char text[16];
        struct str str = str_n(text, (size_t)snprintf(text, sizeof text, "%u", i * 7919));

        if (rng_chance(&rng, 0.5)) {
            uint32_t got = symbols_take(s, str);

            CHECK(refs[i] == 0 || got == id[i]);
            live += refs[i]++ == 0;
            id[i] = got;
        } else if (refs[i] > 0) {
            symbols_drop(s, id[i]);
            live -= --refs[i] == 0;
        }
        CHECK(symbols_find(s, str) == (refs[i] ? id[i] : ID_NONE));
        CHECK(symbols_count(s) == live);
        if (step % 1000 == 0)
            symbols_trim(s);
    }
    CHECK(symbols_shared_memory(s) > empty);
    for (uint32_t i = 0; i < TEXTS; i++)
        CHECK(refs[i] == 0 || symbols_share(s, id[i]) <= 64 / refs[i]);
    symbols_free(s);
}

TEST(idtab_holds_equal_tags_and_removes_without_holes)
{
    enum { IDS = 500, STEPS = 20000 };
    struct idtab t = {0};
    bool there[IDS] = {0};
    uint32_t n = 0;
    struct rng rng;

    rng_init(&rng, test_seed());
    for (int step = 0; step < STEPS; step++) {
        uint32_t id = (uint32_t)rng_below(&rng, IDS), tag = id % 37 * 0x01000193, pos, got;

        if (there[id])
            idtab_remove(&t, tag, id);
        else
            idtab_add(&t, tag, id);
        n += there[id] ? -1 : 1;
        there[id] = !there[id];
        id = (uint32_t)rng_below(&rng, IDS);
        tag = id % 37 * 0x01000193;
        for (got = idtab_first(&t, tag, &pos); got != ID_NONE && got != id;
             got = idtab_next(&t, tag, &pos))
            CHECK(there[got] && got % 37 == id % 37);
        CHECK((got == id) == there[id]);
        CHECK_INT(t.n, n);
    }
    idtab_fini(&t);
}
