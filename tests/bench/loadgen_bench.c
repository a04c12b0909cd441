/* What the generator itself costs: `torc loadgen --max` without the flags, against a sink that reads and answers, in a process of its own.
 *   loadgen_bench [SERIES [ROUNDS]]   default 100,000 series x 100 rounds, 2,000 samples a request, two connections
 * Per protocol and codec: samples per CPU second of this process, the kernel's work of sending included; setup (writing the labels down once) apart; nanoseconds of image_at()
 * alone. First line: the obvious way, a patched body compressed by libsnappy each time. */
#include "common/sys/clock.h"
#include "loadgen/send.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <snappy-c.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SINK_CONNECTIONS = 16, CHUNK = 1 << 20 };

/* --- the sink --- */

struct taker {
    int fd;
    char head[4096];
    size_t head_n, body_left;
};

static void answer(int fd)
{
    static const char text[] = "HTTP/1.1 204 No Content\r\nX-Prometheus-Remote-Write-Samples-Written: 1000000\r\n\r\n";

    if (write(fd, text, sizeof text - 1) < 0)
        _exit(1);
}

static void take(struct taker *t, const char *p, size_t n)
{
    while (n > 0) {
        char *end;
        size_t used = t->body_left < n ? t->body_left : n;

        if (t->body_left) {
            t->body_left -= used;
            p += used;
            n -= used;
            if (t->body_left == 0)
                answer(t->fd);
            continue;
        }
        used = sizeof t->head - 1 - t->head_n < n ? sizeof t->head - 1 - t->head_n : n;
        memcpy(t->head + t->head_n, p, used);
        t->head[t->head_n + used] = '\0';
        end = strstr(t->head, "\r\n\r\n");
        if (end) {
            used = (size_t)(end + 4 - t->head) - t->head_n;
            t->body_left = strtoul(strstr(t->head, "Content-Length: ") + 16, NULL, 10);
            t->head_n = 0;
        } else {
            t->head_n += used;
        }
        p += used;
        n -= used;
    }
}

static void sink(int listener)
{
    static struct taker takers[SINK_CONNECTIONS];
    static char chunk[CHUNK];
    struct pollfd polled[SINK_CONNECTIONS + 1] = {{listener, POLLIN, 0}};
    nfds_t n = 1;

    for (;;) {
        poll(polled, n, -1);
        for (nfds_t i = 1; i < n; i++)
            if (polled[i].revents) {
                ssize_t got = read(polled[i].fd, chunk, sizeof chunk);

                if (got <= 0)
                    polled[i].fd = -1;
                else
                    take(&takers[i - 1], chunk, (size_t)got);
            }
        if (polled[0].revents && n <= SINK_CONNECTIONS) {
            int fd = accept(listener, NULL, NULL), one = 1;

            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            takers[n - 1] = (struct taker){.fd = fd};
            polled[n++] = (struct pollfd){fd, POLLIN, 0};
        }
    }
}

static pid_t sink_start(uint16_t *ret_port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pid_t pid;

    if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 16) != 0 || getsockname(fd, (struct sockaddr *)&at, &n) != 0)
        exit(1);
    *ret_port = ntohs(at.sin_port);
    pid = fork();
    if (pid == 0)
        sink(fd);
    close(fd);
    return pid;
}

/* --- the measuring --- */

struct job {
    const char *name;
    enum protocol protocol;
    enum codec codec;
    double exemplars;
    bool natives;
};

static double cpu_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static struct model_cfg model_cfg_of(uint32_t series, bool natives)
{
    return (struct model_cfg){.seed = 1, .series = natives ? 1 : series, .natives = natives ? series : 0, .tenants = 1, .labels = MODEL_LABELS,
                              .epoch_ms = clock_wall_ms(clock_system())};
}

static double nanoseconds_of_image(const struct job *j)
{
    enum { ROUNDS = 200 };
    struct model_cfg cfg = model_cfg_of(2000, j->natives);
    struct image_cfg icfg;
    struct image_tools tools;
    struct image im;
    struct model m;
    struct buf out;
    double begin;
    size_t raw;

    model_init(&m, &cfg);
    icfg = (struct image_cfg){&m, j->protocol, j->codec, j->exemplars};
    image_tools_init(&tools, j->codec);
    image_init(&im, &icfg, &tools, 0, j->natives, 2000, 0);
    buf_init(&out, IMAGE_BYTES_MAX);
    image_at(&im, cfg.epoch_ms, &out, &raw);
    begin = cpu_now();
    for (int i = 0; i < ROUNDS; i++)
        image_at(&im, cfg.epoch_ms + i, &out, &raw);
    begin = (cpu_now() - begin) * 1e9 / ROUNDS / 2000;
    image_fini(&im);
    image_tools_fini(&tools);
    buf_fini(&out);
    return begin;
}

static void run(const struct job *j, const char *url, uint32_t series, uint64_t rounds)
{
    struct history_cfg h = {.model = model_cfg_of(j->natives ? series / 10 : series, j->natives), .batch = 2000};
    struct http_peer peer;
    struct history history;
    struct send_stats st;
    struct model m;
    struct err err;
    struct send_cfg cfg = {.peer = &peer,
                           .image = {&m, j->protocol, j->codec, j->exemplars},
                           .history = &history,
                           .connections = 2,
                           .plan = {.max = true, .rounds = rounds},
                           .timeout_ms = 10000,
                           .give_up_ms = 10000,
                           .drain_ms = 1000};
    double setup = cpu_now();

    if (http_peer_of(url, &peer, &err) < 0 || history_new(&h, NULL, &history, &err) < 0)
        exit(1);
    peer.path = STR("/");
    model_init(&m, &h.model);
    if (send_run(&cfg, &st, &err) < 0 || st.failed_samples)
        exit(1);
    setup = cpu_now() - setup - st.cpu_s;
    printf("%-30s %12.0f %10.0f %10.0f %10.1f %10.1f\n", j->name, (double)st.answered_samples / st.cpu_s, nanoseconds_of_image(j),
           setup * 1e9 / (double)model_series(&m), (double)st.raw_bytes / (double)st.answered_samples, (double)st.wire_bytes / (double)st.answered_samples);
    history_fini(&history);
}

/* Patch a body of Remote Write 1.0, compress it whole. */
static void obvious_way(void)
{
    struct model_cfg cfg = model_cfg_of(2000, false);
    struct image_cfg icfg;
    struct image_tools tools;
    struct compressor *snappy = compressor_new(CODEC_SNAPPY);
    struct image im;
    struct model m;
    struct buf out;
    double begin;
    size_t raw;

    model_init(&m, &cfg);
    icfg = (struct image_cfg){&m, PROTOCOL_RW1, CODEC_NONE, 0};
    image_tools_init(&tools, CODEC_NONE);
    image_init(&im, &icfg, &tools, 0, 0, 2000, 0);
    buf_init(&out, IMAGE_BYTES_MAX);
    image_at(&im, cfg.epoch_ms, &out, &raw);
    begin = cpu_now();
    for (int i = 0; i < 200; i++) {
        struct str body = image_at(&im, cfg.epoch_ms + i, &out, &raw);

        compressor_run(snappy, body, &out);
    }
    printf("%-30s %12s %10.0f %10s %10.1f %10.1f\n", "rw1, libsnappy each time", "-", (cpu_now() - begin) * 1e9 / 200 / 2000, "-", (double)raw / 2000, (double)out.n / 2000);
    image_fini(&im);
    image_tools_fini(&tools);
    compressor_free(snappy);
    buf_fini(&out);
}

int main(int argc, char **argv)
{
    static const struct job jobs[] = {
        {"rw1 snappy", PROTOCOL_RW1, CODEC_SNAPPY, 0, false},
        {"rw1 snappy, exemplars 10 %", PROTOCOL_RW1, CODEC_SNAPPY, 10, false},
        {"rw2 snappy", PROTOCOL_RW2, CODEC_SNAPPY, 0, false},
        {"rw2 zstd", PROTOCOL_RW2, CODEC_ZSTD, 0, false},
        {"otlp none", PROTOCOL_OTLP, CODEC_NONE, 0, false},
        {"otlp gzip", PROTOCOL_OTLP, CODEC_GZIP, 0, false},
        {"otlp zstd", PROTOCOL_OTLP, CODEC_ZSTD, 0, false},
        {"rw1 snappy, native histograms", PROTOCOL_RW1, CODEC_SNAPPY, 0, true},
    };
    uint32_t series = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 100000;
    uint64_t rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 100;
    uint16_t port;
    pid_t pid = sink_start(&port);
    char url[64];

    snprintf(url, sizeof url, "http://127.0.0.1:%u/", port);
    printf("%-30s %12s %10s %10s %10s %10s\n", "", "samples/CPU s", "image ns", "setup ns", "raw B", "wire B");
    obvious_way();
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
        run(&jobs[i], url, series, rounds);
        fflush(stdout);
    }
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
    return 0;
}
