/* send.h - the event loop that writes: lanes (connections), each with its own batches, each batch at its due time.
 *
 * Pace    open loop: round r of batch b of B is due at start + (r + b/B) * interval, and its samples carry that time;
 *         max: as soon as the lane is free, samples carry the time of sending;
 *         out of order: of two neighbouring rounds some batches send the later one's samples first, one round behind the present;
 *         backfill: samples carry start - backfill + (r + b/B) * step, whatever the pace.
 * Repeat  5xx, 429, timeouts and broken connections: the same bytes again, after 30 ms, doubled up to 5 s or what Retry-After says. Other
 *         4xx: not repeated, counted as failed. A lane that waits holds its later batches back, so every series is sent in order.
 * Threads: one, inside send_run(). SIGINT and SIGTERM end the run early and in order. */
#pragma once
#include "loadgen/history.h"
#include "loadgen/http_client.h"
#include "loadgen/latency.h"

enum { SEND_CONNECTIONS_MAX = 1024, SEND_STATUS_MAX = 600, SEND_ERROR_TEXT_MAX = 300, SEND_ANSWER_BYTES_MAX = 1 << 20 };

struct send_stats {
    uint64_t due_samples;     /* whose time has come */
    uint64_t acked_samples, acked_requests;
    uint64_t failed_samples, failed_requests; /* refused for good, or given up */
    uint64_t unsent_samples;  /* due, but the run ended first */
    uint64_t retries, timeouts, broken; /* attempts */
    uint64_t statuses[SEND_STATUS_MAX]; /* attempts answered so */
    uint64_t raw_bytes, wire_bytes;     /* of acknowledged requests, before and after compression */
    uint64_t dials;
    struct latency latency;   /* from due to acknowledged */
    int64_t elapsed_ns;
    bool interrupted;
    char last_error[SEND_ERROR_TEXT_MAX]; /* of the server or the network, one line */
};

struct send_cfg {
    const struct http_peer *peer;
    const struct model *model;
    struct history *history;
    uint32_t connections;
    bool max;
    int64_t interval_ns;                /* of a round; unused with max */
    double out_of_order;                /* percent of samples that come behind a later one of their series; not with max, unless backfilled */
    int64_t backfill_ms, step_ms;       /* 0: samples carry the present */
    uint64_t rounds;                    /* 0: until the duration is over */
    int64_t duration_ms;                /* 0: until the rounds are sent */
    int64_t timeout_ms, give_up_ms, drain_ms;
    /* Each second, and at the end. */
    void (*tick)(void *arg, const struct send_stats *stats);
    void *tick_arg;
};

/* Fails only when it cannot run at all (history file, memory); what servers do is in the statistics. */
int send_run(const struct send_cfg *cfg, struct send_stats *ret, struct err *err);
