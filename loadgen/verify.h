/* verify.h - reads back everything that a history says was written, target by target, by one of the ways that verify_request.h has,
 * and judges it.
 * A series that comes back under labels that the model does not know, or as histograms where it had plain samples, or the reverse, counts as phantoms.
 * Fails (RC_UNAVAILABLE, RC_EXECUTION, RC_CORRUPT, RC_CANCELED by a signal) when the answers cannot be had; differences are in the verdict. */
#pragma once
#include "loadgen/judge.h"
#include "loadgen/verify_request.h"

enum { VERIFY_QUERY_SAMPLES = 200000, VERIFY_ANSWER_BYTES_MAX = 256 << 20, VERIFY_LABELS_MAX = 64, VERIFY_BUCKETS_MAX = 4096 };

struct verify_cfg {
    const char *query_url;         /* base, before /api/v1/query */
    const struct history *history; /* sorted; with model.recording, if there was one */
    enum verify_path path;
    int64_t wait_ms;               /* a query is repeated for this long */
    bool progress;                 /* a line on stderr now and then */
};
int verify_run(const struct verify_cfg *cfg, struct verdict *ret, struct judge_log *log, struct err *err);
