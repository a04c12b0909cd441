/* http.h - the HTTP/1.1 server: libmicrohttpd (epoll, a thread pool of its own) below, routing,
 * ceilings, deadlines and answers here.
 *
 * Life of a request: headers are checked strictly (anything ambiguous is 400 and the connection
 * closes), the route is found, the body is read up to the route's ceiling, then the route's handler
 * runs, and somebody calls http_respond() exactly once: the handler itself, or any other thread
 * later. Until then the request and every str got from it stay valid; afterwards nobody may touch
 * it.
 *
 * Threads: a handler runs on a server thread and must not block; a route with HTTP_BLOCKING runs on
 * the server's own workers. When the client goes away before the answer, *http_cancel_flag()
 * becomes true; http_respond() is due all the same.
 *
 * Deadlines (absolute, unlike libmicrohttpd's idle timer): headers complete within
 * header_timeout_ms of their first byte (of the connection, for its first request); bodies arrive,
 * and answers are taken, at body_bytes_per_second or faster once body_grace_ms are over. Later: the
 * connection is closed.
 *
 * Every answer carries x-amzn-RequestId (a UUID), Server and Vary: Origin. Bodies of 1 KiB and more
 * are gzipped when the client accepts that. Metrics:
 * torc_request_duration_seconds{method,route,status_code}, torc_inflight_requests{route},
 * torc_http_connections, torc_http_closed_total{reason}. */
#pragma once
#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/http/role.h"
#include "common/http/tls.h"
#include "common/http/url.h"
#include "common/obs/log.h"
#include "common/obs/metrics.h"

enum {
    HTTP_ROUTES_MAX = 512,
    HTTP_PATH_PARAMS_MAX = 4,
    HTTP_HEADERS_MAX = 100,            /* more: 431 */
    HTTP_HEADER_BYTES_MAX = 128 << 10, /* request line and headers together: 431 or 414 */
    HTTP_REQ_MEMORY_MAX = 64 << 20,    /* decoded parameters of one request */
    HTTP_DISCARD_BYTES_MAX =
        1 << 20, /* of a refused body, read and dropped so that the client sees the answer */
    HTTP_GZIP_BYTES_MIN = 1 << 10,
};

struct http_server;
struct http_req;
struct http_resp;

struct http_cfg {
    const char *address; /* numeric IPv4 or IPv6; "::" listens on both */
    uint16_t port;       /* 0: any, see http_server_port */
    int threads, workers;
    int connections_max, connections_per_ip_max; /* 0 = off for the latter */
    int64_t header_timeout_ms, idle_timeout_ms, body_grace_ms, body_bytes_per_second;
    uint64_t bodies_bytes_max; /* of all requests together; past it 503 */
    int blocking_queue_max;    /* requests waiting for a worker; past it 503 */
    int gzip_level;            /* 0 = never */
    struct tls_cfg tls;        /* no cert_file: plain HTTP */
    bool routes_follow;        /* until http_server_routed() an unknown path is 503, not 404 */
};
extern const struct http_cfg http_cfg_default;

enum http_method {
    HTTP_GET,
    HTTP_POST,
    HTTP_PUT,
    HTTP_DELETE,
    HTTP_HEAD,
    HTTP_OPTIONS,
    HTTP_METHOD_COUNT
};
enum {
    HTTP_M_GET = 1 << HTTP_GET, /* HEAD comes with it */
    HTTP_M_POST = 1 << HTTP_POST,
    HTTP_M_PUT = 1 << HTTP_PUT,
    HTTP_M_DELETE = 1 << HTTP_DELETE,
};
enum {
    HTTP_FORM = 1 << 0,     /* a body must be application/x-www-form-urlencoded, else 415; its
                               parameters come first */
    HTTP_BLOCKING = 1 << 1, /* run on a worker */
    HTTP_ALWAYS = 1 << 2,   /* answers during the drain too: /ready, /metrics */
    HTTP_CONFIRM = 1 << 3,  /* changes something by hand: see confirm.h; written to the log. With
                               HTTP_FORM, else the token of a form is not seen */
};

/* Patterns: "/ready" exact; "{name}" stands for one non-empty segment, as in
 * "/api/v1/label/{name}/values"; a last segment "*" stands for any rest. A literal segment beats
 * {name}, which beats "*". */
struct http_route {
    const char *pattern; /* borrowed for the server's life; also the metrics' label */
    unsigned methods;
    unsigned flags;
    size_t body_bytes_max; /* 0: no body allowed beyond zero bytes */
    /* When not NULL, asked instead of body_bytes_max before the body is read (per-tenant ceilings).
     * With an answer in *ret_no the request is refused at little cost: its body is dropped. */
    size_t (*body_limit)(void *arg, const struct http_req *req, struct http_resp **ret_no);
    void (*handle)(void *arg, struct http_req *req);
    void *arg;
};

struct http_deps {
    struct log *log;         /* may be NULL */
    struct metrics *metrics; /* may be NULL */
};

int http_server_new(const struct http_cfg *cfg, const struct http_deps *deps,
                    struct http_server **ret, struct err *err);
/* Before or after start; a second route with the same pattern and a common method is a bug. */
void http_route(struct http_server *s, const struct http_route *route);
/* Only routes of these roles (1 << enum http_role) are served here; default: all. Before the first route. */
void http_server_roles(struct http_server *s, unsigned roles);
/* Routes that are given to s are given to other too, which takes those of its roles. Before the first route. */
void http_server_twin(struct http_server *s, struct http_server *other);

/* Who may ask (common/auth): asked when a request's headers are there, before its body is read. */
enum http_guard_answer { HTTP_GUARD_YES, HTTP_GUARD_NO, HTTP_GUARD_LATER };
struct http_guard {
    /* On a server thread, at once. NO: *ret_no is the answer. LATER: slow decides, on a thread that does nothing else; when HTTP_GUARD_WAITING_MAX
     * requests wait for it already, further ones are 503. */
    enum http_guard_answer (*quick)(void *arg, struct http_req *req, struct http_resp **ret_no);
    struct http_resp *(*slow)(void *arg, struct http_req *req); /* NULL: the request goes on */
    void *arg;
};
enum { HTTP_GUARD_WAITING_MAX = 64 };
void http_server_guard(struct http_server *s, const struct http_guard *guard); /* before start */
/* All routes are there. A server that listens while its modules still start must not say of their
 * paths that there is no such thing: remote write drops for ever what is answered with 404. */
void http_server_routed(struct http_server *s);
/* Binds, listens and serves. */
int http_server_start(struct http_server *s, struct err *err);
uint16_t http_server_port(const struct http_server *s);
/* From now on all but HTTP_ALWAYS routes answer 503. Waits up to drain_ms until requests in flight
 * are answered and sent, then cancels the rest and waits until each is answered: afterwards no
 * handler of such a route runs. (A stream may still be pulled.) */
void http_server_drain(struct http_server *s, int64_t drain_ms);
/* Drains if that is still to do, stops accepting, sends what is being sent for up to drain_ms,
 * closes everything. */
void http_server_stop(struct http_server *s, int64_t drain_ms);
void http_server_free(struct http_server *s); /* stops first if need be */
struct memory_account;
void http_server_memory(struct http_server *s, struct memory_account *a); /* connections and the requests they carry */

/* --- the request --- */
enum http_method http_method(const struct http_req *req);
struct str http_path(const struct http_req *req);       /* as sent, not decoded */
struct str http_query_text(const struct http_req *req); /* after '?', not decoded */
/* Decoded {name} (or "*": the rest, not decoded) of the pattern; .p NULL when the pattern has none.
 */
struct str http_path_param(const struct http_req *req, const char *name);
/* First parameter of this name, body before URL; .p NULL when absent. */
struct str http_param(const struct http_req *req, const char *name);
const struct url_params *
http_params(const struct http_req *req); /* all, body first: repeated ones such as match[] */
struct str http_header(const struct http_req *req, const char *name); /* .p NULL when absent */
struct str http_body(const struct http_req *req);                     /* contiguous */
enum http_role http_req_role(const struct http_req *req); /* of its route */
/* For guards: who asks (copied; written to the log with changes), and the tenant of a request that names none (copied; found as X-Scope-OrgID). */
void http_req_user(struct http_req *req, const char *name);
void http_req_tenant(struct http_req *req, struct str tenant);
const char *http_user(const struct http_req *req); /* "": nobody said */
const char *http_client_address(const struct http_req *req);          /* "10.0.0.7:5123" */
const char *http_request_id(const struct http_req *req);
/* Of traceparent, or one that began here: 32 hex digits. Answers carry it as X-Trace-Id; log lines as trace_id. */
const char *http_trace_id(const struct http_req *req);
const char *http_route_pattern(const struct http_req *req);
int64_t http_received_mono_ns(const struct http_req *req); /* when the headers were complete */
/* Since the newest bytes of the client arrived at this machine. For a request that is here as a
 * whole: how long it has waited for us, in sockets that no thread had read. The kernel counts in
 * ticks of some ms. Server threads only. */
int64_t http_waited_ns(const struct http_req *req);
/* Wants HTML rather than JSON: Accept prefers text/html. */
bool http_wants_html(const struct http_req *req);
/* Accept contains this media type. */
bool http_accepts(const struct http_req *req, const char *media_type);
const _Atomic bool *http_cancel_flag(const struct http_req *req); /* valid until http_respond */
/* Sets the flag: whoever works on the request shall stop and answer. Any thread, before http_respond. */
void http_cancel(struct http_req *req);

/* --- the answer --- */
/* Pulled for a large answer, never on two threads at once: appends some bytes to out and returns 1;
 * 0 at the end; negative breaks the connection off, so that the client cannot take a half answer
 * for a whole. Must not block. */
struct http_stream {
    int (*pull)(void *arg, struct buf *out);
    void (*free)(void *arg); /* always called once; may be NULL */
    void *arg;
};
enum { HTTP_PULL_BYTES = 64 << 10 /* a good size of one pull */, HTTP_PULL_BYTES_MAX = 16 << 20 };

struct http_resp *http_resp_new(int status);
void http_resp_free(struct http_resp *r); /* only of one that was not given to http_respond */
void http_resp_header(struct http_resp *r, const char *name,
                      const char *value); /* copies; no control characters */
void http_resp_body(struct http_resp *r, const char *content_type,
                    struct buf *take); /* takes the bytes */
void http_resp_text(struct http_resp *r, const char *content_type, struct str body); /* copies */
void http_resp_stream(struct http_resp *r, const char *content_type,
                      const struct http_stream *stream);
/* Takes r. Any thread, once for each request. */
void http_respond(struct http_req *req, struct http_resp *r);

void http_reply(struct http_req *req, int status, const char *content_type,
                struct str body); /* copies */
void http_reply_buf(struct http_req *req, int status, const char *content_type, struct buf *take);
void http_reply_text(struct http_req *req, int status, const char *fmt, ...)
    PRINTF(3, 4); /* text/plain, one line */

#define HTTP_TYPE_JSON "application/json"
#define HTTP_TYPE_TEXT "text/plain; charset=utf-8"
#define HTTP_TYPE_HTML "text/html; charset=utf-8"
#define HTTP_TYPE_YAML "application/yaml; charset=utf-8"
