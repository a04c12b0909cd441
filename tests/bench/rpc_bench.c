/* CPU cost of a call: requests of 60 kB (a push), tiny answers, 8 in flight on one connection, client and server in one process
 * over loopback. Prints the CPU time of the whole process per call, which is both sides and the kernel's copies.
 *   rpc_bench [calls] [request bytes] [in flight] */
#include "common/rpc/rpc.h"
#include "common/sys/clock.h"
#include "common/sys/thread.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

struct bench {
    struct rpc_client *client;
    char addr[64];
    struct str payload;
    struct mutex lock;
    struct cond done;
    int to_send, to_end;
};

static void answer(UNUSED void *arg, struct rpc_call *call)
{
    rpc_reply(call, RC_OK, STR("accepted"));
}

static void ended(void *arg, int rc, struct buf *reply, const struct err *err);

static void send_one(struct bench *b)
{
    rpc_send(b->client, b->addr, RPC_PUSH, b->payload, 60000, ended, b);
}

static void ended(void *arg, int rc, UNUSED struct buf *reply, const struct err *err)
{
    struct bench *b = arg;
    bool more;

    if (rc < 0) {
        fprintf(stderr, "call failed: %s\n", err_text(err));
        exit(1);
    }
    mutex_lock(&b->lock);
    more = b->to_send > 0;
    b->to_send -= more;
    if (--b->to_end == 0)
        cond_signal(&b->done);
    mutex_unlock(&b->lock);
    if (more)
        send_one(b);
}

static double cpu_seconds(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
    int calls              = argc > 1 ? atoi(argv[1]) : 20000;
    size_t bytes           = argc > 2 ? (size_t)atol(argv[2]) : 60000;
    int in_flight          = argc > 3 ? atoi(argv[3]) : 8;
    struct rpc_server_cfg scfg = {.listen = "127.0.0.1:0", .cluster = STR("bench")};
    struct rpc_client_cfg ccfg = {.cluster = STR("bench")};
    struct rpc_server *srv;
    struct bench b = {.to_send = calls - in_flight, .to_end = calls};
    struct err err;
    double cpu;
    int64_t ns;

    if (rpc_server_new(&scfg, &srv, &err) < 0)
        return 1;
    rpc_server_handle(srv, RPC_PUSH, answer, NULL);
    if (rpc_server_start(srv, &err) < 0 || rpc_client_new(&ccfg, &b.client, &err) < 0) {
        fprintf(stderr, "%s\n", err_text(&err));
        return 1;
    }
    snprintf(b.addr, sizeof b.addr, "127.0.0.1:%d", rpc_server_port(srv));
    b.payload = str_n(xcalloc(1, bytes), bytes);
    mutex_init(&b.lock);
    cond_init(&b.done);
    cpu = cpu_seconds();
    ns  = clock_mono_ns(clock_system());
    for (int i = 0; i < in_flight; i++)
        send_one(&b);
    mutex_lock(&b.lock);
    while (b.to_end > 0)
        cond_wait(&b.done, &b.lock);
    mutex_unlock(&b.lock);
    cpu = cpu_seconds() - cpu;
    ns  = clock_mono_ns(clock_system()) - ns;
    printf("%d calls of %zu bytes, %d in flight: %.0f ns CPU a call, both sides; %.0f calls/s\n", calls, bytes, in_flight,
           cpu * 1e9 / calls, calls / ((double)ns / 1e9));
    rpc_client_free(b.client);
    rpc_server_free(srv);
    free((char *)(uintptr_t)b.payload.p);
    return 0;
}
