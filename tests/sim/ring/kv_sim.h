/* kv_sim.h - shared states (ring/kv_core.h) on a virtual clock and network: loss, duplicates, delay, cut links, restarts with and without their disk, all from
 * one seed. */
#pragma once
#include "common/base/rng.h"
#include "ring/kv_core.h"
#include "ring/kv_file.h"
#include "tests/test.h"

enum { KV_SIM_NODES_MAX = 16 };

struct kv_sim;
struct kv_sim_node {
    struct kv_sim *sim;
    struct kv_core *core; /* NULL: down */
    struct buf disk;
    char addr[16];
    const char *peers[KV_SIM_NODES_MAX];
    int64_t tick_ms;
    ring_kv_fn *changed; /* may be NULL */
    void *changed_arg;
};
struct kv_sim_msg {
    int64_t at_ms;
    uint64_t seq;
    int to;
    char *p;
    size_t n;
};
struct kv_sim {
    struct rng rng;
    uint64_t seed, seq, bytes, messages;
    size_t largest;
    int64_t now_ms;
    int n;
    struct kv_sim_node nodes[KV_SIM_NODES_MAX];
    bool cut[KV_SIM_NODES_MAX][KV_SIM_NODES_MAX];
    double loss;
    int64_t delay_max_ms;
    VEC(struct kv_sim_msg) wire;
};

static int64_t kv_sim_now(void *self)
{
    return ((struct kv_sim_node *)self)->sim->now_ms;
}

static int64_t kv_sim_wall(void *self)
{
    return 1700000000000 + kv_sim_now(self);
}

/* Everybody but itself; who is dead is not known at once, as in life. */
static size_t kv_sim_peers(void *self, const char *const **ret)
{
    struct kv_sim_node *node = self;
    size_t n                 = 0;

    for (int i = 0; i < node->sim->n; i++)
        if (&node->sim->nodes[i] != node)
            node->peers[n++] = node->sim->nodes[i].addr;
    *ret = node->peers;
    return n;
}

static void kv_sim_send(void *self, const char *addr, struct str msg)
{
    struct kv_sim_node *node = self;
    struct kv_sim *s         = node->sim;
    int to = atoi(addr + 1), from = (int)(node - s->nodes);

    s->bytes += msg.n;
    s->messages++;
    s->largest = MAX(s->largest, msg.n);
    for (int copy = 0; copy < (rng_chance(&s->rng, s->loss / 2) ? 2 : 1); copy++)
        if (to < s->n && !s->cut[from][to] && !rng_chance(&s->rng, s->loss))
            *(struct kv_sim_msg *)vec_push(&s->wire) =
                (struct kv_sim_msg){s->now_ms + 1 + (int64_t)rng_below(&s->rng, (uint64_t)s->delay_max_ms), s->seq++, to,
                                    xmemdup(msg.p, msg.n), msg.n};
}

static void kv_sim_changed(void *self, const struct ring_kv_entry *e)
{
    struct kv_sim_node *node = self;

    if (node->changed)
        node->changed(node->changed_arg, e);
}

static void kv_sim_restore(void *core, const struct ring_kv_entry *e)
{
    kv_core_merge(core, e, true);
}

static void kv_sim_start(struct kv_sim *s, int i)
{
    struct kv_sim_node *node = &s->nodes[i];
    struct kv_core_env env   = {node, kv_sim_now, kv_sim_wall, kv_sim_peers, kv_sim_send, kv_sim_changed, rng_u64(&s->rng)};

    node->core    = kv_core_new(&(struct kv_core_cfg){.addr = node->addr}, &env);
    node->tick_ms = s->now_ms;
    if (node->disk.n)
        CHECK_INT(kv_file_decode(buf_view(&node->disk), kv_sim_restore, node->core, NULL), 0);
}

static void kv_sim_stop(struct kv_sim *s, int i, bool keeps_disk)
{
    struct kv_sim_node *node = &s->nodes[i];

    buf_clear(&node->disk);
    if (keeps_disk)
        kv_file_encode(node->core, &node->disk);
    kv_core_free(node->core);
    node->core = NULL;
}

static struct kv_sim *kv_sim_new(uint64_t seed, int n)
{
    struct kv_sim *s = xcalloc(1, sizeof *s);

    s->seed         = seed;
    s->now_ms       = 1000;
    s->delay_max_ms = 20;
    s->n            = n;
    rng_init(&s->rng, seed);
    for (int i = 0; i < n; i++) {
        s->nodes[i].sim = s;
        buf_init(&s->nodes[i].disk, KV_FILE_BYTES_MAX);
        snprintf(s->nodes[i].addr, sizeof s->nodes[i].addr, "n%d", i);
        kv_sim_start(s, i);
    }
    return s;
}

static void kv_sim_free(struct kv_sim *s)
{
    for (int i = 0; i < s->n; i++) {
        kv_core_free(s->nodes[i].core);
        buf_fini(&s->nodes[i].disk);
    }
    for (size_t i = 0; i < s->wire.n; i++)
        free(s->wire.v[i].p);
    vec_fini(&s->wire);
    free(s);
}

static void kv_sim_deliver(struct kv_sim *s)
{
    for (size_t i = 0; i < s->wire.n;) {
        struct kv_sim_msg m = s->wire.v[i];

        if (m.at_ms > s->now_ms) {
            i++;
            continue;
        }
        vec_remove_swap(&s->wire, i);
        if (s->nodes[m.to].core) {
            CHECK_INT(kv_core_receive(s->nodes[m.to].core, str_n(m.p, m.n), NULL), 0);
            s->nodes[m.to].tick_ms = MIN(s->nodes[m.to].tick_ms, s->now_ms);
        }
        free(m.p);
    }
}

/* One virtual millisecond at a time. */
static void kv_sim_run_ms(struct kv_sim *s, int64_t ms)
{
    for (int64_t until = s->now_ms + ms; s->now_ms < until; s->now_ms++) {
        kv_sim_deliver(s);
        for (int i = 0; i < s->n; i++)
            if (s->nodes[i].core && s->nodes[i].tick_ms <= s->now_ms)
                s->nodes[i].tick_ms = kv_core_tick(s->nodes[i].core);
    }
}

UNUSED static bool kv_sim_agree(const struct kv_sim *s)
{
    uint64_t digest = 0;
    bool first      = true;

    for (int i = 0; i < s->n; i++) {
        if (!s->nodes[i].core)
            continue;
        if (!first && kv_core_digest(s->nodes[i].core) != digest)
            return false;
        digest = kv_core_digest(s->nodes[i].core);
        first  = false;
    }
    return true;
}

UNUSED static int64_t kv_sim_until_agree(struct kv_sim *s, int64_t limit_ms)
{
    int64_t began = s->now_ms;

    while (!kv_sim_agree(s)) {
        if (s->now_ms - began > limit_ms)
            fail_msg("seed %llu: no agreement after %lld virtual ms", (unsigned long long)s->seed, (long long)limit_ms);
        kv_sim_run_ms(s, 20);
    }
    return s->now_ms - began;
}

UNUSED static int kv_sim_put(struct kv_sim *s, int i, const char *key, uint64_t if_version, uint64_t version, const char *value)
{
    struct ring_kv_entry e = {.key = str_of(key), .value = str_of(value), .version = version, .deleted = !value};

    s->nodes[i].tick_ms = s->now_ms;
    return kv_core_put(s->nodes[i].core, if_version, &e, NULL);
}

static void kv_sim_heal(struct kv_sim *s)
{
    memset(s->cut, 0, sizeof s->cut);
    s->loss = 0;
    for (int i = 0; i < s->n; i++)
        if (!s->nodes[i].core)
            kv_sim_start(s, i);
}
