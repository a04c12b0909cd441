#include "common/http/confirm.h"
#include "common/http/http.h"
#include "common/sys/thread.h"
#include "tests/raw_http.h"
#include "tests/test.h"

#include <stdatomic.h>
#include <zlib.h>

static struct http_server *server;
static struct metrics *metrics;
static uint16_t port;
static _Atomic int cancels_seen;
static _Atomic bool hold; /* /async waits for this or for its client to leave */

static void echo(UNUSED void *arg, struct http_req *req)
{
    const struct url_params *params = http_params(req);
    struct buf out;

    buf_init(&out, 1 << 20);
    buf_printf(&out, "path=%.*s", STR_FMT(http_path(req)));
    for (size_t i = 0; i < params->n; i++)
        buf_printf(&out, " %.*s=%.*s", STR_FMT(params->v[i].name), STR_FMT(params->v[i].value));
    buf_printf(&out, " name=%.*s id=%.*s rest=%.*s body=%zu", STR_FMT(http_path_param(req, "name")),
               STR_FMT(http_path_param(req, "id")), STR_FMT(http_path_param(req, "*")),
               http_body(req).n);
    http_reply_buf(req, 200, HTTP_TYPE_TEXT, &out);
}

static void *answer_later(void *arg)
{
    struct http_req *req = arg;
    const _Atomic bool *cancel = http_cancel_flag(req);

    while (atomic_load(&hold) && !atomic_load(cancel))
        usleep(1000);
    if (atomic_load(cancel))
        atomic_fetch_add(&cancels_seen, 1);
    http_reply_text(req, 200, "late %zu", http_body(req).n);
    return NULL;
}

static void later(UNUSED void *arg, struct http_req *req)
{
    pthread_t t = thread_start("later", answer_later, req);

    pthread_detach(t);
}

static void blocking(UNUSED void *arg, struct http_req *req)
{
    usleep(20000);
    http_reply_text(req, 200, "done");
}

struct lines {
    int next, end, fail_at;
};
static _Atomic int streams_freed;

static int pull_lines(void *arg, struct buf *out)
{
    struct lines *l = arg;

    if (l->next == l->fail_at)
        return -1;
    if (l->next == l->end)
        return 0;
    for (int i = 0; i < 1000 && l->next < l->end && l->next != l->fail_at; i++)
        buf_printf(out, "line %d\n", l->next++);
    return 1;
}

static void free_lines(void *arg)
{
    free(arg);
    atomic_fetch_add(&streams_freed, 1);
}

static void stream(void *arg, struct http_req *req)
{
    struct http_resp *r = http_resp_new(200);
    struct lines *l = calloc(1, sizeof *l);

    *l = (struct lines){0, 100000, arg ? 50000 : -1};
    http_resp_stream(r, HTTP_TYPE_TEXT, &(struct http_stream){pull_lines, free_lines, l});
    http_respond(req, r);
}

static void big(UNUSED void *arg, struct http_req *req)
{
    char *text = calloc(1, 100000);

    memset(text, 'x', 100000);
    http_reply(req, 200, HTTP_TYPE_HTML, str_n(text, 100000));
    free(text);
}

static void fails(UNUSED void *arg, struct http_req *req)
{
    struct http_resp *r = http_resp_new(500);

    http_resp_header(r, "X-Reason", "a\r\nInjected: yes");
    http_resp_text(r, HTTP_TYPE_TEXT, STR("no"));
    http_respond(req, r);
}

static _Atomic int changes;

static void change_form(UNUSED void *arg, struct http_req *req)
{
    http_reply_form(req, "Change", "changes <b>it</b>", "Do it");
}

static void change(UNUSED void *arg, struct http_req *req)
{
    atomic_fetch_add(&changes, 1);
    http_reply_text(req, 200, "changed");
}

static size_t limit_of_tenant(UNUSED void *arg, const struct http_req *req,
                              struct http_resp **ret_no)
{
    if (str_eqz(http_header(req, "X-Scope-OrgID"), "busy")) {
        *ret_no = http_resp_new(503);
        http_resp_header(*ret_no, "Retry-After", "3");
        http_resp_text(*ret_no, HTTP_TYPE_TEXT, STR("come later"));
    }
    return str_eqz(http_header(req, "X-Scope-OrgID"), "small") ? 10 : 1000;
}

static const struct http_route routes[] = {
    {"/echo", HTTP_M_GET | HTTP_M_POST, HTTP_FORM, 1 << 20, NULL, echo, NULL},
    {"/always", HTTP_M_GET, HTTP_ALWAYS, 0, NULL, echo, NULL},
    {"/raw", HTTP_M_POST, 0, 5 << 20, NULL, echo, NULL},
    {"/api/v1/label/{name}/values", HTTP_M_GET, 0, 0, NULL, echo, NULL},
    {"/workspaces/{id}/api/v1/label/{name}/values", HTTP_M_GET, 0, 0, NULL, echo, NULL},
    {"/workspaces/{id}/fixed", HTTP_M_GET, 0, 0, NULL, echo, NULL},
    {"/workspaces/mine/fixed", HTTP_M_GET, 0, 0, NULL, big, NULL},
    {"/static/*", HTTP_M_GET, 0, 0, NULL, echo, NULL},
    {"/async", HTTP_M_GET | HTTP_M_POST, 0, 1 << 20, NULL, later, NULL},
    {"/blocking", HTTP_M_GET, HTTP_BLOCKING, 0, NULL, blocking, NULL},
    {"/stream", HTTP_M_GET, 0, 0, NULL, stream, NULL},
    {"/broken", HTTP_M_GET, 0, 0, NULL, stream, &server},
    {"/big", HTTP_M_GET, 0, 0, NULL, big, NULL},
    {"/fails", HTTP_M_GET, 0, 0, NULL, fails, NULL},
    {"/change", HTTP_M_GET, 0, 0, NULL, change_form, NULL},
    {"/change", HTTP_M_POST, HTTP_CONFIRM | HTTP_FORM, 4096, NULL, change, NULL},
    {"/change2", HTTP_M_POST, HTTP_CONFIRM | HTTP_FORM, 4096, NULL, change, NULL},
    {"/limited", HTTP_M_POST, 0, 0, limit_of_tenant, echo, NULL},
};

static void start(const struct http_cfg *changed)
{
    struct http_cfg cfg = changed ? *changed : http_cfg_default;
    struct err err = {0};

    cfg.address = "127.0.0.1";
    cfg.port = 0;
    cfg.threads = 2;
    metrics = metrics_new();
    CHECK(http_server_new(&cfg, &(struct http_deps){NULL, metrics}, &server, &err) == 0);
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        http_route(server, &routes[i]);
    CHECK(http_server_start(server, &err) == 0);
    port = http_server_port(server);
    atomic_store(&hold, false);
    atomic_store(&cancels_seen, 0);
}

static void stop(void)
{
    http_server_free(server);
    metrics_free(metrics);
}

static char *exposition(void)
{
    struct buf out;
    size_t n;

    buf_init(&out, 16 << 20);
    metrics_write(metrics, false, &out);
    buf_char(&out, '\0');
    return buf_take(&out, &n);
}

#define ASK(request, want_status, want_text)                                                       \
    do {                                                                                           \
        struct raw_reply r_ = raw_ask(port, request);                                              \
        if (r_.status != (want_status) || !r_.text || !strstr(r_.text, want_text))                 \
            fail_msg("line %d: status %d, want %d with \"%s\":\n%s", __LINE__, r_.status,          \
                     want_status, want_text, r_.text ? r_.text : "");                              \
        raw_free(&r_);                                                                             \
    } while (0)
#define H "HTTP/1.1\r\nHost: t\r\n"

TEST(routes_and_parameters_reach_the_handler)
{
    start(NULL);
    ASK("GET /echo?a=1&b=x%20y " H "\r\n", 200, "path=/echo a=1 b=x y name=");
    ASK("POST /echo?query=url " H "Content-Type: application/x-www-form-urlencoded; "
                                  "charset=utf-8\r\nContent-Length: 13\r\n\r\nquery=body&a+",
        200, "query=body a = query=url");
    ASK("POST /echo?query=url " H "Content-Length: 0\r\n\r\n", 200, "query=url");
    ASK("GET /api/v1/label/a%2Fb%2525/values " H "\r\n", 200, "name=a/b%25 id=");
    ASK("GET /workspaces/ws-1/api/v1/label/job/values " H "\r\n", 200, "name=job id=ws-1");
    ASK("GET /workspaces/ws-1/fixed " H "\r\n", 200, "id=ws-1");
    ASK("GET /workspaces/mine/fixed " H "\r\n", 200, "xxxx");
    ASK("GET /static/js/app.js " H "\r\n", 200, "rest=js/app.js");
    ASK("GET http://t/echo?a=1 " H "\r\n", 200, "path=/echo a=1");
    stop();
}

TEST(refusals_have_the_right_status)
{
    start(NULL);
    ASK("GET /nothing " H "\r\n", 404, "404 page not found");
    ASK("GET /workspaces//fixed " H "\r\n", 404, "");
    ASK("GET /echo/ " H "\r\n", 404, "");
    ASK("DELETE /echo " H "\r\n", 405, "Allow: GET, POST, HEAD");
    ASK("BREW /echo " H "\r\n", 405, "Allow: ");
    ASK("POST /echo " H "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", 415,
        "form-urlencoded");
    ASK("GET /echo?a=%zz " H "\r\n", 400, "invalid URL escape");
    ASK("GET /static/../etc " H "\r\n", 400, "malformed request path");
    ASK("GET /static/%2e%2E/etc " H "\r\n", 400, "malformed request path");
    ASK("GET http://other/echo " H "\r\n", 400, "disagree");
    ASK("GET /echo HTTP/1.1\r\n\r\n", 400, "");
    ASK("POST /limited " H "X-Scope-OrgID: small\r\nContent-Length: 11\r\n\r\n01234567890", 413,
        "larger than 10 bytes");
    ASK("POST /limited " H "X-Scope-OrgID: big\r\nContent-Length: 11\r\n\r\n01234567890", 200,
        "body=11");
    ASK("POST /limited " H
        "X-Scope-OrgID: small\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n",
        413, "");
    ASK("POST /raw " H "Content-Length: 999999999999\r\n\r\n", 413, "Connection: close");
    ASK("POST /raw " H "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 200,
        "body=5");
    stop();
}

/* Each of these can be read in two ways by two readers, or is simply malformed. */
#define BYTES(text)                                                                                \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }
static const struct {
    const char *p;
    size_t n;
} ambiguous[] = {
    BYTES("POST /raw " H "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    BYTES("POST /raw " H "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"),
    BYTES("POST /raw " H "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    BYTES("POST /raw " H "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"),
    BYTES("POST /raw " H
          "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    BYTES("POST /raw " H "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    BYTES("POST /raw " H "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    BYTES("POST /raw " H "Transfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    BYTES("POST /raw " H "Transfer-Encoding: \x0b"
          "chunked\r\n\r\n0\r\n\r\n"),
    BYTES("POST /raw " H "Content-Length: +5\r\n\r\nabcde"),
    BYTES("POST /raw " H "Content-Length: 5,5\r\n\r\nabcde"),
    BYTES("POST /raw " H "Content-Length: -1\r\n\r\n"),
    BYTES("POST /raw " H "Content-Length: 0x5\r\n\r\nabcde"),
    BYTES("POST /raw " H "Content-Length: 5 5\r\n\r\nabcde"),
    BYTES("POST /raw " H "Content-Length: \r\n\r\n"),
    BYTES("POST /raw " H "Content-Length: 99999999999999999999\r\n\r\n"),
    BYTES("POST /raw " H "Content-Length : 3\r\n\r\nabc"),
    BYTES("POST /raw " H "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    BYTES("POST /raw " H " Content-Length: 3\r\n\r\nabc"),
    BYTES("GET /echo " H "Host: other\r\n\r\n"),
    BYTES("GET /echo " H "X-Scope-OrgID: a\r\nX-Scope-OrgID: b\r\n\r\n"),
    BYTES("GET /echo " H "Bad(Name): x\r\n\r\n"),
    BYTES("GET /echo " H "X: a\x01"
          "b\r\n\r\n"),
    BYTES("GET /echo " H "X: a\rb\r\n\r\n"),
    BYTES("GET /ec\x01ho " H "\r\n"),
    BYTES("GET /ec\xc3\xa4ho " H "\r\n"),
    BYTES("GET /echo#part " H "\r\n"),
    BYTES("GET echo " H "\r\n"),
    BYTES("POST /raw HTTP/1.1\nHost: t\nContent-Length: 3\n\nabc"),
    BYTES("POST /raw HTTP/1.1\r\nHost: t\nContent-Length: 3\r\n\r\nabc"),
    BYTES("POST /raw " H "X: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
    BYTES("POST /raw " H "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    BYTES("POST /raw " H "X: a\0"
          "b\r\nContent-Length: 0\r\n\r\n"),
    BYTES("POST /raw " H "Content-Length: 3\0\r\n\r\nabc"),
    BYTES("POST /raw " H "X\0: a\r\nContent-Length: 0\r\n\r\n"),
    BYTES("POST /raw " H ": x\r\nContent-Length: 0\r\n\r\n"),
    BYTES("POST /raw " H "Xabc\r\nContent-Length: 0\r\n\r\n"),
    BYTES("POST  /raw " H "Content-Length: 0\r\n\r\n"),
    BYTES(
        "POST /raw HTTP/1.0\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
    BYTES("POST /raw " H "Transfer-Encoding: chunked \r\n\r\n0\r\n\r\n"),
    BYTES("GET /raw\r\n\r\n"),
};

TEST(ambiguous_requests_are_400_and_close)
{
    start(NULL);
    for (size_t i = 0; i < ARRAY_LEN(ambiguous); i++) {
        int fd = raw_connect(port);
        struct raw_reply r;

        raw_send(fd, ambiguous[i].p, ambiguous[i].n);
        r = raw_read(fd, 10000);
        if (r.status != 400 && r.status != 413 &&
            r.status != 0) /* 413: a length past any integer */
            fail_msg("case %zu: status %d\n%s\n%s", i, r.status, ambiguous[i].p, r.text);
        CHECK(raw_closed_within(fd, 5000));
        raw_free(&r);
        close(fd);
    }
    ASK("GET /echo " H "\r\n", 200, "path=/echo");
    stop();
}

TEST(unusual_but_plain_requests_are_taken)
{
    struct raw_reply r;
    struct buf many;
    int fd;

    start(NULL);
    ASK("GET /echo?a=1 HTTP/1.1\r\nhost:t\r\nX:\r\nY: \r\nZ:\t  z \r\n\r\n", 200, "a=1");
    ASK("GET /echo " H "Cookie: a=b; c=\"d\"\r\nAccept: */*\r\n\r\n", 200, "path=/echo");
    ASK("GET /echo HTTP/1.0\r\n\r\n", 200, "path=/echo");
    ASK("\r\nGET /echo " H "\r\n", 200, "path=/echo");
    ASK("POST /raw " H "Transfer-Encoding: CHUNKED\r\n\r\n3;x=y\r\nabc\r\n0\r\nTrailer: z\r\n\r\n",
        200, "body=3");
    buf_init(&many, 1 << 20);
    buf_z(&many, "GET /echo?long=");
    for (int i = 0; i < 30000; i++)
        buf_char(&many, 'q');
    buf_z(&many, " " H);
    for (int i = 0; i < 90; i++)
        buf_printf(&many, "X-Header-%d: %0200d\r\n", i, i);
    buf_z(&many, "\r\n");
    fd = raw_connect(port);
    for (size_t at = 0; at < many.n;
         at += 700) { /* in pieces: buffers grow while lines are parsed */
        CHECK(raw_send(fd, many.p + at, MIN((size_t)700, many.n - at)));
        usleep(500);
    }
    r = raw_read(fd, 5000);
    CHECK_INT(r.status, 200);
    raw_free(&r);
    raw_send(fd, "POST /raw " H "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n",
             strlen("POST /raw " H "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"));
    r = raw_read_head(fd, 5000, true);
    CHECK_INT(r.status, 100);
    raw_free(&r);
    raw_send(fd, "abc", 3);
    r = raw_read(fd, 5000);
    CHECK_INT(r.status, 200);
    raw_free(&r);
    close(fd);
    buf_fini(&many);
    stop();
}

TEST(header_floods_are_refused)
{
    struct buf request;
    struct raw_reply r;

    start(NULL);
    buf_init(&request, 4 << 20);
    buf_z(&request, "GET /echo " H);
    for (int i = 0; i < 200; i++)
        buf_printf(&request, "X-%d: y\r\n", i);
    buf_z(&request, "\r\n");
    r = raw_ask_n(port, request.p, request.n);
    CHECK_INT(r.status, 431);
    raw_free(&r);
    buf_clear(&request);
    buf_z(&request, "GET /echo " H "X: ");
    for (int i = 0; i < 1 << 20; i++)
        buf_char(&request, 'x');
    buf_z(&request, "\r\n\r\n");
    r = raw_ask_n(port, request.p, request.n);
    CHECK(r.status == 431 || r.status == 413 || r.status == 0);
    raw_free(&r);
    buf_fini(&request);
    stop();
}

TEST(every_answer_carries_the_common_headers)
{
    struct raw_reply r, other;

    start(NULL);
    r = raw_get(port, "/echo");
    CHECK(strstr(r.text, "Vary: Origin\r\n"));
    CHECK(strstr(r.text, "Vary: Accept-Encoding\r\n"));
    CHECK_STR(raw_header(&r, "Server"), "torc");
    CHECK_STR(raw_header(&r, "X-Content-Type-Options"), "nosniff");
    CHECK_INT(strlen(raw_header(&r, "x-amzn-RequestId")), 36);
    CHECK(raw_header(&r, "x-amzn-RequestId")[14] == '4');
    other = raw_get(port, "/echo");
    CHECK(strcmp(strstr(r.text, "RequestId"), strstr(other.text, "RequestId")) != 0);
    raw_free(&r);
    raw_free(&other);
    r = raw_get(port, "/fails");
    CHECK_INT(r.status, 500);
    CHECK_STR(raw_header(&r, "X-Reason"), "a  Injected: yes");
    CHECK(!raw_header(&r, "Injected"));
    raw_free(&r);
    stop();
}

static size_t gunzip(const char *in, size_t n, char *out, size_t max)
{
    z_stream z = {0};

    CHECK(inflateInit2(&z, 15 + 16) == Z_OK);
    z.next_in = (Bytef *)in;
    z.avail_in = (uInt)n;
    z.next_out = (Bytef *)out;
    z.avail_out = (uInt)max;
    CHECK(inflate(&z, Z_FINISH) == Z_STREAM_END);
    CHECK(z.avail_in == 0);
    inflateEnd(&z);
    return z.total_out;
}

TEST(answers_are_compressed_only_for_clients_that_accept_it)
{
    char *out = malloc(4 << 20);
    struct raw_reply r;

    start(NULL);
    r = raw_get(port, "/big\nAccept-Encoding: deflate, gzip;q=0.5\r\n");
    CHECK_STR(raw_header(&r, "Content-Encoding"), "gzip");
    CHECK(r.body_n < 2000);
    CHECK(gunzip(r.body, r.body_n, out, 4 << 20) == 100000);
    raw_free(&r);
    r = raw_get(port, "/big\nAccept-Encoding: gzip;q=0.0\r\n");
    CHECK(!raw_header(&r, "Content-Encoding"));
    CHECK(r.body_n == 100000);
    raw_free(&r);
    r = raw_get(port, "/echo\nAccept-Encoding: gzip\r\n");
    CHECK(!raw_header(&r, "Content-Encoding"));
    raw_free(&r);
    r = raw_get(port, "/stream\nAccept-Encoding: gzip\r\n");
    CHECK_STR(raw_header(&r, "Content-Encoding"), "gzip");
    CHECK(gunzip(r.body, r.body_n, out, 4 << 20) == 1088890);
    raw_free(&r);
    stop();
    free(out);
}

TEST(streams_arrive_whole_or_visibly_broken)
{
    struct raw_reply r;

    start(NULL);
    atomic_store(&streams_freed, 0);
    r = raw_get(port, "/stream");
    CHECK_STR(raw_header(&r, "Transfer-Encoding"), "chunked");
    CHECK_INT(r.body_n, 1088890);
    CHECK_STR(r.body + r.body_n - 11, "line 99999\n");
    raw_free(&r);
    r = raw_get(port, "/broken");
    CHECK_INT(r.status, 0);
    CHECK(r.closed);
    raw_free(&r);
    stop();
    CHECK_INT(streams_freed, 2);
}

TEST(head_has_the_headers_of_get_and_no_body)
{
    struct raw_reply r;
    int fd;

    start(NULL);
    fd = raw_connect(port);
    raw_send(fd, "HEAD /big " H "\r\n", strlen("HEAD /big " H "\r\n"));
    r = raw_read_head(fd, 5000, true);
    CHECK_INT(r.status, 200);
    CHECK_STR(raw_header(&r, "Content-Length"), "100000");
    CHECK_INT(r.body_n, 0);
    raw_free(&r);
    close(fd);
    stop();
}

TEST(a_route_may_refuse_before_the_body_is_read)
{
    const char *busy = "POST /limited " H "X-Scope-OrgID: busy\r\nContent-Length: 11\r\n\r\n01234567890";
    const char *big = "POST /limited " H "X-Scope-OrgID: big\r\nContent-Length: 11\r\n\r\n01234567890";
    struct raw_reply r;
    int fd;

    start(NULL);
    fd = raw_connect(port);
    for (int i = 0; i < 10; i++) { /* the connection goes on, the dropped body is not taken for a request */
        CHECK(raw_send(fd, busy, strlen(busy)) && raw_send(fd, big, strlen(big)));
        r = raw_read(fd, 5000);
        CHECK_INT(r.status, 503);
        CHECK(strstr(r.text, "come later") && strstr(r.text, "Retry-After: 3"));
        if (!strstr(r.text, "body=11")) {
            raw_free(&r);
            r = raw_read(fd, 5000);
        }
        CHECK(strstr(r.text, "body=11"));
        raw_free(&r);
    }
    close(fd);
    /* Too long to be dropped: answered without it. */
    ASK("POST /limited " H "X-Scope-OrgID: busy\r\nContent-Length: 999999999\r\n\r\n", 503, "Connection: close");
    stop();
}

TEST(a_connection_serves_many_requests_also_pipelined_and_after_a_refusal)
{
    const char *two = "GET /echo?n=1 " H "\r\nGET /echo?n=2 " H "\r\n";
    struct raw_reply r;
    char request[256];
    int fd;

    start(NULL);
    fd = raw_connect(port);
    for (int i = 0; i < 100; i++) {
        snprintf(request, sizeof request, "%s /%s?n=%d " H "Content-Length: %d\r\n\r\n%s",
                 i % 2 ? "POST" : "GET", i % 5 ? "raw" : "none", i, i % 2 ? 3 : 0,
                 i % 2 ? "abc" : "");
        CHECK(raw_send(fd, request, strlen(request)));
        r = raw_read(fd, 5000);
        CHECK_INT(r.status, i % 5 == 0 ? 404 : i % 2 == 0 ? 405 : 200);
        raw_free(&r);
    }
    raw_send(fd, two, strlen(two));
    usleep(100000);
    r = raw_read(fd, 5000);
    while (r.text && !strstr(r.text, "n=2")) {
        raw_free(&r);
        r = raw_read(fd, 5000);
        CHECK(r.status == 200);
    }
    raw_free(&r);
    close(fd);
    stop();
}

TEST(answers_may_come_later_from_another_thread)
{
    int fds[50];

    start(NULL);
    atomic_store(&hold, true);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        const char *request = "POST /async " H "Content-Length: 5\r\n\r\nhello";

        fds[i] = raw_connect(port);
        CHECK(raw_send(fds[i], request, strlen(request)));
    }
    ASK("GET /echo " H "\r\n", 200, "path"); /* the server is not blocked */
    atomic_store(&hold, false);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        struct raw_reply r = raw_read(fds[i], 5000);

        CHECK_INT(r.status, 200);
        CHECK_STR(r.body, "late 5\n");
        raw_free(&r);
        close(fds[i]);
    }
    for (int i = 0; i < 200; i++) /* answered before or after the suspension, as the race falls */
        ASK("GET /async " H "\r\n", 200, "late 0");
    ASK("GET /blocking " H "\r\n", 200, "done");
    stop();
}

static void wait_for(_Atomic int *counter, int want)
{
    for (int i = 0; i < 500 && atomic_load(counter) < want; i++)
        usleep(10000);
    CHECK_INT(atomic_load(counter), want);
}

TEST(a_client_that_leaves_cancels_its_request)
{
    int fd;

    start(NULL);
    atomic_store(&hold, true);
    fd = raw_connect(port);
    CHECK(raw_send(fd, "GET /async " H "\r\n", strlen("GET /async " H "\r\n")));
    usleep(50000);
    CHECK_INT(cancels_seen, 0);
    close(fd);
    wait_for(&cancels_seen, 1);
    stop();
}

TEST(stopping_waits_for_answers_and_then_cancels)
{
    struct raw_reply r;
    int fd;

    start(NULL);
    atomic_store(&hold, true);
    fd = raw_connect(port);
    CHECK(raw_send(fd, "GET /async " H "\r\n", strlen("GET /async " H "\r\n")));
    for (int i = 0; i < 500; i++) {
        char *text = exposition();
        bool running = strstr(text, "torc_inflight_requests{route=\"/async\"} 1\n");

        free(text);
        if (running)
            break;
        usleep(10000);
    }
    http_server_stop(server, 100);
    CHECK_INT(cancels_seen, 1);
    CHECK_INT(raw_connect(port), -1);
    r = raw_read(fd, 1000);
    CHECK_INT(r.status, 200); /* the cancelled request's own answer */
    raw_free(&r);
    close(fd);
    stop();
}

static _Atomic bool drained;

static void *drain_main(UNUSED void *arg)
{
    http_server_drain(server, 5000);
    atomic_store(&drained, true);
    return NULL;
}

TEST(while_draining_only_the_pages_that_always_answer_do)
{
    struct raw_reply r;
    pthread_t t;
    int fd;

    start(NULL);
    atomic_store(&hold, true);
    atomic_store(&drained, false);
    fd = raw_connect(port);
    CHECK(raw_send(fd, "GET /async " H "\r\n", strlen("GET /async " H "\r\n")));
    usleep(100000);
    t = thread_start("drain", drain_main, NULL);
    usleep(50000);
    ASK("GET /echo " H "\r\n", 503, "shutting down");
    ASK("GET /always " H "\r\n", 200, "Connection: close");
    CHECK(!atomic_load(&drained));
    atomic_store(&hold, false);
    r = raw_read(fd, 5000);
    CHECK_INT(r.status, 200);
    pthread_join(t, NULL);
    CHECK(atomic_load(&drained));
    CHECK_INT(cancels_seen, 0);
    ASK("GET /always " H "\r\n", 200, "path=/always");
    raw_free(&r);
    close(fd);
    stop();
}

TEST(slow_headers_slow_bodies_and_slow_starts_are_closed)
{
    struct http_cfg cfg = http_cfg_default;
    struct raw_reply r;
    int slow_head, slow_body, silent, second, idle;

    cfg.header_timeout_ms = 400;
    cfg.body_grace_ms = 400;
    cfg.body_bytes_per_second = 1 << 20;
    start(&cfg);
    slow_head = raw_connect(port);
    slow_body = raw_connect(port);
    silent = raw_connect(port);
    second = raw_connect(port);
    idle = raw_connect(port);
    raw_send(slow_head, "GET /echo HTTP/1.1\r\n", 20);
    raw_send(slow_body, "POST /raw " H "Content-Length: 100\r\n\r\n",
             strlen("POST /raw " H "Content-Length: 100\r\n\r\n"));
    raw_send(second, "GET /echo " H "\r\n", strlen("GET /echo " H "\r\n"));
    raw_send(idle, "GET /echo " H "\r\n", strlen("GET /echo " H "\r\n"));
    r = raw_read(second, 5000);
    CHECK_INT(r.status, 200);
    raw_free(&r);
    r = raw_read(idle, 5000);
    raw_free(&r);
    usleep(600000);
    raw_send(second, "GE", 2);    /* half a request line on a kept connection */
    for (int i = 0; i < 6; i++) { /* never silent for long: an idle timer would not see it */
        send(slow_head, "X: y\r\n", 6, MSG_NOSIGNAL);
        send(slow_body, "z", 1, MSG_NOSIGNAL);
        usleep(200000);
    }
    CHECK(raw_closed_within(slow_head, 3000));
    CHECK(raw_closed_within(slow_body, 3000));
    CHECK(raw_closed_within(silent, 3000));
    CHECK(raw_closed_within(second, 3000));
    raw_send(idle, "GET /echo " H "\r\n", strlen("GET /echo " H "\r\n"));
    r = raw_read(idle, 5000);
    CHECK_INT(r.status, 200);
    raw_free(&r);
    close(slow_head), close(slow_body), close(silent), close(second), close(idle);
    stop();
}

TEST(limits_on_connections_and_on_bytes_in_flight_hold)
{
    struct http_cfg cfg = http_cfg_default;
    int fds[3];
    struct raw_reply r;

    cfg.connections_per_ip_max = 2;
    cfg.bodies_bytes_max = 100;
    start(&cfg);
    for (size_t i = 0; i < 3; i++)
        fds[i] = raw_connect(port);
    CHECK(raw_closed_within(fds[2], 3000) || raw_closed_within(fds[1], 100) ||
          raw_closed_within(fds[0], 100));
    for (size_t i = 0; i < 3; i++)
        close(fds[i]);
    usleep(300000);
    {
        char request[512] = "POST /raw " H "Content-Length: 200\r\n\r\n";
        size_t n = strlen(request);

        memset(request + n, 'x', 200);
        r = raw_ask_n(port, request, n + 200);
        CHECK_INT(r.status, 503);
        raw_free(&r);
    }
    ASK("POST /raw " H "Content-Length: 3\r\n\r\nabc", 200, "body=3");
    stop();
}

TEST(a_path_is_not_denied_before_all_routes_are_there)
{
    struct http_cfg cfg = http_cfg_default;

    cfg.routes_follow = true;
    start(&cfg);
    ASK("GET /echo " H "\r\n", 200, "");
    ASK("GET /nothing " H "\r\n", 503, "starting");
    http_server_routed(server);
    ASK("GET /nothing " H "\r\n", 404, "");
    stop();
}

TEST(durations_are_counted_by_method_route_and_status)
{
    char *text;

    start(NULL);
    ASK("GET /workspaces/ws-9/fixed " H "\r\n", 200, "");
    ASK("GET /nothing " H "\r\n", 404, "");
    http_server_stop(server, 5000); /* a request is counted once its answer has left */
    text = exposition();
    CHECK(strstr(text, "torc_request_duration_seconds_count{method=\"GET\",route=\"/workspaces/"
                       "{id}/fixed\",status_code=\"200\"} 1\n"));
    CHECK(strstr(text, "torc_request_duration_seconds_count{method=\"GET\",route=\"other\",status_"
                       "code=\"404\"} 1\n"));
    CHECK(strstr(text, "torc_inflight_requests{route=\"/echo\"} 0\n"));
    CHECK(strstr(text, "# TYPE torc_http_connections gauge\n"));
    free(text);
    stop();
}

TEST(a_port_in_use_and_a_bad_address_are_errors)
{
    struct http_cfg cfg = http_cfg_default;
    struct http_server *second;
    struct err err = {0};

    start(NULL);
    cfg.address = "127.0.0.1";
    cfg.port = port;
    CHECK(http_server_new(&cfg, &(struct http_deps){0}, &second, &err) == 0);
    CHECK(http_server_start(second, &err) == RC_IO);
    CHECK(strstr(err_text(&err), "Address already in use"));
    http_server_free(second);
    cfg.address = "localhost.";
    CHECK(http_server_new(&cfg, &(struct http_deps){0}, &second, &err) == 0);
    CHECK(http_server_start(second, &err) == RC_INVALID);
    http_server_free(second);
    stop();
}

/* The token in a page with a form. */
static void token_of_form(char token[HTTP_CONFIRM_TOKEN_SIZE])
{
    static const char before[] = "name=\"" HTTP_CONFIRM_PARAM "\" value=\"";
    struct raw_reply r = raw_get(port, "/change\nAccept: text/html\r\n");
    const char *at = strstr(r.text, before);

    CHECK(at);
    CHECK(strstr(r.text, "<form method=\"post\" action=\"/change\">"));
    CHECK(strstr(r.text, "changes &lt;b&gt;it&lt;/b&gt;"));
    CHECK(strstr(r.text, "default-src 'none'") && strstr(r.text, "frame-ancestors 'none'"));
    CHECK(strstr(r.text, "X-Frame-Options: DENY") && strstr(r.text, "nosniff"));
    CHECK(strstr(r.text, "Cache-Control: no-store"));
    snprintf(token, HTTP_CONFIRM_TOKEN_SIZE, "%s", at + strlen(before));
    raw_free(&r);
}

static int post_change(const char *path, const char *headers, const char *token)
{
    char request[1024], body[128] = "";
    struct raw_reply r;
    int status;

    if (token)
        snprintf(body, sizeof body, HTTP_CONFIRM_PARAM "=%s", token);
    snprintf(request, sizeof request,
             "POST %s " H "%sContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %zu\r\n\r\n%s", path,
             headers, strlen(body), body);
    r = raw_ask(port, request);
    status = r.status;
    raw_free(&r);
    return status;
}

TEST(changes_are_refused_unless_meant)
{
    char token[HTTP_CONFIRM_TOKEN_SIZE], forged[HTTP_CONFIRM_TOKEN_SIZE];

    start(NULL);
    atomic_store(&changes, 0);
    token_of_form(token);
    memcpy(forged, token, sizeof forged);
    forged[31] = forged[31] == '0' ? '1' : '0';
    const struct {
        const char *name, *path, *headers, *token;
        int want;
    } cases[] = {
        {"a client that is no browser", "/change", "", NULL, 200},
        {"the same, and says that it means it", "/change", "X-Torc-Confirm: yes\r\n", NULL, 200},
        {"our form", "/change", "Origin: http://t\r\nReferer: http://t/change\r\nCookie: a=b\r\n", token, 200},
        {"a script that may set headers", "/change", "Origin: http://t\r\nX-Torc-Confirm: yes\r\n", NULL, 200},
        {"a form of another site", "/change", "Origin: http://evil\r\n", NULL, 403},
        {"without an origin", "/change", "Origin: null\r\n", NULL, 403},
        {"of this site, without a token", "/change", "Origin: http://t\r\n", NULL, 403},
        {"a referer alone", "/change", "Referer: http://evil/\r\n", NULL, 403},
        {"a cookie alone", "/change", "Cookie: a=b\r\n", NULL, 403},
        {"fetch metadata alone", "/change", "Sec-Fetch-Site: cross-site\r\n", NULL, 403},
        {"a wrong word", "/change", "Origin: http://t\r\nX-Torc-Confirm: no\r\n", NULL, 403},
        {"a forged token", "/change", "Origin: http://t\r\n", forged, 403},
        {"a forged token is never better than none", "/change", "", forged, 403},
        {"half a token", "/change", "Origin: http://t\r\n", "0123456789abcdef", 403},
        {"an empty token", "/change", "Origin: http://t\r\n", "", 403},
        {"the token of another path", "/change2", "Origin: http://t\r\n", token, 403},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int before = atomic_load(&changes);
        int status = post_change(cases[i].path, cases[i].headers, cases[i].token);

        if (status != cases[i].want || atomic_load(&changes) - before != (cases[i].want == 200))
            fail_msg("%s: status %d, want %d", cases[i].name, status, cases[i].want);
    }
    stop();
    start(NULL); /* another process, another secret */
    CHECK_INT(post_change("/change", "Origin: http://t\r\n", token), 403);
    stop();
}

TEST(a_form_is_json_for_programs)
{
    start(NULL);
    ASK("GET /change " H "Accept: application/json\r\n\r\n", 200,
        "{\"method\":\"POST\",\"path\":\"/change\",\"does\":\"changes <b>it</b>\"}");
    stop();
}
