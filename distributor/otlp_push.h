/* otlp_push.h - the HTTP side of OTLP metrics: POST /otlp/v1/metrics and /api/v1/otlp/v1/metrics. From the body (protobuf or JSON; gzip, zstd, snappy or none)
 * to the Remote Write bodies of pushes, and from their outcomes to one answer that counts data points (otlp_answer.h).
 * A request becomes several pushes, its *parts*, when its series take more than OTLP_PART_BYTES: labels of new series must fit a message to an ingester, and
 * a collector's batch of histograms does not where nothing is known yet. The answer waits for all of them.
 * Threads: one makes the parts, any may report them. */
#pragma once
#include "common/base/err.h"
#include "distributor/otlp_answer.h"
#include "distributor/otlp_write.h"

enum { OTLP_PART_BYTES = 8 << 20, OTLP_ERRORS_TEXT_MAX = 8192 };

struct distributor;
struct push;
struct otlp_push;

/* Whether the sender speaks JSON, which is then answered in JSON. */
bool otlp_wants_json(const struct http_req *req);
/* With a hold for the maker, to be given back by otlp_push_release(). Answers req, which admission took at taken_ns, when all holds and parts are gone. */
struct otlp_push *otlp_push_new(struct distributor *d, int64_t taken_ns, struct http_req *req);
void otlp_push_release(struct otlp_push *o);
/* Nothing came of it: releases and answers. */
void otlp_push_fail(struct otlp_push *o, int status, struct str text);
/* p is a part of o: otlp_push_done(p) is due once. */
void otlp_push_add(struct otlp_push *o, struct push *p);
/* The body of the request, read into p's: the first part. */
int otlp_push_open(struct push *p, struct err *err);
bool otlp_push_more(const struct otlp_push *o);
/* The next part's body, and the charge for it, move to the new push p from first, which was opened. */
void otlp_push_next(struct otlp_push *o, struct push *first, struct push *p);
/* A part is decided: status 2xx, or why not (400: some of it was refused; text says why). */
void otlp_push_done(struct push *p, int status, struct str text);
