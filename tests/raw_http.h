/* raw_http.h - HTTP spoken over a plain socket, so that tests can send what no client library
 * would. */
#pragma once
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct raw_reply {
    int status; /* 0: the server closed without an answer; -1: time ran out */
    char *text; /* everything received */
    size_t n;
    char *body; /* points into text, chunked framing removed */
    size_t body_n;
    bool closed; /* by the server */
};

static inline int raw_connect(uint16_t port)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return fd;
}

static inline bool raw_send(int fd, const void *p, size_t n)
{
    const char *at = p;

    while (n > 0) {
        ssize_t did = send(fd, at, n, MSG_NOSIGNAL);

        if (did <= 0)
            return false;
        at += did;
        n -= (size_t)did;
    }
    return true;
}

/* Value of a header in the reply's head, or NULL; static. */
static inline const char *raw_header(const struct raw_reply *r, const char *name)
{
    static char value[1024];
    size_t name_n = strlen(name);

    for (char *line = r->text; line && line < r->text + r->n && *line != '\r';) {
        char *end = strstr(line, "\r\n");

        if (!end)
            return NULL;
        if (strncasecmp(line, name, name_n) == 0 && line[name_n] == ':') {
            snprintf(value, sizeof value, "%.*s", (int)(end - line - (long)name_n - 2),
                     line + name_n + 2);
            return value;
        }
        line = end + 2;
    }
    return NULL;
}

/* Joins the chunks in place once all are there; until then changes nothing. */
static inline bool raw_unchunk(char *body, size_t n, size_t *ret_n)
{
    for (int join = 0; join < 2; join++) {
        char *at = body, *out = body, *end = body + n;

        for (;;) {
            char *line = memmem(at, (size_t)(end - at), "\r\n", 2);
            unsigned long size;

            if (!line)
                return false;
            size = strtoul(at, NULL, 16);
            if ((size_t)(end - line - 2) < size + 2)
                return false;
            if (size == 0)
                break;
            if (join)
                memmove(out, line + 2, size);
            out += size;
            at = line + 2 + size + 2;
        }
        *ret_n = (size_t)(out - body);
    }
    return true;
}

/* Is the reply in r complete? Fills status and body. */
static inline bool raw_complete(struct raw_reply *r, bool head_only)
{
    char *end = r->n ? memmem(r->text, r->n, "\r\n\r\n", 4) : NULL;
    const char *length, *te;

    if (!end)
        return false;
    r->status = atoi(r->text + strlen("HTTP/1.1 "));
    r->body = end + 4;
    r->body_n = r->n - (size_t)(r->body - r->text);
    if (head_only)
        return true;
    length = raw_header(r, "Content-Length");
    if (length)
        return r->body_n >= strtoul(length, NULL, 10);
    te = raw_header(r, "Transfer-Encoding");
    return te ? raw_unchunk(r->body, r->body_n, &r->body_n) : r->closed;
}

/* Reads one reply, at most wait_ms. Free with raw_free. */
static inline struct raw_reply raw_read_head(int fd, int wait_ms, bool head_only)
{
    struct raw_reply r = {.status = -1};
    size_t cap = 1 << 16;

    r.text = malloc(cap + 1);
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t got;

        if (poll(&p, 1, wait_ms) <= 0)
            return r;
        if (r.n == cap)
            r.text = realloc(r.text, (cap *= 2) + 1);
        got = recv(fd, r.text + r.n, cap - r.n, 0);
        r.closed = got <= 0;
        r.n += got > 0 ? (size_t)got : 0;
        r.text[r.n] = '\0';
        if (raw_complete(&r, head_only)) {
            r.body[r.body_n] = '\0';
            return r;
        }
        if (r.closed) {
            r.status = 0;
            return r;
        }
    }
}

static inline struct raw_reply raw_read(int fd, int wait_ms)
{
    return raw_read_head(fd, wait_ms, false);
}

/* One request on a fresh connection. */
static inline struct raw_reply raw_ask_n(uint16_t port, const void *request, size_t n)
{
    struct raw_reply r = {.status = -1};
    int fd = raw_connect(port);

    if (fd < 0)
        return r;
    raw_send(fd, request, n); /* a refusal may come before all is sent */
    r = raw_read(fd, 10000);
    close(fd);
    return r;
}

static inline struct raw_reply raw_ask(uint16_t port, const char *request)
{
    return raw_ask_n(port, request, strlen(request));
}

static inline struct raw_reply raw_get(uint16_t port, const char *path_and_headers)
{
    char request[4096];
    const char *nl = strchr(path_and_headers, '\n');
    int path_n = nl ? (int)(nl - path_and_headers) : (int)strlen(path_and_headers);

    snprintf(request, sizeof request, "GET %.*s HTTP/1.1\r\nHost: t\r\n%s\r\n", path_n,
             path_and_headers, nl ? nl + 1 : "");
    return raw_ask(port, request);
}

static inline void raw_free(struct raw_reply *r)
{
    free(r->text);
    *r = (struct raw_reply){0};
}

/* True once the peer closed, waiting at most wait_ms. */
static inline bool raw_closed_within(int fd, int wait_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char drop[4096];

    for (;;) {
        if (poll(&p, 1, wait_ms) <= 0)
            return false;
        if (recv(fd, drop, sizeof drop, 0) <= 0)
            return true;
    }
}
