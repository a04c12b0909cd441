/* The shared state between real processes' parts, over loopback TCP and on disk. */
#include "common/rpc/rpc.h"
#include "common/sys/clock.h"
#include "common/sys/fs.h"
#include "common/sys/thread.h"
#include "ring/kv_gossip.h"
#include "tests/test.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdatomic.h>
#include <unistd.h>

enum { MEMBERS = 3, WAIT_MS = 20000 };

struct proc {
    struct rpc_server *srv;
    struct kv_gossip *g;
    struct ring_kv kv;
    char addr[64], dir[160];
    atomic_int heard;
};
static struct proc procs[MEMBERS];
static struct ring *ring;

static struct ring *ring_of_all(UNUSED void *arg)
{
    return ring_ref(ring);
}

static void on_change(void *arg, const struct ring_kv_entry *e)
{
    struct proc *p = arg;

    CHECK(str_has_prefix(e->key, STR("a/")));
    atomic_fetch_add(&p->heard, 1);
}

static int free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n          = sizeof a;
    int fd               = socket(AF_INET, SOCK_STREAM, 0);

    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&a, n) == 0 && getsockname(fd, (struct sockaddr *)&a, &n) == 0);
    close(fd);
    return ntohs(a.sin_port);
}

static void ring_make(void)
{
    static struct member m[MEMBERS];
    const struct member *list[MEMBERS];

    for (int i = 0; i < MEMBERS; i++) {
        m[i] = (struct member){.roles = RING_DISTRIBUTOR, .state = RING_ACTIVE, .incarnation = 1};
        snprintf(m[i].id, sizeof m[i].id, "d-%d", i);
        snprintf(procs[i].addr, sizeof procs[i].addr, "127.0.0.1:%d", free_port());
        snprintf(m[i].addr, sizeof m[i].addr, "%s", procs[i].addr);
        snprintf(procs[i].dir, sizeof procs[i].dir, "%s/d-%d", test_tmpdir(), i);
        list[i] = &m[i];
    }
    ring = ring_new(list, MEMBERS, 3, 1, NULL);
}

static void up(struct proc *p)
{
    struct kv_gossip_cfg cfg   = {.addr = p->addr, .cluster = STR("c"), .roles = RING_DISTRIBUTOR, .period_ms = 200, .data_dir = p->dir};
    struct kv_gossip_deps deps = {.ring = ring_of_all};
    struct err err             = {0};

    atomic_store(&p->heard, 0);
    CHECK_INT(rpc_server_new(&(struct rpc_server_cfg){.listen = p->addr, .cluster = STR("c")}, &p->srv, &err), 0);
    deps.server = p->srv;
    CHECK_INT(kv_gossip_new(&cfg, &deps, &p->g, &err), 0);
    p->kv = kv_gossip_kv(p->g);
    CHECK_INT(ring_kv_put(&p->kv, STR("a/early"), RING_KV_ANY, 1, STR("x"), &err), RC_UNAVAILABLE);
    ring_kv_watch(&p->kv, STR("a/"), on_change, p);
    if (rpc_server_start(p->srv, &err) < 0 || kv_gossip_start(p->g, &err) < 0)
        fail_msg("%s", err.text);
}

static void down(struct proc *p)
{
    rpc_server_free(p->srv);
    kv_gossip_free(p->g);
}

static bool holds(struct proc *p, const char *key, const char *value)
{
    struct buf b;
    bool same;

    buf_init(&b, RING_KV_VALUE_MAX);
    same = ring_kv_get(&p->kv, str_of(key), &b, NULL, NULL) == 0 ? value && str_eqz(buf_view(&b), value) : !value;
    buf_fini(&b);
    return same;
}

static void wait_all(const char *key, const char *value)
{
    int64_t until = clock_mono_ms(clock_system()) + WAIT_MS;

    for (int i = 0; i < MEMBERS; i++)
        while (!holds(&procs[i], key, value)) {
            CHECK(clock_mono_ms(clock_system()) < until);
            poll(NULL, 0, 5);
        }
}

static void wait_heard(struct proc *p, int n)
{
    for (int64_t until = clock_mono_ms(clock_system()) + WAIT_MS; atomic_load(&p->heard) < n; poll(NULL, 0, 5))
        CHECK(clock_mono_ms(clock_system()) < until);
}

static void count_one(void *arg, UNUSED const struct ring_kv_entry *e)
{
    ++*(int *)arg;
}

TEST(a_put_is_known_by_all_and_outlives_a_restart_of_all)
{
    int n = 0;

    ring_make();
    for (int i = 0; i < MEMBERS; i++)
        up(&procs[i]);
    CHECK_INT(ring_kv_put(&procs[0].kv, STR("a/1"), 0, 1, STR("one"), NULL), 0);
    CHECK_INT(ring_kv_put(&procs[1].kv, STR("b/1"), RING_KV_ANY, 7, STR("other"), NULL), 0);
    wait_all("a/1", "one");
    wait_all("b/1", "other");
    CHECK_INT(ring_kv_put(&procs[2].kv, STR("a/1"), 0, 2, STR("two"), NULL), RC_EXISTS);
    CHECK_INT(ring_kv_put(&procs[2].kv, STR("a/1"), 1, 2, STR("two"), NULL), 0);
    wait_all("a/1", "two");
    for (int i = 0; i < MEMBERS; i++)
        wait_heard(&procs[i], 2);
    CHECK_INT(ring_kv_remove(&procs[0].kv, STR("b/1"), 7, 8, NULL), 0);
    wait_all("b/1", NULL);
    for (int i = 0; i < MEMBERS; i++)
        down(&procs[i]);
    for (int i = 0; i < MEMBERS; i++)
        up(&procs[i]);
    for (int i = 0; i < MEMBERS; i++) {
        CHECK(holds(&procs[i], "a/1", "two") && holds(&procs[i], "b/1", NULL));
        wait_heard(&procs[i], 1); /* of what stands */
    }
    ring_kv_list(&procs[0].kv, STR(""), count_one, &n);
    CHECK_INT(n, 1);
    ring_kv_unwatch(&procs[1].kv, on_change, &procs[1]);
    CHECK_INT(ring_kv_put(&procs[1].kv, STR("a/1"), 2, 3, STR("three"), NULL), 0);
    wait_all("a/1", "three");
    CHECK_INT(atomic_load(&procs[1].heard), 1);
    for (int i = 0; i < MEMBERS; i++)
        down(&procs[i]);
    ring_unref(ring);
}

TEST(a_damaged_file_is_begun_anew_and_learnt_from_others)
{
    char path[256];

    ring_make();
    for (int i = 0; i < MEMBERS; i++)
        up(&procs[i]);
    CHECK_INT(ring_kv_put(&procs[0].kv, STR("a/9"), 0, 1, STR("kept"), NULL), 0);
    wait_all("a/9", "kept");
    down(&procs[2]);
    snprintf(path, sizeof path, "%s/kv.state", procs[2].dir);
    CHECK_INT(fs_write_atomic(path, STR("TRKVnonsense"), NULL), 0);
    up(&procs[2]);
    wait_all("a/9", "kept");
    for (int i = 0; i < MEMBERS; i++)
        down(&procs[i]);
    ring_unref(ring);
}
