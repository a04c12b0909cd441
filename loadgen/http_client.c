#include "loadgen/http_client.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* --- where to --- */

static int split(struct str url, struct str *ret_host, char port[static 16], struct str *ret_path, struct err *err)
{
    struct str rest, authority, after;
    size_t end;

    if (!str_has_prefix(url, STR("http://")))
        return err_set(err, RC_INVALID, "\"%.*s\" is not a URL that begins with http://", STR_FMT(url));
    rest = str_skip(url, strlen("http://"));
    authority = str_sub(rest, 0, str_find(rest, '/'));
    *ret_path = str_skip(rest, authority.n);
    if (authority.n && authority.p[0] == '[') {
        end = str_find(authority, ']');
        *ret_host = str_sub(authority, 1, MAX(end, 1u));
        after = str_skip(authority, MIN(end + 1, authority.n));
    } else {
        *ret_host = str_sub(authority, 0, str_find(authority, ':'));
        after = str_skip(authority, ret_host->n);
    }
    if (after.n == 0)
        after = STR(":80");
    if (ret_host->n == 0 || ret_host->n > 255 || after.p[0] != ':' || after.n < 2 || after.n > 6)
        return err_set(err, RC_INVALID, "\"%.*s\" has no host and port", STR_FMT(url));
    memcpy(port, after.p + 1, after.n - 1);
    port[after.n - 1] = '\0';
    return 0;
}

int http_peer_of(const char *url, struct http_peer *ret, struct err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found = NULL;
    struct str host = {0}, path = {0};
    char name[256], port[16];
    int rc = split(str_of(url), &host, port, &path, err), code;

    if (rc < 0)
        return rc;
    memcpy(name, host.p, host.n);
    name[host.n] = '\0';
    code = getaddrinfo(name, port, &hints, &found);
    if (code != 0)
        return err_set(err, RC_UNAVAILABLE, "resolve %s:%s: %s", name, port, gai_strerror(code));
    *ret = (struct http_peer){.addr_n = found->ai_addrlen, .path = path};
    memcpy(&ret->addr, found->ai_addr, found->ai_addrlen);
    snprintf(ret->host, sizeof ret->host, memchr(name, ':', host.n) ? "[%s]:%s" : "%s:%s", name, port);
    freeaddrinfo(found);
    return 0;
}

/* --- connection --- */

void http_client_init(struct http_client *c, const struct http_peer *peer, size_t body_max)
{
    *c = (struct http_client){.peer = peer, .fd = -1};
    buf_init(&c->in, HTTP_CLIENT_HEAD_MAX * 2);
    buf_init(&c->body, body_max);
}

static void hang_up(struct http_client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->state = CLIENT_IDLE;
}

void http_client_fini(struct http_client *c)
{
    hang_up(c);
    buf_fini(&c->in);
    buf_fini(&c->body);
}

void http_client_abort(struct http_client *c)
{
    hang_up(c);
}

static int dial(struct http_client *c, struct err *err)
{
    int fd = socket(c->peer->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

    if (fd < 0)
        return err_sys(err, RC_IO, "socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (const struct sockaddr *)&c->peer->addr, c->peer->addr_n) != 0 && errno != EINPROGRESS) {
        err_sys(err, RC_IO, "connect %s", c->peer->host);
        close(fd);
        return RC_IO;
    }
    c->dials++;
    c->fd = fd;
    c->state = CLIENT_DIALING;
    return 0;
}

/* An idle connection has nothing to read, unless the server has closed it. */
static bool still_open(const struct http_client *c)
{
    char b;

    return recv(c->fd, &b, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

void http_request_head(struct buf *out, const struct http_peer *peer, const char *method, struct str path, struct str headers, size_t body_n)
{
    buf_printf(out, "%s %.*s HTTP/1.1\r\nHost: %s\r\nUser-Agent: torc-loadgen/" TORC_VERSION "\r\nContent-Length: %zu\r\n%.*s\r\n", method,
               STR_FMT(path), peer->host, body_n, STR_FMT(headers));
}

void http_form_encode(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';

        buf_printf(out, plain ? "%c" : "%%%02X", c);
    }
}

int http_client_start(struct http_client *c, struct str head, struct str body, struct err *err)
{
    ASSERT(c->state == CLIENT_IDLE);
    buf_clear(&c->in);
    buf_clear(&c->body);
    c->out[0] = head;
    c->out[1] = body;
    c->status = 0;
    c->retry_after_s = 0;
    c->written = 0;
    c->written_said = false;
    if (c->fd >= 0 && !still_open(c))
        hang_up(c);
    if (c->fd < 0)
        return dial(c, err);
    c->state = CLIENT_SENDING;
    return 0;
}

short http_client_events(const struct http_client *c)
{
    return c->state == CLIENT_IDLE ? 0 : c->state <= CLIENT_SENDING ? POLLOUT : POLLIN;
}

/* --- the answer --- */

/* Digits and nothing else, unlike strtoull: no sign, no white space, no overflow. */
static bool number(struct str s, unsigned base, uint64_t *ret)
{
    uint64_t v = 0;

    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        unsigned d = c >= '0' && c <= '9' ? c - 0u - '0' : (c | 32u) >= 'a' && (c | 32u) <= 'f' ? (c | 32u) - 'a' + 10 : 16;

        if (d >= base || v > (UINT64_MAX - d) / base)
            return false;
        v = v * base + d;
    }
    *ret = v;
    return s.n > 0;
}

static const struct str written_prefix = {"X-Prometheus-Remote-Write-", 26};

/* Samples, Histograms or Exemplars; the last are optional everywhere and are not counted. */
static void head_written(struct http_client *c, struct str name, struct str value)
{
    uint64_t n;

    if (!number(value, 10, &n) || n > UINT32_MAX)
        return;
    c->written_said = true;
    if (!str_ieq(name, STR("X-Prometheus-Remote-Write-Exemplars-Written")))
        c->written += n;
}

static int head_line(struct http_client *c, struct str line, struct err *err)
{
    size_t colon = str_find(line, ':');
    struct str name = str_sub(line, 0, colon), value;

    if (colon == line.n)
        return err_set(err, RC_CORRUPT, "the answer has a header line without a colon");
    value = str_trim(str_skip(line, colon + 1));
    if (str_ieq(name, STR("Content-Length"))) {
        if (!number(value, 10, &c->left))
            return err_set(err, RC_CORRUPT, "the answer has a bad Content-Length");
        c->framing = BODY_LENGTH;
    } else if (str_ieq(name, STR("Transfer-Encoding"))) {
        if (!str_ieq(value, STR("chunked")))
            return err_set(err, RC_CORRUPT, "the answer has an unknown Transfer-Encoding");
        c->framing = BODY_CHUNKED;
    } else if (str_ieq(name, STR("Connection"))) {
        c->keep = !str_ieq(value, STR("close"));
    } else if (str_ieq(name, STR("Retry-After"))) {
        if (value.n > 6 || !number(value, 10, &c->retry_after_s))
            c->retry_after_s = 0; /* a date, which nobody sends us */
    } else if (str_ieq(str_sub(name, 0, MIN(name.n, written_prefix.n)), written_prefix)) {
        head_written(c, name, value);
    }
    return 0;
}

/* 1: the head was whole and is taken from in; 0: more to come. */
static int take_head(struct http_client *c, struct err *err)
{
    char *end = c->in.n ? memmem(c->in.p, c->in.n, "\r\n\r\n", 4) : NULL;
    struct str head, line;
    uint64_t status;
    int rc = 0;

    if (!end)
        return c->in.n > HTTP_CLIENT_HEAD_MAX ? err_set(err, RC_LIMIT, "the answer's head is too large") : 0;
    head = str_n(c->in.p, (size_t)(end - c->in.p) + 2);
    if (head.n < 14 || memcmp(head.p, "HTTP/1.", 7) != 0 || head.p[8] != ' ' || !number(str_n(head.p + 9, 3), 10, &status))
        return err_set(err, RC_CORRUPT, "the answer is not HTTP/1");
    c->status = (int)status;
    c->keep = head.p[7] == '1';
    c->framing = c->status == 204 || c->status == 304 ? BODY_LENGTH : BODY_TO_CLOSE;
    c->left = 0;
    c->chunk_open = c->last_chunk = false;
    for (struct str rest = str_skip(head, str_find(head, '\n') + 1); rc == 0 && rest.n; rest = str_skip(rest, line.n + 1)) {
        line = str_sub(rest, 0, str_find(rest, '\n'));
        rc = head_line(c, str_trim(line), err);
    }
    if (rc < 0)
        return rc;
    if (c->status == 204 || c->status == 304)
        c->framing = BODY_LENGTH, c->left = 0;
    if (c->framing == BODY_TO_CLOSE)
        c->keep = false;
    c->in.n -= head.n + 2;
    memmove(c->in.p, c->in.p + head.n + 2, c->in.n);
    return 1;
}

static size_t take_data(struct http_client *c, struct str in)
{
    size_t n = c->framing == BODY_TO_CLOSE ? in.n : (size_t)MIN((uint64_t)in.n, c->left);

    buf_add(&c->body, in.p, n);
    if (c->framing != BODY_TO_CLOSE)
        c->left -= n;
    return n;
}

/* Takes whole chunks and parts of chunks; 1 at the end of the body. */
static int take_chunks(struct http_client *c, struct str in, size_t *ret_used, struct err *err)
{
    size_t at = 0;
    int rc = 0;

    while (rc == 0 && at < in.n) {
        struct str rest = str_skip(in, at);
        size_t eol = str_find(rest, '\n');

        if (c->left > 0) {
            at += take_data(c, rest);
            continue;
        }
        if (eol == rest.n)
            break;
        at += eol + 1;
        if (c->last_chunk) {
            rc = eol <= 1; /* trailers end with an empty line */
        } else if (c->chunk_open) {
            c->chunk_open = false;
            if (eol > 1)
                rc = err_set(err, RC_CORRUPT, "a chunk of the answer does not end where it should");
        } else {
            struct str line = str_sub(rest, 0, eol), size = str_trim(str_sub(line, 0, str_find(line, ';')));

            if (!number(size, 16, &c->left))
                rc = err_set(err, RC_CORRUPT, "a chunk of the answer has no size");
            c->chunk_open = c->left > 0;
            c->last_chunk = c->left == 0;
        }
    }
    *ret_used = at;
    return rc;
}

/* Consumes c->in; 1 when the body is whole. */
static int take_body(struct http_client *c, struct err *err)
{
    size_t used = 0;
    int rc;

    if (c->framing == BODY_CHUNKED) {
        rc = take_chunks(c, buf_view(&c->in), &used, err);
    } else {
        used = take_data(c, buf_view(&c->in));
        rc = c->framing == BODY_LENGTH && c->left == 0;
    }
    if (rc < 0)
        return rc;
    if (!buf_ok(&c->body))
        return err_set(err, RC_LIMIT, "the answer is larger than %zu bytes", c->body.max);
    c->in.n -= used;
    memmove(c->in.p, c->in.p + used, c->in.n);
    return rc;
}

static int parse(struct http_client *c, bool closed, struct err *err)
{
    int rc = 1;

    if (c->state == CLIENT_HEAD) {
        rc = take_head(c, err);
        if (rc == 1)
            c->state = CLIENT_BODY;
    }
    if (rc == 1)
        rc = take_body(c, err);
    if (rc == 0 && closed)
        rc = c->state == CLIENT_BODY && c->framing == BODY_TO_CLOSE ? 1 : err_set(err, RC_IO, "%s closed the connection early", c->peer->host);
    return rc;
}

/* --- events --- */

/* 1: all is sent. */
static int send_some(struct http_client *c, struct err *err)
{
    while (c->out[0].n + c->out[1].n > 0) {
        struct iovec iov[2] = {{(void *)(uintptr_t)c->out[0].p, c->out[0].n}, {(void *)(uintptr_t)c->out[1].p, c->out[1].n}};
        struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
        ssize_t n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
        size_t head;

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
            return 1; /* a server that refuses a body early has answered: read that */
        if (n < 0)
            return err_sys(err, RC_IO, "send to %s", c->peer->host);
        head = MIN((size_t)n, c->out[0].n);
        c->out[0] = str_skip(c->out[0], head);
        c->out[1] = str_skip(c->out[1], (size_t)n - head);
    }
    return 1;
}

static int receive_some(struct http_client *c, struct err *err)
{
    for (;;) {
        ssize_t n;
        int rc;

        if (!buf_reserve(&c->in, HTTP_CLIENT_HEAD_MAX / 2))
            return err_set(err, RC_LIMIT, "the answer's head or a chunk's is too large");
        n = recv(c->fd, c->in.p + c->in.n, HTTP_CLIENT_HEAD_MAX / 2, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        if (n < 0)
            return err_sys(err, RC_IO, "receive from %s", c->peer->host);
        c->in.n += (size_t)n;
        rc = parse(c, n == 0, err);
        if (rc != 0)
            return rc;
    }
}

static int step(struct http_client *c, struct err *err)
{
    int failed = 0, rc = 1;
    socklen_t n = sizeof failed;

    if (c->state == CLIENT_DIALING) {
        if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &failed, &n) < 0 || failed) {
            errno = failed ? failed : errno;
            return err_sys(err, RC_IO, "connect %s", c->peer->host);
        }
        c->state = CLIENT_SENDING;
    }
    if (c->state == CLIENT_SENDING) {
        rc = send_some(c, err);
        if (rc == 1)
            c->state = CLIENT_HEAD;
    }
    return rc == 1 ? receive_some(c, err) : rc;
}

int http_client_step(struct http_client *c, struct err *err)
{
    int rc;

    ASSERT(c->state != CLIENT_IDLE);
    rc = step(c, err);
    if (rc < 0)
        hang_up(c);
    if (rc == 1) {
        c->state = CLIENT_IDLE;
        if (!c->keep)
            hang_up(c);
    }
    return rc;
}
