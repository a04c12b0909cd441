/* The generator against a server that misbehaves on cue: what is repeated, what is given up, what is counted, and which bytes go out.
 * The server speaks over a real socket from a thread of its own. */
#include "common/base/bytes.h"
#include "common/sys/clock.h"
#include "common/sys/fs.h"
#include "common/sys/thread.h"
#include "distributor/write_request.h"
#include "loadgen/exporter.h"
#include "loadgen/send.h"
#include "loadgen/verify.h"
#include "tests/raw_http.h"
#include "tests/test.h"

#include <signal.h>
#include <snappy-c.h>
#include <stdatomic.h>

enum { REQUESTS_MAX = 256 };

struct server {
    int fd;
    uint16_t port;
    pthread_t thread;
    /* Called in the server's thread for request number i; returns the raw answer, or NULL to close without one. */
    const char *(*answer)(struct server *s, int i);
    _Atomic int requests;
    struct {
        char *body;
        size_t n;
        char head[1024];
    } got[REQUESTS_MAX];
    char text[4096]; /* for answers that are made up on the way */
};

static bool serve_one(struct server *s, int fd, struct buf *in)
{
    char *end, chunk[1 << 16];
    const char *length, *answer;
    size_t head, body, i = (size_t)atomic_load(&s->requests);

    while (!(end = in->n ? memmem(in->p, in->n, "\r\n\r\n", 4) : NULL)) {
        ssize_t n = recv(fd, chunk, sizeof chunk, 0);

        if (n <= 0)
            return false;
        buf_add(in, chunk, (size_t)n);
    }
    head = (size_t)(end - in->p) + 4;
    length = memmem(in->p, head, "Content-Length: ", 16);
    body = length ? strtoul(length + 16, NULL, 10) : 0;
    while (in->n < head + body) {
        ssize_t n = recv(fd, chunk, sizeof chunk, 0);

        if (n <= 0)
            return false;
        buf_add(in, chunk, (size_t)n);
    }
    if (i < REQUESTS_MAX) {
        s->got[i].body = xmemdup(in->p + head, body);
        s->got[i].n = body;
        snprintf(s->got[i].head, sizeof s->got[i].head, "%.*s", (int)head, in->p);
    }
    buf_clear(in);
    atomic_fetch_add(&s->requests, 1);
    answer = s->answer(s, (int)i);
    return answer && raw_send(fd, answer, strlen(answer)) && !strstr(answer, "Connection: close");
}

static void *serve(void *arg)
{
    struct server *s = arg;

    for (;;) {
        int fd = accept(s->fd, NULL, NULL);
        struct buf in;

        if (fd < 0)
            return NULL;
        buf_init(&in, 64 << 20);
        while (serve_one(s, fd, &in))
            ;
        buf_fini(&in);
        close(fd);
    }
}

static void server_start(struct server *s, const char *(*answer)(struct server *s, int i))
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;

    memset(s, 0, sizeof *s);
    s->answer = answer;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(s->fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(s->fd, 16) == 0);
    CHECK(getsockname(s->fd, (struct sockaddr *)&at, &n) == 0);
    s->port = ntohs(at.sin_port);
    s->thread = thread_start("server", serve, s);
}

static void server_stop(struct server *s)
{
    shutdown(s->fd, SHUT_RDWR);
    close(s->fd);
    pthread_join(s->thread, NULL);
    for (size_t i = 0; i < REQUESTS_MAX; i++)
        free(s->got[i].body);
}

/* --- writing --- */

struct run {
    struct history history;
    struct model model;
    struct http_peer peer;
    struct send_cfg cfg;
    struct send_stats stats;
};

/* 30 series in batches of 10, one connection. */
static void run_init(struct run *r, uint16_t port, uint64_t rounds)
{
    struct history_cfg h = {.model = {.seed = 5, .series = 30, .tenants = 1, .labels = MODEL_LABELS, .epoch_ms = clock_wall_ms(clock_system())}, .batch = 10, .tenant = "acme"};
    char url[64];
    struct err err;

    memset(r, 0, sizeof *r);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/push", port);
    CHECK(http_peer_of(url, &r->peer, &err) == 0);
    r->peer.path = STR("/push");
    CHECK(history_new(&h, NULL, &r->history, &err) == 0);
    model_init(&r->model, &h.model);
    r->cfg = (struct send_cfg){.peer = &r->peer,
                               .image = {.model = &r->model, .protocol = PROTOCOL_RW1, .codec = CODEC_SNAPPY},
                               .history = &r->history,
                               .connections = 1,
                               .plan = {.interval_ns = 30000000, .rounds = rounds},
                               .timeout_ms = 5000,
                               .give_up_ms = 20000,
                               .drain_ms = 5000};
}

static void run_send(struct run *r)
{
    struct err err;

    CHECK(send_run(&r->cfg, &r->stats, &err) == 0);
}

static const char no_content[] = "HTTP/1.1 204 No Content\r\n\r\n";

static const char *answer_fine(struct server *s, int i)
{
    (void)s;
    (void)i;
    return no_content;
}

TEST(every_batch_goes_out_once_with_its_headers_and_the_due_time)
{
    struct server s;
    struct run r;
    char body[1 << 16];
    size_t n = sizeof body;
    struct wr_series series;
    struct str metadata;
    struct err err;
    struct rd in;
    uint64_t bits;
    int64_t t;

    server_start(&s, answer_fine);
    run_init(&r, s.port, 3);
    run_send(&r);
    CHECK_INT(atomic_load(&s.requests), 9);
    CHECK_INT(r.stats.acked_samples, 90);
    CHECK_INT(r.stats.due_samples, 90);
    CHECK_INT(r.stats.failed_samples + r.stats.unsent_samples + r.stats.retries, 0);
    CHECK_INT(r.stats.statuses[204], 9);
    CHECK_INT(r.stats.dials, 1);
    CHECK(r.stats.elapsed_ns >= 90000000);
    CHECK(strstr(s.got[0].head, "POST /push HTTP/1.1\r\n"));
    CHECK(strstr(s.got[0].head, "Content-Encoding: snappy\r\n") && strstr(s.got[0].head, "Content-Type: application/x-protobuf\r\n"));
    CHECK(strstr(s.got[0].head, "X-Prometheus-Remote-Write-Version: 0.1.0\r\n") && strstr(s.got[0].head, "X-Scope-OrgID: acme\r\n"));
    CHECK(snappy_uncompress(s.got[4].body, s.got[4].n, body, &n) == SNAPPY_OK);
    in = rd_of(str_n(body, n));
    CHECK_INT(wr_next(&in, &series, &metadata, &err), 1);
    in = rd_of(series.message);
    CHECK_INT(wr_sample_next(&in, &t, &bits, &err), 1);
    history_sort(&r.history);
    CHECK(history_of(&r.history, 1, &n)[1].t_ms == t && n == 3);
    CHECK_INT(history_of(&r.history, 1, &n)[2].t_ms - t, 30);
    CHECK(bits == model_value(&r.model, (struct series_id){0, 10, 0}, t));
    history_fini(&r.history);
    server_stop(&s);
}

TEST(the_planned_share_comes_out_of_order_and_nothing_twice)
{
    enum { ROUNDS = 80 };
    struct server s;
    struct run r;
    size_t late = 0, n;
    int64_t newest[3] = {0};

    server_start(&s, answer_fine);
    run_init(&r, s.port, ROUNDS);
    r.cfg.plan.out_of_order = 20;
    r.cfg.plan.interval_ns = 5000000;
    run_send(&r);
    for (size_t i = 0; i < r.history.sent.n; i++) {
        const struct history_entry *e = &r.history.sent.v[i];

        late += e->t_ms < newest[e->batch];
        newest[e->batch] = MAX(newest[e->batch], e->t_ms);
        CHECK(e->t_ms <= clock_wall_ms(clock_system()));
    }
    CHECK(late > ROUNDS * 3 / 10 && late < ROUNDS * 3 * 3 / 10);
    history_sort(&r.history);
    for (uint32_t b = 0; b < 3; b++) {
        const struct history_entry *e = history_of(&r.history, b, &n);

        CHECK_INT(n, ROUNDS); /* entries of one time would be one */
        for (size_t i = 1; i < n; i++)
            CHECK_INT(e[i].t_ms - e[i - 1].t_ms, 5);
    }
    history_fini(&r.history);
    server_stop(&s);
}

static const char *answer_trouble(struct server *s, int i)
{
    static const char *const answers[] = {
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nlater",
        "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n",
        NULL,
        "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\n\r\nno length",
        "HTTP/1.1 204 No Content\r\n\r\n",
    };

    (void)s;
    return i < 5 ? answers[i] : no_content;
}

TEST(what_may_pass_is_repeated_byte_for_byte)
{
    struct server s;
    struct run r;

    server_start(&s, answer_trouble);
    run_init(&r, s.port, 1);
    run_send(&r);
    CHECK_INT(atomic_load(&s.requests), 7);
    for (int i = 1; i < 5; i++)
        CHECK(s.got[i].n == s.got[0].n && memcmp(s.got[i].body, s.got[0].body, s.got[0].n) == 0);
    CHECK_INT(r.stats.retries, 4);
    CHECK_INT(r.stats.broken, 1);
    CHECK_INT(r.stats.acked_samples, 30);
    CHECK_INT(r.stats.failed_samples, 0);
    CHECK_INT(r.stats.statuses[503] + r.stats.statuses[429] + r.stats.statuses[500], 3);
    CHECK_STR(r.stats.last_error, "no length");
    history_sort(&r.history);
    for (uint32_t b = 0; b < 3; b++) {
        size_t n;

        CHECK(history_of(&r.history, b, &n)[0].acked && n == 1);
    }
    history_fini(&r.history);
    server_stop(&s);
}

static const char *answer_refuse_second(struct server *s, int i)
{
    (void)s;
    return i == 1 ? "HTTP/1.1 400 Bad Request\r\nContent-Length: 20\r\n\r\nout of order\nsample\n" : no_content;
}

TEST(what_is_refused_for_good_is_counted_and_not_repeated)
{
    struct server s;
    struct run r;
    size_t n;

    server_start(&s, answer_refuse_second);
    run_init(&r, s.port, 1);
    run_send(&r);
    CHECK_INT(atomic_load(&s.requests), 3);
    CHECK_INT(r.stats.acked_samples, 20);
    CHECK_INT(r.stats.failed_samples, 10);
    CHECK_STR(r.stats.last_error, "out of order");
    history_sort(&r.history);
    CHECK(!history_of(&r.history, 1, &n)[0].acked && n == 1);
    history_fini(&r.history);
    server_stop(&s);
}

static const char *answer_slow(struct server *s, int i)
{
    (void)s;
    if (i == 0)
        nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    return no_content;
}

TEST(latency_counts_from_the_due_time)
{
    struct server s;
    struct run r;

    /* The first answer takes 300 ms; the batches that were due meanwhile waited for it. */
    server_start(&s, answer_slow);
    run_init(&r, s.port, 10);
    run_send(&r);
    CHECK_INT(r.stats.acked_requests, 30);
    CHECK(latency_quantile(&r.stats.latency, 1) >= 0.3);
    CHECK(latency_quantile(&r.stats.latency, 0.5) >= 0.1);
    history_fini(&r.history);
    server_stop(&s);
}

static const char *answer_late(struct server *s, int i)
{
    (void)s;
    if (i == 0)
        nanosleep(&(struct timespec){.tv_nsec = 400000000}, NULL);
    return i == 0 ? NULL : no_content;
}

TEST(an_answer_that_does_not_come_times_out_and_is_repeated)
{
    struct server s;
    struct run r;

    server_start(&s, answer_late);
    run_init(&r, s.port, 1);
    r.cfg.timeout_ms = 100;
    run_send(&r);
    CHECK(r.stats.timeouts >= 1);
    CHECK_INT(r.stats.acked_samples, 30);
    history_fini(&r.history);
    server_stop(&s);
}

TEST(nobody_there_is_given_up_in_the_end)
{
    struct server s;
    struct run r;

    server_start(&s, answer_fine);
    server_stop(&s);
    run_init(&r, s.port, 1);
    r.cfg.give_up_ms = 100;
    run_send(&r);
    CHECK_INT(r.stats.acked_samples, 0);
    CHECK_INT(r.stats.failed_samples, 30);
    CHECK(r.stats.retries > 0);
    CHECK(r.stats.last_error[0]);
    history_fini(&r.history);
}

static const char *answer_and_interrupt(struct server *s, int i)
{
    (void)s;
    if (i == 2)
        kill(getpid(), SIGINT);
    return no_content;
}

TEST(an_interrupt_ends_the_run_and_not_the_process)
{
    struct server s;
    struct run r;

    server_start(&s, answer_and_interrupt);
    run_init(&r, s.port, 1000);
    run_send(&r);
    CHECK(r.stats.interrupted);
    CHECK(r.stats.acked_requests >= 3 && r.stats.acked_requests < 1000);
    CHECK_INT(r.stats.acked_samples, r.stats.acked_requests * 10);
    history_fini(&r.history);
    server_stop(&s);
}

/* --- protocols and replicas --- */

static const char *answer_by_turns(struct server *s, int i)
{
    (void)s;
    return i % 2 ? "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n" : no_content;
}

TEST(replicas_send_the_same_samples_and_202_means_deduplicated)
{
    struct server s;
    struct run r;
    size_t n;

    server_start(&s, answer_by_turns);
    run_init(&r, s.port, 2);
    r.cfg.plan.ha = true;
    run_send(&r);
    CHECK_INT(atomic_load(&s.requests), 12); /* 3 batches, 2 rounds, 2 replicas */
    CHECK_INT(r.stats.due_samples, 120);
    CHECK_INT(r.stats.acked_samples, 60);
    CHECK_INT(r.stats.deduplicated_samples, 60);
    CHECK_INT(r.stats.failed_samples + r.stats.unsent_samples, 0);
    for (int i = 0; i < 12; i++) {
        char body[1 << 14];
        size_t body_n = sizeof body;

        CHECK(snappy_uncompress(s.got[i].body, s.got[i].n, body, &body_n) == SNAPPY_OK);
        CHECK(memmem(body, body_n, i % 2 ? "replica-b" : "replica-a", 9));
    }
    /* Both replicas' requests are one entry, acknowledged by the elected one. */
    history_sort(&r.history);
    for (uint32_t b = 0; b < 3; b++) {
        const struct history_entry *e = history_of(&r.history, b, &n);

        CHECK(n == 2 && e[0].acked && e[1].acked);
    }
    history_fini(&r.history);
    server_stop(&s);
}

TEST(a_dead_replica_sends_nothing)
{
    struct server s;
    struct run r;

    server_start(&s, answer_fine);
    run_init(&r, s.port, 8);
    r.cfg.plan.ha = true;
    r.cfg.plan.outage_ns = 2 * r.cfg.plan.interval_ns; /* rounds 0, 1 both; 2, 3 only b; 4, 5 both; 6, 7 only a */
    run_send(&r);
    CHECK_INT(r.stats.silent_samples, 4 * 30);
    CHECK_INT(atomic_load(&s.requests), 48 - 12);
    CHECK_INT(r.stats.acked_samples + r.stats.silent_samples, r.stats.due_samples);
    history_fini(&r.history);
    server_stop(&s);
}

static const char *answer_rw2(struct server *s, int i)
{
    static const char *const answers[] = {
        "HTTP/1.1 204 No Content\r\nX-Prometheus-Remote-Write-Samples-Written: 10\r\nX-Prometheus-Remote-Write-Histograms-Written: 0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n", /* a server that took it for 1.0 */
        "HTTP/1.1 400 Bad\r\nX-Prometheus-Remote-Write-Samples-Written: 4\r\nContent-Length: 7\r\n\r\ntoo old",
    };

    (void)s;
    return answers[i];
}

TEST(remote_write_2_counts_what_the_server_says_it_wrote)
{
    struct server s;
    struct run r;

    server_start(&s, answer_rw2);
    run_init(&r, s.port, 1);
    r.cfg.image.protocol = PROTOCOL_RW2;
    run_send(&r);
    CHECK(strstr(s.got[0].head, "Content-Type: application/x-protobuf;proto=io.prometheus.write.v2.Request\r\n"));
    CHECK(strstr(s.got[0].head, "X-Prometheus-Remote-Write-Version: 2.0.0\r\n"));
    CHECK_INT(r.stats.acked_samples, 14);
    CHECK_INT(r.stats.failed_samples, 16);
    CHECK_INT(r.stats.partial_requests, 1);
    CHECK_INT(r.stats.acked_requests, 1);
    CHECK_STR(r.stats.last_error, "too old");
    history_fini(&r.history);
    server_stop(&s);
}

static const char *answer_otlp(struct server *s, int i)
{
    (void)s;
    return i == 1 ? "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n\x0a\x0a\x08\x07\x12\x06limits" : "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
}

TEST(otlp_counts_partial_successes)
{
    struct server s;
    struct run r;

    server_start(&s, answer_otlp);
    run_init(&r, s.port, 1);
    r.cfg.image.protocol = PROTOCOL_OTLP;
    r.cfg.image.codec = CODEC_GZIP;
    run_send(&r);
    CHECK(strstr(s.got[0].head, "Content-Encoding: gzip\r\n") && strstr(s.got[0].head, "Content-Type: application/x-protobuf\r\n"));
    CHECK(!strstr(s.got[0].head, "Remote-Write"));
    CHECK_INT(r.stats.acked_samples, 23);
    CHECK_INT(r.stats.failed_samples, 7);
    CHECK_STR(r.stats.last_error, "limits");
    history_fini(&r.history);
    server_stop(&s);
}

/* --- queries --- */

static const char *answer_queries(struct server *s, int i)
{
    (void)s;
    if (i == 3)
        return "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nfull";
    if (i == 4)
        return NULL;
    return "HTTP/1.1 200 OK\r\nContent-Length: 41\r\n\r\n{\"status\":\"success\",\"data\":{\"result\":[]}}";
}

TEST(queries_are_asked_in_turn_at_their_rate_and_counted)
{
    struct server *writes = xcalloc(1, sizeof *writes), *reads = xcalloc(1, sizeof *reads);
    struct ask_queries queries = {0};
    struct http_peer peer;
    struct ask_cfg cfg;
    struct run r;
    struct err err;
    char url[64];
    const struct ask_stats *st;

    server_start(writes, answer_fine);
    server_start(reads, answer_queries);
    run_init(&r, writes->port, 10); /* 300 ms */
    snprintf(url, sizeof url, "http://127.0.0.1:%u/prometheus", reads->port);
    CHECK(http_peer_of(url, &peer, &err) == 0);
    CHECK(ask_queries_add(&queries, STR("sum(up)"), &err) == 0 && ask_queries_add(&queries, STR("range=1h step=15s up"), &err) == 0);
    cfg = (struct ask_cfg){.peer = &peer, .queries = &queries, .tenants = &r.history.cfg, .rate = 50, .connections = 1, .timeout_ms = 5000};
    r.cfg.ask = ask_new(&cfg);
    run_send(&r);
    st = ask_stats(r.cfg.ask);
    CHECK(st->done >= 8 && st->done <= 20); /* every 20 ms, for 300 ms */
    CHECK(ask_idle(r.cfg.ask));
    CHECK_INT(st->errors, 2);
    CHECK_INT(st->broken, 1);
    CHECK_INT(st->latency.count, st->done - 2);
    CHECK_INT(st->each[0].done + st->each[1].done, st->done);
    CHECK_INT(st->each[1].errors, 1);
    CHECK(strstr(reads->got[0].head, "POST /prometheus/api/v1/query HTTP/1.1\r\n") && strstr(reads->got[0].head, "X-Scope-OrgID: acme\r\n"));
    CHECK(strstr(reads->got[1].head, "POST /prometheus/api/v1/query_range HTTP/1.1\r\n"));
    CHECK(memmem(reads->got[0].body, reads->got[0].n, "query=sum%28up%29", 17));
    CHECK(memmem(reads->got[1].body, reads->got[1].n, "&step=15.000&query=up", 21));
    CHECK_INT(r.stats.acked_samples, 300);
    ask_free(r.cfg.ask);
    ask_queries_fini(&queries);
    history_fini(&r.history);
    server_stop(writes);
    server_stop(reads);
    free(writes);
    free(reads);
}

/* --- metrics --- */

TEST(figures_are_scraped_and_stand_in_the_file)
{
    struct figures f = {.v = {{"samples_acked", "", true, 10}, {"push_p99", "s", false, 0.25}}, .n = 2};
    char path[512], request[] = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", answer[1 << 16];
    struct exporter *e;
    struct buf text;
    struct err err;
    size_t n = 0;
    int fd;

    snprintf(path, sizeof path, "%s/metrics.prom", test_tmpdir());
    CHECK_INT(exporter_new("127.0.0.1:0", path, &e, &err), 0);
    exporter_update(e, &f);
    f.v[0].v = 25;
    exporter_update(e, &f);
    fd = raw_connect(exporter_port(e));
    CHECK(fd >= 0 && raw_send(fd, request, strlen(request)));
    for (ssize_t got; n < sizeof answer - 1 && (got = recv(fd, answer + n, sizeof answer - 1 - n, 0)) > 0;)
        n += (size_t)got;
    answer[n] = '\0';
    close(fd);
    CHECK(strstr(answer, "\ntorc_loadgen_samples_acked_total 25\n") && strstr(answer, "# TYPE torc_loadgen_samples_acked_total counter\n"));
    CHECK(strstr(answer, "\ntorc_loadgen_push_p99_seconds 0.25\n") && strstr(answer, "process_cpu_seconds_total"));
    buf_init(&text, 1 << 20);
    CHECK(fs_read(path, &text, &err) == 0);
    CHECK(memmem(text.p, text.n, "\ntorc_loadgen_samples_acked_total 25\n", 37));
    buf_fini(&text);
    f.v[f.n++] = (struct figure){"lost", "", true, 3}; /* as the verification adds some */
    exporter_update(e, &f);
    exporter_free(e);
    buf_init(&text, 1 << 20);
    CHECK(fs_read(path, &text, &err) == 0 && memmem(text.p, text.n, "\ntorc_loadgen_lost_total 3\n", 27));
    buf_fini(&text);
    CHECK_INT(exporter_new("nonsense", "", &e, &err), RC_INVALID);
    CHECK_INT(exporter_new("127.0.0.1:99999", "", &e, &err), RC_INVALID);
    CHECK_INT(exporter_new("", "/no/such/folder/file", &e, &err), RC_IO);
}

/* --- answers in every framing --- */

static const char *const framings[] = {
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nTrailer: 1\r\n\r\n",
    "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nhello",
};
static const char *answer_framed(struct server *s, int i)
{
    (void)s;
    return framings[i % 3];
}

static int get(struct http_client *c, struct err *err)
{
    int rc = http_client_start(c, STR("GET / HTTP/1.1\r\n\r\n"), STR(""), err);

    while (rc == 0) {
        struct pollfd p = {.fd = c->fd, .events = http_client_events(c)};

        CHECK(poll(&p, 1, 10000) == 1);
        rc = http_client_step(c, err);
    }
    return rc;
}

static void client_of(struct server *s, struct http_peer *peer, struct http_client *c, size_t max)
{
    char url[64];
    struct err err;

    snprintf(url, sizeof url, "http://localhost:%u", s->port);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", s->port);
    CHECK(http_peer_of(url, peer, &err) == 0);
    http_client_init(c, peer, max);
}

TEST(an_answer_is_read_in_every_framing)
{
    struct server s;
    struct http_peer peer;
    struct http_client c;
    struct err err;

    server_start(&s, answer_framed);
    client_of(&s, &peer, &c, 100);
    for (int i = 0; i < 6; i++) {
        CHECK_INT(get(&c, &err), 1);
        CHECK_INT(c.status, 200);
        CHECK(str_eqz(buf_view(&c.body), "hello"));
    }
    CHECK_INT(c.dials, 2); /* only the third framing ends a connection */
    http_client_fini(&c);
    server_stop(&s);
}

static const char *const broken[] = {
    "nonsense that is no HTTP\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 500\r\nConnection: close\r\n\r\ntoo short",
    "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789",
};
static const char *answer_broken(struct server *s, int i)
{
    (void)s;
    return broken[i];
}

TEST(a_broken_answer_is_an_error_and_the_connection_ends)
{
    struct server s;
    struct http_peer peer;
    struct http_client c;
    struct err err;

    server_start(&s, answer_broken);
    client_of(&s, &peer, &c, 8);
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        CHECK(get(&c, &err) < 0);
        CHECK_INT(c.fd, -1);
    }
    http_client_fini(&c);
    server_stop(&s);
}

/* --- reading back --- */

struct reading {
    struct server server; /* first: the server's thread gets back here */
    struct run run;
    enum { CLEAN, MISSING, REPEATED, STRANGE, DOUBLE_SERIES, TROUBLE_FIRST, REFUSED } kind;
};

static void put_series(struct buf *out, const struct reading *r, uint32_t index, const char *pod)
{
    struct model_labels l;
    struct history_entry e;
    size_t n, drop = r->kind == MISSING && index == 3;

    model_labels(&r->run.model, (struct series_id){0, index, 0}, &l);
    buf_z(out, out->n > 60 ? ",{\"metric\":{" : "{\"metric\":{");
    for (size_t i = 0; i < MODEL_LABELS; i++)
        buf_printf(out, "%s\"%.*s\":\"%.*s\"", i ? "," : "", STR_FMT(l.name[i]), STR_FMT(pod && str_eqz(l.name[i], "pod") ? str_of(pod) : l.value[i]));
    buf_z(out, "},\"values\":[");
    e = history_of(&r->run.history, index / 10, &n)[0];
    if (!drop)
        buf_printf(out, "[%.3f,\"%.17g\"]", (double)e.t_ms / 1000, bits_double(model_value(&r->run.model, (struct series_id){0, index, 0}, e.t_ms)));
    if (r->kind == REPEATED && index == 3)
        buf_printf(out, ",[%.3f,\"%.17g\"]", (double)e.t_ms / 1000, bits_double(model_value(&r->run.model, (struct series_id){0, index, 0}, e.t_ms)));
    buf_z(out, "]}");
}

static const char *answer_query(struct server *s, int i)
{
    static char text[1 << 16];
    struct reading *r = CONTAINER_OF(s, struct reading, server);
    struct buf out;

    if (r->kind == TROUBLE_FIRST && i < 2)
        return i == 0 ? NULL : "HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n";
    if (r->kind == REFUSED)
        return "HTTP/1.1 422 x\r\nContent-Length: 4\r\n\r\nlimi";
    buf_init(&out, 1 << 16);
    buf_z(&out, "{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\",\"result\":[");
    for (uint32_t k = 0; k < 30; k++)
        put_series(&out, r, k, NULL);
    if (r->kind == STRANGE)
        put_series(&out, r, 4, "another-pod");
    if (r->kind == DOUBLE_SERIES)
        put_series(&out, r, 4, NULL);
    buf_z(&out, "]}}");
    snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%.*s", out.n, STR_FMT(out));
    buf_fini(&out);
    return text;
}

static int read_back(struct reading *r, int kind, struct verdict *v)
{
    struct judge_log log = {0};
    char url[64];
    struct verify_cfg cfg = {.query_url = url, .history = &r->run.history, .wait_ms = 10000};
    size_t at;
    struct err err;
    int rc;

    memset(r, 0, sizeof *r);
    r->kind = kind;
    server_start(&r->server, answer_query);
    run_init(&r->run, r->server.port, 1);
    for (uint32_t b = 0; b < 3; b++)
        CHECK(history_sent(&r->run.history, b, r->run.model.cfg.epoch_ms + b, &at, &err) == 0 && history_acked(&r->run.history, at, &err) == 0);
    history_sort(&r->run.history);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/prometheus", r->server.port);
    buf_init(&log.text, 1 << 16);
    rc = verify_run(&cfg, v, &log, &err);
    CHECK(strstr(r->server.got[0].head, "POST /prometheus/api/v1/query HTTP/1.1") && strstr(r->server.got[0].head, "X-Scope-OrgID: acme"));
    CHECK(memmem(r->server.got[0].body, r->server.got[0].n, "query=%7Binstance%3D%2210.0.0.0%3A9100%22%7D%5B", 47));
    buf_fini(&log.text);
    history_fini(&r->run.history);
    server_stop(&r->server);
    return rc;
}

TEST(answers_are_judged_series_by_series)
{
    struct reading *r = xcalloc(1, sizeof *r);
    struct verdict v;

    CHECK_INT(read_back(r, CLEAN, &v), 0);
    CHECK(verdict_clean(&v) && v.right == 30);
    CHECK_INT(read_back(r, MISSING, &v), 0);
    CHECK(v.lost == 1 && v.right == 29);
    CHECK_INT(read_back(r, REPEATED, &v), 0);
    CHECK(v.twice == 1 && v.right == 30);
    CHECK_INT(read_back(r, STRANGE, &v), 0);
    CHECK(v.phantom == 1 && v.right == 30);
    CHECK_INT(read_back(r, DOUBLE_SERIES, &v), 0);
    CHECK(v.twice == 1 && v.right == 30);
    CHECK_INT(read_back(r, TROUBLE_FIRST, &v), 0);
    CHECK(verdict_clean(&v) && v.right == 30);
    CHECK_INT(read_back(r, REFUSED, &v), RC_EXECUTION);
    free(r);
}
