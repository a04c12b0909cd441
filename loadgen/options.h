/* options.h - the flags of torc loadgen (common/config/option.h: one row is parser, range, default and help). */
#pragma once
#include "common/config/config.h"
#include "loadgen/history.h"

struct load_options {
    char *url, *query_url, *tenant, *history;
    int64_t series, tenants, batch, connections, rounds, seed;
    int64_t interval_ms, duration_ms, backfill_ms, timeout_ms, give_up_ms, drain_ms, verify_wait_ms;
    double rate, churn, out_of_order;
    bool max, verify, verify_only, special, json;
    struct opt_list thresholds;
};

extern const struct option load_options_table[];

/* Fills in what follows from other flags, refuses what contradicts. */
int load_options_settle(struct load_options *o, struct err *err);
