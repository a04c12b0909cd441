/* The life of modules, with a list of this test's own: app_run in a child process, events through a
 * pipe. */
#include "app/app.h"
#include "tests/raw_http.h"
#include "tests/test.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static int events = STDERR_FILENO;
static _Atomic bool head_ready;

struct head_cfg {
    int64_t answer;
    bool fail;
};

static const struct option head_options[] = {
    {"head.answer", OPT_INT, offsetof(struct head_cfg, answer), .def = "42",
     .doc = "What /head says."},
    {"head.fail", OPT_BOOL, offsetof(struct head_cfg, fail), .doc = "Do not start."},
    {0},
};

static void say(const char *text)
{
    char line[128];
    int n = snprintf(line, sizeof line, "event %s;\n", text);

    CHECK(write(events, line, (size_t)n) == n);
}

struct part {
    const char *name;
    struct app *app;
    const struct head_cfg *cfg;
};

static int part_new(const char *name, struct app *app, const void *cfg, void **ret)
{
    struct part *p = calloc(1, sizeof *p);
    char text[64];

    *p = (struct part){name, app, cfg};
    snprintf(text, sizeof text, "init %s", name);
    say(text);
    *ret = p;
    return 0;
}

static int ring_init(struct app *app, const void *cfg, void **ret, UNUSED struct err *err)
{
    return part_new("ring", app, cfg, ret);
}

static int head_init(struct app *app, const void *cfg, void **ret, UNUSED struct err *err)
{
    CHECK(app_module_self(app, "ring") != NULL);
    return part_new("head", app, cfg, ret);
}

static int unused_init(struct app *app, const void *cfg, void **ret, UNUSED struct err *err)
{
    return part_new("unused", app, cfg, ret);
}

static void page_head(void *arg, struct http_req *req)
{
    struct part *p = arg;

    http_reply_text(req, 200, "%lld", (long long)p->cfg->answer);
}

static void page_head_ready(UNUSED void *arg, struct http_req *req)
{
    atomic_store(&head_ready, true);
    http_reply_text(req, 200, "set");
}

static int head_start(void *self, struct err *err)
{
    struct part *p = self;

    if (p->cfg->fail)
        return err_set(err, RC_IO, "told to fail");
    http_route(p->app->http, &(struct http_route){"/head", HTTP_M_GET, 0, 0, NULL, page_head, p});
    http_route(p->app->http,
               &(struct http_route){"/head/ready", HTTP_M_POST, 0, 0, NULL, page_head_ready, p});
    app_link(p->app, "/head", "the head's answer", true);
    say("start head");
    return 0;
}

static bool head_is_ready(UNUSED void *self, struct buf *why_not)
{
    if (atomic_load(&head_ready))
        return true;
    buf_z(why_not, "replaying 3 of 7");
    return false;
}

static void part_say(void *self, const char *what)
{
    char text[64];

    snprintf(text, sizeof text, "%s %s", what, ((struct part *)self)->name);
    say(text);
}

static void part_drain(void *self)
{
    part_say(self, "drain");
}

static void part_stop(void *self)
{
    part_say(self, "stop");
}

static void part_free(void *self)
{
    part_say(self, "free");
    free(self);
}

static const struct module ring_module = {
    .name = "ring", .init = ring_init, .drain = part_drain, .stop = part_stop, .free = part_free};
static const struct module head_module = {.name = "head",
                                          .deps = (const char *const[]){"ring", NULL},
                                          .target = true,
                                          .options = head_options,
                                          .cfg_size = sizeof(struct head_cfg),
                                          .init = head_init,
                                          .start = head_start,
                                          .ready = head_is_ready,
                                          .drain = part_drain,
                                          .stop = part_stop,
                                          .free = part_free};
static const struct module unused_module = {
    .name = "unused", .target = true, .init = unused_init, .free = part_free};

const struct module *const app_modules[] = {&unused_module, &head_module, &ring_module, NULL};

static int child(int argc, char **argv)
{
    struct app app = {0};
    struct err err = {0};
    int code;

    app_config_compose(&app);
    if (app_config_load(&app, argc, argv, &err) < 0 || app_plan(&app, &err) < 0) {
        say(err_text(&err));
        code = 2;
    } else {
        code = app_run(&app);
    }
    app_config_free(&app);
    return code;
}

static pid_t start(int *ret_fd, int argc, char **argv)
{
    int fds[2];
    pid_t pid;

    CHECK(pipe(fds) == 0);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed check must not leave it behind */
        close(fds[0]);
        dup2(fds[1], STDERR_FILENO);
        _exit(child(argc, argv));
    }
    close(fds[1]);
    *ret_fd = fds[0];
    return pid;
}

static char text[1 << 16];
static size_t text_n;

static bool read_until(int fd, const char *want)
{
    while (!want || !strstr(text, want)) {
        ssize_t got = read(fd, text + text_n, sizeof text - 1 - text_n);

        if (got <= 0)
            return false;
        text_n += (size_t)got;
        text[text_n] = '\0';
    }
    return true;
}

/* The events in the order they came must be just these. */
static void check_events(const char *want)
{
    char got[4096] = "";

    for (char *at = text; (at = strstr(at, "event ")); at++)
        strncat(got, at + strlen("event "), strcspn(at, ";") - strlen("event ") + 1);
    CHECK_STR(got, want);
}

TEST(modules_start_after_their_dependencies_and_stop_in_reverse)
{
    char *argv[] = {"--target=head", "--server.http-listen-port=0",
                    "--server.http-listen-address=127.0.0.1", "--head.answer=7"};
    struct raw_reply r;
    uint16_t port;
    int fd, status;
    pid_t pid;

    text_n = 0, text[0] = '\0';
    pid = start(&fd, 4, argv);
    CHECK(read_until(fd, "msg=started"));
    port = (uint16_t)atoi(strstr(text, " port=") + 6);
    r = raw_get(port, "/ready");
    CHECK_INT(r.status, 503);
    CHECK_STR(r.body, "head: replaying 3 of 7\n");
    raw_free(&r);
    r = raw_get(port, "/services");
    CHECK_STR(r.body, "{\"services\":[{\"name\":\"ring\",\"state\":\"running\"},{\"name\":\"head\","
                      "\"state\":\"running\"}]}\n");
    raw_free(&r);
    r = raw_ask(port, "POST /head/ready HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n");
    raw_free(&r);
    r = raw_get(port, "/ready");
    CHECK_INT(r.status, 200);
    raw_free(&r);
    r = raw_get(port, "/head");
    CHECK_STR(r.body, "7\n");
    raw_free(&r);
    r = raw_get(port, "/\nAccept: text/html\r\n");
    CHECK(strstr(r.body, "<a class=\"danger\" href=\"/head\">"));
    raw_free(&r);
    CHECK(kill(pid, SIGTERM) == 0);
    read_until(fd, NULL);
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), 0);
    check_events("init ring;init head;start head;drain head;drain ring;stop head;stop ring;free "
                 "head;free ring;");
    close(fd);
}

TEST(a_module_that_does_not_start_ends_the_process_cleanly)
{
    char *argv[] = {"--target=all", "--server.http-listen-port=0",
                    "--server.http-listen-address=127.0.0.1", "--head.fail"};
    int fd, status;
    pid_t pid;

    text_n = 0, text[0] = '\0';
    pid = start(&fd, 4, argv);
    read_until(fd, NULL);
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), 1);
    CHECK(strstr(text, "module head: told to fail"));
    check_events(
        "init unused;init ring;init head;drain ring;stop ring;free head;free ring;free unused;");
    close(fd);
}

TEST(a_module_that_is_no_target_cannot_be_one)
{
    char *argv[] = {"--target=head,ring"};
    int fd, status;
    pid_t pid;

    text_n = 0, text[0] = '\0';
    pid = start(&fd, 1, argv);
    read_until(fd, NULL);
    CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 2);
    CHECK(strstr(text, "unknown target \"ring\": want a list of all, unused, head"));
    close(fd);
}
