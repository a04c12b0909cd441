#include "tests/test.h"
#include "tsdb/index.h"

#include <unistd.h>

static struct tombstone stone(const char *name, enum matcher_type type, const char *value, int64_t mint, int64_t maxt)
{
    struct matcher m;
    struct tombstone t = {0};

    CHECK(matcher_init(&m, type, str_of(name), str_of(value), NULL) == 0);
    CHECK(tombstone_init(&t, &m, 1, (struct time_span){mint, maxt}, NULL) == 0);
    matcher_fini(&m);
    return t;
}

static struct bucket *bucket_at(const char *name)
{
    char dir[300];
    struct bucket *b = NULL;

    snprintf(dir, sizeof dir, "%s/%s", test_tmpdir(), name);
    CHECK(bucket_open(dir, &b, NULL) == 0);
    return b;
}

TEST(spans_of_a_series_are_sorted_joined_and_of_those_that_match)
{
    struct label v[] = {{STR("__name__"), STR("up")}, {STR("job"), STR("node")}};
    struct labels ls = {v, 2};
    struct tombstone t[] = {
        stone("job", MATCH_EQ, "node", 50, 60),  stone("job", MATCH_RE, "n.*", 10, 20), stone("job", MATCH_EQ, "other", 0, 1000),
        stone("env", MATCH_EQ, "", 21, 30),      stone("job", MATCH_NEQ, "node", 0, 9), stone("job", MATCH_EQ, "node", 200, 300),
    };
    struct time_spans s;
    struct arena a;

    arena_init(&a, 1 << 20);
    CHECK(tombstones_spans(t, ARRAY_LEN(t), &ls, (struct time_span){0, 100}, &a, &s, NULL) == 0);
    CHECK(s.n == 2);
    CHECK(s.v[0].mint_ms == 10 && s.v[0].maxt_ms == 30); /* touching spans are one; an absent label is an empty one */
    CHECK(s.v[1].mint_ms == 50 && s.v[1].maxt_ms == 60);
    CHECK(time_spans_cover(&s, (struct time_span){12, 30}) && !time_spans_cover(&s, (struct time_span){12, 31}));
    CHECK(time_spans_have(&s, 60) && !time_spans_have(&s, 61) && !time_spans_have(&s, 9));
    CHECK(tombstones_spans(t, ARRAY_LEN(t), &ls, (struct time_span){70, 100}, &a, &s, NULL) == 0 && s.n == 0);
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        tombstone_fini(&t[i]);
    arena_fini(&a);
}

TEST(what_json_cannot_keep_is_refused)
{
    static const struct str bad[] = {{"a\0b", 3}, {"\xff", 1}};
    struct tombstone t = {.seq = 77};
    struct err err;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct matcher m;

        CHECK(matcher_init(&m, MATCH_EQ, STR("x"), bad[i], NULL) == 0);
        CHECK(tombstone_init(&t, &m, 1, (struct time_span){0, 1}, &err) == RC_INVALID);
        matcher_fini(&m);
    }
    CHECK(t.seq == 77 && !t.matchers);
}

TEST(deletions_are_numbered_joined_and_read_back)
{
    struct bucket *b = bucket_at("numbered");
    struct tombstone list[] = {stone("job", MATCH_EQ, "a", 10, 20), stone("job", MATCH_NRE, "x|y\"\\.", -5, 20)},
                     wider = stone("job", MATCH_EQ, "a", 15, 40), inside = stone("job", MATCH_EQ, "a", 12, 39);
    struct index ix;
    uint64_t gen;

    CHECK(index_delete_series(b, "t", list, 2, 100, &gen, NULL) == 0 && gen == 1);
    CHECK(index_delete_series(b, "t", list, 2, 101, &gen, NULL) == 0 && gen == 1); /* nothing new */
    CHECK(index_delete_series(b, "t", &wider, 1, 102, &gen, NULL) == 0 && gen == 2);
    CHECK(index_delete_series(b, "t", &inside, 1, 103, &gen, NULL) == 0 && gen == 2);
    CHECK(index_delete_tenant(b, "t", 500, NULL) == 0);
    CHECK(index_load(b, "t", &ix, NULL) == 0);
    CHECK(ix.gen == 3 && ix.tombstones.n == 3 && ix.tombstone_seq == 4);
    CHECK(ix.tombstones.v[0].seq == 2 && ix.tombstones.v[0].matchers[0].type == MATCH_NRE && ix.tombstones.v[0].span.mint_ms == -5);
    CHECK(str_eqz(ix.tombstones.v[0].matchers[0].value, "x|y\"\\."));
    CHECK(ix.tombstones.v[1].seq == 3 && ix.tombstones.v[1].span.mint_ms == 10 && ix.tombstones.v[1].span.maxt_ms == 40);
    CHECK(ix.tombstones.v[1].created_ms == 102 && !ix.tombstones.v[1].hurry);
    CHECK(index_tenant_deleted(&ix) == &ix.tombstones.v[2] && ix.tombstones.v[2].hurry && ix.tombstones.v[2].matcher_count == 0);
    index_fini(&ix);
    CHECK(index_hurry(b, "t", NULL) == 0 && index_hurry(b, "t", NULL) == 0);
    CHECK(index_load(b, "t", &ix, NULL) == 0);
    CHECK(ix.gen == 4 && ix.tombstones.v[0].hurry);
    index_fini(&ix);
    tombstone_fini(&list[0]);
    tombstone_fini(&list[1]);
    tombstone_fini(&wider);
    tombstone_fini(&inside);
    bucket_free(b);
}

TEST(a_tenant_has_a_ceiling_of_deletions)
{
    struct bucket *b = bucket_at("ceiling");
    VEC(struct tombstone) list = {0};
    struct index ix;
    struct err err;

    for (int i = 0; i <= TOMBSTONES_MAX; i++) {
        char value[16];

        snprintf(value, sizeof value, "%d", i);
        *vec_push(&list) = stone("i", MATCH_EQ, value, 0, 10);
    }
    CHECK(index_delete_series(b, "t", list.v, list.n, 1, NULL, &err) == RC_LIMIT);
    CHECK(index_load(b, "t", &ix, NULL) == 0 && ix.gen == 0); /* all or nothing */
    CHECK(index_delete_series(b, "t", list.v, TOMBSTONES_MAX, 1, NULL, &err) == 0);
    CHECK(index_delete_series(b, "t", list.v, TOMBSTONES_MAX, 1, NULL, &err) == 0);
    for (size_t i = 0; i < list.n; i++)
        tombstone_fini(&list.v[i]);
    vec_fini(&list);
    bucket_free(b);
}

TEST(a_generation_with_tombstones_is_of_a_version_that_older_binaries_refuse)
{
    struct index ix = {.gen = 3}, back;
    struct buf text;

    buf_init(&text, 1 << 20);
    CHECK(index_encode(&ix, "s", "p", &text, NULL) == 0 && memmem(text.p, text.n, "\"version\":1", 11));
    buf_clear(&text);
    ix.tombstone_seq = 9;
    *vec_push(&ix.tombstones) = stone("job", MATCH_RE, "a.*", -7, 20);
    ix.tombstones.v[0].seq = 8;
    ix.tombstones.v[0].applied_ms = 55;
    CHECK(index_encode(&ix, "s", "p", &text, NULL) == 0 && memmem(text.p, text.n, "\"version\":2", 11));
    CHECK(index_decode(buf_view(&text), &back, NULL) == 0);
    CHECK(back.tombstone_seq == 9 && back.tombstones.n == 1 && back.tombstones.v[0].applied_ms == 55 && back.tombstones.v[0].seq == 8);
    CHECK(matcher_matches(&back.tombstones.v[0].matchers[0], STR("abc")));
    index_fini(&back);
    ix.tombstones.v[0].seq = 10; /* behind its own number */
    buf_clear(&text);
    CHECK(index_encode(&ix, "s", "p", &text, NULL) == 0);
    CHECK(index_decode(buf_view(&text), &back, NULL) == RC_CORRUPT);
    index_fini(&ix);
    buf_fini(&text);
}
