/* answer.h - what became of a request, by its answer. Pure.
 * Remote Write 1.0: by the status alone. 2.0: a 2xx without the written-count headers comes from a server that does not know 2.0; with smaller counts than
 * were sent a part was dropped. OTLP: a 2xx may carry a partial success; of the 5xx only 502, 503 and 504 may be repeated. */
#pragma once
#include "loadgen/batch.h"
#include "loadgen/http_client.h"

enum answer_fate {
    ANSWER_TAKEN,
    ANSWER_PARTIAL,      /* some of it, for good; which part nobody knows */
    ANSWER_DEDUPLICATED, /* 202 to a replica of an HA pair that is not the elected one */
    ANSWER_REPEAT,
    ANSWER_REFUSED,
};

struct answer {
    enum answer_fate fate;
    uint32_t written; /* samples and histograms, at most as many as were sent; all of them when TAKEN */
    char text[256];   /* one line of why not; "" */
};

/* Of a request with that many samples (or histograms). */
void answer_judge(const struct http_client *c, enum protocol protocol, bool ha, uint32_t samples, struct answer *ret);
/* ExportMetricsServiceResponse: 1 partial_success { 1 rejected_data_points, 2 error_message }. Bytes from outside; RC_CORRUPT. */
int answer_otlp_decode(struct str body, uint64_t *ret_rejected, struct str *ret_message, struct err *err);
