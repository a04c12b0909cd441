/* Real ingesters behind real RPC servers take over from each other what they lack: by RPC, into heads and logs. */
#include "common/base/rng.h"
#include "tests/component/querier/cluster_util.h"
#include "ingester/ingester_impl.h"
#include "ingester/sync.h"
#include "tsdb/head_sync.h"

#define T0 1600000000000LL

static uint64_t *seen;

static struct exchange_deps exchange_of(size_t taker, size_t giver)
{
    return (struct exchange_deps){
        .in = cl.nodes[taker].in,
        .rpc = cl.rpc,
        .pair = {cl.ring, ring_find(cl.ring, cl.nodes[giver].member.id), ring_find(cl.ring, cl.nodes[taker].member.id)},
        .address = cl.nodes[giver].member.addr,
        .below_ms = INT64_MAX,
        .seen = seen,
    };
}

static struct sync_result take(size_t taker, size_t giver)
{
    struct exchange_deps d = exchange_of(taker, giver);
    struct sync_result r;
    struct err err = {0};

    if (sync_exchange(&d, &r, &err) < 0)
        fail_msg("%s", err_text(&err));
    return r;
}

static void up(const struct cluster_opt *o)
{
    cluster_up(o);
    seen = xcalloc(SYNC_SEEN, sizeof *seen);
}

static void down(void)
{
    free(seen);
    cluster_down();
}

static void push_histograms(const char *series, int64_t t, size_t n, unsigned mask)
{
    struct histogram h = {.schema = 3, .zero_threshold = 1e-128};
    struct label lv[16];
    struct labels ls = labels_of(series, lv);
    fingerprint fp = labels_fingerprint(STR("anonymous"), &ls);
    struct push_batch b;

    push_batch_init(&b, 16 << 20);
    push_batch_series(&b, fp, &ls);
    for (size_t i = 0; i < n; i++) {
        h.count.i = h.zero_count.i = i + 1;
        h.sum = (double)i;
        push_batch_histogram(&b, fp, t + (int64_t)i * 15000, t, &h);
    }
    push_batch_to("anonymous", &b, mask);
    push_batch_fini(&b);
}

static void node_restart(size_t i)
{
    static struct ingester_cfg cfg;

    cfg = ingester_cfg_default;
    cfg.flush_check_ms = 3600000;
    node_down(&cl, i);
    metrics_free(cl.metrics[i]);
    cl.metrics[i] = metrics_new();
    node_up(&cl, i, &cfg);
    cluster_ring_set(&cl, 1);
}

TEST(what_is_missing_is_taken_over_and_survives_a_restart)
{
    struct sync_result r;

    up(&(struct cluster_opt){0});
    for (int i = 0; i < 50; i++) {
        char name[64];

        snprintf(name, sizeof name, "__name__=m,i=%d", i);
        push_series_to(i % 2 ? "anonymous" : "other", name, T0, 15000, 300, i, 1, 3);
    }
    push_histograms("__name__=h", T0, 200, 3);
    push_series_to("anonymous", "__name__=m,i=1", T0 + 300 * 15000, 15000, 5, 7, 1, 7); /* what the third one has */
    r = take(2, 0);
    CHECK_INT(r.samples, 50 * 300 + 200);
    CHECK_INT(r.series, 50); /* one is known */
    CHECK(r.windows_differed > 50 && r.conflicts == 0 && r.buckets_differed > 0);
    r = take(2, 1);
    CHECK(r.buckets_differed == 0 && r.samples == 0);
    r = take(0, 2);
    CHECK(r.buckets_differed == 0 && r.samples == 0);
    node_restart(2);
    r = take(2, 0);
    CHECK(r.buckets_differed == 0);
    /* The other two are silent: what is read is what the third took over. */
    CHECK(ask_is("/api/v1/query", "query=count_over_time(m{i=\"1\"}[2h])&time=1600004575", 200,
                 VECTOR("{\"metric\":{\"i\":\"1\"},\"value\":[1600004575,\"305\"]}")));
    down();
}

TEST(late_samples_and_limits_do_not_apply)
{
    struct sync_result r;

    up(&(struct cluster_opt){0});
    push_series_to("anonymous", "__name__=m", T0 - 3600000, 15000, 100, 1, 1, 1);
    push_series_to("anonymous", "__name__=m", T0, 15000, 100, 1, 1, 7);
    r = take(1, 0);
    CHECK_INT(r.samples, 100);
    r = take(1, 0);
    CHECK_INT(r.samples, 0);
    CHECK_INT(r.buckets_differed, 0);
    down();
}

TEST(another_value_stays_and_is_not_asked_for_again)
{
    struct sync_result r;

    up(&(struct cluster_opt){0});
    push_series_to("anonymous", "__name__=m", T0, 15000, 10, 1, 1, 1);
    push_series_to("anonymous", "__name__=m", T0, 15000, 10, 2, 1, 2);
    push_series_to("anonymous", "__name__=n", T0, 15000, 10, 2, 1, 3);
    r = take(0, 1);
    CHECK(r.samples == 0 && r.conflicts == 10 && r.windows_differed == 1);
    r = take(0, 1);
    CHECK(r.buckets_differed == 1 && r.windows_differed == 0 && r.conflicts == 0);
    push_series_to("anonymous", "__name__=m", T0 + 15000 * 10, 15000, 1, 2, 1, 2);
    r = take(0, 1); /* there is something new */
    CHECK_INT(r.samples, 1);
    down();
}

TEST(blocks_are_not_taken_over_but_named)
{
    struct sync_result r;
    uint64_t gen;
    struct err err = {0};

    up(&(struct cluster_opt){.blocks = true});
    push_series_to("anonymous", "__name__=m", T0, 15000, 200, 1, 1, 1);
    push_series_to("anonymous", "__name__=m", T0 + 200 * 15000, 15000, 5, 1, 1, 3);
    CHECK(ingester_flush_all(cl.nodes[0].in, &gen, NULL, &err) == 0);
    r = take(1, 0);
    CHECK(r.samples == 0 && r.gen == gen && gen > 0);
    push_series_to("anonymous", "__name__=m", T0 + 205 * 15000, 15000, 5, 1, 1, 1);
    r = take(1, 0);
    CHECK_INT(r.samples, 5);
    /* Who has taken over says so to readers with an older index. */
    CHECK(ingester_know_generation(cl.nodes[1].in, r.gen, &err) == 0);
    CHECK(head_published_gen(shard_head(cl.nodes[1].in->shards[0])) == gen);
    CHECK(ask_is("/api/v1/query", "query=count_over_time(m[4h])&time=1600007200", 200, VECTOR("{\"metric\":{},\"value\":[1600007200,\"210\"]}")));
    node_restart(1);
    CHECK(head_published_gen(shard_head(cl.nodes[1].in->shards[0])) == gen && head_published_gen(shard_head(cl.nodes[1].in->shards[1])) == gen);
    CHECK(ingester_flush_all(cl.nodes[1].in, NULL, NULL, &err) == 0);
    CHECK(ask_is("/api/v1/query", "query=count_over_time(m[4h])&time=1600007200", 200, VECTOR("{\"metric\":{},\"value\":[1600007200,\"210\"]}")));
    down();
}

TEST(only_shared_ranges_and_at_one_version)
{
    struct exchange_deps d;
    struct sync_result r;
    struct err err = {0};
    uint64_t samples = 0, total = 0;
    struct ring *before;

    up(&(struct cluster_opt){.nodes = 6});
    for (int i = 0; i < 60; i++) {
        char name[64];
        struct label lv[16];
        struct labels ls;
        uint32_t token;

        snprintf(name, sizeof name, "__name__=m,i=%d", i);
        ls = labels_of(name, lv);
        token = fingerprint_token(labels_fingerprint(STR("anonymous"), &ls));
        for (uint16_t k = 0; k < 6; k++)
            if (ring_owner_index(cl.ring, token, k) >= 0 && k != 4)
                push_series_to("anonymous", name, T0, 15000, 10, i, 1, 1U << k);
        total += ring_owner_index(cl.ring, token, 4) >= 0 ? 10 : 0;
    }
    before = ring_ref(cl.ring);
    d = exchange_of(4, 0);
    for (size_t k = 0; k < 6; k++)
        samples += k == 4 ? 0 : take(4, k).samples;
    CHECK(total > 50);
    CHECK_INT(samples, total);
    cluster_ring_set(&cl, 2);
    CHECK_INT(sync_exchange(&d, &r, &err), RC_MOVED);
    ring_unref(before);
    down();
}

static struct str tampered;

static void answer_tampered(UNUSED void *arg, struct rpc_call *call)
{
    rpc_reply(call, RC_OK, tampered);
}

/* Answers of a broken peer: bytes of a good one, each flipped in turn. Nothing that is not as its digest says gets in. */
TEST(a_broken_peer_is_refused)
{
    struct exchange_deps d;
    struct sync_result r;
    struct rpc_server *srv;
    char address[64];
    struct err err = {0};
    char junk[64];
    struct rng rng;

    up(&(struct cluster_opt){0});
    push_series_to("anonymous", "__name__=m", T0, 15000, 10, 1, 1, 1);
    CHECK(rpc_server_new(&(struct rpc_server_cfg){.listen = "127.0.0.1:0", .cluster = STR("test")}, &srv, &err) == 0);
    rpc_server_handle_slow(srv, RPC_SYNC, answer_tampered, NULL);
    CHECK(rpc_server_start(srv, &err) == 0);
    snprintf(address, sizeof address, "127.0.0.1:%d", rpc_server_port(srv));
    rng_init(&rng, test_seed());
    d = exchange_of(1, 0);
    d.address = address;
    for (int i = 0; i < 200; i++) {
        size_t n = rng_below(&rng, sizeof junk);

        for (size_t k = 0; k < n; k++)
            junk[k] = (char)rng_u64(&rng);
        tampered = str_n(junk, n);
        CHECK(sync_exchange(&d, &r, &err) < 0);
        CHECK(r.samples == 0);
    }
    rpc_server_free(srv);
    CHECK_INT(take(1, 0).samples, 10);
    down();
}
