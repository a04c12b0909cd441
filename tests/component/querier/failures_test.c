/* Ingesters that are silent, views of the ring that differ, clients that leave. */
#include "tests/component/querier/cluster_util.h"

#define T0     1600000000000LL
#define ALL    7u
#define ANSWER VECTOR("{\"metric\":{\"__name__\":\"m\",\"i\":\"1\"},\"value\":[1600000045,\"4\"]}")

/* --- a server that takes calls and does not answer --- */

enum { HELD_MAX = 256 };
struct silent {
    struct rpc_server *srv;
    struct mutex lock;
    struct rpc_call *held[HELD_MAX];
    size_t n;
    bool going;
};

static void answer_unavailable(struct rpc_call *call)
{
    struct err err;

    err_set(&err, RC_UNAVAILABLE, "going");
    rpc_reply_err(call, &err);
}

static void hold(void *arg, struct rpc_call *call)
{
    struct silent *s = arg;
    bool going;

    mutex_lock(&s->lock);
    going = s->going;
    CHECK(s->n < HELD_MAX);
    if (!going)
        s->held[s->n++] = call;
    mutex_unlock(&s->lock);
    if (going)
        answer_unavailable(call);
}

static size_t silent_held(struct silent *s)
{
    size_t n;

    mutex_lock(&s->lock);
    n = s->n;
    mutex_unlock(&s->lock);
    return n;
}

/* Takes the place of a node. */
static void silent_up(struct silent *s, size_t node)
{
    struct err err = {0};

    s->n = 0;
    s->going = false;
    mutex_init(&s->lock);
    CHECK(rpc_server_new(&(struct rpc_server_cfg){.listen = "127.0.0.1:0", .cluster = STR("test")},
                         &s->srv, &err) == 0);
    rpc_server_handle_slow(s->srv, RPC_SELECT, hold, s);
    CHECK(rpc_server_start(s->srv, &err) == 0);
    snprintf(cl.nodes[node].member.addr, sizeof cl.nodes[node].member.addr, "127.0.0.1:%d",
             rpc_server_port(s->srv));
    cluster_ring_set(&cl, 1);
}

static void silent_down(struct silent *s)
{
    mutex_lock(&s->lock);
    s->going = true;
    mutex_unlock(&s->lock);
    for (size_t i = 0; i < s->n; i++) /* no more are added */
        answer_unavailable(s->held[i]);
    rpc_server_free(s->srv);
    mutex_fini(&s->lock);
}

static void fill(void)
{
    push_series_to("anonymous", "__name__=m,i=1", T0, 15000, 4, 1, 1, 1 | 2);
    push_series_to("anonymous", "__name__=m,i=1", T0, 15000, 4, 1, 1, 2 | 4);
}

TEST(a_silent_ingester_is_gone_around)
{
    struct silent s;
    struct raw_reply r;

    cluster_up(&(struct cluster_opt){0});
    fill();
    silent_up(&s, 0);
    for (int i = 0; i < 6; i++) {
        int64_t start = clock_mono_ms(clock_system());

        r = ask("/api/v1/query", "query=m&time=1600000045");
        CHECK_STR(r.body, ANSWER);
        CHECK(clock_mono_ms(clock_system()) - start <
              4000); /* hedged after 500 ms, not after the query's two minutes */
        raw_free(&r);
    }
    silent_down(&s);
    cluster_down();
}

TEST(a_query_ends_with_its_timeout)
{
    struct silent s[3];
    struct raw_reply r;

    cluster_up(&(struct cluster_opt){0});
    for (size_t i = 0; i < 3; i++)
        silent_up(&s[i], i);
    r = ask("/api/v1/query", "query=m&time=1600000045&timeout=200ms");
    CHECK_INT(r.status, 503);
    CHECK_STR(r.body, "{\"status\":\"error\",\"errorType\":\"timeout\",\"error\":\"expanding "
                      "series: query timed out in expression evaluation (limit: 200 ms, timeout)\"}");
    raw_free(&r);
    for (size_t i = 0; i < 3; i++)
        silent_down(&s[i]);
    cluster_down();
}

TEST(a_client_that_leaves_ends_its_query)
{
    static const char request[] =
        "GET /api/v1/query?query=m&time=1600000045 HTTP/1.1\r\nHost: t\r\n\r\n";
    struct silent s[3];
    int fd;

    cluster_up(&(struct cluster_opt){0});
    for (size_t i = 0; i < 3; i++)
        silent_up(&s[i], i);
    fd = raw_connect(cl.port);
    CHECK(raw_send(fd, request, strlen(request)));
    while (silent_held(&s[0]) == 0)
        usleep(1000);
    close(fd);
    while (querier_metric("torc_querier_failures_total", "type", "canceled") < 1)
        usleep(1000); /* the suite's time limit ends a wait in vain */
    for (size_t i = 0; i < 3; i++) /* whoever works for it is told */
        for (size_t k = 0; k < silent_held(&s[i]); k++)
            while (!atomic_load(rpc_call_canceled(s[i].held[k])))
                usleep(1000);
    for (size_t i = 0; i < 3; i++)
        silent_down(&s[i]);
    cluster_down();
}

/* --- the ring has moved on --- */

TEST(a_ring_that_is_behind_is_taken_anew)
{
    cluster_up(&(struct cluster_opt){0});
    fill();
    for (int i = 0; i < 5; i++) {
        mutex_lock(&cl.ring_lock);
        ring_unref(cl.old_ring);
        cl.old_ring = ring_ref(cl.ring);
        cl.old_ring_uses = 4; /* once for the rate, then for three attempts */
        mutex_unlock(&cl.ring_lock);
        cluster_ring_set(&cl, (uint64_t)i + 2);
        CHECK(ask_is("/api/v1/query", "query=m&time=1600000045", 200, ANSWER));
    }
    CHECK(querier_metric("torc_querier_retries_total", "reason", rc_name(RC_MOVED)) >= 10);
    cluster_down();
}

TEST(answers_at_another_ring_version_are_none)
{
    struct raw_reply r;

    cluster_up(&(struct cluster_opt){0});
    fill();
    cl.old_ring = ring_ref(cl.ring);
    cl.old_ring_uses = 1000;
    cluster_ring_set(&cl, 7);
    r = ask("/api/v1/query", "query=m&time=1600000045");
    CHECK_INT(r.status, 503);
    CHECK(strstr(r.body, "\"errorType\":\"unavailable\"") &&
          strstr(r.body, "answers at ring version 7, ours is 1"));
    raw_free(&r);
    cluster_down();
}

/* An owner that the ring knows to be dead, or to be rebuilding, is not asked. */
TEST(owners_that_cannot_be_read_are_not_asked)
{
    struct silent s;

    cluster_up(&(struct cluster_opt){0});
    fill();
    silent_up(&s, 2);
    cl.nodes[2].member.health = RING_DEAD;
    cluster_ring_set(&cl, 1);
    for (int i = 0; i < 6; i++)
        CHECK(ask_is("/api/v1/query", "query=m&time=1600000045", 200, ANSWER));
    cl.nodes[2].member.health = RING_ALIVE;
    cl.nodes[2].member.flags = RING_REBUILDING;
    cluster_ring_set(&cl, 1);
    for (int i = 0; i < 6; i++)
        CHECK(ask_is("/api/v1/query", "query=m&time=1600000045", 200, ANSWER));
    CHECK_INT(silent_held(&s), 0);
    silent_down(&s);
    cluster_down();
}
