/* The torc binary as a user starts it. */
#include "common/sys/fs.h"
#include "tests/raw_http.h"
#include "tests/test.h"

#include <ctype.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define TORC "app/torc" /* tests run in the build directory */

struct process {
    pid_t pid;
    int err; /* its stderr */
    uint16_t port;
    char log[1 << 16];
    size_t log_n;
};

/* Reads stderr until it holds text; false at its end. */
static bool read_until(struct process *p, const char *text)
{
    ssize_t got;

    while (!strstr(p->log, text)) {
        got = read(p->err, p->log + p->log_n, sizeof p->log - 1 - p->log_n);
        if (got <= 0)
            return false;
        p->log_n += (size_t)got;
        p->log[p->log_n] = '\0';
    }
    return true;
}

/* Below the ephemeral range, so that no outgoing connection takes it between here and torc's own
 * bind. */
static unsigned free_port(void)
{
    static unsigned tries;

    for (;;) {
        unsigned port = 10000 + ((unsigned)getpid() * 31 + tries++) % 20000;
        struct sockaddr_in at = {.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        int rc = bind(fd, (struct sockaddr *)&at, sizeof at);

        close(fd);
        if (rc == 0)
            return port;
        CHECK(tries < 20000);
    }
}

/* Every process gets a data directory and an RPC port of its own, by the environment. */
static void spawn(struct process *p, char *const *argv)
{
    static int count;
    char dir[512], rpc[64];
    int fds[2];

    snprintf(dir, sizeof dir, "%s/data-%d", test_tmpdir(), count++);
    snprintf(rpc, sizeof rpc, "127.0.0.1:%u", free_port());

    memset(p, 0, sizeof *p);
    CHECK(pipe(fds) == 0);
    p->pid = fork();
    if (p->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed check must not leave it behind */
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        close(fds[1]);
        setenv("TORC_DATA_DIR", dir, 1);
        setenv("TORC_SERVER_RPC_LISTEN_ADDRESS", rpc, 1);
        execv(TORC, argv);
        _exit(127);
    }
    close(fds[1]);
    p->err = fds[0];
}

static void start(struct process *p, char *extra1, char *extra2)
{
    char *argv[] = {"torc",
                    "--server.http-listen-address=127.0.0.1",
                    "--server.http-listen-port=0",
                    extra1,
                    extra2,
                    NULL};

    spawn(p, argv);
    if (!read_until(p, "msg=started"))
        fail_msg("torc did not start:\n%s", p->log);
    p->port = (uint16_t)atoi(strstr(p->log, " port=") + strlen(" port="));
    CHECK(p->port != 0);
}

static int wait_exit(struct process *p)
{
    int status;

    read_until(p, "never written: reads to the end");
    close(p->err);
    CHECK(waitpid(p->pid, &status, 0) == p->pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void stop(struct process *p)
{
    int code;

    CHECK(kill(p->pid, SIGTERM) == 0);
    code = wait_exit(p);
    if (code != 0)
        fail_msg("exit code %d:\n%s", code, p->log);
    CHECK(strstr(p->log, "msg=stopped"));
}

/* The exit code; what it wrote to stdout and stderr is in out. */
static int command(char *out, size_t size, char *const *argv)
{
    int fds[2], status;
    size_t n = 0;
    ssize_t got;
    pid_t pid;

    CHECK(pipe(fds) == 0);
    pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        close(fds[1]);
        execv(TORC, argv);
        _exit(127);
    }
    close(fds[1]);
    while ((got = read(fds[0], out + n, size - 1 - n)) > 0)
        n += (size_t)got;
    out[n] = '\0';
    close(fds[0]);
    CHECK(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(it_starts_without_a_file_is_ready_and_stops_with_0)
{
    struct process p;
    struct raw_reply r;

    start(&p, NULL, NULL);
    for (int i = 0; i < 2000; i++) { /* started is not yet ready: a ring has to form */
        r = raw_get(p.port, "/ready");
        if (r.status == 200)
            break;
        CHECK_INT(r.status, 503);
        raw_free(&r);
        usleep(10000);
    }
    CHECK_INT(r.status, 200);
    CHECK_STR(r.body, "ready\n");
    raw_free(&r);
    r = raw_get(p.port, "/-/healthy");
    CHECK_INT(r.status, 200);
    raw_free(&r);
    stop(&p);
}

/* Every sample belongs to a family whose HELP and TYPE came before it. */
static void check_exposition(char *text, bool openmetrics)
{
    char help[256] = "", type[256] = "", *line, *save;
    int samples = 0;

    for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        if (sscanf(line, "# HELP %255s", help) == 1)
            continue;
        if (sscanf(line, "# TYPE %255s", type) == 1) {
            CHECK_STR(type, help);
            continue;
        }
        if (strcmp(line, "# EOF") == 0)
            continue;
        if (!type[0] || strncmp(line, type, strlen(type)) != 0 ||
            isalnum((unsigned char)line[strlen(type)]))
            fail_msg("sample without HELP and TYPE: %s", line);
        CHECK(!openmetrics || !strstr(line, "le=\"1\""));
        samples++;
    }
    CHECK(samples > 20);
}

TEST(metrics_have_help_and_type_in_both_formats)
{
    struct process p;
    struct raw_reply r;

    start(&p, NULL, NULL);
    r = raw_get(p.port, "/-/healthy");
    raw_free(&r);
    /* A request is counted once its answer has left, which the client may see first. */
    for (int i = 0; i < 500; i++) {
        r = raw_get(p.port, "/metrics");
        if (r.body && strstr(r.body, "route=\"/-/healthy\",status_code=\"200\""))
            break;
        raw_free(&r);
        usleep(10000);
    }
    CHECK_INT(r.status, 200);
    CHECK_STR(raw_header(&r, "Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
    CHECK(strstr(r.body, "torc_build_info{version=\""));
    CHECK(strstr(r.body, "process_resident_memory_bytes "));
    CHECK(strstr(r.body, "torc_request_duration_seconds_bucket{method=\"GET\",route=\"/-/"
                         "healthy\",status_code=\"200\",le=\"+Inf\"} 1"));
    CHECK(!strstr(r.body, "# EOF"));
    check_exposition(r.body, false);
    raw_free(&r);
    r = raw_get(
        p.port,
        "/metrics\nAccept: application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5\r\n");
    CHECK(strncmp(raw_header(&r, "Content-Type"), "application/openmetrics-text", 28) == 0);
    CHECK_STR(r.body + r.body_n - 6, "# EOF\n");
    check_exposition(r.body, true);
    raw_free(&r);
    stop(&p);
}

static char *write_file(const char *name, const char *text)
{
    static char path[512];

    snprintf(path, sizeof path, "%s/%s", test_tmpdir(), name);
    CHECK(fs_write_atomic(path, str_of(text), NULL) == 0);
    return path;
}

TEST(the_config_pages_show_file_flags_and_overrides)
{
    char flag[600], data[512], overrides[512], config[1024];
    struct process p;
    struct raw_reply r;
    json_t *root;

    snprintf(overrides, sizeof overrides, "%s",
             write_file("o.yaml", "overrides:\n  acme: {max_points: 7}\n"));
    snprintf(config, sizeof config,
             "server:\n  log-format: logfmt\n  http-idle-timeout: 3m\nlimits: {max_points: "
             "5}\nruntime-config:\n"
             "  file: %s\n",
             overrides);
    snprintf(flag, sizeof flag, "-config.file=%s", write_file("c.yaml", config));
    snprintf(data, sizeof data, "--data-dir=%s/x y", test_tmpdir());
    start(&p, flag, data);
    r = raw_get(p.port, "/config?mode=diff");
    CHECK(strstr(r.body, "/x y\"\n"));
    CHECK(strstr(r.body, "limits:\n  max_points: 5\n"));
    CHECK(strstr(r.body, "  http-idle-timeout: 3m\n"));
    CHECK(!strstr(r.body, "gzip"));
    raw_free(&r);
    r = raw_get(p.port, "/config");
    CHECK(strstr(r.body, "  http-gzip-level: 1\n"));
    raw_free(&r);
    r = raw_get(p.port, "/config\nAccept: application/json\r\n");
    CHECK_STR(raw_header(&r, "Content-Type"), "application/json");
    root = json_loads(r.body, 0, NULL);
    CHECK(root && json_integer_value(json_object_get(root, "limits.max_points")) == 5);
    json_decref(root);
    raw_free(&r);
    r = raw_get(p.port, "/runtime_config?mode=diff");
    CHECK_STR(r.body, "overrides:\n  \"acme\":\n    max_points: 7\n");
    raw_free(&r);
    stop(&p);
}

TEST(pages_are_html_for_browsers_and_json_on_request)
{
    struct process p;
    struct raw_reply r;
    json_t *root;

    start(&p, NULL, NULL);
    r = raw_get(p.port, "/\nAccept: text/html,application/xhtml+xml,*/*;q=0.8\r\n");
    CHECK_STR(raw_header(&r, "Content-Type"), "text/html; charset=utf-8");
    CHECK(strstr(r.text, "Content-Security-Policy: default-src 'none'"));
    CHECK(strstr(r.body, "<a href=\"/services\">"));
    raw_free(&r);
    r = raw_get(p.port, "/\nAccept: application/json\r\n");
    root = json_loads(r.body, 0, NULL);
    CHECK(json_array_size(json_object_get(root, "pages")) >= 6);
    json_decref(root);
    raw_free(&r);
    r = raw_get(p.port, "/workspaces/ws-1/api/v1/status/buildinfo");
    root = json_loads(r.body, 0, NULL);
    CHECK_STR(json_string_value(json_object_get(json_object_get(root, "data"), "application")),
              "torc");
    json_decref(root);
    raw_free(&r);
    stop(&p);
}

static int post_forget(uint16_t port, const char *form)
{
    char text[512];
    struct raw_reply r;
    int status;

    snprintf(text, sizeof text, "POST /ingester/ring HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                                "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %zu\r\n\r\n%s", strlen(form), form);
    r      = raw_ask(port, text);
    status = r.status;
    raw_free(&r);
    return status;
}

TEST(ring_pages_show_members_by_role_and_take_forms_to_forget)
{
    static const char *const paths[] = {"/ingester/ring?tokens=true", "/distributor/ring", "/querier/ring", "/compactor/ring", "/memberlist"};
    struct process p;
    struct raw_reply r;

    start(&p, NULL, NULL);
    for (size_t i = 0; i < 5; i++) {
        char path[128];
        json_t *root, *in;

        snprintf(path, sizeof path, "%s\nAccept: application/json\r\n", paths[i]);
        r    = raw_get(p.port, path);
        root = json_loads(r.body, 0, NULL);
        in   = json_array_get(json_object_get(root, "instances"), 0);
        CHECK_STR(json_string_value(json_object_get(in, "id")), "torc-0");
        CHECK(json_array_size(json_object_get(in, "token_list")) == (i == 0 ? 256 : 0));
        CHECK((json_object_get(root, "store") != NULL) == (i == 4));
        json_decref(root);
        raw_free(&r);
        snprintf(path, sizeof path, "%s\nAccept: text/html\r\n", paths[i]);
        r = raw_get(p.port, path);
        CHECK(strstr(r.body, "<td>torc-0</td>") && !strstr(r.body, "<form")); /* it is alive */
        raw_free(&r);
    }
    CHECK(post_forget(p.port, "forget=torc-9") == 404);
    CHECK(post_forget(p.port, "forget=torc-0") == 409);
    CHECK(post_forget(p.port, "forget=") == 400);
    stop(&p);
}

static const struct {
    const char *name, *text, *want;
} bad_files[] = {
    {"unknown key", "server:\n  http-listen-prot: 1\n",
     ":2: unknown option \"server.http-listen-prot\", did you mean \"server.http-listen-port\"?"},
    {"range", "server:\n  http-listen-port: 99999\n",
     ":2: server.http-listen-port: above the maximum 65535"},
    {"duplicate", "data-dir: a\ndata-dir: b\n", ":2: \"data-dir\" is already given in line 1"},
    {"target", "target: distributr\n", "unknown target \"distributr\""},
    {"limit", "limits:\n\n  ingestion_rte: 1\n",
     ":3: unknown option \"limits.ingestion_rte\", did you mean \"limits.ingestion_rate\"?"},
};

TEST(a_wrong_file_is_refused_with_line_and_nearest_name)
{
    for (size_t i = 0; i < ARRAY_LEN(bad_files); i++) {
        char flag[600], out[4096];
        char *check[] = {"torc", "config", "check", flag, NULL}, *run[] = {"torc", flag, NULL};

        snprintf(flag, sizeof flag, "--config.file=%s", write_file("bad.yaml", bad_files[i].text));
        CHECK_INT(command(out, sizeof out, check), 1);
        if (!strstr(out, bad_files[i].want))
            fail_msg("%s: %s", bad_files[i].name, out);
        CHECK_INT(command(out, sizeof out, run), 1);
        CHECK(strstr(out, bad_files[i].want));
    }
}

TEST(commands_print_and_exit)
{
    static char out[1 << 18];

    CHECK_INT(command(out, sizeof out, (char *[]){"torc", "version", NULL}), 0);
    CHECK(strncmp(out, "torc ", 5) == 0);
    CHECK_INT(command(out, sizeof out, (char *[]){"torc", "config", "docs", NULL}), 0);
    CHECK(strstr(out, "| `limits.max_active_series` | int | `50000000` |"));
    CHECK(strstr(out, "Discard reason: `per_user_series_limit`."));
    CHECK_INT(command(out, sizeof out,
                      (char *[]){"torc", "config", "check", "--server.log-level=debug", NULL}),
              0);
    CHECK_INT(command(out, sizeof out,
                      (char *[]){"torc", "config", "print", "--diff", "-server.log-level", "debug",
                                 NULL}),
              0);
    CHECK_STR(out, "server:\n  log-level: debug\n");
    CHECK_INT(command(out, sizeof out, (char *[]){"torc", "--help", NULL}), 0);
    CHECK(strstr(out, "  --server.http-listen-port=<int> (default 9009)\n"));
    CHECK_INT(command(out, sizeof out, (char *[]){"torc", "config", "nonsense", NULL}), 2);
    CHECK_INT(command(out, sizeof out, (char *[]){"torc", "nonsense", NULL}), 1);
    CHECK(strstr(out, "\"nonsense\" is neither a flag nor a command"));
}

TEST(a_port_in_use_ends_with_1)
{
    struct process first, second;
    char flag[64];

    start(&first, NULL, NULL);
    snprintf(flag, sizeof flag, "--server.http-listen-port=%u", first.port);
    spawn(&second, (char *[]){"torc", "--server.http-listen-address=127.0.0.1", flag, NULL});
    CHECK_INT(wait_exit(&second), 1);
    CHECK(strstr(second.log, "Address already in use"));
    stop(&first);
}

TEST(ready_fails_during_the_drain_and_a_second_signal_ends_it)
{
    struct process p;
    struct raw_reply r;

    start(&p, "--server.shutdown-delay=1m", NULL);
    CHECK(kill(p.pid, SIGINT) == 0);
    CHECK(read_until(&p, "shutting down"));
    for (int i = 0; i < 500; i++) { /* the line comes just before the flag */
        r = raw_get(p.port, "/ready");
        if (r.status == 503 && strstr(r.body, "shutting down\n"))
            break;
        raw_free(&r);
        usleep(10000);
    }
    CHECK_INT(r.status, 503);
    CHECK(strncmp(r.body, "shutting down\n", strlen("shutting down\n")) == 0);
    raw_free(&r);
    r = raw_get(p.port, "/-/healthy");
    CHECK_INT(r.status, 200);
    raw_free(&r);
    CHECK(kill(p.pid, SIGTERM) == 0);
    CHECK_INT(wait_exit(&p), 130);
}

TEST(sighup_reloads_the_overrides)
{
    char flag[600], path[512];
    struct process p;
    struct raw_reply r;

    snprintf(path, sizeof path, "%s",
             write_file("o.yaml", "overrides:\n  acme: {max_points: 7}\n"));
    snprintf(flag, sizeof flag, "--runtime-config.file=%s", path);
    start(&p, flag, "--runtime-config.period=1h");
    write_file("o.yaml", "overrides:\n  acme: {max_points: 8}\n");
    CHECK(kill(p.pid, SIGHUP) == 0);
    CHECK(read_until(&p, "on SIGHUP"));
    r = raw_get(p.port, "/runtime_config?mode=diff");
    CHECK_STR(r.body, "overrides:\n  \"acme\":\n    max_points: 8\n");
    raw_free(&r);
    write_file("o.yaml", "overrides: 5\n");
    CHECK(kill(p.pid, SIGHUP) == 0);
    CHECK(read_until(&p, "not loaded"));
    r = raw_get(p.port, "/metrics");
    CHECK(strstr(r.body, "torc_runtime_config_last_reload_successful 0\n"));
    raw_free(&r);
    stop(&p);
}

TEST(systemd_is_told_when_it_is_ready_and_when_it_stops)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char got[64] = "";
    struct process p;
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

    snprintf(at.sun_path, sizeof at.sun_path, "%s/notify", test_tmpdir());
    CHECK(bind(fd, (struct sockaddr *)&at, sizeof at) == 0);
    setenv("NOTIFY_SOCKET", at.sun_path, 1);
    start(&p, NULL, NULL);
    unsetenv("NOTIFY_SOCKET");
    CHECK(recv(fd, got, sizeof got - 1, 0) > 0);
    CHECK_STR(got, "READY=1");
    memset(got, 0, sizeof got);
    stop(&p);
    CHECK(recv(fd, got, sizeof got - 1, MSG_DONTWAIT) > 0);
    CHECK_STR(got, "STOPPING=1");
    close(fd);
}
