/* Real members with a real etcd between them. */
#include "common/rpc/rpc.h"
#include "common/sys/thread.h"
#include "ring/ring_node.h"
#include "tests/component/ring/etcd_proc.h"

enum { WAIT_MS = 30000, TTL_MS = 2000 };

struct proc {
    struct rpc_server *srv;
    struct ring_node *node;
    char addr[64], dir[192];
};
struct opts {
    const char *user, *password, *ca, *cluster;
};

static int64_t now_ms(void)
{
    return clock_mono_ms(clock_system());
}

static void up_with(struct proc *p, const struct etcd_proc *e, const char *id, const char *zone, uint32_t roles, const struct opts *o)
{
    const char *cluster        = o->cluster ? o->cluster : "c";
    const char *endpoints[]    = {"http://127.0.0.1:1", e->url}; /* nobody listens at the first */
    struct ring_etcd_cfg etcd  = {.endpoints = endpoints, .endpoints_n = 2, .prefix = "torc", .user = o->user ? o->user : "",
                                  .password = o->password ? o->password : "", .ca = o->ca ? o->ca : "", .cert = "", .key = "",
                                  .ttl_ms = TTL_MS};
    struct rpc_server_cfg scfg = {.listen = p->addr[0] ? p->addr : "127.0.0.1:0", .cluster = str_of(cluster)};
    struct ring_node_cfg cfg   = {.id = id, .zone = zone, .cluster = str_of(cluster), .roles = roles, .rf = 3,
                                  .data_dir = p->dir[0] ? p->dir : NULL, .etcd = &etcd};
    struct ring_node_deps deps = {0};
    struct err err             = {0};

    CHECK_INT(rpc_server_new(&scfg, &p->srv, &err), 0);
    deps.server = p->srv;
    if (ring_node_new(&cfg, &deps, &p->node, &err) != 0 || rpc_server_start(p->srv, &err) != 0)
        fail_msg("%s", err.text);
    snprintf(p->addr, sizeof p->addr, "127.0.0.1:%d", rpc_server_port(p->srv));
    if (ring_node_start(p->node, p->addr, &err) != 0)
        fail_msg("%s", err.text);
}

static void up(struct proc *p, const struct etcd_proc *e, const char *id, const char *zone, uint32_t roles)
{
    up_with(p, e, id, zone, roles, &(struct opts){0});
}

static void down(struct proc *p)
{
    rpc_server_free(p->srv);
    ring_node_free(p->node);
    p->node = NULL;
}

static void three(struct proc p[3], const struct etcd_proc *e)
{
    static const char *const ids[] = {"ingester-a-0", "ingester-b-0", "ingester-c-0"}, *const zones[] = {"a", "b", "c"};

    for (int i = 0; i < 3; i++) {
        up(&p[i], e, ids[i], zones[i], RING_INGESTER);
        ring_node_set_state(p[i].node, RING_ACTIVE);
    }
}

/* All have the same n members, of which `dead` are unhealthy, and the same epoch. */
static bool agree(struct proc *p, size_t procs, size_t n, size_t dead)
{
    uint64_t epoch = 0;
    bool same      = true;

    for (size_t i = 0; i < procs; i++) {
        struct ring *r   = ring_node_ring(p[i].node);
        size_t unhealthy = 0;

        for (size_t k = 0; k < ring_instances_n(r); k++)
            unhealthy += !ring_instance(r, (uint16_t)k)->healthy;
        same  = same && ring_instances_n(r) == n && unhealthy == dead && (i == 0 || ring_epoch(r) == epoch);
        epoch = ring_epoch(r);
        ring_unref(r);
    }
    return same;
}

static int64_t wait_agree(struct proc *p, size_t procs, size_t n, size_t dead)
{
    int64_t began = now_ms();

    while (!agree(p, procs, n, dead)) {
        if (now_ms() > began + WAIT_MS) {
            struct buf b;

            buf_init(&b, RING_PAGE_BYTES_MAX);
            for (size_t i = 0; i < procs; i++)
                ring_node_write_json(p[i].node, &(struct ring_view){.path = "/memberlist"}, &b);
            fail_msg("no agreement on %zu members, %zu of them dead: %.*s", n, dead, (int)MIN(b.n, (size_t)4000), b.p);
        }
        poll(NULL, 0, 5);
    }
    return now_ms() - began;
}

static bool has(struct proc *p, const char *id, enum ring_state state, uint32_t flags)
{
    struct ring *r = ring_node_ring(p->node);
    uint16_t at    = ring_find(r, id);
    bool yes       = at != RING_NOBODY && ring_instance(r, at)->state == state && ring_instance(r, at)->flags == flags;

    ring_unref(r);
    return yes;
}

static void wait_has(struct proc *p, const char *id, enum ring_state state, uint32_t flags)
{
    int64_t until = now_ms() + WAIT_MS;

    while (!has(p, id, state, flags)) {
        CHECK(now_ms() < until);
        poll(NULL, 0, 2);
    }
}

static uint64_t epoch_of(struct proc *p)
{
    struct ring *r = ring_node_ring(p->node);
    uint64_t epoch = ring_epoch(r);

    ring_unref(r);
    return epoch;
}

TEST(members_join_change_state_and_leave_through_etcd)
{
    static struct etcd_proc e;
    static struct proc p[5];
    int64_t began;

    etcd_up(&e);
    three(p, &e);
    up(&p[3], &e, "distributor-0", "a", RING_DISTRIBUTOR);
    up(&p[4], &e, "querier-0", "b", RING_QUERIER);
    print_message("five members agreed after %lld ms\n", (long long)wait_agree(p, 5, 5, 0));
    began = now_ms();
    ring_node_set_state(p[1].node, RING_LEAVING);
    ring_node_set_flags(p[2].node, RING_READ_ONLY);
    for (int i = 0; i < 5; i++) {
        wait_has(&p[i], "ingester-b-0", RING_LEAVING, 0);
        wait_has(&p[i], "ingester-c-0", RING_ACTIVE, RING_READ_ONLY);
    }
    print_message("two changes seen by five members after %lld ms\n", (long long)(now_ms() - began));
    CHECK(now_ms() - began < 2000); /* by watch; a check would take up to TTL / 3 twice, and a read */
    wait_agree(p, 5, 5, 0);
    ring_node_leave(p[4].node);
    down(&p[4]);
    CHECK(wait_agree(p, 4, 4, 0) < TTL_MS / 2);
    for (int i = 0; i < 4; i++)
        down(&p[i]);
    etcd_down(&e);
}

TEST(a_killed_member_turns_unhealthy_when_its_lease_ends_and_can_be_forgotten)
{
    static struct etcd_proc e;
    static struct proc p[3];
    struct err err;
    uint64_t epoch;
    int64_t took;

    etcd_up(&e);
    three(p, &e);
    wait_agree(p, 3, 3, 0);
    epoch = epoch_of(&p[0]);
    CHECK_INT(ring_node_forget(p[0].node, "ingester-c-0", &err), RC_INVALID);
    down(&p[2]);
    took = wait_agree(p, 2, 3, 1);
    print_message("a lost member was unhealthy after %lld ms, its lease is %d ms\n", (long long)took, TTL_MS);
    CHECK(took > TTL_MS / 2 && epoch_of(&p[0]) == epoch);
    up(&p[2], &e, "ingester-c-0", "c", RING_INGESTER); /* without its disk */
    wait_has(&p[0], "ingester-c-0", RING_ACTIVE, RING_REBUILDING);
    wait_agree(p, 3, 3, 0);
    down(&p[2]);
    wait_agree(p, 2, 3, 1);
    CHECK_INT(ring_node_forget(p[0].node, "ingester-c-0", &err), 0);
    wait_agree(p, 2, 2, 0);
    down(&p[0]);
    down(&p[1]);
    etcd_down(&e);
}

TEST(a_restarted_member_is_the_same_and_nobody_notices)
{
    static struct etcd_proc e;
    static struct proc p[3];
    uint64_t epoch;

    snprintf(p[1].dir, sizeof p[1].dir, "%s/member", test_tmpdir());
    etcd_up(&e);
    three(p, &e);
    wait_agree(p, 3, 3, 0);
    epoch = epoch_of(&p[0]);
    down(&p[1]);
    up(&p[1], &e, "ingester-b-0", "b", RING_INGESTER);
    CHECK(ring_node_state(p[1].node) == RING_ACTIVE);
    wait_agree(p, 3, 3, 0);
    CHECK(epoch_of(&p[1]) == epoch && ring_node_flags(p[1].node) == 0);
    for (int64_t until = now_ms() + 2 * TTL_MS; now_ms() < until; poll(NULL, 0, 20)) /* its former lease ends meanwhile */
        CHECK(agree(p, 3, 3, 0));
    for (int i = 0; i < 3; i++)
        down(&p[i]);
    etcd_down(&e);
}

TEST(without_etcd_the_ring_stays_and_an_empty_etcd_is_filled_again)
{
    static struct etcd_proc e;
    static struct proc p[4];
    uint64_t epoch;
    int64_t began;

    etcd_up(&e);
    three(p, &e);
    wait_agree(p, 3, 3, 0);
    down(&p[2]); /* a dead owner, whom nobody but the others can register again */
    wait_agree(p, 2, 3, 1);
    epoch = epoch_of(&p[0]);
    etcd_down(&e);
    for (int64_t until = now_ms() + 3 * TTL_MS; now_ms() < until; poll(NULL, 0, 20))
        CHECK(agree(p, 2, 3, 1) && epoch_of(&p[0]) == epoch);
    etcd_lose_data(&e);
    etcd_up(&e);
    began = now_ms();
    up(&p[3], &e, "distributor-0", "a", RING_DISTRIBUTOR); /* knows nothing but what is in etcd */
    while (!agree(&p[3], 1, 4, 1) || epoch_of(&p[3]) != epoch) {
        CHECK(now_ms() < began + 30000); /* reliability.md F32 */
        CHECK(agree(p, 1, 3, 1) || agree(p, 1, 4, 1)); /* those who were there see nobody die */
        poll(NULL, 0, 5);
    }
    print_message("an etcd that was restarted empty had all members after %lld ms\n", (long long)(now_ms() - began));
    p[2] = p[3];
    wait_agree(p, 3, 4, 1);
    for (int i = 0; i < 3; i++)
        down(&p[i]);
    etcd_down(&e);
}

TEST(an_etcd_that_stands_still_for_longer_than_the_leases_makes_nobody_unhealthy)
{
    static struct etcd_proc e;
    static struct proc p[3];

    etcd_up(&e);
    three(p, &e);
    wait_agree(p, 3, 3, 0);
    for (int round = 0; round < 2; round++) {
        kill(e.pid, SIGSTOP);
        for (int64_t until = now_ms() + 2 * TTL_MS; now_ms() < until; poll(NULL, 0, 20))
            CHECK(agree(p, 3, 3, 0));
        kill(e.pid, SIGCONT); /* where all leases have ended meanwhile */
        for (int64_t until = now_ms() + 2 * TTL_MS; now_ms() < until; poll(NULL, 0, 20))
            CHECK(agree(p, 3, 3, 0));
    }
    ring_node_set_state(p[0].node, RING_LEAVING);
    wait_has(&p[2], "ingester-a-0", RING_LEAVING, 0);
    for (int i = 0; i < 3; i++)
        down(&p[i]);
    etcd_down(&e);
}

TEST(changes_made_while_etcd_is_away_are_told_afterwards)
{
    static struct etcd_proc e;
    static struct proc p[3];

    etcd_up(&e);
    three(p, &e);
    wait_agree(p, 3, 3, 0);
    etcd_down(&e);
    ring_node_set_state(p[0].node, RING_LEAVING);
    ring_node_set_flags(p[1].node, RING_READ_ONLY);
    poll(NULL, 0, 300);
    CHECK(!has(&p[2], "ingester-a-0", RING_LEAVING, 0));
    etcd_up(&e);
    wait_has(&p[2], "ingester-a-0", RING_LEAVING, 0);
    wait_has(&p[2], "ingester-b-0", RING_ACTIVE, RING_READ_ONLY);
    wait_agree(p, 3, 3, 0);
    for (int i = 0; i < 3; i++)
        down(&p[i]);
    etcd_down(&e);
}

TEST(a_member_starts_before_etcd_and_joins_when_it_is_there)
{
    static struct etcd_proc e;
    static struct proc p[2];

    etcd_up(&e);
    etcd_down(&e);
    etcd_lose_data(&e);
    up(&p[0], &e, "ingester-a-0", "a", RING_INGESTER);
    ring_node_set_state(p[0].node, RING_ACTIVE);
    CHECK(agree(p, 1, 1, 0));
    etcd_up(&e);
    up(&p[1], &e, "ingester-b-0", "b", RING_INGESTER);
    wait_agree(p, 2, 2, 0);
    down(&p[0]);
    down(&p[1]);
    etcd_down(&e);
}

TEST(clusters_share_an_etcd_and_do_not_mix)
{
    static struct etcd_proc e;
    static struct proc p[2];

    etcd_up(&e);
    up_with(&p[0], &e, "ingester-a-0", "a", RING_INGESTER, &(struct opts){.cluster = "one"});
    up_with(&p[1], &e, "ingester-b-0", "b", RING_INGESTER, &(struct opts){.cluster = "one-more"});
    CHECK(!ring_node_wait(p[0].node, RING_INGESTER, 2, 1000) && !ring_node_wait(p[1].node, RING_INGESTER, 2, 100));
    down(&p[0]);
    down(&p[1]);
    etcd_down(&e);
}

static int run(const char *fmt, ...)
{
    char line[2048];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    return system(line);
}

static void status_of(struct proc *p, struct ring_store_status *ret)
{
    ring_node_store_status(p->node, ret);
}

TEST(user_and_password_are_used_and_a_wrong_one_is_named)
{
    static struct etcd_proc e;
    static struct proc p[3];
    struct ring_store_status s;
    int64_t until = now_ms() + WAIT_MS;

    e.extra[0] = "--auth-token-ttl"; /* seconds: tokens run out under way */
    e.extra[1] = "2";
    etcd_up(&e);
    CHECK_INT(run("export ETCDCTL_API=3; c='etcdctl --endpoints %s'; { $c user add root:secret && $c user grant-role root root && "
                  "$c auth enable; } > %s/ctl.log 2>&1", e.url, test_tmpdir()), 0);
    up_with(&p[0], &e, "ingester-a-0", "a", RING_INGESTER, &(struct opts){.user = "root", .password = "secret"});
    up_with(&p[1], &e, "ingester-b-0", "b", RING_INGESTER, &(struct opts){.user = "root", .password = "secret"});
    wait_agree(p, 2, 2, 0);
    up_with(&p[2], &e, "ingester-c-0", "c", RING_INGESTER, &(struct opts){.user = "root", .password = "wrong"});
    for (status_of(&p[2], &s); !strstr(s.failure, "authentication failed"); status_of(&p[2], &s)) {
        if (now_ms() > until)
            fail_msg("\"%s\"", s.failure);
        poll(NULL, 0, 5);
    }
    CHECK(!s.reached && agree(&p[2], 1, 1, 0));
    poll(NULL, 0, 5000); /* past the life of the tokens */
    ring_node_set_state(p[0].node, RING_LEAVING);
    wait_has(&p[1], "ingester-a-0", RING_LEAVING, 0);
    wait_agree(p, 2, 2, 0);
    for (int i = 0; i < 3; i++)
        down(&p[i]);
    etcd_down(&e);
}

TEST(tls_checks_the_servers_certificate)
{
    static struct etcd_proc e = {.tls = true};
    static struct proc p[2];
    static char cert[256], key[256];
    struct ring_store_status s;
    int64_t until = now_ms() + WAIT_MS;

    snprintf(cert, sizeof cert, "%s/cert.pem", test_tmpdir());
    snprintf(key, sizeof key, "%s/key.pem", test_tmpdir());
    CHECK_INT(run("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=etcd -addext subjectAltName=IP:127.0.0.1 "
                  "-keyout %s -out %s > /dev/null 2>&1", key, cert), 0);
    memcpy(e.extra, (const char *[]){"--cert-file", cert, "--key-file", key}, 4 * sizeof *e.extra);
    etcd_up(&e);
    up_with(&p[0], &e, "ingester-a-0", "a", RING_INGESTER, &(struct opts){.ca = cert});
    for (status_of(&p[0], &s); !s.reached; status_of(&p[0], &s)) {
        if (now_ms() > until)
            fail_msg("\"%s\"", s.failure);
        poll(NULL, 0, 5);
    }
    up_with(&p[1], &e, "ingester-b-0", "b", RING_INGESTER, &(struct opts){0}); /* the system does not know this authority */
    for (status_of(&p[1], &s); s.failures < 4; status_of(&p[1], &s)) {
        CHECK(!s.reached && now_ms() < until);
        poll(NULL, 0, 5);
    }
    CHECK(agree(p, 1, 1, 0));
    down(&p[0]);
    down(&p[1]);
    etcd_down(&e);
}

TEST(a_second_process_with_the_same_id_is_counted_and_slowed_down)
{
    static struct etcd_proc e;
    static struct proc p[2];
    struct ring_store_status s = {0};
    int64_t until = now_ms() + WAIT_MS;

    etcd_up(&e);
    up(&p[0], &e, "ingester-a-0", "a", RING_INGESTER);
    wait_agree(p, 1, 1, 0);
    poll(NULL, 0, 500);
    up(&p[1], &e, "ingester-a-0", "a", RING_INGESTER);
    for (status_of(&p[0], &s); !strstr(s.failure, "another process"); status_of(&p[0], &s)) {
        CHECK(now_ms() < until);
        poll(NULL, 0, 5);
    }
    down(&p[0]);
    down(&p[1]);
    etcd_down(&e);
}
