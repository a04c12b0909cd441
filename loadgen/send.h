/* send.h - the event loop that writes: lanes (connections), each with its own slots, each slot at its due time (plan.h). Queries ride along (ask.h).
 *
 * Repeat  by answer.h: 5xx, 429, timeouts and broken connections: the same bytes again, after 30 ms, doubled up to 5 s or what Retry-After says. Other
 *         4xx: not repeated, counted as failed. A lane that waits holds its later slots back, so every series is sent in order.
 * Threads: one, inside send_run(). SIGINT and SIGTERM end the run early and in order. */
#pragma once
#include "loadgen/ask.h"
#include "loadgen/history.h"
#include "loadgen/http_client.h"
#include "loadgen/image.h"
#include "loadgen/latency.h"
#include "loadgen/plan.h"
#include "loadgen/request_log.h"

enum { SEND_CONNECTIONS_MAX = 1024, SEND_STATUS_MAX = 600, SEND_ERROR_TEXT_MAX = 300, SEND_ANSWER_BYTES_MAX = 1 << 20 };

/* A native histogram counts as one sample; a replica's samples count like any other's. */
struct send_stats {
    uint64_t due_samples;     /* whose time has come */
    uint64_t acked_samples, acked_requests;
    uint64_t failed_samples, failed_requests; /* refused for good, or given up */
    uint64_t partial_requests;     /* of those that failed: taken in part */
    uint64_t deduplicated_samples; /* answered 202: the other replica is the elected one */
    uint64_t silent_samples;       /* due while their replica was dead */
    uint64_t unsent_samples;  /* due, but the run ended first */
    uint64_t retries, timeouts, broken; /* attempts */
    uint64_t statuses[SEND_STATUS_MAX]; /* attempts answered so */
    uint64_t raw_bytes, wire_bytes;     /* of answered requests, before and after compression */
    uint64_t answered_samples;          /* of them */
    uint64_t dials;
    struct latency latency;   /* from due to acknowledged */
    int64_t elapsed_ns;
    double setup_cpu_s, cpu_s; /* of this process: before the first request, and from then on */
    bool interrupted;
    char last_error[SEND_ERROR_TEXT_MAX]; /* of the server or the network, one line */
};

struct send_cfg {
    const struct http_peer *peer;
    struct image_cfg image;             /* model, protocol, codec */
    struct history *history;
    struct request_log *requests;       /* NULL: none */
    uint32_t connections;
    struct plan plan;                   /* slots and start are filled in */
    struct ask *ask;                    /* borrowed; NULL: no queries */
    int64_t duration_ms;                /* 0: until the rounds are sent */
    int64_t timeout_ms, give_up_ms, drain_ms;
    /* Each second, and at the end. */
    void (*tick)(void *arg, const struct send_stats *stats);
    void *tick_arg;
};

/* Fails only when it cannot run at all (history file, memory); what servers do is in the statistics. */
int send_run(const struct send_cfg *cfg, struct send_stats *ret, struct err *err);
