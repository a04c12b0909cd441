/* http_client.h - one keep-alive HTTP/1.1 connection that never blocks; the caller polls. Plain HTTP: TLS ends at a proxy in front.
 * A request is started, then stepped on poll events until it is done or has failed; a failed connection is closed and the next start dials again. */
#pragma once
#include "common/base/buf.h"
#include "common/base/bytes.h"
#include "common/base/err.h"

#include <sys/socket.h>

enum { HTTP_CLIENT_HEAD_MAX = 64 << 10, HTTP_HOST_MAX = 300 };

/* Where a URL points. */
struct http_peer {
    struct sockaddr_storage addr;
    socklen_t addr_n;
    char host[HTTP_HOST_MAX]; /* for the header Host */
    struct str path;          /* borrowed from the URL; "" when it has none */
};
/* http://host[:port][/path]. Resolves the name (blocks). RC_INVALID, RC_UNAVAILABLE. */
int http_peer_of(const char *url, struct http_peer *ret, struct err *err);

enum http_client_state { CLIENT_IDLE, CLIENT_DIALING, CLIENT_SENDING, CLIENT_HEAD, CLIENT_BODY };

struct http_client {
    const struct http_peer *peer; /* borrowed */
    int fd;                       /* -1: not connected */
    enum http_client_state state;
    struct str out[2]; /* head and body still to send, borrowed */
    struct buf in, body;
    enum { BODY_LENGTH, BODY_CHUNKED, BODY_TO_CLOSE } framing;
    uint64_t left; /* of the body or of this chunk */
    bool chunk_open, last_chunk, keep;
    int status;
    uint64_t retry_after_s; /* 0: not said */
    uint64_t written;       /* samples and histograms of X-Prometheus-Remote-Write-...-Written */
    bool written_said;
    uint64_t dials;
};

void http_client_init(struct http_client *c, const struct http_peer *peer, size_t body_max);
void http_client_fini(struct http_client *c);
/* A request's head up to the empty line. headers: lines that each end in \r\n. */
void http_request_head(struct buf *out, const struct http_peer *peer, const char *method, struct str path, struct str headers, size_t body_n);
/* A value of a form's body, percent-encoded. */
void http_form_encode(struct buf *out, struct str s);
/* Both borrowed until done. RC_IO when the dial fails at once. */
int http_client_start(struct http_client *c, struct str head, struct str body, struct err *err);
/* What to poll c->fd for. */
short http_client_events(const struct http_client *c);
/* 1: done, status and body are there until the next start; 0: go on polling; negative: failed (RC_IO, RC_CORRUPT, RC_LIMIT) and closed. */
int http_client_step(struct http_client *c, struct err *err);
/* Gives up on the request. */
void http_client_abort(struct http_client *c);
