/* otlp_answer.h - what the OTLP specification asks for as an answer, in the request's own form (JSON or protobuf):
 *   200 ExportMetricsServiceResponse; with partial_success when some data points were refused, the others are stored
 *   400 nothing could be stored, 413 too large, 415 neither protobuf nor JSON, 429 and 503 (Retry-After) send it again: a google.rpc.Status each */
#pragma once
#include "common/http/http.h"

/* error: empty when there is none. */
struct http_resp *otlp_response(bool json, uint32_t rejected, struct str error);
struct http_resp *otlp_status(bool json, int http_status, struct str error);
