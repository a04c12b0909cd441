/* s3_server.h - a real S3 server behind the fault proxy (serve.py), for one test program. */
#pragma once
#include "tests/test.h"
#include "tsdb/bucket_s3.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

struct s3_server {
    pid_t pid;
    int hold; /* its stdin: closed, it ends */
    int port, proxy;
};

static inline void s3_server_start(struct s3_server *s, const char *option)
{
    int in[2], out[2];
    FILE *f;

    CHECK(pipe(in) == 0 && pipe(out) == 0);
    s->pid = fork();
    CHECK(s->pid >= 0);
    if (s->pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        for (int fd = 3; fd < 64; fd++)
            close(fd);
        execl(TEST_SOURCE_DIR "/tests/s3/serve.sh", "serve.sh", option, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    s->hold = in[1];
    f = fdopen(out[0], "r");
    CHECK(fscanf(f, "READY %d %d", &s->port, &s->proxy) == 2);
    fclose(f);
}

static inline void s3_server_stop(struct s3_server *s)
{
    close(s->hold);
    waitpid(s->pid, NULL, 0);
}

/* What the proxy answers to curl with these arguments, on the heap. */
static inline char *s3_server_ask(const struct s3_server *s, const char *arguments, const char *path)
{
    char command[2048], *text = NULL;
    size_t n = 0;
    FILE *f;

    snprintf(command, sizeof command, "curl -sS %s 'http://127.0.0.1:%d%s'", arguments, s->proxy, path);
    f = popen(command, "r");
    CHECK(f);
    if (getdelim(&text, &n, '\0', f) < 0) {
        free(text);
        text = strdup("");
    }
    CHECK(pclose(f) == 0);
    return text;
}

static inline void s3_fault(const struct s3_server *s, const char *json)
{
    char arguments[1024];

    snprintf(arguments, sizeof arguments, "-X POST -d '%s'", json);
    free(s3_server_ask(s, arguments, "/__fault"));
}

static inline void s3_no_faults(const struct s3_server *s)
{
    free(s3_server_ask(s, "-X DELETE", "/__fault"));
}
