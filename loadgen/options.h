/* options.h - the flags of torc loadgen (common/config/option.h: one row is parser, range, default and help). */
#pragma once
#include "common/config/config.h"
#include "loadgen/batch.h"
#include "loadgen/compress.h"
#include "loadgen/history.h"

struct load_options {
    char *url, *query_url, *tenant, *history, *replay, *queries, *metrics_listen, *metrics_file, *request_log, *differences;
    int64_t series, natives, labels, tenants, batch, connections, rounds, seed, instances, query_connections;
    int64_t interval_ms, duration_ms, backfill_ms, timeout_ms, give_up_ms, drain_ms, verify_wait_ms, ha_outage_ms, query_timeout_ms;
    double rate, churn, out_of_order, exemplars, query_rate;
    int verify_path; /* enum verify_path */
    int protocol;    /* enum protocol */
    int compression; /* enum load_compression */
    enum codec codec; /* what it comes to */
    bool max, verify, verify_only, special, json, ha, quiet;
    struct opt_list thresholds, query;
};
enum load_compression { COMPRESSION_AUTO, COMPRESSION_FIRST_CODEC /* then as enum codec */ };

extern const struct option load_options_table[];

/* Fills in what follows from other flags, refuses what contradicts. The recording is what --replay names, or NULL. */
int load_options_settle(struct load_options *o, const struct recording *recording, struct err *err);
