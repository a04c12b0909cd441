/* ask.h - the query load beside the writes: queries in turn at a rate, open loop, over connections of their own.
 * Query i is due at start + i / rate and its latency counts from then; it waits while all connections are busy. Queries are not repeated: whatever is
 * not a success is an error. With several tenants query i goes to tenant i modulo their number. Rides in the loop of send.h, one thread. */
#pragma once
#include "loadgen/history.h"
#include "loadgen/http_client.h"
#include "loadgen/latency.h"

#include <poll.h>

enum { ASK_QUERIES_MAX = 1000, ASK_CONNECTIONS_MAX = 1024, ASK_ANSWER_BYTES_MAX = 256 << 20, ASK_ERROR_TEXT_MAX = 300, ASK_FILE_BYTES_MAX = 1 << 20 };

struct ask_query {
    char *expr;
    int64_t range_ms, step_ms; /* range 0: an instant query */
};
struct ask_queries {
    VEC(struct ask_query) v;
};

/* "EXPR", or "range=1h step=15s EXPR" for a range query that ends at the present; step alone may be left out: a 250th of the range.
 * RC_INVALID, RC_LIMIT. */
int ask_queries_add(struct ask_queries *q, struct str text, struct err *err);
/* One query a line; empty lines and those that begin with # are passed over. The error names the line. */
int ask_queries_open(struct ask_queries *q, const char *path, struct err *err);
void ask_queries_fini(struct ask_queries *q);

struct ask_query_stats {
    uint64_t done, errors;
    struct latency latency; /* of the successful ones */
};
struct ask_stats {
    uint64_t due, done, errors, timeouts, broken; /* timeouts and broken connections are errors too */
    uint64_t answer_bytes;
    struct latency latency; /* of the successful ones */
    struct ask_query_stats *each; /* per query */
    char last_error[ASK_ERROR_TEXT_MAX];
};

struct ask_cfg {
    const struct http_peer *peer;        /* base of the query API, before /api/v1/query */
    const struct ask_queries *queries;   /* at least one */
    const struct history_cfg *tenants;
    double rate;                         /* queries per second, all together */
    uint32_t connections;
    int64_t timeout_ms;
};

struct ask;
struct ask *ask_new(const struct ask_cfg *cfg); /* cfg borrowed */
void ask_start(struct ask *a, int64_t start_ns);
uint32_t ask_connections(const struct ask *a);
void ask_free(struct ask *a); /* NULL is fine */
/* Fills in ask_connections() entries; lowers *until to when something is to do. */
void ask_prepare(struct ask *a, struct pollfd *polled, bool stopping, int64_t *until_ns);
/* After polling: answers, timeouts, queries that are due. Once stopping none is begun. */
void ask_step(struct ask *a, const struct pollfd *polled, bool stopping);
/* Nothing is out. */
bool ask_idle(const struct ask *a);
const struct ask_stats *ask_stats(const struct ask *a);
