/* etcd_proc.h - a real etcd of one member on loopback, for tests: started, killed, restarted with or without its data. */
#pragma once
#include "common/sys/clock.h"
#include "tests/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ETCD_ARGS_MAX = 24, ETCD_START_MS = 20000 };

struct etcd_proc {
    pid_t pid; /* 0: down */
    int port, peer_port, life;
    char dir[256], url[64];
    const char *extra[8]; /* more arguments, NULL-terminated */
    bool tls;
};

static int free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n           = sizeof at;
    int fd                = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && getsockname(fd, (struct sockaddr *)&at, &n) == 0);
    close(fd);
    return ntohs(at.sin_port);
}

static bool etcd_listens(const struct etcd_proc *e)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)e->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd                = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool yes              = connect(fd, (struct sockaddr *)&at, sizeof at) == 0;

    close(fd);
    return yes;
}

static void etcd_exec(struct etcd_proc *e)
{
    char peer[64], log[512];
    const char *argv[ETCD_ARGS_MAX] = {"etcd", "--data-dir", e->dir, "--listen-client-urls", e->url, "--advertise-client-urls", e->url,
                                       "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", log};
    size_t n                        = 13;

    snprintf(peer, sizeof peer, "http://127.0.0.1:%d", e->peer_port);
    snprintf(log, sizeof log, "default=%s", peer);
    for (size_t i = 0; e->extra[i]; i++)
        argv[n++] = e->extra[i];
    argv[n] = NULL;
    execvp("etcd", (char *const *)argv);
    _exit(127);
}

static void etcd_up(struct etcd_proc *e)
{
    int64_t until = clock_mono_ms(clock_system()) + ETCD_START_MS;

    if (!e->port) {
        e->port      = free_port();
        e->peer_port = free_port();
        snprintf(e->url, sizeof e->url, "%s://127.0.0.1:%d", e->tls ? "https" : "http", e->port);
        snprintf(e->dir, sizeof e->dir, "%s/etcd-%d", test_tmpdir(), e->port);
    }
    e->pid = fork();
    CHECK(e->pid >= 0);
    if (e->pid == 0) {
        char path[512];
        int fd;

        snprintf(path, sizeof path, "%s.log", e->dir);
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(fd, 1);
        dup2(fd, 2);
        etcd_exec(e);
    }
    while (!etcd_listens(e)) {
        if (waitpid(e->pid, NULL, WNOHANG) == e->pid)
            fail_msg("etcd does not start (package etcd-server, tools/packages)");
        CHECK(clock_mono_ms(clock_system()) < until);
        poll(NULL, 0, 20);
    }
}

static void etcd_down(struct etcd_proc *e)
{
    if (!e->pid)
        return;
    kill(e->pid, SIGKILL);
    while (waitpid(e->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    e->pid = 0;
}

/* The next life begins with nothing. */
static void etcd_lose_data(struct etcd_proc *e)
{
    snprintf(e->dir, sizeof e->dir, "%s/etcd-%d-%d", test_tmpdir(), e->port, ++e->life);
}
