#include "common/base/base64.h"
#include "ring/etcd_msg.h"
#include "tests/test.h"

static int decode(const char *text, struct etcd_answer *ret)
{
    struct err err = {0};
    int rc         = etcd_answer_decode(str_of(text), ret, &err);

    if (rc < 0)
        CHECK(err.text[0]);
    return rc;
}

TEST(answers_are_read_as_etcd_writes_them)
{
    struct etcd_answer a;

    CHECK_INT(decode("{\"header\":{\"cluster_id\":\"3\",\"revision\":\"42\"},\"kvs\":[{\"key\":\"Zm9vL2E=\",\"mod_revision\":\"7\","
                     "\"value\":\"djE=\",\"lease\":\"2324035727211070213\"},{\"key\":\"Zm9v\",\"mod_revision\":\"8\"}],\"count\":\"2\"}", &a), 0);
    CHECK(a.revision == 42 && a.kvs.n == 2 && a.code == ETCD_OK);
    CHECK(str_eqz(a.kvs.v[0].key, "foo/a") && str_eqz(a.kvs.v[0].value, "v1") && a.kvs.v[0].lease == 2324035727211070213);
    CHECK(str_eqz(a.kvs.v[1].key, "foo") && a.kvs.v[1].value.n == 0 && a.kvs.v[1].mod_revision == 8 && !a.kvs.v[1].deleted);
    etcd_answer_fini(&a);
    CHECK_INT(decode("{\"result\":{\"header\":{\"revision\":\"4\"},\"events\":[{\"kv\":{\"key\":\"Zg==\"}},"
                     "{\"type\":\"DELETE\",\"kv\":{\"key\":\"Zw==\",\"mod_revision\":\"4\"}}]}}", &a), 0);
    CHECK(a.kvs.n == 2 && !a.kvs.v[0].deleted && a.kvs.v[1].deleted && a.kvs.v[1].mod_revision == 4);
    etcd_answer_fini(&a);
    CHECK_INT(decode("{\"result\":{\"ID\":\"9\"}}", &a), 0);
    CHECK(a.lease == 9 && a.ttl_s == 0); /* the lease has ended */
    etcd_answer_fini(&a);
    CHECK_INT(decode("{\"succeeded\":true,\"responses\":[{\"response_put\":{}}]}", &a), 0);
    CHECK(a.succeeded);
    etcd_answer_fini(&a);
    CHECK_INT(decode("{\"error\":\"etcdserver: requested lease not found\",\"code\":5}", &a), 0);
    CHECK_INT(a.code, ETCD_NOT_FOUND);
    CHECK_STR(a.message, "etcdserver: requested lease not found");
    etcd_answer_fini(&a);
    CHECK_INT(decode("{\"error\":{\"grpc_code\":14,\"message\":\"no\\nleader\"}}", &a), 0);
    CHECK_INT(a.code, ETCD_UNAVAILABLE);
    CHECK_STR(a.message, "no?leader");
    etcd_answer_fini(&a);
}

TEST(what_is_no_answer_is_refused_and_leaves_the_result_alone)
{
    static const char *const bad[] = {"", "[]", "404 page not found", "{\"kvs\":{}}", "{\"kvs\":[7]}", "{\"kvs\":[{\"key\":\"?\"}]}",
                                      "{\"kvs\":[{\"key\":7}]}", "{\"header\":{\"revision\":\"-1\"}}", "{\"header\":{\"revision\":\"18446744073709551616\"}}",
                                      "{\"TTL\":\"1x\"}", "{\"TTL\":1.5}", "{\"token\":\"a b\"}", "{\"token\":\"a\\r\\nX: y\"}", "{\"result\":[]}",
                                      "{\"result\":{\"events\":[{}]}}", "{\"responses\":[{\"response_range\":[]}]}", "{\"ID\":\"1\",\"ID\":\"2\"}"};
    struct etcd_answer a = {.revision = 77};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (decode(bad[i], &a) == 0)
            fail_msg("accepted: %s", bad[i]);
        CHECK(a.revision == 77);
    }
}

TEST(requests_are_what_etcds_gateway_expects)
{
    struct buf b;

    buf_init(&b, 4096);
    etcd_put_range(&b, STR("foo/"), true);
    CHECK(str_eqz(buf_view(&b), "{\"key\":\"Zm9vLw==\",\"range_end\":\"Zm9vMA==\",\"keys_only\":true}"));
    buf_clear(&b);
    etcd_put_swap(&b, STR("foo/a"), 7, STR("v1"));
    CHECK(str_eqz(buf_view(&b), "{\"compare\":[{\"target\":\"MOD\",\"key\":\"Zm9vL2E=\",\"mod_revision\":\"7\"}],\"success\":[{\"request_put\":{"
                                "\"key\":\"Zm9vL2E=\",\"value\":\"djE=\"}}],\"failure\":[{\"request_range\":{\"key\":\"Zm9vL2E=\"}}]}"));
    buf_clear(&b);
    etcd_put_authenticate(&b, STR("a\"b"), STR("\\"));
    CHECK(str_eqz(buf_view(&b), "{\"name\":\"a\\\"b\",\"password\":\"\\\\\"}"));
    buf_fini(&b);
}

TEST(base64_is_read_in_either_alphabet_and_with_or_without_padding)
{
    static const struct { const char *text, *bytes; } cases[] = {
        {"", ""}, {"Zg==", "f"}, {"Zg", "f"}, {"Zm8=", "fo"}, {"Zm9v", "foo"}, {"-_8", "\xfb\xff"}, {"+/8=", "\xfb\xff"}, {"Z", NULL}, {"Z!==", NULL},
    };
    struct buf b;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_init(&b, 64);
        CHECK(base64_get(str_of(cases[i].text), &b) == (cases[i].bytes != NULL));
        if (cases[i].bytes)
            CHECK(str_eqz(buf_view(&b), cases[i].bytes) && base64_bytes(str_of(cases[i].text)) == b.n);
        buf_fini(&b);
    }
}
