/* Seeds by name, with a real resolver and a name server that fails in every way. */
#include "common/rpc/rpc.h"
#include "common/sys/clock.h"
#include "ring/ring_dns.h"
#include "ring/ring_node.h"
#include "tests/component/ring/dns_stub.h"

enum { WAIT_MS = 20000, PERIOD_MS = 100 };

static struct dns_stub dns;

__attribute__((constructor(101))) static void own_network(void)
{
    dns_own_network();
}

static int64_t now_ms(void)
{
    return clock_mono_ms(clock_system());
}

static int lookup(const char *text, seed_addrs *ret, struct err *err)
{
    struct seeds s;
    int rc = seeds_init(&s, &text, 1, err);

    if (rc == 0)
        rc = seed_lookup(&s.list.v[0], ret, err);
    seeds_fini(&s);
    return rc;
}

TEST(a_name_stands_for_all_its_addresses_and_srv_records)
{
    static const struct dns_record records[] = {
        {"gossip.test", DNS_A, "10.0.0.9", 0}, {"gossip.test", DNS_A, "10.0.0.10", 0}, {"gossip.test", DNS_AAAA, "fd00::7", 0},
        {"other.test", DNS_A, "10.9.9.9", 0}, {"_rpc._tcp.test", DNS_SRV, "gossip.test", 7000}, {"_rpc._tcp.test", DNS_SRV, "other.test", 7001},
        {"_rpc._tcp.test", DNS_SRV, "gone.test", 7002},
    };
    seed_addrs got = {0};
    struct err err = {0};

    dns_up(&dns);
    dns_set(&dns, DNS_GOOD, records, ARRAY_LEN(records));
    CHECK_INT(lookup("gossip.test:9095", &got, &err), 0);
    CHECK_INT(got.n, 3);
    CHECK_STR(got.v[0].text, "10.0.0.10:9095");
    CHECK_STR(got.v[1].text, "10.0.0.9:9095");
    CHECK_STR(got.v[2].text, "[fd00::7]:9095");
    CHECK_INT(lookup("dnssrv+_rpc._tcp.test", &got, &err), 0);
    CHECK_INT(got.n, 4); /* a target that is gone takes nothing from the others */
    CHECK_STR(got.v[0].text, "10.0.0.10:7000");
    CHECK_STR(got.v[2].text, "10.9.9.9:7001");
    CHECK_INT(lookup("nobody.test:1", &got, &err), RC_UNAVAILABLE);
    CHECK(got.n == 0 && strstr(err.text, "nobody.test"));
    CHECK_INT(lookup("dnssrv+_rpc._tcp.nobody", &got, &err), RC_UNAVAILABLE);
    vec_fini(&got);
    dns_down(&dns);
}

TEST(a_hundred_records_are_all_read)
{
    static struct dns_record records[100];
    static char values[100][16];
    seed_addrs got = {0};
    struct err err = {0};

    for (int i = 0; i < 100; i++) {
        snprintf(values[i], sizeof values[i], "10.0.1.%d", i + 1);
        records[i] = (struct dns_record){"many.test", DNS_A, values[i], 0};
    }
    dns_up(&dns);
    dns_set(&dns, DNS_GOOD, records, 100); /* does not fit a datagram: the resolver comes back by TCP */
    if (lookup("many.test:1", &got, &err) < 0)
        fail_msg("%s", err.text);
    CHECK_INT(got.n, 100);
    vec_fini(&got);
    dns_down(&dns);
}

struct told {
    struct mutex lock;
    unsigned times;
    size_t n;
    char first[64];
};

static void on_changed(void *arg, const seed_addrs *addrs)
{
    struct told *t = arg;

    mutex_lock(&t->lock);
    t->times++;
    t->n = addrs->n;
    snprintf(t->first, sizeof t->first, "%.60s", addrs->n ? addrs->v[0].text : "");
    mutex_unlock(&t->lock);
}

static bool told_is(struct told *t, size_t n, const char *first)
{
    bool yes;

    mutex_lock(&t->lock);
    yes = t->n == n && strcmp(t->first, first) == 0;
    mutex_unlock(&t->lock);
    return yes;
}

static void wait_told(struct told *t, size_t n, const char *first)
{
    for (int64_t until = now_ms() + WAIT_MS; !told_is(t, n, first); poll(NULL, 0, 5))
        CHECK(now_ms() < until);
}

static void wait_asked(unsigned more)
{
    unsigned from, now;
    int64_t until = now_ms() + WAIT_MS;

    mutex_lock(&dns.lock);
    from = dns.asked;
    mutex_unlock(&dns.lock);
    do {
        CHECK(now_ms() < until);
        poll(NULL, 0, 5);
        mutex_lock(&dns.lock);
        now = dns.asked;
        mutex_unlock(&dns.lock);
    } while (now < from + more);
}

TEST(the_last_good_answer_survives_every_failure_and_a_change_is_told)
{
    static const struct dns_record one[] = {{"g.test", DNS_A, "10.0.0.1", 0}}, two[] = {{"g.test", DNS_A, "10.0.0.2", 0}, {"g.test", DNS_A, "10.0.0.3", 0}};
    static const enum dns_mood bad[]     = {DNS_SERVFAIL, DNS_NXDOMAIN, DNS_SILENT};
    static struct told told;
    const char *texts[]     = {"g.test:1"};
    struct ring_dns_cfg cfg = {PERIOD_MS, NULL, NULL, on_changed, &told};
    struct ring_dns *d;
    struct seeds s;

    mutex_init(&told.lock);
    dns_up(&dns);
    dns_set(&dns, DNS_SERVFAIL, one, 1);
    CHECK_INT(seeds_init(&s, texts, 1, NULL), 0);
    d = ring_dns_new(&cfg, &s);
    wait_asked(2);
    CHECK(told.times == 0);
    dns_mood(&dns, DNS_GOOD);
    wait_told(&told, 1, "10.0.0.1:1");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        dns_mood(&dns, bad[i]);
        wait_asked(4);
        CHECK(told_is(&told, 1, "10.0.0.1:1"));
    }
    for (int flap = 0; flap < 6; flap++) {
        dns_set(&dns, flap % 2 ? DNS_GOOD : DNS_NXDOMAIN, two, 2);
        wait_asked(3);
    }
    wait_told(&told, 2, "10.0.0.2:1");
    CHECK_INT(told.times, 2);
    dns_mood(&dns, DNS_SILENT);
    wait_asked(1);
    ring_dns_free(d); /* does not wait for the name server */
    dns_down(&dns);
}

/* A headless Service: one name, a record for each pod, all with one port. */
TEST(members_find_each_other_through_one_name_after_the_name_service_comes_up)
{
    static const struct dns_record pods[] = {{"pods.test", DNS_A, "127.0.0.11", 0}, {"pods.test", DNS_A, "127.0.0.12", 0}, {"pods.test", DNS_A, "127.0.0.13", 0}};
    struct rpc_server *srv[3];
    struct ring_node *node[3];
    const char *seeds[] = {"pods.test:7946"};
    struct err err      = {0};
    int64_t began;

    dns_up(&dns);
    dns_set(&dns, DNS_SERVFAIL, pods, 3);
    for (int i = 0; i < 3; i++) {
        char addr[32], id[32];
        struct rpc_server_cfg scfg = {.listen = addr, .cluster = STR("c")};
        struct ring_node_cfg cfg   = {.id = id, .zone = "z", .addr = addr, .cluster = STR("c"), .roles = RING_INGESTER, .seeds = seeds, .seeds_n = 1,
                                      .rf = 3, .period_ms = 100, .seeds_period_ms = PERIOD_MS};
        struct ring_node_deps deps = {0};

        snprintf(addr, sizeof addr, "127.0.0.%d:7946", 11 + i);
        snprintf(id, sizeof id, "ingester-%d", i);
        CHECK_INT(rpc_server_new(&scfg, &srv[i], &err), 0);
        deps.server = srv[i];
        if (ring_node_new(&cfg, &deps, &node[i], &err) < 0 || rpc_server_start(srv[i], &err) < 0 || ring_node_start(node[i], NULL, &err) < 0)
            fail_msg("%s", err.text);
    }
    CHECK(!ring_node_wait(node[0], RING_INGESTER, 2, 300));
    dns_mood(&dns, DNS_GOOD);
    began = now_ms();
    for (int i = 0; i < 3; i++)
        CHECK(ring_node_wait(node[i], RING_INGESTER, 3, WAIT_MS));
    print_message("three members found each other %lld ms after the name service came up\n", (long long)(now_ms() - began));
    dns_mood(&dns, DNS_NXDOMAIN);
    poll(NULL, 0, 5 * PERIOD_MS);
    for (int i = 0; i < 3; i++)
        CHECK(ring_node_wait(node[i], RING_INGESTER, 3, 0));
    for (int i = 0; i < 3; i++) {
        rpc_server_free(srv[i]);
        ring_node_free(node[i]);
    }
    dns_down(&dns);
}
