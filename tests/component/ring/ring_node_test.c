/* Real members over loopback TCP. */
#include "common/obs/metrics.h"
#include "common/rpc/rpc.h"
#include "common/sys/clock.h"
#include "common/sys/thread.h"
#include "ring/ring_file.h"
#include "ring/ring_node.h"
#include "tests/test.h"

#include <poll.h>
#include <stdatomic.h>
#include <sys/stat.h>

enum { WAIT_MS = 20000, NODES_MAX = 8, FORGET_MS = 2500 };

static int64_t auto_forget_ms; /* of those that come up next */

struct proc {
    struct rpc_server *srv;
    struct ring_node *node;
    char id[32], zone[8], addr[64], dir[128];
    atomic_int changes;
};

static int64_t now_ms(void)
{
    return clock_mono_ms(clock_system());
}

static void on_change(void *arg, UNUSED struct ring *r)
{
    struct proc *p = arg;

    atomic_fetch_add(&p->changes, 1);
}

/* listen: NULL for any port. */
static void up(struct proc *p, const char *id, const char *zone, uint32_t roles, const char *cluster, const char *seed,
               int64_t period_ms, const char *dir)
{
    struct rpc_server_cfg scfg = {.listen = p->addr[0] ? p->addr : "127.0.0.1:0", .cluster = str_of(cluster)};
    const char *seeds[]        = {seed};
    struct ring_node_cfg cfg   = {.id = id, .zone = zone, .cluster = str_of(cluster), .roles = roles, .seeds = seeds,
                                  .seeds_n = seed != NULL, .rf = 3, .period_ms = period_ms, .data_dir = dir, .auto_forget_ms = auto_forget_ms};
    struct ring_node_deps deps = {0};
    struct err err             = {0};

    snprintf(p->id, sizeof p->id, "%s", id);
    CHECK_INT(rpc_server_new(&scfg, &p->srv, &err), 0);
    deps.server = p->srv;
    CHECK_INT(ring_node_new(&cfg, &deps, &p->node, &err), 0);
    ring_node_on_change(p->node, on_change, p);
    if (rpc_server_start(p->srv, &err) != 0)
        fail_msg("%s", err.text);
    snprintf(p->addr, sizeof p->addr, "127.0.0.1:%d", rpc_server_port(p->srv));
    if (ring_node_start(p->node, p->addr, &err) != 0)
        fail_msg("%s", err.text);
}

static void down(struct proc *p)
{
    rpc_server_free(p->srv);
    ring_node_free(p->node);
}

static bool agree(struct proc *p, size_t n)
{
    uint64_t epoch = 0;
    bool same      = true;

    for (size_t i = 0; i < n; i++) {
        struct ring *r = ring_node_ring(p[i].node);

        same  = same && ring_instances_n(r) == n && (i == 0 || ring_epoch(r) == epoch);
        epoch = ring_epoch(r);
        for (size_t k = 0; k < ring_instances_n(r); k++)
            same = same && ring_instance(r, (uint16_t)k)->state == RING_ACTIVE;
        ring_unref(r);
    }
    return same;
}

static void wait_agree(struct proc *p, size_t n)
{
    int64_t until = now_ms() + WAIT_MS;

    while (!agree(p, n)) {
        CHECK(now_ms() < until);
        poll(NULL, 0, 2);
    }
}

static void mkdir_of(struct proc *p, const char *name)
{
    snprintf(p->dir, sizeof p->dir, "%s/%s", test_tmpdir(), name);
    mkdir(p->dir, 0700);
}

TEST(five_processes_agree_within_about_a_second)
{
    static struct proc p[5];
    int64_t began = now_ms();

    up(&p[0], "ingester-0", "a", RING_INGESTER, "c", NULL, 0, NULL);
    up(&p[1], "ingester-1", "b", RING_INGESTER, "c", p[0].addr, 0, NULL);
    up(&p[2], "ingester-2", "c", RING_INGESTER, "c", p[0].addr, 0, NULL);
    up(&p[3], "distributor-0", "a", RING_DISTRIBUTOR, "c", p[0].addr, 0, NULL);
    up(&p[4], "querier-0", "b", RING_QUERIER, "c", p[0].addr, 0, NULL);
    for (int i = 0; i < 3; i++) {
        CHECK(ring_node_state(p[i].node) == RING_PENDING);
        ring_node_set_state(p[i].node, RING_ACTIVE);
    }
    wait_agree(p, 5);
    print_message("five members agreed after %lld ms\n", (long long)(now_ms() - began));
    CHECK(now_ms() - began < 5000); /* about one second on an idle machine; this bound allows for sanitizers */
    for (int i = 0; i < 5; i++) {
        struct ring *r = ring_node_ring(p[i].node);

        CHECK(ring_count(r, RING_INGESTER) == 3 && ring_count(r, RING_DISTRIBUTOR) == 1);
        CHECK(ring_replicas(r, 42)->owners_n == 3 && ring_self(r) != RING_NOBODY);
        CHECK(atomic_load(&p[i].changes) > 0);
        ring_unref(r);
    }
    for (int i = 0; i < 5; i++)
        down(&p[i]);
}

TEST(a_restarted_member_is_the_same_member)
{
    static struct proc p[2];
    uint64_t epoch;
    uint32_t token;
    struct ring *r;

    mkdir_of(&p[1], "restart");
    up(&p[0], "ingester-0", "a", RING_INGESTER, "c", NULL, 200, NULL);
    up(&p[1], "ingester-1", "b", RING_INGESTER, "c", p[0].addr, 200, p[1].dir);
    ring_node_set_state(p[0].node, RING_ACTIVE);
    ring_node_set_state(p[1].node, RING_ACTIVE);
    wait_agree(p, 2);
    r     = ring_node_ring(p[1].node);
    epoch = ring_epoch(r);
    token = ring_instance(r, ring_self(r))->tokens_n;
    ring_unref(r);
    down(&p[1]);
    up(&p[1], "ingester-1", "b", RING_INGESTER, "c", p[0].addr, 200, p[1].dir);
    CHECK(ring_node_state(p[1].node) == RING_ACTIVE);
    wait_agree(p, 2);
    r = ring_node_ring(p[0].node);
    CHECK(ring_epoch(r) == epoch);
    CHECK(ring_instance(r, ring_find(r, "ingester-1"))->tokens_n == token);
    ring_unref(r);
    down(&p[0]);
    down(&p[1]);
}

TEST(a_member_that_lost_its_disk_comes_back_as_an_owner_that_is_rebuilding)
{
    static struct proc p[2];
    int64_t until = now_ms() + WAIT_MS;

    up(&p[0], "ingester-0", "a", RING_INGESTER, "c", NULL, 200, NULL);
    up(&p[1], "ingester-1", "b", RING_INGESTER, "c", p[0].addr, 200, NULL);
    ring_node_set_state(p[0].node, RING_ACTIVE);
    ring_node_set_state(p[1].node, RING_ACTIVE);
    wait_agree(p, 2);
    down(&p[1]);
    up(&p[1], "ingester-1", "b", RING_INGESTER, "c", p[0].addr, 200, NULL);
    while (ring_node_flags(p[1].node) != RING_REBUILDING || !agree(p, 2)) {
        CHECK(now_ms() < until);
        poll(NULL, 0, 2);
    }
    CHECK(ring_node_state(p[1].node) == RING_ACTIVE);
    ring_node_set_flags(p[1].node, 0);
    wait_agree(p, 2);
    down(&p[0]);
    down(&p[1]);
}

TEST(a_killed_member_turns_unhealthy_keeps_its_ranges_and_can_be_forgotten)
{
    static struct proc p[3];
    int64_t until = now_ms() + WAIT_MS;
    struct err err;
    struct ring *r;

    for (int i = 0; i < 3; i++) {
        char id[32], zone[2] = {(char)('a' + i), 0};

        snprintf(id, sizeof id, "ingester-%d", i);
        up(&p[i], id, zone, RING_INGESTER, "c", i ? p[0].addr : NULL, 100, NULL);
        ring_node_set_state(p[i].node, RING_ACTIVE);
    }
    wait_agree(p, 3);
    CHECK_INT(ring_node_forget(p[0].node, "ingester-2", &err), RC_INVALID);
    down(&p[2]);
    for (bool dead = false; !dead;) {
        CHECK(now_ms() < until);
        poll(NULL, 0, 5);
        r    = ring_node_ring(p[0].node);
        dead = !ring_instance(r, ring_find(r, "ingester-2"))->healthy;
        CHECK_INT(ring_replicas(r, 1)->owners_n, 3);
        ring_unref(r);
    }
    CHECK_INT(ring_node_forget(p[0].node, "ingester-2", &err), 0);
    CHECK_INT(ring_node_forget(p[0].node, "ingester-2", &err), RC_NOT_FOUND);
    wait_agree(p, 2);
    r = ring_node_ring(p[1].node);
    CHECK_INT(ring_replicas(r, 1)->owners_n, 2);
    ring_unref(r);
    down(&p[0]);
    down(&p[1]);
}

TEST(a_dead_member_is_forgotten_by_itself_only_where_a_quorum_stays)
{
    static struct proc p[5];
    int64_t until = now_ms() + WAIT_MS;
    bool dead     = false;

    auto_forget_ms = FORGET_MS;
    for (int i = 0; i < 5; i++) {
        char id[32], zone[2] = {(char)('a' + i % 3), 0};

        snprintf(id, sizeof id, "ingester-%c-%d", 'a' + i % 3, i / 3);
        up(&p[i], id, zone, RING_INGESTER, "c", i ? p[0].addr : NULL, 100, NULL);
        ring_node_set_state(p[i].node, RING_ACTIVE);
    }
    auto_forget_ms = 0;
    wait_agree(p, 5);
    down(&p[4]); /* the second of its zone */
    wait_agree(p, 4);
    down(&p[3]);
    down(&p[2]); /* now two of four are dead */
    while (!dead) {
        struct ring *r = ring_node_ring(p[0].node);

        CHECK(now_ms() < until && ring_instances_n(r) == 4);
        dead = ring_count(r, RING_INGESTER) == 2;
        ring_unref(r);
        poll(NULL, 0, 5);
    }
    for (until = now_ms() + 2 * FORGET_MS; now_ms() < until; poll(NULL, 0, 20)) {
        struct ring *r = ring_node_ring(p[0].node);

        CHECK_INT(ring_instances_n(r), 4);
        ring_unref(r);
    }
    down(&p[0]);
    down(&p[1]);
}

TEST(leaving_is_known_at_once)
{
    static struct proc p[2];
    int64_t began;

    up(&p[0], "ingester-0", "a", RING_INGESTER, "c", NULL, 200, NULL);
    up(&p[1], "ingester-1", "b", RING_INGESTER, "c", p[0].addr, 200, NULL);
    ring_node_set_state(p[0].node, RING_ACTIVE);
    ring_node_set_state(p[1].node, RING_ACTIVE);
    wait_agree(p, 2);
    began = now_ms();
    ring_node_leave(p[1].node);
    down(&p[1]);
    wait_agree(p, 1);
    CHECK(now_ms() - began < 2000);
    down(&p[0]);
}

TEST(another_cluster_does_not_mix_in)
{
    static struct proc p[2];

    up(&p[0], "ingester-0", "a", RING_INGESTER, "one", NULL, 100, NULL);
    up(&p[1], "ingester-1", "b", RING_INGESTER, "two", p[0].addr, 100, NULL);
    CHECK(!ring_node_wait(p[1].node, RING_INGESTER, 2, 600));
    CHECK(ring_node_wait(p[1].node, RING_INGESTER, 1, 600));
    down(&p[0]);
    down(&p[1]);
}

TEST(pages_show_every_member)
{
    static struct proc p[1];
    struct ring_view view = {.path = "/memberlist"};
    struct buf b;

    up(&p[0], "ingester-0", "a", RING_INGESTER, "c", NULL, 100, NULL);
    ring_node_set_state(p[0].node, RING_ACTIVE);
    buf_init(&b, RING_PAGE_BYTES_MAX);
    ring_node_write_json(p[0].node, &view, &b);
    buf_char(&b, 0);
    CHECK(strstr(b.p, "\"id\":\"ingester-0\",\"state\":\"ACTIVE\"") && strstr(b.p, "\"ownership\":1.000000"));
    buf_clear(&b);
    ring_node_write_html(p[0].node, &view, &b);
    buf_char(&b, 0);
    CHECK(strstr(b.p, "<td>ingester-0</td><td>ACTIVE</td><td>a</td><td>ingester</td>") && strstr(b.p, "100.00 %"));
    buf_fini(&b);
    down(&p[0]);
}

static void flip(FILE *f, long bit)
{
    int byte;

    fseek(f, bit / 8, SEEK_SET);
    byte = fgetc(f);
    fseek(f, bit / 8, SEEK_SET);
    fputc(byte ^ 1 << bit % 8, f);
    fflush(f);
}

TEST(a_damaged_identity_file_is_an_error_not_a_new_identity)
{
    static struct proc p[1];
    struct member m;
    struct err err;
    char path[256];
    FILE *f;

    mkdir_of(&p[0], "damaged");
    up(&p[0], "ingester-7", "a", RING_INGESTER, "c", NULL, 100, p[0].dir);
    down(&p[0]);
    CHECK_INT(ring_file_read(p[0].dir, &m, &err), 0);
    CHECK(strcmp(m.id, "ingester-7") == 0 && m.tokens_n == RING_TOKENS);
    member_fini(&m);
    snprintf(path, sizeof path, "%s/ring.state", p[0].dir);
    f = fopen(path, "r+b");
    CHECK(f);
    fseek(f, 0, SEEK_END);
    for (long bit = 0, bits = ftell(f) * 8; bit < bits; bit++) {
        flip(f, bit);
        if (ring_file_read(p[0].dir, &m, &err) >= 0)
            fail_msg("bit %ld: not noticed", bit);
        flip(f, bit);
    }
    fclose(f);
    CHECK_INT(ring_file_read(p[0].dir, &m, &err), 0);
    member_fini(&m);
}
