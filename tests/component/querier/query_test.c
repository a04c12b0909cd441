#include "tests/component/querier/cluster_util.h"

#define T0  1600000000000LL
#define ALL 7u

TEST(constants_need_no_ingester)
{
    cluster_up(&(struct cluster_opt){0});
    CHECK(ask_is(
        "/api/v1/query", "query=1+1&time=4", 200,
        "{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[4,\"2\"]}}"));
    CHECK(ask_is(
        "/prometheus/api/v1/query", "query=1+1&time=4", 200,
        "{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[4,\"2\"]}}"));
    CHECK(ask_is("/workspaces/ws-1/api/v1/query", "query=\"x<y\"&time=4.5", 200,
                 "{\"status\":\"success\",\"data\":{\"resultType\":\"string\",\"result\":[4.5,"
                 "\"x\\u003cy\"]}}"));
    CHECK(ask_is("/api/v1/query_range", "query=2&start=0&end=2&step=1", 200,
                 MATRIX("{\"metric\":{},\"values\":[[0,\"2\"],[1,\"2\"],[2,\"2\"]]}")));
    cluster_down();
}

TEST(samples_come_back_exactly)
{
    cluster_up(&(struct cluster_opt){0});
    push_series_to("anonymous", "__name__=up,job=a", T0, 15000, 10, 1, 0.25, ALL);
    push_series_to("anonymous", "__name__=up,job=b", T0, 15000, 10, 5, 0, ALL);
    push_series_to("other", "__name__=up,job=c", T0, 15000, 10, 5, 0, ALL);
    CHECK(ask_is(
        "/api/v1/query", "query=up&time=1600000030.5", 200,
        VECTOR(
            "{\"metric\":{\"__name__\":\"up\",\"job\":\"a\"},\"value\":[1600000030.500,\"1.5\"]},"
            "{\"metric\":{\"__name__\":\"up\",\"job\":\"b\"},\"value\":[1600000030.500,\"5\"]}")));
    CHECK(ask_is("/api/v1/query", "query=up{job=\"a\"}[40s]&time=1600000060", 200,
                 MATRIX("{\"metric\":{\"__name__\":\"up\",\"job\":\"a\"},\"values\":[[1600000030,"
                        "\"1.5\"],[1600000045,\"1.75\"],[1600000060,\"2\"]]}")));
    CHECK(ask_is("/api/v1/query_range", "query=sum(up)&start=1600000000&end=1600000030&step=15",
                 200,
                 MATRIX("{\"metric\":{},\"values\":[[1600000000,\"6\"],[1600000015,\"6.25\"],["
                        "1600000030,\"6.5\"]]}")));
    CHECK(ask_is(
        "/workspaces/other/api/v1/query", "query=up&time=1600000000", 200,
        VECTOR("{\"metric\":{\"__name__\":\"up\",\"job\":\"c\"},\"value\":[1600000000,\"5\"]}")));
    CHECK(ask_is("/api/v1/query", "query=nothing&time=1600000000", 200, VECTOR("")));
    cluster_down();
}

/* What a quorum has acknowledged is read whichever replicas are asked. A read of one replica, or a
 * trust in the first answer without the other's digests, misses it in every third query. */
TEST(a_sample_on_two_of_three_replicas_is_always_read)
{
    cluster_up(&(struct cluster_opt){0});
    push_series_to("anonymous", "__name__=m,i=1", T0, 15000, 4, 1, 1, ALL);
    push_series_to("anonymous", "__name__=m,i=1", T0 + 60000, 15000, 1, 99, 0,
                   1 | 2); /* c missed the newest sample */
    push_series_to("anonymous", "__name__=n", T0, 15000, 1, 7, 0,
                   2 | 4); /* a never saw the series */
    for (int i = 0; i < 24; i++) {
        CHECK(ask_is(
            "/api/v1/query", "query=m&time=1600000060", 200,
            VECTOR("{\"metric\":{\"__name__\":\"m\",\"i\":\"1\"},\"value\":[1600000060,\"99\"]}")));
        CHECK(ask_is("/api/v1/query", "query=n&time=1600000060", 200,
                     VECTOR("{\"metric\":{\"__name__\":\"n\"},\"value\":[1600000060,\"7\"]}")));
        CHECK(ask_is("/api/v1/series", "match[]=n", 200,
                     "{\"status\":\"success\",\"data\":[{\"__name__\":\"n\"}]}"));
        CHECK(ask_is("/api/v1/labels", "", 200,
                     "{\"status\":\"success\",\"data\":[\"__name__\",\"i\"]}"));
    }
    cluster_down();
}

TEST(replicas_with_different_samples_are_merged_to_their_union)
{
    cluster_up(&(struct cluster_opt){0});
    push_series_to("anonymous", "__name__=m", T0, 20000, 3, 1, 2, 1);         /* 1 . 3 . 5 */
    push_series_to("anonymous", "__name__=m", T0 + 10000, 20000, 2, 2, 2, 2); /* . 2 . 4 . */
    push_series_to("anonymous", "__name__=m", T0, 20000, 3, 1, 2, 4);
    push_series_to("anonymous", "__name__=m", T0 + 50000, 10000, 1, 6, 0, 4); /* only c */
    node_down(&cl, 0);
    for (int i = 0; i < 8; i++)
        CHECK(ask_is("/api/v1/query", "query=m[2m]&time=1600000060", 200,
                     MATRIX("{\"metric\":{\"__name__\":\"m\"},\"values\":[[1600000000,\"1\"],["
                            "1600000010,\"2\"],[1600000020,\"3\"],[1600000030,\"4\"],"
                            "[1600000040,\"5\"],[1600000050,\"6\"]]}")));
    cluster_down();
}

TEST(a_conflict_is_decided_by_the_majority)
{
    cluster_up(&(struct cluster_opt){0});
    push_series_to("anonymous", "__name__=m", T0, 15000, 2, 1, 0, 1);
    push_series_to("anonymous", "__name__=m", T0, 15000, 2, 2, 0, 2 | 4);
    for (int i = 0; i < 24; i++)
        CHECK(ask_is("/api/v1/query", "query=m&time=1600000015", 200,
                     VECTOR("{\"metric\":{\"__name__\":\"m\"},\"value\":[1600000015,\"2\"]}")));
    cluster_down();
}

TEST(one_dead_replica_changes_nothing_and_two_are_an_error)
{
    cluster_up(&(struct cluster_opt){0});
    push_series_to("anonymous", "__name__=m,i=1", T0, 15000, 4, 1, 1, ALL);
    for (size_t dead = 0; dead < 2; dead++) {
        node_down(&cl, dead);
        for (int i = 0; i < 6; i++) {
            struct raw_reply r = ask("/api/v1/query", "query=m&time=1600000045");

            if (dead == 0) {
                CHECK_STR(r.body, VECTOR("{\"metric\":{\"__name__\":\"m\",\"i\":\"1\"},\"value\":["
                                         "1600000045,\"4\"]}"));
            } else {
                CHECK_INT(r.status, 503);
                CHECK(strstr(r.body, "\"errorType\":\"unavailable\"") &&
                      strstr(r.body, "ingester-a-0") && strstr(r.body, "ingester-b-0"));
            }
            raw_free(&r);
        }
    }
    CHECK(ask_is(
        "/api/v1/query", "query=1&time=4", 200,
        "{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[4,\"1\"]}}"));
    cluster_down();
}

/* Six instances in one zone: each series lives on three of them only. */
TEST(ranges_with_different_owners_are_all_covered)
{
    struct label lv[4];
    char name[64], want[256];

    cluster_up(&(struct cluster_opt){.nodes = 6, .one_zone = true});
    for (int s = 0; s < 50; s++) {
        const struct ring_replicas *set;
        unsigned mask = 0;
        struct labels ls;

        snprintf(name, sizeof name, "__name__=m,i=%d", s);
        ls = labels_of(name, lv);
        set = ring_replicas(cl.ring, fingerprint_token(labels_fingerprint(STR("anonymous"), &ls)));
        for (size_t i = 0; i < set->owners_n; i++)
            if ((int)i != s % 3) /* two of three owners */
                mask |= 1u << set->owners[i];
        push_series_to("anonymous", name, T0, 15000, 4, s, 0, mask);
    }
    snprintf(want, sizeof want, VECTOR("{\"metric\":{},\"value\":[1600000045,\"%d\"]}"),
             49 * 50 / 2);
    for (int i = 0; i < 10; i++)
        CHECK(ask_is("/api/v1/query", "query=sum(m)&time=1600000045", 200, want));
    cluster_down();
}

/* More than SELECT_PAGE_BYTES of labels: several pages from each ingester. */
TEST(selects_longer_than_a_page_are_whole)
{
    enum { SERIES = 12000, BATCH = 4000 };
    static char pad[501];
    struct push_batch b;

    cluster_up(&(struct cluster_opt){0});
    memset(pad, 'x', sizeof pad - 1);
    push_batch_init(&b, 16 << 20);
    for (int s = 0; s < SERIES; s++) {
        char i[16];
        struct label v[3] = {{STR("__name__"), STR("big")},
                             {STR("i"), {i, (size_t)snprintf(i, sizeof i, "%d", s)}},
                             {STR("pad"), str_n(pad, sizeof pad - 1)}};
        struct labels ls = {v, 3};
        fingerprint fp = labels_fingerprint(STR("anonymous"), &ls);

        push_batch_series(&b, fp, &ls);
        push_batch_float(&b, fp, T0, double_bits(s), 0);
        if ((s + 1) % BATCH == 0) {
            push_batch_to("anonymous", &b, (s / BATCH) % 2 ? 6 : 3);
            push_batch_clear(&b);
        }
    }
    push_batch_fini(&b);
    CHECK(ask_is("/api/v1/query", "query=count(big)&time=1600000000", 200,
                 VECTOR("{\"metric\":{},\"value\":[1600000000,\"12000\"]}")));
    CHECK(ask_is("/api/v1/query", "query=sum(big)&time=1600000000", 200,
                 VECTOR("{\"metric\":{},\"value\":[1600000000,\"71994000\"]}")));
    cluster_down();
}
