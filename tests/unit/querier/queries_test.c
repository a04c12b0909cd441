/* Lists of queries: what ended is folded, here and over queriers. */
#include "querier/queries.h"
#include "tests/test.h"

static void end(struct active *a, const char *tenant, const char *text, int64_t range_ms, int64_t took_ns, int64_t at_ms)
{
    struct active_query q = {.tenant = str_of(tenant), .text = str_of(text), .end_ms = range_ms};

    active_begin(a, &q);
    active_end(a, &q, at_ms, took_ns);
}

static const struct ended_query *find(const struct queries *qs, const char *text, int64_t range_ms)
{
    for (size_t i = 0; i < qs->ended.n; i++)
        if (str_eqz(qs->ended.v[i].text, text) && qs->ended.v[i].range_ms == range_ms)
            return &qs->ended.v[i];
    return NULL;
}

TEST(ended_queries_are_folded_over_queriers)
{
    struct active *here = active_new(), *there = active_new();
    int64_t now = clock_wall_ms(clock_system());
    struct queries_ask ask = {.what = QUERIES_ENDED, .tenant = STR("a"), .age_ms = 60000};
    static const char request[] = "\x08\x01\x12\x01"
                                  "a\x18\x01\x28\xe0\xd4\x03"; /* version 1, tenant a, ended, 60,000 ms */
    const struct ended_query *e;
    struct queries qs;
    struct err err = {0};
    struct buf out;

    end(here, "a", "up", 1000, 5, now);
    end(here, "a", "up", 1000, 7, now);
    end(here, "a", "up", 2000, 1, now);
    end(here, "b", "up", 1000, 1, now);
    end(here, "a", "old", 1000, 1, now - 61000);
    end(there, "a", "up", 1000, 100, now);
    end(there, "a", "down", 1000, 3, now);
    queries_init(&qs, "one");
    *vec_push(&qs.names) = "two";
    queries_here(&qs, here, &ask, clock_system());
    CHECK_INT((long)qs.ended.n, 2);
    buf_init(&out, 1 << 20);
    CHECK(queries_answer(there, clock_system(), str_n(request, sizeof request - 1), &out, &err) == 0);
    CHECK(queries_take(&qs, 1, buf_view(&out), &err) == 0);
    queries_fold(&qs);
    CHECK_INT((long)qs.ended.n, 3);
    e = find(&qs, "up", 1000);
    CHECK(e && e->count == 3 && e->took_ns == 112 && e->queriers[0] == 3);
    e = find(&qs, "up", 2000);
    CHECK(e && e->count == 1 && e->queriers[0] == 1);
    e = find(&qs, "down", 1000);
    CHECK(e && e->count == 1 && e->queriers[0] == 2);
    buf_fini(&out);
    queries_fini(&qs);
    active_free(here);
    active_free(there);
}

TEST(what_is_no_list_is_refused)
{
    static const struct {
        const char *bytes;
        size_t n;
        int rc;
    } cases[] = {
        {"\x08", 1, RC_CORRUPT},                         /* cut */
        {"\x08\x02", 2, RC_VERSION},                     /* another version */
        {"\x08\x01\x22\x00", 4, RC_CORRUPT},             /* ended never */
        {"\x08\x01\x22\x0d\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x20\x01", 17, RC_CORRUPT}, /* took 2^64 - 1 ns */
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct queries qs;

        queries_init(&qs, "one");
        CHECK_INT(queries_take(&qs, 1, str_n(cases[i].bytes, cases[i].n), NULL), cases[i].rc);
        CHECK_INT((long)qs.ended.n, 0);
        queries_fini(&qs);
    }
}
