/* Real servers and clients over loopback. Waits for events; where a promise is about time, for that time at most. */
#include "common/obs/metrics.h"
#include "common/rpc/rpc.h"
#include "common/sys/clock.h"
#include "common/sys/thread.h"
#include "tests/test.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

static int64_t now_ms(void)
{
    return clock_mono_ms(clock_system());
}

/* --- a server with three methods --- */

enum { HELD_MAX = 512 };
struct world {
    struct rpc_server *srv;
    struct rpc_client *client;
    struct metrics *metrics;
    char addr[64];
    struct mutex lock;
    struct cond changed;
    struct rpc_call *held[HELD_MAX];
    int held_n;
};

static void handle_echo(void *arg, struct rpc_call *call)
{
    (void)arg;
    rpc_reply(call, RC_OK, rpc_call_payload(call));
}

/* Answers later, when the test says so. */
static void handle_hold(void *arg, struct rpc_call *call)
{
    struct world *w = arg;

    mutex_lock(&w->lock);
    w->held[w->held_n++] = call;
    cond_broadcast(&w->changed);
    mutex_unlock(&w->lock);
}

static void handle_fail(void *arg, struct rpc_call *call)
{
    struct err err = {0};

    (void)arg;
    err_set(&err, RC_RATE, "too fast by %d", 3);
    rpc_reply_err(call, &err);
}

static void handle_slow(void *arg, struct rpc_call *call)
{
    struct world *w = arg;
    struct buf b;

    buf_init(&b, 1000);
    buf_printf(&b, "%lld", (long long)rpc_call_left_ms(call));
    (void)w;
    rpc_reply_buf(call, RC_OK, &b);
}

static void server_up(struct world *w, const char *listen, const char *cluster, int calls_max)
{
    struct rpc_server_cfg cfg = {
        .listen = listen, .cluster = str_of(cluster), .calls_max = calls_max, .metrics = w->metrics};
    struct err err = {0};

    CHECK(rpc_server_new(&cfg, &w->srv, &err) == 0);
    rpc_server_handle(w->srv, RPC_PING, handle_echo, w);
    rpc_server_handle(w->srv, RPC_PUSH, handle_hold, w);
    rpc_server_handle(w->srv, RPC_FLUSH, handle_fail, w);
    rpc_server_handle_slow(w->srv, RPC_SELECT, handle_slow, w);
    CHECK(rpc_server_start(w->srv, &err) == 0);
    snprintf(w->addr, sizeof w->addr, "127.0.0.1:%d", rpc_server_port(w->srv));
}

static void world_up(struct world *w, int calls_max)
{
    struct rpc_client_cfg cfg;

    memset(w, 0, sizeof *w);
    mutex_init(&w->lock);
    cond_init(&w->changed);
    w->metrics = metrics_new();
    server_up(w, "127.0.0.1:0", "test", calls_max);
    cfg = (struct rpc_client_cfg){.cluster = STR("test"), .metrics = w->metrics};
    CHECK(rpc_client_new(&cfg, &w->client, NULL) == 0);
}

static void held_answer(struct world *w, int n, const char *text)
{
    mutex_lock(&w->lock);
    while (w->held_n < n)
        cond_wait(&w->changed, &w->lock);
    for (int i = w->held_n; i-- > 0;) /* backwards: answers need not come in order */
        rpc_reply(w->held[i], RC_OK, str_of(text));
    w->held_n = 0;
    mutex_unlock(&w->lock);
}

static void world_down(struct world *w)
{
    rpc_client_free(w->client);
    rpc_server_free(w->srv);
    metrics_free(w->metrics);
    cond_fini(&w->changed);
    mutex_fini(&w->lock);
}

/* --- counting callbacks --- */

struct tally {
    struct mutex lock;
    struct cond changed;
    int ended, ok, unavailable, timeout, canceled, other;
    uint64_t bytes;
    char text[256];
};

static void tally_init(struct tally *t)
{
    memset(t, 0, sizeof *t);
    mutex_init(&t->lock);
    cond_init(&t->changed);
}

static void tally_done(void *arg, int rc, struct buf *reply, const struct err *err)
{
    struct tally *t = arg;

    mutex_lock(&t->lock);
    t->ended++;
    *(rc == RC_OK ? &t->ok : rc == RC_UNAVAILABLE ? &t->unavailable : rc == RC_TIMEOUT ? &t->timeout
      : rc == RC_CANCELED ? &t->canceled : &t->other) += 1;
    t->bytes += reply->n;
    if (err)
        snprintf(t->text, sizeof t->text, "%.250s", err_text(err));
    cond_broadcast(&t->changed);
    mutex_unlock(&t->lock);
}

static void tally_wait(struct tally *t, int n)
{
    mutex_lock(&t->lock);
    while (t->ended < n)
        cond_wait(&t->changed, &t->lock);
    mutex_unlock(&t->lock);
}

/* --- claims --- */

TEST(payloads_of_all_sizes_come_back_unchanged)
{
    static const size_t sizes[] = {0, 1, 39, 1000, 8151, 8152, 8153, 60000, 1 << 20, RPC_MESSAGE_BYTES_MAX};
    struct world w;

    world_up(&w, 0);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char *p = malloc(sizes[i] + 1);
        struct buf reply;

        for (size_t k = 0; k < sizes[i]; k++)
            p[k] = (char)(k * 31 + i);
        buf_init(&reply, RPC_MESSAGE_BYTES_MAX);
        CHECK_INT(rpc_call_sync(w.client, w.addr, RPC_PING, str_n(p, sizes[i]), 30000, &reply, NULL), 0);
        CHECK(str_eq(buf_view(&reply), str_n(p, sizes[i])));
        buf_fini(&reply);
        free(p);
    }
    world_down(&w);
}

TEST(a_longer_payload_is_refused_before_it_is_sent)
{
    char *p = calloc(1, RPC_MESSAGE_BYTES_MAX + 1);
    struct world w;

    world_up(&w, 0);
    CHECK_INT(rpc_call_sync(w.client, w.addr, RPC_PING, str_n(p, RPC_MESSAGE_BYTES_MAX + 1), 1000, NULL, NULL), RC_LIMIT);
    world_down(&w);
    free(p);
}

TEST(errors_carry_code_and_words)
{
    struct err err = {0};
    struct world w;

    world_up(&w, 0);
    CHECK_INT(rpc_call_sync(w.client, w.addr, RPC_FLUSH, STR(""), 10000, NULL, &err), RC_RATE);
    CHECK(strstr(err.text, "too fast by 3") && strstr(err.text, w.addr));
    CHECK_INT(rpc_call_sync(w.client, w.addr, RPC_LABELS, STR(""), 10000, NULL, &err), RC_UNSUPPORTED);
    world_down(&w);
}

TEST(slow_handlers_see_the_remaining_deadline)
{
    struct world w;
    struct buf reply;
    int left;

    world_up(&w, 0);
    buf_init(&reply, 100);
    CHECK_INT(rpc_call_sync(w.client, w.addr, RPC_SELECT, STR(""), 10000, &reply, NULL), 0);
    buf_char(&reply, 0);
    left = (int)strtol(reply.p, NULL, 10);
    CHECK(left > 0 && left <= 10000);
    buf_fini(&reply);
    world_down(&w);
}

TEST(many_calls_share_a_connection_and_may_be_answered_in_any_order)
{
    struct world w;
    struct tally t;

    world_up(&w, 0);
    tally_init(&t);
    for (int i = 0; i < 200; i++)
        rpc_send(w.client, w.addr, RPC_PUSH, STR("x"), 30000, tally_done, &t);
    held_answer(&w, 200, "later");
    tally_wait(&t, 200);
    CHECK(t.ok == 200 && t.bytes == 1000);
    world_down(&w);
}

TEST(an_overloaded_server_says_so)
{
    struct world w;
    struct tally t;

    world_up(&w, 5);
    tally_init(&t);
    for (int i = 0; i < 8; i++)
        rpc_send(w.client, w.addr, RPC_PUSH, STR("x"), 30000, tally_done, &t);
    tally_wait(&t, 3);
    CHECK(t.unavailable == 3 && strstr(t.text, "overloaded"));
    /* Writes keep neither reads nor gossip out. */
    CHECK_INT(rpc_call_sync(w.client, w.addr, RPC_SELECT, STR("x"), 30000, NULL, NULL), 0);
    CHECK_INT(rpc_call_sync(w.client, w.addr, RPC_PING, STR("x"), 30000, NULL, NULL), 0);
    held_answer(&w, 5, "");
    tally_wait(&t, 8);
    CHECK(t.ok == 5);
    world_down(&w);
}

TEST(the_in_flight_ceiling_of_a_peer_fails_at_once)
{
    struct world w;
    struct tally t;

    world_up(&w, RPC_IN_FLIGHT_MAX);
    tally_init(&t);
    w.held_n = 0;
    for (int i = 0; i < RPC_IN_FLIGHT_MAX + 10; i++)
        rpc_send(w.client, "127.0.0.1:9", RPC_PUSH, STR("x"), 30000, tally_done, &t);
    tally_wait(&t, RPC_IN_FLIGHT_MAX + 10); /* refused connection or ceiling: all end */
    CHECK(t.unavailable == RPC_IN_FLIGHT_MAX + 10);
    world_down(&w);
}

TEST(a_call_without_answer_times_out_and_its_late_answer_is_dropped)
{
    struct world w;
    int64_t began = now_ms(), took;

    world_up(&w, 0);
    CHECK_INT(rpc_call_sync(w.client, w.addr, RPC_PUSH, STR("x"), 80, NULL, NULL), RC_TIMEOUT);
    took = now_ms() - began;
    CHECK(took >= 80 && took < 2000);
    held_answer(&w, 1, "late");
    CHECK_INT(rpc_call_sync(w.client, w.addr, RPC_PING, STR("x"), 10000, NULL, NULL), 0);
    world_down(&w);
}

TEST(a_refused_connection_fails_at_once_not_at_the_deadline)
{
    struct err err = {0};
    struct world w;
    int64_t began;

    world_up(&w, 0);
    began = now_ms();
    CHECK_INT(rpc_call_sync(w.client, "127.0.0.1:9", RPC_PING, STR("x"), 20000, NULL, &err), RC_UNAVAILABLE);
    CHECK_INT(rpc_call_sync(w.client, "127.0.0.1:9", RPC_PING, STR("x"), 20000, NULL, &err), RC_UNAVAILABLE);
    CHECK(now_ms() - began < 2000);
    CHECK(strstr(err.text, "127.0.0.1:9"));
    CHECK_INT(rpc_call_sync(w.client, "nonsense", RPC_PING, STR("x"), 20000, NULL, &err), RC_INVALID);
    world_down(&w);
}

TEST(a_restarted_peer_is_used_again_soon)
{
    struct world w;
    char addr[64];
    int64_t up;
    int rc;

    world_up(&w, 0);
    snprintf(addr, sizeof addr, "%s", w.addr);
    for (int round = 0; round < 3; round++) {
        CHECK_INT(rpc_call_sync(w.client, addr, RPC_PING, STR("x"), 10000, NULL, NULL), 0);
        rpc_server_free(w.srv);
        rc = rpc_call_sync(w.client, addr, RPC_PING, STR("x"), 10000, NULL, NULL);
        CHECK_INT(rc, RC_UNAVAILABLE);
        server_up(&w, addr, "test", 0);
        up = now_ms();
        while (rpc_call_sync(w.client, addr, RPC_PING, STR("x"), 10000, NULL, NULL) != 0) {
            CHECK(now_ms() - up < 2000);
            poll(NULL, 0, 5);
        }
        print_message("usable %lld ms after restart\n", (long long)(now_ms() - up));
    }
    world_down(&w);
}

TEST(calls_in_flight_end_when_the_server_dies)
{
    struct world w;
    struct tally t;

    world_up(&w, 0);
    tally_init(&t);
    for (int i = 0; i < 10; i++)
        rpc_send(w.client, w.addr, RPC_PUSH, STR("x"), 60000, tally_done, &t);
    mutex_lock(&w.lock);
    while (w.held_n < 10)
        cond_wait(&w.changed, &w.lock);
    mutex_unlock(&w.lock);
    /* The connection goes first; the handlers answer into the void, which free waits for. */
    rpc_client_forget(w.client, w.addr);
    tally_wait(&t, 10);
    CHECK(t.unavailable == 10);
    held_answer(&w, 10, "too late");
    world_down(&w);
}

TEST(freeing_a_client_cancels_what_waits)
{
    struct world w;
    struct tally t;

    world_up(&w, 0);
    tally_init(&t);
    for (int i = 0; i < 10; i++)
        rpc_send(w.client, w.addr, RPC_PUSH, STR("x"), 60000, tally_done, &t);
    rpc_client_free(w.client);
    w.client = NULL;
    CHECK(t.ended == 10 && t.canceled == 10);
    mutex_lock(&w.lock);
    for (int i = 0; i < w.held_n; i++)
        rpc_reply(w.held[i], RC_OK, STR(""));
    mutex_unlock(&w.lock);
    world_down(&w);
}

/* --- canceling --- */

/* A worker that works until nobody wants the answer any more; the others wait for it. */
struct working {
    atomic_int begun, ended;
};

static void handle_until_canceled(void *arg, struct rpc_call *call)
{
    struct working *w = arg;
    const atomic_bool *canceled = rpc_call_canceled(call);

    atomic_fetch_add(&w->begun, 1);
    while (!atomic_load(canceled))
        poll(NULL, 0, 1); /* the suite's time limit ends a wait in vain */
    rpc_reply(call, RC_CANCELED, STR("stopped"));
    atomic_fetch_add(&w->ended, 1);
}

static void canceling_up(struct world *w, struct working *work)
{
    struct rpc_client_cfg cfg = {.cluster = STR("test")};

    *w = (struct world){0};
    *work = (struct working){0};
    CHECK(rpc_server_new(&(struct rpc_server_cfg){.listen = "127.0.0.1:0", .cluster = STR("test"), .workers = 1}, &w->srv, NULL) == 0);
    rpc_server_handle_slow(w->srv, RPC_SELECT, handle_until_canceled, work);
    CHECK(rpc_server_start(w->srv, NULL) == 0);
    snprintf(w->addr, sizeof w->addr, "127.0.0.1:%d", rpc_server_port(w->srv));
    CHECK(rpc_client_new(&cfg, &w->client, NULL) == 0);
}

static void wait_for(atomic_int *v, int n)
{
    while (atomic_load(v) < n)
        poll(NULL, 0, 1);
}

TEST(a_canceled_call_ends_here_and_there)
{
    struct working work;
    struct world w;
    struct tally first, second;

    canceling_up(&w, &work);
    tally_init(&first);
    tally_init(&second);
    rpc_send(w.client, w.addr, RPC_SELECT, STR("x"), 60000, tally_done, &first);
    wait_for(&work.begun, 1);
    rpc_send(w.client, w.addr, RPC_SELECT, STR("y"), 60000, tally_done, &second); /* waits for the one worker */
    rpc_cancel(w.client, w.addr, tally_done, &second);
    CHECK(second.ended == 1 && second.canceled == 1); /* at once */
    CHECK(first.ended == 0 && atomic_load(&work.ended) == 0);
    rpc_cancel(w.client, w.addr, tally_done, &first);
    CHECK(first.ended == 1 && first.canceled == 1);
    CHECK(rpc_server_drain(w.srv, 60000));
    CHECK_INT(atomic_load(&work.ended), 1);
    CHECK_INT(atomic_load(&work.begun), 1); /* the second was never begun */
    rpc_cancel(w.client, w.addr, tally_done, &first); /* nothing of the kind is in flight */
    rpc_cancel(w.client, "127.0.0.1:1", tally_done, &first);
    CHECK_INT(first.ended, 1);
    rpc_client_free(w.client);
    rpc_server_free(w.srv);
}

TEST(calls_of_a_client_that_is_gone_are_canceled)
{
    struct working work;
    struct world w;
    struct tally t;

    canceling_up(&w, &work);
    tally_init(&t);
    rpc_send(w.client, w.addr, RPC_SELECT, STR("x"), 60000, tally_done, &t);
    wait_for(&work.begun, 1);
    rpc_client_free(w.client);
    wait_for(&work.ended, 1);
    rpc_server_free(w.srv);
}

TEST(another_cluster_is_refused_and_counted)
{
    struct rpc_client_cfg cfg = {.cluster = STR("other")};
    struct rpc_client *stranger;
    struct buf text;
    struct world w;

    world_up(&w, 0);
    CHECK(rpc_client_new(&cfg, &stranger, NULL) == 0);
    CHECK_INT(rpc_call_sync(stranger, w.addr, RPC_PING, STR("x"), 10000, NULL, NULL), RC_UNAVAILABLE);
    rpc_client_free(stranger);
    CHECK_INT(rpc_call_sync(w.client, w.addr, RPC_PING, STR("x"), 10000, NULL, NULL), 0);
    buf_init(&text, 1 << 20);
    metrics_write(w.metrics, false, &text);
    buf_char(&text, 0);
    CHECK(strstr(text.p, "torc_rpc_frames_refused_total{reason=\"foreign_cluster\"} 1\n"));
    CHECK(strstr(text.p, "torc_rpc_client_requests_total{method=\"ping\",status=\"ok\"} 1\n"));
    buf_fini(&text);
    world_down(&w);
}

static int raw_connect(const char *addr)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(strchr(addr, ':') + 1))};
    int fd                = socket(AF_INET, SOCK_STREAM, 0);

    inet_pton(AF_INET, "127.0.0.1", &sa.sin_addr);
    CHECK(connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0);
    return fd;
}

TEST(damaged_frames_close_the_connection_and_harm_nobody)
{
    struct frame f = {.id = 1, .cluster = frame_cluster_hash(STR("test")), .method = RPC_PING, .deadline_ms = 1000};
    uint8_t bytes[FRAME_HEADER_BYTES + 64];
    struct str body = STR("sixty-four bytes of payload, more or less, for one small frame..");
    struct world w;

    world_up(&w, 0);
    for (size_t i = 0; i < FRAME_HEADER_BYTES + body.n; i++) {
        int fd = raw_connect(w.addr);
        char c;

        frame_encode(&f, body, bytes);
        memcpy(bytes + FRAME_HEADER_BYTES, body.p, body.n);
        bytes[i] ^= (uint8_t)(1 << i % 8);
        CHECK(write(fd, bytes, FRAME_HEADER_BYTES + body.n) == (ssize_t)(FRAME_HEADER_BYTES + body.n));
        CHECK(read(fd, &c, 1) <= 0); /* closed without an answer */
        close(fd);
    }
    CHECK_INT(rpc_call_sync(w.client, w.addr, RPC_PING, STR("x"), 10000, NULL, NULL), 0);
    world_down(&w);
}

static size_t raw_frame(char *out, uint64_t id, struct str body)
{
    struct frame f = {.id = id, .cluster = frame_cluster_hash(STR("test")), .method = RPC_PING, .deadline_ms = 10000};

    frame_encode(&f, body, (uint8_t *)out);
    memcpy(out + FRAME_HEADER_BYTES, body.p, body.n);
    return FRAME_HEADER_BYTES + body.n;
}

static void raw_expect(int fd, uint64_t id, struct str body)
{
    char bytes[FRAME_HEADER_BYTES + 4096];
    struct frame f;
    size_t n = 0;

    while (n < FRAME_HEADER_BYTES + body.n) {
        ssize_t got = read(fd, bytes + n, FRAME_HEADER_BYTES + body.n - n);

        CHECK(got > 0);
        n += (size_t)got;
    }
    CHECK(frame_decode((uint8_t *)bytes, frame_cluster_hash(STR("test")), &f, NULL, NULL) == 0);
    CHECK(f.id == id && f.status == RC_OK && (f.flags & FRAME_REPLY));
    CHECK(str_eq(str_n(bytes + FRAME_HEADER_BYTES, f.payload_len), body));
}

TEST(frames_may_arrive_in_any_pieces)
{
    static const size_t pieces[] = {1, 7, 39, 40, 41, 300, 100000};
    char *bytes = malloc(200000), body[2500];
    struct world w;

    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (char)(i * 7);
    world_up(&w, 0);
    for (size_t p = 0; p < ARRAY_LEN(pieces); p++) {
        int fd   = raw_connect(w.addr);
        size_t n = 0;

        for (uint64_t id = 0; id < 20; id++)
            n += raw_frame(bytes + n, id, str_n(body, (size_t)id * 125));
        for (size_t at = 0; at < n;) {
            size_t piece = n - at < pieces[p] ? n - at : pieces[p];

            CHECK(write(fd, bytes + at, piece) == (ssize_t)piece);
            at += piece;
        }
        for (uint64_t id = 0; id < 20; id++)
            raw_expect(fd, id, str_n(body, (size_t)id * 125));
        close(fd);
    }
    world_down(&w);
    free(bytes);
}

TEST(a_peer_that_accepts_and_says_nothing_is_given_up_before_the_deadline)
{
    struct sockaddr_in sa = {.sin_family = AF_INET};
    socklen_t len         = sizeof sa;
    struct err err        = {0};
    char addr[64];
    struct world w;
    int64_t began, took;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    inet_pton(AF_INET, "127.0.0.1", &sa.sin_addr);
    CHECK(bind(fd, (struct sockaddr *)&sa, sizeof sa) == 0 && listen(fd, 5) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&sa, &len) == 0);
    snprintf(addr, sizeof addr, "127.0.0.1:%d", ntohs(sa.sin_port));
    world_up(&w, 0);
    began = now_ms();
    CHECK_INT(rpc_call_sync(w.client, addr, RPC_PING, STR("x"), 60000, NULL, &err), RC_UNAVAILABLE);
    took = now_ms() - began;
    CHECK(took > RPC_SILENCE_MS && took < 4 * RPC_SILENCE_MS);
    world_down(&w);
    close(fd);
}

struct within {
    struct mutex lock; /* held by the sender around rpc_send, and taken by the callback */
    struct tally tally;
};

static void within_done(void *arg, int rc, struct buf *reply, const struct err *err)
{
    struct within *w = arg;

    mutex_lock(&w->lock);
    mutex_unlock(&w->lock);
    tally_done(&w->tally, rc, reply, err);
}

/* Nobody reads the other end: the queue fills up, and what no longer fits must not be reported from within rpc_send. */
TEST(a_full_queue_is_reported_but_not_from_within_the_send)
{
    enum { CALLS = RPC_QUEUE_BYTES_MAX / RPC_MESSAGE_BYTES_MAX + 4 };
    struct sockaddr_in at    = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct rpc_client_cfg cfg = {.cluster = STR("c")};
    socklen_t at_n           = sizeof at;
    int fd                   = socket(AF_INET, SOCK_STREAM, 0);
    char *big                = xcalloc(1, RPC_MESSAGE_BYTES_MAX), addr[64];
    struct rpc_client *c;
    struct within w = {0};

    CHECK(bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 4) == 0 && getsockname(fd, (struct sockaddr *)&at, &at_n) == 0);
    snprintf(addr, sizeof addr, "127.0.0.1:%d", ntohs(at.sin_port));
    CHECK_INT(rpc_client_new(&cfg, &c, NULL), 0);
    mutex_init(&w.lock);
    tally_init(&w.tally);
    mutex_lock(&w.lock);
    rpc_send(c, addr, RPC_PUSH, STR("first"), 500, within_done, &w); /* waits for the connection */
    mutex_unlock(&w.lock);
    poll(NULL, 0, 300);
    for (int i = 0; i < CALLS; i++) {
        mutex_lock(&w.lock);
        rpc_send(c, addr, RPC_PUSH, str_n(big, RPC_MESSAGE_BYTES_MAX), 500, within_done, &w);
        mutex_unlock(&w.lock);
    }
    tally_wait(&w.tally, CALLS + 1);
    rpc_client_free(c);
    close(fd);
    free(big);
    mutex_fini(&w.lock);
}

TEST(a_slow_answer_is_not_silence)
{
    struct world w;
    struct tally t;

    world_up(&w, 0);
    tally_init(&t);
    rpc_send(w.client, w.addr, RPC_PUSH, STR("x"), 60000, tally_done, &t);
    poll(NULL, 0, RPC_SILENCE_MS + 2000); /* longer than silence is suffered: probes are answered meanwhile */
    CHECK(t.ended == 0);
    held_answer(&w, 1, "at last");
    tally_wait(&t, 1);
    CHECK(t.ok == 1);
    world_down(&w);
}

TEST(draining_refuses_new_calls_and_waits_for_old_ones)
{
    struct world w;
    struct tally t;

    world_up(&w, 0);
    tally_init(&t);
    rpc_send(w.client, w.addr, RPC_PUSH, STR("x"), 60000, tally_done, &t);
    mutex_lock(&w.lock);
    while (w.held_n < 1)
        cond_wait(&w.changed, &w.lock);
    mutex_unlock(&w.lock);
    CHECK(!rpc_server_drain(w.srv, 20));
    CHECK_INT(rpc_call_sync(w.client, w.addr, RPC_PING, STR("x"), 10000, NULL, NULL), RC_UNAVAILABLE);
    held_answer(&w, 1, "done");
    CHECK(rpc_server_drain(w.srv, 10000));
    tally_wait(&t, 1);
    CHECK(t.ok == 1);
    world_down(&w);
}

/* --- many threads at once --- */

struct caller {
    struct world *w;
    int n;
};

static void *caller_main(void *arg)
{
    struct caller *c = arg;
    char payload[3000];

    memset(payload, 'p', sizeof payload);
    for (int i = 0; i < c->n; i++) {
        struct buf reply;
        size_t n = (size_t)(i * 37) % sizeof payload;

        buf_init(&reply, 1 << 20);
        ASSERT(rpc_call_sync(c->w->client, c->w->addr, i % 2 ? RPC_PING : RPC_SELECT, str_n(payload, n), 60000,
                             &reply, NULL) == 0);
        ASSERT(i % 2 == 0 || reply.n == n);
        buf_fini(&reply);
    }
    return NULL;
}

TEST(eight_threads_call_at_once)
{
    pthread_t threads[8];
    struct caller c;
    struct world w;

    world_up(&w, 0);
    c = (struct caller){&w, 300};
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        threads[i] = thread_start("caller", caller_main, &c);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    world_down(&w);
}
