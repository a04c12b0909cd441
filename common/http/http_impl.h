/* http_impl.h - what the files of the HTTP server share.
 * server.c: life of the server and of connections; exchange.c: life of a request; request.c:
 * checking a request and reading from it; response.c: building answers; router.c: patterns;
 * confirm.c: requests that must be meant; role.c: who may ask; tls.c;
 * watch.c: deadlines and lost clients. */
#pragma once
#include "common/http/http.h"
#include "common/obs/traceparent.h"
#include "common/sys/pool.h"
#include "common/sys/thread.h"

#include <gnutls/abstract.h>
#include <microhttpd.h>
#include <stdatomic.h>

/* What a connection is doing, which decides the clock that runs against it. */
enum conn_phase {
    CONN_IDLE, /* between requests: libmicrohttpd's idle timer; the first byte starts HEADERS */
    CONN_HEADERS,
    CONN_BODY,
    CONN_HANDLING, /* ours: no clock, but a client that leaves cancels */
    CONN_SENDING,
};

struct http_conn {
    struct http_conn *next,
        *prev; /* --- guarded by server->conns_lock, as long as it is in the list fd is open --- */
    int fd;
    uint64_t mark; /* watcher only: bytes received (IDLE) or acknowledged (SENDING) when the phase
                      began */
    uint64_t mark_serial;    /* watcher only: the phase the mark belongs to */
    int64_t mark_ns;         /* watcher only: IDLE: first byte seen; SENDING: begun; 0: not yet */
    bool shut;               /* watcher only */
    _Atomic uint64_t serial; /* --- server thread writes, watcher reads --- counts phases */
    _Atomic int phase;
    _Atomic int64_t phase_ns;
    _Atomic uint64_t body_bytes;
    _Atomic bool cancel;
    struct http_req *req; /* server thread only */
    bool client_verified; /* server thread only: its certificate */
    char address[64];
};

struct http_header {
    struct str name, value;
};

/* LATER was answered, and slow is at it; then the request goes on where it stopped. */
enum guard_state { GUARD_NONE, GUARD_WAITING, GUARD_ANSWERED, GUARD_OVER };
enum req_state { REQ_READING, REQ_RUNNING, REQ_SUSPENDED, REQ_ANSWERED };

struct http_req {
    struct http_server *server;
    struct http_conn *conn;
    struct MHD_Connection *mhd;
    struct arena arena;
    char id[40];
    struct traceparent trace; /* once the headers are there */
    char *uri; /* as sent */
    struct str path, query;
    enum http_method method;
    struct http_header headers[HTTP_HEADERS_MAX + 1]; /* one more for a guard's; borrowed from libmicrohttpd until completion */
    size_t header_count;
    const struct http_route_entry *route;
    struct str path_params[HTTP_PATH_PARAMS_MAX];
    struct url_params params;
    struct buf body;
    size_t body_limit;
    bool begun, dispatched;
    const char *user; /* in the arena; NULL: nobody said */
    enum guard_state guard;    /* under lock while it waits */
    struct http_resp *guard_no;
    bool discarding; /* refused: the rest of the body is dropped */
    size_t discarded;
    uint64_t charged; /* against server->bodies_bytes */
    int64_t received_ns;
    int status;
    struct mutex lock; /* state and resp: the handler's side and the server thread's meet here */
    enum req_state state;
    struct http_resp *resp;
};

struct http_route_entry {
    struct http_route route;
    enum http_role role;
    struct str segments[16];
    size_t segment_count;
    struct metric *inflight;
};

struct http_server {
    struct http_cfg cfg; /* --- fixed after new --- */
    uint8_t secret[32];  /* of confirmation tokens */
    char address[64];
    struct log *log;
    struct metric_family *duration, *inflight, *closed;
    struct metric *connections;
    struct http_tls *tls; /* NULL: plain */
    unsigned roles;
    struct http_server *twin;
    struct http_guard guard; /* quick NULL: none */
    struct pool *guard_pool;
    struct MHD_Daemon *daemon;
    int listen_fd;
    uint16_t port;
    struct pool *pool;
    struct http_route_entry *routes[HTTP_ROUTES_MAX]; /* appended under routes_lock, then fixed */
    struct mutex routes_lock;
    _Atomic size_t route_count;
    _Atomic uint64_t bodies_bytes;
    _Atomic bool routed;
    _Atomic bool draining;
    struct mutex conns_lock; /* guards all that follows; after a request's lock */
    struct cond conns_changed, watch_wake;
    struct http_conn *conns;
    struct http_load {
        int in_flight;  /* dispatched, not completed */
        int unanswered; /* handler begun, http_respond not yet called */
    } work, always;     /* always: of HTTP_ALWAYS routes */
    int guarded;        /* requests that wait for the guard */
    bool closing;       /* not even HTTP_ALWAYS is dispatched any more */
    bool watch_stop;
    pthread_t watcher;
    bool watching;
};

/* Past these libmicrohttpd must already have refused. */
enum { HTTP_URI_BYTES_MAX = HTTP_HEADER_BYTES_MAX };

/* watch.c: ms since the newest bytes arrived; 0 when the kernel does not say. */
int64_t conn_silent_ms(const struct http_conn *c);
void conn_phase_set(struct http_conn *c, enum conn_phase phase);
void server_closed(struct http_server *s, const char *reason);
struct http_conn *conn_of(struct MHD_Connection *mhd);

/* exchange.c: libmicrohttpd's callbacks; their arg is the server. */
void *exchange_on_uri(void *arg, const char *uri, struct MHD_Connection *mhd);
enum MHD_Result exchange_on_access(void *arg, struct MHD_Connection *mhd, const char *url,
                                   const char *method, const char *version, const char *upload,
                                   size_t *upload_n, void **con_cls);
void exchange_on_completed(void *arg, struct MHD_Connection *mhd, void **con_cls,
                           enum MHD_RequestTerminationCode why);
void req_free(struct http_req *req);

/* router.c. The entry for this path and method; NULL when none: *ret_allowed then has the methods
 * the path knows, 0 = no such path. Fills params (raw segments). */
const struct http_route_entry *route_find(struct http_server *s, struct str path,
                                          enum http_method method,
                                          struct str params[HTTP_PATH_PARAMS_MAX],
                                          unsigned *ret_allowed);

/* request.c */
enum http_method method_of(const char *text); /* HTTP_METHOD_COUNT when unknown */
/* Headers and target; RC_INVALID: 400, close. RC_LIMIT: 431. method and version as libmicrohttpd
 * hands them out. */
int req_check(struct http_req *req, const char *method, const char *version, struct err *err);
int req_path_params_decode(struct http_req *req, struct err *err);
/* URL and form parameters. *ret_status is the answer's status on failure. */
int req_params_parse(struct http_req *req, int *ret_status, struct err *err);
bool http_accepts_gzip(const struct http_req *req);

/* response.c */
struct MHD_Response *resp_make(struct http_req *req, struct http_resp *r);
int resp_status(const struct http_resp *r);
/* Compresses a whole body; on the thread that answers, not on the server's. */
void resp_prepare(struct http_req *req, struct http_resp *r);
struct http_resp *resp_text(int status, const char *fmt, ...) PRINTF(2, 3);

/* confirm.c: meant, not slipped under somebody's browser. Once the parameters are parsed. */
bool req_confirmed(const struct http_req *req);

/* tls.c */
enum { TLS_SERVERS_MAX = 4 }; /* with TLS, in one process */
struct http_tls;
/* For MHD_OPTION_HTTPS_CERT_CALLBACK; NULL: too many. Until http_tls_forget. */
gnutls_certificate_retrieve_function2 *http_tls_retriever(struct http_tls *t);
void http_tls_forget(struct http_tls *t);
const char *http_tls_client_ca(const struct http_tls *t); /* PEM; NULL: not asked for */
bool http_tls_client_ok(const struct http_tls *t, struct MHD_Connection *mhd, struct http_conn *c);

/* watch.c */
void *watch_main(void *server);
